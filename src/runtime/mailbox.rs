//! A bounded queue between tasks of one shard.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    rc::Rc,
    task::Poll,
};

use super::event::Waiters;

/// A queue for at most `capacity` messages.
#[must_use]
pub fn mailbox<T>(capacity: usize) -> (MailboxSender<T>, Mailbox<T>) {
    let shared = Rc::new(Shared {
        capacity,
        queue: RefCell::new(VecDeque::new()),
        senders: Cell::new(1),
        open: Cell::new(true),
        waiters: Waiters::default(),
    });
    (MailboxSender(Rc::clone(&shared)), Mailbox(shared))
}

/// The receiving end.
pub struct Mailbox<T>(Rc<Shared<T>>);

impl<T> Mailbox<T> {
    /// The oldest message, waited for; `None` when there is none and all senders are gone. A
    /// future that is dropped takes no message with it.
    pub async fn recv(&mut self) -> Option<T> {
        let mut waiter = self.0.waiters.waiter();
        poll_fn(|cx| match self.0.pop() {
            Some(message) => Poll::Ready(Some(message)),
            None if self.0.senders.get() == 0 => Poll::Ready(None),
            None => waiter.wait(cx),
        })
        .await
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.0.open.set(false);
        // Outside the borrow: a message's destructor may send.
        let left = self.0.queue.take();
        drop(left);
    }
}

/// A sending end; clones send into the same mailbox.
pub struct MailboxSender<T>(Rc<Shared<T>>);

impl<T> MailboxSender<T> {
    /// Puts a message into the mailbox.
    ///
    /// # Errors
    ///
    /// The message comes back when the mailbox is full or gone.
    pub fn send(&self, message: T) -> Result<(), MailboxError<T>> {
        if !self.0.open.get() {
            return Err(MailboxError::Closed(message));
        }
        let mut queue = self.0.queue.borrow_mut();
        if queue.len() >= self.0.capacity {
            return Err(MailboxError::Full(message));
        }
        queue.push_back(message);
        drop(queue);
        self.0.waiters.wake_all();
        Ok(())
    }
}

impl<T> Clone for MailboxSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.set(self.0.senders.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl<T> Drop for MailboxSender<T> {
    fn drop(&mut self) {
        self.0.senders.set(self.0.senders.get() - 1);
        if self.0.senders.get() == 0 {
            self.0.waiters.wake_all();
        }
    }
}

/// A message that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError<T> {
    /// Nobody will receive it.
    #[error("the receiver is gone")]
    Closed(T),
    /// The receiver is behind by the mailbox's capacity.
    #[error("the mailbox is full")]
    Full(T),
}

struct Shared<T> {
    capacity: usize,
    queue: RefCell<VecDeque<T>>,
    senders: Cell<usize>,
    open: Cell<bool>,
    waiters: Waiters,
}

impl<T> Shared<T> {
    /// The oldest message. An empty queue keeps no memory: most sessions get one message when they
    /// log in, and no further one for hours.
    fn pop(&self) -> Option<T> {
        let mut queue = self.queue.borrow_mut();
        let message = queue.pop_front();
        if queue.is_empty() && queue.capacity() > 0 {
            *queue = VecDeque::new();
        }
        message
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("waiting", &self.0.queue.borrow().len()).finish()
    }
}

impl<T> fmt::Debug for MailboxSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxSender").field("waiting", &self.0.queue.borrow().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, spawn, testing::on_shard};

    #[test]
    fn messages_arrive_in_order_and_none_is_lost() {
        on_shard(|| async {
            let (sender, mut inbox) = mailbox(3);
            for _ in 0..10 {
                assert_eq!(poll_once(inbox.recv()).await, None);
            }
            let other = sender.clone();
            sender.send(1).unwrap();
            other.send(2).unwrap();
            sender.send(3).unwrap();
            assert_eq!(sender.send(4), Err(MailboxError::Full(4)));
            assert_eq!(inbox.recv().await, Some(1));
            drop((sender, other));
            assert_eq!((inbox.recv().await, inbox.recv().await), (Some(2), Some(3)));
            assert_eq!(inbox.recv().await, None);
        });
    }

    #[test]
    fn both_ends_learn_that_the_other_is_gone() {
        on_shard(|| async {
            let (sender, mut inbox) = mailbox::<u8>(1);
            let waiting = spawn(async move { inbox.recv().await });
            crate::runtime::yield_now().await;
            drop(sender);
            assert_eq!(waiting.await, None);
            let (sender, inbox) = mailbox(1);
            drop(inbox);
            assert_eq!(sender.send(1), Err(MailboxError::Closed(1)));
        });
    }
}
