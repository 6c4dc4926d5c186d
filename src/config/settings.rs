//! Everything the file says but accounts: the values, their defaults, and how each key is read.
//! `reference.toml` documents them; tests hold the two together.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::SupportedCipherSuite;
use tracing::level_filters::LevelFilter;

use super::accounts::LAX_UPLOAD_EOF_RISK;
use super::directories::{Directory, read_directories};
use super::document::Section;
use super::value::{
    CpuList, ListenAddress, PortRange, boolean, duration, number, one_of, parsed, string,
};
use crate::protocol::file::HashAlgorithm;
use crate::protocol::hash_command;
use crate::protocol::policy::{DataResumption, Durability, FailedUpload, Policy};
use crate::tls::{GROUPS, POST_QUANTUM, TlsProfile, TlsVersions};

/// The validated settings of the process.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Addresses of implicit TLS (MS-FTPS); empty switches it off.
    pub implicit: Vec<ListenAddress>,
    /// Addresses that start in clear and take AUTH (RFC 4217); empty switches it off.
    pub explicit: Vec<ListenAddress>,
    /// Connections the kernel keeps for each listening socket before they are accepted.
    pub backlog: u32,
    /// CPUs that get a shard; `None` is every online CPU of the affinity mask.
    pub cpus: Option<CpuList>,
    /// Who decides which shard a connection comes to.
    pub steering: Steering,
    /// What handshakes may take of a shard when sessions want all of it, of 100; 1 to 99.
    pub handshake_percent: u8,
    /// TLS.
    pub tls: Tls,
    /// What the sessions obey.
    pub policy: Policy,
    /// Passive data connections.
    pub passive: Passive,
    /// Bounds of the whole process.
    pub limits: Limits,
    /// Logging.
    pub log: Log,
    /// Directories with rules of their own, each once.
    pub directories: Vec<Directory>,
    /// Where the counters can be read over HTTP; `None` is nowhere.
    pub metrics: Option<SocketAddr>,
    /// User to become after binding; only root can.
    pub user: Option<String>,
}

/// TLS settings. Nothing is read here; `tls` loads the files.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// Where the server's certificate comes from.
    pub certificate: CertificateSource,
    /// Which of the costs of TLS the server minds most.
    pub profile: TlsProfile,
    /// Versions offered; at least one.
    pub versions: TlsVersions,
    /// Suites in the server's order of preference; `None` is the order of `tls`. Every offered
    /// version has at least one.
    pub cipher_suites: Option<Vec<SupportedCipherSuite>>,
    /// Key exchange groups by their IANA names; `None` is all of `tls`.
    pub groups: Option<Vec<String>>,
    /// PEM of the authorities that sign client certificates.
    pub client_ca: Option<PathBuf>,
    /// How long a ticket resumes, 2 seconds to 7 days (RFC 8446 §4.6.1).
    pub ticket_lifetime: Duration,
    /// Whether the kernel may seal what is sent, where it can.
    pub ktls: KernelTls,
}

/// Use of the kernel's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelTls {
    /// Where the kernel has it.
    Auto,
    /// Never.
    Off,
}

/// Where the server's certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// PEM files of the operator.
    Files {
        /// The chain, leaf first.
        chain: PathBuf,
        /// The private key of the leaf.
        key: PathBuf,
    },
    /// Made once and kept in this directory.
    SelfSigned {
        /// The state directory; may not exist yet.
        directory: PathBuf,
    },
}

/// Passive data connections (PASV, EPSV).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passive {
    /// Ports to choose from, divided among the shards; `None` is any ephemeral port.
    pub ports: Option<PortRange>,
    /// Address shown in 227 instead of the control connection's own.
    pub address: Option<Ipv4Addr>,
}

/// Bounds of the whole process. Timeouts of a session are in [`Policy`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of the process; each shard gets an equal part. At least 1.
    pub sessions: u32,
    /// Sessions of one client address, counted by each shard for itself; `None` is no limit.
    pub sessions_per_ip: Option<u32>,
    /// Sessions of one user, counted by each shard for itself; `None` is no limit.
    pub sessions_per_user: Option<u32>,
    /// TLS handshakes of control connections at the same time, on each shard. At least 1.
    pub handshakes: u32,
    /// How long the password of a log-in is remembered; zero is not at all.
    pub remember_logins: Duration,
    /// How long a client may be silent where its ClientHello belongs.
    pub client_hello_timeout: Duration,
    /// After SIGTERM, how long running transfers may take.
    pub shutdown_timeout: Duration,
}

