//! Waiting until a connection has failed, without reading from it. io_uring has no such wait, for
//! the kernel adds `POLLRDHUP` to whatever is asked for; an epoll instance that watches the socket
//! for no event reports failures unasked.

use std::{io, mem::MaybeUninit, os::fd::AsFd};

use rustix::event::{Timespec, epoll};

use super::polled::Descriptor;

/// Watches one socket. Level-triggered, so nothing is missed between two waits.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: Descriptor,
}

impl Watch {
    /// For the failure of the connection alone.
    ///
    /// # Errors
    ///
    /// Those of epoll_create1(2) and epoll_ctl(2): no descriptors, no memory.
    pub(super) fn new(socket: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, socket, epoll::EventData::new_u64(0), epoll::EventFlags::empty())?;
        Ok(Self { epoll: Descriptor::new(epoll) })
    }

    /// Returns when the connection has failed, and not before.
    ///
    /// # Errors
    ///
    /// There is no descriptor left to wait with.
    pub(super) async fn failed(&self) -> io::Result<()> {
        loop {
            self.epoll.readable().await?;
            // The kernel wakes for a FIN, too, without saying why, and io_uring concludes that the
            // instance is readable. Polled again, it is not.
            let mut events = [MaybeUninit::uninit()];
            let (found, _) = epoll::wait(&self.epoll, &mut events, Some(&Timespec::default()))?;
            if !found.is_empty() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once,
        testing::{on_shard, pause},
    };
    use crate::sys::socket::pair;
    use std::io::Write;

    /// Neither octets nor the end of what the peer sends are a failure, whether they come before
    /// the wait or during it; a reset is.
    #[test]
    fn waits_for_a_reset() {
        on_shard(|| async {
            for fin in [false, true] {
                for armed in [false, true] {
                    let (server, mut client) = pair();
                    let watch = Watch::new(&server).unwrap();
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
}
