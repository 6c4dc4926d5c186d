//! Small files: read at once, sealed at once, and sent with everything that surrounds them in one
//! write. At thousands of files a second the segments cost more than the octets.

use crate::connection::transfer::job::{TransferJob, TransferTask};
use crate::connection::transfer::storage::{self, OpenFile};
use crate::limits::WHOLE_FILE_BYTES_MAX;
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::session::TransferError;
use crate::vfs::{ReadFile, Transfer};

/// Whether `transfer` is a file that [`TransferTask::send_in_one_write`] sends.
pub(in super::super) fn is_one_write(job: &TransferJob, transfer: &Transfer) -> bool {
    let image = matches!(job.request, TransferRequest::Retrieve { ascii: false, .. });
    let Transfer::Read(file) = transfer else { return false };
    // Direct reads give aligned blocks only, not the whole file.
    image && !file.is_direct() && file.left() <= WHOLE_FILE_BYTES_MAX as u64
}

impl TransferTask<'_> {
    /// Sends a file whole, with the size it had when it was opened.
    pub(in super::super) async fn send_in_one_write(
        &mut self,
        file: ReadFile,
    ) -> Result<(), TransferError> {
        let context = &self.job.context;
        let size = file.size();
        let mut file = OpenFile::new(file, &self.job.files);
        let mut block = context.blocks.lease();
        let mut contents = Vec::new();
        loop {
            let left = usize::try_from(size - file.position()).unwrap_or(0);
            if left == 0 {
                break;
            }
            let reading = storage::read(&self.job.files, &mut file, &mut block);
            let reading = async { reading.await.map_err(TransferError::Storage) };
            let count = self.connection.guard(reading).await?.min(left);
            if count == 0 {
                return Err(TransferError::Storage(FileError::Shrunk));
            }
            if count == left && contents.is_empty() {
                return self.send_counted(&block.as_slice()[..count]).await;
            }
            contents.extend_from_slice(&block.as_slice()[..count]);
            if count == left {
                break;
            }
        }
        self.send_counted(&contents).await
    }

    async fn send_counted(&mut self, contents: &[u8]) -> Result<(), TransferError> {
        if self.send_contents(contents).await? {
            self.job.context.counters.downloads_in_one_write.increment();
        }
        Ok(())
    }

    /// Sends the last octets of a transfer, or all; returns whether one write took them and the
    /// end.
    pub(in super::super) async fn send_contents(
        &mut self,
        octets: &[u8],
    ) -> Result<bool, TransferError> {
        let at_once = self.connection.send_whole(octets).await?;
        self.moved(octets.len());
        Ok(at_once)
    }
}
