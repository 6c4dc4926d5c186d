//! A TLS 1.3 session whose records the kernel seals: which keys to hand over, and what is left to
//! do in user space: receiving, the key schedule, the count of records.
//!
//! Knows no socket: the caller hands keys and protocol records to the kernel.

use std::fmt;

use rustls::ConnectionTrafficSecrets;

use super::channel::{CLOSING, FATAL, KEY_UPDATE};
use super::record::{ALERT, HANDSHAKE};
use super::{Channel, OpenedRecord, TlsError};
use crate::limits::TLS_FRAGMENT_BYTES_MAX;

/// The AEAD of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aead {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// The keys for records from number `sequence` on. No `Debug`: they are secret.
pub struct SendKeys<'a> {
    /// The AEAD.
    pub aead: Aead,
    /// The traffic key.
    pub key: &'a [u8],
    /// The traffic IV.
    pub iv: [u8; 12],
    /// Number of the next record.
    pub sequence: u64,
}

/// A session whose records are sealed only by the holder of the keys that were handed over. Two
/// that seal under one key would use a nonce twice.
pub struct KernelSender {
    channel: Channel,
    /// Records sent under the present key, at least.
    records: u64,
    /// Keeps the secrets alive that the caller was last lent.
    secrets: Option<ConnectionTrafficSecrets>,
}

/// A record that is not data: its content type and its content.
pub type ProtocolRecord = (u8, [u8; 2]);

impl Channel {
    /// The keys that [`KernelSender`] needs handed over first. `None` when this session stays in
    /// user space: TLS 1.2, a connection not meant for downloads, or one that is closing.
    #[must_use]
    pub fn send_keys(&self) -> Option<SendKeys<'_>> {
        let (sequence, secrets) = self.send_state()?;
        SendKeys::new(sequence, secrets)
    }
}

impl KernelSender {
    /// The last record of user space is sent and the kernel has [`Channel::send_keys`].
    #[must_use]
    pub fn new(mut channel: Channel) -> Self {
        let records = channel.send_state().map_or(0, |(sequence, _)| sequence);
        channel.close_send();
        Self { channel, records, secrets: None }
    }

    /// Opens a record of the peer, as [`Channel::open`] does; but nothing is answered. Then ask
    /// [`KernelSender::owes_update`].
    ///
    /// # Errors
    ///
    /// As [`Channel::open`].
    pub fn open(&mut self, record_area: &mut [u8]) -> Result<OpenedRecord, TlsError> {
        let mut unsent = Vec::new();
        let opened = self.channel.open(record_area, &mut unsent);
        debug_assert!(unsent.is_empty(), "a closed sender seals nothing");
        opened
    }

    /// Whether the peer has asked for new keys since the last call. Before any further data it has
    /// to get [`KernelSender::key_update`], and the kernel [`KernelSender::next_keys`].
    pub const fn owes_update(&mut self) -> bool {
        self.channel.take_update_owed()
    }

    /// Whether `octets` more fit under the present key (RFC 8446 §5.5), with a record left for a
    /// key update or an alert. `calls` system calls send them, each of which may end a record.
    #[must_use]
    pub const fn has_room_for(&self, octets: usize, calls: u64) -> bool {
        let records = octets.div_ceil(TLS_FRAGMENT_BYTES_MAX) as u64 + calls;
        self.records + records < self.channel.record_limit()
    }

    /// Counts what one system call has sent.
    pub const fn count(&mut self, octets: usize) {
        self.records += octets.div_ceil(TLS_FRAGMENT_BYTES_MAX) as u64 + 1;
    }

    /// The keys after the present ones; the kernel seals under them from the record behind
    /// [`KernelSender::key_update`] on.
    ///
    /// # Errors
    ///
    /// [`TlsError::Internal`] only.
    pub fn next_keys(&mut self) -> Result<SendKeys<'_>, TlsError> {
        let (sequence, secrets) = self.channel.next_send_secrets()?;
        self.records = sequence;
        let secrets = self.secrets.insert(secrets);
        SendKeys::new(sequence, secrets)
            .ok_or(TlsError::Internal("traffic secrets of an unknown AEAD"))
    }

    /// Says that the next record is sealed under new keys, and asks for none in return (RFC 8446
    /// §4.6.3).
    #[must_use]
    pub const fn key_update() -> (u8, [u8; 5]) {
        (HANDSHAKE, KEY_UPDATE)
    }

    /// The last record of a session (RFC 8446 §6.1).
    #[must_use]
    pub const fn close_notify() -> ProtocolRecord {
        (ALERT, CLOSING)
    }

    /// The alert that tells the peer why the session ends.
    #[must_use]
    pub fn fatal_alert(error: &TlsError) -> Option<ProtocolRecord> {
        error.alert().map(|alert| (ALERT, [FATAL, u8::from(alert)]))
    }

    #[cfg(test)]
    pub(super) const fn set_records(&mut self, records: u64) {
        self.records = records;
    }
}

impl fmt::Debug for KernelSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSender")
            .field("channel", &self.channel)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl<'a> SendKeys<'a> {
    fn new(sequence: u64, secrets: &'a ConnectionTrafficSecrets) -> Option<Self> {
        type Secrets = ConnectionTrafficSecrets;
        let (aead, key, iv) = match secrets {
            Secrets::Aes128Gcm { key, iv } => (Aead::Aes128Gcm, key, iv),
            Secrets::Aes256Gcm { key, iv } => (Aead::Aes256Gcm, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (Aead::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        let iv = iv.as_ref().try_into().ok()?;
        Some(Self { aead, key: key.as_ref(), iv, sequence })
    }
}
