//! Starting the threads of a run: one executor each, pinned to one CPU.

use std::{any::Any, collections::BTreeSet, future::Future, io, sync::mpsc, thread};

use ringftpd_reactor::{Builder, Refusal};
use rustls::crypto::aws_lc_rs;

/// Whether io_uring can be used, found out by using it.
///
/// # Errors
///
/// One sentence with cause and remedy.
pub fn check() -> Result<(), String> {
    Builder::new().build().map(drop).map_err(|refusal: Refusal| refusal.to_string())
}

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
    let run = move || {
        let executor = match cpu {
            Some(number) if !pin(number) => Err(EngineError::Cpu(number)),
            _ => Builder::new().build().map_err(|error| EngineError::Executor(error.to_string())),
        };
        // The starting thread waits for this; it cannot be gone.
        match executor {
            Ok(executor) => {
                let _ = started.send(Ok(()));
                seed_random();
                executor.run(async move { main().await }).map(Some)
            }
            Err(error) => {
                let _ = started.send(Err(error));
                Ok(None)
            }
        }
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    let thread = thread.map_err(|error| {
        EngineError::Executor(format!("cannot start a thread: {error}; raise `ulimit -u`"))
    })?;
    match start.recv() {
        Ok(Ok(())) => Ok(EngineThread(thread)),
        Ok(Err(error)) => Err(error),
        Err(mpsc::RecvError) => Err(EngineError::Died("it ended at once".to_owned())),
    }
}

/// Has the random numbers of TLS ready in this thread. They come from a generator a thread, and
/// the first one of a process gathers its seed from the jitter of the CPU, which takes 50 ms of CPU
/// time and more: without this, the first handshakes of a run would have it in their latency.
fn seed_random() {
    // A failure is that of the first handshake, too, which says so.
    let _ = aws_lc_rs::default_provider().secure_random.fill(&mut [0]);
}

/// A running thread.
#[derive(Debug)]
pub struct EngineThread<T>(thread::JoinHandle<io::Result<Option<T>>>);

impl<T> EngineThread<T> {
    /// Waits for the thread to end. Blocks.
    ///
    /// # Errors
    ///
    /// [`EngineError::Died`] when it panicked: its measurements are lost, so the run is.
    pub fn join(self) -> Result<T, EngineError> {
        match self.0.join() {
            Ok(Ok(Some(result))) => Ok(result),
            Ok(Ok(None)) => Err(EngineError::Died("never started".to_owned())),
            Ok(Err(error)) => Err(EngineError::Died(format!("io_uring_enter says \"{error}\""))),
            Err(payload) => Err(EngineError::Died(describe(&*payload))),
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
    /// The executor could not be built: what was refused, the likely cause and the remedy.
    #[error("{0}")]
    Executor(String),
    /// A thread ended by a panic.
    #[error("a thread of the run died: {0}")]
    Died(String),
}

fn pin(cpu: usize) -> bool {
    // A number past the end of cpu_set_t would be an out-of-bounds index further down.
    cpu <= CPU_NUMBER_MAX && core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::{EngineError, available_cpus, parse_cpus, start};

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
