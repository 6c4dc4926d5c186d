//! The seam to the kernel and the only place of `unsafe`: what neither the standard library nor
//! `rustix` nor `socket2` offers safely. Knows no FTP and no executor, only the shape of the
//! executor's stream type.

#![allow(unsafe_code, reason = "the one audited place; every block has its SAFETY line")]

pub mod ring_check;
pub mod rings;

use std::{
    cell::RefCell,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};
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

/// A descriptor owned for its whole life by this value: first as an [`OwnedFd`], and from the
/// first wait on as a `W`, the executor's own stream type. The executor arms a poll as soon as it
/// adopts a descriptor, which would be wasted on one that never waits.
///
/// Invariant: `raw` is open and owned by `owner` until this value is dropped. `W` is never handed
/// out, so nothing can replace or close it meanwhile.
pub struct WatchedFd<W> {
    raw: RawFd,
    owner: RefCell<Owner<W>>,
}

impl<W: AsyncRead + AsyncWrite + FromRawFd + Unpin> WatchedFd<W> {
    /// Takes over `fd`.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { raw: fd.as_raw_fd(), owner: RefCell::new(Owner::Plain(fd)) }
    }

    /// Ready when a read would not block. Asks for zero bytes, so nothing is consumed. One task at
    /// a time: the executor remembers one waiter a direction.
    ///
    /// # Errors
    ///
    /// The pending error of a connected socket; on a listening one `ENOTCONN`, which means ready.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut owner = self.owner.borrow_mut();
        Pin::new(owner.adopted()).poll_read(cx, &mut []).map_ok(drop)
    }

    /// Sends what fits of `bytes`. An empty slice is ready at once on a connected socket and waits
    /// on one that is still connecting.
    ///
    /// # Errors
    ///
    /// Those of send(2).
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut owner = self.owner.borrow_mut();
        Pin::new(owner.adopted()).poll_write(cx, bytes)
    }
}

impl<W> AsFd for WatchedFd<W> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: by the invariant of this type `raw` stays open as long as `self` lives, and the
        // returned borrow cannot outlive `self`.
        unsafe { BorrowedFd::borrow_raw(self.raw) }
    }
}

impl<W> fmt::Debug for WatchedFd<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedFd").field("fd", &self.raw).finish_non_exhaustive()
    }
}

enum Owner<W> {
    Plain(OwnedFd),
    Adopted(W),
    /// Only inside [`Owner::adopted`].
    Moving,
}

impl<W: FromRawFd> Owner<W> {
    fn adopted(&mut self) -> &mut W {
        if let Self::Plain(_) = self
            && let Self::Plain(fd) = std::mem::replace(self, Self::Moving)
        {
            // SAFETY: the descriptor is open and owned, and its ownership moves into `W`.
            *self = Self::Adopted(unsafe { W::from_raw_fd(fd.into_raw_fd()) });
        }
        match self {
            Self::Adopted(stream) => stream,
            Self::Plain(_) | Self::Moving => unreachable!("adopted just above"),
        }
    }
}
