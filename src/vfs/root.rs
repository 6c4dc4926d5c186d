//! One user's directory tree: the handle, and the only place where pathnames are resolved.
//!
//! Every lookup goes through `openat2` with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS` from the
//! root's handle, so `..`, absolute links, `/proc` links and renames during the walk cannot lead
//! out [TRAV-* LINK-*]. Names are raw octets.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, Statx, fstatvfs, openat, openat2,
    readlinkat,
};
use rustix::io::Errno;

use super::facts::{self, Credentials, DirectoryId};
use super::shown_names::{may_be_shown, meant};
use super::temporary::{descriptor_path, is_temporary};
use crate::protocol::file::{FileError, FileKind, Metadata};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::FileRule;

/// Symbolic links followed for the last name of an upload; the kernel's own bound.
const LINKS_MAX: usize = 40;
/// Lookups repeated when a rename elsewhere disturbed a `..` in a link (openat2(2), EAGAIN).
const RETRIES_MAX: usize = 64;

/// The directory a user sees as `/`. Shared by all sessions and threads.
///
/// Invariant: holds an `O_PATH` handle, so the tree stays the same one when its name changes.
/// Whether the name leads here still, [`Home`](super::Home) tells.
pub struct Root {
    directory: OwnedFd,
    credentials: Credentials,
    id: DirectoryId,
    /// Its device, if the file system there is this host's own.
    local_device: Option<u64>,
    /// Relative pathnames of directories with a rule of their own, the deepest last.
    rules: Vec<(Vec<u8>, FileRule)>,
}

/// Why a home directory cannot be served; the text is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The directory itself.
    #[error("cannot open the directory {path}: {source}", path = .path.display())]
    Directory {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system call the confinement rests on.
    #[error(
        "cannot confine pathnames to {path}: openat2: {source} (Linux 5.6 or newer is needed, and \
         inside a container a seccomp profile that allows openat2)", path = .path.display()
    )]
    Confinement {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Whether a lookup may wait for a disk or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// On a helper thread.
    Blocking,
    /// On a shard's thread: `RESOLVE_CACHED`, EAGAIN (as [`FileError::Busy`]) instead of waiting.
    Cached,
}

/// Where an upload goes: a held directory and the bare name in it, links already followed.
pub(super) struct Target {
    pub(super) directory: OwnedFd,
    pub(super) name: Vec<u8>,
    /// The regular file that has the name now.
    pub(super) existing: Option<Statx>,
}

impl Root {
    /// The root that `directory` is, with the identity `id`, found when `path` was looked up.
    pub(super) fn of(directory: OwnedFd, id: DirectoryId, path: &Path) -> Result<Self, RootError> {
        let directory_error =
            |errno: Errno| RootError::Directory { path: path.to_owned(), source: errno.into() };
        let mounted = fstatvfs(&directory).map_err(directory_error)?;
        let read_only = mounted.f_flag.contains(StatVfsMountFlags::RDONLY);
        let credentials = Credentials::current(read_only, id.device());
        let local_device = facts::is_on_local(&directory).then(|| id.device());
        let root = Self { directory, credentials, id, local_device, rules: Vec::new() };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        root.resolve(b".", flags, Lookup::Blocking).map_err(|errno| RootError::Confinement {
            path: path.to_owned(),
            source: errno.into(),
        })?;
        Ok(root)
    }

    /// Adds how files below directories are sent. `home` is the pathname this root was opened by,
    /// and like those of the rules absolute and without links. Rules about directories that hold
    /// the home are good for all of it; of several, the one about the deepest directory counts.
    #[must_use]
    pub fn with_rules(mut self, home: &Path, rules: &[(PathBuf, FileRule)]) -> Self {
        let mut rules: Vec<_> = rules.iter().collect();
        rules.sort_by_key(|(directory, _)| directory.components().count());
        let relative = |(directory, rule): &(PathBuf, FileRule)| {
            let inside = match directory.strip_prefix(home) {
                Ok(inside) => inside.as_os_str().as_bytes().to_vec(),
                Err(_) => home.starts_with(directory).then(Vec::new)?,
            };
            Some((inside, *rule))
        };
        self.rules = rules.into_iter().filter_map(relative).collect();
        self
    }

