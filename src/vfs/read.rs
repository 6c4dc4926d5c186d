//! RETR: a regular file read from a position, with and without waiting.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, retry_on_intr};

use super::root::{Lookup, Root};
use crate::limits::WHOLE_FILE_BYTES_MAX;
use crate::protocol::file::FileError;
use crate::protocol::path::VirtualPath;

/// An open regular file and the position of the next octet to send.
#[derive(Debug)]
pub struct ReadFile {
    file: OwnedFd,
    position: u64,
    size: u64,
    skip: u64,
    nowait: bool,
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
        let (file, stat) = root.open_file(path, lookup)?;
        let size = stat.stx_size;
        let (position, skip) = if ascii { (0, offset) } else { (offset, 0) };
        if position > size {
            return Err(FileError::BeyondEnd);
        }
        // Only advice: a filesystem that cannot take it reads all the same.
        if size > WHOLE_FILE_BYTES_MAX as u64 {
            let _ = fadvise(&file, 0, None, Advice::Sequential);
        }
        Ok(Self { file, position, size, skip, nowait: true })
    }

    /// Reads what the page cache holds at the position, without waiting. `None`: ask
    /// [`ReadFile::read`] on a helper thread. `Some(Ok(0))` is the end of the file. Fewer octets
    /// than asked for mean nothing else.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> Option<Result<usize, FileError>> {
        debug_assert!(!buffer.is_empty(), "0 is the end of the file");
        if !self.nowait {
            return None;
        }
        let buffers = &mut [IoSliceMut::new(buffer)];
        match preadv2(&self.file, buffers, self.position, ReadWriteFlags::NOWAIT) {
            Ok(count) => Some(Ok(self.advanced(count))),
            Err(Errno::AGAIN | Errno::INTR) => None,
            // Not on this filesystem (tmpfs, FUSE, some network ones): never ask again.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.nowait = false;
                None
            }
            Err(errno) => Some(Err(errno.into())),
        }
    }

    /// Reads at the position, waiting for the disk. 0 is the end of the file.
    ///
    /// # Errors
    ///
    /// What the system said, EIO above all.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FileError> {
        debug_assert!(!buffer.is_empty(), "0 is the end of the file");
        let count = retry_on_intr(|| pread(&self.file, &mut *buffer, self.position))?;
        Ok(self.advanced(count))
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

    /// Converted octets (TYPE A) the sender drops before the first one it sends; 0 in image type.
    #[must_use]
    pub const fn skip(&self) -> u64 {
        self.skip
    }

    /// Moves the position past octets sent from the handle by other means (`sendfile`).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::testing::{Home, path};

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
        file.nowait = false;
        file.position = 1;
        assert_eq!(file.try_read(&mut [0; 8]), None);
        assert_eq!(rest(&mut file), content[1..]);
        assert!(rest(&mut open(&home, b"empty", 0, false).unwrap()).is_empty());
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
