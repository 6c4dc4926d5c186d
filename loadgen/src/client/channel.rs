//! One connection, in clear or under TLS, control or data. Moves octets; knows no command.

use std::cell::RefCell;

use super::{ClientHandshake, ConnectionError, TlsClient};
use crate::engine::{net::Stream, yield_if_needed};

/// Octets read with one system call. One buffer a thread: it is filled and emptied without an
/// await between.
const READ_BYTES: usize = 64 * 1024;

/// Octets counted with one system call, where the contents are ignored. The memory is never
/// touched.
const COUNTED_BYTES: usize = 1024 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; COUNTED_BYTES]);
}

/// What [`Channel::receive`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Something came; perhaps no plaintext yet.
    Some,
    /// The peer ended its side properly: close_notify under TLS, FIN in clear.
    End,
}

/// A connection.
#[derive(Debug)]
pub struct Channel {
    stream: Stream,
    tls: Option<TlsClient>,
    /// Where records are made.
    out: Vec<u8>,
    /// Contents received in clear are ignored.
    counts_only: bool,
}

impl Channel {
    /// In clear.
    #[must_use]
    pub const fn new(stream: Stream) -> Self {
        Self { stream, tls: None, out: Vec::new(), counts_only: false }
    }

    /// The TCP connection.
    #[must_use]
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The TLS state, if there is TLS.
    #[must_use]
    pub const fn tls(&self) -> Option<&TlsClient> {
        self.tls.as_ref()
    }

