//! CPU time and memory of processes on this host, from `/proc` (proc(5)): this process's own cost,
//! and the server's where its process id was given. Reads nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of the calling thread so far.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// How long the calling thread has waited so far for a CPU that others used, from
/// `/proc/thread-self/schedstat`; zero where the kernel does not say.
#[must_use]
pub fn thread_cpu_wait() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(parse_schedstat(&text).unwrap_or_default())
}

/// CPU time and memory of a process and all its descendants at one moment. Servers that fork a
/// process per session are one server; descendants that ended are in their parent's `cutime` once
/// it waited for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessSample {
    /// User and system time, in the kernel's ticks (10 ms).
    pub cpu: Duration,
    /// Resident memory, bytes: proportional share (PSS) where the kernel shows it, else RSS.
    pub memory_bytes: u64,
    /// Processes found.
    pub processes: u32,
}

impl ProcessSample {
    /// Reads `pid` and its descendants. `None` when `pid` does not exist (any more).
    #[must_use]
    pub fn read(pid: u32) -> Option<Self> {
        let table = process_table();
        table.get(&pid)?;
        let mut sample = Self::default();
        let mut ticks = 0;
        for (member, stat) in &table {
            if is_descendant(*member, pid, &table) {
                ticks += stat.cpu_ticks;
                sample.memory_bytes += memory_bytes(*member).unwrap_or_default();
                sample.processes += 1;
            }
        }
        sample.cpu = ticks_to_duration(ticks);
        Some(sample)
    }
}

/// What a server used from the end of the warm-up until the last operation had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerUse {
    /// Its process id, as given.
    pub pid: u32,
    /// At the end of the warm-up.
    pub before: ProcessSample,
    /// When the last operation had ended, with the connections still open that the workload holds.
    pub after: ProcessSample,
    /// Connections open when `after` was read.
    pub sessions: u64,
}

/// What the table needs of `/proc/PID/stat`.
struct Stat {
    parent: u32,
    cpu_ticks: u64,
}

fn process_table() -> BTreeMap<u32, Stat> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_stat(&text)?))
        })
        .collect()
}

/// Parses `pid (comm) state ppid … utime stime cutime cstime …`. `comm` may hold spaces and
/// parentheses, so the fields are counted from its last closing one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, after_name) = text.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    // proc(5) numbers the fields from 1; the first after `comm` is field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let parent = u32::try_from(field(4)?).ok()?;
    let cpu_ticks = field(14)? + field(15)? + field(16)? + field(17)?;
    Some(Stat { parent, cpu_ticks })
}

/// Parses `time-on-cpu time-waiting timeslices`, in nanoseconds.
fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether `pid` is `ancestor` or below it. Bounded: a table read while processes come and go might
/// even hold a cycle.
fn is_descendant(pid: u32, ancestor: u32, table: &BTreeMap<u32, Stat>) -> bool {
    const DEPTH_MAX: usize = 64;
    let mut current = pid;
    for _ in 0..DEPTH_MAX {
        if current == ancestor {
            return true;
        }
        match table.get(&current) {
            Some(stat) => current = stat.parent,
            None => return false,
        }
    }
    false
}

fn memory_bytes(pid: u32) -> Option<u64> {
    let kibibytes = |path: String, key: &str| -> Option<u64> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix("kB")?.trim().parse().ok()
    };
    kibibytes(format!("/proc/{pid}/smaps_rollup"), "Pss:")
        .or_else(|| kibibytes(format!("/proc/{pid}/status"), "VmRSS:"))
        .map(|kibibytes: u64| kibibytes * 1024)
}

fn ticks_to_duration(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ProcessSample, parse_schedstat, parse_stat, thread_cpu_time};

    #[test]
    fn the_name_of_a_process_cannot_shift_its_fields() {
        let stat =
            parse_stat("7 (a) 9 (b) S 3 7 7 0 -1 4194304 100 0 0 0 11 22 33 44 20 0 1 0 5 1 1 1")
                .unwrap();
        assert_eq!((stat.parent, stat.cpu_ticks), (3, 110));
        assert!(parse_stat("7 (a) S 3").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn this_process_has_memory_and_a_missing_one_has_none() {
        let sample = ProcessSample::read(std::process::id()).unwrap();
        assert!(sample.processes >= 1);
        assert!(sample.memory_bytes > 100_000);
        // Above the kernel's highest possible process id (PID_MAX_LIMIT, 2^22).
        assert_eq!(ProcessSample::read(1 << 23), None);
    }

    #[test]
    fn the_wait_is_the_second_figure() {
        assert_eq!(parse_schedstat("514969 114631 2\n"), Some(114_631));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn the_thread_clock_counts_work() {
        let before = thread_cpu_time();
        let mut spins = 0_u64;
        while thread_cpu_time() - before < Duration::from_millis(2) {
            spins += 1;
        }
        assert!(spins > 0);
    }
}
