//! One TLS record sealed or opened: header, nonce, additional data, AEAD, for TLS 1.2 and 1.3
//! (RFC 5246 §6.2.3.3, RFC 5288, RFC 7905, RFC 8446 §5.2).
//!
//! Knows nothing of what a record means; that is [`Channel`](super::Channel)'s.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};

use super::TlsError;
use crate::limits::TLS_FRAGMENT_BYTES_MAX;

/// Octets of a record header.
pub(super) const HEADER_BYTES: usize = 5;
/// Content types (RFC 8446 §5.1).
pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Room that the content of any record fits into before it is judged: TLS 1.3 allows a body of
/// 2^14 + 256 octets (RFC 8446 §5.2), tag included.
pub(super) const OPEN_ROOM_BYTES: usize = TLS_FRAGMENT_BYTES_MAX + 256 - TAG_BYTES;

const TAG_BYTES: usize = 16;
const EXPLICIT_NONCE_BYTES: usize = 8;
const VERSION: [u8; 2] = [3, 3];

/// The header of a record, not yet judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Content type.
    pub(super) kind: u8,
    /// First octet of the legacy version; 3 in every TLS.
    pub(super) major: u8,
    /// Octets that follow the header.
    pub(super) length: usize,
}

impl Header {
    /// Reads the first [`HEADER_BYTES`]; `None` while there are fewer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[kind, major, _, high, low, ..] = bytes else { return None };
        Some(Self { kind, major, length: usize::from(u16::from_be_bytes([high, low])) })
    }
}

/// How a version and an AEAD lay out a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// RFC 8446 §5.2: content type inside, header as additional data.
    Tls13,
    /// RFC 5288 §3: eight octets of explicit nonce before the ciphertext.
    Tls12Gcm,
    /// RFC 7905 §2: nonce entirely implicit.
    Tls12ChaCha,
}

impl Format {
    /// Octets before the ciphertext.
    const fn head(self) -> usize {
        match self {
            Self::Tls13 | Self::Tls12ChaCha => HEADER_BYTES,
            Self::Tls12Gcm => HEADER_BYTES + EXPLICIT_NONCE_BYTES,
        }
    }

    /// Octets after the ciphertext of the content.
    const fn tail(self) -> usize {
        match self {
            Self::Tls13 => 1 + TAG_BYTES,
            Self::Tls12Gcm | Self::Tls12ChaCha => TAG_BYTES,
        }
    }

    /// Octets a record has beyond its content when we seal it (no padding).
    pub(super) const fn overhead(self) -> usize {
        self.head() + self.tail()
    }

    /// Largest record body allowed (RFC 8446 §5.2, RFC 5246 §6.2.3).
    pub(super) const fn body_max(self) -> usize {
        match self {
            Self::Tls13 => TLS_FRAGMENT_BYTES_MAX + 256,
            Self::Tls12Gcm | Self::Tls12ChaCha => TLS_FRAGMENT_BYTES_MAX + 2048,
        }
    }
}

/// Key, IV and record counter of one direction.
struct Direction {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    format: Format,
}

impl Direction {
    fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Result<Self, TlsError> {
        type Secrets = ConnectionTrafficSecrets;
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            Secrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            Secrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(TlsError::Internal("traffic secrets of an unknown AEAD")),
        };
        let format = match version {
            ProtocolVersion::TLSv1_3 => Format::Tls13,
            _ if *algorithm == CHACHA20_POLY1305 => Format::Tls12ChaCha,
            _ => Format::Tls12Gcm,
        };
        let key = UnboundKey::new(algorithm, key.as_ref())
            .map_err(|_| TlsError::Internal("traffic key of a wrong length"))?;
        let iv = iv
            .as_ref()
            .try_into()
            .map_err(|_| TlsError::Internal("traffic IV of a wrong length"))?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence, format })
    }

    /// The next record's number and nonce: IV xor number. Each number is given out once, so no
    /// nonce repeats under a key; with RFC 5288 its last eight octets go out as the explicit part.
    fn next(&mut self) -> Result<(u64, [u8; 12]), TlsError> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(TlsError::KeyExhausted)?;
        let mut nonce = self.iv;
        for (octet, count) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *octet ^= count;
        }
        Ok((sequence, nonce))
    }

    /// Decrypts octets and their tag into `clear`, which is as long as the octets.
    fn open_apart<A: AsRef<[u8]>>(
        &self,
        nonce: [u8; 12],
        aad: Aad<A>,
        (ciphertext, tag): (&[u8], &[u8]),
        clear: &mut [u8],
    ) -> Result<(), TlsError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .open_separate_gather(nonce, aad, ciphertext, tag, clear)
            .map_err(|_| TlsError::BadRecordMac)
    }
}

