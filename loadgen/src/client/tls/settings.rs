//! What a client offers and accepts.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, KeyLogFile, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
    client::{
        Resumption as RustlsResumption, UnbufferedClientConnection, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};
use sha2::{Digest, Sha256};

use super::ClientHandshake;
use crate::{
    client::{TicketStore, is_its_own_issuer},
    verify::hex,
};

/// Which versions are offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TlsVersion {
    /// 1.3 and 1.2.
    #[default]
    Any,
    /// TLS 1.2 only, RFC 5246.
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3 only, RFC 8446.
    #[value(name = "1.3")]
    Tls13,
}

/// How the server's certificate is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verification {
    /// Any certificate will do. Then the handshake's signature proves nothing either, and it is not
    /// checked: that spares about a third of a client's handshake, so that one core can load
    /// another.
    #[default]
    None,
    /// A chain to an authority in this PEM file, and the name.
    Authority(PathBuf),
    /// The certificate with this SHA-256 fingerprint (of its DER form).
    Pinned([u8; 32]),
}

/// What the command line asks of TLS.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Versions to offer.
    pub version: TlsVersion,
    /// IANA names of the suites to offer, in order of preference; empty: the library's choice.
    pub suites: Vec<String>,
    /// Names of the key exchange groups to offer, in order; empty: the library's choice.
    pub groups: Vec<String>,
    /// How the certificate is judged.
    pub verification: Verification,
    /// Certificate chain and key of the client, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the name is sent as SNI (RFC 6066 §3). An IP address never is.
    pub sni: bool,
    /// Whether the secrets of each connection go to the file that `SSLKEYLOGFILE` names.
    pub key_log: bool,
}

/// Why the options cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsOptionsError {
    /// A suite or group the library does not have.
    #[error("\"{name}\" is not one of {known}")]
    Unknown {
        /// As given.
        name: String,
        /// What there is.
        known: String,
    },
    /// No suite is left for the version asked for.
    #[error("these options leave nothing to offer: {0}")]
    Nothing(String),
    /// A file cannot be read or holds nothing usable.
    #[error("{path}: {cause}")]
    File {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// Options made ready for connections to one server.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    plain: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsSettings {
    /// Reads the files and checks the names. `name` is what the certificate must be for and what
    /// SNI says.
    ///
    /// # Errors
    ///
    /// [`TlsOptionsError`].
    pub fn new(options: &TlsOptions, name: ServerName<'static>) -> Result<Self, TlsOptionsError> {
        let provider = Arc::new(provider(options)?);
        let versions: &[_] = match options.version {
            TlsVersion::Any => &[&TLS13, &TLS12],
            TlsVersion::Tls12 => &[&TLS12],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let nothing = |error: rustls::Error| TlsOptionsError::Nothing(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(nothing)?;
        let trust = match &options.verification {
            Verification::Authority(path) => {
                let roots = Arc::new(authorities(path)?);
                let inner =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                        .build()
                        .map_err(|error| file(path, error))?;
                Trust::Authorities(inner)
            }
            Verification::Pinned(digest) => Trust::Pinned(*digest),
            Verification::None => Trust::Anybody,
        };
        let algorithms = provider.signature_verification_algorithms;
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { trust, algorithms }));
        let mut config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(certificates(chain)?, private_key(key)?)
                .map_err(|error| file(chain, error))?,
        };
        config.enable_sni = options.sni;
        if options.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        config.resumption = RustlsResumption::disabled();
        // For our own records.
        config.enable_secret_extraction = true;
        Ok(Self { plain: Arc::new(config), name })
    }

    /// A configuration that never resumes.
    #[must_use]
    pub fn full(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.plain)
    }

    /// A configuration that resumes what `store` holds, and keeps new sessions there.
    #[must_use]
    pub fn resuming(&self, store: &Arc<TicketStore>) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.plain);
        let store: Arc<TicketStore> = Arc::clone(store);
        config.resumption = RustlsResumption::store(store);
        Arc::new(config)
    }

    /// Begins TLS on a connection of a client whose sessions `store` holds.
    ///
    /// # Errors
    ///
    /// The library's, when no ClientHello can be made.
    pub fn connect(
        &self,
        config: Arc<ClientConfig>,
        store: &TicketStore,
    ) -> Result<ClientHandshake, rustls::Error> {
        let before = store.offers();
        let connection = UnbufferedClientConnection::new(config, self.name.clone())?;
        // The session to offer is taken from the store while the ClientHello is made.
        let offered = store.offers() != before;
        Ok(ClientHandshake::new(connection, offered))
    }
}

