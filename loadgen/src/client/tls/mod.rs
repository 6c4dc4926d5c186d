//! TLS as a client, octets in and octets out: opens nothing and waits for nothing. The library
//! does the handshakes and keeps the key schedule and the tickets; records are sealed and opened
//! here, in the caller's buffers, so that a client can load a server that does the same.

mod connection;
mod handshake;
mod record;
mod settings;
#[cfg(test)]
mod tests;

pub use connection::TlsClient;
pub use handshake::ClientHandshake;
pub use settings::{TlsOptions, TlsOptionsError, TlsSettings, TlsVersion, Verification};
