//! What the main thread of the server waits for.

use std::time::Duration;

use crate::config::Settings;

/// Why the main thread woke up.
pub(super) enum Wake {
    Signal(i32),
    ShardEnded(usize),
    /// Somebody has asked for the end over the control socket.
    Drain,
    /// A reload has set it.
    Times(EndTimes),
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
