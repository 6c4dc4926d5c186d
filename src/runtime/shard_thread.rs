//! Starting a shard: one executor on one pinned thread, with its helper threads.

use std::{future::Future, io, sync::mpsc, time::Duration};

use glommio::{GlommioError, LocalExecutorBuilder, Placement, PoolPlacement};

use crate::sys::{cpu, rings};

/// Memory the executor sets aside for its own file buffers, octets: the least it takes. Its default
/// is 10 MiB, and our reads from disks are larger than what it would lend of so little.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Entries of each of the executor's submission queues. The kernel makes one list of waiting polls
/// for every 16 of them, 256 lists at most, and searches one whenever the executor cancels
/// something, which it does each turn. With its default of 128 there are 8 lists, and at 9,000 idle
/// sessions a quarter of the server's time was spent in them. The three queues of a shard take
/// 315 KiB, which newer kernels count as locked memory (`sys::host`).
const RING_DEPTH: usize = 1024;

/// How long a task may run before [`super::yield_if_needed`] gives way. The executor's default is
/// 100 ms or as many events as a queue has entries, which are now many.
const TIME_SLICE: Duration = Duration::from_millis(10);

/// Starts a thread named after `name`, pinned to `cpu`, that runs what `main` returns. Returns once
/// the executor runs.
///
/// When `main`'s future ends, so does the shard. Tasks that still wait then are forgotten by the
/// executor: their destructors never run and their descriptors stay open until the process ends.
/// So `main` ends them first ([`super::TaskGroup::end`], [`super::ListenerTask::stop`]) and then
/// awaits [`super::Helpers::end`].
///
/// # Errors
///
/// [`ShardStartError`], with cause and remedy; the thread has ended then.
pub fn spawn_shard<M, F, T>(
    name: &str,
    cpu: usize,
    main: M,
) -> Result<ShardThread<T>, ShardStartError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (started, start) = mpsc::sync_channel(1);
    // Unbound for the executor; the pinning comes when its own thread for blocking work exists, for
    // a thread hands its pinning down to those it starts. (We give that one nothing to do.)
    let handle = LocalExecutorBuilder::new(Placement::Unbound)
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(TIME_SLICE)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            let pinned = cpu::pin_current_thread(cpu);
            let go = pinned.is_ok();
            // The starting thread waits for this; it cannot be gone.
            let _ = started.send(pinned);
            if !go {
                return None;
            }
            if !rings::cooperative() {
                tracing::info!(
                    "the kernel interrupts shards more than needed; Linux 5.19 would not"
                );
            }
            Some(main().await)
        })
        .map_err(|error| ShardStartError::executor(&error.into()))?;
    match start.recv() {
        Ok(Ok(())) => Ok(ShardThread(handle)),
        Ok(Err(error)) => {
            let _ = handle.join();
            Err(ShardStartError::Cpu(error))
        }
        // The sender went away unused: the executor could not be built.
        Err(mpsc::RecvError) => Err(match handle.join() {
            Ok(_) => ShardStartError::executor(&io::Error::other("ended at once")),
            Err(error) => ShardStartError::executor(&into_io(error)),
        }),
    }
}

/// A running shard.
#[derive(Debug)]
pub struct ShardThread<T: Send + 'static>(glommio::ExecutorJoinHandle<Option<T>>);

impl<T: Send + 'static> ShardThread<T> {
    /// Waits for the shard to end. Blocks: not for use inside a shard.
    ///
    /// # Errors
    ///
    /// [`ShardError`] when the shard panicked.
    pub fn join(self) -> Result<T, ShardError> {
        match self.0.join() {
            Ok(Some(result)) => Ok(result),
            Ok(None) => Err(ShardError("never started".to_owned())),
            Err(error) => Err(ShardError(describe(error))),
        }
    }
}

