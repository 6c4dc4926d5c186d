//! STOR, APPE and STOU: octets that appear under their name all at once, or not at all.
//!
//! A new or replaced file is written to an unnamed file (`O_TMPFILE`) in its own directory and
//! linked when complete; where the filesystem has no unnamed files, to a reserved hidden name (see
//! `temporary`) that is renamed when complete. The directory is held open from the beginning, so
//! later steps cannot be led elsewhere. Only appending at the end changes a file in place, under
//! an exclusive `flock`.
//!
//! STOU announces its name in the 150, long before the file has it, so the name is held by its
//! reserved hidden name, which is also where the octets go: whoever creates that name (`O_EXCL`)
//! and then finds the wanted name absent owns the wanted name among all sessions and processes of
//! this server, and the final rename replaces nothing. A reservation left by a crash makes later
//! STOUs take the next name.
//!
//! Linking an unnamed file needs Linux 6.10 or `/proc`.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, Gid, Mode, OFlags, RenameFlags, Statx, Uid,
    copy_file_range, fallocate, fchmod, fchown, fdatasync, flock, fsync, ftruncate, linkat, openat,
    renameat, renameat_with, syncfs, unlinkat,
};
use rustix::io::{Errno, ReadWriteFlags, pread, pwrite, pwritev2, retry_on_intr};

use super::error::cross_device;
use super::facts;
use super::root::{Root, Target, open_file_in, require_file};
use super::temporary::{random_digits, random_name, reservation_of};
use crate::limits::{NAME_BYTES_MAX, TRANSFER_BATCH_BYTES};
use crate::protocol::file::{FileError, StoreMode};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::{Durability, FailedUpload};

/// STOU: `name.1`, `name.2` and so on up to here, then as many names with random endings.
const UNIQUE_TRIES_MAX: u32 = 100;

/// New files: everyone reads and writes, less what the process's umask takes.
const NEW_FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// What the operator decided about uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorePolicy {
    /// What a failed upload leaves.
    pub failed_upload: FailedUpload,
    /// What 226 promises.
    pub durability: Durability,
}

/// An upload under way. Dropping it leaves nothing of it, as [`FailedUpload::Delete`] does; that
/// costs one or two system calls that may wait.
#[derive(Debug)]
pub struct Upload {
    file: OwnedFd,
    directory: OwnedFd,
    name: Vec<u8>,
    place: Place,
    goal: Goal,
    /// Octets of the file that were there before the first one written.
    base: u64,
    /// Octets written since.
    written: u64,
    nowait: bool,
    /// Blocks may be reserved past the end (ALLO).
    reserved: bool,
    policy: StorePolicy,
}

/// Where the octets are, and so what is left to undo.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In a file without a name.
    Unnamed,
    /// Under this reserved name.
    Hidden(Vec<u8>),
    /// At the end of the file itself.
    InPlace,
    /// Published or removed: nothing to undo.
    Settled,
}

/// What may become of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// There was no such name.
    Create,
    /// There is a file to be replaced (or to be added to).
    Replace,
    /// STOU: never replaces anything.
    Unique,
}

impl Upload {
    /// Opens for STOR, APPE or STOU. `announced` octets (ALLO) are reserved as far as the
    /// filesystem can.
    pub(super) fn open(
        root: &Root,
        path: &VirtualPath,
        mode: StoreMode,
        announced: Option<u64>,
        policy: StorePolicy,
    ) -> Result<Self, FileError> {
        let mut upload = match mode {
            StoreMode::Unique => Self::unique(root, path, policy)?,
            StoreMode::Replace | StoreMode::At(0) => {
                Self::beside(root, root.target(path)?, policy)?
            }
            StoreMode::Append => {
                let target = root.target(path)?;
                match target.existing {
                    Some(_) => Self::in_place(target, policy)?,
                    None => Self::beside(root, target, policy)?,
                }
            }
            StoreMode::At(offset) => Self::at(root, root.target(path)?, offset, policy)?,
        };
        upload.reserve(announced)?;
        Ok(upload)
    }

