//! The search for the highest rate that holds an objective: which rate to run next, and what its
//! result showed. No clock, no connection: results in, trials out.
//!
//! A rate *holds* when the objective is met, 99 % of what was due succeeded in the time in which it
//! was due, the queue of what was due did not grow, and there were enough operations to tell. The
//! rate doubles in short trials (*scouts*, which prove nothing) until it breaks; then the bounds
//! are narrowed to [`PRECISION`] by trials long enough for the objective; then the lower bound has
//! to hold [`CONFIRMATIONS`] times and the upper one to break twice. A trial that broke while the
//! generator was the limit or starved is repeated, [`TRIES`] times in all, and is then unknown: the
//! search stays below it.

use std::time::Duration;

use super::Objective;
use crate::measure::{Phase, RateStep, RunResult, StepPurpose, StepVerdict};
use crate::plan::RATE_MAX;
use crate::report::format;

/// The first rate, operations a second.
const BEGIN: f64 = 50.0;

/// A lower rate is not tried: a search of days.
const RATE_MIN: f64 = 0.1;

/// Upper bound by lower bound when the search has found its place.
const PRECISION: f64 = 1.02;

/// Bounds farther apart than this are narrowed by scouts.
const COARSE: f64 = 1.25;

/// How often the rate found must hold.
const CONFIRMATIONS: u32 = 3;

/// How often the rate above it must break.
const REFUTATIONS: u32 = 2;

/// How often a trial is run in which the generator may have been the cause.
const TRIES: u32 = 3;

/// A scout is no longer than this if the rate allows, …
const SCOUT: Duration = Duration::from_secs(2);

/// … and has so many operations.
const SCOUT_OPERATIONS: f64 = 20.0;

/// Fewer operations cannot show whether a queue grows.
const OPERATIONS_MIN: u64 = 400;

/// Share of what is due that must succeed in time.
const REACHED: f64 = 0.99;

/// The backlog at a moment varies by chance: whether a growth of up to so many times the square
/// root of both is one, only a longer trial can tell.
const CHANCE: f64 = 3.0;

/// How often a trial is doubled to tell that.
const DOUBLINGS_MAX: u32 = 2;

/// Trials of one search; noise that never lets it come to an end ends here.
const STEPS_MAX: usize = 100;

/// One run of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Operations a second.
    pub rate: f64,
    /// Length of its measured part.
    pub duration: Duration,
    /// What for.
    pub purpose: StepPurpose,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Run this and report it.
    Run(Trial),
    /// The search is over.
    End(Found),
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The highest rate that was confirmed.
    pub rate: Option<f64>,
    /// What is known above it.
    pub above: Above,
}

/// What is known of rates above the one found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Above {
    /// This one does not hold.
    Broken(f64),
    /// At this one the generator was the limit or starved.
    Unknown(f64),
    /// Nothing: it is the highest that there is, or the search was ended.
    Nothing,
}

/// A bound, and how often it was seen by a trial that can tell.
#[derive(Clone, Copy, Debug)]
struct Bound {
    rate: f64,
    seen: u32,
    known: bool,
    /// How often the trial that showed it had to be doubled.
    doublings: u32,
}

/// A search under way.
#[derive(Clone, Debug)]
pub struct Search {
    objective: Objective,
    step: Duration,
    low: Option<Bound>,
    high: Option<Bound>,
    /// Trials at the next rate that showed nothing because of the generator.
    tried: u32,
    /// How often the next trial is doubled.
    doublings: u32,
    steps: usize,
    hopeless: bool,
}

impl Search {
    /// Searches with trials of `step`, or longer ones where the objective needs them.
    #[must_use]
    pub fn new(objective: Objective, step: Duration) -> Self {
        let (low, high) = (None, None);
        Self { objective, step, low, high, tried: 0, doublings: 0, steps: 0, hopeless: false }
    }

