//! Receiving and sending by the ring, for callers that have no use for readiness.
//!
//! What an abandoned receive has taken from the kernel would be lost with it, and nobody would know
//! what an abandoned send has sent. So neither belongs to who waits for it: it is started on the
//! [`Socket`], and stays there until its end is asked for.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::block::Block;
use crate::core::Core;
use crate::operation::{Descriptor, Operation};
use crate::pending::{Pending, block_of, count};

/// A connected socket in blocking mode, with a receive and a send that may be under way.
///
/// Dropping it cancels both: octets that were received and not asked for go with the connection.
pub struct Socket {
    core: Rc<Core>,
    descriptor: Descriptor,
    receiving: RefCell<Option<Pending>>,
    sending: RefCell<Option<Pending>>,
}

impl Socket {
    /// # Panics
    ///
    /// Outside of an executor.
    #[must_use]
    pub fn new(descriptor: Descriptor) -> Self {
        let core = Core::current();
        Self { core, descriptor, receiving: RefCell::default(), sending: RefCell::default() }
    }

    /// Begins to receive into `block`.
    ///
    /// # Errors
    ///
    /// The block comes back when a receive is under way, or ended without being asked for.
    pub fn start_receive(&self, block: Block) -> Result<(), Block> {
        let mut receiving = self.receiving.borrow_mut();
        if receiving.is_some() {
            return Err(block);
        }
        let operation = Operation::Receive { socket: self.descriptor.clone(), block };
        *receiving = Some(Pending::start(Rc::clone(&self.core), operation));
        Ok(())
    }

    /// The end of the receive under way: how many octets are in the block, none at the end of what
    /// the peer sends. Without one, None. May be dropped at any time; the end is told to the next
    /// who asks.
    pub async fn received(&self) -> Option<(io::Result<usize>, Block)> {
        poll_fn(|cx| poll_end(&self.receiving, cx)).await
    }

    /// Begins to send a part of `block`.
    ///
    /// # Errors
    ///
    /// The block comes back when a send is under way, or ended without being asked for.
    pub fn start_send(&self, block: Block, part: Range<usize>) -> Result<(), Block> {
        let mut sending = self.sending.borrow_mut();
        if sending.is_some() {
            return Err(block);
        }
        let operation = Operation::Send { socket: self.descriptor.clone(), block, part };
        *sending = Some(Pending::start(Rc::clone(&self.core), operation));
        Ok(())
    }

    /// The end of the send under way: how many octets the kernel has taken, which may be fewer than
    /// were given. Otherwise as [`Socket::received`].
    pub async fn sent(&self) -> Option<(io::Result<usize>, Block)> {
        poll_fn(|cx| poll_end(&self.sending, cx)).await
    }

    /// The descriptor, for options and shutdown(2).
    #[must_use]
    pub const fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }
}

fn poll_end(
    pending: &RefCell<Option<Pending>>,
    cx: &Context<'_>,
) -> Poll<Option<(io::Result<usize>, Block)>> {
    let mut pending = pending.borrow_mut();
    let Some(operation) = &mut *pending else { return Poll::Ready(None) };
    operation.poll_end(cx).map(|outcome| {
        *pending = None;
        outcome.map(|(result, operation)| (count(result), block_of(operation)))
    })
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}
