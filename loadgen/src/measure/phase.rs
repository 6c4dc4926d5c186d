//! The named parts of an operation, in the order in which they happen.

use serde::{Deserialize, Serialize};

/// One part of an operation, from the end of the part before it to its own end, so that the parts
/// of an operation add up to the whole ([`Phase::Operation`]).
///
/// A phase that an operation does not have (no TLS, no data connection) is simply not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From when the operation was due by a clock until it began: every connection was busy, or the
    /// generator late. Without a clock there is none.
    Queued,
    /// `connect` called until the control connection's TCP handshake is done.
    TcpConnect,
    /// ClientHello until the client's Finished is sent; in explicit mode from AUTH on, after
    /// REIN from REIN on.
    TlsHandshake,
    /// Until the whole 220 reply (or, in explicit mode, 220 before TLS) was read. RFC 959 §5.4.
    Greeting,
    /// USER sent until the reply that logs in was read. RFC 959 §4.1.1.
    Login,
    /// EPSV, PASV, EPRT or PORT sent until its reply was read. RFC 2428.
    Epsv,
    /// `connect` (or accept) of the data connection until it is established.
    DataConnect,
    /// The TLS handshake of the data connection, with the transfer command and its 1yz reply, which
    /// come before it (RFC 4217 §7). In clear they belong to the first byte, and with PORT and EPRT
    /// to the data connection, which the server only makes then.
    DataTls,
    /// Until the first byte of payload was received, or accepted by the transport when sending.
    FirstByte,
    /// Until the last byte of payload and the end of the data connection.
    LastByte,
    /// Until the completion reply (226, or 250) on the control connection. RFC 959 §5.4.
    Completion,
    /// The whole operation: what one unit of the workload is. Its sentence is the workload's.
    Operation,
}

impl Phase {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order in which they happen; the whole operation last.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::TcpConnect,
        Self::TlsHandshake,
        Self::Greeting,
        Self::Login,
        Self::Epsv,
        Self::DataConnect,
        Self::DataTls,
        Self::FirstByte,
        Self::LastByte,
        Self::Completion,
        Self::Operation,
    ];

    /// Its name in the JSON result, in tags of the histogram log and in objectives.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::TcpConnect => "tcp_connect",
            Self::TlsHandshake => "tls_handshake",
            Self::Greeting => "greeting",
            Self::Login => "login",
            Self::Epsv => "epsv",
            Self::DataConnect => "data_connect",
            Self::DataTls => "data_tls",
            Self::FirstByte => "first_byte",
            Self::LastByte => "last_byte",
            Self::Completion => "completion",
            Self::Operation => "operation",
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::TcpConnect => "TCP connect",
            Self::TlsHandshake => "TLS handshake",
            Self::Greeting => "greeting",
            Self::Login => "login",
            Self::Epsv => "EPSV",
            Self::DataConnect => "data connect",
            Self::DataTls => "data TLS",
            Self::FirstByte => "first byte",
            Self::LastByte => "last byte",
            Self::Completion => "226",
            Self::Operation => "whole operation",
        }
    }

    /// The phase with this [`name`](Self::name).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }

    /// Its position in [`ALL`](Self::ALL).
    #[must_use]
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn every_phase_is_found_by_its_name_and_at_its_index() {
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase.index(), index);
            assert_eq!(Phase::from_name(phase.name()), Some(phase));
            assert_eq!(
                serde_json::to_string(&phase).unwrap(),
                format!("\"{}\"", phase.name()),
                "one name in the JSON and in objectives"
            );
        }
        assert_eq!(Phase::from_name("TLS handshake"), None);
    }
}
