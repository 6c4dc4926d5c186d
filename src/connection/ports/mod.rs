//! Passive ports: those of a shard, a user's share of them, and the ones a session holds.

pub(crate) mod pool;
pub(crate) mod session;
mod shares;
