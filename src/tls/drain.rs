//! Leaving a TLS session while the TCP connection stays: REIN and CCC (RFC 4217 §5, §13).
//!
//! Finds, to the byte, where the old session ends; what follows is left for the next state.

use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, HEADER_BYTES, Header};
use super::{Channel, OpenedRecord, TlsError};
use crate::buffer::RecvBuffer;
use crate::limits::TLS_DRAIN_BYTES_MAX;
use crate::protocol::session::AfterTls;

/// Octets of a handshake record's body that tell a ClientHello: type, length, version.
const CLIENT_HELLO_PEEK: usize = 5;

/// How far a [`Drain`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainProgress {
    /// The end of the old session has not arrived yet.
    NeedBytes,
    /// The old session is over; `inbound` holds nothing but what follows it.
    Finished,
}

/// The receiving half of a session whose close_notify we have sent.
///
/// Data of the old session is decrypted and dropped: nothing that was sent under the old rights may
/// run under the new ones [REIN-06 REIN-11 REIN-12]. Nothing is sent: TLS forbids it after
/// close_notify, and in the clear an alert would be garbage to the client. The caller sets a
/// deadline.
#[derive(Debug)]
pub struct Drain {
    channel: Channel,
    after: AfterTls,
    bytes_seen: usize,
}

impl Drain {
    /// Takes over the session after [`Channel::seal_close_notify`].
    #[must_use]
    pub const fn new(mut channel: Channel, after: AfterTls) -> Self {
        channel.close_send();
        Self { channel, after, bytes_seen: 0 }
    }

    /// Drops records of the old session from the front of `inbound`, up to and including the
    /// peer's close_notify, or up to what can only be the next state when the peer sends none.
    ///
    /// # Errors
    ///
    /// Bytes that are neither; the TCP connection has to be closed.
    pub fn advance(&mut self, inbound: &mut RecvBuffer) -> Result<DrainProgress, TlsError> {
        if self.channel.is_receive_closed() {
            return Ok(DrainProgress::Finished);
        }
        let mut unsent = Vec::new();
        loop {
            match inbound.filled() {
                [] => return Ok(DrainProgress::NeedBytes),
                [ALERT | APPLICATION_DATA, ..] => {}
                bytes @ &[first, ..] => return self.without_close_notify(first, bytes),
            }
            match self.channel.open(inbound.filled_mut(), &mut unsent)? {
                OpenedRecord::Incomplete => return Ok(DrainProgress::NeedBytes),
                OpenedRecord::CloseNotify { consumed } => {
                    inbound.consume(consumed);
                    return Ok(DrainProgress::Finished);
                }
                OpenedRecord::Data { consumed, .. } | OpenedRecord::Handled { consumed } => {
                    inbound.consume(consumed);
                    self.bytes_seen += consumed;
                }
            }
            if self.bytes_seen > TLS_DRAIN_BYTES_MAX {
                return Err(TlsError::DrainTooLong);
            }
        }
    }

    fn without_close_notify(&self, first: u8, bytes: &[u8]) -> Result<DrainProgress, TlsError> {
        match self.after {
            AfterTls::Clear if !(20..=24).contains(&first) => Ok(DrainProgress::Finished),
            AfterTls::Implicit if first == HANDSHAKE => match is_client_hello(bytes) {
                Some(true) => Ok(DrainProgress::Finished),
                Some(false) => Err(TlsError::UnexpectedAfterClose { first }),
                None => Ok(DrainProgress::NeedBytes),
            },
            AfterTls::Clear | AfterTls::Implicit => Err(TlsError::UnexpectedAfterClose { first }),
        }
    }
}

/// Whether bytes can be the start of a TLS connection: a handshake record of any TLS version. For
/// the plaintext port, to recognise a client that begins with TLS.
#[must_use]
pub const fn is_tls_record(first_bytes: &[u8]) -> bool {
    match first_bytes {
        [HANDSHAKE] => true,
        [HANDSHAKE, major, ..] => *major == 3,
        _ => false,
    }
}

/// Whether a handshake record carries a ClientHello in the clear; `None` while too little of it
/// is there. In TLS 1.2 an encrypted handshake record has the same type, and its first octet may
/// be anything, so the length and version that follow the message type are looked at as well.
fn is_client_hello(bytes: &[u8]) -> Option<bool> {
    let header = Header::parse(bytes)?;
    let peek = header.length.min(CLIENT_HELLO_PEEK);
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES + peek)?;
    let expected = [Some(1), Some(0), None, None, Some(3)];
    let matches = body.iter().zip(expected).all(|(&octet, want)| want.is_none_or(|w| w == octet));
    Some(header.major == 3 && !body.is_empty() && matches)
}
