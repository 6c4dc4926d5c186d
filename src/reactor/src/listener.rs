//! Accepting connections.
//!
//! A connection that the kernel has handed over is in one of three places at all times: in the
//! completion of the accept, with the [`Listener`], or with who was given it. Who waits is in none
//! of them, so a wait may be dropped whenever it likes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::core::Core;
use crate::operation::{Descriptor, Operation, Value};
use crate::operations::For;
use crate::slab::Key;

/// When a listener takes connections from the kernel's backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// While somebody waits in [`Listener::accept`], one at a time: who stops waiting leaves the
    /// next one in the backlog. (One that came in that moment is kept for the next accept.)
    OnDemand,
    /// From the first [`Listener::accept`] on, ahead of demand, by one request for all
    /// (`IORING_ACCEPT_MULTISHOT`, Linux 5.19; before, by one each). When as many as this wait to
    /// be taken it stops, and the rest stays in the backlog; it goes on when all have been taken.
    Ahead(usize),
}

/// A listening socket. One that is dropped closes the connections nobody has taken, as the kernel
/// does with those in the backlog.
#[derive(Debug)]
pub struct Listener {
    core: Rc<Core>,
    socket: Descriptor,
    accepting: Accepting,
    nonblocking: bool,
    arrivals: Rc<Arrivals>,
}

/// What has come and was not taken.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    waiting: RefCell<VecDeque<io::Result<OwnedFd>>>,
    /// How many may wait before the accept under way is ended.
    most: usize,
    /// The accept under way.
    armed: Cell<Option<Key>>,
    /// It was asked to end.
    ending: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
    /// The kernel refused to accept many with one request.
    one_by_one: Cell<bool>,
    /// The accept under way is one for many.
    many: Cell<bool>,
}

impl Listener {
    /// For a bound and listening socket. Its connections are close-on-exec and in blocking mode, as
    /// [`crate::Socket`] needs them.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    #[must_use]
    pub fn new(socket: Descriptor, accepting: Accepting) -> Self {
        let most = match accepting {
            Accepting::OnDemand => usize::MAX,
            Accepting::Ahead(most) => most,
        };
        let arrivals = Rc::new(Arrivals { most, ..Arrivals::default() });
        Self { core: Core::current(), socket, accepting, nonblocking: false, arrivals }
    }

    /// Has the connections in non-blocking mode, for who reads and writes them by system calls.
    #[must_use]
    pub fn nonblocking(mut self) -> Self {
        self.nonblocking = true;
        self
    }

    /// The next connection. May be dropped at any time: no connection is lost by that.
    ///
    /// # Errors
    ///
    /// Those of accept4(2). It can be called again: `EMFILE` and the like pass, and so do errors of
    /// a connection (`ECONNABORTED`); after shutdown(2) it is `EINVAL` each time.
    pub const fn accept(&self) -> Accept<'_> {
        Accept { listener: self, waiting: None }
    }

    /// A connection that has come already.
    #[must_use]
    pub fn take(&self) -> Option<OwnedFd> {
        let mut waiting = self.arrivals.waiting.borrow_mut();
        while let Some(next) = waiting.pop_front() {
            if let Ok(connection) = next {
                return Some(connection);
            }
        }
        None
    }

    /// Leaves further connections in the backlog until the next [`Listener::accept`]. What has come
    /// already is kept.
    pub fn pause(&self) {
        if let Some(key) = self.arrivals.armed.get()
            && !self.arrivals.ending.replace(true)
        {
            self.core.cancel(key);
        }
    }

    fn poll_accept(&self, cx: &Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let arrivals = &self.arrivals;
        let next = arrivals.waiting.borrow_mut().pop_front();
        if let Some(next) = next {
            return Poll::Ready(next);
        }
        if arrivals.armed.get().is_none() {
            self.arm();
        }
        let mut waiters = arrivals.waiters.borrow_mut();
        if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn arm(&self) {
        let arrivals = &self.arrivals;
        let many = self.accepting != Accepting::OnDemand && !arrivals.one_by_one.get();
        let (listener, nonblocking) = (self.socket.clone(), self.nonblocking);
        let operation = Operation::Accept { listener, many, nonblocking };
        arrivals.ending.set(false);
        arrivals.many.set(many);
        let whom = For::Listener(Rc::clone(arrivals));
        arrivals.armed.set(Some(self.core.start(whom, operation)));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(key) = self.arrivals.armed.get() {
            self.core.give_up(key);
        }
        let waiting = self.arrivals.waiting.take();
        drop(waiting);
    }
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

/// A wait for a connection.
#[derive(Debug)]
pub struct Accept<'a> {
    listener: &'a Listener,
    waiting: Option<Waker>,
}

impl Future for Accept<'_> {
    type Output = io::Result<OwnedFd>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        let polled = self.listener.poll_accept(cx);
        self.waiting = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiting.take() else { return };
        let mut waiters = self.listener.arrivals.waiters.borrow_mut();
        waiters.retain(|other| !other.will_wake(&waiter));
        if waiters.is_empty() && self.listener.accepting == Accepting::OnDemand {
            self.listener.pause();
        }
    }
}