/// Why a shard could not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardStartError {
    /// The thread could not be pinned.
    #[error(transparent)]
    Cpu(#[from] cpu::CpuError),
    /// The executor could not be built.
    #[error("cannot start the executor of a shard: {cause}; {remedy}")]
    Executor {
        /// What was refused.
        cause: String,
        /// Likely cause and remedy.
        remedy: &'static str,
    },
}

impl ShardStartError {
    fn executor(error: &io::Error) -> Self {
        use rustix::io::Errno;
        let text = error.to_string();
        let remedy = match Errno::from_io_error(error) {
            Some(Errno::PERM | Errno::ACCESS) => {
                "likely io_uring is forbidden by seccomp (a container's default profile) or \
                 kernel.io_uring_disabled; allow io_uring_setup, io_uring_enter and \
                 io_uring_register"
            }
            Some(Errno::NOSYS) => "the kernel has no io_uring; Linux 5.11 or later is needed",
            Some(Errno::NOMEM) => {
                "likely too little memory may be locked; raise LimitMEMLOCK, or start fewer shards"
            }
            Some(Errno::MFILE | Errno::NFILE) => "raise LimitNOFILE, or start fewer shards",
            Some(Errno::AGAIN) => "too many threads; raise TasksMax or `ulimit -u`",
            _ if text.contains("MemLockLimit") => "raise LimitMEMLOCK or `ulimit -l`",
            _ => "see the kernel log",
        };
        Self::Executor { cause: text, remedy }
    }
}

/// A shard ended by a panic; its sessions are gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shard died: {0}")]
pub struct ShardError(String);

fn describe(error: GlommioError<()>) -> String {
    if let GlommioError::BuilderError(glommio::BuilderErrorKind::ThreadPanic(payload)) = &error {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        return format!("panicked: {}", text.as_deref().unwrap_or("no message"));
    }
    into_io(error).to_string()
}

