//! What the connections of one control session share: its marks inside tickets,
//! the source of further tickets, and the one TLS 1.2 session that can be resumed by session ID.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use aws_lc_rs::{digest, rand};

use super::TlsError;
use super::new_session_ticket::TicketSource;
use crate::limits::TLS_STORED_SESSION_BYTES_MAX;

/// One control session, from the start of TLS on the control connection to its end or REIN: what
/// proves that a data connection comes from the same client (RFC 4217 §10.2).
///
/// Tickets carry its id. Clients of TLS 1.2 without tickets (curl, among others) resume by session
/// ID, which needs memory at the server: the session of the control connection is kept here, and
/// only here. It is written once, read by the data connections of this control session, and gone
/// with it. So nothing is shared between sessions, and a client that connects anew makes a full
/// handshake on its control connection.
pub struct ControlSession {
    id: SessionId,
    /// Who is logged in, as [`Mark`]; 0 is nobody.
    user: AtomicU64,
    /// The server name of the control connection; `None` inside when it has none.
    name: OnceLock<Option<(String, Mark)>>,
    /// Of the control connection, if that is TLS 1.3 and tickets are given.
    source: OnceLock<TicketSource>,
    /// Written by the control connection's handshake, before any data connection can ask for it.
    kept: OnceLock<Kept>,
}

impl ControlSession {
    /// A control session about to begin.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn new() -> Result<Arc<Self>, TlsError> {
        let mut id = [0; SessionId::BYTES];
        rand::fill(&mut id).map_err(|_| TlsError::Internal("no random numbers"))?;
        Ok(Arc::new(Self::with_id(SessionId(id))))
    }

    pub(super) const fn with_id(id: SessionId) -> Self {
        Self {
            id,
            user: AtomicU64::new(0),
            name: OnceLock::new(),
            source: OnceLock::new(),
            kept: OnceLock::new(),
        }
    }

    /// `user` has logged in: tickets made from now on name them.
    pub fn logged_in(&self, user: &str) {
        self.user.store(Mark::of(user).0.get(), Ordering::Relaxed);
    }

    /// Who is logged in.
    pub(super) fn user(&self) -> Option<Mark> {
        NonZeroU64::new(self.user.load(Ordering::Relaxed)).map(Mark)
    }

    /// Whether a ClientHello has come on its control connection. One that has not begun has given
    /// out nothing, and serves the next handshake.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.name.get().is_some()
    }

    /// Keeps the name that the control connection is for, unless its handshake has come by before
    /// (HelloRetryRequest).
    pub(super) fn begin(&self, name: Option<&str>) {
        self.name.get_or_init(|| name.map(|name| (name.to_owned(), Mark::of(name))));
    }

    /// The name that the control connection is for: its server name, or that of HOST before AUTH;
    /// lower case.
    pub(super) fn name(&self) -> Option<&str> {
        self.name.get()?.as_ref().map(|(name, _)| name.as_str())
    }

    /// What tickets made now say of this session.
    pub(super) fn origin(&self) -> TicketOrigin {
        let name = self.name.get().and_then(|name| name.as_ref());
        TicketOrigin { id: self.id, user: self.user(), name: name.map(|(_, mark)| *mark) }
    }

    /// Keeps the source of further tickets, unless there is one already.
    pub(super) fn supply(&self, source: impl FnOnce() -> Option<TicketSource>) {
        if self.source.get().is_none()
            && let Some(source) = source()
        {
            // Only the control connection's handshake does this.
            let _ = self.source.set(source);
        }
    }

    /// Whether there is what [`ServerTls::new_ticket`](super::ServerTls::new_ticket) makes tickets
    /// of.
    #[must_use]
    pub fn gives_tickets(&self) -> bool {
        self.source.get().is_some()
    }

    /// The source of further tickets.
    pub(super) fn source(&self) -> Option<&TicketSource> {
        self.source.get()
    }

    /// Keeps rustls' `session` under a session ID; false when there is one already or it is too
    /// large.
    pub(super) fn remember(&self, session_id: Vec<u8>, session: Vec<u8>) -> bool {
        session.len() <= TLS_STORED_SESSION_BYTES_MAX
            && self.kept.set(Kept { session_id, session }).is_ok()
    }

    /// Whether a session is kept under this session ID.
    pub(super) fn knows(&self, session_id: &[u8]) -> bool {
        self.kept.get().is_some_and(|kept| kept.session_id == session_id)
    }

    /// Whether a ticket of this origin is its own.
    pub(super) fn is(&self, id: SessionId) -> bool {
        self.id == id
    }

    /// The session kept under this session ID.
    pub(super) fn recall(&self, session_id: &[u8]) -> Option<Vec<u8>> {
        let kept = self.kept.get()?;
        (kept.session_id == session_id).then(|| kept.session.clone())
    }
}

impl fmt::Debug for ControlSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlSession").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Names one control session inside tickets, and cannot be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionId([u8; Self::BYTES]);

impl SessionId {
    /// Octets of an id.
    pub(super) const BYTES: usize = 16;

    pub(super) const fn from_bytes(id: [u8; Self::BYTES]) -> Self {
        Self(id)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// What a ticket says of the control session it was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TicketOrigin {
    pub(super) id: SessionId,
    /// Who was logged in when it was made.
    pub(super) user: Option<Mark>,
    /// The name the control connection is for.
    pub(super) name: Option<Mark>,
}

/// Distinguishes users, and server names, inside tickets: the beginning of the SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(NonZeroU64);

impl Mark {
    /// Octets of a mark.
    pub(super) const BYTES: usize = 8;

    fn of(name: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, name.as_bytes());
        let start = digest.as_ref().first_chunk().map_or(1, |start| u64::from_be_bytes(*start));
        Self(NonZeroU64::new(start).unwrap_or(NonZeroU64::MIN))
    }

    pub(super) const fn from_bytes(bytes: [u8; Self::BYTES]) -> Option<Self> {
        match NonZeroU64::new(u64::from_be_bytes(bytes)) {
            Some(mark) => Some(Self(mark)),
            None => None,
        }
    }

    pub(super) fn to_bytes(mark: Option<Self>) -> [u8; Self::BYTES] {
        mark.map_or(0, |mark| mark.0.get()).to_be_bytes()
    }
}

/// A TLS 1.2 session with its secrets, as rustls encodes it.
struct Kept {
    session_id: Vec<u8>,
    session: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_is_kept_and_its_size_is_bounded() {
        let control = ControlSession::new().unwrap();
        assert_eq!(control.recall(b""), None);
        assert!(!control.remember(vec![1], vec![0; TLS_STORED_SESSION_BYTES_MAX + 1]));
        assert!(control.remember(vec![2], vec![0; TLS_STORED_SESSION_BYTES_MAX]));
        assert!(!control.remember(vec![3], vec![0]));
        assert_eq!(control.recall(&[2]).unwrap().len(), TLS_STORED_SESSION_BYTES_MAX);
        for other in [&[][..], &[1], &[3], &[2, 0]] {
            assert_eq!(control.recall(other), None);
        }
        assert_ne!(ControlSession::new().unwrap().id, control.id);
    }
}
