//! RETR: a regular file read from a position, with and without waiting.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, OFlags, Statx, fadvise, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, retry_on_intr};

use super::facts::{self, Filesystem};
use super::root::{Lookup, Root};
use crate::limits::{TRANSFER_BATCH_BYTES, WHOLE_FILE_BYTES_MAX};
use crate::protocol::file::FileError;
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::{FileCache, FileRule};

/// Positions, lengths and buffers of reads that pass the page cache by are multiples of this many
/// octets: no common device has larger sectors.
pub const DIRECT_ALIGNMENT: u64 = 4096;

/// An open regular file and the position of the next octet to send.
#[derive(Debug)]
pub struct ReadFile {
    file: OwnedFd,
    position: u64,
    size: u64,
    skip: u64,
    inline: Inline,
    wanted: FileRule,
    device: u64,
    /// Any operation on it may wait for a remote host, closing included.
    remote: bool,
}

/// The reads that a shard's own thread may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inline {
    /// What is in the page cache (`RWF_NOWAIT`).
    Cached,
    /// Everything: the file is memory and never waits.
    All,
    /// Nothing: the filesystem does not know `RWF_NOWAIT`.
    Nothing,
    /// Nothing: `O_DIRECT` is on, and the page cache is passed by.
    Direct,
}

impl ReadFile {
    /// Opens for RETR. In image type `offset` is checked against the size and becomes the position
    /// (RFC 3659 §5.3); in ASCII type it counts converted octets and is left to the sender, see
    /// [`ReadFile::skip`].
    pub(super) fn open(
        root: &Root,
        path: &VirtualPath,
        offset: u64,
        ascii: bool,
        lookup: Lookup,
    ) -> Result<Self, FileError> {
        Self::of(root.open_file(path, lookup)?, root, path, (offset, ascii), lookup)
    }

    /// As [`ReadFile::open`], without waiting, where a regular file was seen a moment ago.
    pub(super) fn open_seen(
        root: &Root,
        path: &VirtualPath,
        offset: u64,
        ascii: bool,
    ) -> Result<Self, FileError> {
        let lookup = Lookup::Cached;
        Self::of(root.open_seen_file(path, lookup)?, root, path, (offset, ascii), lookup)
    }

    fn of(
        (file, stat): (OwnedFd, Statx),
        root: &Root,
        path: &VirtualPath,
        (offset, ascii): (u64, bool),
        lookup: Lookup,
    ) -> Result<Self, FileError> {
        let size = stat.stx_size;
        let (position, skip) = if ascii { (0, offset) } else { (offset, 0) };
        if position > size {
            return Err(FileError::BeyondEnd);
        }
        let mut wanted = root.rule_of(path);
        // A link may lead out of the directory that the operator declared immutable.
        wanted.immutable = wanted.immutable && root.has_no_links(path, lookup);
        let inline = if wanted.cache == FileCache::Direct && set_direct(&file, true).is_ok() {
            Inline::Direct
        } else {
            // Only advice: a filesystem that cannot take it reads all the same.
            if size > WHOLE_FILE_BYTES_MAX as u64 {
                let _ = fadvise(&file, 0, None, Advice::Sequential);
            }
            Inline::Cached
        };
        let device = facts::device(&stat);
        Ok(Self { file, position, size, skip, inline, wanted, device, remote: false })
    }

    /// Reads what the page cache holds at the position, without waiting. `None`: ask
    /// [`ReadFile::read`] on a helper thread, or read [`ReadFile::descriptor`] by io_uring.
    /// `Some(Ok(0))` is the end of the file. Fewer octets than asked for mean nothing else.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Option<Result<usize, FileError>> {
        debug_assert!(!buffer.is_empty(), "0 is the end of the file");
        if self.remote {
            return None;
        }
        match self.inline {
            Inline::All => return Some(self.read(buffer)),
            Inline::Nothing | Inline::Direct => return None,
            Inline::Cached => {}
        }
        let buffers = &mut [IoSliceMut::new(buffer)];
        match preadv2(&self.file, buffers, self.position, ReadWriteFlags::NOWAIT) {
            Ok(count) => Some(Ok(self.advanced(count))),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // Not on this filesystem (tmpfs, FUSE, some network ones): never ask again.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.inline = if is_memory(&self.file) { Inline::All } else { Inline::Nothing };
                self.try_read(buffer)
            }
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// The device (`st_dev`) the file is on.
    #[must_use]
    pub const fn device(&self) -> u64 {
        self.device
    }

