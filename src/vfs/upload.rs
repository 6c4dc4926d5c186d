//! STOR, APPE and STOU: octets that appear under their name all at once, or not at all.
//!
//! A new or replaced file is written to an unnamed file (`O_TMPFILE`) in its own directory and
//! linked when complete; where the filesystem has no unnamed files, to a reserved hidden name (see
//! `temporary`) that is renamed when complete. The directory is held open from the beginning, so
//! later steps cannot be led elsewhere. Only appending at the end changes a file in place, under an
//! exclusive `flock`, and is a success only if the name is still that file's at the end. An APPE
//! whose name was free is a new file like any other; if the name is taken by its end, its octets
//! are added to the file that has it.
//!
//! Linking an unnamed file needs Linux 6.10 or `/proc`. What a crash leaves under a hidden name,
//! `leftovers` removes; what it leaves of an APPE in place stays in the file.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FlockOperation, Gid, Mode, OFlags, Statx, Uid, fchmod, fchown, fdatasync, flock,
    fsync, ftruncate, openat, renameat, syncfs, unlinkat,
};
use rustix::io::{Errno, pread, retry_on_intr};

use super::copy::Prefix;
use super::error::of_name;
use super::facts;
use super::growing::Growing;
use super::leftovers::{LeftoverRule, Swept, sweep_beginning};
use super::root::{Root, Target, open_file_in, require_file};
use super::temporary::{create_temporary, link_unnamed, random_name, rename_new};
use super::unique::{Claim, claim};
use crate::limits::TRANSFER_BATCH_BYTES;
use crate::protocol::account::StoreRights;
use crate::protocol::file::{FileError, HashAlgorithms, StoreMode};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::{Durability, FailedUpload, WriteSize};
use crate::sys::file::tell_of_failed_writes;

/// What the operator decided about uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorePolicy {
    /// What a failed upload leaves.
    pub failed_upload: FailedUpload,
    /// What 226 promises.
    pub durability: Durability,
    /// Digests to make of whole uploads and to keep with the file.
    pub hashes: HashAlgorithms,
    /// What is removed of the files that a killed server left.
    pub leftovers: LeftoverRule,
    /// How much is written at once.
    pub write_size: WriteSize,
}

/// An upload under way. Dropping it leaves nothing of it, as [`FailedUpload::Delete`] does; that
/// costs one or two system calls that may wait.
#[derive(Debug)]
pub struct Upload {
    content: Growing,
    /// What is still to be copied before the octets that come.
    prefix: Option<Prefix>,
    directory: OwnedFd,
    name: Vec<u8>,
    place: Place,
    goal: Goal,
    rights: StoreRights,
    policy: StorePolicy,
    swept: Swept,
}

/// Where the octets are, and so what is left to undo.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In a file without a name.
    Unnamed,
    /// Under this reserved name.
    Hidden(Vec<u8>),
    /// At the end of the file itself.
    AtEnd,
    /// Published or removed: nothing to undo.
    Settled,
}

