//! The end of a data connection whose transfer succeeded. A close with unread octets, or octets
//! that arrive after the close, makes the kernel reset the connection, and the client loses what it
//! has not read; a KeyUpdate is enough for that. So the connection stays while the socket holds
//! unsent octets.

use std::time::Duration;

use super::connection::DataConnection;
use super::kept::KeptConnection;
use crate::buffer::Semaphore;
use crate::clock;
use crate::runtime::{give_way, race, sleep_until, timeout_at};
use crate::sys::socket;

/// How long the client may take to close after our close_notify before we send FIN. Clients that
/// wait for our FIN lose no more than this.
const CLIENT_FIN: Duration = Duration::from_millis(100);

const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// How often the progress of a slow reader is checked.
const TICK: Duration = Duration::from_millis(250);

/// Octets dropped per read.
const SINK_BYTES: usize = 4 * 1024;

impl DataConnection {
    /// Waits until the client has read the rest, and a moment for it to close first. The side that
    /// sends the first FIN keeps the connection in TIME_WAIT for a minute; after close_notify that
    /// need not be the server.
    pub(crate) async fn linger(self, slow_readers: &Semaphore, kept: &KeptConnection) {
        let cut = self.interrupts.cut.clone();
        race(cut.wait(), self.see_off(slow_readers, kept)).await;
    }

    async fn see_off(&self, slow_readers: &Semaphore, kept: &KeptConnection) {
        if self.client_ends {
            let closed = self.stream.linger(CLIENT_FIN, LINGER_BYTES_MAX).await;
            if closed && !self.is_unsent() {
                return;
            }
            if !self.stream.shutdown_write().unwrap_or(false) {
                return;
            }
        }
        if self.is_unsent()
            && let Some(_permit) = slow_readers.try_acquire()
        {
            // The permits bound these, so they need not be evicted.
            kept.stay();
            self.await_reader().await;
            kept.stay_no_longer();
        }
        self.stream.linger(LINGER, LINGER_BYTES_MAX).await;
    }

    /// Returns when the client has everything, or has taken nothing for the stall timeout.
    async fn await_reader(&self) {
        let mut sink = vec![0; SINK_BYTES];
        let mut open = true;
        let mut least = usize::MAX;
        let mut deadline = clock::now();
        loop {
            let now = clock::now();
            match socket::unsent(&self.stream) {
                Ok(0) | Err(_) => return,
                Ok(unsent) if unsent < least => {
                    least = unsent;
                    deadline = now + self.interrupts.stall;
                }
                Ok(_) if now >= deadline => return,
                Ok(_) => {}
            }
            if !open {
                sleep_until(now + TICK).await;
                continue;
            }
            match timeout_at(now + TICK, self.stream.read(&mut sink)).await {
                Ok(Ok(0)) => open = false,
                Ok(Ok(_)) => give_way().await,
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
    }

    fn is_unsent(&self) -> bool {
        socket::unsent(&self.stream).is_ok_and(|octets| octets > 0)
    }
}
