//! The seam to the executor, the only module that names it: one pinned thread per core, its tasks,
//! timers, sockets and events. No FTP and no measuring.

pub mod net;
mod task;
mod thread;

pub use futures_lite::future::{or as race, poll_once, yield_now};
pub use task::{Flag, Notify, TaskGroup, sleep_until, timeout_at, yield_if_needed};
pub use thread::{EngineError, EngineThread, available_cpus, check, parse_cpus, start};
