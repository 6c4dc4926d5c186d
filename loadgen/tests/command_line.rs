//! What options do beside the operations themselves: outputs and what stays out of them, pauses,
//! the end of a run, the server's cost.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::ringload;
use support::scripted::{Act, Moment, Scripted};

const SECRET: &str = "never-shown";

fn server() -> Scripted {
    Scripted::implicit(|_| Act::Right)
}

#[test]
fn the_password_is_sent_and_told_to_nobody_else() {
    for option in ["--password ", "--password="] {
        let server = server();
        let line = format!("login {} --cpus 0 --count 1 --user u {option}{SECRET}", server.address);
        let outcome = ringload(&line).all_succeeded(1);
        assert_eq!(server.commands()[1], format!("PASS {SECRET}"));
        assert!(outcome.result["command_line"].to_string().contains("$RINGLOAD_PASSWORD"));
        assert!(!outcome.result.to_string().contains(SECRET), "{option}");
    }
}

#[test]
fn page_and_histogram_log_are_written_and_results_compared() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let file = |name: &str| scratch.path().join(name);
    let (page, log, json) = (file("page.html"), file("log.hlog"), file("result.json"));
    let line = format!(
        "handshake {} --cpus 0 --count 4 --report {} --hdr-log {}",
        server.address,
        page.display(),
        log.display()
    );
    let outcome = ringload(&line).all_succeeded(4);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains(&server.address.port().to_string()));
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("Tag=total.tls_handshake,"), "{log}");
    std::fs::write(&json, outcome.result.to_string()).unwrap();
    let compared = file("compared.html");
    let (status, text) = compare(&[&json, &json, Path::new("--report"), &compared]);
    assert_eq!(status, Some(0), "{text}");
    assert!(std::fs::read_to_string(compared).unwrap().contains("2 runs compared"));
    assert!(text.contains("operations/s") && text.contains("×1.000"), "{text}");
    let (status, text) = compare(&[&json, &file("nothing.json")]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("nothing.json"), "{text}");
}

fn compare(files: &[&Path]) -> (Option<i32>, String) {
    both(Command::new(env!("CARGO_BIN_EXE_ringload")).arg("compare").args(files))
}

/// Exit status, and all that it says.
fn both(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), text(&said))
}

#[test]
fn unlike_workloads_are_compared_by_force_alone() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let versus = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringload"));
        command.arg("versus").args(options);
        for (side, clients) in [("--a", 1), ("--b", 2)] {
            command.args([side, &format!("{} -c {clients}", server.address)]);
        }
        both(command.args(["--", "login", "--count", "2", "--cpus", "0", "--quiet"]))
    };
    let (status, said) = versus(&["--rounds", "3"]);
    assert_eq!(status, Some(2), "{said}");
    let why = "A and B are different workloads (clients 1 against 2): their figures say nothing of \
               each other; --force compares them anyway";
    assert!(said.contains(why), "{said}");
    assert_eq!(server.commands(), [""; 0], "nothing is run");
    let (status, said) = versus(&["--rounds", "3", "--force"]);
    assert_eq!(status, Some(0), "{said}");
    for part in ["Medians of 3 rounds", "differ in workload, its parameters or seed"] {
        assert!(said.contains(part), "{said}");
    }

    let files = [1, 2].map(|clients| {
        let line = format!("login {} --cpus 0 --count 2 -c {clients}", server.address);
        let path = scratch.path().join(format!("{clients}.json"));
        std::fs::write(&path, ringload(&line).all_succeeded(2).result.to_string()).unwrap();
        path
    });
    let (status, said) = compare(&[&files[0], &files[1]]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("(clients 1 against 2)") && said.contains("--force"), "{said}");
    let (status, said) = compare(&[Path::new("--force"), &files[0], &files[1]]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("operations/s"), "{said}");
}

