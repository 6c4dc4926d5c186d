//! Numbers in arguments: digits only, ranges checked, nothing wraps [ABUSE-10].

/// Why a number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// Something else than digits, or nothing.
    Syntax,
    /// Digits, but more than the field can mean.
    TooBig,
}

/// Mode bits a client may set: permissions, set-id and sticky.
const MODE_MAX: u32 = 0o7777;

/// A decimal number without sign or spaces: REST (RFC 3659 §5.3) [XFER-09], PBSZ (RFC 2228 §3)
/// [PROT-05 PROT-06], TYPE L (RFC 959 §5.3.2), ALLO.
///
/// # Errors
///
/// See [`NumberError`].
pub fn decimal_u64(field: &[u8]) -> Result<u64, NumberError> {
    if field.is_empty() || !field.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Syntax);
    }
    field
        .iter()
        .try_fold(0_u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(NumberError::TooBig)
}

/// Octets announced by ALLO: `n` or `n R m` (RFC 959 §4.1.3). The record size `m` means nothing to
/// file structure; it must be a number all the same [INFO-09].
///
/// # Errors
///
/// See [`NumberError`].
pub fn allo(argument: &[u8]) -> Result<u64, NumberError> {
    let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let octets = decimal_u64(words.next().ok_or(NumberError::Syntax)?)?;
    match [words.next(), words.next(), words.next()] {
        [None, ..] => Ok(octets),
        [Some(b"R" | b"r"), Some(record), None] => decimal_u64(record).map(|_| octets),
        _ => Err(NumberError::Syntax),
    }
}

/// Permission bits in octal, 0 to 7777: SITE CHMOD and the fact `UNIX.mode`. `None` for anything
/// else.
#[must_use]
pub fn octal_mode(field: &[u8]) -> Option<u32> {
    if field.is_empty() {
        return None;
    }
    field.iter().try_fold(0, |mode, digit| match digit {
        b'0'..=b'7' => Some(mode * 8 + u32::from(digit - b'0')).filter(|mode| *mode <= MODE_MAX),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::NumberError::{Syntax, TooBig};
    use super::*;
    use crate::protocol::test_random::Random;

    #[test]
    fn decimals() {
        for (field, expected) in [
            ("0", Ok(0)),
            ("007", Ok(7)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(TooBig)),
            ("99999999999999999999999999", Err(TooBig)),
            ("", Err(Syntax)),
            ("-1", Err(Syntax)),
            ("+1", Err(Syntax)),
            (" 1", Err(Syntax)),
            ("1 ", Err(Syntax)),
            ("0x1", Err(Syntax)),
            ("1.0", Err(Syntax)),
            ("99999999999999999999x", Err(Syntax)),
            ("\u{661}", Err(Syntax)),
        ] {
            assert_eq!(decimal_u64(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn allocations() {
        for (argument, expected) in [
            ("100", Ok(100)),
            ("100 R 512", Ok(100)),
            ("100  r  512", Ok(100)),
            ("", Err(Syntax)),
            (" ", Err(Syntax)),
            ("x", Err(Syntax)),
            ("100 R", Err(Syntax)),
            ("100 R x", Err(Syntax)),
            ("100 R 1 2", Err(Syntax)),
            ("100 512", Err(Syntax)),
            ("18446744073709551616", Err(TooBig)),
            ("1 R 18446744073709551616", Err(TooBig)),
        ] {
            assert_eq!(allo(argument.as_bytes()), expected, "{argument}");
        }
    }

    #[test]
    fn modes() {
        for (field, expected) in [
            ("644", Some(0o644)),
            ("0644", Some(0o644)),
            ("7777", Some(0o7777)),
            ("00000000000000000000644", Some(0o644)),
            ("10000", None),
            ("77777777777777777777777", None),
            ("648", None),
            ("u+x", None),
            ("", None),
        ] {
            assert_eq!(octal_mode(field.as_bytes()), expected, "{field}");
        }
    }

    #[test]
    fn no_input_panics() {
        let mut random = Random::new(0x0123);
        for _ in 0..100_000 {
            let field = random.octets(24, b"0123456789 R");
            let digits = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
            assert_eq!(decimal_u64(&field) != Err(Syntax), digits);
            assert!(octal_mode(&field).is_none_or(|mode| mode <= 0o7777));
            assert!(allo(&field).is_err() || field.iter().any(u8::is_ascii_digit));
        }
    }
}
