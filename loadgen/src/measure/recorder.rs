//! One thread's record of what happened. Nothing here is shared between threads while they run but
//! two counts ([`Tally`]), so nothing locks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::counters::{ConnectionState, ConnectionStates, TlsHandshake};
use super::error_kind::{ErrorKind, Errors};
use super::interval::{INTERVAL, Interval, Series};
use super::phase::Phase;
use super::recording::{Recording, ThreadUse};

/// The run's time frame. Warm-up operations appear in the intervals over time and count nowhere
/// else.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When the first operation was to begin.
    pub start: Instant,
    /// How long after it the measured part begins.
    pub warmup: Duration,
    /// How long the measured part is; `None`: until everything asked for has ended.
    pub measured: Option<Duration>,
}

impl Window {
    /// When the measured part begins.
    #[must_use]
    pub fn begin(&self) -> Instant {
        self.start + self.warmup
    }

    /// When the measured part ends, where that is known beforehand.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.measured.map(|measured| self.begin() + measured)
    }

    /// Whether `at` lies within the measured part.
    pub(super) fn holds(&self, at: Instant) -> bool {
        self.is_measured(at) && self.end().is_none_or(|end| at < end)
    }

    /// Whether what was intended for `at` belongs to the measured part.
    ///
    /// The intended start decides, not the real one or the end: a stall across the boundary neither
    /// moves operations into the measured part nor out of it.
    #[must_use]
    pub fn is_measured(&self, at: Instant) -> bool {
        at.saturating_duration_since(self.start) >= self.warmup
    }
}

/// What one thread recorded.
pub struct Recorder {
    window: Window,
    recording: Recording,
    series: Series,
    states: ConnectionStates,
    live: Option<Outlet>,
    tally: Option<Arc<Tally>>,
}

/// Payload of one operation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    /// All of it.
    pub(super) all: u64,
    /// What moved within the measured part.
    pub(super) inside: u64,
}

/// How many operations of a thread have succeeded and failed so far, for whoever decides meanwhile
/// whether the run goes on. The warm-up counts too.
#[derive(Debug, Default)]
pub struct Tally {
    operations: AtomicU64,
    errors: AtomicU64,
}

impl Tally {
    /// Operations that succeeded, and that failed.
    #[must_use]
    pub fn read(&self) -> (u64, u64) {
        (self.operations.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed))
    }
}

/// What a run tells those who watch it.
#[derive(Clone, Debug)]
pub enum Live {
    /// It begins: when, in Unix time.
    Begins(Duration),
    /// An interval of a thread has closed.
    Closed(LiveUpdate),
    /// A thread has ended, so long after the start, in its last interval.
    Ended(LiveUpdate, Duration),
}

/// One thread's interval.
#[derive(Clone, Debug)]
pub struct LiveUpdate {
    /// The interval.
    pub interval: Interval,
    /// Its errors, warm-up included.
    pub errors: Errors,
}

/// The channel to those who watch, and the errors of the open interval.
struct Outlet {
    sender: SyncSender<Live>,
    errors: Errors,
}

