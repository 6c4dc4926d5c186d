//! Storing an upload while it is being received: blocks in order, one helper thread at a time, a
//! bounded number of blocks in flight.
//!
//! Full blocks are gathered and written together up to the length that the upload is to be written
//! in ([`Upload::write_bytes`]), until the client lets the receiver wait ([`WriteBehind::flush`])
//! or blocks become scarce (`gathered`). Where the kernel promises not to wait
//! (`Upload::try_write`), that is done at once and without a change of thread. Otherwise they go to
//! a helper thread; meanwhile the receiver fills further blocks. A failure is remembered: nothing
//! is written after it, and the upload cannot succeed.

use std::future::{Future, pending};
use std::io::IoSlice;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;

use crate::buffer::{Block, BlockPool};
use crate::connection::transfer::report::WritePath;
use crate::connection::transfer::storage::on_helper;
use crate::limits::{TRANSFER_BATCH_BYTES, WRITE_BEHIND_BLOCKS_MIN, WRITE_BEHIND_WRITES_MAX};
use crate::metrics::Counters;
use crate::protocol::file::FileError;
use crate::runtime::{FileHelpers, poll_once, yield_now};
use crate::vfs::Upload;

/// An upload and its blocks on their way to storage. Its futures may be dropped at any time; a
/// helper thread that has started writes its blocks to the end.
pub(crate) struct WriteBehind {
    pool: BlockPool,
    counters: Rc<Counters>,
    files: FileHelpers,
    /// `None` while a helper thread has it, or after one has lost it.
    upload: Option<Upload>,
    job: Option<Writing>,
    /// The blocks whose octets a helper thread has: they keep their places in the pool.
    away: Vec<Block>,
    /// Full blocks for the next write, in order.
    waiting: Vec<(Block, Range<usize>)>,
    /// Blocks of one write.
    together: usize,
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
    pub(crate) fn new(
        pool: &BlockPool,
        counters: &Rc<Counters>,
        files: &FileHelpers,
        upload: Upload,
    ) -> Self {
        counters.bytes_preallocated.add(upload.reserved());
        Self {
            pool: pool.clone(),
            counters: counters.clone(),
            files: files.clone(),
            together: (upload.write_bytes() / TRANSFER_BATCH_BYTES).max(1),
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
            self.counters.write_behind_waits.increment();
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
        let most = (WRITE_BEHIND_WRITES_MAX * self.gathered()).max(WRITE_BEHIND_BLOCKS_MIN);
        self.away.len() + self.waiting.len() >= most
    }

    /// Full blocks that are worth a write: while blocks are scarce, none waits for others.
    fn gathered(&self) -> usize {
        if self.pool.is_ample() { self.together } else { 1 }
    }

    /// Writes what can be written at once.
    fn write_inline(&mut self) {
        let Some(upload) = &mut self.upload else { return };
        while !self.waiting.is_empty() {
            let next = &self.waiting[..self.together.min(self.waiting.len())];
            let result = upload.try_write(&slices(next));
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
            self.counters.blocks_written_inline.add(whole as u64);
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

    /// Hands the waiting blocks of one write to a helper thread, unless one is at work.
    fn start_job(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(mut upload) = self.upload.take() else { return };
        self.path = WritePath::Behind;
        let count = self.together.min(self.waiting.len());
        self.counters.blocks_written_behind.add(count as u64);
        let mut pieces = Vec::with_capacity(count);
        for (mut block, range) in self.waiting.drain(..count) {
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::clock;
    use crate::limits::TRANSFER_BLOCKS_PER_SHARD;
    use crate::protocol::account::StoreRights;
    use crate::protocol::file::{HashAlgorithm, StoreMode, TransferRequest};
    use crate::protocol::path::VirtualPath;
    use crate::protocol::policy::{Durability, WriteSize};
    use crate::runtime::simulated::{Simulation, Weather};
    use crate::runtime::{Helpers, Owner, sleep_until, spawn};
    use crate::vfs::{Home, StorePolicy, Transfer, open};

    /// Three of the longest writes.
    const BLOCKS: usize = 24;

    /// How long storage takes for a write.
    const STORAGE: Duration = Duration::from_secs(1);

    /// What one upload is like.
    #[derive(Clone, Copy, Debug)]
    struct Case {
        size: WriteSize,
        /// Half of the shard's blocks are lent to others.
        scarce: bool,
        /// Each block comes only after the write of the one before would be over.
        slow_client: bool,
        /// Digests are made, so that no file system has it written inline.
        hashed: bool,
    }

    /// How its file grew.
    #[derive(Debug, Default)]
    struct Growth {
        /// Blocks of each write.
        writes: Vec<usize>,
        stored: usize,
        /// Most blocks that were handed over and not stored.
        behind: usize,
    }

    impl Growth {
        fn look(&mut self, directory: &Path, handed_over: usize) {
            let lengths = std::fs::read_dir(directory).unwrap();
            let longest = lengths.map(|entry| entry.unwrap().metadata().unwrap().len()).max();
            let stored = usize::try_from(longest.unwrap_or(0)).unwrap() / TRANSFER_BATCH_BYTES;
            if stored > self.stored {
                self.writes.push(stored - self.stored);
                self.stored = stored;
            }
            self.behind = self.behind.max(handed_over - stored);
        }
    }

    fn open_below(directory: &Path, Case { size, hashed, .. }: Case) -> Upload {
        let hashes = hashed.then_some(HashAlgorithm::Sha256).into_iter().collect();
        let (durability, write_size) = (Durability::None, size);
        let policy = StorePolicy { durability, hashes, write_size, ..StorePolicy::default() };
        // STOU: what grows has a name.
        let request = TransferRequest::Store {
            path: VirtualPath::root().resolve(b"f").unwrap(),
            mode: StoreMode::Unique,
            rights: StoreRights::ALL,
            ascii: false,
            announced: None,
        };
        let root = Arc::new(Home::new(directory.to_owned(), Arc::new([])).open().unwrap());
        match open(&root, &request, &policy).unwrap().0 {
            Transfer::Write(upload) => upload,
            other => panic!("{other:?}"),
        }
    }

    /// [`BLOCKS`] full blocks to a file below `place`, and how many the upload has for one write.
    fn store(place: &Path, case: Case) -> (Growth, usize) {
        let directory = tempfile::tempdir_in(place).unwrap();
        let weather = Weather { stuck_one_in: 1, stuck: STORAGE, ..Weather::default() };
        let outcome = Simulation::run(1, weather, |_| async move {
            let directory = directory.path();
            let files = Helpers::new().unwrap().of(Owner::default());
            let pool = BlockPool::default();
            let lent = if case.scarce { TRANSFER_BLOCKS_PER_SHARD / 2 } else { 0 };
            let _lent: Vec<Block> = (0..lent).map(|_| pool.lease()).collect();
            let upload = open_below(directory, case);
            let mut writer = WriteBehind::new(&pool, &Rc::default(), &files, upload);
            let growth = Rc::new(RefCell::new(Growth::default()));
            for number in 0..BLOCKS {
                let mut block = pool.lease();
                block.as_mut_slice().fill(u8::try_from(number).unwrap());
                writer.write(block, TRANSFER_BATCH_BYTES).await.unwrap();
                if case.slow_client {
                    sleep_until(clock::now() + 2 * STORAGE).await;
                }
                growth.borrow_mut().look(directory, number + 1);
            }
            let _looking = spawn({
                let (growth, directory) = (growth.clone(), directory.to_owned());
                async move {
                    loop {
                        growth.borrow_mut().look(&directory, BLOCKS);
                        sleep_until(clock::now() + STORAGE / 10).await;
                    }
                }
            });
            writer.finish().await.unwrap();
            growth.borrow_mut().look(directory, BLOCKS);
            let mut entries = std::fs::read_dir(directory).unwrap();
            let longest = entries.find_map(|entry| {
                let octets = std::fs::read(entry.unwrap().path()).unwrap();
                (!octets.is_empty()).then_some(octets)
            });
            let blocks = longest.unwrap();
            let blocks: Vec<_> = blocks.chunks(TRANSFER_BATCH_BYTES).collect();
            assert_eq!(blocks.len(), BLOCKS);
            for (number, block) in blocks.into_iter().enumerate() {
                let expected = vec![u8::try_from(number).unwrap(); TRANSFER_BATCH_BYTES];
                assert!(block == expected, "block {number}");
            }
            (growth.take(), writer.together)
        });
        outcome.unwrap()
    }

    const SIZES: [(WriteSize, Option<usize>); 5] = [
        (WriteSize::Auto, None),
        (WriteSize::Kib256, Some(1)),
        (WriteSize::Kib512, Some(2)),
        (WriteSize::Mib1, Some(4)),
        (WriteSize::Mib2, Some(8)),
    ];

    /// As long as the setting says where blocks are ample, inline in memory and by helper threads
    /// elsewhere, there with twice as much on its way. What "auto" says is in `vfs::growing`.
    #[test]
    fn writes_are_as_long_as_they_are_to_be() {
        let temporary = std::env::temp_dir();
        let places = [(&*temporary, true), (Path::new("/dev/shm"), false)];
        for (place, hashed) in places.into_iter().filter(|(place, _)| place.exists()) {
            for (size, expected) in SIZES {
                let case = Case { size, scarce: false, slow_client: false, hashed };
                let (growth, together) = store(place, case);
                let what = format!("{case:?} in {}: {growth:?}", place.display());
                assert_eq!(together, expected.unwrap_or(together), "{what}");
                assert_eq!(growth.writes, vec![together; BLOCKS / together], "{what}");
                let behind = if hashed { (2 * together).max(4) } else { together - 1 };
                assert_eq!(growth.behind, behind, "{what}");
            }
        }
    }

    /// While half of the blocks are lent none waits for others: each is written by itself where
    /// storage keeps up, and else with those that came during the write before.
    #[test]
    fn scarce_blocks_wait_for_no_others() {
        for (size, _) in SIZES {
            for slow_client in [true, false] {
                let case = Case { size, scarce: true, slow_client, hashed: true };
                let (growth, together) = store(&std::env::temp_dir(), case);
                let what = format!("{case:?}: {growth:?}");
                if slow_client {
                    assert_eq!((&growth.writes, growth.behind), (&vec![1; BLOCKS], 0), "{what}");
                } else {
                    assert_eq!((growth.writes[0], growth.behind), (1, 4), "{what}");
                    let most = growth.writes.iter().max();
                    assert_eq!(most, Some(&together.min(3)), "{what}");
                }
            }
        }
    }
}
