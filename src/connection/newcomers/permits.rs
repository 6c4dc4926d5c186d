//! The shard's handshakes of control connections: a bounded number of permits, and the tasks that
//! wait for one. `budget` decides which gets a permit and which is evicted.
//!
//! Handshakes of data connections are not counted here and run in the queue of the sessions: their
//! client has proved itself, a transfer waits for them, and a port makes 8 at a time at most.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::budget::{Decision, HandshakeBudget, HandshakeId};
use crate::clock;
use crate::metrics::Counters;
use crate::runtime::{Notify, timeout_at};
use crate::tls::{HandshakeFacts, TlsVersion};

/// All handshakes of control connections of one shard. Clones share them.
#[derive(Clone)]
pub struct Handshakes(Rc<Inner>);

struct Inner {
    budget: RefCell<HandshakeBudget>,
    /// Pending signals, by handshake.
    signals: RefCell<BTreeMap<HandshakeId, Signals>>,
    /// The first waiter runs the timer for all: its id, and its deadline.
    timer_owner: Cell<(Option<HandshakeId>, Option<Instant>)>,
    counters: Rc<Counters>,
}

#[derive(Clone, Default)]
struct Signals {
    admitted: bool,
    evicted: bool,
    news: Notify,
}

/// The right to one handshake, or a turn in the queue for it; given back when dropped.
pub struct HandshakePermit {
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
            signals: RefCell::default(),
            timer_owner: Cell::default(),
            counters,
        }))
    }

    /// From now on at most `max` at a time. Those above it go on.
    pub fn set_max(&self, max: usize) {
        self.0.budget.borrow_mut().set_max(max);
        self.settle();
    }

    /// Returns when a handshake may begin. May be dropped at any time.
    pub async fn enter(&self) -> HandshakePermit {
        let (id, admitted) = self.0.budget.borrow_mut().arrive(clock::now());
        let news = Notify::new();
        let signals = Signals { admitted, evicted: false, news: news.clone() };
        self.0.signals.borrow_mut().insert(id, signals);
        let permit = HandshakePermit { id, heard: false, news, handshakes: self.clone() };
        if !admitted {
            self.0.counters.handshakes_queued.increment();
        }
        loop {
            self.settle();
            if self.0.signals.borrow().get(&id).is_some_and(|signals| signals.admitted) {
                return permit;
            }
            // The first waiter runs the timer for all.
            let due = self.0.budget.borrow().poll_timeout().filter(|_| self.is_next(id));
            match due {
                Some(due) => drop(timeout_at(due, permit.news.notified()).await),
                None => permit.news.notified().await,
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
            let mut signals = inner.signals.borrow_mut();
            let (Decision::Admit(id) | Decision::Evict(id)) = decision;
            let Some(signals) = signals.get_mut(&id) else { continue };
            match decision {
                Decision::Admit(_) => signals.admitted = true,
                Decision::Evict(_) => signals.evicted = true,
            }
            signals.news.notify();
        }
        let budget = inner.budget.borrow();
        inner.counters.handshakes_most.raise_to(budget.in_progress());
        // Also when the first waiter is the same: an eviction or a reprieve moves the deadline.
        let timer_owner = (budget.next_waiting(), budget.poll_timeout());
        if inner.timer_owner.replace(timer_owner) != timer_owner
            && let (Some(next), _) = timer_owner
            && let Some(signals) = inner.signals.borrow().get(&next)
        {
            signals.news.notify();
        }
    }
}

impl HandshakePermit {
    /// Records that the ClientHello arrived. Idempotent.
    pub(crate) fn on_client_hello(&mut self) {
        if !self.heard {
            self.heard = true;
            self.keep();
        }
    }

    /// The client sent data after all: cancels a pending eviction.
    pub(crate) fn keep(&self) {
        let inner = &self.handshakes.0;
        if let Some(signals) = inner.signals.borrow_mut().get_mut(&self.id) {
            signals.evicted = false;
        }
        inner.budget.borrow_mut().heard(self.id, clock::now());
        self.handshakes.settle();
    }

    /// Whether the ClientHello has arrived.
    pub(crate) const fn is_heard(&self) -> bool {
        self.heard
    }

    /// Returns when this handshake is evicted, unless its client has sent something meanwhile.
    pub(crate) async fn evicted(&self) {
        loop {
            let evicted = self
                .handshakes
                .0
                .signals
                .borrow()
                .get(&self.id)
                .is_some_and(|signals| signals.evicted);
            if evicted {
                return;
            }
            self.news.notified().await;
        }
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let inner = &self.handshakes.0;
        inner.signals.borrow_mut().remove(&self.id);
        inner.budget.borrow_mut().leave(self.id);
        self.handshakes.settle();
    }
}

/// Counts a completed handshake of a control connection.
pub(crate) fn count(counters: &Counters, facts: &HandshakeFacts) {
    counters.control_handshakes.increment();
    for (counter, applies) in [
        (&counters.control_handshakes_resumed, facts.resumption.is_resumed()),
        (&counters.control_handshakes_tls12, facts.version == TlsVersion::Tls12),
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

    /// Whether the handshake in progress is evicted within a while.
    async fn is_evicted(permit: &HandshakePermit) -> bool {
        timeout_at(clock::now() + Duration::from_secs(3), permit.evicted()).await.is_ok()
    }

    /// The first waiter, which runs the timer, gives up: the next one runs it.
    #[test]
    fn the_timer_runs_on_when_the_first_waiter_leaves() {
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
            assert!(is_evicted(&silent).await);
            drop(silent);
            second.await;
        });
    }

    /// A handshake whose eviction was cancelled falls silent again: it is evicted all the same.
    #[test]
    fn the_timer_runs_on_when_an_eviction_is_cancelled() {
        on_shard(|| async {
            let handshakes = one();
            let mut slow = handshakes.enter().await;
            let next = spawn({
                let handshakes = handshakes.clone();
                async move { handshakes.enter().await }
            });
            assert!(is_evicted(&slow).await);
            slow.on_client_hello();
            assert!(is_evicted(&slow).await);
            drop(slow);
            next.await;
        });
    }
}
