//! RETR: a regular file read from a position, with and without waiting.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2, retry_on_intr};

use super::root::{Lookup, Root};
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
        let _ = fadvise(&file, 0, None, Advice::Sequential);
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