    /// Does the TLS handshake.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`]; the server has been sent the alert.
    pub async fn handshake(&mut self, mut tls: ClientHandshake) -> Result<(), ConnectionError> {
        let mut first: Option<[u8; CLEAR_BYTES]> = None;
        let mut out = Vec::new();
        loop {
            out.clear();
            match tls.advance(&mut out) {
                Ok(done) => {
                    self.stream.write_all(&out).await?;
                    if done {
                        self.tls = Some(tls.finish()?);
                        return Ok(());
                    }
                }
                Err(error) => {
                    // The alert is a courtesy; the error is already known.
                    let _ = self.stream.write_all(&out).await;
                    let clear = first.as_ref().and_then(reply_in_clear);
                    return Err(clear.map_or_else(|| error.into(), ConnectionError::InClear));
                }
            }
            self.stream.readable().await?;
            yield_if_needed().await;
            let received = with_read(&self.stream, READ_BYTES, |octets| {
                first.get_or_insert_with(|| {
                    let mut begin = [0; CLEAR_BYTES];
                    let length = octets.len().min(CLEAR_BYTES);
                    begin[..length].copy_from_slice(&octets[..length]);
                    begin
                });
                tls.receive(octets);
            });
            match received {
                Ok(0) => return Err(ConnectionError::Closed),
                Ok(_) => {}
                Err(ConnectionError::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends all of `plain`.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`].
    pub async fn send(&mut self, plain: &[u8]) -> Result<(), ConnectionError> {
        let Some(tls) = &mut self.tls else {
            return Ok(self.stream.write_all(plain).await?);
        };
        let length = tls.seal(plain, &mut self.out)?;
        Ok(self.stream.write_all(&self.out[..length]).await?)
    }

    /// From now on sinks look at the length only of what they are given: octets in clear need not
    /// be copied, and are not what came.
    pub const fn count_only(&mut self) {
        self.counts_only = true;
    }

    /// Waits for octets and gives their plaintext to `sink`; `at_most` octets of the wire (more
    /// after [`Self::count_only`]).
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Truncated`] for FIN without close_notify under TLS, and the others.
    pub async fn receive(
        &mut self,
        at_most: usize,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Received, ConnectionError> {
        // A server that never stops sending must not stop the others, nor the deadline.
        yield_if_needed().await;
        if let Some(tls) = &mut self.tls {
            if tls.is_closed() {
                return Ok(Received::End);
            }
            if tls.receive_early(&mut sink)? {
                return self.received().await;
            }
        }
        loop {
            let received = match &mut self.tls {
                None if self.counts_only && at_most >= READ_BYTES => {
                    counted(&self.stream, &mut sink)
                }
                None => with_read(&self.stream, at_most, &mut sink),
                Some(tls) => with_records(&self.stream, at_most, tls, &mut sink),
            };
            match received {
                Err(ConnectionError::Io(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    self.stream.readable().await?;
                }
                Err(error) => return Err(error),
                Ok(0) if self.tls.is_some() => return Err(ConnectionError::Truncated),
                Ok(0) => return Ok(Received::End),
                Ok(_) => break,
            }
        }
        self.received().await
    }

    /// Something has come; what it asks for is answered.
    async fn received(&mut self) -> Result<Received, ConnectionError> {
        let Some(tls) = &mut self.tls else { return Ok(Received::Some) };
        if tls.owes() {
            let length = tls.seal_owed(&mut self.out)?;
            self.stream.write_all(&self.out[..length]).await?;
        }
        let closed = self.tls.as_ref().is_some_and(TlsClient::is_closed);
        Ok(if closed { Received::End } else { Received::Some })
    }

    /// Sends close_notify under TLS; then this side sends nothing more in this TLS session.
    ///
    /// # Errors
    ///
    /// [`ConnectionError`].
    pub async fn close_notify(&mut self) -> Result<(), ConnectionError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let length = tls.seal_close(&mut self.out)?;
        Ok(self.stream.write_all(&self.out[..length]).await?)
    }

    /// Ends the TLS session in order and keeps the TCP connection: answers the server's
    /// close_notify, which must be what comes next (RFC 4217 §13, MS-FTPS 3.2.5.3).
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Closed`] when the server says something else first, and the others.
    pub async fn end_tls(&mut self) -> Result<(), ConnectionError> {
        let mut unexpected = false;
        while self.receive(READ_BYTES, |_| unexpected = true).await? != Received::End {
            if unexpected {
                return Err(ConnectionError::Closed);
            }
        }
        self.close_notify().await?;
        self.tls = None;
        Ok(())
    }

    /// Closes with close_notify and FIN, and waits for neither.
    pub async fn close(mut self) {
        // A connection that is already gone needs no farewell.
        let _ = self.close_notify().await;
        self.stream.shutdown_write();
    }

    /// Closes, after a look at what has come already: a server that writes session tickets where
    /// the client only sends has them here.
    pub fn close_with_tickets(mut self) {
        if let Some(tls) = &mut self.tls {
            // Nothing there, or an end: the transfer is already known to be complete.
            let _ = with_records(&self.stream, READ_BYTES, tls, &mut |_: &[u8]| {});
        }
    }

    /// Closes with RST.
    pub fn reset(self) {
        self.stream.reset();
    }
}

/// Octets kept of what answers a ClientHello, to tell a greeting from TLS.
const CLEAR_BYTES: usize = 40;

/// The first line of an FTP reply: three digits and text (RFC 959 §4.2). No TLS record begins so.
fn reply_in_clear(begin: &[u8; CLEAR_BYTES]) -> Option<String> {
    let line = begin.split(|octet| matches!(octet, b'\r' | b'\n' | 0)).next()?;
    let digits = line.len() >= 3 && line[..3].iter().all(u8::is_ascii_digit);
    digits.then(|| String::from_utf8_lossy(line).into_owned())
}

/// Takes octets without waiting and without a copy; `sink` gets as many of no meaning.
fn counted(stream: &Stream, mut sink: impl FnMut(&[u8])) -> Result<usize, ConnectionError> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        let count = stream.try_discard(buffer)?;
        sink(&buffer[..count]);
        Ok(count)
    })
}

/// Reads records without waiting and gives their plaintext to `sink`.
fn with_records(
    stream: &Stream,
    at_most: usize,
    tls: &mut TlsClient,
    sink: &mut impl FnMut(&[u8]),
) -> Result<usize, ConnectionError> {
    // Then what is pending fits into its room.
    tls.receive_early(&mut *sink)?;
    READ_BUFFER.with_borrow_mut(|buffer| {
        let length = at_most.clamp(1, READ_BYTES);
        // Room for the begin of a record in front of what continues it.
        const ROOM: usize = TlsClient::PENDING_MAX;
        let count = stream.try_read(&mut buffer[ROOM..ROOM + length])?;
        let begin = ROOM - tls.pending().len();
        buffer[begin..ROOM].copy_from_slice(tls.pending());
        if count > 0 {
            tls.receive(&mut buffer[begin..ROOM + count], sink)?;
        }
        Ok(count)
    })
}

/// Reads without waiting and hands the octets to `take`.
fn with_read(
    stream: &Stream,
    at_most: usize,
    take: impl FnOnce(&[u8]),
) -> Result<usize, ConnectionError> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        let length = at_most.clamp(1, READ_BYTES);
        let count = stream.try_read(&mut buffer[..length])?;
        take(&buffer[..count]);
        Ok(count)
    })
}
