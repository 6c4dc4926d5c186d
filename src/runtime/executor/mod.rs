//! What the runtime stands on: one of two executors behind the same items, and the only place that
//! names either. The reactor of `src/reactor` drives the shards; with the feature `glommio` glommio
//! does, as it comes and with no system call replaced. Nothing above knows which.
//!
//! - [`spawn`], [`Task`], [`Queue`]: a dropped handle ends its task, and so does a cancellation,
//!   which drops all it owned.
//! - [`Pacer`], [`end_turn`]: newcomers get their share of a busy shard, and input is looked for
//!   between their steps.
//! - [`give_way`], [`yield_if_needed`]: others run and input is looked for, now or when it is time.
//! - [`work_for`]: users take turns, however many tasks each of them has; glommio knows only tasks.
//! - [`watch_turns`]: how long each turn took; glommio does not tell.
//! - [`sleep_until`]: never early.
//! - [`Watched`]: a socket; reads and sends that wait for it, one task a direction.
//! - [`Descriptor`]: any number of tasks wait until it is readable.
//! - [`bell`], [`Ringer`], [`Bell`], [`Listening`]: any thread wakes a task of the shard.
//! - [`File`], [`Read`], [`Octets`]: reads that wait for a disk, into memory of the executor's.
//! - [`start`], [`Thread`]: an executor on a pinned thread; a refusal is a sentence.
//! - [`check`], [`LOCKED_MEMORY`]: whether one could start here, and what it takes.
//!
//! All futures may be dropped at any time: nothing is consumed but in the poll that reports it.

#[cfg(feature = "glommio")]
mod glommio;
#[cfg(feature = "glommio")]
pub(super) use self::glommio::{
    Bell, Descriptor, File, LOCKED_MEMORY, Listening, Octets, Pacer, Queue, Read, Ringer, Task,
    Thread, Watched, bell, check, end_turn, give_way, sleep_until, spawn, start, watch_turns,
    work_for, yield_if_needed,
};

#[cfg(not(feature = "glommio"))]
mod reactor;
#[cfg(not(feature = "glommio"))]
pub(super) use self::reactor::{
    Bell, Descriptor, File, LOCKED_MEMORY, Listening, Octets, Pacer, Queue, Read, Ringer, Task,
    Thread, Watched, bell, check, end_turn, give_way, sleep_until, spawn, start, watch_turns,
    work_for, yield_if_needed,
};
