//! What the host must allow before a shard starts. Each refusal says what was found, its likely
//! cause and the remedy; nothing here starts anything.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

/// What executors need of the memory that may be locked, octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockedMemory {
    /// What each of them uses.
    pub per_shard: u64,
    /// With less none starts, whichever user is charged for it.
    pub at_least: u64,
}

/// How many executors can start, of those wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRoom {
    /// At least one.
    pub shards: usize,
    /// What to tell the operator when they are fewer than wanted.
    pub warning: Option<String>,
}

/// Checks that the memory of executors may be locked, of as many of `wanted` as possible, raising
/// the limit where that is allowed. `changes_user` when they will run as another user than this
/// one: the kernel charges processes without CAP_IPC_LOCK, which is lost with root.
///
/// # Errors
///
/// Not even one can start.
pub fn check(
    wanted: usize,
    changes_user: bool,
    memory: LockedMemory,
) -> Result<ShardRoom, HostError> {
    let limit = raise_locked_memory(memory.required(wanted))?;
    let charged = changes_user || !has_capability(CapabilitySet::IPC_LOCK);
    shard_room(limit, wanted, charged, memory)
}

fn shard_room(
    limit: u64,
    wanted: usize,
    charged: bool,
    memory: LockedMemory,
) -> Result<ShardRoom, HostError> {
    let required = memory.required(wanted);
    if limit < memory.at_least {
        return Err(HostError::LockedMemory { limit, required });
    }
    // What one needs at most, it need not have.
    let room = usize::try_from(limit / memory.per_shard).unwrap_or(usize::MAX).max(1);
    if !charged || wanted <= room {
        return Ok(ShardRoom { shards: wanted, warning: None });
    }
    let warning = format!(
        "only {limit} bytes may be locked (RLIMIT_MEMLOCK), which is enough for {room} shards of \
         the {wanted} wanted: {room} are started; for all of them set LimitMEMLOCK={required} in \
         the service unit, `ulimit -l {}`, or memlock in /etc/security/limits.conf",
        required / 1024
    );
    Ok(ShardRoom { shards: room, warning: Some(warning) })
}

/// Raises the limit to `wanted`, the hard one, too, where that is allowed; what is in force.
fn raise_locked_memory(wanted: u64) -> Result<u64, HostError> {
    let limit = raise_soft(Resource::Memlock, Some(wanted))?;
    let both = Rlimit { current: Some(wanted), maximum: Some(wanted) };
    if limit < wanted && setrlimit(Resource::Memlock, both).is_ok() {
        return Ok(wanted);
    }
    Ok(limit)
}

fn has_capability(capability: CapabilitySet) -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Raises the soft limit of open descriptors to the hard limit and returns it.
///
/// # Errors
///
/// [`HostError::Limit`] when the kernel refuses.
pub fn raise_open_files() -> Result<u64, HostError> {
    raise_soft(Resource::Nofile, None)
}

/// What to tell the operator when `limit` descriptors cannot carry `sessions` sessions on `shards`
/// shards beside `homes` handles of home directories; `None` when they can.
#[must_use]
pub fn open_files_warning(limit: u64, sessions: u64, shards: u64, homes: u64) -> Option<String> {
    // A session at work: control connection, passive listener and the poll on it, data
    // connection, file, directory.
    const PER_SESSION: u64 = 6;
    let needed = sessions.saturating_mul(PER_SESSION).saturating_add(at_rest(shards, homes));
    (limit < needed).then(|| {
        format!(
            "only {limit} descriptors may be open (RLIMIT_NOFILE), but {sessions} sessions and \
             the home directories can need {needed}: new connections will wait when they run out; \
             raise it with LimitNOFILE={needed} in the service unit or `ulimit -n`, or allow fewer \
             sessions"
        )
    })
}

/// The first descriptor that no new connection may have, of `limit`: a quarter of what `shards`
/// shards and `homes` handles of home directories leave is for the sessions that are in, so that
/// they find some however many strangers connect.
#[must_use]
pub fn reserved_descriptors(limit: u64, shards: u64, homes: u64) -> u64 {
    limit - limit.saturating_sub(at_rest(shards, homes)) / 4
}

/// Descriptors without a session. A shard: its rings, eventfds, listeners and their polls.
fn at_rest(shards: u64, homes: u64) -> u64 {
    const PER_SHARD: u64 = 32;
    const PROCESS: u64 = 64;
    shards.saturating_mul(PER_SHARD).saturating_add(homes).saturating_add(PROCESS)
}

/// The ports the kernel would choose from when it is asked for any: `ip_local_port_range` without
/// `ip_local_reserved_ports`. Empty when `/proc` does not say.
#[must_use]
pub fn ephemeral_ports() -> Vec<u16> {
    const DIRECTORY: &str = "/proc/sys/net/ipv4";
    let read = |name: &str| fs::read_to_string(format!("{DIRECTORY}/{name}")).unwrap_or_default();
    parse_ephemeral(&read("ip_local_port_range"), &read("ip_local_reserved_ports"))
}

