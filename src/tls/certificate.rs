//! The server's certificates and keys: PEM files of the operator, or one made by ourselves that
//! stays the same from start to start. The only part of this layer that touches files.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

use super::TlsSetupError;
use super::error::explain;
use crate::clock;

/// File names of the self-signed pair in the state folder.
const SELF_SIGNED_CERTIFICATE: &str = "self-signed-certificate.pem";
const SELF_SIGNED_KEY: &str = "self-signed-key.pem";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest validity that systems accept of a certificate without a public CA.
const SELF_SIGNED_VALIDITY: Duration = Duration::from_secs(825 * DAY.as_secs());
/// Remade when less is left, so that a server restarted now and then never serves an expired one.
const SELF_SIGNED_RENEWAL: Duration = Duration::from_secs(30 * DAY.as_secs());
/// Clocks of clients may be behind ours.
const BACKDATED: Duration = DAY;

/// File of the certificate that [`ServerCertificate::load_or_create_self_signed`] keeps in
/// `state_dir`; clients can be given it as their CA.
#[must_use]
pub fn self_signed_chain(state_dir: &Path) -> PathBuf {
    state_dir.join(SELF_SIGNED_CERTIFICATE)
}

/// File of the key of [`self_signed_chain`].
#[must_use]
pub fn self_signed_key(state_dir: &Path) -> PathBuf {
    state_dir.join(SELF_SIGNED_KEY)
}

/// A certificate chain with its key, and the names it is for.
#[derive(Clone)]
pub struct ServerCertificate {
    certified: Arc<CertifiedKey>,
    dns_names: Vec<String>,
    /// The names that clients get it for.
    served_names: Vec<String>,
    validity: Vec<Validity>,
}

/// What a certificate says of itself, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateDetails {
    /// Its subject.
    pub subject: String,
    /// Its serial number: octets in hex, with colons between them.
    pub serial: String,
    /// DNS names and IP addresses that it is for.
    pub names: Vec<String>,
}

/// When a certificate is good, both ends included; time since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: Duration,
    /// The last one.
    pub not_after: Duration,
}

/// PEM text and where it came from, for errors.
#[derive(Clone)]
pub struct PemText {
    /// File name or other origin.
    pub origin: String,
    /// The text.
    pub pem: Vec<u8>,
}

impl PemText {
    /// Reads a file. `action` completes the error text "cannot …", as in "read the key file".
    ///
    /// # Errors
    ///
    /// Names the file and the cause.
    pub fn read(path: &Path, action: &'static str) -> Result<Self, TlsSetupError> {
        Self::take(path, action, fs::read(path))
    }

    /// What was read of a file; `action` as in [`PemText::read`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn take(
        path: &Path,
        action: &'static str,
        octets: io::Result<Vec<u8>>,
    ) -> Result<Self, TlsSetupError> {
        match octets {
            Ok(pem) => Ok(Self { origin: path.display().to_string(), pem }),
            Err(source) => Err(TlsSetupError::File { action, path: path.into(), source }),
        }
    }
}

impl fmt::Debug for PemText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemText").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Where a self-signed certificate came from; the text is meant for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfSigned {
    /// The one of an earlier start.
    Reused,
    /// A new one; clients that pinned the old one have to be told.
    Created {
        /// Why.
        reason: String,
    },
}

