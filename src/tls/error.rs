//! What can go wrong in a TLS session, named after who is to blame, and what can go wrong when an
//! operator's files and settings become a [`ServerTls`](super::ServerTls).
//!
//! Texts are for logs and terminals; none of them is sent to a client.

use std::io;
use std::path::PathBuf;

use rustls::AlertDescription;

/// Who caused a [`TlsError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// The other end, or somebody on the way to it.
    Peer,
    /// This server.
    Us,
}

/// Why a TLS session ended. Every one of them is final for the session.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The first bytes are no TLS record of type handshake.
    #[error("peer does not speak TLS: first byte is {first:#04x}")]
    NotTls {
        /// The first octet received.
        first: u8,
    },
    /// More than [`TLS_HANDSHAKE_BYTES_MAX`](crate::limits::TLS_HANDSHAKE_BYTES_MAX).
    #[error("peer sent more than 64 KiB without finishing the TLS handshake")]
    HandshakeTooLong,
    /// Nothing, or less than a ClientHello, has arrived in the time allowed for it.
    #[error("peer sent no ClientHello in time")]
    NoClientHello,
    /// The peer kept others waiting in the middle of its handshake.
    #[error("peer was silent in its TLS handshake while others waited")]
    Shed,
    /// rustls refused the handshake.
    #[error("TLS handshake failed: {}", explain(.0))]
    Handshake(rustls::Error),
    /// A record whose type, or content, has no place where it is in the handshake.
    #[error("peer sent a TLS record that has no place where it is in the handshake")]
    UnexpectedInHandshake,
    /// The peer ended the session inside the handshake.
    #[error("peer closed the TLS session during the handshake")]
    ClosedInHandshake,
    /// Bytes of another message stand in the record that ends the handshake.
    #[error("peer put bytes behind the last handshake message of its record")]
    TrailingHandshakeBytes,
    /// A resumed session carries a client certificate that would be refused today.
    #[error(
        "client certificate of the resumed session is not accepted any more: {}",
        explain(.0)
    )]
    ClientCertificate(rustls::Error),
    /// The peer sent a fatal alert (RFC 8446 §6.2).
    #[error("peer ended the TLS session with alert {}", alert_name(*.0))]
    AlertReceived(AlertDescription),
    /// A record does not authenticate: damaged, forged, replayed or left out.
    #[error("TLS record from peer does not authenticate (bad_record_mac)")]
    BadRecordMac,
    /// A record is larger than its version allows (RFC 8446 §5.2, RFC 5246 §6.2.3).
    #[error("TLS record from peer is too long: {length} bytes")]
    RecordOverflow {
        /// Octets of the record body or of its plaintext.
        length: usize,
    },
    /// A record type, or a handshake message, that has no place after the handshake.
    #[error("peer sent an unexpected TLS record of type {kind}")]
    UnexpectedRecord {
        /// Content type as on the wire, or the inner one in TLS 1.3.
        kind: u8,
    },
    /// TLS 1.2 handshake record after the handshake.
    #[error("peer asked for TLS 1.2 renegotiation, which is refused")]
    Renegotiation,
    /// A field of an alert or a KeyUpdate has a value that does not exist.
    #[error("peer sent a TLS alert or KeyUpdate with a value that does not exist")]
    IllegalParameter,
    /// An alert or a KeyUpdate that does not parse.
    #[error("peer sent a malformed TLS alert or KeyUpdate")]
    Decode,
    /// More than [`TLS_QUIET_RECORDS_MAX`](crate::limits::TLS_QUIET_RECORDS_MAX) in a row.
    #[error("peer floods the TLS session with records that carry no data")]
    QuietRecords,
    /// More than [`TLS_DRAIN_BYTES_MAX`](crate::limits::TLS_DRAIN_BYTES_MAX).
    #[error("peer goes on sending in a TLS session that was closed")]
    DrainTooLong,
    /// Something else than the new session or plaintext follows an old TLS session.
    #[error("peer left its old TLS session with a byte {first:#04x} that starts nothing expected")]
    UnexpectedAfterClose {
        /// First octet of what followed.
        first: u8,
    },
    /// Sealing after close_notify or after a fatal alert.
    #[error("nothing can be sent any more: this end of the TLS session is closed")]
    SendClosed,
    /// TLS 1.2 cannot change keys, and this one has sealed as many records as is safe.
    #[error("TLS 1.2 key has reached its limit of records; the connection has to end")]
    KeyExhausted,
    /// A handshake was taken as finished before it was.
    #[error("TLS handshake is not finished")]
    NotEstablished,
    /// The cryptographic library refused something it never should.
    #[error("internal TLS failure: {0}")]
    Internal(&'static str),
}

