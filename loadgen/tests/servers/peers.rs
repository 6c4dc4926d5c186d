//! Every workload against vsftpd and ProFTPD, implicit and explicit: other people's servers, and
//! other people's TLS. They need not agree with us about anything; counts must be exact anyway.
//! `ringload check` against these and three more; `interop` has it against ringftpd.
//!
//! vsftpd and Pure-FTPd need root: they become another user. Without root, their tests prove that
//! this is said.

use crate::support::peer::Peer;
use crate::support::{Outcome, run};

#[test]
fn vsftpd_implicit() {
    if let Some(vsftpd) = vsftpd() {
        every_workload(&vsftpd, &vsftpd.implicit);
    }
}

#[test]
fn vsftpd_explicit() {
    if let Some(vsftpd) = vsftpd() {
        every_workload(&vsftpd, &vsftpd.explicit);
        // Nothing that a server lacks is taken for a success.
        run(&vsftpd.explicit, "list --count 3 -c 1 --entries 3 --listing mlsd").all_failed(
            3,
            "first_byte",
            "unexpected_reply",
        );
    }
}

#[test]
fn vsftpd_sends_in_clear_what_ms_ftps_protects() {
    if let Some(vsftpd) = vsftpd() {
        // Its data connections are clear until PROT P asks for TLS, on implicit TLS as well.
        let line = "list --count 2 -c 1 --listing list --path / --implied-prot";
        refused(&run(&vsftpd.implicit, line), 2, "data_tls");
    }
}

#[test]
fn proftpd_implicit() {
    let proftpd = Peer::start("proftpd").unwrap();
    every_workload(&proftpd, &proftpd.implicit);
    run(&proftpd.implicit, "list --count 6 -c 2 --entries 20 --listing mlsd").all_succeeded(6);
}

#[test]
fn proftpd_explicit() {
    let proftpd = Peer::start("proftpd").unwrap();
    every_workload(&proftpd, &proftpd.explicit);
    run(&proftpd.explicit, "list --count 6 -c 2 --entries 20 --listing mlsd").all_succeeded(6);
}

#[test]
fn pureftpd_is_checked() {
    if let Some(pureftpd) = with_root("pureftpd") {
        let lacking = "resumption on data connections: each costs a full handshake, and clients \
                       cannot tell that it is the same server (`--resume-data`)";
        lacks(&pureftpd.explicit, &[lacking, "resumption on control connections (`--resume`)"]);
    }
}

#[test]
fn pyftpdlib_is_checked() {
    let pyftpdlib = Peer::start("pyftpdlib").unwrap();
    for target in [&pyftpdlib.implicit, &pyftpdlib.explicit] {
        lacks(target, &[]);
    }
}

#[test]
fn aioftp_is_checked() {
    let aioftp = Peer::start("aioftp").unwrap();
    lacks(&aioftp.implicit, &["FEAT: it does not tell what it can do"]);
}

fn vsftpd() -> Option<Peer> {
    with_root("vsftpd")
}

/// `None` without root, where it must say that it needs root.
fn with_root(kind: &str) -> Option<Peer> {
    match Peer::start(kind) {
        Ok(peer) => Some(peer),
        Err(complaint) => {
            assert!(!rustix::process::geteuid().is_root(), "{complaint}");
            assert!(complaint.contains("needs root"), "{complaint}");
            None
        }
    }
}

fn every_workload(peer: &Peer, target: &str) {
    checked(target);
    connections(target);
    transfers(target);
    small_files_lists_and_a_mix(target);
    held_and_slow(target);
    assert_eq!(peer.files(), [""; 0], "what a run makes it deletes");
}

/// One session with it, step by step.
#[track_caller]
fn step_by_step(target: &str) -> String {
    let said = crate::support::checked(target);
    for step in ["TCP", "TLS", "certificate", "greeting", "FEAT", "log-in", "listing", "QUIT"] {
        let line = said.lines().find(|line| line.starts_with(step));
        assert!(line.is_some_and(|line| line.len() > 13), "{step} not in\n{said}");
    }
    said
}

/// And exactly this is lacking.
#[track_caller]
fn lacks(target: &str, expected: &[&str]) {
    let said = step_by_step(target);
    let lacking: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("lacks        ")).collect();
    assert_eq!(lacking, expected, "{said}");
    assert_eq!(said.contains("It has all that the workloads use."), expected.is_empty(), "{said}");
}

