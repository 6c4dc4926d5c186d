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
    message: impl FnMut(usize, SyncSender<T>) -> Message,
) -> Vec<T> {
    ask_those_there(shards, patience, message).0
}

/// The same, and the numbers of the shards that have ended.
fn ask_those_there<T>(
    shards: &[RemoteSender<Message>],
    patience: Duration,
    mut message: impl FnMut(usize, SyncSender<T>) -> Message,
) -> (Vec<T>, Vec<usize>) {
    let deadline = clock::now() + patience;
    let (asker, answers) = sync_channel(shards.len());
    let mut ended = Vec::new();
    for (index, shard) in shards.iter().enumerate() {
        if shard.send(message(index, asker.clone())).is_err() {
            ended.push(index);
        }
    }
    drop(asker);
    let next = || answers.recv_timeout(deadline.saturating_duration_since(clock::now())).ok();
    (std::iter::from_fn(next).take(shards.len()).collect(), ended)
}

/// What each shard has counted, by its number; see [`FIGURES_TIME_MAX`].
pub(super) fn figures(shards: &[RemoteSender<Message>]) -> Vec<Figures> {
    roll_call(shards).figures
}

/// Asks every shard for its figures; the watchdog of the service manager and `/healthz` go by who
/// answers within [`FIGURES_TIME_MAX`].
pub(super) fn roll_call(shards: &[RemoteSender<Message>]) -> RollCall {
    let (mut figures, ended) =
        ask_those_there(shards, FIGURES_TIME_MAX, |_, asker| Message::Count(asker));
    figures.sort_by_key(|figures| figures.shard);
    RollCall { shards: shards.len(), figures, ended }
}

/// Who has answered, and what.
#[derive(Debug)]
pub(super) struct RollCall {
    /// How many were asked.
    shards: usize,
    /// By number.
    pub(super) figures: Vec<Figures>,
    /// Those that have no inbox any more.
    ended: Vec<usize>,
}

impl RollCall {
    /// Whether every shard has answered.
    pub(super) fn is_complete(&self) -> bool {
        self.figures.len() == self.shards
    }

    /// The shards that have not answered. While the server ends, those that have ended are none.
    pub(super) fn silent(&self, ending: bool) -> Vec<usize> {
        let answered = |shard: &usize| self.figures.iter().any(|figures| figures.shard == *shard);
        let excused = |shard: &usize| ending && self.ended.contains(shard);
        (0..self.shards).filter(|shard| !answered(shard) && !excused(shard)).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::remote;

    /// One that has ended is at once, and one that hangs when the time is up.
    #[test]
    fn who_is_silent() {
        let figures = |shard| Figures { shard, ..Figures::default() };
        let call = RollCall { shards: 4, figures: vec![figures(0), figures(2)], ended: vec![3] };
        assert_eq!((call.silent(false), call.silent(true)), (vec![1, 3], vec![1]));
        assert!(!call.is_complete());

        let (sender, inbox) = remote::channel().unwrap();
        drop(inbox);
        let call = roll_call(&[sender]);
        assert_eq!((call.silent(false), call.silent(true)), (vec![0], vec![]));
    }
}
