//! Blocking work off the shard: file work that may wait for a disk, and password hashes. Each kind
//! has threads of its own, and file work is scheduled fairly by [`Owner`].

use std::{cell::Cell, fmt, io, rc::Rc, time::Duration};

use super::{
    Task,
    error::HelperError,
    fair::{Owner, Shares},
    pool::{Pool, Sizes},
    remote, spawn,
    threads::{Finished, Kind},
    timeout_at,
};
use crate::{
    clock,
    limits::{
        FILE_WORK_WAITING_MAX, FILE_WORK_WAITING_PER_USER_MAX, HASHING_PER_SHARD_MAX,
        HELPER_THREADS_PER_SHARD, HELPER_THREADS_PER_SHARD_MAX, HELPERS_PER_DEVICE_MAX,
        HELPERS_PER_USER_MAX, LONG_PER_DEVICE_MAX, LONG_PER_USER_MAX, LONG_THREADS_PER_SHARD,
        LONG_THREADS_PER_SHARD_MAX,
    },
};

/// Access to the helper threads of one shard. Clones share them.
///
/// A closure that started runs to its end and holds its thread until then. When its future is
/// dropped, the result, and the descriptors in it, are dropped on a helper thread; so is a closure
/// that has not started.
#[derive(Clone)]
pub struct Helpers(Rc<Pools>);

struct Pools {
    files: Pool,
    long: Pool,
    hashes: Pool,
    /// Threads that were started because others were stuck, up to the last [`Helpers::added`].
    told: Cell<u64>,
    /// Ends with the last clone.
    _collector: Task<()>,
}

/// Load of the helper threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Pieces of file work that wait for a thread.
    pub waiting: usize,
    /// Pieces of file work on threads.
    pub running: usize,
    /// How long the oldest of them, and of the password hashes, has waited and run.
    pub oldest: Duration,
}

impl Helpers {
    /// For the shard that calls it. One per shard; clone it.
    ///
    /// # Errors
    ///
    /// Those of socketpair(2).
    pub fn new() -> io::Result<Self> {
        let (sender, inbox) = remote::channel::<Finished>()?;
        let files = Pool::new(
            Kind::File,
            Sizes { threads: HELPER_THREADS_PER_SHARD, threads_max: HELPER_THREADS_PER_SHARD_MAX },
            Shares {
                per_device: HELPERS_PER_DEVICE_MAX,
                per_user: HELPERS_PER_USER_MAX,
                waiting_per_user: FILE_WORK_WAITING_PER_USER_MAX,
                waiting: FILE_WORK_WAITING_MAX,
            },
            sender.clone(),
        );
        let long = Pool::new(
            Kind::Long,
            Sizes { threads: LONG_THREADS_PER_SHARD, threads_max: LONG_THREADS_PER_SHARD_MAX },
            Shares {
                per_device: LONG_PER_DEVICE_MAX,
                per_user: LONG_PER_USER_MAX,
                waiting_per_user: FILE_WORK_WAITING_PER_USER_MAX,
                waiting: FILE_WORK_WAITING_MAX,
            },
            sender.clone(),
        );
        let hashes = Pool::new(
            Kind::Hash,
            Sizes { threads: HASHING_PER_SHARD_MAX, threads_max: HASHING_PER_SHARD_MAX },
            Shares {
                per_device: HASHING_PER_SHARD_MAX,
                per_user: HASHING_PER_SHARD_MAX,
                waiting_per_user: HASHING_PER_SHARD_MAX,
                waiting: HASHING_PER_SHARD_MAX,
            },
            sender,
        );
        let pools = [files.clone(), long.clone(), hashes.clone()];
        let collector = spawn(async move {
            let [files, long, hashes] = pools;
            let mut inbox = inbox.open();
            while let Some(Finished { kind, thread }) = inbox.recv().await {
                match kind {
                    Kind::File => files.finished(thread),
                    Kind::Long => long.finished(thread),
                    Kind::Hash => hashes.finished(thread),
                }
            }
        });
        let told = Cell::new(0);
        Ok(Self(Rc::new(Pools { files, long, hashes, told, _collector: collector })))
    }

    /// These threads for the file work of `owner`.
    #[must_use]
    pub fn of(&self, owner: Owner) -> FileHelpers {
        FileHelpers { helpers: self.clone(), owner }
    }

