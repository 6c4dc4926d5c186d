//! The threads' intervals put together: what all of them did in one stretch of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::measure::{ConnectionStates, Errors, Interval, LiveUpdate};

/// What all threads did in a stretch of the run.
pub(super) struct Stretch {
    pub(super) begin: Duration,
    /// Cut where the run ended.
    pub(super) length: Duration,
    pub(super) sum: Interval,
    pub(super) errors: Errors,
    /// Whether it is as long as it was to be.
    pub(super) is_whole: bool,
}

impl Stretch {
    pub(super) fn end(&self) -> Duration {
        self.begin + self.length
    }

    /// Together with the one that follows it.
    pub(super) fn followed_by(mut self, next: &Self) -> Self {
        self.sum.merge_next(&next.sum);
        self.errors.merge(&next.errors);
        let length = next.end().saturating_sub(self.begin);
        Self { length, is_whole: self.is_whole && next.is_whole, ..self }
    }
}

/// An interval for which some threads have reported.
struct Pending {
    threads: usize,
    sum: Interval,
    errors: Errors,
    /// The longest of the threads that ended in it.
    ended: Option<Duration>,
}

/// Puts them together.
pub(super) struct Gather {
    threads: usize,
    /// By begin.
    pending: BTreeMap<Duration, Pending>,
    /// Where the last stretch given out ended.
    given_until: Duration,
    /// Begins of the last intervals of threads that have ended.
    ends: Vec<Duration>,
}

impl Gather {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, pending: BTreeMap::new(), given_until: Duration::ZERO, ends: Vec::new() }
    }

    /// Adds one thread's interval, in which it ended if there is an `ended`; returns those that are
    /// complete, oldest first.
    pub(super) fn add(&mut self, update: LiveUpdate, ended: Option<Duration>) -> Vec<Stretch> {
        /// Beyond this the oldest is given out without the thread that stays behind.
        const PENDING_MAX: usize = 3;
        let LiveUpdate { mut interval, errors } = update;
        let mut begin = interval.begin();
        let mut threads = 1;
        if ended.is_some() {
            self.ends.push(begin);
        }
        if begin < self.given_until {
            // From a thread that is behind: its counts are shown late, its connections once it has
            // caught up.
            begin = self.given_until;
            interval.connections = ConnectionStates::default();
            threads = 0;
        }
        match self.pending.get_mut(&begin) {
            Some(pending) => {
                pending.threads += threads;
                pending.sum.merge_thread(&interval);
                pending.errors.merge(&errors);
                pending.ended = pending.ended.max(ended);
            }
            None => {
                self.pending.insert(begin, Pending { threads, sum: interval, errors, ended });
            }
        }
        let mut complete = Vec::new();
        while let Some((begin, pending)) = self.pending.first_key_value() {
            let gone = self.ends.iter().filter(|end| *end < begin).count();
            if pending.threads + gone < self.threads && self.pending.len() <= PENDING_MAX {
                break;
            }
            complete.extend(self.take_first());
        }
        complete
    }

    /// What is left when nothing more comes.
    pub(super) fn rest(&mut self) -> Vec<Stretch> {
        std::iter::from_fn(|| self.take_first()).collect()
    }

    fn take_first(&mut self) -> Option<Stretch> {
        let (begin, pending) = self.pending.pop_first()?;
        let whole = pending.sum.length;
        let is_last = self.pending.is_empty() && self.ends.len() >= self.threads;
        let cut = pending.ended.filter(|_| is_last).map(|end| end.saturating_sub(begin));
        let length = cut.map_or(whole, |cut| cut.min(whole));
        let Pending { sum, errors, .. } = pending;
        let stretch = Stretch { begin, length, sum, errors, is_whole: length == whole };
        // Also of a last one: what comes late is counted behind it.
        self.given_until = begin + whole;
        Some(stretch)
    }
}
