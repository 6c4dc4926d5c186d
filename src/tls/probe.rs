//! Callbacks of one connection inside rustls: choose the certificate, make and read tickets, and
//! record what rustls does not report.
//!
//! rustls' unbuffered server connection tells neither the server name nor which session was
//! resumed. Both pass through callbacks of its configuration, so every connection gets its own
//! callback object. It is written once per value, by the thread that drives the connection.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::HandshakeKind;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert, StoresServerSessions};
use rustls::sign::CertifiedKey;

use super::ControlSession;
use super::new_session_ticket::{Derived, TicketSource};
use super::shared::{Purpose, Shared};
use super::ticket::{StepKey, TicketRefused};

/// How a handshake relates to an earlier session. The text is meant for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// Resumed, and the ticket or the session ID was issued by this control session.
    ThisSession,
    /// Resumed, but the ticket was issued by another control session, of the same user.
    SameUser,
    /// Resumed, but the ticket was issued by another control session.
    OtherSession,
    /// Full handshake: resumption is switched off.
    Off,
    /// Full handshake: the client offered neither ticket nor session ID.
    NotOffered,
    /// Full handshake: the TLS 1.2 session ID is not of this control session. A client that would
    /// also speak TLS 1.3 may have made it up (RFC 8446 §D.4).
    UnknownSessionId,
    /// Full handshake: the ticket is too old or of another secret.
    ExpiredOrUnknownKey,
    /// Full handshake: the ticket is none of ours.
    Malformed,
    /// Full handshake although the session is known: rustls declines when server name, cipher suite
    /// or extended master secret differ.
    Declined,
}

impl Resumption {
    /// Whether the data connection belongs to this control session beyond doubt.
    #[must_use]
    pub const fn is_this_session(self) -> bool {
        matches!(self, Self::ThisSession)
    }

    /// Whether any earlier session was resumed.
    #[must_use]
    pub const fn is_resumed(self) -> bool {
        matches!(self, Self::ThisSession | Self::SameUser | Self::OtherSession)
    }
}

impl fmt::Display for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisSession => "resumed",
            Self::SameUser => "ticket of another session of this user",
            Self::OtherSession => "ticket of another session",
            Self::Off => "resumption is off",
            Self::NotOffered => "no ticket offered",
            Self::UnknownSessionId => "session ID unknown",
            Self::ExpiredOrUnknownKey => "ticket expired or key unknown",
            Self::Malformed => "ticket malformed",
            Self::Declined => {
                "session known but declined: server name, suite or extended master secret differs"
            }
        })
    }
}

/// Tells a ticket or session ID from others, without being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketMark(u64);

impl TicketMark {
    /// Of these octets, the end of which is the tag of a ticket, or random.
    #[must_use]
    pub fn of(ticket: &[u8]) -> Self {
        let mut mark = [0; size_of::<u64>()];
        for (mark, octet) in mark.iter_mut().zip(ticket.iter().rev()) {
            *mark = *octet;
        }
        Self(u64::from_le_bytes(mark))
    }
}

/// How the last ticket or session ID was judged.
const OFFERED_NONE: u8 = 0;
const OFFERED_EXPIRED: u8 = 1;
const OFFERED_MALFORMED: u8 = 2;
const OFFERED_UNKNOWN_ID: u8 = 3;
const OFFERED_OTHER: u8 = 4;
const OFFERED_SAME_USER: u8 = 5;
const OFFERED_THIS: u8 = 6;

/// See the module's head.
pub(super) struct Probe {
    shared: Arc<Shared>,
    session: Arc<ControlSession>,
    purpose: Purpose,
    preset_host: Option<String>,
    server_name: OnceLock<String>,
    seal_key: OnceLock<Option<StepKey>>,
    offered: AtomicU8,
    /// The mark of that ticket or session ID; 0 is none.
    mark: AtomicU64,
    /// rustls has settled on a full handshake.
    full: AtomicBool,
    /// rustls has asked whether there are tickets.
    asked: AtomicBool,
    /// This is a handshake of TLS 1.2 whose client wants to resume.
    resuming_tls12: AtomicBool,
}