    /// What to do next.
    #[must_use]
    pub fn next(&self) -> Next {
        if self.hopeless || self.steps >= STEPS_MAX {
            return Next::End(self.found());
        }
        let (rate, purpose) = match (self.low, self.high) {
            (None, None) => (BEGIN, StepPurpose::Scout),
            (None, Some(high)) => (high.rate / 2.0, StepPurpose::Scout),
            (Some(low), None) if low.rate * 2.0 > RATE_MAX => return self.confirm(low),
            (Some(low), None) => (low.rate * 2.0, StepPurpose::Scout),
            (Some(low), Some(high)) if high.rate > low.rate * PRECISION => {
                let far = high.rate > low.rate * COARSE;
                let purpose = if far { StepPurpose::Scout } else { StepPurpose::Narrow };
                ((low.rate * high.rate).sqrt(), purpose)
            }
            (Some(low), Some(high)) => {
                if low.seen >= CONFIRMATIONS && high.known && high.seen < REFUTATIONS {
                    return self.trial(high.rate, StepPurpose::Refute);
                }
                return self.confirm(low);
            }
        };
        if rate < RATE_MIN {
            return Next::End(self.found());
        }
        self.trial(rate, purpose)
    }

    fn confirm(&self, low: Bound) -> Next {
        if low.seen >= CONFIRMATIONS {
            return Next::End(self.found());
        }
        self.trial(low.rate, StepPurpose::Confirm)
    }

    fn trial(&self, rate: f64, purpose: StepPurpose) -> Next {
        let seconds = |operations: f64| Duration::try_from_secs_f64(operations / rate);
        let duration = match purpose {
            StepPurpose::Scout => {
                self.step.min(SCOUT).max(seconds(SCOUT_OPERATIONS).unwrap_or_default())
            }
            _ => {
                // A little more, because of what succeeds too late and of Poisson arrivals.
                let needed = self.samples_needed() as f64 * 1.05;
                self.step.max(seconds(needed).unwrap_or_default()) * (1 << self.doubled(purpose))
            }
        };
        Next::Run(Trial { rate, duration, purpose })
    }

    /// How often the next trial is doubled: what was needed to break a rate breaks it again.
    fn doubled(&self, purpose: StepPurpose) -> u32 {
        let before = self.high.filter(|_| purpose == StepPurpose::Refute);
        self.doublings.max(before.map_or(0, |high| high.doublings))
    }

    fn samples_needed(&self) -> u64 {
        self.objective.samples_needed().max(OPERATIONS_MIN)
    }

    /// What is known so far.
    #[must_use]
    pub fn found(&self) -> Found {
        let rate = self.low.filter(|low| low.seen >= CONFIRMATIONS).map(|low| low.rate);
        let above = match self.high {
            None => Above::Nothing,
            Some(high) if high.known => Above::Broken(high.rate),
            Some(high) => Above::Unknown(high.rate),
        };
        Found { rate, above }
    }

    /// Takes the result of `trial`, which [`Self::next`] asked for.
    pub fn report(&mut self, trial: Trial, result: &RunResult) -> RateStep {
        let (verdict, reasons) = self.judge(trial, result);
        let doublings = self.doubled(trial.purpose);
        self.steps += 1;
        let rate = trial.rate;
        let full = trial.purpose != StepPurpose::Scout;
        // Nothing at all: no lower rate will do better.
        let totals = &result.totals;
        let hopeless = self.low.is_none() && totals.operations + totals.abandoned == 0;
        match verdict {
            StepVerdict::Unknown => {
                self.tried += 1;
                if self.tried >= TRIES {
                    self.settle();
                    self.lower(Bound { rate, seen: 0, known: false, doublings: 0 });
                    self.hopeless |= hopeless;
                }
            }
            StepVerdict::TooFew if full => self.doublings = doublings + 1,
            StepVerdict::Broken => {
                let seen = u32::from(full);
                self.settle();
                self.lower(Bound { rate, seen, known: true, doublings });
                self.hopeless |= hopeless;
            }
            _ => {
                self.settle();
                self.raise(rate, u32::from(verdict == StepVerdict::Held && full));
            }
        }
        let latency = result.phase(Phase::Operation).map(|phase| &phase.corrected);
        RateStep {
            rate,
            purpose: trial.purpose,
            seconds: result.timing.measured_s,
            offered: result.totals.offered_per_s,
            reached: result.totals.operations_per_s,
            verdict,
            held: verdict == StepVerdict::Held,
            reasons,
            conditions: self.objective.result(result).conditions,
            samples: latency.map_or(0, |latency| latency.count),
            p50_ns: latency.map_or(0, |latency| latency.p50_ns),
            p99_ns: latency.map_or(0, |latency| latency.p99_ns),
            max_ns: latency.map_or(0, |latency| latency.max_ns),
            errors: result.totals.errors,
            client_was_limit: result.client.was_limit || result.client.was_starved,
        }
    }

