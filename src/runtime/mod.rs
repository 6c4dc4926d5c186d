//! The interface to the executor: the only module that names glommio. Shards, streams, listeners,
//! timers and helper threads for the modules above; no FTP, no TLS, no policy.
//!
//! What the executor (glommio 0.9.0) does and how each of its traps is met:
//! - Sockets are read, written and accepted by non-blocking system calls; io_uring carries the
//!   wait (POLL_ADD) when a call would block. Reads go straight into the caller's buffer.
//! - Its `accept` loses the connection when the future is dropped, and returns descriptors that
//!   leak into child processes. [`Listener`] waits for readability instead and accepts itself, so
//!   any future here may be dropped at any time.
//! - Its `spawn` reports a failed start only at `join`; [`spawn_shard`] waits for the start.
//! - Its `spawn_blocking` leaks the closure's result when its future is dropped, hangs for ever
//!   when the closure panics, and its threads are joined at the shard's end. [`Helpers`] has
//!   threads of its own.
//! - It waits for room in a socket only on behalf of its own write; [`Stream::writable`] watches an
//!   epoll instance instead, which is readable when the socket is writable.
//! - It forgets tasks that still wait when the shard ends, without dropping them; [`TaskGroup`]
//!   ends and counts its tasks.
//! - When its preemption timer fires before the first task of a round it goes to sleep with tasks
//!   ready. The timer is kept long, which makes that rare, [`Pacer`] gives the short turns, and
//!   `sys::rings` lets no sleep last longer than 50 ms.
//! - It polls for input only when no task is ready or a time slice is over. [`give_way`] makes it
//!   poll each millisecond.
//! - A thread inherits the pinning of the shard that starts it; [`Helpers`]' undo it.

mod connect;
mod event;
mod fair;
mod file;
mod helpers;

mod listener;
mod mailbox;
mod pacer;
mod polled;
mod pool;
mod queue;
mod ready;
pub mod remote;
mod shard_thread;
mod stream;
mod task;
mod threads;
mod timer;
mod turns;
mod writable;

pub use connect::connect;
pub use event::{Flag, Notify};
pub use fair::{Owner, number_of};
pub use file::{FileReader, Octets, PendingRead};
pub use futures_lite::future::{or as race, poll_once, yield_now, zip as both};
pub use helpers::{FileHelpers, Helpers, Load};
pub use listener::{Listener, ListenerTask};
pub use mailbox::{Mailbox, MailboxError, MailboxSender, mailbox};
pub use pacer::Pacer;
pub use pool::HelperError;
pub use queue::{Queue, end_turn};
pub use shard_thread::{ShardError, ShardStartError, ShardThread, spawn_shard};
pub use stream::Stream;
pub use task::{Task, TaskGroup, give_way, spawn, yield_if_needed};
pub use timer::{Elapsed, sleep_until, timeout_at};
pub use turns::{Turn, Turns};

type Watched = crate::sys::WatchedFd<polled::Polled>;

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
pub(crate) mod testing;
