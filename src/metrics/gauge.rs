//! Gauges of one shard. Each unit is held by a guard that gives it back when dropped, on every way
//! out of a session.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::Kind;

values! {
    /// What one shard has at this moment.
    Gauges:

    /// Control connections that are served, silent ones before their ClientHello included.
    sessions: Gauge,
    /// Those of them that are logged in.
    sessions_logged_in: Gauge,
    /// Log-ins that wait for their password to be checked.
    logins_waiting: Gauge,
    /// TLS handshakes in progress, of control and data connections.
    handshakes: Gauge,
    /// Transfers between the 150 and their last octet.
    transfers: Gauge,
    /// Data connections whose transfer has ended, and that stay for a moment so that the client
    /// can read the rest.
    data_connections_kept: Gauge,
    /// Pieces of file work that wait for a helper thread.
    file_work_waiting: Level,
    /// Pieces of file work on helper threads.
    file_work_running: Level,
    /// Number of reloads behind the configuration that is in force; 0 is that of the start.
    config_generation: Level,
    /// Hidden files of uploads that the last walk through the homes has seen and left: of uploads
    /// in progress, or younger than storage.leftover_age. Shard 0 walks.
    leftovers: Level,
    /// How long the oldest work of helper threads, password hashes included, has waited and run: of
    /// seconds, a file system does not answer.
    helper_work_oldest_seconds: Span,
}

/// One gauge. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Rc<Cell<u64>>);

impl Gauge {
    const KIND: Kind = Kind::Gauge;

    /// Counts one more for as long as the result lives.
    #[must_use]
    pub fn hold(&self) -> Held {
        self.0.set(self.0.get() + 1);
        Held(Rc::clone(&self.0))
    }

    /// How many are held.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A gauge that is brought up to date when it is asked for.
#[derive(Debug, Default)]
pub struct Level(Cell<u64>);

impl Level {
    const KIND: Kind = Kind::Gauge;

    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.set(value);
    }

    /// The value when it was last set.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// A span of time that is brought up to date when it is asked for; milliseconds as a number.
#[derive(Debug, Default)]
pub struct Span(Cell<u64>);

impl Span {
    const KIND: Kind = Kind::Span;

    /// Sets the span, which is cut to milliseconds.
    pub fn set(&self, span: Duration) {
        self.0.set(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    }

    /// The milliseconds when it was last set.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// One unit of a [`Gauge`].
#[derive(Debug)]
pub struct Held(Rc<Cell<u64>>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_held() {
        let gauges = Gauges::default();
        let held = [gauges.transfers.hold(), gauges.transfers.hold()];
        let [first, second] = held;
        assert!(gauges.snapshot().contains(&("transfers", 2)));
        drop(first);
        assert_eq!(gauges.transfers.get(), 1);
        drop(gauges);
        drop(second);
    }
}
