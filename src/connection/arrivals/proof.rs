//! What a data connection must prove before it gets a transfer (RFC 4217 §10.2). Under TLS it
//! proves that it belongs to the session by resuming it, since only the session's client has the
//! keys. Without that proof, anyone at the client's address who reaches the port first looks the
//! same. So the client must never run out of tickets: many clients use each ticket once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::protocol::policy::DataResumption;
use crate::tls::{HandshakeFacts, Resumption, TicketMark};

/// How long clients keep the sessions they resume, at most: GnuTLS offers no session older than an
/// hour.
const CLIENTS_KEEP: Duration = Duration::from_hours(1);

/// What is known of one session's client. Reset when the session begins TLS anew (REIN).
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// SHA-256 of the certificate that the client showed on the control connection.
    certificate: Cell<Option<[u8; 32]>>,
    /// The log-in was by that certificate.
    by_certificate: Cell<bool>,
    /// The ticket or session ID with which a data connection last resumed the session.
    last: Cell<Option<TicketMark>>,
    /// The client reuses one ticket again and again: it does not run out of them.
    keeps_tickets: Cell<bool>,
    /// Further tickets can be issued to the client.
    supplied: Cell<bool>,
    /// The client should get a ticket: it is about to use one, has none, or has one from before the
    /// log-in.
    ticket_due: Cell<bool>,
    /// When a client may discard its tickets as too old.
    tickets_end: Cell<Option<Instant>>,
    /// A connection without proof was the only candidate, although one with proof was waited for.
    uses_others: Cell<bool>,
    /// The last data connection did not resume this session.
    untold: Cell<bool>,
    /// A data connection has proved itself by other means than a ticket of this session.
    mixes: Cell<bool>,
}

/// What a data connection's handshake is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to the session.
    Proven,
    /// Anyone at the client's address may have made it. It gets the transfer if no candidate with
    /// proof is there or comes in time.
    Unproven {
        /// The client's own connection may be expected to come and to prove itself.
        expected: bool,
    },
    /// It gets no transfer.
    Refused,
}

/// The facts of a handshake that count.
#[derive(Clone, Copy)]
struct Shown {
    resumption: Resumption,
    certificate: Option<[u8; 32]>,
}

impl Proof {
    /// The control connection is protected. `certificate` is what its client showed; its tickets
    /// are valid for `lifetime`, and further ones can be issued if it is `supplied`.
    pub(crate) fn protected(
        &self,
        certificate: Option<[u8; 32]>,
        supplied: bool,
        now: Instant,
        lifetime: Duration,
    ) {
        self.certificate.set(certificate);
        self.supplied.set(supplied);
        self.ticket_given(now, lifetime);
    }

    /// The control connection leaves TLS (CCC): no further tickets.
    pub(crate) fn unprotected(&self) {
        self.supplied.set(false);
    }

    /// A log-in, by certificate or not. A ticket that names the user proves more than those the
    /// client has, so a new one is due.
    pub(crate) fn logged_in(&self, by_certificate: bool) {
        self.by_certificate.set(by_certificate);
        self.ticket_due.set(true);
    }

    /// A protected transfer begins, or the client has made its handshake before the command. It may
    /// use up a ticket for it, even if the transfer fails or the command is refused, so it gets a
    /// new one, unless it reuses its tickets or does not resume at all.
    pub(crate) fn uses_ticket(&self) {
        if self.last.get().is_some() && !self.keeps_tickets.get() {
            self.ticket_due.set(true);
        }
    }

    /// Whether the client is to be given a ticket; once for each reason.
    pub(crate) fn take_ticket_due(&self) -> bool {
        self.supplied.get() && self.ticket_due.replace(false)
    }

    /// The client was given a ticket that is valid for `lifetime`.
    pub(crate) fn ticket_given(&self, now: Instant, lifetime: Duration) {
        self.tickets_end.set(Some(now + lifetime.min(CLIENTS_KEEP)));
    }

    /// What the handshake of a data connection is worth at `now`.
    pub(crate) fn judge(
        &self,
        policy: DataResumption,
        facts: &HandshakeFacts,
        now: Instant,
    ) -> Verdict {
        let certificate = facts.client_certificate.as_ref().map(|shown| shown.sha256);
        let verdict = self.weigh(policy, Shown { resumption: facts.resumption, certificate }, now);
        if verdict == Verdict::Refused {
            // If it is the client's connection, the client has lost its tickets.
            self.ticket_due.set(true);
        }
        verdict
    }