    /// How the file `path` is to be sent. A rule is about names: links are not followed.
    pub(super) fn rule_of(&self, path: &VirtualPath) -> FileRule {
        let below = |directory: &[u8]| {
            let rest = path.relative().strip_prefix(directory);
            directory.is_empty() || rest.is_some_and(|rest| rest.first() == Some(&b'/'))
        };
        let rule = self.rules.iter().rfind(|(directory, _)| below(directory));
        rule.map_or(FileRule::default(), |(_, rule)| *rule)
    }

    /// Which directory it is.
    pub(super) const fn directory_id(&self) -> DirectoryId {
        self.id
    }

    /// The root's own device (`st_dev`).
    #[must_use]
    pub const fn device(&self) -> u64 {
        self.id.device()
    }

    /// Whether the two are one directory, reached through one mount.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// The root's own device, if the file system there is this host's own and never waits for
    /// somebody else.
    #[must_use]
    pub const fn local_device(&self) -> Option<u64> {
        self.local_device
    }

    /// See [`Credentials`].
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Opens `path` with `flags`, the last symbolic link followed unless they say otherwise.
    pub(super) fn open_path(
        &self,
        path: &VirtualPath,
        flags: OFlags,
        lookup: Lookup,
    ) -> Result<OwnedFd, FileError> {
        refuse_temporary(path.file_name())?;
        Ok(self.resolve(path.relative(), flags, lookup)?)
    }

    /// An `O_PATH` handle of what `path` leads to, and its facts.
    pub(super) fn locate(
        &self,
        path: &VirtualPath,
        lookup: Lookup,
    ) -> Result<(OwnedFd, Statx), FileError> {
        let handle = self.open_path(path, OFlags::PATH, lookup)?;
        let stat = facts::stat_handle(&handle, lookup == Lookup::Cached)?;
        Ok((handle, stat))
    }

    /// Facts of `path`; of the link itself when it dangles or leads out.
    pub(super) fn metadata(
        &self,
        path: &VirtualPath,
        lookup: Lookup,
    ) -> Result<Metadata, FileError> {
        let refusal = match self.locate(path, lookup) {
            Ok((_, stat)) => {
                let mut metadata = self.credentials.metadata(&stat);
                if metadata.kind == FileKind::Directory && !metadata.searchable {
                    // The bits say no; an access list may say yes.
                    let inside = join(path.relative(), b".");
                    metadata.searchable = self.resolve(&inside, OFlags::PATH, lookup).is_ok();
                }
                return Ok(metadata);
            }
            Err(refusal) => refusal,
        };
        if !leads_nowhere(refusal) {
            return Err(refusal);
        }
        let link = match self.open_path(path, OFlags::PATH | OFlags::NOFOLLOW, lookup) {
            Ok(link) => link,
            // Not known without waiting, so the refusal is not the last word either.
            Err(FileError::Busy) => return Err(FileError::Busy),
            Err(_) => return Err(refusal),
        };
        let stat = facts::stat_handle(&link, lookup == Lookup::Cached)?;
        // Anything but a link was made after the first answer, which therefore stands.
        if facts::kind(&stat).is_some() {
            Err(refusal)
        } else {
            Ok(self.credentials.metadata(&stat))
        }
    }

