//! TCP connections of a thread: connecting from a chosen source address, listening for active data
//! connections, reading, writing. Deadlines are the caller's; every future may be dropped at any
//! time.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ringftpd_reactor::Watched;
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, Shutdown, sockopt},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// Connects to `peer`, from `source` if one is given.
///
/// # Errors
///
/// Those of socket(2), bind(2) and connect(2).
pub async fn connect(source: Option<IpAddr>, peer: SocketAddr) -> io::Result<Stream> {
    let socket =
        Socket::new(Domain::for_address(peer), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(source) = source {
        sys::set_bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    sockopt::set_tcp_nodelay(&socket, true)?;
    let connected = rustix::net::connect(&socket, &peer);
    let watched = Watched::new(socket.into());
    match connected {
        Ok(()) => {}
        Err(Errno::INPROGRESS | Errno::INTR) => {
            poll_fn(|cx| watched.poll_writable(cx)).await?;
            sockopt::socket_error(&watched)??;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Stream { watched, peer })
}

/// A connected TCP stream. One task may read while another writes, not two of either.
#[derive(Debug)]
pub struct Stream {
    watched: Watched,
    peer: SocketAddr,
}

impl Stream {
    /// Reads without waiting. Zero is the end of the stream.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is there; else those of recv(2) except `EINTR`.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.watched, &mut *buffer, RecvFlags::DONTWAIT)
        });
        Ok(received.map(|(count, _)| count)?)
    }

    /// Takes octets without waiting and without copying them: `buffer` only says how many.
    ///
    /// # Errors
    ///
    /// As [`Stream::try_read`].
    pub fn try_discard(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let received =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.watched, &mut *buffer, flags));
        Ok(received.map(|(count, _)| count)?)
    }

    /// Returns when a read would not wait. May be early.
    ///
    /// # Errors
    ///
    /// Those of poll(2).
    pub async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.watched.poll_readable(cx)).await
    }

    /// Sends all of `bytes`. When the future is dropped, some of them may have been sent.
    ///
    /// # Errors
    ///
    /// Those of send(2) except `EAGAIN` and `EINTR`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        while !bytes.is_empty() {
            let sent = match rustix::net::send(&self.watched, bytes, flags) {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    poll_fn(|cx| self.watched.poll_writable(cx)).await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Sends FIN. A connection already gone is not an error: its reader will say so.
    pub fn shutdown_write(&self) {
        let _ = rustix::net::shutdown(&self.watched, Shutdown::Write);
    }

    /// Closes with RST: the peer learns at once that this client is gone, and no port is left in
    /// TIME_WAIT.
    pub fn reset(self) {
        // Without the option the close sends FIN, the best that is left.
        let _ = sockopt::set_socket_linger(&self.watched, Some(Duration::ZERO));
    }

    /// The other end.
    #[must_use]
    pub const fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// This end.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(rustix::net::getsockname(&self.watched)?.try_into()?)
    }
}

/// Waits for one active data connection (RFC 959 §3.2, RFC 2428 EPRT).
#[derive(Debug)]
pub struct Listener {
    watched: Watched,
    address: SocketAddr,
}

impl Listener {
    /// Listens on a free port of `address`.
    ///
    /// # Errors
    ///
    /// Those of socket(2), bind(2) and listen(2).
    pub fn bind(address: IpAddr) -> io::Result<Self> {
        let any = SocketAddr::new(address, 0);
        let socket =
            Socket::new(Domain::for_address(any), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.bind(&any.into())?;
        socket.listen(1)?;
        let address = socket.local_addr()?.as_socket().unwrap_or(any);
        Ok(Self { watched: Watched::new(socket.into()), address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts a connection.
    ///
    /// # Errors
    ///
    /// Those of accept(2) except `EAGAIN`, `EINTR` and a peer that has gone again.
    pub async fn accept(&self) -> io::Result<Stream> {
        use rustix::net::{SocketFlags, acceptfrom_with};
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&self.watched, flags) {
                Ok((socket, peer)) => {
                    let peer = peer.ok_or(Errno::NOTCONN)?.try_into()?;
                    sockopt::set_tcp_nodelay(&socket, true)?;
                    return Ok(Stream { watched: Watched::new(socket), peer });
                }
                Err(Errno::AGAIN) => poll_fn(|cx| self.watched.poll_readable(cx)).await?,
                Err(Errno::INTR | Errno::CONNABORTED | Errno::NOTCONN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
