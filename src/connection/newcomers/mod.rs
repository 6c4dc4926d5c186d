//! TLS handshakes of control connections: how many at a time, and which is evicted for another.

mod budget;
pub(crate) mod permits;