    /// STOU: the name chosen, for the 150 (RFC 1123 §4.1.2.9) \[XFER-07\].
    #[must_use]
    pub fn chosen_name(&self) -> Option<&[u8]> {
        (self.goal == Goal::Unique).then_some(&self.name)
    }

    /// Writes all of `octets` after the last one, waiting for the disk.
    ///
    /// # Errors
    ///
    /// What the system said; [`Upload::abandon`] or drop the upload then.
    pub fn write(&mut self, mut octets: &[u8]) -> Result<(), FileError> {
        while !octets.is_empty() {
            match retry_on_intr(|| pwrite(&self.file, octets, self.end()))? {
                0 => return Err(FileError::NoSpace),
                count => {
                    self.written += count as u64;
                    octets = &octets[count..];
                }
            }
        }
        Ok(())
    }

    /// Writes what can be written without waiting and says how much that was. `None`: use
    /// [`Upload::write`] on a helper thread.
    pub fn try_write(&mut self, octets: &[u8]) -> Option<Result<usize, FileError>> {
        if !self.nowait || octets.is_empty() {
            return None;
        }
        let buffers = [IoSlice::new(octets)];
        match pwritev2(&self.file, &buffers, self.end(), ReadWriteFlags::NOWAIT) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => None,
            Ok(count) => {
                self.written += count as u64;
                Some(Ok(count))
            }
            // ext4 and others only wait: never ask again.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.nowait = false;
                None
            }
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// The clean end: makes the octets as durable as the policy promises, then gives them their
    /// name. Success is what 226 stands for \[XFER-26\].
    ///
    /// # Errors
    ///
    /// Why nothing appeared. Only when the directory could not be synchronised
    /// ([`Durability::Full`]) the file has its name already.
    pub fn finish(mut self) -> Result<(), FileError> {
        self.release_reservation()?;
        match self.policy.durability {
            Durability::None => {}
            Durability::Data => fdatasync(&self.file)?,
            Durability::Full => fsync(&self.file)?,
        }
        let in_place = self.place == Place::InPlace;
        self.publish()?;
        if self.policy.durability == Durability::Full && !in_place {
            self.sync_directory()?;
        }
        Ok(())
    }

    /// The unclean end: leaves what [`FailedUpload`] says. Nothing is kept of an upload that
    /// received nothing, and an existing file is never replaced by a part.
    pub fn abandon(mut self) {
        if self.policy.failed_upload == FailedUpload::Delete || self.written == 0 {
            return;
        }
        // Best effort: what cannot be kept is removed by Drop.
        let _ = self.release_reservation();
        match self.place {
            Place::InPlace => self.place = Place::Settled,
            Place::Unnamed | Place::Hidden(_) if self.goal != Goal::Replace => {
                let _ = self.publish_new();
            }
            Place::Unnamed | Place::Hidden(_) | Place::Settled => {}
        }
    }

    /// A temporary file in the target's directory.
    fn beside(root: &Root, target: Target, policy: StorePolicy) -> Result<Self, FileError> {
        let Target { directory, name, existing } = target;
        if existing.is_some_and(|stat| !root.identity().may_write(&stat)) {
            return Err(FileError::PermissionDenied);
        }
        let (file, place) = create_temporary(&directory)?;
        let goal = if existing.is_some() { Goal::Replace } else { Goal::Create };
        let upload = Self::new(file, directory, name, place, goal, policy);
        if let Some(stat) = existing {
            // Already now, so that a hidden name shows no more than the file it will replace.
            upload.adopt_permissions(&stat)?;
        }
        Ok(upload)
    }

