//! Tasks and their handles. A task owns its future; its handle owns the task.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::core::Core;
use crate::queues::Lane;
use crate::run::Run;
use crate::slab::Key;
use crate::waker::TaskWaker;

/// A running task. Awaiting it gives its result.
///
/// Dropping it ends the task: its future is dropped at the await it is in, before `drop` returns.
/// (A task that drops its own handle goes on to its next await, and ends there.)
#[must_use = "dropping a task ends it; detach it to let it run"]
pub struct Task<T> {
    core: Rc<Core>,
    /// None when the task may run without an owner.
    owned: Option<(Key, Rc<dyn Join<T>>)>,
}

impl<T> Task<T> {
    /// Starts `future` in a lane.
    pub(crate) fn start<F>(core: &Rc<Core>, lane: Lane, future: F) -> Self
    where
        F: Future<Output = T> + 'static,
        T: 'static,
    {
        // On the heap at once: a future inside of another would take room for both.
        let future = RefCell::new(Some(Box::pin(future)));
        let mut started = None;
        let key = core.tasks.borrow_mut().insert_with(|key| {
            let waker = Arc::new(TaskWaker::new(Arc::clone(&core.inbox), lane, key));
            let body = Rc::new(Body {
                future,
                ended: Cell::new(false),
                result: RefCell::new(None),
                joiner: RefCell::new(None),
                std_waker: Waker::from(Arc::clone(&waker)),
                waker,
            });
            started = Some(Rc::clone(&body));
            body as Rc<dyn Run>
        });
        let owned = started.map(|body| {
            body.std_waker.wake_by_ref();
            let join: Rc<dyn Join<T>> = body;
            (key, join)
        });
        Self { core: Rc::clone(core), owned }
    }

    /// Ends the task, and returns its result if it had already finished. All it owned is dropped
    /// when this returns.
    pub fn cancel(mut self) -> Option<T> {
        let result = self.owned.as_ref().and_then(|(_, body)| body.take());
        self.end();
        result
    }

    /// Lets the task run on without an owner.
    pub fn detach(mut self) {
        self.owned = None;
    }

    /// The result, once the task has finished.
    pub(crate) fn take(&self) -> Option<T> {
        self.owned.as_ref().and_then(|(_, body)| body.take())
    }

    fn end(&mut self) {
        if let Some((key, body)) = self.owned.take() {
            let removed = self.core.tasks.borrow_mut().remove(key);
            body.end();
            drop(removed);
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some((_, body)) = &self.owned else { return Poll::Pending };
        match body.take() {
            Some(result) => Poll::Ready(result),
            None => {
                body.wake_when_finished(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// What its handle knows.
trait Join<T>: Run {
    fn take(&self) -> Option<T>;

    fn wake_when_finished(&self, waker: &Waker);
}

struct Body<F: Future> {
    /// None while it is polled and when the task has ended.
    future: RefCell<Option<Pin<Box<F>>>>,
    ended: Cell<bool>,
    result: RefCell<Option<F::Output>>,
    joiner: RefCell<Option<Waker>>,
    waker: Arc<TaskWaker>,
    /// The same, as futures are given it.
    std_waker: Waker,
}

impl<F: Future> Run for Body<F> {
    fn run(&self) -> bool {
        let Some(mut future) = self.future.borrow_mut().take() else { return true };
        self.waker.clear();
        match future.as_mut().poll(&mut Context::from_waker(&self.std_waker)) {
            Poll::Ready(result) => {
                drop(future);
                self.ended.set(true);
                self.result.replace(Some(result));
                let joiner = self.joiner.take();
                joiner.into_iter().for_each(Waker::wake);
            }
            // Dropped behind the borrow, if it is dropped: its destructors may come back here.
            Poll::Pending if !self.ended.get() => {
                self.future.replace(Some(future));
            }
            Poll::Pending => {}
        }
        self.ended.get()
    }

    fn end(&self) {
        self.ended.set(true);
        let future = self.future.take();
        drop(future);
    }

    fn lane(&self) -> Lane {
        self.waker.lane()
    }

    fn set_lane(&self, lane: Lane) {
        self.waker.set_lane(lane);
    }
}

impl<F: Future> Join<F::Output> for Body<F> {
    fn take(&self) -> Option<F::Output> {
        self.result.take()
    }

    fn wake_when_finished(&self, waker: &Waker) {
        self.joiner.replace(Some(waker.clone()));
    }
}
