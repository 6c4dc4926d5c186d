//! Storing an upload while it is being received: blocks in order, one helper thread at a time, a
//! bounded number of blocks in flight.
//!
//! Full blocks are gathered and written together where a long write costs less (`gathered`), until
//! the client lets the receiver wait ([`WriteBehind::flush`]). Where the kernel promises not to
//! wait (`Upload::try_write`), that is done at once and without a change of thread. Otherwise they
//! go to a helper thread; meanwhile the receiver fills further blocks. A failure is remembered:
//! nothing is written after it, and the upload cannot succeed.

use std::future::{Future, pending};
use std::io::IoSlice;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

use crate::buffer::Block;
use crate::connection::context::Context;
use crate::connection::transfer::report::WritePath;
use crate::connection::transfer::storage::on_helper;
use crate::limits::{
    WRITE_BEHIND_BLOCKS_MAX, WRITE_BEHIND_BLOCKS_SCARCE_MAX, WRITE_TOGETHER_BLOCKS,
};
use crate::protocol::file::FileError;
use crate::runtime::{FileHelpers, poll_once, yield_now};
use crate::vfs::Upload;

/// An upload and its blocks on their way to storage. Its futures may be dropped at any time; a
/// helper thread that has started writes its blocks to the end.
pub(crate) struct WriteBehind {
    context: Rc<Context>,
    files: FileHelpers,
    /// `None` while a helper thread has it, or after one has lost it.
    upload: Option<Upload>,
    job: Option<Writing>,
    /// The blocks whose octets a helper thread has: they keep their places in the pool.
    away: Vec<Block>,
    /// Full blocks for the next write, in order.
    waiting: Vec<(Block, Range<usize>)>,
    /// Whether a long write costs less than short ones.
    gathers: bool,
    /// What waits is written without waiting for more.
    pressed: bool,
    failed: Option<FileError>,
    path: WritePath,
}

type Writing = Pin<Box<dyn Future<Output = Result<Written, FileError>>>>;

/// What a helper thread gives back.
struct Written {
    upload: Upload,
    octets: Vec<Vec<u8>>,
    result: Result<(), FileError>,
}

impl WriteBehind {
    pub(crate) fn new(context: &Rc<Context>, files: &FileHelpers, upload: Upload) -> Self {
        context.counters.bytes_preallocated.add(upload.reserved());
        Self {
            context: context.clone(),
            files: files.clone(),
            gathers: upload.gains_by_length(),
            upload: Some(upload),
            job: None,
            away: Vec::new(),
            waiting: Vec::new(),
            pressed: false,
            failed: None,
            path: WritePath::Nothing,
        }
    }

