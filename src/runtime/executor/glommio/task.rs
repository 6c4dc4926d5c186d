//! Tasks, queues, timers, and giving way.

use std::{
    cell::Cell,
    fmt,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use ::glommio::{Latency, Shares, TaskQueueHandle};

use crate::clock;

/// As [`crate::runtime::Task`].
#[must_use = "dropping a task ends it; detach it to let it run"]
pub(in crate::runtime) struct Task<T>(::glommio::Task<T>);

/// Starts `future` as a task of the caller's queue.
pub(in crate::runtime) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    // Not `spawn_local`, which polls the task at once, in the middle of its starter.
    let executor = ::glommio::executor();
    let task = executor.spawn_local_into(future, executor.current_task_queue());
    Task(task.expect("queues live as long as their shard"))
}

impl<T> Task<T> {
    /// Ends the task at the await it is in and waits until all it owned is dropped.
    pub(in crate::runtime) async fn cancel(self) -> Option<T> {
        self.0.cancel().await
    }

    /// Lets the task run on without an owner.
    pub(in crate::runtime) fn detach(self) {
        drop(self.0.detach());
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// A queue of tasks.
#[derive(Clone, Copy, Debug)]
pub(in crate::runtime) struct Queue(TaskQueueHandle);

impl Queue {
    /// A new queue of the calling shard.
    pub(in crate::runtime) fn new(name: &str) -> Self {
        let (shares, latency) = (Shares::default(), Latency::NotImportant);
        Self(::glommio::executor().create_task_queue(shares, latency, name))
    }

    /// Starts `future` as a task of this queue.
    pub(in crate::runtime) fn spawn<T: 'static>(
        self,
        future: impl Future<Output = T> + 'static,
    ) -> Task<T> {
        let task = ::glommio::spawn_local_into(future, self.0);
        Task(task.expect("queues live as long as their shard"))
    }

    /// As [`crate::runtime::Queue::enter`]: a task has its queue for life.
    #[expect(clippy::unused_self, reason = "the reactor's does something")]
    pub(in crate::runtime) const fn enter(self) -> bool {
        false
    }

    /// How long tasks of this queue have run since the last call.
    pub(super) fn take_runtime(self) -> Duration {
        // The executor starts its own count again.
        let stats = ::glommio::executor().task_queue_stats(self.0);
        stats.map(|stats| stats.runtime()).unwrap_or_default()
    }
}

/// Ends the turn of the running task's queue when the task next waits or ends.
pub(in crate::runtime) fn end_turn() {
    // The executor's future marks the queue in its first poll, and then would only have the task
    // itself go to the back of the queue.
    let executor = ::glommio::executor();
    let mut turn = pin!(executor.yield_task_queue_now());
    let _ = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// It knows queues and tasks, not whose they are: tasks of a queue run in the order in which they
/// became ready.
pub(in crate::runtime) const fn work_for(_user: u64) {}

/// Gives way when this task has run for its time slice.
pub(in crate::runtime) async fn yield_if_needed() {
    ::glommio::yield_if_needed().await;
}

thread_local! {
    /// When a task that gives way last saw that the executor had polled for input.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Longest time between two polls for input while tasks that [`give_way`] are running. A poll costs
/// some ten microseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Lets every other ready task run, and from time to time the executor poll for input. It does so
/// by itself when its time slice is over, which is ten times as long: half a dozen round trips
/// beside a task that is always ready would take half a dozen of them.
pub(in crate::runtime) async fn give_way() {
    let now = clock::now();
    // The executor counts from the last call on, at each poll.
    let looked = !::glommio::executor().executor_stats().total_runtime().is_zero();
    match LOOKED.get() {
        Some(last) if !looked && now - last >= LOOK_INTERVAL => {
            // Not reached before it has polled.
            sleep_until(now + Duration::from_micros(1)).await;
        }
        last => {
            if looked || last.is_none() {
                LOOKED.set(Some(now));
            }
            crate::runtime::yield_now().await;
        }
    }
}

/// Returns once `deadline` has passed.
pub(in crate::runtime) async fn sleep_until(deadline: Instant) {
    ::glommio::timer::Timer::new(deadline.saturating_duration_since(clock::now())).await;
}

/// As [`crate::runtime::watch_turns`]: glommio has no place from which its turns are seen.
pub(in crate::runtime) fn watch_turns(_watcher: impl Fn(Instant, Duration) + 'static) -> bool {
    false
}
