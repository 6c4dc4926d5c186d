//! Replies as octets (RFC 959 §4.2). Which code and which text is the session's to say.
//!
//! Text is Telnet-encoded here and nowhere else: 0xFF is doubled, CR becomes CR NUL, so that a name
//! with CR LF in it cannot end the line early [SYN-17] and an octet 0xFF is not a Telnet command
//! (RFC 854). A lone LF, which RFC 2640 §3.1 allows, becomes `?`: Python's ftplib and others end a
//! line at it, and a directory's name could answer their next command [SYN-03]. Listings keep it.

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
/// pathname. A CR in them is already followed by NUL and not encoded twice. A line that starts with
/// three digits is padded with one space, so that it cannot pass for the last line.
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
        for part in text.split_inclusive(|&octet| octet == 0) {
            encode(out, part.strip_suffix(b"\r\0").map_or(part, |head| &part[..=head.len()]));
        }
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
    for &octet in text {
        match octet {
            0xff => out.extend_from_slice(b"\xff\xff"),
            b'\r' => out.extend_from_slice(b"\r\0"),
            b'\n' => out.push(b'?'),
            _ => out.push(octet),
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
        check_line(b"a\r\nb", b"200 a\r\0?b\r\n");
        check_line(b"a\nb\r", b"200 a?b\r\0\r\n");
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
        assert_eq!(out, b"250-a\r\0?250 x\r\n b\r\0?250 x\r\n250 c\r\0?\r\n");
    }

    #[test]
    fn raw_lines_cannot_pass_for_the_last() {
        let mut out = Vec::new();
        multi_raw(&mut out, 213, b"Status", ["-rw- x", "213 End", "007", "21", ""], b"End");
        let text = b"213-Status\r\n-rw- x\r\n 213 End\r\n 007\r\n21\r\n\r\n213 End\r\n";
        assert_eq!(out, text);
    }

    #[test]
    fn raw_lines_are_not_encoded_twice() {
        #[track_caller]
        fn check(text: &[u8], expected: &[u8]) {
            let mut out = Vec::new();
            multi_raw(&mut out, 213, b"", [text], b"");
            assert_eq!(out, [b"213-\r\n", expected, b"\r\n213 \r\n"].concat());
        }
        check(b"a\r\0\nb\xff\r\0", b"a\r\0?b\xff\xff\r\0");
        check(b"\r\0\0\r\0\r\0", b"\r\0\0\r\0\r\0");
        check(b"a\0b", b"a\0b");
        // What no listing has: still no line end.
        check(b"a\r\nb\r", b"a\r\0?b\r\0");
    }

    #[test]
    fn quotes() {
        assert_eq!(quoted(b"/"), b"\"/\"");
        assert_eq!(quoted(b"/a\"b\"\""), b"\"/a\"\"b\"\"\"\"\"");
    }

    #[test]
    fn all_but_lf_decodes_to_itself() {
        let mut random = Random::new(0xfeed);
        for _ in 0..10_000 {
            let mut text = random.octets(40, b"\r\0\xff\"9 -");
            text.retain(|octet| *octet != b'\n');
            let mut out = Vec::new();
            line(&mut out, 250, &text);
            let mut reader = LineReader::new();
            reader.push(&out, &mut Vec::new());
            assert_eq!(reader.pop(), Some(Line::Command([b"250 ", &text[..]].concat())));
            assert!(reader.is_clean());
        }
    }
}
