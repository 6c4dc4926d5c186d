//! One thread's record of what happened, and the record of a whole run after the threads ended.
//! Nothing here is shared between threads while they run, so nothing locks.

use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::counters::{ConnectionState, ConnectionStates, Counters, TlsHandshake};
use super::error_kind::{ErrorKind, Errors};
use super::histogram::{Latency, LatencyHistogram};
use super::interval::{Interval, Series, merge_threads};
use super::phase::Phase;

/// The run's time frame. Warm-up operations appear in the intervals over time and count nowhere
/// else.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When the first operation was to begin.
    pub start: Instant,
    /// How long after it the measured part begins.
    pub warmup: Duration,
}

impl Window {
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
    live: Option<Live>,
}

/// What a thread tells the display when an interval closes.
#[derive(Clone, Debug)]
pub struct LiveUpdate {
    /// The interval.
    pub interval: Interval,
    /// Its errors, warm-up included.
    pub errors: Errors,
}

/// The channel to the display, and the errors of the open interval.
struct Live {
    sender: SyncSender<LiveUpdate>,
    errors: Errors,
}

impl Recorder {
    /// An empty recorder (about 6 MiB of address space; memory as far as it is used).
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self {
            window,
            recording: Recording::default(),
            series: Series::new(),
            states: ConnectionStates::default(),
            live: None,
        }
    }

    /// Sends each interval to the display when it closes. A full channel loses the interval for the
    /// display only; nothing waits.
    #[must_use]
    pub fn with_live(mut self, sender: SyncSender<LiveUpdate>) -> Self {
        self.live = Some(Live { sender, errors: Errors::default() });
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
    /// decides whether the phase is measured; [`Timeline`] lets the operation's decide instead, so
    /// that the phases of one operation are counted together.
    pub fn record(&mut self, phase: Phase, intended: Instant, started: Instant, ended: Instant) {
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
        if let Some(live) = &mut self.live {
            live.errors.add(phase, kind, detail);
        }
        if self.window.is_measured(intended) {
            self.recording.errors.add(phase, kind, detail);
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
    }

    /// Counts payload received on a data connection.
    pub fn bytes_down(&mut self, bytes: u64, at: Instant) {
        self.tick(at);
        self.series.open().bytes_down += bytes;
        if self.window.is_measured(at) {
            self.recording.counters.bytes_down += bytes;
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
            if let Some(Live { sender, errors }) = live {
                let errors = std::mem::take(errors);
                // Full or gone: the display's loss, by contract of `with_live`.
                let _ = sender.try_send(LiveUpdate { interval: interval.clone(), errors });
            }
        });
    }

    /// Ends the record at `now`, with the thread's own use of its CPU.
    #[must_use]
    pub fn finish(mut self, now: Instant, thread: ThreadUse) -> Recording {
        self.tick(now);
        let elapsed = now.saturating_duration_since(self.window.start);
        self.recording.intervals = self.series.finish(elapsed);
        self.recording.threads.push(thread);
        self.recording
    }

    fn record_if(
        &mut self,
        measured: bool,
        phase: Phase,
        intended: Instant,
        started: Instant,
        ended: Instant,
    ) {
        if phase == Phase::Operation {
            self.tick(ended);
            self.series.operation(ended.saturating_duration_since(intended.min(started)));
        }
        if measured {
            self.recording.phases[phase.index()].record(intended, started, ended);
            if phase == Phase::Operation {
                self.recording.counters.operations += 1;
            }
        }
    }
}

/// How much of its core a generator thread used in the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadUse {
    /// CPU time, user and system ([`thread_cpu_time`](super::thread_cpu_time) at the end less that
    /// at the end of the warm-up).
    pub cpu: Duration,
    /// How long it was ready to run and others used its core
    /// ([`thread_cpu_wait`](super::thread_cpu_wait), likewise).
    pub waited: Duration,
    /// Wall time over the same stretch.
    pub wall: Duration,
}

/// What was recorded, once nothing more comes. Threads' recordings merge into one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    phases: [Latency; Phase::COUNT],
    pub(crate) lateness: LatencyHistogram,
    pub(crate) errors: Errors,
    pub(crate) counters: Counters,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) threads: Vec<ThreadUse>,
}

impl Recording {
    /// Adds another thread's recording. Counts add exactly.
    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.merge(theirs);
        }
        self.lateness.merge(&other.lateness);
        self.errors.merge(&other.errors);
        self.counters.merge(&other.counters);
        merge_threads(&mut self.intervals, other.intervals);
        self.threads.extend(other.threads);
    }

    /// One phase's latency.
    #[must_use]
    pub fn latency(&self, phase: Phase) -> &Latency {
        &self.phases[phase.index()]
    }

    /// The errors.
    #[must_use]
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    /// The counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What ended when, warm-up included.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }
}

/// One operation's phases, end to end, so that they add up to the operation in both latencies:
/// the first phase carries how late the operation began, each next one begins where the last ended.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    intended: Instant,
    started: Instant,
    phase_intended: Instant,
    phase_started: Instant,
}

impl Timeline {
    /// An operation planned for `intended` (in closed loop: equal to `started`) and begun at
    /// `started`.
    #[must_use]
    pub fn new(intended: Instant, started: Instant) -> Self {
        Self { intended, started, phase_intended: intended, phase_started: started }
    }

    /// When the operation was planned to begin.
    #[must_use]
    pub fn intended(&self) -> Instant {
        self.intended
    }

    /// Counts `phase` as having lasted from the end of the phase before it until `now`.
    pub fn phase(&mut self, recorder: &mut Recorder, phase: Phase, now: Instant) {
        let measured = recorder.window.is_measured(self.intended);
        recorder.record_if(measured, phase, self.phase_intended, self.phase_started, now);
        self.skip(now);
    }

    /// Lets the time until `now` belong to no phase (a think time within the operation).
    pub fn skip(&mut self, now: Instant) {
        self.phase_intended = now;
        self.phase_started = now;
    }

    /// Counts the whole operation as having succeeded at `now`.
    pub fn succeed(self, recorder: &mut Recorder, now: Instant) {
        recorder.record(Phase::Operation, self.intended, self.started, now);
    }

    /// Counts the operation as failed in `phase` at `now`.
    pub fn fail(
        self,
        recorder: &mut Recorder,
        phase: Phase,
        kind: ErrorKind,
        now: Instant,
        detail: &str,
    ) {
        recorder.error(phase, kind, self.intended, now, detail);
    }
}
