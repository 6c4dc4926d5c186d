//! One operation's phases while it runs.

use std::time::Instant;

use super::error_kind::ErrorKind;
use super::phase::Phase;
use super::recorder::{Moved, Recorder};

/// One operation's phases, end to end, so that they add up to the operation in both latencies:
/// what is due by a clock is first [`Phase::Queued`] until it begins, each next phase begins where
/// the last ended.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    intended: Instant,
    started: Instant,
    phase_intended: Instant,
    phase_started: Instant,
    kind: Option<&'static str>,
    moved: Moved,
    /// What its phases took, corrected, in nanoseconds.
    phase_ns: [u64; Phase::COUNT],
}

impl Timeline {
    /// An operation planned for `intended` (in closed loop: equal to `started`) and begun at
    /// `started`.
    #[must_use]
    pub fn new(intended: Instant, started: Instant) -> Self {
        let (phase_intended, phase_started) = (intended, started);
        Self {
            intended,
            started,
            phase_intended,
            phase_started,
            kind: None,
            moved: Moved::default(),
            phase_ns: [0; Phase::COUNT],
        }
    }

    /// When the operation was planned to begin.
    #[must_use]
    pub fn intended(&self) -> Instant {
        self.intended
    }

    /// Of several kinds of operation in one workload, it is of this one.
    pub fn of_kind(&mut self, kind: &'static str) {
        self.kind = Some(kind);
    }

    /// Counts the time from when the operation was due until it began as the phase
    /// [`Phase::Queued`]: for what is due by a clock.
    pub fn queued(&mut self, recorder: &mut Recorder) {
        let started = self.phase_started;
        recorder.queued(self.intended, started);
        self.spend(Phase::Queued, self.intended, started);
        self.skip(started);
    }

    /// Counts `phase` as having lasted from the end of the phase before it until `now`.
    pub fn phase(&mut self, recorder: &mut Recorder, phase: Phase, now: Instant) {
        let measured = recorder.window().is_measured(self.intended);
        recorder.record_if(measured, phase, self.phase_intended, self.phase_started, now);
        self.spend(phase, self.phase_intended.min(self.phase_started), now);
        self.skip(now);
    }

    fn spend(&mut self, phase: Phase, from: Instant, to: Instant) {
        let spent = to.saturating_duration_since(from).as_nanos();
        let sum = &mut self.phase_ns[phase.index()];
        *sum = sum.saturating_add(u64::try_from(spent).unwrap_or(u64::MAX));
    }

    /// Lets the time until `now` belong to no phase (a think time within the operation).
    pub fn skip(&mut self, now: Instant) {
        self.phase_intended = now;
        self.phase_started = now;
    }

    /// Counts payload sent at `now`.
    pub fn bytes_up(&mut self, recorder: &mut Recorder, bytes: u64, now: Instant) {
        self.moved(recorder, bytes, now);
        recorder.bytes_up(bytes, now);
    }

    /// Counts payload received at `now`.
    pub fn bytes_down(&mut self, recorder: &mut Recorder, bytes: u64, now: Instant) {
        self.moved(recorder, bytes, now);
        recorder.bytes_down(bytes, now);
    }

    fn moved(&mut self, recorder: &Recorder, bytes: u64, now: Instant) {
        self.moved.all += bytes;
        if recorder.window().holds(now) {
            self.moved.inside += bytes;
        }
    }

    /// Counts the whole operation as having succeeded at `now`.
    pub fn succeed(mut self, recorder: &mut Recorder, now: Instant) {
        recorder.succeeded(self.intended, self.started, self.moved, now);
        self.spend(Phase::Operation, self.intended.min(self.started), now);
        recorder.phases_of_one(&self.phase_ns);
        if let Some(kind) = self.kind {
            recorder.kind_succeeded(kind, self.intended, self.started, now);
        }
    }

    /// Counts the operation as failed in `phase` at `now`.
    pub fn fail(
        self,
        recorder: &mut Recorder,
        phase: Phase,
        error: ErrorKind,
        now: Instant,
        detail: &str,
    ) {
        recorder.ended(self.intended, self.moved, now);
        recorder.error(phase, error, self.intended, now, detail);
        if let Some(kind) = self.kind {
            recorder.kind_failed(kind, self.intended);
        }
    }

    /// Counts the operation as given up on purpose at `now`.
    pub fn abandon(self, recorder: &mut Recorder, now: Instant) {
        recorder.ended(self.intended, self.moved, now);
        recorder.abandoned(self.intended);
    }

    /// Counts the operation as cut at `now` by the end of the run, in `phase`: nobody's failure.
    pub fn cut(self, recorder: &mut Recorder, phase: Phase, now: Instant) {
        recorder.ended(self.intended, self.moved, now);
        recorder.unfinished(phase, self.intended);
    }
}
