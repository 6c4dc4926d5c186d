//! Every workload against the real ringftpd, implicit and explicit, with exact counts; and the
//! sizes and limits that the client must reach.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "shared with the server's tests, each using its part")]
#[path = "../../tests/support/ports.rs"]
mod ports;
mod support;

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use ports::free_ports;
use rustix::process::{Pid, Signal, kill_process};
use support::ringftpd::{Ringftpd, Setup};
use support::scripted::{Act, Moment, Scripted};
use support::{Authority, Outcome, checked, run};

/// How a listener is addressed on the command line.
fn targets(server: &Ringftpd) -> [String; 3] {
    [
        server.implicit.to_string(),
        format!("{} --explicit", server.explicit),
        format!("{} --auth-ssl", server.explicit),
    ]
}

#[test]
fn connections_and_logins() {
    let server = Ringftpd::start();
    for target in targets(&server) {
        let outcome = run(&target, "handshake --count 30 -c 4").all_succeeded(30);
        assert_eq!(outcome.phase_count("tls_handshake"), 30);
        assert_eq!(outcome.phase_count("greeting"), 30);
        assert_eq!(outcome.total("connections"), 30);
        assert_eq!(outcome.result["target"]["greeting"], "ringftpd ready");
        let outcome = run(&target, "login --count 20 -c 4").all_succeeded(20);
        assert_eq!(outcome.phase_count("login"), 20);
        let parts = ["tcp_connect", "tls_handshake", "greeting", "login"];
        let (parts, whole) = (parts.map(|part| sum(&outcome, part)), sum(&outcome, "operation"));
        let error = (parts.iter().sum::<f64>() - whole).abs() / whole;
        assert!(error < 0.01, "{parts:?} do not add up to {whole}");
    }
}

/// All that the workloads use is there, whichever way TLS begins.
#[test]
fn a_check_finds_nothing_lacking() {
    let server = Ringftpd::start();
    for target in targets(&server) {
        let said = checked(&target);
        for part in ["under TLS, the session resumed", "its TLS session was resumed"] {
            assert!(said.contains(part), "{part} not in\n{said}");
        }
        assert!(said.ends_with("It has all that the workloads use.\n"), "{said}");
    }
}

#[test]
fn full_handshakes_are_full_however_many_clients_share_a_thread() {
    let server = Ringftpd::start();
    // Each connection waits for its greeting while others finish their handshakes.
    let line = "handshake --tls 1.2 --count 200 -c 32";
    for target in targets(&server) {
        let outcome = run(&target, line).all_succeeded(200);
        assert_eq!(outcome.resumption("control"), (200, 0, 0), "{target}");
    }
}

/// All operations' time in a phase, nanoseconds, to the precision of the histogram.
fn sum(outcome: &Outcome, phase: &str) -> f64 {
    let figures = &outcome.result["phases"][phase]["corrected"];
    figures["mean_ns"].as_f64().unwrap() * figures["count"].as_f64().unwrap()
}

#[test]
fn rein_negotiates_anew_on_the_same_connection() {
    let server = Ringftpd::start();
    for target in targets(&server) {
        let outcome = run(&target, "login --rein --count 12 -c 3").all_succeeded(12);
        // Three sessions were opened before the run; each operation did one handshake more.
        assert_eq!(outcome.resumption("control").0, 15);
        assert_eq!(outcome.phase_count("tcp_connect"), 0);
        assert_eq!(outcome.phase_count("login"), 12);
    }
}

#[test]
fn transfers_in_every_data_mode() {
    let server = Ringftpd::start();
    for target in targets(&server) {
        for mode in ["epsv", "pasv", "pasv-reply", "port", "eprt"] {
            for level in ["P", "C"] {
                let options = format!("--count 6 -c 3 --size 100KB --data {mode} --prot {level}");
                let down = run(&target, &format!("download {options}")).all_succeeded(6);
                assert_eq!(down.total("bytes_down"), 600_000, "{mode} {level}");
                let up = run(&target, &format!("upload {options}")).all_succeeded(6);
                assert_eq!(up.total("bytes_up"), 600_000, "{mode} {level}");
                let handshakes = if level == "P" { 6 } else { 0 };
                assert_eq!(up.resumption("data").0, handshakes);
                assert_eq!(up.phase_count("data_connect"), 6);
                assert_eq!(up.phase_count("completion"), 6);
            }
        }
    }
    assert_eq!(server.files(), [""; 0], "what a run makes it deletes");
}

