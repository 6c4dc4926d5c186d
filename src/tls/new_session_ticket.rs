//! Further tickets for a control session (RFC 8446 §4.6.1), whenever its client may be short of
//! them.
//!
//! rustls gives tickets at the end of the handshake and never again. A client that uses each ticket
//! once, as it should (§C.4), and keeps its control connection for hundreds of files would run out,
//! and could no longer be told from a stranger. So the values that rustls makes its tickets from
//! are kept, one copy per control session, and made into new tickets here; our record layer sends
//! them.
//!
//! Two things are needed, and both pass through what rustls is given of us: the session as rustls
//! encodes it goes through its ticketer (`probe`), and the resumption secret through HKDF
//! ([`ObservedHkdf`]). A new ticket is the old session with a new PSK instead of the old one.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand;
use bytes::BufMut;
use rustls::Error;
use rustls::crypto::ActiveKeyExchange;
use rustls::crypto::hmac::Tag;
use rustls::crypto::tls13::{Hkdf, HkdfExpander, OkmBlock, OutputLengthError};

use crate::limits::TLS_STORED_SESSION_BYTES_MAX;

thread_local! {
    /// What the last PSK of this thread was derived from. rustls derives it and has the ticket made
    /// in one call, so nothing comes between.
    static DERIVED: Cell<Option<Derived>> = const { Cell::new(None) };
}

const NEW_SESSION_TICKET: u8 = 4;

/// The label of a PSK in HKDF (RFC 8446 §7.1), in the two pieces that rustls passes.
const PREFIX: &[u8] = b"tls13 ";
const LABEL: &[u8] = b"resumption";
const PREFIXED_LABEL_BYTES: u8 = 16;
const _: () = assert!(PREFIX.len() + LABEL.len() == PREFIXED_LABEL_BYTES as usize);

const NONCE_BYTES: u8 = 8;
type Nonce = [u8; NONCE_BYTES as usize];

/// A PSK with the secret it comes from.
pub(super) struct Derived {
    hkdf: &'static dyn Hkdf,
    /// The resumption_master_secret (RFC 8446 §7.1).
    secret: OkmBlock,
    psk: OkmBlock,
}

impl Derived {
    /// What rustls has derived last on this thread, once.
    pub(super) fn take() -> Option<Self> {
        DERIVED.take()
    }
}

/// The source of further tickets of one control session.
pub(super) struct TicketSource {
    hkdf: &'static dyn Hkdf,
    secret: OkmBlock,
    /// As rustls encodes it. Its PSK is that of a ticket it has given itself.
    session: Box<[u8]>,
    /// Where the PSK is.
    psk: Range<usize>,
    /// Tickets made; the nonce of the next. rustls' own nonces are longer.
    made: AtomicU64,
}

/// The content of a ticket, and what its client needs beside it (RFC 8446 §4.6.1).
pub(super) struct Material {
    /// As rustls encodes it.
    pub(super) session: Vec<u8>,
    nonce: Nonce,
}

impl TicketSource {
    /// The source for the `session` that rustls is having a ticket made of, with the PSK it has
    /// just derived. `None` if the PSK is not found in it, or more than once, and for a session
    /// that is too large to keep.
    pub(super) fn of(Derived { hkdf, secret, psk }: Derived, session: &[u8]) -> Option<Self> {
        let psk = psk.as_ref();
        let mut found = session.windows(psk.len()).enumerate().filter(|(_, part)| *part == psk);
        let (at, _) = found.next().filter(|_| !psk.is_empty())?;
        let once = found.next().is_none() && session.len() <= TLS_STORED_SESSION_BYTES_MAX;
        once.then(|| Self {
            hkdf,
            secret,
            session: session.into(),
            psk: at..at + psk.len(),
            made: AtomicU64::new(0),
        })
    }

    /// What the next ticket is made of.
    pub(super) fn next(&self) -> Material {
        let nonce = self.made.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let psk = expand_label(self.hkdf, &self.secret, &nonce);
        let mut session = self.session.to_vec();
        session[self.psk.clone()].copy_from_slice(psk.as_ref());
        Material { session, nonce }
    }
}

