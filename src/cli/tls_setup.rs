//! From the configuration to [`ServerTls`], for `serve` and `check-config` alike: what the one
//! refuses, the other has refused before.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{CertificateSource, CipherSuite, Config, Files, GroupName, KernelTls, Tls};
use crate::sys::ktls;
use crate::tls::{
    PemText, SelfSigned, ServerCertificate, ServerTls, TlsOptions, Validity, self_signed_chain,
    self_signed_key,
};

/// Something of a configuration that cannot be: its key, and a sentence.
pub(super) type Refused = (&'static str, String);

/// It as one line.
pub(super) fn said((key, message): Refused) -> String {
    format!("{key}: {message}")
}

/// The texts that TLS is made of. They are read once, so that every shard gets the same.
#[derive(Clone, Debug)]
pub(super) struct TlsTexts {
    /// Chain and key.
    certificate: (PemText, PemText),
    client_ca: Option<PemText>,
    /// Where a self-signed certificate came from.
    pub(super) self_signed: Option<SelfSigned>,
}

impl TlsTexts {
    /// Reads what `config` names. A self-signed certificate is made if there is none; the one that
    /// `running` has stays.
    pub(super) fn read(
        config: &Config,
        files: &Files,
        running: Option<&Self>,
    ) -> Result<Self, Refused> {
        let (certificate, self_signed) = match &config.certificate {
            CertificateSource::Files { chain, key } => (read_pair(files, chain, key)?, None),
            CertificateSource::SelfSigned { directory } => match running {
                Some(Self { certificate, self_signed: Some(_), .. }) => {
                    (certificate.clone(), Some(SelfSigned::Reused))
                }
                _ => {
                    let origin = make_self_signed(directory)?;
                    let chain = self_signed_chain(directory);
                    (read_pair(files, &chain, &self_signed_key(directory))?, Some(origin))
                }
            },
        };
        let client_ca = read_client_ca(config, files)?;
        Ok(Self { certificate, client_ca, self_signed })
    }

    /// The same with the certificate as it is on the disk now.
    pub(super) fn look_again(&self, config: &Config) -> Result<Self, Refused> {
        let CertificateSource::Files { chain, key } = &config.certificate else {
            return Ok(self.clone());
        };
        let certificate = read_pair(&Files::default(), chain, key)?;
        Ok(Self { certificate, ..self.clone() })
    }

    /// What of it differs from `running`, by key.
    pub(super) fn difference(&self, running: &Self) -> Vec<&'static str> {
        let ((chain, key), (old_chain, old_key)) = (&self.certificate, &running.certificate);
        let certificate = chain.pem != old_chain.pem || key.pem != old_key.pem;
        fn octets(text: &PemText) -> &[u8] {
            &text.pem
        }
        let (ca, old_ca) = (self.client_ca.as_ref(), running.client_ca.as_ref());
        let mut keys = Vec::new();
        keys.extend(certificate.then_some("tls.certificate"));
        keys.extend((ca.map(octets) != old_ca.map(octets)).then_some("tls.client_ca"));
        keys
    }

    /// The certificate that clients get.
    pub(super) fn certificate(&self) -> Result<ServerCertificate, Refused> {
        let (chain, key) = &self.certificate;
        let certificate = ServerCertificate::from_pem(chain, key);
        certificate.map_err(|error| ("tls.certificate", error.to_string()))
    }

    /// Everything TLS of a configuration, once for each shard. So every handshake counts
    /// references, to certificate, key and configuration, that are its shard's own. The ticket
    /// secret is common to all.
    pub(super) fn build(
        &self,
        config: &Config,
        ticket_secret: [u8; 32],
        shards: usize,
    ) -> Result<Vec<Arc<ServerTls>>, Refused> {
        (0..shards).map(|_| build_one(config, self, ticket_secret)).collect()
    }
}

fn read_pair(files: &Files, chain: &Path, key: &Path) -> Result<(PemText, PemText), Refused> {
    let read = |name, path: &Path, action| {
        let text = PemText::take(path, action, files.read(path));
        text.map_err(|error| (name, error.to_string()))
    };
    Ok((
        read("tls.certificate", chain, "read the certificate file")?,
        read("tls.key", key, "read the key file")?,
    ))
}

fn read_client_ca(config: &Config, files: &Files) -> Result<Option<PemText>, Refused> {
    let Some(path) = &config.settings.tls.client_ca else { return Ok(None) };
    let text = PemText::take(path, "read tls.client_ca", files.read(path));
    text.map(Some).map_err(|error| ("tls.client_ca", error.to_string()))
}

/// Sees to it that there is one in `directory`.
fn make_self_signed(directory: &Path) -> Result<SelfSigned, Refused> {
    let refused = |text: String| ("tls.certificate", text);
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(host_name().filter(|name| name != "localhost"));
    std::fs::create_dir_all(directory)
        .map_err(|error| refused(format!("cannot make {}: {error}", directory.display())))?;
    ServerCertificate::load_or_create_self_signed(directory, &names)
        .map(|(_, origin)| origin)
        .map_err(|error| refused(error.to_string()))
}

