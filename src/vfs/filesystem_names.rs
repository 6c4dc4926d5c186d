//! Names of the file systems below a home, for the fact `unique` (RFC 3659 §7.5.2): the same on
//! every node of a cluster, so that a client behind a balancer sees one file as one file.
//!
//! A file system's number (`st_dev`) is given when it is mounted and differs between nodes; so does
//! what statfs(2) calls its id for several kinds (XFS makes it from the device, NFS and FUSE have
//! none). What nodes with one layout have in common is where it is mounted. So its name is made of
//! a pathname below the home: that of the highest directory from which down to the file's own all
//! directories have the file's device. The kernel tells that pathname, without links; a home's own
//! file system is 0 wherever the home is.
//!
//! At one time a pathname is one directory, and so on one device: equal names are one device, and
//! with equal inodes one file, through bind mounts and for btrfs subvolumes, which have devices
//! of their own. A file whose device is not that of its directory (overlayfs with layers on several
//! file systems, a file mounted over another) has its device's number hashed in; nodes do not agree
//! on it, and overlayfs is no file system that they share. A file system that is mounted at two
//! places has two names, so that one file has two `unique`s: the RFC lets nothing be concluded
//! from different ones.
//!
//! What is on the home's own file system pays nothing for any of this; elsewhere MLST pays two
//! readlink(2) and a look at each directory up to the mount, and MLSD that once for all entries.

use std::os::fd::AsFd;

use rustix::fs::{OFlags, ResolveFlags, Statx};
use sha2::{Digest, Sha256};

use super::facts;
use super::root::{Lookup, Root};
use crate::protocol::file::{FileError, FileKind, Metadata};

/// Directories looked at on the way up on a shard's thread; where more are needed, a helper does
/// it.
const CACHED_DEPTH_MAX: usize = 16;
/// Directories looked at at all: each costs a walk from the root. What is deeper below its mount is
/// named by its device's number, on which nodes do not agree.
const DEPTH_MAX: usize = 256;

/// Where a directory is.
#[derive(Debug)]
pub(super) struct Location(Option<Known>);

/// One that could be told.
#[derive(Debug)]
struct Known {
    /// Below the home, which itself is empty.
    path: Vec<u8>,
    device: u64,
    /// How long the part of `path` is that is its file system's highest directory.
    highest: usize,
    /// The file system's.
    name: u64,
}

/// Gives the file system in `metadata`, the facts `stat` of `handle`, its name for all nodes. One
/// that cannot be told keeps the name it has here. The only refusal is that a [`Lookup::Cached`]
/// would have to wait.
pub(super) fn name_filesystem(
    root: &Root,
    handle: impl AsFd,
    stat: &Statx,
    lookup: Lookup,
    metadata: &mut Metadata,
) -> Result<(), FileError> {
    if !metadata.is_elsewhere() {
        return Ok(());
    }
    let Some(path) = root.pathname_of(handle) else { return Ok(()) };
    let (above, name) = path.split_at(above(&path, path.len()));
    let location = Location::at(root, above, lookup)?;
    location.name_filesystem_of(name.strip_prefix(b"/").unwrap_or(name), stat, metadata);
    Ok(())
}

impl Location {
    /// That of an open directory; waits for the disk.
    pub(super) fn of(root: &Root, directory: impl AsFd) -> Self {
        let path = root.pathname_of(directory);
        path.and_then(|path| Self::at(root, &path, Lookup::Blocking).ok()).unwrap_or(Self(None))
    }

    fn at(root: &Root, path: &[u8], lookup: Lookup) -> Result<Self, FileError> {
        match Known::at(root, path, lookup) {
            Err(FileError::Busy) if lookup == Lookup::Cached => Err(FileError::Busy),
            known => Ok(Self(known.ok().flatten())),
        }
    }

    /// Gives the file system in `metadata`, the facts `stat` of the entry `name` of this directory,
    /// its name. The home's own has one, 0.
    pub(super) fn name_filesystem_of(&self, name: &[u8], stat: &Statx, metadata: &mut Metadata) {
        if let Some(known) = &self.0 {
            let is_directory = metadata.kind == FileKind::Directory;
            metadata.unique.0 = known.name_of(name, facts::device(stat), is_directory);
        }
    }
}

impl Known {
    /// `None` when too many directories would have to be looked at.
    fn at(root: &Root, path: &[u8], lookup: Lookup) -> Result<Option<Self>, FileError> {
        let cached = lookup == Lookup::Cached;
        let device_of = |path: &[u8]| {
            let path = if path.is_empty() { b"." } else { path };
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let handle = root.resolve_with(path, flags, lookup, ResolveFlags::NO_SYMLINKS)?;
            Ok(facts::device(&facts::stat_handle(&handle, cached)?))
        };
        let device = device_of(path)?;
        let highest = if device == root.device() {
            Some(0)
        } else {
            let most = if cached { CACHED_DEPTH_MAX } else { DEPTH_MAX };
            climb(path, device, most, device_of)?
        };
        match highest {
            Some(highest) => {
                let name = named(&path[..highest], None);
                Ok(Some(Self { path: path.to_vec(), device, highest, name }))
            }
            None if cached => Err(FileError::Busy),
            None => Ok(None),
        }
    }

