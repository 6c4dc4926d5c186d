//! The client beside the TLS library's own server, in memory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::{
    io::{Read, Write},
    sync::Arc,
};

use rustls::{
    AlertDescription, Error, ProtocolVersion, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
    pki_types::PrivateKeyDer,
    version::{TLS12 as VERSION_12, TLS13 as VERSION_13},
};

use super::record::{ALERT, APPLICATION_DATA, HANDSHAKE, Keys, OVERHEAD_MAX};
use super::{ClientHandshake, TlsClient, TlsOptions, TlsSettings, TlsVersion};
use crate::{
    client::TicketStore,
    measure::{Channel, Resumption},
};

const TLS13: [&str; 3] =
    ["TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"];
const TLS12: [&str; 3] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

fn all() -> impl Iterator<Item = &'static str> {
    TLS13.into_iter().chain(TLS12)
}

struct Site {
    server: Arc<ServerConfig>,
    store: Arc<TicketStore>,
}

impl Site {
    fn new() -> Self {
        Self::of_versions(&[&VERSION_12, &VERSION_13])
    }

    fn of_versions(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder_with_protocol_versions(versions)
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        server.enable_secret_extraction = true;
        Self { server: Arc::new(server), store: Arc::new(TicketStore::new(8)) }
    }

    fn server(&self) -> ServerConnection {
        ServerConnection::new(Arc::clone(&self.server)).unwrap()
    }

    fn handshake(&self, settings: &TlsSettings) -> ClientHandshake {
        settings.connect(settings.resuming(&self.store), &self.store).unwrap()
    }

    fn session(&self, suite: &str, piece: usize) -> (TlsClient, ServerConnection, Vec<u8>) {
        self.session_with(&settings(suite), piece)
    }

    /// A session, whose server speaks first: right behind its handshake, as with implicit TLS.
    /// The client gets the octets in pieces of `piece`.
    fn session_with(
        &self,
        settings: &TlsSettings,
        piece: usize,
    ) -> (TlsClient, ServerConnection, Vec<u8>) {
        let mut client = self.handshake(settings);
        let mut server = self.server();
        server.set_buffer_limit(None);
        server.writer().write_all(b"220 ready\r\n").unwrap();
        let mut wire = Vec::new();
        let mut done = client.advance(&mut wire).unwrap();
        while !done {
            give(&mut server, &wire);
            wire.clear();
            let answer = taken(&mut server);
            assert!(!answer.is_empty(), "both wait");
            let mut pieces = answer.chunks(piece);
            for octets in pieces.by_ref() {
                client.receive(octets);
                done = client.advance(&mut wire).unwrap();
                if done {
                    break;
                }
            }
            // What comes behind the handshake, in one piece with its end.
            pieces.for_each(|octets| client.receive(octets));
        }
        give(&mut server, &wire);
        let mut client = client.finish().unwrap();
        let mut said = Vec::new();
        client.receive_early(|octets| said.extend_from_slice(octets)).unwrap();
        said.extend(opened(&mut client, &taken(&mut server), piece));
        (client, server, said)
    }
}

fn settings(suite: &str) -> TlsSettings {
    let version = if suite.starts_with("TLS13") { TlsVersion::Tls13 } else { TlsVersion::Tls12 };
    let options = TlsOptions { version, suites: vec![suite.to_owned()], ..TlsOptions::default() };
    TlsSettings::new(&options, "localhost".try_into().unwrap()).unwrap()
}

/// What the server has to send.
fn taken(server: &mut ServerConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut wire).unwrap();
    }
    wire
}

fn give(server: &mut ServerConnection, mut wire: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while !wire.is_empty() {
        server.read_tls(&mut wire).unwrap();
        server.process_new_packets().unwrap();
        // It is an error to have nothing to read.
        let _ = server.reader().read_to_end(&mut plain);
    }
    plain
}

/// As the channel does it.
fn opened(client: &mut TlsClient, wire: &[u8], piece: usize) -> Vec<u8> {
    let mut plain = Vec::new();
    for octets in wire.chunks(piece) {
        let mut octets = [client.pending(), octets].concat();
        client.receive(&mut octets, |content| plain.extend_from_slice(content)).unwrap();
        assert!(client.pending().len() < TlsClient::PENDING_MAX);
    }
    plain
}

fn sealed(client: &mut TlsClient, plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    let length = client.seal(plain, &mut wire).unwrap();
    wire.truncate(length);
    wire
}