    /// The rule:
    ///
    /// - A handshake that resumes the session is proof.
    /// - So is, unless the policy is `require`, one that resumes another session of the same user
    ///   (rclone keeps one ticket for all its sessions), or has the certificate of the control
    ///   connection.
    /// - Any other is refused under `require`, in a session that was logged in by certificate, and
    ///   once the client has resumed: it can resume again as long as it has valid tickets.
    /// - Exception to the last reason: a handshake that resumes a session without a known user.
    ///   Clients with one store for all their sessions offer tickets of sessions that are not
    ///   logged in yet, and TLS 1.2 tickets never name a user. Such a connection waits for a
    ///   candidate with proof, until one has failed to come once.
    fn weigh(&self, policy: DataResumption, shown: Shown, now: Instant) -> Verdict {
        let required = policy == DataResumption::Require;
        let certificate = shown.certificate;
        let same = certificate.is_some() && certificate == self.certificate.get();
        match shown.resumption {
            Resumption::ThisSession => return Verdict::Proven,
            Resumption::SameUser if !required => return Verdict::Proven,
            _ if same && !required => return Verdict::Proven,
            _ => {}
        }
        let must = self.must_resume(now);
        let refused = must && !shown.resumption.is_resumed();
        if required || self.by_certificate.get() || refused {
            return Verdict::Refused;
        }
        Verdict::Unproven { expected: must && !self.uses_others.get() }
    }

    /// The client has resumed before and still has valid tickets.
    fn must_resume(&self, now: Instant) -> bool {
        self.last.get().is_some()
            && (self.keeps_tickets.get() || self.supplied.get())
            && self.tickets_end.get().is_some_and(|end| now < end)
    }

    /// A data connection has resumed the session with the ticket of this mark. TLS 1.2 tickets are
    /// meant to be used more than once.
    pub(crate) fn resumed(&self, mark: Option<TicketMark>, tls12: bool) {
        if tls12 || (mark.is_some() && mark == self.last.get()) {
            self.keeps_tickets.set(true);
        } else if self.last.get().is_none() {
            // Some clients keep a single ticket, and now have none.
            self.ticket_due.set(true);
        }
        self.last.set(mark.or(self.last.get()));
    }

    /// Whether tickets may be expected to tell the session's data connections from those of others
    /// at the same port.
    pub(crate) fn tells(&self) -> bool {
        !self.untold.get() && !self.mixes.get()
    }

    /// A data connection has proved itself: by a ticket of this session, or by something else.
    pub(crate) fn told(&self, by_ticket: bool) {
        self.untold.set(false);
        if !by_ticket {
            self.mixes.set(true);
        }
    }

