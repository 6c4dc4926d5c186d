//! Keys of session tickets: the same secrets for all shards, a fresh key per time step, no shared
//! state.
//!
//! A ticket is `step (8) || nonce (12) || AES-256-GCM(session id (16) || user (8) || server name
//! (8) || rustls' session)`, the step being additional data. The key of a step is HKDF-SHA256 of a
//! secret and the step, so every shard, and every node of a cluster, derives the same one, and none
//! has to tell another.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand;
use bytes::BufMut;
use rustls::crypto::tls13::{Hkdf, HkdfExpander};
use zeroize::Zeroizing;

use super::control_session::{Mark, SessionId, TicketOrigin};
use super::hashes::SHA256;
use super::ticket_secrets::TicketSecrets;

/// RFC 8446 §4.6.1.
pub(super) const TICKET_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const STEP_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const AES_256_KEY_BYTES: usize = 32;
/// Octets of a ticket around rustls' session.
const OVERHEAD_BYTES: usize =
    STEP_BYTES + NONCE_BYTES + SessionId::BYTES + 2 * Mark::BYTES + TAG_BYTES;

const LABEL: &[u8] = b"ringftpd session ticket";

/// Steps a lifetime is divided into. A ticket is good for its own step and this many later ones,
/// so for one lifetime at least and one and a half at most.
const STEPS_PER_LIFETIME: u64 = 2;

/// Where all ticket keys come from.
pub(super) struct TicketKeys {
    /// The first seals.
    roots: Vec<Box<dyn HkdfExpander>>,
    step_seconds: u64,
}

/// The key of one time step.
pub(super) struct StepKey {
    step: u64,
    key: LessSafeKey,
}

/// What a ticket held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenedTicket {
    /// The control session it belongs to.
    pub(super) origin: TicketOrigin,
    /// rustls' part.
    pub(super) session: Vec<u8>,
    /// Its lifetime is over.
    pub(super) expired: bool,
}

/// Why a ticket was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TicketRefused {
    /// Of a step that is long over or far from having come, or of another secret.
    ExpiredOrUnknownKey,
    /// No ticket of ours has this shape.
    Malformed,
}

impl TicketKeys {
    /// `lifetime` is at least two seconds; [`ServerTls`](super::ServerTls) has checked it.
    pub(super) fn new(secrets: &TicketSecrets, lifetime: Duration) -> Self {
        let extract = |secret: &[u8; 32]| SHA256.extract_from_secret(Some(LABEL), secret);
        let roots = secrets.iter().map(extract).collect();
        Self { roots, step_seconds: (lifetime.as_secs() / STEPS_PER_LIFETIME).max(1) }
    }

    /// The key new tickets are sealed with at `unix_time`.
    pub(super) fn current(&self, unix_time: Duration) -> Option<StepKey> {
        of_step(self.roots.first()?.as_ref(), unix_time.as_secs() / self.step_seconds)
    }

    /// Opens a ticket. One that has expired is opened, too, up to the age that no ticket may have.
    pub(super) fn open(
        &self,
        unix_time: Duration,
        ticket: &[u8],
    ) -> Result<OpenedTicket, TicketRefused> {
        let (step, rest) =
            ticket.split_first_chunk::<STEP_BYTES>().ok_or(TicketRefused::Malformed)?;
        let (nonce, sealed) =
            rest.split_first_chunk::<NONCE_BYTES>().ok_or(TicketRefused::Malformed)?;
        if ticket.len() < OVERHEAD_BYTES {
            return Err(TicketRefused::Malformed);
        }
        let refused = TicketRefused::ExpiredOrUnknownKey;
        // The clock of another node may be ahead, and this one's may have been put back.
        let now = unix_time.as_secs() / self.step_seconds;
        let age = (now + 1).checked_sub(u64::from_be_bytes(*step)).ok_or(refused)?;
        let age = age.saturating_sub(1);
        let expired = age > STEPS_PER_LIFETIME;
        if expired && age * self.step_seconds > TICKET_LIFETIME_MAX.as_secs() {
            return Err(refused);
        }
        let opened = self.roots.iter().find_map(|root| {
            let key = of_step(root.as_ref(), u64::from_be_bytes(*step))?.key;
            let (nonce, aad) = (Nonce::assume_unique_for_key(*nonce), Aad::from(*step));
            // What a wrong key makes of it is good for nothing.
            let mut octets = sealed.to_vec();
            let length = key.open_in_place(nonce, aad, &mut octets).ok()?.len();
            octets.truncate(length);
            Some(octets)
        });
        let plain = opened.ok_or(refused)?;
        let (id, rest) =
            plain.split_first_chunk::<{ SessionId::BYTES }>().ok_or(TicketRefused::Malformed)?;
        let (user, rest) =
            rest.split_first_chunk::<{ Mark::BYTES }>().ok_or(TicketRefused::Malformed)?;
        let (name, session) =
            rest.split_first_chunk::<{ Mark::BYTES }>().ok_or(TicketRefused::Malformed)?;
        let origin = TicketOrigin {
            id: SessionId::from_bytes(*id),
            user: Mark::from_bytes(*user),
            name: Mark::from_bytes(*name),
        };
        Ok(OpenedTicket { origin, session: session.to_vec(), expired })
    }
}

