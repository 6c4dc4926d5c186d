//! Where the data connection is: the replies to PASV and EPSV, the arguments of PORT and EPRT.
//! RFC 959 §4.1.2, RFC 1123 §4.1.2.6, RFC 2428. Text in, addresses out; no connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How the data connection is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DataMode {
    /// EPSV, RFC 2428 §3: the control connection's peer, at the port replied.
    Epsv,
    /// PASV, and the control connection's peer at the port replied, as most clients do: right
    /// behind a NAT, and safe from a server that points elsewhere.
    Pasv,
    /// PASV, and the address replied, which must be the server's own: the control connection's
    /// peer, or for a server on this host another loopback address.
    PasvReply,
    /// PORT: the server connects.
    Port,
    /// EPRT, RFC 2428 §2: the server connects.
    Eprt,
}

/// The port in a 229 reply's text: `(|||port|)` with any delimiter from 33 to 126, RFC 2428 §3.
#[must_use]
pub fn parse_epsv(text: &str) -> Option<u16> {
    let (_, rest) = text.rsplit_once('(')?;
    let (inside, _) = rest.split_once(')')?;
    let delimiter = inside.chars().next().filter(|c| ('!'..='~').contains(c))?;
    if delimiter.is_ascii_digit() {
        return None;
    }
    let port = inside.strip_prefix(&[delimiter; 3].iter().collect::<String>())?;
    parse_port(port.strip_suffix(delimiter)?)
}

/// The address in a 227 reply's text: six numbers, with or without parentheses, RFC 1123
/// §4.1.2.6 ("must scan the reply for the first digit").
#[must_use]
pub fn parse_pasv(text: &str) -> Option<(Ipv4Addr, u16)> {
    let begin = text.find(|c: char| c.is_ascii_digit())?;
    let numbers = &text[begin..];
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(numbers.len());
    let mut octets = [0_u8; 6];
    let mut parts = numbers[..end].split(',');
    for octet in &mut octets {
        let part = parts.next()?;
        *octet = part.parse().ok().filter(|_| part.len() <= 3)?;
    }
    let [a, b, c, d, high, low] = octets;
    let port = u16::from_be_bytes([high, low]);
    (parts.next().is_none() && port != 0).then_some((Ipv4Addr::new(a, b, c, d), port))
}

/// The command line that tells the server where to connect.
#[must_use]
pub fn active_command(mode: DataMode, address: SocketAddr) -> String {
    let port = address.port();
    match (mode, address.ip()) {
        (DataMode::Port, IpAddr::V4(ip)) => {
            let ([a, b, c, d], [high, low]) = (ip.octets(), port.to_be_bytes());
            format!("PORT {a},{b},{c},{d},{high},{low}")
        }
        // PORT has no form for IPv6 (RFC 2428 §1).
        (_, IpAddr::V6(ip)) => format!("EPRT |2|{ip}|{port}|"),
        (_, IpAddr::V4(ip)) => format!("EPRT |1|{ip}|{port}|"),
    }
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port != 0)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{DataMode, active_command, parse_epsv, parse_pasv};

    #[test]
    fn epsv() {
        #[track_caller]
        fn check(text: &str, expected: Option<u16>) {
            assert_eq!(parse_epsv(text), expected, "{text:?}");
        }
        check("Entering Extended Passive Mode (|||6446|)", Some(6446));
        check("(see below) (!!!65535!)", Some(65535));
        check("(|||0|)", None);
        check("(|||65536|)", None);
        check("(||1|6446|)", None);
        check("(|||+644|)", None);
        check("(|||6446)", None);
        check("(1112341)", None);
        check("()", None);
        check("|||6446|", None);
        check("(éée5é)", None);
    }

    #[test]
    fn pasv() {
        #[track_caller]
        fn check(text: &str, expected: Option<([u8; 4], u16)>) {
            let expected = expected.map(|(ip, port)| (Ipv4Addr::from(ip), port));
            assert_eq!(parse_pasv(text), expected, "{text:?}");
        }
        check("Entering Passive Mode (127,0,0,1,4,1).", Some(([127, 0, 0, 1], 1025)));
        check("=127,0,0,1,4,1", Some(([127, 0, 0, 1], 1025)));
        check("(127,0,0,1,0,0)", None);
        check("(127,0,0,256,4,1)", None);
        check("(127,0,0,1,4)", None);
        check("(127,0,0,1,4,1,9)", None);
        check("(127,0,,1,4,1)", None);
        check("(0127,0,0,1,4,1)", None);
        check("none", None);
    }

    #[test]
    fn active_commands() {
        let four = "127.0.0.1:1025".parse().unwrap();
        assert_eq!(active_command(DataMode::Port, four), "PORT 127,0,0,1,4,1");
        assert_eq!(active_command(DataMode::Eprt, four), "EPRT |1|127.0.0.1|1025|");
        let six = "[::1]:1025".parse().unwrap();
        assert_eq!(active_command(DataMode::Port, six), "EPRT |2|::1|1025|");
    }
}
