//! The content of an upload while it is written: with and without waiting, space reserved ahead,
//! early writing to the disk, digests. Names, and what becomes of the file, are decided in
//! `upload`.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::fs::{FallocateFlags, StatVfs, fallocate, fstatvfs, ftruncate};
use rustix::io::{Errno, ReadWriteFlags, pwritev, pwritev2, retry_on_intr};

use super::facts::Filesystem;
use super::hash::Digesting;
use super::{facts, kept_digests};
use crate::limits::{
    RESERVE_AHEAD_BYTES_MIN, RESERVE_AHEAD_FROM_BYTES, RESERVE_BYTES_MAX, TRANSFER_BATCH_BYTES,
    WRITE_TOGETHER_BYTES,
};
use crate::protocol::file::{FileError, HashAlgorithms};
use crate::protocol::policy::WriteSize;
use crate::sys::file::start_writeback;

/// A file that is written from `base` on.
#[derive(Debug)]
pub(super) struct Growing {
    pub(super) file: OwnedFd,
    /// Octets of the file that were there before the first one written.
    base: u64,
    /// Octets written since.
    written: u64,
    waits: Waits,
    /// Digests of all octets so far; none when the file begins with octets that were not written
    /// here.
    digesting: Digesting,
    /// Whether the end will wait for the disk.
    durable: bool,
    /// Octets written that the kernel has been told to bring to the disk.
    writeback: u64,
    /// Octets for which blocks have been reserved, and those that were announced (ALLO).
    reserved: u64,
    announced: u64,
    /// Whether blocks are reserved although nothing was announced. Those that a crash leaves behind
    /// the end of an APPE in place stay there until the file is written further or truncated.
    reserves_ahead: bool,
}

/// When a write waits for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The file is memory: tmpfs, which does not know `RWF_NOWAIT`.
    Never,
    /// Not if asked not to (`RWF_NOWAIT`: XFS, btrfs).
    Told,
    /// The filesystem cannot promise (ext4, NFS, FUSE).
    Always,
}

impl Growing {
    /// An empty file; `hashes` are made of what is written, `durable` says that the end will wait
    /// for the disk.
    pub(super) fn new(file: OwnedFd, hashes: HashAlgorithms, durable: bool) -> Self {
        let digesting = Digesting::new(hashes);
        let filesystem = Filesystem::of(&file);
        let waits = if filesystem == Filesystem::Tmpfs { Waits::Never } else { Waits::Told };
        let (reserved, announced) = (0, 0);
        let (base, written, writeback) = (0, 0, 0);
        let reserves_ahead = filesystem == Filesystem::Ext4;
        Self {
            file,
            base,
            written,
            waits,
            digesting,
            durable,
            writeback,
            reserved,
            announced,
            reserves_ahead,
        }
    }

    /// The file has `base` octets already; of the whole there will be no digest.
    pub(super) fn begin_at(&mut self, base: u64) {
        self.base = base;
        self.digesting = Digesting::new(HashAlgorithms::NONE);
    }

    /// Octets that were there before the first one written.
    pub(super) const fn base(&self) -> u64 {
        self.base
    }

