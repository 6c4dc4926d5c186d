//! Starting the threads of a run: one executor each, pinned to one CPU.

use std::{collections::BTreeSet, future::Future, io, sync::mpsc};

use glommio::{GlommioError, LocalExecutorBuilder, Placement, PoolPlacement};
use rustix::io::Errno;

/// Memory the executor sets aside for its own file buffers, bytes: the least it takes; its default
/// is 10 MiB. This program reads and writes no files while it runs.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Highest CPU number accepted: the size of the kernel's `cpu_set_t`.
const CPU_NUMBER_MAX: usize = 1023;

/// Starts a thread, pinned to `cpu` if one is given, that runs what `main` returns. Returns once
/// the executor runs. `main` ends its tasks itself ([`super::TaskGroup::end`]).
///
/// # Errors
///
/// [`EngineError`], with cause and remedy.
pub fn start<M, F, T>(
    name: &str,
    cpu: Option<usize>,
    main: M,
) -> Result<EngineThread<T>, EngineError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (started, start) = mpsc::sync_channel(1);
    let handle = LocalExecutorBuilder::new(Placement::Unbound)
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            let pinned = cpu.is_none_or(pin);
            // The starting thread waits for this; it cannot be gone.
            let _ = started.send(pinned);
            if pinned { Some(main().await) } else { None }
        })
        .map_err(|error| EngineError::executor(&error.into()))?;
    match start.recv() {
        Ok(true) => Ok(EngineThread(handle)),
        Ok(false) => {
            let _ = handle.join();
            Err(EngineError::Cpu(cpu.unwrap_or_default()))
        }
        // The sender went away unused: the executor could not be built.
        Err(mpsc::RecvError) => Err(match handle.join() {
            Ok(_) => EngineError::executor(&io::Error::other("ended at once")),
            Err(error) => EngineError::executor(&into_io(error)),
        }),
    }
}

/// A running thread.
#[derive(Debug)]
pub struct EngineThread<T: Send + 'static>(glommio::ExecutorJoinHandle<Option<T>>);

impl<T: Send + 'static> EngineThread<T> {
    /// Waits for the thread to end. Blocks.
    ///
    /// # Errors
    ///
    /// [`EngineError::Died`] when it panicked: its measurements are lost, so the run is.
    pub fn join(self) -> Result<T, EngineError> {
        match self.0.join() {
            Ok(Some(result)) => Ok(result),
            Ok(None) => Err(EngineError::Died("never started".to_owned())),
            Err(error) => Err(EngineError::Died(describe(error))),
        }
    }
}

/// The CPUs this process may use, ascending.
#[must_use]
pub fn available_cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// Reads a list such as `0-3,8` (the form of cpuset(7)) into ascending numbers.
///
/// # Errors
///
/// A sentence, for anything else and for numbers above 1023.
pub fn parse_cpus(text: &str) -> Result<Vec<usize>, String> {
    let refuse = || format!("\"{text}\" is not a list of CPUs; write numbers and ranges: 0-3,8");
    let number = |digits: &str| match digits.trim().parse::<usize>() {
        Ok(cpu) if cpu <= CPU_NUMBER_MAX => Ok(cpu),
        _ => Err(refuse()),
    };
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(refuse());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus.into_iter().collect())
}

/// Why a thread of the run could not start, or how it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The thread could not be pinned.
    #[error(
        "cannot run on CPU {0}: it does not exist, is offline, or is outside this process's \
         cpuset; see `cat /sys/devices/system/cpu/online` and `taskset -p $$`"
    )]
    Cpu(usize),
    /// The executor could not be built.
    #[error("cannot start the executor: {cause}; {remedy}")]
    Executor {
        /// What was refused.
        cause: String,
        /// Likely cause and remedy.
        remedy: &'static str,
    },
    /// A thread ended by a panic.
    #[error("a thread of the run died: {0}")]
    Died(String),
}

impl EngineError {
    fn executor(error: &io::Error) -> Self {
        let text = error.to_string();
        let remedy = match Errno::from_io_error(error) {
            Some(Errno::PERM | Errno::ACCESS) => {
                "likely io_uring is forbidden by seccomp (a container's default profile) or \
                 kernel.io_uring_disabled"
            }
            Some(Errno::NOSYS) => "the kernel has no io_uring; Linux 5.11 or later is needed",
            Some(Errno::NOMEM) => "raise `ulimit -l` (locked memory), or use fewer --cpus",
            Some(Errno::MFILE | Errno::NFILE) => "raise `ulimit -n`",
            _ if text.contains("MemLockLimit") => "raise `ulimit -l` (locked memory)",
            _ => "see the kernel log",
        };
        Self::Executor { cause: text, remedy }
    }
}

fn pin(cpu: usize) -> bool {
    // A number past the end of cpu_set_t would be an out-of-bounds index further down.
    cpu <= CPU_NUMBER_MAX && core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

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
    use super::{EngineError, available_cpus, parse_cpus, start};
    use crate::sys::rings;

    #[track_caller]
    fn check(text: &str, expected: Option<&[usize]>) {
        assert_eq!(parse_cpus(text).ok().as_deref(), expected, "{text:?}");
    }

    #[test]
    fn cpu_lists() {
        check("0", Some(&[0]));
        check("0-2,8", Some(&[0, 1, 2, 8]));
        check("1024", None);
        check("3-1", None);
        check("", None);
        check("1,", None);
    }

    /// If not, then the kernel is older than 5.19, or the linker found no function to replace.
    #[test]
    fn its_rings_do_not_interrupt_it() {
        assert!(start("test", None, || async { rings::cooperative() }).unwrap().join().unwrap());
    }

    #[test]
    fn a_thread_runs_where_it_was_told_and_a_panic_is_reported() {
        let first = available_cpus()[0];
        let seen = start("test", Some(first), || async { available_cpus() }).unwrap();
        assert_eq!(seen.join().unwrap(), [first]);
        let refused = start("test", Some(1023), || async {}).unwrap_err();
        assert_eq!(refused, EngineError::Cpu(1023));
        let died = start("test", None, || async { panic!("told to") }).unwrap().join();
        assert_eq!(died, Err::<(), _>(EngineError::Died("panicked: told to".to_owned())));
    }
}
