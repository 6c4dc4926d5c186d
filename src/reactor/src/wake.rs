//! Wakers. A task may be woken from its own thread, which puts it into its queue, and from any
//! other, which puts it into the executor's inbox and ends the executor's sleep if it sleeps.
//!
//! Without `unsafe`: a waker is an `Arc`, as the standard library wants it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task;

use rustix::event::{EventfdFlags, eventfd};

use crate::core::Core;
use crate::queues::Lane;
use crate::slab::Key;

/// A task as its wakers know it: by number, for the task itself does not leave its thread.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    inbox: Arc<Inbox>,
    queue: u32,
    /// Of its lane. A wake by another thread may still see the one before.
    group: AtomicU64,
    task: Key,
    /// In its queue or in the inbox: it need not be put there again.
    queued: AtomicBool,
}

impl TaskWaker {
    pub(crate) const fn new(inbox: Arc<Inbox>, Lane { queue, group }: Lane, task: Key) -> Self {
        let (group, queued) = (AtomicU64::new(group), AtomicBool::new(false));
        Self { inbox, queue, group, task, queued }
    }

    /// The task is about to be polled: what wakes it from here on is for the next poll.
    pub(crate) fn clear(&self) {
        // An exchange: what was done before a wake that found the flag set is seen by the poll.
        self.queued.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn lane(&self) -> Lane {
        Lane { queue: self.queue, group: self.group.load(Ordering::Relaxed) }
    }

    /// The task takes its turns with those of this group from its next wait on.
    pub(crate) fn set_group(&self, group: u64) {
        self.group.store(group, Ordering::Relaxed);
    }
}

impl task::Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let (lane, task) = (self.lane(), self.task);
        if !Core::push_if_current(&self.inbox, lane, task) {
            self.inbox.push(Wake::Task(lane, task));
        }
    }
}

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