impl ServerCertificate {
    /// Reads a chain, the server's own certificate first, and its key from two PEM files (which
    /// may be the same).
    ///
    /// # Errors
    ///
    /// Names the file, the cause and what to do.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsSetupError> {
        Self::from_pem(
            &PemText::read(chain, "read the certificate file")?,
            &PemText::read(key, "read the key file")?,
        )
    }

    /// As [`ServerCertificate::load`], from PEM text.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn from_pem(chain: &PemText, key: &PemText) -> Result<Self, TlsSetupError> {
        let (chain_origin, key_origin) = (&chain.origin, &key.origin);
        let chain = parse_chain(&chain.pem, chain_origin)?;
        let key = parse_key(&key.pem, key_origin)?;
        if let Some(first) = chain.first() {
            check_version(first, chain_origin)?;
        }
        let key = any_supported_type(&key).map_err(|error| TlsSetupError::UnsupportedKey {
            origin: key_origin.clone(),
            cause: explain(&error),
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(TlsSetupError::KeyMismatch {
                    certificate: chain_origin.clone(),
                    key: key_origin.clone(),
                });
            }
            Err(error) => {
                return Err(TlsSetupError::BadCertificate {
                    origin: chain_origin.clone(),
                    cause: explain(&error),
                });
            }
        }
        Self::from_certified(certified, chain_origin)
    }

    /// The self-signed certificate kept in `state_dir`, made anew if there is none, if it cannot
    /// be used or ends within 30 days. `names` are DNS names and IP addresses for a new one; an
    /// existing one is kept when they change, because clients pin it.
    ///
    /// # Errors
    ///
    /// The files cannot be read or written.
    pub fn load_or_create_self_signed(
        state_dir: &Path,
        names: &[String],
    ) -> Result<(Self, SelfSigned), TlsSetupError> {
        Self::self_signed_at(state_dir, names, clock::unix_time())
    }

    /// A self-signed certificate that is in no file, to check other settings with.
    ///
    /// # Errors
    ///
    /// As [`TlsSetupError::SelfSigned`].
    pub fn ephemeral() -> Result<Self, TlsSetupError> {
        let (chain, key) = Self::ephemeral_pair()?;
        Self::from_pem(&chain, &key)
    }

    /// The texts of such a certificate and its key.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn ephemeral_pair() -> Result<(PemText, PemText), TlsSetupError> {
        let (certificate, key) = make_self_signed(&["localhost".to_owned()], clock::unix_time())?;
        let text = |pem: String| PemText { origin: "memory".to_owned(), pem: pem.into_bytes() };
        Ok((text(certificate), text(key)))
    }

    /// SHA-256 of the server's own certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.certified.cert.first().map_or([0; 32], |der| sha256_fingerprint(der))
    }

    /// DNS names of the certificate, lower case, wildcards as they are.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// End of validity, time since the Unix epoch.
    #[must_use]
    pub fn not_after(&self) -> Duration {
        self.validity.first().map_or(Duration::ZERO, |validity| validity.not_after)
    }

    /// Whether a self-signed one is to be made anew, as
    /// [`Self::load_or_create_self_signed`] would: at `unix_time` it ends within 30 days.
    #[must_use]
    pub fn is_renewal_due(&self, unix_time: Duration) -> bool {
        self.not_after() <= unix_time + SELF_SIGNED_RENEWAL
    }

    /// When each certificate of the chain is good, the server's own first.
    #[must_use]
    pub fn validity(&self) -> &[Validity] {
        &self.validity
    }

    /// The names that clients get it for, lower case: [`Self::dns_names`], unless they were set to
    /// others. A wildcard stands for exactly one label, the first (RFC 6125 §6.4.3).
    #[must_use]
    pub fn served_names(&self) -> &[String] {
        &self.served_names
    }

    /// The same for these names, without regard to those it was issued for.
    #[must_use]
    pub fn served_for(mut self, names: &[String]) -> Self {
        self.served_names = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        self
    }

    /// Whether it was issued for `name` (lower case; a wildcard only for itself), so that clients
    /// take it for that.
    #[must_use]
    pub fn is_issued_for(&self, name: &str) -> bool {
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.dns_names.iter().any(|own| own == name || Some(own) == wildcard.as_ref())
    }

    /// What it says of itself.
    #[must_use]
    pub fn details(&self) -> CertificateDetails {
        let x509 = self.certified.cert.first().and_then(|der| parse_certificate(der).ok());
        let Some(x509) = x509 else { return CertificateDetails::default() };
        let names = x509.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let address = |octets: &[u8]| match octets.len() {
            4 => <[u8; 4]>::try_from(octets).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(octets).ok().map(IpAddr::from),
        };
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(octets) => Some(address(octets)?.to_string()),
            _ => None,
        });
        CertificateDetails {
            subject: x509.subject().to_string(),
            serial: x509.raw_serial_as_string(),
            names: names.collect(),
        }
    }

    /// Whether `chain` is the chain of this one.
    #[must_use]
    pub fn is_of(&self, chain: &PemText) -> bool {
        parse_chain(&chain.pem, &chain.origin).is_ok_and(|chain| chain == self.certified.cert)
    }

    pub(super) const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    fn from_certified(certified: CertifiedKey, origin: &str) -> Result<Self, TlsSetupError> {
        let bad =
            |cause: String| TlsSetupError::BadCertificate { origin: origin.to_owned(), cause };
        let der = certified.end_entity_cert().map_err(|error| bad(explain(&error)))?;
        let x509 = parse_certificate(der).map_err(bad)?;
        let names = x509.subject_alternative_name();
        let names = names.map_err(|_| bad("its names (subjectAltName) do not parse".to_owned()))?;
        let dns_names: Vec<String> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        // One behind the first that does not parse is the client's to complain of.
        let validity = certified.cert.iter().filter_map(|der| parse_certificate(der).ok());
        let validity = validity.map(|x509| validity_of(&x509)).collect();
        // Nobody can ask for others, and these are written into metrics and logs.
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._*".contains(&octet);
        let served_names = dns_names.iter().filter(|name| name.bytes().all(plain));
        let served_names = served_names.cloned().collect();
        Ok(Self { dns_names, served_names, validity, certified: Arc::new(certified) })
    }

    fn self_signed_at(
        state_dir: &Path,
        names: &[String],
        now: Duration,
    ) -> Result<(Self, SelfSigned), TlsSetupError> {
        let certificate = state_dir.join(SELF_SIGNED_CERTIFICATE);
        let key = state_dir.join(SELF_SIGNED_KEY);
        let reason = match Self::load(&certificate, &key) {
            Ok(loaded) if !loaded.is_renewal_due(now) => {
                return Ok((loaded, SelfSigned::Reused));
            }
            Ok(_) => "the one there ends within 30 days or has ended".to_owned(),
            Err(TlsSetupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                "there is no complete pair yet".to_owned()
            }
            Err(error @ TlsSetupError::File { .. }) => return Err(error),
            Err(error) => format!("the one there cannot be used: {error}"),
        };
        let (certificate_pem, key_pem) = make_self_signed(names, now)?;
        // The key first: a crash in between leaves a pair that does not match, and is remade.
        write_atomically(&key, &key_pem, 0o600)?;
        write_atomically(&certificate, &certificate_pem, 0o644)?;
        Ok((Self::load(&certificate, &key)?, SelfSigned::Created { reason }))
    }
}

