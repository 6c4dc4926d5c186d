//! The TLS handshake of a data connection, which clients begin before the transfer command or
//! after it. The server is TLS server whoever connected (RFC 4217 §7).

use std::rc::Rc;
use std::sync::Arc;

use super::Context;
use super::proof::{Proof, Verdict};
use crate::buffer::InBuf;
use crate::clock;
use crate::metrics::Held;
use crate::protocol::session::TransferError;
use crate::runtime::Stream;
use crate::tls::{Channel, ControlSession, Handshake, HandshakeFacts, Progress, Purpose, TlsError};

/// What the handshakes of one session's data connections are made with.
#[derive(Clone)]
pub(super) struct DataTls {
    pub(super) context: Rc<Context>,
    /// What they resume.
    pub(super) session: Arc<ControlSession>,
    /// What they must prove.
    pub(super) proof: Rc<Proof>,
}

impl DataTls {
    /// Whether the data connection with this handshake may have the transfer.
    pub(super) fn judge(&self, facts: &HandshakeFacts) -> Verdict {
        self.proof.judge(self.context.policy().data_resumption, facts, clock::now())
    }
}

/// A handshake at work.
#[derive(Debug)]
pub(super) struct Shaking {
    handshake: Handshake,
    /// What the client sent: at the end, what it sent behind the handshake.
    raw: InBuf,
    out: Vec<u8>,
    untouched: bool,
    _counted: Held,
}

/// A finished one.
pub(super) struct Shaken {
    pub(super) channel: Channel,
    pub(super) facts: HandshakeFacts,
    /// Octets behind the handshake.
    pub(super) raw: InBuf,
    /// What is still to be sent: in TLS 1.3 tickets, which the client can do without.
    pub(super) out: Vec<u8>,
}

impl Shaking {
    /// One that has not begun.
    pub(super) fn new(tls: &DataTls) -> Self {
        let server = &tls.context.parts.tls;
        Self {
            handshake: Handshake::new(server, Purpose::Data, &tls.session, None),
            raw: InBuf::new(),
            out: Vec::new(),
            untouched: true,
            _counted: tls.context.gauges.handshakes.hold(),
        }
    }

    /// Nothing was read or sent: the connection can be used in the clear.
    pub(super) const fn is_untouched(&self) -> bool {
        self.untouched
    }

    /// Goes on until the client has nothing more to wait for. A ClientHello that came early waits
    /// in the socket. The future may be dropped at any time, and the next one goes on; after an
    /// error every further one gives an error. Bounded by the caller.
    pub(super) async fn run(&mut self, stream: &Stream) -> Result<(), TransferError> {
        loop {
            let progress = self.handshake.advance(&mut self.raw, &mut self.out);
            let established = matches!(progress, Ok(Progress::Established));
            if established && self.handshake.is_done_for_client() {
                return Ok(());
            }
            while !self.out.is_empty() {
                let sent = stream.write(&self.out).await;
                let sent = sent.map_err(|_| TransferError::HandshakeFailed)?;
                // What was sent is not sent again by the next future.
                self.out.drain(..sent);
            }
            progress.map_err(|error| handshake_failed(&error))?;
            if established {
                return Ok(());
            }
            // Its Finished may wait for the acknowledgement of what came with it.
            stream.acknowledge();
            let room = self.raw.spare(HANDSHAKE_READ_BYTES);
            match stream.read(room).await {
                Ok(count) if count > 0 => self.raw.commit(count),
                Ok(_) | Err(_) => return Err(TransferError::HandshakeFailed),
            }
            self.untouched = false;
        }
    }

    /// What was agreed on, and the octets in both directions that come next.
    pub(super) fn finish(self) -> Result<Shaken, TransferError> {
        let finished = self.handshake.finish();
        let (channel, facts) = finished.map_err(|error| handshake_failed(&error))?;
        Ok(Shaken { channel, facts, raw: self.raw, out: self.out })
    }
}

fn handshake_failed(error: &TlsError) -> TransferError {
    tracing::debug!(%error, "TLS handshake of a data connection");
    TransferError::HandshakeFailed
}

const HANDSHAKE_READ_BYTES: usize = 4 * 1024;
