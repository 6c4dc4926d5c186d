//! Two thousand clients that log in and then say nothing.

use std::fs;
use std::time::Duration;

use crate::process::{descriptors, raise_descriptor_limit, resident_kib};
use crate::support::server::BOTH_LISTENERS;
use crate::support::wait::Stopwatch;
use crate::support::{Client, Listener, Server, program, wait_until};

const SESSIONS: usize = 2000;

/// What the design promises (benches/README.md has what an optimised build needs: 8 KiB). One
/// buffer kept by an idle session, or one future that holds room for its parts twice, breaks it. On
/// glommio a waiting task has more of the executor's own.
fn kib_per_session_max() -> u64 {
    if program::is_on_glommio() { 16 } else { 9 }
}

#[test]
fn two_thousand_idle_tls_sessions() {
    let limit = raise_descriptor_limit();
    assert!(limit > 2 * SESSIONS as u64, "hard limit of descriptors is {limit}: raise it");
    let server = Server::start();
    fs::write(server.root().join("file"), "content").unwrap();
    for listener in BOTH_LISTENERS {
        // What the first sessions allocate for all.
        (0..50).for_each(|_| Client::open(&server, listener).login().quit());
    }
    let (fds, memory) = (descriptors(server.pid()), resident_kib(server.pid()));

    let watch = Stopwatch::start();
    let tls = server.tls().no_resumption();
    let mut idle: Vec<Client> = (0..SESSIONS)
        .map(|_| Client::open_with(&server, Listener::Implicit, tls.clone()).login())
        .collect();
    let grown = resident_kib(server.pid()).saturating_sub(memory);
    println!(
        "{SESSIONS} idle sessions: {grown} KiB resident, {:.1} KiB each, opened in {:?}",
        grown as f64 / SESSIONS as f64,
        watch.elapsed()
    );
    assert!(descriptors(server.pid()) >= SESSIONS);
    assert!(grown / SESSIONS as u64 <= kib_per_session_max(), "{grown} KiB for {SESSIONS}");

    // One more is served as if it were alone.
    let watch = Stopwatch::start();
    let mut busy = Client::explicit(&server).login();
    assert_eq!(busy.retrieve("RETR file"), b"content");
    busy.store("STOR up", b"content");
    busy.quit();
    assert!(watch.elapsed() < Duration::from_secs(2), "slow: {:?}", watch.elapsed());

    for client in idle.iter_mut().step_by(97) {
        client.expect("NOOP", 200);
        assert_eq!(client.retrieve("RETR file"), b"content");
    }
    drop(idle);
    wait_until("the descriptors of all sessions", || descriptors(server.pid()) <= fds + 8);
}
