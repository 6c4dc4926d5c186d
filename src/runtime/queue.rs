//! Task queues: which tasks of a shard get how much of it when all want it. Knows no task.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use glommio::{Latency, Shares, TaskQueueHandle};

use super::Task;

/// How long tasks may run before the executor looks for new input again. Its own value of 100 ms
/// lets a command wait that long behind a flood of handshakes; each look costs a few microseconds.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_micros(500);

/// Shares of a queue that wants all it can get; the executor knows no more.
const SHARES_MAX: usize = 1000;

/// A queue of tasks. Queues that have tasks to run get time in proportion to their shares; one
/// alone gets all of it. A task stays in the queue it was started in, and [`super::spawn`] starts
/// tasks in the queue of the caller.
#[derive(Clone, Copy, Debug)]
pub struct Queue(TaskQueueHandle);

impl Queue {
    /// A new queue of the calling shard, with 1 to 1000 shares; values outside are clamped.
    ///
    /// # Panics
    ///
    /// Outside a shard.
    #[must_use]
    pub fn new(name: &str, shares: usize) -> Self {
        let shares = Shares::Static(shares.clamp(1, SHARES_MAX));
        Self(glommio::executor().create_task_queue(shares, Latency::NotImportant, name))
    }

    /// Starts `future` as a task of this queue, which must be one of the calling shard.
    ///
    /// # Panics
    ///
    /// Outside the shard that made the queue.
    pub fn spawn<T: 'static>(self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let task = glommio::spawn_local_into(future, self.0);
        Task(task.expect("queues live as long as their shard"))
    }
}

/// Ends the turn of the running task's queue when the task next waits or ends, so that another
/// queue with a better claim runs before the next task of this one. For tasks that have just done
/// something dear: the executor alone would go on in this queue up to its next look for input.
///
/// # Panics
///
/// Outside a task of a shard.
pub fn end_turn() {
    // The executor's future marks the queue in its first poll, and then would only have the task
    // itself go to the back of the queue.
    let executor = glommio::executor();
    let mut turn = pin!(executor.yield_task_queue_now());
    let _ = turn.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::{self, testing::on_shard};
    use std::{cell::Cell, rc::Rc, time::Instant};

    fn work(span: Duration) {
        let start = clock::now();
        while clock::now() - start < span {
            std::hint::spin_loop();
        }
    }

    /// Tasks that never wait, in two queues: each queue gets its share of the turns.
    #[test]
    fn busy_queues_get_time_by_their_shares() {
        on_shard(|| async {
            let counts = [("large", 900), ("small", 100)].map(|(name, shares)| {
                let count = Rc::new(Cell::new(0_u32));
                let (queue, counted) = (Queue::new(name, shares), count.clone());
                queue
                    .spawn(async move {
                        loop {
                            work(Duration::from_micros(100));
                            counted.set(counted.get() + 1);
                            end_turn();
                            runtime::yield_now().await;
                        }
                    })
                    .detach();
                count
            });
            runtime::testing::pause(400).await;
            let [large, small] = counts.map(|count| count.get());
            assert!(small > 0, "starved");
            // Nine to one on a quiet machine; what else runs there is counted as the queue's own.
            assert!(large > 2 * small, "{large} to {small}");
        });
    }

    /// One that was asleep runs after the task at hand, not after all that wait in another queue.
    #[test]
    fn a_turn_that_ends_lets_the_other_queue_in() {
        on_shard(|| async {
            let (busy, other) = (Queue::new("busy", 100), Queue::new("other", 1000));
            let seen: Rc<Cell<Option<Instant>>> = Rc::default();
            let done = Rc::new(Cell::new(0));
            let before = Rc::new(Cell::new(0));
            for number in 0..10 {
                let (seen, done, before) = (seen.clone(), done.clone(), before.clone());
                busy.spawn(async move {
                    if number == 0 {
                        let done = done.clone();
                        other
                            .spawn(async move {
                                seen.set(Some(clock::now()));
                                before.set(done.get());
                            })
                            .detach();
                    }
                    work(Duration::from_micros(200));
                    done.set(done.get() + 1);
                    end_turn();
                })
                .detach();
            }
            assert!(runtime::testing::eventually(|| seen.get().is_some()).await);
            assert!(before.get() <= 2, "{} tasks went first", before.get());
        });
    }
}
