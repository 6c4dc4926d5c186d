//! The data connection: how it comes about, its TLS, and octets in and out of it with deadlines.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::kernel_send::KernelTls;
use super::proof::Verdict;
use super::session_ports::{PassiveListener, ServedPort};
use super::shaking::{DataTls, Shaken, Shaking};
use crate::buffer::InBuf;
use crate::clock;
use crate::protocol::session::TransferError;
use crate::runtime::{Flag, Stream, connect, race, timeout_at};
use crate::tls::{Channel, HandshakeFacts, TlsError};

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
    pub(super) stream: Stream,
    /// Where it came in, until it is known whether the port serves again.
    port: Option<ServedPort>,
    /// The handshake that was made where it came in.
    shaken: Option<Box<Shaken>>,
    /// Why it does not get the transfer.
    refusal: Option<TransferError>,
    /// The end of what we send is told by close_notify, and the client has a moment to close first.
    pub(super) client_ends: bool,
    /// The client will say nothing more.
    pub(super) heard_all: bool,
    /// TLS whose records are sealed here.
    pub(super) channel: Option<Box<Channel>>,
    /// TLS whose records the kernel seals. Then `channel` is gone.
    pub(super) kernel: Option<Box<KernelTls>>,
    pub(super) raw: InBuf,
    pub(super) out: Vec<u8>,
    /// Records that were sealed before those in `out`, and wait until they can do no harm: tickets,
    /// while the client sends and does not read.
    held: Vec<u8>,
    pub(super) interrupts: Interrupts,
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

    /// The same, between two steps that do not wait.
    pub(super) fn check(&self) -> Result<(), TransferError> {
        match (self.abort.is_set(), self.cut.is_set()) {
            (true, _) => Err(TransferError::Aborted),
            (false, true) => Err(TransferError::Draining),
            (false, false) => Ok(()),
        }
    }

    /// One step of socket work: it must move something within the stall timeout.
    pub(super) async fn step<T>(
        &self,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, TransferError> {
        self.step_until(clock::now() + self.stall, work).await
    }

    /// The same, with a deadline that was set before.
    pub(super) async fn step_until<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, TransferError> {
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

/// Waits for the client, or connects to it (RFC 959 §3.2). With `tls`, one that came to a passive
/// port has made its handshake.
pub(super) async fn open(
    origin: Origin,
    tls: Option<&DataTls>,
    deadline: Instant,
    interrupts: Interrupts,
) -> Result<DataConnection, TransferError> {
    let opening = async {
        match origin {
            Origin::Nothing => Err(TransferError::NotOpened),
            Origin::Passive(listener) => {
                let (arrived, port) = listener.connection(tls.cloned(), deadline).await?;
                Ok((arrived.stream, Some(port), arrived.shaken, arrived.refusal))
            }
            Origin::Active { peer, local } => {
                // RFC 959 §5.2, MS-FTPS 1.9: port L-1, that is 20 or 989.
                let source = local.port().checked_sub(1).filter(|&port| port != 0);
                let connecting = connect(local, peer, source);
                let connected = timeout_at(deadline, connecting).await.ok();
                let stream = connected.and_then(Result::ok).ok_or(TransferError::NotOpened)?;
                Ok((stream, None, None, None))
            }
        }
    };
    let (stream, port, shaken, refusal) = interrupts.guard(opening).await?;
    Ok(DataConnection {
        stream,
        port,
        shaken,
        refusal,
        client_ends: false,
        heard_all: false,
        channel: None,
        kernel: None,
        raw: InBuf::new(),
        out: Vec::new(),
        held: Vec::new(),
        interrupts,
    })
}

impl DataConnection {
    /// Makes the TLS handshake and judges what it proves, unless that was done at the port. With
    /// `hold`, the tickets of TLS 1.3 wait for the next octets sent.
    pub(super) async fn protect(
        &mut self,
        tls: &DataTls,
        deadline: Instant,
        hold: bool,
    ) -> Result<HandshakeFacts, TransferError> {
        let (shaken, judged) = match (self.shaken.take(), &self.refusal) {
            (Some(shaken), _) => (shaken, true),
            (None, Some(refusal)) => return Err(refusal.clone()),
            (None, None) => (Box::new(self.shake(tls, deadline).await?), false),
        };
        let Shaken { channel, facts, raw, out } = *shaken;
        (self.raw, self.out) = (raw, out);
        self.channel = Some(Box::new(channel));
        if !hold {
            self.flush().await?;
        }
        let counters = &tls.context.counters;
        counters.data_handshakes.increment();
        let port = self.port.take();
        if facts.resumption.is_this_session() {
            counters.data_handshakes_resumed.increment();
            tls.proof.resumed(facts.ticket, facts.version == "TLSv1.2");
            port.into_iter().for_each(ServedPort::rest);
        }
        if let Some(refusal) = self.refusal.take() {
            return Err(refusal);
        }
        if !judged && tls.judge(&facts) == Verdict::Refused {
            return Err(TransferError::NotResumed(facts.resumption.to_string()));
        }
        Ok(facts)
    }

    /// A handshake with nobody to compare it with: we have connected, or the port is closed.
    async fn shake(&self, tls: &DataTls, deadline: Instant) -> Result<Shaken, TransferError> {
        let mut shaking = Shaking::new(tls);
        let timed = async {
            let shaken = timeout_at(deadline, shaking.run(&self.stream)).await;
            shaken.unwrap_or(Err(TransferError::HandshakeFailed))
        };
        self.interrupts.guard(timed).await?;
        shaking.finish()
    }

    /// In clear nothing proves whose the connection is: its port is drawn anew for the next.
    pub(super) fn leave_clear(&mut self) {
        self.port = None;
    }

    /// What follows goes to the client, which is the one to close then.
    pub(super) const fn sends(&mut self) {
        if let Some(channel) = &mut self.channel {
            channel.answer_with_data();
            self.client_ends = true;
        }
    }

    /// Sends all octets of a transfer that are few, and ends it. Under TLS, what the handshake left
    /// to send, the octets and close_notify leave in one write; in clear, the FIN goes with the
    /// last octets. Gives whether one write took them.
    pub(super) async fn send_whole(&mut self, octets: &[u8]) -> Result<bool, TransferError> {
        self.hear()?;
        let Some(channel) = &mut self.channel else {
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
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        if self.channel.is_some() {
            self.hear()?;
        }
        let Some(channel) = &mut self.channel else {
            return self.send_unsealed(octets).await;
        };
        channel.seal(octets, &mut self.out).map_err(|error| failed(&error))?;
        self.flush().await
    }

    /// Sends octets as they are: in the clear, or sealed by the kernel.
    async fn send_unsealed(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        self.before_data(octets.len()).await?;
        self.write_all(octets).await?;
        if let Some(kernel) = &mut self.kernel {
            kernel.count(octets.len());
        }
        Ok(())
    }

    /// close_notify when protected, then FIN: after this nothing more is sent. At the end of a
    /// protected download the FIN waits for [`DataConnection::linger`].
    pub(super) async fn end_sending(&mut self) -> Result<(), TransferError> {
        if self.channel.is_some() && self.client_ends {
            self.hear()?;
        }
        if let Some(channel) = &mut self.channel {
            channel.seal_close_notify(&mut self.out).map_err(|error| failed(&error))?;
            self.release_held();
            self.flush().await?;
        } else if self.kernel.is_some() {
            self.end_kernel_tls().await?;
        }
        self.shut()
    }

    fn shut(&self) -> Result<(), TransferError> {
        if self.client_ends {
            return Ok(());
        }
        self.stream.shutdown_write().map_err(|_| TransferError::ConnectionLost)
    }

    /// Keeps tickets back while the client sends: one that does not read them before it closes
    /// would have its kernel answer with RST, and that takes along what we have not read. Once
    /// everything is in, they can do no harm. In TLS 1.2 there are none.
    pub(super) fn hold_tickets(&mut self) {
        std::mem::swap(&mut self.held, &mut self.out);
    }

    /// What was kept back goes before what is to be sent, as it was sealed.
    pub(super) fn release_held(&mut self) {
        if !self.held.is_empty() {
            self.held.append(&mut self.out);
            std::mem::swap(&mut self.held, &mut self.out);
        }
    }

    /// Whether octets go out as TLS records.
    pub(super) const fn is_protected(&self) -> bool {
        self.channel.is_some()
    }

    /// Seals octets into records at the front of `wire`, which has room for them; gives the
    /// records' length. They must be sent in the order they were sealed.
    pub(super) fn seal_into(
        &mut self,
        octets: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, TransferError> {
        let channel = self.channel.as_mut().ok_or(TransferError::Protection)?;
        channel.seal_into(octets, wire).map_err(|error| failed(&error))
    }

    /// Sends what fits; `None` when nothing does.
    pub(super) fn try_write(&self, octets: &[u8]) -> Result<Option<usize>, TransferError> {
        match self.stream.try_write(octets) {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(TransferError::ConnectionLost),
        }
    }

    /// See [`Interrupts::check`].
    pub(super) fn check(&self) -> Result<(), TransferError> {
        self.interrupts.check()
    }

    /// See [`Interrupts::guard`].
    pub(super) async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        self.interrupts.guard(work).await
    }

    /// Sends what TLS itself has to say.
    pub(super) async fn flush(&mut self) -> Result<(), TransferError> {
        let sealed = std::mem::take(&mut self.out);
        let sent = self.write_all(&sealed).await;
        self.out = sealed;
        self.out.clear();
        sent
    }
}

pub(super) async fn write(
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

pub(super) fn failed(error: &TlsError) -> TransferError {
    tracing::debug!(%error, "TLS on a data connection");
    TransferError::Protection
}
