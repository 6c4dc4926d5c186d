//! The octets before a restart marker, copied into the file that will replace theirs.

use std::os::fd::OwnedFd;

use rustix::fs::copy_file_range;
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use crate::limits::TRANSFER_BATCH_BYTES;
use crate::protocol::file::FileError;

/// The first `count` octets of `source` into the empty file `copy`, shared blocks where the
/// filesystem can.
pub(super) fn copy_prefix(source: &OwnedFd, copy: &OwnedFd, count: u64) -> Result<(), FileError> {
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
        assert_eq!(copy_prefix(&source, &copy, 700_001), Err(FileError::BeyondEnd));
    }
}
