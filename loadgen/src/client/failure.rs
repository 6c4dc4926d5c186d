//! How an exchange with the server fails: the phase it was in, the kind, and what was seen. A
//! failure ends its connection, never the run.

use std::{fmt, io};

use rustix::io::Errno;

use super::{Reply, ReplyError};
use crate::measure::{ErrorKind, Phase, printable};

/// An exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub phase: Phase,
    /// What was seen.
    pub kind: ErrorKind,
    /// The detail: a reply's text, an error's. The server may have chosen it.
    pub detail: String,
}

impl Failure {
    /// A failure with a detail.
    #[must_use]
    pub fn new(phase: Phase, kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self { phase, kind, detail: detail.into() }
    }

    /// A reply that the exchange does not allow here.
    #[must_use]
    pub fn unexpected(phase: Phase, reply: &Reply) -> Self {
        let detail = format!("{} {}", reply.code, reply.text);
        Self::new(phase, ErrorKind::UnexpectedReply(reply.code), detail)
    }

    /// Octets that are no reply.
    #[must_use]
    pub fn malformed(phase: Phase, error: ReplyError) -> Self {
        Self::new(phase, ErrorKind::ReplyParse, error.to_string())
    }
}

/// In a line for a terminal.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, kind) = (self.phase.title(), self.kind.name());
        write!(f, "{phase}: {kind}: {}", printable(&self.detail))
    }
}

/// How one connection failed, without the phase.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// A system call failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The connection ended where it must not: within a handshake or an exchange.
    #[error("the server closed the connection")]
    Closed,
    /// FIN without close_notify, RFC 8446 §6.1.
    #[error("the connection ended without close_notify")]
    Truncated,
    /// TLS was expected, and this came in clear.
    #[error(
        "the server speaks in clear (\"{0}\"): it waits for AUTH TLS, which --explicit sends; \
         or this is no FTPS port"
    )]
    InClear(String),
}

impl ConnectionError {
    /// With the phase.
    #[must_use]
    pub fn during(self, phase: Phase) -> Failure {
        let kind = match &self {
            Self::Io(error) => io_kind(phase, error),
            Self::Tls(error) => tls_kind(error),
            Self::InClear(_) => ErrorKind::TlsProtocol,
            Self::Closed => ErrorKind::ConnectionClosed,
            Self::Truncated => match phase {
                Phase::FirstByte | Phase::LastByte => ErrorKind::DataTruncated,
                _ => ErrorKind::ConnectionClosed,
            },
        };
        Failure::new(phase, kind, self.to_string())
    }
}

/// What the deadline of a phase is called when it passes.
#[must_use]
pub fn timeout_kind(phase: Phase) -> ErrorKind {
    match phase {
        Phase::Queued | Phase::TcpConnect => ErrorKind::ConnectTimeout,
        Phase::TlsHandshake | Phase::DataTls => ErrorKind::TlsTimeout,
        Phase::DataConnect => ErrorKind::DataConnectTimeout,
        Phase::FirstByte | Phase::LastByte => ErrorKind::DataTimeout,
        Phase::Greeting | Phase::Login | Phase::Epsv | Phase::Completion | Phase::Operation => {
            ErrorKind::ReplyTimeout
        }
    }
}

fn io_kind(phase: Phase, error: &io::Error) -> ErrorKind {
    let Some(errno) = Errno::from_io_error(error) else {
        return ErrorKind::System(0);
    };
    match errno {
        Errno::CONNREFUSED if phase == Phase::DataConnect => ErrorKind::DataConnectRefused,
        Errno::CONNREFUSED => ErrorKind::ConnectRefused,
        Errno::TIMEDOUT if phase == Phase::DataConnect => ErrorKind::DataConnectTimeout,
        Errno::TIMEDOUT if phase == Phase::TcpConnect => ErrorKind::ConnectTimeout,
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => ErrorKind::ConnectionReset,
        Errno::NETUNREACH | Errno::HOSTUNREACH => ErrorKind::ConnectUnreachable,
        Errno::MFILE | Errno::NFILE => ErrorKind::FdLimit,
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => ErrorKind::LocalAddress,
        other => ErrorKind::System(other.raw_os_error()),
    }
}

fn tls_kind(error: &rustls::Error) -> ErrorKind {
    match error {
        rustls::Error::AlertReceived(alert) => ErrorKind::TlsAlert((*alert).into()),
        rustls::Error::InvalidCertificate(_) => ErrorKind::CertificateRejected,
        _ => ErrorKind::TlsProtocol,
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectionError, ErrorKind, Failure, Phase};
    use rustix::io::Errno;

    #[test]
    fn a_server_cannot_command_the_terminal() {
        let failure = Failure::new(Phase::Login, ErrorKind::UnexpectedReply(530), "530 \u{1b}[2J");
        assert_eq!(failure.to_string(), "login: unexpected_reply: 530 \u{fffd}[2J");
    }

    #[test]
    fn kinds() {
        #[track_caller]
        fn check(error: impl Into<ConnectionError>, phase: Phase, expected: ErrorKind) {
            assert_eq!(error.into().during(phase).kind, expected);
        }
        let io = |errno: Errno| ConnectionError::Io(errno.into());
        check(io(Errno::CONNREFUSED), Phase::TcpConnect, ErrorKind::ConnectRefused);
        check(io(Errno::CONNREFUSED), Phase::DataConnect, ErrorKind::DataConnectRefused);
        check(io(Errno::PIPE), Phase::Login, ErrorKind::ConnectionReset);
        check(io(Errno::MFILE), Phase::TcpConnect, ErrorKind::FdLimit);
        check(io(Errno::IO), Phase::Login, ErrorKind::System(5));
        check(ConnectionError::Truncated, Phase::LastByte, ErrorKind::DataTruncated);
        check(ConnectionError::Truncated, Phase::Login, ErrorKind::ConnectionClosed);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
        check(alert, Phase::TlsHandshake, ErrorKind::TlsAlert(40));
        let unknown = rustls::CertificateError::UnknownIssuer;
        check(rustls::Error::from(unknown), Phase::TlsHandshake, ErrorKind::CertificateRejected);
        let forged = rustls::CertificateError::BadSignature;
        check(rustls::Error::from(forged), Phase::DataTls, ErrorKind::CertificateRejected);
    }
}
