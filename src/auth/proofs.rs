//! Passwords that were right a while ago, so that clients which come back cost no hash. What is
//! kept are two keyed digests: one of the client's address and the name, by which it is found, and
//! one of these, the password and the account's hash. They are of no use without the key, which the
//! process draws at random for each shard, and no longer right when the account's hash is another.
//!
//! To ask is cheap, and so would guessing be. So a proof answers the address it came from alone,
//! and is forgotten after some wrong passwords: those who guess pay with hashes. Sans-io: time is
//! an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use aws_lc_rs::{constant_time, hmac};

use super::ClientNetwork;
use crate::limits::{PROOF_MISSES_MAX, PROOFS_PER_SHARD_MAX};

/// HMAC-SHA-256.
type Mac = [u8; 32];

/// That a name and a password were right for an account's hash, at an address.
#[derive(Clone, Copy)]
pub struct PasswordProof {
    /// Of address and name.
    slot: Mac,
    /// Of address, name, hash and password.
    mac: Mac,
}

impl fmt::Debug for PasswordProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordProof(…)")
    }
}

/// The proofs one shard remembers.
pub struct Proofs {
    /// `None` when nothing is to be remembered, or there was no randomness for a key.
    key: Option<hmac::Key>,
    lifetime: Duration,
    known: BTreeMap<Mac, Known>,
    /// Those of `known`, the next to be forgotten first.
    ends: BTreeSet<(Instant, Mac)>,
}

struct Known {
    mac: Mac,
    end: Instant,
    /// Wrong passwords since it was remembered.
    misses: u8,
}

impl Proofs {
    /// Each is remembered for `lifetime` after the log-in, and again after the end of the session;
    /// zero remembers none.
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = (!lifetime.is_zero())
            .then(|| hmac::Key::generate(hmac::HMAC_SHA256, &random).ok())
            .flatten();
        Self { key, lifetime, known: BTreeMap::new(), ends: BTreeSet::new() }
    }

    /// From `now` on each is remembered for `lifetime`. Those there are not remembered for longer
    /// than that; zero forgets all.
    pub fn set_lifetime(&mut self, lifetime: Duration, now: Instant) {
        if lifetime == self.lifetime {
            return;
        }
        if lifetime.is_zero() || self.key.is_none() {
            *self = Self::new(lifetime);
            return;
        }
        self.lifetime = lifetime;
        let latest = now + lifetime;
        while let Some((end, slot)) = self.ends.last().copied().filter(|(end, _)| *end > latest) {
            self.ends.remove(&(end, slot));
            self.ends.insert((latest, slot));
            if let Some(known) = self.known.get_mut(&slot) {
                known.end = latest;
            }
        }
    }

    /// The proof that `password` would be for `name` with the stored `hash`, at `network`.
    pub(super) fn proof(
        &self,
        network: ClientNetwork,
        name: &[u8],
        password: &[u8],
        hash: &str,
    ) -> Option<PasswordProof> {
        let key = self.key.as_ref()?;
        let mut slot = hmac::Context::with_key(key);
        let address = network.first_address().to_string();
        add(&mut slot, address.as_bytes());
        add(&mut slot, name);
        let mut mac = slot.clone();
        // Not a prefix of the other: both have a third part, and this one is of another length.
        add(&mut slot, b"");
        add(&mut mac, hash.as_bytes());
        add(&mut mac, password);
        Some(PasswordProof { slot: octets(slot)?, mac: octets(mac)? })
    }

    /// Whether it is remembered. If another one is, for this name at this address, that counts as a
    /// wrong password; after [`PROOF_MISSES_MAX`] it is forgotten.
    pub(super) fn is_known(&mut self, proof: &PasswordProof, now: Instant) -> bool {
        // Slots are compared octet by octet, so the time shows whether there is one: to a client at
        // the same address, that this name has logged in from there. No client can choose a slot,
        // so the time says nothing of the others.
        let Some(known) = self.known.get_mut(&proof.slot).filter(|known| known.end > now) else {
            return false;
        };
        let right = constant_time::verify_slices_are_equal(&known.mac, &proof.mac).is_ok();
        if !right {
            known.misses += 1;
            if known.misses >= PROOF_MISSES_MAX {
                self.forget(&proof.slot);
            }
        }
        right
    }

    /// Remembers it from `now` on. The one whose time is over next goes when there are
    /// [`PROOFS_PER_SHARD_MAX`].
    pub fn remember(&mut self, proof: &PasswordProof, now: Instant) {
        if self.key.is_none() {
            return;
        }
        self.forget(&proof.slot);
        while let Some((end, slot)) = self.ends.first().copied() {
            if end > now && self.ends.len() < PROOFS_PER_SHARD_MAX {
                break;
            }
            self.forget(&slot);
        }
        let end = now + self.lifetime;
        self.known.insert(proof.slot, Known { mac: proof.mac, end, misses: 0 });
        self.ends.insert((end, proof.slot));
    }

    fn forget(&mut self, slot: &Mac) {
        if let Some(known) = self.known.remove(slot) {
            self.ends.remove(&(known.end, *slot));
        }
    }
}

