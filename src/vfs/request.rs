//! The commands that need no data connection: facts, names, digests, free space.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, StatVfs, Statx, Timespec, Timestamps, UTIME_OMIT,
    chmodat, fstatvfs, linkat, mkdirat, openat, renameat, renameat_with, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::{cross_device, definite, of_name};
use super::facts;
use super::filesystem_names::name_filesystem;
use super::gradual::{ControlText, TextSize};
use super::hash::Hasher;
use super::kept_digests;
use super::leftovers::{Swept, remove_all};
use super::root::{Lookup, Root};
use super::shown_names::meant;
use super::temporary::descriptor_path;
use crate::protocol::file::{FileError, FileKind, FileReply, FileRequest, FileTime, NameFacts};
use crate::protocol::path::VirtualPath;

/// Does what `request` asks, waiting for the disk.
///
/// A [`FileRequest::Hash`] reads the whole range: use a [`Hasher`] where it must be cancellable,
/// and [`TextSize`] and [`ControlText`] for a [`FileRequest::AsciiSize`] and a
/// [`FileRequest::ControlListing`].
///
/// # Errors
///
/// Why it was refused or failed; a refused request has changed nothing, but directories that a
/// [`FileRequest::MakeDirectories`] has made stay.
pub fn perform(root: &Arc<Root>, request: &FileRequest) -> Result<FileReply, FileError> {
    match request {
        FileRequest::Metadata(path) => {
            root.metadata(path, Lookup::Blocking).map(FileReply::Metadata)
        }
        FileRequest::Facts { path, digests } => {
            name_facts(root, path, *digests, Lookup::Blocking).map(FileReply::Facts)
        }
        FileRequest::AsciiSize(path) => whole(TextSize::open(root, path)?, TextSize::step),
        FileRequest::MakeDirectory(path) => make_directory(root, path),
        FileRequest::MakeDirectories(path) => make_directories(root, path, |_| {}),
        FileRequest::RemoveDirectory(path) => remove_directory(root, path).map(|_| FileReply::Done),
        FileRequest::Delete(path) => delete(root, path),
        FileRequest::Rename { from, to, replace } => rename(root, from, to, *replace),
        FileRequest::SetFacts { path, modified, mode } => {
            set_facts(root, path, *modified, *mode, |_| {})
        }
        FileRequest::Hash { path, algorithm, start, end } => {
            let hasher = Hasher::open(root, path, *algorithm, *start, *end, false)?;
            whole(hasher, Hasher::step)
        }
        FileRequest::Available(path) => available(root, path).map(FileReply::Octets),
        FileRequest::ControlListing(request) => {
            whole(ControlText::open(root, request)?, ControlText::step)
        }
    }
}

/// All steps at once.
fn whole<W>(
    mut work: W,
    step: fn(&mut W) -> Result<Option<FileReply>, FileError>,
) -> Result<FileReply, FileError> {
    loop {
        if let Some(reply) = step(&mut work)? {
            return Ok(reply);
        }
    }
}

/// Answers without waiting, or not at all: only facts whose lookup is cached.
#[must_use]
pub fn try_perform(
    root: &Arc<Root>,
    request: &FileRequest,
) -> Option<Result<FileReply, FileError>> {
    match request {
        FileRequest::Metadata(path) => {
            definite(root.metadata(path, Lookup::Cached).map(FileReply::Metadata))
        }
        FileRequest::Facts { path, digests: false } => {
            definite(name_facts(root, path, false, Lookup::Cached).map(FileReply::Facts))
        }
        _ => None,
    }
}

/// Facts, and digests if they are wanted, of one file, even when the name changes hands meanwhile.
fn name_facts(
    root: &Root,
    path: &VirtualPath,
    digests: bool,
    lookup: Lookup,
) -> Result<NameFacts, FileError> {
    // A link is never answered from the cache, so its target may be waited for.
    let (handle, stat, link) = root.locate_name(path, lookup)?;
    let mut metadata = root.metadata_of_name(path, &stat);
    name_filesystem(root, &handle, &stat, lookup, &mut metadata)?;
    let digests = if digests && metadata.kind == FileKind::File {
        kept_digests::kept(handle.as_fd(), &stat)
    } else {
        Vec::new()
    };
    Ok(NameFacts { metadata, link, digests })
}

