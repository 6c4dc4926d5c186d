//! The handshake, driven by rustls, one record at a time.
//!
//! Application data may follow the client's Finished in the same segment, and belongs to our
//! record layer; so rustls is never shown a byte beyond the record at hand.
//!
//! When a handshake fails, the client gets an alert if one is due. rustls has its own for most
//! failures. Those for which it has none, or not the right one, are found before it sees a record
//! (`clear_records`) or where it opens one (`suites`).

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};
use rustls::{AlertDescription, HandshakeKind, ProtocolVersion, ServerConfig};

use super::channel::FATAL;
use super::clear_records::{ClearRecords, Show, Stage};
use super::probe::Probe;
use super::record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER_BYTES, Header};
use super::server::suite_name;
use super::suites::{misplaced, notice};
use super::{
    Channel, ClientCertificate, ControlSession, Purpose, Resumption, ServerTls, TicketMark,
    TlsError,
};
use crate::buffer::RecvBuffer;
use crate::limits::TLS_HANDSHAKE_BYTES_MAX;

/// How far a [`Handshake`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Send what was appended to `out`, then call again with more bytes.
    NeedBytes,
    /// Done. What was appended to `out` has still to be sent, best together with the first data.
    /// In TLS 1.3 the client can do without it, for it is tickets; in TLS 1.2 it cannot.
    Established,
}

/// The versions of TLS that the server supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// As the log and STAT name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        }
    }
}

/// What a finished handshake has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeFacts {
    /// The version agreed on.
    pub version: TlsVersion,
    /// IANA name of the cipher suite.
    pub cipher_suite: String,
    /// Name of the key exchange group; `None` when a TLS 1.2 session was resumed.
    pub group: Option<String>,
    /// Relation to an earlier session.
    pub resumption: Resumption,
    /// The ticket or session ID that was resumed.
    pub ticket: Option<TicketMark>,
    /// Server name the client asked for, lower case, without the root's dot.
    pub server_name: Option<String>,
    /// The client's certificate, if it has sent one that is accepted.
    pub client_certificate: Option<ClientCertificate>,
}

impl HandshakeFacts {
    /// Whether the key exchange holds out against a quantum computer (ML-KEM, FIPS 203).
    #[must_use]
    pub fn is_post_quantum(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.contains("MLKEM"))
    }
}

/// A TLS handshake in progress, as server.
pub struct Handshake {
    /// Made only when the ClientHello is there: its configuration depends on that, and a silent
    /// client costs less.
    connection: Option<UnbufferedServerConnection>,
    probe: Arc<Probe>,
    tls: Arc<ServerTls>,
    purpose: Purpose,
    /// Octets at the front of the inbound buffer that rustls has been shown and has not consumed.
    /// Invariant: the end of a record.
    offered: usize,
    /// Octets behind `offered` that rustls is shown together with the record that ends their
    /// message.
    withheld: usize,
    bytes_seen: usize,
    clear_records: ClearRecords,
    /// Whether what we send is sealed from here on.
    sealing: bool,
    /// TLS 1.2: whether what the client sends is sealed.
    client_sealing: bool,
    /// The client has been sent the alert for the failure.
    told: bool,
    established: bool,
    client_certificate: Option<ClientCertificate>,
    /// The error the handshake ended with; rustls is not to be called after one.
    failed: Option<TlsError>,
}

impl Handshake {
    /// Begins a handshake that sends nothing until a ClientHello arrives.
    ///
    /// `session` is the control session this connection is, or belongs to; a handshake on the
    /// control connection begins a new one. `preset_host` is the name HOST set before AUTH, used
    /// for the choice of certificate if the client sends no SNI.
    #[must_use]
    pub fn new(
        tls: &Arc<ServerTls>,
        purpose: Purpose,
        session: &Arc<ControlSession>,
        preset_host: Option<&str>,
    ) -> Self {
        Self {
            connection: None,
            probe: Arc::new(Probe::new(tls.shared(), purpose, session, preset_host)),
            tls: tls.clone(),
            purpose,
            offered: 0,
            withheld: 0,
            bytes_seen: 0,
            clear_records: ClearRecords::default(),
            sealing: false,
            client_sealing: false,
            told: false,
            established: false,
            client_certificate: None,
            failed: None,
        }
    }