fn parse_ephemeral(range: &str, reserved: &str) -> Vec<u16> {
    let bounds: Vec<u16> = range.split_whitespace().filter_map(|port| port.parse().ok()).collect();
    let &[low, high] = bounds.as_slice() else { return Vec::new() };
    let reserved: Vec<(u16, u16)> = reserved
        .trim()
        .split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect();
    let is_free = |port: &u16| !reserved.iter().any(|(first, last)| (first..=last).contains(&port));
    (low..=high).filter(is_free).collect()
}

/// Why the host cannot run the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A resource limit could not be raised.
    #[error("cannot raise {limit}: {cause}; raise it for the service (`ulimit -H`, Limit…=)")]
    Limit {
        /// The limit's name.
        limit: &'static str,
        /// The kernel's answer.
        cause: rustix::io::Errno,
    },
    /// Too little memory may be locked.
    #[error(
        "only {limit} bytes may be locked (RLIMIT_MEMLOCK) and {required} are needed: the rings of \
         io_uring live there; set LimitMEMLOCK={required} in the service unit, `ulimit -l`, or \
         memlock in /etc/security/limits.conf, or start fewer shards"
    )]
    LockedMemory {
        /// The limit in force, octets.
        limit: u64,
        /// What the shards need, octets.
        required: u64,
    },
}

impl LockedMemory {
    fn required(self, shards: usize) -> u64 {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX);
        shards.saturating_mul(self.per_shard).max(self.at_least)
    }
}

/// Raises a soft limit to `wanted` (`None`: to the hard limit) as far as the hard limit allows,
/// and returns what is in force.
fn raise_soft(resource: Resource, wanted: Option<u64>) -> Result<u64, HostError> {
    let name = match resource {
        Resource::Memlock => "RLIMIT_MEMLOCK",
        _ => "RLIMIT_NOFILE",
    };
    let limits = getrlimit(resource);
    let unlimited = u64::MAX;
    let (soft, hard) = (limits.current.unwrap_or(unlimited), limits.maximum.unwrap_or(unlimited));
    let target = wanted.unwrap_or(hard).min(hard);
    if soft >= target {
        return Ok(soft);
    }
    setrlimit(resource, Rlimit { current: Some(target), maximum: limits.maximum })
        .map_err(|cause| HostError::Limit { limit: name, cause })?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ephemeral() {
        assert_eq!(parse_ephemeral("10\t15\n", "\n"), [10, 11, 12, 13, 14, 15]);
        assert_eq!(parse_ephemeral("10 15", "11,13-14,9000-9010\n"), [10, 12, 15]);
        assert_eq!(parse_ephemeral("", ""), [0; 0]);
        assert_eq!(parse_ephemeral("what is this", "1"), [0; 0]);
        assert!(ephemeral_ports().len() > 100);
    }

    const HALF_A_MEBIBYTE: LockedMemory =
        LockedMemory { per_shard: 512 * 1024, at_least: 512 * 1024 };

    #[test]
    fn locked_memory() {
        assert_eq!(HALF_A_MEBIBYTE.required(1), 512 * 1024);
        assert_eq!(HALF_A_MEBIBYTE.required(8), 8 * 512 * 1024);
        // It is tried.
        let any = LockedMemory { at_least: 0, ..HALF_A_MEBIBYTE };
        assert_eq!(shard_room(64 * 1024, 2, true, any).unwrap().shards, 1);
        let refused = shard_room(64 * 1024, 1, true, HALF_A_MEBIBYTE).unwrap_err();
        assert_eq!(refused, HostError::LockedMemory { limit: 65536, required: 524_288 });
        assert!(refused.to_string().contains("LimitMEMLOCK=524288"));
    }

    /// 8 MiB is the usual limit.
    #[test]
    fn as_many_shards_as_may_lock_their_memory() {
        #[track_caller]
        fn check(wanted: usize, charged: bool, shards: usize) {
            let room = shard_room(8 << 20, wanted, charged, HALF_A_MEBIBYTE).unwrap();
            assert_eq!(room.shards, shards);
            assert_eq!(room.warning.is_some(), shards < wanted);
            let text = room.warning.unwrap_or_else(|| "LimitMEMLOCK=33554432".to_owned());
            assert!(text.contains("LimitMEMLOCK=33554432"), "{text}");
        }
        check(16, true, 16);
        check(64, true, 16);
        check(64, false, 64);
    }

    #[test]
    fn open_files_are_raised_to_the_hard_limit() {
        let limit = raise_open_files().unwrap();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(limit, now.maximum.unwrap_or(u64::MAX));
        assert_eq!(open_files_warning(1_000_000, 1000, 4, 0), None);
        assert!(open_files_warning(1024, 1000, 4, 8).unwrap().contains("LimitNOFILE=6200"));
        assert_eq!(open_files_warning(6_400, 1000, 4, 208), None);
        assert_eq!(reserved_descriptors(1_000, 4, 8), 1_000 - 200);
        // Of what is too little, none.
        assert_eq!((reserved_descriptors(100, 4, 8), reserved_descriptors(200, 4, 8)), (100, 200));
        assert!(open_files_warning(6_400, 1000, 4, 209).unwrap().contains("LimitNOFILE=6401"));
    }
}