/// Seals records of one key.
pub(super) struct Sealer {
    direction: Direction,
    limit: u64,
}

impl Sealer {
    /// `limit` is the number of records the AEAD may seal under one key.
    pub(super) fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
        limit: u64,
    ) -> Result<Self, TlsError> {
        Ok(Self { direction: Direction::new(version, sequence, secrets)?, limit })
    }

    pub(super) const fn format(&self) -> Format {
        self.direction.format
    }

    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    #[cfg(test)]
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Number of the next record.
    pub(super) const fn sequence(&self) -> u64 {
        self.direction.sequence
    }

    /// Records that may still be sealed, the last of the key kept back for a KeyUpdate or an
    /// alert.
    pub(super) const fn data_records_left(&self) -> u64 {
        self.limit.saturating_sub(1).saturating_sub(self.direction.sequence)
    }

    /// Writes one record of `content` to the front of `wire` and says how long it is.
    ///
    /// # Panics
    ///
    /// When `wire` has no room for the content and [`Format::overhead`].
    pub(super) fn seal(
        &mut self,
        kind: u8,
        content: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, TlsError> {
        debug_assert!(content.len() <= TLS_FRAGMENT_BYTES_MAX, "one fragment at a time");
        let format = self.direction.format;
        let (sequence, nonce) = self.direction.next()?;
        let wire = &mut wire[..content.len() + format.overhead()];
        let (head, rest) = wire.split_at_mut(format.head());
        let (ciphertext, tail) = rest.split_at_mut(content.len());
        let body = format.head() - HEADER_BYTES + content.len() + format.tail();
        let [high, low] = length_octets(body)?;
        let outer = if format == Format::Tls13 { APPLICATION_DATA } else { kind };
        let header = [outer, VERSION[0], VERSION[1], high, low];
        head[..HEADER_BYTES].copy_from_slice(&header);
        let key = &self.direction.key;
        let unique = Nonce::assume_unique_for_key(nonce);
        match format {
            Format::Tls13 => key.seal_out_of_place_scatter(
                unique,
                Aad::from(header),
                content,
                ciphertext,
                &[kind],
                tail,
            ),
            Format::Tls12Gcm | Format::Tls12ChaCha => {
                head[HEADER_BYTES..].copy_from_slice(match format {
                    Format::Tls12Gcm => &nonce[4..],
                    Format::Tls13 | Format::Tls12ChaCha => &[],
                });
                let aad = Aad::from(tls12_aad(sequence, kind, VERSION, content.len())?);
                key.seal_out_of_place_scatter(unique, aad, content, ciphertext, &[], tail)
            }
        }
        .map_err(|_| TlsError::Internal("sealing failed"))?;
        Ok(wire.len())
    }
}

/// Opens records of one key.
pub(super) struct Opener {
    direction: Direction,
}

impl Opener {
    pub(super) fn new(
        version: ProtocolVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> Result<Self, TlsError> {
        Ok(Self { direction: Direction::new(version, sequence, secrets)? })
    }

    pub(super) const fn format(&self) -> Format {
        self.direction.format
    }

    /// Decrypts exactly one whole record in place; gives its (inner) content type and where in
    /// `record` the content is.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), TlsError> {
        match self.direction.format {
            Format::Tls13 => self.open_tls13(record),
            Format::Tls12Gcm | Format::Tls12ChaCha => self.open_tls12(record),
        }
    }