    /// Takes whole records from the front of `inbound` until the handshake is done or more bytes
    /// are needed, and appends what is to be sent to `out`. Bytes behind the handshake stay.
    ///
    /// # Errors
    ///
    /// The handshake has failed. An alert that explains it was appended to `out`, if the peer
    /// sent TLS at all.
    pub fn advance(
        &mut self,
        inbound: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> Result<Progress, TlsError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let progress = self.drive(inbound, out);
        progress.inspect_err(|error| {
            if let Some(alert) = error.alert().filter(|_| !self.told) {
                self.tell(alert, inbound, out);
            }
            self.failed = Some(error.clone());
        })
    }

    /// Whether a first record of the client, its ClientHello or a part of it, has arrived whole.
    #[must_use]
    pub const fn has_hello(&self) -> bool {
        self.bytes_seen > 0
    }

    /// Whether what is still to be sent can wait: tickets of TLS 1.3, not the Finished of TLS 1.2.
    #[must_use]
    pub fn is_done_for_client(&self) -> bool {
        let version = self.connection.as_ref().and_then(|connection| connection.protocol_version());
        self.established && version == Some(ProtocolVersion::TLSv1_3)
    }

    /// Turns the established session over to our record layer.
    ///
    /// # Errors
    ///
    /// [`TlsError::NotEstablished`], or [`TlsError::Internal`].
    pub fn finish(mut self) -> Result<(Channel, HandshakeFacts), TlsError> {
        let Some(connection) = self.connection.take().filter(|_| self.established) else {
            return Err(TlsError::NotEstablished);
        };
        let facts = self.facts(&connection);
        let (secrets, schedule) =
            connection.dangerous_into_kernel_connection().map_err(TlsError::Handshake)?;
        // Sending may be handed to the kernel afterwards.
        let keep_send_secrets = self.purpose == Purpose::Data;
        Ok((Channel::new(secrets, schedule, keep_send_secrets)?, facts))
    }

    fn drive(&mut self, inbound: &mut RecvBuffer, out: &mut Vec<u8>) -> Result<Progress, TlsError> {
        while !self.established {
            match self.step(inbound, out)? {
                Step::Again => {}
                Step::Established => self.establish(out)?,
                Step::Blocked => {
                    if !self.offer_record(inbound)? {
                        return Ok(Progress::NeedBytes);
                    }
                }
            }
        }
        Ok(Progress::Established)
    }

