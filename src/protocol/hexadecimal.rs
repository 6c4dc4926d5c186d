//! Octets as hexadecimal digits: digests, fingerprints, encoded values.

/// Lower case, as HASH gives digests (draft-bryan-ftpext-hash §3).
#[must_use]
pub fn lower(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Upper case, as clients show fingerprints and what the X-hash commands answer.
#[must_use]
pub fn upper(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02X}")).collect()
}

/// The octets of digits of either case; `None` for an odd number of them or anything else.
#[must_use]
pub fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (pairs, rest) = digits.as_chunks();
    let octets = pairs.iter().map(|&[high, low]| Some(value(high)? << 4 | value(low)?));
    if rest.is_empty() { octets.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read() {
        assert_eq!(lower(b"\x00\x0a\xff"), "000aff");
        assert_eq!(upper(&0xab_u32.to_be_bytes()), "000000AB");
        assert_eq!(decode(b"000aFf"), Some(b"\x00\x0a\xff".to_vec()));
        assert_eq!(decode(b""), Some(Vec::new()));
        for wrong in [&b"0"[..], b"0g", b"+1", b"00 ", b"\xff\xff"] {
            assert_eq!(decode(wrong), None);
        }
    }
}
