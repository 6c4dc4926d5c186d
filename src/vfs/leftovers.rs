//! Files that a killed server left under reserved names (see `temporary`): recognised, told from
//! the files of living servers, and removed.
//!
//! The owner of a temporary file has it locked (flock(2)) from its creation until it has its name.
//! The kernel gives the lock back when the owner ends, however it ends, so a file that can be
//! locked has no living owner: whatever process ids were used again since, in whichever container
//! the owner ran, and, where the file system hands locks on (NFS), on whichever host. Two things
//! are not told by locks: a file that was made this moment is not locked yet, and hosts or virtual
//! machines may share a tree and not its locks. So a leftover must also have been untouched for a
//! while (`ctime`, which nobody can set): a living upload writes to its file again and again, for
//! one that stalls is ended (`limits.stall_timeout`).
//!
//! Where the file system has no locks, that is all there is, and an upload that goes on for long
//! with next to nothing to write must be spared: [`LEFTOVER_AGE_WITHOUT_LOCKS`]. One thing shortens
//! it: a name can tell that its file was made on this machine and in an earlier boot (see `boot`),
//! so that its owner is gone. Machines with one machine id, which are not to be, would be taken for
//! earlier boots of each other; but then, too, only what nobody has touched for the age that the
//! operator chose is removed, and a living upload has no such age if that is longer than
//! `limits.stall_timeout` of all of them. That is also what hosts rely on that have locks, but each
//! its own. Who sends a TLS record octet by octet for longer than that loses his upload then,
//! nothing else: it fails, for its file is gone.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RawDir, Statx, flock, openat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::boot::Boot;
use super::facts;
use super::root::{QUIETLY, require_file};
use super::temporary::{boot_of, is_made_here, is_temporary};
use crate::clock;
use crate::limits::{LEFTOVER_AGE_WITHOUT_LOCKS, SWEEP_READ_BYTES};
use crate::protocol::file::FileError;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Files.
    pub files: u64,
    /// Their sizes together.
    pub octets: u64,
}

impl Swept {
    /// Adds what was removed elsewhere.
    pub const fn add(&mut self, more: Self) {
        self.files += more.files;
        self.octets += more.octets;
    }
}

/// Which leftovers are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftoverRule {
    /// That nobody has touched for this long.
    pub age: Duration,
    /// The boot that this process runs in, if known. Temporary files are marked with it.
    pub boot: Option<Boot>,
}

impl LeftoverRule {
    /// How long nobody has touched a leftover of this name where nothing can be locked.
    fn age_without_locks(self, name: &[u8]) -> Duration {
        match (boot_of(name), self.boot) {
            (Some(boot), Some(current)) if boot.is_before(current) => self.age,
            _ => LEFTOVER_AGE_WITHOUT_LOCKS,
        }
    }
}

/// Removes `name` from `directory` if it is a leftover of this server and old enough. In doubt, it
/// stays.
pub(super) fn remove_leftover(directory: &OwnedFd, name: &[u8], rule: LeftoverRule) -> Swept {
    if !is_made_here(name) {
        return Swept::default();
    }
    match facts::stat_name(directory, name) {
        Ok(stat) if is_own(&stat) && untouched_for(&stat) >= rule.age => {
            remove_unowned(directory, name, rule.age_without_locks(name)).unwrap_or_default()
        }
        Ok(_) | Err(_) => Swept::default(),
    }
}

/// Removes leftovers among the first entries of a directory, as many as one system call reads.
pub(super) fn sweep_beginning(directory: &OwnedFd, rule: LeftoverRule) -> Swept {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut swept = Swept::default();
    // A drop box (w and x without r) shows nobody what is in it.
    if let Ok(reading) = openat(directory, ".", flags, Mode::empty()) {
        let mut found = Vec::new();
        read_some(&reading, |name, _| {
            if is_made_here(name) {
                found.push(name.to_vec());
            }
        });
        found.iter().for_each(|name| swept.add(remove_leftover(directory, name, rule)));
    }
    swept
}

