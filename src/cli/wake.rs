//! What the main thread of the server waits for.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::config::Settings;

/// Why the main thread woke up.
pub(super) enum Wake {
    Signal(i32),
    ShardEnded(usize),
    /// Somebody has asked for the end over the control socket.
    Drain,
    /// Another process serves at these addresses from now on.
    TakenOver(Successor),
    /// A reload has set it.
    Times(EndTimes),
}

/// A process that has taken over.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) addresses: Arc<[SocketAddr]>,
    /// Where the main thread says that nothing is accepted any more.
    pub(super) done: mpsc::SyncSender<()>,
    /// Its other end is dropped when whoever asked has been answered.
    pub(super) answered: mpsc::Receiver<()>,
}

/// How long the parts of the end take.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndTimes {
    /// `limits.drain_delay`.
    pub(super) delay: Duration,
    /// `limits.shutdown_timeout`.
    pub(super) timeout: Duration,
}

impl EndTimes {
    pub(super) fn of(settings: &Settings) -> Self {
        let limits = &settings.limits;
        Self { delay: limits.drain_delay, timeout: limits.shutdown_timeout }
    }
}