    /// The name of the file system that the entry `name` is on, which has `device`.
    fn name_of(&self, name: &[u8], device: u64, is_directory: bool) -> u64 {
        if device == self.device {
            self.name
        } else if !is_directory {
            named(&self.path[..self.highest], Some(device))
        } else if self.path.is_empty() {
            named(name, None)
        } else {
            named(&[&self.path, &b"/"[..], name].concat(), None)
        }
    }
}

/// How long the part of `path`, which is on `device`, is that is on it with all below. `None` when
/// that would take more than `most` looks.
fn climb(
    path: &[u8],
    device: u64,
    most: usize,
    device_of: impl Fn(&[u8]) -> Result<u64, FileError>,
) -> Result<Option<usize>, FileError> {
    let mut highest = path.len();
    for _ in 0..most {
        let next = above(path, highest);
        if highest == 0 || device_of(&path[..next])? != device {
            return Ok(Some(highest));
        }
        highest = next;
    }
    Ok(None)
}

/// How long the part of `path` is that is above its first `length` octets.
fn above(path: &[u8], length: usize) -> usize {
    path[..length].iter().rposition(|&octet| octet == b'/').unwrap_or(0)
}

/// The name of the file system whose highest directory is at `path`, or of one with this device
/// that a file there is on. Never 0. Any two differ: 64 bits of SHA-256.
fn named(path: &[u8], device: Option<u64>) -> u64 {
    let mut digest = Sha256::new_with_prefix(path);
    if let Some(device) = device {
        // No pathname contains NUL.
        digest.update([0]);
        digest.update(device.to_be_bytes());
    }
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = digest.finalize().into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h]).max(1)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::vfs::testing::Home;

    /// Nodes of different versions agree, so these are never to change.
    #[test]
    fn names_are_for_ever() {
        assert_eq!(format!("{:x}", named(b"shared/uploads", None)), "cda760bc479872b4");
        assert_ne!(named(b"a", None), named(b"a", Some(0)));
    }

    #[test]
    fn entries_are_named_by_where_their_file_system_begins() {
        let at = |path: &[u8], highest: usize| Known {
            path: path.to_vec(),
            device: 7,
            highest,
            name: named(&path[..highest], None),
        };
        let deep = at(b"a/m/x", 3);
        assert_eq!(deep.name_of(b"f", 7, false), named(b"a/m", None));
        assert_eq!(deep.name_of(b"d", 7, true), named(b"a/m", None));
        // Something is mounted there, which from below is found to begin there.
        assert_eq!(deep.name_of(b"d", 8, true), named(b"a/m/x/d", None));
        assert_eq!(at(b"a/m/x/d", 7).name, named(b"a/m/x/d", None));
        assert_eq!(at(b"", 0).name_of(b"d", 8, true), named(b"d", None));
        // Of another layer than its directory.
        assert_eq!(deep.name_of(b"f", 8, false), named(b"a/m", Some(8)));
        assert_ne!(deep.name_of(b"f", 8, false), deep.name_of(b"f", 9, false));
    }

    /// What is handed over is the pathname below the root, whatever links lead there.
    #[test]
    fn pathnames_below_the_root() {
        let home = Home::new();
        fs::create_dir_all(home.on_disk("a/b")).unwrap();
        home.link("a/b", "link");
        let told = |name: &[u8]| {
            let handle = home.root.resolve(name, OFlags::PATH, Lookup::Blocking).unwrap();
            home.root.pathname_of(&handle)
        };
        assert_eq!(told(b".").unwrap(), b"");
        assert_eq!(told(b"link").unwrap(), b"a/b");
        let outside = fs::File::open(home.outside()).unwrap();
        assert_eq!(home.root.pathname_of(&outside), None);
        // A neighbour's name that begins like the home's.
        fs::create_dir(home.outside().join("homes")).unwrap();
        let beside = fs::File::open(home.outside().join("homes")).unwrap();
        assert_eq!(home.root.pathname_of(&beside), None);
    }

    #[test]
    fn the_way_up_is_bounded_and_ends_where_the_device_changes() {
        let way_up = |path: &[u8], most| {
            // Below `a/m` another file system, but for `a/m/x/own`.
            climb(path, 7, most, |path| {
                let inside = path.starts_with(b"a/m") && path != b"a/m/x/own";
                Ok(if inside { 7 } else { 1 })
            })
        };
        assert_eq!(way_up(b"a/m/x/y", 8), Ok(Some(3)));
        assert_eq!(way_up(b"a/m/x/y", 3), Ok(Some(3)));
        assert_eq!(way_up(b"a/m/x/y", 2), Ok(None));
        assert_eq!(way_up(b"a/m", 1), Ok(Some(3)));
        assert_eq!(way_up(b"a/m/x/own/y", 8), Ok(Some(11)));
        let refused = climb(b"a/m", 7, 8, |_| Err(FileError::Busy));
        assert_eq!(refused, Err(FileError::Busy));
        // All of it is on the device.
        assert_eq!(climb(b"a/b", 7, 8, |_| Ok(7)), Ok(Some(0)));
    }
}
