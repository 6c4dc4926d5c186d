//! One connection's ear inside rustls: it chooses the certificate, makes and reads the tickets,
//! and remembers what it saw.
//!
//! rustls' unbuffered server connection tells neither the server name nor which session was
//! resumed. Both pass through callbacks of its configuration, so every connection gets its own
//! callback object. It is written once per value, by the thread that drives the connection.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::server::Shared;
use super::ticket::{StepKey, TicketRefused};
use super::{ServerTls, TlsError};

/// Names one control session; the tickets it hands out carry it (RFC 4217 §10.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId([u8; Self::BYTES]);

impl SessionId {
    /// Octets of an id.
    pub const BYTES: usize = 16;

    /// A new id that nobody can guess.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn random() -> Result<Self, TlsError> {
        let mut id = [0; Self::BYTES];
        rand::fill(&mut id).map_err(|_| TlsError::Internal("no random numbers"))?;
        Ok(Self(id))
    }

    /// The id of these octets.
    #[must_use]
    pub const fn from_bytes(id: [u8; Self::BYTES]) -> Self {
        Self(id)
    }

    /// Its octets.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// How a handshake relates to an earlier session. The text is meant for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Resumed, and the ticket was issued by this control session.
    ThisSession,
    /// Resumed, but the ticket was issued by another control session.
    OtherSession,
    /// Full handshake: tickets are switched off.
    Off,
    /// Full handshake: the client offered no ticket.
    NotOffered,
    /// Full handshake: the ticket is too old or of another secret.
    ExpiredOrUnknownKey,
    /// Full handshake: the ticket is none of ours.
    Malformed,
    /// Full handshake although the ticket is good: rustls declines when server name, cipher suite
    /// or extended master secret differ.
    Declined,
}

impl Resumption {
    /// Whether the data connection belongs to this control session beyond doubt.
    #[must_use]
    pub const fn is_this_session(self) -> bool {
        matches!(self, Self::ThisSession)
    }
}

impl fmt::Display for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisSession => "resumed",
            Self::OtherSession => "ticket of another session",
            Self::Off => "resumption is off",
            Self::NotOffered => "no ticket offered",
            Self::ExpiredOrUnknownKey => "ticket expired or key unknown",
            Self::Malformed => "ticket malformed",
            Self::Declined => {
                "ticket fine but declined: server name, suite or extended master secret differs"
            }
        })
    }
}

/// What the last ticket looked at was.
const TICKET_NONE: u8 = 0;
const TICKET_EXPIRED: u8 = 1;
const TICKET_MALFORMED: u8 = 2;
const TICKET_OTHER: u8 = 3;
const TICKET_THIS: u8 = 4;

/// See the module's head.
pub(super) struct Probe {
    shared: Arc<Shared>,
    id: SessionId,
    preset_host: Option<String>,
    server_name: OnceLock<String>,
    seal_key: OnceLock<Option<StepKey>>,
    ticket: AtomicU8,
}

impl Probe {
    pub(super) fn new(tls: &ServerTls, id: SessionId, preset_host: Option<&str>) -> Self {
        Self {
            shared: tls.shared(),
            id,
            preset_host: preset_host.map(str::to_ascii_lowercase),
            server_name: OnceLock::new(),
            seal_key: OnceLock::new(),
            ticket: AtomicU8::new(TICKET_NONE),
        }
    }

    /// The server name the client asked for, lower case.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.get().map(String::as_str)
    }

    /// `resumed` is rustls' own word on the handshake.
    pub(super) fn resumption(&self, resumed: bool) -> Resumption {
        // rustls looks at the offered tickets in turn and stops at the one it takes, so the last
        // one looked at is the one that counts.
        match (self.ticket.load(Ordering::Relaxed), resumed) {
            (TICKET_THIS, true) => Resumption::ThisSession,
            (_, true) => Resumption::OtherSession,
            (TICKET_THIS | TICKET_OTHER, false) => Resumption::Declined,
            (TICKET_EXPIRED, false) => Resumption::ExpiredOrUnknownKey,
            (TICKET_MALFORMED, false) => Resumption::Malformed,
            (_, false) if self.shared.tickets.is_none() => Resumption::Off,
            (_, false) => Resumption::NotOffered,
        }
    }
}

impl ResolvesServerCert for Probe {
    /// By server name, else by the name HOST set before AUTH, else the first; among those that
    /// match, the first whose key can sign what the client accepts.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let sni = hello.server_name().map(str::to_ascii_lowercase);
        let name = sni.as_deref().or(self.preset_host.as_deref());
        let certificates = &self.shared.certificates;
        let signs = |index: &usize| {
            let key = &certificates[*index].certified().key;
            key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = |index: &usize| name.is_some_and(|name| certificates[*index].is_for(name));
        let all = 0..certificates.len();
        let chosen = all
            .clone()
            .filter(named)
            .find(signs)
            .or_else(|| all.clone().find(named))
            .or_else(|| all.clone().find(signs))
            .unwrap_or(0);
        if let Some(sni) = sni {
            // A second ClientHello (HelloRetryRequest) repeats the name.
            let _ = self.server_name.set(sni);
        }
        certificates.get(chosen).map(|certificate| certificate.certified().clone())
    }
}

impl ProducesTickets for Probe {
    fn enabled(&self) -> bool {
        self.shared.tickets.is_some()
    }

    fn lifetime(&self) -> u32 {
        self.shared.ticket_lifetime_seconds
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.shared.tickets.as_ref()?;
        let key = self.seal_key.get_or_init(|| keys.current(self.shared.clock.unix_time()));
        key.as_ref()?.seal(self.id, session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.shared.tickets.as_ref()?;
        let (seen, session) = match keys.open(self.shared.clock.unix_time(), ticket) {
            Ok((id, session)) if id == self.id => (TICKET_THIS, Some(session)),
            Ok((_, session)) => (TICKET_OTHER, Some(session)),
            Err(TicketRefused::ExpiredOrUnknownKey) => (TICKET_EXPIRED, None),
            Err(TicketRefused::Malformed) => (TICKET_MALFORMED, None),
        };
        self.ticket.store(seen, Ordering::Relaxed);
        session
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("id", &self.id)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
