//! What a data connection must prove before it gets a transfer (RFC 4217 §10.2). In TLS it proves
//! that it is the session's by resuming it, for only its client has the keys; without that, anybody
//! at the client's address who reaches the port first looks the same.

use std::cell::Cell;
use std::time::Instant;

use crate::protocol::policy::DataResumption;
use crate::tls::{HandshakeFacts, Resumption, TicketMark};

/// What is known of one session's client. A session that begins TLS anew (REIN) begins a new one.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// SHA-256 of the certificate that the client has shown on the control connection.
    certificate: Cell<Option<[u8; 32]>>,
    /// The log-in was by that certificate.
    by_certificate: Cell<bool>,
    /// What the last data connection that resumed the session has resumed it with.
    last: Cell<Option<TicketMark>>,
    /// The client resumes with one ticket again and again: it does not run out of them.
    keeps_tickets: Cell<bool>,
    /// When a client may take the tickets of the control connection for too old.
    tickets_end: Cell<Option<Instant>>,
    /// A connection without proof had no other beside it, though one with proof was waited for.
    runs_out: Cell<bool>,
}

/// What a data connection's handshake is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the session's.
    Proven,
    /// It may be anybody's at the client's address, and gets the transfer if none is there that
    /// proves more, nor comes in time.
    Unproven {
        /// The client's own may be expected to come and to prove itself.
        expected: bool,
    },
    /// It gets no transfer.
    Refused,
}

/// What counts of a handshake.
#[derive(Clone, Copy)]
struct Shown {
    resumption: Resumption,
    certificate: Option<[u8; 32]>,
}

impl Proof {
    /// The control connection is protected. Its client has shown this certificate, and was given
    /// tickets that are good until `tickets_end`.
    pub(crate) fn protected(&self, certificate: Option<[u8; 32]>, tickets_end: Instant) {
        self.certificate.set(certificate);
        self.tickets_end.set(Some(tickets_end));
    }

    /// A log-in, by certificate or not.
    pub(crate) fn logged_in(&self, by_certificate: bool) {
        self.by_certificate.set(by_certificate);
    }

    /// What the handshake of a data connection is worth at `now`.
    pub(crate) fn judge(
        &self,
        policy: DataResumption,
        facts: &HandshakeFacts,
        now: Instant,
    ) -> Verdict {
        let certificate = facts.client_certificate.as_ref().map(|shown| shown.sha256);
        self.weigh(policy, Shown { resumption: facts.resumption, certificate }, now)
    }

    /// The rule:
    ///
    /// - A handshake that resumes the session is proof.
    /// - One with the certificate of the control connection is, unless the policy is `require`.
    /// - Any other is refused under `require`, and in a session that was logged in by certificate.
    /// - A full handshake is refused where the client needs none: it has resumed with a ticket that
    ///   it keeps, and that is good still.
    ///
    /// That a session has resumed before is no reason by itself: clients that use each ticket of
    /// TLS 1.3 once and read none after an upload (curl, suppaftp) run out of them, and some show
    /// the ticket of another of their own sessions (rclone). For them one that proves itself is
    /// waited for, until it has once not come.
    fn weigh(&self, policy: DataResumption, shown: Shown, now: Instant) -> Verdict {
        let required = policy == DataResumption::Require;
        let certificate = shown.certificate;
        let same = certificate.is_some() && certificate == self.certificate.get();
        if shown.resumption.is_this_session() || (same && !required) {
            return Verdict::Proven;
        }
        let needless = self.keeps_tickets.get()
            && !shown.resumption.is_resumed()
            && self.tickets_end.get().is_some_and(|end| now < end);
        if required || self.by_certificate.get() || needless {
            return Verdict::Refused;
        }
        let expected = self.last.get().is_some() && !self.runs_out.get();
        Verdict::Unproven { expected }
    }

