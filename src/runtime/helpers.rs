//! Blocking work off the shard: files that are not in memory, and password hashes. Owns who may
//! use the helper threads when; the threads are the executor's.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::mpsc,
    task::{Poll, Waker},
};

use super::{Flag, spawn};
use crate::limits::{HASHING_PER_SHARD_MAX, HASHING_QUEUE_MAX};

/// Access to the helper threads of one shard. Clones share them.
///
/// At most as many closures run as there are threads, at most [`HASHING_PER_SHARD_MAX`] of them
/// hashes; the others wait in the order they came. When both kinds wait, they take turns.
///
/// A closure that started runs to its end, and its place is free only then. When the future was
/// dropped meanwhile, the result is dropped as soon as it is there, and with it the descriptors in
/// it; a closure that had not started is dropped at once.
#[derive(Clone)]
pub struct Helpers(Rc<Shared>);

impl Helpers {
    /// For the shard that calls it, which was started with `threads` helper threads. One per
    /// shard; clone it.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let idle = Flag::new();
        idle.set();
        Self(Rc::new(Shared {
            threads,
            running: Cell::new(0),
            hashing: Cell::new(0),
            files: RefCell::default(),
            hashes: RefCell::default(),
            hash_last: Cell::new(false),
            next_id: Cell::new(0),
            idle,
        }))
    }

    /// Runs blocking file work.
    ///
    /// # Errors
    ///
    /// [`HelperError::Panicked`].
    pub async fn run_file<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        self.run(Kind::File, work).await
    }

    /// Runs a password hash.
    ///
    /// # Errors
    ///
    /// [`HelperError::Overloaded`] at once when [`HASHING_QUEUE_MAX`] hashes wait already, and
    /// [`HelperError::Panicked`].
    pub async fn run_hash<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        if self.0.hashes.borrow().len() >= HASHING_QUEUE_MAX {
            return Err(HelperError::Overloaded);
        }
        self.run(Kind::Hash, work).await
    }

    /// Returns when nothing runs and nothing waits. A shard awaits this before it ends: the
    /// executor's threads do not survive their shard well.
    pub async fn idle(&self) {
        self.0.idle.wait().await;
    }

    async fn run<R: Send + 'static>(
        &self,
        kind: Kind,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        let id = self.0.next_id.get();
        self.0.next_id.set(id + 1);
        let (answer, result) = mpsc::sync_channel(1);
        let done = Rc::new(Completion::default());
        let job = Job {
            id,
            work: Box::new(move || {
                let result = catch_unwind(AssertUnwindSafe(work));
                // The receiver may be gone; then the result dies here.
                let _ = answer.send(result);
            }),
            done: Rc::clone(&done),
        };
        self.0.queue(kind).borrow_mut().push_back(job);
        self.0.idle.reset();
        start_waiting(&self.0);
        // Takes the job out of the queue when this future is dropped.
        let _queued = Queued { shared: &self.0, kind, id };
        poll_fn(|cx| done.poll(cx.waker())).await;
        result.recv().ok().and_then(std::thread::Result::ok).ok_or(HelperError::Panicked)
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers")
            .field("threads", &self.0.threads)
            .field("running", &self.0.running.get())
            .field("hashing", &self.0.hashing.get())
            .finish_non_exhaustive()
    }
}

/// Why blocking work has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// Too many wait already; the client is told to come back (421).
    #[error("too many password checks are waiting")]
    Overloaded,
    /// The closure panicked; the panic was printed by its thread.
    #[error("blocking work panicked")]
    Panicked,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Hash,
}

struct Shared {
    threads: usize,
    /// Closures on a thread, hashes included. At most `threads`.
    running: Cell<usize>,
    /// Hashes on a thread. At most [`HASHING_PER_SHARD_MAX`].
    hashing: Cell<usize>,
    files: RefCell<VecDeque<Job>>,
    hashes: RefCell<VecDeque<Job>>,
    /// Which kind was started last while both waited.
    hash_last: Cell<bool>,
    next_id: Cell<u64>,
    idle: Flag,
}

impl Shared {
    const fn queue(&self, kind: Kind) -> &RefCell<VecDeque<Job>> {
        match kind {
            Kind::File => &self.files,
            Kind::Hash => &self.hashes,
        }
    }

    /// The next closure that may start.
    fn next(&self) -> Option<(Kind, Job)> {
        if self.running.get() >= self.threads {
            return None;
        }
        let hash_may = self.hashing.get() < HASHING_PER_SHARD_MAX;
        let hash_first = hash_may && !self.hash_last.get();
        let order = if hash_first { [Kind::Hash, Kind::File] } else { [Kind::File, Kind::Hash] };
        order.into_iter().filter(|kind| *kind == Kind::File || hash_may).find_map(|kind| {
            let job = self.queue(kind).borrow_mut().pop_front()?;
            self.hash_last.set(kind == Kind::Hash);
            Some((kind, job))
        })
    }
}

struct Job {
    id: u64,
    work: Box<dyn FnOnce() + Send>,
    done: Rc<Completion>,
}

