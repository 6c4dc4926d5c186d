//! Waiting with a deadline: the only place of the tests that reads the clock or sleeps.

use std::time::{Duration, Instant};

/// Deadline of every single wait unless a test says otherwise. Under `tests/ktls` the processor is
/// emulated, and everything takes longer.
pub const PATIENCE: Duration = Duration::from_secs(if EMULATED { 60 } else { 10 });

const EMULATED: bool = matches!(env!("CARGO_CRATE_NAME").as_bytes(), b"ktls");

/// Time since some moment, for tests of timers.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "tests measure real time here and only here")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since [`Self::start`].
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Polls `condition` until it holds; fails the test after [`PATIENCE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while !condition() {
        assert!(watch.elapsed() < PATIENCE, "gave up waiting: {what}");
        pause(Duration::from_millis(5));
    }
}

/// Lets `duration` pass. For the pace of a slow client, never to wait for an event.
#[expect(clippy::disallowed_methods, reason = "a slow client is slow on purpose")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
