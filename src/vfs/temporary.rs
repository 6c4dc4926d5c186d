//! Files that do not have their name yet: unnamed ones, and ones under a reserved hidden name,
//! `.ringftpd-XXXXXXXX.part` with eight hexadecimal digits, which is never listed and never
//! reachable by clients. What becomes of them is decided in `upload`.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, linkat, openat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::error::cross_device;
use crate::protocol::file::FileError;

/// New files: everyone reads and writes, less what the process's umask takes.
const NEW_FILE_MODE: Mode = Mode::from_raw_mode(0o666);

const PREFIX: &[u8] = b".ringftpd-";
const SUFFIX: &[u8] = b".part";
const DIGITS: usize = 8;

/// Whether `name` is one of the reserved names.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether this server may have made `name`; some that are reserved it never makes.
pub(super) fn is_made_here(name: &[u8]) -> bool {
    is_temporary(name) && !name.iter().any(u8::is_ascii_uppercase)
}

/// A reserved name that cannot be guessed.
pub(super) fn random_name() -> Result<Vec<u8>, FileError> {
    Ok(with_digits(&random_digits()?))
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
) -> Result<(OwnedFd, Option<Vec<u8>>), FileError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match openat(directory, ".", flags, NEW_FILE_MODE) {
        Ok(file) => return Ok((file, None)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
        Err(errno) => return Err(errno.into()),
    }
    loop {
        let hidden = random_name()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_its_own_names_and_no_others() {
        assert!(is_temporary(&random_name().unwrap()));
        assert!(is_temporary(&with_digits(b"00ffAA99")));
        assert!(is_made_here(&random_name().unwrap()));
        assert!(!is_made_here(&with_digits(b"00ffAA99")));
        assert_ne!(random_name().unwrap(), random_name().unwrap());
        for name in
            [&b".ringftpd-.part"[..], b".ringftpd-0123456g.part", b"x.ringftpd-01234567.part"]
        {
            assert!(!is_temporary(name));
        }
    }
}
