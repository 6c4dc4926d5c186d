//! What is said of a result: objectives, and which differences between runs are within noise.

use std::time::Duration;

use ringload::compare::{Asked, Difference, Named, compare, versus};
use ringload::measure::{ErrorKind, Phase, Recorder, RunResult, ThreadUse, Timeline};
use ringload::report::summary;
use ringload::slo::Objective;

use crate::made_up::{MILLISECOND, details, full_run, window};

/// p50 1.3 ms, p99 454 ms, 998 operations a second, 119 errors, no resumption on control
/// connections, all on data connections: see the summary of `full_run`.
#[test]
fn objectives_are_judged_by_the_result() {
    let result = full_run();
    let check = |text: &str, holds: bool, fails: bool| {
        let verdict = text.parse::<Objective>().unwrap().check(&result);
        assert_eq!((verdict.holds(), verdict.fails()), (holds, fails), "{text}:\n{verdict}");
    };
    for (text, truth) in [
        ("p50<2ms", true),
        ("p50<1ms", false),
        ("p99<450ms", false),
        ("p99<460ms", true),
        ("p99.9>900ms", true),
        ("max>=999ms", true),
        ("min<1ms", false),
        ("mean>1ms", true),
        ("tls_handshake.p99<1ms", true),
        ("tls_handshake.max<1ms", false),
        ("rate>990/s", true),
        ("rate>1000/s", false),
        ("errors=0", false),
        ("errors!=0", true),
        ("errors<=119", true),
        ("errors<119", false),
        ("error_share<1%", true),
        ("error_share<0.1%", false),
        ("abandoned=0", true),
        ("resumption=0", true),
        ("data.resumption=100%", true),
        ("data.resumption<99%", false),
    ] {
        check(text, truth, truth);
    }
    check("p50<2ms,errors=0", false, true);
    check("p50<2ms,errors>0", true, true);
    check("p50>2ms,errors=0", false, false);
}

/// A gate does not open because nothing was measured.
#[test]
fn what_was_not_measured_neither_holds_nor_passes() {
    let recorder = Recorder::new(window(Duration::ZERO));
    let start = recorder.window().start;
    let result = RunResult::new(details("login"), &recorder.finish(start, ThreadUse::default()));
    for text in ["p99<50ms", "login.p99>1s", "error_share<1%", "resumption>0", "data.resumption=1"]
    {
        let verdict = text.parse::<Objective>().unwrap().check(&result);
        assert!(!verdict.holds() && verdict.fails(), "{text}:\n{verdict}");
        assert!(verdict.to_string().contains("not measured"));
    }
}

/// A run of `rate` operations a second for 20 s that take `latency` ± 10 %.
fn steady_run(rate: u32, latency: Duration) -> RunResult {
    let window = window(Duration::ZERO);
    let mut recorder = Recorder::new(window);
    for index in 0..rate * 20 {
        let start = window.start + Duration::from_secs(1) / rate * index;
        let spread = latency * (index * 7 % 21) / 100;
        recorder.record(Phase::Operation, start, start, start + latency * 9 / 10 + spread);
    }
    let end = window.start + Duration::from_secs(20);
    let mut details = details("login");
    details.warmup = Duration::ZERO;
    details.measured = Duration::from_secs(20);
    details.elapsed = Duration::from_secs(20);
    details.server = None;
    RunResult::new(details, &recorder.finish(end, ThreadUse::default()))
}

#[track_caller]
fn check_versus(rates_a: &[u32], rates_b: &[u32], verdict: Difference) {
    let runs = |rates: &[u32]| -> Vec<RunResult> {
        rates.iter().map(|rate| steady_run(*rate, MILLISECOND)).collect()
    };
    let versus = versus("old", runs(rates_a), "new", runs(rates_b));
    let row = versus.rows.iter().find(|row| row.metric == "operations/s").unwrap();
    assert_eq!(row.verdict, verdict, "{row:?}");
    assert!(versus.to_string().contains(verdict.text()));
}

#[test]
fn rounds_differ_only_beyond_their_noise() {
    check_versus(&[100, 102, 98, 101, 99], &[120, 118, 122, 119, 121], Difference::Better);
    check_versus(&[120, 118, 122, 119, 121], &[100, 102, 98, 101, 99], Difference::Worse);
    check_versus(&[100, 102, 98, 101, 99], &[101, 101, 99, 100, 100], Difference::Noise);
    check_versus(&[100, 100, 100], &[100, 100, 100], Difference::Noise);
    check_versus(&[100, 100], &[200, 200], Difference::TooFew);
    // Three of three rounds are faster, but by amounts too different to be sure.
    check_versus(&[100, 100, 100], &[102, 105, 110], Difference::Noise);
    // A drift of the machine that both sides share is no noise: every round says the same.
    check_versus(&[100, 140, 180, 220], &[110, 154, 198, 242], Difference::Better);
    // One odd round of nine does not hide a difference, two of five do.
    check_versus(&[100; 9], &[120, 120, 120, 120, 90, 120, 120, 120, 120], Difference::Better);
    check_versus(&[100; 5], &[120, 90, 120, 90, 120], Difference::Noise);
}

