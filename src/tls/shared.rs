//! What the configured server and its connections both use: certificates, ticket keys, the clock,
//! and the purpose of a connection.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use super::ServerCertificate;
use super::names::Names;
use super::ticket::TicketKeys;

/// The part of a [`ServerTls`](super::ServerTls) that a connection's callbacks need.
pub(super) struct Shared {
    pub(super) certificates: Vec<ServerCertificate>,
    pub(super) names: Names,
    pub(super) tickets: Option<TicketKeys>,
    pub(super) ticket_lifetime_seconds: u32,
    pub(super) clock: Clock,
}

/// What a connection is for; decides how many TLS 1.3 tickets the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Control connection: several tickets for the data connections to come.
    Control,
    /// Data connection: one, to replace the one the client has used. On an upload the caller keeps
    /// it back until the client's close_notify is there: before, the client would not read it, and
    /// closing a socket with unread bytes resets the connection and truncates the upload.
    /// In TLS 1.2 none: see `tls::probe`.
    Data,
}

/// Where the time comes from; tests move it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(pub(super) fn() -> Duration);

impl Clock {
    /// Time since the Unix epoch.
    pub(super) fn unix_time(self) -> Duration {
        (self.0)()
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.unix_time()))
    }
}
