//! At which local addresses the sessions of a shard need more ports than it has. They say so here,
//! and `exchange` asks other shards.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::IpAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use crate::runtime::{Flag, Notify};

/// So long nobody is asked for ports at an address after nobody had one to spare.
const PAUSE: Duration = Duration::from_millis(100);

/// Local addresses whose ports move between shards. More are a host that takes whole networks for
/// its own.
pub(super) const MOVING_ADDRESSES_MAX: usize = 32;

/// The wants of a shard. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is somebody to ask.
    heard: Cell<bool>,
    by_address: RefCell<BTreeMap<IpAddr, Want>>,
    news: Notify,
}

#[derive(Debug)]
enum Want {
    /// Not heard yet. The flag is set when all is tried.
    New(Flag),
    /// Others are being asked.
    Asked(Flag),
    /// Nobody had one to spare; not to be asked again until then.
    Refused(Instant),
}

impl Wants {
    /// Whether it is worth to ask others for ports at this address now.
    pub(super) fn may_ask(&self, at: IpAddr, now: Instant) -> bool {
        let all = self.0.by_address.borrow();
        self.0.heard.get()
            && match all.get(&at) {
                None => all.len() < MOVING_ADDRESSES_MAX,
                Some(Want::New(_) | Want::Asked(_)) => true,
                Some(Want::Refused(until)) => now >= *until,
            }
    }

    /// Has others asked, if that is worth it; the flag is set when ports have come or nobody is
    /// left to be asked.
    pub(super) fn ask(&self, at: IpAddr, now: Instant) -> Option<Flag> {
        let mut all = self.0.by_address.borrow_mut();
        all.retain(|_, want| !matches!(want, Want::Refused(until) if now >= *until));
        drop(all);
        if !self.may_ask(at, now) {
            return None;
        }
        let mut all = self.0.by_address.borrow_mut();
        let want = all.entry(at).or_insert_with(|| {
            self.0.news.notify();
            Want::New(Flag::new())
        });
        match want {
            Want::New(over) | Want::Asked(over) => Some(over.clone()),
            Want::Refused(_) => None,
        }
    }

    /// When others may be asked again.
    pub(super) fn pause_ends(&self, at: IpAddr) -> Option<Instant> {
        match self.0.by_address.borrow().get(&at) {
            Some(Want::Refused(until)) => Some(*until),
            _ => None,
        }
    }

    /// From here on somebody hears: who calls this.
    pub(super) fn hear(&self) {
        self.0.heard.set(true);
    }

    /// An address at which ports are wanted anew, waited for.
    pub(super) async fn next(&self) -> IpAddr {
        loop {
            if let Some(at) = self.take_new() {
                return at;
            }
            self.0.news.notified().await;
        }
    }

    fn take_new(&self) -> Option<IpAddr> {
        let mut all = self.0.by_address.borrow_mut();
        all.iter_mut().find_map(|(at, want)| {
            let Want::New(over) = want else { return None };
            *want = Want::Asked(over.clone());
            Some(*at)
        })
    }

    /// Others were asked for ports at this address, and have given some, or none.
    pub(super) fn over(&self, at: IpAddr, given: bool, now: Instant) {
        let mut all = self.0.by_address.borrow_mut();
        let want = if given { all.remove(&at) } else { all.insert(at, Want::Refused(now + PAUSE)) };
        drop(all);
        if let Some(Want::New(over) | Want::Asked(over)) = want {
            over.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::{poll_once, testing::on_shard};

    #[test]
    fn sessions_ask_together_and_not_again_at_once() {
        on_shard(|| async {
            let wants = Wants::default();
            let now = clock::now();
            let [here, there] = [[127, 0, 0, 1], [127, 0, 0, 2]].map(IpAddr::from);
            assert!(wants.ask(here, now).is_none(), "nobody hears");
            wants.hear();
            let [first, second] = [(); 2].map(|()| wants.ask(here, now).unwrap());
            let other = wants.ask(there, now).unwrap();
            assert_eq!([wants.next().await, wants.next().await], [here, there]);
            assert!(poll_once(Box::pin(wants.next())).await.is_none());
            wants.over(here, false, now);
            assert!(first.is_set() && second.is_set() && !other.is_set());
            assert!(wants.ask(here, now + PAUSE / 2).is_none());
            assert_eq!(wants.pause_ends(here), Some(now + PAUSE));
            assert!(wants.ask(here, now + PAUSE).is_some());
            assert_eq!(wants.next().await, here);
            wants.over(there, true, now);
            assert!(other.is_set() && wants.ask(there, now).is_some());
            for last in 3..=250 {
                wants.ask([127, 0, 0, last].into(), now);
            }
            assert_eq!(wants.0.by_address.borrow().len(), MOVING_ADDRESSES_MAX);
        });
    }
}
