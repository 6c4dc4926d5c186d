//! The connections that come to a port announced for a transfer: their handshakes, what each
//! proves, and which of them gets the transfer.

pub(crate) mod candidates;
mod contest;
pub(crate) mod handshake;
pub(crate) mod proof;
