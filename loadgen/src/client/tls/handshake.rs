//! The handshake, by the library. What comes behind it is for our own records, so the library is
//! shown one record at a time.

use std::fmt;

use rustls::{
    HandshakeKind, ProtocolVersion,
    client::{ClientConnectionData, UnbufferedClientConnection},
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData},
};

use super::{TlsClient, connection::Session, record};
use crate::{
    client::key_kind,
    measure::{Resumption, TlsNames},
};

/// A handshake in progress.
pub struct ClientHandshake {
    connection: UnbufferedClientConnection,
    /// A session was offered to be resumed.
    offered: bool,
    /// Octets of the wire that have not been used.
    incoming: Vec<u8>,
    /// How many of them the library has been shown. Invariant: whole records.
    shown: usize,
}

enum Step {
    Again,
    Blocked,
    Done,
}

impl ClientHandshake {
    /// Begins one; `offered` says whether its ClientHello offers a session.
    pub(super) const fn new(connection: UnbufferedClientConnection, offered: bool) -> Self {
        Self { connection, offered, incoming: Vec::new(), shown: 0 }
    }

    /// Takes octets of the wire.
    pub fn receive(&mut self, wire: &[u8]) {
        self.incoming.extend_from_slice(wire);
    }

    /// Goes on as far as it can, and appends what is to be sent to `out`. Whether it is done: then
    /// [`Self::finish`].
    ///
    /// # Errors
    ///
    /// The library's; the alert that explains it to the server is in `out`.
    pub fn advance(&mut self, out: &mut Vec<u8>) -> Result<bool, rustls::Error> {
        loop {
            let status = self.connection.process_tls_records(&mut self.incoming[..self.shown]);
            let discard = status.discard;
            let step = match status.state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out).map(|()| Step::Again),
                Ok(ConnectionState::TransmitTlsData(transmit)) => {
                    transmit.done();
                    Ok(Step::Again)
                }
                Ok(ConnectionState::BlockedHandshake) => Ok(Step::Blocked),
                Ok(ConnectionState::WriteTraffic(_)) => Ok(Step::Done),
                Ok(_) => Err(rustls::Error::HandshakeNotComplete),
                Err(error) => Err(error),
            };
            self.incoming.drain(..discard);
            self.shown -= discard;
            match step {
                Ok(Step::Again) => {}
                Ok(Step::Done) if !self.connection.is_handshaking() => return self.is_even(),
                Ok(Step::Done | Step::Blocked) => {
                    if !self.show_record() {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    self.collect_alert(out);
                    return Err(error);
                }
            }
        }
    }

    /// The last message of the handshake ends its record: what is behind it has other keys.
    fn is_even(&self) -> Result<bool, rustls::Error> {
        if self.shown == 0 {
            return Ok(true);
        }
        Err(rustls::PeerMisbehaved::KeyEpochWithPendingFragment.into())
    }

    /// Shows the library one record more; `false` when none has come whole. What is no record at
    /// all it is to judge at once.
    fn show_record(&mut self) -> bool {
        let unseen = &self.incoming[self.shown..];
        let length = match record::length(unseen) {
            Ok(None) => return false,
            Ok(Some(length)) => length,
            Err(_) => unseen.len(),
        };
        self.shown += length;
        true
    }

    /// After an error the library may have an alert ready.
    fn collect_alert(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let encoded = match self.connection.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, out).is_ok(),
                _ => false,
            };
            if !encoded {
                return;
            }
        }
    }

    /// Turns the session over to our own records, with what has come of them already.
    ///
    /// # Errors
    ///
    /// The library's: the handshake is not done, or has agreed on what we cannot seal.
    pub fn finish(self) -> Result<TlsClient, rustls::Error> {
        let session = self.session();
        let suite = self.connection.negotiated_cipher_suite();
        let limit = suite.map_or(0, record::limit);
        let (secrets, schedule) = self.connection.dangerous_into_kernel_connection()?;
        TlsClient::new(session, secrets, schedule, limit, self.incoming)
    }

    /// What has been agreed on.
    fn session(&self) -> Session {
        let connection = &self.connection;
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "unknown",
        };
        let suite = connection.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let group = connection.negotiated_key_exchange_group();
        let group = group.and_then(|group| group.name().as_str()).unwrap_or("none");
        let resumption = match (connection.handshake_kind(), self.offered) {
            (Some(HandshakeKind::Resumed), _) => Resumption::Resumed,
            (_, true) => Resumption::Declined,
            (_, false) => Resumption::NotOffered,
        };
        let certificate = connection.peer_certificates().and_then(|chain| chain.first()).cloned();
        let kind = certificate.as_deref().map_or("unknown", key_kind);
        let names = TlsNames { version, suite, group, certificate: kind };
        Session { names, resumption, certificate }
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake").field("shown", &self.shown).finish_non_exhaustive()
    }
}

/// Appends a record of the library's.
fn encode(
    mut data: EncodeTlsData<'_, ClientConnectionData>,
    out: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let begin = out.len();
    let fault = |error: EncodeError| rustls::Error::General(error.to_string());
    let needed = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(wanted)) => wanted.required_size,
        Err(error) => return Err(fault(error)),
    };
    out.resize(begin + needed, 0);
    let length = data.encode(&mut out[begin..]).map_err(fault)?;
    out.truncate(begin + length);
    Ok(())
}