    /// Octets written.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Octets for which blocks are reserved, written or not; 0 when none are.
    pub(super) const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Writes all of `pieces`, in order, after the last octet, waiting for the disk.
    pub(super) fn write(&mut self, mut pieces: &mut [IoSlice<'_>]) -> Result<(), FileError> {
        let mut left = 0;
        for piece in &*pieces {
            self.digesting.update(piece);
            left += piece.len();
        }
        self.renew_reservation(left as u64);
        while left > 0 {
            match retry_on_intr(|| pwritev(&self.file, pieces, self.end()))? {
                0 => return Err(FileError::NoSpace),
                count => {
                    self.written += count as u64;
                    left -= count;
                    IoSlice::advance_slices(&mut pieces, count);
                }
            }
        }
        self.start_writeback();
        Ok(())
    }

    /// Writes what can be written of `pieces` without waiting and says how much that was. `None`:
    /// use [`Growing::write`] on a helper thread.
    pub(super) fn try_write(&mut self, pieces: &[IoSlice<'_>]) -> Option<Result<usize, FileError>> {
        let octets: usize = pieces.iter().map(|piece| piece.len()).sum();
        // A digest takes longer than the write: both belong on a helper thread.
        if octets == 0 || !self.digesting.is_empty() || self.wants_room(octets as u64) {
            return None;
        }
        let flags = match self.waits {
            Waits::Never => ReadWriteFlags::empty(),
            Waits::Told => ReadWriteFlags::NOWAIT,
            Waits::Always => return None,
        };
        match pwritev2(&self.file, pieces, self.end(), flags) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => None,
            Ok(count) => {
                self.written += count as u64;
                Some(Ok(count))
            }
            // ext4 and others only wait: never ask again.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.waits = Waits::Always;
                None
            }
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// How many octets are to be written at once. A long write costs less for each octet than short
    /// ones where it lets the filesystem take larger folios; the pages of a tmpfs are as large as
    /// it was mounted for.
    pub(super) const fn write_bytes(&self, wanted: WriteSize) -> usize {
        match (wanted.octets(), self.waits) {
            (Some(octets), _) => octets,
            (None, Waits::Never) => TRANSFER_BATCH_BYTES,
            (None, Waits::Told | Waits::Always) => WRITE_TOGETHER_BYTES,
        }
    }

    /// Keeps the digests with the file, which is complete and has its size.
    pub(super) fn keep_digests(&mut self) {
        if !self.digesting.is_empty() {
            kept_digests::keep(&self.file, &self.digesting.finish());
        }
    }

    /// Where the next octet goes (ignored by the kernel for in-place appends: `O_APPEND`).
    pub(super) const fn end(&self) -> u64 {
        self.base + self.written
    }

    /// ALLO: blocks now rather than ENOSPC at the end; octets stay invisible past the size.
    pub(super) fn reserve(&mut self, announced: Option<u64>) -> Result<(), FileError> {
        let Some(octets @ 1..) = announced else { return Ok(()) };
        let fits = self.base.checked_add(octets).is_some_and(|end| i64::try_from(end).is_ok());
        if !fits {
            return Err(FileError::TooBig);
        }
        // Checked first: some filesystems (ext4) take all there is before they report too little,
        // and until that is given back nobody else has room. Some report no size at all.
        let StatVfs { f_blocks, f_bavail, f_frsize, .. } = fstatvfs(&self.file)?;
        if f_blocks > 0 && f_bavail.saturating_mul(f_frsize) < octets {
            return Err(FileError::NoSpace);
        }
        // A part, renewed as the upload goes on: space that a client announces and never uses stays
        // available to others.
        let first = octets.min(reserve_max(f_bavail.saturating_mul(f_frsize)));
        if first == 0 {
            return Ok(());
        }
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.base, first) {
            Ok(()) => (self.reserved, self.announced) = (first, octets),
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => return Err(errno.into()),
            // Not on this filesystem: the reservation is best effort.
            Err(_) => {}
        }
        Ok(())
    }

    /// Whether `count` more octets need a further part of what was announced.
    const fn wants_room(&self, count: u64) -> bool {
        self.reserved < self.announced && self.written + count > self.reserved
    }

    /// Reserves the next part of what was announced when `count` more octets need it, or of what is
    /// to be expected. Best effort: where it fails, the write reports it, or goes on without.
    fn renew_reservation(&mut self, count: u64) {
        let from = self.reserved.max(self.written);
        let more = if self.wants_room(count) {
            self.announced.saturating_sub(from).min(reserve_max(self.free()).max(count))
        } else if self.wants_more_ahead(count) {
            // As much again: an upload is seldom over just when it has become large.
            let more = self.written.clamp(RESERVE_AHEAD_BYTES_MIN, RESERVE_BYTES_MAX);
            let more = more.min(self.free() / 8);
            if more < count { 0 } else { more }
        } else {
            return;
        };
        let at = self.base + from;
        let renewed =
            more > 0 && fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, more).is_ok();
        // A part may have been reserved all the same, and is to be given back.
        self.reserved = if renewed { from + more } else { self.announced.max(from + more) };
        self.reserves_ahead &= renewed;
    }

