//! Storage work where it belongs: on the shard's thread when the kernel answers from its caches,
//! on a helper thread otherwise.

use std::sync::Arc;

use super::Context;
use crate::buffer::Block;
use crate::protocol::file::{FileError, FileReply, FileRequest, Opened, TransferRequest};
use crate::runtime::{FileHelpers, HelperError};
use crate::vfs::{self, Hasher, Lister, ReadFile, Root, StorePolicy, Transfer, Upload};

/// Answers one request of the session that was not answered from cache.
pub(super) async fn perform(
    context: &Context,
    files: &FileHelpers,
    root: Arc<Root>,
    request: FileRequest,
) -> Result<FileReply, FileError> {
    if let FileRequest::Hash { path, algorithm, start, end } = request {
        let kept = context.policy().hash_uploads.contains(algorithm);
        let open = move || Hasher::open(&root, &path, algorithm, start, end, kept);
        let hasher = on_helper(files, open).await?;
        if hasher.is_known() {
            context.counters.hash_cache_hits.increment();
        } else if kept {
            context.counters.hash_cache_misses.increment();
        }
        return digest(files, hasher).await;
    }
    on_helper(files, move || vfs::perform(&root, &request)).await
}

/// Piece by piece, so that a session that ends stops the work, and other work gets its turn.
async fn digest(files: &FileHelpers, mut hasher: Hasher) -> Result<FileReply, FileError> {
    loop {
        let step = move || hasher.step().map(|answer| (hasher, answer));
        let (back, answer) = on_helper_slowly(files, step).await?;
        match answer {
            Some(answer) => return Ok(answer),
            None => hasher = back,
        }
    }
}

/// Opens the file or directory of a transfer. What a restart marker has copied is copied piece by
/// piece, unless the transfer is to `stop`: then it is handed over to be given up.
pub(super) async fn open(
    files: &FileHelpers,
    root: Arc<Root>,
    request: TransferRequest,
    policy: StorePolicy,
    stop: impl Fn() -> bool,
) -> Result<(Transfer, Opened), FileError> {
    if let Some(answer) = vfs::try_open(&root, &request) {
        return answer;
    }
    let (mut transfer, opened) =
        on_helper(files, move || vfs::open(&root, &request, &policy)).await?;
    while let Transfer::Write(mut upload) = transfer {
        if !upload.is_copying() || stop() {
            return Ok((Transfer::Write(upload), opened));
        }
        let copy = move || upload.copy_some().map(|()| Transfer::Write(upload));
        transfer = on_helper_slowly(files, copy).await?;
    }
    Ok((transfer, opened))
}

/// The next piece of a file into `block`; 0 at its end.
pub(super) async fn read(
    files: &FileHelpers,
    file: &mut Option<ReadFile>,
    block: &mut Block,
) -> Result<usize, FileError> {
    let Some(mut reading) = file.take() else { return Err(FileError::Io(0)) };
    if let Some(answer) = reading.try_read(block.as_mut_slice()) {
        *file = Some(reading);
        return answer;
    }
    let mut bytes = block.take();
    let (reading, bytes, answer) = on_helper(files, move || {
        let answer = reading.read(&mut bytes);
        Ok((reading, bytes, answer))
    })
    .await?;
    block.restore(bytes);
    *file = Some(reading);
    answer
}

/// The next lines of a listing, in the memory of `text`, and the listing unless they are the last.
pub(super) async fn list(
    files: &FileHelpers,
    mut lister: Lister,
    mut text: Vec<u8>,
) -> Result<(Option<Lister>, Vec<u8>), FileError> {
    on_helper(files, move || {
        text.clear();
        let more = lister.next(&mut text)?;
        Ok((more.then_some(lister), text))
    })
    .await
}

/// Makes a complete upload visible.
pub(super) async fn finish(files: &FileHelpers, upload: Upload) -> Result<(), FileError> {
    on_helper(files, move || upload.finish()).await
}

/// Gives an incomplete upload up, as policy says.
pub(super) async fn abandon(files: &FileHelpers, upload: Upload) {
    // Nobody is left to tell; storage did what it could.
    let _ = on_helper(files, move || {
        upload.abandon();
        Ok(())
    })
    .await;
}

/// Drops something whose destructor may block.
pub(super) async fn discard(files: &FileHelpers, transfer: Transfer) {
    let _ = on_helper(files, move || {
        drop(transfer);
        Ok(())
    })
    .await;
}

/// Runs blocking work on a helper thread of the shard.
pub(super) async fn on_helper<T: Send + 'static>(
    files: &FileHelpers,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    answered(files.run(work).await)
}

/// Runs a piece of long work there, behind everything else.
async fn on_helper_slowly<T: Send + 'static>(
    files: &FileHelpers,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    answered(files.run_long(work).await)
}

fn answered<T>(result: Result<Result<T, FileError>, HelperError>) -> Result<T, FileError> {
    match result {
        Ok(answer) => answer,
        Err(HelperError::Overloaded) => Err(FileError::Overloaded),
        Err(HelperError::Panicked) => Err(FileError::Io(0)),
    }
}