#[test]
fn small_files_lists_and_a_mix() {
    let server = Ringftpd::start();
    let scenario = tempfile::NamedTempFile::new().unwrap();
    let text = "abandon = 0.3\noperation = [{ kind = \"download\" }, { kind = \"upload\" }, \
                { kind = \"list\" }, { kind = \"noop\" }, { kind = \"login\" }]\n\
                size = [{ bytes = \"4KiB\" }, { bytes = \"1MiB\" }]\n";
    std::fs::write(scenario.path(), text).unwrap();
    for target in targets(&server) {
        let down = run(&target, "small-files --count 60 -c 3 --files 20").all_succeeded(60);
        assert_eq!(down.total("bytes_down"), 60 * 4096);
        run(&target, "small-files --count 30 -c 3 --upload").all_succeeded(30);
        for listing in ["list", "nlst", "mlsd"] {
            let line = format!("list --count 6 -c 2 --entries 20 --listing {listing}");
            run(&target, &line).all_succeeded(6);
        }
        let path = scenario.path().display();
        let mixed = run(&target, &format!("mixed --scenario {path} --count 80 -c 4")).good();
        assert_eq!(mixed.total("errors"), 0, "{}", mixed.result["errors"]);
        assert_eq!(mixed.total("operations") + mixed.total("abandoned"), 80);
        assert!(mixed.total("abandoned") > 0);
    }
}

#[test]
fn held_sessions_slow_ones_silent_ones_and_storms() {
    let server = Ringftpd::start();
    for target in &targets(&server)[..2] {
        let line = "idle -c 40 --every 200ms --duration 1s --warm-up 0s";
        let idle = run(target, line).all_succeeded(200);
        assert_eq!(idle.total("connections_peak"), 40);
        let line = "reconnect-storm -c 20 --every 500ms --duration 1s --warm-up 0s";
        let storm = run(target, line).all_succeeded(40);
        assert_eq!(storm.phase_count("login"), 40);
        let line = "silent -c 20 --duration 300ms --warm-up 0s";
        assert_eq!(run(target, line).all_succeeded(0).total("connections_peak"), 20);
        for workload in ["slow-reader", "slow-writer"] {
            let line = format!(
                "{workload} -c 4 --byte-rate 20KiB --size 10MiB --duration 1s --warm-up 0s"
            );
            // None ends within the run; they are cut with it, and nobody is blamed.
            let slow = run(target, &line).all_succeeded(0);
            let moved = slow.total("bytes_up") + slow.total("bytes_down");
            assert!((40_000..200_000).contains(&moved), "{workload} moved {moved}");
        }
    }
    // Beside another workload.
    let target = &targets(&server)[0];
    let beside = run(target, "login --count 10 -c 2 --silent 30").all_succeeded(10);
    assert!(beside.total("connections_peak") >= 30);
}

#[test]
fn open_loop_begins_everything_that_is_due() {
    let server = Ringftpd::start();
    let target = server.implicit.to_string();
    let line = "handshake --rate 200 --duration 1s --warm-up 500ms";
    let constant = run(&target, line).all_succeeded(200);
    assert_eq!(constant.result["workload"]["loop"], "open");
    assert_eq!(constant.result["lateness"]["count"], 200);
    let line = "handshake --ramp 100..300 --duration 1s --warm-up 0s";
    run(&target, line).all_succeeded(200);
    let line = "handshake --steps 100,200 --duration 2s --warm-up 0s";
    run(&target, line).all_succeeded(300);
    let line = "handshake --rate 200 --arrivals poisson --duration 1s --warm-up 0s";
    let poisson = run(&target, line).good();
    assert!((150..250).contains(&poisson.total("operations")));
    let line = "handshake --rate 500 --count 100 --arrivals poisson";
    run(&target, line).all_succeeded(100);
    // One connection for a rate that needs several: late, but none is left out.
    let line = "login --rate 300 --max-connections 1 --duration 500ms --warm-up 0s";
    run(&target, line).all_succeeded(150);
}