/// Hands over entries of a directory, as many as one system call reads, with whether each is a
/// directory if that is known; false at the end.
pub(super) fn read_some(
    directory: &OwnedFd,
    mut entry: impl FnMut(&[u8], rustix::fs::FileType),
) -> bool {
    let mut room = vec![MaybeUninit::uninit(); SWEEP_READ_BYTES];
    let mut entries = RawDir::new(directory, &mut room);
    while let Some(Ok(found)) = entries.next() {
        entry(found.file_name().to_bytes(), found.file_type());
        if entries.is_buffer_empty() {
            return true;
        }
    }
    false
}

/// Removes what a killed server left in `directory` (an ordinary handle at its beginning), but only
/// when nothing else is in there: RMD would call a directory not empty that lists as empty.
/// Temporary files in use are locked and stay.
pub(super) fn remove_all(directory: &OwnedFd) -> Result<Swept, FileError> {
    let mut room = vec![MaybeUninit::uninit(); SWEEP_READ_BYTES];
    let mut entries = RawDir::new(directory, &mut room);
    let mut abandoned = Vec::new();
    while let Some(entry) = entries.next() {
        match entry?.file_name().to_bytes() {
            b"." | b".." => {}
            name if is_temporary(name) => abandoned.push(name.to_vec()),
            _ => return Err(FileError::NotEmpty),
        }
    }
    let mut swept = Swept::default();
    for name in abandoned {
        swept.add(remove_unowned(directory, &name, LEFTOVER_AGE_WITHOUT_LOCKS)?);
    }
    Ok(swept)
}

/// Removes `name` unless a living server owns it; where nothing can be locked, unless somebody has
/// touched it within `age_without_locks`. Race-free among servers, which all lock: while the lock
/// is held here, no other gives the file a name, and only the name that leads to this file is
/// removed.
fn remove_unowned(
    directory: &OwnedFd,
    name: &[u8],
    age_without_locks: Duration,
) -> Result<Swept, FileError> {
    require_file(&facts::stat_name(directory, name)?)?;
    let flags = QUIETLY | OFlags::NOFOLLOW;
    let file = match openat(directory, name, flags | OFlags::RDWR, Mode::empty()) {
        // Only NFS wants to write what it locks.
        Err(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            openat(directory, name, flags | OFlags::RDONLY, Mode::empty())?
        }
        file => file?,
    };
    let stat = facts::stat_handle(&file, false)?;
    require_file(&stat)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(FileError::Busy),
        // A file system without locks.
        Err(_) if untouched_for(&stat) >= age_without_locks => {}
        // Not told from one that is being stored.
        Err(_) => return Err(FileError::Busy),
    }
    if facts::unique(&facts::stat_name(directory, name)?) != facts::unique(&stat) {
        return Err(FileError::Busy);
    }
    unlinkat(directory, name, AtFlags::empty())?;
    Ok(Swept { files: 1, octets: stat.stx_size })
}

/// Whether the file is this process's user's. Root's server gives temporary files to the owner of
/// what they replace, so any may be its own.
fn is_own(stat: &Statx) -> bool {
    let user = geteuid();
    user.is_root() || user.as_raw() == stat.stx_uid
}

fn untouched_for(stat: &Statx) -> Duration {
    let seconds = u64::try_from(stat.stx_ctime.tv_sec).unwrap_or_default();
    clock::unix_time().saturating_sub(Duration::new(seconds, stat.stx_ctime.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::temporary::{with_boot, with_digits};

    /// Only an earlier boot of this machine is known to be over.
    #[test]
    fn what_cannot_be_locked_stays_for_a_week_unless_its_boot_is_over() {
        const AGE: Duration = Duration::from_secs(3600);
        let own = Boot::parse(b"0000000100000002").unwrap();
        #[track_caller]
        fn check(name: &[u8], boot: Option<Boot>, expected: Duration) {
            assert!(is_made_here(name));
            assert_eq!(LeftoverRule { age: AGE, boot }.age_without_locks(name), expected);
        }
        let made_in = |boot: &[u8]| with_boot(b"01234567", Boot::parse(boot).unwrap());
        let earlier = made_in(b"0000000100000003");
        check(&earlier, Some(own), AGE);
        check(&earlier, None, LEFTOVER_AGE_WITHOUT_LOCKS);
        for name in [
            made_in(b"0000000100000002"),
            made_in(b"0000000200000002"),
            made_in(b"0000000200000003"),
            with_digits(b"01234567"),
        ] {
            check(&name, Some(own), LEFTOVER_AGE_WITHOUT_LOCKS);
        }
    }
}
