//! How often each reply was given.

use std::cell::Cell;

/// Replies by code.
#[derive(Debug)]
pub struct Replies([Cell<u64>; CODES]);

/// Reply codes begin here: preliminary replies (RFC 959 §4.2).
const FIRST: u16 = 100;
/// The last are the protected ones (RFC 2228 §5).
const CODES: usize = 600;

impl Replies {
    /// Counts the replies in octets that the session wants to have sent: each has one last line,
    /// which begins with its code and a space. (The lines before it begin with a space, or with the
    /// code and a hyphen.)
    pub fn count(&self, octets: &[u8]) {
        for line in octets.split(|&octet| octet == b'\n') {
            let [first @ b'1'..=b'6', second @ b'0'..=b'9', third @ b'0'..=b'9', b' ', ..] = line
            else {
                continue;
            };
            let digit = |octet: u8| usize::from(octet - b'0');
            let code = digit(*first) * 100 + digit(*second) * 10 + digit(*third);
            let count = &self.0[code - usize::from(FIRST)];
            count.set(count.get() + 1);
        }
    }

    /// The codes that were given, and how often each.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(u16, u64)> {
        let counts = (FIRST..).zip(&self.0).map(|(code, count)| (code, count.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Default for Replies {
    fn default() -> Self {
        Self([const { Cell::new(0) }; CODES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_several_lines_is_one() {
        let replies = Replies::default();
        replies.count(b"220 a\r\n331 b\r\n");
        replies.count(b"211-Features:\r\n 211 x\r\n UTF8\r\n211 End\r\n");
        replies.count(b"213-Status:\r\n-rw- 1 226 x\r\n 226 x\r\n213 End\r\n220 c\r\n");
        replies.count(b"");
        assert_eq!(replies.snapshot(), [(211, 1), (213, 1), (220, 2), (331, 1)]);
    }

    #[test]
    fn the_first_and_the_last_code() {
        let replies = Replies::default();
        replies.count(b"100 a\r\n699 b\r\n700 c\r\n");
        assert_eq!(replies.snapshot(), [(100, 1), (699, 1)]);
    }
}
