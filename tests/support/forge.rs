//! Records that no client would send: sealed with the keys of a rustls client, which goes on beside
//! them. Its cipher suites are made to hand out what they seal with.

#![allow(clippy::disallowed_types, reason = "rustls asks for Sync, and only one thread is there")]

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::crypto::cipher::{
    AeadKey, Iv, KeyBlockShape, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls12AeadAlgorithm, Tls13AeadAlgorithm,
    UnsupportedOperationError,
};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

thread_local! {
    /// Those made on this thread since the last call of [`sealers_of`].
    static MADE: RefCell<Vec<Sealer>> = const { RefCell::new(Vec::new()) };
    /// Handshake messages are not sealed: the keys seal each number once.
    static WITHHOLDS: Cell<bool> = const { Cell::new(false) };
}

/// What a connection of this thread seals with under one key.
#[derive(Clone)]
pub struct Sealer(Arc<Mutex<Sealing>>);

struct Sealing {
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
    version: ProtocolVersion,
}

impl Sealer {
    /// The next record under this key: content type (in TLS 1.3 the inner one) and content.
    pub fn seal(&self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut sealing = self.0.lock().unwrap();
        let (typ, version) = (ContentType::from(kind), sealing.version);
        let message = OutboundPlainMessage { typ, version, payload: content.into() };
        sealing.seal(message).unwrap().encode()
    }
}

impl Sealing {
    fn seal(&mut self, message: OutboundPlainMessage<'_>) -> Result<OutboundOpaqueMessage, Error> {
        self.sequence += 1;
        self.encrypter.encrypt(message, self.sequence - 1)
    }
}

/// Does something, and gives the sealers that were made meanwhile: of a whole handshake of TLS 1.3
/// that for the handshake and that for data, of one of TLS 1.2 one.
pub fn sealers_of<T>(work: impl FnOnce() -> T) -> (T, Vec<Sealer>) {
    MADE.take();
    let done = work();
    (done, MADE.take())
}

/// The same, of a handshake up to the client's Finished, which is made but not sealed: it must not
/// be sent, and the sealers begin in its place.
pub fn sealers_before_finished<T>(work: impl FnOnce() -> T) -> (T, Vec<Sealer>) {
    WITHHOLDS.set(true);
    let made = sealers_of(work);
    WITHHOLDS.set(false);
    made
}

/// The suites of a client that forges, one of each version.
pub fn suites() -> Vec<SupportedCipherSuite> {
    vec![SupportedCipherSuite::Tls13(&TLS13), SupportedCipherSuite::Tls12(&TLS12)]
}

static TLS13: Tls13CipherSuite = Tls13CipherSuite {
    common: common(&of_tls13().common),
    hkdf_provider: of_tls13().hkdf_provider,
    aead_alg: &Tls13Aead,
    quic: None,
};

static TLS12: Tls12CipherSuite = Tls12CipherSuite {
    common: common(&of_tls12().common),
    prf_provider: of_tls12().prf_provider,
    kx: of_tls12().kx,
    sign: of_tls12().sign,
    aead_alg: &Tls12Aead,
};

const fn of_tls13() -> &'static Tls13CipherSuite {
    match &suite::TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite,
        SupportedCipherSuite::Tls12(_) => panic!("TLS 1.2"),
    }
}

const fn of_tls12() -> &'static Tls12CipherSuite {
    match &suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls12(suite) => suite,
        SupportedCipherSuite::Tls13(_) => panic!("TLS 1.3"),
    }
}

const fn common(common: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: common.suite,
        hash_provider: common.hash_provider,
        confidentiality_limit: common.confidentiality_limit,
    }
}

/// Rustls' half of a [`Sealer`]; both count together.
struct Shared(Sealer);

impl Shared {
    fn boxed(
        encrypter: Box<dyn MessageEncrypter>,
        version: ProtocolVersion,
    ) -> Box<dyn MessageEncrypter> {
        let sealer = Sealer(Arc::new(Mutex::new(Sealing { encrypter, sequence: 0, version })));
        MADE.with_borrow_mut(|made| made.push(sealer.clone()));
        Box::new(Self(sealer))
    }
}

impl MessageEncrypter for Shared {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        _: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        if message.typ == ContentType::Handshake && WITHHOLDS.get() {
            let (typ, version) = (message.typ, message.version);
            return Ok(OutboundOpaqueMessage::new(typ, version, PrefixedPayload::with_capacity(0)));
        }
        self.0.0.lock().unwrap().seal(message)
    }

    fn encrypted_payload_len(&self, payload: usize) -> usize {
        self.0.0.lock().unwrap().encrypter.encrypted_payload_len(payload)
    }
}

struct Tls13Aead;

impl Tls13AeadAlgorithm for Tls13Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Shared::boxed(of_tls13().aead_alg.encrypter(key, iv), ProtocolVersion::TLSv1_3)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        of_tls13().aead_alg.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        of_tls13().aead_alg.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        of_tls13().aead_alg.extract_keys(key, iv)
    }
}

struct Tls12Aead;

impl Tls12AeadAlgorithm for Tls12Aead {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        Shared::boxed(of_tls12().aead_alg.encrypter(key, iv, extra), ProtocolVersion::TLSv1_2)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        of_tls12().aead_alg.decrypter(key, iv)
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        of_tls12().aead_alg.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        of_tls12().aead_alg.extract_keys(key, iv, explicit)
    }
}
