//! Starting a shard: one executor on one pinned thread, with its helper threads.

use std::future::Future;

use super::{
    error::{ShardError, ShardStartError},
    executor,
};
use crate::sys::host::LockedMemory;
use std::time::{Duration, Instant};

/// Whether a shard could start on this host and with the rights of this process, found out by
/// trying.
///
/// # Errors
///
/// One sentence with the likely cause and the remedy.
pub fn check_executor() -> Result<(), String> {
    executor::check()
}

/// What shards need of locked memory.
pub const LOCKED_MEMORY: LockedMemory = executor::LOCKED_MEMORY;

/// Starts a thread named after `name`, pinned to `cpu`, that runs what `main` returns. Returns once
/// the executor runs.
///
/// When `main`'s future ends, so does the shard. Tasks that still wait then are dropped, or (by
/// glommio) forgotten: their destructors never run and their descriptors stay open until the
/// process ends. So `main` ends them first ([`super::TaskGroup::end`],
/// [`super::ListenerTask::stop`]) and then awaits [`super::Helpers::end`].
///
/// # Errors
///
/// [`ShardStartError`], with cause and remedy.
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
    executor::start(name, cpu, main).map(ShardThread)
}

/// From here on tells `watcher` when the tasks of each turn of the calling shard had run, and for
/// how long. False where the executor does not tell (glommio's).
///
/// # Panics
///
/// Outside a shard.
pub fn watch_turns(watcher: impl Fn(Instant, Duration) + 'static) -> bool {
    executor::watch_turns(watcher)
}

/// A running shard.
#[derive(Debug)]
pub struct ShardThread<T: Send + 'static>(executor::Thread<T>);

impl<T: Send + 'static> ShardThread<T> {
    /// Waits for the shard to end. Blocks: not for use inside a shard.
    ///
    /// # Errors
    ///
    /// [`ShardError`] when the shard panicked.
    pub fn join(self) -> Result<T, ShardError> {
        self.0.join()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        runtime::testing::{alone, open_files},
        sys::cpu,
    };
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

    #[test]
    fn refuses_a_cpu_that_is_not_there() {
        let error = spawn_shard("test", 1023, || async {}).unwrap_err();
        assert!(matches!(error, ShardStartError::Cpu(_)), "{error}");
    }

    /// Whatever still waits when the main future ends must not keep the thread or kill it. Not
    /// every executor drops it; what must be dropped is in a task group.
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
        let forgets = usize::from(cfg!(feature = "glommio"));
        let counts = (Arc::strong_count(&forgotten), Arc::strong_count(&ended));
        assert_eq!(counts, (1 + forgets, 1));
    }

    #[test]
    fn a_panic_is_reported_at_the_join() {
        let cpu = cpu::available()[0];
        let shard: ShardThread<()> =
            spawn_shard("test", cpu, || async { panic!("on purpose") }).unwrap();
        assert_eq!(shard.join(), Err(ShardError("panicked: on purpose".to_owned())));
    }

    /// Found out on the shard's thread; the start must not hang or succeed.
    #[test]
    fn a_failed_start_is_reported_at_once() {
        if !alone("runtime::shard_thread::tests::a_failed_start_is_reported_at_once") {
            return;
        }
        let limits = getrlimit(Resource::Nofile);
        // The channel and the thread need none, the ring does.
        let used = u64::try_from(open_files()).unwrap();
        setrlimit(Resource::Nofile, Rlimit { current: Some(used - 1), ..limits }).unwrap();
        let error = spawn_shard("test", cpu::available()[0], || async {}).unwrap_err();
        setrlimit(Resource::Nofile, limits).unwrap();
        let text = error.to_string();
        assert!(text.contains("LimitNOFILE") && !text.contains('\n'), "{text}");
    }
}
