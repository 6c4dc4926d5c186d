//! What the operator configured for TLS, checked and turned into rustls' terms.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::client_certificate::ClientTrust;
use super::client_hello::Offer;
use super::control_session::SessionId;
use super::names::Names;
use super::probe::Probe;
use super::profile::{self, GROUPS, TlsProfile};
use super::shared::{Clock, Purpose, Shared};
use super::suites::SUITES;
use super::ticket::{TICKET_LIFETIME_MAX, TicketKeys};
use super::ticket_secrets::TicketSecrets;
use super::{ControlSession, PemText, ServerCertificate, TlsSetupError};
use crate::clock;
use crate::protocol::policy::DataResumption;

/// TLS 1.3 tickets at the end of a control connection's handshake. More follow as they are used up
/// ([`ServerTls::new_ticket`]), so one is for the next data connection, and one is a spare if that
/// connection fails.
const CONTROL_TICKETS: usize = 2;

/// What a client may name in ALPN (RFC 7301): "ftp" is registered, the other is FileZilla's. One
/// that names only others was led here by somebody in between who means another server's protocol
/// (ALPACA), and is refused; one that names nothing is not.
const CONTROL_PROTOCOLS: &[&[u8]] = &[b"ftp", b"x-filezilla-ftp"];

/// The same on data connections. Clients with one setting for both name there what they name on the
/// control connection.
const DATA_PROTOCOLS: &[&[u8]] = &[b"ftp-data", b"ftp", b"x-filezilla-ftp"];

/// Protocol versions offered. There is nothing below TLS 1.2 to enable [TLS-01].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// RFC 5246.
    pub tls12: bool,
    /// RFC 8446.
    pub tls13: bool,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self { tls12: true, tls13: true }
    }
}

/// The settings [`ServerTls::new`] checks.
pub struct TlsOptions {
    /// Certificates, each for its [`ServerCertificate::served_names`]; the first is used when no
    /// name matches. At least one.
    pub certificates: Vec<ServerCertificate>,
    /// What to prefer where the client leaves the choice.
    pub profile: TlsProfile,
    /// Versions offered.
    pub versions: TlsVersions,
    /// Key exchange groups allowed, by their IANA names; `None` is all.
    pub groups: Option<Vec<String>>,
    /// Suites by their IANA names, most preferred first; `None` is our own order.
    pub cipher_suites: Option<Vec<String>>,
    /// The CAs that client certificates may be issued by.
    pub client_ca: Option<PemText>,
    /// SHA-256 of client certificates (DER) that are accepted regardless of issuer.
    pub client_fingerprints: BTreeSet<[u8; 32]>,
    /// Whether sessions can be resumed at all; who is refused without is the caller's decision.
    pub resumption: DataResumption,
    /// What all ticket keys come from. The same in all shards.
    pub ticket_secrets: TicketSecrets,
    /// How long a ticket is good for: at least this, at most one and a half times this. From 2
    /// seconds to 7 days.
    pub ticket_lifetime: Duration,
}

impl fmt::Debug for TlsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsOptions")
            .field("profile", &self.profile)
            .field("versions", &self.versions)
            .field("groups", &self.groups)
            .field("cipher_suites", &self.cipher_suites)
            .field("resumption", &self.resumption)
            .field("ticket_lifetime", &self.ticket_lifetime)
            .finish_non_exhaustive()
    }
}

/// TLS as configured. Immutable. Each shard has its own, for every handshake counts references to
/// what is in here, and a count that all shards write to would be shared state by another name.
pub struct ServerTls {
    shared: Arc<Shared>,
    profile: TlsProfile,
    usual: ServerConfig,
    /// The configuration for clients whose offer allows what the profile prefers; `None` for a
    /// profile without preferences, so that no offer need be read.
    preferred: Option<ServerConfig>,
    client_trust: Option<Arc<ClientTrust>>,
}

impl ServerTls {
    /// Checks `options` and builds what the handshakes need.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used, with its remedy.
    pub fn new(options: TlsOptions) -> Result<Arc<Self>, TlsSetupError> {
        Self::with_clock(options, Clock(clock::unix_time))
    }