#[test]
fn rounds_of_lower_latency_are_better() {
    let a = [1000, 1010, 990].map(|us| steady_run(100, Duration::from_micros(us)));
    let b = [500, 505, 495].map(|us| steady_run(100, Duration::from_micros(us)));
    let versus = versus("old", a.to_vec(), "new", b.to_vec());
    let row = versus.rows.iter().find(|row| row.metric == "whole operation p99").unwrap();
    assert_eq!(row.verdict, Difference::Better);
    assert!((row.ratio.unwrap() - 0.5).abs() < 0.01, "{row:?}");
    assert!((versus.confidence - 0.95).abs() < 1e-9);
}

/// For transfers an operation is as large as the file, so there is the cost of a GB, too.
#[test]
fn rounds_are_compared_by_cpu_time_of_a_gb() {
    let run = |client: f64, server: f64| {
        let mut run = full_run();
        run.client.cpu_s_per_gb = Some(client);
        run.server.as_mut().unwrap().cpu_s_per_gb = Some(server);
        run
    };
    let compared = versus("old", vec![run(0.5, 2.0); 3], "new", vec![run(0.5, 1.0); 3]);
    let row = |metric: &str| compared.rows.iter().find(|row| row.metric == metric).unwrap();
    let (server, client) = (row("server CPU/GB"), row("client CPU/GB"));
    assert_eq!((server.median_a, server.median_b, server.ratio), (2e6, 1e6, Some(0.5)));
    assert_eq!((server.verdict, client.verdict), (Difference::Better, Difference::Noise));
    assert!(compared.to_string().contains("server CPU/GB"), "{compared}");
    // Where nothing moved there is none.
    let mut still = run(0.5, 2.0);
    still.client.cpu_s_per_gb = None;
    let compared = versus("old", vec![run(0.5, 2.0); 3], "new", vec![still; 3]);
    assert!(compared.rows.iter().all(|row| row.metric != "client CPU/GB"));
}

#[test]
fn versus_says_what_makes_it_doubtful() {
    let mut failed = steady_run(100, MILLISECOND);
    failed.totals.errors = 3;
    let mut limited = steady_run(100, MILLISECOND);
    limited.client.was_limit = true;
    limited.workload.parameters.insert("rate".to_owned(), "9".to_owned());
    let a = [failed, steady_run(100, MILLISECOND)];
    let versus = versus("old", a.to_vec(), "new", vec![limited]);
    let warnings = versus.warnings.join("\n");
    for part in [
        "only 1 are compared",
        "old and new differ in workload, its parameters or seed",
        "old: in 1 of its runs some operations failed",
        "new: in 1 of its runs the generator, not the server",
    ] {
        assert!(warnings.contains(part), "{part} not in\n{warnings}");
    }
}

#[test]
fn single_runs_claim_little() {
    let named = |name: &str, rate, micros| Named {
        name: name.to_owned(),
        result: steady_run(rate, Duration::from_micros(micros)),
    };
    let comparison = compare(&[
        named("base", 100, 1000),
        named("same", 101, 1020),
        named("slower", 100, 1500),
        named("faster", 150, 700),
    ]);
    let verdicts = |metric: &str| -> Vec<Option<Difference>> {
        let row = comparison.rows.iter().find(|row| row.metric == metric).unwrap();
        row.cells.iter().map(|cell| cell.unwrap().verdict).collect()
    };
    let (noise, differs) = (Some(Difference::Noise), Some(Difference::Differs));
    assert_eq!(verdicts("operations/s"), [None, noise, noise, differs]);
    assert_eq!(verdicts("whole operation p99"), [None, noise, differs, differs]);
    assert_eq!(verdicts("whole operation max"), [None; 4], "a maximum is one sample");
    assert!(!comparison.rows.iter().any(|row| row.metric.contains("TLS")), "never measured");
    let text = comparison.to_string();
    assert!(text.contains("×1.500") && text.contains("within noise"), "{text}");
    assert!(compare(&[]).rows.is_empty());
}

