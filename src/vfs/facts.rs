//! From `statx` to [`Metadata`]: kinds, times, and whether the server process may write.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, FsWord, Statx, StatxAttributes, StatxFlags, fstatfs, statx};
use rustix::io;
use rustix::path::Arg;

use crate::protocol::file::{FileKind, FileTime, Metadata};

/// Who the server process is for the kernel's permission check, read once.
///
/// `writable` is decided from this and the permission bits, as the kernel would without ACLs and
/// capabilities other than root's: a listing of a million entries must not cost a million more
/// `access(2)` calls. It only feeds the `perm` fact and the refusal to replace a read-only file;
/// the kernel still has the last word on every operation.
#[derive(Debug)]
pub(super) struct Credentials {
    user: u32,
    groups: Vec<u32>,
    read_only: bool,
    /// Device of the root.
    device: u64,
}

impl Credentials {
    /// The calling thread's effective ids, and the root's `device` (see [`unique`]); `read_only`
    /// when the filesystem is mounted so.
    pub(super) fn current(read_only: bool, device: u64) -> Self {
        let mut groups: Vec<u32> = rustix::process::getgroups()
            .unwrap_or_default()
            .into_iter()
            .map(|group| group.as_raw())
            .collect();
        groups.push(rustix::process::getegid().as_raw());
        Self { user: rustix::process::geteuid().as_raw(), groups, read_only, device }
    }

    /// Whether this process may write: change a file, or make and remove names in a directory.
    pub(super) fn may_write(&self, stat: &Statx) -> bool {
        let directory = kind(stat) == Some(FileKind::Directory);
        !self.read_only && self.has_bits(stat, if directory { 0o3 } else { 0o2 })
    }

    /// Whether this process may go into the directory.
    fn may_search(&self, stat: &Statx) -> bool {
        kind(stat) == Some(FileKind::Directory) && self.has_bits(stat, 0o1)
    }

    fn has_bits(&self, stat: &Statx, needed: u16) -> bool {
        if self.user == 0 {
            return true;
        }
        let class = if stat.stx_uid == self.user {
            6
        } else if self.groups.contains(&stat.stx_gid) {
            3
        } else {
            0
        };
        (stat.stx_mode >> class) & needed == needed
    }

    /// The `unique` fact: 0 for the root's own filesystem, whose number need not be the same after
    /// a restart; another one below has a number made of its device's, which is not told, until
    /// `filesystem_names` gives it a better one.
    fn unique(&self, stat: &Statx) -> (u64, u64) {
        let (device, inode) = unique(stat);
        let filesystem = if device == self.device {
            0
        } else {
            u64::from(crc32fast::hash(&device.to_ne_bytes())).max(1)
        };
        (filesystem, inode)
    }

    /// The facts of what was looked at, be it a symbolic link.
    pub(super) fn metadata(&self, stat: &Statx) -> Metadata {
        Metadata {
            kind: kind(stat).unwrap_or(FileKind::Link),
            size: stat.stx_size,
            modified: FileTime {
                seconds: stat.stx_mtime.tv_sec,
                nanoseconds: stat.stx_mtime.tv_nsec,
            },
            mode: u32::from(stat.stx_mode & 0o7777),
            links: u64::from(stat.stx_nlink),
            unique: self.unique(stat),
            writable: self.may_write(stat),
            searchable: self.may_search(stat),
        }
    }
}

/// Facts of an open handle, `O_PATH` included. `cached` promises not to ask a server elsewhere.
pub(super) fn stat_handle(handle: impl AsFd, cached: bool) -> io::Result<Statx> {
    let sync = if cached { AtFlags::STATX_DONT_SYNC } else { AtFlags::empty() };
    statx(handle, "", AtFlags::EMPTY_PATH | sync, StatxFlags::BASIC_STATS)
}

/// `st_dev`, as one number.
pub(super) fn device(stat: &Statx) -> u64 {
    u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor)
}

/// Facts of one name in a directory, a symbolic link not followed.
pub(super) fn stat_name(directory: impl AsFd, name: impl Arg) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(directory, name, flags, StatxFlags::BASIC_STATS)
}

/// Whether another file system, or a part of one, is mounted over this name. (Not known before
/// Linux 5.8: no.)
pub(super) fn is_mount_point(directory: impl AsFd, name: impl Arg) -> bool {
    stat_name(directory, name)
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The kind of an entry; `None` for a symbolic link, whose kind is that of its target.
pub(super) fn kind(stat: &Statx) -> Option<FileKind> {
    match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::Directory => Some(FileKind::Directory),
        FileType::RegularFile => Some(FileKind::File),
        FileType::Symlink => None,
        _ => Some(FileKind::Other),
    }
}

/// Which directory something is, and through which mount: the same as long as the same pathname
/// leads there. A mount under the same pathname is another one, and while a handle is held, neither
/// number is given to anything else. (Before Linux 5.8 the mount is not known, and is 0.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DirectoryId {
    unique: (u64, u64),
    mount: u64,
}

impl DirectoryId {
    /// See [`unique`].
    pub(super) const fn device(self) -> u64 {
        self.unique.0
    }

    /// Whether the two are on one mount.
    pub(super) fn is_on_mount_of(self, other: Self) -> bool {
        (self.unique.0, self.mount) == (other.unique.0, other.mount)
    }
}