    /// Its file system may wait for a remote host: from now on the shard's thread neither reads nor
    /// closes the file; both are done on a helper thread.
    pub const fn set_remote(&mut self) {
        self.remote = true;
    }

    /// See [`ReadFile::set_remote`].
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        self.remote
    }

    /// Reads at the position, waiting for the disk, and stays there.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn peek(&mut self, buffer: &mut [u8]) -> Result<usize, FileError> {
        self.read_at(self.position, buffer)
    }

    /// Whether the file is memory, so that no part of it is ever waited for. Asks the system.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        !self.remote && is_memory(&self.file)
    }

    /// Whether the octet at `position` can be had without waiting.
    #[must_use]
    pub fn is_cached(&self, position: u64) -> bool {
        let octet = &mut [0];
        let buffers = &mut [IoSliceMut::new(octet)];
        self.inline == Inline::All
            || (self.inline == Inline::Cached
                && !self.remote
                && preadv2(&self.file, buffers, position, ReadWriteFlags::NOWAIT).is_ok())
    }

    /// Reads at the position, waiting for the disk. 0 is the end of the file.
    ///
    /// # Errors
    ///
    /// What the system said, EIO above all.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FileError> {
        let count = self.read_at(self.position, buffer)?;
        Ok(self.advanced(count))
    }

    /// Like [`ReadFile::read`], but nothing from `end` on, and so that direct reads stay direct.
    /// Nothing is the end of the file, or `end`.
    pub(super) fn read_before<'room>(
        &mut self,
        end: u64,
        room: &'room mut AlignedRoom,
    ) -> Result<&'room [u8], FileError> {
        let left = end.saturating_sub(self.position);
        if left == 0 {
            return Ok(&[]);
        }
        // What lies around the octets that are wanted is read for the alignment alone.
        let before = self.position % DIRECT_ALIGNMENT;
        let room = room.as_mut_slice();
        let wanted = before.saturating_add(left).min(room.len() as u64);
        let wanted = usize::try_from(wanted.next_multiple_of(DIRECT_ALIGNMENT));
        let wanted = wanted.unwrap_or(room.len());
        let count = self.read_at(self.position - before, &mut room[..wanted])?;
        let octets = room[..count].get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
        let octets = &octets[..octets.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        self.advance(octets.len() as u64);
        Ok(octets)
    }

    fn read_at(&mut self, position: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        debug_assert!(!buffer.is_empty(), "0 is the end of the file");
        match retry_on_intr(|| pread(&self.file, &mut *buffer, position)) {
            // The buffer, the position or the file does not suit the device.
            Err(Errno::INVAL) if self.is_direct() => {
                self.leave_direct();
                Ok(retry_on_intr(|| pread(&self.file, &mut *buffer, position))?)
            }
            count => Ok(count?),
        }
    }

    /// A further descriptor of the open file, for reads at positions by other means.
    ///
    /// # Errors
    ///
    /// [`FileError::Overloaded`]: there are no more descriptors.
    pub fn descriptor(&self) -> Result<OwnedFd, FileError> {
        Ok(rustix::io::fcntl_dupfd_cloexec(&self.file, 0)?)
    }

    /// Whether reads pass the page cache by. Then positions, lengths and buffers of reads through
    /// [`ReadFile::descriptor`] are multiples of [`DIRECT_ALIGNMENT`].
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.inline == Inline::Direct
    }

    /// Whether the operator wanted direct reads and the filesystem has none.
    #[must_use]
    pub fn is_direct_refused(&self) -> bool {
        self.wanted.cache == FileCache::Direct && !self.is_direct()
    }

    /// Whether the operator declared that the file does not change while it is sent.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.wanted.immutable
    }

    /// Goes on through the page cache, also for [`ReadFile::descriptor`]: direct reads failed.
    pub fn leave_direct(&mut self) {
        // A flag that cannot be taken back shows itself at the next read.
        let _ = set_direct(&self.file, false);
        self.inline = Inline::Cached;
    }

    /// Octets the file had when it was opened.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Next octet to read, counted in the file.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Octets between the position and the end that the file had when it was opened.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    /// Converted octets (TYPE A) the sender drops before the first one it sends; 0 in image type.
    #[must_use]
    pub const fn skip(&self) -> u64 {
        self.skip
    }

    /// Moves the position past octets that came by other means.
    pub const fn advance(&mut self, count: u64) {
        self.position += count;
    }

    fn advanced(&mut self, count: usize) -> usize {
        self.position += count as u64;
        count
    }
}

