//! One transfer: its input, and its state while octets move.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::timing::Timing;
use crate::connection::arrivals::handshake::DataTls;
use crate::connection::context::Context;
use crate::connection::data::connection::DataConnection;
use crate::limits::TRANSFER_BATCH_BYTES;
use crate::protocol::file::TransferRequest;
use crate::protocol::policy::Policy;
use crate::protocol::session::{Input, TransferError};
use crate::runtime::{FileHelpers, MailboxSender, give_way};
use crate::vfs::Root;

/// The input of a transfer.
pub(crate) struct TransferJob {
    pub(crate) context: Rc<Context>,
    /// As it was when the transfer began.
    pub(crate) policy: Arc<Policy>,
    pub(crate) root: Arc<Root>,
    /// The helper threads for work of this user at the file or directory of the request.
    pub(crate) files: FileHelpers,
    /// Whether the file or directory may be opened on this thread.
    pub(crate) local: bool,
    /// Whether the request led to a regular file when the command came.
    pub(crate) is_file: bool,
    pub(crate) request: TransferRequest,
    /// What the handshake of the data connection needs.
    pub(crate) tls: DataTls,
    pub(crate) user: String,
    /// The command's name.
    pub(crate) command: &'static str,
    /// Whether a bare FIN is the end of an upload under TLS.
    pub(crate) lax_upload_eof: bool,
    /// Answers go here.
    pub(crate) mailbox: MailboxSender<Input>,
}

impl TransferJob {
    pub(super) const fn is_upload(&self) -> bool {
        matches!(self.request, TransferRequest::Store { .. })
    }
}

/// A transfer whose octets move. The ways to move them are in `download` and `upload`.
pub(super) struct TransferTask<'a> {
    pub(super) job: &'a TransferJob,
    /// Octets of the file or listing so far.
    pub(super) moved: &'a Cell<u64>,
    pub(super) timing: &'a Timing,
    pub(super) connection: DataConnection,
}

impl TransferTask<'_> {
    /// Counts octets that have moved.
    pub(super) fn moved(&self, octets: usize) {
        self.moved.set(self.moved.get() + octets as u64);
        self.timing.moved();
    }

    /// Sends octets of the transfer.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        // Bounded pieces: other sessions of the shard get their turn in between.
        for piece in octets.chunks(TRANSFER_BATCH_BYTES) {
            self.connection.send(piece).await?;
            self.moved(piece.len());
            // When the client is faster than storage, no write waits, so ABOR has to be seen here.
            self.connection.check()?;
            give_way().await;
        }
        Ok(())
    }
}