impl fmt::Display for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reused => f.write_str("self-signed certificate of an earlier start"),
            Self::Created { reason } => write!(f, "new self-signed certificate: {reason}"),
        }
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("dns_names", &self.dns_names)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a certificate (DER), the fingerprint people compare.
#[must_use]
pub fn sha256_fingerprint(der: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    fingerprint
}

fn parse_chain(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| bad_pem(origin, &error))?;
    if chain.is_empty() {
        return Err(TlsSetupError::NoSection {
            origin: origin.to_owned(),
            wanted: "certificate",
            label: "CERTIFICATE",
        });
    }
    Ok(chain)
}

/// A sentence on failure: the parser's own words are those of its grammar.
fn parse_certificate(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    let parsed = X509Certificate::from_der(der);
    parsed.map(|(_, x509)| x509).map_err(|_| "it is not an X.509 certificate".to_owned())
}

/// rustls takes version 3 alone, and has no words for the others. What does not parse is left to
/// it.
fn check_version(der: &[u8], origin: &str) -> Result<(), TlsSetupError> {
    match parse_certificate(der) {
        Ok(x509) if x509.version() != X509Version::V3 => Err(TlsSetupError::OldVersion {
            origin: origin.to_owned(),
            version: u64::from(x509.version().0) + 1,
        }),
        _ => Ok(()),
    }
}

fn validity_of(x509: &X509Certificate<'_>) -> Validity {
    let since_epoch =
        |time: ASN1Time| Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0));
    let validity = x509.validity();
    Validity {
        not_before: since_epoch(validity.not_before),
        not_after: since_epoch(validity.not_after),
    }
}

fn parse_key(pem: &[u8], origin: &str) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    let encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if encrypted.iter().any(|mark| pem.windows(mark.len()).any(|window| window == *mark)) {
        return Err(TlsSetupError::EncryptedKey { origin: origin.to_owned() });
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound => TlsSetupError::NoSection {
            origin: origin.to_owned(),
            wanted: "private key",
            label: "PRIVATE KEY",
        },
        error => bad_pem(origin, &error),
    })
}

fn bad_pem(origin: &str, error: &PemError) -> TlsSetupError {
    TlsSetupError::BadPem { origin: origin.to_owned(), cause: error.to_string() }
}