/// What all ticket keys are made of; the same as long as the process lives.
pub(super) fn new_ticket_secret() -> Result<[u8; 32], String> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| "no random numbers".to_owned())?;
    Ok(secret)
}

/// What the kernel's TLS can do, or why nothing; `None` when it shall not be used.
pub(super) fn kernel_tls(settings: &Tls) -> Option<Result<ktls::Abilities, String>> {
    match settings.ktls {
        KernelTls::Off => None,
        KernelTls::Auto if settings.versions.tls13 => Some(ktls::probe()),
        KernelTls::Auto => Some(Err("it is used with TLS 1.3 only".to_owned())),
    }
}

fn build_one(
    config: &Config,
    texts: &TlsTexts,
    ticket_secret: [u8; 32],
) -> Result<Arc<ServerTls>, Refused> {
    let settings = &config.settings;
    let certificate = texts.certificate()?;
    let client_ca = texts.client_ca.clone();
    let client_fingerprints: BTreeSet<[u8; 32]> = config
        .accounts
        .users
        .users()
        .filter_map(|user| user.certificate.as_ref()?.sha256)
        .collect();
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let suites = settings.tls.cipher_suites.as_ref();
    let groups = settings.tls.groups.as_ref();
    ServerTls::new(TlsOptions {
        profile: settings.tls.profile,
        groups: groups.map(|all| owned(all.iter().copied().map(GroupName::as_str).collect())),
        certificates: vec![certificate],
        versions: settings.tls.versions,
        cipher_suites: suites
            .map(|all| owned(all.iter().copied().map(CipherSuite::name).collect())),
        client_ca,
        client_fingerprints,
        resumption: settings.policy.data_resumption,
        ticket_secret,
        ticket_lifetime: settings.tls.ticket_lifetime,
    })
    .map_err(|error| ("tls", error.to_string()))
}

/// Checks all that [`TlsTexts`] does, and writes nothing. Returns the certificate if it is the
/// operator's; a self-signed one is made, or made anew, by `serve`.
pub(super) fn check(config: &Config) -> Result<Option<ServerCertificate>, Refused> {
    let files = Files::default();
    if let CertificateSource::Files { .. } = &config.certificate {
        let texts = TlsTexts::read(config, &files, None)?;
        texts.build(config, [0; 32], 1)?;
        return texts.certificate().map(Some);
    }
    let certificate = ServerCertificate::ephemeral_pair();
    let certificate = certificate.map_err(|error| ("tls.certificate", error.to_string()))?;
    let client_ca = read_client_ca(config, &files)?;
    TlsTexts { certificate, client_ca, self_signed: None }.build(config, [0; 32], 1)?;
    Ok(None)
}

/// What to say about a certificate that clients refuse, or will soon: the server's own, or one
/// behind it in the chain.
pub(super) fn validity_warning(
    certificate: &ServerCertificate,
    unix_time: Duration,
) -> Option<String> {
    let all = certificate.validity().iter().enumerate();
    all.filter_map(|(index, validity)| {
        let finding = validity_finding(*validity, unix_time)?;
        Some(match index {
            0 => format!("tls.certificate: {finding}"),
            _ => format!("tls.certificate: number {} of the chain {finding}", index + 1),
        })
    })
    .next()
}

fn validity_finding(validity: Validity, unix_time: Duration) -> Option<String> {
    let days_between = |from: Duration, to: Duration| (to - from).as_secs() / DAY_SECONDS;
    let Validity { not_before, not_after } = validity;
    if unix_time < not_before {
        let days = days_between(unix_time, not_before);
        return Some(format!(
            "is not valid yet, for another {days} days and some hours; clients will refuse it: was \
             it issued for later, or is the clock of this machine wrong (see `date -u`)?"
        ));
    }
    if not_after < unix_time {
        let days = days_between(not_after, unix_time);
        return Some(format!(
            "expired {days} days ago; clients will refuse it: renew it and reload the server"
        ));
    }
    let days = days_between(unix_time, not_after);
    // What renews certificates does so with a third of their lifetime left.
    (not_after - unix_time < (not_after - not_before) / 3)
        .then(|| format!("ends in {days} days; renew it and reload the server"))
}

const DAY_SECONDS: u64 = 24 * 60 * 60;

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-.".contains(&octet);
    (!name.is_empty() && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_of_an_end_that_is_near_or_past() {
        let certificate = ServerCertificate::ephemeral().unwrap();
        let end = certificate.not_after();
        let days = |days| Duration::from_secs(days * DAY_SECONDS);
        let check = |now: Duration, expected: Option<&str>| {
            let warning = validity_warning(&certificate, now);
            assert_eq!(warning.is_some(), expected.is_some());
            assert!(warning.unwrap_or_default().contains(expected.unwrap_or_default()));
        };
        // It is good for 825 days.
        check(end - days(275), None);
        check(end - days(275) + Duration::from_secs(1), Some("ends in 274 days"));
        check(end, Some("ends in 0 days"));
        check(end + days(2), Some("expired 2 days ago"));
        let begin = certificate.validity()[0].not_before;
        check(begin, None);
        check(begin - days(3), Some("not valid yet, for another 3 days"));
    }
}