fn into_io(error: GlommioError<()>) -> io::Error {
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, runtime::testing::alone};
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn runs_pinned_with_unpinned_helpers() {
        let cpus = cpu::available();
        let wanted = *cpus.last().unwrap();
        let shard = spawn_shard("test", wanted, || async {
            let helpers = crate::runtime::Helpers::new().unwrap();
            (cpu::available(), helpers.run_hash(cpu::available).await.unwrap())
        })
        .unwrap();
        let (shard_cpus, helper_cpus) = shard.join().unwrap();
        assert_eq!(shard_cpus, [wanted]);
        assert_eq!(helper_cpus, cpus);
    }

    /// If not, then the kernel is older than 5.19, or the linker found no function to replace.
    #[test]
    fn its_rings_do_not_interrupt_it() {
        let cpu = cpu::available()[0];
        let shard = spawn_shard("test", cpu, || async { rings::cooperative() }).unwrap();
        assert!(shard.join().unwrap());
    }

    /// Locked memory is scarce (`sys::host`), and the kernel counts whole huge pages.
    #[test]
    fn its_rings_lock_no_buffers() {
        if !alone("runtime::shard_thread::tests::its_rings_lock_no_buffers") {
            return;
        }
        let shard = spawn_shard("test", cpu::available()[0], || async { registered_buffers() });
        assert_eq!(shard.unwrap().join().unwrap(), ["0", "0", "0"]);
    }

    /// How many buffers each ring of this process has (proc_pid_fdinfo(5)).
    fn registered_buffers() -> Vec<String> {
        let files = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let infos = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
        let of_ring = |info: String| {
            info.lines().find_map(|line| Some(line.strip_prefix("UserBufs:")?.trim().to_owned()))
        };
        infos.filter_map(of_ring).collect()
    }

    /// A sleep with tasks ready ends: a shard without anything to do looks for something.
    #[test]
    fn an_idle_shard_sleeps_no_longer_than_it_may() {
        let shard = spawn_shard("test", cpu::available()[0], || async {
            // Since the last call: one for each queue that ran and for each look that found none.
            let looks = || glommio::executor().executor_stats().scheduler_runs();
            looks();
            crate::runtime::sleep_until(clock::now() + rings::LONGEST_SLEEP * 20).await;
            looks()
        })
        .unwrap();
        // A quarter of them, for a machine that is busy with other things; without the bound it is
        // one wake-up.
        let looks = shard.join().unwrap();
        assert!((5..=40).contains(&looks), "{looks} looks");
    }

    /// The fault that bounds a sleep, provoked: the shorter the preemption timer, the more often it
    /// fires before the first task of a round, down to always.
    #[test]
    fn a_sleep_with_tasks_ready_ends() {
        for microseconds in (1..=50).rev() {
            let (done, wait) = mpsc::sync_channel(1);
            let start = clock::now();
            LocalExecutorBuilder::new(Placement::Unbound)
                .preempt_timer(Duration::from_micros(microseconds))
                .spawn(move || async move {
                    for _ in 0..1000 {
                        glommio::executor().yield_task_queue_now().await;
                    }
                    let _ = done.send(());
                })
                .unwrap();
            wait.recv_timeout(Duration::from_secs(20)).expect("sleeps beside a task that is ready");
            if clock::now() - start > rings::LONGEST_SLEEP {
                return;
            }
        }
        panic!("nothing was provoked");
    }

    #[test]
    fn refuses_a_cpu_that_is_not_there() {
        let error = spawn_shard("test", 1023, || async {}).unwrap_err();
        assert!(matches!(error, ShardStartError::Cpu(_)), "{error}");
    }

    /// Whatever still waits when the main future ends must not keep the thread or kill it. That it
    /// is not dropped either is the executor's fault; what must be dropped is in a task group.
    #[test]
    fn ends_with_tasks_still_waiting_and_drops_those_of_a_group() {
        use crate::runtime as rt;
        use std::{net, sync::Arc};
        let (forgotten, ended) = (Arc::new(()), Arc::new(()));
        let held = (Arc::clone(&forgotten), Arc::clone(&ended));
        let shard = spawn_shard("test", cpu::available()[0], || async move {
            let socket = net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
            let (accepted, peer) = socket.accept().unwrap();
            let stream = rt::Stream::adopt(accepted, peer);
            let accepting = rt::Listener::adopt(socket).unwrap();
            let queue = rt::Queue::new("test");
            let accepting = accepting.run(queue, i32::MAX, async |_| {}, |_| {});
            let group = rt::TaskGroup::new();
            let (forgotten, ended) = held;
            group.spawn(async move {
                let _held = (ended, client);
                let _ = stream.read(&mut [0]).await;
            });
            rt::spawn(async move {
                let _held = forgotten;
                rt::sleep_until(clock::now() + Duration::from_secs(60)).await;
            })
            .detach();
            rt::testing::pause(5).await;
            assert_eq!(group.len(), 1);
            group.end().await;
            assert_eq!(group.len(), 0);
            accepting.stop().await;
        })
        .unwrap();
        shard.join().unwrap();
        assert_eq!((Arc::strong_count(&forgotten), Arc::strong_count(&ended)), (2, 1));
    }

    #[test]
    fn a_panic_is_reported_at_the_join() {
        let cpu = cpu::available()[0];
        let shard: ShardThread<()> =
            spawn_shard("test", cpu, || async { panic!("on purpose") }).unwrap();
        assert_eq!(shard.join(), Err(ShardError("panicked: on purpose".to_owned())));
    }

    /// The executor notices the limit only on its own thread; the start must not hang or succeed.
    #[test]
    fn a_failed_start_is_reported_at_once() {
        if !alone("runtime::shard_thread::tests::a_failed_start_is_reported_at_once") {
            return;
        }
        let maximum = getrlimit(Resource::Memlock).maximum;
        setrlimit(Resource::Memlock, Rlimit { current: Some(65536), maximum }).unwrap();
        let error = spawn_shard("test", cpu::available()[0], || async {}).unwrap_err();
        assert!(error.to_string().contains("LimitMEMLOCK"), "{error}");
    }
}
