//! The header by which a proxy introduces a client (PROXY protocol, versions 1 and 2): octets in,
//! addresses out. The crate `ppp` reads it; here is what this server makes of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ppp::{PartialResult, v1, v2};

/// The shortest header there is, octets: `PROXY UNKNOWN` and CRLF. As many can be read before
/// anything is known, and belong to it.
pub const PROXY_HEADER_BYTES_MIN: usize = 15;

/// The longest header taken, octets. The addresses are 28 or 52 octets of it; proxies add what they
/// know of the client's TLS, of which a certificate's names are the longest.
pub const PROXY_HEADER_BYTES_MAX: usize = 4096;

/// What octets are, as far as they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// All of them belong to a header that has more.
    Incomplete,
    /// The first so many are a whole header.
    Complete(usize, Introduced),
}

/// Whom the proxy speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introduced {
    /// Itself: a look at whether the server is well (LOCAL), or it does not tell (UNKNOWN, and
    /// clients that have no address of the Internet).
    Nobody,
    /// A client.
    Client {
        /// Its address, as the proxy sees it.
        source: SocketAddr,
        /// The proxy's address that it connected to.
        destination: SocketAddr,
    },
}

/// No header, or one that this server does not take.
#[derive(Debug, PartialEq)]
pub enum ProxyHeaderError {
    /// Broken, or something else.
    Broken(Broken),
    /// Longer than [`PROXY_HEADER_BYTES_MAX`], of version 1 longer than its 107 octets.
    TooLong,
    /// About a client that does not speak TCP.
    NotTcp,
    /// The client's address is none that a client can have.
    NoHost(IpAddr),
}

/// What is wrong with it.
#[derive(Debug, PartialEq)]
pub enum Broken {
    /// As version 1.
    Text(v1::BinaryParseError),
    /// As version 2.
    Binary(v2::ParseError),
}

impl fmt::Display for ProxyHeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(Broken::Text(error)) => write!(f, "no PROXY header: {error}"),
            Self::Broken(Broken::Binary(error)) => write!(f, "no PROXY header: {error}"),
            Self::TooLong => f.write_str("the PROXY header does not end"),
            Self::NotTcp => f.write_str("the PROXY header is about a client without TCP"),
            Self::NoHost(address) => {
                write!(f, "the PROXY header is about {address}, which is no client's address")
            }
        }
    }
}

impl std::error::Error for ProxyHeaderError {}

impl ProxyHeader {
    /// Looks at the octets that a connection begins with. What stands in a header besides the
    /// addresses is skipped.
    ///
    /// # Errors
    ///
    /// However they go on, they are no header.
    pub fn parse(octets: &[u8]) -> Result<Self, ProxyHeaderError> {
        if octets.starts_with(TEXT_BEGINS) || TEXT_BEGINS.starts_with(octets) {
            return Self::parse_text(octets);
        }
        if announced(octets).is_some_and(|length| length > PROXY_HEADER_BYTES_MAX) {
            return Err(ProxyHeaderError::TooLong);
        }
        match v2::Header::try_from(octets) {
            Ok(header) => Ok(Self::Complete(header.len(), of_binary(&header)?)),
            Err(error) if error.is_incomplete() => Ok(Self::Incomplete),
            Err(error) => Err(ProxyHeaderError::Broken(Broken::Binary(error))),
        }
    }

    /// Version 1. The crate is given whole lines only: of parts it takes some for broken ones.
    fn parse_text(octets: &[u8]) -> Result<Self, ProxyHeaderError> {
        let within = &octets[..octets.len().min(TEXT_BYTES_MAX)];
        let Some(end) = within.iter().position(|octet| *octet == b'\n') else {
            let fits = octets.len() < TEXT_BYTES_MAX;
            return if fits { Ok(Self::Incomplete) } else { Err(ProxyHeaderError::TooLong) };
        };
        match v1::Header::try_from(&octets[..=end]) {
            Ok(header) => Ok(Self::Complete(end + 1, of_text(&header.addresses)?)),
            Err(error) => Err(ProxyHeaderError::Broken(Broken::Text(error))),
        }
    }
}

