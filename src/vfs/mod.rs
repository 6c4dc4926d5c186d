//! Storage: files and directories under one directory handle per user.
//!
//! Plain functions over system calls, no executor. Those named `try_…` never wait and may run on a
//! shard's thread; they answer `None` when the kernel cannot promise that the answer is cached.
//! All others may wait for a disk and belong on a helper thread.
//!
//! No reply codes, no buffering policy and no conversion of line ends (except to count for SIZE in
//! TYPE A): those belong to the session and the server-DTP.

mod boot;
mod copy;
mod error;
mod facts;
mod filesystem_names;
mod glance;
mod gradual;
mod growing;
mod hash;
mod home;
mod kept_digests;
mod leftovers;
mod lister;
mod read;
mod request;
mod root;
mod shown_names;
mod sweep;
mod temporary;
#[cfg(test)]
mod testing;
mod unique;
mod upload;

pub use self::boot::Boot;
pub use self::glance::Glance;
pub use self::gradual::{ControlText, TextSize};
pub use self::hash::Hasher;
pub use self::home::Home;
pub use self::leftovers::{LeftoverRule, Swept};
pub use self::lister::Lister;
pub use self::read::{DIRECT_ALIGNMENT, ReadFile};
pub use self::request::{
    SetFact, make_directories, perform, remove_directory, set_facts, try_perform,
};
pub use self::root::{Root, RootError};
pub use self::sweep::{Sweep, SweepReport, Tree};
pub use self::upload::{StorePolicy, Upload};

use std::sync::Arc;

use self::error::definite;
use self::root::Lookup;
use crate::protocol::file::{FileError, Opened, TransferRequest};

/// An opened transfer; the server-DTP pumps it.
#[derive(Debug)]
pub enum Transfer {
    /// RETR.
    Read(ReadFile),
    /// STOR, APPE, STOU.
    Write(Upload),
    /// LIST, NLST, MLSD.
    List(Lister),
}

/// Opens what a transfer command needs, before its preliminary reply.
///
/// # Errors
///
/// Why the command must be refused; nothing has changed in the filesystem then.
pub fn open(
    root: &Arc<Root>,
    request: &TransferRequest,
    policy: &StorePolicy,
) -> Result<(Transfer, Opened), FileError> {
    match request {
        TransferRequest::Store { path, mode, rights, announced, ascii: _ } => {
            let upload = Upload::open(root, path, *mode, *rights, *announced, *policy)?;
            let name = upload.chosen_name().map(<[u8]>::to_vec);
            Ok((Transfer::Write(upload), Opened { size: None, name }))
        }
        TransferRequest::Retrieve { .. } | TransferRequest::List(_) => {
            open_to_send(root, request, Lookup::Blocking)
        }
    }
}

/// Like [`open`], without waiting. Uploads always need the blocking form. `is_file`: a regular
/// file was seen at the path of the request a moment ago ([`Root::glance`]), so that its kind need
/// not be looked at once more before it is opened.
#[must_use]
pub fn try_open(
    root: &Arc<Root>,
    request: &TransferRequest,
    is_file: bool,
) -> Option<Result<(Transfer, Opened), FileError>> {
    definite(match request {
        TransferRequest::Retrieve { path, offset, ascii } if is_file => {
            ReadFile::open_seen(root, path, *offset, *ascii).map(|file| sending(file, *ascii))
        }
        _ => open_to_send(root, request, Lookup::Cached),
    })
}

fn sending(file: ReadFile, ascii: bool) -> (Transfer, Opened) {
    let size = (!ascii).then(|| file.left());
    (Transfer::Read(file), Opened { size, name: None })
}

