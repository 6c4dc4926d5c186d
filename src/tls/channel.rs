//! An established TLS session: bytes to records and back, key updates, alerts, close_notify.
//!
//! Owns keys and counters, never a buffer: both directions work in memory of the caller. rustls
//! is kept only for the key schedule of TLS 1.3.

use std::fmt;
use std::ops::Range;

use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion,
    SupportedCipherSuite,
};

use super::TlsError;
use super::record::{
    ALERT, APPLICATION_DATA, HANDSHAKE, HEADER_BYTES, Header, OPEN_ROOM_BYTES, Opener, Sealer,
};
use crate::limits::{TLS_FRAGMENT_BYTES_MAX, TLS_QUIET_RECORDS_MAX};

const WARNING: u8 = 1;
const KEY_UPDATE_TYPE: u8 = 24;
pub(super) const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
pub(super) const USER_CANCELED: u8 = 90;

/// The content of our close_notify alert.
pub(super) const CLOSING: [u8; 2] = [WARNING, CLOSE_NOTIFY];

/// A KeyUpdate that asks for none in return (RFC 8446 §4.6.3).
pub(super) const KEY_UPDATE: [u8; 5] = [KEY_UPDATE_TYPE, 0, 0, 1, 0];

/// What [`Channel::open`] found at the front of the record area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenedRecord {
    /// No whole record yet; nothing was touched.
    Incomplete,
    /// Application data, decrypted in place. May be empty.
    Data {
        /// Octets of the record; the caller drops them once the plaintext is used.
        consumed: usize,
        /// Where in the record area the plaintext is.
        plaintext: Range<usize>,
    },
    /// The peer will send nothing more. What follows the record is not part of this session.
    CloseNotify {
        /// Octets of the record; 0 when the close_notify was seen by an earlier call.
        consumed: usize,
    },
    /// A record of the protocol itself, dealt with.
    Handled {
        /// Octets of the record.
        consumed: usize,
    },
}

/// Both directions of an established TLS session.
///
/// Invariant: nothing is sealed after close_notify or a fatal alert, and nothing is opened after
/// the peer's close_notify.
pub struct Channel {
    sealer: Sealer,
    opener: Opener,
    version: ProtocolVersion,
    /// The key schedule; TLS 1.2 has none after the handshake.
    schedule: Option<KernelConnection<ServerConnectionData>>,
    quiet_records: u32,
    send_closed: bool,
    receive_closed: bool,
    /// Kept only where somebody else may go on sending, see [`KernelSender`](super::KernelSender).
    send_secrets: Option<Box<ConnectionTrafficSecrets>>,
    /// A KeyUpdate waits for the next data, see [`Channel::answer_with_data`].
    answers_with_data: bool,
    /// A KeyUpdate came that asks for one in return, and none was sealed here since.
    update_owed: bool,
    /// A KeyUpdate whose rest is still to come.
    message: Message,
}

impl Channel {
    pub(super) fn new(
        secrets: ExtractedSecrets,
        schedule: KernelConnection<ServerConnectionData>,
        keep_send_secrets: bool,
    ) -> Result<Self, TlsError> {
        let version = schedule.protocol_version();
        let limit = confidentiality_limit(schedule.negotiated_cipher_suite());
        Ok(Self {
            sealer: Sealer::new(version, secrets.tx.0, &secrets.tx.1, limit)?,
            opener: Opener::new(version, secrets.rx.0, &secrets.rx.1)?,
            version,
            schedule: (version == ProtocolVersion::TLSv1_3).then_some(schedule),
            quiet_records: 0,
            send_closed: false,
            receive_closed: false,
            send_secrets: keep_send_secrets.then(|| Box::new(secrets.tx.1)),
            answers_with_data: false,
            update_owed: false,
            message: Message::default(),
        })
    }

