//! Messages into a shard from any thread: configuration, drain, questions for metrics. Rare and
//! small; nothing on a session's path comes this way.

use std::{
    fmt, io,
    sync::{Arc, mpsc},
};

use super::wake::{Bell, Listening, Ringer, bell};

/// A channel into a shard. The inbox is made on the starting thread and moved into the shard,
/// where it is opened.
///
/// # Errors
///
/// Those of the executor's means to wake a shard: no descriptors.
pub fn channel<T: Send>() -> io::Result<(RemoteSender<T>, RemoteInbox<T>)> {
    let (ringer, bell) = bell()?;
    let (sender, receiver) = mpsc::channel();
    Ok((
        RemoteSender { sender, ringer: Arc::new(LastRings(ringer)) },
        RemoteInbox { receiver, bell },
    ))
}

/// The sending end, for any thread; clones send into the same inbox. The inbox ends when all are
/// dropped.
// The field order matters: the channel closes first, then the last one rings.
pub struct RemoteSender<T> {
    sender: mpsc::Sender<T>,
    ringer: Arc<LastRings>,
}

/// Rings when it is dropped: nothing more will be sent.
struct LastRings(Ringer);

impl Drop for LastRings {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl<T: Send> RemoteSender<T> {
    /// Sends a message and wakes the shard. Never waits.
    ///
    /// # Errors
    ///
    /// The message comes back when the shard has ended.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.sender.send(message).map_err(|mpsc::SendError(message)| message)?;
        // An inbox that went away after the send has left other messages unread, too.
        self.ringer.0.ring();
        Ok(())
    }
}

impl<T> Clone for RemoteSender<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), ringer: Arc::clone(&self.ringer) }
    }
}

/// The shard's end before it is in the shard.
pub struct RemoteInbox<T> {
    receiver: mpsc::Receiver<T>,
    bell: Bell,
}

impl<T: Send> RemoteInbox<T> {
    /// Makes it ready for use in the shard that calls this.
    #[must_use]
    pub fn open(self) -> RemoteReceiver<T> {
        RemoteReceiver { receiver: self.receiver, bell: self.bell.listen() }
    }
}

/// The shard's end in use.
pub struct RemoteReceiver<T> {
    receiver: mpsc::Receiver<T>,
    bell: Listening,
}

impl<T: Send> RemoteReceiver<T> {
    /// The oldest message, waited for; `None` when all senders are gone. A future that is dropped
    /// takes no message with it.
    pub async fn recv(&mut self) -> Option<T> {
        loop {
            match self.receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) => {}
            }
            // The channel decides, and it is asked again.
            self.bell.rung().await;
        }
    }
}

impl<T> fmt::Debug for RemoteSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RemoteInbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteInbox").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for RemoteReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteReceiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, spawn_shard, testing::pause};

    #[test]
    fn messages_reach_a_sleeping_shard_and_the_end_ends_it() {
        let (sender, inbox) = channel::<u32>().unwrap();
        let shard = spawn_shard("test", crate::sys::cpu::available()[0], || async {
            let mut inbox = inbox.open();
            let mut sum = 0;
            for _ in 0..50 {
                if let Some(Some(number)) = poll_once(inbox.recv()).await {
                    sum += number;
                }
            }
            while let Some(number) = inbox.recv().await {
                sum += number;
                if number == 1 {
                    pause(5).await;
                }
            }
            sum
        })
        .unwrap();
        let other = sender.clone();
        // More than the wake descriptor's socket buffer holds while the shard sleeps.
        let expected = (0..5000).sum::<u32>();
        for number in 0..5000 {
            if number % 2 == 0 { &sender } else { &other }.send(number).unwrap();
        }
        drop(sender);
        drop(other);
        assert_eq!(shard.join().unwrap(), expected);
    }

    #[test]
    fn each_message_wakes_the_shard() {
        let (sender, inbox) = channel::<u32>().unwrap();
        let (answer, answers) = mpsc::channel();
        let shard = spawn_shard("test", crate::sys::cpu::available()[0], || async move {
            let mut inbox = inbox.open();
            while let Some(number) = inbox.recv().await {
                answer.send(number).unwrap();
            }
        })
        .unwrap();
        for number in 0..100 {
            sender.send(number).unwrap();
            let deadline = std::time::Duration::from_secs(5);
            assert_eq!(answers.recv_timeout(deadline), Ok(number));
        }
        drop(sender);
        shard.join().unwrap();
    }

    #[test]
    fn a_message_to_an_ended_shard_comes_back() {
        let (sender, inbox) = channel::<u32>().unwrap();
        drop(inbox);
        assert_eq!(sender.send(7), Err(7));
    }
}
