//! A pool of threads: queued work, running work, and the tasks that wait for its results.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use super::{
    Flag,
    error::HelperError,
    fair::{FairQueue, Owner, Shares},
    remote::RemoteSender,
    sleep_until, spawn,
    threads::{Finished, Kind, Threads, Work},
};
use crate::{clock, limits::HELPER_STUCK_AFTER};

/// Numbers of threads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// When no work is stuck.
    pub(super) threads: usize,
    /// With a replacement for each piece of work that is stuck.
    pub(super) threads_max: usize,
}

/// The threads of one kind and their queue.
#[derive(Clone)]
pub(super) struct Pool(Rc<Shared>);

struct Shared {
    kind: Kind,
    sizes: Sizes,
    waiting: RefCell<FairQueue<Job>>,
    threads: RefCell<Threads>,
    running: RefCell<BTreeMap<u32, Running>>,
    next_id: Cell<u64>,
    /// Threads started beyond the usual ones.
    added: Cell<u64>,
    /// A timer runs for the moment at which the oldest work counts as stuck.
    watched: Cell<bool>,
    idle: Flag,
}

struct Job {
    id: u64,
    since: Instant,
    work: Work,
    done: Rc<Completion>,
}

struct Running {
    owner: Owner,
    /// When it was queued, and when it got its thread.
    since: Instant,
    started: Instant,
    done: Rc<Completion>,
}

impl Pool {
    pub(super) fn new(
        kind: Kind,
        sizes: Sizes,
        shares: Shares,
        finished: RemoteSender<Finished>,
    ) -> Self {
        let idle = Flag::new();
        idle.set();
        Self(Rc::new(Shared {
            kind,
            sizes,
            waiting: RefCell::new(FairQueue::new(shares)),
            threads: RefCell::new(Threads::new(kind, finished)),
            running: RefCell::default(),
            next_id: Cell::new(0),
            added: Cell::new(0),
            watched: Cell::new(false),
            idle,
        }))
    }

    /// Runs `work` when it is the turn of `owner`.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        owner: Owner,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        if !self.0.waiting.borrow().has_room(owner) {
            return Err(HelperError::Overloaded);
        }
        #[cfg(test)]
        if self.0.kind != Kind::Hash
            && let Some(error) = super::simulated::failing()
        {
            return Err(error);
        }
        let (answer, result) = mpsc::sync_channel(1);
        let work = move || {
            let result = catch_unwind(AssertUnwindSafe(work));
            // The receiver may be gone; then the result is dropped here.
            let _ = answer.send(result);
        };
        let (id, done) = self.push(owner, Box::new(work));
        // Takes the job out of the queue when this future is dropped.
        let mut asked = Asked { pool: self, owner, id, result: Some(result) };
        poll_fn(|cx| done.poll(cx.waker())).await;
        let result = asked.result.take().and_then(|result| result.recv().ok());
        result.and_then(std::thread::Result::ok).ok_or(HelperError::Panicked)
    }

    /// Drops `rest` on a thread when it is the turn of `owner`: closing a file may wait, too.
    pub(super) fn dispose(&self, owner: Owner, rest: impl Send + 'static) {
        let work = move || {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(rest)));
        };
        // Not bounded here: what is dropped was opened by a request, and those are bounded.
        self.push(owner, Box::new(work));
    }

    /// A thread has done its work.
    pub(super) fn finished(&self, thread: u32) {
        let shared = &self.0;
        let Some(running) = shared.running.borrow_mut().remove(&thread) else { return };
        shared.waiting.borrow_mut().done(running.owner);
        shared.threads.borrow_mut().finished(thread);
        running.done.finish();
        shared.start_waiting();
        if shared.running.borrow().is_empty() && shared.waiting.borrow().is_empty() {
            shared.idle.set();
        }
    }

    /// Returns when nothing runs and nothing waits.
    pub(super) async fn idle(&self) {
        self.0.idle.wait().await;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.0.idle.is_set()
    }

    /// How long the oldest work has waited and run at `now`.
    pub(super) fn oldest(&self, now: Instant) -> Option<Duration> {
        let waiting = self.0.waiting.borrow();
        let running = self.0.running.borrow();
        let all = waiting.iter().map(|job| job.since);
        let first = all.chain(running.values().map(|running| running.since)).min()?;
        Some(now.saturating_duration_since(first))
    }

    /// Queued and running pieces of work.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.0.waiting.borrow().len(), self.0.running.borrow().len())
    }

    /// Threads started because others were stuck.
    pub(super) fn added(&self) -> u64 {
        self.0.added.get()
    }

    fn push(&self, owner: Owner, work: Work) -> (u64, Rc<Completion>) {
        let id = self.0.next_id.get();
        self.0.next_id.set(id + 1);
        let done = Rc::new(Completion::default());
        let job = Job { id, since: clock::now(), work, done: Rc::clone(&done) };
        self.0.waiting.borrow_mut().push(owner, job);
        self.0.idle.reset();
        self.0.start_waiting();
        (id, done)
    }
}

