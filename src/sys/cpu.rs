//! Which CPUs this process may use, and the text form of a CPU list. Pinning itself is here too;
//! who runs where is decided by `config` and `main`.

use std::collections::BTreeSet;

/// Highest CPU number accepted in a list: the size of the kernel's `cpu_set_t`.
const CPU_NUMBER_MAX: usize = 1023;

/// The CPUs in the affinity mask of the calling thread, ascending. Empty when the mask cannot be
/// read.
#[must_use]
pub fn available() -> Vec<usize> {
    let mut cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    cpus
}

/// Binds the calling thread to `cpu`. Threads it starts afterwards inherit the binding.
///
/// # Errors
///
/// [`CpuError::Refused`] when the CPU does not exist, is offline or is outside the cpuset.
pub fn pin_current_thread(cpu: usize) -> Result<(), CpuError> {
    // A number past the end of cpu_set_t would be an out-of-bounds index further down.
    let accepted =
        cpu <= CPU_NUMBER_MAX && core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    if accepted { Ok(()) } else { Err(CpuError::Refused { cpus: cpu.to_string() }) }
}

/// Lets the calling thread run wherever the main thread may: undoes the binding it inherited. Where
/// that is refused, the thread stays where it is.
pub fn unpin_current_thread() {
    if let Ok(cpus) = rustix::thread::sched_getaffinity(Some(rustix::process::getpid())) {
        let _ = rustix::thread::sched_setaffinity(None, &cpus);
    }
}

/// Reads a list such as `0-3,8` (the form of cpuset(7)) into ascending CPU numbers without
/// repetition.
///
/// # Errors
///
/// [`CpuError::Syntax`] for anything else, an empty list or a number above 1023.
pub fn parse_list(text: &str) -> Result<Vec<usize>, CpuError> {
    let syntax = || CpuError::Syntax { list: text.to_owned() };
    let number = |digits: &str| match digits.trim().parse::<usize>() {
        Ok(cpu) if cpu <= CPU_NUMBER_MAX => Ok(cpu),
        _ => Err(syntax()),
    };
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(syntax());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus.into_iter().collect())
}

/// Why a CPU or a list of CPUs cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpuError {
    /// The thread could not be bound.
    #[error(
        "cannot run on CPU {cpus}: not there, offline, or outside the cpuset of this service; see \
         `cat /sys/devices/system/cpu/online` and `taskset -p $$`"
    )]
    Refused {
        /// The CPUs asked for that cannot be had, as a list.
        cpus: String,
    },
    /// The text is not a list of CPUs.
    #[error("\"{list}\" is not a list of CPUs; write numbers and ranges such as 0-3,8")]
    Syntax {
        /// The text as given.
        list: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&[usize]>) {
        assert_eq!(parse_list(text).ok().as_deref(), expected, "{text:?}");
    }

    #[test]
    fn lists() {
        check("0", Some(&[0]));
        check("0-3,8", Some(&[0, 1, 2, 3, 8]));
        check("8, 1-2 ,2", Some(&[1, 2, 8]));
        check("1023", Some(&[1023]));
        check("1024", None);
        check("0-99999999999", None);
        check("3-1", None);
        check("", None);
        check("1,", None);
        check("-1", None);
        check("a", None);
    }

    #[test]
    fn pinning_narrows_the_mask_and_refuses_what_is_not_there() {
        std::thread::spawn(|| {
            let first = available()[0];
            let refused = |cpu: usize| Err(CpuError::Refused { cpus: cpu.to_string() });
            pin_current_thread(first).unwrap();
            assert_eq!(available(), [first]);
            assert_eq!(pin_current_thread(1023), refused(1023));
            assert_eq!(pin_current_thread(1 << 20), refused(1 << 20));
        })
        .join()
        .unwrap();
    }
}
