//! A certificate authority of one test: ECDSA P-256, made anew for every server.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The authority, and the only one its clients and servers trust.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A chain of one and its key.
pub struct Identity {
    /// The certificate, DER.
    pub certificate: CertificateDer<'static>,
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM (PKCS#8).
    pub key_pem: String,
    key_der: Vec<u8>,
}

impl Identity {
    /// The key as rustls wants it.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key_der.clone().into())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A fresh authority.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "ringftpd test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// The authority's own certificate, PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's own certificate, DER.
    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A server certificate for the loopback addresses and the names tests use.
    pub fn server(&self) -> Identity {
        self.sign(&server_parameters())
    }

    /// A server certificate for these names, and for 127.0.0.1.
    pub fn server_for(&self, names: &[&str]) -> Identity {
        let mut all: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        all.push("127.0.0.1".to_owned());
        let subject = [(DnType::CommonName, names[0])];
        self.sign(&parameters(all, &subject, ExtendedKeyUsagePurpose::ServerAuth))
    }

    /// That of [`Self::server`], expired long ago.
    pub fn expired_server(&self) -> Identity {
        let mut params = server_parameters();
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.sign(&params)
    }

    /// A client certificate with the subject `CN=name`.
    pub fn client(&self, name: &str) -> Identity {
        let subject = [(DnType::CommonName, name)];
        let names = vec![name.to_owned()];
        self.sign(&parameters(names, &subject, ExtendedKeyUsagePurpose::ClientAuth))
    }

    /// A client certificate with these parts of its subject, most general first.
    pub fn client_named(&self, subject: &[(DnType, &str)]) -> Identity {
        self.sign(&parameters(Vec::new(), subject, ExtendedKeyUsagePurpose::ClientAuth))
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }
}

fn server_parameters() -> CertificateParams {
    let names = ["localhost", "ftp.example.test", "127.0.0.1", "::1"].map(str::to_owned);
    let subject = [(DnType::CommonName, "localhost")];
    parameters(names.to_vec(), &subject, ExtendedKeyUsagePurpose::ServerAuth)
}

fn parameters(
    names: Vec<String>,
    subject: &[(DnType, &str)],
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.insert_extended_key_usage(usage);
    params
}
