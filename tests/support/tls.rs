//! How a test client does TLS: versions, suites, resumption, server name, client certificate.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureScheme, SupportedCipherSuite, version};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::certificates::Identity;

/// TLS 1.2 only.
pub const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
/// TLS 1.3 only.
pub const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];
/// Both versions.
pub const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];

/// A client's TLS settings and its session store. Clones share the store, so a data connection
/// made with a clone resumes the control connection's session; [`Tls::fresh`] forgets it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    authority: CertificateDer<'static>,
    versions: &'static [&'static SupportedProtocolVersion],
    suite: Option<CipherSuite>,
    forging: bool,
    resume: bool,
    protocols: &'static [&'static str],
    resolver: Arc<Resolver>,
}

/// Offers the client's certificate, if it has one, and counts how often it was asked.
#[derive(Debug, Default)]
struct Resolver {
    asked: AtomicU32,
    key: Option<Arc<CertifiedKey>>,
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

impl Tls {
    /// Trusts `authority`; both versions, any suite, resumption on, no server name (the server
    /// is addressed by 127.0.0.1).
    pub fn trusting(authority: CertificateDer<'static>) -> Self {
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
        let (versions, suite, resolver) = (BOTH, None, Arc::new(Resolver::default()));
        let config = Arc::new(build(&authority, versions, &all_suites(), true, &resolver));
        let (forging, resume, protocols) = (false, true, &[][..]);
        Self { config, name, authority, versions, suite, forging, resume, protocols, resolver }
    }

    /// Only these versions.
    pub fn versions(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self.fresh()
    }

    /// Only this suite.
    pub fn suite(mut self, suite: CipherSuite) -> Self {
        self.suite = Some(suite);
        self.fresh()
    }

    /// With the suites of [`forge`](super::forge).
    pub fn forging(mut self) -> Self {
        self.forging = true;
        self.fresh()
    }

    /// Never resumes a session.
    pub fn no_resumption(mut self) -> Self {
        self.resume = false;
        self.fresh()
    }

    /// Sends `name` as server name (SNI) and checks the certificate for it.
    pub fn server_name(mut self, name: &str) -> Self {
        self.name = ServerName::try_from(name.to_owned()).unwrap();
        self.fresh()
    }

    /// Names these protocols in ALPN (RFC 7301).
    pub fn protocols(mut self, protocols: &'static [&'static str]) -> Self {
        self.protocols = protocols;
        self.fresh()
    }

    /// Offers this certificate when asked.
    pub fn identity(mut self, identity: &Identity) -> Self {
        let key = any_supported_type(&identity.key()).unwrap();
        let key = CertifiedKey::new(vec![identity.certificate.clone()], key);
        self.resolver = Arc::new(Resolver { asked: AtomicU32::new(0), key: Some(Arc::new(key)) });
        self.fresh()
    }

    /// The same settings with an empty session store.
    pub fn fresh(mut self) -> Self {
        let resolver = &self.resolver;
        let mut suites = if self.forging { super::forge::suites() } else { all_suites() };
        if let Some(wanted) = self.suite {
            suites.retain(|suite| suite.suite() == wanted);
        }
        let mut config = build(&self.authority, self.versions, &suites, self.resume, resolver);
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().into()).collect();
        self.config = Arc::new(config);
        self
    }

    /// How many handshakes asked for a client certificate.
    pub fn certificate_requests(&self) -> u32 {
        self.resolver.asked.load(Ordering::Relaxed)
    }

    /// A connection that has sent nothing yet.
    pub fn connection(&self) -> ClientConnection {
        let mut tls = ClientConnection::new(Arc::clone(&self.config), self.name.clone()).unwrap();
        tls.set_buffer_limit(None);
        tls
    }
}

fn all_suites() -> Vec<SupportedCipherSuite> {
    aws_lc_rs::default_provider().cipher_suites
}

fn build(
    authority: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    suites: &[SupportedCipherSuite],
    resume: bool,
    resolver: &Arc<Resolver>,
) -> ClientConfig {
    let mut provider: CryptoProvider = aws_lc_rs::default_provider();
    provider.cipher_suites = suites.to_vec();
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::clone(resolver) as Arc<dyn ResolvesClientCert>);
    config.resumption =
        if resume { Resumption::in_memory_sessions(64) } else { Resumption::disabled() };
    config
}
