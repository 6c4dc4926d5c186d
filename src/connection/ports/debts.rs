//! Which shards wait for a port of this one. Where a range has fewer ports than there are shards,
//! nobody keeps one, and sessions that share a port one after the other could hold it for good: so
//! who has asked in vain is remembered, no further session waits at a port of that address, and the
//! next port that is given back is sent to the shard that has waited longest.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    rc::Rc,
};

use super::wants::MOVING_ADDRESSES_MAX;
use crate::runtime::Notify;

/// What a shard owes to others. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Debts(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    scarce: Cell<bool>,
    /// By local address, those that have waited longest first; no entry is empty.
    owed: RefCell<BTreeMap<IpAddr, VecDeque<usize>>>,
    /// To be sent.
    payments: RefCell<VecDeque<Payment>>,
    news: Notify,
}

/// A port that is not this shard's any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Payment {
    pub(super) to: usize,
    pub(super) at: IpAddr,
    pub(super) port: u16,
}

impl Debts {
    /// There are fewer ports than shards.
    pub(super) fn begin_scarcity(&self) {
        self.0.scarce.set(true);
    }

    pub(super) fn is_scarce(&self) -> bool {
        self.0.scarce.get()
    }

    /// A shard has asked for ports at this address in vain.
    pub(super) fn owe(&self, to: usize, at: IpAddr) {
        let mut owed = self.0.owed.borrow_mut();
        let room = owed.contains_key(&at) || owed.len() < MOVING_ADDRESSES_MAX;
        if self.is_scarce() && room {
            let creditors = owed.entry(at).or_default();
            if !creditors.contains(&to) {
                creditors.push_back(to);
            }
        }
    }

    /// Whether somebody waits for a port of this address.
    pub(super) fn is_owed(&self, at: IpAddr) -> bool {
        self.0.owed.borrow().contains_key(&at)
    }

    /// Takes a port that was given back, if somebody waits for it.
    pub(super) fn pay(&self, at: IpAddr, port: u16) -> bool {
        let mut owed = self.0.owed.borrow_mut();
        let Some(creditors) = owed.get_mut(&at) else { return false };
        let to = creditors.pop_front();
        if creditors.is_empty() {
            owed.remove(&at);
        }
        self.0.payments.borrow_mut().extend(to.map(|to| Payment { to, at, port }));
        self.0.news.notify();
        to.is_some()
    }

    /// The next payment to be sent, waited for.
    pub(super) async fn next(&self) -> Payment {
        loop {
            if let Some(payment) = self.0.payments.borrow_mut().pop_front() {
                return payment;
            }
            self.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    #[test]
    fn who_has_waited_longest_is_paid_first() {
        on_shard(|| async {
            let debts = Debts::default();
            let [here, there] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
            debts.owe(3, here);
            assert!(!debts.is_owed(here) && !debts.pay(here, 1), "there are enough");
            debts.begin_scarcity();
            for to in [3, 1, 3] {
                debts.owe(to, here);
            }
            assert!(debts.is_owed(here) && !debts.is_owed(there) && !debts.pay(there, 1));
            assert!(debts.pay(here, 2) && debts.pay(here, 4));
            assert!(!debts.is_owed(here) && !debts.pay(here, 5), "each is owed one");
            for (to, port) in [(3, 2), (1, 4)] {
                assert_eq!(debts.next().await, Payment { to, at: here, port });
            }
            assert!(poll_once(Box::pin(debts.next())).await.is_none());
            (0..=255).for_each(|last| debts.owe(1, [127, 0, 1, last].into()));
            assert_eq!(debts.0.owed.borrow().len(), MOVING_ADDRESSES_MAX);
        });
    }
}
