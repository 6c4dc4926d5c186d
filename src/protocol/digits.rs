//! Numbers as text, appended without a string in between: a listing has millions of them.

/// Digits of the largest value, in any of our bases.
const DIGITS_MAX: usize = 20;

/// Appends `value` in decimal, at least `width` characters, filled up with `fill` on the left.
pub(super) fn push_decimal(out: &mut Vec<u8>, value: u64, width: usize, fill: u8) {
    push::<10>(out, value, width, fill);
}

/// Appends `value` in octal, at least four digits, as `chmod` takes them.
pub(super) fn push_octal(out: &mut Vec<u8>, value: u64) {
    push::<8>(out, value, 4, b'0');
}

/// Appends `value` in hexadecimal, lower case.
pub(super) fn push_hex(out: &mut Vec<u8>, value: u64) {
    push::<16>(out, value, 1, b'0');
}

fn push<const BASE: u64>(out: &mut Vec<u8>, mut value: u64, width: usize, fill: u8) {
    let mut digits = [fill; DIGITS_MAX + 2];
    let mut start = digits.len();
    loop {
        start -= 1;
        let digit = usize::try_from(value % BASE).unwrap_or(0);
        digits[start] = b"0123456789abcdef"[digit];
        value /= BASE;
        if value == 0 {
            break;
        }
    }
    let start = start.min(digits.len().saturating_sub(width));
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_writes_them() {
        for value in [0, 1, 7, 8, 9, 10, 99, 4095, 123_456_789, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            push_decimal(&mut out, value, 12, b' ');
            push_decimal(&mut out, value, 1, b'0');
            push_decimal(&mut out, value, 2, b'0');
            push_hex(&mut out, value);
            push_octal(&mut out, value);
            let expected = format!("{value:>12}{value}{value:02}{value:x}{value:04o}");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
