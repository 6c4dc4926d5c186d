//! An operation that a future waits for, and the simple ones: those that take nothing from the
//! kernel that could be lost with them.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::block::Block;
use crate::core::Core;
use crate::operation::{Descriptor, Interest, Operation, Value};
use crate::operations::{For, Outcome};
use crate::slab::Key;

/// An operation under way. Dropping it gives the operation up: the kernel is asked to cancel it,
/// and what it owns is dropped when the kernel says that it has ended.
#[derive(Debug)]
pub(crate) struct Pending {
    core: Rc<Core>,
    /// None when it has ended.
    key: Option<Key>,
}

impl Pending {
    /// Starts an operation; it is submitted when the turn ends.
    pub(crate) fn start(core: Rc<Core>, operation: Operation) -> Self {
        let key = core.start(For::Future, operation);
        Self { core, key: Some(key) }
    }

    /// How it ended, and the operation; None forever after.
    pub(crate) fn poll_end(&mut self, cx: &Context<'_>) -> Poll<Option<Outcome>> {
        let Some(key) = self.key else { return Poll::Ready(None) };
        let polled = self.core.poll_operation(key, cx);
        if polled.is_ready() {
            self.key = None;
        }
        polled
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match self.poll_end(cx) {
            Poll::Ready(Some(outcome)) => Poll::Ready(outcome),
            // Polled again after its end, as no future is.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.core.give_up(key);
        }
    }
}

/// Returns when there is something to read: octets, their end, a connection to accept, an error.
/// Takes none of it, so the future may be dropped at any time.
///
/// # Errors
///
/// Those of poll(2), `ECANCELED` where the ring ends.
///
/// # Panics
///
/// Outside of an executor, as all functions here.
pub async fn readable(descriptor: &Descriptor) -> io::Result<()> {
    poll(descriptor, Interest::Readable).await
}

/// Returns when there is room to write, or writing would fail. May be dropped at any time.
///
/// # Errors
///
/// As [`readable`].
pub async fn writable(descriptor: &Descriptor) -> io::Result<()> {
    poll(descriptor, Interest::Writable).await
}

async fn poll(descriptor: &Descriptor, interest: Interest) -> io::Result<()> {
    let descriptor = descriptor.clone();
    let (result, _) =
        Pending::start(Core::current(), Operation::Poll { descriptor, interest }).await;
    result.map(drop)
}

/// Starts to read up to the length of `part` at `position` of a file into that part of the block,
/// and gives the block back with the number of octets; fewer, or none, at the end of the file. Any
/// number of reads may be under way. A part that begins at a multiple of [`Block::ALIGNMENT`] is
/// aligned as `O_DIRECT` asks, if its length and `position` are.
///
/// Dropping the future cancels the read, and the block goes home when the kernel has let go of it.
///
/// # Errors
///
/// Those of pread(2), in the tuple: the block comes back in any case.
pub fn read_at(file: &Descriptor, position: u64, block: Block, part: Range<usize>) -> Reading {
    let (file, position) = (file.clone(), Some(position));
    let operation = Operation::Read { file, block, part, position };
    Reading(Pending::start(Core::current(), operation))
}

/// A read under way, which was started by [`read_at`] whether it is polled or not.
#[derive(Debug)]
#[must_use = "dropping a read cancels it"]
pub struct Reading(Pending);

impl Future for Reading {
    type Output = (io::Result<usize>, Block);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|(result, operation)| (count(result), block_of(operation)))
    }
}

/// Connects a socket in blocking mode to `peer`. Dropping the future closes the socket.
///
/// # Errors
///
/// Those of connect(2); the socket is closed then.
pub async fn connect(socket: OwnedFd, peer: SocketAddr) -> io::Result<Descriptor> {
    let (socket, address) = (Descriptor::from(socket), Box::new(peer.into()));
    let operation = Operation::Connect { socket: socket.clone(), address };
    let (result, _) = Pending::start(Core::current(), operation).await;
    result.map(|_| socket)
}

/// Closes a file without this thread waiting for it, as close(2) of a file on a remote host may.
/// Once polled it happens, whether the future is dropped or not.
///
/// # Errors
///
/// Those of close(2), after which the descriptor is closed all the same.
pub async fn close(descriptor: OwnedFd) -> io::Result<()> {
    Pending::start(Core::current(), Operation::Close { descriptor }).await.0.map(drop)
}

impl Descriptor {
    /// For a file whose close(2) may wait, for a remote host or a server of FUSE: the ring closes
    /// it in the end, and this thread does not wait for that.
    #[must_use]
    pub fn closed_apart(file: OwnedFd) -> Self {
        Self::closed_by(Core::close_apart, file)
    }
}

/// The number in a result.
pub(crate) fn count(result: io::Result<Value>) -> io::Result<usize> {
    result.map(|value| match value {
        Value::Count(count) => count as usize,
        // Only an accept brings one.
        Value::Connection(_) => 0,
    })
}

/// The block of an operation that has one.
pub(crate) fn block_of(operation: Operation) -> Block {
    operation.into_block().unwrap_or_else(|| Block::small(0))
}
