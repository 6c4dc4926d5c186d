//! Readiness, waited for in parts: the wait is the descriptor's and not the future's, so that one
//! who waits among other things, and has them come first, costs no cancellation and no second wait.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll};

use crate::core::Core;
use crate::operation::{Descriptor, Interest, Operation};
use crate::pending::Pending;

/// A descriptor with a wait a direction, which begins when somebody asks and goes on when nobody
/// does. One task at a time a direction: the last to ask is woken.
#[derive(Debug)]
pub struct Watched {
    descriptor: Descriptor,
    reading: RefCell<Option<Pending>>,
    writing: RefCell<Option<Pending>>,
}

impl Watched {
    /// Nothing is waited for yet.
    #[must_use]
    pub fn new(file: OwnedFd) -> Self {
        Self { descriptor: file.into(), reading: RefCell::default(), writing: RefCell::default() }
    }

    /// Ready once there was something to read, its end or an error, since the last time that this
    /// was ready or before. It may have been taken meanwhile: the caller tries, and asks again.
    ///
    /// # Errors
    ///
    /// Those of poll(2), `ECANCELED` where the ring ends.
    ///
    /// # Panics
    ///
    /// Outside of an executor, when a wait begins.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll(&self.reading, Interest::Readable, cx)
    }

    /// As [`Watched::poll_readable`], for room to write or an error.
    ///
    /// # Errors
    ///
    /// As [`Watched::poll_readable`].
    ///
    /// # Panics
    ///
    /// As [`Watched::poll_readable`].
    pub fn poll_writable(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll(&self.writing, Interest::Writable, cx)
    }

    fn poll(
        &self,
        pending: &RefCell<Option<Pending>>,
        interest: Interest,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pending = pending.borrow_mut();
        let wait = pending.get_or_insert_with(|| {
            let descriptor = self.descriptor.clone();
            Pending::start(Core::current(), Operation::Poll { descriptor, interest })
        });
        wait.poll_end(cx).map(|outcome| {
            *pending = None;
            outcome.map_or(Ok(()), |(result, _)| result.map(drop))
        })
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
