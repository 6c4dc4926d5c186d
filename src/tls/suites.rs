//! The cipher suites: those of rustls, with hashes and key derivation of our choice (`hashes`), an
//! HKDF whose inputs are recorded (`new_session_ticket`), and decrypters that also check what is
//! inside a record.
//!
//! Until the handshake is done, rustls opens the records. For some it has no alert, or not the one
//! that is due (RFC 8446 §5, §6): a record without a content type, an alert or a handshake message
//! without content, a record between the pieces of a message. Only rustls has the keys and the
//! record numbers for its alerts. So the check is made inside rustls, where records are opened, and
//! reports one of the errors for which rustls has the right alert.

use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::hash::Hash;
use rustls::crypto::tls12::PrfUsingHmac;
use rustls::{
    AlertDescription, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error,
    InvalidMessage, PeerMisbehaved, SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

use super::channel::USER_CANCELED;
use super::hashes::{SHA256, SHA384};
use super::messages::{CERTIFICATE, CERTIFICATE_VERIFY, FINISHED, Fault, Messages};
use super::new_session_ticket::ObservedHkdf;

/// All suites, in the order preferred. AES-128 with SHA-256 first: its handshake costs a third
/// less than SHA-384 on hardware with SHA extensions, and ChaCha20 four times more per byte.
pub(super) static SUITES: [SupportedCipherSuite; 9] = [
    SupportedCipherSuite::Tls13(&TLS13_AES_128_GCM_SHA256),
    SupportedCipherSuite::Tls13(&TLS13_AES_256_GCM_SHA384),
    SupportedCipherSuite::Tls13(&TLS13_CHACHA20_POLY1305_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    SupportedCipherSuite::Tls12(&TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

macro_rules! tls13 {
    ($($name:ident $hash:ident)*) => {$(
        static $name: Tls13CipherSuite = Tls13CipherSuite {
            common: common(&of_tls13(&suite::$name).common, &$hash),
            hkdf_provider: &ObservedHkdf(&$hash),
            aead_alg: &Tls13Aead { aead: of_tls13(&suite::$name).aead_alg, hash: &$hash },
            quic: None,
        };
    )*};
}

macro_rules! tls12 {
    ($($name:ident $hash:ident)*) => {$(
        static $name: Tls12CipherSuite = Tls12CipherSuite {
            common: common(&of_tls12(&suite::$name).common, &$hash),
            prf_provider: &PrfUsingHmac(&$hash),
            kx: of_tls12(&suite::$name).kx,
            sign: of_tls12(&suite::$name).sign,
            aead_alg: &Tls12Aead { aead: of_tls12(&suite::$name).aead_alg },
        };
    )*};
}

tls13! {
    TLS13_AES_128_GCM_SHA256 SHA256
    TLS13_AES_256_GCM_SHA384 SHA384
    TLS13_CHACHA20_POLY1305_SHA256 SHA256
}
tls12! {
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 SHA256
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 SHA256
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 SHA384
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 SHA384
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 SHA256
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 SHA256
}

const fn of_tls13(suite: &'static SupportedCipherSuite) -> &'static Tls13CipherSuite {
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite,
        SupportedCipherSuite::Tls12(_) => panic!("a suite of TLS 1.2"),
    }
}

const fn of_tls12(suite: &'static SupportedCipherSuite) -> &'static Tls12CipherSuite {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite,
        SupportedCipherSuite::Tls13(_) => panic!("a suite of TLS 1.3"),
    }
}

const fn common(common: &CipherSuiteCommon, hash: &'static dyn Hash) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: common.suite,
        hash_provider: hash,
        confidentiality_limit: common.confidentiality_limit,
    }
}

/// The AEAD of a suite of TLS 1.3.
struct Tls13Aead {
    aead: &'static dyn Tls13AeadAlgorithm,
    hash: &'static dyn Hash,
}

impl Tls13AeadAlgorithm for Tls13Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.aead.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Judge {
            decrypter: self.aead.decrypter(key, iv),
            is_tls13: true,
            messages: Messages::with_finished(self.hash.output_len()),
        })
    }

    fn key_len(&self) -> usize {
        self.aead.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.aead.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.aead.fips()
    }
}

/// The AEAD of a suite of TLS 1.2.
struct Tls12Aead {
    aead: &'static dyn Tls12AeadAlgorithm,
}