/// The length of a header of version 2, once it has said so.
fn announced(octets: &[u8]) -> Option<usize> {
    let rest = octets.strip_prefix(v2::PROTOCOL_PREFIX)?;
    let length = rest.get(2..4)?.first_chunk::<2>()?;
    Some(BINARY_HEAD_BYTES + usize::from(u16::from_be_bytes(*length)))
}

fn of_text(addresses: &v1::Addresses) -> Result<Introduced, ProxyHeaderError> {
    match addresses {
        v1::Addresses::Unknown => Ok(Introduced::Nobody),
        v1::Addresses::Tcp4(ends) => client(
            (ends.source_address.into(), ends.source_port),
            (ends.destination_address.into(), ends.destination_port),
        ),
        v1::Addresses::Tcp6(ends) => client(
            (ends.source_address.into(), ends.source_port),
            (ends.destination_address.into(), ends.destination_port),
        ),
    }
}

fn of_binary(header: &v2::Header<'_>) -> Result<Introduced, ProxyHeaderError> {
    if header.command == v2::Command::Local {
        return Ok(Introduced::Nobody);
    }
    let is_tcp = header.protocol == v2::Protocol::Stream;
    match header.addresses {
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => Ok(Introduced::Nobody),
        _ if !is_tcp => Err(ProxyHeaderError::NotTcp),
        v2::Addresses::IPv4(ends) => client(
            (ends.source_address.into(), ends.source_port),
            (ends.destination_address.into(), ends.destination_port),
        ),
        v2::Addresses::IPv6(ends) => client(
            (ends.source_address.into(), ends.source_port),
            (ends.destination_address.into(), ends.destination_port),
        ),
    }
}

fn client(
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
) -> Result<Introduced, ProxyHeaderError> {
    // A proxy that listens on one socket for both families has clients of IPv4 as mapped.
    let (host, reached) = (source.0.to_canonical(), destination.0.to_canonical());
    if host.is_unspecified() || host.is_multicast() {
        return Err(ProxyHeaderError::NoHost(host));
    }
    Ok(Introduced::Client {
        source: SocketAddr::new(host, source.1),
        destination: SocketAddr::new(reached, destination.1),
    })
}

/// What a header of version 1 begins with.
const TEXT_BEGINS: &[u8] = b"PROXY ";

/// The longest header of version 1, with its CRLF.
const TEXT_BYTES_MAX: usize = 107;

