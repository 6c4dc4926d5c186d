//! The tasks of a simulated shard, polled one at a time.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
};

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

pub(super) struct Tasks {
    all: RefCell<BTreeMap<u64, Option<Boxed>>>,
    next: Cell<u64>,
    /// Tasks that were woken. The channel is what a waker, which may be sent, can hold.
    sender: mpsc::Sender<u64>,
    woken: mpsc::Receiver<u64>,
    ready: RefCell<Vec<u64>>,
}

impl Default for Tasks {
    fn default() -> Self {
        let (sender, woken) = mpsc::channel();
        Self {
            all: RefCell::default(),
            next: Cell::new(0),
            sender,
            woken,
            ready: RefCell::default(),
        }
    }
}

struct TaskWaker {
    id: u64,
    sender: mpsc::Sender<u64>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // The simulation may be over.
        let _ = self.sender.send(self.id);
    }
}

impl Tasks {
    pub(super) fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> SimulatedTask<T> {
        let id = self.next.get();
        self.next.set(id + 1);
        let waker = Waker::from(Arc::new(TaskWaker { id, sender: self.sender.clone() }));
        let state = Rc::new(State {
            result: RefCell::new(None),
            cancelled: Cell::new(false),
            finished: Cell::new(false),
            waiter: RefCell::new(None),
            waker,
        });
        // Dropped with the future, however that ends: then all it owned is gone.
        let ends = Ends(state.clone());
        let mut future = Some(Box::pin(future));
        let run = std::future::poll_fn(move |cx| {
            let state = &ends.0;
            if state.cancelled.get() {
                future = None;
                return Poll::Ready(());
            }
            let Some(running) = &mut future else { return Poll::Ready(()) };
            match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(result)) => {
                    state.result.replace(Some(result));
                }
                // Who waits for it sees that there is no result.
                Err(_) => {}
            }
            future = None;
            Poll::Ready(())
        });
        self.all.borrow_mut().insert(id, Some(Box::pin(run)));
        state.waker.wake_by_ref();
        SimulatedTask { state, detached: false }
    }

    /// Polls one ready task: `choose` is given their number and says which; false when none is.
    pub(super) fn step(&self, choose: impl FnOnce(u64) -> u64) -> bool {
        let mut ready = self.ready.borrow_mut();
        for id in self.woken.try_iter() {
            if !ready.contains(&id) && self.all.borrow().contains_key(&id) {
                ready.push(id);
            }
        }
        if ready.is_empty() {
            return false;
        }
        let index = usize::try_from(choose(ready.len() as u64)).unwrap_or(0);
        let id = ready.remove(index);
        drop(ready);
        let taken = self.all.borrow_mut().get_mut(&id).and_then(Option::take);
        let Some(mut task) = taken else { return true };
        let waker = Waker::from(Arc::new(TaskWaker { id, sender: self.sender.clone() }));
        let done = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if done {
            self.all.borrow_mut().remove(&id);
            drop(task);
        } else if let Some(slot) = self.all.borrow_mut().get_mut(&id) {
            *slot = Some(task);
        }
        true
    }

    /// Drops all tasks. What their destructors start is dropped as well.
    pub(super) fn clear(&self) {
        loop {
            let all = std::mem::take(&mut *self.all.borrow_mut());
            if all.is_empty() {
                return;
            }
            drop(all);
        }
    }
}

struct State<T> {
    result: RefCell<Option<T>>,
    cancelled: Cell<bool>,
    finished: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
    waker: Waker,
}

struct Ends<T>(Rc<State<T>>);

impl<T> Drop for Ends<T> {
    fn drop(&mut self) {
        self.0.finished.set(true);
        if let Some(waiter) = self.0.waiter.take() {
            waiter.wake();
        }
    }
}

/// A task of a simulated shard; as [`crate::runtime::Task`].
pub(crate) struct SimulatedTask<T> {
    state: Rc<State<T>>,
    detached: bool,
}

impl<T> SimulatedTask<T> {
    pub(crate) async fn cancel(self) -> Option<T> {
        self.state.cancelled.set(true);
        self.state.waker.wake_by_ref();
        std::future::poll_fn(|cx| self.poll_finished(cx)).await;
        self.take()
    }

    pub(crate) fn detach(mut self) {
        self.detached = true;
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state.finished.get()
    }

    pub(super) fn take(&self) -> Option<T> {
        self.state.result.take()
    }

    fn poll_finished(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_finished() {
            return Poll::Ready(());
        }
        self.state.waiter.replace(Some(cx.waker().clone()));
        Poll::Pending
    }

    /// Its result, once it has one.
    ///
    /// # Panics
    ///
    /// When the task did.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        self.poll_finished(cx).map(|()| self.take().expect("the task panicked"))
    }
}

impl<T> Drop for SimulatedTask<T> {
    fn drop(&mut self) {
        if !self.detached && !self.is_finished() {
            self.state.cancelled.set(true);
            self.state.waker.wake_by_ref();
        }
    }
}