    /// The facts `link` of the symbolic link `name` in `directory`, with those of the regular file
    /// that it leads to inside the root, if it does.
    pub(super) fn with_target(
        &self,
        directory: &VirtualPath,
        name: &[u8],
        link: Metadata,
    ) -> Metadata {
        let whole = join(directory.relative(), name);
        let target = self
            .resolve(&whole, OFlags::PATH, Lookup::Blocking)
            .and_then(|handle| facts::stat_handle(&handle, false));
        match target.map(|stat| self.credentials.metadata(&stat)) {
            Ok(Metadata { kind: FileKind::File, size, modified, writable, .. }) => {
                Metadata { kind: FileKind::LinkToFile, size, modified, writable, ..link }
            }
            _ => link,
        }
    }

    /// Facts of the name at `path` with the facts `stat`, seen through a link to a file.
    pub(super) fn metadata_of_name(&self, path: &VirtualPath, stat: &Statx) -> Metadata {
        let own = self.credentials.metadata(stat);
        match path.file_name() {
            Some(name) if own.kind == FileKind::Link => self.with_target(&path.parent(), name, own),
            _ => own,
        }
    }

    /// An `O_PATH` handle of the name itself, its facts, and what it reads if it is a link.
    /// Waiting, it is also found by the form a listing shows.
    pub(super) fn locate_name(
        &self,
        path: &VirtualPath,
        lookup: Lookup,
    ) -> Result<(OwnedFd, Statx, Vec<u8>), FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let handle = match self.open_path(path, flags, lookup) {
            Err(FileError::NotFound) if path.file_name().is_some_and(may_be_shown) => {
                if lookup == Lookup::Cached {
                    return Err(FileError::Busy);
                }
                let (parent, name) = self.parent(path)?;
                openat(&parent, meant(&parent, name)?.as_ref(), flags | QUIETLY, Mode::empty())?
            }
            handle => handle?,
        };
        let stat = facts::stat_handle(&handle, lookup == Lookup::Cached)?;
        if facts::kind(&stat).is_some() {
            return Ok((handle, stat, Vec::new()));
        }
        if lookup == Lookup::Cached {
            return Err(FileError::Busy);
        }
        let link = readlinkat(&handle, "", Vec::new())?.into_bytes();
        Ok((handle, stat, link))
    }

    /// A regular file opened for reading, and its facts. Nothing else is ever opened: the kind is
    /// checked first on an `O_PATH` handle (opening a FIFO or a device has effects), and again on
    /// what was opened; `O_NONBLOCK` makes that safe even when the name changed in between.
    pub(super) fn open_file(
        &self,
        path: &VirtualPath,
        lookup: Lookup,
    ) -> Result<(OwnedFd, Statx), FileError> {
        require_file(&self.locate(path, lookup)?.1)?;
        self.open_seen_file(path, lookup)
    }

    /// As [`Root::open_file`], where a regular file was seen at `path` a moment ago.
    pub(super) fn open_seen_file(
        &self,
        path: &VirtualPath,
        lookup: Lookup,
    ) -> Result<(OwnedFd, Statx), FileError> {
        let file = self.open_path(path, OFlags::RDONLY | QUIETLY, lookup)?;
        let stat = facts::stat_handle(&file, lookup == Lookup::Cached)?;
        require_file(&stat)?;
        Ok((file, stat))
    }

    /// The pathname below the root by which the kernel knows an open handle, without a link in it.
    /// `None` when it cannot be told: something outside now, too long, or no `/proc`.
    pub(super) fn pathname_of(&self, handle: impl AsFd) -> Option<Vec<u8>> {
        let told = |handle| readlinkat(CWD, descriptor_path(handle), Vec::new()).ok();
        let own = told(self.directory.as_fd())?.into_bytes();
        let whole = told(handle.as_fd())?.into_bytes();
        let below = whole.strip_prefix(own.strip_suffix(b"/").unwrap_or(&own))?;
        if below.is_empty() { Some(Vec::new()) } else { Some(below.strip_prefix(b"/")?.to_vec()) }
    }

    /// The directory that holds the last name of `path`, and that name, not followed. The root
    /// itself has no name and is refused.
    pub(super) fn parent<'path>(
        &self,
        path: &'path VirtualPath,
    ) -> Result<(OwnedFd, &'path [u8]), FileError> {
        let name = path.file_name().ok_or(FileError::PermissionDenied)?;
        refuse_temporary(Some(name))?;
        let directory = self.directory_handle(path.parent().relative())?;
        Ok((directory, name))
    }

    /// Where an upload to `path` goes. A link inside the root is followed to its target, so that
    /// the target is replaced and the link stays; a link that dangles or leads out is refused.
    pub(super) fn target(&self, path: &VirtualPath) -> Result<Target, FileError> {
        let name = path.file_name().ok_or(FileError::IsADirectory)?;
        let mut parent = path.parent().relative().to_vec();
        let mut name = name.to_vec();
        for followed in 0..=LINKS_MAX {
            refuse_temporary(Some(&name))?;
            let directory = self.directory_handle(&parent)?;
            let stat = match facts::stat_name(&directory, &name) {
                Ok(stat) => stat,
                Err(Errno::NOENT) if followed == 0 => {
                    return Ok(Target { directory, name, existing: None });
                }
                Err(errno) => return Err(errno.into()),
            };
            if facts::kind(&stat).is_some() {
                require_file(&stat)?;
                return Ok(Target { directory, name, existing: Some(stat) });
            }
            let link = readlinkat(&directory, name.as_slice(), Vec::new())?;
            (parent, name) = beyond_link(&parent, link.as_bytes())?;
        }
        Err(FileError::Loop)
    }

    fn directory_handle(&self, relative: &[u8]) -> Result<OwnedFd, FileError> {
        Ok(self.resolve(relative, OFlags::PATH | OFlags::DIRECTORY, Lookup::Blocking)?)
    }

    /// Whether `path` is the file's own name, without a symbolic link anywhere in it. Also `false`
    /// when that cannot be told without waiting.
    pub(super) fn has_no_links(&self, path: &VirtualPath, lookup: Lookup) -> bool {
        let links = ResolveFlags::NO_SYMLINKS;
        self.resolve_with(path.relative(), OFlags::PATH, lookup, links).is_ok()
    }

    pub(super) fn resolve(
        &self,
        relative: &[u8],
        flags: OFlags,
        lookup: Lookup,
    ) -> Result<OwnedFd, Errno> {
        self.resolve_with(relative, flags, lookup, ResolveFlags::empty())
    }

    /// The one call every pathname goes through. `more` can only confine it further.
    pub(super) fn resolve_with(
        &self,
        relative: &[u8],
        flags: OFlags,
        lookup: Lookup,
        more: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | more;
        if lookup == Lookup::Cached {
            resolve |= ResolveFlags::CACHED;
        }
        for _ in 0..RETRIES_MAX {
            let opened =
                openat2(&self.directory, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve);
            match opened {
                Err(Errno::AGAIN | Errno::INTR) if lookup == Lookup::Blocking => {}
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Never wait for a FIFO's other end or a lease's holder, never adopt a terminal.
pub(super) const QUIETLY: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens `name` in a held directory with `flags`, never a link, never anything but a regular file.
pub(super) fn open_file_in(
    directory: impl AsFd,
    name: &[u8],
    flags: OFlags,
) -> Result<(OwnedFd, Statx), FileError> {
    let file = openat(directory, name, flags | QUIETLY | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = facts::stat_handle(&file, false)?;
    require_file(&stat)?;
    Ok((file, stat))
}

/// Refuses what cannot be read or written as a file.
pub(super) fn require_file(stat: &Statx) -> Result<(), FileError> {
    match facts::kind(stat) {
        Some(FileKind::File) => Ok(()),
        Some(FileKind::Directory) => Err(FileError::IsADirectory),
        Some(FileKind::Other | FileKind::Link | FileKind::LinkToFile) | None => {
            Err(FileError::NotAFile)
        }
    }
}

/// `parent/name`, both relative to the root.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    [parent, b"/", name].concat()
}

/// Clients must not touch the server's own temporary names.
fn refuse_temporary(name: Option<&[u8]>) -> Result<(), FileError> {
    if name.is_some_and(is_temporary) { Err(FileError::PermissionDenied) } else { Ok(()) }
}

/// Refusals a symbolic link as the last name can be the reason of.
fn leads_nowhere(refusal: FileError) -> bool {
    matches!(
        refusal,
        FileError::NotFound
            | FileError::OutsideRoot
            | FileError::Loop
            | FileError::NotADirectory
            | FileError::PermissionDenied
    )
}

/// Where a link in `parent` that reads `link` points to: directory part and last name. The kernel
/// walks the directory part from the root, so `..` in it means what it means on disk.
fn beyond_link(parent: &[u8], link: &[u8]) -> Result<(Vec<u8>, Vec<u8>), FileError> {
    if link.first() == Some(&b'/') {
        return Err(FileError::OutsideRoot);
    }
    let (directory, name) = match link.iter().rposition(|&octet| octet == b'/') {
        Some(slash) => (join(parent, &link[..slash]), &link[slash + 1..]),
        None => (parent.to_vec(), link),
    };
    // `dir/`, `dir/.` and `dir/..` can only be directories.
    if matches!(name, b"" | b"." | b"..") {
        return Err(FileError::IsADirectory);
    }
    Ok((directory, name.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::protocol::account::StoreRights;
    use crate::protocol::file::{
        FileReply, FileRequest, FileTime, HashAlgorithm, ListStyle, StoreMode, TransferRequest,
    };
    use crate::protocol::policy::FileCache;
    use crate::vfs::testing::{Home, SetOnDrop, list_request, path, raw};
    use crate::vfs::{StorePolicy, Transfer, perform, try_open, try_perform};

    #[test]
    fn the_rule_about_the_deepest_directory_counts() {
        #[track_caller]
        fn check(rules: &[(&str, FileRule)], file: &[u8], expected: FileRule) {
            let home = Home::new();
            let rules: Vec<_> = rules.iter().map(|(at, rule)| (PathBuf::from(at), *rule)).collect();
            let root = Root::open(&home.directory()).unwrap();
            let root = root.with_rules(Path::new("/srv/alice"), &rules);
            assert_eq!(root.rule_of(&path(file)), expected, "{rules:?}");
        }
        const PAGE: FileRule = FileRule { cache: FileCache::Page, immutable: false };
        const DIRECT: FileRule = FileRule { cache: FileCache::Direct, ..PAGE };
        const IMMUTABLE: FileRule = FileRule { immutable: true, ..PAGE };
        check(&[], b"/f", PAGE);
        check(&[("/srv/alice", DIRECT)], b"/f", DIRECT);
        check(&[("/srv", DIRECT)], b"/d/f", DIRECT);
        check(&[("/", DIRECT)], b"/f", DIRECT);
        check(&[("/srv/bob", DIRECT)], b"/f", PAGE);
        check(&[("/srv/ali", DIRECT)], b"/f", PAGE);
        check(&[("/srv/alice/cold", DIRECT)], b"/f", PAGE);
        check(&[("/srv/alice/cold", DIRECT)], b"/cold/f", DIRECT);
        check(&[("/srv/alice/cold", DIRECT)], b"/cold/deep/f", DIRECT);
        check(&[("/srv/alice/cold", DIRECT)], b"/colder/f", PAGE);
        check(&[("/srv/alice/cold", PAGE), ("/srv", DIRECT)], b"/cold/f", PAGE);
        check(&[("/srv/alice/cold", PAGE), ("/srv", DIRECT)], b"/f", DIRECT);
        check(&[("/srv", PAGE), ("/srv/alice", DIRECT)], b"/f", DIRECT);
        check(&[("/srv/alice/kept", IMMUTABLE)], b"/kept/f", IMMUTABLE);
        check(&[("/srv/alice/kept", IMMUTABLE)], b"/f", PAGE);
        check(&[("/srv/alice/kept", IMMUTABLE)], b"/keptnot/f", PAGE);
        check(&[("/srv", IMMUTABLE)], b"/d/f", IMMUTABLE);
        // A rule counts as a whole: nothing of the one above it is left.
        check(&[("/srv", IMMUTABLE), ("/srv/alice/new", PAGE)], b"/new/f", PAGE);
        check(&[("/srv", IMMUTABLE), ("/srv/alice/cold", DIRECT)], b"/cold/f", DIRECT);
        check(&[("/srv", DIRECT), ("/srv/alice", IMMUTABLE)], b"/f", IMMUTABLE);
    }

    fn home_with_escapes() -> Home {
        let home = Home::new();
        fs::create_dir(home.outside().join("other")).unwrap();
        fs::write(home.outside().join("other/secret"), "outside").unwrap();
        fs::create_dir(home.outside().join("other/empty")).unwrap();
        home.link(home.outside().join("other/secret"), "absolute");
        home.link("../other/secret", "relative");
        home.link("../other", "directory");
        home.link("relative", "chain");
        home.link("/", "slash");
        home.link("/proc/self/root", "magic");
        // Even back into the root: an absolute link is measured from the system's root.
        home.put("inside", b"inside");
        home.link(home.on_disk("inside"), "returning");
        home
    }

    /// Every request and transfer that takes `name`.
    fn uses(name: &[u8]) -> (Vec<FileRequest>, Vec<TransferRequest>) {
        let hash =
            |algorithm| FileRequest::Hash { path: path(name), algorithm, start: 0, end: None };
        let set = |modified, mode| FileRequest::SetFacts { path: path(name), modified, mode };
        let list = |style| list_request(name, style);
        let store = |mode| TransferRequest::Store {
            path: path(name),
            mode,
            rights: StoreRights::ALL,
            ascii: false,
            announced: None,
        };
        let names = ListStyle::Names { prefix: Vec::new() };
        let facts = ListStyle::Facts(crate::protocol::file::FactSet::DEFAULT);
        let requests = vec![
            FileRequest::AsciiSize(path(name)),
            hash(HashAlgorithm::Sha256),
            set(Some(FileTime::default()), None),
            set(None, Some(0o777)),
            FileRequest::Available(path(name)),
            FileRequest::ControlListing(list(ListStyle::Long)),
        ];
        let transfers = vec![
            TransferRequest::Retrieve { path: path(name), offset: 0, ascii: false },
            store(StoreMode::Replace),
            store(StoreMode::Append),
            store(StoreMode::At(3)),
            TransferRequest::List(list(ListStyle::Long)),
            TransferRequest::List(list(names)),
            TransferRequest::List(list(facts)),
        ];
        (requests, transfers)
    }

    #[track_caller]
    fn refused(home: &Home, name: &[u8]) {
        let (requests, transfers) = uses(name);
        for request in requests {
            let result = perform(&home.root, &request);
            assert!(
                matches!(result, Err(FileError::OutsideRoot | FileError::Loop)),
                "{request:?}: {result:?}"
            );
        }
        for request in transfers {
            let result = crate::vfs::open(&home.root, &request, &StorePolicy::default());
            let refusal = result.map(|_| ());
            assert!(
                matches!(refusal, Err(FileError::OutsideRoot | FileError::Loop)),
                "{request:?}: {refusal:?}"
            );
            for is_file in [false, true] {
                let attempt = try_open(&home.root, &request, is_file);
                assert!(!matches!(attempt, Some(Ok(_))), "{request:?}");
            }
        }
    }

    /// [LINK-*]: no command reaches through a link that leads out.
    #[test]
    fn links_that_lead_out_are_refused_by_everything() {
        let home = home_with_escapes();
        for name in ["absolute", "relative", "directory", "chain", "slash", "magic", "returning"] {
            refused(&home, name.as_bytes());
            let FileReply::Metadata(facts) =
                perform(&home.root, &FileRequest::Metadata(path(name.as_bytes()))).unwrap()
            else {
                panic!("not facts");
            };
            assert_eq!(facts.kind, FileKind::Link, "{name}");
        }
        for name in ["directory/secret", "slash/etc/passwd", "magic/etc/passwd"] {
            refused(&home, name.as_bytes());
            let facts = perform(&home.root, &FileRequest::Metadata(path(name.as_bytes())));
            assert_eq!(facts, Err(FileError::OutsideRoot), "{name}");
        }
        let inside = path(b"inside");
        for request in [
            FileRequest::MakeDirectory(path(b"directory/new")),
            FileRequest::MakeDirectories(path(b"directory/new/sub")),
            FileRequest::RemoveDirectory(path(b"directory/empty")),
            FileRequest::Delete(path(b"directory/secret")),
            FileRequest::Rename {
                from: path(b"directory/secret"),
                to: path(b"stolen"),
                replace: true,
            },
            FileRequest::Rename { from: inside, to: path(b"directory/planted"), replace: true },
        ] {
            assert_eq!(perform(&home.root, &request), Err(FileError::OutsideRoot), "{request:?}");
        }
        let unique = TransferRequest::Store {
            path: path(b"directory/f"),
            mode: StoreMode::Unique,
            rights: StoreRights::ALL,
            ascii: false,
            announced: None,
        };
        let refusal = crate::vfs::open(&home.root, &unique, &StorePolicy::default()).err();
        assert_eq!(refusal, Some(FileError::OutsideRoot));
        assert_eq!(fs::read(home.outside().join("other/secret")).unwrap(), b"outside");
        assert_eq!(fs::read_dir(home.outside().join("other")).unwrap().count(), 2);
    }

    #[test]
    fn kernel_magic_links_are_refused() {
        let root = Arc::new(Root::open(Path::new("/proc/self")).unwrap());
        for name in [&b"root/etc/passwd"[..], b"cwd", b"exe", b"fd/0"] {
            let request = TransferRequest::Retrieve { path: path(name), offset: 0, ascii: false };
            let refusal = crate::vfs::open(&root, &request, &StorePolicy::default()).err();
            assert!(
                matches!(refusal, Some(FileError::Loop | FileError::OutsideRoot)),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn links_inside_are_followed_and_acted_on() {
        let home = Home::new();
        fs::create_dir_all(home.on_disk("a/b")).unwrap();
        home.put("a/b/f", b"12345");
        home.link("a/b", "short");
        home.link("../../a/b/f", "a/b/back");
        let metadata = |name: &[u8]| home.root.metadata(&path(name), Lookup::Blocking);
        let real = metadata(b"a/b/f").unwrap();
        assert_eq!(real.size, 5);
        assert_eq!(metadata(b"short/f"), Ok(real));
        assert_eq!(metadata(b"short/back"), Ok(real));
        // Removing acts on the link.
        let remove = FileRequest::RemoveDirectory(path(b"short"));
        assert_eq!(perform(&home.root, &remove), Err(FileError::IsALink));
        let delete = FileRequest::Delete(path(b"short"));
        assert_eq!(perform(&home.root, &delete), Ok(FileReply::Done));
        assert!(home.get("a/b/f").is_some());
    }

    /// A thread turns a directory into a link to the outside and back while names below it are
    /// read and written: refusals are right, one octet from or to the outside is not.
    #[test]
    fn a_race_cannot_lead_out() {
        let home = home_with_escapes();
        fs::create_dir(home.on_disk("d")).unwrap();
        home.put("d/secret", b"inside");
        home.link("../other", "swap");
        let (d, swap) = (home.on_disk("d"), home.on_disk("swap"));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    rustix::fs::renameat_with(CWD, &d, CWD, &swap, exchange).unwrap();
                }
            });
            let _ended = SetOnDrop(&done);
            let end = crate::clock::now() + Duration::from_secs(1);
            let (mut reads, mut writes, mut refusals) = (0, 0, 0);
            while crate::clock::now() < end {
                let request =
                    TransferRequest::Retrieve { path: path(b"d/secret"), offset: 0, ascii: false };
                match crate::vfs::open(&home.root, &request, &StorePolicy::default()) {
                    Ok((Transfer::Read(mut file), _)) => {
                        let mut octets = [0; 16];
                        let count = file.read(&mut octets).unwrap();
                        assert_eq!(&octets[..count], b"inside");
                        reads += 1;
                    }
                    Ok(other) => panic!("{other:?}"),
                    Err(_) => refusals += 1,
                }
                let request = TransferRequest::Store {
                    path: path(b"d/planted"),
                    mode: StoreMode::Replace,
                    rights: StoreRights::ALL,
                    ascii: false,
                    announced: None,
                };
                let policy = StorePolicy {
                    durability: crate::protocol::policy::Durability::None,
                    ..StorePolicy::default()
                };
                if let Ok((Transfer::Write(upload), _)) =
                    crate::vfs::open(&home.root, &request, &policy)
                {
                    upload.finish().unwrap();
                    writes += 1;
                }
                let _ = perform(&home.root, &FileRequest::Delete(path(b"d/secret/no")));
            }
            assert!(reads > 0 && writes > 0 && refusals > 0, "{reads} {writes} {refusals}");
        });
        assert_eq!(fs::read_dir(home.outside().join("other")).unwrap().count(), 2);
    }

    /// [PATH-01 PATH-05]: names are octets.
    #[test]
    fn any_name_survives() {
        let home = Home::new();
        for name in [&b"\xff\xfe"[..], b"a\nb", b"a\r\nb", b" x ", b"\\", b"%2e%2e", b"\xc3\xa9"] {
            home.put(raw(name), b"x");
            let facts = home.root.metadata(&path(name), Lookup::Blocking).unwrap();
            assert_eq!(facts.size, 1, "{name:?}");
            let delete = FileRequest::Delete(path(name));
            assert_eq!(perform(&home.root, &delete), Ok(FileReply::Done), "{name:?}");
        }
        assert!(home.names().is_empty());
    }

    #[test]
    fn attempts_answer_from_the_cache_or_not_at_all() {
        let home = Home::new();
        home.put("f", b"12");
        let request = FileRequest::Metadata(path(b"f"));
        let answer = perform(&home.root, &request);
        assert!(answer.is_ok());
        // Just looked up: cached on every filesystem that caches at all.
        assert_eq!(try_perform(&home.root, &request), Some(answer));
        assert_eq!(try_perform(&home.root, &FileRequest::Delete(path(b"f"))), None);
        let (_, transfers) = uses(b"f");
        for request in transfers {
            let store = matches!(request, TransferRequest::Store { .. });
            for is_file in [false, true] {
                let waited = crate::vfs::open(&home.root, &request, &StorePolicy::default());
                match try_open(&home.root, &request, is_file) {
                    None => assert!(store, "{request:?}"),
                    Some(Ok((_, opened))) => assert_eq!(opened, waited.unwrap().1, "{request:?}"),
                    Some(Err(refusal)) => assert_eq!(Some(refusal), waited.err(), "{request:?}"),
                }
            }
        }
        assert!(home.get("f").is_some());
    }

    #[test]
    fn a_root_that_cannot_be_served_says_why() {
        let missing = Root::open(Path::new("/nonexistent/home")).unwrap_err();
        let text = missing.to_string();
        assert!(text.contains("/nonexistent/home") && text.contains("No such file"), "{text}");
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Root::open(file.path()).is_err());
    }
}
