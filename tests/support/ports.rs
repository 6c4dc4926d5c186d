//! Ports that nobody has.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// An address of this host with a port that nobody has.
pub(crate) fn free_address(host: impl Into<IpAddr>) -> SocketAddr {
    TcpListener::bind((host.into(), 0)).unwrap().local_addr().unwrap()
}

/// The first of so many ports in a row that nobody has at any of these addresses, and that no other
/// call of this process has got: HAProxy shares ports with others (SO_REUSEPORT) instead of being
/// refused, and passive ports are bound only when they are used.
pub(crate) fn free_ports(hosts: &[IpAddr], count: u16) -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Below the ports that the kernel gives to others; each process begins elsewhere.
    let begin = 20_000 + u16::try_from(std::process::id() % 100).unwrap() * 100;
    let is_free = |port: u16| hosts.iter().all(|host| TcpListener::bind((*host, port)).is_ok());
    loop {
        let first = begin + GIVEN.fetch_add(count, Ordering::Relaxed);
        assert!(first < 32_000, "no free ports below 32000");
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}
