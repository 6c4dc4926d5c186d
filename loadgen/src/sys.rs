//! The seam to the kernel and the only place of `unsafe`: what neither the standard library nor
//! `rustix` nor `socket2` offers safely. Knows no FTP and no executor.

#![allow(unsafe_code, reason = "the one audited place; every block has its SAFETY line")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The source port is chosen at `connect` instead of `bind` (`IP_BIND_ADDRESS_NO_PORT`), so that
/// every pair of addresses has all ports of its own: without it, 28,000 connections of one source
/// address use up the ports for all targets. Holds for IPv6 too.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_bind_address_no_port(socket: impl AsFd) -> io::Result<()> {
    const LENGTH: libc::socklen_t = 4;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed for the call; the option's value is a c_int that lives
    // through the call, and LENGTH is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            LENGTH,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Raises the soft limit of open descriptors to the hard limit and returns it.
///
/// # Errors
///
/// Those of setrlimit(2).
pub fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(limit.maximum.unwrap_or(u64::MAX))
}

/// Raises the soft limit of locked memory to the hard limit: the rings of io_uring live there. A
/// refusal shows later, as an executor that does not start.
pub fn raise_locked_memory() {
    let limit = getrlimit(Resource::Memlock);
    let _ = setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
