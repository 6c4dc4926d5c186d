//! What options do beside the operations themselves: outputs and what stays out of them, pauses,
//! the end of a run, the server's cost.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::path::Path;
use std::process::Command;

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
    let (status, text) = compare(&[&json, &json]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("operations/s") && text.contains("×1.000"), "{text}");
    let (status, text) = compare(&[&json, &file("nothing.json")]);
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("nothing.json"), "{text}");
}

fn compare(files: &[&Path]) -> (Option<i32>, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_ringload")).arg("compare").args(files).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn versus_writes_its_comparison_without_the_password() {
    let (server, scratch) = (server(), tempfile::TempDir::new().unwrap());
    let json = scratch.path().join("versus.json");
    let output = Command::new(env!("CARGO_BIN_EXE_ringload"))
        .args(["versus", "--a", &format!("{} --password {SECRET}", server.address)])
        .args(["--b", &server.address.to_string(), "--rounds", "3", "--json"])
        .arg(&json)
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
    let outcome = ringload(&line).all_failed(2, "operation", "reply_timeout");
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
