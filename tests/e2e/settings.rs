//! Settings whose whole effect is what a client is told, or how long it waits: the greeting, the
//! address in PASV, what TLS agrees on, the queue of a listener.

use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use rustls::{CipherSuite, NamedGroup, ProtocolVersion};

use crate::process::{are_stopped, first_cpu};
use crate::support::client::pasv_address;
use crate::support::wait::{pause, wait_until};
use crate::support::{Client, Listener, Server};

#[test]
fn the_greeting_and_the_address_of_pasv() {
    let config = "[policy]\ngreeting = \"The archive\"\n[passive]\naddress = \"203.0.113.7\"";
    let server = Server::builder().toml(config).start();
    let mut client = Client::raw(&server, Listener::Explicit);
    assert_eq!(client.expect_reply(220).text(), "The archive");
    let mut client = Client::implicit(&server).login();
    let address = pasv_address(&client.expect("PASV", 227));
    assert_eq!(address.ip().to_string(), "203.0.113.7");
}

/// A stopped server accepts nothing, and the kernel queues its connections: one more than the
/// backlog. (It also lets clients whose connection it has not queued believe in it.)
#[test]
fn as_many_wait_as_the_backlog_says() {
    let config = format!("[shards]\ncpus = \"{}\"\n[listen]\nbacklog = 3", first_cpu());
    let server = Server::builder().toml(&config).start();
    let address = server.address(Listener::Implicit);
    server.signal(Signal::STOP);
    wait_until("every thread to stand still", || are_stopped(server.pid()));
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let _clients: Vec<_> = (0..8).filter_map(connect).collect();
    let waiting = accept_queue(address.port());
    server.signal(Signal::CONT);
    assert_eq!(waiting, 4);
}

/// Connections of a listener that wait for accept(2): `rx_queue` of its line (proc_pid_net(5)).
fn accept_queue(port: u16) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut listeners = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let local = format!(":{port:04X}");
    let found = listeners.find(|words| words[1].ends_with(&local) && words[3] == "0A").unwrap();
    u64::from_str_radix(found[4].split_once(':').unwrap().1, 16).unwrap()
}

/// The client offers everything that it knows.
#[test]
fn what_tls_may_agree_on() {
    for (setting, version, suite, group) in [
        (
            "versions = [\"1.2\"]\ncipher_suites = [\"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\"]",
            ProtocolVersion::TLSv1_2,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            None,
        ),
        (
            "versions = [\"1.3\"]\ncipher_suites = [\"TLS13_CHACHA20_POLY1305_SHA256\"]\n\
             groups = [\"secp384r1\"]",
            ProtocolVersion::TLSv1_3,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            Some(NamedGroup::secp384r1),
        ),
    ] {
        let server = Server::builder().toml(&format!("[tls]\n{setting}")).start();
        let client = Client::implicit(&server);
        let tls = client.wire.tls().unwrap();
        assert_eq!(tls.protocol_version(), Some(version));
        assert_eq!(tls.negotiated_cipher_suite().map(|agreed| agreed.suite()), Some(suite));
        let agreed = tls.negotiated_key_exchange_group().map(|agreed| agreed.name());
        assert!(group.is_none() || agreed == group, "{agreed:?}");
    }
}

#[test]
fn tickets_end() {
    let server = Server::builder().toml("[tls]\nticket_lifetime = \"2s\"").start();
    let tls = server.tls();
    let resumed = || Client::open_with(&server, Listener::Implicit, tls.clone()).wire.resumed();
    assert!(!resumed());
    assert!(resumed());
    pause(Duration::from_millis(3_100));
    assert!(!resumed());
}
