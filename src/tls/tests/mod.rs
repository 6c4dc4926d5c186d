//! rustls as client against our handshake and record layer, in memory.

mod claims;
mod drains;
mod handshakes;
mod kernel;
mod names;
mod profiles;
mod records;
mod resumption;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::Tls12Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite, SupportedProtocolVersion,
    version,
};

use super::control_session::SessionId;
use super::shared::Clock;
use super::{
    Channel, ControlSession, Handshake, HandshakeFacts, OpenedRecord, PemText, Progress, Purpose,
    ServerCertificate, ServerTls, TicketSecrets, TlsError, TlsOptions, TlsProfile, TlsVersions,
};
use crate::buffer::RecvBuffer;
use crate::protocol::policy::DataResumption;

const LIFETIME: Duration = Duration::from_secs(1000);

/// The control session of most tests. Each call gives one of the same id that remembers nothing
/// but its server name, so that only tickets resume it.
fn this_session() -> Arc<ControlSession> {
    session_of(1, Some("localhost"))
}

fn other_session() -> Arc<ControlSession> {
    session_of(2, Some("localhost"))
}

fn session_of(id: u8, name: Option<&str>) -> Arc<ControlSession> {
    let session = ControlSession::with_id(SessionId::from_bytes([id; 16]));
    session.begin(name);
    Arc::new(session)
}

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1_800_000_000) };
}

fn test_time() -> Duration {
    Duration::from_secs(NOW.get())
}

/// A version and a suite a client is limited to.
#[derive(Clone, Copy)]
struct Kind {
    version: &'static SupportedProtocolVersion,
    suite: SupportedCipherSuite,
}

const TLS13: Kind =
    Kind { version: &version::TLS13, suite: aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 };
const TLS12: Kind = Kind {
    version: &version::TLS12,
    suite: aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
};

