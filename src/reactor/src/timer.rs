//! Deadlines. They are instants, so that one survives being waited for in parts.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::core::Core;
use crate::slab::Key;

/// Returns once `deadline` has passed. No system call is made for it.
#[must_use]
pub const fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, set: None }
}

/// A wait for a deadline.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    set: Option<(Rc<Core>, Key)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let (core, key) = match &self.set {
            Some((core, key)) => (core, Some(*key)),
            None => (&Core::current(), None),
        };
        if core.now() >= deadline {
            return Poll::Ready(());
        }
        let mut timers = core.timers.borrow_mut();
        if !key.is_some_and(|key| timers.update(key, cx.waker())) {
            let key = timers.insert(deadline, cx.waker().clone());
            drop(timers);
            let core = Rc::clone(core);
            self.set = Some((core, key));
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((core, key)) = self.set.take() {
            let waker = core.timers.borrow_mut().remove(key);
            drop(waker);
        }
    }
}

/// Runs `future` until `deadline`. A result that is ready at the deadline wins.
///
/// # Errors
///
/// [`Elapsed`]; the future has then been dropped.
pub async fn timeout_at<T>(
    deadline: Instant,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = sleep_until(deadline);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Ok(result)),
        Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// The deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time allowed for it has passed")
    }
}

impl std::error::Error for Elapsed {}
