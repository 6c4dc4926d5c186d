//! The shells of one session. They move octets and do what the session asks for, and decide nothing
//! about the protocol. Decisions of their own are in files without I/O, with table tests:
//! `newcomers::budget`, `logins::turns`, `arrivals::contest`, `transfer::path`.
//!
//! Each room uses only the rooms above it in this list (`tests/tidy.rs` holds it):

pub(crate) mod sessions;

mod proxied;

pub(crate) mod newcomers;

pub(crate) mod logins;

pub(crate) mod arrivals;

pub(crate) mod ports;

pub(crate) mod data;

mod context;

pub(crate) mod transfer;

mod control;

#[cfg(test)]
mod tests;

pub use context::{Context, ContextParts, NewState, Queues, State};
pub use control::{Accepted, serve};
pub use logins::homes::OpenedHome;
pub use newcomers::permits::HandshakePermit;
pub use ports::exchange::{Exchange, exchanges};
pub use ports::range::split;
pub use proxied::{Ends, Proxies, Unintroduced};
pub use sessions::{Direction, Kicked, SessionFacts, Sessions, TransferFacts, Whom};
