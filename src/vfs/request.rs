//! The commands that need no data connection: facts, names, digests, free space.

use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, StatVfs, Timespec, Timestamps, UTIME_OMIT, chmodat,
    fstatvfs, mkdirat, renameat, renameat_with, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::error::{cross_device, definite};
use super::facts;
use super::hash::Hasher;
use super::lister::Lister;
use super::read::ReadFile;
use super::root::{Lookup, Root};
use super::temporary::descriptor_path;
use crate::limits::{ASCII_SIZE_BYTES_MAX, CONTROL_LISTING_BYTES_MAX, TRANSFER_BATCH_BYTES};
use crate::protocol::file::{
    FileError, FileKind, FileReply, FileRequest, FileTime, ListRequest, Metadata,
};
use crate::protocol::path::VirtualPath;

/// Does what `request` asks, waiting for the disk.
///
/// A [`FileRequest::Hash`] reads the whole range: use a [`Hasher`] where it must be cancellable.
///
/// # Errors
///
/// Why it was refused or failed; a refused request has changed nothing.
pub fn perform(root: &Arc<Root>, request: &FileRequest) -> Result<FileReply, FileError> {
    match request {
        FileRequest::Metadata(path) => {
            root.metadata(path, Lookup::Blocking).map(FileReply::Metadata)
        }
        FileRequest::AsciiSize(path) => ascii_size(root, path).map(FileReply::Octets),
        FileRequest::MakeDirectory(path) => make_directory(root, path),
        FileRequest::RemoveDirectory(path) => remove_directory(root, path),
        FileRequest::Delete(path) => delete(root, path),
        FileRequest::Rename { from, to } => rename(root, from, to),
        FileRequest::SetFacts { path, modified, mode } => {
            set_facts(root, path, *modified, *mode).map(FileReply::Metadata)
        }
        FileRequest::Hash { path, algorithm, start, end } => {
            let mut hasher = Hasher::open(root, path, *algorithm, *start, *end)?;
            loop {
                if let Some(reply) = hasher.step()? {
                    return Ok(reply);
                }
            }
        }
        FileRequest::Available(path) => available(root, path).map(FileReply::Octets),
        FileRequest::ControlListing(request) => {
            control_listing(root, request).map(FileReply::Listing)
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
        _ => None,
    }
}

/// The size SIZE must give in TYPE A: exact, or not at all (RFC 3659 §4) \[TYPE-08\].
fn ascii_size(root: &Root, path: &VirtualPath) -> Result<u64, FileError> {
    let mut file = ReadFile::open(root, path, 0, false, Lookup::Blocking)?;
    let mut conversion = AsciiCount::default();
    let mut buffer = vec![0; TRANSFER_BATCH_BYTES];
    let mut size = 0;
    loop {
        // Checked as it goes: the file may grow while it is read.
        if file.size().max(file.position()) > ASCII_SIZE_BYTES_MAX {
            return Err(FileError::Unsupported);
        }
        match file.read(&mut buffer)? {
            0 => return Ok(size),
            count => size += conversion.add(&buffer[..count]),
        }
    }
}

/// Stand-in for the conversion's own count.
#[derive(Default)]
struct AsciiCount;

impl AsciiCount {
    #[expect(clippy::unused_self, reason = "stand-in")]
    fn add(&mut self, octets: &[u8]) -> u64 {
        octets.iter().map(|&octet| if octet == b'\n' { 2 } else { 1 }).sum()
    }
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

fn remove_directory(root: &Root, path: &VirtualPath) -> Result<FileReply, FileError> {
    let (parent, name) = root.parent(path)?;
    match unlinkat(&parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(FileReply::Done),
        // rmdir(2) may say either.
        Err(Errno::EXIST) => Err(FileError::NotEmpty),
        Err(errno) => Err(errno.into()),
    }
}

fn delete(root: &Root, path: &VirtualPath) -> Result<FileReply, FileError> {
    let (parent, name) = root.parent(path)?;
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) => Ok(FileReply::Done),
        // POSIX's answer for a directory, given by some filesystems.
        Err(Errno::PERM) if is_directory(&parent, name) => Err(FileError::IsADirectory),
        Err(errno) => Err(errno.into()),
    }
}

