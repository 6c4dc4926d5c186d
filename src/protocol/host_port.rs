//! Addresses of data connections in commands and replies: PORT and PASV (RFC 959 §4.1.2), EPRT and
//! EPSV (RFC 2428). Whether an address may be used (bounce, privileged ports) is the session's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// Network protocols as RFC 2428 §2 numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// 1.
    V4,
    /// 2.
    V6,
}

/// Argument of EPSV (RFC 2428 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsvArgument {
    /// The family of the control connection.
    None,
    /// This family.
    Family(Family),
    /// From now on nothing but EPSV (§4) [PASV-10].
    All,
}

/// Why PORT was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPortError {
    /// Not six decimal numbers of 0 to 255, or port 0: 501 [PORT-04 PORT-05].
    Syntax,
}

/// Why EPRT was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EprtError {
    /// 501 [EPRT-03].
    Syntax,
    /// A protocol number that is neither 1 nor 2: 522 [EPRT-02].
    Family,
}

/// Why EPSV was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpsvError {
    /// 501 [PASV-11].
    Syntax,
    /// A protocol number that is neither 1 nor 2: 522 [PASV-09].
    Family,
}

/// `h1,h2,h3,h4,p1,p2`: each one to three digits, 0 to 255, nothing between or around.
///
/// # Errors
///
/// See [`HostPortError`].
pub fn parse_port(argument: &[u8]) -> Result<SocketAddrV4, HostPortError> {
    let mut numbers = [0_u8; 6];
    let mut fields = argument.split(|&octet| octet == b',');
    for number in &mut numbers {
        let field = fields.next().filter(|field| field.len() <= 3);
        let value = field.and_then(decimal_u16).and_then(|value| u8::try_from(value).ok());
        *number = value.ok_or(HostPortError::Syntax)?;
    }
    let [a, b, c, d, high, low] = numbers;
    let port = u16::from_be_bytes([high, low]);
    if fields.next().is_some() || port == 0 {
        return Err(HostPortError::Syntax);
    }
    Ok(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// `<d>protocol<d>address<d>port<d>`, `d` any octet of 33 to 126 (RFC 2428 §2) [EPRT-01]. A port of
/// 0 is a syntax error. An IPv6 address is returned as written, IPv4-mapped ones too; it has no
/// scope.
///
/// # Errors
///
/// See [`EprtError`].
pub fn parse_eprt(argument: &[u8]) -> Result<SocketAddr, EprtError> {
    let (&delimiter, rest) = argument.split_first().ok_or(EprtError::Syntax)?;
    if !(33..=126).contains(&delimiter) {
        return Err(EprtError::Syntax);
    }
    let mut fields = rest.split(|&octet| octet == delimiter);
    let [Some(protocol), Some(address), Some(port), Some(b""), None] =
        [fields.next(), fields.next(), fields.next(), fields.next(), fields.next()]
    else {
        return Err(EprtError::Syntax);
    };
    let port = decimal_u16(port).filter(|&port| port > 0).ok_or(EprtError::Syntax)?;
    let address = std::str::from_utf8(address).map_err(|_| EprtError::Syntax)?;
    let address: Option<IpAddr> = match protocol {
        b"1" => address.parse().map(Ipv4Addr::into).ok(),
        b"2" => address.parse().map(Ipv6Addr::into).ok(),
        _ if is_number(protocol) => return Err(EprtError::Family),
        _ => None,
    };
    address.map(|address| SocketAddr::new(address, port)).ok_or(EprtError::Syntax)
}

/// Nothing, a protocol number, or `ALL` in any case (RFC 2428 §3).
///
/// # Errors
///
/// See [`EpsvError`].
pub fn parse_epsv(argument: &[u8]) -> Result<EpsvArgument, EpsvError> {
    match argument {
        b"" => Ok(EpsvArgument::None),
        b"1" => Ok(EpsvArgument::Family(Family::V4)),
        b"2" => Ok(EpsvArgument::Family(Family::V6)),
        _ if argument.eq_ignore_ascii_case(b"ALL") => Ok(EpsvArgument::All),
        _ if is_number(argument) => Err(EpsvError::Family),
        _ => Err(EpsvError::Syntax),
    }
}

/// Text of 227. No full stop at the end: middleboxes and clients read up to the parenthesis, and
/// some take a full stop for part of the number.
#[must_use]
pub fn pasv_text(address: SocketAddrV4) -> String {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    format!("Entering Passive Mode ({a},{b},{c},{d},{high},{low})")
}

/// Text of 229 (RFC 2428 §3) [PASV-08].
#[must_use]
pub fn epsv_text(port: u16) -> String {
    format!("Entering Extended Passive Mode (|||{port}|)")
}

fn is_number(field: &[u8]) -> bool {
    !field.is_empty() && field.iter().all(u8::is_ascii_digit)
}

fn decimal_u16(field: &[u8]) -> Option<u16> {
    // `u16::from_str` alone would take a plus sign.
    if !is_number(field) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    #[track_caller]
    fn check_port(argument: &str, expected: Option<&str>) {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(parse_port(argument.as_bytes()).ok(), expected, "{argument}");
    }

    #[test]
    fn port() {
        check_port("127,0,0,1,4,0", Some("127.0.0.1:1024"));
        check_port("255,255,255,255,255,255", Some("255.255.255.255:65535"));
        check_port("0,0,0,0,0,1", Some("0.0.0.0:1"));
        check_port("127,000,000,001,004,001", Some("127.0.0.1:1025"));
        for bad in [
            "",
            ",,,,,",
            "127,0,0,1,4",
            "127,0,0,1,4,0,0",
            "127,0,0,1,4,0,",
            ",127,0,0,1,4,0",
            "256,0,0,1,4,0",
            "127,0,0,1,256,0",
            "127,0,0,1,0,0",
            "127,0,0,1,4,-1",
            "127,0,0,1,4,+1",
            "127, 0,0,1,4,0",
            " 127,0,0,1,4,0",
            "127.0.0.1.4.0",
            "127,0,0,1,4,0000",
            "127,0,0,1,4,99999999999999999999",
            "0x7f,0,0,1,4,0",
            "|1|127.0.0.1|1024|",
        ] {
            check_port(bad, None);
        }
    }

    #[track_caller]
    fn check_eprt(argument: &str, expected: Result<&str, EprtError>) {
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(parse_eprt(argument.as_bytes()), expected, "{argument}");
    }

    #[test]
    fn eprt() {
        check_eprt("|1|132.235.1.2|6275|", Ok("132.235.1.2:6275"));
        check_eprt("|2|1080::8:800:200C:417A|5282|", Ok("[1080::8:800:200c:417a]:5282"));
        check_eprt("!2!::1!1!", Ok("[::1]:1"));
        check_eprt("~1~1.2.3.4~65535~", Ok("1.2.3.4:65535"));
        check_eprt("|2|::ffff:1.2.3.4|9|", Ok("[::ffff:1.2.3.4]:9"));
        check_eprt("|3|x|1|", Err(EprtError::Family));
        check_eprt("|0|1.2.3.4|1|", Err(EprtError::Family));
        check_eprt("|99999999999999999999|1.2.3.4|1|", Err(EprtError::Family));
        for bad in [
            "",
            "|",
            "||||",
            "|1|1.2.3.4|21",
            "1|1.2.3.4|21|",
            "|1|1.2.3.4|21||",
            "|1|1.2.3.4|21|x",
            "|1|1.2.3.4|0|",
            "|1|1.2.3.4|65536|",
            "|1|1.2.3.4|-1|",
            "|1|1.2.3.4|+1|",
            "|1|1.2.3.4||",
            "|1|1.2.3|21|",
            "|1|::1|21|",
            "|2|1.2.3.4|21|",
            "|2|[::1]|21|",
            "|2|fe80::1%eth0|21|",
            "||1.2.3.4|21|",
            "|x|1.2.3.4|21|",
            "|1|host|21|",
            "|1| 1.2.3.4|21|",
            ".1.1.2.3.4.21.",
            " 1 1.2.3.4 21 ",
            "\u{7f}1\u{7f}1.2.3.4\u{7f}21\u{7f}",
        ] {
            check_eprt(bad, Err(EprtError::Syntax));
        }
    }

    #[test]
    fn epsv() {
        #[track_caller]
        fn check(argument: &str, expected: Result<EpsvArgument, EpsvError>) {
            assert_eq!(parse_epsv(argument.as_bytes()), expected, "{argument}");
        }
        check("", Ok(EpsvArgument::None));
        check("1", Ok(EpsvArgument::Family(Family::V4)));
        check("2", Ok(EpsvArgument::Family(Family::V6)));
        check("ALL", Ok(EpsvArgument::All));
        check("all", Ok(EpsvArgument::All));
        check("3", Err(EpsvError::Family));
        check("99999999999999999999", Err(EpsvError::Family));
        for bad in ["-1", "1 ", "1,2", "ALLO", "x", "+1"] {
            check(bad, Err(EpsvError::Syntax));
        }
    }

    #[test]
    fn texts() {
        let address = "192.0.2.7:65281".parse().unwrap();
        assert_eq!(pasv_text(address), "Entering Passive Mode (192,0,2,7,255,1)");
        assert_eq!(epsv_text(6446), "Entering Extended Passive Mode (|||6446|)");
    }

    #[test]
    fn no_input_panics_and_what_is_accepted_has_a_port() {
        let mut random = Random::new(0x9027);
        for _ in 0..100_000 {
            let argument = random.octets(32, b"|||12.:,,0a9 \r\n\0ALL");
            assert!(parse_port(&argument).map_or(1, |address| address.port()) > 0);
            assert!(parse_eprt(&argument).map_or(1, |address| address.port()) > 0);
            assert_eq!(parse_epsv(&argument) == Ok(EpsvArgument::None), argument.is_empty());
        }
    }
}
