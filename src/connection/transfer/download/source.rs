//! The octets of a file in order: at once where the page cache has them, else by reads that wait
//! for the disk while earlier octets are sent. What is done with them is up to the sender.

use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

use rustix::io::Errno;

use crate::buffer::Permit;
use crate::connection::context::Context;
use crate::connection::transfer::report::Reads;
use crate::connection::transfer::storage::OpenFile;
use crate::limits::{
    READ_AHEAD_BYTES, READ_AHEAD_DEPTH, READ_AHEAD_SMALL_BYTES, TLS_FRAGMENT_BYTES_MAX,
};
use crate::protocol::file::FileError;
use crate::runtime::{FileReader, Octets, PendingRead};
use crate::vfs::{DIRECT_ALIGNMENT, ReadFile};

/// A file being sent.
pub(crate) struct Source {
    context: Rc<Context>,
    file: OpenFile,
    reader: Option<FileReader>,
    /// Octets read and not taken yet.
    chunk: Option<Chunk>,
    pending: VecDeque<Pending>,
    /// Where the next read ahead begins.
    ahead: u64,
    /// The file ends after `chunk`.
    ended: bool,
    reads: Reads,
}

/// What [`Source::next`] returns.
pub(crate) enum Piece<'a> {
    /// This many octets, at the front of the caller's room.
    InRoom(usize),
    /// Octets that were read ahead, in memory of their own.
    Ahead(&'a [u8]),
    /// Nothing more.
    End,
    /// Nothing yet: [`Source::wait`].
    NotYet,
}

struct Pending {
    read: PendingRead,
    position: u64,
    count: usize,
    /// Octets before the wanted position: direct reads are aligned.
    skip: usize,
    permit: Option<Permit>,
}

struct Chunk {
    octets: Read,
    taken: usize,
    /// Counts against what the shard may read ahead.
    _permit: Option<Permit>,
}

/// Octets as they were read.
enum Read {
    /// By io_uring.
    Ring(Octets),
    /// By a helper thread.
    Helper(Vec<u8>),
}

impl Deref for Read {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Ring(octets) => octets,
            Self::Helper(octets) => octets,
        }
    }
}

impl Source {
    pub(crate) fn new(context: &Rc<Context>, file: OpenFile) -> Self {
        if file.is_direct_refused() {
            if context.counters.direct_refused.get() == 0 {
                tracing::warn!(
                    "a file is to be read without the page cache (cache = \"direct\"), but its \
                     filesystem cannot do that: it is read through the page cache"
                );
            }
            context.counters.direct_refused.increment();
        }
        Self {
            context: context.clone(),
            file,
            reader: None,
            chunk: None,
            pending: VecDeque::new(),
            ahead: 0,
            ended: false,
            reads: Reads::default(),
        }
    }

