//! What an operator is told of the certificates that are served.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::tls_setup::{Served, TlsTexts, pair_files};
use super::utc;
use crate::clock;
use crate::config::{CertificateSource, Config};
use crate::tls::{CertificateDetails, PemText, ServerCertificate, self_signed_chain};

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// All of them, the default one first. Reads their files, so it may wait for a disk.
pub(super) fn served(config: &Config, texts: &TlsTexts) -> Vec<Value> {
    let now = clock::unix_time();
    // What is served was good when it was taken.
    let served = texts.served().unwrap_or_default().into_iter();
    let all = served.zip(pair_files(config));
    all.map(|(Served { title, certificate }, files)| {
        let file = match (files, &config.certificate) {
            (Some(files), _) => files.chain.to_owned(),
            (None, CertificateSource::Files { chain, .. }) => chain.clone(),
            (None, CertificateSource::SelfSigned { directory }) => self_signed_chain(directory),
        };
        describe(&title, &file, &certificate, now)
    })
    .collect()
}

/// One, by the key that it is configured with. `served_for` is the names of which it is the one,
/// beside those for which there is none. `on_disk` is "same", "differs", or why that cannot be
/// said.
fn describe(key: &str, file: &Path, served: &ServerCertificate, now: Duration) -> Value {
    let CertificateDetails { subject, serial, names } = served.details();
    let fingerprint: Vec<_> = served.fingerprint().iter().map(|o| format!("{o:02X}")).collect();
    let validity = served.validity().first().copied();
    let (from, to) = validity.map_or_else(Default::default, |v| (v.not_before, v.not_after));
    let days = |span: Duration| i64::try_from(span.as_secs() / DAY_SECONDS).unwrap_or(i64::MAX);
    let left =
        if to >= now { days(to.saturating_sub(now)) } else { -1 - days(now.saturating_sub(to)) };
    let on_disk = match PemText::read(file, "read it").map(|text| served.is_of(&text)) {
        Ok(true) => "same".to_owned(),
        Ok(false) => "differs".to_owned(),
        Err(error) => error.to_string(),
    };
    json!({
        "certificate": key,
        "subject": subject,
        "names": names,
        "served_for": served.served_names(),
        "serial": serial,
        "sha256": fingerprint.join(":"),
        "not_before": utc(from),
        "not_after": utc(to),
        "days_left": left,
        "file": file,
        "on_disk": on_disk,
    })
}
