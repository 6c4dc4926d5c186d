//! Descriptors as the executor waits for them.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    task::{Context, Poll},
};

use super::executor;
#[cfg(test)]
use super::simulated;

/// A socket that is waited for, by one task a direction.
#[derive(Debug)]
pub(super) enum Watched {
    Executor(executor::Watched),
    #[cfg(test)]
    Simulated(simulated::Watched),
}

impl Watched {
    /// Takes over `socket`. Nothing is waited for yet.
    pub(super) fn new(socket: OwnedFd) -> Self {
        #[cfg(test)]
        if let Some(simulation) = simulated::current() {
            return Self::Simulated(simulated::Watched::new(socket, simulation));
        }
        Self::Executor(executor::Watched::new(socket))
    }

    /// A read by other means has found nothing.
    pub(super) fn note_empty(&self) {
        match self {
            Self::Executor(watched) => watched.note_empty(),
            #[cfg(test)]
            Self::Simulated(_) => {}
        }
    }

    /// Reads what is there. Nothing is consumed with an empty `buffer`, and it may be early then.
    ///
    /// # Errors
    ///
    /// Those of recv(2).
    pub(super) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Executor(watched) => watched.poll_read(cx, buffer),
            #[cfg(test)]
            Self::Simulated(watched) => watched.get().poll_read(cx, buffer),
        }
    }

    /// Ready when the socket takes octets or has failed; on one that is connecting, when that has
    /// ended. May be early.
    ///
    /// # Errors
    ///
    /// There is no descriptor left to wait with.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Executor(watched) => watched.poll_writable(cx),
            #[cfg(test)]
            Self::Simulated(watched) => watched.get().poll_write(cx, &[]).map_ok(drop),
        }
    }

    /// Sends what fits of `bytes`.
    ///
    /// # Errors
    ///
    /// Those of send(2).
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Executor(watched) => watched.poll_write(cx, bytes),
            #[cfg(test)]
            Self::Simulated(watched) => watched.get().poll_write(cx, bytes),
        }
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Executor(watched) => watched.as_fd(),
            #[cfg(test)]
            Self::Simulated(watched) => watched.as_fd(),
        }
    }
}

/// A descriptor that is not read from and that any number of tasks wait for: a listening socket, an
/// epoll instance.
#[derive(Debug)]
pub(super) enum Descriptor {
    Executor(executor::Descriptor),
    #[cfg(test)]
    Simulated(OwnedFd),
}

impl Descriptor {
    pub(super) fn new(file: OwnedFd) -> Self {
        #[cfg(test)]
        if simulated::current().is_some() {
            return Self::Simulated(file);
        }
        Self::Executor(file.into())
    }

    /// Returns when there is something for its owner, or it was shut down.
    ///
    /// # Errors
    ///
    /// There is no descriptor left to wait with.
    pub(super) async fn readable(&self) -> rustix::io::Result<()> {
        match self {
            Self::Executor(file) => file.readable().await,
            #[cfg(test)]
            Self::Simulated(file) => {
                let watched = Watched::new(rustix::io::fcntl_dupfd_cloexec(file, 0)?);
                let _ = std::future::poll_fn(|cx| watched.poll_read(cx, &mut [])).await;
                Ok(())
            }
        }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Executor(file) => file.as_fd(),
            #[cfg(test)]
            Self::Simulated(file) => file.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once, race,
        testing::{alone, eventually, on_shard, open_files, pause},
    };
    use crate::sys::socket::pair;
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };

    /// Waits until the socket takes octets or has failed.
    async fn room(watched: &Watched) {
        std::future::poll_fn(|cx| watched.poll_writable(cx)).await.unwrap();
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
            let watch = Watched::new(server.try_clone().unwrap().into());
            room(&watch).await;
            room(&watch).await;
            for _ in 0..3 {
                let mut sent = fill(&server);
                let waiting = async {
                    room(&watch).await;
                    "room"
                };
                let early = async {
                    pause(20).await;
                    "still full"
                };
                assert_eq!(race(waiting, early).await, "still full");
                let mut waiting = Box::pin(room(&watch));
                assert!(poll_once(&mut waiting).await.is_none());
                let reader = client.try_clone().unwrap();
                let reader = std::thread::spawn(move || {
                    let mut reader = reader;
                    let mut buffer = vec![0; 65_536];
                    while sent > 0 {
                        sent -= reader.read(&mut buffer).unwrap();
                    }
                });
                waiting.await;
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
            let watch = Watched::new(server.try_clone().unwrap().into());
            fill(&server);
            let mut waiting = Box::pin(room(&watch));
            assert!(poll_once(&mut waiting).await.is_none());
            drop(client);
            waiting.await;
        });
    }

    #[test]
    fn dropped_waits_leak_no_descriptor() {
        if !alone("runtime::polled::tests::dropped_waits_leak_no_descriptor") {
            return;
        }
        on_shard(|| async {
            let (server, _client) = pair();
            fill(&server);
            let watch = Watched::new(server.into());
            assert!(poll_once(Box::pin(room(&watch))).await.is_none());
            pause(10).await;
            let before = open_files();
            for _ in 0..100 {
                let mut waiting = Box::pin(room(&watch));
                assert!(poll_once(&mut waiting).await.is_none());
                drop(waiting);
                pause(0).await;
            }
            assert!(eventually(|| open_files() <= before).await, "{} > {before}", open_files());
        });
    }
}