impl TlsError {
    /// Whom to blame.
    #[must_use]
    pub fn culprit(&self) -> Culprit {
        use rustls::Error as E;
        match self {
            Self::SendClosed | Self::KeyExhausted | Self::NotEstablished | Self::Internal(_) => {
                Culprit::Us
            }
            Self::Handshake(
                E::General(_)
                | E::FailedToGetCurrentTime
                | E::FailedToGetRandomBytes
                | E::EncryptError
                | E::HandshakeNotComplete
                | E::BadMaxFragmentSize
                | E::InconsistentKeys(_)
                | E::Other(_),
            ) => Culprit::Us,
            _ => Culprit::Peer,
        }
    }

    /// What an alert or a handshake message is that is not as long as it should be: an empty one
    /// has no place at all (RFC 8446 §5.4, RFC 5246 §6.2.1).
    pub(super) const fn malformed(kind: u8, content: &[u8]) -> Self {
        if content.is_empty() { Self::UnexpectedRecord { kind } } else { Self::Decode }
    }

    /// The alert that tells the peer, if one is due and rustls has not sent it.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        Some(match self {
            Self::BadRecordMac => AlertDescription::BadRecordMac,
            Self::RecordOverflow { .. } => AlertDescription::RecordOverflow,
            Self::UnexpectedRecord { .. }
            | Self::UnexpectedInHandshake
            | Self::TrailingHandshakeBytes
            | Self::Renegotiation
            | Self::QuietRecords => AlertDescription::UnexpectedMessage,
            Self::Decode | Self::HandshakeTooLong => AlertDescription::DecodeError,
            Self::Handshake(error) | Self::ClientCertificate(error) => return alert_for(error),
            Self::IllegalParameter => AlertDescription::IllegalParameter,
            Self::Internal(_) => AlertDescription::InternalError,
            _ => return None,
        })
    }
}

/// The alert for an error of rustls' that it has sent none for.
fn alert_for(error: &rustls::Error) -> Option<AlertDescription> {
    use rustls::{Error as E, PeerMisbehaved};
    Some(match error {
        E::AlertReceived(_) => return None,
        E::InvalidCertificate(cause) => cause.clone().into(),
        E::InvalidMessage(_) => AlertDescription::DecodeError,
        E::PeerMisbehaved(PeerMisbehaved::ServerNameDifferedOnRetry) => {
            AlertDescription::IllegalParameter
        }
        E::PeerMisbehaved(_)
        | E::InappropriateMessage { .. }
        | E::InappropriateHandshakeMessage { .. } => AlertDescription::UnexpectedMessage,
        // The latter of a key that cannot sign in any way the client asks for.
        E::PeerIncompatible(_) | E::General(_) => AlertDescription::HandshakeFailure,
        _ => AlertDescription::InternalError,
    })
}

/// Why certificates or settings cannot be used. The text says what, where, why and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// A file cannot be read or written.
    #[error(
        "cannot {action} {}: {source}; check that the folder exists and who may use it",
        path.display()
    )]
    File {
        /// "read the certificate file", "write the key file", …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of ticket keys that cannot be used.
    #[error("{origin}:{line} {cause}; make the file with: ringftpd ticket-keys FILE")]
    TicketSecrets {
        /// Its name.
        origin: String,
        /// The line.
        line: usize,
        /// What is wrong there.
        cause: &'static str,
    },
    /// The system gives none.
    #[error("no random numbers")]
    NoRandomNumbers,
    /// A PEM text has no section of the kind needed.
    #[error(
        "{origin} contains no {wanted}; it must be PEM text with a section \
         \"-----BEGIN {label}-----\""
    )]
    NoSection {
        /// File name or other origin.
        origin: String,
        /// What was looked for.
        wanted: &'static str,
        /// Label of the PEM section.
        label: &'static str,
    },
    /// A PEM section is damaged.
    #[error("{origin} is not valid PEM text: {cause}; was it copied completely?")]
    BadPem {
        /// File name or other origin.
        origin: String,
        /// What the parser said.
        cause: String,
    },
    /// The key is protected by a passphrase.
    #[error(
        "the private key in {origin} is encrypted with a passphrase, which a server cannot type; \
         remove it with: openssl pkey -in KEY -out KEY.plain"
    )]
    EncryptedKey {
        /// File name or other origin.
        origin: String,
    },
    /// The key is of a kind the library does not know.
    #[error(
        "the private key in {origin} cannot be used: {cause}; use ECDSA (P-256, P-384), RSA of \
         2048 bits or more, or Ed25519"
    )]
    UnsupportedKey {
        /// File name or other origin.
        origin: String,
        /// What the library said.
        cause: String,
    },
    /// The certificate cannot be parsed.
    #[error(
        "the first certificate in {origin} cannot be used: {cause}; see what it is with: openssl \
         x509 -in {origin} -noout -text"
    )]
    BadCertificate {
        /// File name or other origin.
        origin: String,
        /// What the parser said.
        cause: String,
    },
    /// The certificate is of a version from before there were extensions.
    #[error(
        "the first certificate in {origin} is of X.509 version {version}; version 3 is needed, for \
         the server's name stands in an extension (subjectAltName): have it issued anew, or make a \
         self-signed one with: openssl req -x509 -addext subjectAltName=DNS:NAME …"
    )]
    OldVersion {
        /// File name or other origin.
        origin: String,
        /// As people count: 1 or 2.
        version: u64,
    },
    /// Certificate and key are not a pair.
    #[error(
        "the private key in {key} does not belong to the first certificate in {certificate}; \
         likely the files are of different renewals, or the chain does not begin with the \
         server's own certificate"
    )]
    KeyMismatch {
        /// Where the certificate came from.
        certificate: String,
        /// Where the key came from.
        key: String,
    },
    /// No certificate was given.
    #[error("no server certificate is configured; name a certificate and its key")]
    NoCertificate,
    /// Both versions are off.
    #[error("neither TLS 1.2 nor TLS 1.3 is enabled; enable at least one")]
    NoVersion,
    /// A suite name is not known.
    #[error("unknown cipher suite \"{name}\"; known are: {known}")]
    UnknownCipherSuite {
        /// The name given.
        name: String,
        /// All names, separated by commas.
        known: String,
    },
    /// A key exchange group's name is not known.
    #[error("unknown key exchange group \"{name}\"; known are: {known}")]
    UnknownGroup {
        /// The name given.
        name: String,
        /// All names, separated by commas.
        known: String,
    },
    /// A version is enabled but none of its suites.
    #[error("{version} is enabled but none of its cipher suites is; disable it or add: {known}")]
    NoSuite {
        /// "TLS 1.2" or "TLS 1.3".
        version: &'static str,
        /// The names of that version.
        known: String,
    },
    /// The ticket lifetime is outside what the protocol allows.
    #[error(
        "ticket lifetime of {seconds} s is not possible; it must be from 2 s to 7 days \
         (RFC 8446 §4.6.1)"
    )]
    TicketLifetime {
        /// The value given, seconds.
        seconds: u64,
    },
    /// The client CA cannot be used.
    #[error("the client CA certificates in {origin} cannot be used: {cause}")]
    ClientCa {
        /// File name or other origin.
        origin: String,
        /// What the library said.
        cause: String,
    },
    /// A self-signed certificate cannot be made.
    #[error("cannot make a self-signed certificate: {cause}")]
    SelfSigned {
        /// What the library said.
        cause: String,
    },
    /// rustls refused the settings.
    #[error("TLS cannot be set up: {}", explain(.0))]
    Rustls(#[from] rustls::Error),
}

