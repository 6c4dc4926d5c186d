//! The interface to the executor: shards, streams, listeners, timers and helper threads for the
//! modules above; no FTP, no TLS, no policy. Which executor that is, only `executor` knows.
//!
//! - Sockets are read, written and accepted by non-blocking system calls; io_uring carries the wait
//!   (POLL_ADD) when a call would block. Reads go straight into the caller's buffer, and any future
//!   here may be dropped at any time.
//! - Work that may block is done by threads of our own ([`Helpers`]): an executor's would be joined
//!   at the shard's end, and a file system that does not answer would hold it.
//! - A thread inherits the pinning of the shard that starts it; [`Helpers`]' undo it.
//! - Not every executor drops the tasks that still wait when the shard ends; [`TaskGroup`] ends and
//!   counts its tasks.

mod connect;
mod error;
mod event;
mod executor;
mod failure;
mod fair;
mod file;
mod helpers;
mod listener;
mod log_of;
mod mailbox;
mod pacer;
mod polled;
mod pool;
mod queue;
pub mod remote;
mod shard_thread;
#[cfg(any(test, feature = "glommio"))]
mod socket_bell;
mod stream;
mod task;
mod task_group;
mod threads;
mod timer;
mod turns;
mod wake;

pub use connect::connect;
pub use error::{HelperError, ShardError, ShardStartError};
pub use event::{Flag, Notify};
pub use fair::{Owner, number_of};
pub use file::{FileReader, Octets, PendingRead};
pub use futures_lite::future::{or as race, poll_once, yield_now, zip as both};
pub use helpers::{FileHelpers, Helpers, Load};
pub use listener::{Listener, ListenerTask};
pub use log_of::{LogOf, SessionId, log_of, log_user, logged_of, logging_of, with_logged_of};
pub use mailbox::{Mailbox, MailboxError, MailboxSender, mailbox};
pub use pacer::Pacer;
pub use queue::{Queue, end_turn};
pub use shard_thread::{LOCKED_MEMORY, ShardThread, check_executor, spawn_shard, watch_turns};
pub use stream::Stream;
pub use task::{Task, give_way, spawn, work_for, yield_if_needed};
pub use task_group::TaskGroup;
pub use timer::{Elapsed, sleep_until, timeout_at};
pub use turns::{Turn, Turns};

use polled::Watched;

#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
pub(crate) mod testing;
