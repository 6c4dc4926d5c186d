//! The argument of HOST (RFC 7151 §3.1). Which names are served is policy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest domain name and label in text, octets (RFC 1035 §2.3.4 less the root's length octet and
/// the first label's).
const DOMAIN_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// What HOST names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// A domain name in lower case.
    Name(String),
    /// An address; an IPv4 one written as IPv4-mapped IPv6 is given as IPv4.
    Address(IpAddr),
}

/// Neither `domain` nor `IP-literal` of RFC 7151 §3.1; a port is part of neither: 501
/// [HOST-04 HOST-05].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostNameError;

/// Reads `name`, `192.0.2.1` or `[2001:db8::1]`.
///
/// # Errors
///
/// See [`HostNameError`].
pub fn parse(argument: &[u8]) -> Result<HostName, HostNameError> {
    let text = std::str::from_utf8(argument).map_err(|_| HostNameError)?;
    if let Some(rest) = text.strip_prefix('[') {
        let inner = rest.strip_suffix(']').ok_or(HostNameError)?;
        let address: Ipv6Addr = inner.parse().map_err(|_| HostNameError)?;
        return Ok(HostName::Address(IpAddr::V6(address).to_canonical()));
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(HostName::Address(address.into()));
    }
    if text.len() > DOMAIN_BYTES_MAX || !text.as_bytes().split(|&o| o == b'.').all(is_label) {
        return Err(HostNameError);
    }
    Ok(HostName::Name(text.to_ascii_lowercase()))
}

/// Letters, digits and hyphens, the latter neither first nor last.
fn is_label(label: &[u8]) -> bool {
    let edge = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    label.len() <= LABEL_BYTES_MAX
        && label.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
        && edge(label.first())
        && edge(label.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check_address(argument: &str, address: &str) {
        let expected = HostName::Address(address.parse().unwrap());
        assert_eq!(parse(argument.as_bytes()), Ok(expected), "{argument}");
    }

    #[track_caller]
    fn check_name(argument: &str, name: Option<&str>) {
        let expected = name.map(|name| HostName::Name(name.to_owned()));
        assert_eq!(parse(argument.as_bytes()).ok(), expected, "{argument}");
    }

    #[test]
    fn addresses() {
        check_address("192.0.2.1", "192.0.2.1");
        check_address("[2001:DB8::1]", "2001:db8::1");
        check_address("[::ffff:192.0.2.1]", "192.0.2.1");
    }

    #[test]
    fn names() {
        check_name("FTP.Example.com", Some("ftp.example.com"));
        check_name("localhost", Some("localhost"));
        check_name("xn--e1afmkfd.com", Some("xn--e1afmkfd.com"));
        check_name("3com.com", Some("3com.com"));
        let label = "a".repeat(63);
        check_name(&label, Some(&label));
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        check_name(&longest, Some(&longest));
        check_name(&format!("{longest}a"), None);
        check_name(&format!("{label}a"), None);
        for bad in [
            "",
            ".",
            "example.com.",
            ".example.com",
            "a..b",
            "-a.com",
            "a-.com",
            "a_b.com",
            "a b",
            " a",
            "example.com:21",
            "192.0.2.1:21",
            "[::1]:21",
            "::1",
            "[::1",
            "[192.0.2.1]",
            "[fe80::1%eth0]",
            "[v1.x]",
            "[]",
            "\u{e9}.com",
            "a\0",
        ] {
            check_name(bad, None);
        }
        assert_eq!(parse(b"\xff"), Err(HostNameError));
    }

    #[test]
    fn no_input_panics() {
        let mut random = Random::new(0x4057);
        for _ in 0..100_000 {
            let argument = random.octets(24, b"a1.-:[]::");
            if let Ok(HostName::Name(name)) = parse(&argument) {
                assert!(argument.eq_ignore_ascii_case(name.as_bytes()));
            }
        }
    }
}
