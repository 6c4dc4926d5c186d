//! Giving up root: which user to become, and becoming it. Users are read from /etc/passwd and
//! /etc/group directly, so that no name service runs inside the server; for users known only to
//! LDAP and the like, numbers are accepted.
//!
//! The kernel keeps credentials per thread, and a new thread inherits those of its creator. So
//! the order is: bind sockets and read keys, [`drop_to`] while there is still one thread, then
//! start the log writer, the signal thread and the shards. The other order would leave threads
//! behind that are still root, and is refused.

use std::{fs, path::Path};

use rustix::{
    process::{Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

/// A user to run as, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, without the primary one, ascending.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Looks up `user`: a name, a number, or `uid:gid`.
    ///
    /// # Errors
    ///
    /// [`PrivilegeError::UnknownUser`], [`PrivilegeError::NoGroup`] for a number that
    /// /etc/passwd does not know, or [`PrivilegeError::Read`].
    pub fn resolve(user: &str) -> Result<Self, PrivilegeError> {
        Self::from_files(user, &read(Path::new("/etc/passwd"))?, &read(Path::new("/etc/group"))?)
    }

    fn from_files(user: &str, passwd: &str, group: &str) -> Result<Self, PrivilegeError> {
        if let Some((uid, gid)) = user.split_once(':') {
            return match (uid.parse(), gid.parse()) {
                (Ok(uid), Ok(gid)) => Ok(Self { uid, gid, groups: Vec::new() }),
                _ => Err(PrivilegeError::UnknownUser { user: user.to_owned() }),
            };
        }
        let number = user.parse::<u32>().ok();
        let entry = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let uid: u32 = fields.nth(1)?.parse().ok()?;
            let gid: u32 = fields.next()?.parse().ok()?;
            (name == user || number == Some(uid)).then_some((name, uid, gid))
        });
        let (name, uid, gid) = match (entry, number) {
            (Some(entry), _) => entry,
            (None, Some(uid)) => return Err(PrivilegeError::NoGroup { uid }),
            (None, None) => return Err(PrivilegeError::UnknownUser { user: user.to_owned() }),
        };
        let mut groups: Vec<u32> = group
            .lines()
            .filter_map(|line| {
                let mut fields = line.split(':');
                let id: u32 = fields.nth(2)?.parse().ok()?;
                let members = fields.next()?;
                (id != gid && members.split(',').any(|member| member == name)).then_some(id)
            })
            .collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(Self { uid, gid, groups })
    }
}

/// What survives the change of user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// CAP_NET_BIND_SERVICE, for the active data connection's source port L-1 (20, or 989 on
    /// implicit; RFC 959 §3.2) [PORT-10].
    LowPorts,
    /// No capability at all; active data connections come from any port.
    Nothing,
}

/// Makes the whole process run as `identity`, for ever: supplementary groups, group, user,
/// capabilities, and no way back through set-user-id programs. Must be called while the process
/// has one thread. Does nothing but check when the process already runs as `identity`'s user.
///
/// # Errors
///
/// [`PrivilegeError::Threads`] when other threads exist, [`PrivilegeError::NotRoot`] when the
/// process may not change its user, [`PrivilegeError::Call`] when the kernel refuses a step and
/// [`PrivilegeError::StillPrivileged`] when root could be regained afterwards.
pub fn drop_to(identity: &Identity, keep: Keep) -> Result<(), PrivilegeError> {
    let threads = fs::read_dir("/proc/self/task")
        .map_err(|cause| PrivilegeError::Read {
            file: "/proc/self/task".to_owned(),
            cause: cause.to_string(),
        })?
        .count();
    if threads != 1 {
        return Err(PrivilegeError::Threads { threads });
    }
    drop_this_thread(identity, keep)
}

/// Has the programs that the calling thread starts keep [`Keep::LowPorts`], if the process has it.
///
/// # Errors
///
/// [`PrivilegeError::Call`] when the kernel refuses a step.
pub fn bequeath_low_ports() -> Result<(), PrivilegeError> {
    use rustix::thread as t;

    let mut sets = step("capget", t::capabilities(None))?;
    if rustix::process::geteuid().is_root()
        || !sets.permitted.contains(CapabilitySet::NET_BIND_SERVICE)
    {
        return Ok(());
    }
    sets.inheritable |= CapabilitySet::NET_BIND_SERVICE;
    step("capset", t::set_capabilities(None, sets))?;
    step(
        "prctl(PR_CAP_AMBIENT_RAISE)",
        t::configure_capability_in_ambient_set(CapabilitySet::NET_BIND_SERVICE, true),
    )
}

/// Why the user was not changed. The process must not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivilegeError {
    /// A step was refused.
    #[error(
        "{call} failed while changing the user: {cause}; is the service's bounding set or \
             user namespace too narrow?"
    )]
    Call {
        /// The system call.
        call: &'static str,
        /// The kernel's answer.
        cause: rustix::io::Errno,
    },
    /// A number without an entry in /etc/passwd.
    #[error("user {uid} is not in /etc/passwd, so its group is unknown; write {uid}:GROUP")]
    NoGroup {
        /// The number given.
        uid: u32,
    },
    /// The process is an ordinary user already, and another one than wanted.
    #[error(
        "cannot become user {uid}: not started as root; start as root or as that user, or \
             leave the user out of the configuration"
    )]
    NotRoot {
        /// The user wanted.
        uid: u32,
    },
    /// A file could not be read.
    #[error("cannot read {file}: {cause}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        cause: String,
    },
    /// Root could be regained, so nothing was gained.
    #[error("root could be regained after changing the user; refusing to go on")]
    StillPrivileged,
    /// Called too late.
    #[error("the user must be changed before further threads start, and {threads} are running")]
    Threads {
        /// How many threads there are.
        threads: usize,
    },
    /// No such user.
    #[error("no user \"{user}\" in /etc/passwd; create it, or write a number or UID:GID")]
    UnknownUser {
        /// The name given.
        user: String,
    },
}

