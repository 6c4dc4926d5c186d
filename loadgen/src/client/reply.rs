//! Replies, RFC 959 §4.2: octets in, replies out; no connection. Strict and bounded, because the
//! server may be broken or hostile: every fault is a [`ReplyError`] and ends its connection only.

/// Longest line accepted, octets without CRLF. A pathname of 4096 octets fits with its quotes.
pub const LINE_BYTES_MAX: usize = 8192;

/// Most octets of one reply: a FEAT or STAT reply of some hundred lines.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code, 100–599.
    pub code: u16,
    /// The lines, joined by LF, without the code of the first and the last one.
    pub text: String,
}

impl Reply {
    /// 1yz: another reply follows, RFC 959 §4.2.
    #[must_use]
    pub const fn is_preliminary(&self) -> bool {
        self.code / 100 == 1
    }

    /// 2yz.
    #[must_use]
    pub const fn is_completion(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz: the server waits for more.
    #[must_use]
    pub const fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }
}

/// Why octets are not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The line does not begin with a code from 100 to 599 and a space or hyphen.
    #[error("a reply that does not begin with a code and a space or hyphen")]
    NoCode,
    /// A line feed without a carriage return before it, or a carriage return within a line.
    #[error("a reply line that does not end with CRLF")]
    LineEnd,
    /// A NUL in a line.
    #[error("a NUL in a reply")]
    Nul,
    /// A line longer than [`LINE_BYTES_MAX`].
    #[error("a reply line longer than {LINE_BYTES_MAX} octets")]
    LineTooLong,
    /// A reply longer than [`REPLY_BYTES_MAX`].
    #[error("a reply longer than {REPLY_BYTES_MAX} octets")]
    ReplyTooLong,
}

/// Collects octets into replies. After an error it is useless, and so is the connection.
#[derive(Debug, Default)]
pub struct ReplyParser {
    received: Vec<u8>,
    /// Octets at the front that are consumed.
    consumed: usize,
    /// Octets already searched for a line feed.
    searched: usize,
    open: Option<Reply>,
}

impl ReplyParser {
    /// Takes octets from the connection. Call [`Self::next_reply`] until it gives nothing.
    pub fn push(&mut self, octets: &[u8]) {
        self.received.extend_from_slice(octets);
    }

    /// The next whole reply, if it is there.
    ///
    /// # Errors
    ///
    /// [`ReplyError`].
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ReplyError> {
        while let Some(end) = self.line_end()? {
            let line = &self.received[self.consumed..end];
            let finished = take_line(&mut self.open, line)?;
            self.consumed = end + 2;
            self.searched = self.consumed;
            if finished {
                self.compact();
                return Ok(self.open.take());
            }
        }
        self.compact();
        Ok(None)
    }

    /// Whether nothing is buffered. Behind the reply to AUTH nothing may be: it would have come
    /// before TLS and be taken for protected (RFC 4217 §4.2).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.received.len() == self.consumed && self.open.is_none()
    }

    /// Index of the CR that ends the line at the front.
    fn line_end(&mut self) -> Result<Option<usize>, ReplyError> {
        let from = self.searched.max(self.consumed);
        let Some(offset) = self.received[from..].iter().position(|octet| *octet == b'\n') else {
            self.searched = self.received.len();
            let length = self.received.len() - self.consumed;
            return if length > LINE_BYTES_MAX { Err(ReplyError::LineTooLong) } else { Ok(None) };
        };
        let line = &self.received[self.consumed..from + offset];
        match line.split_last() {
            Some((b'\r', line)) if line.contains(&b'\r') => Err(ReplyError::LineEnd),
            Some((b'\r', line)) if line.len() > LINE_BYTES_MAX => Err(ReplyError::LineTooLong),
            Some((b'\r', line)) if line.contains(&0) => Err(ReplyError::Nul),
            Some((b'\r', line)) => Ok(Some(self.consumed + line.len())),
            _ => Err(ReplyError::LineEnd),
        }
    }

    fn compact(&mut self) {
        if self.consumed == self.received.len() {
            self.received.clear();
        } else {
            self.received.drain(..self.consumed);
        }
        self.searched = self.searched.saturating_sub(self.consumed);
        self.consumed = 0;
    }
}

/// Adds a line to `open`; true when that completes the reply.
fn take_line(open: &mut Option<Reply>, line: &[u8]) -> Result<bool, ReplyError> {
    if let Some(reply) = open {
        // The last line is the one with the first line's code and a space; any other line is
        // text, even one that begins with digits (RFC 959 §4.2).
        let last = code_of(line).filter(|found| *found == (reply.code, b' '));
        let text = if last.is_some() { &line[4..] } else { line };
        if reply.text.len() + text.len() >= REPLY_BYTES_MAX {
            return Err(ReplyError::ReplyTooLong);
        }
        reply.text.push('\n');
        reply.text.push_str(&String::from_utf8_lossy(text));
        return Ok(last.is_some());
    }
    let (code, separator) = code_of(line).ok_or(ReplyError::NoCode)?;
    let text = String::from_utf8_lossy(&line[4..]).into_owned();
    *open = Some(Reply { code, text });
    Ok(separator == b' ')
}

