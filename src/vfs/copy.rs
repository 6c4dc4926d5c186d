//! The octets before a restart marker, copied into the file that will replace theirs.

use std::os::fd::OwnedFd;

use rustix::fs::copy_file_range;
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::limits::{COPY_PIECE_BYTES, TRANSFER_BATCH_BYTES};
use crate::protocol::file::FileError;

/// A copy under way, made in pieces: a helper thread that copied all of a large file at once would
/// be kept from everybody else, and would go on for a client that has left.
#[derive(Debug)]
pub(super) struct Prefix {
    source: OwnedFd,
    position: u64,
    end: u64,
}

impl Prefix {
    /// Of the first `count` octets of `source`.
    pub(super) const fn new(source: OwnedFd, count: u64) -> Self {
        Self { source, position: 0, end: count }
    }

    /// Copies the next piece into `copy`; true when that was the last.
    pub(super) fn step(&mut self, copy: &OwnedFd) -> Result<bool, FileError> {
        let end = self.end.min(self.position + COPY_PIECE_BYTES);
        copy_piece(&self.source, copy, self.position, end)?;
        self.position = end;
        Ok(end == self.end)
    }
}

/// The octets from `position` to `end`, in shared blocks where the filesystem can.
fn copy_piece(
    source: &OwnedFd,
    copy: &OwnedFd,
    mut position: u64,
    end: u64,
) -> Result<(), FileError> {
    while position < end {
        let left = usize::try_from(end - position).unwrap_or(usize::MAX);
        let (mut from, mut to) = (position, position);
        match copy_file_range(source, Some(&mut from), copy, Some(&mut to), left) {
            Err(Errno::INTR) => {}
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                return Err(errno.into());
            }
            // Not between these two, or not here at all.
            Ok(0) | Err(_) => return copy_octets(source, copy, position, end),
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::vfs::testing::Home;

    #[test]
    fn a_prefix_is_copied_whichever_way() {
        let home = Home::new();
        let content: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        home.put("f", &content);
        let source = OwnedFd::from(File::open(home.on_disk("f")).unwrap());
        let copy = OwnedFd::from(File::create(home.on_disk("copy")).unwrap());
        copy_octets(&source, &copy, 0, 600_000).unwrap();
        assert_eq!(home.get("copy").unwrap(), &content[..600_000]);
        assert_eq!(copy_octets(&source, &copy, 0, 700_001), Err(FileError::BeyondEnd));
        assert_eq!(copy_piece(&source, &copy, 0, 700_001), Err(FileError::BeyondEnd));
    }
}
