//! What other threads leave for an executor, and how they end its sleep.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use rustix::event::{EventfdFlags, eventfd};

use crate::queues::Lane;
use crate::slab::Key;

/// Where other threads leave the tasks they have woken.
///
/// A sender puts a task in and then looks whether the executor sleeps; the executor says that it
/// will sleep and then looks whether there is a task. Both do the one by an exchange on `sleeping`,
/// so that whoever comes second sees what the first has done: no wake is lost, and only the first
/// one to find a sleeper makes a system call.
#[derive(Debug)]
pub(crate) struct Inbox {
    sender: mpsc::Sender<Wake>,
    sleeping: AtomicBool,
    /// An eventfd(2) that the ring reads from. (`IORING_OP_MSG_RING` would need a ring on the
    /// sender's thread, and Linux 5.18.)
    bell: OwnedFd,
}

/// The executor's end of an [`Inbox`].
pub(crate) type Woken = mpsc::Receiver<Wake>;

/// Whom another thread wakes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wake {
    /// A task of this lane.
    Task(Lane, Key),
    /// Whoever waits for a bell.
    Bell(Key),
}

impl Inbox {
    /// # Errors
    ///
    /// Those of eventfd(2) and fcntl(2), no descriptors being the likely one.
    pub(crate) fn new() -> io::Result<(Arc<Self>, Woken, OwnedFd)> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC)?;
        let heard = bell.as_fd().try_clone_to_owned()?;
        let (sender, woken) = mpsc::channel();
        Ok((Arc::new(Self { sender, sleeping: AtomicBool::new(false), bell }), woken, heard))
    }

    pub(crate) fn push(&self, wake: Wake) {
        // An executor that is gone has no use for it.
        let _ = self.sender.send(wake);
        if self.sleeping.swap(false, Ordering::AcqRel) {
            // It cannot fail, nor wait: the executor reads before it sleeps again.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// The executor is going to sleep, unless it finds something in the inbox after this.
    pub(crate) fn sleep(&self) {
        self.sleeping.swap(true, Ordering::AcqRel);
    }

    /// The executor is awake, and nobody need ring.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }
}