    /// REST n + STOR: appends when `n` is the end, else works on a copy of the first `n` octets
    /// (RFC 3659 §5.3) \[XFER-12\].
    fn at(
        root: &Root,
        target: Target,
        offset: u64,
        policy: StorePolicy,
    ) -> Result<Self, FileError> {
        let size = target.existing.map_or(0, |stat| stat.stx_size);
        if offset > size {
            return Err(FileError::BeyondEnd);
        }
        if offset == size {
            let upload = Self::in_place(target, policy)?;
            // The size only counts once the lock is held.
            return if upload.base == offset { Ok(upload) } else { Err(FileError::Busy) };
        }
        let (source, _) = open_file_in(&target.directory, &target.name, OFlags::RDONLY)?;
        let mut upload = Self::beside(root, target, policy)?;
        copy_prefix(&source, &upload.file, offset)?;
        upload.base = offset;
        Ok(upload)
    }

    /// The file itself, locked against other appends; a second one is told [`FileError::Busy`].
    fn in_place(target: Target, policy: StorePolicy) -> Result<Self, FileError> {
        let Target { directory, name, .. } = target;
        let (file, _) = open_file_in(&directory, &name, OFlags::WRONLY | OFlags::APPEND)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = facts::stat_handle(&file, false)?;
        let named = facts::stat_name(&directory, &name)?;
        if facts::unique(&stat) != facts::unique(&named) {
            // Replaced between opening and locking: the octets would go to a file without a name.
            return Err(FileError::Busy);
        }
        let mut upload = Self::new(file, directory, name, Place::InPlace, Goal::Replace, policy);
        upload.base = stat.stx_size;
        Ok(upload)
    }

    /// STOU: reserves the first name nobody has.
    fn unique(root: &Root, path: &VirtualPath, policy: StorePolicy) -> Result<Self, FileError> {
        let (directory, wanted) = root.parent(path)?;
        for attempt in 0..2 * UNIQUE_TRIES_MAX {
            let name = match attempt {
                0 => wanted.to_vec(),
                1..UNIQUE_TRIES_MAX => with_suffix(wanted, attempt.to_string().as_bytes()),
                _ => with_suffix(wanted, &random_digits()?),
            };
            if let Some((file, hidden)) = reserve_name(&directory, &name)? {
                let place = Place::Hidden(hidden);
                return Ok(Self::new(file, directory, name, place, Goal::Unique, policy));
            }
        }
        Err(FileError::AlreadyExists)
    }

    fn new(
        file: OwnedFd,
        directory: OwnedFd,
        name: Vec<u8>,
        place: Place,
        goal: Goal,
        policy: StorePolicy,
    ) -> Self {
        Self {
            file,
            directory,
            name,
            place,
            goal,
            base: 0,
            written: 0,
            nowait: true,
            reserved: false,
            policy,
        }
    }

    /// Where the next octet goes (ignored by the kernel for in-place appends: `O_APPEND`).
    const fn end(&self) -> u64 {
        self.base + self.written
    }

    /// ALLO: blocks now rather than ENOSPC at the end; octets stay invisible past the size.
    fn reserve(&mut self, announced: Option<u64>) -> Result<(), FileError> {
        let Some(octets @ 1..) = announced else { return Ok(()) };
        let fits = self.base.checked_add(octets).is_some_and(|end| i64::try_from(end).is_ok());
        if !fits {
            return Err(FileError::TooBig);
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.base, octets) {
            Ok(()) => self.reserved = true,
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(errno.into()),
            // Not on this filesystem: the announcement was only a help.
            Err(_) => {}
        }
        Ok(())
    }

    /// Gives back what ALLO reserved and nobody wrote.
    fn release_reservation(&mut self) -> Result<(), FileError> {
        if self.reserved {
            self.reserved = false;
            if facts::stat_handle(&self.file, false)?.stx_size == self.end() {
                ftruncate(&self.file, self.end())?;
            }
        }
        Ok(())
    }

    /// Puts the complete file under its name.
    fn publish(&mut self) -> Result<(), FileError> {
        match self.goal {
            _ if self.place == Place::InPlace => {
                self.place = Place::Settled;
                Ok(())
            }
            Goal::Unique => self.publish_new(),
            Goal::Replace => self.publish_over(),
            // The name may have come to be meanwhile: STOR replaces it all the same.
            Goal::Create => match self.publish_new() {
                Err(FileError::AlreadyExists) => self.publish_over(),
                result => result,
            },
        }
    }

