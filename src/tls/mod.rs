//! TLS, sans-io: bytes in, bytes out, buffers owned by the caller. No socket, no executor.
//!
//! A connection goes [`Handshake`] (rustls) → [`Channel`] (our record layer, for the measured
//! cost of bulk data) → perhaps [`Drain`] (REIN, CCC: back to the clear, exact to the byte).
//! [`ServerTls`] is what the operator configured, built once for each shard, so that not even its
//! reference counts are shared. Certificates come from files ([`ServerCertificate`]), the only
//! files this layer touches.

mod certificate;
mod channel;
mod claim;
mod clear_records;
mod client_certificate;
mod client_hello;
mod control_session;
mod drain;
mod error;
mod handshake;
mod hashes;
mod kernel;
mod messages;
mod names;
mod new_session_ticket;
mod probe;
mod profile;
mod record;
mod server;
mod shared;
mod suites;
#[cfg(test)]
mod tests;
mod ticket;
mod ticket_secrets;

pub use certificate::{
    CertificateDetails, PemText, SelfSigned, ServerCertificate, Validity, self_signed_chain,
    self_signed_key, sha256_fingerprint,
};
pub use channel::{Channel, OpenedRecord};
pub use claim::{Claim, ClaimedTickets, Heard};
pub use client_certificate::ClientCertificate;
pub use control_session::ControlSession;
pub use drain::{Drain, DrainProgress, is_tls_record};
pub use error::{Culprit, TlsError, TlsSetupError};
pub use handshake::{Handshake, HandshakeFacts, Progress, TlsVersion};
pub use kernel::{Aead, KernelSender, ProtocolRecord, SendKeys};
pub use probe::{Resumption, TicketMark};
pub use profile::{GROUPS, POST_QUANTUM, TlsProfile};
pub use server::{ServerTls, TlsOptions, TlsVersions};
pub use shared::Purpose;
pub use ticket_secrets::{TICKET_SECRETS_MAX, TicketSecrets, random as random_ticket_secret};
