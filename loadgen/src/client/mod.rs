//! The client role of MS-FTPS and RFC 4217: control and data connections, TLS on both. Says what
//! it does to a [`Trace`]; decides nothing about load.
//!
//! `reply`, `rendezvous` and `tls` are sans-io: octets or text in, values out. `channel` moves
//! octets, `session` speaks.

mod channel;
mod failure;
mod rendezvous;
mod reply;
mod session;
mod ticket;
mod tls;
mod trace;
mod transfer;

pub use channel::{Channel, Received};
pub use failure::{ConnectionError, Failure, timeout_kind};
pub use rendezvous::{DataMode, active_command, parse_epsv, parse_pasv};
pub use reply::{LINE_BYTES_MAX, REPLY_BYTES_MAX, Reply, ReplyError, ReplyParser};
pub use session::{AuthWord, Client, Endpoint, Opening, Protection, ResumeMode, Session};
pub use ticket::TicketStore;
pub use tls::{TlsClient, TlsOptions, TlsOptionsError, TlsSettings, TlsVersion, Verification};
pub use trace::{Presence, SharedRecorder, Trace};
pub use transfer::{Listing, Pace};