    /// Takes the name only if nobody has it.
    fn publish_new(&mut self) -> Result<(), FileError> {
        match &self.place {
            Place::Unnamed => link_unnamed(&self.file, &self.directory, &self.name)?,
            Place::Hidden(hidden) => rename_new(&self.directory, hidden, &self.name)?,
            Place::InPlace | Place::Settled => {}
        }
        self.place = Place::Settled;
        Ok(())
    }

    /// Takes the name from the file that has it, in one step for every reader. What is no file
    /// keeps its name.
    fn publish_over(&mut self) -> Result<(), FileError> {
        match facts::stat_name(&self.directory, &self.name) {
            Ok(stat) => {
                require_file(&stat)?;
                self.adopt_permissions(&stat)?;
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        if self.place == Place::Unnamed {
            // No system call links over an existing name: a hidden one in between.
            let hidden = loop {
                let hidden = random_name()?;
                match link_unnamed(&self.file, &self.directory, &hidden) {
                    Err(FileError::AlreadyExists) => {}
                    linked => break linked.map(|()| hidden)?,
                }
            };
            self.place = Place::Hidden(hidden);
        }
        if let Place::Hidden(hidden) = &self.place {
            renameat(&self.directory, hidden.as_slice(), &self.directory, self.name.as_slice())
                .map_err(cross_device)?;
        }
        self.place = Place::Settled;
        Ok(())
    }

    /// The replaced file's permission bits, and its owner and group as far as the process may
    /// give them. Set-user-id and set-group-id are not carried over: the content is new.
    fn adopt_permissions(&self, replaced: &Statx) -> Result<(), FileError> {
        let own = facts::stat_handle(&self.file, false)?;
        if (own.stx_uid, own.stx_gid) != (replaced.stx_uid, replaced.stx_gid) {
            let user = Uid::from_raw(replaced.stx_uid);
            let group = Gid::from_raw(replaced.stx_gid);
            // Not root: the group at least, when it is one of ours. Else the file is ours now.
            if fchown(&self.file, Some(user), Some(group)).is_err() {
                let _ = fchown(&self.file, None, Some(group));
            }
        }
        fchmod(&self.file, Mode::from_raw_mode(u32::from(replaced.stx_mode) & 0o777))?;
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&self.directory, ".", flags, Mode::empty()) {
            Ok(directory) => fsync(&directory)?,
            // A drop box (w and x without r) cannot be opened: the whole filesystem, then.
            Err(Errno::ACCESS) => syncfs(&self.file)?,
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure here.
        match &self.place {
            Place::Hidden(hidden) => {
                let _ = unlinkat(&self.directory, hidden.as_slice(), AtFlags::empty());
            }
            Place::InPlace if self.written > 0 || self.reserved => {
                let size = facts::stat_handle(&self.file, false).map(|stat| stat.stx_size);
                // Somebody who does not take our lock appended as well: theirs is not ours to cut.
                if size == Ok(self.end()) {
                    let _ = ftruncate(&self.file, self.base);
                }
            }
            Place::InPlace | Place::Unnamed | Place::Settled => {}
        }
    }
}

/// The name under which the kernel knows an open descriptor of this process.
pub(super) fn descriptor_path(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

/// An unnamed file in `directory`, or a hidden one where there are none.
fn create_temporary(directory: &OwnedFd) -> Result<(OwnedFd, Place), FileError> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(directory, ".", flags, NEW_FILE_MODE) {
        Ok(file) => return Ok((file, Place::Unnamed)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    loop {
        let hidden = random_name()?;
        match create_hidden(directory, &hidden) {
            Err(Errno::EXIST) => {}
            created => return Ok((created?, Place::Hidden(hidden))),
        }
    }
}

fn create_hidden(directory: &OwnedFd, hidden: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, hidden, flags, NEW_FILE_MODE)
}

/// Holds `name` for a STOU if nobody has it: first the reservation, then the look, so that of two
/// only one gets it. `None` when it is taken.
fn reserve_name(directory: &OwnedFd, name: &[u8]) -> Result<Option<(OwnedFd, Vec<u8>)>, FileError> {
    let hidden = reservation_of(name);
    let file = match create_hidden(directory, &hidden) {
        Err(Errno::EXIST) => return Ok(None),
        created => created?,
    };
    let taken = match facts::stat_name(directory, name) {
        Err(Errno::NOENT) => return Ok(Some((file, hidden))),
        Err(errno) => Err(errno.into()),
        Ok(_) => Ok(None),
    };
    let _ = unlinkat(directory, hidden.as_slice(), AtFlags::empty());
    taken
}

/// Gives an unnamed file a name that nobody has.
fn link_unnamed(file: &OwnedFd, directory: &OwnedFd, name: &[u8]) -> Result<(), FileError> {
    match linkat(file, "", directory, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that takes a capability; the descriptor's own link does not.
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let own = descriptor_path(file);
            linkat(CWD, own, directory, name, AtFlags::SYMLINK_FOLLOW).map_err(cross_device)
        }
        result => result.map_err(cross_device),
    }
}

/// Renames within `directory` to a name that nobody has.
fn rename_new(directory: &OwnedFd, hidden: &[u8], name: &[u8]) -> Result<(), FileError> {
    match renameat_with(directory, hidden, directory, name, RenameFlags::NOREPLACE) {
        // NFS does not know the flag, but can link, which never replaces either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(directory, hidden, directory, name, AtFlags::empty()).map_err(cross_device)?;
            unlinkat(directory, hidden, AtFlags::empty())?;
            Ok(())
        }
        result => result.map_err(cross_device),
    }
}

/// The first `count` octets of `source` into the empty file `copy`, shared blocks where the
/// filesystem can.
fn copy_prefix(source: &OwnedFd, copy: &OwnedFd, count: u64) -> Result<(), FileError> {
    let mut position = 0;
    while position < count {
        let left = usize::try_from(count - position).unwrap_or(usize::MAX);
        let (mut from, mut to) = (position, position);
        match copy_file_range(source, Some(&mut from), copy, Some(&mut to), left) {
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                return Err(errno.into());
            }
            // Not between these two, or not here at all.
            Ok(0) | Err(_) => return copy_octets(source, copy, position, count),
            Ok(copied) => position += copied as u64,
        }
    }
    Ok(())
}

