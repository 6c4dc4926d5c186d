//! Who gets a session: the shard's part of the session limit, and the limit per client address.
//! Sans-io; both are counted by this shard alone.

use std::collections::BTreeMap;

use crate::auth::ClientNetwork;
use crate::events::Refusal;

/// Counts of one shard.
#[derive(Debug)]
pub struct Admission {
    sessions_max: u32,
    per_address_max: Option<u32>,
    sessions: u32,
    refusals: u32,
    by_address: BTreeMap<ClientNetwork, u32>,
}

/// The answer to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Serve it.
    Welcome,
    /// Tell it 421: this limit is reached.
    Refuse(Refusal),
    /// Close it without a word: this limit is reached, and even telling 421 has become too much.
    Drop(Refusal),
}

impl Admission {
    /// With the limits of this shard; `None` is no limit per address.
    #[must_use]
    pub const fn new(sessions_max: u32, per_address_max: Option<u32>) -> Self {
        Self {
            sessions_max,
            per_address_max,
            sessions: 0,
            refusals: 0,
            by_address: BTreeMap::new(),
        }
    }

    /// From now on these limits; sessions above them go on.
    pub fn set_limits(&mut self, sessions_max: u32, per_address_max: Option<u32>) {
        (self.sessions_max, self.per_address_max) = (sessions_max, per_address_max);
    }

    /// Decides about a connection and counts it; [`Admission::leave`] must follow unless the
    /// verdict is a [`Verdict::Drop`].
    pub fn enter(&mut self, address: ClientNetwork) -> Verdict {
        let of_address = self.by_address.get(&address).copied().unwrap_or(0);
        let reason = if self.per_address_max.is_some_and(|max| of_address >= max) {
            Refusal::SessionsPerIp
        } else if self.sessions >= self.sessions_max {
            Refusal::Sessions
        } else {
            self.sessions += 1;
            self.by_address.insert(address, of_address + 1);
            return Verdict::Welcome;
        };
        if self.refusals >= REFUSALS_MAX {
            return Verdict::Drop(reason);
        }
        self.refusals += 1;
        Verdict::Refuse(reason)
    }

    /// A connection that was let in or refused has ended.
    pub fn leave(&mut self, address: ClientNetwork, verdict: Verdict) {
        match verdict {
            Verdict::Drop(_) => {}
            Verdict::Refuse(_) => self.refusals -= 1,
            Verdict::Welcome => {
                self.sessions -= 1;
                if let Some(count) = self.by_address.get_mut(&address) {
                    *count -= 1;
                    if *count == 0 {
                        self.by_address.remove(&address);
                    }
                }
            }
        }
    }
}

/// Part `index` of `total` divided among `count` shards; sizes differ by at most one, and every
/// shard gets at least 1.
#[must_use]
pub fn share(total: u32, index: u32, count: u32) -> u32 {
    (total / count + u32::from(index < total % count)).max(1)
}

/// Refused connections that are told so at the same time: on the implicit port each costs a TLS
/// handshake.
const REFUSALS_MAX: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Verdict = Verdict::Refuse(Refusal::Sessions);
    const CROWDED: Verdict = Verdict::Refuse(Refusal::SessionsPerIp);

    fn client(address: &str) -> ClientNetwork {
        ClientNetwork::of(address.parse().unwrap())
    }

    /// The addresses that one client may choose from are one address.
    #[test]
    fn a_64_is_one_address() {
        let mut admission = Admission::new(9, Some(1));
        assert_eq!(admission.enter(client("2001:db8::1")), Verdict::Welcome);
        assert_eq!(admission.enter(client("2001:db8::2")), CROWDED);
        assert_eq!(admission.enter(client("2001:db8:0:1::1")), Verdict::Welcome);
        assert_eq!(admission.enter(client("192.0.2.1")), Verdict::Welcome);
        assert_eq!(admission.enter(client("::ffff:192.0.2.1")), CROWDED);
        admission.leave(client("2001:db8::ffff"), Verdict::Welcome);
        assert_eq!(admission.enter(client("2001:db8::3")), Verdict::Welcome);
    }

    #[test]
    fn counts_sessions_and_addresses() {
        let (a, b) = (client("127.0.0.1"), client("127.0.0.2"));
        let mut admission = Admission::new(3, Some(2));
        assert_eq!(admission.enter(a), Verdict::Welcome);
        assert_eq!(admission.enter(a), Verdict::Welcome);
        assert_eq!(admission.enter(a), CROWDED);
        assert_eq!(admission.enter(b), Verdict::Welcome);
        assert_eq!(admission.enter(b), FULL);
        admission.leave(a, Verdict::Welcome);
        assert_eq!(admission.enter(b), Verdict::Welcome);
    }

    /// Who is in stays in, is counted on, and leaves room only for as many as are allowed by then.
    #[test]
    fn limits_change_for_those_who_come() {
        let (a, b) = (client("127.0.0.1"), client("127.0.0.2"));
        let mut admission = Admission::new(3, None);
        for address in [a, a, b] {
            assert_eq!(admission.enter(address), Verdict::Welcome);
        }
        admission.set_limits(4, Some(1));
        assert_eq!(admission.enter(a), CROWDED);
        admission.leave(a, Verdict::Welcome);
        assert_eq!(admission.enter(a), CROWDED);
        admission.leave(a, Verdict::Welcome);
        assert_eq!(admission.enter(a), Verdict::Welcome);
        admission.set_limits(1, None);
        admission.leave(a, Verdict::Welcome);
        assert_eq!(admission.enter(a), FULL);
        admission.leave(b, Verdict::Welcome);
        assert_eq!(admission.enter(b), Verdict::Welcome);
    }

    #[test]
    fn refusals_are_bounded() {
        let (a, b) = (client("127.0.0.1"), client("127.0.0.2"));
        let mut admission = Admission::new(1, None);
        assert_eq!(admission.enter(a), Verdict::Welcome);
        for _ in 0..REFUSALS_MAX {
            assert_eq!(admission.enter(b), FULL);
        }
        assert_eq!(admission.enter(b), Verdict::Drop(Refusal::Sessions));
        admission.leave(b, Verdict::Drop(Refusal::Sessions));
        admission.leave(b, FULL);
        assert_eq!(admission.enter(b), FULL);
    }

    #[test]
    fn shares_add_up() {
        for (total, count) in [(10, 3), (64, 64), (20_000, 7), (5, 1)] {
            let sum: u32 = (0..count).map(|index| share(total, index, count)).sum();
            assert_eq!(sum, total);
        }
        assert_eq!(share(2, 3, 4), 1);
    }
}
