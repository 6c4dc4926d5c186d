//! A user's share of a shard's passive ports: many sessions of one user cannot take them all from
//! others at the same address. Sessions of other addresses wait at the same ports, if they must.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr, rc::Rc};

/// One part in this many of a shard's ports is kept for users who hold none; with fewer ports,
/// none.
const KEPT_PART: usize = 4;

/// The rest of this shard's ports is kept for users who hold none.
#[derive(Debug, thiserror::Error)]
#[error(
    "user {user} holds {held} of this shard's {ports} passive ports, and for the client's address \
     the rest is kept for others"
)]
pub(crate) struct ShareExceeded {
    /// The user who gets no further port.
    pub(super) user: String,
    /// Ports of that user.
    pub(super) held: usize,
    /// Ports of the shard.
    pub(super) ports: usize,
}

/// How many ports each user holds, by the clients' address. A port parked for a session does not
/// count: it is evicted when a port is needed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shares {
    held: Rc<RefCell<BTreeMap<IpAddr, Holders>>>,
}

/// Those of one address.
type Holders = BTreeMap<Rc<str>, usize>;

/// A port that a user holds. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    shares: Shares,
    address: IpAddr,
    user: Rc<str>,
}

impl Shares {
    /// Takes another of the shard's `ports` for `user`, whose client is at `address`. Without a
    /// configured range there is no number of them, and users have no share.
    ///
    /// # Errors
    ///
    /// [`ShareExceeded`].
    pub(crate) fn take(
        &self,
        user: Rc<str>,
        address: IpAddr,
        ports: Option<usize>,
    ) -> Result<Held, ShareExceeded> {
        let mut all = self.held.borrow_mut();
        let users = all.entry(address).or_default();
        let held = users.get(&user).copied().unwrap_or(0);
        if let Some(ports) = ports
            && held > 0
            && ports >= KEPT_PART
            && ports.saturating_sub(users.values().sum()) <= ports / KEPT_PART
        {
            return Err(ShareExceeded { user: user.to_string(), held, ports });
        }
        *users.entry(user.clone()).or_insert(0) += 1;
        Ok(Held { shares: self.clone(), address, user })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.shares.held.borrow_mut();
        let Some(users) = all.get_mut(&self.address) else { return };
        if let Some(held) = users.get_mut(&self.user) {
            *held -= 1;
            if *held == 0 {
                users.remove(&self.user);
            }
        }
        if users.is_empty() {
            all.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// How many ports one user gets of `ports`, and whether another one still gets one.
    #[track_caller]
    fn check(ports: Option<usize>, expected: usize, another: bool) {
        let shares = Shares::default();
        let mut held = Vec::new();
        let refused = loop {
            match shares.take("greedy".into(), HERE, ports) {
                Ok(port) => held.push(port),
                Err(error) => break error.to_string(),
            }
            if held.len() == ports.filter(|&ports| ports < KEPT_PART).unwrap_or(1000) {
                break String::new();
            }
        };
        assert_eq!(held.len(), expected);
        let shared = ports.is_some_and(|ports| ports >= KEPT_PART);
        assert_eq!(refused.contains(&format!("greedy holds {expected} of")), shared);
        let elsewhere = shares.take("greedy".into(), Ipv4Addr::BROADCAST.into(), ports).unwrap();
        let other = shares.take("other".into(), HERE, ports).unwrap();
        assert_eq!(ports.is_none_or(|ports| ports > expected), another);
        // What is given back can be taken again.
        drop((other, elsewhere, held.pop()));
        assert!(shares.take("greedy".into(), HERE, ports).is_ok());
        held.clear();
        assert!(shares.held.borrow().is_empty());
    }

    #[test]
    fn one_user_does_not_get_all() {
        check(None, 1000, true);
        check(Some(1), 1, false);
        check(Some(3), 3, false);
        check(Some(4), 3, true);
        check(Some(100), 75, true);
    }
}