#[test]
fn versus_writes_its_comparison_without_the_password() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let [json, page] = ["versus.json", "versus.html"].map(|name| scratch.path().join(name));
    let output = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["versus", "--a", &format!("{} --password {SECRET}", server.address)])
        .args(["--b", &server.address.to_string(), "--rounds", "3", "--json"])
        .arg(&json)
        .arg("--report")
        .arg(&page)
        .args(["--", "login", "--count", "2", "--cpus", "0", "--quiet"])
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(server.commands().contains(&format!("PASS {SECRET}")));
    let written = std::fs::read_to_string(&json).unwrap();
    assert!(!written.contains(SECRET), "{written}");
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&written["schema"], &written["rounds"]), (&"ringload-versus".into(), &3.into()));
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("operations/s by round") && !page.contains(SECRET), "{page}");
}

/// By CPU time, which others on the machine do not lengthen: a seed for random numbers would be
/// 50 ms.
#[test]
fn the_first_handshake_costs_what_handshakes_cost() {
    let server = server();
    let line = format!("handshake {} --cpus 0 -c 1 --count 1", server.address);
    let outcome = ringload(&line).all_succeeded(1);
    let cpu_us = outcome.result["client"]["cpu_us_per_operation"].as_f64().unwrap();
    assert!((10.0..20_000.0).contains(&cpu_us), "{cpu_us}");
}

#[test]
fn a_client_thinks_after_each_operation() {
    let server = server();
    let line = format!("handshake {} --cpus 0 -c 1 --count 3 --think 200ms", server.address);
    let outcome = ringload(&line).all_succeeded(3);
    let elapsed = outcome.result["timing"]["elapsed_s"].as_f64().unwrap();
    assert!(elapsed >= 0.4, "{elapsed}");
}

/// Long before its own timeout, and not before the time it was given.
#[test]
fn what_is_under_way_at_the_end_has_the_drain_to_finish() {
    let server = Scripted::implicit(|moment| match moment {
        Moment::Greeting => Act::Hang,
        _ => Act::Right,
    });
    let line = format!(
        "handshake {} --cpus 0 -c 2 --warm-up 0s --duration 1s --drain 300ms --timeout 20s",
        server.address
    );
    let outcome = ringload(&line).all_failed(2, "greeting", "reply_timeout");
    assert_eq!(outcome.result["errors"][0]["example"], "unfinished when the run ended");
    let elapsed = outcome.result["timing"]["elapsed_s"].as_f64().unwrap();
    assert!((1.3..10.0).contains(&elapsed), "{elapsed}");
}

/// A directory with the files that the kernel shows of a cgroup; this process is in it.
#[test]
fn a_cgroup_stands_for_the_server() {
    let (server, group) = (server(), tempfile::TempDir::new().unwrap());
    let run = || {
        let group = group.path().display();
        let address = server.address;
        ringload(&format!("handshake {address} --cpus 0 --count 2 --server-cgroup {group}"))
    };
    let refused = run();
    assert_eq!(refused.status, 3);
    assert!(refused.output.contains("there is no cgroup v2"), "{}", refused.output);
    std::fs::write(group.path().join("cpu.stat"), "usage_usec 1\n").unwrap();
    let this = std::process::id().to_string();
    std::fs::write(group.path().join("cgroup.procs"), this).unwrap();
    let measured = run().all_succeeded(2);
    let server = &measured.result["server"];
    assert_eq!(server["cgroup"], group.path().display().to_string());
    assert!(server["pid"].is_null());
    assert!(server["memory_after_bytes"].as_u64().unwrap() > 100_000);
}