/// Puts waiting closures on free threads.
fn start_waiting(shared: &Rc<Shared>) {
    while let Some((kind, job)) = shared.next() {
        shared.running.set(shared.running.get() + 1);
        if kind == Kind::Hash {
            shared.hashing.set(shared.hashing.get() + 1);
        }
        let shared = Rc::clone(shared);
        // A task of its own: the executor's future must not be dropped before it is done.
        spawn(async move {
            glommio::executor().spawn_blocking(job.work).await;
            job.done.finish();
            shared.running.set(shared.running.get() - 1);
            if kind == Kind::Hash {
                shared.hashing.set(shared.hashing.get() - 1);
            }
            start_waiting(&shared);
            if shared.running.get() == 0 {
                shared.idle.set();
            }
        })
        .detach();
    }
}

/// Takes a job out of its queue when the one who waits for it goes away.
struct Queued<'a> {
    shared: &'a Shared,
    kind: Kind,
    id: u64,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue(self.kind).borrow_mut();
        let job = queue.iter().position(|job| job.id == self.id).and_then(|at| queue.remove(at));
        // Outside the borrow: what the closure captured may do anything when dropped.
        drop(queue);
        drop(job);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::HELPER_THREADS_PER_SHARD,
        runtime::{
            Task, poll_once,
            testing::{eventually, on_shard, pause},
        },
    };
    use std::{
        io::{PipeReader, Read},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    /// Closures that wait for the gate's other end to be dropped, and how many have started.
    fn blocked(
        helpers: &Helpers,
        kind: Kind,
        count: usize,
        gate: &PipeReader,
        started: &Arc<AtomicUsize>,
    ) -> Vec<Task<Result<(), HelperError>>> {
        (0..count)
            .map(|_| {
                let helpers = helpers.clone();
                let (mut gate, started) = (gate.try_clone().unwrap(), Arc::clone(started));
                spawn(async move {
                    let work = move || {
                        started.fetch_add(1, Ordering::SeqCst);
                        let _ = gate.read(&mut [0]);
                    };
                    match kind {
                        Kind::File => helpers.run_file(work).await,
                        Kind::Hash => helpers.run_hash(work).await,
                    }
                })
            })
            .collect()
    }

    #[test]
    fn hashes_leave_a_thread_for_files_and_a_bounded_queue() {
        on_shard(|| async {
            let helpers = Helpers::new(HELPER_THREADS_PER_SHARD);
            let (gate, open) = std::io::pipe().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let all = HASHING_PER_SHARD_MAX + HASHING_QUEUE_MAX;
            let mut tasks = blocked(&helpers, Kind::Hash, all, &gate, &started);
            assert!(eventually(|| started.load(Ordering::SeqCst) == HASHING_PER_SHARD_MAX).await);
            assert!(eventually(|| helpers.0.hashes.borrow().len() == HASHING_QUEUE_MAX).await);
            assert_eq!(helpers.run_hash(|| ()).await, Err(HelperError::Overloaded));
            assert_eq!(helpers.run_file(|| 7).await, Ok(7));
            assert_eq!(started.load(Ordering::SeqCst), HASHING_PER_SHARD_MAX);
            // One who goes away while waiting makes room at once.
            tasks.pop().unwrap().cancel().await;
            let mut next = Box::pin(helpers.run_hash(|| 8));
            assert!(poll_once(&mut next).await.is_none());
            drop(open);
            assert_eq!(next.await, Ok(8));
            for task in tasks {
                task.await.unwrap();
            }
            helpers.idle().await;
            assert_eq!(started.load(Ordering::SeqCst), all - 1);
        });
    }

    #[test]
    fn file_work_waits_in_order_for_a_thread() {
        on_shard(|| async {
            let helpers = Helpers::new(1);
            let (gate, open) = std::io::pipe().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let mut first = blocked(&helpers, Kind::File, 1, &gate, &started);
            assert!(eventually(|| started.load(Ordering::SeqCst) == 1).await);
            let order = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..10)
                .map(|_| {
                    let (helpers, order) = (helpers.clone(), Arc::clone(&order));
                    spawn(async move {
                        helpers.run_file(move || order.fetch_add(1, Ordering::SeqCst)).await
                    })
                })
                .collect();
            pause(5).await;
            assert_eq!(order.load(Ordering::SeqCst), 0);
            // Going away does not free the thread: the work still runs.
            first.pop().unwrap().cancel().await;
            pause(5).await;
            assert_eq!((helpers.0.running.get(), order.load(Ordering::SeqCst)), (1, 0));
            drop(open);
            for (expected, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await, Ok(expected));
            }
        });
    }

    #[test]
    fn results_nobody_waits_for_are_dropped() {
        on_shard(|| async {
            let helpers = Helpers::new(2);
            for _ in 0..50 {
                let (mut reader, writer) = std::io::pipe().unwrap();
                let mut running = Box::pin(helpers.run_file(move || writer));
                assert!(poll_once(&mut running).await.is_none());
                drop(running);
                helpers.idle().await;
                // End of file: the descriptor in the result is closed.
                assert_eq!(reader.read(&mut [0]).unwrap(), 0);
            }
        });
    }

    #[test]
    fn a_panic_is_an_error_and_the_thread_goes_on() {
        on_shard(|| async {
            let helpers = Helpers::new(1);
            for _ in 0..3 {
                let result = helpers.run_file(|| panic!("on purpose")).await;
                assert_eq!(result, Err::<(), _>(HelperError::Panicked));
            }
            assert_eq!(helpers.run_hash(|| 5).await, Ok(5));
            helpers.idle().await;
        });
    }
}
