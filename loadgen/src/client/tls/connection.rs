//! TLS of a connection behind its handshake: what records mean.

use std::fmt;

use rustls::{
    AlertDescription, ExtractedSecrets, InvalidMessage, PeerMisbehaved, ProtocolVersion,
    client::ClientConnectionData, kernel::KernelConnection, pki_types::CertificateDer,
};

use super::record::{
    ALERT, APPLICATION_DATA, CONTENT_MAX, HANDSHAKE, Keys, OVERHEAD_MAX, RECORD_MAX, length,
};
use crate::measure::{Channel, Resumption, TlsHandshake, TlsNames};

/// Handshake messages that may come now (RFC 8446 §4.6, RFC 5246 §7.4.1.1).
const HELLO_REQUEST: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// A message longer than any that a server sends now, octets.
const MESSAGE_MAX: usize = 1 << 16;

const MESSAGE_HEADER: usize = 4;

const WARNING: u8 = 1;

/// Alerts that are no end, and more of them than a server has a reason for (RFC 5246 §7.2).
const WARNINGS_MAX: u8 = 4;

/// What a handshake has agreed on.
pub(super) struct Session {
    pub(super) names: TlsNames,
    pub(super) resumption: Resumption,
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// TLS of one connection, which the handshake has opened.
pub struct TlsClient {
    session: Session,
    version: ProtocolVersion,
    /// The key schedule, and where tickets go.
    schedule: KernelConnection<ClientConnectionData>,
    sealer: Keys,
    opener: Keys,
    /// Records that may be sealed under one key.
    pub(super) limit: u64,
    /// Octets of the wire that have come and have not been opened.
    pending: Vec<u8>,
    /// The begin of a handshake message.
    message: Vec<u8>,
    /// New keys to send with are owed to the server (RFC 8446 §4.6.3).
    owes_update: bool,
    warnings: u8,
    sent_close: bool,
    closed: bool,
}

impl TlsClient {
    pub(super) fn new(
        session: Session,
        secrets: ExtractedSecrets,
        schedule: KernelConnection<ClientConnectionData>,
        limit: u64,
        pending: Vec<u8>,
    ) -> Result<Self, rustls::Error> {
        let version = schedule.protocol_version();
        Ok(Self {
            session,
            version,
            sealer: Keys::new(version, &secrets.tx)?,
            opener: Keys::new(version, &secrets.rx)?,
            schedule,
            limit,
            pending,
            message: Vec::new(),
            owes_update: false,
            warnings: 0,
            sent_close: false,
            closed: false,
        })
    }

    /// Octets that have to stand before those that come next, in what [`Self::receive`] is given;
    /// fewer than [`Self::PENDING_MAX`] once it has been called.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// More than [`Self::pending`] can be after [`Self::receive`].
    pub const PENDING_MAX: usize = RECORD_MAX;

    /// Opens what came with the last octets of the handshake. Whether there was anything.
    ///
    /// # Errors
    ///
    /// As [`Self::receive`].
    pub fn receive_early(&mut self, sink: impl FnMut(&[u8])) -> Result<bool, rustls::Error> {
        if length(&self.pending)?.is_none() {
            return Ok(false);
        }
        let mut early = std::mem::take(&mut self.pending);
        self.receive(&mut early, sink)?;
        Ok(true)
    }