/// As it is, without the options that [`ringload`] adds.
fn plain(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(line.split_whitespace())
        .env("RINGLOAD_PASSWORD", "secret")
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The lines are the intervals of the result, each when it is over.
#[test]
fn a_stream_has_a_line_for_each_interval() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let stream = scratch.path().join("stream.jsonl");
    let line = format!(
        "handshake {} --cpus 0 --rate 200 --warm-up 200ms --duration 400ms --interval 100ms \
         --stream {}",
        server.address,
        stream.display()
    );
    let outcome = ringload(&line).all_succeeded(80);
    let lines = std::fs::read_to_string(stream).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let intervals = outcome.result["intervals"].as_array().unwrap();
    assert!(intervals.len() >= 6, "{}", intervals.len());
    assert_eq!(lines.len(), intervals.len());
    let started = outcome.result["timing"]["started_unix_ms"].as_u64().unwrap();
    let mut operations = 0;
    for (index, (line, interval)) in (0..).zip(lines.iter().zip(intervals)) {
        assert!(line["unix_ms"].as_u64().unwrap().abs_diff(started + 100 * index) <= 1, "{line}");
        assert_eq!(line["warmup"], interval["warmup"]);
        operations += line["operations"].as_u64().unwrap();
    }
    assert_eq!(operations, 120, "all, the warm-up included");
    assert!(lines[1]["p99_ns"].as_u64().unwrap() > 0, "{}", lines[1]);
    let two = plain(&format!("handshake {} --json - --stream -", server.address));
    assert_eq!(two.status.code(), Some(2));
    let lines = plain(&format!("handshake {} --cpus 0 --count 1 --stream -", server.address));
    let first = text(&lines.stdout);
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(first["operations"], 1);
    let full = format!("handshake {} --cpus 0 --count 1 --stream /dev/full", server.address);
    let full = plain(&full);
    assert_eq!(full.status.code(), Some(3));
    assert!(text(&full.stderr).contains("--stream: No space left"), "{}", text(&full.stderr));
}

/// A server that refuses everybody from the `good`-th greeting on.
fn dying(good: usize) -> Scripted {
    let greeted = AtomicUsize::new(0);
    Scripted::implicit(move |moment| match moment {
        Moment::Greeting if greeted.fetch_add(1, Ordering::Relaxed) >= good => Act::Close,
        _ => Act::Right,
    })
}

#[test]
fn nothing_that_succeeds_is_never_a_success() {
    for quiet in ["", "--quiet"] {
        let server = dying(0);
        let line = format!("handshake {} --cpus 0 --count 4 {quiet}", server.address);
        let outcome = plain(&line);
        let said = text(&outcome.stderr);
        assert_eq!(outcome.status.code(), Some(3), "{said}");
        assert!(said.contains("ringload: nothing succeeded: 4 operations failed"), "{said}");
        assert_eq!(quiet.is_empty(), !outcome.stdout.is_empty());
        // Objectives that hold change nothing.
        let line = format!("{line} --slo errors<100 --fail-on errors>100");
        assert_eq!(plain(&line).status.code(), Some(3));
    }
    // Whether it dies at its first breath or half way.
    let server = dying(40);
    let outcome = ringload(&format!("handshake {} --cpus 0 -c 4 --count 80", server.address));
    assert_eq!(outcome.status, 3, "{}", outcome.output);
    assert_eq!((outcome.total("operations"), outcome.total("errors")), (40, 40));
    assert!(outcome.output.contains("the server has gone"), "{}", outcome.output);
    assert!(outcome.result["problems"][0].as_str().unwrap().starts_with("the server has gone"));
}

#[test]
fn versus_fails_with_the_side_that_does() {
    let (good, bad) = (server(), dying(0));
    let line = format!(
        "versus --a {} --b {} --rounds 3 -- handshake --cpus 0 --count 3 --quiet",
        good.address, bad.address
    );
    let outcome = plain(&line);
    let said = text(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(3), "{said}");
    let part = format!("{}: in 3 of 3 rounds nothing succeeded", bad.address);
    assert!(said.contains(&part), "{said}");
    assert!(text(&outcome.stdout).contains("Medians of 3 rounds"), "the comparison is shown");
}