impl AsFd for ReadFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Memory for [`ReadFile::read_before`], aligned as direct reads want it.
#[derive(Debug)]
pub(super) struct AlignedRoom(Vec<u8>);

impl AlignedRoom {
    /// For [`TRANSFER_BATCH_BYTES`] at a time.
    pub(super) fn new() -> Self {
        Self(vec![0; TRANSFER_BATCH_BYTES + ALIGNMENT])
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        let start = self.0.as_ptr().align_offset(ALIGNMENT);
        &mut self.0[start..][..TRANSFER_BATCH_BYTES]
    }
}

/// [`DIRECT_ALIGNMENT`], in memory.
const ALIGNMENT: usize = 4096;
const _: () = assert!(ALIGNMENT as u64 == DIRECT_ALIGNMENT);
const _: () = assert!(TRANSFER_BATCH_BYTES.is_multiple_of(ALIGNMENT));

/// Switches `O_DIRECT`. Fails where the filesystem does not have it.
fn set_direct(file: &OwnedFd, on: bool) -> Result<(), Errno> {
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    fcntl_setfl(file, flags)
}

/// Whether a read of `file` can wait for nothing: a tmpfs on a host without swap.
fn is_memory(file: &OwnedFd) -> bool {
    Filesystem::of(file) == Filesystem::Tmpfs && rustix::system::sysinfo().totalswap == 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::sys;
    use crate::vfs::testing::{Home, path};

    const DIRECT: FileRule = FileRule { cache: FileCache::Direct, immutable: false };

    fn open(home: &Home, name: &[u8], offset: u64, ascii: bool) -> Result<ReadFile, FileError> {
        ReadFile::open(&home.root, &path(name), offset, ascii, Lookup::Blocking)
    }

    fn rest(file: &mut ReadFile) -> Vec<u8> {
        let mut octets = Vec::new();
        let mut buffer = [0; 7_001];
        loop {
            // As the server-DTP does: the cached part at once, the rest by waiting.
            let count = match file.try_read(&mut buffer) {
                Some(count) => count.unwrap(),
                None => file.read(&mut buffer).unwrap(),
            };
            if count == 0 {
                return octets;
            }
            octets.extend_from_slice(&buffer[..count]);
        }
    }

    #[test]
    fn reads_whole_files_with_and_without_waiting() {
        let home = Home::new();
        let content: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        home.put("f", &content);
        home.put("empty", b"");
        let mut file = open(&home, b"f", 0, false).unwrap();
        assert_eq!(rest(&mut file), content);
        assert_eq!((file.position(), file.size()), (100_000, 100_000));
        file.inline = Inline::Nothing;
        file.position = 1;
        assert_eq!(file.try_read(&mut [0; 8]), None);
        assert_eq!(rest(&mut file), content[1..]);
        assert!(rest(&mut open(&home, b"empty", 0, false).unwrap()).is_empty());
    }

    #[test]
    fn files_in_memory_are_read_at_once_unless_they_may_be_swapped_out() {
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
            return println!("skipped: no /dev/shm here");
        };
        std::fs::write(directory.path().join("f"), [7; 10_000]).unwrap();
        let root = Root::open(directory.path()).unwrap();
        let mut file = ReadFile::open(&root, &path(b"f"), 3, false, Lookup::Blocking).unwrap();
        let at_once = file.try_read(&mut [0; 16_384]);
        let expected = is_memory(&file.file).then_some(Ok(9_997));
        assert_eq!(at_once, expected);
    }

    #[test]
    fn direct_files_leave_the_page_cache_alone_and_can_go_back_to_it() {
        let home = Home::new();
        home.put("f", &[7; 10_000]);
        let directory = home.directory();
        let root = Root::open(&directory).unwrap();
        let root = root.with_rules(&directory, &[(directory.clone(), DIRECT)]);
        let mut file = ReadFile::open(&root, &path(b"f"), 1, false, Lookup::Blocking).unwrap();
        if file.is_direct_refused() {
            return println!("skipped: no O_DIRECT in the directory for temporary files");
        }
        assert_eq!((file.is_direct(), file.is_cached(1)), (true, false));
        assert_eq!(file.try_read(&mut [0; 100]), None);
        // Neither the position nor the buffer is aligned; the fallback does not mind.
        assert_eq!(file.read(&mut [0; 99]), Ok(99));
        assert_eq!((file.is_direct(), file.is_direct_refused()), (false, true));
        assert_eq!(rest(&mut file), vec![7; 9_900]);
    }

    /// Neither start nor end nor size is a multiple of anything: all of it is read all the same,
    /// nothing twice, and with direct reads none of it comes into the page cache.
    #[test]
    fn ranges_are_read_past_the_page_cache() {
        const SIZE: usize = 2 * TRANSFER_BATCH_BYTES + 4_097;
        let home = Home::new();
        let content: Vec<u8> = (0..SIZE).map(|n| (n % 251).to_le_bytes()[0]).collect();
        home.put("f", &content);
        // What is not written yet cannot leave the page cache.
        let file = std::fs::File::open(home.on_disk("f")).unwrap();
        file.sync_all().unwrap();
        // Asked of the kernel (Linux 6.5), for to try a read brings pages in.
        let is_cached = || {
            let mut pages = (0..SIZE as u64).step_by(4_096);
            pages.any(|page| sys::sendfile::is_cached(&file, page, 1).unwrap_or(false))
        };
        // A page that a CPU has not filed yet, or that is being scanned, stays the first time.
        let deadline = clock::now() + Duration::from_secs(20);
        loop {
            fadvise(&file, 0, None, Advice::DontNeed).unwrap();
            if !is_cached() || clock::now() > deadline {
                break;
            }
        }
        let directory = home.directory();
        let rules = [(directory.clone(), DIRECT)];
        let direct = Root::open(&directory).unwrap().with_rules(&directory, &rules);
        let range = |root: &Root, start: usize, end: usize| {
            let start_at = start as u64;
            let file = ReadFile::open(root, &path(b"f"), start_at, false, Lookup::Blocking);
            let (mut file, mut room) = (file.unwrap(), AlignedRoom::new());
            let (mut octets, was_direct) = (Vec::new(), file.is_direct());
            loop {
                let piece = file.read_before(end as u64, &mut room).unwrap();
                if piece.is_empty() {
                    break;
                }
                octets.extend_from_slice(piece);
            }
            assert!(octets == content[start..end.min(SIZE)], "{start} to {end}");
            assert_eq!(file.position(), end.min(SIZE) as u64);
            assert_eq!(file.is_direct(), was_direct, "{start} to {end}");
            was_direct
        };
        let ranges = [(0, SIZE), (0, usize::MAX), (1, 2), (4_096, 8_192), (4_095, SIZE - 1)];
        let ways = ranges.map(|(start, end)| range(&direct, start, end));
        if ways == [true; 5] {
            assert!(!is_cached(), "in the page cache");
        } else {
            println!("skipped in part: no O_DIRECT in the directory for temporary files");
        }
        for (start, end) in ranges {
            assert!(!range(&home.root, start, end));
        }
    }

    #[test]
    fn a_file_is_immutable_by_its_own_name_only() {
        let home = Home::new();
        std::fs::create_dir_all(home.on_disk("kept/deep")).unwrap();
        home.put("kept/f", b"k");
        home.put("kept/deep/f", b"k");
        home.put("f", b"m");
        home.link("../f", "kept/to_mutable");
        home.link("deep/f", "kept/within");
        home.link("deep", "kept/directory");
        home.link("kept/f", "to_kept");
        let directory = home.directory();
        let rule = FileRule { immutable: true, ..FileRule::default() };
        let root = Root::open(&directory).unwrap();
        let root = root.with_rules(&directory, &[(directory.join("kept"), rule)]);
        let immutable = |name: &[u8]| {
            let file = ReadFile::open(&root, &path(name), 0, false, Lookup::Blocking).unwrap();
            file.is_immutable()
        };
        assert!(immutable(b"kept/f") && immutable(b"kept/deep/f"));
        assert!(!immutable(b"f") && !immutable(b"to_kept"));
        for link in ["to_mutable", "within", "directory/f"] {
            assert!(!immutable(format!("kept/{link}").as_bytes()), "{link}");
        }
    }

    #[test]
    fn a_filesystem_without_direct_reads_is_read_through_the_page_cache() {
        let directory = std::path::Path::new("/proc/self");
        let rules = [(directory.to_owned(), DIRECT)];
        let root = Root::open(directory).unwrap().with_rules(directory, &rules);
        let file = ReadFile::open(&root, &path(b"cmdline"), 0, false, Lookup::Blocking);
        let mut file = file.unwrap();
        assert!(file.is_direct_refused() && !file.is_direct());
        assert!(!rest(&mut file).is_empty());
    }

    /// [XFER-08 XFER-09 XFER-10]
    #[test]
    fn restart_markers() {
        let home = Home::new();
        home.put("f", b"0123456789");
        let read = |offset| open(&home, b"f", offset, false).map(|mut file| rest(&mut file));
        assert_eq!(read(3), Ok(b"3456789".to_vec()));
        assert_eq!(read(10), Ok(Vec::new()));
        assert_eq!(read(11), Err(FileError::BeyondEnd));
        assert_eq!(read(u64::MAX), Err(FileError::BeyondEnd));
        let file = open(&home, b"f", 11, true).unwrap();
        assert_eq!((file.position(), file.skip()), (0, 11));
    }

    /// [XFER-02 XFER-03]
    #[test]
    fn only_files_are_read() {
        let home = Home::new();
        std::fs::create_dir(home.on_disk("d")).unwrap();
        home.fifo("fifo");
        let _socket = std::os::unix::net::UnixListener::bind(home.on_disk("socket")).unwrap();
        let refusal = |name: &[u8]| open(&home, name, 0, false).err();
        assert_eq!(refusal(b"d"), Some(FileError::IsADirectory));
        assert_eq!(refusal(b"/"), Some(FileError::IsADirectory));
        assert_eq!(refusal(b"fifo"), Some(FileError::NotAFile));
        assert_eq!(refusal(b"socket"), Some(FileError::NotAFile));
        assert_eq!(refusal(b"no"), Some(FileError::NotFound));
    }
    /// Opening a FIFO or a device has effects on whoever holds the other end; the kernel's own
    /// watch says that it did not happen.
    #[test]
    fn what_is_no_file_is_not_even_opened() {
        use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
        let home = Home::new();
        home.put("f", b"");
        home.fifo("fifo");
        let opened = |name: &str| {
            let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
            add_watch(&watch, home.on_disk(name), WatchFlags::OPEN).unwrap();
            let _ = open(&home, name.as_bytes(), 0, false);
            let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 512];
            Reader::new(&watch, &mut buffer).next().is_ok()
        };
        assert!(opened("f"));
        assert!(!opened("fifo"));
    }
}
