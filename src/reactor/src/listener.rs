//! Accepting connections.
//!
//! A connection that the kernel has handed over is in one of three places at all times: in the
//! completion of the accept, with the [`Listener`], or with who was given it. Who waits is in none
//! of them, so a wait may be dropped whenever it likes.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::arrivals::Arrivals;
use crate::core::Core;
use crate::operation::{Descriptor, Operation};
use crate::operations::For;

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