    /// A data connection has resumed the session, with the ticket of this mark. Those of TLS 1.2
    /// are made to be used more than once.
    pub(crate) fn resumed(&self, mark: Option<TicketMark>, tls12: bool) {
        if tls12 || (mark.is_some() && mark == self.last.get()) {
            self.keeps_tickets.set(true);
        }
        self.last.set(mark.or(self.last.get()));
    }

    /// A connection without proof was the only one.
    pub(crate) fn came_alone(&self) {
        if self.last.get().is_some() {
            self.runs_out.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use DataResumption::{Off, Prefer, Require};
    use Resumption::{NotOffered, OtherSession, ThisSession};
    use Verdict::{Proven, Refused};

    const AT_ONCE: Verdict = Verdict::Unproven { expected: false };
    const LATER: Verdict = Verdict::Unproven { expected: true };

    /// Resumed; nothing; a stranger's ticket; the certificate; another one; a stranger's ticket
    /// with the certificate.
    const SHOWN: [(Resumption, Option<[u8; 32]>); 6] = [
        (ThisSession, None),
        (NotOffered, None),
        (OtherSession, None),
        (NotOffered, Some([1; 32])),
        (NotOffered, Some([2; 32])),
        (OtherSession, Some([1; 32])),
    ];

    fn proof(by_certificate: bool, tickets_end: Instant) -> Proof {
        let proof = Proof::default();
        proof.protected(Some([1; 32]), tickets_end);
        proof.logged_in(by_certificate);
        proof
    }

    #[track_caller]
    fn check(proof: &Proof, policy: DataResumption, now: Instant, expected: [Verdict; 6]) {
        let seen = SHOWN.map(|(resumption, certificate)| {
            proof.weigh(policy, Shown { resumption, certificate }, now)
        });
        assert_eq!(seen, expected, "{policy:?}");
    }

    #[test]
    fn who_gets_a_transfer() {
        let now = clock::now();
        let end = now + Duration::from_secs(1);
        let refused = [Proven, Refused, Refused, Refused, Refused, Refused];
        for by_certificate in [false, true] {
            check(&proof(by_certificate, end), Require, now, refused);
        }
        for policy in [Off, Prefer] {
            let any = [Proven, AT_ONCE, AT_ONCE, Proven, AT_ONCE, Proven];
            check(&proof(false, end), policy, now, any);
            let certificate = [Proven, Refused, Refused, Proven, Refused, Proven];
            check(&proof(true, end), policy, now, certificate);
        }
    }

    #[test]
    fn who_keeps_its_ticket_is_not_short_of_them() {
        let now = clock::now();
        let end = now + Duration::from_secs(1);
        let strict = [Proven, Refused, LATER, Proven, Refused, Proven];
        let loose = [Proven, LATER, LATER, Proven, LATER, Proven];
        for tls12 in [true, false] {
            let proof = proof(false, end);
            proof.resumed(Some(TicketMark::of(b"ticket 1")), tls12);
            check(&proof, Prefer, now, if tls12 { strict } else { loose });
            proof.resumed(Some(TicketMark::of(b"ticket 1")), tls12);
            check(&proof, Prefer, now, strict);
            // Too old to be shown.
            check(&proof, Prefer, end, loose);
        }
    }

    #[test]
    fn who_uses_each_ticket_once_may_run_out() {
        let now = clock::now();
        let proof = proof(false, now + Duration::from_secs(1));
        proof.came_alone();
        for ticket in [b"ticket 1", b"ticket 2"] {
            proof.resumed(Some(TicketMark::of(ticket)), false);
            check(&proof, Prefer, now, [Proven, LATER, LATER, Proven, LATER, Proven]);
        }
        proof.came_alone();
        check(&proof, Prefer, now, [Proven, AT_ONCE, AT_ONCE, Proven, AT_ONCE, Proven]);
    }

    #[test]
    fn no_certificate_is_none_to_compare() {
        let proof = Proof::default();
        proof.logged_in(true);
        for certificate in [None, Some([0; 32])] {
            let shown = Shown { resumption: NotOffered, certificate };
            assert_eq!(proof.weigh(Prefer, shown, clock::now()), Refused);
        }
    }
}