    /// Octets that are free on the filesystem; 0 where it does not say.
    fn free(&self) -> u64 {
        fstatvfs(&self.file)
            .map_or(0, |StatVfs { f_bavail, f_frsize, .. }| f_bavail.saturating_mul(f_frsize))
    }

    /// Whether blocks are worth being reserved for octets that nobody has announced, for `count`
    /// more now: ext4 counts each block that is written where it has none yet, which costs more
    /// than reserving them together. Not for small files, which would give most of it back.
    const fn wants_more_ahead(&self, count: u64) -> bool {
        self.reserves_ahead
            && self.announced == 0
            && self.written >= RESERVE_AHEAD_FROM_BYTES
            && self.written + count > self.reserved
    }

    /// Starts writing to disk early, so that the final fsync waits less.
    fn start_writeback(&mut self) {
        let ahead = self.written - self.writeback;
        if self.durable && ahead >= WRITEBACK_BYTES {
            // Best effort: the final fsync writes whatever this did not.
            let _ = start_writeback(&self.file, self.base + self.writeback, ahead);
            self.writeback = self.written;
        }
    }

    /// Frees blocks that were reserved and not written.
    pub(super) fn release_reservation(&mut self) -> Result<(), FileError> {
        let reserved = std::mem::take(&mut self.reserved) > 0;
        if reserved && facts::stat_handle(&self.file, false)?.stx_size == self.end() {
            ftruncate(&self.file, self.end())?;
        }
        Ok(())
    }
}

/// Octets that may be reserved at a time: an eighth of `free`, [`RESERVE_BYTES_MAX`] at most. That
/// bound alone counts where the filesystem reports no free octets (0).
const fn reserve_max(free: u64) -> u64 {
    match free / 8 {
        0 => RESERVE_BYTES_MAX,
        part if part < RESERVE_BYTES_MAX => part,
        _ => RESERVE_BYTES_MAX,
    }
}

