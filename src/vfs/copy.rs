//! Copies the octets before a restart marker into the file that will replace the old one.

use std::os::fd::OwnedFd;

use rustix::fs::{SeekFrom, copy_file_range, ftruncate, seek};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::facts;
use crate::limits::{COPY_PIECE_BYTES, TRANSFER_BATCH_BYTES};
use crate::protocol::file::FileError;

/// A copy in progress, made in pieces: a helper thread that copied a large file at once would be
/// unavailable to others, and would go on after the client has left.
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
        let data = self.next_data()?;
        if data > self.position {
            // A hole stays one, and costs neither time nor blocks.
            self.position = data;
            ftruncate(copy, data)?;
            return Ok(data == self.end);
        }
        let end = self.end.min(self.position + COPY_PIECE_BYTES).min(self.next_hole());
        copy_piece(&self.source, copy, self.position, end)?;
        self.position = end;
        Ok(end == self.end)
    }

    /// The position of the next octet that is not in a hole; `end` if all the rest is one.
    fn next_data(&self) -> Result<u64, FileError> {
        if facts::stat_handle(&self.source, false)?.stx_size < self.end {
            // The file was cut meanwhile: what the client wants to continue is gone.
            return Err(FileError::BeyondEnd);
        }
        match seek(&self.source, SeekFrom::Data(self.position)) {
            Ok(data) => Ok(data.clamp(self.position, self.end)),
            Err(Errno::NXIO) => Ok(self.end),
            // Not on this filesystem: all of it is data.
            Err(_) => Ok(self.position),
        }
    }

    /// Where the data at the position ends, as far as the filesystem tells.
    fn next_hole(&self) -> u64 {
        let hole = seek(&self.source, SeekFrom::Hole(self.position));
        hole.ok().filter(|&hole| hole > self.position).unwrap_or(self.end)
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
            // Not possible between these two files, or not on this filesystem.
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

    /// 8 TiB of nothing between two octets: two pieces of work and no blocks.
    #[test]
    fn holes_stay_holes() {
        let home = Home::new();
        let file = File::create(home.on_disk("f")).unwrap();
        const END: u64 = 1 << 42;
        if file.set_len(END).is_err() {
            return println!("skipped: no file of 4 TiB here");
        }
        std::os::unix::fs::FileExt::write_all_at(&file, b"x", END - 1).unwrap();
        let copy = OwnedFd::from(File::create(home.on_disk("copy")).unwrap());
        let source = File::open(home.on_disk("f")).unwrap();
        let mut prefix = Prefix::new(source.into(), END);
        let steps = (0..10).take_while(|_| !prefix.step(&copy).unwrap()).count() + 1;
        assert!(steps <= 3, "{steps} steps");
        let facts = std::fs::metadata(home.on_disk("copy")).unwrap();
        assert_eq!(facts.len(), END);
        assert!(std::os::unix::fs::MetadataExt::blocks(&facts) < 1024);
        // A cut file is no longer what the client continues.
        let mut prefix = Prefix::new(File::open(home.on_disk("f")).unwrap().into(), END);
        file.set_len(END - 2).unwrap();
        assert_eq!(prefix.step(&copy), Err(FileError::BeyondEnd));
    }

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