/// What may become of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// There was no such name.
    Create,
    /// There is a file to be replaced, or to be added to in place.
    Replace,
    /// APPE under a name that was free: never replaces anything either.
    Add,
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
        rights: StoreRights,
        announced: Option<u64>,
        policy: StorePolicy,
    ) -> Result<Self, FileError> {
        let mut upload = match mode {
            StoreMode::Unique if !rights.create => return Err(FileError::PermissionDenied),
            StoreMode::Unique => Self::unique(root, path, policy)?,
            StoreMode::Replace | StoreMode::At(0) => {
                Self::beside(root, root.target(path)?, rights, policy)?
            }
            StoreMode::Append => {
                let target = root.target(path)?;
                if target.existing.is_some() {
                    Self::in_place(target, policy)?
                } else {
                    let rights = StoreRights { create: true, overwrite: false };
                    let mut upload = Self::beside(root, target, rights, policy)?;
                    upload.goal = Goal::Add;
                    upload
                }
            }
            StoreMode::At(offset) => Self::at(root, root.target(path)?, offset, rights, policy)?,
        };
        upload.content.reserve(announced)?;
        Ok(upload)
    }

    /// STOU: the name chosen, for the 150 (RFC 1123 §4.1.2.9) \[XFER-07\].
    #[must_use]
    pub fn chosen_name(&self) -> Option<&[u8]> {
        (self.goal == Goal::Unique).then_some(&self.name)
    }

    /// What killed servers had left beside it, and was removed.
    #[must_use]
    pub const fn swept(&self) -> Swept {
        self.swept
    }

    /// Whether [`Upload::copy_some`] has something to do.
    #[must_use]
    pub const fn is_copying(&self) -> bool {
        self.prefix.is_some()
    }

    /// Copies a piece of the octets before the restart marker, waiting for the disk.
    ///
    /// # Errors
    ///
    /// What the system said; drop the upload then.
    pub fn copy_some(&mut self) -> Result<(), FileError> {
        if let Some(prefix) = &mut self.prefix
            && prefix.step(&self.content.file)?
        {
            self.prefix = None;
        }
        Ok(())
    }

    /// Octets for which blocks are reserved: before the first write, for ALLO; 0 when nothing was
    /// announced or the filesystem cannot.
    #[must_use]
    pub const fn reserved(&self) -> u64 {
        self.content.reserved()
    }

    /// Writes all of `pieces`, in order, after the last octet, waiting for the disk.
    ///
    /// # Errors
    ///
    /// What the system said; [`Upload::abandon`] or drop the upload then.
    pub fn write(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), FileError> {
        self.content.write(pieces)
    }

    /// Writes what can be written of `pieces` without waiting and says how much that was. `None`:
    /// use [`Upload::write`] on a helper thread.
    pub fn try_write(&mut self, pieces: &[IoSlice<'_>]) -> Option<Result<usize, FileError>> {
        self.content.try_write(pieces)
    }

    /// How many octets are to be written at once.
    #[must_use]
    pub const fn write_bytes(&self) -> usize {
        self.content.write_bytes(self.policy.write_size)
    }

    /// [`Upload::finish_if`] whatever happens meanwhile.
    ///
    /// # Errors
    ///
    /// As [`Upload::finish_if`].
    pub fn finish(self) -> Result<(), FileError> {
        self.finish_if(|| true)
    }

    /// The clean end: makes the octets as durable as the policy promises, then gives them their
    /// name. Success is what 226 stands for \[XFER-26\].
    ///
    /// `commit` is called once, when all is durable and before anything gets a name; after true
    /// nothing stops the upload any more, after false it is abandoned.
    ///
    /// # Errors
    ///
    /// Why nothing appeared; [`FileError::Aborted`] after false. Only when the directory could not
    /// be synchronised ([`Durability::Full`]) the file has its name already.
    pub fn finish_if(mut self, commit: impl FnOnce() -> bool) -> Result<(), FileError> {
        while self.is_copying() {
            self.copy_some()?;
        }
        self.content.release_reservation()?;
        self.content.keep_digests();
        match self.policy.durability {
            // What is on its way to another host may be refused there yet: no room, above all.
            Durability::None if !facts::is_on_local(&self.content.file) => {
                tell_of_failed_writes(&self.content.file)?;
            }
            Durability::None => {}
            Durability::Data => fdatasync(&self.content.file)?,
            Durability::Full => fsync(&self.content.file)?,
        }
        if !commit() {
            self.abandon();
            return Err(FileError::Aborted);
        }
        let new = self.place != Place::AtEnd;
        self.publish()?;
        if self.policy.durability == Durability::Full && new {
            self.sync_directory()?;
        }
        Ok(())
    }

    /// The unclean end: leaves what [`FailedUpload`] says. Nothing is kept of an upload that
    /// received nothing, and an existing file is never replaced by a part.
    pub fn abandon(mut self) {
        if self.policy.failed_upload == FailedUpload::Delete || self.content.written() == 0 {
            return;
        }
        // Best effort: what cannot be kept is removed by Drop.
        let _ = self.content.release_reservation();
        match self.place {
            Place::AtEnd => self.place = Place::Settled,
            Place::Unnamed | Place::Hidden(_) if self.goal != Goal::Replace => {
                let _ = self.publish_new();
            }
            Place::Unnamed | Place::Hidden(_) | Place::Settled => {}
        }
    }

    /// A temporary file in the target's directory.
    fn beside(
        root: &Root,
        target: Target,
        rights: StoreRights,
        policy: StorePolicy,
    ) -> Result<Self, FileError> {
        let Target { directory, name, existing } = target;
        match existing {
            Some(_) if !rights.overwrite => return Err(FileError::AlreadyExists),
            None if !rights.create => return Err(FileError::PermissionDenied),
            Some(_) | None => {}
        }
        if existing.is_some_and(|stat| !root.credentials().may_write(&stat)) {
            return Err(FileError::PermissionDenied);
        }
        let (file, hidden) = create_temporary(&directory, policy.leftovers.boot)?;
        let swept = match hidden {
            // Where there are hidden files, there are leftovers.
            Some(_) => sweep_beginning(&directory, policy.leftovers),
            None => Swept::default(),
        };
        let place = hidden.map_or(Place::Unnamed, Place::Hidden);
        let goal = if existing.is_some() { Goal::Replace } else { Goal::Create };
        let mut upload = Self::new(file, directory, name, place, goal, policy);
        upload.rights = rights;
        upload.swept = swept;
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
        rights: StoreRights,
        policy: StorePolicy,
    ) -> Result<Self, FileError> {
        let size = target.existing.map_or(0, |stat| stat.stx_size);
        if offset > size {
            return Err(FileError::BeyondEnd);
        }
        if offset == size {
            let upload = Self::in_place(target, policy)?;
            // The size only counts once the lock is held.
            return if upload.content.base() == offset { Ok(upload) } else { Err(FileError::Busy) };
        }
        if !rights.overwrite {
            return Err(FileError::PermissionDenied);
        }
        let (source, _) = open_file_in(&target.directory, &target.name, OFlags::RDONLY)?;
        let mut upload = Self::beside(root, target, rights, policy)?;
        upload.prefix = Some(Prefix::new(source, offset));
        upload.content.begin_at(offset);
        Ok(upload)
    }

    /// The file itself, locked against other appends; a second one gets [`FileError::Busy`].
    fn in_place(target: Target, policy: StorePolicy) -> Result<Self, FileError> {
        let Target { directory, name, .. } = target;
        let (file, _) = open_file_in(&directory, &name, OFlags::WRONLY | OFlags::APPEND)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = facts::stat_handle(&file, false)?;
        if !has_name(&stat, &directory, &name) {
            // Replaced between opening and locking: the octets would go to a file without a name.
            return Err(FileError::Busy);
        }
        if stat.stx_mode & 0o6000 != 0 {
            // A write of anybody but root takes these bits away; root's is to do no less.
            fchmod(&file, Mode::from_raw_mode(u32::from(stat.stx_mode) & 0o777))?;
        }
        let mut upload = Self::new(file, directory, name, Place::AtEnd, Goal::Replace, policy);
        upload.content.begin_at(stat.stx_size);
        Ok(upload)
    }

    fn unique(root: &Root, path: &VirtualPath, policy: StorePolicy) -> Result<Self, FileError> {
        let (directory, wanted) = root.parent(path)?;
        let Claim { file, name, hidden, swept } = claim(&directory, wanted, policy.leftovers)?;
        let place = Place::Hidden(hidden);
        let mut upload = Self::new(file, directory, name, place, Goal::Unique, policy);
        upload.swept = swept;
        Ok(upload)
    }

    fn new(
        file: OwnedFd,
        directory: OwnedFd,
        name: Vec<u8>,
        place: Place,
        goal: Goal,
        policy: StorePolicy,
    ) -> Self {
        let content = Growing::new(file, policy.hashes, policy.durability != Durability::None);
        let rights = StoreRights { create: true, overwrite: false };
        let swept = Swept::default();
        Self { content, prefix: None, directory, name, place, goal, rights, policy, swept }
    }

    /// Puts the complete file under its name.
    fn publish(&mut self) -> Result<(), FileError> {
        match self.goal {
            _ if self.place == Place::AtEnd => {
                let stat = facts::stat_handle(&self.content.file, false)?;
                if !has_name(&stat, &self.directory, &self.name) {
                    // The file lost its name before it had these octets. Drop removes them, so that
                    // the client's next try does not store them twice.
                    return Err(FileError::Busy);
                }
                self.place = Place::Settled;
                Ok(())
            }
            Goal::Unique => self.publish_new(),
            Goal::Replace => self.publish_over(),
            Goal::Add => self.publish_or_add(),
            // The name may have been taken meanwhile: with the right to overwrite, the file is
            // replaced all the same; also on a filesystem that cannot take a name only if it is
            // free.
            Goal::Create => match self.publish_new() {
                Err(
                    FileError::AlreadyExists | FileError::Unsupported | FileError::PermissionDenied,
                ) if self.rights.overwrite => self.publish_over(),
                result => result,
            },
        }
    }

    /// Takes the name, or adds the octets to the file that has it by now.
    fn publish_or_add(&mut self) -> Result<(), FileError> {
        for _ in 0..NAME_TRIES_MAX {
            match self.publish_new() {
                Err(FileError::AlreadyExists) => {}
                result => return result,
            }
            match self.add_to_existing() {
                // Gone again.
                Err(FileError::NotFound) => {}
                result => return result,
            }
        }
        Err(FileError::Busy)
    }

    /// What came is kept until all of it is at the end of the other file.
    fn add_to_existing(&self) -> Result<(), FileError> {
        let directory = self.directory.try_clone().map_err(|_| FileError::Overloaded)?;
        let target = Target { directory, name: self.name.clone(), existing: None };
        let mut there = Self::in_place(target, self.policy)?;
        let mut piece = vec![0; TRANSFER_BATCH_BYTES];
        let mut position = 0;
        loop {
            match retry_on_intr(|| pread(&self.content.file, &mut piece[..], position))? {
                0 => return there.finish(),
                count => {
                    there.write(&mut [IoSlice::new(&piece[..count])])?;
                    position += count as u64;
                }
            }
        }
    }

    /// Takes the name only if it is free.
    fn publish_new(&mut self) -> Result<(), FileError> {
        match &self.place {
            Place::Unnamed => link_unnamed(&self.content.file, &self.directory, &self.name)?,
            Place::Hidden(hidden) => rename_new(&self.directory, hidden, &self.name)?,
            Place::AtEnd | Place::Settled => {}
        }
        self.settle();
        Ok(())
    }

    /// The file has its name; the next append need not wait for this handle to be closed.
    fn settle(&mut self) {
        let _ = flock(&self.content.file, FlockOperation::Unlock);
        self.place = Place::Settled;
    }

    /// Takes the name from the file that has it, in one step for every reader. What is no file
    /// keeps its name.
    fn publish_over(&mut self) -> Result<(), FileError> {
        match facts::stat_name(&self.directory, &self.name) {
            Ok(stat) => {
                require_file(&stat)?;
                self.adopt_permissions(&stat)?;
            }
            Err(Errno::NOENT) if self.rights.create => {}
            Err(errno) => return Err(errno.into()),
        }
        if self.place == Place::Unnamed {
            // As any hidden name's: a living owner.
            let _ = flock(&self.content.file, FlockOperation::NonBlockingLockExclusive);
            // No system call links over an existing name: a hidden one in between.
            let hidden = loop {
                let hidden = random_name(self.policy.leftovers.boot)?;
                match link_unnamed(&self.content.file, &self.directory, &hidden) {
                    Err(FileError::AlreadyExists) => {}
                    linked => break linked.map(|()| hidden)?,
                }
            };
            self.place = Place::Hidden(hidden);
        }
        if let Place::Hidden(hidden) = &self.place {
            renameat(&self.directory, hidden.as_slice(), &self.directory, self.name.as_slice())
                .map_err(|errno| of_name(errno, &self.directory, &self.name))?;
        }
        self.settle();
        Ok(())
    }

    /// The replaced file's permission bits, and its owner and group as far as the process may
    /// give them. Set-user-id and set-group-id are not carried over: the content is new.
    fn adopt_permissions(&self, replaced: &Statx) -> Result<(), FileError> {
        let own = facts::stat_handle(&self.content.file, false)?;
        if (own.stx_uid, own.stx_gid) != (replaced.stx_uid, replaced.stx_gid) {
            let user = Uid::from_raw(replaced.stx_uid);
            let group = Gid::from_raw(replaced.stx_gid);
            // Not root: the group at least, when it is one of ours. Else the file is ours now.
            if fchown(&self.content.file, Some(user), Some(group)).is_err() {
                let _ = fchown(&self.content.file, None, Some(group));
            }
        }
        fchmod(&self.content.file, Mode::from_raw_mode(u32::from(replaced.stx_mode) & 0o777))?;
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(&self.directory, ".", flags, Mode::empty()) {
            Ok(directory) => fsync(&directory)?,
            // A drop box (w and x without r) cannot be opened: the whole filesystem, then.
            Err(Errno::ACCESS) => syncfs(&self.content.file)?,
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // There is nowhere to report a failure here.
        match &self.place {
            Place::Hidden(hidden) => {
                let _ = unlinkat(&self.directory, hidden.as_slice(), AtFlags::empty());
            }
            Place::AtEnd if self.content.written() > 0 || self.content.reserved() > 0 => {
                let size = facts::stat_handle(&self.content.file, false).map(|stat| stat.stx_size);
                // A process that does not take the lock appended as well: its octets must not be
                // cut.
                if size == Ok(self.content.end()) {
                    let _ = ftruncate(&self.content.file, self.content.base());
                }
            }
            Place::AtEnd | Place::Unnamed | Place::Settled => {}
        }
    }
}

/// Whether `name` is a name of this file.
fn has_name(file: &Statx, directory: &OwnedFd, name: &[u8]) -> bool {
    let named = facts::stat_name(directory, name);
    named.is_ok_and(|named| facts::unique(&named) == facts::unique(file))
}

/// How often an APPE tries to take a name or add to it while others make and remove it.
const NAME_TRIES_MAX: usize = 16;

#[cfg(test)]
mod tests;