impl Probe {
    pub(super) fn new(
        shared: Arc<Shared>,
        purpose: Purpose,
        session: &Arc<ControlSession>,
        preset_host: Option<&str>,
    ) -> Self {
        Self {
            shared,
            session: session.clone(),
            purpose,
            preset_host: preset_host.map(str::to_ascii_lowercase),
            server_name: OnceLock::new(),
            seal_key: OnceLock::new(),
            offered: AtomicU8::new(OFFERED_NONE),
            mark: AtomicU64::new(0),
            full: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            resuming_tls12: AtomicBool::new(false),
        }
    }

    /// Records how far rustls has come; call before it is given more octets.
    pub(super) fn note(&self, kind: Option<HandshakeKind>) {
        let full = !matches!(kind, None | Some(HandshakeKind::Resumed));
        self.full.store(full, Ordering::Relaxed);
    }

    /// Whether this connection may be given a ticket that proves it belongs to the control session.
    /// A data connection must have proved that itself: otherwise anyone who reached the passive
    /// port first would be refused once, but keep a ticket that proves it the next time.
    fn may_have_ticket(&self) -> bool {
        self.purpose == Purpose::Control
            || (self.offered.load(Ordering::Relaxed) == OFFERED_THIS
                && !self.full.load(Ordering::Relaxed))
    }

    fn looked_at(&self, ticket: &[u8], seen: u8) {
        self.offered.store(seen, Ordering::Relaxed);
        self.mark.store(TicketMark::of(ticket).0, Ordering::Relaxed);
    }

    /// What the last ticket looked at was, so that it is known again.
    pub(super) fn mark(&self) -> Option<TicketMark> {
        Some(TicketMark(self.mark.load(Ordering::Relaxed))).filter(|mark| mark.0 != 0)
    }

    /// The server name the client asked for, lower case, without the root's dot.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.get().map(String::as_str)
    }

    /// How this handshake relates to an earlier session; `resumed` is what rustls reports.
    pub(super) fn resumption(&self, resumed: bool) -> Resumption {
        // rustls looks at the offered tickets in turn and stops at the one it takes, so the last
        // one looked at is the one that counts.
        match (self.offered.load(Ordering::Relaxed), resumed) {
            (OFFERED_THIS, true) => Resumption::ThisSession,
            (OFFERED_SAME_USER, true) => Resumption::SameUser,
            (_, true) => Resumption::OtherSession,
            (OFFERED_THIS | OFFERED_SAME_USER | OFFERED_OTHER, false) => Resumption::Declined,
            (OFFERED_EXPIRED, false) => Resumption::ExpiredOrUnknownKey,
            (OFFERED_MALFORMED, false) => Resumption::Malformed,
            (OFFERED_UNKNOWN_ID, false) => Resumption::UnknownSessionId,
            (_, false) if self.shared.tickets.is_none() => Resumption::Off,
            (_, false) => Resumption::NotOffered,
        }
    }
}

impl ResolvesServerCert for Probe {
    /// By server name, else by that of the control connection: the name of its own handshake, or
    /// the one HOST set before AUTH. Of several that are for the name, the first whose key can
    /// sign what the client accepts. A name that none is for gets the default one, like no name:
    /// an end by unrecognized_name (RFC 6066 §3) would shut out the clients that connect by an
    /// alias and check no name.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has made it lower case.
        let sni = hello.server_name().map(|name| name.strip_suffix('.').unwrap_or(name));
        let preset = self.preset_host.as_deref();
        let name = match self.purpose {
            Purpose::Control => {
                let name = sni.or(preset);
                self.session.begin(name);
                name
            }
            Purpose::Data => sni.or_else(|| self.session.name()),
        };
        let certificates = &self.shared.certificates;
        let signs = |index: &usize| {
            let key = &certificates[*index].certified().key;
            key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let named = name.map(|name| self.shared.names.find(name)).into_iter().flatten();
        let chosen = named.clone().find(signs).or_else(|| named.clone().next()).unwrap_or(0);
        if let Some(sni) = sni {
            // A second ClientHello (HelloRetryRequest) repeats the name.
            let _ = self.server_name.set(sni.to_owned());
        }
        certificates.get(chosen).map(|certificate| certificate.certified().clone())
    }
}