    /// Runs a password hash, [`HASHING_PER_SHARD_MAX`] at a time. The caller decides whose turn it
    /// is.
    ///
    /// # Errors
    ///
    /// [`HelperError::Overloaded`] at once when as many wait already, and
    /// [`HelperError::Panicked`].
    pub async fn run_hash<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        self.0.hashes.run(Owner::default(), work).await
    }

    /// Returns when nothing runs and nothing waits.
    pub async fn idle(&self) {
        let pools = [&self.0.files, &self.0.long, &self.0.hashes];
        while !pools.iter().all(|pool| pool.is_idle()) {
            for pool in pools {
                pool.idle().await;
            }
        }
    }

    /// Waits until nothing runs and nothing waits, but no longer than `patience`: work that a file
    /// system does not answer is abandoned. True when nothing was left.
    pub async fn end(&self, patience: Duration) -> bool {
        timeout_at(clock::now() + patience, self.idle()).await.is_ok()
    }

    /// Their load.
    #[must_use]
    pub fn load(&self) -> Load {
        let now = clock::now();
        let Pools { files, long, hashes, .. } = &*self.0;
        let ((waiting, running), (long_waiting, long_running)) = (files.counts(), long.counts());
        let oldest = [files, long, hashes].into_iter().filter_map(|pool| pool.oldest(now)).max();
        Load {
            waiting: waiting + long_waiting,
            running: running + long_running,
            oldest: oldest.unwrap_or_default(),
        }
    }

    /// Threads started because others were stuck, since the last call.
    #[must_use]
    pub fn added(&self) -> u64 {
        let all = self.0.files.added() + self.0.long.added();
        all - self.0.told.replace(all)
    }
}

/// The helper threads of a shard, for the file work of one owner. Clones are the same.
#[derive(Clone, Debug)]
pub struct FileHelpers {
    helpers: Helpers,
    owner: Owner,
}

