//! Without the kernel's TLS, or without a cipher of it, downloads go on in user space, and not an
//! octet is wrong. These tests take kernel modules away; they run as root in their own machine.

use std::fs;
use std::process::Command;

use rustls::CipherSuite;

use crate::content::bytes;
use crate::fixture::{
    Counts, Hidden, MIB, kernel_has_key_updates, session, session_with, start, stop_and_count,
    tls_stat,
};
use crate::support::program;
use crate::support::tls::TLS13;

/// The module is not there when the server starts.
#[test]
fn no_module_at_the_start() {
    let hidden = Hidden::new(&["tls"]);
    let server = start();
    let content = bytes(2 * MIB, 41);
    fs::write(server.root().join("file"), &content).unwrap();
    let log = server.log();
    assert!(log.contains("no kernel TLS") && log.contains("modprobe tls"), "{log}");
    let mut client = session(&server);
    assert!(client.retrieve("RETR file") == content);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 0, records: 1, fallbacks: 0 });
    drop(hidden);
}

/// The module was there when the server started, and is gone at the first download; then it is
/// back.
#[test]
fn the_module_goes_and_comes() {
    let server = start();
    let content = bytes(2 * MIB, 42);
    fs::write(server.root().join("file"), &content).unwrap();
    assert!(server.log().contains("AES-128-GCM"), "{}", server.log());
    let mut client = session(&server);
    let hidden = Hidden::new(&["tls"]);
    assert!(client.retrieve("RETR file") == content);
    drop(hidden);
    assert!(client.retrieve("RETR file") == content);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 1, fallbacks: 1 });
}

/// A cipher is missing: connections that use it stay in user space, others do not. Where the
/// cipher is built into the kernel there is nothing to take away, and nothing to see.
#[test]
fn a_cipher_is_missing() {
    const MODULES: [&str; 1] = ["chacha20poly1305"];
    if !can_be_unloaded(MODULES[0]) {
        assert!(fs::read_to_string("/proc/crypto").unwrap().contains("poly1305"));
        return;
    }
    let hidden = Hidden::new(&MODULES);
    let server = start();
    let content = bytes(2 * MIB, 43);
    fs::write(server.root().join("file"), &content).unwrap();
    let before = tls_stat("TlsTxSw");
    for suite in
        [CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, CipherSuite::TLS13_AES_128_GCM_SHA256]
    {
        let mut client = session_with(&server, server.tls().versions(TLS13).suite(suite));
        assert!(client.retrieve("RETR file") == content, "{suite:?}");
        client.quit();
    }
    assert_eq!(tls_stat("TlsTxSw") - before, 1);
    let log = server.log();
    assert!(!log.contains("ChaCha20-Poly1305,"), "{log}");
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 1, fallbacks: 0 });
    drop(hidden);
}

/// The cipher goes after the start: the kernel's TLS is on the socket already when it refuses the
/// keys, and the records of user space pass through it.
#[test]
fn a_cipher_goes_after_the_start() {
    const MODULES: [&str; 1] = ["chacha20poly1305"];
    // Where it is built in, the test before says so.
    can_be_unloaded(MODULES[0]);
    let server = start();
    let content = bytes(2 * MIB, 44);
    fs::write(server.root().join("file"), &content).unwrap();
    let suite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let mut client = session_with(&server, server.tls().versions(TLS13).suite(suite));
    let hidden = Hidden::new(&MODULES);
    assert!(client.retrieve("RETR file") == content);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 0, records: 1, fallbacks: 1 });
    drop(hidden);
}

/// Loads a module, which another test may have unloaded; false when it is built into the kernel.
fn can_be_unloaded(module: &str) -> bool {
    let _ = Command::new("/sbin/modprobe").arg(module).output().unwrap();
    fs::read_to_string("/proc/modules").unwrap().contains(module)
}

/// `check-config` says what the kernel has.
#[test]
fn check_config_says_what_is_there() {
    let says = || {
        let mut command = Command::new(program::path());
        let output = command.args(["check-config", "--state-dir", "/tmp/state"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("tls.ktls")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let there = says();
    assert!(there.contains("auto (AES-128-GCM, AES-256-GCM"), "{there}");
    let updates = there.contains(" with key updates");
    assert_eq!(updates, kernel_has_key_updates(), "{there}");
    let hidden = Hidden::new(&["tls"]);
    let gone = says();
    assert!(gone.contains("not available") && gone.contains("modprobe tls"), "{gone}");
    drop(hidden);
}