/// The identity of an open handle, `O_PATH` included. `cached` is that of [`stat_handle`].
pub(super) fn directory_id(handle: impl AsFd, cached: bool) -> io::Result<DirectoryId> {
    let sync = if cached { AtFlags::STATX_DONT_SYNC } else { AtFlags::empty() };
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = statx(handle, "", AtFlags::EMPTY_PATH | sync, wanted)?;
    let mount = if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 { 0 } else { stat.stx_mnt_id };
    Ok(DirectoryId { unique: unique(&stat), mount })
}

/// Device and inode.
pub(super) fn unique(stat: &Statx) -> (u64, u64) {
    let device = u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor);
    (device, stat.stx_ino)
}

/// What a file is on, as far as it decides how the file is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filesystem {
    /// Memory.
    Tmpfs,
    /// Or ext2, or ext3.
    Ext4,
    Other,
}

impl Filesystem {
    /// One that cannot be asked is another one.
    pub(super) fn of(file: impl AsFd) -> Self {
        match fstatfs(file).map(|filesystem| filesystem.f_type) {
            Ok(TMPFS_MAGIC) => Self::Tmpfs,
            Ok(EXT4_MAGIC) => Self::Ext4,
            _ => Self::Other,
        }
    }
}

/// Whether `file` is on a file system of this host's own disks or memory, which answers by itself:
/// opening and closing a file there asks nobody who may be gone (FUSE, NFS and their like do).
pub(super) fn is_on_local(file: impl AsFd) -> bool {
    fstatfs(file).is_ok_and(|filesystem| LOCAL_MAGIC.contains(&filesystem.f_type))
}

/// ext2 to ext4, XFS, btrfs, tmpfs, ramfs, overlayfs, F2FS, bcachefs, ZFS, EROFS, squashfs, FAT,
/// exFAT, JFS.
const LOCAL_MAGIC: [FsWord; 14] = [
    EXT4_MAGIC,
    0x5846_5342,
    0x9123_683e,
    TMPFS_MAGIC,
    0x8584_58f6,
    0x794c_7630,
    0xf2f5_2010,
    0xca45_1a4e,
    0x2fc1_2fc1,
    0xe0f5_e1e2,
    0x7371_7368,
    0x4d44,
    0x2011_bab0,
    0x3153_464a,
];

/// statfs(2).
const EXT4_MAGIC: FsWord = 0xef53;

/// statfs(2).
const TMPFS_MAGIC: FsWord = 0x0102_1994;

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing tells the device, and the root's own filesystem has no number that could change.
    #[test]
    fn unique_values() {
        let directory = tempfile::tempdir().unwrap();
        let mut stat = stat_handle(std::fs::File::open(directory.path()).unwrap(), false).unwrap();
        let device = unique(&stat).0;
        let credentials = Credentials { user: 0, groups: vec![], read_only: false, device };
        assert_eq!(credentials.unique(&stat), (0, stat.stx_ino));
        stat.stx_dev_minor += 1;
        let (other, inode) = credentials.unique(&stat);
        assert!(other != 0 && other != unique(&stat).0 && inode == stat.stx_ino);
    }

    #[test]
    fn permission_bits_decide_by_class() {
        let directory = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(directory.path()).unwrap();
        let mut stat = stat_handle(&handle, false).unwrap();
        stat.stx_uid = 10;
        stat.stx_gid = 20;
        #[track_caller]
        fn check(stat: &mut Statx, mode: u16, user: u32, group: u32, expected: bool) {
            stat.stx_mode = mode;
            let credentials =
                Credentials { user, groups: vec![group], read_only: false, device: 0 };
            assert_eq!(credentials.may_write(stat), expected, "{mode:o} {user} {group}");
            let credentials = Credentials { user, groups: vec![group], read_only: true, device: 0 };
            assert!(!credentials.may_write(stat));
        }
        #[track_caller]
        fn check_search(stat: &mut Statx, mode: u16, user: u32, expected: bool) {
            stat.stx_mode = mode;
            let credentials = Credentials { user, groups: vec![], read_only: true, device: 0 };
            assert_eq!(credentials.may_search(stat), expected, "{mode:o} {user}");
        }
        const FILE: u16 = 0o100_000;
        const DIRECTORY: u16 = 0o040_000;
        check(&mut stat, FILE | 0o200, 10, 99, true);
        check(&mut stat, FILE | 0o022, 10, 99, false);
        check(&mut stat, FILE | 0o020, 11, 20, true);
        check(&mut stat, FILE | 0o202, 11, 20, false);
        check(&mut stat, FILE | 0o002, 11, 99, true);
        check(&mut stat, FILE | 0o220, 11, 99, false);
        check(&mut stat, FILE, 0, 0, true);
        check(&mut stat, DIRECTORY | 0o200, 10, 99, false);
        check(&mut stat, DIRECTORY | 0o300, 10, 99, true);
        check_search(&mut stat, DIRECTORY | 0o766, 10, true);
        check_search(&mut stat, DIRECTORY | 0o677, 10, false);
        check_search(&mut stat, DIRECTORY, 0, true);
        check_search(&mut stat, FILE | 0o777, 10, false);
    }
}
