//! CPU time and memory of processes on this host, from `/proc` (proc(5)): this process's own cost,
//! and the server's where its process id or its cgroup (cgroup v2, the kernel's
//! admin-guide/cgroup-v2) was given. Reads nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of the calling thread so far.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    clock_time(ClockId::ThreadCPUTime)
}

/// CPU time of this process so far, all its threads.
#[must_use]
pub fn process_cpu_time() -> Duration {
    clock_time(ClockId::ProcessCPUTime)
}

fn clock_time(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
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

/// Which processes of this host are the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerProcesses {
    /// A process and its descendants. Descendants that ended are in their parent's `cutime` once it
    /// waited for them; what a server of several processes a session does not wait for is lost.
    Tree(u32),
    /// All processes of a cgroup v2 and of those below it, the ended ones included.
    Cgroup(PathBuf),
}

impl ServerProcesses {
    /// Their CPU time so far, without the cost of reading their memory. `None` when there is no
    /// such process or cgroup (any more).
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        match self {
            Self::Tree(pid) => {
                let table = process_table();
                table.get(pid)?;
                let members =
                    table.iter().filter(|(member, _)| is_descendant(**member, *pid, &table));
                Some(ticks_to_duration(members.map(|(_, stat)| stat.cpu_ticks).sum()))
            }
            Self::Cgroup(directory) => {
                parse_cpu_stat(&fs::read_to_string(directory.join("cpu.stat")).ok()?)
            }
        }
    }

    /// What they have used so far. `None` when there is no such process or cgroup (any more).
    #[must_use]
    pub fn sample(&self) -> Option<ProcessSample> {
        match self {
            Self::Tree(pid) => ProcessSample::read(*pid),
            Self::Cgroup(directory) => ProcessSample::read_cgroup(directory),
        }
    }
}

impl fmt::Display for ServerProcesses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree(pid) => write!(formatter, "process {pid}"),
            Self::Cgroup(directory) => write!(formatter, "cgroup v2 {}", directory.display()),
        }
    }
}

/// CPU time and memory of all processes of a server at one moment: servers that fork a process per
/// session are one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessSample {
    /// User and system time: in the kernel's ticks (10 ms) by process id, else in microseconds.
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

    /// Reads the cgroup v2 at `directory` and those below it. `None` when there is none.
    #[must_use]
    pub fn read_cgroup(directory: &Path) -> Option<Self> {
        let usage = fs::read_to_string(directory.join("cpu.stat")).ok()?;
        let mut sample = Self { cpu: parse_cpu_stat(&usage)?, ..Self::default() };
        for member in cgroup_members(directory) {
            sample.memory_bytes += memory_bytes(member).unwrap_or_default();
            sample.processes += 1;
        }
        Some(sample)
    }
}

/// What a server used: CPU time from the end of the warm-up, memory from before the sessions of the
/// run, both until the last operation had ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUse {
    /// Who it is, as given.
    pub processes: ServerProcesses,
    /// At these beginnings.
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

/// Parses `usage_usec N` of a `cpu.stat`: user and system time, of ended processes too.
fn parse_cpu_stat(text: &str) -> Option<Duration> {
    let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    usage.trim().parse().ok().map(Duration::from_micros)
}

/// The processes of a cgroup and of those below it. `cpu.stat` counts the latter by itself,
/// `cgroup.procs` does not.
fn cgroup_members(directory: &Path) -> Vec<u32> {
    let mut members = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(group) = waiting.pop() {
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        members.extend(listed.lines().filter_map(|line| line.parse::<u32>().ok()));
        let below = fs::read_dir(&group).into_iter().flatten().flatten();
        let is_group = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        waiting.extend(below.filter(is_group).map(|entry| entry.path()));
    }
    members
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

    use super::{
        ProcessSample, ServerProcesses, parse_schedstat, parse_stat, process_cpu_time,
        thread_cpu_time,
    };

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
        assert_eq!(ServerProcesses::Tree(1 << 23).cpu_time(), None);
        let cpu = ServerProcesses::Tree(std::process::id()).cpu_time().unwrap();
        assert!(cpu >= sample.cpu && process_cpu_time() > Duration::ZERO);
    }

    #[test]
    fn the_wait_is_the_second_figure() {
        assert_eq!(parse_schedstat("514969 114631 2\n"), Some(114_631));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn a_cgroup_counts_with_those_below_it() {
        // As the kernel shows it: files of these names, and directories for groups.
        let scratch = tempfile::TempDir::new().unwrap();
        let (group, below) = (scratch.path(), scratch.path().join("below"));
        std::fs::create_dir(&below).unwrap();
        let usage = "usage_usec 1234567\nuser_usec 1\nsystem_usec 2\n";
        std::fs::write(group.join("cpu.stat"), usage).unwrap();
        let this = format!("{}\n", std::process::id());
        std::fs::write(group.join("cgroup.procs"), "").unwrap();
        std::fs::write(below.join("cgroup.procs"), this).unwrap();
        let sample = ServerProcesses::Cgroup(group.to_path_buf()).sample().unwrap();
        assert_eq!((sample.cpu, sample.processes), (Duration::from_micros(1_234_567), 1));
        let group = ServerProcesses::Cgroup(group.to_path_buf());
        assert_eq!(group.cpu_time(), Some(sample.cpu));
        assert!(sample.memory_bytes > 100_000);
        assert_eq!(ServerProcesses::Cgroup(below).sample(), None, "no cpu.stat");
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
