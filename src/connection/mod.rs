//! The I/O shells of one session: control connection, data connection, server-DTP. They move octets
//! and perform what the session asks; they decide nothing about the protocol.

mod context;
mod control;
mod data;
mod handshake_budget;
mod handshakes;
mod passive_ports;
mod storage;
mod transfer;
mod wire;

pub use context::{Context, ContextParts, Queues};
pub use control::{Accepted, serve};
pub use handshakes::Place;
pub use passive_ports::{PassivePorts, RangeTooSmall, split};
