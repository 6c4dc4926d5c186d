//! Tasks of the shard they are spawned on.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::executor;
use super::log_of::inherit;
#[cfg(test)]
use super::simulated;

/// Starts `future` as a task of the calling shard. It begins when the caller waits, gives way or
/// ends, never within this call.
///
/// # Panics
///
/// Outside a shard.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let future = inherit(future);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::{Stream, poll_once, testing::on_shard, testing::pause};
    use std::cell::Cell;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn a_task_begins_when_its_starter_lets_it() {
        on_shard(|| async {
            let begun = Rc::new(Cell::new(false));
            let task = spawn({
                let begun = begun.clone();
                async move { begun.set(true) }
            });
            assert!(!begun.get(), "in the middle of its starter");
            task.await;
            assert!(begun.get());
        });
    }

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
}
