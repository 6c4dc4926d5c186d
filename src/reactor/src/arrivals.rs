//! Connections that the kernel has handed over and nobody has taken yet: a listener's and its
//! accept's, between the two.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::task::Waker;

use crate::operation::Value;
use crate::slab::Key;

/// What has come and was not taken.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    pub(crate) waiting: RefCell<VecDeque<io::Result<OwnedFd>>>,
    /// How many may wait before the accept under way is ended.
    pub(crate) most: usize,
    /// The accept under way.
    pub(crate) armed: Cell<Option<Key>>,
    /// It was asked to end.
    pub(crate) ending: Cell<bool>,
    pub(crate) waiters: RefCell<Vec<Waker>>,
    /// The kernel refused to accept many with one request.
    pub(crate) one_by_one: Cell<bool>,
    /// The accept under way is one for many.
    pub(crate) many: Cell<bool>,
}

impl Arrivals {
    /// A completion of the accept under way; the accept, when it is to be cancelled.
    pub(crate) fn arrive(&self, result: io::Result<Value>, last: bool) -> Option<Key> {
        let ended = self.ending.get();
        if last {
            self.armed.set(None);
        }
        let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
        // It was asked to end, and who still waits asks again.
        let cancelled = ended && errno == Some(libc::ECANCELED);
        // The request was one for many, which the kernel does not know, or the socket does not
        // listen: one for a single connection tells.
        let unknown =
            errno == Some(libc::EINVAL) && self.many.get() && !self.one_by_one.replace(true);
        if !cancelled && !unknown {
            let connection = result.and_then(|value| match value {
                Value::Connection(connection) => Ok(connection),
                Value::Count(_) => Err(io::Error::from_raw_os_error(libc::EPROTO)),
            });
            self.waiting.borrow_mut().push_back(connection);
        }
        let waiters = self.waiters.take();
        waiters.into_iter().for_each(Waker::wake);
        let full = self.waiting.borrow().len() >= self.most;
        self.armed.get().filter(|_| full && !self.ending.replace(true))
    }
}
