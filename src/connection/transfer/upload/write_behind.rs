//! Storing an upload while it is being received: blocks in order, one helper thread at a time, a
//! bounded number of blocks in flight.
//!
//! Where the kernel promises not to wait (`Upload::try_write`), a block is written at once, from a
//! warm cache and without a change of thread. Otherwise it goes to a helper thread; meanwhile the
//! receiver fills further blocks, and all that are full when the thread is done go together. A
//! failure is remembered: nothing is written after it, and the upload cannot succeed.

use std::future::{Future, pending};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

use crate::buffer::Block;
use crate::connection::context::Context;
use crate::connection::transfer::report::WritePath;
use crate::connection::transfer::storage::on_helper;
use crate::limits::WRITE_BEHIND_BLOCKS_MAX;
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
    /// Full blocks for the next job, in order.
    waiting: Vec<(Block, Range<usize>)>,
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
            upload: Some(upload),
            job: None,
            away: Vec::new(),
            waiting: Vec::new(),
            failed: None,
            path: WritePath::Nothing,
        }
    }

    /// Writes the first `count` octets of `block`, or queues them behind the blocks before. Waits
    /// only while [`WRITE_BEHIND_BLOCKS_MAX`] blocks are in flight.
    ///
    /// # Errors
    ///
    /// The failure of this block's write, or of an earlier one.
    pub(crate) async fn write(&mut self, block: Block, count: usize) -> Result<(), FileError> {
        self.poll_job().await;
        while self.failed.is_none() && self.is_full() {
            self.context.counters.write_behind_waits.increment();
            self.finish_job().await;
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let done = self.write_inline(&block.as_slice()[..count])?;
        if done > 0 && self.path == WritePath::Nothing {
            self.path = WritePath::Inline;
        }
        if done == count {
            self.context.counters.blocks_written_inline.add(u64::from(count > 0));
            return Ok(());
        }
        self.context.counters.blocks_written_behind.increment();
        self.path = WritePath::Behind;
        self.waiting.push((block, done..count));
        self.start_job();
        self.poll_job().await;
        // The helper thread gets its work when other tasks run.
        yield_now().await;
        Ok(())
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
        self.under_way() >= WRITE_BEHIND_BLOCKS_MAX
    }

    fn under_way(&self) -> usize {
        self.away.len() + self.waiting.len()
    }

    /// Writes what can be written at once, and returns how many octets that was.
    fn write_inline(&mut self, octets: &[u8]) -> Result<usize, FileError> {
        let Some(upload) = &mut self.upload else { return Ok(0) };
        let mut done = 0;
        while done < octets.len() {
            match upload.try_write(&octets[done..]) {
                Some(Ok(count)) if count > 0 => done += count,
                Some(Err(error)) => {
                    self.failed = Some(error);
                    return Err(error);
                }
                Some(Ok(_)) | None => break,
            }
        }
        Ok(done)
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
            Ok(()) => self.start_job(),
            Err(error) => {
                self.failed = Some(error);
                self.waiting.clear();
            }
        }
    }

    /// Hands all waiting blocks to a helper thread, unless one is at work.
    fn start_job(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut upload) = self.upload.take() else { return };
        let mut pieces = Vec::with_capacity(self.waiting.len());
        for (mut block, range) in self.waiting.drain(..) {
            pieces.push((block.take(), range));
            self.away.push(block);
        }
        let files = self.files.clone();
        self.job = Some(Box::pin(async move {
            on_helper(&files, move || {
                let mut pieces_of = pieces.iter().map(|(octets, range)| &octets[range.clone()]);
                let result = pieces_of.try_for_each(|octets| upload.write(octets));
                let octets = pieces.into_iter().map(|(octets, _)| octets).collect();
                Ok(Written { upload, octets, result })
            })
            .await
        }));
    }
}