    /// Writes the first `count` octets of `block`, or keeps them for a write with those to come, or
    /// behind the one under way. Waits only while as many blocks are in flight as may be.
    ///
    /// # Errors
    ///
    /// The failure of this block's write, or of an earlier one.
    pub(crate) async fn write(&mut self, block: Block, count: usize) -> Result<(), FileError> {
        self.poll_job().await;
        while self.failed.is_none() && self.is_full() {
            self.context.counters.write_behind_waits.increment();
            self.flush();
            self.finish_job().await;
        }
        if self.failed.is_none() && count > 0 {
            self.waiting.push((block, 0..count));
            self.pressed = false;
            if self.waiting.len() >= self.gathered() {
                self.flush();
            }
        }
        if self.job.is_some() {
            self.poll_job().await;
            // The helper thread gets its work when other tasks run.
            yield_now().await;
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Writes all that waits, at once or as soon as the write under way is done. A failure is known
    /// from [`WriteBehind::failure`].
    pub(crate) fn flush(&mut self) {
        self.pressed = true;
        self.write_inline();
        self.start_job();
    }

    /// Goes on storing what is in flight, and returns only when that fails.
    pub(crate) async fn failure(&mut self) -> FileError {
        loop {
            if let Some(error) = self.failed {
                return error;
            }
            if self.job.is_none() {
                pending::<()>().await;
            }
            self.finish_job().await;
        }
    }

    /// How the octets got to storage so far.
    pub(crate) const fn path(&self) -> WritePath {
        self.path
    }

    /// Waits until everything is stored, or given up after a failure.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub(crate) async fn finish(&mut self) -> Result<(), FileError> {
        self.flush();
        while self.job.is_some() {
            self.finish_job().await;
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Gives up what no helper thread has begun with.
    pub(crate) fn stop(&mut self) {
        self.waiting.clear();
        self.failed.get_or_insert(FileError::Aborted);
    }

    /// The upload, behind [`WriteBehind::finish`].
    ///
    /// # Errors
    ///
    /// A helper thread has lost it.
    pub(crate) fn into_upload(self) -> Result<Upload, FileError> {
        self.upload.ok_or(self.failed.unwrap_or(FileError::Io(0)))
    }

    /// Whether [`WriteBehind::write`] would wait, as far as is known.
    pub(crate) fn is_full(&self) -> bool {
        let ample = self.context.blocks.is_ample();
        let most = if ample { WRITE_BEHIND_BLOCKS_MAX } else { WRITE_BEHIND_BLOCKS_SCARCE_MAX };
        self.away.len() + self.waiting.len() >= most
    }

    /// Full blocks that are worth a write.
    fn gathered(&self) -> usize {
        if self.gathers && self.context.blocks.is_ample() { WRITE_TOGETHER_BLOCKS } else { 1 }
    }

    /// Writes what can be written at once.
    fn write_inline(&mut self) {
        let Some(upload) = &mut self.upload else { return };
        while !self.waiting.is_empty() {
            let result = upload.try_write(&slices(&self.waiting));
            let mut count = match result {
                Some(Ok(count)) if count > 0 => count,
                Some(Err(error)) => return self.fail(error),
                Some(Ok(_)) | None => return,
            };
            if self.path == WritePath::Nothing {
                self.path = WritePath::Inline;
            }
            let mut whole = 0;
            for (_, range) in &mut self.waiting {
                let written = range.len().min(count);
                range.start += written;
                count -= written;
                whole += usize::from(range.start == range.end);
            }
            self.waiting.drain(..whole);
            self.context.counters.blocks_written_inline.add(whole as u64);
        }
    }

    fn fail(&mut self, error: FileError) {
        self.failed = Some(error);
        self.waiting.clear();
    }

    /// Checks without waiting whether the helper thread is done.
    async fn poll_job(&mut self) {
        if let Some(job) = &mut self.job
            && let Some(written) = poll_once(job).await
        {
            self.take_back(written);
        }
    }

    async fn finish_job(&mut self) {
        if let Some(job) = &mut self.job {
            let written = job.await;
            self.take_back(written);
        }
    }

    fn take_back(&mut self, written: Result<Written, FileError>) {
        self.job = None;
        let mut away = std::mem::take(&mut self.away);
        let result = written.and_then(|Written { upload, octets, result }| {
            self.upload = Some(upload);
            for (block, octets) in away.iter_mut().zip(octets) {
                block.restore(octets);
            }
            result
        });
        match result {
            Ok(()) if self.pressed || self.waiting.len() >= self.gathered() => self.start_job(),
            Ok(()) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Hands all waiting blocks to a helper thread, unless one is at work.
    fn start_job(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut upload) = self.upload.take() else { return };
        self.path = WritePath::Behind;
        self.context.counters.blocks_written_behind.add(self.waiting.len() as u64);
        let mut pieces = Vec::with_capacity(self.waiting.len());
        for (mut block, range) in self.waiting.drain(..) {
            pieces.push((block.take(), range));
            self.away.push(block);
        }
        let files = self.files.clone();
        self.job = Some(Box::pin(async move {
            on_helper(&files, move || {
                let result = upload.write(&mut slices(&pieces));
                let octets = pieces.into_iter().map(|(octets, _)| octets).collect();
                Ok(Written { upload, octets, result })
            })
            .await
        }));
    }
}

/// The octets of `pieces` that are to be written.
fn slices<B: AsRef<[u8]>>(pieces: &[(B, Range<usize>)]) -> Vec<IoSlice<'_>> {
    pieces.iter().map(|(octets, range)| IoSlice::new(&octets.as_ref()[range.clone()])).collect()
}
