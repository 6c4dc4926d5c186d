//! The shards on glommio 0.9.0, as it comes: none of its system calls is replaced. What it does,
//! and how each of its traps is met:
//! - Sockets are read, written and accepted by non-blocking system calls; io_uring carries the
//!   wait (POLL_ADD) when a call would block. Reads go straight into the caller's buffer.
//! - Its `accept` loses the connection when the future is dropped, and returns descriptors that
//!   leak into child processes. [`Descriptor::readable`] waits on a duplicate instead, and
//!   `Listener` accepts itself.
//! - Its `spawn` reports a failed start only at `join`; [`start`] waits for the start.
//! - It waits for room in a socket only on behalf of its own write; [`Watched::poll_writable`]
//!   watches an epoll instance instead, which is readable when the socket is writable.
//! - It forgets tasks that still wait when the shard ends, without dropping them; a `TaskGroup`
//!   ends and counts its tasks.
//! - When its preemption timer fires before the first task of a round it goes to sleep with tasks
//!   ready. The timer is kept long, which makes that rare, [`Pacer`] gives the short turns, and a
//!   task that does nothing every 50 ms lets no sleep last longer. Before its own first task
//!   nothing helps: such a start is given up ([`start`]).
//! - It polls for input only when no task is ready or a time slice is over. [`give_way`] makes it
//!   poll each millisecond.

mod file;
mod pacer;
mod socket;
mod task;
mod thread;

use crate::runtime::socket_bell;
pub(crate) use file::{File, Octets, Read};
pub(in crate::runtime) use pacer::Pacer;
pub(in crate::runtime) use socket::{Descriptor, Watched};
pub(in crate::runtime) use socket_bell::{Ringer, bell};
pub(in crate::runtime) use task::{
    Queue, Task, end_turn, give_way, sleep_until, spawn, watch_turns, work_for, yield_if_needed,
};
pub(in crate::runtime) use thread::{LOCKED_MEMORY, Thread, check, start};

pub(in crate::runtime) type Bell = socket_bell::Bell<Watched>;
pub(in crate::runtime) type Listening = socket_bell::Listening<Watched>;