fn of_step(root: &dyn HkdfExpander, step: u64) -> Option<StepKey> {
    let mut key = Zeroizing::new([0; AES_256_KEY_BYTES]);
    root.expand_slice(&[&step.to_be_bytes()], &mut *key).ok()?;
    let key = UnboundKey::new(&AES_256_GCM, &*key).ok()?;
    Some(StepKey { step, key: LessSafeKey::new(key) })
}

impl StepKey {
    /// Seals a ticket of `session` for the control session `origin`. The nonce is random: a
    /// collision would need billions of tickets in one step.
    pub(super) fn seal(&self, origin: TicketOrigin, session: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(OVERHEAD_BYTES + session.len());
        ticket.put_u64(self.step);
        ticket.put_slice(&nonce);
        ticket.put_slice(origin.id.as_bytes());
        ticket.put_slice(&Mark::to_bytes(origin.user));
        ticket.put_slice(&Mark::to_bytes(origin.name));
        ticket.put_slice(session);
        let (head, plain) = ticket.split_at_mut(STEP_BYTES + NONCE_BYTES);
        let (aad, nonce) = (Aad::from(&head[..STEP_BYTES]), Nonce::assume_unique_for_key(nonce));
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, plain).ok()?;
        ticket.put_slice(tag.as_ref());
        Some(ticket)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys")
            .field("step_seconds", &self.step_seconds)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepKey").field("step", &self.step).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(1000);
    const ORIGIN: TicketOrigin = TicketOrigin {
        id: SessionId::from_bytes([7; 16]),
        user: Mark::from_bytes([9; 8]),
        name: Mark::from_bytes([8; 8]),
    };

    fn only(secret: u8) -> TicketSecrets {
        TicketSecrets::only([secret; 32])
    }

    /// The first secret seals, all open.
    #[test]
    fn several_secrets() {
        let now = Duration::from_secs(10_000);
        let both = TicketKeys::new(&only(1).and([2; 32]), LIFETIME);
        let [first, second] = [1, 2].map(|secret| TicketKeys::new(&only(secret), LIFETIME));
        let sealed =
            [&first, &second].map(|keys| keys.current(now).unwrap().seal(ORIGIN, b"s").unwrap());
        for ticket in &sealed {
            assert_eq!(both.open(now, ticket).unwrap().session, b"s");
        }
        let ticket = both.current(now).unwrap().seal(ORIGIN, b"s").unwrap();
        first.open(now, &ticket).unwrap();
        assert_eq!(second.open(now, &ticket), Err(TicketRefused::ExpiredOrUnknownKey));
    }

    #[track_caller]
    fn check(sealed_at: u64, opened_at: u64, expired: Result<bool, TicketRefused>) {
        let keys = TicketKeys::new(&only(1), LIFETIME);
        let ticket =
            keys.current(Duration::from_secs(sealed_at)).unwrap().seal(ORIGIN, b"session").unwrap();
        // Another shard derives its keys for itself.
        let other = TicketKeys::new(&only(1), LIFETIME);
        let opened = other.open(Duration::from_secs(opened_at), &ticket);
        let session = b"session".to_vec();
        assert_eq!(
            opened,
            expired.map(|expired| OpenedTicket { origin: ORIGIN, session, expired })
        );
    }

    #[test]
    fn tickets_live_for_their_lifetime_and_not_for_two() {
        check(10_000, 10_000, Ok(false));
        check(10_000, 11_000, Ok(false));
        check(10_499, 11_499, Ok(false));
        check(10_000, 11_500, Ok(true));
        check(10_499, 12_000, Ok(true));
        check(10_000, 10_000 + 604_800, Ok(true));
        check(10_000, 10_500 + 604_800, Err(TicketRefused::ExpiredOrUnknownKey));
        check(10_500, 10_499, Ok(false)); // the clock went back, or another node's is ahead
        check(11_000, 10_499, Err(TicketRefused::ExpiredOrUnknownKey));
        check(0, 0, Ok(false));
    }

    #[test]
    fn damaged_and_foreign_tickets_are_refused() {
        let keys = TicketKeys::new(&only(1), LIFETIME);
        let now = Duration::from_secs(10_000);
        let ticket = keys.current(now).unwrap().seal(ORIGIN, b"session").unwrap();
        let foreign = TicketKeys::new(&only(2), LIFETIME);
        assert_eq!(foreign.open(now, &ticket), Err(TicketRefused::ExpiredOrUnknownKey));
        for bit in 0..ticket.len() * 8 {
            let mut damaged = ticket.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            keys.open(now, &damaged).unwrap_err();
        }
        for length in 0..ticket.len() {
            keys.open(now, &ticket[..length]).unwrap_err();
        }
        assert_eq!(keys.open(now, b"short"), Err(TicketRefused::Malformed));
    }
}
