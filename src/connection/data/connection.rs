//! An open data connection: octets in and out, clear or as TLS records.

use std::cell::Cell;
use std::io;

use super::interrupts::Interrupts;
use super::kernel_tls::KernelTlsSender;
use crate::buffer::RecvBuffer;
use crate::protocol::session::TransferError;
use crate::runtime::Stream;
use crate::tls::{Channel, OpenedRecord, TlsError};

/// An open data connection.
pub(crate) struct DataConnection {
    pub(crate) stream: Stream,
    pub(super) protection: Protection,
    /// A download: our close_notify marks its end, and the client gets a moment to close first.
    pub(super) client_ends: bool,
    /// The client will send nothing more.
    pub(super) heard_all: bool,
    /// Octets received and not opened yet.
    pub(crate) raw: RecvBuffer,
    /// Sealed records not sent yet.
    pub(crate) out: Vec<u8>,
    /// Records sealed before those in `out` that are kept back: tickets, while the client sends and
    /// may not read.
    held: Vec<u8>,
    sending: Cell<Sending>,
    pub(crate) interrupts: Interrupts,
}

/// How a socket took what was sent: few large pieces while the client is as fast as the server,
/// many small ones with a wait before each while it is slower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sending {
    /// System calls that sent octets.
    pub(crate) calls: u64,
    /// Waits for room in the socket.
    pub(crate) waits: u64,
}

/// What protects the octets of a data connection.
pub(super) enum Protection {
    /// Nothing (PROT C).
    Clear,
    /// TLS whose records are sealed and opened in user space.
    Records(Box<Channel>),
    /// TLS whose records the kernel seals. The client's records are opened in user space.
    Kernel(Box<KernelTlsSender>),
}

impl DataConnection {
    /// A connection in clear.
    pub(super) fn clear(stream: Stream, interrupts: Interrupts) -> Self {
        Self {
            stream,
            protection: Protection::Clear,
            client_ends: false,
            heard_all: false,
            raw: RecvBuffer::new(),
            out: Vec::new(),
            held: Vec::new(),
            sending: Cell::default(),
            interrupts,
        }
    }

    /// The handshake is complete: `raw` is what followed it, `out` what is still to be sent.
    pub(super) fn protect(&mut self, channel: Channel, raw: RecvBuffer, out: Vec<u8>) {
        self.protection = Protection::Records(Box::new(channel));
        (self.raw, self.out) = (raw, out);
    }

    /// The record layer, where records are sealed and opened in user space.
    pub(crate) fn channel(&mut self) -> Option<&mut Channel> {
        match &mut self.protection {
            Protection::Records(channel) => Some(channel),
            Protection::Clear | Protection::Kernel(_) => None,
        }
    }

    /// Marks this as a download: from here on the server sends, and under TLS the client closes
    /// first.
    pub(crate) fn sends(&mut self) {
        if let Protection::Records(channel) = &mut self.protection {
            channel.answer_with_data();
            self.client_ends = true;
        }
    }

    /// Sends a small transfer whole, and its end. Under TLS the rest of the handshake, the data and
    /// close_notify leave in one write; in clear the FIN goes with the last octets. Returns whether
    /// one write took everything.
    pub(crate) async fn send_whole(&mut self, octets: &[u8]) -> Result<bool, TransferError> {
        self.hear()?;
        let Protection::Records(channel) = &mut self.protection else {
            let sent = self.stream.try_write_held(octets).unwrap_or(0);
            write(&self.stream, &self.interrupts, &octets[sent..]).await?;
            self.end_sending().await?;
            return Ok(sent == octets.len());
        };
        channel.seal(octets, &mut self.out).map_err(|error| failed(&error))?;
        channel.seal_close_notify(&mut self.out).map_err(|error| failed(&error))?;
        let sent = self.try_write(&self.out)?.unwrap_or(0);
        let at_once = sent == self.out.len();
        self.out.drain(..sent);
        self.flush().await?;
        self.shut()?;
        Ok(at_once)
    }

    /// Sends octets of the transfer.
    pub(crate) async fn send(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        if self.is_protected() {
            self.hear()?;
        }
        let Protection::Records(channel) = &mut self.protection else {
            return self.send_unsealed(octets).await;
        };
        channel.seal(octets, &mut self.out).map_err(|error| failed(&error))?;
        self.flush().await
    }

    /// Sends octets as they are: in the clear, or sealed by the kernel.
    async fn send_unsealed(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        self.before_data(octets.len()).await?;
        self.write_all(octets).await?;
        if let Protection::Kernel(kernel) = &mut self.protection {
            kernel.count(octets.len());
        }
        Ok(())
    }

