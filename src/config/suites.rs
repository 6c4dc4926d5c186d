//! Versions, suites and groups of TLS as the configuration names them.

use std::fmt;
use std::str::FromStr;

use rustls::SupportedCipherSuite;
use toml::de::DeValue;

use super::document::Section;
use super::kind::{Scalar, Value, written};
use super::value::{parsed, string};
use super::words::words;
use crate::tls::{GROUPS, POST_QUANTUM, TlsVersions};

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

/// A version of TLS.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Version {
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

    pub(super) fn version(self) -> Version {
        if self.0.tls13().is_some() { Version::Tls13 } else { Version::Tls12 }
    }

    /// The names of those of `version`, for people.
    pub(super) fn names(version: Version) -> String {
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

    pub(super) fn is_post_quantum(self) -> bool {
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

/// Those that are offered.
pub(super) fn versions(TlsVersions { tls12, tls13 }: TlsVersions) -> Vec<Version> {
    let all = [(tls12, Version::Tls12), (tls13, Version::Tls13)];
    all.into_iter().filter_map(|(offered, version)| offered.then_some(version)).collect()
}