    /// The next octets, at most as many as `room` holds, without waiting.
    pub(crate) fn next(&mut self, room: &mut [u8]) -> Result<Piece<'_>, FileError> {
        if self.chunk.as_ref().is_some_and(|chunk| chunk.taken == chunk.octets.len()) {
            self.chunk = None;
        }
        if let Some(chunk) = &mut self.chunk {
            let count = room.len().min(chunk.octets.len() - chunk.taken);
            let octets = &chunk.octets[chunk.taken..][..count];
            chunk.taken += count;
            self.file.advance(count as u64);
            let way =
                if self.file.is_direct() { &mut self.reads.direct } else { &mut self.reads.cold };
            *way += count as u64;
            return Ok(Piece::Ahead(octets));
        }
        if self.ended {
            return Ok(Piece::End);
        }
        if !self.pending.is_empty() {
            return Ok(Piece::NotYet);
        }
        match self.file.try_read(room) {
            None => Ok(Piece::NotYet),
            Some(Ok(0)) => {
                self.ended = true;
                Ok(Piece::End)
            }
            Some(Ok(count)) => {
                self.reads.cached += count as u64;
                self.ended = count < room.len() && is_all(&self.file, self.file.position());
                Ok(Piece::InRoom(count))
            }
            Some(Err(error)) => Err(error),
        }
    }

    /// Returns when [`Source::next`] has something to return.
    pub(crate) async fn wait(&mut self) -> Result<(), FileError> {
        if self.file.is_remote() {
            return self.wait_for_helper().await;
        }
        self.read_ahead()?;
        let Some(mut pending) = self.pending.pop_front() else { return Ok(()) };
        let octets = match (&mut pending.read).await {
            Ok(octets) => octets,
            Err(error) => {
                self.pending.clear();
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                if errno == Errno::INVAL && self.file.is_direct() {
                    // A device with larger sectors, or a file that no longer takes direct reads.
                    self.file.leave_direct();
                    self.reader = None;
                    return Ok(());
                }
                return Err(errno.into());
            }
        };
        if octets.len() < pending.count {
            // A short read, or the end: what was read ahead behind it is not what comes next.
            self.pending.clear();
            self.ahead = pending.position + octets.len() as u64;
            self.ended = is_all(&self.file, self.ahead);
        }
        if octets.len() <= pending.skip {
            self.ended = true;
            return Ok(());
        }
        self.chunk = Some(Chunk {
            octets: Read::Ring(octets),
            taken: pending.skip,
            _permit: pending.permit,
        });
        // Keep the disk busy while the chunk is sent.
        self.read_ahead()
    }

    /// Reads on a helper thread from a file whose file system may wait for a remote host: io_uring
    /// would keep the kernel's few threads from reads of other files.
    async fn wait_for_helper(&mut self) -> Result<(), FileError> {
        let permit = self.context.read_ahead.try_acquire();
        let count = if permit.is_some() { READ_AHEAD_BYTES } else { READ_AHEAD_SMALL_BYTES };
        let octets = self.file.peek(count).await?;
        self.ended = octets.is_empty();
        if !self.ended {
            self.chunk = Some(Chunk { octets: Read::Helper(octets), taken: 0, _permit: permit });
        }
        Ok(())
    }

    pub(crate) fn position(&self) -> u64 {
        self.file.position()
    }

    /// How the octets so far were read.
    pub(crate) const fn reads(&self) -> Reads {
        self.reads
    }

    /// Starts the read at the position, and as many reads ahead as are permitted.
    fn read_ahead(&mut self) -> Result<(), FileError> {
        if self.pending.is_empty() && self.chunk.is_none() {
            self.ahead = self.file.position();
        }
        let direct = self.file.is_direct();
        while self.pending.len() < READ_AHEAD_DEPTH {
            let urgent = self.pending.is_empty() && self.chunk.is_none();
            if !urgent && (self.ahead >= self.file.size() || self.file.is_cached(self.ahead)) {
                break;
            }
            let permit = self.context.read_ahead.try_acquire();
            let count = match (&permit, urgent) {
                (Some(_), _) => READ_AHEAD_BYTES,
                (None, true) => READ_AHEAD_SMALL_BYTES,
                (None, false) => break,
            };
            let skip = if direct { self.ahead % DIRECT_ALIGNMENT } else { 0 };
            let position = self.ahead - skip;
            let read = self.reader()?.start(position, count);
            let skip = usize::try_from(skip).unwrap_or(0);
            self.pending.push_back(Pending { read, position, count, skip, permit });
            self.ahead = position + count as u64;
        }
        Ok(())
    }

    fn reader(&mut self) -> Result<&FileReader, FileError> {
        match &mut self.reader {
            Some(reader) => Ok(reader),
            none => Ok(none.insert(FileReader::new(self.file.descriptor()?))),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let counters = &self.context.counters;
        counters.bytes_read_cached.add(self.reads.cached);
        counters.bytes_read_cold.add(self.reads.cold);
        counters.bytes_read_direct.add(self.reads.direct);
    }
}

/// Whether a short read that ended at `position` is the end of the file. Not for a file that was
/// longer when it was opened, or one of size 0 (as in /proc), which may have more.
const fn is_all(file: &ReadFile, position: u64) -> bool {
    position >= file.size() && file.size() > 0
}

// A read ahead is one batch: its records are whole, and direct reads stay aligned.
const _: () = assert!(READ_AHEAD_BYTES.is_multiple_of(TLS_FRAGMENT_BYTES_MAX));
const _: () = assert!((TLS_FRAGMENT_BYTES_MAX as u64).is_multiple_of(DIRECT_ALIGNMENT));
const _: () = assert!(READ_AHEAD_SMALL_BYTES.is_multiple_of(TLS_FRAGMENT_BYTES_MAX));
