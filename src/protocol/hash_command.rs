//! Names and arguments of HASH (draft-bryan-ftpext-hash) and of the older XCRC, XMD5,
//! XSHA1, XSHA256 and XSHA512, which no standard defines.

use super::file::HashAlgorithm;
use super::number::decimal_u64;

/// Argument of an X-hash command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedArgument {
    /// Which file, as the client named it; never empty.
    pub name: Vec<u8>,
    /// First octet.
    pub start: u64,
    /// One past the last octet, not before `start`; `None` is the end of the file.
    pub end: Option<u64>,
}

/// The algorithm of that name in any case, for OPTS HASH.
#[must_use]
pub fn algorithm(wanted: &[u8]) -> Option<HashAlgorithm> {
    let is_wanted = |known: &HashAlgorithm| name(*known).as_bytes().eq_ignore_ascii_case(wanted);
    HashAlgorithm::ALL.into_iter().find(is_wanted)
}

/// The name of an algorithm in the draft's registry (§4).
#[must_use]
pub fn name(algorithm: HashAlgorithm) -> &'static str {
    match algorithm {
        HashAlgorithm::Sha256 => "SHA-256",
        HashAlgorithm::Sha512 => "SHA-512",
        HashAlgorithm::Sha1 => "SHA-1",
        HashAlgorithm::Md5 => "MD5",
        HashAlgorithm::Crc32 => "CRC32",
    }
}

/// The FEAT line, an asterisk after the selected algorithm [FILE-14].
#[must_use]
pub fn feat_line(selected: HashAlgorithm) -> String {
    let mut line = "HASH ".to_owned();
    for algorithm in HashAlgorithm::ALL {
        line.push_str(name(algorithm));
        line.push_str(if algorithm == selected { "*;" } else { ";" });
    }
    line
}

/// `"pathname" [start [end]]`, or a bare pathname. A range is read only after quotes: the whole of
/// a bare argument is the name, for `report 2024` must not lose its year. Inside quotes `""` stands
/// for `"`. `None`, for 501, when there is no name, a quote stays open, something else than numbers
/// follows, or the end lies before the start.
#[must_use]
pub fn parse_extended(argument: &[u8]) -> Option<ExtendedArgument> {
    let (name, range) = match argument.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => (argument.to_vec(), &[][..]),
    };
    if name.is_empty() || range.first().is_some_and(|&octet| octet != b' ') {
        return None;
    }
    let mut numbers = range.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let mut number = || numbers.next().map(decimal_u64).transpose().ok();
    let (start, end) = (number()?.unwrap_or(0), number()?);
    if numbers.next().is_some() || end.is_some_and(|end| end < start) {
        return None;
    }
    Some(ExtendedArgument { name, start, end })
}

/// Up to the closing quote, and what follows it.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut path = Vec::new();
    let mut rest = text;
    loop {
        let quote = rest.iter().position(|&octet| octet == b'"')?;
        path.extend_from_slice(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                path.push(b'"');
                rest = after;
            }
            None => return Some((path, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[test]
    fn names() {
        for known in HashAlgorithm::ALL {
            assert_eq!(algorithm(name(known).as_bytes()), Some(known));
            assert_eq!(algorithm(name(known).to_lowercase().as_bytes()), Some(known));
        }
        for unknown in [&b"SHA256"[..], b"SHA-384", b"", b"MD5 "] {
            assert_eq!(algorithm(unknown), None);
        }
        let line = "HASH SHA-256*;SHA-512;SHA-1;MD5;CRC32;";
        assert_eq!(feat_line(HashAlgorithm::Sha256), line);
        assert_eq!(feat_line(HashAlgorithm::Crc32), "HASH SHA-256;SHA-512;SHA-1;MD5;CRC32*;");
    }

    #[test]
    fn arguments() {
        #[track_caller]
        fn check(argument: &str, expected: Option<(&str, u64, Option<u64>)>) {
            let expected = expected.map(|(name, start, end)| ExtendedArgument {
                name: name.as_bytes().to_vec(),
                start,
                end,
            });
            assert_eq!(parse_extended(argument.as_bytes()), expected, "{argument}");
        }
        check("a", Some(("a", 0, None)));
        check("report 2024", Some(("report 2024", 0, None)));
        check("a 0 10", Some(("a 0 10", 0, None)));
        check(" a\" ", Some((" a\" ", 0, None)));
        check("\"a b\"", Some(("a b", 0, None)));
        check("\"a\" ", Some(("a", 0, None)));
        check("\"a\" 5", Some(("a", 5, None)));
        check("\"a\" 5 9", Some(("a", 5, Some(9))));
        check("\"a\"  5  5 ", Some(("a", 5, Some(5))));
        check("\"a\"\"b\"\"\" 1", Some(("a\"b\"", 1, None)));
        for bad in [
            "",
            "\"",
            "\"\"",
            "\"a",
            "\"a\"\"",
            "\"a\"5",
            "\"a\" x",
            "\"a\" -1",
            "\"a\" 5 4",
            "\"a\" 1 2 3",
            "\"a\" 18446744073709551616",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn no_input_panics() {
        let mut random = Random::new(0x4a54);
        for _ in 0..100_000 {
            if let Some(argument) = parse_extended(&random.octets(16, b"\"\" a19")) {
                assert!(!argument.name.is_empty());
                assert!(argument.end.is_none_or(|end| end >= argument.start));
            }
        }
    }
}
