//! What the process uses, as the kernel counts it (proc(5)), and what it was started with.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// What the process uses and may use. What the kernel does not tell is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Processor time, user and system, in hundredths of a second.
    pub cpu_centiseconds: Option<u64>,
    /// Octets of memory in use.
    pub resident_bytes: Option<u64>,
    /// Octets of addresses in use.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When it started, hundredths of a second since the Unix epoch.
    pub start_centiseconds: Option<u64>,
    /// Descriptors in use.
    pub open_fds: Option<u64>,
    /// The most descriptors it may have.
    pub max_fds: Option<u64>,
}

/// Descriptors that the service manager passes to this process, each with its name
/// (sd_listen_fds_with_names(3)); none where it passes none, or to another process. The first call
/// takes them, and there is nothing for a later one.
///
/// # Errors
///
/// The environment does not say how many there are, or one of them is not there.
pub fn passed_descriptors() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    // Names that are another process's would be a mistake to it.
    if sd_notify::listen_fds()?.len() == 0 {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    let own = |(number, name)| {
        // SAFETY: the manager has opened it for this process, which LISTEN_PID names; it is open,
        // for it was just marked close-on-exec; and nobody else here takes it: this is once.
        (name, unsafe { OwnedFd::from_raw_fd(number) })
    };
    Ok(passed.map(own).collect())
}

/// Reads them. Not for use on a shard's thread: the kernel may have to look through all
/// descriptors.
#[must_use]
pub fn figures() -> ProcessFigures {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text));
    ProcessFigures {
        open_fds: open_fds(),
        max_fds: getrlimit(Resource::Nofile).current,
        ..of_stat(&stat, boot, (clock_ticks_per_second(), page_size() as u64))
    }
}

/// What is in `/proc/self/stat`; the second field may have spaces and parentheses in it.
fn of_stat(stat: &str, boot: Option<u64>, (ticks, page): (u64, u64)) -> ProcessFigures {
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split(' ').collect();
    // Numbered as in the manual, from 1 on; the first here is the empty one behind the parenthesis.
    let field = |number: usize| fields.get(number - 2).and_then(|field| field.parse::<u64>().ok());
    let centiseconds = |count: u64| count.saturating_mul(100) / ticks.max(1);
    let cpu = field(14).zip(field(15)).map(|(user, system)| centiseconds(user + system));
    ProcessFigures {
        cpu_centiseconds: cpu,
        threads: field(20),
        start_centiseconds: field(22)
            .zip(boot)
            .map(|(since, boot)| boot * 100 + centiseconds(since)),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages.saturating_mul(page)),
        ..ProcessFigures::default()
    }
}

/// Seconds since the Unix epoch, in `/proc/stat`.
fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The size of the directory is their number from Linux 6.2 on; before, it is 0, and they are
/// counted.
fn open_fds() -> Option<u64> {
    const FDS: &str = "/proc/self/fd";
    let size = fs::metadata(FDS).ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // One of them is the directory's.
    fs::read_dir(FDS).ok().map(|entries| (entries.count() as u64).saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (ring) ftp d) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 5 0 1234 \
                    4096000 300 18446744073709551615 1";
        let found = of_stat(stat, boot_time("cpu  1 2\nbtime 1000\n"), (100, 4096));
        let expected = ProcessFigures {
            cpu_centiseconds: Some(300),
            resident_bytes: Some(300 * 4096),
            virtual_bytes: Some(4_096_000),
            threads: Some(5),
            start_centiseconds: Some(100_000 + 1234),
            open_fds: None,
            max_fds: None,
        };
        assert_eq!(found, expected);
        assert_eq!(of_stat("", None, (100, 4096)), ProcessFigures::default());
    }

    #[test]
    fn this_process() {
        let found = figures();
        assert!(found.threads.is_some_and(|threads| threads >= 1), "{found:?}");
        assert!(found.resident_bytes.is_some_and(|bytes| bytes > 1 << 20), "{found:?}");
        assert!(found.open_fds.is_some_and(|count| count > 2), "{found:?}");
        assert!(
            found.start_centiseconds.is_some() && found.cpu_centiseconds.is_some(),
            "{found:?}"
        );
    }
}
