//! How an operation can fail, and how often each way happened in which phase.

use std::collections::BTreeMap;

use super::Phase;

/// Why an operation failed: the symptom, never whose fault it must have been. The [`Phase`]
/// recorded beside it says where it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// The certificate did not pass the chosen verification, or the peer could not prove that it
    /// has the certificate's key.
    CertificateRejected,
    /// The peer ended the connection in the middle of an exchange.
    ConnectionClosed,
    /// The peer reset the connection (ECONNRESET, EPIPE).
    ConnectionReset,
    /// `connect` of the control connection was refused.
    ConnectRefused,
    /// `connect` of the control connection took longer than the limit.
    ConnectTimeout,
    /// `connect` failed in another way (unreachable network or host).
    ConnectUnreachable,
    /// `connect` of the data connection was refused, or its listener got no connection.
    DataConnectRefused,
    /// The data connection was not established within the limit.
    DataConnectTimeout,
    /// No payload moved on the data connection within the limit, or the transfer as a whole took
    /// longer than its own.
    DataTimeout,
    /// A file or listing of unknown size went on beyond the limit.
    DataTooLong,
    /// The data connection ended without close_notify, so the end of the file is unproven.
    DataTruncated,
    /// This process ran out of file descriptors.
    FdLimit,
    /// This host ran out of local addresses and ports.
    LocalAddress,
    /// The reply is not RFC 959 §4.2 syntax, or passes the reply limits.
    ReplyParse,
    /// No whole reply within the limit.
    ReplyTimeout,
    /// Resumption was demanded (`always`) and the server did a full handshake.
    ResumptionRefused,
    /// The peer sent this TLS alert (RFC 8446 §6).
    TlsAlert(u8),
    /// The TLS handshake or a record failed on our side: the peer broke the protocol.
    TlsProtocol,
    /// The TLS handshake took longer than the limit.
    TlsTimeout,
    /// A well-formed reply with a code that the exchange does not allow.
    UnexpectedReply(u16),
    /// Content differs from what the seed or checksum says.
    VerificationMismatch,
    /// Any other system error, by its errno.
    System(i32),
}

impl ErrorKind {
    /// The kind's name in the JSON result; a code is told apart by [`code`](Self::code).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CertificateRejected => "certificate_rejected",
            Self::ConnectionClosed => "connection_closed",
            Self::ConnectionReset => "connection_reset",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::ConnectUnreachable => "connect_unreachable",
            Self::DataConnectRefused => "data_connect_refused",
            Self::DataConnectTimeout => "data_connect_timeout",
            Self::DataTimeout => "data_timeout",
            Self::DataTooLong => "data_too_long",
            Self::DataTruncated => "data_truncated",
            Self::FdLimit => "fd_limit",
            Self::LocalAddress => "local_address",
            Self::ReplyParse => "reply_parse",
            Self::ReplyTimeout => "reply_timeout",
            Self::ResumptionRefused => "resumption_refused",
            Self::TlsAlert(_) => "tls_alert",
            Self::TlsProtocol => "tls_protocol",
            Self::TlsTimeout => "tls_timeout",
            Self::UnexpectedReply(_) => "unexpected_reply",
            Self::VerificationMismatch => "verification_mismatch",
            Self::System(_) => "system",
        }
    }

    /// The TLS alert, the reply code or the errno, for the kinds that have one.
    #[must_use]
    pub fn code(self) -> Option<i32> {
        match self {
            Self::TlsAlert(alert) => Some(i32::from(alert)),
            Self::UnexpectedReply(code) => Some(i32::from(code)),
            Self::System(errno) => Some(errno),
            _ => None,
        }
    }

    /// The coarse class, for a summary line.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        match self {
            Self::ConnectRefused
            | Self::ConnectTimeout
            | Self::ConnectUnreachable
            | Self::ConnectionClosed
            | Self::ConnectionReset => ErrorClass::Connection,
            Self::CertificateRejected => ErrorClass::Certificate,
            Self::ResumptionRefused | Self::TlsAlert(_) | Self::TlsProtocol | Self::TlsTimeout => {
                ErrorClass::Tls
            }
            Self::ReplyParse | Self::ReplyTimeout | Self::UnexpectedReply(_) => ErrorClass::Reply,
            Self::DataConnectRefused
            | Self::DataConnectTimeout
            | Self::DataTimeout
            | Self::DataTooLong
            | Self::DataTruncated
            | Self::VerificationMismatch => ErrorClass::Data,
            Self::FdLimit | Self::LocalAddress | Self::System(_) => ErrorClass::Client,
        }
    }
}

/// Classes of [`ErrorKind`], in the order of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The control connection's transport.
    Connection,
    /// The server is not who it was demanded to be.
    Certificate,
    /// A TLS handshake or record, on either connection.
    Tls,
    /// A reply on the control connection.
    Reply,
    /// The data connection, and content.
    Data,
    /// This process or host, not the server.
    Client,
}

