//! Checks of the client's records before rustls sees them: headers during the whole handshake,
//! contents as long as they are in clear (RFC 8446 §5, RFC 5246 §6.2.1).

use rustls::AlertDescription;

use super::TlsError;
use super::channel::USER_CANCELED;
use super::messages::{
    CERTIFICATE, CERTIFICATE_VERIFY, CLIENT_HELLO, CLIENT_KEY_EXCHANGE, Fault, Messages,
};
use super::record::{ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, Format, HANDSHAKE, Header};
use crate::limits::{TLS_FRAGMENT_BYTES_MAX, TLS_HANDSHAKE_WARNINGS_MAX};

/// How far the client's side of a handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No ServerHello has been sent; perhaps a HelloRetryRequest has.
    Hello,
    /// TLS 1.2, up to the client's ChangeCipherSpec.
    Tls12Clear,
    /// Its records are sealed from here on.
    Tls12Sealed,
    /// The same, but for ChangeCipherSpec and, at the beginning, alerts.
    Tls13Sealed,
}

impl Stage {
    /// Judges a header before its record is there.
    ///
    /// # Errors
    ///
    /// No client may send such a record.
    pub(super) fn check(self, header: Header) -> Result<(), TlsError> {
        let Header { kind, major, length } = header;
        if major != 3 || !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind) {
            return Err(TlsError::UnexpectedRecord { kind });
        }
        let length_max = match self {
            Self::Hello | Self::Tls12Clear => TLS_FRAGMENT_BYTES_MAX,
            Self::Tls12Sealed => Format::Tls12Gcm.body_max(),
            Self::Tls13Sealed => Format::Tls13.body_max(),
        };
        if length > length_max {
            return Err(TlsError::RecordOverflow { length });
        }
        if length == 0 && kind != APPLICATION_DATA {
            return Err(TlsError::UnexpectedRecord { kind });
        }
        Ok(())
    }

    const fn is_sealed(self) -> bool {
        matches!(self, Self::Tls12Sealed | Self::Tls13Sealed)
    }
}

/// When rustls is to be shown a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    Now,
    /// Together with the record that ends its message: for what comes in between, rustls has no
    /// alert.
    WithTheNext,
}

/// The contents of the records in the clear.
#[derive(Debug, Default)]
pub(super) struct ClearRecords {
    messages: Messages,
    alerts: u32,
    /// A sealed record came.
    heard_sealed: bool,
}

impl ClearRecords {
    /// Judges a whole record, as far as it can be read. `content` is what follows its header.
    ///
    /// # Errors
    ///
    /// It has no place here, or does not parse.
    pub(super) fn judge(
        &mut self,
        stage: Stage,
        kind: u8,
        content: &[u8],
    ) -> Result<Show, TlsError> {
        let unexpected = Err(TlsError::UnexpectedRecord { kind });
        match kind {
            // The level says nothing in TLS 1.3 (RFC 8446 §6). rustls knows how long an alert may
            // still come in the clear, and judges others.
            ALERT if stage == Stage::Tls13Sealed => {
                return match *content {
                    [_, description] if description != USER_CANCELED && !self.heard_sealed => {
                        Err(TlsError::AlertReceived(AlertDescription::from(description)))
                    }
                    _ => Ok(Show::Now),
                };
            }
            APPLICATION_DATA if stage == Stage::Tls13Sealed => self.heard_sealed = true,
            // Each needs a ChangeCipherSpec of its own, and there is one.
            CHANGE_CIPHER_SPEC if stage == Stage::Tls12Sealed => return unexpected,
            ALERT if !stage.is_sealed() => self.count_alert()?,
            _ => {}
        }
        if stage.is_sealed() {
            return Ok(Show::Now);
        }
        match kind {
            HANDSHAKE => {
                let types: &[u8] = match stage {
                    Stage::Hello => &[CLIENT_HELLO],
                    _ => &[CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY],
                };
                let ended = self.messages.take(content, types).map_err(|fault| match fault {
                    Fault::Type => TlsError::UnexpectedRecord { kind },
                    Fault::Length => TlsError::Decode,
                })?;
                // Nothing may follow a ClientHello, which rustls says when it sees what does.
                let hello_is_there = stage == Stage::Hello && ended > 0;
                let whole = !self.messages.is_begun() || hello_is_there;
                Ok(if whole { Show::Now } else { Show::WithTheNext })
            }
            _ if self.messages.is_begun() => unexpected,
            CHANGE_CIPHER_SPEC if content != [1] => unexpected,
            ALERT if content.len() != 2 => Err(TlsError::malformed(kind, content)),
            _ => Ok(Show::Now),
        }
    }

    fn count_alert(&mut self) -> Result<(), TlsError> {
        self.alerts += 1;
        if self.alerts > TLS_HANDSHAKE_WARNINGS_MAX {
            return Err(TlsError::QuietRecords);
        }
        Ok(())
    }
}