/// The code and the octet behind it.
fn code_of(line: &[u8]) -> Option<(u16, u8)> {
    let &[first @ b'1'..=b'5', second, third, separator @ (b' ' | b'-'), ..] = line else {
        return None;
    };
    if !second.is_ascii_digit() || !third.is_ascii_digit() {
        return None;
    }
    let digit = |octet: u8| u16::from(octet - b'0');
    Some((digit(first) * 100 + digit(second) * 10 + digit(third), separator))
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Reply, ReplyError, ReplyParser};

    /// The result must not depend on how the octets are cut.
    #[track_caller]
    fn check(input: &[u8], expected: &[(u16, &str)], error: Option<ReplyError>) {
        for size in [1, 2, 3, 7, input.len().max(1)] {
            let (mut parser, mut replies) = (ReplyParser::default(), Vec::new());
            let mut seen = None;
            'octets: for chunk in input.chunks(size) {
                parser.push(chunk);
                loop {
                    match parser.next_reply() {
                        Ok(Some(reply)) => replies.push(reply),
                        Ok(None) => break,
                        Err(fault) => {
                            seen = Some(fault);
                            break 'octets;
                        }
                    }
                }
            }
            let expected: Vec<Reply> = expected
                .iter()
                .map(|(code, text)| Reply { code: *code, text: (*text).to_owned() })
                .collect();
            assert_eq!((replies, seen), (expected, error), "chunks of {size}");
        }
    }

    #[test]
    fn replies_of_one_and_many_lines() {
        check(b"220 Hello\r\n", &[(220, "Hello")], None);
        check(b"200 \r\n", &[(200, "")], None);
        check(b"211-Begin\r\n UTF8\r\n211 End\r\n", &[(211, "Begin\n UTF8\nEnd")], None);
        check(
            b"123-First\r\nSecond\r\n 234 numbers\r\n123-more\r\n124 no\r\n123 Last\r\n",
            &[(123, "First\nSecond\n 234 numbers\n123-more\n124 no\nLast")],
            None,
        );
        check(b"150 a\r\n226 b\r\n", &[(150, "a"), (226, "b")], None);
        check(b"220 half", &[], None);
        check(b"220-half\r\n", &[], None);
        check(b"", &[], None);
    }

    #[test]
    fn faults() {
        check(b"hello\r\n", &[], Some(ReplyError::NoCode));
        check(b"\r\n", &[], Some(ReplyError::NoCode));
        check(b"2x0 a\r\n", &[], Some(ReplyError::NoCode));
        check(b"099 a\r\n", &[], Some(ReplyError::NoCode));
        check(b"631 a\r\n", &[], Some(ReplyError::NoCode));
        check(b"220\r\n", &[], Some(ReplyError::NoCode));
        check(b"2200 a\r\n", &[], Some(ReplyError::NoCode));
        check(b"220 a\n", &[], Some(ReplyError::LineEnd));
        check(b"\n", &[], Some(ReplyError::LineEnd));
        check(b"220 a\rb\r\n", &[], Some(ReplyError::LineEnd));
        check(b"220 a\0\r\n", &[], Some(ReplyError::Nul));
        check(b"200 ok\r\n\xff\xfe\r\n", &[(200, "ok")], Some(ReplyError::NoCode));
    }

    #[test]
    fn an_endless_line_and_an_endless_reply_are_cut() {
        let mut parser = ReplyParser::default();
        parser.push(&vec![b'a'; LINE_BYTES_MAX + 1]);
        assert_eq!(parser.next_reply(), Err(ReplyError::LineTooLong));
        let mut parser = ReplyParser::default();
        parser.push(b"211-Begin\r\n");
        let fault = (0..1_000_000).find_map(|_| {
            parser.push(b" line\r\n");
            parser.next_reply().err()
        });
        assert_eq!(fault, Some(ReplyError::ReplyTooLong));
        // Empty lines count too.
        let mut parser = ReplyParser::default();
        parser.push(b"211-\r\n");
        let fault = (0..1_000_000).find_map(|_| {
            parser.push(b"\r\n");
            parser.next_reply().err()
        });
        assert_eq!(fault, Some(ReplyError::ReplyTooLong));
    }

    #[test]
    fn what_is_behind_a_reply_is_seen() {
        let mut parser = ReplyParser::default();
        parser.push(b"234 go\r\n230 injected");
        assert_eq!(parser.next_reply().unwrap().unwrap().code, 234);
        assert!(!parser.is_empty());
    }
}
