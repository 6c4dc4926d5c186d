//! Descriptors that a simulated shard waits for: they are asked for what they are ready for, and
//! nothing ever waits in the kernel.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::BTreeMap,
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags},
};

use super::Simulation;
use crate::runtime::socket_bell::Watch;

/// A descriptor's number, and whether it is to be written.
type Key = (u64, bool);

/// Tasks that wait for a descriptor, by its number and direction.
#[derive(Default)]
pub(super) struct Interests {
    waiting: RefCell<BTreeMap<Key, (Rc<OwnedFd>, Waker)>>,
    next: Cell<u64>,
    /// Open connections, by inode.
    open: RefCell<BTreeMap<u64, Weak<OwnedFd>>>,
}

impl Interests {
    /// The descriptor of that inode, if a stream has it.
    pub(super) fn open(&self, inode: u64) -> Option<Rc<OwnedFd>> {
        self.open.borrow().get(&inode).and_then(Weak::upgrade)
    }

    /// Wakes all tasks whose descriptors are ready; false when none is.
    pub(super) fn look(&self) -> bool {
        let ready: Vec<Key> = {
            let waiting = self.waiting.borrow();
            let mut ready = Vec::new();
            for (key, (fd, _)) in waiting.iter() {
                if is_ready(fd, if key.1 { PollFlags::OUT } else { PollFlags::IN }) {
                    ready.push(*key);
                }
            }
            ready
        };
        for key in &ready {
            let waiting = self.waiting.borrow_mut().remove(key);
            if let Some((_, waker)) = waiting {
                waker.wake();
            }
        }
        !ready.is_empty()
    }
}

/// The number of a socket.
///
/// # Errors
///
/// Those of fstat(2).
pub(super) fn inode(fd: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(fd)?.st_ino)
}

/// Errors and hang-ups are readiness, too: the call that follows tells of them.
fn is_ready(fd: &OwnedFd, flags: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, flags)];
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(count) if count > 0)
}

/// A descriptor that becomes one of the simulated shard's when it is first waited for.
pub(crate) struct Watched {
    fd: Rc<OwnedFd>,
    simulation: Simulation,
    descriptor: OnceCell<Descriptor>,
}

impl Watched {
    pub(crate) fn new(fd: OwnedFd, simulation: Simulation) -> Self {
        Self { fd: Rc::new(fd), simulation, descriptor: OnceCell::new() }
    }

    pub(crate) fn get(&self) -> &Descriptor {
        self.descriptor.get_or_init(|| Descriptor::new(self.fd.clone(), self.simulation.clone()))
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Watch for Watched {
    fn watch(socket: OwnedFd) -> Self {
        Self::new(socket, super::current().expect("in a simulation"))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // An error would be one of a socket pair, which has none but its end of file.
        self.get().poll_read(cx, &mut []).map(drop)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("fd", &self.fd).finish_non_exhaustive()
    }
}

/// A descriptor of a simulated shard.
pub(crate) struct Descriptor {
    fd: Rc<OwnedFd>,
    number: u64,
    simulation: Simulation,
}

impl Descriptor {
    fn new(fd: Rc<OwnedFd>, simulation: Simulation) -> Self {
        let next = &simulation.0.interests.next;
        let number = next.get();
        next.set(number + 1);
        if let Ok(inode) = inode(&fd) {
            simulation.0.interests.open.borrow_mut().insert(inode, Rc::downgrade(&fd));
        }
        Self { fd, number, simulation }
    }

    /// Reads what is there, or a part of it; an empty `buffer` only waits.
    pub(crate) fn poll_read(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if !is_ready(&self.fd, PollFlags::IN) {
            return self.wait(cx, false);
        }
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = self.part(buffer.len());
        match rustix::net::recv(&self.fd, &mut buffer[..length], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => self.wait(cx, false),
            result => Poll::Ready(result.map(|(count, _)| count).map_err(io::Error::from)),
        }
    }

    /// Sends what fits, or a part of it; an empty slice only waits.
    pub(crate) fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !is_ready(&self.fd, PollFlags::OUT) {
            return self.wait(cx, true);
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.fd, &bytes[..self.part(bytes.len())], flags) {
            Err(Errno::AGAIN) => self.wait(cx, true),
            result => Poll::Ready(result.map_err(io::Error::from)),
        }
    }

    /// All of `length` octets, or fewer: a peer's pieces are not ours.
    fn part(&self, length: usize) -> usize {
        if self.simulation.below(4) > 0 {
            return length;
        }
        let part = self.simulation.below(length as u64);
        usize::try_from(part).unwrap_or(length) + 1
    }

    fn wait<T>(&self, cx: &Context<'_>, writes: bool) -> Poll<T> {
        let waiting = (self.fd.clone(), cx.waker().clone());
        let interests = &self.simulation.0.interests;
        let old = interests.waiting.borrow_mut().insert((self.number, writes), waiting);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let interests = &self.simulation.0.interests;
        for writes in [false, true] {
            // Outside the borrow.
            let waiting = interests.waiting.borrow_mut().remove(&(self.number, writes));
            drop(waiting);
        }
    }
}