#[test]
fn a_file_that_was_there_is_checked_by_its_digest() {
    let server = Ringftpd::start();
    let target = server.implicit.to_string();
    server.put("abc", b"abc");
    let right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let line = format!("download --count 3 --path abc --sha256 {right}");
    run(&target, &line).all_succeeded(3);
    let line = format!("download --count 3 --path abc --sha256 {}", "0".repeat(64));
    run(&target, &line).all_failed(3, "last_byte", "verification_mismatch");
    run(&target, "download --count 3 --path abc").all_succeeded(3);
    assert_eq!(server.files(), ["abc"]);
}

#[test]
fn the_server_is_measured_and_objectives_decide_the_exit_status() {
    let server = Ringftpd::start();
    let target = server.implicit.to_string();
    let pid = server.pid();
    let line = format!("idle -c 200 --every 1s --duration 1s --warm-up 0s --server-pid {pid}");
    let idle = run(&target, &line).all_succeeded(200);
    let measured = &idle.result["server"];
    assert_eq!(measured["sessions"], 200);
    assert!(measured["memory_after_bytes"].as_u64().unwrap() > 1_000_000);
    let line = "handshake --count 5 --fail-on p99>1ns";
    assert_eq!(run(&target, line).status, 1);
    let line = "handshake --count 5 --fail-on errors>0 --slo p99<30s";
    assert_eq!(run(&target, line).status, 0);
    assert_eq!(run(&target, "handshake --count 5 --slo rate>1000000").status, 1);
}

#[test]
fn ctrl_c_ends_the_run_with_a_report() {
    let server = Ringftpd::start();
    let scratch = tempfile::TempDir::new().unwrap();
    let json = scratch.path().join("result.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["handshake", &server.implicit.to_string(), "--duration", "10m", "--cpus", "0"])
        .arg("--json")
        .arg(&json)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The first line of progress: it runs.
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("p99"), "{line}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("whole operation"));
    let text = std::fs::read_to_string(&json).unwrap();
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["timing"]["ending"], "interrupted");
    assert!(result["totals"]["operations"].as_u64().unwrap() > 0);
}

/// Half a step shows nothing of its rate: with what was done until then, the objective would hold.
#[test]
fn ctrl_c_in_a_search_leaves_the_steps_before() {
    let server = Scripted::implicit(|_| Act::Right);
    let scratch = tempfile::TempDir::new().unwrap();
    let json = scratch.path().join("result.json");
    let search = "--cpus 0 --user alice --find-max-rate --slo errors=0 --warm-up 0s";
    let line = format!("login {} {search}", server.address);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(line.split_whitespace())
        .args(["--duration", "2s", "--json"])
        .arg(&json)
        .env("RINGLOAD_PASSWORD", "secret")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("50.0/s for 2.0 s (scout): seems to hold"), "{first}");
    let before = server.commands().len();
    while server.commands().len() < before + 20 {
        assert!(child.try_wait().unwrap().is_none(), "no second step");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // A scout shows nothing that could be claimed.
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
    let text = std::fs::read_to_string(&json).unwrap();
    let result: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["timing"]["ending"], "complete");
    assert!(result["rate_held"].is_null());
    let steps = result["rate_search"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{steps:?}");
    assert_eq!((steps[0]["rate"].as_f64(), &steps[0]["verdict"]), (Some(50.0), &"too_few".into()));

    // In the first step there is nothing to tell yet.
    let server = Scripted::implicit(|_| Act::Right);
    let line = format!("login {} {search} --duration 10m", server.address);
    let (status, text) = interrupted(&line, || server.commands().len() > 20);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("interrupted in the first step"), "{text}");
}

#[test]
fn two_targets_in_turn() {
    let server = Ringftpd::start();
    let (a, b) = (server.implicit.to_string(), format!("{} --explicit", server.explicit));
    let output = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["versus", "--a", &a, "--b", &b, "--rounds", "3", "--"])
        .args(["handshake", "--count", "10", "--cpus", "0", "--quiet"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("TLS handshake") && text.contains("Medians of 3 rounds"), "{text}");
}