fn provider(options: &TlsOptions) -> Result<CryptoProvider, TlsOptionsError> {
    let mut provider = aws_lc_rs::default_provider();
    if !options.suites.is_empty() {
        let name = |suite: &SupportedCipherSuite| suite.suite().as_str().unwrap_or_default();
        provider.cipher_suites = choose(&options.suites, aws_lc_rs::ALL_CIPHER_SUITES, name)?;
    }
    if !options.groups.is_empty() {
        let name =
            |group: &&'static dyn SupportedKxGroup| group.name().as_str().unwrap_or_default();
        provider.kx_groups = choose(&options.groups, aws_lc_rs::ALL_KX_GROUPS, name)?;
    }
    Ok(provider)
}

/// The members of `known` named by `names`, in the order of `names`.
fn choose<T: Copy>(
    names: &[String],
    known: &[T],
    name_of: impl Fn(&T) -> &'static str,
) -> Result<Vec<T>, TlsOptionsError> {
    let find = |name: &String| {
        known.iter().find(|item| name_of(item).eq_ignore_ascii_case(name)).copied().ok_or_else(
            || {
                let known: Vec<_> = known.iter().map(&name_of).collect();
                TlsOptionsError::Unknown { name: name.clone(), known: known.join(", ") }
            },
        )
    };
    names.iter().map(find).collect()
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsOptionsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| file(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsOptionsError> {
    let text = fs::read(path).map_err(|error| file(path, error))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| file(path, error))?;
    if found.is_empty() { Err(file(path, "holds no PEM certificate")) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsOptionsError> {
    let text = fs::read(path).map_err(|error| file(path, error))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| file(path, error))
}

fn file(path: &Path, cause: impl ToString) -> TlsOptionsError {
    TlsOptionsError::File { path: path.to_path_buf(), cause: cause.to_string() }
}

/// Whose certificates are taken.
#[derive(Debug)]
enum Trust {
    /// Everybody's, and nothing is verified.
    Anybody,
    /// The one with this SHA-256.
    Pinned([u8; 32]),
    /// Those that the library takes with these authorities.
    Authorities(Arc<WebPkiServerVerifier>),
}

/// Says with a refusal what helps.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = || -> [u8; 32] { Sha256::digest(end_entity).into() };
        match &self.trust {
            Trust::Anybody => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pinned) if found() == *pinned => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(_) => Err(refused(format!(
                "its SHA-256 is {0}, not that of --pin; if it is right: --pin {0}",
                hex(&found())
            ))),
            Trust::Authorities(inner) => {
                let judged = inner.verify_server_cert(end_entity, intermediates, name, ocsp, now);
                judged.map_err(|error| {
                    let pin = hex(&found());
                    if is_its_own_issuer(end_entity) {
                        return refused(format!(
                            "it is its own authority, which --ca cannot vouch for; demand it \
                             itself: --pin {pin} ({error})"
                        ));
                    }
                    refused(format!("{error}; what was shown has SHA-256 {pin}"))
                })
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.trust, Trust::Anybody) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if matches!(self.trust, Trust::Anybody) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why a certificate is not taken, with the option that helps.
#[derive(Debug, thiserror::Error)]
#[error("the server's certificate: {0}")]
struct Refusal(String);

fn refused(reason: String) -> rustls::Error {
    let refusal = rustls::OtherError(Arc::new(Refusal(reason)));
    rustls::CertificateError::Other(refusal).into()
}
