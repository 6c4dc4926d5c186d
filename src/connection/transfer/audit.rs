//! What storage did for a session, and what it refused by right, as events: written where it is
//! known to be done, on the thread that did it, so that a client that leaves meanwhile hides
//! nothing.

use crate::events::{
    Deleted, Denial, Denied, DirectoryMade, DirectoryRemoved, Mode, ModeSet, Renamed, TimeSet,
};
use crate::protocol::account::StoreRights;
use crate::protocol::file::{FileError, FileRequest, StoreMode, TransferRequest};
use crate::protocol::path::VirtualPath;
use crate::protocol::timestamp;
use crate::vfs::SetFact;

/// Whether the request is one that changes something.
pub(crate) const fn changes(request: &FileRequest) -> bool {
    match request {
        FileRequest::MakeDirectory(_)
        | FileRequest::MakeDirectories(_)
        | FileRequest::RemoveDirectory(_)
        | FileRequest::Delete(_)
        | FileRequest::Rename { .. }
        | FileRequest::SetFacts { .. } => true,
        FileRequest::Metadata(_)
        | FileRequest::Facts { .. }
        | FileRequest::AsciiSize(_)
        | FileRequest::Hash { .. }
        | FileRequest::Available(_)
        | FileRequest::ControlListing(_) => false,
    }
}

/// Tells what was done.
pub(crate) fn done(request: &FileRequest) {
    match request {
        FileRequest::MakeDirectory(path) => made(path),
        FileRequest::RemoveDirectory(path) => removed(path),
        FileRequest::Delete(path) => Deleted { path: path.as_bytes() }.log(),
        FileRequest::Rename { from, to, .. } => {
            Renamed { from: from.as_bytes(), to: to.as_bytes() }.log();
        }
        // One line for each that it makes or sets, when it has done that.
        FileRequest::MakeDirectories(_)
        | FileRequest::SetFacts { .. }
        | FileRequest::Metadata(_)
        | FileRequest::Facts { .. }
        | FileRequest::AsciiSize(_)
        | FileRequest::Hash { .. }
        | FileRequest::Available(_)
        | FileRequest::ControlListing(_) => {}
    }
}

pub(crate) fn set(path: &VirtualPath, fact: SetFact) {
    let path = path.as_bytes();
    match fact {
        SetFact::Mode(mode) => ModeSet { path, mode: Mode(mode) }.log(),
        SetFact::Modified(time) => TimeSet { path, modified: &timestamp::format_utc(time) }.log(),
    }
}

pub(crate) fn made(path: &VirtualPath) {
    DirectoryMade { path: path.as_bytes() }.log();
}

pub(crate) fn removed(path: &VirtualPath) {
    DirectoryRemoved { path: path.as_bytes() }.log();
}

/// Tells that storage refused a request by right, if that is why.
pub(crate) fn refused(command: &str, path: &VirtualPath, may_replace: bool, error: FileError) {
    tell(command, path, by_right(error, may_replace));
}

/// As [`refused`], of a transfer.
pub(crate) fn transfer_refused(command: &str, request: &TransferRequest, error: FileError) {
    let may_all = match request {
        TransferRequest::Store { mode: StoreMode::Unique, .. }
        | TransferRequest::Retrieve { .. }
        | TransferRequest::List(_) => true,
        TransferRequest::Store { rights, .. } => *rights == StoreRights::ALL,
    };
    let reason = match error {
        FileError::PermissionDenied if !may_all => Some(Denial::Permission),
        error => by_right(error, may_all),
    };
    tell(command, request.path(), reason);
}

fn tell(command: &str, path: &VirtualPath, reason: Option<Denial>) {
    if let Some(reason) = reason {
        Denied { command, path: path.as_bytes(), reason }.log();
    }
}

const fn by_right(error: FileError, may_replace: bool) -> Option<Denial> {
    match error {
        FileError::PermissionDenied => Some(Denial::FileSystem),
        FileError::ReadOnly => Some(Denial::ReadOnly),
        FileError::OutsideRoot => Some(Denial::OutsideRoot),
        // Who may replace it would have.
        FileError::AlreadyExists if !may_replace => Some(Denial::Permission),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons() {
        assert_eq!(by_right(FileError::AlreadyExists, true), None);
        assert_eq!(by_right(FileError::AlreadyExists, false), Some(Denial::Permission));
        assert_eq!(by_right(FileError::PermissionDenied, false), Some(Denial::FileSystem));
        assert_eq!(by_right(FileError::NotFound, false), None);
    }
}