impl Tls12AeadAlgorithm for Tls12Aead {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        self.aead.encrypter(key, iv, extra)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        Box::new(Judge {
            decrypter: self.aead.decrypter(key, iv),
            is_tls13: false,
            messages: Messages::with_finished(TLS12_FINISHED_BYTES),
        })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.aead.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.aead.extract_keys(key, iv, explicit)
    }

    fn fips(&self) -> bool {
        self.aead.fips()
    }
}

/// Messages that a client seals in a handshake.
const SEALED_IN_TLS13: &[u8] = &[CERTIFICATE, CERTIFICATE_VERIFY, FINISHED];
const SEALED_IN_TLS12: &[u8] = &[FINISHED];

/// RFC 5246 §7.4.9.
const TLS12_FINISHED_BYTES: usize = 12;

/// Opens the client's records under one key of the handshake, and judges what is in them.
struct Judge {
    decrypter: Box<dyn MessageDecrypter>,
    is_tls13: bool,
    messages: Messages,
}

impl MessageDecrypter for Judge {
    fn decrypt<'a>(
        &mut self,
        record: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        match record.typ {
            ContentType::Heartbeat => return Err(noticed(&record.payload)),
            ContentType::ApplicationData => {}
            // In the clear where the client has keys (RFC 8446 §5.2), or, a ChangeCipherSpec,
            // between the pieces of a message: rustls takes it for itself elsewhere.
            _ if self.is_tls13 => return Err(misplaced()),
            ContentType::ChangeCipherSpec => return Err(misplaced()),
            _ => {}
        }
        let opened = self.decrypter.decrypt(record, sequence).map_err(|error| match error {
            Error::PeerMisbehaved(PeerMisbehaved::IllegalTlsInnerPlaintext) => misplaced(),
            error => error,
        })?;
        self.judge(opened.typ, opened.payload)?;
        Ok(opened)
    }
}

impl Judge {
    fn judge(&mut self, kind: ContentType, content: &[u8]) -> Result<(), Error> {
        match kind {
            ContentType::Handshake if !content.is_empty() => {
                let types = if self.is_tls13 { SEALED_IN_TLS13 } else { SEALED_IN_TLS12 };
                self.messages.take(content, types).map(drop).map_err(|fault| match fault {
                    Fault::Type => misplaced(),
                    Fault::Length => InvalidMessage::HandshakePayloadTooLarge.into(),
                })
            }
            // RFC 8446 §5.1: no other record between the pieces of a message.
            _ if self.messages.is_begun() => Err(misplaced()),
            ContentType::Alert if self.is_tls13 => judge_tls13_alert(content),
            ContentType::Alert if !content.is_empty() => Ok(()),
            ContentType::ApplicationData => Ok(()),
            _ => Err(misplaced()),
        }
    }
}

/// Any but user_canceled ends a handshake, whatever its level says (RFC 8446 §6), and is not
/// answered with another.
fn judge_tls13_alert(content: &[u8]) -> Result<(), Error> {
    match *content {
        [] => Err(misplaced()),
        [_, description] if description != USER_CANCELED => {
            Err(Error::AlertReceived(AlertDescription::from(description)))
        }
        _ => Ok(()),
    }
}

/// The error of a record that has no place where it is. One error stands for all such records
/// because rustls answers it, in both versions, with `unexpected_message`.
pub(super) fn misplaced() -> Error {
    PeerMisbehaved::IllegalMiddleboxChangeCipherSpec.into()
}

/// A record that is never accepted from a client (RFC 6520 is not offered): shown to rustls where
/// the client's records are sealed, it is refused with this alert, under the keys the client
/// expects. `decode_error`, `record_overflow` and `unexpected_message` are possible, and the last
/// stands for all others.
pub(super) fn notice(alert: AlertDescription) -> [u8; 6] {
    [u8::from(ContentType::Heartbeat), 3, 3, 0, 1, u8::from(alert)]
}

/// The error with which rustls sends the alert of a [`notice`].
fn noticed(content: &[u8]) -> Error {
    match content.first().map(|&alert| AlertDescription::from(alert)) {
        Some(AlertDescription::RecordOverflow) => Error::PeerSentOversizedRecord,
        Some(AlertDescription::DecodeError) => InvalidMessage::MessageTooLarge.into(),
        _ => misplaced(),
    }
}
