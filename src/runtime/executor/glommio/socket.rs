//! Sockets as glommio's streams, which stand for any descriptor that can be polled.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll},
};

use ::glommio::net::TcpStream;
use futures_lite::{AsyncRead, AsyncWrite};
use rustix::event::epoll;

use crate::runtime::socket_bell::Watch;
use crate::sys::{WatchedFd, adopt};

/// A socket, read and written by one task a direction.
pub(in crate::runtime) struct Watched {
    socket: WatchedFd<Adopted>,
    /// An epoll instance that is readable when the socket takes octets, while that is waited for.
    /// For each wait a new one, as in [`Descriptor::readable`]: an instance that was ready once
    /// would be read before it is polled, and the error of that is at once.
    room: RefCell<Option<Box<WatchedFd<Adopted>>>>,
}

impl Watched {
    pub(in crate::runtime) fn new(socket: OwnedFd) -> Self {
        Self { socket: WatchedFd::new(socket), room: RefCell::default() }
    }

    /// The executor knows by itself.
    #[expect(clippy::unused_self, reason = "the reactor's has to be told")]
    pub(in crate::runtime) const fn note_empty(&self) {}

    /// Reads what is there; nothing is consumed with an empty buffer, and it may be early then.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub(in crate::runtime) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_read(cx, buffer)
    }

    /// Ready when the socket takes octets or has failed. May be early.
    ///
    /// # Errors
    ///
    /// No descriptor is left to watch with.
    pub(in crate::runtime) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waited_for = self.room.take();
        let room = waited_for.map_or_else(|| self.watch_for_room(), Ok)?;
        // It cannot be read, so this ends in an error when it is ready.
        if room.poll_readable(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        self.room.replace(Some(room));
        Poll::Pending
    }

    fn watch_for_room(&self) -> io::Result<Box<WatchedFd<Adopted>>> {
        let instance = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (none, events) = (epoll::EventData::new_u64(0), epoll::EventFlags::OUT);
        epoll::add(&instance, &self.socket, none, events)?;
        Ok(Box::new(WatchedFd::new(instance)))
    }

    /// Sends what fits of `bytes`.
    ///
    /// # Errors
    ///
    /// Those of send(2).
    pub(in crate::runtime) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, bytes)
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket.fmt(f)
    }
}

impl Watch for Watched {
    fn watch(socket: OwnedFd) -> Self {
        Self::new(socket)
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error would be one of a socket pair, which has none but its end of file.
        self.poll_read(cx, &mut []).map(drop)
    }
}

/// A descriptor that any number of tasks wait for.
#[derive(Debug)]
pub(in crate::runtime) struct Descriptor(OwnedFd);

impl Descriptor {
    /// Returns when there is something for its owner, or it was shut down.
    ///
    /// The wait is on a duplicate: the executor polls a descriptor for reading as soon as it adopts
    /// it, and tries to read before it polls again. So each wait is the first, and may be dropped
    /// at any time.
    ///
    /// # Errors
    ///
    /// Those of dup(2).
    pub(in crate::runtime) async fn readable(&self) -> rustix::io::Result<()> {
        let watched = WatchedFd::<Adopted>::new(rustix::io::fcntl_dupfd_cloexec(&self.0, 0)?);
        // It cannot be read, so this ends in an error when it is ready.
        let _ = poll_fn(|cx| watched.poll_readable(cx)).await;
        Ok(())
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(file: OwnedFd) -> Self {
        Self(file)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The executor's stream.
struct Adopted(TcpStream);

impl From<OwnedFd> for Adopted {
    fn from(fd: OwnedFd) -> Self {
        Self(adopt(fd))
    }
}

impl AsyncRead for Adopted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Adopted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