fn make_directory(root: &Root, path: &VirtualPath) -> Result<FileReply, FileError> {
    if path.is_root() {
        return Err(FileError::AlreadyExists);
    }
    let (parent, name) = root.parent(path)?;
    // The process's umask takes from these, as for everyone.
    mkdirat(&parent, name, Mode::from_raw_mode(0o777))?;
    Ok(FileReply::Done)
}

/// SITE MKDIR: the directory, and those above it that are missing; `made` is told of each that this
/// has made, also when a later one fails. The first attempt is enough for one that is there, or
/// whose parent is.
///
/// # Errors
///
/// Why the directory is not there.
pub fn make_directories(
    root: &Root,
    path: &VirtualPath,
    made: impl Fn(&VirtualPath),
) -> Result<FileReply, FileError> {
    let make_directory = |path: &VirtualPath| make_directory(root, path).inspect(|_| made(path));
    let exists = || root.open_path(path, OFlags::PATH | OFlags::DIRECTORY, Lookup::Blocking);
    match make_directory(path) {
        Err(FileError::AlreadyExists) if exists().is_ok() => return Ok(FileReply::Done),
        Err(FileError::NotFound) => {}
        result => return result,
    }
    let above = std::iter::successors(Some(path.parent()), |path| Some(path.parent()));
    let above: Vec<VirtualPath> = above.take_while(|path| !path.is_root()).collect();
    for path in above.iter().rev() {
        match make_directory(path) {
            Ok(_) | Err(FileError::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    match make_directory(path) {
        // Another session was faster.
        Err(FileError::AlreadyExists) if exists().is_ok() => Ok(FileReply::Done),
        result => result,
    }
}

/// RMD, which also removes what a killed server left in the directory, if there is nothing else.
///
/// # Errors
///
/// Why the directory is still there.
pub fn remove_directory(root: &Root, path: &VirtualPath) -> Result<Swept, FileError> {
    let (parent, name) = root.parent(path)?;
    let name = meant(&parent, name)?;
    let name = name.as_ref();
    let refusal = match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => return Ok(Swept::default()),
        Err(Errno::NOTDIR) if is_link(&parent, name) => return Err(FileError::IsALink),
        // rmdir(2) may say either.
        Err(Errno::EXIST | Errno::NOTEMPTY) => FileError::NotEmpty,
        Err(errno) => return Err(of_name(errno, &parent, name)),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = openat(&parent, name, flags, Mode::empty()) else { return Err(refusal) };
    let swept = remove_all(&directory).map_err(|error| match error {
        // It lists as empty, and will be when the upload in it has ended.
        FileError::Busy => error,
        _ => refusal,
    })?;
    unlinkat(&parent, name, AtFlags::REMOVEDIR).map_err(|_| refusal)?;
    Ok(swept)
}

fn delete(root: &Root, path: &VirtualPath) -> Result<FileReply, FileError> {
    let (parent, name) = root.parent(path)?;
    let name = meant(&parent, name)?;
    match unlinkat(&parent, name.as_ref(), AtFlags::empty()) {
        Ok(()) => Ok(FileReply::Done),
        // POSIX's answer for a directory, given by some filesystems.
        Err(Errno::PERM) if is_directory(&parent, &name) => Err(FileError::IsADirectory),
        Err(errno) => Err(of_name(errno, &parent, &name)),
    }
}

/// Renames without ever replacing a directory, not even an empty one: first in the way that
/// replaces nothing, then, when the name is taken and `replace` says so, in the way that replaces a
/// file by a file.
fn rename(
    root: &Root,
    from: &VirtualPath,
    to: &VirtualPath,
    replace: bool,
) -> Result<FileReply, FileError> {
    let (old_parent, old) = root.parent(from)?;
    let (new_parent, new) = root.parent(to)?;
    let old = meant(&old_parent, old)?;
    let old = old.as_ref();
    let refused = |errno| match of_name(errno, &old_parent, old) {
        FileError::Busy => of_name(errno, &new_parent, new),
        error => error,
    };
    match renameat_with(&old_parent, old, &new_parent, new, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(FileReply::Done),
        // Two names of one file: rename(2) says that nothing is to be done.
        Err(Errno::EXIST) if !replace && !is_same(&old_parent, old, &new_parent, new) => {
            return Err(FileError::AlreadyExists);
        }
        // EINVAL: NFS and others do not know the flag. Or `to` lies below `from`, and the second
        // call says so again.
        Err(Errno::EXIST | Errno::INVAL) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let taken = facts::stat_name(&new_parent, new).is_ok();
    let directory = is_directory(&old_parent, old);
    if taken && (directory || is_directory(&new_parent, new)) {
        return Err(FileError::AlreadyExists);
    }
    if !replace && !directory && !is_same(&old_parent, old, &new_parent, new) {
        return link_over(&old_parent, old, &new_parent, new).map(|()| FileReply::Done);
    }
    match renameat(&old_parent, old, &new_parent, new) {
        Ok(()) => Ok(FileReply::Done),
        Err(Errno::ISDIR | Errno::NOTEMPTY) => Err(FileError::AlreadyExists),
        Err(errno) => Err(refused(errno)),
    }
}

/// A rename in two steps that never replaces: linking fails when the new name is taken.
fn link_over(
    old_parent: impl AsFd,
    old: &[u8],
    new_parent: impl AsFd,
    new: &[u8],
) -> Result<(), FileError> {
    linkat(&old_parent, old, new_parent, new, AtFlags::empty()).map_err(cross_device)?;
    Ok(unlinkat(old_parent, old, AtFlags::empty())?)
}

/// Whether both names are those of one file.
fn is_same(parent: impl AsFd, name: &[u8], other_parent: impl AsFd, other: &[u8]) -> bool {
    let unique = |stat| facts::unique(&stat);
    let one = facts::stat_name(parent, name).map(unique);
    one.is_ok() && one == facts::stat_name(other_parent, other).map(unique)
}

fn is_directory(parent: impl AsFd, name: &[u8]) -> bool {
    facts::stat_name(parent, name).is_ok_and(|stat| facts::kind(&stat) == Some(FileKind::Directory))
}

fn is_link(parent: impl AsFd, name: &[u8]) -> bool {
    facts::stat_name(parent, name).is_ok_and(|stat| facts::kind(&stat).is_none())
}

/// The permission bits a client may set. Set-user-id and set-group-id would run the file with the
/// server's own rights; on a directory, set-group-id only says whose group new files get, and the
/// sticky bit who may remove them.
fn settable_bits(stat: &Statx) -> u32 {
    if facts::kind(stat) == Some(FileKind::Directory) { 0o3777 } else { 0o777 }
}

/// A fact that was set, as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFact {
    /// Permission bits.
    Mode(u32),
    /// Time of the last change.
    Modified(FileTime),
}

/// Sets facts through the `O_PATH` handle that was found, never by name again; `told` hears of each
/// when it is set, for the next one may fail.
///
/// # Errors
///
/// One could not be set.
pub fn set_facts(
    root: &Root,
    path: &VirtualPath,
    modified: Option<FileTime>,
    mode: Option<u32>,
    told: impl Fn(SetFact),
) -> Result<FileReply, FileError> {
    let (handle, stat) = root.locate(path, Lookup::Blocking)?;
    if !matches!(facts::kind(&stat), Some(FileKind::File | FileKind::Directory)) {
        return Err(FileError::NotAFile);
    }
    if let Some(mode) = mode {
        // fchmod refuses an O_PATH handle, and an ordinary one cannot be had of a file whose bits
        // forbid reading it; the descriptor's own link can be named instead.
        let mode = Mode::from_raw_mode(mode & settable_bits(&stat));
        match chmodat(CWD, descriptor_path(&handle), mode, AtFlags::empty()) {
            Err(Errno::NOENT) => return Err(FileError::Unsupported),
            result => result?,
        }
        let now = facts::stat_handle(&handle, false)?;
        told(SetFact::Mode(root.credentials().metadata(&now).mode));
    }
    if let Some(modified) = modified {
        let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let set = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() };
        let times = Timestamps { last_access: kept, last_modification: set };
        utimensat(&handle, "", &times, AtFlags::EMPTY_PATH)?;
    }
    let now = facts::stat_handle(&handle, false)?;
    let metadata = root.credentials().metadata(&now);
    if modified.is_some() {
        told(SetFact::Modified(metadata.modified));
        kept_digests::renew(&handle, &stat, &now);
    }
    Ok(FileReply::Metadata(metadata))
}

fn available(root: &Root, path: &VirtualPath) -> Result<u64, FileError> {
    let handle = root.open_path(path, OFlags::PATH | OFlags::DIRECTORY, Lookup::Blocking)?;
    let StatVfs { f_bavail, f_frsize, .. } = fstatvfs(&handle)?;
    Ok(f_bavail.saturating_mul(f_frsize))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;
    use crate::limits::{ASCII_SIZE_BYTES_MAX, CONTROL_LISTING_BYTES_MAX};
    use crate::protocol::ascii::ToNetwork;
    use crate::protocol::file::{FactSet, HashAlgorithm, ListStyle};
    use crate::vfs::testing::{Home, list_request, path};

    fn rename(home: &Home, from: &[u8], to: &[u8]) -> Result<FileReply, FileError> {
        perform(&home.root, &FileRequest::Rename { from: path(from), to: path(to), replace: true })
    }

    /// The first fact is set, and told, when the second one fails.
    #[test]
    fn each_fact_is_told_when_it_is_set() {
        let home = Home::new();
        fs::write(home.on_disk("f"), "").unwrap();
        let told = std::cell::RefCell::new(Vec::new());
        let set = |nanoseconds| {
            let modified = Some(FileTime { seconds: 1000, nanoseconds });
            let told = |fact| told.borrow_mut().push(fact);
            set_facts(&home.root, &path(b"f"), modified, Some(0o600), told)
        };
        // No time has so many.
        assert!(set(2_000_000_000).is_err());
        assert_eq!(told.take(), [SetFact::Mode(0o600)]);
        assert_eq!(fs::metadata(home.on_disk("f")).unwrap().mode() & 0o777, 0o600);
        assert!(set(0).is_ok());
        let modified = SetFact::Modified(FileTime { seconds: 1000, nanoseconds: 0 });
        assert_eq!(told.take(), [SetFact::Mode(0o600), modified]);
    }

    #[test]
    fn directories_are_made_and_removed() {
        let home = Home::new();
        let make = |name: &[u8]| perform(&home.root, &FileRequest::MakeDirectory(path(name)));
        let remove = |name: &[u8]| perform(&home.root, &FileRequest::RemoveDirectory(path(name)));
        assert_eq!(make(b"d"), Ok(FileReply::Done));
        assert_eq!(make(b"d/e"), Ok(FileReply::Done));
        assert_eq!(make(b"d"), Err(FileError::AlreadyExists));
        assert_eq!(make(b"/"), Err(FileError::AlreadyExists));
        assert_eq!(make(b"no/d"), Err(FileError::NotFound));
        assert_eq!(make(&[b'x'; 256][..255]), Ok(FileReply::Done));
        home.put("f", b"");
        assert_eq!(make(b"f/d"), Err(FileError::NotADirectory));
        assert_eq!(remove(b"d"), Err(FileError::NotEmpty));
        assert_eq!(remove(b"f"), Err(FileError::NotADirectory));
        assert_eq!(remove(b"/"), Err(FileError::PermissionDenied));
        assert_eq!(remove(b"no"), Err(FileError::NotFound));
        assert_eq!(remove(b"d/e"), Ok(FileReply::Done));
        assert_eq!(remove(b"d"), Ok(FileReply::Done));
    }

    #[test]
    fn directories_are_made_with_those_above() {
        let home = Home::new();
        let make = |name: &[u8]| perform(&home.root, &FileRequest::MakeDirectories(path(name)));
        fs::create_dir(home.on_disk("there")).unwrap();
        home.put("file", b"");
        home.link("there", "link");
        home.link("no thing", "dangling");
        for name in [&b"a/b/c"[..], b"a/b/c", b"a", b"/", b"there/new", b"link/deep/er", b"link"] {
            assert_eq!(make(name), Ok(FileReply::Done), "{}", name.escape_ascii());
        }
        for directory in ["a/b/c", "there/new", "there/deep/er"] {
            assert!(home.on_disk(directory).is_dir(), "{directory}");
        }
        assert_eq!(make(b"file"), Err(FileError::AlreadyExists));
        assert_eq!(make(b"file/a"), Err(FileError::NotADirectory));
        assert_eq!(make(b"new/file/.ringftpd-01234567.part"), Err(FileError::PermissionDenied));
        assert_eq!(make(b"dangling"), Err(FileError::AlreadyExists));
        assert_eq!(make(b"dangling/a"), Err(FileError::NotFound));
    }

    /// What a killed server left does not make a directory that lists as empty unremovable.
    #[test]
    fn abandoned_temporary_files_go_with_their_directory() {
        let home = Home::new();
        fs::create_dir(home.on_disk("d")).unwrap();
        home.put("d/.ringftpd-01234567.part", b"left over");
        home.put("d/f", b"");
        let remove = || perform(&home.root, &FileRequest::RemoveDirectory(path(b"d")));
        assert_eq!(remove(), Err(FileError::NotEmpty));
        assert!(home.get("d/.ringftpd-01234567.part").is_some());
        fs::remove_file(home.on_disk("d/f")).unwrap();
        let request = crate::protocol::file::TransferRequest::Store {
            path: path(b"d/f"),
            mode: crate::protocol::file::StoreMode::Unique,
            rights: crate::protocol::account::StoreRights::ALL,
            ascii: false,
            announced: None,
        };
        let upload = crate::vfs::open(&home.root, &request, &Default::default()).unwrap();
        assert_eq!(remove(), Err(FileError::Busy), "an upload is under way");
        drop(upload);
        assert_eq!(remove(), Ok(FileReply::Done));
    }

    #[test]
    fn delete_is_for_names_that_are_no_directories() {
        let home = Home::new();
        fs::create_dir(home.on_disk("d")).unwrap();
        home.put("f", b"");
        home.link("d", "link");
        home.link("nowhere", "dangling");
        let delete = |name: &[u8]| perform(&home.root, &FileRequest::Delete(path(name)));
        assert_eq!(delete(b"d"), Err(FileError::IsADirectory));
        assert_eq!(delete(b"/"), Err(FileError::PermissionDenied));
        assert_eq!(delete(b"no"), Err(FileError::NotFound));
        for name in [&b"f"[..], b"link", b"dangling"] {
            assert_eq!(delete(name), Ok(FileReply::Done));
        }
        assert_eq!(home.names(), ["d"]);
    }

    #[test]
    fn renames_replace_files_and_never_directories() {
        let home = Home::new();
        for directory in ["d", "empty"] {
            fs::create_dir(home.on_disk(directory)).unwrap();
        }
        home.put("a", b"a");
        home.put("b", b"b");
        home.link("nowhere", "dangling");
        assert_eq!(rename(&home, b"a", b"b"), Ok(FileReply::Done));
        assert_eq!(home.get("b").unwrap(), b"a");
        assert_eq!(rename(&home, b"b", b"b"), Ok(FileReply::Done));
        assert_eq!(rename(&home, b"b", b"empty"), Err(FileError::AlreadyExists));
        assert_eq!(rename(&home, b"d", b"empty"), Err(FileError::AlreadyExists));
        assert_eq!(rename(&home, b"d", b"b"), Err(FileError::AlreadyExists));
        assert_eq!(rename(&home, b"d", b"d/below"), Err(FileError::Unsupported));
        assert_eq!(rename(&home, b"/", b"x"), Err(FileError::PermissionDenied));
        assert_eq!(rename(&home, b"d", b"/"), Err(FileError::PermissionDenied));
        assert_eq!(rename(&home, b"no", b"x"), Err(FileError::NotFound));
        assert_eq!(rename(&home, b"d", b"e"), Ok(FileReply::Done));
        assert_eq!(rename(&home, b"dangling", b"moved"), Ok(FileReply::Done));
        assert_eq!(rename(&home, b"b", b"moved"), Ok(FileReply::Done));
        assert_eq!(home.names(), ["e", "empty", "moved"]);
        assert_eq!(home.get("moved").unwrap(), b"a");
    }

    /// Without the right to replace: with RENAME_NOREPLACE, and in the way of filesystems that lack
    /// it.
    #[test]
    fn a_rename_without_the_right_replaces_nothing() {
        let home = Home::new();
        home.put("a", b"a");
        home.put("b", b"b");
        fs::hard_link(home.on_disk("a"), home.on_disk("same")).unwrap();
        home.link("nowhere", "dangling");
        let rename = |from: &[u8], to: &[u8]| {
            let request = FileRequest::Rename { from: path(from), to: path(to), replace: false };
            perform(&home.root, &request)
        };
        for taken in [&b"b"[..], b"dangling"] {
            assert_eq!(rename(b"a", taken), Err(FileError::AlreadyExists), "{taken:?}");
        }
        // Nothing is lost where both names are one file's.
        assert_eq!(rename(b"a", b"same"), Ok(FileReply::Done));
        assert_eq!(rename(b"a", b"a"), Ok(FileReply::Done));
        assert_eq!(rename(b"a", b"new"), Ok(FileReply::Done));
        assert_eq!(home.get("b").unwrap(), b"b");
        assert_eq!(home.names(), ["b", "dangling", "new", "same"]);
        let directory = home.root.parent(&path(b"b")).unwrap().0;
        assert_eq!(link_over(&directory, b"new", &directory, b"b"), Err(FileError::AlreadyExists));
        assert_eq!(link_over(&directory, b"new", &directory, b"free"), Ok(()));
        assert_eq!(home.names(), ["b", "dangling", "free", "same"]);
    }

    /// Of a file only the bits that give nobody another's rights; a directory keeps its own two.
    #[test]
    fn nobody_makes_a_set_user_id_file() {
        let home = Home::new();
        home.put("f", b"x");
        fs::create_dir(home.on_disk("d")).unwrap();
        for (name, asked, expected) in [
            ("f", 0o4755, 0o755),
            ("f", 0o2755, 0o755),
            ("f", 0o6755, 0o755),
            ("f", 0o1777, 0o777),
            ("d", 0o3770, 0o3770),
            ("d", 0o4755, 0o755),
        ] {
            let path = path(name.as_bytes());
            let set = FileRequest::SetFacts { path, modified: None, mode: Some(asked) };
            match perform(&home.root, &set).unwrap() {
                FileReply::Metadata(facts) => assert_eq!(facts.mode, expected, "{name} {asked:o}"),
                other => panic!("{other:?}"),
            }
            let bits = fs::metadata(home.on_disk(name)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(bits, expected, "{name} {asked:o}");
        }
    }

    #[test]
    fn facts_are_set_and_answered() {
        let home = Home::new();
        home.put("f", b"x");
        home.link("f", "link");
        home.fifo("fifo");
        let modified = FileTime { seconds: -86_400, nanoseconds: 5_000_000 };
        let set = |name: &[u8], modified, mode| {
            perform(&home.root, &FileRequest::SetFacts { path: path(name), modified, mode })
        };
        for name in [&b"f"[..], b"link"] {
            // Twice: with all bits off the owner must still be able to turn them on again.
            for mode in [0o000, 0o640] {
                match set(name, Some(modified), Some(mode)).unwrap() {
                    FileReply::Metadata(facts) => {
                        assert_eq!((facts.modified, facts.mode), (modified, mode));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        let stat = fs::metadata(home.on_disk("f")).unwrap();
        assert_eq!((stat.mtime(), stat.permissions().mode() & 0o7777), (-86_400, 0o640));
        assert!(fs::symlink_metadata(home.on_disk("link")).unwrap().mtime() > 0);
        assert_eq!(set(b"fifo", None, Some(0o600)), Err(FileError::NotAFile));
        assert_eq!(set(b"no", None, Some(0o600)), Err(FileError::NotFound));
    }

    /// [TYPE-08]
    #[test]
    fn ascii_size_is_exact_or_refused() {
        let home = Home::new();
        home.put("f", b"a\nb\r\n\n");
        fs::create_dir(home.on_disk("d")).unwrap();
        let size = |name: &[u8]| perform(&home.root, &FileRequest::AsciiSize(path(name)));
        let mut expected = Vec::new();
        ToNetwork::new().convert(b"a\nb\r\n\n", &mut expected);
        assert_eq!(size(b"f"), Ok(FileReply::Octets(expected.len() as u64)));
        assert_eq!(size(b"d"), Err(FileError::IsADirectory));
        let large = fs::File::create(home.on_disk("large")).unwrap();
        large.set_len(ASCII_SIZE_BYTES_MAX + 1).unwrap();
        assert_eq!(size(b"large"), Err(FileError::Unsupported));
    }

    #[test]
    fn free_space() {
        let home = Home::new();
        home.put("f", b"");
        let free = |name: &[u8]| perform(&home.root, &FileRequest::Available(path(name)));
        match free(b"/").unwrap() {
            FileReply::Octets(octets) => assert!(octets > 0),
            other => panic!("{other:?}"),
        }
        assert_eq!(free(b"f"), Err(FileError::NotADirectory));
    }

    #[test]
    fn control_listings_are_whole_or_refused() {
        let home = Home::new();
        home.put("f", b"");
        let list = || FileRequest::ControlListing(list_request(b"/", ListStyle::Long));
        match perform(&home.root, &list()).unwrap() {
            FileReply::Listing(text) => assert!(text.ends_with(b" f\r\n"), "{text:?}"),
            other => panic!("{other:?}"),
        }
        for number in 0..CONTROL_LISTING_BYTES_MAX / 250 {
            home.put(format!("{number:0250}"), b"");
        }
        assert_eq!(perform(&home.root, &list()), Err(FileError::Unsupported));
    }

    #[test]
    fn nothing_waits_for_the_other_end_of_a_fifo() {
        let home = Home::new();
        home.fifo("fifo");
        let hash = FileRequest::Hash {
            path: path(b"fifo"),
            algorithm: HashAlgorithm::Crc32,
            start: 0,
            end: None,
        };
        assert_eq!(perform(&home.root, &hash), Err(FileError::NotAFile));
        let size = FileRequest::AsciiSize(path(b"fifo"));
        assert_eq!(perform(&home.root, &size), Err(FileError::NotAFile));
    }
    /// Permission bits stop root only without its capabilities, which belong to the thread.
    #[test]
    fn what_the_system_forbids_is_refused() {
        let home = Home::new();
        fs::create_dir(home.on_disk("fixed")).unwrap();
        fs::create_dir(home.on_disk("opaque")).unwrap();
        home.put("fixed/f", b"");
        home.put("opaque/f", b"");
        home.put("secret", b"");
        let bits = |name: &str, mode| {
            fs::set_permissions(home.on_disk(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        bits("fixed", 0o555);
        bits("opaque", 0o444);
        bits("secret", 0o000);
        let unprivileged = || {
            let none = rustix::thread::CapabilitySet::empty();
            let sets = rustix::thread::CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            };
            rustix::thread::set_capabilities(None, sets).unwrap();
            for request in [
                FileRequest::MakeDirectory(path(b"fixed/d")),
                FileRequest::Delete(path(b"fixed/f")),
                FileRequest::Rename { from: path(b"secret"), to: path(b"fixed/g"), replace: true },
                FileRequest::AsciiSize(path(b"secret")),
                FileRequest::Metadata(path(b"opaque/f")),
            ] {
                let result = perform(&home.root, &request);
                assert_eq!(result, Err(FileError::PermissionDenied), "{request:?}");
            }
            // Readable but not searchable: the names can be told, and nothing else.
            for style in
                [ListStyle::Long, ListStyle::Facts(FactSet { kind: false, ..FactSet::DEFAULT })]
            {
                let refused = home.list(&list_request(b"opaque", style));
                assert_eq!(refused, Err(FileError::PermissionDenied));
            }
            let names = ListStyle::Names { prefix: Vec::new() };
            assert_eq!(home.list(&list_request(b"opaque", names)).unwrap(), b"f\r\n");
        };
        std::thread::scope(|scope| scope.spawn(unprivileged).join().unwrap());
        for name in ["fixed", "opaque"] {
            bits(name, 0o755);
        }
    }
}
