//! The TLS handshake of a data connection, which clients begin before the transfer command or
//! after it. The server is the TLS server, whichever side connected (RFC 4217 §7).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::proof::{Proof, Verdict};
use crate::buffer::RecvBuffer;
use crate::clock;
use crate::metrics::{Counters, Gauge, Held};
use crate::protocol::policy::Policy;
use crate::protocol::session::TransferError;
use crate::runtime::Stream;
use crate::tls::{
    Channel, ControlSession, Handshake, HandshakeFacts, Progress, Purpose, ServerTls, TlsError,
};

/// What the handshakes of a session's data connections need.
#[derive(Clone)]
pub(crate) struct DataTls {
    pub(crate) server: Arc<ServerTls>,
    /// Whether a data connection must resume the session, and how long to wait for one that does.
    pub(crate) policy: Arc<Policy>,
    pub(crate) counters: Rc<Counters>,
    /// Counts handshakes in progress.
    pub(crate) in_progress: Gauge,
    /// The control session that data connections resume.
    pub(crate) session: Arc<ControlSession>,
    /// What data connections must prove.
    pub(crate) proof: Rc<Proof>,
}

impl DataTls {
    /// Whether the data connection with this handshake may have the transfer.
    pub(crate) fn judge(&self, facts: &HandshakeFacts) -> Verdict {
        self.proof.judge(self.policy.data_resumption, facts, clock::now())
    }
}

/// A handshake in progress.
#[derive(Debug)]
pub(crate) struct DataHandshake {
    handshake: Handshake,
    /// What the client sent and is not used yet; after the handshake, what follows it.
    raw: RecvBuffer,
    out: Vec<u8>,
    /// When the client's first octets came; none: nothing was read or sent.
    began: Option<Instant>,
    /// It was taken for the session's by its ClientHello alone, which anybody can copy.
    claimed: bool,
    _counted: Held,
}

/// A finished handshake.
pub(crate) struct Secured {
    pub(crate) channel: Channel,
    pub(crate) facts: HandshakeFacts,
    /// Octets that followed the handshake.
    pub(crate) raw: RecvBuffer,
    /// What is still to be sent: in TLS 1.3 tickets, which the client does not wait for.
    pub(crate) out: Vec<u8>,
    /// From the client's first octets on.
    pub(crate) took: Duration,
}

impl DataHandshake {
    /// A handshake that has not begun.
    pub(crate) fn new(tls: &DataTls) -> Self {
        Self::after(tls, None)
    }

    /// The same, where a ClientHello was `heard` already, and when that began: the connection is
    /// only the session's if it resumes it.
    pub(crate) fn after(tls: &DataTls, heard: Option<(RecvBuffer, Instant)>) -> Self {
        let claimed = heard.is_some();
        let (raw, began) = heard.map_or((RecvBuffer::new(), None), |(raw, at)| (raw, Some(at)));
        Self {
            handshake: Handshake::new(&tls.server, Purpose::Data, &tls.session, None),
            raw,
            out: Vec::new(),
            began,
            claimed,
            _counted: tls.in_progress.hold(),
        }
    }

    /// Nothing was read or sent: the connection can be used in the clear.
    pub(crate) const fn is_untouched(&self) -> bool {
        self.began.is_none()
    }

    /// Whether nothing but resumption makes it the session's.
    pub(crate) const fn is_claimed(&self) -> bool {
        self.claimed
    }

    /// Drives the handshake until the client waits for nothing more. A ClientHello that came early
    /// is still in the socket. The future may be dropped at any time, and the next one continues;
    /// after an error every further call gives an error. The caller sets the deadline.
    pub(crate) async fn run(&mut self, stream: &Stream) -> Result<(), TransferError> {
        loop {
            let progress = self.handshake.advance(&mut self.raw, &mut self.out);
            let established = matches!(progress, Ok(Progress::Established));
            if established && self.handshake.is_done_for_client() {
                return Ok(());
            }
            let answers = !self.out.is_empty();
            while !self.out.is_empty() {
                let sent = stream.write(&self.out).await;
                let sent = sent.map_err(|_| TransferError::HandshakeFailed)?;
                // Drop what was sent, so that the next future does not send it again.
                self.out.drain(..sent);
            }
            progress.map_err(|error| handshake_failed(&error))?;
            if established {
                return Ok(());
            }
            // Its Finished may wait for the acknowledgement of what came with it, which an answer
            // brings along.
            if !answers && self.began.is_some() {
                stream.acknowledge();
            }
            let room = self.raw.spare(HANDSHAKE_READ_BYTES);
            match stream.read(room).await {
                Ok(count) if count > 0 => self.raw.commit(count),
                Ok(_) | Err(_) => return Err(TransferError::HandshakeFailed),
            }
            self.began.get_or_insert_with(clock::now);
        }
    }

    /// What was agreed on, and the pending octets of both directions.
    pub(crate) fn finish(self) -> Result<Secured, TransferError> {
        let finished = self.handshake.finish();
        let (channel, facts) = finished.map_err(|error| handshake_failed(&error))?;
        let now = clock::now();
        let took = now.saturating_duration_since(self.began.unwrap_or(now));
        Ok(Secured { channel, facts, raw: self.raw, out: self.out, took })
    }
}

fn handshake_failed(error: &TlsError) -> TransferError {
    tracing::debug!(%error, "TLS handshake of a data connection");
    TransferError::HandshakeFailed
}

const HANDSHAKE_READ_BYTES: usize = 4 * 1024;
