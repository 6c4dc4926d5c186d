//! Which candidate at an announced port gets the transfer when several come from the client's
//! address, be it a port scanner, a neighbour behind the same NAT or a second program of the same
//! user (RFC 2577 §8). Events and time in, decisions out.
//!
//! - A candidate that proves itself gets the transfer at once.
//! - A candidate without proof, if the policy admits it, gets it only after the transfer command,
//!   and only when no other is in its handshake, or none of those has proved itself for
//!   [`OTHERS_MAX`]. Where the client can be expected to prove itself, it waits
//!   `limits.data_proof_timeout` for a candidate with proof.
//! - Of two candidates without proof neither gets the transfer: nothing tells which is the
//!   client's.
//! - After a candidate was refused or has failed, the client's own may still come.

use std::time::{Duration, Instant};

/// Candidates of one port that are in their handshake at the same time.
pub(crate) const SHAKING_MAX: usize = 8;

/// Candidates of one port in all.
pub(crate) const CONNECTIONS_MAX: u32 = 64;

/// How long a candidate without proof waits for others that are in their handshake.
const OTHERS_MAX: Duration = Duration::from_secs(2);

/// A connection at the announced port; numbers are in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate(u32);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Wait for the next event, or until this time.
    Wait(Option<Instant>),
    /// Give this candidate the transfer.
    Take(Candidate),
    /// Refuse all candidates.
    Refuse,
}

/// The candidates for one data connection.
#[derive(Debug)]
pub(crate) struct Contest {
    /// How long after an unproven or refused candidate the client's own connection may still come.
    later_by: Duration,
    joined: u32,
    /// When the transfer command came.
    wanted: Option<Instant>,
    /// Candidates in their handshake, the oldest first.
    shaking: Vec<Candidate>,
    proven: Option<Candidate>,
    /// The candidate without proof, since when, and how long it waits for one with proof to come.
    unproven: Option<(Candidate, Instant, Duration)>,
    /// There were two candidates without proof.
    ambiguous: bool,
    /// When a candidate was last refused or failed.
    lost: Option<Instant>,
}

impl Contest {
    /// No candidates yet; see the field for `later_by`.
    pub(crate) const fn new(later_by: Duration) -> Self {
        Self {
            later_by,
            joined: 0,
            wanted: None,
            shaking: Vec::new(),
            proven: None,
            unproven: None,
            ambiguous: false,
            lost: None,
        }
    }

    /// A candidate begins its handshake. Also gives the candidate evicted for it, if there were too
    /// many.
    pub(crate) fn join(&mut self) -> (Candidate, Option<Candidate>) {
        let candidate = Candidate(self.joined);
        self.joined += 1;
        let evicted = (self.shaking.len() >= SHAKING_MAX).then(|| self.shaking.remove(0));
        self.shaking.push(candidate);
        (candidate, evicted)
    }

    /// Whether another candidate may join.
    pub(crate) const fn is_open(&self) -> bool {
        self.joined < CONNECTIONS_MAX && self.proven.is_none()
    }

    /// Whether at most one candidate has come so far.
    pub(crate) const fn is_alone(&self) -> bool {
        self.joined <= 1
    }

    /// Whether a candidate has proved itself.
    pub(crate) const fn is_proven(&self) -> bool {
        self.proven.is_some()
    }

    /// The transfer command has come.
    pub(crate) fn want(&mut self, now: Instant) {
        self.wanted.get_or_insert(now);
    }

    /// `candidate` has proved that it is the session's.
    pub(crate) fn proven(&mut self, candidate: Candidate) {
        self.leave(candidate);
        self.proven.get_or_insert(candidate);
    }

    /// `candidate` has made its handshake and proved nothing; `expected` says whether a candidate
    /// with proof may still come. False when it is the second without proof.
    pub(crate) fn unproven(&mut self, candidate: Candidate, now: Instant, expected: bool) -> bool {
        self.leave(candidate);
        if self.ambiguous || self.unproven.take().is_some() {
            self.ambiguous = true;
            self.lost = Some(now);
            return false;
        }
        let patience = if expected { self.later_by } else { Duration::ZERO };
        self.unproven = Some((candidate, now, patience));
        true
    }

    /// `candidate` was refused, or has failed.
    pub(crate) fn lost(&mut self, candidate: Candidate, now: Instant) {
        self.leave(candidate);
        self.lost = Some(now);
    }

    fn leave(&mut self, candidate: Candidate) {
        self.shaking.retain(|&other| other != candidate);
    }

