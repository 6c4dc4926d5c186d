//! The whole server-PI against a model, with random dialogues, faults and cut connections.
//!
//! Every run is decided by one seed: `RINGFTPD_SEED=… cargo test --test simulation` repeats a
//! failure and prints its trace. Seeds that failed once stay in `seeds.txt`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]
#![expect(clippy::print_stdout, reason = "the trace of a failed run")]

mod cuts;
mod model;
mod server;
mod workload;
mod world;

use std::collections::BTreeSet;

use model::Canary;

/// Runs of a plain `cargo test`.
const SEEDS: u64 = 1024;

/// One seed that is no small number.
const SEED_LARGE: u64 = 0x0959_4217_2228_3659;

/// Runs in which a canary must be found.
const CANARY_SEEDS: u64 = 256;

/// Set to a number to repeat one run.
const SEED_VARIABLE: &str = "RINGFTPD_SEED";

/// Replies that must come in some run.
const CODES: &str = "150 200 211 220 221 226 227 229 230 234 250 257 331 350 421 425 426 450 451 \
                     452 500 501 503 522 530 533 534 550 552 553 554";

/// What must show in some trace.
const MARKS: [&str; 14] = [
    "the client is gone",
    "the connection is reset",
    "the client sends no more",
    "the server drains",
    "client: TLS is off",
    "Err(Aborted)",
    "Err(Truncated)",
    "Err(ConnectionLost)",
    "Err(Stalled)",
    "level: Private",
    "level: Clear",
    "mode: At(",
    "mode: Append",
    "Rename",
];

#[track_caller]
fn check(seed: u64, show: bool) {
    let run = world::run(seed, Canary::None);
    if show || run.verdict.is_err() {
        for line in &run.trace {
            println!("{line}");
        }
    }
    if let Err(cause) = run.verdict {
        panic!("{SEED_VARIABLE}={seed}: {cause}");
    }
}

#[test]
fn many_seeds() {
    match std::env::var(SEED_VARIABLE) {
        Ok(seed) => check(seed.parse().expect("a number"), true),
        Err(_) => (0..SEEDS).chain([SEED_LARGE]).for_each(|seed| check(seed, false)),
    }
}

#[test]
fn seeds_that_failed_once() {
    for line in include_str!("seeds.txt").lines() {
        let seed = line.split('#').next().unwrap_or_default().trim();
        if !seed.is_empty() {
            check(seed.parse().expect("a seed"), false);
        }
    }
}

/// What the seeds must reach, or a green run says little.
#[test]
fn the_workload_reaches_what_it_should() {
    let mut codes = BTreeSet::new();
    let mut marks = BTreeSet::new();
    for seed in 0..SEEDS {
        for line in world::run(seed, Canary::None).trace {
            if let Some((_, code)) = line.split_once(" reply ") {
                codes.insert(code.to_owned());
            }
            for mark in MARKS {
                if line.contains(mark) {
                    marks.insert(mark);
                }
            }
        }
    }
    let missing: Vec<&str> =
        CODES.split_whitespace().filter(|code| !codes.contains(*code)).collect();
    assert!(missing.is_empty(), "no reply {missing:?}");
    assert_eq!(marks.len(), MARKS.len(), "only {marks:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..16 {
        let (first, second) = (world::run(seed, Canary::None), world::run(seed, Canary::None));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// A simulation that finds nothing proves nothing: each of these faults must be found.
#[test]
fn canaries_are_found() {
    for canary in [Canary::RestIsKept, Canary::PartialUpload, Canary::CutLine, Canary::LostReply] {
        let found = (0..CANARY_SEEDS).any(|seed| world::run(seed, canary).verdict.is_err());
        assert!(found, "{canary:?} was not found in {CANARY_SEEDS} seeds");
    }
}
