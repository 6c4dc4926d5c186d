//! A single-threaded executor over one io_uring: what a shard runs on. Knows nothing of what its
//! tasks are for.
//!
//! ```
//! use std::time::Duration;
//! use ringftpd_reactor::{Builder, now, sleep_until, spawn};
//!
//! let executor = Builder::new().build()?; // or one sentence with cause and remedy
//! let sum = executor.run(async {
//!     let later = now() + Duration::from_millis(1);
//!     let task = spawn(async move {
//!         sleep_until(later).await;
//!         2
//!     });
//!     1 + task.await
//! })?;
//! assert_eq!(sum, 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One turn
//!
//! ```text
//!    ┌─▶ timers that are due, tasks woken by other threads        Timers, Inbox
//!    │   tasks, by the shares of their queues,                    Queues
//!    │         and of these by turns of their groups,             Groups
//!    │         until none is ready or the budget is spent         TurnBudget
//!    │   one io_uring_enter: submit what they have started,       Ring::turn
//!    │         and, if none is ready, sleep until a completion,
//!    │         the next deadline or another thread
//!    └── completions: to whoever waits                            Operations
//! ```
//!
//! A turn is at most one system call, however many operations its tasks have started (more only
//! beyond [`Builder::entries`]), and none when there is nothing to submit and nothing has come. A
//! timer is none. An idle executor sleeps without an end: no tick, no poll. How long tasks may run
//! between two looks for input is [`TurnBudget`], with one value for when a peer waits for an
//! answer ([`note_input`]), one for when none does, and one for when favoured queues rest.
//!
//! # Cancellation
//!
//! Any future here may be dropped at any time. What makes that safe is who owns what:
//!
//! - **Memory and descriptors** of an operation are the ring's until the kernel says that the
//!   operation has ended (it is handed over whole). A future has a key to
//!   it, and dropping the future asks the kernel to cancel; a [`Block`] goes [`Home`] afterwards.
//!   That a future is forgotten (`mem::forget`) changes nothing.
//! - **Connections** that were accepted are the [`Listener`]'s, until somebody takes them; what
//!   nobody takes is closed with the listener, as the kernel closes its backlog.
//! - **Octets** that were received are the [`Socket`]'s, until somebody asks for them; so is the
//!   number of those sent.
//! - **Keys** carry a count of uses (`slab`), so that a late cancellation or completion finds its
//!   own operation or none. The ring's keys are not the waiters': an outcome may wait long after
//!   the ring has given the place away.
//!
//! `simulation` plays this against a kernel that does whatever a kernel may do.
//!
//! # Levels
//!
//! Three ways to set a ring up ([`Level`]), the best one the kernel has unless one is insisted on.
//! They behave alike; all tests over a real ring run at each, and name the ones this kernel lacks.
//! All waits have an end of their own (`IORING_ENTER_EXT_ARG`, Linux 5.11).
//!
//! # What is not here
//!
//! Threads for blocking work: those of the server (`runtime::threads`) know no executor, only a
//! channel that wakes one. A wait for the failure of a connection alone: the kernel has none
//! (`operation::Interest`). Provided buffers, registered descriptors and zero-copy sends,
//! until a measurement asks for them.
//!
//! # Proof
//!
//! `unsafe` is in `ring` alone. The unit tests, the simulation included, can be run under Miri,
//! which takes minutes and sees no ring:
//! `MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test -p ringftpd-reactor --lib`.

mod arrivals;
mod bell;
mod block;
mod budget;
mod clock;
mod core;
mod executor;
mod groups;
mod inbox;
mod listener;
mod operation;
mod operations;
mod pending;
mod queues;
mod ration;
mod refusal;
mod ring;
mod run;
mod slab;
mod socket;
mod task;
mod timer;
mod timers;
mod waker;
mod watched;

pub use bell::{Bell, Listening, Ringer, bell};
pub use block::{Block, Home};
pub use budget::TurnBudget;
pub use core::Counters;
pub use executor::{
    Builder, END_PATIENCE, Executor, Queue, counters, note_input, now, set_group, spawn,
    turn_is_over, watch_turns, yield_now,
};
pub use listener::{Accept, Accepting, Listener};
pub use operation::{Descriptor, RingCounters};
pub use pending::{Reading, close, connect, read_at, readable, writable};
pub use refusal::{Level, Refusal};
pub use socket::Socket;
pub use task::Task;
pub use timer::{Elapsed, Sleep, sleep_until, timeout_at};
pub use watched::Watched;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;
