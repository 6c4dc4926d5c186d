//! Task queues: which tasks of a shard belong together. Knows no task.

use super::log_of::inherit;
use super::{Task, executor};

/// A queue of tasks. A task stays in the queue it was started in until it [enters](Queue::enter)
/// another, and [`super::spawn`] starts tasks in the queue of the caller. Queues with tasks to run
/// take turns; how much is done in one is decided by [`end_turn`] and [`super::Pacer`].
#[derive(Clone, Copy, Debug)]
pub struct Queue(Handle);

#[derive(Clone, Copy, Debug)]
enum Handle {
    Executor(executor::Queue),
    /// All tasks of a simulated shard are in one queue; the seed says which is next, and the name
    /// is only written down.
    #[cfg(test)]
    Simulated(&'static str),
}

impl Queue {
    /// A new queue of the calling shard.
    ///
    /// # Panics
    ///
    /// Outside a shard.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        #[cfg(test)]
        if super::simulated::current().is_some() {
            return Self(Handle::Simulated(name));
        }
        Self(Handle::Executor(executor::Queue::new(name)))
    }

    /// Starts `future` as a task of this queue, which must be one of the calling shard.
    ///
    /// # Panics
    ///
    /// Outside the shard that made the queue.
    pub fn spawn<T: 'static>(self, future: impl Future<Output = T> + 'static) -> Task<T> {
        match self.0 {
            Handle::Executor(queue) => Task::new(queue.spawn(inherit(future))),
            #[cfg(test)]
            Handle::Simulated(name) => {
                if let Some(simulation) = super::simulated::current() {
                    simulation.work_in(name);
                }
                super::spawn(future)
            }
        }
    }

    /// Has the running task go on in this queue, which must be one of its shard, from its next wait
    /// on. False, and nothing is changed, where the executor cannot do that: a new task has to.
    ///
    /// # Panics
    ///
    /// Outside a task of the shard that made the queue.
    #[must_use]
    pub fn enter(self) -> bool {
        match self.0 {
            Handle::Executor(queue) => queue.enter(),
            #[cfg(test)]
            Handle::Simulated(name) => {
                if let Some(simulation) = super::simulated::current() {
                    simulation.work_in(name);
                }
                true
            }
        }
    }

    /// As the executor knows it.
    #[cfg_attr(not(test), expect(clippy::unnecessary_wraps, reason = "a simulated one has none"))]
    pub(super) const fn executor(self) -> Option<executor::Queue> {
        match self.0 {
            Handle::Executor(queue) => Some(queue),
            #[cfg(test)]
            Handle::Simulated(_) => None,
        }
    }
}

/// Ends the turn of the running task's queue when the task next waits or ends, so that another
/// queue runs before the next task of this one. For tasks that have just done an expensive step.
///
/// # Panics
///
/// Outside a task of a shard.
pub fn end_turn() {
    #[cfg(test)]
    if super::simulated::current().is_some() {
        return;
    }
    executor::end_turn();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::{testing::eventually, testing::on_shard};
    use std::{cell::Cell, rc::Rc, time::Duration};

    /// One that was asleep runs after the task at hand, not after all that wait in another queue.
    #[test]
    fn a_turn_that_ends_lets_the_other_queue_in() {
        on_shard(|| async {
            let (busy, other) = (Queue::new("busy"), Queue::new("other"));
            let seen: Rc<Cell<Option<usize>>> = Rc::default();
            let done = Rc::new(Cell::new(0));
            for number in 0..10 {
                let (seen, done) = (seen.clone(), done.clone());
                busy.spawn(async move {
                    if number == 0 {
                        let done = done.clone();
                        other.spawn(async move { seen.set(Some(done.get())) }).detach();
                    }
                    let start = clock::now();
                    while clock::now() - start < Duration::from_micros(200) {}
                    done.set(done.get() + 1);
                    end_turn();
                })
                .detach();
            }
            assert!(eventually(|| seen.get().is_some()).await);
            assert!(seen.get().unwrap() <= 2, "{seen:?} tasks went first");
        });
    }
}