/// Who decides which shard a connection comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// The kernel, by a hash of both addresses and ports.
    Kernel,
    /// The CPU on which the kernel handled the connection's first packet.
    Cpu,
    /// The client's address alone, so that one client's sessions are all on one shard.
    Source,
}

/// Logging, always to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of a line.
    pub format: LogFormat,
    /// Most verbose level written.
    pub level: LevelFilter,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Words of `log.format`.
pub const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Words of `log.level`.
pub const LOG_LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Words of `tls.profile`.
pub const TLS_PROFILES: [(&str, TlsProfile); 3] = [
    ("balanced", TlsProfile::Balanced),
    ("throughput", TlsProfile::Throughput),
    ("pq", TlsProfile::PostQuantum),
];

/// Words of `shards.steering`.
pub const STEERINGS: [(&str, Steering); 3] =
    [("kernel", Steering::Kernel), ("cpu", Steering::Cpu), ("source", Steering::Source)];

/// Words of `tls.data_resumption`.
pub const DATA_RESUMPTIONS: [(&str, DataResumption); 3] = [
    ("off", DataResumption::Off),
    ("prefer", DataResumption::Prefer),
    ("require", DataResumption::Require),
];

/// Words of `storage.failed_upload`.
pub const FAILED_UPLOADS: [(&str, FailedUpload); 2] =
    [("delete", FailedUpload::Delete), ("keep", FailedUpload::Keep)];

/// Words of `storage.durability`.
pub const DURABILITIES: [(&str, Durability); 3] =
    [("none", Durability::None), ("data", Durability::Data), ("full", Durability::Full)];

/// Longest greeting, octets; a 220 line stays one TCP segment.
const GREETING_BYTES_MAX: usize = 200;

impl Default for Settings {
    fn default() -> Self {
        Self {
            implicit: vec![ListenAddress::any(&[990])],
            explicit: vec![ListenAddress::any(&[21])],
            backlog: 4096,
            cpus: None,
            steering: Steering::Kernel,
            handshake_percent: 5,
            tls: Tls {
                certificate: CertificateSource::SelfSigned { directory: PathBuf::new() },
                profile: TlsProfile::Balanced,
                versions: TlsVersions::default(),
                cipher_suites: None,
                groups: None,
                client_ca: None,
                ticket_lifetime: Duration::from_secs(12 * 60 * 60),
                ktls: KernelTls::Auto,
            },
            policy: Policy::default(),
            passive: Passive::default(),
            limits: Limits {
                sessions: 20_000,
                sessions_per_ip: None,
                sessions_per_user: None,
                handshakes: 1024,
                remember_logins: Duration::from_secs(5 * 60),
                client_hello_timeout: Duration::from_secs(10),
                shutdown_timeout: Duration::from_secs(30),
            },
            log: Log { format: LogFormat::Text, level: LevelFilter::INFO },
            directories: Vec::new(),
            metrics: None,
            user: None,
        }
    }
}

impl Settings {
    /// Reads every section but the accounts'. Relative pathnames start at `directory`, that of the
    /// file.
    pub(super) fn read(root: &Section<'_, '_>, directory: &Path) -> Self {
        let mut settings = Self::default();
        settings.read_listen(&root.section("listen"));
        let shards = root.section("shards");
        settings.cpus = shards.get("cpus", parsed::<CpuList>);
        shards.set("steering", &mut settings.steering, one_of(&STEERINGS));
        if let Some(percent) = shards.get("handshake_percent", number(1..=99)) {
            settings.handshake_percent = u8::try_from(percent).unwrap_or(u8::MAX);
        }
        shards.finish();
        settings.read_tls(&root.section("tls"), directory);
        settings.read_policy(&root.section("policy"));
        settings.read_passive(&root.section("passive"));
        settings.read_limits(&root.section("limits"));
        settings.read_storage(&root.section("storage"));
        let kernel_tls = settings.tls.ktls == KernelTls::Auto && settings.tls.versions.tls13;
        settings.directories = read_directories(root, directory, kernel_tls);
        let log = root.section("log");
        log.set("format", &mut settings.log.format, one_of(&LOG_FORMATS));
        log.set("level", &mut settings.log.level, one_of(&LOG_LEVELS));
        log.finish();
        settings.read_metrics(&root.section("metrics"));
        settings
    }

