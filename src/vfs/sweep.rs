//! The walk through a home that finds leftovers (see `leftovers`), in pieces of one system call's
//! entries. It stays on the home's own mount, follows no link, and opens nothing but directories
//! and leftovers.

use std::mem;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{FileType, OFlags, ResolveFlags};

use super::facts::{self, DirectoryId};
use super::home::Home;
use super::leftovers::{LeftoverRule, Swept, read_some, remove_leftover};
use super::root::{Lookup, Root, RootError, join};
use super::temporary::is_made_here;
use crate::limits::{SWEEP_DIRECTORIES_BYTES_MAX, SWEEP_ENTRIES_MAX};
use crate::protocol::file::FileKind;

/// A walk under way. Every method but the getters waits for the disk.
#[derive(Debug)]
pub struct Sweep {
    root: Root,
    rule: LeftoverRule,
    tree: Tree,
    /// Directories still to be read, relative to the root.
    pending: Vec<Vec<u8>>,
    /// Octets of these.
    held: usize,
    /// The one being read.
    reading: Option<(OwnedFd, Vec<u8>)>,
    report: SweepReport,
}

/// The results of a walk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// What was removed.
    pub swept: Swept,
    /// Hidden files of uploads that were not: others have them, or they are too young.
    pub left: u64,
    /// Entries of directories that were looked at.
    pub entries: u64,
    /// Whether some of the tree was left out because it is beyond a bound.
    pub incomplete: bool,
}

/// The part of a file system that a walk covers.
#[derive(Clone, Debug)]
pub struct Tree {
    path: PathBuf,
    id: DirectoryId,
}

impl Tree {
    /// Whether a walk through this tree is one through `other` as well.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.path.starts_with(&self.path) && self.id.is_on_mount_of(other.id)
    }
}

impl Sweep {
    /// Begins at the directory that the pathname of `home` leads to now, for the leftovers of
    /// `rule`.
    ///
    /// # Errors
    ///
    /// See [`RootError`].
    pub fn begin(home: &Home, rule: LeftoverRule) -> Result<Self, RootError> {
        let root = home.open()?;
        let path = home.path().canonicalize().unwrap_or_else(|_| home.path().to_owned());
        let tree = Tree { path, id: root.directory_id() };
        let pending = vec![b".".to_vec()];
        let report = SweepReport::default();
        Ok(Self { root, rule, tree, pending, held: 0, reading: None, report })
    }

    /// The part of a file system it covers.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The results so far.
    #[must_use]
    pub const fn report(&self) -> SweepReport {
        self.report
    }

    /// Examines the next entries; false when there are none.
    pub fn step(&mut self) -> bool {
        let Some((directory, path)) = self.reading.take().or_else(|| self.open_next()) else {
            return false;
        };
        let (mut leftovers, mut found, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        let mut entries = 0;
        let more = read_some(&directory, |name, kind| {
            entries += 1;
            match kind {
                _ if matches!(name, b"." | b"..") => {}
                FileType::Directory => found.push(name.to_vec()),
                FileType::RegularFile | FileType::Unknown if is_made_here(name) => {
                    leftovers.push(name.to_vec());
                }
                FileType::Unknown => unknown.push(name.to_vec()),
                _ => {}
            }
        });
        self.report.entries += entries;
        for name in leftovers {
            let swept = remove_leftover(&directory, &name, self.rule);
            self.report.left += u64::from(swept.files == 0);
            self.report.swept.add(swept);
        }
        // Few file systems do not tell the kind with the name.
        found.extend(unknown.into_iter().filter(|name| {
            let stat = facts::stat_name(&directory, name.as_slice());
            stat.is_ok_and(|stat| facts::kind(&stat) == Some(FileKind::Directory))
        }));
        found.iter().for_each(|name| self.remember(join(&path, name)));
        if self.report.entries > SWEEP_ENTRIES_MAX {
            self.report.incomplete = true;
            return false;
        }
        if more {
            self.reading = Some((directory, path));
        }
        more || !self.pending.is_empty()
    }

    fn remember(&mut self, path: Vec<u8>) {
        if self.held + path.len() > SWEEP_DIRECTORIES_BYTES_MAX {
            self.report.incomplete = true;
            return;
        }
        self.held += path.len();
        self.pending.push(path);
    }

    /// The next directory that can be read. One that cannot, and one that is gone, is left out.
    fn open_next(&mut self) -> Option<(OwnedFd, Vec<u8>)> {
        while let Some(path) = self.pending.pop() {
            self.held = self.held.saturating_sub(path.len());
            let own = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let opened = self.root.resolve_with(&path, flags, Lookup::Blocking, own);
            if let Ok(directory) = opened {
                return Some((directory, path));
            }
        }
        self.held = 0;
        mem::take(&mut self.pending);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::vfs::temporary::{create_hidden, with_digits};

    fn sweep(path: &std::path::Path, age: Duration) -> SweepReport {
        let home = Home::new(path.to_owned(), std::sync::Arc::default());
        let mut sweep = Sweep::begin(&home, LeftoverRule { age, boot: None }).unwrap();
        while sweep.step() {}
        sweep.report()
    }

    /// Files with a living owner, young files, foreign files and files behind a link stay.
    #[test]
    fn nothing_but_leftovers_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        fs::create_dir_all(home.join("a/b")).unwrap();
        fs::create_dir(directory.path().join("outside")).unwrap();
        let name = |digits: &str| String::from_utf8(with_digits(digits.as_bytes())).unwrap();
        let leftovers = [home.join(name("00000001")), home.join("a/b").join(name("deadbeef"))];
        let outside = directory.path().join("outside").join(name("00000002"));
        for path in leftovers.iter().chain([&outside]) {
            fs::write(path, "12345").unwrap();
        }
        symlink(&outside, home.join(name("00000003"))).unwrap();
        symlink(directory.path().join("outside"), home.join("link")).unwrap();
        fs::create_dir(home.join(name("00000004"))).unwrap();
        for similar in
            [".ringftpd-0123.part", ".ringftpd-0000000A.part", "x.ringftpd-00000005.part"]
        {
            fs::write(home.join(similar), "mine").unwrap();
        }
        let handle = rustix::fs::open(&home, OFlags::PATH, rustix::fs::Mode::empty());
        let owned = create_hidden(&handle.unwrap(), name("00000006").as_bytes()).unwrap();
        let count = || fs::read_dir(&home).unwrap().count();
        let before = count();

        assert_eq!(sweep(&home, Duration::from_secs(3600)).swept, Swept::default());
        assert_eq!(count(), before, "too young");
        let report = sweep(&home, Duration::ZERO);
        assert_eq!(report.swept, Swept { files: 2, octets: 10 });
        assert!(!report.incomplete && report.entries > 10, "{report:?}");
        assert!(leftovers.iter().all(|path| !path.exists()) && outside.exists());
        assert_eq!(count(), before - 1);
        // Its owner gone, it goes.
        drop(owned);
        assert_eq!(sweep(&home, Duration::ZERO).swept.files, 1);
    }
}