/// With its length, so that no two lists of parts are the same octets.
fn add(context: &mut hmac::Context, part: &[u8]) {
    context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(part);
}

fn octets(context: hmac::Context) -> Option<Mac> {
    context.sign().as_ref().try_into().ok()
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn network(last: u8) -> ClientNetwork {
        ClientNetwork::of([192, 0, 2, last].into())
    }

    fn proof(proofs: &Proofs, password: &str) -> PasswordProof {
        proofs.proof(network(1), b"alice", password.as_bytes(), "$5$a").unwrap()
    }

    #[test]
    fn a_proof_is_of_address_name_password_and_hash() {
        let mut proofs = Proofs::new(MINUTE);
        let now = crate::clock::now();
        let right = proof(&proofs, "secret");
        proofs.remember(&right, now);
        let known = |proofs: &mut Proofs, last: u8, name: &str, password: &str, hash: &str| {
            let proof = proofs.proof(network(last), name.as_bytes(), password.as_bytes(), hash);
            proofs.is_known(&proof.unwrap(), now)
        };
        for (last, name, password, hash, expected) in [
            (1, "alice", "secret", "$5$a", true),
            (2, "alice", "secret", "$5$a", false),
            (1, "alicf", "secret", "$5$a", false),
            (1, "alice", "secreT", "$5$a", false),
            (1, "alice", "secret", "$5$b", false),
            (1, "alic", "secret", "e$5$a", false),
            (1, "alice", "asecret", "$5$", false),
            (1, "alice", "secret", "$5$a", true),
        ] {
            let got = known(&mut proofs, last, name, password, hash);
            assert_eq!(got, expected, "{last} {name} {password} {hash}");
        }
        let other = Proofs::new(MINUTE);
        assert_ne!(proof(&other, "secret").mac, right.mac, "the same key twice");
        assert_ne!(proof(&other, "secret").slot, right.slot, "the same key twice");
        assert_eq!(format!("{right:?}"), "PasswordProof(…)");
    }

    /// Guessing costs as many hashes as with nothing remembered, and delays no other address.
    #[test]
    fn wrong_passwords_have_it_forgotten() {
        let mut proofs = Proofs::new(MINUTE);
        let now = crate::clock::now();
        let right = proof(&proofs, "secret");
        proofs.remember(&right, now);
        for _ in 0..100 {
            let stranger = proofs.proof(network(2), b"alice", b"guess", "$5$a").unwrap();
            assert!(!proofs.is_known(&stranger, now));
        }
        let wrong = proof(&proofs, "guess");
        for _ in 1..PROOF_MISSES_MAX {
            assert!(!proofs.is_known(&wrong, now));
            assert!(proofs.is_known(&right, now));
        }
        assert!(!proofs.is_known(&wrong, now));
        assert!(!proofs.is_known(&right, now));
        assert!(proofs.known.is_empty() && proofs.ends.is_empty());
        proofs.remember(&right, now);
        assert!(proofs.is_known(&right, now));
    }

    #[test]
    fn it_is_remembered_for_its_time() {
        let start = crate::clock::now();
        let mut proofs = Proofs::new(MINUTE);
        let proof = proof(&proofs, "secret");
        assert!(!proofs.is_known(&proof, start));
        proofs.remember(&proof, start);
        assert!(proofs.is_known(&proof, start + MINUTE - Duration::from_millis(1)));
        assert!(!proofs.is_known(&proof, start + MINUTE));
        // Again at the end of the session.
        proofs.remember(&proof, start + 5 * MINUTE);
        assert!(proofs.is_known(&proof, start + 5 * MINUTE));
        assert_eq!((proofs.known.len(), proofs.ends.len()), (1, 1));
    }

    #[test]
    fn they_are_bounded_and_the_oldest_goes() {
        let start = crate::clock::now();
        let mut proofs = Proofs::new(MINUTE);
        let nth = |proofs: &Proofs, n: usize| {
            proofs.proof(network(1), &n.to_be_bytes(), b"secret", "$5$a").unwrap()
        };
        for n in 0..PROOFS_PER_SHARD_MAX + 5 {
            let proof = nth(&proofs, n);
            proofs.remember(&proof, start + Duration::from_micros(n as u64));
        }
        assert_eq!(proofs.known.len(), PROOFS_PER_SHARD_MAX);
        let (fourth, fifth) = (nth(&proofs, 4), nth(&proofs, 5));
        assert!(!proofs.is_known(&fourth, start) && proofs.is_known(&fifth, start));
        // One session that ends again and again is one of them, and costs the others nothing.
        let one = nth(&proofs, 7);
        for n in 0..2 * PROOFS_PER_SHARD_MAX {
            proofs.remember(&one, start + MINUTE / 2 + Duration::from_micros(n as u64));
        }
        assert_eq!(proofs.ends.len(), PROOFS_PER_SHARD_MAX);
        assert!(proofs.is_known(&one, start + MINUTE) && proofs.is_known(&fifth, start));
    }

    #[test]
    fn a_shorter_lifetime_is_also_that_of_what_is_remembered() {
        let start = crate::clock::now();
        let mut proofs = Proofs::new(10 * MINUTE);
        let (early, late) = (proof(&proofs, "secret"), {
            proofs.proof(network(2), b"alice", b"secret", "$5$a").unwrap()
        });
        proofs.remember(&early, start);
        proofs.remember(&late, start + 9 * MINUTE);
        let now = start + 9 * MINUTE + MINUTE / 2;
        proofs.set_lifetime(MINUTE, now);
        assert!(proofs.is_known(&early, start + 10 * MINUTE - Duration::from_millis(1)));
        assert!(!proofs.is_known(&early, start + 10 * MINUTE));
        assert!(proofs.is_known(&late, now + MINUTE - Duration::from_millis(1)));
        assert!(!proofs.is_known(&late, now + MINUTE));
        assert_eq!((proofs.known.len(), proofs.ends.len()), (2, 2));
        // A longer one makes nothing older.
        proofs.set_lifetime(10 * MINUTE, now);
        assert!(!proofs.is_known(&late, now + MINUTE));
        proofs.set_lifetime(Duration::ZERO, now);
        assert!(proofs.known.is_empty() && proofs.ends.is_empty());
        assert!(proofs.proof(network(1), b"alice", b"secret", "$5$a").is_none());
        proofs.set_lifetime(MINUTE, now);
        assert!(proofs.proof(network(1), b"alice", b"secret", "$5$a").is_some());
    }

    #[test]
    fn a_lifetime_of_zero_remembers_nothing() {
        let proofs = Proofs::new(Duration::ZERO);
        assert!(proofs.proof(network(1), b"alice", b"secret", "$5$a").is_none());
    }
}
