//! What a ClientHello offers, as far as a [`TlsProfile`](super::TlsProfile) and a shared passive
//! port ([`Claim`](super::Claim)) need it before rustls sees it. Decides nothing; a ClientHello
//! that it cannot read is left to rustls to refuse.

use bytes::Buf;

/// `supported_groups` (RFC 8422 §5.1.1), `extended_master_secret` (RFC 7627 §5.1) and
/// `supported_versions` (RFC 8446 §4.2.1).
const SUPPORTED_GROUPS: u16 = 10;
const EXTENDED_MASTER_SECRET: u16 = 23;
const SUPPORTED_VERSIONS: u16 = 43;

/// `session_ticket` (RFC 5077 §3.2) and `pre_shared_key` (RFC 8446 §4.2.11).
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;

const CLIENT_HELLO: u8 = 1;
const RANDOM_BYTES: usize = 32;
const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

/// A client's offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer<'a> {
    /// TLS 1.2 is among the versions.
    pub(super) tls12: bool,
    /// TLS 1.3 is among the versions.
    pub(super) tls13: bool,
    /// RFC 7627; without it a resumed TLS 1.2 session proves less.
    pub(super) extended_master_secret: bool,
    suites: &'a [u8],
    groups: &'a [u8],
}

impl<'a> Offer<'a> {
    /// Reads the body of the first record (RFC 8446 §4.1.2). `None` when it is not a whole and
    /// well-formed ClientHello; a ClientHello may be spread over several records, but no client is
    /// known to do it.
    pub(super) fn parse(record_body: &'a [u8]) -> Option<Self> {
        let Parts { legacy_version, suites, mut extensions, .. } = Parts::of(record_body)?;
        let old = legacy_version >= TLS12;
        let mut offer =
            Self { tls12: old, tls13: false, extended_master_secret: false, suites, groups: &[] };
        while extensions.has_remaining() {
            let kind = extensions.try_get_u16().ok()?;
            let mut body = vector(&mut extensions, 2)?;
            match kind {
                SUPPORTED_GROUPS => offer.groups = vector(&mut body, 2)?,
                EXTENDED_MASTER_SECRET => offer.extended_master_secret = true,
                SUPPORTED_VERSIONS => {
                    let versions = vector(&mut body, 1)?;
                    offer.tls12 = contains(versions, TLS12);
                    offer.tls13 = contains(versions, TLS13);
                }
                _ => {}
            }
        }
        Some(offer)
    }

    /// Whether a cipher suite is offered, by its IANA number.
    pub(super) fn has_suite(&self, suite: u16) -> bool {
        contains(self.suites, suite)
    }

    /// Whether a key exchange group is offered, by its IANA number.
    pub(super) fn has_group(&self, group: u16) -> bool {
        contains(self.groups, group)
    }
}

/// What of a ClientHello is read at all.
struct Parts<'a> {
    legacy_version: u16,
    session_id: &'a [u8],
    suites: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Of a message; what is behind it does not matter.
    fn of(mut message: &'a [u8]) -> Option<Self> {
        if message.try_get_u8().ok()? != CLIENT_HELLO {
            return None;
        }
        let mut hello = vector(&mut message, 3)?;
        let legacy_version = hello.try_get_u16().ok()?;
        hello.split_off(..RANDOM_BYTES)?;
        let session_id = vector(&mut hello, 1)?;
        let suites = vector(&mut hello, 2)?;
        vector(&mut hello, 1)?;
        let extensions = if hello.is_empty() { hello } else { vector(&mut hello, 2)? };
        Some(Self { legacy_version, session_id, suites, extensions })
    }
}

/// What a client wants to resume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resumable<'a> {
    /// In TLS 1.3 and with a ticket it is made up.
    pub(super) session_id: &'a [u8],
    /// The first ones; of TLS 1.2, and the identities of TLS 1.3.
    pub(super) tickets: Vec<&'a [u8]>,
}

impl<'a> Resumable<'a> {
    /// Reads a ClientHello, and up to `tickets_max` tickets in it. `None` when it is not
    /// well-formed.
    pub(super) fn parse(message: &'a [u8], tickets_max: usize) -> Option<Self> {
        let Parts { session_id, mut extensions, .. } = Parts::of(message)?;
        let mut tickets = Vec::new();
        while extensions.has_remaining() {
            let kind = extensions.try_get_u16().ok()?;
            let mut body = vector(&mut extensions, 2)?;
            match kind {
                SESSION_TICKET if !body.is_empty() => tickets.push(body),
                PRE_SHARED_KEY => {
                    let mut identities = vector(&mut body, 2)?;
                    while identities.has_remaining() && tickets.len() < tickets_max {
                        tickets.push(vector(&mut identities, 2)?);
                        identities.try_get_u32().ok()?;
                    }
                }
                _ => {}
            }
        }
        tickets.truncate(tickets_max);
        Some(Self { session_id, tickets })
    }
}

/// Whether a list of 16-bit numbers has this one.
fn contains(list: &[u8], number: u16) -> bool {
    list.chunks_exact(2).any(|pair| pair == number.to_be_bytes())
}

