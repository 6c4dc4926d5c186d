//! The sending half of a TLS session whose records the kernel seals.

use std::io;

use crate::runtime::Stream;
use crate::sys::ktls;
use crate::tls::{Aead, Channel, KernelSender, OpenedRecord, SendKeys, TlsError};

/// The sending half of a data connection, once the kernel has its keys.
#[derive(Debug)]
pub(super) struct KernelTlsSender {
    pub(super) sender: KernelSender,
    /// Whether keys can be replaced.
    pub(super) rekey: bool,
}

impl KernelTlsSender {
    /// Gives the sending half of `channel` to the kernel.
    ///
    /// # Errors
    ///
    /// The kernel refused. Nothing has changed for the client: a socket with the kernel's TLS but
    /// without keys works as before. The channel is given back.
    pub(super) fn hand_over(
        channel: Channel,
        stream: &Stream,
        rekey: bool,
    ) -> Result<Self, (Box<Channel>, io::Error)> {
        let handed = match channel.send_keys() {
            Some(keys) => ktls::attach(stream).and_then(|()| set_keys(stream, &keys)),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        match handed {
            Ok(()) => Ok(Self { sender: KernelSender::new(channel), rekey }),
            Err(error) => Err((Box::new(channel), error)),
        }
    }

    /// Opens the record at the front of `records`. If it is not valid, the client gets an alert.
    pub(super) fn open(
        &mut self,
        records: &mut [u8],
        stream: &Stream,
    ) -> Result<OpenedRecord, TlsError> {
        let opened = self.sender.open(records);
        if let Err(error) = &opened
            && let Some((kind, content)) = KernelSender::fatal_alert(error)
        {
            // The session is lost, whether or not the alert reaches the client.
            let _ = ktls::send_record(stream, kind, &content);
        }
        opened
    }

    /// Counts a send(2) of data.
    pub(super) const fn count(&mut self, octets: usize) {
        self.sender.count(octets);
    }
}

/// The AEAD of `channel` in the kernel's terms; `None` if its keys cannot be exported.
pub(super) fn cipher_of(channel: &Channel) -> Option<ktls::Cipher> {
    channel.send_keys().map(|keys| cipher(keys.aead))
}

const fn cipher(aead: Aead) -> ktls::Cipher {
    match aead {
        Aead::Aes128Gcm => ktls::Cipher::Aes128Gcm,
        Aead::Aes256Gcm => ktls::Cipher::Aes256Gcm,
        Aead::ChaCha20Poly1305 => ktls::Cipher::ChaCha20Poly1305,
    }
}

/// Replaces the keys that the kernel seals with.
pub(super) fn set_keys(stream: &Stream, keys: &SendKeys<'_>) -> io::Result<()> {
    let (cipher, key) = (cipher(keys.aead), keys.key);
    let keys = ktls::SendKeys { cipher, key, iv: keys.iv, sequence: keys.sequence };
    ktls::set_send_keys(stream, &keys)
}
