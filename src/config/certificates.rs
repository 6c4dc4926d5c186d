//! `[[tls.certificates]]`: certificates for server names, beside the default one. What is in the
//! files is looked at where TLS is made of them.

use std::path::PathBuf;
use std::str::FromStr;

use toml::de::DeValue;

use super::document::Section;
use super::key::{Change, Key, KeyTable, Row, key_table};
use super::value::string;
use crate::protocol::policy::VirtualHost;

/// A certificate of `[[tls.certificates]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificate {
    /// How messages call its table: the key with the value of `certificate`, or its number.
    pub place: String,
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The private key of the leaf.
    pub key: PathBuf,
    /// The names it is for, lower case, `*.` before those of a wildcard; `None` is those it was
    /// issued for.
    pub names: Option<Vec<String>>,
}

/// The keys of `[[tls.certificates]]`.
pub(super) const CERTIFICATES: KeyTable = key_table! {
    /// One table a certificate for clients that ask for one of its names, by SNI or by HOST before
    /// AUTH. All others get `tls.certificate`: those that send no name, and those that send one
    /// that no table has, which are not refused (a client sees whether a certificate is for the
    /// name it wants). A name as it is goes before a wildcard, and a table before
    /// `tls.certificate`. A data connection without SNI gets the certificate of its control
    /// connection. No session of one name is resumed under another.
    "[[tls.certificates]]";
    /// Certificate chain (PEM), as in `tls.certificate`. It is watched like that (`tls.watch`).
    certificate: String, example "\"/etc/letsencrypt/live/ftp.example.org/fullchain.pem\"",
        since "0.1.0", change Reload;
    /// Private key (PEM) of the first certificate of the chain.
    key: String, example "\"/etc/letsencrypt/live/ftp.example.org/privkey.pem\"",
        since "0.1.0", change Reload;
    /// Names to use it for. "*.example.org" is every name with one label in the place of the star.
    /// Two tables for one name are a mistake.
    names: Vec<String>,
        unset "the DNS names of the certificate (subjectAltName)",
        example "[\"ftp.example.org\", \"*.ftp.example.org\"]", since "0.1.0", change Reload;
};

/// Reads `[[tls.certificates]]`; `tls` is the section above it.
pub(super) fn read_certificates(tls: &Section<'_, '_>) -> Vec<NamedCertificate> {
    let mut certificates: Vec<NamedCertificate> = Vec::new();
    for section in tls.tables("certificates", "certificate") {
        let file = |key: &'static str| {
            if !section.has(key) {
                section.error(key, "is missing");
            }
            section.get(key, |value| {
                let path = section.path(value)?;
                section.files().check_readable(&path).map(|()| path)
            })
        };
        let (chain, key) = (file("certificate"), file("key"));
        let names = section.list("names", name);
        if names.as_ref().is_some_and(Vec::is_empty) {
            section.error("names", "is empty; leave it out for the names of the certificate");
        }
        for name in names.iter().flatten() {
            let named = |other: &&NamedCertificate| other.names.iter().flatten().any(|n| n == name);
            if let Some(other) = certificates.iter().find(named) {
                section.error("names", format!("{name} is a name of {} already", other.place));
            }
        }
        if let Some(message) = key.as_deref().and_then(|key| section.files().exposed(key)) {
            section.warn("key", message);
        }
        if let (Some(chain), Some(key)) = (chain, key) {
            let place = section.name().to_owned();
            certificates.push(NamedCertificate { place, chain, key, names });
        }
        section.finish();
    }
    certificates
}

fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = string(value)?.to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    match VirtualHost::from_str(plain) {
        Ok(_) => Ok(name),
        Err(_) => Err(format!(
            "\"{name}\" is not a DNS name such as \"ftp.example.org\" or \"*.example.org\""
        )),
    }
}