/// Renames without ever replacing a directory, not even an empty one: first in the way that
/// replaces nothing, then, when the name is taken, in the way that replaces a file by a file.
fn rename(root: &Root, from: &VirtualPath, to: &VirtualPath) -> Result<FileReply, FileError> {
    let (old_parent, old) = root.parent(from)?;
    let (new_parent, new) = root.parent(to)?;
    match renameat_with(&old_parent, old, &new_parent, new, RenameFlags::NOREPLACE) {
        Ok(()) => return Ok(FileReply::Done),
        // EINVAL: NFS and others do not know the flag. Or `to` lies below `from`, and the second
        // call says so again.
        Err(Errno::EXIST | Errno::INVAL) => {}
        Err(errno) => return Err(cross_device(errno)),
    }
    let taken = facts::stat_name(&new_parent, new).is_ok();
    if taken && (is_directory(&old_parent, old) || is_directory(&new_parent, new)) {
        return Err(FileError::AlreadyExists);
    }
    match renameat(&old_parent, old, &new_parent, new) {
        Ok(()) => Ok(FileReply::Done),
        Err(Errno::ISDIR | Errno::NOTEMPTY) => Err(FileError::AlreadyExists),
        Err(errno) => Err(cross_device(errno)),
    }
}

fn is_directory(parent: impl std::os::fd::AsFd, name: &[u8]) -> bool {
    facts::stat_name(parent, name).is_ok_and(|stat| facts::kind(&stat) == Some(FileKind::Directory))
}

/// Sets facts through the `O_PATH` handle that was found, never by name again.
fn set_facts(
    root: &Root,
    path: &VirtualPath,
    modified: Option<FileTime>,
    mode: Option<u32>,
) -> Result<Metadata, FileError> {
    let (handle, stat) = root.locate(path, Lookup::Blocking)?;
    if !matches!(facts::kind(&stat), Some(FileKind::File | FileKind::Directory)) {
        return Err(FileError::NotAFile);
    }
    if let Some(mode) = mode {
        // fchmod refuses an O_PATH handle, and an ordinary one cannot be had of a file whose bits
        // forbid reading it; the descriptor's own link can be named instead.
        let mode = Mode::from_raw_mode(mode & 0o7777);
        match chmodat(CWD, descriptor_path(&handle), mode, AtFlags::empty()) {
            Err(Errno::NOENT) => return Err(FileError::Unsupported),
            result => result?,
        }
    }
    if let Some(modified) = modified {
        let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let set = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() };
        let times = Timestamps { last_access: kept, last_modification: set };
        utimensat(&handle, "", &times, AtFlags::EMPTY_PATH)?;
    }
    Ok(root.identity().metadata(&facts::stat_handle(&handle, false)?))
}

fn available(root: &Root, path: &VirtualPath) -> Result<u64, FileError> {
    let handle = root.open_path(path, OFlags::PATH | OFlags::DIRECTORY, Lookup::Blocking)?;
    let StatVfs { f_bavail, f_frsize, .. } = fstatvfs(&handle)?;
    Ok(f_bavail.saturating_mul(f_frsize))
}

fn control_listing(root: &Arc<Root>, request: &ListRequest) -> Result<Vec<u8>, FileError> {
    let mut lister = Lister::open(root, request, Lookup::Blocking)?;
    let mut text = Vec::new();
    loop {
        let more = lister.next(&mut text)?;
        if text.len() > CONTROL_LISTING_BYTES_MAX {
            return Err(FileError::Unsupported);
        }
        if !more {
            return Ok(text);
        }
    }
}