/// `error` in words: where rustls shows the names of its variants, those are taken apart.
pub(super) fn explain(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error as E};
    match error {
        E::AlertReceived(alert) => format!("received alert {}", alert_name(*alert)),
        E::InvalidCertificate(CertificateError::Other(other)) => {
            format!("certificate: {}", words(&other.0.to_string()))
        }
        E::InvalidCertificate(cause) => format!("certificate: {}", words(&cause.to_string())),
        E::PeerIncompatible(cause) => {
            format!("peer is incompatible: {}", words(&format!("{cause:?}")))
        }
        E::PeerMisbehaved(cause) => format!("peer misbehaved: {}", words(&format!("{cause:?}"))),
        other => other.to_string(),
    }
}

/// The name of RFC 8446 §6, such as `bad_record_mac`, or the number.
fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::Unknown(number) => number.to_string(),
        known => words(&format!("{known:?}")).replace(' ', "_"),
    }
}

/// `NoCipherSuitesInCommon` as `no cipher suites in common`; any other text as it is.
fn words(text: &str) -> String {
    let is_name = text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric());
    if !is_name {
        return text.to_owned();
    }
    let mut result = String::new();
    let mut after_lower = false;
    for letter in text.chars() {
        if letter.is_ascii_uppercase() && after_lower {
            result.push(' ');
        }
        after_lower = !letter.is_ascii_uppercase();
        result.push(letter.to_ascii_lowercase());
    }
    result
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error, PeerIncompatible};

    use super::*;

    #[test]
    fn no_text_has_the_names_of_a_library() {
        #[track_caller]
        fn check(error: &TlsError, expected: &str) {
            assert_eq!(error.to_string(), expected);
        }
        let handshake = |error| TlsError::Handshake(error);
        let refused = PeerIncompatible::NoCipherSuitesInCommon;
        check(
            &handshake(Error::PeerIncompatible(refused)),
            "TLS handshake failed: peer is incompatible: no cipher suites in common",
        );
        check(
            &handshake(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            "TLS handshake failed: certificate: unknown issuer",
        );
        check(
            &handshake(Error::AlertReceived(AlertDescription::CertificateUnknown)),
            "TLS handshake failed: received alert certificate_unknown",
        );
        let alert = |alert| TlsError::AlertReceived(alert).to_string();
        assert!(alert(AlertDescription::UnknownCA).ends_with(" unknown_ca"));
        assert!(alert(AlertDescription::BadRecordMac).ends_with(" bad_record_mac"));
        assert!(alert(AlertDescription::from(200)).ends_with(" 200"));
    }
}
