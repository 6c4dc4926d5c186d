//! The seam to the executor, the only module that names glommio: one pinned thread per core, its
//! tasks, timers, sockets and events. No FTP and no measuring.
//!
//! What the executor (glommio 0.9.0) does and how it is met here:
//! - Its `accept` loses a connection when the future is dropped; [`net::Listener`] waits for
//!   readability and accepts itself.
//! - Its `spawn` reports a failed start only at `join`; [`start`] waits for the start.
//! - It forgets tasks that still wait when the executor ends, without dropping them;
//!   [`TaskGroup::end`] ends and counts them first.

pub mod net;
mod task;
mod thread;

pub use futures_lite::future::{or as race, poll_once, yield_now};
pub use task::{Flag, Notify, TaskGroup, sleep_until, timeout_at, yield_if_needed};
pub use thread::{EngineError, EngineThread, available_cpus, parse_cpus, start};

/// The executor's stream stands for any descriptor that can be polled.
type Watched = crate::sys::WatchedFd<glommio::net::TcpStream>;