    /// Most octets [`Channel::seal_into`] writes for `plaintext` octets, key updates included.
    #[must_use]
    pub fn sealed_len_max(&self, plaintext: usize) -> usize {
        let fragments = plaintext.div_ceil(TLS_FRAGMENT_BYTES_MAX);
        let overhead = self.sealer.format().overhead();
        let records_per_key = usize::try_from(self.sealer.limit() - 1).unwrap_or(usize::MAX);
        let key_updates = match &self.schedule {
            Some(_) => 1 + usize::from(self.update_owed) + fragments / records_per_key,
            None => 0,
        };
        plaintext + fragments * overhead + key_updates * (KEY_UPDATE.len() + overhead)
    }

    /// Seals `plaintext` into records of at most 16 KiB at the front of `wire` and gives their
    /// length in octets. No plaintext, no record.
    ///
    /// # Errors
    ///
    /// [`TlsError::SendClosed`], or [`TlsError::KeyExhausted`] when TLS 1.2 has no records left
    /// for all of it; then nothing was sealed, and close_notify still can be.
    ///
    /// # Panics
    ///
    /// When `wire` is shorter than [`Channel::sealed_len_max`] says.
    pub fn seal_into(&mut self, plaintext: &[u8], wire: &mut [u8]) -> Result<usize, TlsError> {
        if self.send_closed {
            return Err(TlsError::SendClosed);
        }
        let fragments = plaintext.len().div_ceil(TLS_FRAGMENT_BYTES_MAX) as u64;
        if self.schedule.is_none() && fragments > self.sealer.data_records_left() {
            return Err(TlsError::KeyExhausted);
        }
        let mut length = 0;
        if self.update_owed && fragments > 0 {
            length += self.seal_owed_update(wire)?;
        }
        for fragment in plaintext.chunks(TLS_FRAGMENT_BYTES_MAX) {
            if self.sealer.data_records_left() == 0 {
                length += self.sealer.seal(HANDSHAKE, &KEY_UPDATE, &mut wire[length..])?;
                self.update_sealer()?;
            }
            length += self.sealer.seal(APPLICATION_DATA, fragment, &mut wire[length..])?;
        }
        Ok(length)
    }