fn open_to_send(
    root: &Arc<Root>,
    request: &TransferRequest,
    lookup: Lookup,
) -> Result<(Transfer, Opened), FileError> {
    match request {
        TransferRequest::Retrieve { path, offset, ascii } => {
            ReadFile::open(root, path, *offset, *ascii, lookup).map(|file| sending(file, *ascii))
        }
        TransferRequest::List(request) => {
            let lister = Lister::open(root, request, lookup)?;
            Ok((Transfer::List(lister), Opened::default()))
        }
        TransferRequest::Store { .. } => Err(FileError::Unsupported),
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::path::Path;
    use std::process::Command;

    use super::testing::path;
    use super::*;
    use crate::protocol::account::StoreRights;
    use crate::protocol::file::{FileReply, FileRequest, StoreMode};

    /// Names the directory on which [`full_and_read_only_filesystems`] finds its own tmpfs.
    const SMALL: &str = "RINGFTPD_TEST_SMALL_FILESYSTEM";

    /// A full and a read-only filesystem, in a mount namespace of its own: the test starts itself
    /// there.
    #[test]
    fn full_and_read_only_filesystems() {
        if let Some(directory) = std::env::var_os(SMALL) {
            return on_a_small_filesystem(Path::new(&directory));
        }
        let directory = tempfile::tempdir().unwrap();
        let private = |script: &str| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
            command.arg(directory.path()).arg(std::env::current_exe().unwrap());
            command.env(SMALL, directory.path());
            command.output()
        };
        const MOUNT: &str = "mount -t tmpfs -o size=1m tmpfs \"$1\"";
        match private(MOUNT) {
            Ok(output) if output.status.success() => {}
            other => return println!("skipped: no private mount namespace here: {other:?}"),
        }
        let test = "vfs::tests::full_and_read_only_filesystems --exact --nocapture";
        let output = private(&format!("{MOUNT} && exec \"$2\" {test}")).unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    }

    /// On a filesystem of 1 MiB that can be mounted read-only.
    fn on_a_small_filesystem(directory: &Path) {
        let root = Arc::new(Root::open(directory).unwrap());
        let store = |mode, announced| {
            let path = path(b"f");
            let request = TransferRequest::Store {
                path,
                mode,
                rights: StoreRights::ALL,
                ascii: false,
                announced,
            };
            match open(&root, &request, &StorePolicy::default()) {
                Ok((Transfer::Write(upload), _)) => Ok(upload),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error),
            }
        };
        let available = || match perform(&root, &FileRequest::Available(path(b"/"))) {
            Ok(FileReply::Octets(octets)) => octets,
            other => panic!("{other:?}"),
        };
        std::fs::write(directory.join("f"), "old").unwrap();
        let free = available();
        for mode in [StoreMode::Replace, StoreMode::At(1), StoreMode::Append, StoreMode::Unique] {
            let mut upload = store(mode, None).unwrap();
            let refusal =
                (0..64).find_map(|_| upload.write(&mut [IoSlice::new(&[0; 65_536])]).err());
            assert_eq!(refusal, Some(FileError::NoSpace), "{mode:?}");
            upload.abandon();
            assert_eq!(std::fs::read(directory.join("f")).unwrap(), b"old", "{mode:?}");
            assert_eq!(available(), free, "{mode:?}");
            assert_eq!(store(mode, Some(4 << 20)).err(), Some(FileError::NoSpace), "{mode:?}");
            assert_eq!(available(), free, "{mode:?}");
        }
        let remount = ["-o", "remount,bind,ro"];
        assert!(Command::new("mount").args(remount).arg(directory).status().unwrap().success());
        for mode in [StoreMode::Replace, StoreMode::Append, StoreMode::Unique] {
            assert_eq!(store(mode, None).err(), Some(FileError::ReadOnly), "{mode:?}");
        }
        for request in [
            FileRequest::MakeDirectory(path(b"d")),
            FileRequest::Delete(path(b"f")),
            FileRequest::Rename { from: path(b"f"), to: path(b"g"), replace: true },
            FileRequest::SetFacts { path: path(b"f"), modified: None, mode: Some(0o600) },
        ] {
            assert_eq!(perform(&root, &request), Err(FileError::ReadOnly), "{request:?}");
        }
        let again = Arc::new(Root::open(directory).unwrap());
        match perform(&again, &FileRequest::Metadata(path(b"f"))) {
            Ok(FileReply::Metadata(facts)) => assert!(!facts.writable),
            other => panic!("{other:?}"),
        }
    }
}
