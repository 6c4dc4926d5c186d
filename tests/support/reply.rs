//! One reply, read as RFC 959 §4.2 writes it and not a byte more kindly.

use std::fmt;

/// A complete reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// Text of each line, decoded (RFC 854: `CR NUL` is CR, `IAC IAC` is 0xFF). The code and the
    /// separator of the first and the last line are cut off; inner lines are whole.
    pub lines: Vec<Vec<u8>>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.code, self.text())
    }
}

impl Reply {
    /// All lines as text, for messages and for substring checks.
    pub fn text(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        lines.join("\n")
    }

    /// The only line; fails the test when there are several.
    #[track_caller]
    pub fn line(&self) -> String {
        assert_eq!(self.lines.len(), 1, "one line expected: {self:?}");
        String::from_utf8_lossy(&self.lines[0]).into_owned()
    }

    /// Lines between the first and the last.
    pub fn inner(&self) -> &[Vec<u8>] {
        let lines = &self.lines;
        if lines.len() < 2 { &[] } else { &lines[1..lines.len() - 1] }
    }

    /// Whether an inner line is `SP feature` (FEAT).
    pub fn has_feature(&self, feature: &str) -> bool {
        let wanted = format!(" {feature}");
        self.inner().iter().any(|line| line == wanted.as_bytes())
    }

    /// The name between the double quotes of a 257, `""` undoubled (RFC 959 appendix II).
    #[track_caller]
    pub fn quoted(&self) -> Vec<u8> {
        let line = &self.lines[0];
        assert_eq!(line.first(), Some(&b'"'), "no quoted name: {self:?}");
        let (mut name, mut at) = (Vec::new(), 1);
        loop {
            match (line.get(at), line.get(at + 1)) {
                (Some(b'"'), Some(b'"')) => at += 1,
                (Some(b'"'), None | Some(b' ')) => return name,
                (Some(b'"') | None, _) => panic!("quotes do not pair: {self:?}"),
                (Some(_), _) => {}
            }
            name.push(line[at]);
            at += 1;
        }
    }
}

/// Takes one whole reply off the front of `input`; `None` while it is incomplete.
///
/// # Panics
/// When the bytes are not a reply as RFC 959 §4.2 defines it \[FMT-01\].
#[track_caller]
pub fn take_reply(input: &mut Vec<u8>) -> Option<Reply> {
    let mut at = 0;
    let mut lines = Vec::new();
    let mut code = None;
    loop {
        let Some(length) = input[at..].windows(2).position(|pair| pair == b"\r\n") else {
            check_start(&input[at..], lines.is_empty());
            return None;
        };
        let line = &input[at..at + length];
        at += length + 2;
        let first = *code.get_or_insert_with(|| parse_code(line));
        let starts_with_code = line.starts_with(first.to_string().as_bytes());
        let separator = line.get(3).copied();
        assert!(
            !lines.is_empty() || matches!(separator, Some(b' ' | b'-')),
            "neither SP nor - after the code: {}",
            line.escape_ascii()
        );
        let last = starts_with_code && separator == Some(b' ');
        if lines.is_empty() || last {
            lines.push(decode(&line[4..]));
        } else {
            let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
            assert!(digits < 3, "inner line starts like a reply: {}", line.escape_ascii());
            lines.push(decode(line));
        }
        if last {
            input.drain(..at);
            return Some(Reply { code: first, lines });
        }
    }
}

/// Garbage must fail at once, not after the deadline.
#[track_caller]
fn check_start(partial: &[u8], first_line: bool) {
    let digits = partial.iter().take(3).all(u8::is_ascii_digit);
    assert!(!first_line || digits, "not a reply: {}", partial.escape_ascii());
}

#[track_caller]
fn parse_code(line: &[u8]) -> u16 {
    let shown = line.escape_ascii();
    assert!(line.len() >= 4, "reply line without text: {shown}");
    assert!(line[..3].iter().all(u8::is_ascii_digit), "reply line without code: {shown}");
    let code = line[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    assert!((100..700).contains(&code), "reply code out of range: {shown}");
    code
}

#[track_caller]
fn decode(line: &[u8]) -> Vec<u8> {
    let shown = line.escape_ascii();
    let mut text = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            assert_eq!(bytes.next(), Some(0), "CR without NUL inside a reply: {shown}");
        } else if byte == 0xff {
            assert_eq!(bytes.next(), Some(0xff), "IAC not doubled inside a reply: {shown}");
        }
        text.push(byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], expected: Option<(u16, &[&[u8]])>) {
        let mut input = input.to_vec();
        let reply = take_reply(&mut input).map(|reply| (reply.code, reply.lines));
        let expected = expected.map(|(code, lines)| {
            (code, lines.iter().map(|line| line.to_vec()).collect::<Vec<_>>())
        });
        assert_eq!(reply, expected);
    }

    #[test]
    fn whole_and_partial_replies() {
        check(b"220 ready\r\n", Some((220, &[b"ready"])));
        check(b"220 ready\r", None);
        check(b"", None);
        check(b"211-a\r\n b\r\n211 End\r\n", Some((211, &[b"a", b" b", b"End"])));
        check(b"211-a\r\n b\r\n", None);
        check(b"257 \"a\r\0b\xff\xff\"\r\n", Some((257, &[b"\"a\rb\xff\""])));
    }

    #[test]
    fn malformed_replies_fail() {
        for bad in [
            &b"hello\r\n"[..],
            b"220\r\n",
            b"22 ready\r\n",
            b"220_ready\r\n",
            b"220 a\rb\r\n",
            b"220 a\xffb\r\n",
            b"211-a\r\n200 b\r\n211 End\r\n",
        ] {
            let result = std::panic::catch_unwind(|| take_reply(&mut bad.to_vec()));
            assert!(result.is_err(), "accepted {}", bad.escape_ascii());
        }
    }
}
