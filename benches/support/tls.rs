//! TLS in memory: rustls as the client, the server's own handshake and record layer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringftpd::buffer::RecvBuffer;
use ringftpd::clock;
use ringftpd::protocol::policy::DataResumption;
use ringftpd::tls::{
    Channel, ControlSession, Handshake, HandshakeFacts, PemText, Progress, Purpose,
    ServerCertificate, ServerTls, TicketSecrets, TlsOptions, TlsProfile, TlsVersions,
};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

/// What the client offers, by the name that the report shows.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Version and suite, short.
    pub name: &'static str,
    /// The only suite the client has; it decides the version.
    pub suite: SupportedCipherSuite,
}

/// The suites of both versions, the server's favourite first.
pub const KINDS: [Kind; 6] = [
    Kind { name: "tls13_aes128", suite: suite::TLS13_AES_128_GCM_SHA256 },
    Kind { name: "tls13_aes256", suite: suite::TLS13_AES_256_GCM_SHA384 },
    Kind { name: "tls13_chacha20", suite: suite::TLS13_CHACHA20_POLY1305_SHA256 },
    Kind { name: "tls12_aes128", suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 },
    Kind { name: "tls12_aes256", suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 },
    Kind { name: "tls12_chacha20", suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 },
];

/// A server with a fresh ECDSA P-256 certificate, and a client that trusts it.
pub struct Ends {
    server: Arc<ServerTls>,
    client: Arc<ClientConfig>,
    session: Arc<ControlSession>,
}

/// Both ends after a handshake.
pub struct Connected {
    /// The server's record layer.
    pub channel: Channel,
    /// What was agreed on.
    pub facts: HandshakeFacts,
    /// The client, which has seen everything the server has sent.
    pub client: ClientConnection,
    /// Time spent in the server's half of the handshake.
    pub server_time: Duration,
}

impl Ends {
    /// A client that remembers tickets only if it is to resume.
    pub fn new(kind: Kind, resume: bool) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = certified.cert.pem();
        let text = |pem: &str| PemText { origin: "bench".to_owned(), pem: pem.as_bytes().to_vec() };
        let key = certified.signing_key.serialize_pem();
        let server = ServerTls::new(TlsOptions {
            certificates: vec![ServerCertificate::from_pem(&text(&pem), &text(&key)).unwrap()],
            profile: TlsProfile::Balanced,
            versions: TlsVersions::default(),
            groups: None,
            cipher_suites: None,
            client_ca: None,
            client_fingerprints: BTreeSet::new(),
            resumption: DataResumption::Prefer,
            ticket_secrets: TicketSecrets::only([7; 32]),
            ticket_lifetime: Duration::from_secs(3600),
        })
        .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let provider =
            CryptoProvider { cipher_suites: vec![kind.suite], ..aws_lc_rs::default_provider() };
        let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[kind.suite.version()])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        if !resume {
            client.resumption = Resumption::disabled();
        }
        Self { server, client: Arc::new(client), session: ControlSession::new().unwrap() }
    }

    /// A handshake from ClientHello to the last byte of the server's answer.
    pub fn connect(&self, purpose: Purpose) -> Connected {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut server_time = Duration::ZERO;
        let start = clock::now();
        let mut handshake = Handshake::new(&self.server, purpose, &self.session, None);
        server_time += clock::now() - start;
        let mut inbound = RecvBuffer::new();
        let mut out = Vec::new();
        loop {
            inbound.extend_from_slice(&sent(&mut client));
            let start = clock::now();
            let progress = handshake.advance(&mut inbound, &mut out).unwrap();
            server_time += clock::now() - start;
            receive(&mut client, &out);
            out.clear();
            if progress == Progress::Established {
                let start = clock::now();
                let (channel, facts) = handshake.finish().unwrap();
                server_time += clock::now() - start;
                return Connected { channel, facts, client, server_time };
            }
        }
    }
}

/// What the client has to send.
pub fn sent(client: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn receive(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
    }
}
