//! Tasks of the shard they are spawned on.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures_lite::FutureExt;

#[cfg(test)]
use super::simulated;
use super::{Flag, Queue, executor};

/// Starts `future` as a task of the calling shard.
///
/// # Panics
///
/// Outside a shard.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    #[cfg(test)]
    if let Some(simulation) = simulated::current() {
        return Task(Handle::Simulated(simulation.spawn(future)));
    }
    Task::new(executor::spawn(future))
}

/// Says for whom the running task works from its next wait on, and with it the tasks it starts: a
/// user, or a client's network, by number. Of a queue's tasks, those of one user take turns with
/// those of another, so that a user with many sessions does not delay the others. (An executor that
/// cannot do that serves one task after the other.)
///
/// # Panics
///
/// Outside a shard.
pub fn work_for(user: u64) {
    #[cfg(test)]
    if let Some(simulation) = simulated::current() {
        return simulation.work_for(user);
    }
    executor::work_for(user);
}

/// Gives way to other tasks of the shard when it is time to; otherwise returns at once. Loops that
/// can be kept busy by a peer call it each round.
pub async fn yield_if_needed() {
    #[cfg(test)]
    if simulated::current().is_some() {
        return super::yield_now().await;
    }
    executor::yield_if_needed().await;
}

/// Lets every other ready task run, and from time to time the executor look for input, so that
/// others become ready. Loops that move much call it after each piece.
pub async fn give_way() {
    #[cfg(test)]
    if simulated::current().is_some() {
        return super::yield_now().await;
    }
    executor::give_way().await;
}

/// A running task. Awaiting it gives its result; dropping it ends it at its next await.
#[must_use = "dropping a task ends it; detach it to let it run"]
pub struct Task<T>(Handle<T>);

enum Handle<T> {
    Executor(executor::Task<T>),
    #[cfg(test)]
    Simulated(simulated::SimulatedTask<T>),
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

impl<T> Task<T> {
    pub(super) const fn new(task: executor::Task<T>) -> Self {
        Self(Handle::Executor(task))
    }

    /// Ends the task at the await it is in, waits until all it owned is dropped, and returns its
    /// result when it had already finished.
    pub async fn cancel(self) -> Option<T> {
        match self.0 {
            Handle::Executor(task) => task.cancel().await,
            #[cfg(test)]
            Handle::Simulated(task) => task.cancel().await,
        }
    }

    /// Lets the task run on without an owner.
    pub fn detach(self) {
        match self.0 {
            Handle::Executor(task) => task.detach(),
            #[cfg(test)]
            Handle::Simulated(task) => task.detach(),
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.0 {
            Handle::Executor(task) => Pin::new(task).poll(cx),
            #[cfg(test)]
            Handle::Simulated(task) => task.poll(cx),
        }
    }
}

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
        async move {
            let ending = member.0.ending.clone();
            let guarded = AssertUnwindSafe(future).catch_unwind();
            let ended = async {
                ending.wait().await;
                Ok(())
            };
            if super::race(guarded, ended).await.is_err() {
                tracing::error!("a task panicked and was ended; please report this");
            }
            drop(member);
        }
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
    use crate::clock;
    use crate::runtime::{Stream, poll_once, testing::on_shard, testing::pause};
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// The pieces of a task that is always ready, as long as a batch, while another one waits for
    /// an octet that is there: it has it long before the time slice is over.
    #[test]
    fn giving_way_lets_input_in() {
        on_shard(|| async {
            let mut pieces_most = 0;
            for _ in 0..10 {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (accepted, peer) = listener.accept().unwrap();
                let stream = Stream::adopt(accepted, peer);
                let mut waiting = spawn(async move { stream.read(&mut [0]).await.unwrap() });
                // It waits in the kernel before the octet comes.
                pause(2).await;
                client.write_all(&[7]).unwrap();
                let mut pieces = 0;
                while poll_once(&mut waiting).await.is_none() {
                    let start = clock::now();
                    while clock::now() - start < Duration::from_micros(200) {}
                    pieces += 1;
                    give_way().await;
                }
                pieces_most = pieces_most.max(pieces);
            }
            // Five a millisecond, and two for the way; fifty a time slice.
            assert!(pieces_most <= 15, "after {pieces_most} pieces");
        });
    }

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
