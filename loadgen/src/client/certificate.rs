//! What a certificate says of its key and its issuer: as much of its DER (RFC 5280 §4.1) as that
//! takes. Octets in, words out; nothing is verified here.

/// `id-ecPublicKey`, RFC 5480 §2.1.1, and its curves; `rsaEncryption`, RFC 8017 appendix C;
/// `id-Ed25519`, RFC 8410 §3. Each with tag and length.
const EC: &[u8] = &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x06, 5, 0x2b, 0x81, 0x04, 0x00, 0x23];
const RSA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const ED25519: &[u8] = &[0x06, 3, 0x2b, 0x65, 0x70];

/// The kind of its key: `ECDSA P-256`, `RSA 2048` and the like; `unknown` for what is none of them.
#[must_use]
pub fn key_kind(der: &[u8]) -> &'static str {
    Parts::read(der).map_or("unknown", |parts| {
        let (algorithm, key) = (parts.algorithm, parts.key);
        if algorithm.starts_with(RSA) {
            // A BIT STRING of a SEQUENCE of modulus and exponent: a little more than the modulus.
            match key.len() {
                0..=120 => "RSA below 1024",
                121..=220 => "RSA 1024",
                221..=320 => "RSA 2048",
                321..=440 => "RSA 3072",
                441..=560 => "RSA 4096",
                _ => "RSA above 4096",
            }
        } else if let Some(curve) = algorithm.strip_prefix(EC) {
            match curve {
                P256 => "ECDSA P-256",
                P384 => "ECDSA P-384",
                P521 => "ECDSA P-521",
                _ => "ECDSA",
            }
        } else if algorithm == ED25519 {
            "Ed25519"
        } else {
            "unknown"
        }
    })
}

/// Whether it names itself as its issuer.
#[must_use]
pub fn is_its_own_issuer(der: &[u8]) -> bool {
    Parts::read(der).is_some_and(|parts| parts.issuer == parts.subject)
}

struct Parts<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    algorithm: &'a [u8],
    key: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        const INTEGER: u8 = 0x02;
        const BIT_STRING: u8 = 0x03;
        const SEQUENCE: u8 = 0x30;
        const VERSION: u8 = 0xa0;
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&VERSION) {
            rest = element(rest, VERSION)?.1;
        }
        rest = element(rest, INTEGER)?.1;
        rest = element(rest, SEQUENCE)?.1;
        let (issuer, rest) = element(rest, SEQUENCE)?;
        let (_, rest) = element(rest, SEQUENCE)?;
        let (subject, rest) = element(rest, SEQUENCE)?;
        let (info, _) = element(rest, SEQUENCE)?;
        let (algorithm, rest) = element(info, SEQUENCE)?;
        let (key, _) = element(rest, BIT_STRING)?;
        Some(Self { issuer, subject, algorithm, key })
    }
}

/// The contents of the element of kind `tag` that `der` begins with, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=127 => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first & 3))?;
            (octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::{is_its_own_issuer, key_kind};

    #[test]
    fn kinds_of_keys() {
        let made = |key: KeyPair| {
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let plain = made(KeyPair::generate().unwrap());
        assert_eq!(key_kind(&plain), "ECDSA P-256");
        assert!(is_its_own_issuer(&plain));
        assert_eq!(
            key_kind(&made(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap())),
            "ECDSA P-384"
        );
        assert_eq!(key_kind(&made(KeyPair::generate_for(&PKCS_ED25519).unwrap())), "Ed25519");
        for length in 0..plain.len() {
            let _ = (key_kind(&plain[..length]), is_its_own_issuer(&plain[..length]));
        }
        assert_eq!(key_kind(b"0\x84\xff\xff\xff\xff"), "unknown");
    }
}
