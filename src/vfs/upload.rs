//! STOR, APPE and STOU: octets that appear under their name all at once, or not at all.
//!
//! A new or replaced file is written to an unnamed file (`O_TMPFILE`) in its own directory and
//! linked when complete; where the filesystem has no unnamed files, to a reserved hidden name (see
//! `temporary`) that is renamed when complete. The directory is held open from the beginning, so
//! later steps cannot be led elsewhere. Only appending at the end changes a file in place, under
//! an exclusive `flock`.
//!
//! Linking an unnamed file needs Linux 6.10 or `/proc`.

use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, FlockOperation, Gid, Mode, OFlags, Statx, Uid, fchmod, fchown, fdatasync, flock,
    fsync, ftruncate, openat, renameat, syncfs, unlinkat,
};
use rustix::io::Errno;

use super::copy::Prefix;
use super::error::cross_device;
use super::facts;
use super::growing::Growing;
use super::root::{Root, Target, open_file_in, require_file};
use super::temporary::{create_temporary, link_unnamed, random_name, rename_new};
use super::unique::{Claim, claim};
use crate::protocol::file::{FileError, HashAlgorithms, StoreMode};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::{Durability, FailedUpload};

/// What the operator decided about uploads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorePolicy {
    /// What a failed upload leaves.
    pub failed_upload: FailedUpload,
    /// What 226 promises.
    pub durability: Durability,
    /// Digests to make of whole uploads and to keep with the file.
    pub hashes: HashAlgorithms,
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
    AtEnd,
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
        upload.content.reserve(announced)?;
        Ok(upload)
    }

    /// STOU: the name chosen, for the 150 (RFC 1123 §4.1.2.9) \[XFER-07\].
    #[must_use]
    pub fn chosen_name(&self) -> Option<&[u8]> {
        (self.goal == Goal::Unique).then_some(&self.name)
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

    /// Octets for which ALLO reserved blocks; 0 when nothing was announced or the filesystem
    /// cannot.
    #[must_use]
    pub const fn reserved(&self) -> u64 {
        self.content.reserved()
    }

    /// Writes all of `octets` after the last one, waiting for the disk.
    ///
    /// # Errors
    ///
    /// What the system said; [`Upload::abandon`] or drop the upload then.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), FileError> {
        self.content.write(octets)
    }

    /// Writes what can be written without waiting and says how much that was. `None`: use
    /// [`Upload::write`] on a helper thread.
    pub fn try_write(&mut self, octets: &[u8]) -> Option<Result<usize, FileError>> {
        self.content.try_write(octets)
    }

    /// The clean end: makes the octets as durable as the policy promises, then gives them their
    /// name. Success is what 226 stands for \[XFER-26\].
    ///
    /// # Errors
    ///
    /// Why nothing appeared. Only when the directory could not be synchronised
    /// ([`Durability::Full`]) the file has its name already.
    pub fn finish(mut self) -> Result<(), FileError> {
        while self.is_copying() {
            self.copy_some()?;
        }
        self.content.release_reservation()?;
        self.content.keep_digests();
        match self.policy.durability {
            Durability::None => {}
            Durability::Data => fdatasync(&self.content.file)?,
            Durability::Full => fsync(&self.content.file)?,
        }
        let in_place = self.place == Place::AtEnd;
        self.publish()?;
        if self.policy.durability == Durability::Full && !in_place {
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
    fn beside(root: &Root, target: Target, policy: StorePolicy) -> Result<Self, FileError> {
        let Target { directory, name, existing } = target;
        if existing.is_some_and(|stat| !root.identity().may_write(&stat)) {
            return Err(FileError::PermissionDenied);
        }
        let (file, hidden) = create_temporary(&directory)?;
        let place = hidden.map_or(Place::Unnamed, Place::Hidden);
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
            return if upload.content.base() == offset { Ok(upload) } else { Err(FileError::Busy) };
        }
        let (source, _) = open_file_in(&target.directory, &target.name, OFlags::RDONLY)?;
        let mut upload = Self::beside(root, target, policy)?;
        upload.prefix = Some(Prefix::new(source, offset));
        upload.content.begin_at(offset);
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
        let mut upload = Self::new(file, directory, name, Place::AtEnd, Goal::Replace, policy);
        upload.content.begin_at(stat.stx_size);
        Ok(upload)
    }

    fn unique(root: &Root, path: &VirtualPath, policy: StorePolicy) -> Result<Self, FileError> {
        let (directory, wanted) = root.parent(path)?;
        let Claim { file, name, hidden } = claim(&directory, wanted)?;
        Ok(Self::new(file, directory, name, Place::Hidden(hidden), Goal::Unique, policy))
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
        Self { content, prefix: None, directory, name, place, goal, policy }
    }

    /// Puts the complete file under its name.
    fn publish(&mut self) -> Result<(), FileError> {
        match self.goal {
            _ if self.place == Place::AtEnd => {
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
            Place::Unnamed => link_unnamed(&self.content.file, &self.directory, &self.name)?,
            Place::Hidden(hidden) => rename_new(&self.directory, hidden, &self.name)?,
            Place::AtEnd | Place::Settled => {}
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
                match link_unnamed(&self.content.file, &self.directory, &hidden) {
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
        // Nobody is left to be told of a failure here.
        match &self.place {
            Place::Hidden(hidden) => {
                let _ = unlinkat(&self.directory, hidden.as_slice(), AtFlags::empty());
            }
            Place::AtEnd if self.content.written() > 0 || self.content.reserved() > 0 => {
                let size = facts::stat_handle(&self.content.file, false).map(|stat| stat.stx_size);
                // Somebody who does not take our lock appended as well: theirs is not ours to cut.
                if size == Ok(self.content.end()) {
                    let _ = ftruncate(&self.content.file, self.content.base());
                }
            }
            Place::AtEnd | Place::Unnamed | Place::Settled => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::limits::COPY_PIECE_BYTES;
    use crate::protocol::file::{FileRequest, HashAlgorithm, TransferRequest};
    use crate::vfs::temporary::create_hidden;
    use crate::vfs::testing::{Home, SetOnDrop, path};
    use crate::vfs::{Transfer, perform};

    const DELETE: StorePolicy = StorePolicy {
        failed_upload: FailedUpload::Delete,
        durability: Durability::None,
        hashes: HashAlgorithms::NONE,
    };
    const KEEP: StorePolicy = StorePolicy { failed_upload: FailedUpload::Keep, ..DELETE };

    fn open(
        home: &Home,
        name: &[u8],
        mode: StoreMode,
        policy: &StorePolicy,
    ) -> Result<Upload, FileError> {
        let request =
            TransferRequest::Store { path: path(name), mode, ascii: false, announced: None };
        match crate::vfs::open(&home.root, &request, policy)? {
            (Transfer::Write(upload), opened) => {
                assert_eq!(opened.name.as_deref(), upload.chosen_name());
                Ok(upload)
            }
            other => panic!("{other:?}"),
        }
    }

    fn stored(home: &Home, name: &[u8], mode: StoreMode, octets: &[u8]) -> Result<(), FileError> {
        let mut upload = open(home, name, mode, &DELETE)?;
        upload.write(octets)?;
        upload.finish()
    }

    #[test]
    fn octets_appear_at_once_and_only_at_the_end() {
        for durability in [Durability::None, Durability::Data, Durability::Full] {
            let home = Home::new();
            home.put("old", b"old");
            let policy = StorePolicy { durability, ..DELETE };
            for (name, before) in [("new", None), ("old", Some(&b"old"[..]))] {
                let mut upload = open(&home, name.as_bytes(), StoreMode::Replace, &policy).unwrap();
                upload.write(b"first ").unwrap();
                assert_eq!(home.get(name).as_deref(), before);
                upload.write(b"second").unwrap();
                upload.finish().unwrap();
                assert_eq!(home.get(name).unwrap(), b"first second");
            }
            assert_eq!(home.names(), ["new", "old"]);
        }
    }

    /// A reader that opens the name again and again sees one whole version or the other.
    #[test]
    fn a_reader_never_sees_a_part() {
        let home = Home::new();
        home.put("f", &[b'0'; 100_000]);
        let file = home.on_disk("f");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let ended = SetOnDrop(&done);
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    let octets = std::fs::read(&file).unwrap();
                    assert_eq!(octets.len(), 100_000);
                    assert!(octets.iter().all(|octet| *octet == octets[0]));
                    reads += 1;
                }
                reads
            });
            for round in 1..200_u8 {
                let mut upload = open(&home, b"f", StoreMode::Replace, &DELETE).unwrap();
                for _ in 0..10 {
                    upload.write(&[round; 10_000]).unwrap();
                }
                upload.finish().unwrap();
            }
            drop(ended);
            assert!(reader.join().unwrap() > 0);
        });
    }

    #[test]
    fn nothing_is_left_of_what_did_not_end_cleanly() {
        let home = Home::new();
        home.put("old", b"old");
        for mode in [StoreMode::Replace, StoreMode::At(1), StoreMode::Append, StoreMode::Unique] {
            for end in [drop, Upload::abandon] {
                let mut upload = open(&home, b"old", mode, &DELETE).unwrap();
                upload.write(b"part").unwrap();
                end(upload);
                assert_eq!(home.names(), ["old"], "{mode:?}");
                assert_eq!(home.get("old").unwrap(), b"old", "{mode:?}");
            }
        }
        // Dropped under `keep`: the session is lost, nobody decided to keep anything.
        let mut upload = open(&home, b"new", StoreMode::Replace, &KEEP).unwrap();
        upload.write(b"part").unwrap();
        drop(upload);
        assert_eq!(home.names(), ["old"]);
    }

    #[test]
    fn keep_publishes_a_part_only_under_a_free_name() {
        #[track_caller]
        fn check(name: &str, mode: StoreMode, octets: &[u8], expected: &[(&str, &[u8])]) {
            let home = Home::new();
            home.put("old", b"old");
            let mut upload = open(&home, name.as_bytes(), mode, &KEEP).unwrap();
            upload.write(octets).unwrap();
            upload.abandon();
            let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
            assert_eq!(home.names(), names);
            for (name, content) in expected {
                assert_eq!(home.get(name).unwrap(), *content);
            }
        }
        check("new", StoreMode::Replace, b"part", &[("new", b"part"), ("old", b"old")]);
        check("new", StoreMode::Append, b"part", &[("new", b"part"), ("old", b"old")]);
        check("old", StoreMode::Replace, b"part", &[("old", b"old")]);
        check("old", StoreMode::At(1), b"part", &[("old", b"old")]);
        check("old", StoreMode::At(3), b"part", &[("old", b"oldpart")]);
        check("old", StoreMode::Append, b"part", &[("old", b"oldpart")]);
        check("old", StoreMode::Unique, b"part", &[("old", b"old"), ("old.1", b"part")]);
        check("new", StoreMode::Replace, b"", &[("old", b"old")]);
    }

    #[test]
    fn restart_markers() {
        #[track_caller]
        fn check(mode: StoreMode, expected: Result<&[u8], FileError>) {
            let home = Home::new();
            home.put("f", b"0123456789");
            let result = stored(&home, b"f", mode, b"ab");
            assert_eq!(result, expected.map(|_| ()), "{mode:?}");
            assert_eq!(home.get("f").unwrap(), expected.unwrap_or(b"0123456789"), "{mode:?}");
            assert_eq!(home.names(), ["f"]);
        }
        check(StoreMode::At(0), Ok(b"ab"));
        check(StoreMode::At(1), Ok(b"0ab"));
        check(StoreMode::At(9), Ok(b"012345678ab"));
        check(StoreMode::At(10), Ok(b"0123456789ab"));
        check(StoreMode::Append, Ok(b"0123456789ab"));
        check(StoreMode::At(11), Err(FileError::BeyondEnd));
        check(StoreMode::At(u64::MAX), Err(FileError::BeyondEnd));
        let home = Home::new();
        assert_eq!(stored(&home, b"new", StoreMode::At(1), b""), Err(FileError::BeyondEnd));
        assert_eq!(stored(&home, b"new", StoreMode::Append, b"x"), Ok(()));
        assert_eq!(home.get("new").unwrap(), b"x");
    }

    /// What lies before the marker is copied a piece a call; who gives up in between changes
    /// nothing, and who ends early gets all of it, not a hole.
    #[test]
    fn what_a_marker_keeps_is_copied_in_pieces() {
        let pieces = 3;
        let piece = usize::try_from(COPY_PIECE_BYTES).unwrap();
        let old = [b'0'].repeat(pieces * piece);
        let marker = COPY_PIECE_BYTES * 2 + 1;
        let home = Home::new();
        home.put("f", &old);
        let mut upload = open(&home, b"f", StoreMode::At(marker), &DELETE).unwrap();
        for _ in 0..pieces {
            assert!(upload.is_copying());
            upload.copy_some().unwrap();
        }
        assert!(!upload.is_copying());
        drop(upload);
        let mut upload = open(&home, b"f", StoreMode::At(marker), &KEEP).unwrap();
        upload.copy_some().unwrap();
        upload.write(b"1").unwrap();
        upload.abandon();
        assert!(home.get("f").unwrap() == old);
        let mut upload = open(&home, b"f", StoreMode::At(marker), &DELETE).unwrap();
        upload.write(b"1").unwrap();
        upload.finish().unwrap();
        let new = home.get("f").unwrap();
        assert!(new == [&old[..2 * piece + 1], b"1"].concat(), "{} octets", new.len());
    }

    #[test]
    fn appends_exclude_each_other() {
        let home = Home::new();
        home.put("f", b"0");
        let mut first = open(&home, b"f", StoreMode::Append, &DELETE).unwrap();
        let refused = Some(FileError::Busy);
        assert_eq!(open(&home, b"f", StoreMode::Append, &DELETE).err(), refused);
        assert_eq!(open(&home, b"f", StoreMode::At(1), &DELETE).err(), refused);
        first.write(b"1").unwrap();
        first.finish().unwrap();
        stored(&home, b"f", StoreMode::Append, b"2").unwrap();
        assert_eq!(home.get("f").unwrap(), b"012");
    }

    #[test]
    fn a_failed_append_takes_back_only_its_own() {
        let home = Home::new();
        home.put("f", b"0");
        let mut upload = open(&home, b"f", StoreMode::Append, &DELETE).unwrap();
        upload.write(b"1").unwrap();
        home.append("f", b"theirs");
        upload.abandon();
        assert_eq!(home.get("f").unwrap(), b"01theirs");
    }

    #[test]
    fn unique_names() {
        let home = Home::new();
        home.put("f", b"");
        let first = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
        let second = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
        assert_eq!(first.chosen_name(), Some(&b"f.1"[..]));
        assert_eq!(second.chosen_name(), Some(&b"f.2"[..]));
        // Somebody else takes the announced name: the upload fails, their file stays.
        home.put("f.2", b"theirs");
        assert_eq!(second.finish(), Err(FileError::AlreadyExists));
        first.finish().unwrap();
        assert_eq!(home.names(), ["f", "f.1", "f.2"]);
        assert_eq!(home.get("f.2").unwrap(), b"theirs");
        let third = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
        assert_eq!(third.chosen_name(), Some(&b"f.3"[..]));
    }

    #[test]
    fn unique_names_of_many_threads_differ() {
        let home = Home::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        stored(&home, b"f", StoreMode::Unique, b"x").unwrap();
                    }
                });
            }
        });
        assert_eq!(home.names().len(), 80);
    }

    #[test]
    fn only_files_are_replaced() {
        let home = Home::new();
        std::fs::create_dir(home.on_disk("d")).unwrap();
        home.fifo("fifo");
        for mode in [StoreMode::Replace, StoreMode::Append, StoreMode::At(1)] {
            assert_eq!(open(&home, b"d", mode, &DELETE).err(), Some(FileError::IsADirectory));
            assert_eq!(open(&home, b"fifo", mode, &DELETE).err(), Some(FileError::NotAFile));
            assert_eq!(open(&home, b"/", mode, &DELETE).err(), Some(FileError::IsADirectory));
            assert_eq!(open(&home, b"no/f", mode, &DELETE).err(), Some(FileError::NotFound));
        }
        // What takes the name meanwhile and is no file keeps it.
        let upload = |name: &[u8]| open(&home, name, StoreMode::Replace, &DELETE).unwrap();
        let (directory, fifo, link) = (upload(b"late-d"), upload(b"late-f"), upload(b"late-l"));
        std::fs::create_dir(home.on_disk("late-d")).unwrap();
        home.fifo("late-f");
        home.link("d", "late-l");
        assert_eq!(directory.finish(), Err(FileError::IsADirectory));
        assert_eq!(fifo.finish(), Err(FileError::NotAFile));
        assert_eq!(link.finish(), Err(FileError::NotAFile));
        assert_eq!(home.names(), ["d", "fifo", "late-d", "late-f", "late-l"]);
    }

    #[test]
    fn a_replaced_file_keeps_its_permission_bits() {
        use std::os::unix::fs::PermissionsExt;
        let home = Home::new();
        home.put("f", b"old");
        let bits = std::fs::Permissions::from_mode(0o4640);
        std::fs::set_permissions(home.on_disk("f"), bits).unwrap();
        stored(&home, b"f", StoreMode::Replace, b"new").unwrap();
        let mode = std::fs::metadata(home.on_disk("f")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o640);
    }

    #[test]
    fn links_inside_the_root_are_written_through() {
        let home = Home::new();
        std::fs::create_dir(home.on_disk("d")).unwrap();
        home.put("d/target", b"old");
        home.link("d/target", "direct");
        home.link("../direct", "d/indirect");
        home.link("nowhere", "dangling");
        home.link("loop", "loop");
        home.link("d/", "to_directory");
        for mode in [StoreMode::Replace, StoreMode::Append, StoreMode::At(1)] {
            stored(&home, b"d/indirect", mode, b"new").unwrap();
            assert!(std::fs::symlink_metadata(home.on_disk("d/indirect")).unwrap().is_symlink());
            assert!(std::fs::symlink_metadata(home.on_disk("direct")).unwrap().is_symlink());
            assert!(home.get("d/target").unwrap().ends_with(b"new"));
        }
        let refusal = |name: &[u8]| open(&home, name, StoreMode::Replace, &DELETE).err();
        assert_eq!(refusal(b"dangling"), Some(FileError::NotFound));
        assert_eq!(refusal(b"loop"), Some(FileError::Loop));
        assert_eq!(refusal(b"to_directory"), Some(FileError::IsADirectory));
    }

    #[test]
    fn without_unnamed_files_a_hidden_one_does_the_same() {
        let home = Home::new();
        home.put("old", b"old");
        let hidden = |name: &[u8]| {
            let mut upload = open(&home, name, StoreMode::Replace, &DELETE).unwrap();
            let temporary = random_name().unwrap();
            upload.content.file = create_hidden(&upload.directory, &temporary).unwrap();
            upload.place = Place::Hidden(temporary);
            upload
        };
        let mut upload = hidden(b"old");
        upload.write(b"new").unwrap();
        assert_eq!(home.listed(), ["old"]);
        assert_eq!(home.names().len(), 2);
        upload.finish().unwrap();
        assert_eq!(home.get("old").unwrap(), b"new");
        hidden(b"fresh").finish().unwrap();
        drop(hidden(b"dropped"));
        assert_eq!(home.names(), ["fresh", "old"]);
    }

    #[test]
    fn temporary_names_are_not_for_clients() {
        let home = Home::new();
        let upload = open(&home, b"f", StoreMode::Unique, &DELETE).unwrap();
        let temporary = home.names().remove(0);
        assert!(home.listed().is_empty());
        let refused = Err(FileError::PermissionDenied);
        let path = path(temporary.as_bytes());
        assert_eq!(perform(&home.root, &FileRequest::Metadata(path.clone())), refused);
        assert_eq!(perform(&home.root, &FileRequest::Delete(path.clone())), refused);
        home.put("g", b"");
        let rename = FileRequest::Rename { from: crate::vfs::testing::path(b"g"), to: path };
        assert_eq!(perform(&home.root, &rename), refused);
        let stored = open(&home, temporary.as_bytes(), StoreMode::Replace, &DELETE);
        assert_eq!(stored.err(), Some(FileError::PermissionDenied));
        drop(upload);
        assert_eq!(home.names(), ["g"]);
    }

    #[test]
    fn announced_octets_are_reserved_and_given_back() {
        use std::os::unix::fs::MetadataExt;
        let home = Home::new();
        let announce = |octets| {
            let request = TransferRequest::Store {
                path: path(b"f"),
                mode: StoreMode::Replace,
                ascii: false,
                announced: Some(octets),
            };
            match crate::vfs::open(&home.root, &request, &DELETE) {
                Ok((Transfer::Write(upload), _)) => Ok(upload),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error),
            }
        };
        let mut upload = announce(8 << 20).unwrap();
        upload.write(b"little").unwrap();
        upload.finish().unwrap();
        let stat = std::fs::metadata(home.on_disk("f")).unwrap();
        assert_eq!(stat.len(), 6);
        assert!(stat.blocks() * 512 < 1 << 20, "{} blocks kept", stat.blocks());
        assert_eq!(announce(u64::MAX).err(), Some(FileError::TooBig));
        // 8 EiB less one: more than any disk, where the filesystem reserves at all.
        if let Err(refusal) = announce(i64::MAX.unsigned_abs()) {
            assert!(matches!(refusal, FileError::NoSpace | FileError::TooBig), "{refusal:?}");
        }
        assert_eq!(home.names(), ["f"]);
    }

    #[test]
    fn non_blocking_writes_keep_the_order() {
        let home = Home::new();
        let mut upload = open(&home, b"f", StoreMode::Replace, &DELETE).unwrap();
        let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut rest = content.as_slice();
        while !rest.is_empty() {
            let piece = &rest[..rest.len().min(7_001)];
            let count = match upload.try_write(piece) {
                Some(count) => count.unwrap(),
                None => upload.write(piece).map(|()| piece.len()).unwrap(),
            };
            rest = &rest[count..];
        }
        upload.finish().unwrap();
        assert_eq!(home.get("f").unwrap(), content);
    }

    /// A resumed upload gets no digest, so it need not leave the shard's thread for one.
    #[test]
    fn only_what_is_digested_waits_for_a_helper_thread() {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
            return println!("skipped: no /dev/shm here");
        };
        let root = Root::open(directory.path()).unwrap();
        let hashes = [HashAlgorithm::Crc32].into_iter().collect();
        let policy = StorePolicy { hashes, ..DELETE };
        for (mode, expected) in [
            (StoreMode::Replace, None),
            (StoreMode::At(2), Some(Ok(3))),
            (StoreMode::At(1), Some(Ok(3))),
            (StoreMode::Append, Some(Ok(3))),
        ] {
            std::fs::write(directory.path().join("f"), "01").unwrap();
            let mut upload = Upload::open(&root, &path(b"f"), mode, None, policy).unwrap();
            assert_eq!(upload.try_write(b"abc"), expected, "{mode:?}");
        }
    }
}