    /// Opens the records in `wire`, where they are, and gives each piece of plaintext to `sink`.
    /// `wire` begins with [`Self::pending`].
    ///
    /// # Errors
    ///
    /// What the server did wrong, or the alert that it sent.
    pub fn receive(
        &mut self,
        mut wire: &mut [u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(), rustls::Error> {
        // What follows a close_notify is ignored (RFC 8446 §6.1).
        while !self.closed
            && let Some(length) = length(wire)?
        {
            let (record, behind) = wire.split_at_mut(length);
            wire = behind;
            let (kind, content) = self.opener.open(record)?;
            if !self.message.is_empty() && kind != HANDSHAKE {
                return Err(PeerMisbehaved::MessageInterleavedWithHandshakeMessage.into());
            }
            match kind {
                APPLICATION_DATA => sink(content),
                HANDSHAKE => self.receive_handshake(content)?,
                ALERT => self.receive_alert(content)?,
                _ => return Err(InvalidMessage::InvalidContentType.into()),
            }
        }
        self.pending.clear();
        if !self.closed {
            self.pending.extend_from_slice(wire);
        }
        Ok(())
    }

    fn receive_handshake(&mut self, content: &[u8]) -> Result<(), rustls::Error> {
        let mut message = std::mem::take(&mut self.message);
        message.extend_from_slice(content);
        let mut rest = message.as_slice();
        while let Some((&[kind, high, middle, low], behind)) =
            rest.split_first_chunk::<MESSAGE_HEADER>()
        {
            let length = u32::from_be_bytes([0, high, middle, low]) as usize;
            if length > MESSAGE_MAX {
                return Err(InvalidMessage::HandshakePayloadTooLarge.into());
            }
            let Some((body, behind)) = behind.split_at_checked(length) else { break };
            rest = behind;
            self.receive_message(kind, body, rest.is_empty())?;
        }
        let left = rest.len();
        message.drain(..message.len() - left);
        self.message = message;
        Ok(())
    }

    fn receive_message(
        &mut self,
        kind: u8,
        body: &[u8],
        ends_record: bool,
    ) -> Result<(), rustls::Error> {
        match (self.version, kind) {
            (ProtocolVersion::TLSv1_3, NEW_SESSION_TICKET) => {
                self.schedule.handle_new_session_ticket(body)
            }
            (ProtocolVersion::TLSv1_3, KEY_UPDATE) => {
                let &[request @ (0 | 1)] = body else {
                    return Err(InvalidMessage::InvalidKeyUpdate.into());
                };
                if !ends_record {
                    return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
                }
                self.opener = Keys::new(self.version, &self.schedule.update_rx_secret()?)?;
                self.owes_update |= request == 1;
                Ok(())
            }
            // A server that would like to handshake again, which it may be refused.
            (ProtocolVersion::TLSv1_2, HELLO_REQUEST) => self.warned(),
            _ => {
                let text = format!("a handshake message of type {kind} behind the handshake");
                Err(rustls::Error::General(text))
            }
        }
    }

    fn receive_alert(&mut self, content: &[u8]) -> Result<(), rustls::Error> {
        let &[level, description] = content else {
            return Err(InvalidMessage::MessageTooShort.into());
        };
        let description = AlertDescription::from(description);
        match description {
            AlertDescription::CloseNotify => {
                self.closed = true;
                Ok(())
            }
            // In TLS 1.3 all others are fatal, whatever their level says.
            AlertDescription::UserCanceled => self.warned(),
            _ if level == WARNING && self.version == ProtocolVersion::TLSv1_2 => self.warned(),
            _ => Err(rustls::Error::AlertReceived(description)),
        }
    }

    const fn warned(&mut self) -> Result<(), rustls::Error> {
        self.warnings += 1;
        if self.warnings > WARNINGS_MAX {
            return Err(rustls::Error::PeerMisbehaved(
                PeerMisbehaved::TooManyWarningAlertsReceived,
            ));
        }
        Ok(())
    }

    /// Whether the server's close_notify has come.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether [`Self::seal_owed`] has something to say.
    #[must_use]
    pub const fn owes(&self) -> bool {
        self.owes_update
    }

    /// Seals `plain` at the front of `wire`, which grows as needed, and returns how many octets
    /// are to be sent.
    ///
    /// # Errors
    ///
    /// The key has sealed as much as it may, in TLS 1.2, where there is no other.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<usize, rustls::Error> {
        let pieces = plain.len().div_ceil(CONTENT_MAX);
        // With room for a change of keys.
        let room = plain.len() + (pieces + 1) * OVERHEAD_MAX + CONTENT_OF_UPDATE.len();
        if wire.len() < room {
            wire.resize(room, 0);
        }
        if self.sealer.sequence() + pieces as u64 >= self.limit {
            self.owes_update = true;
        }
        let mut end = self.seal_owed(wire)?;
        for content in plain.chunks(CONTENT_MAX) {
            end += self.sealer.seal(APPLICATION_DATA, content, &mut wire[end..])?;
        }
        Ok(end)
    }

    /// As [`Self::seal`], for what the server is owed.
    ///
    /// # Errors
    ///
    /// As [`Self::seal`].
    pub fn seal_owed(&mut self, wire: &mut Vec<u8>) -> Result<usize, rustls::Error> {
        if !std::mem::take(&mut self.owes_update) {
            return Ok(0);
        }
        if self.version != ProtocolVersion::TLSv1_3 {
            return Err(rustls::Error::EncryptError);
        }
        let length = self.seal_one(HANDSHAKE, &CONTENT_OF_UPDATE, wire)?;
        self.sealer = Keys::new(self.version, &self.schedule.update_tx_secret()?)?;
        Ok(length)
    }

    /// As [`Self::seal`], a close_notify (RFC 8446 §6.1), the first time.
    ///
    /// # Errors
    ///
    /// None in practice.
    pub fn seal_close(&mut self, wire: &mut Vec<u8>) -> Result<usize, rustls::Error> {
        if std::mem::replace(&mut self.sent_close, true) {
            return Ok(0);
        }
        self.seal_one(ALERT, &[WARNING, AlertDescription::CloseNotify.into()], wire)
    }

    fn seal_one(
        &mut self,
        kind: u8,
        content: &[u8],
        wire: &mut Vec<u8>,
    ) -> Result<usize, rustls::Error> {
        let room = content.len() + OVERHEAD_MAX;
        if wire.len() < room {
            wire.resize(room, 0);
        }
        self.sealer.seal(kind, content, wire)
    }

    /// The certificate that the server showed, in its DER form.
    #[must_use]
    pub fn certificate(&self) -> Option<&[u8]> {
        self.session.certificate.as_deref()
    }

    /// What was negotiated.
    #[must_use]
    pub const fn facts(&self, channel: Channel) -> TlsHandshake {
        let Session { names, resumption, .. } = self.session;
        TlsHandshake { channel, names, resumption }
    }
}

/// A KeyUpdate that asks for none in return (RFC 8446 §4.6.3).
const CONTENT_OF_UPDATE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("names", &self.session.names).finish_non_exhaustive()
    }
}
