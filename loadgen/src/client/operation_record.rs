//! What the client records: the phases of one operation, and the state of a control connection. The
//! only place of the client that reads the clock for measuring.

use std::{cell::RefCell, rc::Rc, time::Instant};

use super::Failure;
use crate::measure::{ConnectionState, Phase, Recorder, Timeline, TlsHandshake};

/// The recorder of a thread, shared by its tasks.
pub type SharedRecorder = Rc<RefCell<Recorder>>;

/// The record of one operation while it runs: its phases, its result, and whether it counts.
#[derive(Clone)]
pub struct OperationRecord {
    recorder: SharedRecorder,
    timeline: Timeline,
    recorded: bool,
    /// Whether its TLS handshakes count.
    tls: bool,
}

impl OperationRecord {
    /// An operation planned for `intended`, beginning now. What it waited counts as
    /// [`Phase::Queued`].
    #[must_use]
    pub fn new(recorder: &SharedRecorder, intended: Instant) -> Self {
        let mut record = Self::waiting(recorder, intended);
        record.timeline.queued(&mut record.recorder.borrow_mut());
        record
    }

    /// An operation planned for `intended` that has not begun.
    #[must_use]
    pub fn waiting(recorder: &SharedRecorder, intended: Instant) -> Self {
        Self::begun(recorder, intended, Instant::now().max(intended))
    }

    /// An operation that begins when it may: closed loop.
    #[must_use]
    pub fn now(recorder: &SharedRecorder) -> Self {
        let now = Instant::now();
        Self::begun(recorder, now, now)
    }

    fn begun(recorder: &SharedRecorder, intended: Instant, started: Instant) -> Self {
        let timeline = Timeline::new(intended, started);
        Self { recorder: Rc::clone(recorder), timeline, recorded: true, tls: true }
    }

    /// The opening of a session that the run will use: only its TLS facts count.
    #[must_use]
    pub fn preparation(recorder: &SharedRecorder) -> Self {
        Self { recorded: false, ..Self::now(recorder) }
    }

    /// An operation outside the run, which counts nowhere.
    #[must_use]
    pub fn unrecorded(recorder: &SharedRecorder) -> Self {
        Self { recorded: false, tls: false, ..Self::now(recorder) }
    }

    /// Whether it counts.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// The recorder.
    #[must_use]
    pub const fn recorder(&self) -> &SharedRecorder {
        &self.recorder
    }

    /// Of several kinds of operation in one workload, it is of this one.
    pub fn of_kind(&mut self, kind: &'static str) {
        self.timeline.of_kind(kind);
    }

    /// `phase` ended now.
    pub fn phase(&mut self, phase: Phase) {
        if self.recorded {
            self.timeline.phase(&mut self.recorder.borrow_mut(), phase, Instant::now());
        }
    }

    /// The time since the last phase belongs to no phase.
    pub fn skip(&mut self) {
        self.timeline.skip(Instant::now());
    }

    /// A TLS handshake ended. Those of the sessions that a run prepares count with it: they are the
    /// sessions it then measures.
    pub fn tls(&self, facts: TlsHandshake) {
        if !self.tls {
            return;
        }
        let mut recorder = self.recorder.borrow_mut();
        let window = recorder.window();
        let at = if self.recorded { Instant::now() } else { window.start + window.warmup };
        recorder.tls(facts, at);
    }

    /// Payload was sent.
    pub fn bytes_up(&mut self, bytes: usize) {
        if self.recorded {
            let recorder = &mut self.recorder.borrow_mut();
            self.timeline.bytes_up(recorder, bytes as u64, Instant::now());
        }
    }

    /// Payload came.
    pub fn bytes_down(&mut self, bytes: usize) {
        if self.recorded {
            let recorder = &mut self.recorder.borrow_mut();
            self.timeline.bytes_down(recorder, bytes as u64, Instant::now());
        }
    }

    /// The operation succeeded now.
    pub fn succeed(self) {
        if self.recorded {
            self.timeline.succeed(&mut self.recorder.borrow_mut(), Instant::now());
        }
    }

    /// The operation failed now.
    pub fn fail(self, failure: &Failure) {
        if self.recorded {
            self.timeline.fail(
                &mut self.recorder.borrow_mut(),
                failure.phase,
                failure.kind,
                Instant::now(),
                &failure.detail,
            );
        }
    }

    /// The workload gave the operation up on purpose.
    pub fn abandon(self) {
        if self.recorded {
            self.timeline.abandon(&mut self.recorder.borrow_mut(), Instant::now());
        }
    }

    /// The end of the run cut the operation in `phase`, and nobody failed.
    pub fn cut(self, phase: Phase) {
        if self.recorded {
            self.timeline.cut(&mut self.recorder.borrow_mut(), phase, Instant::now());
        }
    }
}

/// A control connection's place in the count of connections by state; leaves it when dropped.
pub struct Presence {
    recorder: SharedRecorder,
    state: ConnectionState,
}

impl Presence {
    /// A connection begins.
    #[must_use]
    pub fn new(recorder: &SharedRecorder) -> Self {
        let state = ConnectionState::Connecting;
        recorder.borrow_mut().connection(None, Some(state), Instant::now());
        Self { recorder: Rc::clone(recorder), state }
    }

    /// It is in `state` now.
    pub fn set(&mut self, state: ConnectionState) {
        if state != self.state {
            let mut recorder = self.recorder.borrow_mut();
            recorder.connection(Some(self.state), Some(state), Instant::now());
            self.state = state;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.recorder.borrow_mut().connection(Some(self.state), None, Instant::now());
    }
}
