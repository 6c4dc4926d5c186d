//! Where the messages in a run of handshake records begin and end (RFC 8446 §4, RFC 5246 §7.4).

use crate::limits::TLS_HANDSHAKE_BYTES_MAX;

/// Octets of a message's header: type and length.
const HEADER_BYTES: usize = 4;

/// Types of the messages a client sends in a handshake.
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const CERTIFICATE_VERIFY: u8 = 15;
pub(super) const CLIENT_KEY_EXCHANGE: u8 = 16;
pub(super) const FINISHED: u8 = 20;

/// What is wrong with the header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its type is none that may come.
    Type,
    /// It is longer than any that is read, or a Finished of another length than its hash.
    Length,
}

/// How much has come of the message at hand.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Octets of a Finished (RFC 8446 §4.4.4, RFC 5246 §7.4.9), where one may come.
    finished_bytes: Option<usize>,
    /// Octets of the header that have come; none between two messages.
    header: usize,
    kind: u8,
    /// Octets of the body that are still to come, as far as the header tells.
    rest: usize,
}

impl Messages {
    /// A Finished may be among them, and has this length, octets.
    pub(super) fn with_finished(finished_bytes: usize) -> Self {
        Self { finished_bytes: Some(finished_bytes), ..Self::default() }
    }

    /// Whether the last record ended inside a message.
    pub(super) const fn is_begun(&self) -> bool {
        self.header > 0
    }

    /// Takes the content of the next record and says how many messages end in it. Those that begin
    /// in it are of one of `types`.
    ///
    /// # Errors
    ///
    /// A type or a length that no message has.
    pub(super) fn take(&mut self, mut content: &[u8], types: &[u8]) -> Result<usize, Fault> {
        let mut ended = 0;
        while let [octet, behind @ ..] = content {
            if self.header < HEADER_BYTES {
                self.take_header(*octet, types)?;
                content = behind;
            } else {
                let taken = self.rest.min(content.len());
                self.rest -= taken;
                content = &content[taken..];
            }
            if self.header == HEADER_BYTES && self.rest == 0 {
                self.header = 0;
                ended += 1;
            }
        }
        Ok(ended)
    }

    fn take_header(&mut self, octet: u8, types: &[u8]) -> Result<(), Fault> {
        match self.header {
            0 if !types.contains(&octet) => return Err(Fault::Type),
            0 => self.kind = octet,
            _ => self.rest = self.rest << 8 | usize::from(octet),
        }
        self.header += 1;
        if self.header < HEADER_BYTES {
            return Ok(());
        }
        let expected = self.finished_bytes.filter(|_| self.kind == FINISHED);
        let fits = self.rest < TLS_HANDSHAKE_BYTES_MAX;
        if fits && expected.is_none_or(|expected| expected == self.rest) {
            Ok(())
        } else {
            Err(Fault::Length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_where_their_lengths_say() {
        let run = [&[1, 0, 0, 3, 7, 7, 7][..], &[2, 0, 0, 0], &[11, 0, 1, 0], &[9; 256]].concat();
        for piece in 1..=run.len() {
            let mut messages = Messages::default();
            let mut ended = 0;
            let mut seen = 0;
            for record in run.chunks(piece) {
                ended += messages.take(record, &[1, 2, 11]).unwrap();
                seen += record.len();
                let at_an_end = [7, 11, run.len()].contains(&seen);
                assert_eq!(messages.is_begun(), !at_an_end, "{piece} {seen}");
            }
            assert_eq!(ended, 3);
        }
    }

    #[test]
    fn headers_that_no_message_has() {
        assert_eq!(Messages::default().take(&[11, 0, 0xff, 0xff], &[11]), Ok(0));
        assert_eq!(Messages::default().take(&[11, 1, 0, 0], &[11]), Err(Fault::Length));
        assert_eq!(Messages::default().take(&[20, 0, 0, 31], &[11, 20]), Ok(0));
        assert_eq!(Messages::default().take(&[20], &[11]), Err(Fault::Type));
        assert_eq!(Messages::default().take(&[11, 0, 0, 0, 20], &[11]), Err(Fault::Type));
        let too_short_or_long = Err(Fault::Length);
        for (length, expected) in [(31, too_short_or_long), (32, Ok(0)), (33, too_short_or_long)] {
            let mut messages = Messages::with_finished(32);
            assert_eq!(messages.take(&[20, 0, 0], &[20]), Ok(0));
            assert_eq!(messages.take(&[length], &[20]), expected);
        }
        assert_eq!(Messages::with_finished(32).take(&[11, 0, 0, 31], &[11]), Ok(0));
    }
}