/// Every aspect in which two servers' connections can differ, and what is put before all figures.
#[test]
fn connections_that_differ_are_named_before_the_figures() {
    type Change = fn(&mut RunResult);
    let changes: [(Change, &str); 5] = [
        (|run| run.tls[0].version = "TLSv1.2".to_owned(), "TLS version of "),
        (|run| run.tls[0].suite = "TLS13_AES_256_GCM_SHA384".to_owned(), "cipher suite of "),
        (|run| run.tls[0].group = "X25519MLKEM768".to_owned(), "key exchange group of "),
        (|run| run.tls[0].certificate = "RSA 2048".to_owned(), "kind of certificate of "),
        (
            |run| run.resumption.get_mut("data").unwrap().resumed /= 2,
            "resumption of data connections: old resumed 100 %, new 50.0 %",
        ),
    ];
    for (change, part) in changes {
        let (old, mut new) = (full_run(), full_run());
        change(&mut new);
        let named = |name: &str, result: &RunResult| Named {
            name: name.to_owned(),
            result: result.clone(),
        };
        let compared = compare(&[named("old", &old), named("new", &new)]);
        let versus = versus("old", vec![old; 3], "new", vec![new; 3]);
        assert_eq!(versus.results_b.len(), 3, "the rounds are kept");
        for (unlike, text) in
            [(&compared.unlike, compared.to_string()), (&versus.unlike, versus.to_string())]
        {
            assert!(unlike.len() == 1 && unlike[0].starts_with(part), "{part}: {unlike:?}");
            assert!(text.starts_with("NOT THE SAME WORK.") && text.contains("--fair"), "{text}");
        }
    }
    let same = versus("old", vec![full_run()], "new", vec![full_run()]);
    assert!(same.unlike.is_empty() && !same.to_string().contains("NOT THE SAME"));
}

#[test]
fn unlike_workloads_are_told_by_what_was_asked() {
    let asked = |change: fn(&mut RunResult)| {
        let mut run = full_run();
        change(&mut run);
        Asked::of(&run)
    };
    let base = asked(|_| ());
    assert_eq!(base.unlike(&base.clone()), None);
    let other = asked(|run| run.workload.name = "upload".to_owned());
    assert_eq!(base.unlike(&other).unwrap(), "download against upload");
    let other = asked(|run| run.seed = 9);
    assert_eq!(base.unlike(&other).unwrap(), "seed 42 against 9");
    let other = asked(|run| {
        run.workload.parameters.insert("rate".to_owned(), "9".to_owned());
    });
    assert_eq!(base.unlike(&other).unwrap(), "rate 1000 against 9");
    // What came of these is compared, connection by connection.
    let other = asked(|run| {
        run.workload.parameters.insert("groups".to_owned(), "X25519".to_owned());
    });
    assert_eq!(base.unlike(&other), None);
}

/// What makes a run a failed one: nothing, or nothing any more, that succeeds.
#[test]
fn a_run_in_which_the_server_has_gone_has_failed() {
    #[track_caller]
    fn check(outcomes: &[(u32, bool)], pause: Duration, problem: Option<&str>) {
        let window = window(Duration::ZERO);
        let mut recorder = Recorder::new(window);
        let mut now = window.start;
        for (count, good) in outcomes {
            for _ in 0..*count {
                let timeline = Timeline::new(now, now);
                now += pause;
                if *good {
                    timeline.succeed(&mut recorder, now);
                } else {
                    let kind = ErrorKind::ConnectRefused;
                    timeline.fail(&mut recorder, Phase::TcpConnect, kind, now, "refused");
                }
            }
        }
        let mut details = details("login");
        details.measured = now - window.start;
        let result = RunResult::new(details, &recorder.finish(now, ThreadUse::default()));
        match problem {
            None => assert_eq!(result.problems, [""; 0]),
            Some(part) => {
                assert!(result.problems[0].contains(part), "{:?}", result.problems);
                assert!(summary(&result).contains("THE RUN FAILED: "));
            }
        }
    }
    check(&[], MILLISECOND, Some("no operation of the measured part ended"));
    check(&[(5, false)], MILLISECOND, Some("nothing succeeded: 5 operations failed, most in TCP"));
    check(&[(100, true), (100, false)], MILLISECOND, Some("the server has gone"));
    check(&[(100, true), (100, false), (1, true)], MILLISECOND, None);
    check(&[(100, true), (9, false)], MILLISECOND, None);
    check(&[(1000, true), (50, false)], MILLISECOND, None);
    // One failure that took long.
    check(&[(5, true), (1, false)], Duration::from_secs(2), Some("in the last 2.0 s"));
    check(&[(500, true), (1, false)], Duration::from_secs(2), None);
}