impl Material {
    /// The message that brings `ticket` to the client. `None` without random numbers, or if the
    /// ticket is longer than a message can say.
    pub(super) fn message(&self, ticket: &[u8], lifetime_seconds: u32) -> Option<Vec<u8>> {
        // Not kept: only early data, which is not accepted, needs the age that the client reports.
        let mut age_add = [0; 4];
        rand::fill(&mut age_add).ok()?;
        let mut body = Vec::new();
        body.put_u32(lifetime_seconds);
        body.put_slice(&age_add);
        body.put_u8(NONCE_BYTES);
        body.put_slice(&self.nonce);
        body.put_u16(u16::try_from(ticket.len()).ok()?);
        body.put_slice(ticket);
        body.put_u16(0); // octets of extensions
        let mut message = Vec::new();
        message.put_u8(NEW_SESSION_TICKET);
        message.put_uint(u64::try_from(body.len()).ok()?, 3);
        message.put_slice(&body);
        Some(message)
    }
}

/// `HKDF-Expand-Label(secret, "resumption", nonce, Hash.length)` (RFC 8446 §4.6.1, §7.1).
fn expand_label(hkdf: &'static dyn Hkdf, secret: &OkmBlock, nonce: &Nonce) -> OkmBlock {
    let expander = hkdf.expander_for_okm(secret);
    let [.., high, low] = expander.hash_len().to_be_bytes();
    let label_bytes = [PREFIXED_LABEL_BYTES];
    expander.expand_block(&[&[high, low], &label_bytes, PREFIX, LABEL, &[NONCE_BYTES], nonce])
}

/// The HKDF of a suite, that keeps what the last PSK of a ticket was derived from.
pub(super) struct ObservedHkdf(pub(super) &'static dyn Hkdf);

impl Hkdf for ObservedHkdf {
    fn extract_from_zero_ikm(&self, salt: Option<&[u8]>) -> Box<dyn HkdfExpander> {
        self.0.extract_from_zero_ikm(salt)
    }

    fn extract_from_secret(&self, salt: Option<&[u8]>, secret: &[u8]) -> Box<dyn HkdfExpander> {
        self.0.extract_from_secret(salt, secret)
    }

    fn extract_from_kx_shared_secret(
        &self,
        salt: Option<&[u8]>,
        kx: Box<dyn ActiveKeyExchange>,
        peer_public_key: &[u8],
    ) -> Result<Box<dyn HkdfExpander>, Error> {
        self.0.extract_from_kx_shared_secret(salt, kx, peer_public_key)
    }

    fn expander_for_okm(&self, okm: &OkmBlock) -> Box<dyn HkdfExpander> {
        let expander = self.0.expander_for_okm(okm);
        Box::new(ListeningExpander { expander, hkdf: self.0, secret: okm.clone() })
    }

    fn hmac_sign(&self, key: &OkmBlock, message: &[u8]) -> Tag {
        self.0.hmac_sign(key, message)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct ListeningExpander {
    expander: Box<dyn HkdfExpander>,
    hkdf: &'static dyn Hkdf,
    secret: OkmBlock,
}

impl HkdfExpander for ListeningExpander {
    fn expand_slice(&self, info: &[&[u8]], output: &mut [u8]) -> Result<(), OutputLengthError> {
        self.expander.expand_slice(info, output)
    }

    fn expand_block(&self, info: &[&[u8]]) -> OkmBlock {
        let block = self.expander.expand_block(info);
        if info.contains(&LABEL) {
            DERIVED.set(Some(Derived {
                hkdf: self.hkdf,
                secret: self.secret.clone(),
                psk: block.clone(),
            }));
        }
        block
    }

    fn hash_len(&self) -> usize {
        self.expander.hash_len()
    }
}

impl fmt::Debug for TicketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketSource").field("made", &self.made).finish_non_exhaustive()
    }
}
