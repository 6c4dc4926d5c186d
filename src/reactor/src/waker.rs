//! Wakers. A task may be woken from its own thread, which puts it into its queue, and from any
//! other, which puts it into the executor's inbox and ends the executor's sleep if it sleeps.
//!
//! Without `unsafe`: a waker is an `Arc`, as the standard library wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task;

use crate::core::Core;
use crate::inbox::{Inbox, Wake};
use crate::queues::Lane;
use crate::slab::Key;

/// A task as its wakers know it: by number, for the task itself does not leave its thread.
#[derive(Debug)]
pub(crate) struct TaskWaker {
    inbox: Arc<Inbox>,
    /// Of its lane. A wake by another thread may still see the one before.
    queue: AtomicU32,
    /// The same.
    group: AtomicU64,
    task: Key,
    /// In its queue or in the inbox: it need not be put there again.
    queued: AtomicBool,
}

impl TaskWaker {
    pub(crate) const fn new(inbox: Arc<Inbox>, Lane { queue, group }: Lane, task: Key) -> Self {
        let (queue, group) = (AtomicU32::new(queue), AtomicU64::new(group));
        Self { inbox, queue, group, task, queued: AtomicBool::new(false) }
    }

    /// The task is about to be polled: what wakes it from here on is for the next poll.
    pub(crate) fn clear(&self) {
        // An exchange: what was done before a wake that found the flag set is seen by the poll.
        self.queued.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn lane(&self) -> Lane {
        let (queue, group) = (&self.queue, &self.group);
        Lane { queue: queue.load(Ordering::Relaxed), group: group.load(Ordering::Relaxed) }
    }

    /// The task takes its turns in this lane from its next wait on.
    pub(crate) fn set_lane(&self, Lane { queue, group }: Lane) {
        self.queue.store(queue, Ordering::Relaxed);
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
