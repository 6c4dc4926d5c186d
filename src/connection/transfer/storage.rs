//! Storage work where it belongs: on the shard's thread when the kernel answers from its caches,
//! on a helper thread otherwise.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::audit;
use super::job::TransferJob;
use crate::buffer::Block;
use crate::clock;
use crate::connection::context::Context;
use crate::limits::GIVING_UP_PATIENCE;
use crate::protocol::file::{FileError, FileReply, FileRequest, Opened};
use crate::runtime::{FileHelpers, Flag, HelperError, logged_of, logging_of, race, timeout_at};
use crate::vfs::{
    self, ControlText, Hasher, Lister, ReadFile, Root, StorePolicy, TextSize, Transfer, Upload,
};

/// Answers one request of the session that was not answered from cache.
pub(crate) async fn perform(
    context: &Context,
    files: &FileHelpers,
    root: Arc<Root>,
    request: FileRequest,
) -> Result<FileReply, FileError> {
    match request {
        FileRequest::Hash { path, algorithm, start, end } => {
            let kept = context.policy().hash_uploads.contains(algorithm);
            let begin = move || {
                let hasher = Hasher::open(&root, &path, algorithm, start, end, kept)?;
                let known = hasher.is_known();
                piece(hasher, Hasher::step).map(|piece| (known, piece))
            };
            let (known, piece) = on_helper(files, begin).await?;
            if known {
                context.counters.hash_cache_hits.increment();
            } else if kept {
                context.counters.hash_cache_misses.increment();
            }
            rest(files, piece, Hasher::step).await
        }
        FileRequest::AsciiSize(path) => {
            let begin = move || piece(TextSize::open(&root, &path)?, TextSize::step);
            rest(files, on_helper(files, begin).await?, TextSize::step).await
        }
        FileRequest::ControlListing(list) => {
            let begin = move || piece(ControlText::open(&root, &list)?, ControlText::step);
            rest(files, on_helper(files, begin).await?, ControlText::step).await
        }
        FileRequest::RemoveDirectory(path) => {
            let of = logged_of();
            let remove = move || {
                let swept = vfs::remove_directory(&root, &path)?;
                logging_of(of, || audit::removed(&path));
                Ok(swept)
            };
            let swept = on_helper(files, remove).await?;
            context.note_leftovers(swept, &"a removed directory");
            Ok(FileReply::Done)
        }
        FileRequest::MakeDirectories(path) => {
            let of = logged_of();
            let make = move || vfs::make_directories(&root, &path, audit::made);
            on_helper(files, move || logging_of(of, make)).await
        }
        FileRequest::SetFacts { path, modified, mode } => {
            let of = logged_of();
            let set = move || {
                vfs::set_facts(&root, &path, modified, mode, |fact| audit::set(&path, fact))
            };
            on_helper(files, move || logging_of(of, set)).await
        }
        request if audit::changes(&request) => {
            let of = logged_of();
            let change = move || {
                let reply = vfs::perform(&root, &request)?;
                logging_of(of, || audit::done(&request));
                Ok(reply)
            };
            on_helper(files, change).await
        }
        request => on_helper(files, move || vfs::perform(&root, &request)).await,
    }
}

/// `answer`, unless it is given up first.
pub(crate) async fn unless(
    given_up: &Flag,
    answer: impl Future<Output = Result<FileReply, FileError>>,
) -> Result<FileReply, FileError> {
    let aborted = async {
        given_up.wait().await;
        Err(FileError::Aborted)
    };
    race(aborted, answer).await
}

/// The result of a step of long work.
enum Piece<W> {
    /// The answer. The work is dropped on the helper thread: closing its file may wait.
    Last(FileReply),
    More(W),
}

/// One step of long work, on a helper thread.
fn piece<W>(
    mut work: W,
    step: fn(&mut W) -> Result<Option<FileReply>, FileError>,
) -> Result<Piece<W>, FileError> {
    Ok(step(&mut work)?.map_or_else(|| Piece::More(work), Piece::Last))
}

/// The steps after the first, at the lowest priority. The work stops between two steps when the
/// session ends or gives it up, and other work runs between them.
async fn rest<W: Send + 'static>(
    files: &FileHelpers,
    mut last: Piece<W>,
    step: fn(&mut W) -> Result<Option<FileReply>, FileError>,
) -> Result<FileReply, FileError> {
    loop {
        match last {
            Piece::Last(answer) => return Ok(answer),
            Piece::More(work) => last = on_helper_slowly(files, move || piece(work, step)).await?,
        }
    }
}

