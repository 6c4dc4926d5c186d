//! What the connections of one control session share: its id and its user's mark inside tickets,
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
    /// Who is logged in, as [`UserMark`]; 0 is nobody.
    user: AtomicU64,
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
        Self { id, user: AtomicU64::new(0), source: OnceLock::new(), kept: OnceLock::new() }
    }

    pub(super) const fn id(&self) -> SessionId {
        self.id
    }

    /// `user` has logged in: tickets made from now on name them.
    pub fn logged_in(&self, user: &str) {
        self.user.store(UserMark::of(user).0.get(), Ordering::Relaxed);
    }

    /// Who is logged in.
    pub(super) fn user(&self) -> Option<UserMark> {
        NonZeroU64::new(self.user.load(Ordering::Relaxed)).map(UserMark)
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

/// Distinguishes users inside tickets: the beginning of the SHA-256 of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserMark(NonZeroU64);

impl UserMark {
    /// Octets of a mark.
    pub(super) const BYTES: usize = 8;

    fn of(user: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, user.as_bytes());
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
        assert_ne!(ControlSession::new().unwrap().id(), control.id());
    }
}