    /// Appends `plaintext`, sealed into records, to `out`.
    ///
    /// # Errors
    ///
    /// As [`Channel::seal_into`]; `out` is then as it was.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = out.len();
        out.resize(start + self.sealed_len_max(plaintext.len()), 0);
        let sealed = self.seal_into(plaintext, &mut out[start..]);
        out.truncate(start + sealed.as_ref().copied().unwrap_or(0));
        sealed.map(drop)
    }

    /// Appends a message of [`ServerTls::new_ticket`](super::ServerTls::new_ticket), sealed; `self`
    /// must be the channel of that control connection. Adds nothing once our side is closed, or
    /// where the next record has to be a KeyUpdate: a missing ticket is never an error.
    ///
    /// # Errors
    ///
    /// [`TlsError::Internal`] only.
    pub fn seal_ticket(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let possible = !self.send_closed && self.sealer.data_records_left() > 0;
        if possible && self.schedule.is_some() {
            self.seal_record(HANDSHAKE, message, out)?;
        }
        Ok(())
    }

    /// Appends our close_notify (RFC 8446 §6.1); nothing can be sealed after it. A second call,
    /// or one after a fatal alert, adds nothing.
    ///
    /// # Errors
    ///
    /// [`TlsError::Internal`] only.
    pub fn seal_close_notify(&mut self, out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.send_closed {
            return Ok(());
        }
        if self.update_owed {
            let start = out.len();
            out.resize(start + KEY_UPDATE.len() + self.sealer.format().overhead(), 0);
            let length = self.seal_owed_update(&mut out[start..])?;
            out.truncate(start + length);
        }
        self.seal_record(ALERT, &CLOSING, out)?;
        self.send_closed = true;
        Ok(())
    }

    /// Opens the one record at the front of `record_area`, in place, and deals with it if it is
    /// not data. The answer to a KeyUpdate, or the alert that explains an error, goes to `out`,
    /// unless our side is closed already.
    ///
    /// # Errors
    ///
    /// A record that does not authenticate, is too long, does not belong here, or is a fatal
    /// alert. The session is over.
    pub fn open(
        &mut self,
        record_area: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<OpenedRecord, TlsError> {
        let opened = self.open_record(record_area, out);
        opened.inspect_err(|error| self.explain(error, out))
    }

    /// Like [`Channel::open`], but leaves the record area as it is: data is put at the front of
    /// `room`, and `plaintext` is a range of it. What `room` held beyond that may be overwritten.
    ///
    /// # Errors
    ///
    /// As [`Channel::open`]. What `room` holds then is of no use.
    ///
    /// # Panics
    ///
    /// When `room` is shorter than [`Channel::OPEN_ROOM_BYTES`].
    pub fn open_into(
        &mut self,
        record_area: &[u8],
        room: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<OpenedRecord, TlsError> {
        assert!(room.len() >= Self::OPEN_ROOM_BYTES, "no room for a record");
        let opened = self.open_record_into(record_area, room, out);
        opened.inspect_err(|error| self.explain(error, out))
    }

    /// Room that [`Channel::open_into`] needs, octets.
    pub const OPEN_ROOM_BYTES: usize = OPEN_ROOM_BYTES;

    /// From here on a KeyUpdate that asks for one in return is answered in front of the next data,
    /// or of close_notify, and several are answered by one (RFC 8446 §4.6.3). For callers that have
    /// sealed records ahead: an answer in between would be out of order.
    pub const fn answer_with_data(&mut self) {
        self.answers_with_data = true;
    }

    /// Closes the sending side without an alert: [`Drain`](super::Drain) only receives, and for
    /// [`KernelSender`](super::KernelSender) the kernel sends.
    pub(super) const fn close_send(&mut self) {
        self.send_closed = true;
    }

    /// The state for sealing elsewhere: the number of the next record and the secrets. `None` if
    /// the secrets were not kept or nothing may be sent any more.
    pub(super) fn send_state(&self) -> Option<(u64, &ConnectionTrafficSecrets)> {
        let open = self.schedule.is_some() && !self.send_closed;
        let secrets = self.send_secrets.as_deref().filter(|_| open)?;
        Some((self.sealer.sequence(), secrets))
    }

    /// How many records may be sealed under one key.
    pub(super) const fn record_limit(&self) -> u64 {
        self.sealer.limit()
    }

    /// The next secrets for sending, with the number of their first record.
    pub(super) fn next_send_secrets(
        &mut self,
    ) -> Result<(u64, ConnectionTrafficSecrets), TlsError> {
        let schedule = self.schedule.as_mut().ok_or(TlsError::KeyExhausted)?;
        schedule
            .update_tx_secret()
            .map_err(|_| TlsError::Internal("key schedule refused an update"))
    }

    /// Whether the peer waits for a KeyUpdate that was not sealed here; the call clears that.
    pub(super) const fn take_update_owed(&mut self) -> bool {
        std::mem::replace(&mut self.update_owed, false)
    }

    /// Whether the peer's close_notify was seen.
    pub(super) const fn is_receive_closed(&self) -> bool {
        self.receive_closed
    }

    fn open_record(
        &mut self,
        record_area: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<OpenedRecord, TlsError> {
        if self.receive_closed {
            return Ok(OpenedRecord::CloseNotify { consumed: 0 });
        }
        let Some(consumed) = self.whole_record(record_area)? else {
            return Ok(OpenedRecord::Incomplete);
        };
        let record = &mut record_area[..consumed];
        let (kind, content) = self.opener.open(record)?;
        let dealt = self.deal_with(kind, &record[content.clone()], out)?;
        Ok(dealt.opened(consumed, content))
    }

    fn open_record_into(
        &mut self,
        record_area: &[u8],
        room: &mut [u8],
        out: &mut Vec<u8>,
    ) -> Result<OpenedRecord, TlsError> {
        if self.receive_closed {
            return Ok(OpenedRecord::CloseNotify { consumed: 0 });
        }
        let Some(consumed) = self.whole_record(record_area)? else {
            return Ok(OpenedRecord::Incomplete);
        };
        let (kind, length) = self.opener.open_into(&record_area[..consumed], room)?;
        let dealt = self.deal_with(kind, &room[..length], out)?;
        Ok(dealt.opened(consumed, 0..length))
    }

    /// Octets of the record at the front, once all of it is there.
    fn whole_record(&self, record_area: &[u8]) -> Result<Option<usize>, TlsError> {
        let Some(header) = Header::parse(record_area) else { return Ok(None) };
        if header.major != 3 || !(ALERT..=APPLICATION_DATA).contains(&header.kind) {
            return Err(TlsError::UnexpectedRecord { kind: header.kind });
        }
        if header.length > self.opener.format().body_max() {
            return Err(TlsError::RecordOverflow { length: header.length });
        }
        let length = HEADER_BYTES + header.length;
        Ok((record_area.len() >= length).then_some(length))
    }

    /// Acts on an opened record.
    fn deal_with(
        &mut self,
        kind: u8,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Dealt, TlsError> {
        if kind != HANDSHAKE && self.message.is_begun() {
            // RFC 8446 §5.1: no other record between the pieces of a message.
            return Err(TlsError::UnexpectedRecord { kind });
        }
        match kind {
            APPLICATION_DATA if content.is_empty() => self.count_quiet()?,
            APPLICATION_DATA => self.quiet_records = 0,
            ALERT => return self.on_alert(content),
            HANDSHAKE => {
                self.on_handshake(content, out)?;
                return Ok(Dealt::Handled);
            }
            kind => return Err(TlsError::UnexpectedRecord { kind }),
        }
        Ok(Dealt::Data)
    }

    /// Appends the alert that explains why the session ends here.
    pub(super) fn explain(&mut self, error: &TlsError, out: &mut Vec<u8>) {
        if let Some(alert) = error.alert()
            && !self.send_closed
        {
            // The session is lost; an alert that cannot be sealed changes nothing.
            let _ = self.seal_record(ALERT, &[FATAL, u8::from(alert)], out);
        }
        self.send_closed = true;
    }

    /// An alert is whole in its record, and alone: two octets (RFC 8446 §5.1). TLS 1.2 would let it
    /// be split; nobody does.
    fn on_alert(&mut self, content: &[u8]) -> Result<Dealt, TlsError> {
        let &[level, description] = content else {
            return Err(TlsError::malformed(ALERT, content));
        };
        if description == CLOSE_NOTIFY {
            self.receive_closed = true;
            return Ok(Dealt::CloseNotify);
        }
        // Levels mean nothing in TLS 1.3 (RFC 8446 §6): all are fatal but user_canceled. In TLS 1.2
        // (RFC 5246 §7.2) there are two, and only they tell.
        let warning = match (self.version, level) {
            (ProtocolVersion::TLSv1_3, _) => description == USER_CANCELED,
            (_, WARNING) => true,
            (_, FATAL) => false,
            (_, _) => return Err(TlsError::IllegalParameter),
        };
        if warning {
            self.count_quiet()?;
            return Ok(Dealt::Handled);
        }
        Err(TlsError::AlertReceived(AlertDescription::from(description)))
    }

    /// KeyUpdate is the only handshake message a client may send now: no ticket, no certificate
    /// was asked for, and TLS 1.2 renegotiation is refused. It may come in pieces, but nothing
    /// stands behind it in its record, for that would be under the old keys (RFC 8446 §5.1).
    fn on_handshake(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if content.is_empty() {
            return Err(TlsError::malformed(HANDSHAKE, content));
        }
        if self.schedule.is_none() {
            return Err(TlsError::Renegotiation);
        }
        self.count_quiet()?;
        match self.message.take(content)? {
            None => Ok(()),
            Some(requested) => self.on_key_update(requested, out),
        }
    }

    fn on_key_update(&mut self, requested: bool, out: &mut Vec<u8>) -> Result<(), TlsError> {
        let schedule = self.schedule.as_mut().ok_or(TlsError::Renegotiation)?;
        let (sequence, secrets) = schedule
            .update_rx_secret()
            .map_err(|_| TlsError::Internal("key schedule refused an update"))?;
        self.opener = Opener::new(self.version, sequence, &secrets)?;
        if !requested {
            return Ok(());
        }
        if self.send_closed || self.answers_with_data {
            self.update_owed = true;
            return Ok(());
        }
        self.seal_record(HANDSHAKE, &KEY_UPDATE, out)?;
        self.update_sealer()
    }

    /// Seals the KeyUpdate that is owed and changes keys; gives the record's length.
    fn seal_owed_update(&mut self, wire: &mut [u8]) -> Result<usize, TlsError> {
        let length = self.sealer.seal(HANDSHAKE, &KEY_UPDATE, wire)?;
        self.update_sealer()?;
        self.update_owed = false;
        Ok(length)
    }

    fn update_sealer(&mut self) -> Result<(), TlsError> {
        let (sequence, secrets) = self.next_send_secrets()?;
        self.sealer = Sealer::new(self.version, sequence, &secrets, self.sealer.limit())?;
        if let Some(kept) = &mut self.send_secrets {
            **kept = secrets;
        }
        Ok(())
    }

    fn seal_record(&mut self, kind: u8, content: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        let start = out.len();
        out.resize(start + content.len() + self.sealer.format().overhead(), 0);
        let sealed = self.sealer.seal(kind, content, &mut out[start..]);
        out.truncate(start + sealed.as_ref().copied().unwrap_or(0));
        sealed.map(drop)
    }

    fn count_quiet(&mut self) -> Result<(), TlsError> {
        self.quiet_records += 1;
        if self.quiet_records > TLS_QUIET_RECORDS_MAX {
            return Err(TlsError::QuietRecords);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn set_record_limit(&mut self, limit: u64) {
        self.sealer.set_limit(limit);
    }
}

/// How much of a KeyUpdate has come, octets (RFC 8446 §4, §4.6.3). Its octets are known but the
/// last, which ends it.
#[derive(Default)]
struct Message {
    length: usize,
}

impl Message {
    const fn is_begun(&self) -> bool {
        self.length > 0
    }

    /// Adds a record's content, each octet judged as soon as it is there. Once the message is
    /// whole, gives whether it asks for one in return.
    fn take(&mut self, content: &[u8]) -> Result<Option<bool>, TlsError> {
        let misplaced = Err(TlsError::UnexpectedRecord { kind: HANDSHAKE });
        for (index, &octet) in content.iter().enumerate() {
            match (self.length, octet) {
                (0, KEY_UPDATE_TYPE) | (1 | 2, 0) | (3, 1) => {}
                (0, _) => return misplaced,
                (1..=3, _) => return Err(TlsError::Decode),
                (_, 2..) => return Err(TlsError::IllegalParameter),
                (_, _) if index + 1 < content.len() => return misplaced,
                (_, request) => {
                    self.length = 0;
                    return Ok(Some(request == 1));
                }
            }
            self.length += 1;
        }
        Ok(None)
    }
}

/// What a record was, once it was acted on.
enum Dealt {
    Data,
    CloseNotify,
    Handled,
}

impl Dealt {
    /// What the caller learns of a record of `consumed` octets.
    const fn opened(self, consumed: usize, plaintext: Range<usize>) -> OpenedRecord {
        match self {
            Self::Data => OpenedRecord::Data { consumed, plaintext },
            Self::CloseNotify => OpenedRecord::CloseNotify { consumed },
            Self::Handled => OpenedRecord::Handled { consumed },
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("version", &self.version)
            .field("send_closed", &self.send_closed)
            .field("receive_closed", &self.receive_closed)
            .finish_non_exhaustive()
    }
}

/// Records the suite's AEAD may seal under one key; 2^24 for AES-GCM (RFC 8446 §5.5).
fn confidentiality_limit(suite: SupportedCipherSuite) -> u64 {
    match suite {
        SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
        SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
    }
}