    /// A connection without proof was the only candidate.
    pub(crate) fn came_alone(&self) {
        self.untold.set(true);
        if self.last.get().is_some() {
            self.uses_others.set(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::tls::TlsVersion;
    use DataResumption::{Off, Prefer, Require};
    use Resumption::{NotOffered, OtherSession, SameUser, ThisSession};
    use Verdict::{Proven, Refused};

    const LIFETIME: Duration = Duration::from_secs(1000);

    /// Resumed; a ticket of the same user; nothing; a stranger's ticket; the certificate; another
    /// one; a stranger's ticket with the certificate.
    const SHOWN: [(Resumption, Option<[u8; 32]>); 7] = [
        (ThisSession, None),
        (SameUser, None),
        (NotOffered, None),
        (OtherSession, None),
        (NotOffered, Some([1; 32])),
        (NotOffered, Some([2; 32])),
        (OtherSession, Some([1; 32])),
    ];
    const ANY: Verdict = Verdict::Unproven { expected: false };
    const LATER: Verdict = Verdict::Unproven { expected: true };
    const LOOSE: [Verdict; 7] = [Proven, Proven, ANY, ANY, Proven, ANY, Proven];
    const MUST: [Verdict; 7] = [Proven, Proven, Refused, LATER, Proven, Refused, Proven];
    const STRICT: [Verdict; 7] = [Proven, Proven, Refused, Refused, Proven, Refused, Proven];
    const REQUIRED: [Verdict; 7] = [Proven, Refused, Refused, Refused, Refused, Refused, Refused];

    fn proof(by_certificate: bool, supplied: bool, now: Instant) -> Proof {
        let proof = Proof::default();
        proof.protected(Some([1; 32]), supplied, now, LIFETIME);
        proof.logged_in(by_certificate);
        proof
    }

    #[track_caller]
    fn check(proof: &Proof, policy: DataResumption, now: Instant, expected: [Verdict; 7]) {
        let seen = SHOWN.map(|(resumption, certificate)| {
            proof.weigh(policy, Shown { resumption, certificate }, now)
        });
        assert_eq!(seen, expected, "{policy:?}");
    }

    #[test]
    fn who_gets_a_transfer() {
        let now = clock::now();
        for by_certificate in [false, true] {
            check(&proof(by_certificate, true, now), Require, now, REQUIRED);
        }
        for policy in [Off, Prefer] {
            check(&proof(false, true, now), policy, now, LOOSE);
            check(&proof(true, true, now), policy, now, STRICT);
        }
    }

    #[test]
    fn who_has_resumed_must() {
        let now = clock::now();
        for tls12 in [true, false] {
            let proof = proof(false, !tls12, now);
            for ticket in [b"ticket 1", b"ticket 2"] {
                proof.resumed(Some(TicketMark::of(ticket)), tls12);
                check(&proof, Prefer, now, MUST);
                check(&proof, Require, now, REQUIRED);
            }
            // Its tickets are too old to be shown.
            check(&proof, Prefer, now + LIFETIME, LOOSE);
            check(&proof, Require, now + LIFETIME, REQUIRED);
            proof.ticket_given(now + LIFETIME, LIFETIME);
            check(&proof, Prefer, now + LIFETIME, MUST);
            // It shows those of its other sessions.
            proof.came_alone();
            check(&proof, Prefer, now, [Proven, Proven, Refused, ANY, Proven, Refused, Proven]);
        }
    }

    #[test]
    fn tickets_are_kept_for_an_hour_at_most() {
        let now = clock::now();
        let proof = Proof::default();
        proof.protected(None, true, now, Duration::from_hours(24));
        proof.resumed(Some(TicketMark::of(b"ticket")), false);
        assert!(proof.must_resume(now + Duration::from_mins(59)));
        assert!(!proof.must_resume(now + Duration::from_hours(1)));
    }

    #[test]
    fn who_can_be_given_no_more_may_run_out() {
        let now = clock::now();
        let proof = proof(false, true, now);
        proof.resumed(Some(TicketMark::of(b"ticket 1")), false);
        proof.unprotected();
        check(&proof, Prefer, now, LOOSE);
        assert!(!proof.take_ticket_due());
        // But not who needs no more.
        proof.resumed(Some(TicketMark::of(b"ticket 1")), false);
        check(&proof, Prefer, now, MUST);
    }

    #[test]
    fn a_ticket_is_due_for_each_transfer_of_who_uses_them_up() {
        let now = clock::now();
        let proof = proof(false, true, now);
        assert!(proof.take_ticket_due() && !proof.take_ticket_due(), "for the log-in");
        proof.uses_ticket();
        assert!(!proof.take_ticket_due(), "it may not resume at all");
        for ticket in [b"ticket 1", b"ticket 2"] {
            proof.resumed(Some(TicketMark::of(ticket)), false);
            assert_eq!(
                proof.take_ticket_due(),
                ticket == b"ticket 1",
                "the first was not foreseen"
            );
            proof.uses_ticket();
            assert!(proof.take_ticket_due() && !proof.take_ticket_due());
        }
        proof.resumed(Some(TicketMark::of(b"ticket 2")), false);
        proof.uses_ticket();
        assert!(!proof.take_ticket_due(), "it keeps what it has");
    }

    #[test]
    fn who_is_refused_is_given_what_it_needs() {
        let now = clock::now();
        let proof = proof(false, true, now);
        proof.take_ticket_due();
        let facts = HandshakeFacts {
            version: TlsVersion::Tls13,
            cipher_suite: String::new(),
            group: None,
            resumption: NotOffered,
            ticket: None,
            server_name: None,
            client_certificate: None,
        };
        assert_eq!(proof.judge(Prefer, &facts, now), ANY);
        assert!(!proof.take_ticket_due());
        assert_eq!(proof.judge(Require, &facts, now), Refused);
        assert!(proof.take_ticket_due());
    }

    #[test]
    fn whose_connections_tickets_tell() {
        let proof = Proof::default();
        assert!(proof.tells(), "nothing is known of a first transfer");
        proof.came_alone();
        assert!(!proof.tells());
        proof.told(true);
        assert!(proof.tells());
        proof.told(false);
        proof.told(true);
        assert!(!proof.tells(), "its client has one store for all its sessions");
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