impl FileHelpers {
    /// Runs blocking file work.
    ///
    /// # Errors
    ///
    /// [`HelperError::Overloaded`] at once when too much of the owner waits already, and
    /// [`HelperError::Panicked`].
    pub async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        self.helpers.0.files.run(self.owner, work).await
    }

    /// Runs a piece of long work, which gives way to everything else: it has few threads, and
    /// those have little of the CPU when others want it.
    ///
    /// # Errors
    ///
    /// As [`FileHelpers::run`].
    pub async fn run_long<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, HelperError> {
        self.helpers.0.long.run(self.owner, work).await
    }

    /// Drops `rest` on a helper thread: closing a file may wait for a remote file system.
    pub fn dispose(&self, rest: impl Send + 'static) {
        self.helpers.0.files.dispose(self.owner, rest);
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Helpers").field("load", &self.load()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        limits::HELPER_STUCK_AFTER,
        runtime::{
            poll_once,
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

    /// Closures that wait for the gate's other end to be dropped, and count when they start.
    fn gated(gate: &PipeReader, started: &Arc<AtomicUsize>) -> impl FnOnce() + Send + 'static {
        let (mut gate, started) = (gate.try_clone().unwrap(), Arc::clone(started));
        move || {
            started.fetch_add(1, Ordering::SeqCst);
            let _ = gate.read(&mut [0]);
        }
    }

    fn owner(user: u64, device: u64) -> Owner {
        Owner { user, device }
    }

    fn stuck(
        helpers: &Helpers,
        of: Owner,
        gate: &PipeReader,
        started: &Arc<AtomicUsize>,
    ) -> Task<Result<(), HelperError>> {
        let (files, work) = (helpers.of(of), gated(gate, started));
        spawn(async move { files.run(work).await })
    }

    /// A device that does not answer, used by one user and by many, delays neither work on other
    /// devices nor password checks; abandoned work still holds its thread.
    #[test]
    fn what_hangs_keeps_its_share_of_the_threads() {
        on_shard(|| async {
            let helpers = Helpers::new().unwrap();
            let (gate, open) = io::pipe().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let mut tasks: Vec<_> =
                (0..20).map(|_| stuck(&helpers, owner(1, 1), &gate, &started)).collect();
            assert!(eventually(|| started.load(Ordering::SeqCst) == HELPERS_PER_USER_MAX).await);
            tasks.extend((2..20).map(|user| stuck(&helpers, owner(user, 1), &gate, &started)));
            assert!(eventually(|| started.load(Ordering::SeqCst) == HELPERS_PER_DEVICE_MAX).await);
            let ask = async || {
                assert_eq!(helpers.of(owner(2, 2)).run(|| 7).await, Ok(7));
                assert_eq!(helpers.of(owner(2, 1)).run_long(|| 8).await, Ok(8));
                assert_eq!(helpers.run_hash(|| 9).await, Ok(9));
            };
            ask().await;
            // Dropping the future frees no thread: the work still runs.
            for task in tasks.drain(..10) {
                task.cancel().await;
            }
            pause(5).await;
            ask().await;
            assert_eq!(started.load(Ordering::SeqCst), HELPERS_PER_DEVICE_MAX);
            assert!(helpers.load().oldest > Duration::ZERO);
            assert!(!helpers.end(Duration::from_millis(10)).await);
            drop(open);
            for task in tasks {
                task.await.unwrap();
            }
            helpers.idle().await;
            assert_eq!(helpers.load(), Load::default());
        });
    }

    /// Many devices hang: more threads are started, within the bound, and end afterwards.
    #[test]
    fn threads_are_added_for_those_that_are_stuck() {
        on_shard(|| async {
            let helpers = Helpers::new().unwrap();
            let (gate, open) = io::pipe().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..2 * HELPER_THREADS_PER_SHARD_MAX as u64)
                .map(|n| stuck(&helpers, owner(n, n), &gate, &started))
                .collect();
            assert!(
                eventually(|| started.load(Ordering::SeqCst) == HELPER_THREADS_PER_SHARD).await
            );
            pause(u64::try_from(HELPER_STUCK_AFTER.as_millis()).unwrap() / 2).await;
            assert_eq!((started.load(Ordering::SeqCst), helpers.added()), (8, 0));
            let all = HELPER_THREADS_PER_SHARD_MAX;
            assert!(eventually(|| started.load(Ordering::SeqCst) == all).await);
            pause(50).await;
            assert_eq!(started.load(Ordering::SeqCst), all);
            assert_eq!(helpers.added(), (all - HELPER_THREADS_PER_SHARD) as u64);
            drop(open);
            for task in tasks {
                task.await.unwrap();
            }
            helpers.idle().await;
        });
    }

    #[test]
    fn hashes_have_threads_and_a_bounded_queue_of_their_own() {
        on_shard(|| async {
            let helpers = Helpers::new().unwrap();
            let (gate, open) = io::pipe().unwrap();
            let started = Arc::new(AtomicUsize::new(0));
            let all = 2 * HASHING_PER_SHARD_MAX;
            let mut tasks: Vec<_> = (0..all)
                .map(|_| {
                    let (helpers, work) = (helpers.clone(), gated(&gate, &started));
                    spawn(async move { helpers.run_hash(work).await })
                })
                .collect();
            assert!(eventually(|| started.load(Ordering::SeqCst) == HASHING_PER_SHARD_MAX).await);
            assert!(eventually(|| helpers.0.hashes.counts().0 == HASHING_PER_SHARD_MAX).await);
            assert_eq!(helpers.run_hash(|| ()).await, Err(HelperError::Overloaded));
            assert_eq!(helpers.of(owner(1, 0)).run(|| 7).await, Ok(7));
            // Dropping the future of queued work makes room at once.
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
    fn results_nobody_waits_for_are_dropped() {
        on_shard(|| async {
            let helpers = Helpers::new().unwrap();
            for _ in 0..50 {
                let (mut reader, writer) = io::pipe().unwrap();
                let files = helpers.of(owner(1, 1));
                let mut running = Box::pin(files.run(move || writer));
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
            let helpers = Helpers::new().unwrap();
            let files = helpers.of(owner(1, 1));
            for _ in 0..3 {
                let result = files.run(|| panic!("on purpose")).await;
                assert_eq!(result, Err::<(), _>(HelperError::Panicked));
            }
            assert_eq!(helpers.run_hash(|| 5).await, Ok(5));
            helpers.idle().await;
        });
    }
}