impl ProducesTickets for Probe {
    /// A data connection of TLS 1.2 that resumes is given no new ticket. The one it used stays
    /// valid, and a client with OpenSSL that is given another retires the session it has resumed;
    /// if it keeps only that one, as PHP and Ruby do, it would resume once and never again.
    ///
    /// This can only be refused here, and rustls does not say for which version it asks. In TLS 1.3
    /// it asks before it shows a ticket, in TLS 1.2 only when it answers the ClientHello.
    fn enabled(&self) -> bool {
        self.asked.store(true, Ordering::Relaxed);
        let kept = self.purpose == Purpose::Data && self.resuming_tls12.load(Ordering::Relaxed);
        self.shared.tickets.is_some() && !kept
    }

    fn lifetime(&self) -> u32 {
        self.shared.ticket_lifetime_seconds
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        let derived = Derived::take();
        let keys = self.shared.tickets.as_ref().filter(|_| self.may_have_ticket())?;
        if self.purpose == Purpose::Control {
            self.session.supply(|| TicketSource::of(derived?, session));
        }
        let key = self.seal_key.get_or_init(|| keys.current(self.shared.clock.unix_time()));
        key.as_ref()?.seal(self.session.origin(), session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if !self.asked.load(Ordering::Relaxed) {
            self.resuming_tls12.store(true, Ordering::Relaxed);
        }
        let keys = self.shared.tickets.as_ref()?;
        let this = self.session.origin();
        let (seen, session) = match keys.open(self.shared.clock.unix_time(), ticket) {
            // Declined, as rustls does with another server name (RFC 6066 §3). It knows no name of
            // HOST, which may have brought the client another certificate.
            Ok(opened) if opened.origin.name != this.name => (OFFERED_OTHER, None),
            // A data connection's is good as long as its control connection lives, for in TLS 1.2
            // it is never replaced.
            Ok(opened) if opened.origin.id == this.id && self.purpose == Purpose::Data => {
                (OFFERED_THIS, Some(opened.session))
            }
            Ok(opened) if opened.expired => (OFFERED_EXPIRED, None),
            Ok(opened) if opened.origin.id == this.id => (OFFERED_THIS, Some(opened.session)),
            Ok(opened) if opened.origin.user.is_some() && opened.origin.user == this.user => {
                (OFFERED_SAME_USER, Some(opened.session))
            }
            Ok(opened) => (OFFERED_OTHER, Some(opened.session)),
            Err(TicketRefused::ExpiredOrUnknownKey) => (OFFERED_EXPIRED, None),
            Err(TicketRefused::Malformed) => (OFFERED_MALFORMED, None),
        };
        self.looked_at(ticket, seen);
        session
    }
}

/// Resumption by session ID, for clients of TLS 1.2 without tickets (RFC 5246 §7.3).
impl StoresServerSessions for Probe {
    /// The control connection's session is kept; those of data connections are not, and nobody is
    /// given a session ID that would not be kept.
    fn can_cache(&self) -> bool {
        self.purpose == Purpose::Control
    }

    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.can_cache() && self.session.remember(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        // For TLS 1.2 only.
        self.resuming_tls12.store(true, Ordering::Relaxed);
        let session = self.session.recall(key);
        let seen = if session.is_some() { OFFERED_THIS } else { OFFERED_UNKNOWN_ID };
        self.looked_at(key, seen);
        session
    }

    /// For TLS 1.3 without tickets, which is not offered.
    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("session", &self.session)
            .field("purpose", &self.purpose)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
