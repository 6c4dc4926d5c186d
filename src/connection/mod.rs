//! The I/O shells of one session: control connection, data connection, server-DTP. They move octets
//! and perform what the session asks; they decide nothing about the protocol.

mod context;
mod control;
mod data;
mod passive_ports;
mod send;
mod source;
mod storage;
mod transfer;
mod wire;

pub use context::{Context, ContextParts};
pub use control::{Accepted, serve};
pub use passive_ports::{PassivePorts, RangeTooSmall, split};
