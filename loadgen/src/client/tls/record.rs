//! One record, sealed or opened: TLS 1.2 and 1.3 (RFC 5246 §6.2.3.3, RFC 5288, RFC 7905, RFC 8446
//! §5.2).

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use rustls::{
    ConnectionTrafficSecrets, Error, InvalidMessage, PeerIncompatible, ProtocolVersion,
    SupportedCipherSuite,
};

/// Content types (RFC 8446 §5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

/// Octets of content of one record, at most.
pub(super) const CONTENT_MAX: usize = 1 << 14;

/// Octets of a record that is received, at most: TLS 1.2 allows more beyond the content than 1.3
/// (RFC 5246 §6.2.3).
pub(super) const RECORD_MAX: usize = HEADER + CONTENT_MAX + 2048;

/// Octets of a record beyond its content, at most, where there is no padding.
pub(super) const OVERHEAD_MAX: usize = HEADER + EXPLICIT_NONCE + TAG;

const HEADER: usize = 5;
const EXPLICIT_NONCE: usize = 8;
const TAG: usize = 16;
const VERSION: [u8; 2] = [3, 3];

/// Octets of the record at the front of `wire`; `None` while it has not come whole.
///
/// # Errors
///
/// No record begins so.
pub(super) fn length(wire: &[u8]) -> Result<Option<usize>, Error> {
    let &[kind, major, _, high, low, ..] = wire else {
        // A greeting in clear may be shorter.
        return match wire.first() {
            Some(kind) if !is_content_type(*kind) => Err(InvalidMessage::InvalidContentType.into()),
            _ => Ok(None),
        };
    };
    if !is_content_type(kind) {
        return Err(InvalidMessage::InvalidContentType.into());
    }
    if major != VERSION[0] {
        return Err(InvalidMessage::UnknownProtocolVersion.into());
    }
    let length = HEADER + usize::from(u16::from_be_bytes([high, low]));
    if length > RECORD_MAX {
        return Err(InvalidMessage::MessageTooLarge.into());
    }
    Ok((wire.len() >= length).then_some(length))
}

const fn is_content_type(octet: u8) -> bool {
    matches!(octet, CHANGE_CIPHER_SPEC..=APPLICATION_DATA)
}

/// How many records may be sealed under one key of this suite (RFC 8446 §5.5).
pub(super) const fn limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The content type inside, the header as additional data.
    Tls13,
    /// Eight octets of nonce before the ciphertext (RFC 5288 §3).
    Tls12Gcm,
    /// The nonce is implicit (RFC 7905 §2).
    Tls12ChaCha,
}

/// Key, IV and number of the next record of one direction.
pub(super) struct Keys {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    format: Format,
}