#[test]
fn a_run_is_aborted_by_its_rule() {
    let server = dying(0);
    let begun = Instant::now();
    let line = format!(
        "login {} --cpus 0 --duration 10m --warm-up 1m --abort-on errors>50%",
        server.address
    );
    let outcome = ringload(&line);
    assert_eq!(outcome.status, 3, "{}", outcome.output);
    assert!(outcome.output.contains("aborted by --abort-on errors>50%: "), "{}", outcome.output);
    assert_eq!(outcome.result["timing"]["ending"], "aborted");
    assert!(begun.elapsed() < Duration::from_secs(15));
    let refused = ringload(&format!("login {} --abort-on p99>1s", server.address));
    assert_eq!(refused.status, 2);
    assert!(refused.output.contains("for its errors alone"), "{}", refused.output);
}

/// What cannot be written is known before the run, and what was there stays until there is more.
#[test]
fn outputs_are_opened_before_the_run() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let file = |name: &str| scratch.path().join(name).display().to_string();
    let line = |path: &str| format!("login {} --cpus 0 --count 2 --json {path}", server.address);
    for option in ["--json", "--report", "--hdr-log"] {
        let nowhere = file("nowhere/result");
        let command = format!("login {} --cpus 0 --count 2 {option} {nowhere}", server.address);
        let refused = plain(&command);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
        assert!(text(&refused.stderr).contains(&format!("{nowhere}: cannot be written")));
    }
    assert_eq!(server.commands(), [""; 0], "nobody was asked for anything");
    // A full disk takes the result, not the summary.
    let full = plain(&line("/dev/full"));
    assert_eq!(full.status.code(), Some(3), "{}", text(&full.stderr));
    assert!(text(&full.stderr).contains("/dev/full"));
    assert!(text(&full.stdout).contains("whole operation"));
    // A run that does not begin leaves things as they were.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::write(file("old"), "what was there").unwrap();
    for name in ["old", "new"] {
        let line = format!("idle {gone} --cpus 0 --count 2 --json {}", file(name));
        assert_eq!(plain(&line).status.code(), Some(3));
    }
    assert_eq!(std::fs::read_to_string(file("old")).unwrap(), "what was there");
    assert!(!Path::new(&file("new")).exists());
    assert_eq!(plain(&line(&file("old"))).status.code(), Some(0));
    let json = std::fs::read_to_string(file("old")).unwrap();
    let _: Value = serde_json::from_str(&json).unwrap();
}

#[test]
fn a_result_on_standard_output_is_alone_there() {
    let server = server();
    let line = format!("login {} --cpus 0 --count 2 --json -", server.address);
    let outcome = plain(&format!("{line} --slo errors=0"));
    assert_eq!(outcome.status.code(), Some(0));
    let result: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(result["totals"]["operations"], 2);
    let said = text(&outcome.stderr);
    assert!(said.contains("whole operation") && said.contains("objective errors=0"), "{said}");
    let two = plain(&format!("{line} --report -"));
    assert_eq!(two.status.code(), Some(2));
    assert!(text(&two.stderr).contains("only one of --json"), "{}", text(&two.stderr));
    let line = format!(
        "versus --a {0} --b {0} --rounds 3 --json - -- login --cpus 0 --count 2",
        server.address
    );
    let compared: Value = serde_json::from_slice(&plain(&line).stdout).unwrap();
    assert_eq!(compared["results_b"].as_array().unwrap().len(), 3);
    assert_eq!(compared["results_b"][2]["totals"]["operations"], 2);
}

