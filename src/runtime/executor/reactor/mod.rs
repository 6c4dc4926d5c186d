//! The shards on the reactor of `src/reactor`. Little is left to do: its turns have budgets, its
//! queues have shares, and what it has begun belongs to the ring until it has ended.

mod file;
mod socket;
mod thread;

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ringftpd_reactor as reactor;

pub(crate) use file::{File, Octets, Read};
pub(in crate::runtime) use reactor::{Bell, Listening, Ringer};
pub(in crate::runtime) use socket::{Descriptor, Watched};
pub(in crate::runtime) use thread::{LOCKED_MEMORY, Thread, check, start};

/// As [`crate::runtime::Task`].
#[must_use = "dropping a task ends it; detach it to let it run"]
pub(in crate::runtime) struct Task<T>(reactor::Task<T>);

/// Starts `future` as a task of the caller's queue.
pub(in crate::runtime) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(reactor::spawn(future))
}

impl<T> Task<T> {
    /// Ends the task and drops all it owned.
    #[expect(clippy::unused_async, reason = "glommio has to wait for it")]
    pub(in crate::runtime) async fn cancel(self) -> Option<T> {
        self.0.cancel()
    }

    /// Lets the task run on without an owner.
    pub(in crate::runtime) fn detach(self) {
        self.0.detach();
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// A queue of tasks.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Queue(reactor::Queue);

impl Queue {
    /// A new queue of the calling shard.
    pub(in crate::runtime) fn new(_name: &str) -> Self {
        Self(reactor::Queue::new(reactor::Queue::SHARE))
    }

    /// Starts `future` as a task of this queue.
    pub(in crate::runtime) fn spawn<T: 'static>(
        self,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        Task(self.0.spawn(future))
    }

    /// As [`crate::runtime::Queue::enter`].
    pub(in crate::runtime) fn enter(self) -> bool {
        self.0.enter();
        true
    }

    fn set_share(self, percent: u8) {
        self.0.set_share(percent.into());
    }
}

/// Returns once `deadline` has passed.
pub(in crate::runtime) async fn sleep_until(deadline: Instant) {
    reactor::sleep_until(deadline).await;
}

/// As [`crate::runtime::work_for`].
pub(in crate::runtime) fn work_for(user: u64) {
    reactor::set_group(user);
}

/// Gives way when the turn is over.
pub(in crate::runtime) async fn yield_if_needed() {
    if reactor::turn_is_over() {
        reactor::yield_now().await;
    }
}

/// Lets every other ready task run. Input is looked for when the turn is over.
pub(in crate::runtime) async fn give_way() {
    reactor::yield_now().await;
}

/// As [`crate::runtime::watch_turns`].
pub(in crate::runtime) fn watch_turns(watcher: impl Fn(Instant, Duration) + 'static) -> bool {
    reactor::watch_turns(watcher);
    true
}

/// The reactor charges each step to its queue, so there is nothing to end.
pub(in crate::runtime) const fn end_turn() {}

/// As [`crate::runtime::Pacer`]: two shares, a ration, and the budget of a turn.
#[derive(Debug)]
pub(in crate::runtime) struct Pacer {
    /// Tasks that have asked for a turn and not got it.
    waiting: Cell<u32>,
}

impl Pacer {
    /// For the tasks of `paced`, which get `percent` of the time that those of `favoured` would
    /// fill.
    pub(in crate::runtime) fn new(paced: Queue, favoured: Queue, percent: u8) -> Self {
        paced.set_share(percent);
        favoured.set_share(100 - percent);
        paced.0.ration(favoured.0, percent);
        Self { waiting: Cell::new(0) }
    }

    /// Turns are short for a while.
    #[expect(clippy::unused_self, reason = "glommio's has a state")]
    pub(in crate::runtime) fn note_input(&self) {
        reactor::note_input();
    }

    /// Returns when the calling task may do one step: within the budget of a turn at once, unless
    /// others wait. Which of them is next, the queue says.
    pub(in crate::runtime) async fn turn(&self) {
        if self.waiting.get() > 0 || reactor::turn_is_over() {
            let _waiting = Waiting::new(&self.waiting);
            reactor::yield_now().await;
        }
    }
}

/// Counts a task that waits for its turn.
struct Waiting<'a>(&'a Cell<u32>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A way to wake a task of the shard from any thread.
///
/// # Errors
///
/// None.
#[expect(clippy::unnecessary_wraps, reason = "glommio's needs a pair of sockets")]
pub(in crate::runtime) fn bell() -> std::io::Result<(Ringer, Bell)> {
    Ok(reactor::bell())
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
