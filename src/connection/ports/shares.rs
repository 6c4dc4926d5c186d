//! A user's share of a shard's passive ports: many sessions of one user cannot take them all.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// One part in this many of a shard's ports is kept for users who hold none; with fewer ports,
/// none.
const KEPT_PART: usize = 4;

/// The rest of this shard's ports is kept for users who hold none.
#[derive(Debug, thiserror::Error)]
#[error(
    "user {user} holds {held} of this shard's {ports} passive ports, and the rest is kept for others"
)]
pub(crate) struct ShareExceeded {
    /// The user who gets no further port.
    pub(super) user: String,
    /// Ports of that user.
    pub(super) held: usize,
    /// Ports of the shard.
    pub(super) ports: usize,
}

/// How many ports each user holds. A port parked for a session does not count: it is evicted when a
/// port is needed.
#[derive(Debug, Clone)]
pub(crate) struct Shares {
    held: Rc<RefCell<BTreeMap<Rc<str>, usize>>>,
    /// Ports of the shard; `None` without a configured range: then users have no share.
    ports: Option<usize>,
}

/// A port that a user holds. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Held {
    shares: Shares,
    user: Rc<str>,
}

impl Shares {
    pub(crate) fn new(ports: Option<usize>) -> Self {
        Self { held: Rc::default(), ports }
    }

    /// Takes another port for `user`.
    ///
    /// # Errors
    ///
    /// [`ShareExceeded`].
    pub(crate) fn take(&self, user: Rc<str>) -> Result<Held, ShareExceeded> {
        let mut users = self.held.borrow_mut();
        let held = users.get(&user).copied().unwrap_or(0);
        if let Some(ports) = self.ports
            && held > 0
            && ports >= KEPT_PART
            && ports.saturating_sub(users.values().sum()) <= ports / KEPT_PART
        {
            return Err(ShareExceeded { user: user.to_string(), held, ports });
        }
        *users.entry(user.clone()).or_insert(0) += 1;
        Ok(Held { shares: self.clone(), user })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut users = self.shares.held.borrow_mut();
        if let Some(held) = users.get_mut(&self.user) {
            *held -= 1;
            if *held == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many ports one user gets of `ports`, and whether another one still gets one.
    #[track_caller]
    fn check(ports: Option<usize>, expected: usize, another: bool) {
        let shares = Shares::new(ports);
        let mut held = Vec::new();
        let refused = loop {
            match shares.take("greedy".into()) {
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
        let other = shares.take("other".into()).unwrap();
        assert_eq!(ports.is_none_or(|ports| ports > expected), another);
        // What is given back can be taken again.
        drop((other, held.pop()));
        assert!(shares.take("greedy".into()).is_ok());
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
