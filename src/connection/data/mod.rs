//! The data connection (RFC 959 §2.3): how it comes about, its TLS, octets in and out of it with
//! deadlines, and its end.

pub(crate) mod connection;
mod hearing;
pub(crate) mod interrupts;
pub(crate) mod kept;
mod kernel_send;
mod kernel_tls;
mod lingering;
pub(crate) mod open;
mod parting;