fn checked(target: &str) {
    let said = step_by_step(target);
    // vsftpd has no listing for programs, ProFTPD has.
    assert_ne!(said.contains("lacks        MLST"), said.contains("MLST,"), "{said}");
}

fn connections(target: &str) {
    for version in ["1.2", "1.3"] {
        let line = format!("handshake --count 8 -c 2 --tls {version}");
        let full = run(target, &line).all_succeeded(8);
        assert_eq!(full.resumption("control"), (8, 0, 0), "{version}");
        // With explicit TLS and 1.3, the tickets come when the client has gone.
        if version == "1.2" || !target.contains("--explicit") {
            run(target, &format!("{line} --resume always")).all_succeeded(8);
        }
        let logins = run(target, &format!("login --count 6 -c 2 --tls {version}"));
        assert_eq!(logins.all_succeeded(6).phase_count("login"), 6);
    }
    // Neither of them knows REIN.
    refused(&run(target, "login --rein --count 2 -c 1"), 2, "greeting");
}

fn transfers(target: &str) {
    let resumed = "--resume-data always";
    for options in [
        "--data epsv --tls 1.2 --resume-data always",
        "--data pasv --tls 1.3 --resume-data offered",
        "--data pasv-reply --prot C",
        "--data port --tls 1.3 --resume-data never",
        "--data eprt --prot C",
    ] {
        let options = format!("--count 4 -c 2 --size 300KB {options}");
        let down = run(target, &format!("download {options}")).all_succeeded(4);
        assert_eq!(down.total("bytes_down"), 1_200_000, "{options}");
        let up = run(target, &format!("upload {options}")).all_succeeded(4);
        assert_eq!(up.total("bytes_up"), 1_200_000, "{options}");
        let handshakes = if options.contains("--prot C") { 0 } else { 4 };
        let (done, _, again) = up.resumption("data");
        assert_eq!(done, handshakes, "{options}");
        assert!(again == done || !options.contains(resumed), "{options}");
    }
}

fn small_files_lists_and_a_mix(target: &str) {
    let down = run(target, "small-files --count 30 -c 3 --files 10").all_succeeded(30);
    assert_eq!(down.total("bytes_down"), 30 * 4096);
    run(target, "small-files --count 15 -c 3 --upload").all_succeeded(15);
    for listing in ["list", "nlst"] {
        let line = format!("list --count 4 -c 2 --entries 20 --listing {listing}");
        run(target, &line).all_succeeded(4);
    }
    let scenario = tempfile::NamedTempFile::new().unwrap();
    let text = "operation = [{ kind = \"download\" }, { kind = \"upload\" }, \
                { kind = \"list\" }, { kind = \"noop\" }, { kind = \"login\" }]\n\
                size = [{ bytes = \"4KiB\" }, { bytes = \"1MiB\" }]\n";
    std::fs::write(scenario.path(), text).unwrap();
    let line = format!("mixed --scenario {} --count 30 -c 3", scenario.path().display());
    run(target, &line).all_succeeded(30);
}

fn held_and_slow(target: &str) {
    let idle = run(target, "idle -c 10 --every 200ms --duration 1s --warm-up 0s");
    assert_eq!(idle.all_succeeded(50).total("connections_peak"), 10);
    let line = "reconnect-storm -c 5 --every 1s --duration 2s --warm-up 0s";
    assert_eq!(run(target, line).all_succeeded(10).phase_count("login"), 10);
    let line = "silent -c 5 --duration 300ms --warm-up 0s";
    assert_eq!(run(target, line).all_succeeded(0).total("connections_peak"), 5);
    for workload in ["slow-reader", "slow-writer"] {
        let line =
            format!("{workload} -c 2 --byte-rate 20KiB --size 1MiB --duration 1s --warm-up 0s");
        let slow = run(target, &line).all_succeeded(0);
        let moved = slow.total("bytes_up") + slow.total("bytes_down");
        assert!((20_000..100_000).contains(&moved), "{workload} moved {moved}");
    }
    let beside = run(target, "login --count 4 -c 2 --silent 5").all_succeeded(4);
    assert!(beside.total("connections_peak") >= 5);
}

/// All of `operations` failed in that phase.
#[track_caller]
fn refused(outcome: &Outcome, operations: u64, phase: &str) {
    assert_eq!(outcome.total("operations"), 0);
    assert_eq!(outcome.total("errors"), operations);
    let errors = outcome.result["errors"].as_array().unwrap();
    assert!(errors.iter().all(|error| error["phase"] == phase), "not in {phase}: {errors:?}");
}
