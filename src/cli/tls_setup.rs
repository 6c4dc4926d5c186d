//! From the configuration to [`ServerTls`], for `serve` and `check-config` alike: what the one
//! refuses, the other has refused before.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{CertificateSource, CipherSuite, Config, GroupName, KernelTls, Tls};
use crate::sys::ktls;
use crate::tls::{PemText, SelfSigned, ServerCertificate, ServerTls, TlsOptions, Validity};

/// The certificate to serve, and where a self-signed one came from.
pub(super) fn load_certificate(
    source: &CertificateSource,
) -> Result<(ServerCertificate, Option<SelfSigned>), String> {
    match source {
        CertificateSource::Files { chain, key } => ServerCertificate::load(chain, key)
            .map(|certificate| (certificate, None))
            .map_err(|error| error.to_string()),
        CertificateSource::SelfSigned { directory } => {
            let mut names: Vec<String> =
                ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
            names.extend(host_name().filter(|name| name != "localhost"));
            std::fs::create_dir_all(directory)
                .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
            ServerCertificate::load_or_create_self_signed(directory, &names)
                .map(|(certificate, origin)| (certificate, Some(origin)))
                .map_err(|error| error.to_string())
        }
    }
}

/// `first`, and the same loaded again for every shard but one. A clone would share its parts.
pub(super) fn load_copies(
    first: &ServerCertificate,
    source: &CertificateSource,
    shards: usize,
) -> Result<Vec<ServerCertificate>, String> {
    let again = || load_certificate(source).map(|(certificate, _)| certificate);
    std::iter::once(Ok(first.clone())).chain((1..shards).map(|_| again())).collect()
}

/// What the kernel's TLS can do, or why nothing; `None` when it shall not be used.
pub(super) fn kernel_tls(settings: &Tls) -> Option<Result<ktls::Abilities, String>> {
    match settings.ktls {
        KernelTls::Off => None,
        KernelTls::Auto if settings.versions.tls13 => Some(ktls::probe()),
        KernelTls::Auto => Some(Err("it is used with TLS 1.3 only".to_owned())),
    }
}

/// Everything TLS of a configuration, or what is wrong with it: once for each of `certificates`,
/// which are the same one loaded once for each shard. So every handshake counts references, to
/// certificate, key and configuration, that are its shard's own. The ticket secret is common to
/// all.
pub(super) fn build(
    config: &Config,
    certificates: Vec<ServerCertificate>,
) -> Result<Vec<Arc<ServerTls>>, String> {
    let mut ticket_secret = [0; 32];
    aws_lc_rs::rand::fill(&mut ticket_secret).map_err(|_| "no random numbers".to_owned())?;
    let one = |certificate| build_one(config, certificate, ticket_secret);
    certificates.into_iter().map(one).collect()
}

fn build_one(
    config: &Config,
    certificate: ServerCertificate,
    ticket_secret: [u8; 32],
) -> Result<Arc<ServerTls>, String> {
    let settings = &config.settings;
    let read_ca = |path: &Path| PemText::read(path, "read tls.client_ca");
    let client_ca = settings.tls.client_ca.as_deref().map(read_ca).transpose();
    let client_ca = client_ca.map_err(|error| error.to_string())?;
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
    .map_err(|error| error.to_string())
}

/// Checks all that [`load_certificate`] and [`build`] do, and writes nothing. Returns the
/// certificate if it is the operator's; a self-signed one is made, or made anew, by `serve`.
pub(super) fn check(config: &Config) -> Result<Option<ServerCertificate>, String> {
    let files = match &config.certificate {
        CertificateSource::Files { .. } => true,
        CertificateSource::SelfSigned { .. } => false,
    };
    let certificate = if files {
        load_certificate(&config.certificate)?.0
    } else {
        ServerCertificate::ephemeral().map_err(|error| error.to_string())?
    };
    build(config, vec![certificate.clone()])?;
    Ok(files.then_some(certificate))
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
            "expired {days} days ago; clients will refuse it: renew it and restart the server"
        ));
    }
    let days = days_between(unix_time, not_after);
    (days < VALIDITY_DAYS_MIN)
        .then(|| format!("ends in {days} days; renew it and restart the server"))
}

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Less is worth a warning: two weeks leave time to repair what should have renewed it.
const VALIDITY_DAYS_MIN: u64 = 14;

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
        check(end - days(14), None);
        check(end - days(14) + Duration::from_secs(1), Some("ends in 13 days"));
        check(end, Some("ends in 0 days"));
        check(end + days(2), Some("expired 2 days ago"));
        let begin = certificate.validity()[0].not_before;
        check(begin, None);
        check(begin - days(3), Some("not valid yet, for another 3 days"));
    }
}