impl ErrorClass {
    /// All classes, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Connection, Self::Certificate, Self::Tls, Self::Reply, Self::Data, Self::Client];

    /// Its name in the JSON result.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Reply => "reply",
            Self::Data => "data",
            Self::Client => "client",
        }
    }
}

/// Errors by phase and kind, with the text of the first of each. Bounded by the finite number of
/// codes: 1000 reply codes, 256 alerts, the host's errnos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    rows: BTreeMap<(Phase, ErrorKind), ErrorCount>,
}

/// How often, and what the first one said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorCount {
    pub(crate) count: u64,
    pub(crate) example: String,
}

/// An example is cut here: a sentence with a fingerprint or two. Bytes.
const EXAMPLE_BYTES_MAX: usize = 320;

impl Errors {
    /// Counts one error. `detail` is kept for the first of its phase and kind only, printable and
    /// cut to one line of a report.
    pub fn add(&mut self, phase: Phase, kind: ErrorKind, detail: &str) {
        let row = self.rows.entry((phase, kind)).or_default();
        if row.count == 0 {
            row.example = printable(detail);
        }
        row.count += 1;
    }

    /// All errors.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.values().map(|row| row.count).sum()
    }

    /// Errors of `kind` in `phase`.
    #[must_use]
    pub fn count(&self, phase: Phase, kind: ErrorKind) -> u64 {
        self.rows.get(&(phase, kind)).map_or(0, |row| row.count)
    }

    /// Errors by class, in the order of [`ErrorClass::ALL`].
    #[must_use]
    pub fn by_class(&self) -> [u64; ErrorClass::ALL.len()] {
        let mut classes = [0; ErrorClass::ALL.len()];
        for ((_, kind), row) in &self.rows {
            classes[kind.class() as usize] += row.count;
        }
        classes
    }

    /// Errors by kind over all phases.
    #[must_use]
    pub fn by_kind(&self) -> Vec<(ErrorKind, u64)> {
        let mut kinds: BTreeMap<ErrorKind, u64> = BTreeMap::new();
        for ((_, kind), row) in &self.rows {
            *kinds.entry(*kind).or_default() += row.count;
        }
        kinds.into_iter().collect()
    }

    /// Adds the errors of another thread.
    pub fn merge(&mut self, other: &Self) {
        for (key, row) in &other.rows {
            let mine = self.rows.entry(*key).or_default();
            if mine.count == 0 {
                mine.example.clone_from(&row.example);
            }
            mine.count += row.count;
        }
    }

    /// Each phase and kind with its count and example.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Phase, ErrorKind, &ErrorCount)> {
        self.rows.iter().map(|((phase, kind), row)| (*phase, *kind, row))
    }
}

/// What a server chose to say, for a terminal: without control and direction-changing characters,
/// cut at a character.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        let invisible = character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(character, '\u{2066}'..='\u{2069}');
        let shown = if invisible { '\u{fffd}' } else { character };
        if out.len() + shown.len_utf8() > EXAMPLE_BYTES_MAX {
            break;
        }
        out.push(shown);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{EXAMPLE_BYTES_MAX, ErrorClass, ErrorKind, Errors};
    use crate::measure::Phase;

    #[test]
    fn kinds_with_different_codes_are_different_rows() {
        let mut errors = Errors::default();
        errors.add(Phase::Login, ErrorKind::UnexpectedReply(530), "530 no");
        errors.add(Phase::Login, ErrorKind::UnexpectedReply(530), "530 never");
        errors.add(Phase::Login, ErrorKind::UnexpectedReply(421), "421 full");
        errors.add(Phase::DataTls, ErrorKind::TlsAlert(40), "");
        assert_eq!(errors.total(), 4);
        assert_eq!(errors.count(Phase::Login, ErrorKind::UnexpectedReply(530)), 2);
        assert_eq!(errors.count(Phase::Greeting, ErrorKind::UnexpectedReply(530)), 0);
        assert_eq!(errors.by_class(), [0, 0, 1, 3, 0, 0]);
        let first = errors.iter().find(|row| row.1 == ErrorKind::UnexpectedReply(530)).unwrap();
        assert_eq!(first.2.example, "530 no");
    }

    #[test]
    fn an_example_cannot_command_a_terminal_or_grow() {
        let mut errors = Errors::default();
        errors.add(Phase::Greeting, ErrorKind::ReplyParse, "\u{1b}[2J\r\nbad\u{202e}");
        let example = errors.iter().next().unwrap().2.example.clone();
        assert_eq!(example, "\u{fffd}[2J\u{fffd}\u{fffd}bad\u{fffd}");
        let mut errors = Errors::default();
        errors.add(Phase::Greeting, ErrorKind::ReplyParse, &"é".repeat(1000));
        assert!(errors.iter().next().unwrap().2.example.len() <= EXAMPLE_BYTES_MAX);
    }

    #[test]
    fn classes_are_in_order_of_their_discriminants() {
        for (index, class) in ErrorClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, index);
        }
    }
}
