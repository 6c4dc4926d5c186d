//! A local executor on a thread of its own.

use std::{ffi::CString, io, sync::mpsc, time::Duration};

use ::glommio::{
    BuilderErrorKind, ExecutorJoinHandle, GlommioError, LocalExecutorBuilder, Placement,
    PoolPlacement,
};

use crate::clock;
use crate::runtime::error::{ShardError, ShardStartError};
use crate::sys::{cpu, host::LockedMemory};

/// What a shard's three rings lock where the kernel counts that: 315 KiB, and 64 KiB of registered
/// buffers each, for which it counts all of a huge page if they lie in one. The executor itself
/// refuses to start with less than 512 KiB.
pub(in crate::runtime) const LOCKED_MEMORY: LockedMemory =
    LockedMemory { per_shard: (512 << 10) + 3 * (2 << 20), at_least: 512 << 10 };

/// Memory the executor sets aside for its own file buffers, octets: the least it takes. Its default
/// is 10 MiB, and our reads from disks are larger than what it would lend of so little.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Entries of each of the executor's submission queues. The kernel makes one list of waiting polls
/// for every 16 of them, 256 lists at most, and searches one whenever the executor cancels
/// something, which it does each turn. With its default of 128 there are 8 lists, and at 9,000 idle
/// sessions a quarter of the server's time was spent in them.
const RING_DEPTH: usize = 1024;

/// How long a task may run before [`super::yield_if_needed`] gives way. The executor's default is
/// 100 ms or as many events as a queue has entries, which are now many.
const TIME_SLICE: Duration = Duration::from_millis(10);

/// The longest sleep: the executor may go to sleep with tasks ready to run, when its preemption
/// timer fires after the look for input and before the first task, which takes a thread that was
/// off its CPU for a time slice just there. Any event wakes it, and none need be to come but this.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// A start that takes longer has gone to sleep beside its first task, and will never be.
const START_MAX: Duration = Duration::from_secs(10);

/// Whether io_uring can be had, found out by using it. The executor finds out on its own thread, by
/// a panic and without the reason.
///
/// # Errors
///
/// One sentence with cause and remedy.
pub(in crate::runtime) fn check() -> Result<(), String> {
    let refused = ringftpd_reactor::Builder::new().check_registering();
    refused.map_err(|refusal| refusal.to_string())
}

/// A running executor.
#[derive(Debug)]
pub(in crate::runtime) struct Thread<T: Send + 'static>(ExecutorJoinHandle<Option<T>>);

/// Starts an executor on a thread named after `name` and pinned to `cpu`, and returns once it runs.
///
/// # Errors
///
/// Why it does not run. The thread has ended then, or sleeps for ever.
pub(in crate::runtime) fn start<M, F, T>(
    name: &str,
    cpu: usize,
    main: M,
) -> Result<Thread<T>, ShardStartError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (started, start) = mpsc::sync_channel(1);
    let own_name = CString::new(name).ok();
    // Unbound for the executor; the pinning comes when its own thread for blocking work exists, for
    // a thread hands its pinning down to those it starts. (We give that one nothing to do.)
    let handle = LocalExecutorBuilder::new(Placement::Unbound)
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(TIME_SLICE)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            // glommio adds a number, and gives the same name to its thread for blocking work.
            if let Some(name) = own_name {
                let _ = rustix::thread::set_name(&name);
            }
            let pinned = cpu::pin_current_thread(cpu);
            let go = pinned.is_ok();
            // The starting thread waits for this, unless it has given up.
            if started.send(pinned).is_err() || !go {
                return None;
            }
            super::spawn(async {
                loop {
                    super::sleep_until(clock::now() + LONGEST_SLEEP).await;
                }
            })
            .detach();
            Some(main().await)
        })
        .map_err(|error| refused(&error.into()))?;
    match start.recv_timeout(START_MAX) {
        Ok(Ok(())) => Ok(Thread(handle)),
        Ok(Err(error)) => {
            let _ = handle.join();
            Err(ShardStartError::Cpu(error))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(refused(&io::Error::other("it went to sleep before its first task")))
        }
        // The sender went away unused: the executor could not be built.
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(match handle.join() {
            Ok(_) => refused(&io::Error::other("ended at once")),
            Err(error) => refused(&into_io(error)),
        }),
    }
}

impl<T: Send + 'static> Thread<T> {
    /// Waits for the end. Blocks.
    ///
    /// # Errors
    ///
    /// A panic.
    pub(in crate::runtime) fn join(self) -> Result<T, ShardError> {
        match self.0.join() {
            Ok(Some(result)) => Ok(result),
            Ok(None) => Err(ShardError("never started".to_owned())),
            Err(GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(payload))) => {
                Err(ShardError::of_panic(&*payload))
            }
            Err(error) => Err(ShardError(into_io(error).to_string())),
        }
    }
}

fn refused(error: &io::Error) -> ShardStartError {
    use rustix::io::Errno;
    let text = error.to_string();
    let remedy = match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            "likely io_uring is forbidden by seccomp (a container's default profile) or \
             kernel.io_uring_disabled; allow io_uring_setup, io_uring_enter and io_uring_register"
        }
        Some(Errno::NOSYS) => "the kernel has no io_uring; Linux 5.11 or later is needed",
        Some(Errno::NOMEM) => {
            "likely too little memory may be locked; raise LimitMEMLOCK, or start fewer shards"
        }
        Some(Errno::MFILE | Errno::NFILE) => "raise LimitNOFILE, or start fewer shards",
        Some(Errno::AGAIN) => "too many threads; raise TasksMax or `ulimit -u`",
        _ if text.contains("MemLockLimit") => "raise LimitMEMLOCK or `ulimit -l`",
        _ => "start it again, and see the kernel log",
    };
    ShardStartError::Executor(format!("cannot start the executor of a shard: {text}; {remedy}"))
}

fn into_io(error: GlommioError<()>) -> io::Error {
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{spawn_shard, testing::alone};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    /// A sleep with tasks ready ends: a shard without anything to do looks for something.
    #[test]
    fn an_idle_shard_sleeps_no_longer_than_it_may() {
        let shard = spawn_shard("test", cpu::available()[0], || async {
            // Since the last call: one for each queue that ran and for each look that found none.
            let looks = || ::glommio::executor().executor_stats().scheduler_runs();
            looks();
            crate::runtime::sleep_until(clock::now() + LONGEST_SLEEP * 20).await;
            looks()
        })
        .unwrap();
        // A quarter of them, for a machine that is busy with other things; without the bound it is
        // one wake-up.
        let looks = shard.join().unwrap();
        assert!((5..=100).contains(&looks), "{looks} looks");
    }

    /// The executor notices the limit only on its own thread; the start must not hang or succeed.
    #[test]
    fn too_little_locked_memory_is_reported_at_once() {
        const NAME: &str = "runtime::executor::glommio::thread::tests::\
                            too_little_locked_memory_is_reported_at_once";
        if !alone(NAME) {
            return;
        }
        let maximum = getrlimit(Resource::Memlock).maximum;
        setrlimit(Resource::Memlock, Rlimit { current: Some(65536), maximum }).unwrap();
        let error = spawn_shard("test", cpu::available()[0], || async {}).unwrap_err();
        assert!(error.to_string().contains("LimitMEMLOCK"), "{error}");
    }
}
