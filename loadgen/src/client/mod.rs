//! The client role of MS-FTPS and RFC 4217: control and data connections, TLS on both. Records what
//! it does in an [`OperationRecord`]; decides nothing about load.
//!
//! `reply`, `rendezvous` and `tls` are sans-io: octets or text in, values out. `channel` moves
//! octets, `session` runs the dialogue.

mod certificate;
mod channel;
mod failure;
mod operation_record;
mod rendezvous;
mod reply;
mod session;
mod ticket;
mod tls;
mod trace;
mod transfer;
mod users;

pub use certificate::{is_its_own_issuer, key_kind};
pub use channel::{Channel, Received};
pub use failure::{ConnectionError, Failure, timeout_kind};
pub use operation_record::{OperationRecord, Presence, SharedRecorder};
pub use rendezvous::{DataMode, active_command, parse_epsv, parse_pasv};
pub use reply::{LINE_BYTES_MAX, REPLY_BYTES_MAX, Reply, ReplyError, ReplyParser};
pub use session::{AuthWord, Client, Endpoint, Opening, Protection, ResumeMode, Session};
pub use ticket::TicketStore;
pub use tls::{
    ClientHandshake, TlsClient, TlsOptions, TlsOptionsError, TlsSettings, TlsVersion, Verification,
};
pub use trace::Trace;
pub use transfer::{Listing, Pace};
pub use users::{User, Users};