/// Opens the file or directory of a transfer. The octets before a restart marker are copied piece
/// by piece; when the transfer is to `stop`, the unfinished upload is returned, to be abandoned.
pub(crate) async fn open(
    job: &TransferJob,
    policy: StorePolicy,
    stop: impl Fn() -> bool,
) -> Result<(Transfer, Opened), FileError> {
    let files = &job.files;
    if job.local
        && let Some(answer) = vfs::try_open(&job.root, &job.request, job.is_file)
    {
        return answer;
    }
    let (root, request) = (job.root.clone(), job.request.clone());
    let (mut transfer, opened) =
        on_helper(files, move || vfs::open(&root, &request, &policy)).await?;
    if let Transfer::Read(file) = &mut transfer
        && !job.context.is_local(&job.root, job.request.path(), files, file.device())
    {
        file.set_remote();
    }
    if let Transfer::Write(upload) = &transfer {
        job.context.note_leftovers(upload.swept(), &"an upload's directory");
    }
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
pub(crate) async fn read(
    files: &FileHelpers,
    held: &mut OpenFile,
    block: &mut Block,
) -> Result<usize, FileError> {
    if let Some(answer) = held.try_read(block.as_mut_slice()) {
        return answer;
    }
    let Some(mut reading) = held.file.take() else { return Err(FileError::Io(0)) };
    let mut bytes = block.take();
    let (reading, bytes, answer) = on_helper(files, move || {
        let answer = reading.read(&mut bytes);
        Ok((reading, bytes, answer))
    })
    .await?;
    block.restore(bytes);
    held.file = Some(reading);
    answer
}

/// A file being sent, closed on a helper thread where closing it may wait.
pub(crate) struct OpenFile {
    /// `None` while a helper thread has it, or after one has lost it.
    file: Option<ReadFile>,
    files: FileHelpers,
}

impl OpenFile {
    pub(crate) fn new(file: ReadFile, files: &FileHelpers) -> Self {
        Self { file: Some(file), files: files.clone() }
    }

    /// Up to `count` octets from the position, which does not move, read by a helper thread.
    pub(crate) async fn peek(&mut self, count: usize) -> Result<Vec<u8>, FileError> {
        let Some(mut reading) = self.file.take() else { return Err(FileError::Io(0)) };
        let (reading, answer) = on_helper(&self.files, move || {
            let mut octets = vec![0; count];
            let answer = reading.peek(&mut octets).map(|count| {
                octets.truncate(count);
                octets
            });
            Ok((reading, answer))
        })
        .await?;
        self.file = Some(reading);
        answer
    }
}

impl Deref for OpenFile {
    type Target = ReadFile;

    fn deref(&self) -> &ReadFile {
        self.file.as_ref().expect("whoever lost it ends the transfer")
    }
}

impl DerefMut for OpenFile {
    fn deref_mut(&mut self) -> &mut ReadFile {
        self.file.as_mut().expect("whoever lost it ends the transfer")
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take_if(|file| file.is_remote()) {
            self.files.dispose(file);
        }
    }
}

/// The next lines of a listing, in the memory of `text`, and the listing unless they are the last.
pub(crate) async fn list(
    files: &FileHelpers,
    lister: Lister,
    text: Vec<u8>,
) -> Result<(Option<Lister>, Vec<u8>), FileError> {
    on_helper(files, move || next_lines(lister, text)).await
}

/// As [`list`], for a listing that proved long: at the lowest priority.
pub(crate) async fn list_more(
    files: &FileHelpers,
    lister: Lister,
    text: Vec<u8>,
) -> Result<(Option<Lister>, Vec<u8>), FileError> {
    on_helper_slowly(files, move || next_lines(lister, text)).await
}

fn next_lines(
    mut lister: Lister,
    mut text: Vec<u8>,
) -> Result<(Option<Lister>, Vec<u8>), FileError> {
    text.clear();
    let more = lister.next(&mut text)?;
    Ok((more.then_some(lister), text))
}

/// Makes a complete upload visible, unless `given_up` returns before it begins to get its name:
/// then it is abandoned, whenever its helper thread comes to that. What has begun to get its name
/// cannot be stopped, and its end is waited for: whichever reply came earlier might be untrue.
pub(crate) async fn finish(
    context: &Context,
    files: &FileHelpers,
    upload: Upload,
    given_up: impl Future<Output = ()>,
) -> Result<(), FileError> {
    let decided = Arc::new(AtomicBool::new(false));
    // The first of the two decides; nothing else is read by who comes second.
    let decide = |decided: &AtomicBool| !decided.swap(true, Ordering::Relaxed);
    let (files, committed) = (files.clone(), decided.clone());
    let mut finishing = Box::pin(async move {
        on_helper(&files, move || upload.finish_if(|| decide(&committed))).await
    });
    let stopped = async {
        given_up.await;
        if !decide(&decided) {
            std::future::pending::<()>().await;
        }
        None
    };
    let finished = async { Some(finishing.as_mut().await) };
    if let Some(result) = race(finished, stopped).await {
        return result;
    }
    let abandoning = async move {
        let _ = finishing.await;
    };
    soon(context, abandoning).await;
    Err(FileError::Aborted)
}

/// Abandons an incomplete upload, as the policy says.
pub(crate) async fn abandon(files: &FileHelpers, upload: Upload) {
    // Nobody is left to report a failure to; storage did what it could.
    let _ = on_helper(files, move || {
        upload.abandon();
        Ok(())
    })
    .await;
}

/// Does what a failed transfer leaves to do as a task of the shard, and waits for it a moment: on a
/// disk that answers it is done when the client is told of the failure, and one that hangs delays
/// nobody. How many such tasks there are is bounded by the work of one user that may wait.
pub(crate) async fn soon(context: &Context, work: impl Future<Output = ()> + 'static) {
    let done = Flag::new();
    let told = done.clone();
    context.tasks.spawn(async move {
        work.await;
        told.set();
    });
    // The caller goes on after that time, finished or not.
    let _ = timeout_at(clock::now() + GIVING_UP_PATIENCE, done.wait()).await;
}

/// Runs blocking work on a helper thread of the shard.
pub(crate) async fn on_helper<T: Send + 'static>(
    files: &FileHelpers,
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    answered(files.run(work).await)
}

/// Runs a step of long work on a helper thread, at the lowest priority.
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
