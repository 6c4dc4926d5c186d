//! What the process's other threads ask the shards, through their inboxes.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use crate::clock;
use crate::runtime::remote::RemoteSender;
use crate::shard::{Figures, Message};

/// How long the shards may take to tell their figures; one that has not by then is not up.
pub(super) const FIGURES_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the shards may take to begin.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// Sends each shard what `message` makes for its number and for its answer, and returns the answers
/// in the order in which they come, those that come within `patience`. A shard that has ended
/// answers as one that is stuck does: not at all. Blocks: not for use inside a shard.
pub(super) fn ask<T>(
    shards: &[RemoteSender<Message>],
    patience: Duration,
    mut message: impl FnMut(usize, SyncSender<T>) -> Message,
) -> Vec<T> {
    let deadline = clock::now() + patience;
    let (asker, answers) = sync_channel(shards.len());
    for (index, shard) in shards.iter().enumerate() {
        let _ = shard.send(message(index, asker.clone()));
    }
    drop(asker);
    let next = || answers.recv_timeout(deadline.saturating_duration_since(clock::now())).ok();
    std::iter::from_fn(next).take(shards.len()).collect()
}

/// What each shard has counted, by its number; see [`FIGURES_TIME_MAX`].
pub(super) fn figures(shards: &[RemoteSender<Message>]) -> Vec<Figures> {
    let mut figures = ask(shards, FIGURES_TIME_MAX, |_, asker| Message::Count(asker));
    figures.sort_by_key(|figures| figures.shard);
    figures
}

/// Returns when every shard serves: it accepts, and answers.
///
/// # Errors
///
/// One has ended, or does not answer in time.
pub(super) fn wait_for_all(shards: &[RemoteSender<Message>]) -> Result<(), String> {
    let serving = ask(shards, START_TIME_MAX, |_, asker| Message::Count(asker)).len();
    if serving == shards.len() {
        return Ok(());
    }
    Err(format!("{serving} of {} shards have started; the log says why", shards.len()))
}