impl Shared {
    /// Gives queued work to idle threads, and starts more threads within the bound.
    fn start_waiting(self: &Rc<Self>) {
        while self.waiting.borrow().next().is_some() {
            if !self.threads.borrow().has_idle() && !self.add_thread() {
                return self.look_again();
            }
            let Some((owner, job)) = self.waiting.borrow_mut().pop() else { break };
            let Job { since, work, done, .. } = job;
            let thread = self.threads.borrow_mut().run(work);
            match thread {
                Some(thread) => {
                    let running = Running { owner, since, started: clock::now(), done };
                    self.running.borrow_mut().insert(thread, running);
                }
                // Not reached: a thread ends only when it is told to.
                None => {
                    self.waiting.borrow_mut().done(owner);
                    done.finish();
                }
            }
        }
        let spare = self.threads.borrow().len() > self.sizes.threads + self.stuck();
        if spare {
            self.threads.borrow_mut().end_idle();
        }
    }

    /// Pieces of work that hold their threads for long.
    fn stuck(&self) -> usize {
        let now = clock::now();
        let stuck = |running: &&Running| now - running.started >= HELPER_STUCK_AFTER;
        self.running.borrow().values().filter(stuck).count()
    }

    /// Starts a thread unless there are enough; false when there is none.
    fn add_thread(&self) -> bool {
        let count = self.threads.borrow().len();
        let more = count >= self.sizes.threads;
        if more && count >= (self.sizes.threads + self.stuck()).min(self.sizes.threads_max) {
            return false;
        }
        let started = self.threads.borrow_mut().start();
        match started {
            Ok(()) => {
                self.added.set(self.added.get() + u64::from(more));
                true
            }
            Err(error) => {
                tracing::warn!(
                    %error,
                    "cannot start a thread for work that may wait: it waits for the others; raise \
                     TasksMax or `ulimit -u`"
                );
                false
            }
        }
    }

    /// Schedules again when the running work may count as stuck.
    fn look_again(self: &Rc<Self>) {
        if self.watched.replace(true) {
            return;
        }
        let shared = Rc::clone(self);
        spawn(async move {
            sleep_until(clock::now() + HELPER_STUCK_AFTER).await;
            shared.watched.set(false);
            shared.start_waiting();
        })
        .detach();
    }
}

/// A task that waits for a result.
struct Asked<'a, R: Send + 'static> {
    pool: &'a Pool,
    owner: Owner,
    id: u64,
    result: Option<mpsc::Receiver<std::thread::Result<R>>>,
}

impl<R: Send + 'static> Drop for Asked<'_, R> {
    fn drop(&mut self) {
        let Some(result) = self.result.take() else { return };
        let job = self.pool.0.waiting.borrow_mut().remove(self.owner, |job| job.id == self.id);
        match job {
            // No file is in it.
            job if self.pool.0.kind == Kind::Hash => drop((job, result)),
            // What the closure captured may wait when it is dropped, too.
            Some(job) => self.pool.dispose(self.owner, job.work),
            None => self.pool.dispose(self.owner, result),
        }
    }
}

#[derive(Default)]
struct Completion {
    done: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Completion {
    fn finish(&self) {
        self.done.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    fn poll(&self, waker: &Waker) -> Poll<()> {
        if self.done.get() {
            return Poll::Ready(());
        }
        self.waiter.replace(Some(waker.clone()));
        Poll::Pending
    }
}
