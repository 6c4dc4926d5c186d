//! The hashes of the suites, and HMAC, HKDF and the PRF of TLS 1.2 over them, by the crates `sha2`
//! and `hmac`.
//!
//! A handshake derives some thirty values, each from one or two blocks. In aws-lc, which does
//! everything else, the hashing itself is half of what that costs: each value prepares its key
//! again, and contexts as wide as the widest hash are made, copied and wiped through several
//! layers. Here a key is prepared once and copied as a value.

use std::marker::PhantomData;

use hmac::{Hmac, KeyInit, Mac};
use rustls::crypto::hash::{self, Hash, HashAlgorithm};
use rustls::crypto::hmac::{self as rustls_hmac, Key, Tag};
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};
use sha2::digest::FixedOutput;
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroizing;

/// For the suites with SHA-256, and for our own keys.
pub(super) static SHA256: HashOf<Sha256> = HashOf(PhantomData);

/// For the suites with SHA-384.
pub(super) static SHA384: HashOf<Sha384> = HashOf(PhantomData);

/// What rustls is told of the function `H`.
pub(super) struct HashOf<H>(PhantomData<fn() -> H>);

/// A hash function of the suites.
pub(super) trait SuiteHash: Digest + Clone + Send + Sync + 'static {
    /// As TLS names it.
    const ALGORITHM: HashAlgorithm;

    /// HMAC over it.
    type Hmac: Mac + KeyInit + FixedOutput + Clone + Send + Sync;
}

impl SuiteHash for Sha256 {
    const ALGORITHM: HashAlgorithm = HashAlgorithm::SHA256;

    type Hmac = Hmac<Self>;
}

impl SuiteHash for Sha384 {
    const ALGORITHM: HashAlgorithm = HashAlgorithm::SHA384;

    type Hmac = Hmac<Self>;
}

impl<H: SuiteHash> Hash for HashOf<H> {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Context(H::new()))
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        hash::Output::new(&H::digest(data))
    }

    fn output_len(&self) -> usize {
        <H as Digest>::output_size()
    }

    fn algorithm(&self) -> HashAlgorithm {
        H::ALGORITHM
    }
}

struct Context<H>(H);

