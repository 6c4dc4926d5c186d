//! The reserved names under which an upload may exist before it has its own:
//! `.ringftpd-XXXXXXXX.part`, eight hexadecimal digits. Never listed, never reachable by clients.

use rustix::rand::{GetRandomFlags, getrandom};

use crate::protocol::file::FileError;

const PREFIX: &[u8] = b".ringftpd-";
const SUFFIX: &[u8] = b".part";
const DIGITS: usize = 8;

/// Whether `name` is one of the reserved names.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .is_some_and(|digits| digits.len() == DIGITS && digits.iter().all(u8::is_ascii_hexdigit))
}

/// A reserved name nobody can foresee.
pub(super) fn random_name() -> Result<Vec<u8>, FileError> {
    Ok(with_digits(&random_digits()?))
}

/// The reserved name that stands for `name` while STOU holds it. Two names may share one: the
/// second STOU then takes its next candidate.
pub(super) fn reservation_of(name: &[u8]) -> Vec<u8> {
    with_digits(format!("{:08x}", crc32fast::hash(name)).as_bytes())
}

/// Eight random hexadecimal digits.
pub(super) fn random_digits() -> Result<Vec<u8>, FileError> {
    let mut octets = [0_u8; DIGITS / 2];
    // Up to 256 octets are never interrupted and never short.
    getrandom(&mut octets, GetRandomFlags::empty())?;
    Ok(format!("{:08x}", u32::from_be_bytes(octets)).into_bytes())
}

fn with_digits(digits: &[u8]) -> Vec<u8> {
    [PREFIX, digits, SUFFIX].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_its_own_names_and_no_others() {
        assert!(is_temporary(&random_name().unwrap()));
        assert!(is_temporary(&reservation_of(b"\xff\n")));
        assert_ne!(random_name().unwrap(), random_name().unwrap());
        for name in
            [&b".ringftpd-.part"[..], b".ringftpd-0123456g.part", b"x.ringftpd-01234567.part"]
        {
            assert!(!is_temporary(name));
        }
    }
}
