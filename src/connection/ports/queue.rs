//! Sessions that wait for a passive port: some round trips, for others have theirs only until their
//! data connections come.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
};

use crate::runtime::Notify;

/// Sessions of one address that look again when something was given back. More would look in vain.
const AT_ONCE: usize = 64;

/// Those of a shard, by the clients' addresses, in the order in which they came. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct PortQueue(Rc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: Cell<u64>,
    by_address: RefCell<BTreeMap<IpAddr, BTreeMap<u64, Notify>>>,
}

/// A place in it.
#[derive(Debug)]
pub(super) struct Turn {
    queue: PortQueue,
    address: IpAddr,
    number: u64,
    news: Notify,
}

/// Tells those that wait when it is dropped.
#[derive(Debug)]
pub(super) struct Freed {
    queue: PortQueue,
    address: IpAddr,
}

impl PortQueue {
    /// Waits as the last one of its address.
    pub(super) fn enter(&self, address: IpAddr) -> Turn {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let news = Notify::new();
        let mut all = self.0.by_address.borrow_mut();
        all.entry(address).or_default().insert(number, news.clone());
        Turn { queue: self.clone(), address, number, news }
    }

    /// What a session of this address had, others of it may have.
    pub(super) fn freed(&self, address: IpAddr) {
        let all = self.0.by_address.borrow();
        let those = all.get(&address).into_iter().flat_map(BTreeMap::values);
        those.take(AT_ONCE).for_each(Notify::notify);
    }

    /// A port may be anybody's.
    pub(super) fn freed_for_all(&self) {
        for those in self.0.by_address.borrow().values() {
            those.values().take(AT_ONCE).for_each(Notify::notify);
        }
    }

    /// See [`Freed`].
    pub(super) fn when_freed(&self, address: IpAddr) -> Freed {
        Freed { queue: self.clone(), address }
    }
}

impl Turn {
    /// Returns when it is worth to look again.
    pub(super) async fn comes(&self) {
        self.news.notified().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.queue.0.by_address.borrow_mut();
        if let Some(those) = all.get_mut(&self.address) {
            those.remove(&self.number);
            if those.is_empty() {
                all.remove(&self.address);
            }
        }
        drop(all);
        // Who is behind it may not have been told.
        self.queue.freed(self.address);
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.queue.freed(self.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    #[test]
    fn who_is_told() {
        on_shard(|| async {
            let queue = PortQueue::default();
            let [here, there] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
            let mut turns: Vec<_> = (0..=AT_ONCE).map(|_| queue.enter(here)).collect();
            let other = queue.enter(there);
            async fn told(turn: &Turn) -> bool {
                poll_once(Box::pin(turn.comes())).await.is_some()
            }
            assert!(!told(&turns[0]).await && !told(&other).await);
            drop(queue.when_freed(here));
            assert!(told(&turns[0]).await && told(&turns[AT_ONCE - 1]).await);
            assert!(!told(&turns[AT_ONCE]).await && !told(&other).await);
            queue.freed_for_all();
            assert!(told(&turns[1]).await && told(&other).await);
            drop(turns.remove(0));
            assert!(told(turns.last().unwrap()).await);
            drop((turns, other));
            assert!(queue.0.by_address.borrow().is_empty());
        });
    }
}
