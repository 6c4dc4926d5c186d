//! Where a user's tree is: the pathname as configured, and whether an opened root is still what
//! the pathname leads to. It is another one when the directory was renamed and made anew, when
//! something was mounted over it, and when a symbolic link on the way was turned.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use super::facts::{self, DirectoryId};
use super::root::{Root, RootError};
use crate::protocol::policy::FileRule;

/// A home directory as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    rules: Arc<[(PathBuf, FileRule)]>,
}

impl Home {
    /// The home at `path`, links followed, with the directories that have rules of their own.
    #[must_use]
    pub const fn new(path: PathBuf, rules: Arc<[(PathBuf, FileRule)]>) -> Self {
        Self { path, rules }
    }

    /// As configured.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens what the pathname leads to, as the process's present user. Links in the pathnames of
    /// the rules are followed now, too. Waits for the disk.
    ///
    /// # Errors
    ///
    /// See [`RootError`].
    pub fn open(&self) -> Result<Root, RootError> {
        let (directory, id) = self.look_now()?;
        self.enter(directory, id)
    }

    /// Whether the pathname certainly leads to `root`, without waiting: two system calls and a
    /// close. False also when that is unknown; call [`Home::look`] then.
    #[must_use]
    pub fn surely_is(&self, root: &Root) -> bool {
        // The root of a mount may be asked for elsewhere even when its name is known here.
        if root.local_device().is_none() {
            return false;
        }
        let there = openat2(CWD, &self.path, DIRECTORY, Mode::empty(), ResolveFlags::CACHED);
        let id = there.and_then(|there| facts::directory_id(&there, true));
        id.is_ok_and(|id| id == root.directory_id())
    }

    /// What the pathname leads to, unless that is `known`. Waits for the disk.
    ///
    /// # Errors
    ///
    /// See [`RootError`]; above all that there is no such directory.
    pub fn look(&self, known: Option<&Root>) -> Result<Option<Root>, RootError> {
        let (directory, id) = self.look_now()?;
        if known.is_some_and(|known| known.directory_id() == id) {
            return Ok(None);
        }
        self.enter(directory, id).map(Some)
    }

    fn look_now(&self) -> Result<(OwnedFd, DirectoryId), RootError> {
        let there = openat(CWD, &self.path, DIRECTORY, Mode::empty())
            .and_then(|there| facts::directory_id(&there, false).map(|id| (there, id)));
        there
            .map_err(|errno| RootError::Directory { path: self.path.clone(), source: errno.into() })
    }

    fn enter(&self, directory: OwnedFd, id: DirectoryId) -> Result<Root, RootError> {
        let root = Root::of(directory, id, &self.path)?;
        if self.rules.is_empty() {
            return Ok(root);
        }
        // The names that a home and a directory have without links can be compared.
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let rules: Vec<_> = self.rules.iter().map(|(path, rule)| (real(path), *rule)).collect();
        Ok(root.with_rules(&real(&self.path), &rules))
    }
}

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    /// Opens `path` as a user's root. Call it after the process has dropped its privileges:
    /// the effective user and groups are remembered for the `perm` fact.
    ///
    /// # Errors
    ///
    /// See [`RootError`].
    pub fn open(path: &Path) -> Result<Self, RootError> {
        Home::new(path.to_owned(), Arc::default()).open()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::protocol::policy::FileCache;
    use crate::vfs::root::Lookup;
    use crate::vfs::testing::path;

    const DIRECT: FileRule = FileRule { cache: FileCache::Direct, immutable: false };

    /// A directory with homes in it, one of which the server has.
    struct Site(tempfile::TempDir);

    impl Site {
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// A directory whose file `f` is as long as the directory's name.
        fn make(&self, name: &str) {
            fs::create_dir(self.at(name)).unwrap();
            fs::write(self.at(name).join("f"), name).unwrap();
        }

        fn turn(&self, target: &str) {
            symlink(self.at(target), self.at("next")).unwrap();
            fs::rename(self.at("next"), self.at("link")).unwrap();
        }
    }

    fn size(root: &Root) -> u64 {
        root.metadata(&path(b"f"), Lookup::Blocking).unwrap().size
    }

    #[test]
    fn a_pathname_that_leads_elsewhere_is_noticed() {
        let site = Site(tempfile::tempdir().unwrap());
        site.make("home");
        let rules = Arc::from([(site.at("home"), DIRECT)]);
        let home = Home::new(site.at("home"), rules);
        let first = home.open().unwrap();
        assert!(home.surely_is(&first), "just looked up");
        assert!(home.look(Some(&first)).unwrap().is_none());

        fs::rename(site.at("home"), site.at("old home")).unwrap();
        assert!(!home.surely_is(&first));
        let gone = home.look(Some(&first)).unwrap_err().to_string();
        assert!(gone.contains("/home: No such file"), "{gone}");

        site.make("home");
        fs::write(site.at("home/f"), "second").unwrap();
        assert!(!home.surely_is(&first));
        let second = home.look(Some(&first)).unwrap().unwrap();
        assert_eq!((size(&first), size(&second)), (4, 6));
        assert_eq!(second.rule_of(&path(b"f")), DIRECT);
        assert!(home.surely_is(&second) && !home.surely_is(&first));

        fs::remove_dir_all(site.at("home")).unwrap();
        fs::write(site.at("home"), "a file").unwrap();
        assert!(!home.surely_is(&second) && home.look(Some(&second)).is_err());
    }

    /// The switch of a release tree; a rule about the link goes with it.
    #[test]
    fn a_link_that_is_turned_is_noticed() {
        let site = Site(tempfile::tempdir().unwrap());
        site.make("one");
        site.make("three");
        site.turn("one");
        let home = Home::new(site.at("link"), Arc::from([(site.at("link"), DIRECT)]));
        let first = home.open().unwrap();
        assert!(home.look(Some(&first)).unwrap().is_none());
        site.turn("three");
        assert!(!home.surely_is(&first));
        let second = home.look(Some(&first)).unwrap().unwrap();
        assert_eq!((size(&first), size(&second)), (3, 5));
        assert_eq!(second.rule_of(&path(b"f")), DIRECT);
        site.turn("one");
        assert_eq!(size(&home.look(Some(&second)).unwrap().unwrap()), 3);
    }
}