/// Certificate and key as PEM text.
fn make_self_signed(names: &[String], now: Duration) -> Result<(String, String), TlsSetupError> {
    let refused = |error: rcgen::Error| TlsSetupError::SelfSigned { cause: error.to_string() };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(refused)?;
    let mut params = CertificateParams::new(names).map_err(refused)?;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + now + SELF_SIGNED_VALIDITY - BACKDATED;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common_name = names.first().map_or("ringftpd", String::as_str);
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key).map_err(refused)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a file that is there whole or not at all, with `mode` from its first moment.
fn write_atomically(path: &Path, text: &str, mode: u32) -> Result<(), TlsSetupError> {
    let unfinished = path.with_extension(format!("pem.{}.new", std::process::id()));
    let write = || -> io::Result<()> {
        // One left by a crash under the same process id.
        let _ = fs::remove_file(&unfinished);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&unfinished);
        TlsSetupError::File { action: "write the self-signed pair", path: path.into(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        make_self_signed(&names, Duration::from_secs(1_800_000_000)).unwrap()
    }

    fn text(origin: &str, pem: &str) -> PemText {
        PemText { origin: origin.to_owned(), pem: pem.as_bytes().to_vec() }
    }

    #[track_caller]
    fn check_refused(chain: &str, key: &str, expected: &str) {
        let refused = ServerCertificate::from_pem(&text("chain.pem", chain), &text("key.pem", key));
        let text = refused.err().unwrap().to_string();
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn pem_faults_are_explained() {
        let (chain, key) = pair(&["a.example"]);
        let (_, other_key) = pair(&["a.example"]);
        check_refused("", &key, "chain.pem contains no certificate");
        check_refused(&key, &key, "chain.pem contains no certificate");
        check_refused(&chain, "", "key.pem contains no private key");
        check_refused(&chain, &chain, "-----BEGIN PRIVATE KEY-----");
        check_refused(&chain[..chain.len() / 2], &key, "chain.pem is not valid PEM text");
        check_refused(&chain, &other_key, "key.pem does not belong to the first certificate in");
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        check_refused(&chain, &encrypted, "openssl pkey -in KEY -out KEY.plain");
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        check_refused(&chain, nonsense, "private key in key.pem cannot be used");
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        check_refused(nonsense, &key, "first certificate in chain.pem cannot be used");
    }

    #[test]
    fn files_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.pem");
        let error = ServerCertificate::load(&missing, &missing).err().unwrap().to_string();
        assert!(error.starts_with("cannot read the certificate file"), "{error}");
        assert!(error.contains("missing.pem"), "{error}");
        let nowhere = folder.path().join("nowhere");
        let error = ServerCertificate::load_or_create_self_signed(&nowhere, &[]).err().unwrap();
        assert!(error.to_string().contains("cannot write the self-signed pair"), "{error}");
    }

    #[test]
    fn one_file_may_hold_chain_and_key() {
        let (chain, key) = pair(&["A.example", "127.0.0.1", "::1"]);
        let both = text("both", &format!("{key}{chain}"));
        let loaded = ServerCertificate::from_pem(&both, &both).unwrap();
        assert_eq!(loaded.dns_names(), ["a.example"]);
        assert_eq!(loaded.served_names(), ["a.example"]);
        let other = loaded.served_for(&["*.B.example".to_owned()]);
        assert_eq!(other.served_names(), ["*.b.example"]);
        assert!(other.is_issued_for("a.example") && !other.is_issued_for("*.b.example"));
    }

    #[test]
    fn a_wildcard_is_issued_for_one_label() {
        let (chain, key) = pair(&["*.a.example"]);
        let loaded = ServerCertificate::from_pem(&text("chain", &chain), &text("key", &key));
        let loaded = loaded.unwrap();
        for (name, expected) in [
            ("*.a.example", true),
            ("b.a.example", true),
            ("a.example", false),
            ("c.b.a.example", false),
            ("*.b.a.example", false),
            ("b.a.example.org", false),
        ] {
            assert_eq!(loaded.is_issued_for(name), expected, "{name}");
        }
    }

    #[test]
    fn the_self_signed_certificate_stays_until_it_has_to_go() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let at = |days: u64| {
            let now = Duration::from_secs(1_800_000_000) + DAY * u32::try_from(days).unwrap();
            ServerCertificate::self_signed_at(folder.path(), &names, now).unwrap()
        };
        let created = |reason: &str| SelfSigned::Created { reason: reason.to_owned() };
        let (first, origin) = at(0);
        assert_eq!(origin, created("there is no complete pair yet"));
        let (second, origin) = at(793);
        assert_eq!((second.fingerprint(), origin), (first.fingerprint(), SelfSigned::Reused));
        let (third, origin) = at(794);
        assert_eq!(origin, created("the one there ends within 30 days or has ended"));
        assert_ne!(third.fingerprint(), first.fingerprint());

        let key = folder.path().join(SELF_SIGNED_KEY);
        let mode = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "nothing unfinished is left");

        // As after a crash between the two files.
        fs::write(&key, pair(&["x"]).1).unwrap();
        let (_, origin) = at(795);
        assert!(origin.to_string().contains("does not belong"), "{origin}");
        fs::write(folder.path().join(SELF_SIGNED_CERTIFICATE), "gibberish").unwrap();
        let (_, origin) = at(795);
        assert!(origin.to_string().contains("contains no certificate"), "{origin}");
        assert_eq!(at(796).1, SelfSigned::Reused);
    }
}