fn copy_octets(
    source: &OwnedFd,
    copy: &OwnedFd,
    mut position: u64,
    count: u64,
) -> Result<(), FileError> {
    let mut buffer = vec![0; TRANSFER_BATCH_BYTES];
    while position < count {
        let wanted = usize::try_from(count - position).unwrap_or(usize::MAX).min(buffer.len());
        let read = retry_on_intr(|| pread(source, &mut buffer[..wanted], position))?;
        if read == 0 {
            // The file was cut meanwhile: what the client wants to continue is gone.
            return Err(FileError::BeyondEnd);
        }
        let mut octets = &buffer[..read];
        while !octets.is_empty() {
            let written = retry_on_intr(|| pwrite(copy, octets, position))?;
            if written == 0 {
                return Err(FileError::NoSpace);
            }
            position += written as u64;
            octets = &octets[written..];
        }
    }
    Ok(())
}

/// `name.suffix`, the name shortened between characters when the whole would be too long.
fn with_suffix(name: &[u8], suffix: &[u8]) -> Vec<u8> {
    let mut length = name.len().min(NAME_BYTES_MAX - 1 - suffix.len());
    while length < name.len() && length > 0 && name[length] & 0xC0 == 0x80 {
        length -= 1;
    }
    [&name[..length], b".", suffix].concat()
}
