//! The data connection: how it comes about, its TLS, and octets in and out of it with deadlines.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Context;
use super::passive_ports::PassiveListener;
use crate::buffer::InBuf;
use crate::clock;
use crate::limits::TLS_RECORD_BYTES_MAX;
use crate::protocol::policy::DataResumption;
use crate::protocol::session::TransferError;
use crate::runtime::{Flag, Stream, connect, race, timeout_at};
use crate::tls::{
    Channel, ControlSession, Handshake, HandshakeFacts, Opened, Progress, Purpose, TlsError,
};

/// Where the data connection comes from.
pub(super) enum Origin {
    /// The client connects to this port.
    Passive(PassiveListener),
    /// The server connects to this address, from this port if it may.
    Active {
        /// Checked address of PORT or EPRT.
        peer: SocketAddr,
        /// Our end of the control connection (RFC 1123 §4.1.2.12).
        local: SocketAddr,
    },
    /// The passive port is gone already.
    Nothing,
}

/// What ends a wait on the data connection before its time.
#[derive(Clone)]
pub(super) struct Interrupts {
    /// ABOR, or the control connection is gone.
    pub(super) abort: Flag,
    /// The shutdown deadline of the shard has passed.
    pub(super) cut: Flag,
    /// Longest time without a byte moved.
    pub(super) stall: Duration,
}

/// An open data connection.
pub(super) struct DataConnection {
    stream: Stream,
    channel: Option<Box<Channel>>,
    raw: InBuf,
    out: Vec<u8>,
    interrupts: Interrupts,
}

/// What [`DataConnection::receive`] brought.
pub(super) enum Received {
    /// This many octets were put into the block.
    Octets(usize),
    /// The client ended the transfer properly.
    End,
}

impl Interrupts {
    /// `work`, unless ABOR or the end of the server comes first.
    pub(super) async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        let aborted = async {
            self.abort.wait().await;
            Err(TransferError::Aborted)
        };
        let cut = async {
            self.cut.wait().await;
            Err(TransferError::Draining)
        };
        race(race(aborted, cut), work).await
    }

    /// One step of socket work: it must move something within the stall timeout.
    async fn step<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, TransferError> {
        let deadline = clock::now() + self.stall;
        let timed = async {
            match timeout_at(deadline, work).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(_)) => Err(TransferError::ConnectionLost),
                Err(_) => Err(TransferError::Stalled),
            }
        };
        self.guard(timed).await
    }
}

/// Waits for the client, or connects to it (RFC 959 §3.2).
pub(super) async fn open(
    origin: Origin,
    deadline: Instant,
    interrupts: Interrupts,
) -> Result<DataConnection, TransferError> {
    let opening = async {
        let stream = match origin {
            Origin::Nothing => return Err(TransferError::NotOpened),
            Origin::Passive(mut listener) => timeout_at(deadline, listener.connection()).await.ok(),
            Origin::Active { peer, local } => {
                // RFC 959 §5.2, MS-FTPS 1.9: port L-1, that is 20 or 989.
                let source = local.port().checked_sub(1).filter(|&port| port != 0);
                let connecting = connect(local, peer, source);
                timeout_at(deadline, connecting).await.ok().and_then(Result::ok)
            }
        };
        stream.ok_or(TransferError::NotOpened)
    };
    let stream = interrupts.guard(opening).await?;
    Ok(DataConnection { stream, channel: None, raw: InBuf::new(), out: Vec::new(), interrupts })
}

impl DataConnection {
    /// The server is TLS server whoever connected (RFC 4217 §7). The handshake starts only now,
    /// so that the direction decides about tickets; a ClientHello that came early waits in the
    /// socket.
    pub(super) async fn protect(
        &mut self,
        context: &Rc<Context>,
        purpose: Purpose,
        session: &Arc<ControlSession>,
        deadline: Instant,
    ) -> Result<HandshakeFacts, TransferError> {
        let mut handshake = Handshake::new(&context.parts.tls, purpose, session, None);
        let interrupts = self.interrupts.clone();
        let shaking = async {
            loop {
                let progress = handshake.advance(&mut self.raw, &mut self.out);
                let sent = self.stream.write_all(&self.out).await;
                self.out.clear();
                match (progress, sent) {
                    (Err(error), _) => return Err(failed(&error)),
                    (_, Err(_)) => return Err(TransferError::HandshakeFailed),
                    (Ok(Progress::Established), Ok(())) => return Ok(()),
                    (Ok(Progress::NeedBytes), Ok(())) => {}
                }
                let room = self.raw.spare(HANDSHAKE_READ_BYTES);
                match self.stream.read(room).await {
                    Ok(count) if count > 0 => self.raw.commit(count),
                    Ok(_) | Err(_) => return Err(TransferError::HandshakeFailed),
                }
            }
        };
        let timed = async {
            timeout_at(deadline, shaking).await.unwrap_or(Err(TransferError::HandshakeFailed))
        };
        interrupts.guard(timed).await?;
        let (channel, facts) = handshake.finish().map_err(|error| failed(&error))?;
        self.channel = Some(Box::new(channel));
        context.counters.data_handshakes.increment();
        if facts.resumption.is_this_session() {
            context.counters.data_handshakes_resumed.increment();
        } else if context.policy().data_resumption == DataResumption::Require {
            return Err(TransferError::NotResumed(facts.resumption.to_string()));
        }
        Ok(facts)
    }

