//! A reactor on a thread of its own.

use std::io;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use ringftpd_reactor as reactor;
use ringftpd_reactor::{Level, Refusal};

use crate::runtime::error::{ShardError, ShardStartError};
use crate::sys::{cpu, host::LockedMemory};

/// Newer kernels count a ring: 200 KiB.
pub(in crate::runtime) const LOCKED_MEMORY: LockedMemory =
    LockedMemory { per_shard: 256 * 1024, at_least: 0 };

/// Sets the ring up in this way and in no other, for tests and measurements: "deferred",
/// "cooperative" or "plain".
const LEVEL: &str = "RINGFTPD_RING";

/// Tries what [`start`] will do, on this thread.
///
/// # Errors
///
/// One sentence with cause and remedy.
pub(in crate::runtime) fn check() -> Result<(), String> {
    builder()?.build().map(drop).map_err(|refusal: Refusal| refusal.to_string())
}

fn builder() -> Result<reactor::Builder, String> {
    let builder = reactor::Builder::new();
    let Some(word) = std::env::var_os(LEVEL) else { return Ok(builder) };
    Ok(builder.level(match word.to_str() {
        Some("deferred") => Level::Deferred,
        Some("cooperative") => Level::Cooperative,
        Some("plain") => Level::Plain,
        _ => {
            return Err(format!("{LEVEL} is {word:?}: \"deferred\", \"cooperative\" or \"plain\""));
        }
    }))
}

/// A running executor.
#[derive(Debug)]
pub(in crate::runtime) struct Thread<T>(JoinHandle<io::Result<Option<T>>>);

/// Starts an executor on a thread named `name` and pinned to `cpu`, and returns once it runs. All
/// tasks are dropped when `main`'s future ends.
///
/// # Errors
///
/// Why it does not run; the thread has ended then.
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
    let builder = builder().map_err(ShardStartError::Executor)?;
    let (started, start) = mpsc::sync_channel(1);
    let run = move || {
        let executor = cpu::pin_current_thread(cpu).map_err(ShardStartError::Cpu).and_then(|()| {
            builder.build().map_err(|refusal| ShardStartError::Executor(refusal.to_string()))
        });
        // The starting thread waits for this; it cannot be gone.
        match executor {
            Ok(executor) => {
                let _ = started.send(Ok(executor.level()));
                executor.run(async move { main().await }).map(Some)
            }
            Err(error) => {
                let _ = started.send(Err(error));
                Ok(None)
            }
        }
    };
    let thread = Builder::new().name(name.to_owned()).spawn(run);
    let thread = thread.map_err(|error| {
        let remedy = "raise TasksMax of the service or `ulimit -u`";
        ShardStartError::Executor(format!("cannot start the thread of a shard: {error}; {remedy}"))
    })?;
    match start.recv() {
        Ok(Ok(level)) => {
            if level == Level::Plain {
                tracing::info!(
                    "the kernel interrupts shards more than needed; Linux 5.19 would not"
                );
            }
            Ok(Thread(thread))
        }
        Ok(Err(error)) => {
            let _ = thread.join();
            Err(error)
        }
        // Not reached: it sends before it can panic.
        Err(mpsc::RecvError) => Err(ShardStartError::Executor("a shard ended at once".to_owned())),
    }
}

impl<T> Thread<T> {
    /// Waits for the end. Blocks.
    ///
    /// # Errors
    ///
    /// A panic, or a ring that refuses its service.
    pub(in crate::runtime) fn join(self) -> Result<T, ShardError> {
        match self.0.join() {
            Ok(Ok(Some(result))) => Ok(result),
            Ok(Ok(None)) => Err(ShardError("never started".to_owned())),
            Ok(Err(error)) => Err(ShardError(format!("io_uring_enter says \"{error}\""))),
            Err(payload) => Err(ShardError::of_panic(&*payload)),
        }
    }
}
