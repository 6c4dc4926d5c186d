//! Tasks that end together.

use std::{cell::Cell, future::Future, panic::AssertUnwindSafe, pin::pin, rc::Rc};

use futures_lite::FutureExt;

use super::{Flag, Queue, spawn};

/// Tasks that end together: those of a shard before the shard ends, those of a session with it.
/// Clones share the group.
#[derive(Debug, Clone)]
pub struct TaskGroup {
    live: Rc<Cell<usize>>,
    empty: Flag,
    ending: Flag,
}

impl TaskGroup {
    /// A group without tasks.
    #[must_use]
    pub fn new() -> Self {
        let empty = Flag::new();
        empty.set();
        Self { live: Rc::default(), empty, ending: Flag::new() }
    }

    /// Starts `future` as a task of the calling shard and of this group. In a group that is ending
    /// it runs to its first await only. A panic ends this task alone; other sessions of the shard
    /// go on.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        spawn(self.member(future)).detach();
    }

    /// As [`TaskGroup::spawn`], as a task of `queue`.
    pub fn spawn_into(&self, queue: Queue, future: impl Future<Output = ()> + 'static) {
        queue.spawn(self.member(future)).detach();
    }

    fn member<F: Future<Output = ()>>(&self, future: F) -> impl Future<Output = ()> + use<F> {
        self.live.set(self.live.get() + 1);
        self.empty.reset();
        let member = Member(self.clone());
        // Boxed because each future around another holds room for it twice, as its argument and
        // where it runs: unboxed, a session's task is three times the size of its future.
        let future = Box::pin(future);
        // Boxed as well, for the same reason: around it is what the log inherits.
        Box::pin(async move {
            let ending = member.0.ending.clone();
            let guarded = AssertUnwindSafe(future).catch_unwind();
            let mut ended = pin!(async {
                ending.wait().await;
                Ok(())
            });
            if super::race(guarded, ended.as_mut()).await.is_err() {
                tracing::error!("a task panicked and was ended; please report this");
            }
            drop(member);
        })
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

    /// Returns when no task runs.
    pub async fn idle(&self) {
        self.empty.wait().await;
    }

    /// Ends each task at the await it is in, and returns when all they owned is dropped.
    pub async fn end(&self) {
        self.ending.set();
        self.idle().await;
    }
}

impl Default for TaskGroup {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a running task.
struct Member(TaskGroup);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.live.set(self.0.live.get() - 1);
        if self.0.is_empty() {
            self.0.empty.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    #[test]
    fn a_group_ends_its_tasks_and_knows_when_the_last_one_ended() {
        on_shard(|| async {
            let group = TaskGroup::new();
            group.idle().await;
            let (go, dropped) = (Flag::new(), Rc::new(()));
            for _ in 0..1000 {
                let (go, dropped) = (go.clone(), Rc::clone(&dropped));
                group.spawn(async move {
                    go.wait().await;
                    drop(dropped);
                });
            }
            assert!(poll_once(group.idle()).await.is_none());
            go.set();
            group.idle().await;
            assert_eq!(Rc::strong_count(&dropped), 1);

            go.reset();
            for _ in 0..10 {
                let (go, dropped) = (go.clone(), Rc::clone(&dropped));
                group.spawn(async move {
                    go.wait().await;
                    drop(dropped);
                });
            }
            group.end().await;
            assert_eq!((group.len(), Rc::strong_count(&dropped)), (0, 1));
        });
    }
}