/// Both versions, three suites each.
fn kinds() -> [Kind; 6] {
    use aws_lc_rs::cipher_suite as suite;
    let kind = |version, suite| Kind { version, suite };
    [
        TLS13,
        kind(&version::TLS13, suite::TLS13_AES_256_GCM_SHA384),
        kind(&version::TLS13, suite::TLS13_CHACHA20_POLY1305_SHA256),
        TLS12,
        kind(&version::TLS12, suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        kind(&version::TLS12, suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ]
}

/// A certificate for `names` and its key.
fn certificate(names: &[&str]) -> ServerCertificate {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let chain = text("chain", &certificate.pem());
    ServerCertificate::from_pem(&chain, &text("key", &key.serialize_pem())).unwrap()
}

fn text(origin: &str, pem: &str) -> PemText {
    PemText { origin: origin.to_owned(), pem: pem.as_bytes().to_vec() }
}

fn options() -> TlsOptions {
    TlsOptions {
        certificates: vec![certificate(&["localhost"])],
        profile: TlsProfile::Balanced,
        versions: TlsVersions::default(),
        groups: None,
        cipher_suites: None,
        client_ca: None,
        client_fingerprints: BTreeSet::new(),
        resumption: DataResumption::Prefer,
        ticket_secrets: TicketSecrets::only([9; 32]),
        ticket_lifetime: LIFETIME,
    }
}

fn server(options: TlsOptions) -> Arc<ServerTls> {
    ServerTls::with_clock(options, Clock(test_time)).unwrap()
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_config(tls: &ServerTls, kind: Kind, identity: Option<Identity>) -> Arc<ClientConfig> {
    client_config_with(tls, &[kind.version], &[kind.suite], identity)
}

fn client_config_with(
    tls: &ServerTls,
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
    identity: Option<Identity>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites.to_vec(),
        ..aws_lc_rs::default_provider()
    });
    let mut roots = RootCertStore::empty();
    for certificate in tls.certificates() {
        roots.add(certificate.certified().cert[0].clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// As curl with OpenSSL is by default.
fn without_tickets(config: Arc<ClientConfig>) -> Arc<ClientConfig> {
    let mut config = Arc::unwrap_or_clone(config);
    config.resumption = config.resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
    Arc::new(config)
}

fn client(config: &Arc<ClientConfig>, name: &'static str) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from(name).unwrap()).unwrap()
}

/// What the client has to send.
fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Gives the client what we sent, and takes the plaintext it makes of it.
fn receive(client: &mut ClientConnection, mut bytes: &[u8]) -> Result<Vec<u8>, rustls::Error> {
    let mut plaintext = Vec::new();
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets()?;
        let mut buffer = [0; 64 * 1024];
        while let Ok(count @ 1..) = client.reader().read(&mut buffer) {
            plaintext.extend_from_slice(&buffer[..count]);
        }
    }
    Ok(plaintext)
}

/// A server end after its handshake.
struct Server {
    channel: Channel,
    facts: HandshakeFacts,
    inbound: RecvBuffer,
}

/// Runs a handshake to its end, handing over what the client sends in pieces of `piece` octets.
fn connect_in_pieces(
    tls: &Arc<ServerTls>,
    purpose: Purpose,
    session: &Arc<ControlSession>,
    client: &mut ClientConnection,
    piece: usize,
) -> Result<Server, TlsError> {
    let mut handshake = Handshake::new(tls, purpose, session, None);
    let mut inbound = RecvBuffer::new();
    let mut out = Vec::new();
    for _ in 0..10 {
        let mut progress = Progress::NeedBytes;
        for bytes in sent(client).chunks(piece) {
            inbound.extend_from_slice(bytes);
            let result = handshake.advance(&mut inbound, &mut out);
            if result.is_err() {
                let _ = receive(client, &out);
            }
            progress = result?;
        }
        receive(client, &out).map_err(TlsError::Handshake)?;
        out.clear();
        if progress == Progress::Established {
            let (channel, facts) = handshake.finish()?;
            return Ok(Server { channel, facts, inbound });
        }
    }
    panic!("the handshake does not come to an end");
}

fn connect(tls: &Arc<ServerTls>, client: &mut ClientConnection) -> Server {
    connect_in_pieces(tls, Purpose::Control, &this_session(), client, usize::MAX).unwrap()
}

/// A fresh connection of this kind.
fn connected(kind: Kind) -> (Server, ClientConnection) {
    let tls = server(options());
    let mut client = client(&client_config(&tls, kind, None), "localhost");
    (connect(&tls, &mut client), client)
}

/// Opens all whole records in `bytes`, gives the plaintext and whether close_notify was seen.
fn open_all(
    channel: &mut Channel,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
) -> Result<(Vec<u8>, bool), TlsError> {
    open_all_how(channel, bytes, out, How::InPlace)
}

/// Where the plaintext goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    InPlace,
    Elsewhere,
    /// One record so, the next one so.
    Alternating,
}

fn open_all_how(
    channel: &mut Channel,
    bytes: &mut [u8],
    out: &mut Vec<u8>,
    mut how: How,
) -> Result<(Vec<u8>, bool), TlsError> {
    let alternating = how == How::Alternating;
    let mut plain = Vec::new();
    let mut at = 0;
    loop {
        if alternating {
            how = if how == How::InPlace { How::Elsewhere } else { How::InPlace };
        }
        let mut room = vec![0xAA; Channel::OPEN_ROOM_BYTES];
        let opened = match how {
            How::InPlace => channel.open(&mut bytes[at..], out)?,
            How::Elsewhere | How::Alternating => {
                let before = bytes[at..].iter().take(Channel::OPEN_ROOM_BYTES).copied();
                let before: Vec<u8> = before.collect();
                let opened = channel.open_into(&bytes[at..], &mut room, out)?;
                assert!(bytes[at..].starts_with(&before), "the record was touched");
                opened
            }
        };
        match opened {
            OpenedRecord::Incomplete => {
                assert_eq!(at, bytes.len(), "a record is left over");
                return Ok((plain, false));
            }
            OpenedRecord::Data { consumed, plaintext } => {
                if how == How::InPlace {
                    plain.extend_from_slice(&bytes[at..][plaintext]);
                } else {
                    plain.extend_from_slice(&room[plaintext]);
                }
                at += consumed;
            }
            OpenedRecord::Handled { consumed } => at += consumed,
            OpenedRecord::CloseNotify { consumed } => {
                assert_eq!(at + consumed, bytes.len(), "bytes behind close_notify");
                return Ok((plain, true));
            }
        }
    }
}
