//! Events within one shard: a [`Flag`] that stays set, and a [`Notify`] that one waiter consumes.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// A latch: once set it stays set until it is reset, and every waiter sees it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Flag(Rc<Signal>);

impl Flag {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and wakes all who wait.
    pub fn set(&self) {
        self.0.raised.set(true);
        self.0.waiters.wake_all();
    }

    /// Resets the flag. A waiter that has not run since [`Flag::set`] goes on waiting.
    pub fn reset(&self) {
        self.0.raised.set(false);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.raised.get()
    }

    /// Whether `other` is a clone of this one.
    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Returns once the flag is set. May be dropped at any time.
    pub async fn wait(&self) {
        let mut waiter = self.0.waiters.waiter();
        poll_fn(|cx| if self.is_set() { Poll::Ready(()) } else { waiter.wait(cx) }).await;
    }
}

/// A latched event: a notification without a waiter is kept for the next one, several kept are
/// one, and one waiter uses it up. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Notify(Rc<Signal>);

impl Notify {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that it happened.
    pub fn notify(&self) {
        self.0.raised.set(true);
        self.0.waiters.wake_all();
    }

    /// Returns once it happened, and uses that up. A future dropped before it returned has used
    /// up nothing.
    pub async fn notified(&self) {
        let mut waiter = self.0.waiters.waiter();
        poll_fn(|cx| if self.0.raised.replace(false) { Poll::Ready(()) } else { waiter.wait(cx) })
            .await;
    }
}

#[derive(Debug, Default)]
struct Signal {
    raised: Cell<bool>,
    waiters: Waiters,
}

/// The tasks that wait for one thing. All are woken and look again; a waiter that is dropped
/// leaves nothing behind. A waiter keeps its slot, so thousands may wait on one flag and each be
/// polled often.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    slots: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Waiters {
    pub(super) const fn waiter(&self) -> Waiter<'_> {
        Waiter { waiters: self, slot: None }
    }

    pub(super) fn wake_all(&self) {
        // Collected first: what a wake runs may register or drop a waiter.
        let woken: Vec<Waker> =
            self.slots.borrow_mut().iter_mut().filter_map(Option::take).collect();
        woken.into_iter().for_each(Waker::wake);
    }
}

pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    slot: Option<usize>,
}

impl Waiter<'_> {
    /// Registers the task and is never ready.
    pub(super) fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        let mut slots = self.waiters.slots.borrow_mut();
        let slot = *self.slot.get_or_insert_with(|| {
            self.waiters.free.borrow_mut().pop().unwrap_or_else(|| {
                if slots.is_empty() {
                    // Most things are waited for by one task.
                    slots.reserve_exact(1);
                }
                slots.push(None);
                slots.len() - 1
            })
        });
        match &mut slots[slot] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let waker = self.waiters.slots.borrow_mut()[slot].take();
            let mut free = self.waiters.free.borrow_mut();
            if free.is_empty() {
                free.reserve_exact(1);
            }
            free.push(slot);
            drop(free);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, spawn, testing::on_shard};

    #[test]
    fn a_flag_wakes_everybody_and_stays() {
        on_shard(|| async {
            let flag = Flag::new();
            let tasks = [0, 1, 2].map(|_| {
                let flag = flag.clone();
                spawn(async move { flag.wait().await })
            });
            assert!(poll_once(flag.wait()).await.is_none());
            assert!(!flag.is_set());
            flag.set();
            for task in tasks {
                task.await;
            }
            flag.wait().await;
            flag.reset();
            assert!(poll_once(flag.wait()).await.is_none());
            let slots = flag.0.waiters.slots.borrow();
            assert!(slots.len() <= 4 && slots.iter().all(Option::is_none), "{slots:?}");
        });
    }

    #[test]
    fn a_notification_is_kept_and_used_up() {
        on_shard(|| async {
            let notify = Notify::new();
            notify.notify();
            notify.notify();
            notify.notified().await;
            assert!(poll_once(notify.notified()).await.is_none());
            let waiting = spawn({
                let notify = notify.clone();
                async move { notify.notified().await }
            });
            crate::runtime::yield_now().await;
            notify.notify();
            waiting.await;
        });
    }
}
