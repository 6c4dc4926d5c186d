//! Files that do not have their name yet: unnamed ones, and ones under a reserved hidden name,
//! which is never listed and never reachable by clients. What becomes of them is decided in
//! `upload`.
//!
//! A reserved name is `.ringftpd-0a1b2c3d.part`, or `.ringftpd-0a1b2c3d-0011223344556677.part` with
//! the [`Boot`] that made it, in hexadecimal digits. Where the first eight are random, the boot is
//! there if it is known. The names by which STOU holds a name (see `unique`) never have one: all
//! nodes that share a tree are to find the same one taken.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, linkat, openat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::boot::{BOOT_DIGITS, Boot};
use super::error::cross_device;
use crate::protocol::file::FileError;

/// New files: everyone reads and writes, less what the process's umask takes.
const NEW_FILE_MODE: Mode = Mode::from_raw_mode(0o666);

const PREFIX: &[u8] = b".ringftpd-";
const SUFFIX: &[u8] = b".part";
const DIGITS: usize = 8;

/// Whether `name` is one of the reserved names.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let Some((digits, boot)) = split(name) else { return false };
    let boot_is_one = boot.is_none_or(|boot| Boot::parse(boot).is_some());
    digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit) && boot_is_one
}

/// The boot that a reserved name tells.
pub(super) fn boot_of(name: &[u8]) -> Option<Boot> {
    split(name)?.1.and_then(Boot::parse)
}

/// What stands for the digits and for the boot in a name of this form.
fn split(name: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let inner = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    match inner.len().checked_sub(BOOT_DIGITS + 1) {
        Some(length) if inner[length] == b'-' => {
            Some((&inner[..length], Some(&inner[length + 1..])))
        }
        _ => Some((inner, None)),
    }
}

/// Whether this server may have made `name`; some that are reserved it never makes.
pub(super) fn is_made_here(name: &[u8]) -> bool {
    is_temporary(name) && !name.iter().any(u8::is_ascii_uppercase)
}

/// A reserved name that cannot be guessed, made in this boot.
pub(super) fn random_name(boot: Option<Boot>) -> Result<Vec<u8>, FileError> {
    let digits = random_digits()?;
    Ok(boot.map_or_else(|| with_digits(&digits), |boot| with_boot(&digits, boot)))
}

/// Eight random hexadecimal digits.
pub(super) fn random_digits() -> Result<Vec<u8>, FileError> {
    let mut octets = [0_u8; DIGITS / 2];
    // Up to 256 octets are never interrupted and never short.
    getrandom(&mut octets, GetRandomFlags::empty())?;
    Ok(format!("{:08x}", u32::from_be_bytes(octets)).into_bytes())
}

/// An unnamed file in `directory`, or a hidden one and its name where there are no unnamed ones.
pub(super) fn create_temporary(
    directory: &OwnedFd,
    boot: Option<Boot>,
) -> Result<(OwnedFd, Option<Vec<u8>>), FileError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(directory, ".", flags, NEW_FILE_MODE) {
        Ok(file) => return Ok((file, None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    loop {
        let hidden = random_name(boot)?;
        match create_hidden(directory, &hidden) {
            Err(Errno::EXIST) => {}
            created => return Ok((created?, Some(hidden))),
        }
    }
}

/// A new empty file under a reserved name. The lock, where the filesystem has locks, tells it from
/// one whose server was killed, see `leftovers`.
pub(super) fn create_hidden(directory: &OwnedFd, hidden: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(directory, hidden, flags, NEW_FILE_MODE)?;
    let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(file)
}

/// Gives an unnamed file a free name.
pub(super) fn link_unnamed(
    file: &OwnedFd,
    directory: &OwnedFd,
    name: &[u8],
) -> Result<(), FileError> {
    match linkat(file, "", directory, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 that takes a capability; the descriptor's own link does not.
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let own = descriptor_path(file);
            linkat(CWD, own, directory, name, AtFlags::SYMLINK_FOLLOW).map_err(cross_device)
        }
        result => result.map_err(cross_device),
    }
}

/// Renames within `directory` to a free name.
pub(super) fn rename_new(directory: &OwnedFd, hidden: &[u8], name: &[u8]) -> Result<(), FileError> {
    match renameat_with(directory, hidden, directory, name, RenameFlags::NOREPLACE) {
        // NFS does not know the flag, but can link, which never replaces either.
        Err(Errno::INVAL | Errno::NOSYS) => {
            linkat(directory, hidden, directory, name, AtFlags::empty()).map_err(cross_device)?;
            unlinkat(directory, hidden, AtFlags::empty())?;
            Ok(())
        }
        result => result.map_err(cross_device),
    }
}

/// The name under which the kernel knows an open descriptor of this process.
pub(super) fn descriptor_path(descriptor: impl AsFd) -> String {
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

/// The reserved name with these eight hexadecimal digits.
pub(super) fn with_digits(digits: &[u8]) -> Vec<u8> {
    [PREFIX, digits, SUFFIX].concat()
}

/// The reserved name with these eight hexadecimal digits that was made in this boot.
pub(super) fn with_boot(digits: &[u8], boot: Boot) -> Vec<u8> {
    [PREFIX, digits, b"-", boot.to_string().as_bytes(), SUFFIX].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_its_own_names_and_no_others() {
        let boot = Boot::parse(b"0123456789abcdef");
        for boot in [None, boot] {
            let name = random_name(boot).unwrap();
            assert!(is_temporary(&name) && is_made_here(&name));
            assert_eq!(boot_of(&name), boot);
            assert_ne!(name, random_name(boot).unwrap());
        }
        assert_eq!(random_name(boot).unwrap().len(), 40);
        assert!(is_temporary(&with_digits(b"00ffAA99")));
        assert!(!is_made_here(&with_digits(b"00ffAA99")));
        assert!(!is_made_here(b".ringftpd-01234567-0123456789abcdeF.part"));
        for name in [
            &b".ringftpd-.part"[..],
            b".ringftpd-0123456g.part",
            b"x.ringftpd-01234567.part",
            b".ringftpd-01234567-.part",
            b".ringftpd-01234567-0123456789abcde.part",
            b".ringftpd-01234567-0123456789abcdeg.part",
            b".ringftpd-01234567-0123456789abcdef0.part",
            b".ringftpd-012345678-0123456789abcdef.part",
            b".ringftpd--0123456789abcdef.part",
        ] {
            assert!(!is_temporary(name), "{}", String::from_utf8_lossy(name));
        }
    }
}
