//! The TLS sessions a client may resume: tickets (RFC 8446 §4.6.1, RFC 5077) kept for the control
//! connections of a thread, or for one FTP session and its data connections (RFC 4217 §10.2).

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustls::{
    NamedGroup,
    client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
    pki_types::ServerName,
};

/// Keeps sessions of one server. The TLS library demands a type that threads could share, hence
/// the lock; one thread uses it, so it never waits.
///
/// A TLS 1.3 ticket is used once (RFC 8446 appendix C.4); a TLS 1.2 session again and again.
pub struct TicketStore {
    state: Mutex<State>,
    capacity: usize,
    offers: AtomicU64,
}

#[derive(Default)]
struct State {
    group: Option<NamedGroup>,
    session: Option<Tls12ClientSessionValue>,
    tickets: VecDeque<Tls13ClientSessionValue>,
}

impl TicketStore {
    /// A store of at most `capacity` tickets; the oldest make room.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), capacity, offers: AtomicU64::new(0) }
    }

    /// Forgets every session. The group the server prefers stays known: it is no secret, and
    /// without it a full handshake could take a round trip more than it should.
    pub fn clear(&self) {
        self.with(|state| {
            state.session = None;
            state.tickets.clear();
        });
    }

    /// How many sessions were handed out to be offered.
    #[must_use]
    pub fn offers(&self) -> u64 {
        self.offers.load(Ordering::Relaxed)
    }

    /// How many handshakes could offer a session now; TLS 1.2 counts as one.
    #[must_use]
    pub fn available(&self) -> usize {
        self.with(|state| state.tickets.len() + usize::from(state.session.is_some()))
    }

    fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn offered<T>(&self, session: Option<T>) -> Option<T> {
        if session.is_some() {
            self.offers.fetch_add(1, Ordering::Relaxed);
        }
        session
    }
}

impl fmt::Debug for TicketStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketStore").field("available", &self.available()).finish_non_exhaustive()
    }
}

impl ClientSessionStore for TicketStore {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|state| state.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|state| state.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|state| state.session = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.offered(self.with(|state| state.session.clone()))
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|state| state.session = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(|state| {
            if state.tickets.len() == self.capacity {
                state.tickets.pop_front();
            }
            state.tickets.push_back(value);
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.offered(self.with(|state| state.tickets.pop_back()))
    }
}
