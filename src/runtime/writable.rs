//! Waiting until a socket takes bytes, without sending any, or until it has failed, without
//! reading. The executor offers no such waits, but it can wait until a descriptor is readable, and
//! an epoll instance is one: it is readable when something it watches is ready.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use rustix::event::{Timespec, epoll};

use super::ready::ready;

/// Watches one socket. Level-triggered, so nothing is missed between two waits.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    /// For room to write.
    ///
    /// # Errors
    ///
    /// Those of epoll_create1(2) and epoll_ctl(2): no descriptors, no memory.
    pub(super) fn for_room(socket: impl AsFd) -> io::Result<Self> {
        Self::new(socket, epoll::EventFlags::OUT)
    }

    /// For the failure of the connection alone, which epoll reports unasked.
    ///
    /// # Errors
    ///
    /// As [`Watch::for_room`].
    pub(super) fn for_failure(socket: impl AsFd) -> io::Result<Self> {
        Self::new(socket, epoll::EventFlags::empty())
    }

    fn new(socket: impl AsFd, events: epoll::EventFlags) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, socket, epoll::EventData::new_u64(0), events)?;
        Ok(Self { epoll })
    }

    /// Returns when the connection has failed, and not before.
    ///
    /// # Errors
    ///
    /// Those of dup(2).
    pub(super) async fn failed(&self) -> io::Result<()> {
        loop {
            self.wait().await?;
            // The kernel wakes for a FIN, too, without saying why, and io_uring concludes that the
            // instance is readable. Polled again, it is not.
            let mut events = [MaybeUninit::uninit()];
            let (found, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
            if !found.is_empty() {
                return Ok(());
            }
        }
    }

    /// Returns when there is what was watched for, or the connection has failed. May return early.
    ///
    /// # Errors
    ///
    /// Those of dup(2).
    pub(super) async fn wait(&self) -> io::Result<()> {
        Ok(ready(&self.epoll).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once, race,
        testing::{alone, eventually, on_shard, open_files, pause},
    };
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (server, client)
    }

    fn fill(mut socket: &TcpStream) -> usize {
        let mut sent = 0;
        while let Ok(count) = socket.write(&[7; 65_536]) {
            sent += count;
        }
        sent
    }

    #[test]
    fn waits_for_room_again_and_again() {
        on_shard(|| async {
            let (server, mut client) = pair();
            let watch = Watch::for_room(&server).unwrap();
            watch.wait().await.unwrap();
            watch.wait().await.unwrap();
            for _ in 0..3 {
                let mut sent = fill(&server);
                let waiting = async {
                    watch.wait().await.unwrap();
                    "room"
                };
                let early = async {
                    pause(20).await;
                    "still full"
                };
                assert_eq!(race(waiting, early).await, "still full");
                let mut waiting = Box::pin(watch.wait());
                assert!(poll_once(&mut waiting).await.is_none());
                let reader = client.try_clone().unwrap();
                let reader = std::thread::spawn(move || {
                    let mut reader = reader;
                    let mut buffer = vec![0; 65_536];
                    while sent > 0 {
                        sent -= reader.read(&mut buffer).unwrap();
                    }
                });
                waiting.await.unwrap();
                assert!(eventually(|| reader.is_finished()).await);
                reader.join().unwrap();
                client.flush().unwrap();
            }
        });
    }

    #[test]
    fn a_failed_connection_ends_the_wait() {
        on_shard(|| async {
            let (server, client) = pair();
            let watch = Watch::for_room(&server).unwrap();
            fill(&server);
            let mut waiting = Box::pin(watch.wait());
            assert!(poll_once(&mut waiting).await.is_none());
            drop(client);
            waiting.await.unwrap();
        });
    }

    /// Neither octets nor the end of what the peer sends are a failure, whether they come before
    /// the wait or during it; a reset is.
    #[test]
    fn waits_for_a_reset() {
        on_shard(|| async {
            for fin in [false, true] {
                for armed in [false, true] {
                    let (server, mut client) = pair();
                    let watch = Watch::for_failure(&server).unwrap();
                    let mut waiting = Box::pin(watch.failed());
                    if armed {
                        assert!(poll_once(&mut waiting).await.is_none());
                        pause(20).await;
                    }
                    client.write_all(b"unread").unwrap();
                    if fin {
                        client.shutdown(std::net::Shutdown::Write).unwrap();
                    }
                    pause(20).await;
                    assert!(poll_once(&mut waiting).await.is_none(), "{fin} {armed}");
                    crate::sys::socket::set_reset_on_close(&client).unwrap();
                    drop(client);
                    waiting.await.unwrap();
                }
            }
        });
    }

    #[test]
    fn dropped_waits_leak_no_descriptor() {
        if !alone("runtime::writable::tests::dropped_waits_leak_no_descriptor") {
            return;
        }
        on_shard(|| async {
            let (server, _client) = pair();
            fill(&server);
            let watch = Watch::for_room(&server).unwrap();
            pause(10).await;
            let before = open_files();
            for _ in 0..100 {
                let mut waiting = Box::pin(watch.wait());
                assert!(poll_once(&mut waiting).await.is_none());
                drop(waiting);
                pause(0).await;
            }
            assert!(eventually(|| open_files() <= before).await, "{} > {before}", open_files());
        });
    }
}