/// What a header of version 2 begins with: its signature, two octets of kinds, and the length of
/// the rest.
const BINARY_HEAD_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(source: &str, destination: &str) -> Introduced {
        let [source, destination] = [source, destination].map(|text| text.parse().unwrap());
        Introduced::Client { source, destination }
    }

    fn binary(kinds: [u8; 2], rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &kinds, &length, rest].concat()
    }

    const ENDS_V4: [u8; 12] = [192, 0, 2, 7, 203, 0, 113, 5, 0xc3, 0x50, 0x03, 0xde];

    /// A header is found whole behind each of its beginnings, and whatever follows is left alone.
    #[track_caller]
    fn check(header: &[u8], expected: Introduced) {
        for end in 0..header.len() {
            assert_eq!(ProxyHeader::parse(&header[..end]), Ok(ProxyHeader::Incomplete), "{end}");
        }
        for behind in [&b""[..], b"\x16\x03\x01", b"PROXY UNKNOWN\r\n"] {
            let found = ProxyHeader::parse(&[header, behind].concat());
            assert_eq!(found, Ok(ProxyHeader::Complete(header.len(), expected)));
        }
        assert!(header.len() >= PROXY_HEADER_BYTES_MIN);
    }

    #[test]
    fn clients() {
        let expected = from("192.0.2.7:50000", "203.0.113.5:990");
        check(b"PROXY TCP4 192.0.2.7 203.0.113.5 50000 990\r\n", expected);
        check(&binary([0x21, 0x11], &ENDS_V4), expected);
        // Server name and ALPN of the client's TLS, and a type that nobody knows.
        let extras = [&ENDS_V4[..], &[1, 0, 3, b'f', b't', b'p', 2, 0, 1, b'h', 0xee, 0, 0]];
        check(&binary([0x21, 0x11], &extras.concat()), expected);
        // Extras that are no extras are skipped all the same.
        check(&binary([0x21, 0x11], &[&ENDS_V4[..], &[1, 0xff, 0xff]].concat()), expected);
        check(
            b"PROXY TCP6 2001:db8::7 2001:db8::5 50000 21\r\n",
            from("[2001:db8::7]:50000", "[2001:db8::5]:21"),
        );
        check(b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:203.0.113.5 50000 990\r\n", expected);
        let ends = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0x20, 1, 0xd, 0xb8], &[0; 11]];
        let ends = [&ends.concat()[..], &[5, 0xc3, 0x50, 0, 21]].concat();
        check(&binary([0x21, 0x21], &ends), from("[2001:db8::7]:50000", "[2001:db8::5]:21"));
    }

    #[test]
    fn nobody() {
        check(b"PROXY UNKNOWN\r\n", Introduced::Nobody);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", Introduced::Nobody);
        check(&binary([0x20, 0x00], &[]), Introduced::Nobody);
        // LOCAL, whatever addresses it comes with.
        check(&binary([0x20, 0x11], &ENDS_V4), Introduced::Nobody);
        check(&binary([0x21, 0x00], &[]), Introduced::Nobody);
        check(&binary([0x21, 0x31], &[b'/'; 216]), Introduced::Nobody);
    }

    #[track_caller]
    fn refused(octets: &[u8]) -> ProxyHeaderError {
        ProxyHeader::parse(octets).unwrap_err()
    }

    #[test]
    fn no_headers() {
        for octets in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
            b"USER alice\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"PROXY TCP4 192.0.2.7 203.0.113.5 50000 99999\r\n",
            b"PROXY TCP4 192.0.2.7 203.0.113.5 050000 990\r\n",
            b"PROXY TCP4 2001:db8::7 2001:db8::5 50000 21\r\n",
            b"PROXY  TCP4 192.0.2.7 203.0.113.5 50000 990\r\n",
            b"PROXY TCP4 192.0.2.7 203.0.113.5 50000 990 \r\n",
            b"PROXY TCP4 192.0.2.7 203.0.113.5 50000 990\n\n",
            b"PROXY UDP4 192.0.2.7 203.0.113.5 50000 990\r\n",
        ] {
            assert!(matches!(refused(octets), ProxyHeaderError::Broken(_)), "{octets:?}");
        }
        for kinds in [[0x11, 0x11], [0x22, 0x11], [0x21, 0x41], [0x21, 0x13]] {
            let error = refused(&binary(kinds, &ENDS_V4));
            assert!(matches!(error, ProxyHeaderError::Broken(Broken::Binary(_))), "{error}");
        }
        assert!(matches!(refused(&binary([0x21, 0x11], &[0; 8])), ProxyHeaderError::Broken(_)));
        assert_eq!(refused(&binary([0x21, 0x12], &ENDS_V4)), ProxyHeaderError::NotTcp);
        let nowhere = ProxyHeaderError::NoHost("0.0.0.0".parse().unwrap());
        assert_eq!(refused(b"PROXY TCP4 0.0.0.0 203.0.113.5 50000 990\r\n"), nowhere);
        assert_eq!(
            nowhere.to_string(),
            "the PROXY header is about 0.0.0.0, which is no client's \
                                         address"
        );
    }

    #[test]
    fn headers_without_an_end() {
        let text = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        assert_eq!(ProxyHeader::parse(&text[..TEXT_BYTES_MAX - 1]), Ok(ProxyHeader::Incomplete));
        ProxyHeader::parse(&text[..TEXT_BYTES_MAX]).unwrap_err();
        ProxyHeader::parse(&text).unwrap_err();
        let extras = vec![0; PROXY_HEADER_BYTES_MAX - BINARY_HEAD_BYTES];
        check(&binary([0x20, 0x00], &extras), Introduced::Nobody);
        // Known by what it announces, before it comes.
        let over = binary([0x20, 0x00], &[&extras[..], &[0]].concat());
        assert_eq!(refused(&over[..BINARY_HEAD_BYTES]), ProxyHeaderError::TooLong);
    }
}