    /// Lets rustls do one thing.
    fn step(&mut self, inbound: &mut RecvBuffer, out: &mut Vec<u8>) -> Result<Step, TlsError> {
        let Some(connection) = &mut self.connection else { return Ok(Step::Blocked) };
        self.probe.note(connection.handshake_kind());
        let status = connection.process_tls_records(&mut inbound.filled_mut()[..self.offered]);
        let discard = status.discard;
        let sent = out.len();
        let step = match status.state {
            Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out).map(|()| Step::Again),
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                transmit.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
            Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Established),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                Err(TlsError::ClosedInHandshake)
            }
            Ok(_) => Err(TlsError::Internal("application data inside the handshake")),
            Err(error) => Err(TlsError::Handshake(error)),
        };
        inbound.consume(discard);
        self.offered -= discard;
        self.sealing |= seals(&out[sent..], connection.protocol_version());
        match step {
            Ok(Step::Established) if connection.is_handshaking() => {
                // rustls allows data before the client's Finished; the server sends none so early.
                Ok(Step::Blocked)
            }
            Ok(Step::Established) if self.offered > 0 => Err(TlsError::TrailingHandshakeBytes),
            Err(TlsError::Handshake(error)) => {
                self.collect_alert(out);
                Err(match error {
                    rustls::Error::AlertReceived(alert) => TlsError::AlertReceived(alert),
                    error if error == misplaced() => TlsError::UnexpectedInHandshake,
                    error => TlsError::Handshake(error),
                })
            }
            step => step,
        }
    }

    /// Shows rustls one record more, or several that make one message. `false` when it has not
    /// arrived completely.
    fn offer_record(&mut self, inbound: &RecvBuffer) -> Result<bool, TlsError> {
        let stage = self.stage();
        loop {
            let bytes = &inbound.filled()[self.offered + self.withheld..];
            if self.bytes_seen == 0 {
                refuse_other_protocols(bytes)?;
            }
            let Some(header) = Header::parse(bytes) else { return Ok(false) };
            stage.check(header)?;
            let length = HEADER_BYTES + header.length;
            if self.bytes_seen + length > TLS_HANDSHAKE_BYTES_MAX {
                return Err(TlsError::HandshakeTooLong);
            }
            let Some(record) = bytes.get(..length) else { return Ok(false) };
            let content = &record[HEADER_BYTES..];
            begin(&mut self.connection, || {
                self.tls.config_for(self.purpose, content, self.probe.clone())
            })?;
            self.bytes_seen += length;
            let show = self.clear_records.judge(stage, header.kind, content)?;
            self.withheld += length;
            if show == Show::Now {
                self.client_sealing |=
                    stage == Stage::Tls12Clear && header.kind == CHANGE_CIPHER_SPEC;
                self.offered += std::mem::take(&mut self.withheld);
                return Ok(true);
            }
        }
    }

    fn stage(&self) -> Stage {
        let version = self.connection.as_ref().and_then(|connection| connection.protocol_version());
        match version {
            Some(ProtocolVersion::TLSv1_3) if self.sealing => Stage::Tls13Sealed,
            Some(ProtocolVersion::TLSv1_2) if self.client_sealing => Stage::Tls12Sealed,
            Some(ProtocolVersion::TLSv1_2) => Stage::Tls12Clear,
            _ => Stage::Hello,
        }
    }

    /// Completes the handshake after rustls has: our own checks.
    fn establish(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let Some(connection) = &self.connection else { return Err(TlsError::NotEstablished) };
        match self.judge_certificate(connection.peer_certificates()) {
            Ok(certificate) => self.client_certificate = certificate,
            Err(error) => {
                self.told = true;
                if let Some(connection) = self.connection.take()
                    && let Ok((secrets, schedule)) = connection.dangerous_into_kernel_connection()
                    && let Ok(mut channel) = Channel::new(secrets, schedule, false)
                {
                    channel.explain(&error, out);
                }
                return Err(error);
            }
        }
        self.established = true;
        Ok(())
    }

    /// Appends the alert that tells the client why the handshake has failed. If we send in clear,
    /// the record is made here: rustls has made none since, and will make none. Otherwise rustls
    /// has to seal it, since it holds the keys and the number of the next record: it is shown a
    /// record that it refuses with this alert.
    fn tell(&mut self, alert: AlertDescription, inbound: &RecvBuffer, out: &mut Vec<u8>) {
        self.told = true;
        if !self.sealing {
            out.extend_from_slice(&[ALERT, 3, 3, 0, 2, FATAL, u8::from(alert)]);
            return;
        }
        let stage = self.stage();
        // rustls cannot be made to send `internal_error`.
        let sayable = alert != AlertDescription::InternalError;
        let Some(connection) = self.connection.as_mut().filter(|_| sayable) else { return };
        // rustls has to be shown again the part of a message that it has seen.
        let mut records = inbound.filled()[..self.offered].to_vec();
        if stage == Stage::Tls12Clear {
            // We seal, and the client does not yet: a resumed session.
            records.extend_from_slice(&[CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1]);
        }
        records.extend_from_slice(&notice(alert));
        let refused = connection.process_tls_records(&mut records).state.is_err();
        if refused {
            self.collect_alert(out);
        }
    }

    /// After an error rustls may have an alert ready. It is shown no input again: it would judge
    /// the same bytes twice, and asserts that it never does.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        let Some(connection) = &mut self.connection else { return };
        while connection.wants_write() {
            let sent = out.len();
            let encoded = match connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out).is_ok(),
                _ => false,
            };
            self.sealing |= seals(&out[sent..], connection.protocol_version());
            if !encoded {
                return;
            }
            self.told = true;
        }
    }

    fn facts(&mut self, connection: &UnbufferedServerConnection) -> HandshakeFacts {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        HandshakeFacts {
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
                _ => TlsVersion::Tls12,
            },
            cipher_suite: connection.negotiated_cipher_suite().map(suite_name).unwrap_or_default(),
            group: connection
                .negotiated_key_exchange_group()
                .and_then(|group| group.name().as_str().map(str::to_owned)),
            resumption: self.probe.resumption(resumed),
            ticket: self.probe.mark().filter(|_| resumed),
            server_name: self.probe.server_name().map(str::to_owned),
            client_certificate: self.client_certificate.take(),
        }
    }

    /// Judges the certificate by today's rules: a ticket brings back the chain of the session it
    /// was made in, and time may have passed or the rules may have changed since.
    fn judge_certificate(
        &self,
        chain: Option<&[CertificateDer<'static>]>,
    ) -> Result<Option<ClientCertificate>, TlsError> {
        let Some((end_entity, intermediates)) = chain.and_then(<[_]>::split_first) else {
            return Ok(None);
        };
        let Some(trust) = self.tls.client_trust() else { return Ok(None) };
        trust
            .judge(end_entity, intermediates, self.tls.shared().clock.unix_time())
            .map(|trusted| Some(ClientCertificate::new(end_entity, trusted)))
            .map_err(TlsError::ClientCertificate)
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("offered", &self.offered)
            .field("bytes_seen", &self.bytes_seen)
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

enum Step {
    Again,
    Blocked,
    Established,
}

fn begin(
    connection: &mut Option<UnbufferedServerConnection>,
    config: impl FnOnce() -> Arc<ServerConfig>,
) -> Result<(), TlsError> {
    if connection.is_none() {
        let begun = UnbufferedServerConnection::new(config()).map_err(TlsError::Handshake)?;
        *connection = Some(begun);
    }
    Ok(())
}

/// Appends one piece of rustls' output to `out`.
fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), TlsError> {
    let start = out.len();
    let needed = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(room)) => room.required_size,
        Err(EncodeError::AlreadyEncoded) => return Err(TlsError::Internal("encoded twice")),
    };
    out.resize(start + needed, 0);
    data.encode(&mut out[start..]).map(drop).map_err(|_| TlsError::Internal("encoding failed"))
}

/// Whether the first of `records`, or one behind it, is sealed, or what follows them is.
fn seals(mut records: &[u8], version: Option<ProtocolVersion>) -> bool {
    let sign = match version {
        Some(ProtocolVersion::TLSv1_3) => APPLICATION_DATA,
        Some(ProtocolVersion::TLSv1_2) => CHANGE_CIPHER_SPEC,
        _ => return false,
    };
    while let Some(header) = Header::parse(records) {
        if header.kind == sign {
            return true;
        }
        records = records.get(HEADER_BYTES + header.length..).unwrap_or_default();
    }
    false
}

/// The first record of a client is a handshake record. Another one of TLS gets its alert; anything
/// else is no TLS (`USER …`, `GET …`, SSLv2) and is refused at its first byte rather than at a
/// deadline.
fn refuse_other_protocols(bytes: &[u8]) -> Result<(), TlsError> {
    match *bytes {
        [] | [CHANGE_CIPHER_SPEC..=APPLICATION_DATA] | [HANDSHAKE, 3, ..] => Ok(()),
        [kind, 3, 0..=4, ..] => Err(TlsError::UnexpectedRecord { kind }),
        [first, ..] => Err(TlsError::NotTls { first }),
    }
}