    /// The trial showed something, and the next one is another.
    fn settle(&mut self) {
        self.tried = 0;
        self.doublings = 0;
    }

    /// `rate` holds, or seems to.
    fn raise(&mut self, rate: f64, seen: u32) {
        match &mut self.low {
            Some(low) if low.rate == rate => low.seen += seen,
            _ => self.low = Some(Bound { rate, seen, known: true, doublings: 0 }),
        }
        // It was thought to break: what lies above it is open again.
        if self.high.is_some_and(|high| high.rate <= rate) {
            self.high = None;
        }
    }

    /// The bound's rate does not hold, or nothing is known of it.
    fn lower(&mut self, bound: Bound) {
        match &mut self.high {
            Some(high) if high.rate == bound.rate => {
                high.seen += bound.seen;
                high.known &= bound.known;
            }
            _ => self.high = Some(bound),
        }
        // It was thought to hold, and may have been confirmed once or twice: a little less might.
        if self.low.is_some_and(|low| low.rate >= bound.rate) {
            let rate = bound.rate / PRECISION * (1.0 + 1e-9);
            self.low = Some(Bound { rate, seen: 0, known: true, doublings: 0 });
        }
    }

    fn judge(&self, trial: Trial, result: &RunResult) -> (StepVerdict, Vec<String>) {
        let verdict = self.objective.check(result);
        let mut reasons: Vec<String> = verdict.unmet().collect();
        let totals = &result.totals;
        let due = totals.offered_per_s * result.timing.measured_s;
        let failed = if self.objective.judges_errors() { totals.errors as f64 } else { 0.0 };
        let reached = totals.operations_per_s * result.timing.measured_s + failed;
        let (begin, end) = (totals.backlog_begin as f64, totals.backlog_end as f64);
        let allowed = due * (1.0 - REACHED);
        let chance = CHANCE * (begin + end).sqrt();
        let scout = trial.purpose == StepPurpose::Scout;
        let longer = scout || self.doubled(trial.purpose) < DOUBLINGS_MAX;
        let mut behind = Vec::new();
        if due - reached > allowed {
            behind.push(format!(
                "reached {}/s of {}/s",
                format::count(totals.operations_per_s),
                format::count(totals.offered_per_s)
            ));
        }
        if end - begin > allowed {
            behind.push(format!("the queue grew from {begin} to {end} operations"));
        }
        let by_chance = (due - reached).max(end - begin) <= chance;
        let undecided = reasons.is_empty() && !behind.is_empty() && by_chance && longer;
        reasons.extend(behind);
        if undecided {
            reasons.push("which a longer step may not show".to_owned());
            return (StepVerdict::TooFew, reasons);
        }
        if !reasons.is_empty() {
            if result.client.was_limit || result.client.was_starved {
                reasons.extend(result.client.limit_reasons.iter().cloned());
                return (StepVerdict::Unknown, reasons);
            }
            return (StepVerdict::Broken, reasons);
        }
        let samples = result.phase(Phase::Operation).map_or(0, |phase| phase.corrected.count);
        let needed = self.samples_needed();
        if samples < needed {
            if !scout {
                reasons.push(format!("{samples} operations, and it takes {needed} to tell"));
            }
            let verdict = if longer { StepVerdict::TooFew } else { StepVerdict::Broken };
            return (verdict, reasons);
        }
        (StepVerdict::Held, reasons)
    }
}
