//! The search for the highest rate, against queues whose capacity is known, on synthetic time: each
//! trial is a whole run of the queue, recorded and judged as a real one is.

use std::time::{Duration, Instant};

use crate::made_up::{details, window};
use ringload::measure::{
    ErrorKind, Phase, Recorder, RunResult, StepPurpose, StepVerdict, ThreadUse, Timeline, Window,
};
use ringload::plan::{Arrivals, Part, Place, Profile, Schedule};
use ringload::slo::{Above, Found, Next, Search, Trial};
use ringload::verify::Random;

const STEP: Duration = Duration::from_secs(10);
const WARMUP: Duration = Duration::from_secs(1);

/// A server of so many desks, each of which takes one operation at a time.
#[derive(Clone, Copy)]
struct Server {
    /// Operations a second, of all desks.
    capacity: f64,
    desks: usize,
    /// Whether an operation takes a random time of that mean; otherwise all take the same.
    random: bool,
    /// So many wait at most; the next one is refused.
    room: usize,
    arrivals: Arrivals,
}

const PLAIN: Server = Server {
    capacity: 1000.0,
    desks: 4,
    random: false,
    room: usize::MAX,
    arrivals: Arrivals::Constant,
};

impl Server {
    fn run(self, trial: Trial, seed: u64) -> RunResult {
        let part = Window { measured: Some(trial.duration), ..window(WARMUP) };
        let mut recorder = Recorder::new(part);
        let end = part.end().unwrap();
        let mut random = Random::new(seed, 1);
        let mut desks = vec![part.start; self.desks];
        let profile = Profile::constant(trial.rate).unwrap();
        let mean = self.desks as f64 / self.capacity;
        let mut last = end;
        let place = Place::new(Part::WHOLE, 0, 1);
        for (_, after) in Schedule::new(profile, self.arrivals, seed, place) {
            let intended = part.start + after;
            if intended >= end {
                break;
            }
            let desk = desks.iter_mut().min().unwrap();
            let started = intended.max(*desk);
            let timeline = Timeline::new(intended, started);
            let waits = (started - intended).as_secs_f64() * self.capacity;
            if waits > self.room as f64 {
                let kind = ErrorKind::UnexpectedReply(421);
                Timeline::new(intended, intended).fail(
                    &mut recorder,
                    Phase::Greeting,
                    kind,
                    intended,
                    "full",
                );
                continue;
            }
            let share = if self.random { random.next_exponential() } else { 1.0 };
            *desk = started + Duration::from_secs_f64(mean * share);
            timeline.succeed(&mut recorder, *desk);
            last = last.max(*desk);
        }
        result(part, recorder, last)
    }
}

fn result(part: Window, recorder: Recorder, last: Instant) -> RunResult {
    let mut details = details("login");
    details.server = None;
    details.warmup = WARMUP;
    details.measured = part.measured.unwrap();
    details.elapsed = last - part.start;
    RunResult::new(details, &recorder.finish(last, ThreadUse::default()))
}

/// What is found, and how many trials of which purpose it took.
fn searched(objective: &str, run: impl Fn(Trial, u64) -> RunResult) -> (Found, Vec<Trial>) {
    let mut search = Search::new(objective.parse().unwrap(), STEP);
    let mut trials = Vec::new();
    loop {
        match search.next() {
            Next::End(found) => return (found, trials),
            Next::Run(trial) => {
                let step = search.report(trial, &run(trial, trials.len() as u64));
                let failed = step.errors as f64 / step.seconds;
                assert!(!step.held || step.reached + failed >= 0.96 * step.offered, "{step:?}");
                trials.push(trial);
            }
        }
    }
}

#[track_caller]
fn check(objective: &str, server: Server, low: f64, high: f64) {
    let (found, trials) = searched(objective, |trial, seed| server.run(trial, seed));
    let rate = found.rate.unwrap_or(0.0);
    assert!((low..=high).contains(&rate), "{objective}: {rate} after {trials:?}");
    assert!(matches!(found.above, Above::Broken(above) if above < rate * 1.05), "{found:?}");
    let confirmed = trials.iter().filter(|trial| trial.rate == rate).count();
    assert!(confirmed >= 3, "{confirmed} times");
    assert!(trials.len() < 40, "{}", trials.len());
}

/// A queue without end refuses nothing, and for a while the latencies are within any objective:
/// only that it grows tells.
#[test]
fn a_server_of_known_capacity_is_found_within_five_percent() {
    for objective in ["errors=0", "p99<20ms", "p99<1s", "p50<5ms,errors=0"] {
        check(objective, PLAIN, 950.0, 1050.0);
    }
    let slow = Server { capacity: 33.0, desks: 1, ..PLAIN };
    check("errors=0", slow, 31.4, 34.6);
    let fast = Server { capacity: 40_000.0, desks: 64, ..PLAIN };
    check("p99<20ms", fast, 38_000.0, 42_000.0);
}