    /// Two listeners, or a listener and the passive range, that want the same port: says which.
    pub(super) fn port_clash(&self) -> Option<String> {
        let listeners = || self.implicit.iter().chain(&self.explicit);
        for (index, address) in listeners().enumerate() {
            if let Some(other) = listeners().skip(index + 1).find(|a| a.clashes_with(address)) {
                return Some(format!("{address} and {other} are the same port"));
            }
        }
        let range = self.passive.ports?;
        let inside = |port: &u16| (range.low()..=range.high()).contains(port);
        let address = listeners().find(|address| address.ports.iter().any(inside))?;
        Some(format!("the passive ports {range} contain the listener {address}"))
    }

    fn read_listen(&mut self, listen: &Section<'_, '_>) {
        if let Some(addresses) = listen.list("implicit", parsed::<ListenAddress>) {
            self.implicit = addresses;
        }
        if let Some(addresses) = listen.list("explicit", parsed::<ListenAddress>) {
            self.explicit = addresses;
        }
        listen.set("backlog", &mut self.backlog, number(1..=65_535));
        listen.finish();
    }

    fn read_tls(&mut self, tls: &Section<'_, '_>, directory: &Path) {
        let chain = readable_file(tls, "certificate", directory);
        let key = readable_file(tls, "key", directory);
        match (chain, key) {
            (Some(chain), Some(key)) => {
                if let Some(message) = exposed(&key) {
                    tls.warn("key", message);
                }
                self.tls.certificate = CertificateSource::Files { chain, key };
            }
            _ if tls.has("certificate") && !tls.has("key") => {
                tls.error("certificate", "is given without `key`, the file of its private key");
            }
            _ if tls.has("key") && !tls.has("certificate") => {
                tls.error("key", "is given without `certificate`, the file of its chain");
            }
            _ => {}
        }
        self.tls.client_ca = readable_file(tls, "client_ca", directory);
        self.read_versions(tls);
        self.tls.cipher_suites = tls.list("cipher_suites", |value| cipher_suite(&string(value)?));
        self.check_suites(tls);
        self.tls.groups = tls.list("groups", |value| key_exchange_group(&string(value)?));
        tls.set("profile", &mut self.tls.profile, one_of(&TLS_PROFILES));
        self.check_profile(tls);
        let resumption = &mut self.policy.data_resumption;
        tls.set("data_resumption", resumption, one_of(&DATA_RESUMPTIONS));
        let lifetimes = Duration::from_secs(2)..=Duration::from_secs(7 * 24 * 60 * 60);
        tls.set("ticket_lifetime", &mut self.tls.ticket_lifetime, duration(lifetimes));
        let words = [("auto", KernelTls::Auto), ("off", KernelTls::Off)];
        tls.set("ktls", &mut self.tls.ktls, one_of(&words));
        tls.finish();
    }

    fn read_versions(&mut self, tls: &Section<'_, '_>) {
        let Some(versions) = tls.list("versions", one_of(&[("1.2", false), ("1.3", true)])) else {
            return;
        };
        if versions.is_empty() {
            tls.error("versions", "is empty; name \"1.2\", \"1.3\" or both");
            return;
        }
        self.tls.versions =
            TlsVersions { tls12: versions.contains(&false), tls13: versions.contains(&true) };
    }

    fn check_suites(&self, tls: &Section<'_, '_>) {
        let Some(suites) = &self.tls.cipher_suites else { return };
        let TlsVersions { tls12, tls13 } = self.tls.versions;
        let is_tls13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
        for (version, offered, found) in [
            ("1.2", tls12, suites.iter().any(|suite| !is_tls13(suite))),
            ("1.3", tls13, suites.iter().any(is_tls13)),
        ] {
            if offered && !found {
                let message = format!(
                    "names no suite of TLS {version}, which `versions` offers; known are {}",
                    suite_names(version == "1.3")
                );
                tls.error("cipher_suites", message);
            }
        }
    }