/// A vector behind its length, which takes `length_octets` octets (RFC 8446 §3.4).
fn vector<'a>(octets: &mut &'a [u8], length_octets: usize) -> Option<&'a [u8]> {
    let length = octets.try_get_uint(length_octets).ok()?;
    octets.split_off(..usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(length_octets: usize, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&length[4 - length_octets..], body].concat()
    }

    fn numbers(list: &[u16]) -> Vec<u8> {
        list.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, body)].concat()
    }

    fn hello(version: u16, suites: &[u16], extensions: Option<Vec<u8>>) -> Vec<u8> {
        let body = [
            version.to_be_bytes().to_vec(),
            vec![7; RANDOM_BYTES],
            vector(1, &[1, 2, 3]),
            vector(2, &numbers(suites)),
            vector(1, &[0]),
            extensions.map(|list| vector(2, &list)).unwrap_or_default(),
        ]
        .concat();
        [&[CLIENT_HELLO][..], &vector(3, &body)].concat()
    }

    fn modern() -> Vec<u8> {
        let extensions = [
            extension(0, b"any"),
            extension(SUPPORTED_GROUPS, &vector(2, &numbers(&[0x1d, 0x11ec]))),
            extension(EXTENDED_MASTER_SECRET, b""),
            extension(SUPPORTED_VERSIONS, &vector(1, &numbers(&[0x0a0a, TLS13, TLS12]))),
        ];
        hello(TLS12, &[0x1301, 0xc02b], Some(extensions.concat()))
    }

    #[test]
    fn reads_what_is_offered() {
        let text = modern();
        let offer = Offer::parse(&text).unwrap();
        assert!(offer.tls12 && offer.tls13 && offer.extended_master_secret);
        for (suite, expected) in [(0x1301, true), (0xc02b, true), (0x0113, false), (0xc02f, false)]
        {
            assert_eq!(offer.has_suite(suite), expected, "{suite:#x}");
        }
        for (group, expected) in [(0x1d, true), (0x11ec, true), (0x1d11, false), (0x17, false)] {
            assert_eq!(offer.has_group(group), expected, "{group:#x}");
        }
    }

    #[test]
    fn versions_come_from_the_extension_if_there_is_one() {
        #[track_caller]
        fn check(version: u16, extension_list: Option<&[u16]>, expected: (bool, bool)) {
            let extensions = extension_list
                .map(|list| extension(SUPPORTED_VERSIONS, &vector(1, &numbers(list))));
            let text = hello(version, &[0xc02b], extensions);
            let offer = Offer::parse(&text).unwrap();
            assert_eq!((offer.tls12, offer.tls13), expected);
        }
        check(TLS12, None, (true, false));
        check(0x0302, None, (false, false));
        check(TLS12, Some(&[TLS13]), (false, true));
        check(TLS12, Some(&[TLS12]), (true, false));
        check(TLS12, Some(&[0x0302]), (false, false));
    }

    fn resuming() -> Vec<u8> {
        let identity = |ticket: &[u8]| [&vector(2, ticket)[..], &[0, 0, 1, 2]].concat();
        let identities = [identity(b"first"), identity(b"second"), identity(b"third")].concat();
        let binders = vector(2, &[9; 33]);
        let extensions = [
            extension(SESSION_TICKET, b"of TLS 1.2"),
            extension(SUPPORTED_VERSIONS, &vector(1, &numbers(&[TLS13]))),
            extension(PRE_SHARED_KEY, &[vector(2, &identities), binders].concat()),
        ];
        hello(TLS12, &[0x1301], Some(extensions.concat()))
    }

    #[test]
    fn reads_what_is_to_be_resumed() {
        let text = resuming();
        let all: [&[u8]; 4] = [b"of TLS 1.2", b"first", b"second", b"third"];
        for max in 0..6 {
            let expected = all[..max.min(4)].to_vec();
            let seen = Resumable::parse(&text, max).unwrap();
            assert_eq!(seen, Resumable { session_id: &[1, 2, 3], tickets: expected });
        }
        let text = hello(TLS12, &[0x1301], Some(extension(SESSION_TICKET, b"")));
        assert_eq!(Resumable::parse(&text, 4).unwrap().tickets, Vec::<&[u8]>::new());
        let text = hello(TLS12, &[0x1301], None);
        assert_eq!(Resumable::parse(&text, 4).unwrap().tickets, Vec::<&[u8]>::new());
    }

    #[test]
    fn anything_else_is_none_and_nothing_panics() {
        let text = modern();
        for length in 0..text.len() {
            assert_eq!(Offer::parse(&text[..length]), None, "{length}");
        }
        let text = resuming();
        for length in 0..text.len() {
            assert_eq!(Resumable::parse(&text[..length], 4), None, "{length}");
        }
        for position in 0..text.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = text.clone();
                damaged[position] = value;
                let _ = Resumable::parse(&damaged, 4);
            }
        }
        let text = modern();
        assert_eq!(Offer::parse(b"\x02\0\0\0"), None);
        for position in 0..text.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut damaged = text.clone();
                damaged[position] = value;
                let _ = Offer::parse(&damaged);
            }
        }
    }
}
