//! What a data connection must prove before it gets a transfer (RFC 4217 §10.2). In TLS it proves
//! that it is the session's by resuming it, for only its client has the keys; without that, anybody
//! at the client's address who reaches the port first looks the same.

use std::cell::Cell;

use crate::protocol::policy::DataResumption;
use crate::tls::{HandshakeFacts, Resumption};

/// What is known of one session's client. A session that begins TLS anew (REIN) begins a new one.
#[derive(Debug, Default)]
pub(super) struct Proof {
    /// SHA-256 of the certificate that the client has shown on the control connection.
    certificate: Cell<Option<[u8; 32]>>,
    /// The log-in was by that certificate.
    by_certificate: Cell<bool>,
}

impl Proof {
    /// The control connection is protected, and its client has shown this certificate.
    pub(super) fn shown(&self, certificate: Option<[u8; 32]>) {
        self.certificate.set(certificate);
    }

    /// A log-in, by certificate or not.
    pub(super) fn logged_in(&self, by_certificate: bool) {
        self.by_certificate.set(by_certificate);
    }

    /// Whether a data connection with this handshake may have the transfer.
    pub(super) fn accepts(&self, policy: DataResumption, facts: &HandshakeFacts) -> bool {
        let certificate = facts.client_certificate.as_ref().map(|shown| shown.sha256);
        self.judge(policy, facts.resumption, certificate)
    }

    /// The rule:
    ///
    /// - A handshake that resumes the session is accepted.
    /// - One with the certificate of the control connection is, unless the policy is `require`.
    /// - Any other is refused under `require`, and in a session that was logged in by certificate.
    ///
    /// That a session has resumed before is no reason to refuse: clients that use each ticket of
    /// TLS 1.3 once and read none after an upload (curl, suppaftp) run out of them, and some show
    /// the ticket of another of their own sessions (rclone).
    fn judge(
        &self,
        policy: DataResumption,
        resumption: Resumption,
        certificate: Option<[u8; 32]>,
    ) -> bool {
        let required = policy == DataResumption::Require;
        let same = certificate.is_some() && certificate == self.certificate.get();
        resumption.is_this_session() || (!required && (same || !self.by_certificate.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataResumption::{Off, Prefer, Require};
    use Resumption::{NotOffered, OtherSession, ThisSession};

    /// Under `policy`, in a session that was logged in `by_certificate` or not.
    #[track_caller]
    fn check(policy: DataResumption, by_certificate: bool, expected: [bool; 6]) {
        let proof = Proof::default();
        proof.shown(Some([1; 32]));
        proof.logged_in(by_certificate);
        let handshakes = [
            (ThisSession, None),
            (NotOffered, None),
            (OtherSession, None),
            (NotOffered, Some([1; 32])),
            (NotOffered, Some([2; 32])),
            (OtherSession, Some([1; 32])),
        ];
        let seen = handshakes.map(|(resumption, shown)| proof.judge(policy, resumption, shown));
        assert_eq!(seen, expected);
    }

    #[test]
    fn who_gets_a_transfer() {
        // In the order above: resumed; nothing; a stranger's ticket; the certificate; another one;
        // a stranger's ticket with the certificate.
        for by_certificate in [false, true] {
            check(Require, by_certificate, [true, false, false, false, false, false]);
        }
        for policy in [Off, Prefer] {
            check(policy, false, [true; 6]);
            check(policy, true, [true, false, false, true, false, true]);
        }
    }

    #[test]
    fn no_certificate_is_none_to_compare() {
        let proof = Proof::default();
        proof.logged_in(true);
        assert!(!proof.judge(Prefer, NotOffered, None));
        assert!(!proof.judge(Prefer, NotOffered, Some([0; 32])));
    }
}
