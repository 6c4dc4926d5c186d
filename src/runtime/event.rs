//! Events within one shard: a [`Flag`] that stays up, and a [`Notify`] that is used up by the one
//! who sees it.

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

    /// Takes the flag down again.
    pub fn reset(&self) {
        self.0.raised.set(false);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.raised.get()
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
/// leaves nothing behind.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next_id: Cell<u64>,
    wakers: RefCell<Vec<(u64, Waker)>>,
}

impl Waiters {
    pub(super) fn waiter(&self) -> Waiter<'_> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        Waiter { waiters: self, id }
    }

    pub(super) fn wake_all(&self) {
        for (_, waker) in self.wakers.take() {
            waker.wake();
        }
    }
}

pub(super) struct Waiter<'a> {
    waiters: &'a Waiters,
    id: u64,
}

impl Waiter<'_> {
    /// Registers the task and is never ready.
    pub(super) fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        let mut wakers = self.waiters.wakers.borrow_mut();
        match wakers.iter_mut().find(|(id, _)| *id == self.id) {
            Some((_, waker)) => waker.clone_from(cx.waker()),
            None => wakers.push((self.id, cx.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.wakers.borrow_mut().retain(|(id, _)| *id != self.id);
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
            assert!(flag.0.waiters.wakers.borrow().is_empty(), "dropped waiters left something");
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
