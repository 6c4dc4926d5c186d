//! Passive ports: those of a shard, a user's share of them, those at which several sessions wait,
//! who waits for one, and the ones a session holds.

pub(crate) mod pool;
mod queue;
pub(crate) mod session;
mod shared;
mod shares;