fn contents(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

#[test]
fn octets_of_any_number_go_both_ways() {
    let site = Site::new();
    for suite in all() {
        for piece in [1, 4099, usize::MAX] {
            let (mut client, mut server, said) = site.session(suite, piece);
            assert_eq!(said, b"220 ready\r\n", "{suite} {piece}");
            assert_eq!(client.facts(Channel::Control).names.suite, suite);
            for length in [1, 16_384, 16_385, 65_536, 0, 100_001] {
                let plain = contents(length);
                assert_eq!(give(&mut server, &sealed(&mut client, &plain)), plain, "{suite}");
                server.writer().write_all(&plain).unwrap();
                let came = opened(&mut client, &taken(&mut server), piece);
                assert_eq!(came, plain, "{suite} {piece} {length}");
            }
        }
    }
}

#[test]
fn both_ends_say_that_they_end() {
    for suite in all() {
        let (mut client, mut server, _) = Site::new().session(suite, usize::MAX);
        server.send_close_notify();
        let mut wire = taken(&mut server);
        assert!(!client.is_closed());
        // What follows is ignored, be it what it may.
        wire.extend_from_slice(b"GET / HTTP/1.1");
        assert_eq!(opened(&mut client, &wire, usize::MAX), b"");
        assert!(client.is_closed(), "{suite}");
        let mut wire = Vec::new();
        let length = client.seal_close(&mut wire).unwrap();
        server.read_tls(&mut &wire[..length]).unwrap();
        assert!(server.process_new_packets().unwrap().peer_has_closed(), "{suite}");
        assert_eq!(client.seal_close(&mut wire).unwrap(), 0, "it is said once");
    }
}

#[test]
fn sessions_are_resumed() {
    for suite in all() {
        let site = Site::new();
        // A session is resumed only under the settings it was made with.
        let settings = settings(suite);
        let (client, ..) = site.session_with(&settings, usize::MAX);
        assert_eq!(client.facts(Channel::Control).resumption, Resumption::NotOffered);
        assert_eq!(site.store.available(), if suite.starts_with("TLS13") { 2 } else { 1 });
        let (client, ..) = site.session_with(&settings, 7);
        assert_eq!(client.facts(Channel::Control).resumption, Resumption::Resumed, "{suite}");
        assert!(client.certificate().is_some(), "{suite}");
    }
}

/// What the library's server cannot be made to send, sealed with its keys: in order, until the
/// client has enough.
fn receive_all(suite: &str, records: &[(u8, &[u8])]) -> Result<(TlsClient, Vec<u8>), Error> {
    let (mut client, server, _) = Site::new().session(suite, usize::MAX);
    let secrets = server.dangerous_extract_secrets().unwrap();
    let version = match suite.starts_with("TLS13") {
        true => ProtocolVersion::TLSv1_3,
        false => ProtocolVersion::TLSv1_2,
    };
    let mut keys = Keys::new(version, &secrets.tx).unwrap();
    let mut plain = Vec::new();
    for (kind, content) in records {
        let mut wire = vec![0; content.len() + OVERHEAD_MAX];
        let length = keys.seal(*kind, content, &mut wire).unwrap();
        client.receive(&mut wire[..length], |octets| plain.extend_from_slice(octets))?;
    }
    Ok((client, plain))
}

/// RFC 8446 §5.1, §4.6; RFC 5246 §7.2, §7.4.1.1.
#[test]
fn records_mean_what_their_version_says() {
    const UPDATE: &[u8] = &[24, 0, 0, 1, 0];
    const WARNING: (u8, &[u8]) = (ALERT, &[1, 90]);
    const DATA: (u8, &[u8]) = (APPLICATION_DATA, b"data");
    let wrong = |suite: &str, records: &[(u8, &[u8])]| {
        assert!(receive_all(suite, records).is_err(), "{suite} {records:?}");
    };
    for suite in all() {
        let (client, plain) =
            receive_all(suite, &[DATA, WARNING, (APPLICATION_DATA, b"")]).unwrap();
        assert_eq!((&plain[..], client.is_closed()), (&b"data"[..], false), "{suite}");
        wrong(suite, &[WARNING; 5]);
        wrong(suite, &[(ALERT, &[2, 40])]);
        wrong(suite, &[(ALERT, &[1])]);
        wrong(suite, &[(20, &[1])]);
        // A certificate; and a message that would be too long.
        wrong(suite, &[(HANDSHAKE, &[11, 0, 0, 0])]);
        wrong(suite, &[(HANDSHAKE, &[24, 1, 0, 1])]);
        // A message that is not whole, and data in between.
        wrong(suite, &[(HANDSHAKE, &UPDATE[..2]), DATA]);
    }
    for suite in TLS13 {
        // In two records; but with the next message in the same one, which has the old keys.
        let whole = [(HANDSHAKE, &UPDATE[..2]), (HANDSHAKE, &UPDATE[2..])];
        assert!(receive_all(suite, &whole).is_ok(), "{suite}");
        wrong(suite, &[(HANDSHAKE, &[UPDATE, &UPDATE[..1]].concat())]);
        wrong(suite, &[(HANDSHAKE, &[24, 0, 0, 1, 2])]);
        // Only close_notify and user_canceled are no errors.
        wrong(suite, &[(ALERT, &[1, 100])]);
        // A ticket of no form.
        wrong(suite, &[(HANDSHAKE, &[4, 0, 0, 1, 0])]);
    }
    for suite in TLS12 {
        assert!(receive_all(suite, &[(HANDSHAKE, &[0, 0, 0, 0]), (ALERT, &[1, 100])]).is_ok());
        wrong(suite, &[(HANDSHAKE, UPDATE)]);
    }
}

/// RFC 8446 §4.6.3.
#[test]
fn keys_change_when_either_end_wants_it() {
    for suite in TLS13 {
        let (mut client, mut server, _) = Site::new().session(suite, usize::MAX);
        for _ in 0..3 {
            server.refresh_traffic_keys().unwrap();
            server.writer().write_all(b"behind it").unwrap();
            assert_eq!(opened(&mut client, &taken(&mut server), 3), b"behind it", "{suite}");
            assert!(client.owes(), "the server has asked for ours");
            let mut wire = Vec::new();
            let length = client.seal_owed(&mut wire).unwrap();
            assert_eq!(give(&mut server, &wire[..length]), b"");
            assert!(!client.owes());
            assert_eq!(give(&mut server, &sealed(&mut client, b"ours")), b"ours", "{suite}");
        }
        // As many records as a key may seal.
        client.limit = 5;
        let plain = contents(40_000);
        for _ in 0..4 {
            assert_eq!(give(&mut server, &sealed(&mut client, &plain)), plain, "{suite}");
        }
    }
    // In TLS 1.2 there is no other key.
    for suite in TLS12 {
        let (mut client, ..) = Site::new().session(suite, usize::MAX);
        client.limit = 5;
        let mut wire = Vec::new();
        client.seal(&contents(40_000), &mut wire).unwrap();
        client.seal(&contents(40_000), &mut wire).unwrap_err();
    }
}

#[test]
fn what_the_server_never_sent_is_an_error() {
    for suite in all() {
        for place in [5, 20, 40] {
            let (mut client, mut server, _) = Site::new().session(suite, usize::MAX);
            server.writer().write_all(&contents(60)).unwrap();
            let mut wire = taken(&mut server);
            wire[place] ^= 1;
            let error = client.receive(&mut wire, |_| panic!("nobody vouches for it"));
            assert_eq!(error, Err(Error::DecryptError), "{suite} {place}");
        }
        // No record, one in clear, and one that is too long.
        for wire in [&b"421 bye\r\n"[..], &[21, 3, 3, 0, 2, 1, 0], &[23, 3, 3, 0xff, 0xff, 0]] {
            let (mut client, ..) = Site::new().session(suite, usize::MAX);
            let mut wire = wire.to_vec();
            client.receive(&mut wire, |_| panic!("nobody vouches for it")).unwrap_err();
            assert!(!client.is_closed(), "{suite}");
        }
    }
}

#[test]
fn alerts_of_the_server_are_told() {
    let site = Site::of_versions(&[&VERSION_12]);
    let mut client = site.handshake(&settings(TLS13[0]));
    let mut server = site.server();
    let mut wire = Vec::new();
    assert!(!client.advance(&mut wire).unwrap());
    server.read_tls(&mut wire.as_slice()).unwrap();
    server.process_new_packets().unwrap_err();
    client.receive(&taken(&mut server));
    let error = client.advance(&mut Vec::new()).unwrap_err();
    assert_eq!(error, Error::AlertReceived(AlertDescription::ProtocolVersion));
}

#[test]
fn what_answers_in_clear_is_refused_at_once() {
    let site = Site::new();
    for greeting in [&b"2"[..], b"220", b"220 ready\r\n", b"HTTP/1.1 400 Bad Request\r\n"] {
        let mut client = site.handshake(&settings(TLS12[0]));
        assert!(!client.advance(&mut Vec::new()).unwrap());
        client.receive(greeting);
        let mut wire = Vec::new();
        client.advance(&mut wire).unwrap_err();
        assert_eq!(wire[..5], [21, 3, 3, 0, 2], "an alert says so");
    }
}
