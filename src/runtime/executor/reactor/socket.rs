//! Sockets: tried by system calls, which do not wait, and waited for by the ring.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use ringftpd_reactor as reactor;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// A socket, read and written by one task a direction.
#[derive(Debug)]
pub(in crate::runtime) struct Watched {
    socket: reactor::Watched,
    /// It had nothing to read when it was last asked, so that it is waited for before it is asked
    /// again.
    is_empty: Cell<bool>,
}

impl Watched {
    pub(in crate::runtime) fn new(socket: OwnedFd) -> Self {
        // A new connection has seldom sent anything already.
        Self { socket: reactor::Watched::new(socket), is_empty: Cell::new(true) }
    }

    /// A read has found nothing.
    pub(in crate::runtime) fn note_empty(&self) {
        self.is_empty.set(true);
    }

    /// Reads what is there. Who is answered before he goes on costs one recv(2) each time, and none
    /// that finds nothing.
    ///
    /// # Errors
    ///
    /// Those of recv(2) but `EAGAIN`.
    pub(in crate::runtime) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.is_empty.get() {
                ready!(self.socket.poll_readable(cx))?;
                self.is_empty.set(false);
            }
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => self.is_empty.set(true),
                Ok((count, _)) => {
                    // The end is there each time.
                    self.is_empty.set(0 < count && count < buffer.len());
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Ready when the socket takes octets or has failed; on one that is connecting, when that has
    /// ended. May be early.
    ///
    /// # Errors
    ///
    /// Those of poll(2).
    pub(in crate::runtime) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx)
    }

    /// Sends what fits of `bytes`.
    ///
    /// # Errors
    ///
    /// Those of send(2) but `EAGAIN`.
    pub(in crate::runtime) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_writable(cx))?;
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, bytes, flags) {
                Err(Errno::AGAIN) => {}
                sent => return Poll::Ready(sent.map_err(io::Error::from)),
            }
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A descriptor that any number of tasks wait for.
#[derive(Debug)]
pub(in crate::runtime) struct Descriptor(reactor::Descriptor);

impl Descriptor {
    /// Returns when there is something for its owner, or it was shut down.
    ///
    /// # Errors
    ///
    /// Those of poll(2).
    pub(in crate::runtime) async fn readable(&self) -> rustix::io::Result<()> {
        let waited = reactor::readable(&self.0).await;
        waited.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(file: OwnedFd) -> Self {
        Self(file.into())
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
