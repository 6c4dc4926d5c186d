//! Replies as octets (RFC 959 §4.2). Which code and which text is the session's to say.
//!
//! Text is Telnet-encoded here and nowhere else: 0xFF is doubled, so that it is no Telnet command
//! (RFC 854). Control characters become `?` (see [`shown`](super::shown)), so that no name ends its
//! line early, or answers the next command [SYN-03 SYN-17].

use super::shown::push_shown;

/// Appends `ddd SP text CRLF`.
pub fn line(out: &mut Vec<u8>, code: u16, text: &[u8]) {
    numbered(out, code, b' ', text);
}

/// Appends a multi-line reply whose inner lines start with one space, as FEAT (RFC 2389 §3.2) and
/// MLST (RFC 3659 §7.2) demand:
/// `ddd-first CRLF`, each `SP inner CRLF`, `ddd SP last CRLF` [FMT-01].
pub fn multi(
    out: &mut Vec<u8>,
    code: u16,
    first: &[u8],
    inner: impl IntoIterator<Item = impl AsRef<[u8]>>,
    last: &[u8],
) {
    numbered(out, code, b'-', first);
    for text in inner {
        out.push(b' ');
        encode(out, text.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    numbered(out, code, b' ', last);
}

/// Like [`multi`], with inner lines as `listing` made them, less their CR LF, for STAT with a
/// pathname. A line that starts with three digits is padded with one space, so that it cannot pass
/// for the last line.
pub fn multi_raw(
    out: &mut Vec<u8>,
    code: u16,
    first: &[u8],
    inner: impl IntoIterator<Item = impl AsRef<[u8]>>,
    last: &[u8],
) {
    numbered(out, code, b'-', first);
    for text in inner {
        let text = text.as_ref();
        if text.len() >= 3 && text[..3].iter().all(u8::is_ascii_digit) {
            out.push(b' ');
        }
        encode(out, text);
        out.extend_from_slice(b"\r\n");
    }
    numbered(out, code, b' ', last);
}

/// A pathname for 257: in double quotes, quotes inside doubled (RFC 959 Appendix II) [SYN-18].
#[must_use]
pub fn quoted(path: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(path.len() + 2);
    text.push(b'"');
    for &octet in path {
        if octet == b'"' {
            text.push(b'"');
        }
        text.push(octet);
    }
    text.push(b'"');
    text
}

fn numbered(out: &mut Vec<u8>, code: u16, separator: u8, text: &[u8]) {
    debug_assert!((100..=659).contains(&code), "not a reply code: {code}");
    out.extend_from_slice(format!("{code:03}").as_bytes());
    out.push(separator);
    encode(out, text);
    out.extend_from_slice(b"\r\n");
}

fn encode(out: &mut Vec<u8>, text: &[u8]) {
    for part in text.split_inclusive(|&octet| octet == 0xff) {
        push_shown(out, part);
        if part.ends_with(b"\xff") {
            out.push(0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::line::{Line, LineReader};
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check_line(text: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        line(&mut out, 200, text);
        assert_eq!(out, expected);
    }

    #[test]
    fn single_line() {
        check_line(b"Noted", b"200 Noted\r\n");
        check_line(b"", b"200 \r\n");
        check_line(b"a\r\nb", b"200 a??b\r\n");
        check_line(b"a\nb\r", b"200 a?b?\r\n");
        check_line(b"\xff\xfe", b"200 \xff\xff\xfe\r\n");
        check_line(b"%s %n {}", b"200 %s %n {}\r\n");
    }

    #[test]
    fn multi_line() {
        let mut out = Vec::new();
        multi(&mut out, 211, b"Features:", ["UTF8", "211 x"], b"End");
        assert_eq!(out, b"211-Features:\r\n UTF8\r\n 211 x\r\n211 End\r\n");
        out.clear();
        multi(&mut out, 211, b"None", [b""; 0], b"End");
        assert_eq!(out, b"211-None\r\n211 End\r\n");
        out.clear();
        multi(&mut out, 250, b"a\r\n250 x", [b"b\r\n250 x"], b"c\r\n");
        assert_eq!(out, b"250-a??250 x\r\n b??250 x\r\n250 c??\r\n");
    }

    #[test]
    fn raw_lines_cannot_pass_for_the_last() {
        let mut out = Vec::new();
        multi_raw(&mut out, 213, b"Status", ["-rw- x", "213 End", "007", "21", ""], b"End");
        let text = b"213-Status\r\n-rw- x\r\n 213 End\r\n 007\r\n21\r\n\r\n213 End\r\n";
        assert_eq!(out, text);
    }

    #[test]
    fn quotes() {
        assert_eq!(quoted(b"/"), b"\"/\"");
        assert_eq!(quoted(b"/a\"b\"\""), b"\"/a\"\"b\"\"\"\"\"");
    }

    #[test]
    fn all_but_control_characters_decodes_to_itself() {
        let mut random = Random::new(0xfeed);
        for _ in 0..10_000 {
            let mut text = random.octets(40, b"\t\xff\"9 -");
            text.retain(|octet| *octet == b'\t' || !octet.is_ascii_control());
            let mut shown = Vec::new();
            push_shown(&mut shown, &text);
            let mut out = Vec::new();
            line(&mut out, 250, &text);
            let mut reader = LineReader::new();
            reader.push(&out, &mut Vec::new());
            assert_eq!(reader.pop(), Some(Line::Command([b"250 ", &shown[..]].concat())));
            assert!(reader.is_clean());
        }
    }
}
