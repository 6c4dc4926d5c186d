//! Storage: files and directories under one directory handle per user.
//!
//! Plain functions over system calls, no executor. Those named `try_…` never wait and may run on a
//! shard's thread; they answer `None` when the kernel cannot promise that the answer is cached.
//! All others may wait for a disk and belong on a helper thread.
//!
//! Here is no reply code, no buffering policy and no conversion of line ends (except to count for
//! SIZE in TYPE A): that is the session's and the server-DTP's business.

mod copy;
mod error;
mod facts;
mod hash;
mod lister;
mod read;
mod request;
mod root;
mod temporary;
#[cfg(test)]
mod testing;
mod unique;
mod upload;

pub use self::hash::Hasher;
pub use self::lister::Lister;
pub use self::read::ReadFile;
pub use self::request::{perform, try_perform};
pub use self::root::{Root, RootError};
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
        TransferRequest::Store { path, mode, announced, ascii: _ } => {
            let upload = Upload::open(root, path, *mode, *announced, *policy)?;
            let name = upload.chosen_name().map(<[u8]>::to_vec);
            Ok((Transfer::Write(upload), Opened { size: None, name }))
        }
        TransferRequest::Retrieve { .. } | TransferRequest::List(_) => {
            open_to_send(root, request, Lookup::Blocking)
        }
    }
}

/// Like [`open`], without waiting. Uploads always need the blocking form.
#[must_use]
pub fn try_open(
    root: &Arc<Root>,
    request: &TransferRequest,
) -> Option<Result<(Transfer, Opened), FileError>> {
    definite(open_to_send(root, request, Lookup::Cached))
}

fn open_to_send(
    root: &Arc<Root>,
    request: &TransferRequest,
    lookup: Lookup,
) -> Result<(Transfer, Opened), FileError> {
    match request {
        TransferRequest::Retrieve { path, offset, ascii } => {
            let file = ReadFile::open(root, path, *offset, *ascii, lookup)?;
            let size = (!ascii).then(|| file.size() - file.position());
            Ok((Transfer::Read(file), Opened { size, name: None }))
        }
        TransferRequest::List(request) => {
            let lister = Lister::open(root, request, lookup)?;
            Ok((Transfer::List(lister), Opened::default()))
        }
        TransferRequest::Store { .. } => Err(FileError::Unsupported),
    }
}
