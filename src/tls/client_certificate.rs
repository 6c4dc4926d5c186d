//! Whose client certificates are accepted: those a configured CA vouches for, and those the
//! operator has listed by fingerprint. Requested only if there is one of the two, never demanded.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::{PemText, TlsSetupError};

/// A client's certificate that was accepted; the client has proved to hold its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate (DER).
    pub sha256: [u8; 32],
    /// Subject as text (RFC 4514), most specific part first. Empty if it cannot be read.
    pub subject: String,
    /// A configured CA vouches for it. If not, its fingerprint is listed.
    pub chain_verified: bool,
}

impl ClientCertificate {
    pub(super) fn new(end_entity: &CertificateDer<'_>, trusted: Trusted) -> Self {
        let subject = X509Certificate::from_der(end_entity)
            .map(|(_, certificate)| subject_text(certificate.subject()))
            .unwrap_or_default();
        Self {
            sha256: sha256_fingerprint(end_entity),
            subject,
            chain_verified: trusted == Trusted::Chain,
        }
    }
}

/// SHA-256 of a certificate (DER), the fingerprint people compare.
#[must_use]
pub fn sha256_fingerprint(der: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    fingerprint
}

/// Checks that client certificates could be verified with these CAs.
///
/// # Errors
///
/// Names the origin and the cause.
pub fn check_client_ca(text: &PemText) -> Result<(), TlsSetupError> {
    ca_verifier(text, &Arc::new(rustls::crypto::aws_lc_rs::default_provider())).map(drop)
}

/// Why a client certificate is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    Chain,
    Fingerprint,
}

/// The operator's rules for client certificates.
#[derive(Debug)]
pub(super) struct ClientTrust {
    ca: Option<Arc<dyn ClientCertVerifier>>,
    fingerprints: BTreeSet<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ClientTrust {
    /// `None` when no client certificate could ever be accepted.
    pub(super) fn new(
        ca: Option<&PemText>,
        fingerprints: BTreeSet<[u8; 32]>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Self>, TlsSetupError> {
        let ca = ca.map(|text| ca_verifier(text, provider)).transpose()?;
        if ca.is_none() && fingerprints.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { ca, fingerprints, provider: provider.clone() }))
    }

    /// Whether and why the certificate is accepted at `unix_time`. A listed fingerprint is enough,
    /// also for a certificate that has expired: the list is what the operator trusts.
    pub(super) fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        unix_time: Duration,
    ) -> Result<Trusted, Error> {
        let now = UnixTime::since_unix_epoch(unix_time);
        let refused = match &self.ca {
            Some(ca) => match ca.verify_client_cert(end_entity, intermediates, now) {
                Ok(_) => return Ok(Trusted::Chain),
                Err(error) => error,
            },
            None => Error::InvalidCertificate(CertificateError::UnknownIssuer),
        };
        if self.fingerprints.contains(&sha256_fingerprint(end_entity)) {
            return Ok(Trusted::Fingerprint);
        }
        Err(refused)
    }
}

impl ClientCertVerifier for ClientTrust {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints when fingerprints are listed: clients take hints as "send none but these".
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.ca {
            Some(ca) if self.fingerprints.is_empty() => ca.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity, intermediates, Duration::from_secs(now.as_secs()))
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn ca_verifier(
    text: &PemText,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsSetupError> {
    let refused = |cause: String| TlsSetupError::ClientCa { origin: text.origin.clone(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text.pem) {
        let certificate = certificate.map_err(|error| refused(error.to_string()))?;
        roots.add(certificate).map_err(|error| refused(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(refused("the PEM text has no section \"-----BEGIN CERTIFICATE-----\"".into()));
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    verifier
        .map(|verifier| verifier as Arc<dyn ClientCertVerifier>)
        .map_err(|error| refused(error.to_string()))
}

/// RFC 4514: relative names in reverse, attributes of one joined by `+`, specials escaped, so that
/// no value can pass for another attribute, nor break a log line.
fn subject_text(name: &X509Name<'_>) -> String {
    let mut names: Vec<String> = name
        .iter_rdn()
        .map(|rdn| rdn.iter().map(attribute_text).collect::<Vec<_>>().join("+"))
        .collect();
    names.reverse();
    names.join(",")
}

fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let mut text = match oid2abbrev(oid, oid_registry()) {
        Ok(abbreviation) => abbreviation.to_owned(),
        Err(_) => oid.to_id_string(),
    };
    text.push('=');
    let Ok(value) = attribute.as_str() else {
        text.push('#');
        for octet in attribute.attr_value().data {
            let _ = write!(text, "{octet:02x}");
        }
        return text;
    };
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => {
                text.push('\\');
                text.push(character);
            }
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            _ if character.is_control() => {
                for octet in character.encode_utf8(&mut [0; 4]).bytes() {
                    let _ = write!(text, "\\{octet:02x}");
                }
            }
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn subjects_are_written_as_rfc4514() {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "A, B+C \"x\"\\");
        params.distinguished_name.push(DnType::CommonName, "#eve\nCN=root ");
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let certificate = ClientCertificate::new(der.der(), Trusted::Fingerprint);
        assert_eq!(certificate.subject, r#"CN=\#eve\0aCN\=root\ ,O=A\, B\+C \"x\"\\"#);
        assert!(!certificate.chain_verified);
    }
}