#[test]
fn the_servers_certificate_is_verified() {
    let (right, wrong) = (Authority::new(), Authority::new());
    let (certificate, key, print) = right.issue("server");
    let tls = format!("certificate = \"{certificate}\"\nkey = \"{key}\"");
    let server = Ringftpd::start_with(&Setup { tls, ..Setup::default() });
    let (right, wrong) = (right.pem(), wrong.pem());
    for target in targets(&server) {
        for version in ["1.2", "1.3"] {
            let line = |demand: &str| format!("handshake --count 2 --tls {version} {demand}");
            let passes = |demand: &str| run(&target, &line(demand)).all_succeeded(2);
            let fails = |demand: &str| {
                let outcome = run(&target, &line(demand));
                let kind = "certificate_rejected";
                let outcome = outcome.all_failed(2, "tls_handshake", kind);
                assert_eq!(outcome.result["errors"][0]["class"], "certificate");
            };
            passes("");
            passes(&format!("--ca {right}"));
            passes(&format!("--ca {right} --server-name localhost"));
            passes(&format!("--ca {right} --server-name localhost --no-sni"));
            passes(&format!("--pin {print}"));
            passes(&format!("--pin {print} --server-name other.test"));
            fails(&format!("--ca {wrong}"));
            fails(&format!("--ca {right} --server-name other.test"));
            fails(&format!("--ca {right} --server-name 127.0.0.2"));
            fails(&format!("--pin {}", "0".repeat(64)));
            // The same demand holds on data connections.
            let line = format!("download --count 2 --size 9000 --tls {version} --ca {right}");
            run(&target, &line).all_succeeded(2);
        }
    }
}

#[test]
fn a_client_certificate_is_shown_on_both_connections() {
    let (right, wrong) = (Authority::new(), Authority::new());
    let (certificate, key, print) = right.issue("client");
    let tls = format!("client_ca = \"{}\"", right.pem());
    let user = format!("certificate_sha256 = \"{print}\"");
    let server = Ringftpd::start_with(&Setup { tls, user, ..Setup::default() });
    let (other, other_key, _) = right.issue("other");
    let (foreign, foreign_key, _) = wrong.issue("foreign");
    for target in targets(&server) {
        for version in ["1.2", "1.3"] {
            let line = |work: &str, certificate: &str, key: &str| {
                let identity = format!("--client-cert {certificate} --client-key {key}");
                run(&target, &format!("{work} --count 2 --tls {version} {identity}"))
            };
            line("login", &certificate, &key).all_succeeded(2);
            line("download --size 9000", &certificate, &key).all_succeeded(2);
            line("upload --size 9000 --resume-data never", &certificate, &key).all_succeeded(2);
            line("login", &other, &other_key).all_failed(2, "login", "unexpected_reply");
            let none = run(&target, &format!("login --count 2 --tls {version}"));
            none.all_failed(2, "login", "unexpected_reply");
            // In TLS 1.3 the client has finished before the server has seen the certificate.
            let refused = line("login", &foreign, &foreign_key).failed();
            assert_eq!(refused.total("errors"), 2);
            assert_eq!(refused.result["errors"][0]["kind"], "tls_alert");
        }
    }
}

#[test]
fn everything_works_over_ipv6() {
    let server = Ringftpd::start_with(&Setup { ip: "[::1]", ..Setup::default() });
    for target in targets(&server) {
        run(&target, "handshake --count 6 -c 2").all_succeeded(6);
        run(&target, "login --count 4 -c 2 --sources ::1").all_succeeded(4);
        for mode in ["epsv", "eprt"] {
            for level in ["P", "C"] {
                let options = format!("--count 4 -c 2 --size 9000 --data {mode} --prot {level}");
                let down = run(&target, &format!("download {options} --sources ::1"));
                assert_eq!(down.all_succeeded(4).total("bytes_down"), 36_000, "{mode} {level}");
                run(&target, &format!("upload {options}")).all_succeeded(4);
            }
        }
        for mode in ["pasv", "pasv-reply", "port"] {
            let refused = run(&target, &format!("download --count 1 --data {mode}"));
            assert_eq!(refused.status, 2);
            assert!(refused.output.contains("no form for IPv6"), "{}", refused.output);
        }
        let refused = run(&target, "login --count 1 --sources 127.0.0.1");
        assert!(refused.output.contains("one address family"), "{}", refused.output);
    }
}

