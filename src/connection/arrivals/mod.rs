//! The connections that come to a port announced for a transfer: their handshakes, what each
//! proves, and which of them gets the transfer; and before that, for which session a connection is
//! where several wait at one port.

pub(crate) mod candidates;
mod contest;
mod dispatch;
pub(crate) mod gate;
pub(crate) mod handshake;
pub(crate) mod proof;
pub(crate) mod undecided;

pub(crate) use dispatch::Fit;
