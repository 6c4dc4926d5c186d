//! A TCP connection of a shard. Owns the descriptor; knows no protocol.

use std::{
    cell::{Cell, OnceCell},
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::{RecvFlags, SendFlags};

use super::{Watched, failure::Watch, timeout_at};
use crate::{clock, sys::socket};

/// A connected TCP stream.
///
/// Every future here may be dropped at any time: bytes are consumed or sent only in the poll that
/// reports them. One task may read while another writes, but not two of either: the executor
/// remembers one waiter a direction.
///
/// A call that need not wait does not give way to other tasks: loops a peer can keep busy call
/// [`super::yield_if_needed`] each round.
///
/// A connection that failed stays failed: the kernel reports a reset once and an end of file
/// afterwards, which would make a broken upload look complete.
#[derive(Debug)]
pub struct Stream {
    watched: Watched,
    peer: SocketAddr,
    failed: Cell<Option<rustix::io::Errno>>,
    /// Made at the first [`Stream::broken`].
    failure: OnceCell<Watch>,
}

impl Stream {
    /// Takes over a connected socket, which may be in blocking mode. `peer` is what accept(2) or
    /// connect(2) said: asking later fails on a connection that was reset.
    #[must_use]
    pub fn adopt(socket: impl Into<OwnedFd>, peer: SocketAddr) -> Self {
        Self::from_watched(Watched::new(socket.into()), peer)
    }

    pub(super) const fn from_watched(watched: Watched, peer: SocketAddr) -> Self {
        Self { watched, peer, failed: Cell::new(None), failure: OnceCell::new() }
    }

    /// Reads what is there into `buffer`, waiting until there is something. Zero is the end of
    /// what the peer sends (or an empty buffer).
    ///
    /// # Errors
    ///
    /// Those of recv(2) except `EAGAIN` and `EINTR`.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| self.poll_read(cx, buffer)).await
            }
            other => other,
        }
    }

    /// Waits until something is there, gives up to `N` octets of it to `take` and returns how many.
    /// No memory is held meanwhile. Zero is the end of what the peer sends.
    ///
    /// The executor begins the next wait itself when there were fewer: a peer that is answered
    /// before it goes on costs one recv(2) each time, and none that finds nothing.
    ///
    /// # Errors
    ///
    /// As [`Stream::read`].
    pub async fn read_with<const N: usize>(
        &self,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        self.check()?;
        poll_fn(|cx| {
            let mut room = [0; N];
            let count = ready!(self.poll_read(cx, &mut room))?;
            take(&room[..count]);
            Poll::Ready(Ok(count))
        })
        .await
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let read = ready!(self.watched.poll_read(cx, buffer)).map_err(errno);
            match self.noted(read) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Reads without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is there; else as [`Stream::read`].
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.watched, &mut *buffer, RecvFlags::DONTWAIT)
        });
        if received == Err(rustix::io::Errno::AGAIN) {
            self.watched.note_empty();
        }
        // The second number is the untruncated length, the same on a stream.
        self.noted(received.map(|(count, _)| count))
    }

    /// Looks at what is there, without waiting, and leaves it there.
    ///
    /// # Errors
    ///
    /// As [`Stream::try_read`].
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let seen =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.watched, &mut *buffer, flags));
        if seen == Err(rustix::io::Errno::AGAIN) {
            self.watched.note_empty();
        }
        self.noted(seen.map(|(count, _)| count))
    }

    /// Sends all of `bytes`. When the future is dropped, some of them may have been sent.
    ///
    /// # Errors
    ///
    /// Those of send(2) except `EAGAIN` and `EINTR`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.write(bytes).await?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Waits until something fits, sends what fits of `bytes` and returns how many octets. For
    /// callers that must know how much was sent when a future is dropped.
    ///
    /// # Errors
    ///
    /// As [`Stream::write_all`].
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let sent = poll_fn(|cx| self.watched.poll_write(cx, bytes)).await.map_err(errno);
            match self.noted(sent) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Sends what fits without waiting.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing fits; else as [`Stream::write_all`].
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, SendFlags::empty())
    }

    /// Returns when the socket takes bytes again, or has failed: for callers that send by other
    /// means than [`Stream::write`]. May return early; callers try again and bound the whole.
    ///
    /// # Errors
    ///
    /// No descriptor is left to watch with.
    pub async fn writable(&self) -> io::Result<()> {
        poll_fn(|cx| self.watched.poll_writable(cx)).await
    }

    /// Returns when the connection has failed (usually by a reset), for callers that do not read at
    /// the moment. The end of what the peer sends is no failure.
    ///
    /// # Errors
    ///
    /// No descriptor is left to watch with.
    pub async fn broken(&self) -> io::Result<()> {
        let watch = match self.failure.get() {
            Some(watch) => watch,
            None => {
                let watch = Watch::new(&self.watched)?;
                self.failure.get_or_init(|| watch)
            }
        };
        watch.failed().await
    }

    /// As [`Stream::try_write`], but the last segment may wait for what follows, and leaves with
    /// it: more octets, or the FIN. For callers that send either at once.
    ///
    /// # Errors
    ///
    /// As [`Stream::try_write`].
    pub fn try_write_held(&self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes, SendFlags::MORE)
    }

    fn send(&self, bytes: &[u8], flags: SendFlags) -> io::Result<usize> {
        self.check()?;
        let flags = flags | SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.noted(rustix::io::retry_on_intr(|| rustix::net::send(&self.watched, bytes, flags)))
    }

    /// Reads and drops what the peer still sends until it closes, for at most `span` and
    /// `bytes_max`. Closing a socket with unread bytes makes the kernel send RST, and that can
    /// overtake data the peer has not read yet. True when the peer has closed.
    pub async fn linger(&self, span: Duration, bytes_max: usize) -> bool {
        let deadline = clock::now() + span;
        // Not in the future itself, which would make every idle session larger by it.
        let mut sink = vec![0; 1024];
        let mut seen = 0;
        while seen < bytes_max {
            match timeout_at(deadline, self.read(&mut sink)).await {
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(count)) => seen += count,
                Err(_) => return false,
            }
        }
        false
    }

    /// Acknowledges received data at once, and the next as well. Call it before waiting for a peer
    /// that may have more to send, when nothing is sent to it that would carry the acknowledgement.
    pub fn acknowledge(&self) {
        // Best effort: the kernel may refuse.
        let _ = socket::acknowledge(&self.watched);
    }

    /// Sends FIN: nothing more will be written. `false` when there is no connection any more, so
    /// that nothing that was sent is on its way, and nothing more comes.
    ///
    /// # Errors
    ///
    /// Those of shutdown(2); a connection already gone is not one.
    pub fn shutdown_write(&self) -> io::Result<bool> {
        socket::shutdown_write(&self.watched)
    }

    /// The other end, as it was when the connection was made.
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

    fn check(&self) -> io::Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Remembers a failure of the connection.
    fn noted<T>(&self, result: rustix::io::Result<T>) -> io::Result<T> {
        use rustix::io::Errno;
        if let Err(error) = &result
            && !matches!(*error, Errno::AGAIN | Errno::INTR)
        {
            self.failed.set(Some(*error));
        }
        Ok(result?)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }
}