    /// As [`ServerTls::new`], with the time from elsewhere.
    pub(super) fn with_clock(
        options: TlsOptions,
        clock: Clock,
    ) -> Result<Arc<Self>, TlsSetupError> {
        if options.certificates.is_empty() {
            return Err(TlsSetupError::NoCertificate);
        }
        let resumption = options.resumption != DataResumption::Off;
        let lifetime = checked_lifetime(options.ticket_lifetime)?;
        let versions = checked_versions(options.versions)?;
        let provider = Arc::new(CryptoProvider {
            cipher_suites: checked_suites(options.cipher_suites.as_deref(), &versions)?,
            kx_groups: checked_groups(options.groups.as_deref())?,
            ..aws_lc_rs::default_provider()
        });
        let client_trust =
            ClientTrust::new(options.client_ca.as_ref(), options.client_fingerprints, &provider)?
                .map(Arc::new);
        let usual = base_config(provider.clone(), &versions, client_trust.clone(), clock)?;
        let preferred = match options.profile {
            TlsProfile::Balanced => None,
            TlsProfile::Throughput => {
                Some(base_config(provider, &[&version::TLS12], client_trust.clone(), clock)?)
            }
            TlsProfile::PostQuantum => {
                let kx_groups = vec![kx_group::X25519MLKEM768];
                let provider = Arc::new(CryptoProvider { kx_groups, ..(*provider).clone() });
                Some(base_config(provider, &[&version::TLS13], client_trust.clone(), clock)?)
            }
        };
        Ok(Arc::new(Self {
            profile: options.profile,
            usual,
            preferred,
            client_trust,
            shared: Arc::new(Shared {
                names: Names::of(&options.certificates),
                certificates: options.certificates,
                tickets: resumption
                    .then(|| TicketKeys::new(&options.ticket_secrets, options.ticket_lifetime)),
                ticket_lifetime_seconds: lifetime,
                clock,
            }),
        }))
    }

    /// The certificates served, the default one first.
    #[must_use]
    pub fn certificates(&self) -> &[ServerCertificate] {
        &self.shared.certificates
    }

    /// When each of the certificates served ends, or one behind it in its chain; time since the
    /// Unix epoch.
    pub fn ends(&self) -> impl Iterator<Item = Duration> {
        self.shared.certificates.iter().map(|certificate| {
            let all = certificate.validity().iter();
            all.map(|validity| validity.not_after).min().unwrap_or_default()
        })
    }

    /// How long clients may use a ticket that is given now (RFC 8446 §4.6.1).
    #[must_use]
    pub fn ticket_lifetime(&self) -> Duration {
        Duration::from_secs(self.shared.ticket_lifetime_seconds.into())
    }

    /// A message for the control connection of `session` that brings its client one ticket more, to
    /// be sealed by [`Channel::seal_ticket`](super::Channel::seal_ticket). `None` if that
    /// connection is not TLS 1.3, or tickets are not given.
    #[must_use]
    pub fn new_ticket(&self, session: &ControlSession) -> Option<Vec<u8>> {
        let keys = self.shared.tickets.as_ref()?;
        let material = session.source()?.next();
        let key = keys.current(self.shared.clock.unix_time())?;
        let ticket = key.seal(session.origin(), &material.session)?;
        material.message(&ticket, self.shared.ticket_lifetime_seconds)
    }

    /// The control session that a ticket is of, if it is one of ours.
    pub(super) fn origin_of(&self, ticket: &[u8]) -> Option<SessionId> {
        let keys = self.shared.tickets.as_ref()?;
        Some(keys.open(self.shared.clock.unix_time(), ticket).ok()?.origin.id)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(super) fn client_trust(&self) -> Option<&ClientTrust> {
        self.client_trust.as_deref()
    }

    /// The configuration of one connection: that of its purpose, and of its client's offer as far
    /// as that can be read from the body of its first record, with its own probe.
    pub(super) fn config_for(
        &self,
        purpose: Purpose,
        first_record: &[u8],
        probe: Arc<Probe>,
    ) -> Arc<ServerConfig> {
        let provider = self.usual.crypto_provider();
        let applies = |offer: Offer<'_>| {
            self.profile.applies(&offer, &provider.cipher_suites, &provider.kx_groups)
        };
        let mut config = match &self.preferred {
            Some(preferred) if Offer::parse(first_record).is_some_and(applies) => preferred.clone(),
            _ => self.usual.clone(),
        };
        config.send_tls13_tickets = match purpose {
            _ if self.shared.tickets.is_none() => 0,
            Purpose::Control => CONTROL_TICKETS,
            Purpose::Data => 1,
        };
        let protocols = match purpose {
            Purpose::Control => CONTROL_PROTOCOLS,
            Purpose::Data => DATA_PROTOCOLS,
        };
        config.alpn_protocols = protocols.iter().map(|&name| name.to_vec()).collect();
        config.cert_resolver = probe.clone();
        if self.shared.tickets.is_some() {
            config.session_storage = probe.clone();
        }
        config.ticketer = probe;
        Arc::new(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.shared.certificates)
            .field("tickets", &self.shared.tickets)
            .finish_non_exhaustive()
    }
}

