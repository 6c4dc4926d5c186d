//! What /proc says about the server process.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use crate::support::wait_until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open descriptors of a process.
pub(crate) fn descriptors(pid: u32) -> usize {
    links(pid).len()
}

/// The same of a process that does nothing: a server that has just started looks at its homes, and
/// what that opens is closed again. Their number has stayed the same for 20 looks.
#[track_caller]
pub(crate) fn descriptors_at_rest(pid: u32) -> usize {
    let (mut count, mut looks) = (descriptors(pid), 0);
    wait_until("descriptors at rest", || {
        let now = descriptors(pid);
        looks = if now == count { looks + 1 } else { 0 };
        count = now;
        looks >= 20
    });
    count
}

/// Regular files open for an upload: temporary files under `root`, named or not.
pub(crate) fn open_files_below(pid: u32, root: &std::path::Path) -> Vec<PathBuf> {
    let below = |path: &PathBuf| path.starts_with(root) && path != root;
    links(pid).into_iter().filter(below).collect()
}

/// Whether a descriptor, be it one that only names something, leads to `path` or below.
pub(crate) fn leads_below(pid: u32, path: &std::path::Path) -> bool {
    links(pid).iter().any(|link| link.starts_with(path))
}

/// Whether a process has the other end of a connection over IPv4 on this host; one that was closed
/// with octets unsent is the kernel's alone.
pub(crate) fn other_end_is_open(tcp: &TcpStream) -> bool {
    let end = |address: SocketAddr| format!(":{:04X}", address.port());
    let (own, other) = (end(tcp.local_addr().unwrap()), end(tcp.peer_addr().unwrap()));
    // Columns: number, local address, remote address, …, inode.
    fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&other) && fields[2].ends_with(&own) && fields[9] != "0"
    })
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    field(&status(&format!("/proc/{pid}/status")), "VmRSS:").parse().unwrap()
}

/// The most that ever was resident, KiB.
pub(crate) fn resident_most_kib(pid: u32) -> u64 {
    field(&status(&format!("/proc/{pid}/status")), "VmHWM:").parse().unwrap()
}

/// Effective user id of every thread.
pub(crate) fn thread_uids(pid: u32) -> Vec<[u32; 4]> {
    threads(pid).iter().map(|text| ids(text, "Uid:")).collect()
}

/// Group ids (real, effective, saved, filesystem) of every thread.
pub(crate) fn thread_gids(pid: u32) -> Vec<[u32; 4]> {
    threads(pid).iter().map(|text| ids(text, "Gid:")).collect()
}

/// Whether every thread stands still by SIGSTOP, which takes a while to reach those that run.
pub(crate) fn are_stopped(pid: u32) -> bool {
    threads(pid).iter().all(|text| field(text, "State:") == "T")
}

/// CPU time used so far, in clock ticks (1/100 s on every Linux of interest).
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = status(&format!("/proc/{pid}/stat"));
    // The second field is the name in parentheses and may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The first CPU this process may run on.
pub(crate) fn first_cpu() -> u32 {
    let text = status("/proc/self/status");
    let list = field(&text, "Cpus_allowed_list:");
    list.split([',', '-']).next().unwrap().parse().unwrap()
}

/// Raises this process's own descriptor limit as far as it goes; what it is now.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.unwrap_or(u64::MAX)
}

fn links(pid: u32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    // A descriptor may be closed between the listing and the look.
    entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
}

/// What each thread's `status` says.
fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // One may end between the listing and the look.
    tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok()).collect()
}

fn ids(text: &str, key: &str) -> [u32; 4] {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let ids: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
    ids.try_into().unwrap()
}

fn status(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

fn field<'a>(text: &'a str, key: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap()
}
