//! The shard's handshakes of control connections: places for so many, and the tasks that wait for
//! one. Who gets a place and who has to go is decided in `budget`.
//!
//! Handshakes of data connections are not counted here and run in the queue of the sessions: their
//! client has proved itself, a transfer waits for them, and there is at most one a session.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::budget::{Decision, HandshakeBudget, HandshakeId};
use crate::clock;
use crate::metrics::Counters;
use crate::runtime::{Notify, timeout_at};
use crate::tls::HandshakeFacts;

/// All handshakes of control connections of one shard. Clones share them.
#[derive(Clone)]
pub struct Handshakes(Rc<Inner>);

struct Inner {
    budget: RefCell<HandshakeBudget>,
    /// What each is told.
    told: RefCell<BTreeMap<HandshakeId, Told>>,
    /// Who waits at the front of the line and keeps the time, and the time it was told.
    keeper: Cell<(Option<HandshakeId>, Option<Instant>)>,
    counters: Rc<Counters>,
}

#[derive(Clone, Default)]
struct Told {
    admitted: bool,
    shed: bool,
    news: Notify,
}

/// The right to one handshake, or a place in the line for it; given back when dropped.
pub struct Place {
    id: HandshakeId,
    /// The ClientHello has been seen; said only once.
    heard: bool,
    news: Notify,
    handshakes: Handshakes,
}

impl Handshakes {
    /// At most `max` at a time.
    #[must_use]
    pub fn new(max: usize, counters: Rc<Counters>) -> Self {
        Self(Rc::new(Inner {
            budget: RefCell::new(HandshakeBudget::new(max)),
            told: RefCell::default(),
            keeper: Cell::default(),
            counters,
        }))
    }

    /// Returns when a handshake may begin. May be dropped at any time.
    pub async fn enter(&self) -> Place {
        let (id, admitted) = self.0.budget.borrow_mut().arrive(clock::now());
        let news = Notify::new();
        let told = Told { admitted, shed: false, news: news.clone() };
        self.0.told.borrow_mut().insert(id, told);
        let place = Place { id, heard: false, news, handshakes: self.clone() };
        if !admitted {
            self.0.counters.handshakes_queued.increment();
        }
        loop {
            self.settle();
            if self.0.told.borrow().get(&id).is_some_and(|told| told.admitted) {
                return place;
            }
            // Who is next keeps the time for all who wait.
            let due = self.0.budget.borrow().poll_timeout().filter(|_| self.is_next(id));
            match due {
                Some(due) => drop(timeout_at(due, place.news.notified()).await),
                None => place.news.notified().await,
            }
        }
    }

    fn is_next(&self, id: HandshakeId) -> bool {
        self.0.budget.borrow().next_waiting() == Some(id)
    }

    /// Does what is due.
    fn settle(&self) {
        let inner = &self.0;
        loop {
            let decision = inner.budget.borrow_mut().poll(clock::now());
            let Some(decision) = decision else { break };
            let mut told = inner.told.borrow_mut();
            let (Decision::Admit(id) | Decision::Shed(id)) = decision;
            let Some(told) = told.get_mut(&id) else { continue };
            match decision {
                Decision::Admit(_) => told.admitted = true,
                Decision::Shed(_) => told.shed = true,
            }
            told.news.notify();
        }
        let budget = inner.budget.borrow();
        inner.counters.handshakes_most.raise_to(budget.in_progress());
        // Not only when another one is next: who goes, or is spared, changes the time as well.
        let keeper = (budget.next_waiting(), budget.poll_timeout());
        if inner.keeper.replace(keeper) != keeper
            && let (Some(next), _) = keeper
            && let Some(told) = inner.told.borrow().get(&next)
        {
            told.news.notify();
        }
    }
}

impl Place {
    /// The ClientHello has arrived. To be said as often as one likes.
    pub(crate) fn heard(&mut self) {
        if !self.heard {
            self.heard = true;
            self.spared();
        }
    }

    /// There is something of the client after all: [`Place::shed`] is answered.
    pub(crate) fn spared(&self) {
        let inner = &self.handshakes.0;
        if let Some(told) = inner.told.borrow_mut().get_mut(&self.id) {
            told.shed = false;
        }
        inner.budget.borrow_mut().heard(self.id, clock::now());
        self.handshakes.settle();
    }

    /// Whether the ClientHello has arrived.
    pub(crate) const fn is_heard(&self) -> bool {
        self.heard
    }

    /// Returns when this connection has to go, unless its client has sent something meanwhile.
    pub(crate) async fn shed(&self) {
        loop {
            let shed = self.handshakes.0.told.borrow().get(&self.id).is_some_and(|told| told.shed);
            if shed {
                return;
            }
            self.news.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let inner = &self.handshakes.0;
        inner.told.borrow_mut().remove(&self.id);
        inner.budget.borrow_mut().leave(self.id);
        self.handshakes.settle();
    }
}

/// Counts a completed handshake of a control connection.
pub(crate) fn count(counters: &Counters, facts: &HandshakeFacts) {
    counters.control_handshakes.increment();
    for (counter, applies) in [
        (&counters.control_handshakes_resumed, facts.resumption.is_resumed()),
        (&counters.control_handshakes_tls12, facts.version == "TLSv1.2"),
        (&counters.control_handshakes_post_quantum, facts.is_post_quantum()),
    ] {
        if applies {
            counter.increment();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, sleep_until, spawn, testing::on_shard};
    use std::time::Duration;

    fn one() -> Handshakes {
        Handshakes::new(1, Rc::default())
    }

    /// Whether the one in progress is told to go within a while.
    async fn is_shed(place: &Place) -> bool {
        timeout_at(clock::now() + Duration::from_secs(3), place.shed()).await.is_ok()
    }

    /// Who kept the time gives up: the next in line keeps it.
    #[test]
    fn the_time_is_kept_when_the_first_of_the_line_leaves() {
        on_shard(|| async {
            let handshakes = one();
            let silent = handshakes.enter().await;
            let mut first = Box::pin(handshakes.enter());
            assert!(poll_once(&mut first).await.is_none());
            let second = spawn({
                let handshakes = handshakes.clone();
                async move { handshakes.enter().await }
            });
            sleep_until(clock::now() + Duration::from_millis(20)).await;
            drop(first);
            assert!(is_shed(&silent).await);
            drop(silent);
            second.await;
        });
    }

    /// One that was told to go and was spared falls silent again: its time is kept, too.
    #[test]
    fn the_time_is_kept_when_one_is_spared() {
        on_shard(|| async {
            let handshakes = one();
            let mut slow = handshakes.enter().await;
            let next = spawn({
                let handshakes = handshakes.clone();
                async move { handshakes.enter().await }
            });
            assert!(is_shed(&slow).await);
            slow.heard();
            assert!(is_shed(&slow).await);
            drop(slow);
            next.await;
        });
    }
}