/// Octets after which the kernel is asked to start writing them to the disk.
const WRITEBACK_BYTES: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a file, in octets.
    fn held(growing: &Growing) -> u64 {
        u64::try_from(rustix::fs::fstat(&growing.file).unwrap().st_blocks).unwrap() * 512
    }

    fn write(growing: &mut Growing, octets: &[u8]) {
        growing.write(&mut [IoSlice::new(octets)]).unwrap();
    }

    /// A file in memory is a tmpfs's; one of /proc stands for all that are not.
    #[test]
    fn writes_are_long_where_files_are_not_memory() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let memory = rustix::fs::memfd_create("ringftpd-test", flags).unwrap();
        let other = std::fs::File::open("/proc/self/status").unwrap().into();
        let growing = |file| Growing::new(file, HashAlgorithms::NONE, false);
        let (memory, other) = (growing(memory), growing(other));
        let both = |wanted| (memory.write_bytes(wanted), other.write_bytes(wanted));
        assert_eq!(both(WriteSize::Auto), (256 << 10, 1 << 20));
        assert_eq!(both(WriteSize::Kib256), (256 << 10, 256 << 10));
        assert_eq!(both(WriteSize::Kib512), (512 << 10, 512 << 10));
        assert_eq!(both(WriteSize::Mib1), (1 << 20, 1 << 20));
        assert_eq!(both(WriteSize::Mib2), (2 << 20, 2 << 20));
    }

    /// ALLO of more than is reserved at a time: the next part is there before it is written.
    #[test]
    fn the_reservation_goes_on_ahead_of_the_writing() {
        const ANNOUNCED: u64 = 2 * RESERVE_BYTES_MAX + (2 << 20);
        let file = tempfile::tempfile().unwrap();
        let mut growing = Growing::new(file.into(), HashAlgorithms::NONE, false);
        growing.reserve(Some(ANNOUNCED)).unwrap();
        let first = growing.reserved();
        assert!((1 << 20..=RESERVE_BYTES_MAX).contains(&first), "{first} octets of free space");
        assert!(held(&growing) >= first);
        let octets = vec![b'x'; 1 << 20];
        let write_to = |growing: &mut Growing, end: u64| {
            while growing.written() < end {
                let rest = (end - growing.written()).min(octets.len() as u64);
                write(growing, &octets[..usize::try_from(rest).unwrap()]);
            }
        };
        write_to(&mut growing, first);
        assert_eq!(growing.reserved(), first, "more than is needed");
        // Never on the shard's thread: reserving may wait for the disk.
        assert!(growing.try_write(&[IoSlice::new(b"x")]).is_none());
        write_to(&mut growing, first + (1 << 20));
        let second = growing.reserved();
        assert!(second >= first + first / 2 && second <= first + RESERVE_BYTES_MAX, "{second}");
        assert!(held(&growing) >= second, "{} octets held of {second}", held(&growing));
        assert!(growing.try_write(&[IoSlice::new(b"x")]).is_none_or(|count| count == Ok(1)));

        write_to(&mut growing, ANNOUNCED);
        assert_eq!(growing.reserved(), ANNOUNCED);
        // The client sends more than it announced: nothing is reserved for that.
        write_to(&mut growing, ANNOUNCED + (1 << 20));
        assert_eq!(growing.reserved(), ANNOUNCED);
    }

    /// What was reserved by a later part is given back, too.
    #[test]
    fn a_renewed_reservation_is_given_back() {
        let file = tempfile::tempfile().unwrap();
        let mut growing = Growing::new(file.into(), HashAlgorithms::NONE, false);
        growing.reserve(Some(3 * RESERVE_BYTES_MAX)).unwrap();
        let octets = vec![b'x'; usize::try_from(growing.reserved()).unwrap() + 4096];
        write(&mut growing, &octets);
        let written = octets.len() as u64;
        assert!(held(&growing) >= written + (1 << 20));
        growing.release_reservation().unwrap();
        assert!(held(&growing) < written + (1 << 20), "{} octets kept", held(&growing));
    }

    /// ext4, without ALLO: a large upload has blocks ahead of it, a small one has not, and what is
    /// too much is given back.
    #[test]
    fn blocks_are_reserved_for_what_is_to_be_expected() {
        let new = || Growing::new(tempfile::tempfile().unwrap().into(), HashAlgorithms::NONE, true);
        let mut growing = new();
        if !growing.reserves_ahead {
            return println!("skipped: no ext4 here");
        }
        write(&mut growing, &vec![b'x'; 1 << 20]);
        assert_eq!(growing.reserved(), 0);
        let mut written = 1 << 20;
        while written < 41 << 20 {
            write(&mut growing, &vec![b'x'; 1 << 18]);
            written += 1 << 18;
            assert!(growing.reserved() >= written, "{} of {written}", growing.reserved());
            assert!(growing.reserved() <= 2 * written + RESERVE_AHEAD_BYTES_MIN);
        }
        let ahead = growing.reserved() - written;
        assert!(ahead > 1 << 20, "{ahead}");
        assert!(held(&growing) >= growing.reserved());
        growing.release_reservation().unwrap();
        assert!(held(&growing) < written + (1 << 20), "{} octets kept", held(&growing));
        assert_eq!(
            rustix::fs::fstat(&growing.file).unwrap().st_size,
            i64::try_from(written).unwrap()
        );
    }
}
