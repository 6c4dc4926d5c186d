//! Sending a listing: its next lines are read on a helper thread while the last ones are sent.

use crate::connection::transfer::job::TransferTask;
use crate::connection::transfer::storage;
use crate::protocol::session::TransferError;
use crate::runtime::both;
use crate::vfs::Lister;

impl TransferTask<'_> {
    /// Sends all lines of `lister`, two batches of text in memory.
    pub(in super::super) async fn send_listing(
        &mut self,
        lister: Lister,
    ) -> Result<(), TransferError> {
        let files = &self.job.files;
        let mut spare = Vec::new();
        let reading = storage::list(files, lister, Vec::new());
        let reading = async { Ok(reading.await) };
        // Guarded, so that ABOR is answered even when storage does not answer.
        let mut read = self.connection.guard(reading).await?;
        loop {
            let (lister, text) = read.map_err(TransferError::Storage)?;
            let Some(lister) = lister else {
                return self.send_contents(&text).await.map(drop);
            };
            let reading = storage::list_more(files, lister, spare);
            let interrupts = self.connection.interrupts.clone();
            let sending = async {
                let (next, sent) = both(reading, self.send(&text)).await;
                sent.map(|()| next)
            };
            let next = interrupts.guard(sending).await?;
            (read, spare) = (next, text);
        }
    }
}
