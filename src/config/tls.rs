//! Where the certificate comes from, and the checks of keys of `[tls]` that must agree with each
//! other.

use std::path::PathBuf;

use super::document::Section;
use super::settings::Tls;
use super::suites::{CipherSuite, versions};
use super::words::Words;
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

impl Tls {
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
        if let Some(keys) = &self.ticket_keys
            && let Some(message) = tls.files().exposed(keys)
        {
            tls.warn("ticket_keys", message);
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