fn errno(error: io::Error) -> rustix::io::Errno {
    rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once, race,
        testing::{eventually, on_shard, pause},
    };
    use crate::sys::socket::{self, set_low_water};
    use std::{
        io::{Read, Write},
        net::{Shutdown, TcpStream},
    };

    fn pair() -> (Stream, TcpStream) {
        let (accepted, client) = socket::pair();
        let peer = client.local_addr().unwrap();
        (Stream::adopt(accepted, peer), client)
    }

    #[test]
    fn reads_what_comes_and_loses_nothing_when_dropped() {
        on_shard(|| async {
            let (stream, mut client) = pair();
            let mut buffer = [0; 16];
            let nothing = |_: &[u8]| panic!("octets from nowhere");
            for _ in 0..100 {
                assert!(poll_once(stream.read(&mut buffer)).await.is_none());
                assert!(poll_once(stream.read_with::<4>(nothing)).await.is_none());
                pause(0).await;
            }
            client.write_all(b"hello").unwrap();
            let mut taken = Vec::new();
            let count = stream.read_with::<4>(|octets| taken.extend_from_slice(octets)).await;
            assert_eq!((count.unwrap(), &taken[..]), (4, &b"hell"[..]));
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
            assert_eq!(&buffer[..1], b"o");
            // Armed while waiting, dropped, then the bytes come.
            assert!(poll_once(stream.read(&mut buffer)).await.is_none());
            client.write_all(b"again").unwrap();
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 5);
            assert!(poll_once(stream.read_with::<4>(nothing)).await.is_none());
            drop(client);
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
            assert_eq!(
                stream.read_with::<4>(|octets| assert!(octets.is_empty())).await.unwrap(),
                0
            );
        });
    }

    /// A wait that the executor has begun by itself, after a read that found little, is not one
    /// for what was read in another way meanwhile.
    #[test]
    fn reading_in_both_ways_in_turn() {
        on_shard(|| async {
            let (stream, mut client) = pair();
            for _ in 0..50 {
                let mut taken = Vec::new();
                client.write_all(b"one").unwrap();
                while taken.len() < 3 {
                    stream.read_with::<16>(|octets| taken.extend_from_slice(octets)).await.unwrap();
                }
                client.write_all(b"two").unwrap();
                let mut buffer = [0; 16];
                assert!(eventually(|| stream.try_read(&mut buffer).is_ok()).await);
                assert_eq!((&taken[..], &buffer[..3]), (&b"one"[..], &b"two"[..]));
            }
            let waiting = poll_once(stream.read_with::<16>(|octets| panic!("{octets:?}")));
            assert!(waiting.await.is_none());
            client.write_all(b"end").unwrap();
            assert_eq!(
                stream.read_with::<16>(|octets| assert_eq!(octets, b"end")).await.unwrap(),
                3
            );
        });
    }

    /// Below the mark the reader is not woken; at the mark, at the end, and when it is lowered, it
    /// is.
    #[test]
    fn a_wait_for_many_octets() {
        const MARK: usize = 10_000;
        on_shard(|| async {
            let (stream, mut client) = pair();
            for (octets, mark) in [(MARK, MARK), (MARK - 1, 1), (MARK - 1, MARK)] {
                set_low_water(&stream, MARK).unwrap();
                let mut buffer = vec![0; 2 * MARK];
                let mut reading = Box::pin(stream.read(&mut buffer));
                assert!(poll_once(&mut reading).await.is_none());
                client.write_all(&vec![7; octets]).unwrap();
                if octets < MARK {
                    pause(20).await;
                    assert!(poll_once(&mut reading).await.is_none(), "{octets} of {MARK}");
                    set_low_water(&stream, mark).unwrap();
                    if mark == MARK {
                        client.shutdown(Shutdown::Write).unwrap();
                    }
                }
                assert_eq!(reading.await.unwrap(), octets);
            }
        });
    }

    #[test]
    fn a_full_peer_holds_the_writer_back_and_a_reader_goes_on_meanwhile() {
        on_shard(|| async {
            let (stream, mut client) = pair();
            let sent = vec![7_u8; 8 << 20];
            let mut byte = [0];
            let mut writing = Box::pin(stream.write_all(&sent));
            let first = race(
                async {
                    let _ = (&mut writing).await;
                    0
                },
                async {
                    pause(20).await;
                    client.write_all(b"A").unwrap();
                    stream.read(&mut byte).await.unwrap()
                },
            )
            .await;
            assert_eq!((first, byte), (1, *b"A"));
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                client.read_to_end(&mut received).unwrap();
                received.len()
            });
            writing.await.unwrap();
            assert!(stream.shutdown_write().unwrap(), "the client is there");
            assert!(eventually(|| reader.is_finished()).await);
            assert_eq!(reader.join().unwrap(), sent.len());
        });
    }

    /// Acknowledgements go with answers where there are any; without one the option sends them at
    /// once. The kernel tells whether it would delay them.
    #[test]
    fn acknowledgements_do_not_wait() {
        on_shard(|| async {
            let waits = |stream: &Stream| !rustix::net::sockopt::tcp_quickack(stream).unwrap();
            let (stream, mut client) = pair();
            let mut buffer = [0; 16];
            for _ in 0..50 {
                client.write_all(b"question").unwrap();
                stream.read(&mut buffer).await.unwrap();
                stream.write_all(b"answer").await.unwrap();
                client.read_exact(&mut [0; 6]).unwrap();
            }
            assert!(waits(&stream), "the kernel does as it pleases");
            stream.acknowledge();
            assert!(!waits(&stream));
        });
    }

    #[test]
    fn a_reset_stays_an_error() {
        on_shard(|| async {
            let (stream, client) = pair();
            let mut buffer = [0; 4];
            assert!(poll_once(stream.read(&mut buffer)).await.is_none());
            socket::set_reset_on_close(&client).unwrap();
            drop(client);
            for _ in 0..2 {
                let error = stream.read(&mut buffer).await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            }
            assert!(stream.write_all(b"x").await.is_err());
            assert_eq!(stream.peer_addr().ip().to_string(), "127.0.0.1");
            assert!(!stream.shutdown_write().unwrap(), "reset");
        });
    }

    /// Urgent data must neither be lost (inline) nor keep the shard spinning (not inline), for the
    /// executor's poll also asks for POLLPRI.
    #[test]
    fn urgent_data() {
        on_shard(|| async {
            for inline in [true, false] {
                let (stream, client) = pair();
                if inline {
                    socket::set_urgent_inline(&stream).unwrap();
                }
                let mut buffer = [0; 16];
                rustix::net::send(&client, b"ab\xff", SendFlags::OOB).unwrap();
                rustix::net::send(&client, b"\xf2ABOR", SendFlags::empty()).unwrap();
                let mut received = Vec::new();
                while !received.ends_with(b"ABOR") {
                    let count = stream.read(&mut buffer).await.unwrap();
                    received.extend_from_slice(&buffer[..count]);
                }
                let expected: &[u8] = if inline { b"ab\xff\xf2ABOR" } else { b"ab\xf2ABOR" };
                assert_eq!(received, expected);
                // One urgent octet and nothing else, read or discarded: then quiet.
                rustix::net::send(&client, b"!", SendFlags::OOB).unwrap();
                let mut polls = 0;
                let mut reading =
                    Box::pin(async { while stream.read(&mut buffer).await.unwrap() > 0 {} });
                let counted = poll_fn(|cx| {
                    polls += 1;
                    reading.as_mut().poll(cx)
                });
                race(counted, pause(50)).await;
                assert!(polls < 10, "{polls} polls, inline {inline}");
            }
        });
    }
}
