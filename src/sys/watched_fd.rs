//! A descriptor that becomes an executor's stream when something has to be waited for. Owns the
//! descriptor; knows no executor, only the shape of its stream type.

use std::{
    cell::RefCell,
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};

/// A descriptor owned for its whole life by this value: first as an [`OwnedFd`], and from the
/// first wait on as a `W`, the executor's own stream type.
///
/// The late change matters: an executor arms a poll as soon as it adopts a descriptor, which is
/// wasted on a connection that never has to wait, and keeps its file alive for a turn after the
/// close.
///
/// Invariant: `raw` is open and owned by `owner` until this value is dropped. `W` is never handed
/// out, so nothing can replace or close it meanwhile.
pub struct WatchedFd<W> {
    raw: RawFd,
    owner: RefCell<Owner<W>>,
}

impl<W: AsyncRead + AsyncWrite + From<OwnedFd> + Unpin> WatchedFd<W> {
    /// Takes over `fd`. Nothing is waited for, so no executor is needed yet.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { raw: fd.as_raw_fd(), owner: RefCell::new(Owner::Plain(fd)) }
    }

    /// Ready when a read would not block: data, end of file, an error, or for a listening socket a
    /// connection. Asks for zero bytes, so nothing is consumed.
    ///
    /// One task at a time: the executor remembers a single waiter per direction.
    ///
    /// # Errors
    ///
    /// The pending error of a connected socket. On a listening socket always `ENOTCONN`, which
    /// then means ready.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut owner = self.owner.borrow_mut();
        Pin::new(owner.adopted()).poll_read(cx, &mut []).map_ok(drop)
    }

    /// Reads what is there of a connected socket. One task at a time, as with
    /// [`WatchedFd::poll_readable`].
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut owner = self.owner.borrow_mut();
        Pin::new(owner.adopted()).poll_read(cx, buffer)
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
    /// Only inside [`Owner::adopted`]; left behind when the executor's constructor panics, and
    /// then the descriptor stays open.
    Moving,
}

impl<W: From<OwnedFd>> Owner<W> {
    fn adopted(&mut self) -> &mut W {
        if let Self::Plain(_) = self
            && let Self::Plain(fd) = std::mem::replace(self, Self::Moving)
        {
            *self = Self::Adopted(W::from(fd));
        }
        match self {
            Self::Adopted(stream) => stream,
            Self::Plain(_) | Self::Moving => unreachable!("adopted just above"),
        }
    }
}
