//! What the client sends during a download: key updates, alerts, the end of its half (RFC 8446
//! §4.6.3, §6). Data does not belong there: it is opened, since it has to authenticate, and
//! dropped. In clear nothing is read before the end.
//!
//! One read without waiting precedes each batch that is sealed, and while the socket is full, a
//! read runs beside the wait for room.

use std::io;
use std::time::Instant;

use super::connection::{DataConnection, Protection, failed};
use crate::clock;
use crate::protocol::session::TransferError;
use crate::runtime::{Stream, give_way, race};
use crate::tls::OpenedRecord;

/// Octets of one read: what a client sends during a download is much less.
const READ_BYTES: usize = 4 * 1024;

/// What ended a wait.
enum Event<T> {
    Done(T),
    Heard(usize),
}

impl DataConnection {
    /// Processes what the client has sent, at most one read. All sealed records must have been sent
    /// or be in `out`, so that an alert follows them.
    pub(crate) fn hear(&mut self) -> Result<(), TransferError> {
        if !self.hears() {
            return Ok(());
        }
        let read = match self.stream.try_read(self.raw.spare(READ_BYTES)) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => return Err(TransferError::ConnectionLost),
        };
        self.heard(read).inspect_err(|_| self.send_alert(&[]))
    }

    /// Sends some of `octets`, at least one, waiting for room. `behind` are records sealed after
    /// `octets`: an alert of ours has to follow both.
    pub(crate) async fn write_some(
        &mut self,
        octets: &[u8],
        behind: &[u8],
    ) -> Result<usize, TransferError> {
        let deadline = clock::now() + self.interrupts.stall;
        self.waits_for_room();
        let written = self.hearing(deadline, async |stream| stream.write(octets).await).await;
        let written = written.inspect_err(|_| self.send_alert(&[octets, behind]))?;
        self.has_sent();
        Ok(written)
    }

    /// Sends all of `octets`. Each piece has its own deadline: a slow reader is not a stalled one.
    pub(crate) async fn write_all(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        let mut sent = 0;
        while sent < octets.len() {
            let rest = &octets[sent..];
            sent += match self.try_write(rest)? {
                Some(count) => count,
                None => self.write_some(rest, &[]).await?,
            };
        }
        Ok(())
    }

    /// Waits for room in the socket, without sending.
    pub(crate) async fn room(&mut self, deadline: Instant) -> Result<(), TransferError> {
        self.waits_for_room();
        self.hearing(deadline, async |stream| stream.writable().await).await
    }

    /// Does socket work that waits, and reads from the client meanwhile. What the client sends does
    /// not extend the deadline.
    async fn hearing<T>(
        &mut self,
        deadline: Instant,
        work: impl AsyncFn(&Stream) -> io::Result<T>,
    ) -> Result<T, TransferError> {
        loop {
            let hears = self.hears();
            let Self { stream, raw, interrupts, .. } = self;
            if !hears {
                return interrupts.step_until(deadline, work(stream)).await;
            }
            let room = raw.spare(READ_BYTES);
            let working = async { work(stream).await.map(Event::Done) };
            let reading = async { stream.read(room).await.map(Event::Heard) };
            match interrupts.step_until(deadline, race(working, reading)).await? {
                Event::Done(value) => return Ok(value),
                Event::Heard(count) => self.heard(Some(count))?,
            }
            // A client that sends all the time must not keep other tasks from running.
            give_way().await;
        }
    }

    /// Whether there is TLS, and more of it may come.
    const fn hears(&self) -> bool {
        !self.heard_all && !matches!(self.protection, Protection::Clear)
    }

    /// `read` octets came, 0 at the end, `None` for no read; processes the whole records among what
    /// is buffered.
    fn heard(&mut self, read: Option<usize>) -> Result<(), TransferError> {
        match read {
            // The client may end its half first. If it closed both, a send will show it.
            Some(0) => self.heard_all = true,
            Some(count) => self.raw.commit(count),
            None => {}
        }
        while !self.raw.is_empty() {
            let records = self.raw.filled_mut();
            let opened = match &mut self.protection {
                Protection::Kernel(kernel) => kernel.open(records, &self.stream),
                Protection::Records(channel) => channel.open(records, &mut self.out),
                Protection::Clear => return Ok(()),
            };
            match opened.map_err(|error| failed(&error))? {
                OpenedRecord::Incomplete => return Ok(()),
                OpenedRecord::Data { consumed, .. } | OpenedRecord::Handled { consumed } => {
                    self.raw.consume(consumed);
                }
                OpenedRecord::CloseNotify { .. } => {
                    self.heard_all = true;
                    self.raw.clear();
                }
            }
        }
        Ok(())
    }

    /// Sends the alert at the end of `out`, if the socket has room, after the records sealed before
    /// it.
    fn send_alert(&self, sealed: &[&[u8]]) {
        if self.out.is_empty() {
            return;
        }
        for &octets in sealed.iter().chain([&self.out.as_slice()]) {
            if !matches!(self.stream.try_write(octets), Ok(count) if count == octets.len()) {
                return;
            }
        }
    }
}