/// 2,000 sessions at once, each with TLS and a log-in, none lost; 10,000 by hand, see README.md.
#[test]
fn two_thousand_sessions_at_once() {
    let server = Ringftpd::start();
    let target = server.implicit.to_string();
    let line = "idle -c 2000 --every 2s --duration 2s --warm-up 0s --timeout 60s";
    let idle = run(&target, line).all_succeeded(2000);
    assert_eq!(idle.total("connections_peak"), 2000);
    let flood = run(&target, "handshake -c 2000 --count 2000 --timeout 60s").all_succeeded(2000);
    assert_eq!(flood.total("connections_peak"), 2000);
}

#[test]
fn a_limit_of_descriptors_that_is_too_low_is_explained() {
    let server = Ringftpd::start();
    let program = env!("CARGO_BIN_EXE_ringload");
    let run = |clients: u32| {
        let line = format!(
            "ulimit -Sn 100; ulimit -Hn 400; exec {program} handshake {} --cpus 0 -c {clients} \
             --count 1000 --quiet",
            server.implicit
        );
        Command::new("sh").args(["-c", &line]).output().unwrap()
    };
    let refused = run(1000);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("the hard limit is 400") && text.contains("ulimit -Hn"), "{text}");
    // Below the hard limit the soft one is raised.
    let raised = run(200);
    assert!(raised.status.success(), "{}", String::from_utf8_lossy(&raised.stderr));
}

/// Starts `ringload` and interrupts it once `ready` says so.
#[track_caller]
fn interrupted(line: &str, ready: impl Fn() -> bool) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(line.split_whitespace())
        .env("RINGLOAD_PASSWORD", "secret")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !ready() {
        assert!(std::time::Instant::now() < deadline, "the moment never came");
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn ctrl_c_in_the_preparation_deletes_what_was_made() {
    let server = Ringftpd::start();
    let target = server.implicit.to_string();
    let options = format!("{target} --cpus 0 --user alice --count 1");
    for work in ["small-files --files 50000", "list --entries 50000"] {
        let made = || !server.files().is_empty();
        let (status, text) = interrupted(&format!("{work} {options}"), made);
        assert_eq!(status, 3, "{text}");
        assert!(text.contains("the preparation failed: interrupted"), "{text}");
        assert_eq!(server.files(), [""; 0], "{text}");
    }
    // Files are there, the sessions are being opened: to a server that never answers.
    let server = Scripted::implicit(|moment| match moment {
        Moment::Command("USER hang") => Act::Hang,
        _ => Act::Right,
    });
    let line = format!("idle {} --cpus 0 --user hang --count 1", server.address);
    let (status, text) = interrupted(&line, || !server.commands().is_empty());
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("interrupted before it began"), "{text}");
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    // The first one is heard, and then a server that never answers is waited for.
    let server = Scripted::implicit(|moment| match moment {
        Moment::Command(line) if line.starts_with("STOR") || line.starts_with("DELE") => Act::Hang,
        _ => Act::Right,
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["download", &server.address.to_string(), "--cpus", "0", "--count", "1"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(9);
    for verb in ["STOR", "DELE"] {
        while !server.commands().iter().any(|line| line.starts_with(verb)) {
            assert!(std::time::Instant::now() < deadline, "no {verb}: {:?}", server.commands());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(std::time::Instant::now() < deadline);
}

/// More clients than passive ports, all of one user: those of each address take turns at them.
#[test]
fn more_clients_than_passive_ports() {
    let first = free_ports(&[Ipv4Addr::LOCALHOST.into()], 4);
    let passive = format!("ports = \"{first}-{}\"", first + 3);
    let server = Ringftpd::start_with(&Setup { cpus: "0-1", passive, ..Setup::default() });
    let sources = "--sources 127.0.0.1,127.0.0.2,127.0.0.3";
    let line = format!("small-files --count 120 -c 24 --files 5 --size 4KiB {sources}");
    let outcome = run(&server.implicit.to_string(), &line).all_succeeded(120);
    assert_eq!(outcome.total("errors"), 0);
}
