//! Finds entries by the form a listing shows: control characters in a name are shown as `?`, and a
//! client can delete and rename what it was shown.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, RawDir, openat};
use rustix::io::Errno;

use super::facts;
use super::temporary::is_temporary;
use crate::limits::SHOWN_NAME_ENTRIES_MAX;
use crate::protocol::file::FileError;
use crate::protocol::shown::{REPLACEMENT, is_shown_as};

/// The name of the entry that `name` means in `directory`: itself, unless there is no such entry
/// and exactly one other is shown so.
///
/// # Errors
///
/// [`FileError::NotFound`] when several are shown so.
pub(super) fn meant<'name>(
    directory: &OwnedFd,
    name: &'name [u8],
) -> Result<Cow<'name, [u8]>, FileError> {
    let itself = Ok(Cow::Borrowed(name));
    if !may_be_shown(name) || !matches!(facts::stat_name(directory, name), Err(Errno::NOENT)) {
        return itself;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(directory, ".", flags, Mode::empty()) else { return itself };
    let mut found = None;
    let mut buffer = [MaybeUninit::uninit(); 8 * 1024];
    let mut entries = RawDir::new(&directory, &mut buffer);
    for _ in 0..SHOWN_NAME_ENTRIES_MAX {
        let Some(Ok(entry)) = entries.next() else { break };
        let entry = entry.file_name().to_bytes();
        if is_shown_as(entry, name) && !is_temporary(entry) {
            if found.is_some() {
                return Err(FileError::NotFound);
            }
            found = Some(entry.to_vec());
        }
    }
    found.map_or(itself, |found| Ok(Cow::Owned(found)))
}

/// Whether `name` can be what a listing shows instead of a name with control characters.
pub(super) fn may_be_shown(name: &[u8]) -> bool {
    name.contains(&REPLACEMENT)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::protocol::file::{FileReply, FileRequest};
    use crate::vfs::testing::{Home, path, raw};
    use crate::vfs::{perform, try_perform};

    #[test]
    fn what_is_shown_can_be_deleted_and_renamed() {
        let home = Home::new();
        home.put(raw(b"note\ntype=file;size=9; invoice.pdf"), b"");
        home.put(raw(b"a\rb"), b"");
        fs::create_dir(home.on_disk(raw(b"d\x07"))).unwrap();
        let done = Ok(FileReply::Done);
        let note = path(b"note?type=file;size=9; invoice.pdf");
        let found = FileRequest::Facts { path: note.clone(), digests: false };
        assert_eq!(try_perform(&home.root, &found), None);
        assert!(perform(&home.root, &found).is_ok());
        let to = path(b"note");
        assert_eq!(
            perform(&home.root, &FileRequest::Rename { from: note, to, replace: true }),
            done
        );
        assert_eq!(perform(&home.root, &FileRequest::Delete(path(b"a?b"))), done);
        assert_eq!(perform(&home.root, &FileRequest::RemoveDirectory(path(b"d?"))), done);
        assert_eq!(home.names(), ["note"]);
    }

    #[test]
    fn only_when_it_is_clear_which() {
        let home = Home::new();
        for name in [&b"x\n"[..], b"x\r", b"y\n", b"y?", b"z1"] {
            home.put(raw(name), b"");
        }
        let delete = |name: &[u8]| perform(&home.root, &FileRequest::Delete(path(name)));
        assert_eq!(delete(b"x?"), Err(FileError::NotFound));
        assert_eq!(delete(b"z?"), Err(FileError::NotFound));
        assert_eq!(delete(b"y?"), Ok(FileReply::Done));
        assert_eq!(home.names(), ["x\n", "x\r", "y\n", "z1"]);
        assert_eq!(delete(b"y?"), Ok(FileReply::Done));
        assert_eq!(delete(b"x\n"), Ok(FileReply::Done));
        assert_eq!(delete(b"x?"), Ok(FileReply::Done));
        assert_eq!(home.names(), ["z1"]);
    }
}