    /// Sends octets of the transfer.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        let Some(channel) = &mut self.channel else {
            return write(&self.stream, &self.interrupts, octets).await;
        };
        channel.seal(octets, &mut self.out).map_err(|error| failed(&error))?;
        self.flush().await
    }

    /// Receives at least one octet into `room`, or finds the end. Under TLS only close_notify is an
    /// end (RFC 8446 §6.1), unless `lax` accepts a bare FIN.
    pub(super) async fn receive(
        &mut self,
        room: &mut [u8],
        lax: bool,
    ) -> Result<Received, TransferError> {
        let Some(channel) = &mut self.channel else {
            let count = self.interrupts.step(self.stream.read(room)).await?;
            return Ok(if count == 0 { Received::End } else { Received::Octets(count) });
        };
        loop {
            match open_records(channel, &mut self.raw, &mut self.out, room)? {
                Records::Octets(count) => return Ok(Received::Octets(count)),
                Records::End => return Ok(Received::End),
                Records::NeedBytes => {}
            }
            if !self.out.is_empty() {
                // The answer to a KeyUpdate.
                write(&self.stream, &self.interrupts, &self.out).await?;
                self.out.clear();
            }
            let spare = self.raw.spare(UPLOAD_READ_BYTES);
            let count = self.interrupts.step(self.stream.read(spare)).await?;
            match count {
                0 if lax && self.raw.is_empty() => return Ok(Received::End),
                0 => return Err(TransferError::Truncated),
                count => self.raw.commit(count),
            }
        }
    }

    /// close_notify when protected, then FIN: after this nothing more is sent.
    pub(super) async fn end_sending(&mut self) -> Result<(), TransferError> {
        if let Some(channel) = &mut self.channel {
            channel.seal_close_notify(&mut self.out).map_err(|error| failed(&error))?;
            self.flush().await?;
        }
        self.stream.shutdown_write().map_err(|_| TransferError::ConnectionLost)
    }

    /// Gives the client a moment to read the rest and close first.
    pub(super) async fn linger(self) {
        self.stream.linger(LINGER, LINGER_BYTES_MAX).await;
    }

    async fn flush(&mut self) -> Result<(), TransferError> {
        let sent = write(&self.stream, &self.interrupts, &self.out).await;
        self.out.clear();
        sent
    }
}

/// What [`open_records`] found.
enum Records {
    Octets(usize),
    End,
    NeedBytes,
}

/// Opens whole records as long as their plaintext fits into `room`.
fn open_records(
    channel: &mut Channel,
    raw: &mut InBuf,
    out: &mut Vec<u8>,
    room: &mut [u8],
) -> Result<Records, TransferError> {
    let mut filled = 0;
    // A record is opened only when its largest plaintext has room.
    while room.len() - filled >= crate::limits::TLS_FRAGMENT_BYTES_MAX {
        match channel.open(raw.filled_mut(), out).map_err(|error| failed(&error))? {
            Opened::Incomplete => break,
            Opened::Handled { consumed } => raw.consume(consumed),
            Opened::Data { consumed, plaintext } => {
                let octets = &raw.filled()[plaintext];
                room[filled..filled + octets.len()].copy_from_slice(octets);
                filled += octets.len();
                raw.consume(consumed);
            }
            Opened::CloseNotify { consumed } => {
                // Data before it is handed over first; the next call finds it again.
                if filled > 0 {
                    break;
                }
                raw.consume(consumed);
                return Ok(Records::End);
            }
        }
    }
    Ok(if filled > 0 { Records::Octets(filled) } else { Records::NeedBytes })
}

async fn write(
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

fn failed(error: &TlsError) -> TransferError {
    tracing::debug!(%error, "TLS on a data connection");
    TransferError::Protection
}

const HANDSHAKE_READ_BYTES: usize = 4 * 1024;

/// Octets asked for at once: many records a system call.
const UPLOAD_READ_BYTES: usize = 8 * TLS_RECORD_BYTES_MAX;

const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 256 * 1024;
