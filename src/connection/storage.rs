//! Storage work where it belongs: on the shard's thread when the kernel answers from its caches,
//! on a helper thread otherwise.

use std::sync::Arc;

use crate::buffer::Block;
use crate::protocol::file::{FileError, FileReply, FileRequest, Opened, TransferRequest};
use crate::runtime::{HelperError, Helpers};
use crate::vfs::{self, Hasher, Lister, Root, StorePolicy, Transfer, Upload};

/// Answers one request of the session that was not answered from cache.
pub(super) async fn perform(
    helpers: &Helpers,
    root: Arc<Root>,
    request: FileRequest,
) -> Result<FileReply, FileError> {
    if let FileRequest::Hash { path, algorithm, start, end } = request {
        let open = move || Hasher::open(&root, &path, algorithm, start, end);
        return digest(helpers, on_helper(helpers, open).await?).await;
    }
    on_helper(helpers, move || vfs::perform(&root, &request)).await
}

/// Piece by piece, so that a session that ends stops the work, and other work gets its turn.
async fn digest(helpers: &Helpers, mut hasher: Hasher) -> Result<FileReply, FileError> {
    loop {
        let step = move || hasher.step().map(|answer| (hasher, answer));
        let (back, answer) = on_helper(helpers, step).await?;
        match answer {
            Some(answer) => return Ok(answer),
            None => hasher = back,
        }
    }
}

/// Opens the file or directory of a transfer.
pub(super) async fn open(
    helpers: &Helpers,
    root: Arc<Root>,
    request: TransferRequest,
    policy: StorePolicy,
) -> Result<(Transfer, Opened), FileError> {
    if let Some(answer) = vfs::try_open(&root, &request) {
        return answer;
    }
    on_helper(helpers, move || vfs::open(&root, &request, &policy)).await
}

/// The next lines of a listing; `false` after the last.
pub(super) async fn list(
    helpers: &Helpers,
    lister: &mut Option<Lister>,
    text: &mut Vec<u8>,
) -> Result<bool, FileError> {
    let Some(mut listing) = lister.take() else { return Err(FileError::Io(0)) };
    let mut lines = std::mem::take(text);
    lines.clear();
    let (listing, lines, more) = on_helper(helpers, move || {
        let more = listing.next(&mut lines);
        Ok((listing, lines, more))
    })
    .await?;
    *text = lines;
    *lister = Some(listing);
    more
}

/// Writes the first `count` octets of `block`.
pub(super) async fn write(
    helpers: &Helpers,
    upload: &mut Option<Upload>,
    block: &mut Block,
    count: usize,
) -> Result<(), FileError> {
    let Some(mut writing) = upload.take() else { return Err(FileError::Io(0)) };
    let mut done = 0;
    while done < count {
        match writing.try_write(&block.as_slice()[done..count]) {
            Some(Ok(written)) if written > 0 => done += written,
            Some(Err(error)) => {
                *upload = Some(writing);
                return Err(error);
            }
            Some(Ok(_)) | None => break,
        }
    }
    if done == count {
        *upload = Some(writing);
        return Ok(());
    }
    let bytes = block.take();
    let (writing, bytes, answer) = on_helper(helpers, move || {
        let answer = writing.write(&bytes[done..count]);
        Ok((writing, bytes, answer))
    })
    .await?;
    block.restore(bytes);
    *upload = Some(writing);
    answer
}

/// Makes a complete upload visible.
pub(super) async fn finish(helpers: &Helpers, upload: Upload) -> Result<(), FileError> {
    on_helper(helpers, move || upload.finish()).await
}

/// Gives an incomplete upload up, as policy says.
pub(super) async fn abandon(helpers: &Helpers, upload: Upload) {
    // Nobody is left to tell; storage did what it could.
    let _ = on_helper(helpers, move || {
        upload.abandon();
        Ok(())
    })
    .await;
}

/// Drops something whose destructor may block.
pub(super) async fn discard(helpers: &Helpers, transfer: Transfer) {
    let _ = on_helper(helpers, move || {
        drop(transfer);
        Ok(())
    })
    .await;
}

async fn on_helper<T: Send + 'static>(
    helpers: &Helpers,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    match helpers.run_file(work).await {
        Ok(answer) => answer,
        Err(HelperError::Overloaded) => Err(FileError::Overloaded),
        Err(HelperError::Panicked) => Err(FileError::Io(0)),
    }
}
