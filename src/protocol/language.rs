//! Language tags of LANG (RFC 2640 §4.1, RFC 1766). All texts are English.

/// A tag of correct syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(String);

/// Not `1*8ALPHA *("-" 1*8ALPHA)`: 501 [LANG-04].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagError;

/// Reads a tag.
///
/// # Errors
///
/// See [`TagError`].
pub fn parse(argument: &[u8]) -> Result<Tag, TagError> {
    let mut subtags = argument.split(|&octet| octet == b'-');
    let valid =
        |tag: &[u8]| (1..=8).contains(&tag.len()) && tag.iter().all(u8::is_ascii_alphabetic);
    if !subtags.all(valid) {
        return Err(TagError);
    }
    let text = std::str::from_utf8(argument).map_err(|_| TagError)?;
    Ok(Tag(text.to_ascii_lowercase()))
}

/// Whether English texts satisfy `tag`: `en` in any variety (RFC 2640 §4.1: the server may match by
/// the primary tag alone) [LANG-02].
#[must_use]
pub fn is_english(tag: &Tag) -> bool {
    tag.0.split('-').next() == Some("en")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[test]
    fn tags() {
        for (tag, expected) in [
            ("en", Ok(true)),
            ("EN", Ok(true)),
            ("en-US", Ok(true)),
            ("en-cockney-abcdefgh", Ok(true)),
            ("de", Ok(false)),
            ("eng", Ok(false)),
            ("i-klingon", Ok(false)),
            ("de-en", Ok(false)),
            ("", Err(TagError)),
            ("-", Err(TagError)),
            ("en-", Err(TagError)),
            ("-en", Err(TagError)),
            ("en--us", Err(TagError)),
            ("en_US", Err(TagError)),
            ("en us", Err(TagError)),
            ("en*", Err(TagError)),
            ("e1", Err(TagError)),
            ("abcdefghi", Err(TagError)),
            ("en-abcdefghi", Err(TagError)),
            ("\u{e9}n", Err(TagError)),
        ] {
            assert_eq!(parse(tag.as_bytes()).map(|tag| is_english(&tag)), expected, "{tag}");
        }
    }

    #[test]
    fn no_input_panics() {
        let mut random = Random::new(0x1a6);
        for _ in 0..100_000 {
            let tag = random.octets(20, b"eEnN-abcdefgh");
            assert!(parse(&tag).is_err() || !tag.contains(&b' '));
        }
    }
}
