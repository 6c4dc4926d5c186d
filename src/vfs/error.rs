//! The one table from `errno` to [`FileError`]. The reply to a refusal is chosen by the session.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::facts;
use crate::protocol::file::FileError;

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::ACCESS | Errno::PERM => Self::PermissionDenied,
            // openat2 with RESOLVE_BENEATH. Calls for which EXDEV means "another filesystem"
            // (rename, link) say so themselves, see `cross_device`.
            Errno::XDEV => Self::OutsideRoot,
            Errno::NOTDIR => Self::NotADirectory,
            Errno::ISDIR => Self::IsADirectory,
            // Opening a socket, or a FIFO or device with nobody behind it.
            Errno::NXIO | Errno::NODEV => Self::NotAFile,
            Errno::EXIST => Self::AlreadyExists,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::LOOP => Self::Loop,
            Errno::NOSPC => Self::NoSpace,
            Errno::DQUOT => Self::Quota,
            Errno::FBIG => Self::TooBig,
            Errno::ROFS => Self::ReadOnly,
            // EAGAIN: another holder of the lock, a lease, a rename racing with `..`, or a cached
            // lookup that would have to block.
            Errno::TXTBSY | Errno::BUSY | Errno::AGAIN | Errno::DEADLK => Self::Busy,
            // NOLCK: NFS without a lock server.
            Errno::OPNOTSUPP | Errno::NOSYS | Errno::NOLCK => Self::Unsupported,
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS => Self::Overloaded,
            other => Self::Io(other.raw_os_error()),
        }
    }
}

/// For calls that move or link a name: EXDEV is another filesystem (or project quota), EINVAL a
/// directory moved below itself or a flag the filesystem does not know.
pub(super) fn cross_device(errno: Errno) -> FileError {
    match errno {
        Errno::XDEV => FileError::OtherFilesystem,
        Errno::INVAL | Errno::MLINK => FileError::Unsupported,
        other => other.into(),
    }
}

/// For calls that remove, move or replace a name: EBUSY means that something is mounted there,
/// which does not pass by itself, unless the file system has a reason of its own.
pub(super) fn of_name(errno: Errno, directory: impl AsFd, name: &[u8]) -> FileError {
    match cross_device(errno) {
        FileError::Busy if facts::is_mount_point(directory, name) => FileError::MountPoint,
        error => error,
    }
}

/// What a non-blocking attempt may answer: a success or a refusal that stays true when asked
/// again. Everything else is `None`, and the blocking form finds out.
pub(super) fn definite<T>(result: Result<T, FileError>) -> Option<Result<T, FileError>> {
    match result {
        Err(
            FileError::Busy | FileError::Overloaded | FileError::Unsupported | FileError::Io(_),
        ) => None,
        definite => Some(definite),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_what_operators_meet() {
        #[track_caller]
        fn check(errno: Errno, expected: FileError) {
            assert_eq!(FileError::from(errno), expected);
        }
        check(Errno::XDEV, FileError::OutsideRoot);
        check(Errno::LOOP, FileError::Loop);
        check(Errno::NOSPC, FileError::NoSpace);
        check(Errno::DQUOT, FileError::Quota);
        check(Errno::FBIG, FileError::TooBig);
        check(Errno::ROFS, FileError::ReadOnly);
        check(Errno::TXTBSY, FileError::Busy);
        check(Errno::MFILE, FileError::Overloaded);
        check(Errno::NFILE, FileError::Overloaded);
        check(Errno::NOLCK, FileError::Unsupported);
        check(Errno::IO, FileError::Io(5));
        assert_eq!(cross_device(Errno::XDEV), FileError::OtherFilesystem);
    }

    #[test]
    fn attempts_answer_only_what_is_certain() {
        assert_eq!(definite::<()>(Err(FileError::Busy)), None);
        assert_eq!(definite::<()>(Err(FileError::Io(5))), None);
        assert_eq!(definite::<()>(Err(FileError::NotFound)), Some(Err(FileError::NotFound)));
        assert_eq!(definite(Ok(())), Some(Ok(())));
    }
}