    /// A profile is a promise; other keys must not break it in silence.
    fn check_profile(&self, tls: &Section<'_, '_>) {
        let TlsVersions { tls12, tls13 } = self.tls.versions;
        let groups = self.tls.groups.as_deref();
        if groups.is_some_and(<[_]>::is_empty) {
            tls.error("groups", format!("is empty; known are {}", GROUPS.join(", ")));
        }
        match self.tls.profile {
            TlsProfile::Throughput if !tls12 => {
                tls.error("profile", "\"throughput\" prefers TLS 1.2, which `versions` leaves out");
            }
            TlsProfile::PostQuantum if !tls13 => {
                tls.error("profile", "\"pq\" needs TLS 1.3, which `versions` leaves out");
            }
            TlsProfile::PostQuantum
                if groups.is_some_and(|names| names.iter().all(|name| name != POST_QUANTUM)) =>
            {
                let message = format!("\"pq\" prefers {POST_QUANTUM}, which `groups` leaves out");
                tls.error("profile", message);
            }
            TlsProfile::Balanced | TlsProfile::Throughput | TlsProfile::PostQuantum => {}
        }
        let quantum_only = groups.is_some_and(|names| {
            !names.is_empty() && names.iter().all(|name| name == POST_QUANTUM)
        });
        if tls12 && quantum_only {
            let message = format!("TLS 1.2, which `versions` offers, cannot use {POST_QUANTUM}");
            tls.error("groups", message);
        }
    }

    fn read_policy(&mut self, section: &Section<'_, '_>) {
        let policy = &mut self.policy;
        section.set("greeting", &mut policy.greeting, |value| {
            let text = string(value)?;
            let fits = text.len() <= GREETING_BYTES_MAX;
            fits.then_some(text).ok_or_else(|| format!("is over {GREETING_BYTES_MAX} octets"))
        });
        section.set("require_control_tls", &mut policy.require_control_tls, boolean);
        section.set("require_data_tls", &mut policy.require_data_tls, boolean);
        section.set("allow_ccc", &mut policy.allow_ccc, boolean);
        section.set("auth_ssl_implies_prot_p", &mut policy.auth_ssl_implies_prot_p, boolean);
        section.set("allow_active", &mut policy.allow_active, boolean);
        section.set("allow_foreign_data_address", &mut policy.allow_foreign_data_address, boolean);
        section.set("lax_upload_eof", &mut policy.lax_upload_eof, boolean);
        section.set("mdtm_may_set", &mut policy.mdtm_may_set, boolean);
        if let Some(names) = section.list("host_names", host_name) {
            policy.host_names = names;
        }
        for (key, doubtful, consequence) in [
            ("require_control_tls", !policy.require_control_tls, "passwords may travel in clear"),
            ("require_data_tls", !policy.require_data_tls, "files may travel in clear"),
            ("allow_ccc", policy.allow_ccc, "after CCC, commands and pathnames travel in clear"),
            (
                "allow_foreign_data_address",
                policy.allow_foreign_data_address,
                "clients can make this server connect to other hosts (RFC 2577 §3)",
            ),
            ("lax_upload_eof", policy.lax_upload_eof, LAX_UPLOAD_EOF_RISK),
        ] {
            if doubtful {
                section.warn(key, consequence);
            }
        }
        section.finish();
    }

    fn read_passive(&mut self, passive: &Section<'_, '_>) {
        self.passive.ports = passive.get("ports", parsed::<PortRange>);
        if self.passive.ports.is_some_and(|range| range.low() < 1024) {
            passive.warn("ports", "ports below 1024 are root's; PASV fails once root is given up");
        }
        self.passive.address = passive.get("address", |value| {
            let text = string(value)?;
            let address = text.parse().ok().filter(|address: &Ipv4Addr| {
                !(address.is_unspecified() || address.is_multicast() || address.is_broadcast())
            });
            address.ok_or_else(|| {
                format!("\"{text}\" is not the IPv4 address of a host; write it as \"203.0.113.7\"")
            })
        });
        passive.finish();
    }

