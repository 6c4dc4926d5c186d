//! Tasks of the shard they are spawned on.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Starts `future` as a task of the calling shard.
///
/// # Panics
///
/// Outside a shard.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(glommio::spawn_local(future))
}

/// Gives way to other tasks of the shard when this one has run for its time slice; otherwise
/// returns at once. Loops that can be kept busy by a peer call it each round.
pub async fn yield_if_needed() {
    glommio::yield_if_needed().await;
}

/// A running task. Awaiting it gives its result; dropping it ends it at its next await.
#[derive(Debug)]
#[must_use = "dropping a task ends it; detach it to let it run"]
pub struct Task<T>(glommio::Task<T>);

impl<T> Task<T> {
    /// Ends the task at the await it is in, waits until all it owned is dropped, and returns its
    /// result when it had already finished.
    pub async fn cancel(self) -> Option<T> {
        self.0.cancel().await
    }

    /// Lets the task run on without an owner.
    pub fn detach(self) {
        drop(self.0.detach());
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}