/// NOOPs are answered one after another, 1600 a second and no more; the others wait.
#[test]
fn the_highest_rate_is_the_capacity_of_the_server() {
    const CAPACITY: u32 = 1600;
    let free = Mutex::new(Instant::now());
    let server = Scripted::implicit(move |moment| {
        if moment == Moment::Command("NOOP") {
            let answered = {
                let mut free = free.lock().unwrap();
                *free = (*free).max(Instant::now()) + Duration::from_secs(1) / CAPACITY;
                *free
            };
            sleep(answered.saturating_duration_since(Instant::now()));
        }
        Act::Right
    });
    let scenario = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(scenario.path(), "operation = [{ kind = \"noop\" }]\n").unwrap();
    let line = format!(
        "mixed {} --scenario {} --cpus 0 --find-max-rate --slo errors=0 --duration 250ms \
         --warm-up 100ms --max-connections 12",
        server.address,
        scenario.path().display()
    );
    let outcome = ringload(&line).good();
    let steps = &outcome.result["rate_search"];
    let held = outcome.result["rate_held"].as_f64().unwrap();
    let capacity = f64::from(CAPACITY);
    assert!((capacity * 0.95..capacity * 1.05).contains(&held), "{held} after {steps:#}");
    let confirmed = steps
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["rate"].as_f64() == Some(held) && step["verdict"] == "held");
    assert!(confirmed.count() >= 3, "{steps:#}");
    // The result beside it is of that rate, and knows its operations by kind.
    let reached = outcome.result["totals"]["operations_per_s"].as_f64().unwrap();
    assert!(reached > 0.9 * held, "{reached}");
    let counts = |of: &Value| of["corrected"]["count"].as_u64().unwrap();
    let noops = counts(&outcome.result["kinds"]["noop"]);
    assert_eq!(noops, counts(&outcome.result["phases"]["operation"]));
}

#[test]
fn a_search_that_finds_nothing_says_so_in_its_exit_status() {
    let server = dying(0);
    let line = format!(
        "login {} --cpus 0 --find-max-rate --slo errors=0 --duration 300ms --warm-up 0s",
        server.address
    );
    let outcome = ringload(&line);
    assert_eq!(outcome.status, 1, "{}", outcome.output);
    assert!(outcome.result["rate_held"].is_null());
    assert_eq!(outcome.result["problems"][0], "no rate held errors=0");
}

/// Every connection is busy: what is due waits in a phase of its own.
#[test]
fn what_waits_for_a_connection_is_queued() {
    let server = Scripted::implicit(|moment| {
        if moment == Moment::Greeting {
            sleep(Duration::from_millis(20));
        }
        Act::Right
    });
    let line = format!(
        "handshake {} --cpus 0 --rate 100 --max-connections 1 --duration 400ms --warm-up 0s",
        server.address
    );
    let outcome = ringload(&line).all_succeeded(40);
    let p99 = |phase: &str| {
        outcome.result["phases"][phase]["corrected"]["p99_ns"].as_f64().unwrap() / 1e6
    };
    assert_eq!(outcome.phase_count("queued"), 40);
    // Half of what is due is done in time, so the last one waits for twenty.
    assert!(p99("queued") > 300.0, "{}", p99("queued"));
    assert!(p99("tcp_connect") < 100.0, "{}", p99("tcp_connect"));
    let totals = &outcome.result["totals"];
    assert!((totals["offered_per_s"].as_f64().unwrap() - 100.0).abs() < 0.1, "{totals}");
    assert!(totals["backlog_end"].as_u64().unwrap() >= 15, "{totals}");
    let closed = ringload(&format!("handshake {} --cpus 0 --count 3", server.address));
    assert_eq!(closed.phase_count("queued"), 0);
}

/// A slow reader is cut in the middle of its file, and a silent client while it is silent.
#[test]
fn operations_cut_by_the_end_keep_their_phase() {
    let server = server();
    let address = server.address;
    let line = format!(
        "slow-reader {address} --cpus 0 -c 2 --byte-rate 20KiB --size 1MiB --duration 300ms \
         --warm-up 0s"
    );
    let slow = ringload(&line).all_succeeded(0);
    assert_eq!(slow.result["unfinished"]["last_byte"], 2, "{}", slow.result["unfinished"]);
    assert_eq!(slow.total("unfinished"), 2);
    let line = format!("silent {address} --cpus 0 -c 3 --duration 200ms --warm-up 0s");
    let silent = ringload(&line).all_succeeded(0);
    assert_eq!(silent.result["unfinished"]["operation"], 3);
}