impl<H: SuiteHash> hash::Context for Context<H> {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Self(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

/// HMAC (RFC 2104) under one key: the state behind the key's block.
struct Keyed<H: SuiteHash>(H::Hmac);

impl<H: SuiteHash> Keyed<H> {
    fn new(key: &[u8]) -> Self {
        Self(<H::Hmac as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// `block` is as long as the hash.
    fn sign_into(&self, first: &[u8], middle: &[&[u8]], last: &[u8], block: &mut [u8]) {
        let mut mac = self.0.clone();
        mac.update(first);
        middle.iter().for_each(|part| mac.update(part));
        mac.update(last);
        let block = block.try_into().expect("room for one hash");
        mac.finalize_into(block);
    }
}

impl<H: SuiteHash> Key for Keyed<H> {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> Tag {
        let mut block = Zeroizing::new([0; Tag::MAX_LEN]);
        let block = &mut block[..self.tag_len()];
        self.sign_into(first, middle, last, block);
        Tag::new(block)
    }

    fn tag_len(&self) -> usize {
        <H as Digest>::output_size()
    }
}

/// For [`PrfUsingHmac`](rustls::crypto::tls12::PrfUsingHmac).
impl<H: SuiteHash> rustls_hmac::Hmac for HashOf<H> {
    fn with_key(&self, key: &[u8]) -> Box<dyn Key> {
        Box::new(Keyed::<H>::new(key))
    }

    fn hash_output_len(&self) -> usize {
        <H as Digest>::output_size()
    }
}

/// RFC 5869, as RFC 8446 §7.1 uses it.
impl<H: SuiteHash> Hkdf for HashOf<H> {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.extract_from_secret(salt, &[0; OkmBlock::MAX_LEN][..<H as Digest>::output_size()])
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        // No salt is as many zeros as the hash has octets: HMAC fills a short key up with them.
        let extracted = Keyed::<H>::new(salt.unwrap_or_default()).sign(&[secret]);
        Box::new(Keyed::<H>::new(extracted.as_ref()))
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        Box::new(Keyed::<H>::new(okm.as_ref()))
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        Keyed::<H>::new(key.as_ref()).sign(&[message])
    }
}

impl<H: SuiteHash> HkdfExpander for Keyed<H> {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        let mut block = Zeroizing::new([0; OkmBlock::MAX_LEN]);
        let block = &mut block[..<H as Digest>::output_size()];
        let mut before = Zeroizing::new([0; OkmBlock::MAX_LEN]);
        let mut length = 0;
        for (index, part) in output.chunks_mut(block.len()).enumerate() {
            let number = u8::try_from(index + 1).map_err(|_| OutputLengthError)?;
            self.sign_into(&before[..length], info, &[number], block);
            part.copy_from_slice(&block[..part.len()]);
            length = block.len();
            before[..length].copy_from_slice(block);
        }
        Ok(())
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let mut block = Zeroizing::new([0; OkmBlock::MAX_LEN]);
        let block = &mut block[..<H as Digest>::output_size()];
        self.sign_into(&[], info, &[1], block);
        OkmBlock::new(block)
    }

    fn hash_len(&self) -> usize {
        <H as Digest>::output_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::{digest, hkdf, hmac, rand};
    use rustls::crypto::tls12::{Prf, PrfUsingHmac};

    struct Length(usize);

    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }

    /// Each function says what aws-lc says, for inputs of every length about a block.
    fn agrees<H: SuiteHash>(
        ours: &'static HashOf<H>,
        digest: &'static digest::Algorithm,
        mac: hmac::Algorithm,
        hkdf: hkdf::Algorithm,
    ) {
        let mut octets = [0; 300];
        rand::fill(&mut octets).unwrap();
        let mut context = ours.start();
        for length in 0..octets.len() {
            let (data, rest) = octets.split_at(length);
            let expected = digest::digest(digest, data);
            assert_eq!(ours.hash(data).as_ref(), expected.as_ref());
            assert_eq!(context.fork_finish().as_ref(), expected.as_ref());
            assert_eq!(context.fork().finish().as_ref(), expected.as_ref());
            context.update(&rest[..1]);

            let tag = hmac::sign(&hmac::Key::new(mac, data), rest);
            let key = rustls_hmac::Hmac::with_key(ours, data);
            assert_eq!(key.sign(&[rest]).as_ref(), tag.as_ref());
            let (first, last) = rest.split_at(rest.len() / 2);
            assert_eq!(key.sign_concat(first, &[&[], last], &[]).as_ref(), tag.as_ref());

            let prk = hkdf::Salt::new(hkdf, data).extract(rest);
            let expander = ours.extract_from_secret(Some(data), rest);
            let mut expected = vec![0; length + 1];
            let info: [&[u8]; 2] = [data, rest];
            prk.expand(&info, Length(expected.len())).unwrap().fill(&mut expected).unwrap();
            let mut output = vec![0; length + 1];
            expander.expand_slice(&info, &mut output).unwrap();
            assert_eq!(output, expected);
            let block = expander.expand_block(&info);
            assert_eq!(block.as_ref().len(), expander.hash_len());
            let shared = block.as_ref().len().min(output.len());
            assert_eq!(block.as_ref()[..shared], output[..shared]);
            let of_okm = ours.expander_for_okm(&block).expand_block(&[b"again"]);
            let expected = hmac::sign(&hmac::Key::new(mac, block.as_ref()), b"again\x01");
            assert_eq!(of_okm.as_ref(), expected.as_ref());
            assert_eq!(ours.hmac_sign(&block, b"again\x01").as_ref(), expected.as_ref());
        }
        let zeros = vec![0; digest.output_len()];
        for salt in [None, Some(&zeros[..])] {
            let expected = ours.extract_from_secret(Some(&zeros), &zeros).expand_block(&[]);
            let zero = ours.extract_from_zero_ikm(salt).expand_block(&[]);
            assert_eq!(zero.as_ref(), expected.as_ref());
        }
        let expander = ours.extract_from_secret(None, b"secret");
        let most = 255 * expander.hash_len();
        expander.expand_slice(&[], &mut vec![0; most]).unwrap();
        expander.expand_slice(&[], &mut vec![0; most + 1]).unwrap_err();
    }

    #[test]
    fn as_aws_lc() {
        agrees(&SHA256, &digest::SHA256, hmac::HMAC_SHA256, hkdf::HKDF_SHA256);
        agrees(&SHA384, &digest::SHA384, hmac::HMAC_SHA384, hkdf::HKDF_SHA384);
    }

    /// RFC 5869 §A.1.
    #[test]
    fn a_test_case_of_hkdf() {
        let salt: Vec<u8> = (0..=0x0c).collect();
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let mut output = [0; 42];
        let expander = SHA256.extract_from_secret(Some(&salt), &[0x0b; 22]);
        expander.expand_slice(&[&info[..3], &info[3..]], &mut output).unwrap();
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf\
                        34007208d5b887185865";
        assert_eq!(crate::protocol::hexadecimal::lower(&output), expected);
    }

    /// P_SHA256 for `test label` (mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/),
    /// its first block.
    #[test]
    fn a_test_case_of_the_prf() {
        let hexadecimal =
            |text: &str| crate::protocol::hexadecimal::decode(text.as_bytes()).unwrap();
        let secret = hexadecimal("9bbe436ba940f017b17652849a71db35");
        let seed = hexadecimal("a0ba9f936cda311827a6f796ffd5198c");
        let mut output = [0; 32];
        PrfUsingHmac(&SHA256).for_secret(&mut output, &secret, b"test label", &seed);
        let expected = "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a";
        assert_eq!(crate::protocol::hexadecimal::lower(&output), expected);
    }
}
