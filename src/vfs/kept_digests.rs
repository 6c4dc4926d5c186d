//! Digests of whole files, kept with the file in the extended attribute `user.ringftpd.hash`.
//!
//! The attribute is where it is because shards share no memory and clients come back on another
//! one: the kernel shares it among all shards and across restarts, it follows the file through
//! renames, is deleted with it, and there is one per file, so nothing grows. Filesystems without
//! such attributes (tmpfs before Linux 6.6, some network ones) keep nothing; there digests are
//! computed on request.
//!
//! What is kept holds only while inode, size and modification time (to the nanosecond) are those
//! of the file; the device is the one that it is kept on. So in-place appends and everything else
//! that changes the file from outside end it. Whoever may write the file may of course also write
//! the attribute, or put the time back: this is a cache, no proof against the file's own owner.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Statx, XattrFlags, fsetxattr, getxattr, setxattr};

use super::facts;
use super::temporary::descriptor_path;
use crate::protocol::file::NamedDigest;
use crate::protocol::hash_command::{algorithm, name};
use crate::protocol::hexadecimal;

const ATTRIBUTE: &str = "user.ringftpd.hash";

/// More than all five digests take.
const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// Keeps the digests of a file that is open for writing and complete. Only the cache is lost when
/// that fails.
pub(super) fn keep(file: &OwnedFd, digests: &[NamedDigest]) {
    if let Ok(stat) = facts::stat_handle(file, false) {
        let _ = fsetxattr(file, ATTRIBUTE, text(&stat, digests).as_bytes(), XattrFlags::empty());
    }
}

/// The digests that were kept of the file behind any handle, `O_PATH` included, and still hold.
pub(super) fn kept(handle: BorrowedFd<'_>, stat: &Statx) -> Vec<NamedDigest> {
    let mut value = [0; ATTRIBUTE_BYTES_MAX];
    // An O_PATH handle has no attributes of its own; the descriptor's link leads to the file.
    match getxattr(descriptor_path(handle), ATTRIBUTE, &mut value[..]) {
        Ok(length) => parse(&value[..length], stat).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

/// Makes digests valid for `before` valid for the file as it is now: only its times were set.
pub(super) fn renew(handle: &OwnedFd, before: &Statx, now: &Statx) {
    let digests = kept(handle.as_fd(), before);
    if !digests.is_empty() && before.stx_size == now.stx_size {
        let value = text(now, &digests);
        let path = descriptor_path(handle);
        let _ = setxattr(path, ATTRIBUTE, value.as_bytes(), XattrFlags::REPLACE);
    }
}

/// `inode size seconds.nanoseconds NAME:digest NAME:digest`.
fn text(stat: &Statx, digests: &[NamedDigest]) -> String {
    let mut text = key(stat);
    for (algorithm, digest) in digests {
        text.push_str(&format!(" {}:{}", name(*algorithm), hexadecimal::lower(digest)));
    }
    text
}

fn key(stat: &Statx) -> String {
    let (size, time) = (stat.stx_size, stat.stx_mtime);
    format!("{} {size} {}.{:09}", stat.stx_ino, time.tv_sec, time.tv_nsec)
}

/// `None` when it is not of this version of the file, or not ours.
fn parse(value: &[u8], stat: &Statx) -> Option<Vec<NamedDigest>> {
    let rest = value.strip_prefix(key(stat).as_bytes())?.strip_prefix(b" ")?;
    rest.split(|&octet| octet == b' ')
        .map(|word| {
            let colon = word.iter().position(|&octet| octet == b':')?;
            Some((algorithm(&word[..colon])?, hexadecimal::decode(&word[colon + 1..])?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::protocol::file::HashAlgorithm;

    #[test]
    fn what_is_kept_comes_back_for_this_version_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, b"octets").unwrap();
        let stat = facts::stat_handle(File::open(&path).unwrap(), false).unwrap();
        let digests: Vec<_> =
            HashAlgorithm::ALL.into_iter().map(|algorithm| (algorithm, vec![0xa5; 64])).collect();
        let value = text(&stat, &digests);
        assert!(value.len() <= ATTRIBUTE_BYTES_MAX, "{}", value.len());
        assert_eq!(parse(value.as_bytes(), &stat), Some(digests));
        for change in [
            |stat: &mut Statx| stat.stx_ino += 1,
            |stat: &mut Statx| stat.stx_size += 10,
            |stat: &mut Statx| stat.stx_mtime.tv_sec += 1,
            |stat: &mut Statx| stat.stx_mtime.tv_nsec ^= 1,
        ] {
            let mut other = stat;
            change(&mut other);
            assert_eq!(parse(value.as_bytes(), &other), None);
        }
    }

    #[test]
    fn nonsense_is_nothing() {
        let file = tempfile::tempfile().unwrap();
        let stat = facts::stat_handle(&file, false).unwrap();
        let key = key(&stat);
        for rest in ["", " ", " MD5", " MD5:0", " MD5:0g", " MD4:00", " MD5:00 ", " MD5:+1"] {
            assert_eq!(parse(format!("{key}{rest}").as_bytes(), &stat), None, "{rest}");
        }
        assert_eq!(parse(b"", &stat), None);
    }
}