/// The usual mistakes, each answered with the option that helps.
#[test]
fn a_first_try_that_fails_says_what_helps() {
    #[track_caller]
    fn check(server: &Scripted, options: &str, help: &str) {
        let line = format!("login {} --cpus 0 --count 1 --timeout 500ms {options}", server.address);
        let outcome = ringload(&line);
        assert_eq!(outcome.status, 3);
        assert!(outcome.output.contains(help), "{help}\nnot in\n{}", outcome.output);
    }
    check(&Scripted::explicit(|_| Act::Right), "", "(\"220 scripted\"): it waits for AUTH TLS");
    check(&server(), "--explicit", "leave out --explicit");
    let server = server();
    let print = server.identity.fingerprint();
    check(&server, &format!("--pin {}", "0".repeat(64)), &format!("if it is right: --pin {print}"));
    let authority = support::Authority::new();
    let help = format!(
        "it is its own authority, which --ca cannot vouch for; demand it itself: --pin {print}"
    );
    check(&server, &format!("--ca {}", authority.pem()), &help);
}

/// TLS by the URL, the port that is usual for it only where none is given, and each address of a
/// name: `localhost` has two, of which the server has one.
#[test]
fn targets_are_names_and_urls_too() {
    let (implicit, explicit) = (server(), Scripted::explicit(|_| Act::Right));
    let (one, other) = (implicit.address.port(), explicit.address.port());
    for target in [
        format!("localhost:{one}"),
        format!("-4 localhost:{one}"),
        format!("ftps://localhost:{one}/"),
        format!("ftpes://127.0.0.1:{other}"),
    ] {
        ringload(&format!("login {target} --cpus 0 --count 2")).all_succeeded(2);
    }
    for (line, part) in [
        (format!("ftps://127.0.0.1:{one} --explicit"), "is implicit TLS"),
        (format!("ftpes://127.0.0.1:{other} --implied-prot"), "is explicit TLS"),
        (format!("-6 127.0.0.1:{one}"), "no IPv6 address (-6)"),
    ] {
        let refused = ringload(&format!("login {line} --count 1"));
        assert_eq!(refused.status, 2, "{}", refused.output);
        assert!(refused.output.contains(part), "{}", refused.output);
    }
}

/// A server that knows little, and one that lets nobody in.
#[test]
fn a_check_says_where_it_ended_and_what_is_lacking() {
    let server = Scripted::without_tickets();
    let checked = plain(&format!("check {} --user u", server.address));
    let said = text(&checked.stdout);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let print = server.identity.fingerprint();
    for part in [
        "greeting     220 scripted (in ",
        "TLS          TLSv1.3, ",
        &format!("certificate  ECDSA P-256, its own issuer; --pin {print} demands it"),
        "log-in       as u",
        "listing      0 lines, under TLS, a full handshake",
        "again        the first one left nothing to resume",
        "lacks        FEAT: it does not tell what it can do",
        "lacks        resumption on data connections",
        "lacks        resumption on control connections",
    ] {
        assert!(said.contains(part), "{part}\nnot in\n{said}");
    }
    let closed = Scripted::implicit(|moment| match moment {
        Moment::Command("FEAT") => {
            Act::Say(b"211-features\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n EPSV\r\n211 end\r\n")
        }
        Moment::Command("PASS secret") => Act::Say(b"530 no\r\n"),
        _ => Act::Right,
    });
    let checked = plain(&format!("check {}", closed.address));
    let (said, why) = (text(&checked.stdout), text(&checked.stderr));
    assert_eq!(checked.status.code(), Some(3), "{said}");
    assert!(said.ends_with("FEAT         AUTH TLS, PBSZ, PROT, EPSV\n"), "{said}");
    assert!(why.contains("login: unexpected_reply: 530 no; --user NAME"), "{why}");
}