    fn read_limits(&mut self, section: &Section<'_, '_>) {
        let (limits, policy) = (&mut self.limits, &mut self.policy);
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 60 * 60));
        let timeout = || duration(second..=day);
        let unlimited = |number| if number == 0 { None } else { Some(number) };
        section.set("sessions", &mut limits.sessions, number(1..=10_000_000));
        if let Some(sessions) = section.get("sessions_per_ip", number(0..=10_000_000)) {
            limits.sessions_per_ip = unlimited(sessions);
        }
        if let Some(sessions) = section.get("sessions_per_user", number(0..=10_000_000)) {
            limits.sessions_per_user = unlimited(sessions);
        }
        section.set("handshakes", &mut limits.handshakes, number(1..=1_000_000));
        let hello_timeout = &mut limits.client_hello_timeout;
        section.set("client_hello_timeout", hello_timeout, duration(second..=day));
        section.set("login_failures", &mut policy.login_failures_max, number(1..=100));
        let delays = Duration::ZERO..=Duration::from_secs(60);
        section.set("login_failure_delay", &mut policy.login_failure_delay, duration(delays));
        let memories = Duration::ZERO..=Duration::from_secs(60 * 60);
        section.set("remember_logins", &mut limits.remember_logins, duration(memories));
        section.set("idle_timeout", &mut policy.idle_timeout, timeout());
        section.set("login_timeout", &mut policy.login_timeout, timeout());
        section.set("handshake_timeout", &mut policy.handshake_timeout, timeout());
        section.set("data_timeout", &mut policy.data_timeout, timeout());
        section.set("stall_timeout", &mut policy.stall_timeout, timeout());
        let waits = Duration::ZERO..=day;
        section.set("shutdown_timeout", &mut limits.shutdown_timeout, duration(waits));
        if policy.idle_timeout < Duration::from_secs(300) {
            section.warn("idle_timeout", "RFC 1123 §4.1.3.2 asks for at least \"5m\"");
        }
        section.finish();
    }

    fn read_metrics(&mut self, section: &Section<'_, '_>) {
        self.metrics = section.get("listen", |value| {
            let text = string(value)?;
            text.parse()
                .map_err(|_| format!("\"{text}\" is not ADDR:PORT; write it as \"127.0.0.1:9121\""))
        });
        if self.metrics.is_some_and(|address| !address.ip().is_loopback()) {
            section.warn("listen", "whoever reaches this address can read the counters");
        }
        section.finish();
    }

    fn read_storage(&mut self, section: &Section<'_, '_>) {
        let policy = &mut self.policy;
        section.set("failed_upload", &mut policy.failed_upload, one_of(&FAILED_UPLOADS));
        section.set("durability", &mut policy.durability, one_of(&DURABILITIES));
        let ages = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 60 * 60);
        section.set("leftover_age", &mut policy.leftover_age, duration(ages));
        if let Some(algorithms) = section.list("hash_uploads", hash_algorithm) {
            policy.hash_uploads = algorithms.into_iter().collect();
        }
        section.finish();
    }
}

/// What to say about a file with secrets that is open to others than its owner and group.
pub(super) fn exposed(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & 0o007 != 0)
        .then(|| format!("{path} holds secrets and is open to others; remedy: chmod 600 {path}"))
}

/// The name of a file that can be opened for reading.
fn readable_file(
    section: &Section<'_, '_>,
    key: &'static str,
    directory: &Path,
) -> Option<PathBuf> {
    section.get(key, |value| {
        let path = directory.join(string(value)?);
        check_readable(&path).map(|()| path)
    })
}

/// Opens a regular file for reading; says what failed.
pub(super) fn check_readable(path: &Path) -> Result<(), String> {
    let metadata = File::open(path)
        .and_then(|file| file.metadata())
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if metadata.is_file() { Ok(()) } else { Err(format!("{} is not a file", path.display())) }
}

fn host_name(value: &toml::de::DeValue<'_>) -> Result<String, String> {
    let name = string(value)?;
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    let good = name.len() <= 253 && name.split('.').all(label);
    good.then(|| name.clone())
        .ok_or_else(|| format!("\"{name}\" is not a host name such as \"ftp.example.org\""))
}

fn key_exchange_group(name: &str) -> Result<String, String> {
    let found = GROUPS.into_iter().find(|group| group.eq_ignore_ascii_case(name));
    found.map(str::to_owned).ok_or_else(|| {
        let known = GROUPS.join(", ");
        format!("\"{name}\" is not a key exchange group of this server; known are {known}")
    })
}

fn hash_algorithm(value: &toml::de::DeValue<'_>) -> Result<HashAlgorithm, String> {
    let name = string(value)?;
    hash_command::algorithm(name.as_bytes()).ok_or_else(|| {
        let names = HashAlgorithm::ALL.map(hash_command::name).join(", ");
        format!("\"{name}\" is not a digest of HASH; known are {names}")
    })
}

fn cipher_suite(name: &str) -> Result<SupportedCipherSuite, String> {
    let suites = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    let found = suites.iter().find(|suite| suite.suite().as_str() == Some(name));
    found.copied().ok_or_else(|| {
        let names = [suite_names(true), suite_names(false)].join(", ");
        format!("\"{name}\" is not a cipher suite of this server; known are {names}")
    })
}

fn suite_names(tls13: bool) -> String {
    rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES
        .iter()
        .filter(|suite| suite.tls13().is_some() == tls13)
        .filter_map(|suite| suite.suite().as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
