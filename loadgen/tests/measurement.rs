//! Correctness of what is measured, from the program's own result: against a server whose delays,
//! stalls and failures are known, the figures must be those.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::scripted::{Act, Moment, Scripted};
use support::{Outcome, ringload};

fn run(server: &Scripted, line: &str) -> Outcome {
    let (workload, options) = line.split_once(' ').unwrap();
    ringload(&format!("{workload} {} --cpus 0 {options}", server.address))
}

/// A figure of a phase in milliseconds.
#[track_caller]
fn figure(outcome: &Outcome, phase: &str, correction: &str, figure: &str) -> f64 {
    outcome.result["phases"][phase][correction][figure].as_f64().unwrap() / 1e6
}

/// 40 handshakes a second are due for 4 s, and in the second of these seconds the server does
/// nothing. The one connection that waited for it is late by 1 s, and so are, each by what was
/// left of that second, the forty that were due meanwhile: a quarter of all.
#[test]
fn a_stall_shows_in_open_loop_at_every_percentile_that_it_touched() {
    let begin = OnceLock::new();
    let server = Scripted::implicit(move |moment| {
        let begun = *begin.get_or_init(Instant::now);
        let (stall, end) = (Duration::from_secs(1), Duration::from_secs(2));
        if moment == Moment::Greeting && (stall..end).contains(&begun.elapsed()) {
            sleep(end.saturating_sub(begun.elapsed()));
        }
        Act::Right
    });
    // One connection, as most generators have it: only the correction can show the others.
    let line = "handshake --rate 40 --max-connections 1 --duration 4s --warm-up 0s --drain 30s";
    let outcome = run(&server, line).all_succeeded(160);
    for (percentile, at_least) in [("p90_ns", 500.0), ("p99_ns", 900.0), ("max_ns", 950.0)] {
        let corrected = figure(&outcome, "operation", "corrected", percentile);
        assert!(corrected >= at_least, "{percentile}: {corrected} ms");
    }
    // What such a generator would have said without: one operation of 160.
    assert!(figure(&outcome, "operation", "uncorrected", "p99_ns") < 500.0);
    assert!(figure(&outcome, "operation", "uncorrected", "max_ns") >= 950.0);
}

#[test]
fn delays_are_found_in_their_phases_which_add_up() {
    let server = Scripted::implicit(|moment| {
        match moment {
            Moment::Greeting => sleep(Duration::from_millis(150)),
            Moment::Command("PASS secret") => sleep(Duration::from_millis(250)),
            _ => {}
        }
        Act::Right
    });
    let outcome = run(&server, "login --user u --count 6 -c 2").all_succeeded(6);
    let mean = |phase: &str| figure(&outcome, phase, "corrected", "mean_ns");
    for (phase, least, most) in
        [("greeting", 150.0, 250.0), ("login", 250.0, 400.0), ("tcp_connect", 0.0, 100.0)]
    {
        let found = mean(phase);
        assert!((least..most).contains(&found), "{phase}: {found} ms");
    }
    let phases = ["tcp_connect", "tls_handshake", "greeting", "login"];
    let (sum, whole) = (phases.map(mean).iter().sum::<f64>(), mean("operation"));
    assert!((sum - whole).abs() < 0.01 * whole, "{sum} ms in phases of {whole} ms");
}

#[test]
fn failures_are_counted_exactly() {
    let connections = AtomicUsize::new(0);
    let server = Scripted::implicit(move |moment| {
        if moment != Moment::Greeting {
            return Act::Right;
        }
        match connections.fetch_add(1, Ordering::Relaxed) % 10 {
            0 | 5 => Act::Say(b"421 full\r\n"),
            1 => Act::Close,
            _ => Act::Right,
        }
    });
    let outcome = run(&server, "handshake --count 100 -c 4").good();
    assert_eq!((outcome.total("operations"), outcome.total("errors")), (70, 30));
    let mut rows: Vec<_> = outcome.result["errors"].as_array().unwrap().iter().collect();
    rows.sort_by_key(|row| row["count"].as_u64());
    let counts: Vec<_> = rows.iter().map(|row| row["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [10, 20], "{rows:?}");
    assert_eq!(rows[1]["kind"], "unexpected_reply");
}