/// With chance in what comes and in what it takes, the rate at which 1 % is later than the
/// objective lies below the capacity: for one desk, both exponential, p99 = ln(100) ÷ (µ − λ).
#[test]
fn with_chance_the_rate_is_that_of_theory() {
    let chance = Server { desks: 1, random: true, arrivals: Arrivals::Poisson, ..PLAIN };
    let limit = 1000.0 - 100_f64.ln() / 0.020;
    check("p99<20ms", chance, limit * 0.95, limit * 1.05);
    check("errors=0", chance, 950.0, 1050.0);
    check("p99<1s", chance, 950.0, 1050.0);
}

#[test]
fn refusals_count_as_the_objective_says() {
    let full = Server { room: 50, ..PLAIN };
    check("errors=0", full, 950.0, 1050.0);
    check("p99<20ms", full, 950.0, 1050.0);
    // It says itself that one of ten may fail.
    check("errors<10%", full, 1050.0, 1130.0);
}

/// 99 % of 100 operations say nothing of a 99th percentile.
#[test]
fn trials_are_as_long_as_the_objective_needs() {
    let slow = Server { capacity: 120.0, desks: 1, ..PLAIN };
    let (found, trials) = searched("p99<200ms", |trial, seed| slow.run(trial, seed));
    assert!(found.rate.is_some());
    for trial in trials {
        let operations = trial.rate * trial.duration.as_secs_f64();
        let least = if trial.purpose == StepPurpose::Scout { 20.0 } else { 10_000.0 };
        assert!(operations >= least * 0.999, "{trial:?}");
    }
}

#[test]
fn nothing_that_succeeds_ends_the_search_at_once() {
    // On a busy machine, too, where each trial is taken for the generator's fault.
    for (starved, tries) in [(false, 1), (true, 3)] {
        let (found, trials) = searched("errors=0", |trial, _| {
            let part = Window { measured: Some(trial.duration), ..window(WARMUP) };
            let mut recorder = Recorder::new(part);
            for index in 0..100 {
                let at = part.begin() + Duration::from_millis(10) * index;
                let kind = ErrorKind::ConnectRefused;
                Timeline::new(at, at).fail(&mut recorder, Phase::TcpConnect, kind, at, "");
            }
            let mut result = result(part, recorder, part.end().unwrap());
            result.client.was_starved = starved;
            result
        });
        assert_eq!((found.rate, trials.len()), (None, tries));
    }
    // An objective that nothing can hold is given up too.
    let (found, trials) = searched("p50<1ns", |trial, seed| PLAIN.run(trial, seed));
    assert_eq!(found.rate, None);
    assert!(trials.len() < 12, "{}", trials.len());
}

/// A step at which the generator was the limit proves nothing, however often it is run.
#[test]
fn where_the_client_is_the_limit_nothing_is_known() {
    let (found, trials) = searched("errors=0", |trial, seed| {
        let mut result = PLAIN.run(trial, seed);
        result.client.was_limit = trial.rate > 500.0;
        result
    });
    // Below 1000 it holds all the same: what is asked is done.
    assert!((950.0..1050.0).contains(&found.rate.unwrap()), "{found:?}");
    assert!(matches!(found.above, Above::Unknown(_)), "{found:?}");
    let first = trials.iter().find(|trial| trial.rate > 1000.0).unwrap().rate;
    assert_eq!(trials.iter().filter(|trial| trial.rate == first).count(), 3);
}

/// One bad minute of the machine is not the server's: neither bound is believed at once.
#[test]
fn a_single_disturbance_does_not_decide() {
    for disturbed in 0..16 {
        let count = std::cell::Cell::new(0);
        let (found, trials) = searched("p99<20ms", |trial, seed| {
            let slower = if count.replace(count.get() + 1) == disturbed { 3.0 } else { 1.0 };
            Server { capacity: 1000.0 / slower, ..PLAIN }.run(trial, seed)
        });
        let rate = found.rate.unwrap();
        assert!((930.0..1050.0).contains(&rate), "{disturbed}: {rate} after {trials:?}");
    }
}

#[test]
fn a_step_says_why_it_broke() {
    let mut search = Search::new("p99<1s".parse().unwrap(), STEP);
    let trial = Trial { rate: 1050.0, duration: STEP * 2, purpose: StepPurpose::Narrow };
    let step = search.report(trial, &PLAIN.run(trial, 1));
    assert_eq!((step.verdict, step.held), (StepVerdict::Broken, false));
    let reasons = step.reasons.join("; ");
    assert!(reasons.contains("the queue grew from 5"), "{reasons}");
    assert!(reasons.contains("reached 1000/s of 1050/s"), "{reasons}");
}