    /// Like [`Opener::open`], but leaves the record as it is: the content is put at the front of
    /// `room`, which has [`OPEN_ROOM_BYTES`]. Gives its content type and its octets.
    pub(super) fn open_into(
        &mut self,
        record: &[u8],
        room: &mut [u8],
    ) -> Result<(u8, usize), TlsError> {
        let format = self.direction.format;
        // Before its length is judged: what is not sealed has no tag.
        if let Some(&kind) = record.first().filter(|&&kind| kind != APPLICATION_DATA)
            && format == Format::Tls13
        {
            return Err(TlsError::UnexpectedRecord { kind });
        }
        let (head, body) = record.split_at_checked(format.head()).ok_or(TlsError::BadRecordMac)?;
        let length = body.len().checked_sub(TAG_BYTES).ok_or(TlsError::BadRecordMac)?;
        let (ciphertext, tag) = body.split_at(length);
        if format == Format::Tls13 {
            let &[kind, major, minor, high, low] = head else { return Err(TlsError::BadRecordMac) };
            let (_, nonce) = self.direction.next()?;
            let aad = Aad::from([kind, major, minor, high, low]);
            let inner = room.get_mut(..length).ok_or(TlsError::RecordOverflow { length })?;
            self.direction.open_apart(nonce, aad, (ciphertext, tag), inner)?;
            return inner_content(inner);
        }
        if length > TLS_FRAGMENT_BYTES_MAX {
            return Err(TlsError::RecordOverflow { length });
        }
        let (sequence, mut nonce) = self.direction.next()?;
        if format == Format::Tls12Gcm {
            nonce[4..].copy_from_slice(&head[HEADER_BYTES..]);
        }
        let aad = Aad::from(tls12_aad(sequence, head[0], [head[1], head[2]], length)?);
        let content = room.get_mut(..length).ok_or(TlsError::RecordOverflow { length })?;
        self.direction.open_apart(nonce, aad, (ciphertext, tag), content)?;
        Ok((head[0], length))
    }

    fn open_tls13(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), TlsError> {
        let (header, body) =
            record.split_first_chunk_mut::<HEADER_BYTES>().ok_or(TlsError::BadRecordMac)?;
        if header[0] != APPLICATION_DATA {
            // After the client's Finished nothing is sent in the clear (RFC 8446 §5).
            return Err(TlsError::UnexpectedRecord { kind: header[0] });
        }
        let (_, nonce) = self.direction.next()?;
        let inner = self
            .direction
            .key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(*header), body)
            .map_err(|_| TlsError::BadRecordMac)?;
        let (kind, length) = inner_content(inner)?;
        Ok((kind, HEADER_BYTES..HEADER_BYTES + length))
    }

    fn open_tls12(&mut self, record: &mut [u8]) -> Result<(u8, Range<usize>), TlsError> {
        let format = self.direction.format;
        let (sequence, mut nonce) = self.direction.next()?;
        let Some(length) = record.len().checked_sub(format.overhead()) else {
            return Err(TlsError::BadRecordMac);
        };
        if length > TLS_FRAGMENT_BYTES_MAX {
            return Err(TlsError::RecordOverflow { length });
        }
        let (head, body) = record.split_at_mut(format.head());
        if format == Format::Tls12Gcm {
            nonce[4..].copy_from_slice(&head[HEADER_BYTES..]);
        }
        let kind = head[0];
        let aad = Aad::from(tls12_aad(sequence, kind, [head[1], head[2]], length)?);
        self.direction
            .key
            .open_in_place(Nonce::assume_unique_for_key(nonce), aad, body)
            .map_err(|_| TlsError::BadRecordMac)?;
        Ok((kind, format.head()..format.head() + length))
    }
}

/// Inner content type of a TLS 1.3 record and octets of its content: padding is zeros, and the last
/// octet that is none is the type (RFC 8446 §5.4).
fn inner_content(inner: &[u8]) -> Result<(u8, usize), TlsError> {
    if inner.len() > TLS_FRAGMENT_BYTES_MAX + 1 {
        return Err(TlsError::RecordOverflow { length: inner.len() });
    }
    let end = inner.iter().rposition(|&octet| octet != 0);
    end.map(|end| (inner[end], end)).ok_or(TlsError::UnexpectedRecord { kind: 0 })
}

/// Additional data of a TLS 1.2 AEAD (RFC 5246 §6.2.3.3).
fn tls12_aad(
    sequence: u64,
    kind: u8,
    version: [u8; 2],
    length: usize,
) -> Result<[u8; 13], TlsError> {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8] = kind;
    aad[9..11].copy_from_slice(&version);
    aad[11..].copy_from_slice(&length_octets(length)?);
    Ok(aad)
}

fn length_octets(length: usize) -> Result<[u8; 2], TlsError> {
    u16::try_from(length)
        .map(u16::to_be_bytes)
        .map_err(|_| TlsError::Internal("record longer than its length field"))
}