    /// close_notify when protected, then FIN: after this nothing more is sent. At the end of a
    /// protected download the FIN waits for [`DataConnection::linger`].
    pub(crate) async fn end_sending(&mut self) -> Result<(), TransferError> {
        if self.is_protected() && self.client_ends {
            self.hear()?;
        }
        match &mut self.protection {
            Protection::Records(channel) => {
                channel.seal_close_notify(&mut self.out).map_err(|error| failed(&error))?;
                self.release_held();
                self.flush().await?;
            }
            Protection::Kernel(_) => self.end_kernel_tls().await?,
            Protection::Clear => {}
        }
        self.shut()
    }

    fn shut(&self) -> Result<(), TransferError> {
        if self.client_ends {
            return Ok(());
        }
        self.stream.shutdown_write().map(drop).map_err(|_| TransferError::ConnectionLost)
    }

    /// Keeps tickets back while the client sends. A client that closes without reading them sends
    /// RST, which also discards data we have not read yet. After the last data tickets are
    /// harmless. TLS 1.2 has none here.
    pub(crate) fn hold_tickets(&mut self) {
        std::mem::swap(&mut self.held, &mut self.out);
    }

    /// Puts the records kept back in front of `out`: the order in which they were sealed.
    pub(crate) fn release_held(&mut self) {
        if !self.held.is_empty() {
            self.held.append(&mut self.out);
            std::mem::swap(&mut self.held, &mut self.out);
        }
    }

    /// Whether records are sealed in user space.
    pub(crate) const fn is_protected(&self) -> bool {
        matches!(self.protection, Protection::Records(_))
    }

    /// Seals octets into records at the front of `wire`, which must have room for them; returns the
    /// length of the records. Send them in the order they were sealed.
    pub(crate) fn seal_into(
        &mut self,
        octets: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, TransferError> {
        let channel = self.channel().ok_or(TransferError::Protection)?;
        channel.seal_into(octets, wire).map_err(|error| failed(&error))
    }

    /// Opens the record at the front of `raw` into `room`; replies of the TLS layer go to `out`.
    ///
    /// # Errors
    ///
    /// As [`Channel::open_into`], or that there is no TLS.
    pub(crate) fn open_record(&mut self, room: &mut [u8]) -> Result<OpenedRecord, TransferError> {
        let opened = match &mut self.protection {
            Protection::Records(channel) => {
                channel.open_into(self.raw.filled(), room, &mut self.out)
            }
            Protection::Clear | Protection::Kernel(_) => return Err(TransferError::Protection),
        };
        opened.map_err(|error| failed(&error))
    }

    /// Sends what fits; `None` when nothing does.
    pub(crate) fn try_write(&self, octets: &[u8]) -> Result<Option<usize>, TransferError> {
        match self.stream.try_write(octets) {
            Ok(count) => {
                self.has_sent();
                Ok(Some(count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(TransferError::ConnectionLost),
        }
    }

    /// How the socket has taken what was sent so far, but for what left in one write.
    pub(crate) const fn sending(&self) -> Sending {
        self.sending.get()
    }

    /// Counts a system call that sent octets.
    pub(super) fn has_sent(&self) {
        let Sending { calls, waits } = self.sending.get();
        self.sending.set(Sending { calls: calls + 1, waits });
    }

    /// Counts a wait for room in the socket.
    pub(super) fn waits_for_room(&self) {
        let Sending { calls, waits } = self.sending.get();
        self.sending.set(Sending { calls, waits: waits + 1 });
    }

    /// See [`Interrupts::check`].
    pub(crate) fn check(&self) -> Result<(), TransferError> {
        self.interrupts.check()
    }

    /// See [`Interrupts::guard`].
    pub(crate) async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        self.interrupts.guard(work).await
    }

    /// Sends `out`: records that carry no data of the transfer, or its last ones.
    pub(crate) async fn flush(&mut self) -> Result<(), TransferError> {
        let sealed = std::mem::take(&mut self.out);
        let sent = self.write_all(&sealed).await;
        self.out = sealed;
        self.out.clear();
        sent
    }
}

pub(crate) async fn write(
    stream: &Stream,
    interrupts: &Interrupts,
    mut octets: &[u8],
) -> Result<(), TransferError> {
    while !octets.is_empty() {
        // Each piece has its own deadline: a slow reader is not a stalled one.
        let count = match stream.try_write(octets) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                interrupts.step(stream.write(octets)).await?
            }
            Err(_) => return Err(TransferError::ConnectionLost),
        };
        octets = &octets[count..];
    }
    Ok(())
}

pub(crate) fn failed(error: &TlsError) -> TransferError {
    tracing::debug!(%error, "TLS on a data connection");
    TransferError::Protection
}