impl Keys {
    pub(super) fn new(
        version: ProtocolVersion,
        (sequence, secrets): &(u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        type Secrets = ConnectionTrafficSecrets;
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            Secrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            Secrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(PeerIncompatible::NoCipherSuitesInCommon.into()),
        };
        let format = match version {
            ProtocolVersion::TLSv1_3 => Format::Tls13,
            _ if *algorithm == CHACHA20_POLY1305 => Format::Tls12ChaCha,
            _ => Format::Tls12Gcm,
        };
        let fault = || Error::General("traffic secrets of a wrong length".to_owned());
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| fault())?;
        let iv = iv.as_ref().try_into().map_err(|_| fault())?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence: *sequence, format })
    }

    /// Number of the next record.
    pub(super) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next record's number and nonce: the IV xor the number. No number is given out twice.
    fn next(&mut self) -> Result<(u64, [u8; 12]), Error> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(Error::EncryptError)?;
        let mut nonce = self.iv;
        for (octet, number) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *octet ^= number;
        }
        Ok((sequence, nonce))
    }

    /// Writes a record of `content` to the front of `wire`, which has room for it and
    /// [`OVERHEAD_MAX`], and returns its length.
    pub(super) fn seal(
        &mut self,
        kind: u8,
        content: &[u8],
        wire: &mut [u8],
    ) -> Result<usize, Error> {
        let (sequence, nonce) = self.next()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        let (head, inside): (usize, &[u8]) = match self.format {
            Format::Tls13 => (HEADER, &[kind]),
            Format::Tls12Gcm => (HEADER + EXPLICIT_NONCE, &[]),
            Format::Tls12ChaCha => (HEADER, &[]),
        };
        let tail = inside.len() + TAG;
        let (head, rest) = wire.split_at_mut(head);
        let (ciphertext, rest) = rest.split_at_mut(content.len());
        let outer = if self.format == Format::Tls13 { APPLICATION_DATA } else { kind };
        let header = header(outer, head.len() - HEADER + content.len() + tail)?;
        head[..HEADER].copy_from_slice(&header);
        let explicit = head.len() - HEADER;
        head[HEADER..].copy_from_slice(&nonce[12 - explicit..]);
        let tls12 = tls12_aad(sequence, kind, content.len())?;
        let aad = Aad::from(if self.format == Format::Tls13 { &header[..] } else { &tls12[..] });
        let tail = &mut rest[..tail];
        let sealed =
            self.key.seal_out_of_place_scatter(unique, aad, content, ciphertext, inside, tail);
        sealed.map_err(|_| Error::EncryptError)?;
        Ok(head.len() + content.len() + tail.len())
    }

    /// Opens a whole record where it is: its content type and its content.
    pub(super) fn open<'r>(&mut self, record: &'r mut [u8]) -> Result<(u8, &'r [u8]), Error> {
        let (header, body) = record.split_first_chunk_mut::<HEADER>().ok_or(Error::DecryptError)?;
        let kind = header[0];
        let (sequence, mut nonce) = self.next()?;
        if self.format == Format::Tls13 {
            if kind != APPLICATION_DATA {
                return Err(InvalidMessage::InvalidContentType.into());
            }
            let aad = Aad::from(*header);
            let inner = self.open_body(nonce, aad, body)?;
            // Padding behind the content type (RFC 8446 §5.4).
            let end = inner.iter().rposition(|octet| *octet != 0);
            let end =
                end.ok_or(Error::PeerMisbehaved(rustls::PeerMisbehaved::IllegalTlsInnerPlaintext))?;
            return within_limit(inner[end], &inner[..end]);
        }
        let body = if self.format == Format::Tls12Gcm {
            let (explicit, body) =
                body.split_first_chunk_mut::<EXPLICIT_NONCE>().ok_or(Error::DecryptError)?;
            nonce[4..].copy_from_slice(explicit);
            body
        } else {
            body
        };
        let length = body.len().checked_sub(TAG).ok_or(Error::DecryptError)?;
        let aad = Aad::from(tls12_aad(sequence, kind, length)?);
        within_limit(kind, self.open_body(nonce, aad, body)?)
    }

    fn open_body<'r, A: AsRef<[u8]>>(
        &self,
        nonce: [u8; 12],
        aad: Aad<A>,
        body: &'r mut [u8],
    ) -> Result<&'r [u8], Error> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = self.key.open_in_place(nonce, aad, body);
        opened.map(|content| &*content).map_err(|_| Error::DecryptError)
    }
}

const fn within_limit(kind: u8, content: &[u8]) -> Result<(u8, &[u8]), Error> {
    if content.len() > CONTENT_MAX {
        return Err(Error::PeerSentOversizedRecord);
    }
    Ok((kind, content))
}

fn header(kind: u8, body: usize) -> Result<[u8; HEADER], Error> {
    let [high, low] = length_octets(body)?;
    Ok([kind, VERSION[0], VERSION[1], high, low])
}

/// RFC 5246 §6.2.3.3.
fn tls12_aad(sequence: u64, kind: u8, length: usize) -> Result<[u8; 13], Error> {
    let [high, low] = length_octets(length)?;
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..].copy_from_slice(&[kind, VERSION[0], VERSION[1], high, low]);
    Ok(aad)
}

fn length_octets(length: usize) -> Result<[u8; 2], Error> {
    let length = u16::try_from(length).map_err(|_| Error::PeerSentOversizedRecord)?;
    Ok(length.to_be_bytes())
}
