//! What ticket keys come from: secrets of this process, or of a file that the nodes of a cluster
//! have in common (`tls.ticket_keys`). The first seals, all open.
//!
//! Nodes get a file one after the other. So a rotation puts in front what all of them had as the
//! second, and the new secret behind it: none seals with what another cannot open yet.

use std::fmt::{self, Write};

use aws_lc_rs::rand;

use super::TlsSetupError;
use crate::protocol::hexadecimal;

/// The most secrets of a file: a ticket of nobody known is tried with each.
pub const TICKET_SECRETS_MAX: usize = 16;

type Secret = [u8; 32];

/// At least one secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketSecrets(Vec<Secret>);

impl TicketSecrets {
    /// One.
    #[must_use]
    pub fn only(secret: Secret) -> Self {
        Self(vec![secret])
    }

    /// Reads a file: a secret a line, 64 hexadecimal digits; empty lines and those that begin with
    /// `#` are skipped. `origin` is its name.
    ///
    /// # Errors
    ///
    /// Names file and line, and never what is in it.
    pub fn parse(text: &[u8], origin: &str) -> Result<Self, TlsSetupError> {
        let wrong = |line, cause| {
            Err(TlsSetupError::TicketSecrets { origin: origin.to_owned(), line, cause })
        };
        let mut secrets = Vec::new();
        for (index, line) in text.split(|octet| *octet == b'\n').enumerate() {
            let (line, number) = (line.trim_ascii(), index + 1);
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let secret = hexadecimal::decode(line).and_then(|octets| octets.try_into().ok());
            let Some(secret) = secret else {
                return wrong(number, "is not a key of 64 hexadecimal digits");
            };
            if secrets.contains(&secret) {
                return wrong(number, "is there twice");
            }
            if secrets.len() == TICKET_SECRETS_MAX {
                return wrong(number, "is one too many: there may be 16 keys");
            }
            secrets.push(secret);
        }
        if secrets.is_empty() {
            wrong(1, "is no key, and there is none below")
        } else {
            Ok(Self(secrets))
        }
    }

    /// The file of these.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for secret in &self.0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", hexadecimal::lower(secret));
        }
        text
    }

    /// These and, to open tickets with, another one.
    #[must_use]
    pub fn and(mut self, secret: Secret) -> Self {
        self.0.push(secret);
        self
    }

    /// Has the second seal, and a new one wait behind it; of all, `keep` stay. A first secret that
    /// is alone goes on.
    ///
    /// # Errors
    ///
    /// No random numbers.
    pub fn rotate(&mut self, keep: usize) -> Result<(), TlsSetupError> {
        let new = random()?;
        if self.0.len() > 1 {
            let first = self.0.remove(0);
            self.0.insert(1, first);
        }
        self.0.insert(1, new);
        self.0.truncate(keep.max(2));
        Ok(())
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }
}

/// A secret.
///
/// # Errors
///
/// No random numbers.
pub fn random() -> Result<Secret, TlsSetupError> {
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| TlsSetupError::NoRandomNumbers)?;
    Ok(secret)
}

impl fmt::Debug for TicketSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketSecrets({})", self.0.len())
    }
}

const HEAD: &str = "\
# Keys of ringftpd's session tickets (tls.ticket_keys), the same on all nodes. The first seals, the
# second is the next to, all open. Secret: whoever has them can read what clients resume.
# Made by `ringftpd ticket-keys`, which also rotates them.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(secret: u8) -> String {
        format!("{secret:02x}").repeat(32)
    }

    fn all(secrets: &TicketSecrets) -> Vec<u8> {
        secrets.iter().map(|secret| secret[0]).collect()
    }

    #[test]
    fn written_and_read() {
        let text = format!("# one\r\n\n {}\r\n{}", digits(7), digits(0xab).to_uppercase());
        let secrets = TicketSecrets::parse(text.as_bytes(), "keys").unwrap();
        assert_eq!(all(&secrets), [7, 0xab]);
        let again = TicketSecrets::parse(secrets.to_text().as_bytes(), "keys").unwrap();
        assert!(again == secrets && !format!("{secrets:?}").contains("07"));
        let many: String = (0..=16).map(|secret| digits(secret) + "\n").collect();
        for (text, expected) in [
            ("# nothing\n".to_owned(), "keys:1 is no key, and there is none below"),
            (digits(1) + "\n12", "keys:2 is not a key of 64 hexadecimal digits"),
            (digits(1) + "00", "keys:1 is not a key"),
            (format!("{}\n{}", digits(1), digits(1)), "keys:2 is there twice"),
            (many, "keys:17 is one too many"),
        ] {
            let error = TicketSecrets::parse(text.as_bytes(), "keys").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains(&digits(1)), "{error}");
        }
    }

    /// Whatever of two neighbouring files a node has, it opens what the others seal.
    #[test]
    fn rotation() {
        let mut secrets = TicketSecrets::only([1; 32]);
        let mut sealing = vec![[1; 32]];
        for round in 0..6 {
            let before = secrets.clone();
            secrets.rotate(3).unwrap();
            assert_eq!(secrets.count(), 3.min(round + 2));
            assert!(before.0.contains(&secrets.0[0]), "one that others do not have yet seals");
            assert!(secrets.0.contains(&before.0[0]), "tickets of today are not opened tomorrow");
            sealing.push(secrets.0[0]);
        }
        sealing.dedup();
        assert_eq!(sealing.len(), 6, "the first goes on for one round, and then each is another");
    }
}
