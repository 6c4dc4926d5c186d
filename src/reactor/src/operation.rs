//! What is asked of a ring, and what comes back. The seam between the executor and the kernel:
//! [`crate::ring`] performs operations, and for tests `fake` plays a kernel that does whatever a
//! kernel may do.
//!
//! An operation is handed over whole: with it goes the ownership of its descriptor and its memory,
//! and both come back, or are dropped, with the last completion. So nobody who waits for one can
//! take away what the kernel still uses, by a drop, a panic or a `mem::forget`.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use crate::block::Block;
use crate::slab::Key;

/// An open file of any kind, kept open by its owner and by each operation on it.
#[derive(Clone, Debug)]
pub struct Descriptor(Rc<Open>);

/// Closed when its last owner is dropped.
#[derive(Debug)]
struct Open {
    /// None only in the destructor.
    file: Option<OwnedFd>,
    /// What closes it; `None` is close(2).
    close: Option<fn(OwnedFd)>,
}

impl Descriptor {
    /// The descriptor itself, when neither another owner nor an operation has it.
    #[must_use]
    pub fn into_owned(self) -> Option<OwnedFd> {
        Rc::into_inner(self.0)?.file.take()
    }

    /// Given to `close` in the end, where others are closed.
    pub(crate) fn closed_by(close: fn(OwnedFd), file: OwnedFd) -> Self {
        Self(Rc::new(Open { file: Some(file), close: Some(close) }))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let (Some(close), Some(file)) = (self.close, self.file.take()) {
            close(file);
        }
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Self(Rc::new(Open { file: Some(fd), close: None }))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0.file {
            Some(file) => file.as_fd(),
            None => unreachable!("taken with the last owner"),
        }
    }
}

/// What a poll waits for. Not the failure of a connection alone: the kernel adds `POLLRDHUP` to
/// whatever is asked for, so that a FIN ends such a wait. Who needs one has an epoll instance watch
/// the socket for no event, and waits until that is readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Something to read, the end of it, a connection to accept.
    Readable,
    /// Room to write.
    Writable,
}

/// A request to the kernel, with all it needs.
#[derive(Debug)]
pub(crate) enum Operation {
    /// accept4(2) with `SOCK_CLOEXEC`; `many`: again and again, a completion each.
    Accept { listener: Descriptor, many: bool, nonblocking: bool },
    /// close(2).
    Close { descriptor: OwnedFd },
    /// connect(2).
    Connect { socket: Descriptor, address: Box<socket2::SockAddr> },
    /// Nothing; completes at once.
    Nothing,
    /// poll(2), once.
    Poll { descriptor: Descriptor, interest: Interest },
    /// pread(2) into a part of the block, or read(2) without a position.
    Read { file: Descriptor, block: Block, part: Range<usize>, position: Option<u64> },
    /// recv(2) into a whole block.
    Receive { socket: Descriptor, block: Block },
    /// send(2) of a part of the block.
    Send { socket: Descriptor, block: Block, part: Range<usize> },
}

impl Operation {
    /// Whether to ask the kernel to give it up when nobody waits any more. Not a close, which then
    /// might not happen.
    pub(crate) const fn is_cancellable(&self) -> bool {
        !matches!(self, Self::Close { .. } | Self::Nothing)
    }

    /// The block it had.
    pub(crate) fn into_block(self) -> Option<Block> {
        match self {
            Self::Read { block, .. } | Self::Receive { block, .. } | Self::Send { block, .. } => {
                Some(block)
            }
            _ => None,
        }
    }
}

/// What an operation brought.
#[derive(Debug)]
pub(crate) enum Value {
    /// Octets, or the events of a poll.
    Count(u32),
    /// An accepted connection. Closed when it is dropped, wherever that is.
    Connection(OwnedFd),
}

/// A step of an operation.
#[derive(Debug)]
pub(crate) struct Completion {
    /// What [`Ring::start`] was given.
    pub(crate) waiter: Key,
    pub(crate) result: io::Result<Value>,
    /// The operation, when this was its last completion.
    pub(crate) ended: Option<Operation>,
}

/// How long a turn may wait for a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all.
    Look,
    Until(Instant),
    Forever,
}

/// An operation as its ring knows it. Worth nothing, and no other operation's, once it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InFlight(pub(crate) Key);

/// A kernel, real or not.
///
/// Contract: each operation started has exactly one completion with `ended`, be it cancelled or
/// not, and none after that.
pub(crate) trait Ring: fmt::Debug {
    /// The clock that [`Wait::Until`] is by.
    fn now(&self) -> Instant;

    /// Takes an operation, to be submitted with the next turn. Its completions come for `waiter`.
    fn start(&mut self, waiter: Key, operation: Operation) -> InFlight;

    /// Asks the kernel to end an operation early. It completes as cancelled, or as if nothing had
    /// been asked.
    fn cancel(&mut self, operation: InFlight);

    /// Submits what was started, and looks for completions, or waits until there is one, or another
    /// thread or a signal ends the wait.
    ///
    /// # Errors
    ///
    /// Those of io_uring_enter(2) that repetition does not mend.
    fn turn(&mut self, wait: Wait) -> io::Result<()>;

    /// The next completion that the turns so far have found.
    fn next(&mut self) -> Option<Completion>;

    /// Operations whose last completion has not been found.
    fn in_flight(&self) -> usize;

    /// Calls io_uring_register(2), to no effect.
    ///
    /// # Errors
    ///
    /// Those of the call.
    fn try_registering(&self) -> io::Result<()> {
        Ok(())
    }

    /// How it was set up, and what it has done.
    fn counters(&self) -> RingCounters;
}

/// What a ring has done since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounters {
    /// io_uring_enter(2).
    pub enters: u64,
    /// Operations started and cancellations asked for.
    pub submissions: u64,
    /// Completions found, those of cancellations left out.
    pub completions: u64,
}
