//! Sessions with random commands, faults and cut connections, each judged by a model of what a
//! client may be told and what storage must hold.
//!
//! Every run is decided by one seed: `RINGFTPD_SEED=… cargo test --lib random_sessions` repeats a
//! failure and prints its trace, `RINGFTPD_SEEDS=…` tries more seeds than usual. Seeds that failed
//! once stay in `seeds.txt`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::model::Canary;
use super::player::{Player, Trace};
use super::workload::{Random, Swarm};
use super::world::{Plan, run, vast_length};
use crate::runtime::simulated::Weather;

/// Runs of a plain `cargo test`.
const SEEDS: u64 = 1024;

/// One seed that is no small number.
const SEED_LARGE: u64 = 0x0959_4217_2228_3659;

/// Runs in which a canary must be found.
const CANARY_SEEDS: u64 = 256;

/// Set to a number to repeat one run.
const SEED_VARIABLE: &str = "RINGFTPD_SEED";

/// Set to a number of runs.
const SEEDS_VARIABLE: &str = "RINGFTPD_SEEDS";

/// Replies that must come in some run.
const CODES: &str = "150 200 211 213 220 221 226 227 229 230 234 250 257 331 350 421 425 426 450 \
                     451 452 500 501 503 522 530 533 534 550 552 553 554";

/// What must show in some trace.
const MARKS: [&str; 22] = [
    "the client is gone: EndsSending",
    "the client is gone: Closes",
    "the connection is reset",
    "the client sends no more",
    "the server drains",
    "client: TLS is off",
    "octets, NotOpened",
    "octets, BadHandshake",
    "octets, BareFin",
    "octets, Reset",
    "octets, Stalled",
    "octets, Broken",
    "octets, Clean, whole: true",
    "private: true",
    "private: false",
    "mode: At(",
    "mode: Append",
    "Retrieve",
    "List",
    "say Rnto",
    "say Abor",
    "say Allo",
];

/// What a finished run leaves.
struct Run {
    seed: u64,
    trace: Vec<String>,
    verdict: Result<(), String>,
}

/// Runs one seed to its end.
fn play(seed: u64, canary: Canary, echo: bool) -> Run {
    let mut random = Random::new(seed);
    let swarm = Swarm::new(&mut random);
    let weather = Weather {
        storage: Duration::from_millis(random.pick(&[1, 1, 5, 40])),
        failing_one_in: if swarm.storage_faults { 8 } else { 0 },
        socket_bytes: random.pick(&[4_608, 16_384]),
        ..Weather::default()
    };
    let plan = Plan { seed, weather, require_tls: swarm.tls_required, ..Plan::default() };
    let trace = Rc::new(RefCell::new(Vec::new()));
    let kept = trace.clone();
    let playing = AssertUnwindSafe(|| {
        run(plan, move |world| async move {
            let trace = Trace { lines: kept, echo };
            Player::new(&world, swarm, random, canary, trace).play().await
        })
    });
    // A check of the world, or a run that goes astray.
    let verdict = catch_unwind(playing).unwrap_or_else(|_| Err("a panic, see above".into()));
    Run { seed, trace: trace.take(), verdict }
}

impl Run {
    /// Its trace, if it went as it should.
    #[track_caller]
    fn check(self) -> Vec<String> {
        let Self { seed, trace, verdict } = self;
        match verdict {
            Ok(()) => trace,
            Err(cause) => panic!("{}\n{SEED_VARIABLE}={seed}: {cause}", trace.join("\n")),
        }
    }
}

/// Takes the numbers below `count`, by turns on as many threads as there are CPUs.
fn each<T: Send>(count: u64, work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work_off = || {
            let mut done = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return done;
                }
                done.push(work(number));
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work_off)).collect();
        let done = threads.into_iter().flat_map(|thread| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        done.collect()
    })
}

fn number_in(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|number| number.parse().expect("a number"))
}

/// The codes and marks of one trace.
fn reached(trace: &[String]) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    for line in trace {
        if let Some((_, code)) = line.split_once(" reply ") {
            reached.insert(code.to_owned());
        }
        reached.extend(MARKS.iter().filter(|mark| line.contains(**mark)).map(|&mark| mark.into()));
    }
    reached
}

/// No seed breaks the model, and together they reach what they should, or a green run says little.
#[test]
fn many_seeds() {
    if let Some(seed) = number_in(SEED_VARIABLE) {
        play(seed, Canary::None, true).check();
        return;
    }
    let seeds = number_in(SEEDS_VARIABLE).unwrap_or(SEEDS);
    let runs = each(seeds + 1, |number| {
        let run = play(if number == seeds { SEED_LARGE } else { number }, Canary::None, false);
        if run.verdict.is_ok() { Ok(reached(&run.trace)) } else { Err(run) }
    });
    let (mut all, mut failed) = (BTreeSet::new(), Vec::new());
    for run in runs {
        match run {
            Ok(reached) => all.extend(reached),
            Err(run) => failed.push(run),
        }
    }
    if !failed.is_empty() {
        let found = failed.iter().map(|run| format!("{} {:?}\n", run.seed, run.verdict));
        println!("{}", found.collect::<String>());
        failed.swap_remove(0).check();
    }
    if seeds < SEEDS {
        return;
    }
    let due = CODES.split_whitespace().chain(MARKS);
    // Only where a file can be as long as the file system has them.
    let due = due.filter(|code| *code != "552" || vast_length().is_some());
    let missing: Vec<&str> = due.filter(|what| !all.contains(*what)).collect();
    assert!(missing.is_empty(), "never {missing:?}");
}

#[test]
fn seeds_that_failed_once() {
    for line in include_str!("seeds.txt").lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            play(seed.parse().expect("a seed"), Canary::None, false).check();
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..16 {
        let traces = [(); 2].map(|()| play(seed, Canary::None, false).check());
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}

/// A simulation that finds nothing proves nothing: each of these faults must be found.
#[test]
fn canaries_are_found() {
    for canary in [Canary::RestIsKept, Canary::PartialUpload, Canary::CutLine, Canary::LostReply] {
        let found = (0..CANARY_SEEDS).any(|seed| play(seed, canary, false).verdict.is_err());
        assert!(found, "{canary:?} was not found in {CANARY_SEEDS} seeds");
    }
}
