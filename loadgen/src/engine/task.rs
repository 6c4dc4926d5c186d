//! Tasks, timers and events of one thread.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
    time::Instant,
};

/// Returns once `deadline` has passed.
pub async fn sleep_until(deadline: Instant) {
    ringftpd_reactor::sleep_until(deadline).await;
}

/// Runs `future` until `deadline`; a result that is ready at the deadline wins. `None`: the
/// deadline passed, and the future has been dropped.
pub async fn timeout_at<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    super::race(async { Some(future.await) }, async {
        sleep_until(deadline).await;
        None
    })
    .await
}

/// Gives way to other tasks when it is time to look for input.
pub async fn yield_if_needed() {
    if ringftpd_reactor::turn_is_over() {
        ringftpd_reactor::yield_now().await;
    }
}

/// A latch: once set it stays set, and every waiter sees it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Flag(Rc<Signal>);

impl Flag {
    /// Sets the flag and wakes all who wait.
    pub fn set(&self) {
        self.0.raised.set(true);
        self.0.wake();
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.raised.get()
    }

    /// Returns once the flag is set. May be dropped at any time.
    pub async fn wait(&self) {
        self.0.until(|| self.is_set()).await;
    }
}

/// A latched event: one waiter uses it up; without a waiter it is kept for the next. Clones share
/// it.
#[derive(Debug, Clone, Default)]
pub struct Notify(Rc<Signal>);

impl Notify {
    /// Says that it happened.
    pub fn notify(&self) {
        self.0.raised.set(true);
        self.0.wake();
    }

    /// Returns once it happened, and uses that up.
    pub async fn notified(&self) {
        self.0.until(|| self.0.raised.replace(false)).await;
    }
}

/// Tasks that end together. Clones share the group.
#[derive(Debug, Clone, Default)]
pub struct TaskGroup {
    live: Rc<Cell<usize>>,
    changed: Notify,
    ending: Flag,
}

impl TaskGroup {
    /// Starts `future` as a task of the calling thread and of this group.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.live.set(self.live.get() + 1);
        let member = Member(self.clone());
        let ending = self.ending.clone();
        ringftpd_reactor::spawn(async move {
            super::race(future, ending.wait()).await;
            drop(member);
        })
        .detach();
    }

    /// How many tasks run.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live.get()
    }

    /// Whether no task runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns when no task runs. One waiter at a time.
    pub async fn idle(&self) {
        while !self.is_empty() {
            self.changed.notified().await;
        }
    }

    /// Ends each task at the await it is in; returns when all they owned is dropped.
    pub async fn end(&self) {
        self.ending.set();
        self.idle().await;
    }
}

struct Member(TaskGroup);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.live.set(self.0.live.get() - 1);
        if self.0.is_empty() {
            self.0.changed.notify();
        }
    }
}

/// A waiting task keeps one waker, however often it is polled, and leaves nothing behind.
#[derive(Debug, Default)]
struct Signal {
    raised: Cell<bool>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Signal {
    fn wake(&self) {
        // Collected first: what a wake runs may register or drop a waiter.
        let woken: Vec<Waker> =
            self.wakers.borrow_mut().iter_mut().filter_map(Option::take).collect();
        woken.into_iter().for_each(Waker::wake);
    }

    async fn until(&self, mut done: impl FnMut() -> bool) {
        let mut waiter = Waiter { signal: self, index: None };
        poll_fn(|cx| {
            if done() {
                return Poll::Ready(());
            }
            waiter.register(cx.waker());
            Poll::Pending
        })
        .await;
    }
}

/// A waiting task's place among the wakers.
struct Waiter<'a> {
    signal: &'a Signal,
    index: Option<usize>,
}

impl Waiter<'_> {
    fn register(&mut self, waker: &Waker) {
        let mut wakers = self.signal.wakers.borrow_mut();
        let index = *self.index.get_or_insert_with(|| {
            self.signal.free.borrow_mut().pop().unwrap_or_else(|| {
                wakers.push(None);
                wakers.len() - 1
            })
        });
        wakers[index] = Some(waker.clone());
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if let Some(index) = self.index {
            let waker = self.signal.wakers.borrow_mut()[index].take();
            self.signal.free.borrow_mut().push(index);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Flag, Notify, TaskGroup, sleep_until, timeout_at};
    use crate::engine::{poll_once, start};

    #[test]
    fn groups_end_their_tasks_and_events_wake_them() {
        let thread = start("test", None, || async {
            let (group, flag, ran) = (TaskGroup::default(), Flag::default(), Notify::default());
            for _ in 0..100 {
                let (flag, ran) = (flag.clone(), ran.clone());
                group.spawn(async move {
                    flag.wait().await;
                    ran.notify();
                });
            }
            assert!(poll_once(group.idle()).await.is_none());
            flag.set();
            group.idle().await;
            ran.notified().await;
            assert!(poll_once(ran.notified()).await.is_none());
            let held = std::rc::Rc::new(());
            let inside = std::rc::Rc::clone(&held);
            group.spawn(async move {
                std::future::pending::<()>().await;
                drop(inside);
            });
            group.end().await;
            std::rc::Rc::strong_count(&held)
        });
        assert_eq!(thread.unwrap().join().unwrap(), 1);
    }

    #[test]
    fn deadlines() {
        let thread = start("test", None, || async {
            let begin = Instant::now();
            let late = begin + Duration::from_millis(20);
            assert_eq!(timeout_at(late, std::future::pending::<()>()).await, None);
            assert!(Instant::now() >= late);
            assert_eq!(timeout_at(begin, async { 7 }).await, Some(7));
            sleep_until(begin).await;
        });
        thread.unwrap().join().unwrap();
    }
}