/// The change itself, for the calling thread and those it starts later.
fn drop_this_thread(identity: &Identity, keep: Keep) -> Result<(), PrivilegeError> {
    use rustix::thread as t;

    if rustix::process::geteuid().as_raw() != Uid::ROOT.as_raw() {
        return if rustix::process::geteuid().as_raw() == identity.uid {
            step("prctl(PR_SET_NO_NEW_PRIVS)", t::set_no_new_privs(true))
        } else {
            Err(PrivilegeError::NotRoot { uid: identity.uid })
        };
    }
    if identity.uid == Uid::ROOT.as_raw() {
        // Nothing to give up; and root of a user namespace may not set its groups.
        return step("prctl(PR_SET_NO_NEW_PRIVS)", t::set_no_new_privs(true));
    }
    let uid = Uid::from_raw(identity.uid);
    let gid = Gid::from_raw(identity.gid);
    let groups: Vec<Gid> = identity.groups.iter().map(|raw| Gid::from_raw(*raw)).collect();

    step("prctl(PR_SET_KEEPCAPS)", t::set_keep_capabilities(keep == Keep::LowPorts))?;
    step("setgroups", t::set_thread_groups(&groups))?;
    step("setresgid", t::set_thread_res_gid(gid, gid, gid))?;
    step("setresuid", t::set_thread_res_uid(uid, uid, uid))?;
    if identity.uid != Uid::ROOT.as_raw() {
        let kept = match keep {
            Keep::LowPorts => CapabilitySet::NET_BIND_SERVICE,
            Keep::Nothing => CapabilitySet::empty(),
        };
        let sets = CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        };
        step("capset", t::set_capabilities(None, sets))?;
        if t::set_thread_uid(Uid::ROOT).is_ok() || t::set_thread_gid(Gid::ROOT).is_ok() {
            return Err(PrivilegeError::StillPrivileged);
        }
    }
    step("prctl(PR_SET_NO_NEW_PRIVS)", t::set_no_new_privs(true))
}

fn step<T>(call: &'static str, result: rustix::io::Result<T>) -> Result<T, PrivilegeError> {
    result.map_err(|cause| PrivilegeError::Call { call, cause })
}

fn read(file: &Path) -> Result<String, PrivilegeError> {
    // Comment fields may hold any encoding; names and numbers are ASCII.
    fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).map_err(|cause| {
        PrivilegeError::Read { file: file.display().to_string(), cause: cause.to_string() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                          broken line\n\
                          ftp:x:118:65534:ftp daemon,,,:/srv/ftp:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nssl-cert:x:112:www,ftp\nftp:x:119:ftp\nnogroup:x:65534:ftp\n";

    #[track_caller]
    fn check(user: &str, expected: Result<(u32, u32, &[u32]), PrivilegeError>) {
        let found = Identity::from_files(user, PASSWD, GROUP);
        let expected =
            expected.map(|(uid, gid, groups)| Identity { uid, gid, groups: groups.to_vec() });
        assert_eq!(found, expected, "{user}");
    }

    #[test]
    fn users() {
        check("ftp", Ok((118, 65534, &[112, 119])));
        check("118", Ok((118, 65534, &[112, 119])));
        check("root", Ok((0, 0, &[])));
        check("1234:99", Ok((1234, 99, &[])));
        check("1234", Err(PrivilegeError::NoGroup { uid: 1234 }));
        for user in ["nobody", "", "a:b", "ft", "-1", "broken line"] {
            check(user, Err(PrivilegeError::UnknownUser { user: user.to_owned() }));
        }
    }

    #[test]
    fn the_order_is_enforced() {
        // The test harness always has a second thread.
        let identity = Identity { uid: 65534, gid: 65534, groups: Vec::new() };
        let error = drop_to(&identity, Keep::Nothing).unwrap_err();
        assert!(matches!(error, PrivilegeError::Threads { threads } if threads > 1));
    }

    #[test]
    fn a_dropped_thread_cannot_come_back() {
        std::thread::spawn(|| {
            let identity = Identity { uid: 65534, gid: 65534, groups: vec![65533] };
            let as_root = rustix::process::geteuid() == Uid::ROOT;
            let result = drop_this_thread(&identity, Keep::LowPorts);
            if !as_root {
                let own = rustix::process::geteuid().as_raw() == identity.uid;
                assert_eq!(result.is_ok(), own);
                return;
            }
            result.unwrap();
            assert_eq!(rustix::process::geteuid().as_raw(), 65534);
            assert_eq!(rustix::process::getgid().as_raw(), 65534);
            assert_eq!(rustix::process::getgroups().unwrap(), [Gid::from_raw(65533)]);
            let sets = rustix::thread::capabilities(None).unwrap();
            assert_eq!(sets.effective, CapabilitySet::NET_BIND_SERVICE);
            assert_eq!(sets.permitted, CapabilitySet::NET_BIND_SERVICE);
            assert!(rustix::thread::set_thread_uid(Uid::ROOT).is_err());
            let inherited = std::thread::spawn(|| rustix::process::geteuid().as_raw());
            assert_eq!(inherited.join().unwrap(), 65534);
        })
        .join()
        .unwrap();
    }
}