/// The account of client 1: what it says and hears, without its password; nothing of client 0.
#[test]
fn one_session_is_traced() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let trace = scratch.path().join("trace.txt");
    let line = format!(
        "list {} --cpus 0 -c 2 --count 2 --user u --path d --trace-session 1 --trace-file {}",
        server.address,
        trace.display()
    );
    ringload(&line).all_succeeded(2);
    let told = std::fs::read_to_string(&trace).unwrap();
    let mut rest = told.as_str();
    for part in [
        &format!(" client 1: control connection to {}\n", server.address),
        " control connection established from 127.0.0.2:",
        " TLS control: ClientHello\n",
        " TLS control: TLSv1.3 TLS13_",
        " < 220 scripted\n",
        " > USER u\n",
        " < 331 password\n",
        " > PASS ********\n",
        " < 230 in\n",
        " of the run begins\n",
        " > EPSV\n",
        " data connection to 127.0.0.1:",
        " data connection established\n",
        " > MLSD d\n",
        " < 150 here\n",
        " TLS data: TLSv1.3 ",
        " data connection: its end, 0 octets came\n",
        " < 226 sent\n",
        " operation succeeded\n",
        " control connection closed\n",
    ] {
        let at =
            rest.find(part).unwrap_or_else(|| panic!("{part:?}\nnot in, or too soon:\n{told}"));
        rest = &rest[at + part.len()..];
    }
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(told.matches("USER").count(), 1, "{told}");
    let line = format!("login {} --cpus 0 --count 1 --trace-session 5", server.address);
    let said = text(&plain(&line).stderr);
    assert!(said.contains("client 5 had nothing to do"), "{said}");
}

/// What Wireshark needs to read the connections, only where the environment asks for it.
#[test]
fn tls_secrets_go_to_the_file_that_the_environment_names() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let secrets = scratch.path().join("secrets.txt");
    let run = |file: &Path| {
        Command::new(env!("CARGO_BIN_EXE_ringload"))
            .args(["login", &server.address.to_string(), "--cpus", "0", "--count", "2", "--quiet"])
            .env("SSLKEYLOGFILE", file)
            .output()
            .unwrap()
    };
    let said = text(&run(&secrets).stderr);
    assert!(said.contains(&format!("connections go to {}", secrets.display())), "{said}");
    let lines = std::fs::read_to_string(&secrets).unwrap();
    assert_eq!(lines.matches("CLIENT_TRAFFIC_SECRET_0 ").count(), 2, "{lines}");
    let mode = std::os::unix::fs::MetadataExt::mode(&secrets.metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let refused = run(&scratch.path().join("nowhere/secrets"));
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("cannot be written (SSLKEYLOGFILE)"));
}

/// While the run goes on, and by a client that speaks HTTP as Prometheus does.
#[test]
fn prometheus_may_ask_while_it_runs() {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    let server = server();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["login", &server.address.to_string(), "--cpus", "0", "--rate", "50"])
        .args(["--warm-up", "0s", "--duration", "20s", "--interval", "100ms"])
        .args(["--prometheus", "127.0.0.1:0"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("metrics at http://").unwrap();
    let address = address.strip_suffix("/metrics").unwrap().to_owned();
    let ask = |path: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let value = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}\nnot in\n{text}")).trim().parse().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(15);
    let answer = loop {
        let answer = ask("/metrics");
        if value(&answer, "ringload_operations_total") >= 20.0 {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer}");
        sleep(Duration::from_millis(50));
    };
    assert!(ask("/other").starts_with("HTTP/1.1 404 "));
    let interrupt = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(interrupt, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
    let count = value(&answer, "ringload_operation_seconds_count");
    assert!((count - value(&answer, "ringload_operations_total")).abs() < 1e-9);
    let bucket =
        |le: &str| value(&answer, &format!("ringload_operation_seconds_bucket{{le=\"{le}\"}}"));
    assert!((bucket("+Inf") - count).abs() < 1e-9);
    assert!(bucket("0.0001") <= bucket("0.01") && bucket("0.01") <= bucket("100"));
    assert!(value(&answer, "ringload_operation_seconds_sum") > 0.0);
    assert!(value(&answer, "ringload_connections{state=\"idle\"}") >= 0.0);
}
