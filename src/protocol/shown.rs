//! How a name is shown: the one form that replies and listings give it, always within one line.
//!
//! RFC 2640 §3.1 allows every octet but NUL in a name and would have CR sent as CR NUL. Clients
//! end a line at much less than CR LF: lftp and Go at LF, Python's ftplib at CR and LF, others at
//! whatever their language calls a line. A name made for it would be a second entry of a listing,
//! or the reply to the next command. So control characters are shown as `?`, as `ls` does on a
//! terminal [SYN-03 SYN-17]. A command still takes the exact octets; DELE, RMD and RNFR also take
//! the shown form when it means one entry only.

/// What stands for a control character.
pub const REPLACEMENT: u8 = b'?';

/// Appends `name` as it is shown: C0 controls but TAB, DEL, and the line ends of Unicode (U+0085,
/// U+2028, U+2029 in UTF-8) as [`REPLACEMENT`], everything else as it is.
pub fn push_shown(out: &mut Vec<u8>, name: &[u8]) {
    if !name.iter().any(|&octet| matches!(octet, 0..=0x1f | 0x7f | 0xc2 | 0xe2)) {
        return out.extend_from_slice(name);
    }
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        match control_len(rest) {
            0 => {
                out.push(first);
                rest = tail;
            }
            length => {
                out.push(REPLACEMENT);
                rest = &rest[length..];
            }
        }
    }
}

/// Whether `name` is shown as `shown`, and is not called so.
#[must_use]
pub fn is_shown_as(name: &[u8], shown: &[u8]) -> bool {
    let mut form = Vec::with_capacity(name.len());
    push_shown(&mut form, name);
    form == shown && name != shown
}

/// Octets of the control character that `text` starts with; 0 when it starts with none.
fn control_len(text: &[u8]) -> usize {
    match text {
        [b'\t', ..] => 0,
        [0..=0x1f | 0x7f, ..] => 1,
        [0xc2, 0x85, ..] => 2,
        [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check(name: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        push_shown(&mut out, name);
        assert_eq!(out, expected);
        assert_eq!(is_shown_as(name, expected), name != expected);
    }

    #[test]
    fn control_characters_are_question_marks() {
        check(b"", b"");
        check(b"plain name.txt", b"plain name.txt");
        check(b"note\ntype=file;size=1; invoice.pdf", b"note?type=file;size=1; invoice.pdf");
        check(b"a\r\nb\r", b"a??b?");
        check(b"\x1b[2J\x07\x0b\x0c\x1c\x7f", b"?[2J?????");
        check(b"tab\tstays", b"tab\tstays");
        check("a\u{85}b\u{2028}c\u{2029}".as_bytes(), b"a?b?c?");
        check("\u{e9}\u{2026}\u{a0}".as_bytes(), "\u{e9}\u{2026}\u{a0}".as_bytes());
        check(b"\xc2", b"\xc2");
        check(b"\xe2\x80", b"\xe2\x80");
        check(b"\x85\xff\xfe", b"\x85\xff\xfe");
    }

    #[test]
    fn no_name_is_two_lines() {
        let mut random = Random::new(0x5407);
        for _ in 0..50_000 {
            let name = random.octets(16, b"\r\n\r\n\0 ;=\xc2\x85\xe2\x80\xa8");
            let mut out = Vec::new();
            push_shown(&mut out, &name);
            assert!(!out.iter().any(|&octet| octet < 0x20 && octet != b'\t'), "{name:?}");
            for end in ["\u{85}", "\u{2028}", "\u{2029}"] {
                let found = out.windows(end.len()).any(|window| window == end.as_bytes());
                assert!(!found, "{name:?}");
            }
        }
    }
}
