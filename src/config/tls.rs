//! Versions, suites and groups of TLS as the configuration names them, and the checks of keys of
//! `[tls]` that must agree with each other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use rustls::SupportedCipherSuite;
use toml::de::DeValue;

use super::document::Section;
use super::kind::{Scalar, Value, Words, words, written};
use super::settings::Tls;
use super::value::{parsed, string};
use crate::tls::{GROUPS, POST_QUANTUM, TlsProfile, TlsVersions};

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

/// Use of the kernel's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelTls {
    /// Where the kernel has it.
    Auto,
    /// Never.
    Off,
}

/// A cipher suite of this server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CipherSuite(SupportedCipherSuite);

/// A key exchange group of this server, by its IANA name: one of [`GROUPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupName(&'static str);

#[derive(Clone, Copy, PartialEq)]
enum Version {
    Tls12,
    Tls13,
}

words! {
    KernelTls: "auto" Auto, "off" Off;
    Version: "1.2" Tls12, "1.3" Tls13;
}

written! {
    GroupName: "key exchange group";
}

impl CipherSuite {
    /// Its IANA name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.suite().as_str().unwrap_or_default()
    }

    fn all() -> impl Iterator<Item = Self> {
        rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().map(Self)
    }

    fn version(self) -> Version {
        if self.0.tls13().is_some() { Version::Tls13 } else { Version::Tls12 }
    }

    fn names(version: Version) -> String {
        let names = Self::all().filter(|suite| suite.version() == version).map(Self::name);
        names.collect::<Vec<_>>().join(", ")
    }
}

impl Scalar for CipherSuite {
    type Bounds = ();
    const KIND: &'static str = "cipher suite";

    fn parse(value: &DeValue<'_>, (): &()) -> Result<Self, String> {
        let name = string(value)?;
        Self::all().find(|suite| suite.name() == name).ok_or_else(|| {
            let names = [Self::names(Version::Tls13), Self::names(Version::Tls12)].join(", ");
            format!("\"{name}\" is not a cipher suite of this server; known are {names}")
        })
    }

    fn text(&self) -> String {
        self.name().to_owned()
    }
}

impl GroupName {
    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    fn is_post_quantum(self) -> bool {
        self.0 == POST_QUANTUM
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for GroupName {
    type Err = String;

    /// The case of letters does not matter.
    fn from_str(name: &str) -> Result<Self, String> {
        let found = GROUPS.into_iter().find(|group| group.eq_ignore_ascii_case(name));
        found.map(Self).ok_or_else(|| {
            let known = GROUPS.join(", ");
            format!("\"{name}\" is not a key exchange group of this server; known are {known}")
        })
    }
}

/// Versions are a set that must not be empty.
impl Value for TlsVersions {
    type Bounds = ();

    fn kind() -> String {
        Vec::<Version>::kind()
    }

    fn words() -> Vec<&'static str> {
        Vec::<Version>::words()
    }

    fn read(section: &Section<'_, '_>, key: &'static str, (): &()) -> Option<Self> {
        let versions = Vec::<Version>::read(section, key, &())?;
        if versions.is_empty() {
            section.error(key, "is empty; name \"1.2\", \"1.3\" or both");
            return None;
        }
        let has = |version| versions.contains(&version);
        Some(Self { tls12: has(Version::Tls12), tls13: has(Version::Tls13) })
    }

    fn toml(&self) -> Option<String> {
        versions(*self).toml()
    }

    fn show(&self) -> String {
        versions(*self).show()
    }
}

fn versions(TlsVersions { tls12, tls13 }: TlsVersions) -> Vec<Version> {
    let all = [(tls12, Version::Tls12), (tls13, Version::Tls13)];
    all.into_iter().filter_map(|(offered, version)| offered.then_some(version)).collect()
}

impl Tls {
    /// Whether the kernel may seal anything at all.
    pub(super) fn may_use_kernel(&self) -> bool {
        self.ktls == KernelTls::Auto && self.versions.tls13
    }

    /// Checks what the keys of the section `tls` say together.
    pub(super) fn check(&self, tls: &Section<'_, '_>) {
        match (&self.certificate, &self.key) {
            (Some(_), Some(key)) => {
                if let Some(message) = tls.files().exposed(key) {
                    tls.warn("key", message);
                }
            }
            _ if tls.has("certificate") && !tls.has("key") => {
                tls.error("certificate", "is given without `key`, the file of its private key");
            }
            _ if tls.has("key") && !tls.has("certificate") => {
                tls.error("key", "is given without `certificate`, the file of its chain");
            }
            _ => {}
        }
        self.check_suites(tls);
        self.check_groups(tls);
        self.check_profile(tls);
    }

    /// Each version that is offered has a suite.
    fn check_suites(&self, tls: &Section<'_, '_>) {
        let Some(suites) = &self.cipher_suites else { return };
        for version in versions(self.versions) {
            if !suites.iter().any(|suite| suite.version() == version) {
                let message = format!(
                    "names no suite of TLS {}, which `versions` offers; known are {}",
                    version.word(),
                    CipherSuite::names(version)
                );
                tls.error("cipher_suites", message);
            }
        }
    }

    fn check_groups(&self, tls: &Section<'_, '_>) {
        let Some(groups) = self.groups.as_deref() else { return };
        if groups.is_empty() {
            tls.error("groups", format!("is empty; known are {}", GROUPS.join(", ")));
        } else if self.versions.tls12 && groups.iter().all(|group| group.is_post_quantum()) {
            let message = format!("TLS 1.2, which `versions` offers, cannot use {POST_QUANTUM}");
            tls.error("groups", message);
        }
    }

    /// A profile is a promise; other keys must not break it in silence.
    fn check_profile(&self, tls: &Section<'_, '_>) {
        let TlsVersions { tls12, tls13 } = self.versions;
        let groups = self.groups.as_deref();
        match self.profile {
            TlsProfile::Throughput if !tls12 => {
                tls.error("profile", "\"throughput\" prefers TLS 1.2, which `versions` leaves out");
            }
            TlsProfile::PostQuantum if !tls13 => {
                tls.error("profile", "\"pq\" needs TLS 1.3, which `versions` leaves out");
            }
            TlsProfile::PostQuantum
                if groups.is_some_and(|all| !all.iter().any(|group| group.is_post_quantum())) =>
            {
                let message = format!("\"pq\" prefers {POST_QUANTUM}, which `groups` leaves out");
                tls.error("profile", message);
            }
            TlsProfile::Balanced | TlsProfile::Throughput | TlsProfile::PostQuantum => {}
        }
    }
}
