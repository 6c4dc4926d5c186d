//! Which client certificates are accepted: those issued by a configured CA, and those the operator
//! has listed by fingerprint. One is requested only if either is configured, and never required.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::asn1_rs::ToDer;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::TlsSetupError;
use super::certificate::{PemText, sha256_fingerprint};
use super::error::explain;
use crate::protocol::distinguished_name::{Attribute, AttributeValue, DistinguishedName};

/// A client's certificate that was accepted; the client has proved to hold its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the certificate (DER).
    pub sha256: [u8; 32],
    /// Its subject.
    pub subject: DistinguishedName,
    /// A configured CA vouches for it. If not, its fingerprint is listed.
    pub chain_verified: bool,
}

impl ClientCertificate {
    pub(super) fn new(end_entity: &CertificateDer<'_>, trusted: Trusted) -> Self {
        let subject = X509Certificate::from_der(end_entity)
            .map(|(_, certificate)| subject_of(certificate.subject()))
            .unwrap_or_default();
        Self {
            sha256: sha256_fingerprint(end_entity),
            subject,
            chain_verified: trusted == Trusted::Chain,
        }
    }
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
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
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
        roots.add(certificate).map_err(|error| refused(explain(&error)))?;
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

fn subject_of(name: &X509Name<'_>) -> DistinguishedName {
    let relative = name.iter_rdn().map(|rdn| rdn.iter().map(attribute_of).collect());
    DistinguishedName::from_certificate(relative.collect())
}

fn attribute_of(attribute: &AttributeTypeAndValue<'_>) -> Attribute {
    let value = match attribute.as_str() {
        Ok(text) => AttributeValue::Text(text.to_owned()),
        Err(_) => AttributeValue::Encoded(attribute.attr_value().to_der_vec().unwrap_or_default()),
    };
    Attribute { oid: attribute.attr_type().to_id_string(), value }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn subjects_are_read_as_they_are() {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "A, B+C \"x\"\\");
        params.distinguished_name.push(DnType::CommonName, "#eve\nCN=root ");
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap();
        let certificate = ClientCertificate::new(der.der(), Trusted::Fingerprint);
        let expected = r#"CN=\#eve\0aCN=root\ ,O=A\, B\+C \"x\"\\"#;
        assert_eq!(certificate.subject.to_string(), expected);
        assert_eq!(certificate.subject, expected.parse().unwrap());
        assert!(!certificate.chain_verified);
    }
}