fn base_config(
    provider: Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    client_trust: Option<Arc<ClientTrust>>,
    clock: Clock,
) -> Result<ServerConfig, TlsSetupError> {
    let builder = ServerConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(versions)?;
    let builder = match client_trust {
        Some(trust) => builder.with_client_cert_verifier(trust),
        None => builder.with_no_client_auth(),
    };
    // Every connection replaces this resolver by its own probe, and the session storage too when
    // sessions can be resumed.
    let mut config = builder.with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    config.ignore_client_order = true;
    config.enable_secret_extraction = true;
    config.max_early_data_size = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn checked_lifetime(lifetime: Duration) -> Result<u32, TlsSetupError> {
    let refused = TlsSetupError::TicketLifetime { seconds: lifetime.as_secs() };
    if lifetime < Duration::from_secs(2) || lifetime > TICKET_LIFETIME_MAX {
        return Err(refused);
    }
    u32::try_from(lifetime.as_secs()).map_err(|_| refused)
}

fn checked_versions(
    versions: TlsVersions,
) -> Result<Vec<&'static SupportedProtocolVersion>, TlsSetupError> {
    let enabled: Vec<_> = [(versions.tls13, &version::TLS13), (versions.tls12, &version::TLS12)]
        .into_iter()
        .filter_map(|(enabled, version)| enabled.then_some(version))
        .collect();
    if enabled.is_empty() { Err(TlsSetupError::NoVersion) } else { Ok(enabled) }
}

/// The suites by name, or all; each enabled version needs one.
fn checked_suites(
    names: Option<&[String]>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Vec<SupportedCipherSuite>, TlsSetupError> {
    let suites: Vec<_> = match names {
        None => SUITES.to_vec(),
        Some(names) => names.iter().map(|name| suite_by_name(name)).collect::<Result<_, _>>()?,
    };
    for &wanted in versions {
        if !suites.iter().any(|suite| suite.version() == wanted) {
            let name = if *wanted == version::TLS13 { "TLS 1.3" } else { "TLS 1.2" };
            let known = suite_names(|suite| suite.version() == wanted);
            return Err(TlsSetupError::NoSuite { version: name, known });
        }
    }
    Ok(suites)
}

fn checked_groups(
    names: Option<&[String]>,
) -> Result<Vec<&'static dyn SupportedKxGroup>, TlsSetupError> {
    let Some(names) = names else { return Ok(profile::all_groups()) };
    let unknown = |name: &String| TlsSetupError::UnknownGroup {
        name: name.clone(),
        known: GROUPS.join(", "),
    };
    names.iter().map(|name| profile::group_by_name(name).ok_or_else(|| unknown(name))).collect()
}

fn suite_by_name(name: &str) -> Result<SupportedCipherSuite, TlsSetupError> {
    let wanted = name.trim().to_ascii_uppercase().replacen("TLS13_", "TLS_", 1);
    let unknown = || TlsSetupError::UnknownCipherSuite {
        name: name.to_owned(),
        known: suite_names(|_| true),
    };
    SUITES.into_iter().find(|&suite| suite_name(suite) == wanted).ok_or_else(unknown)
}

fn suite_names(wanted: impl Fn(&SupportedCipherSuite) -> bool) -> String {
    SUITES.into_iter().filter(wanted).map(suite_name).collect::<Vec<_>>().join(", ")
}

/// The IANA name; rustls writes "TLS13_" where the registry writes "TLS_".
pub(super) fn suite_name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or("unknown");
    name.replacen("TLS13_", "TLS_", 1)
}
