//! The record of a whole run after its threads ended: what each recorded, merged. Counts add
//! exactly.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::error_kind::Errors;
use super::histogram::{Latency, LatencyHistogram};
use super::interval::{Interval, merge_threads};
use super::phase::Phase;

/// How much of its core a generator thread used in the measured part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadUse {
    /// CPU time, user and system ([`thread_cpu_time`](super::thread_cpu_time) at the end of the
    /// measured part less that at the end of the warm-up).
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
    pub(super) phases: [Latency; Phase::COUNT],
    /// Whole operations by kind, where a workload has several.
    pub(crate) kinds: BTreeMap<&'static str, KindRecord>,
    pub(crate) lateness: LatencyHistogram,
    pub(crate) errors: Errors,
    pub(crate) counters: Counters,
    /// Operations that the end of the run cut, nobody's failures, by the phase they were in.
    pub(crate) unfinished: BTreeMap<Phase, u64>,
    pub(crate) work: Work,
    pub(crate) ends: Ends,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) threads: Vec<ThreadUse>,
}

/// Operations of one kind in the measured part.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KindRecord {
    pub(crate) latency: Latency,
    pub(crate) errors: u64,
}

/// What was done between the two ends of the measured part, over which CPU time is read too, and
/// what stood in the queue at each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Operations that ended within, transfers by the share of their payload that moved within;
    /// also those that failed.
    pub(crate) operations: f64,
    /// Operations that ended within, and well.
    pub(crate) succeeded: u64,
    /// Payload sent.
    pub(crate) bytes_up: u64,
    /// Payload received.
    pub(crate) bytes_down: u64,
    /// Operations due within.
    pub(crate) due: u64,
    /// Operations due before it began and not ended by then.
    pub(crate) backlog_begin: u64,
    /// Operations due before it ended and not ended by then.
    pub(crate) backlog_end: u64,
}

/// The last success and what failed after it, the warm-up included: whether the server was still
/// there at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) last_success: Option<Instant>,
    pub(crate) last_error: Option<Instant>,
    pub(crate) errors_since: u64,
}

impl Recording {
    /// Adds another thread's recording. Counts add exactly.
    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.merge(theirs);
        }
        for (kind, theirs) in other.kinds {
            let mine = self.kinds.entry(kind).or_default();
            mine.latency.merge(&theirs.latency);
            mine.errors += theirs.errors;
        }
        self.lateness.merge(&other.lateness);
        self.errors.merge(&other.errors);
        self.counters.merge(&other.counters);
        for (phase, count) in other.unfinished {
            *self.unfinished.entry(phase).or_default() += count;
        }
        self.work.merge(other.work);
        self.ends.merge(other.ends);
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

    /// Operations of the measured part that the end of the run cut.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.unfinished.values().sum()
    }
}

impl Work {
    /// Payload, both ways.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes_up + self.bytes_down
    }

    fn merge(&mut self, other: Self) {
        self.operations += other.operations;
        self.succeeded += other.succeeded;
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        self.due += other.due;
        self.backlog_begin += other.backlog_begin;
        self.backlog_end += other.backlog_end;
    }
}

impl Ends {
    fn merge(&mut self, other: Self) {
        self.last_success = self.last_success.max(other.last_success);
        self.last_error = self.last_error.max(other.last_error);
        self.errors_since += other.errors_since;
    }
}
