//! What the main thread of the server waits for.

use std::time::Duration;

/// Why the main thread woke up.
pub(super) enum Wake {
    Signal(i32),
    ShardEnded(usize),
    /// Somebody has asked for the end over the control socket.
    Drain,
    /// A reload has set it.
    ShutdownTimeout(Duration),
}