    /// What to do at `now`. Call again after each event.
    pub(crate) fn decide(&self, now: Instant) -> Decision {
        if let Some(candidate) = self.proven {
            return Decision::Take(candidate);
        }
        let Some(wanted) = self.wanted else { return Decision::Wait(None) };
        let alone = self.shaking.is_empty();
        let (since, span, then) = match (self.unproven, self.lost) {
            (Some((candidate, since, patience)), _) => {
                let others = if alone { Duration::ZERO } else { OTHERS_MAX };
                (since, patience.max(others), Decision::Take(candidate))
            }
            // Candidates still in their handshake have until the deadline of the data connection.
            (None, Some(lost)) if alone => (lost, self.later_by, Decision::Refuse),
            _ => return Decision::Wait(None),
        };
        let due = since.max(wanted) + span;
        if now >= due { then } else { Decision::Wait(Some(due)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const LATER_BY: Duration = Duration::from_millis(700);

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// A contest with `N` candidates in their handshake.
    fn contest<const N: usize>() -> (Contest, [Candidate; N], Instant) {
        let mut contest = Contest::new(LATER_BY);
        let candidates = [(); N].map(|()| contest.join().0);
        (contest, candidates, clock::now())
    }

    #[test]
    fn proof_wins_at_once_also_before_the_command() {
        let (mut contest, [stranger, own], now) = contest();
        assert!(contest.unproven(stranger, now, false));
        contest.proven(own);
        assert_eq!(contest.decide(now), Decision::Take(own));
        assert!(contest.is_proven() && !contest.is_open() && !contest.is_alone());
    }

    #[test]
    fn without_proof_the_command_is_waited_for_and_then_nobody() {
        let (mut contest, [only], now) = contest();
        contest.unproven(only, now, false);
        assert_eq!(contest.decide(now + millis(90_000)), Decision::Wait(None));
        contest.want(now);
        assert_eq!(contest.decide(now), Decision::Take(only));
        assert!(contest.is_alone());
    }

    #[test]
    fn a_client_that_can_be_expected_to_prove_itself_may_come_later() {
        let (mut contest, [only], now) = contest();
        let wanted = now + millis(100);
        contest.unproven(only, now, true);
        contest.want(wanted);
        assert_eq!(contest.decide(wanted), Decision::Wait(Some(wanted + LATER_BY)));
        assert_eq!(contest.decide(wanted + LATER_BY), Decision::Take(only));
        let (own, evicted) = contest.join();
        assert_eq!(evicted, None);
        contest.proven(own);
        assert_eq!(contest.decide(wanted), Decision::Take(own));
    }

    #[test]
    fn one_without_proof_waits_for_those_in_their_handshake() {
        let (mut contest, [first, silent], now) = contest();
        contest.want(now);
        contest.unproven(first, now, false);
        assert_eq!(contest.decide(now), Decision::Wait(Some(now + OTHERS_MAX)));
        assert_eq!(contest.decide(now + OTHERS_MAX), Decision::Take(first));
        contest.lost(silent, now);
        assert_eq!(contest.decide(now), Decision::Take(first));
    }

    #[test]
    fn of_two_without_proof_neither_gets_it() {
        let (mut contest, [first, second], now) = contest();
        contest.want(now);
        assert!(contest.unproven(first, now, false));
        assert!(!contest.unproven(second, now, false));
        assert_eq!(contest.decide(now), Decision::Wait(Some(now + LATER_BY)));
        assert_eq!(contest.decide(now + LATER_BY), Decision::Refuse);
        // Nor does a third, but the client itself may still.
        let (third, _) = contest.join();
        assert_eq!(contest.decide(now + LATER_BY), Decision::Wait(None));
        assert!(!contest.unproven(third, now, false));
        let (own, _) = contest.join();
        contest.proven(own);
        assert_eq!(contest.decide(now), Decision::Take(own));
    }

    #[test]
    fn behind_one_that_was_refused_the_client_may_come() {
        let (mut contest, [refused], now) = contest();
        contest.lost(refused, now);
        contest.want(now);
        assert_eq!(contest.decide(now), Decision::Wait(Some(now + LATER_BY)));
        let (_, _) = contest.join();
        assert_eq!(contest.decide(now + LATER_BY), Decision::Wait(None));
    }

    #[test]
    fn many_make_the_oldest_go_and_end() {
        let mut contest = Contest::new(LATER_BY);
        for number in 0..CONNECTIONS_MAX {
            assert!(contest.is_open());
            let (_, evicted) = contest.join();
            let oldest = number.checked_sub(u32::try_from(SHAKING_MAX).unwrap()).map(Candidate);
            assert_eq!(evicted, oldest);
        }
        assert!(!contest.is_open());
    }
}