impl Recorder {
    /// An empty recorder (about 6 MiB of address space; memory as far as it is used).
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            recording: Recording::default(),
            series: Series::new(INTERVAL),
            states: ConnectionStates::default(),
            live: None,
            tally: None,
        }
    }

    /// Counts in `tally` what succeeds and fails.
    #[must_use]
    pub fn with_tally(mut self, tally: Arc<Tally>) -> Self {
        self.tally = Some(tally);
        self
    }

    /// Sends each interval to those who watch when it closes. A full channel loses the interval for
    /// them only; nothing waits.
    #[must_use]
    pub fn with_live(mut self, sender: SyncSender<Live>) -> Self {
        self.live = Some(Outlet { sender, errors: Errors::default() });
        self
    }

    /// With intervals of this length. Before anything is recorded.
    #[must_use]
    pub fn with_interval(mut self, length: Duration) -> Self {
        self.series = Series::new(length);
        self
    }

    /// Sets the time frame, once the sessions that a run prepares are open. Until then the frame
    /// given to [`Recorder::new`] lies in the future.
    pub fn begin(&mut self, window: Window) {
        self.window = window;
        self.series.open().connections_peak = self.states.open();
    }

    /// The run's time frame.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// Counts one phase that succeeded; for [`Phase::Operation`] also one operation.
    ///
    /// `intended` is when this phase was to begin: for the first phase of an operation and for the
    /// whole operation the planned time, for each later phase the end of the one before it. It also
    /// decides whether the phase is measured; [`Timeline`](super::Timeline) lets the operation's
    /// decide instead, so
    /// that the phases of one operation are counted together.
    pub fn record(&mut self, phase: Phase, intended: Instant, started: Instant, ended: Instant) {
        if phase == Phase::Operation {
            return self.succeeded(intended, started, Moved::default(), ended);
        }
        let measured = self.window.is_measured(intended);
        self.record_if(measured, phase, intended, started, ended);
    }

    /// Counts one failed operation. `intended` is the operation's planned start, `at` when the
    /// failure was seen; `detail` is kept for the first of its kind (see [`Errors::add`]).
    pub fn error(
        &mut self,
        phase: Phase,
        kind: ErrorKind,
        intended: Instant,
        at: Instant,
        detail: &str,
    ) {
        self.tick(at);
        self.series.open().errors[kind.class() as usize] += 1;
        self.recording.ends.last_error = Some(at);
        self.recording.ends.errors_since += 1;
        if let Some(tally) = &self.tally {
            tally.errors.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(live) = &mut self.live {
            live.errors.add(phase, kind, detail);
        }
        if self.window.is_measured(intended) {
            self.recording.errors.add(phase, kind, detail);
        }
    }

    /// Counts an operation that ended at `at`, however it did, as work of the measured part and of
    /// its queue. A transfer is work by the share of its payload that `moved` within; of anything
    /// else it is the end that tells, because what waits at a server costs it nothing.
    pub(super) fn ended(&mut self, intended: Instant, moved: Moved, at: Instant) {
        self.tick(at);
        let (window, work) = (self.window, &mut self.recording.work);
        work.operations += match moved.all {
            0 => f64::from(u8::from(window.holds(at))),
            all => moved.inside as f64 / all as f64,
        };
        work.due += u64::from(window.holds(intended));
        self.series.due(intended.saturating_duration_since(window.start));
        let waited = |edge: Instant| u64::from(intended < edge && at >= edge);
        work.backlog_begin += waited(window.begin());
        work.backlog_end += window.end().map_or(0, waited);
    }

    /// Counts a whole operation that succeeded.
    pub(super) fn succeeded(
        &mut self,
        intended: Instant,
        started: Instant,
        moved: Moved,
        ended: Instant,
    ) {
        let measured = self.window.is_measured(intended);
        self.record_if(measured, Phase::Operation, intended, started, ended);
        self.ended(intended, moved, ended);
        self.recording.work.succeeded += u64::from(self.window.holds(ended));
    }

    /// Counts what the phases of an operation took that has just succeeded.
    pub(super) fn phases_of_one(&mut self, phase_ns: &[u64; Phase::COUNT]) {
        for (sum, spent) in self.series.open().phase_ns.iter_mut().zip(phase_ns) {
            *sum = sum.saturating_add(*spent);
        }
    }

    /// Counts how late the generator itself was: from when a send was due until the thread got to
    /// it, whatever the server did. This, not the operations' latency, shows a client at its limit.
    pub fn lateness(&mut self, due: Instant, noticed: Instant) {
        if self.window.is_measured(due) {
            self.recording.lateness.record(noticed.saturating_duration_since(due));
        }
    }

    /// Counts payload sent on a data connection.
    pub fn bytes_up(&mut self, bytes: u64, at: Instant) {
        self.tick(at);
        self.series.open().bytes_up += bytes;
        if self.window.is_measured(at) {
            self.recording.counters.bytes_up += bytes;
        }
        if self.window.holds(at) {
            self.recording.work.bytes_up += bytes;
        }
    }

    /// Counts payload received on a data connection.
    pub fn bytes_down(&mut self, bytes: u64, at: Instant) {
        self.tick(at);
        self.series.open().bytes_down += bytes;
        if self.window.is_measured(at) {
            self.recording.counters.bytes_down += bytes;
        }
        if self.window.holds(at) {
            self.recording.work.bytes_down += bytes;
        }
    }

    /// Counts a TLS handshake that ended at `at`.
    pub fn tls(&mut self, handshake: TlsHandshake, at: Instant) {
        if self.window.is_measured(at) {
            self.recording.counters.tls(handshake);
        }
    }

    /// Counts an operation that the workload gave up on purpose; not an error.
    pub fn abandoned(&mut self, intended: Instant) {
        if self.window.is_measured(intended) {
            self.recording.counters.abandoned += 1;
        }
    }

    /// Counts an operation that the end of the run cut in `phase`; not an error.
    pub fn unfinished(&mut self, phase: Phase, intended: Instant) {
        if self.window.is_measured(intended) {
            *self.recording.unfinished.entry(phase).or_default() += 1;
        }
    }

    /// Counts how long an operation that was due at `intended` waited until it began.
    pub(super) fn queued(&mut self, intended: Instant, started: Instant) {
        let measured = self.window.is_measured(intended);
        self.record_if(measured, Phase::Queued, intended, started, started);
    }

    /// Counts an operation of `kind` that succeeded, beside [`Phase::Operation`].
    pub(super) fn kind_succeeded(
        &mut self,
        kind: &'static str,
        intended: Instant,
        started: Instant,
        ended: Instant,
    ) {
        if self.window.is_measured(intended) {
            let record = self.recording.kinds.entry(kind).or_default();
            record.latency.record(intended, started, ended);
        }
    }

    /// Counts an operation of `kind` that failed, beside the error.
    pub(super) fn kind_failed(&mut self, kind: &'static str, intended: Instant) {
        if self.window.is_measured(intended) {
            self.recording.kinds.entry(kind).or_default().errors += 1;
        }
    }

    /// Moves one control connection between states at `at`; `None` is "not open".
    pub fn connection(
        &mut self,
        from: Option<ConnectionState>,
        to: Option<ConnectionState>,
        at: Instant,
    ) {
        self.tick(at);
        self.states.transition(from, to);
        if from.is_none() && self.window.is_measured(at) {
            self.recording.counters.connections += 1;
        }
        let open = self.series.open();
        open.connections = self.states;
        open.connections_peak = open.connections_peak.max(self.states.open());
    }

    /// What it holds of the measured part so far.
    #[must_use]
    pub fn so_far(&self) -> &Recording {
        &self.recording
    }

    /// Connections by state, for an engine that bounds them.
    #[must_use]
    pub fn connections(&self) -> &ConnectionStates {
        &self.states
    }

    /// Closes the intervals that ended before `now`. Every call that takes a time does it too; an
    /// engine calls it once a second so that the display moves while nothing ends.
    pub fn tick(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.window.start);
        let live = &mut self.live;
        self.series.advance(elapsed, |interval| {
            if let Some(Outlet { sender, errors }) = live {
                let update =
                    LiveUpdate { interval: interval.clone(), errors: std::mem::take(errors) };
                // Full or gone: the watcher's loss, by contract of `with_live`.
                let _ = sender.try_send(Live::Closed(update));
            }
        });
    }

    /// Ends the record at `now`, with the thread's own use of its CPU.
    #[must_use]
    pub fn finish(mut self, now: Instant, thread: ThreadUse) -> Recording {
        self.tick(now);
        let elapsed = now.saturating_duration_since(self.window.start);
        let live = self.live;
        self.recording.intervals = self.series.finish(elapsed, |interval| {
            if let Some(Outlet { sender, errors }) = live {
                let update = LiveUpdate { interval: interval.clone(), errors };
                let _ = sender.try_send(Live::Ended(update, elapsed));
            }
        });
        self.recording.threads.push(thread);
        self.recording
    }

    pub(super) fn record_if(
        &mut self,
        measured: bool,
        phase: Phase,
        intended: Instant,
        started: Instant,
        ended: Instant,
    ) {
        if phase == Phase::Operation {
            self.tick(ended);
            let latency = ended.saturating_duration_since(intended.min(started));
            self.series.operation(latency, measured);
            self.recording.ends.last_success = Some(ended);
            self.recording.ends.errors_since = 0;
            if let Some(tally) = &self.tally {
                tally.operations.fetch_add(1, Ordering::Relaxed);
            }
        }
        if measured {
            self.recording.phases[phase.index()].record(intended, started, ended);
            if phase == Phase::Operation {
                self.recording.counters.operations += 1;
            }
        }
    }
}
