//! Downloads sent by the kernel: sendfile(2) from the page cache to the data connection, in clear
//! or through the kernel's TLS. What is not in the page cache is read by a helper thread and sent
//! from a block, so that no disk stops the shard.

use crate::connection::transfer::job::TransferTask;
use crate::connection::transfer::storage::{self, OpenFile};
use crate::protocol::file::FileError;
use crate::protocol::session::TransferError;
use crate::runtime::give_way;
use crate::sys::sendfile;
use crate::vfs::ReadFile;

/// Octets of one sendfile(2): a turn of some 200 µs, and whole TLS records.
const CHUNK_BYTES: u64 = 1024 * 1024;

impl TransferTask<'_> {
    /// Sends the rest of the file, without a copy where the page cache has it.
    pub(in super::super) async fn send_by_kernel(
        &mut self,
        file: ReadFile,
    ) -> Result<(), TransferError> {
        let size = file.size();
        // Asking per chunk costs 5 % with pages of 4 KiB; a file of a tmpfs is always in memory.
        let in_memory = file.is_memory();
        let mut file = OpenFile::new(file, &self.job.files);
        let mut block = None;
        // Cleared by a filesystem without sendfile; a read also shows whether an error is the
        // file's.
        let mut sendfile_works = true;
        loop {
            if sendfile_works && file.left() > 0 {
                let reading = &mut *file;
                let count = reading.left().min(CHUNK_BYTES);
                let cached = || sendfile::is_cached(&*reading, reading.position(), count);
                if in_memory || cached() == Ok(true) {
                    match self.connection.send_from(reading, count).await? {
                        Some(0) => {}
                        Some(sent) => {
                            reading.advance(sent);
                            self.moved(usize::try_from(sent).unwrap_or(usize::MAX));
                            give_way().await;
                            continue;
                        }
                        None => sendfile_works = false,
                    }
                } else {
                    self.job.context.counters.sendfile_cold_reads.increment();
                }
            }
            let files = &self.job.files;
            let block = block.get_or_insert_with(|| self.job.context.blocks.lease());
            let reading = storage::read(files, &mut file, block);
            let reading = async { reading.await.map_err(TransferError::Storage) };
            let count = self.connection.guard(reading).await?;
            if count == 0 {
                break;
            }
            self.send(&block.as_slice()[..count]).await?;
        }
        // A file that was truncated meanwhile is shorter than SIZE promised.
        if file.position() < size {
            return Err(TransferError::Storage(FileError::Shrunk));
        }
        self.connection.end_sending().await
    }
}
