//! What a client may not say in TLS, and the alert it gets for it, on the wire: at every stage of
//! control and data connections, in both versions (RFC 8446 §5, §6; RFC 5246 §6, §7).
//!
//! Each row is a connection of its own. The alert has to arrive, under the keys that are due at
//! that stage, and the end after it; and another client's upload goes on all the while.

use std::fs;

use rustls::{AlertDescription, SupportedProtocolVersion};

use crate::content::bytes;
use crate::support::client::accept;
use crate::support::forge::{Sealer, sealers_before_finished, sealers_of};
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Listener, Server, Tls, Wire};

/// A record of the client: content type and content, or octets as they are.
#[derive(Clone, Copy, Debug)]
enum Said {
    Sealed(u8, &'static [u8]),
    Clear(u8, &'static [u8]),
    Raw(&'static [u8]),
}
use Said::{Clear, Raw, Sealed};

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    Alert(AlertDescription),
    /// The end, and no alert.
    NoAlert,
    /// Nothing: the session goes on.
    GoesOn,
    /// The same, under the client's next keys.
    NewKeys,
}
use Due::{GoesOn, NewKeys, NoAlert};

type Row = (&'static [Said], Due);

const UNEXPECTED: Due = Due::Alert(AlertDescription::UnexpectedMessage);
const DECODE: Due = Due::Alert(AlertDescription::DecodeError);
const DECRYPT: Due = Due::Alert(AlertDescription::DecryptError);
const ILLEGAL: Due = Due::Alert(AlertDescription::IllegalParameter);
const OVERFLOW: Due = Due::Alert(AlertDescription::RecordOverflow);
const BAD_MAC: Due = Due::Alert(AlertDescription::BadRecordMac);

const ZEROS: &[u8] = &[0; 100];
const TOO_LONG: &[u8] = &[7; 16_385];
const WARNING: Said = Sealed(21, &[1, 90]);
const CLEAR_WARNING: Said = Clear(21, &[1, 90]);
const EMPTY: Said = Sealed(23, &[]);
const FORGED: &[u8] = &forged();

const fn forged() -> [u8; 45] {
    let mut record = [7; 45];
    (record[0], record[1], record[2], record[3], record[4]) = (23, 3, 3, 0, 40);
    record
}

/// A Finished whose hash is wrong.
const fn finished<const BYTES: usize>(length: u8) -> [u8; BYTES] {
    let mut message = [7; BYTES];
    (message[0], message[1], message[2], message[3]) = (20, 0, 0, length);
    message
}

/// In the place of the ClientHello: there are no keys yet.
const BEFORE_THE_HELLO: &[Row] = &[
    (&[Clear(20, &[1])], UNEXPECTED),
    (&[Clear(21, &[1, 0])], UNEXPECTED),
    (&[Clear(21, &[2, 40])], UNEXPECTED),
    (&[Clear(21, &[])], UNEXPECTED),
    (&[Clear(23, b"USER alice")], UNEXPECTED),
    (&[Clear(23, &[])], UNEXPECTED),
    (&[Clear(24, &[1, 0, 0])], UNEXPECTED),
    (&[Clear(99, &[1])], UNEXPECTED),
    (&[Clear(22, &[])], UNEXPECTED),
    (&[Clear(22, &[0, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[20, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[11, 0, 0, 1, 0])], UNEXPECTED),
    (&[Raw(&[22, 3, 1, 0x40, 1])], OVERFLOW),
    (&[Raw(&[22, 3, 1, 0xff, 0xff])], OVERFLOW),
    (&[Clear(22, &[1, 1, 0, 0])], DECODE),
    (&[Clear(22, &[1, 0, 0, 1, 7])], DECODE),
    // Between the pieces of a ClientHello.
    (&[Clear(22, &[1, 0, 2, 0]), Clear(21, &[1, 90])], UNEXPECTED),
    (&[Clear(22, &[1, 0, 2, 0]), Clear(20, &[1])], UNEXPECTED),
    (&[Clear(22, &[1, 0, 2, 0]), Clear(23, b"x")], UNEXPECTED),
    (&[Clear(22, &[1, 0, 2, 0]), Clear(23, &[])], UNEXPECTED),
    (&[Clear(22, &[1, 0, 2, 0]), Clear(22, &[])], UNEXPECTED),
    (&[Clear(22, &[1, 0, 2, 0]), Raw(&[22, 2, 0, 0, 1])], UNEXPECTED),
    // No TLS at all.
    (&[Raw(b"USER alice\r\n")], NoAlert),
    (&[Raw(b"\x16\x02\x00\x00\x01\x01")], NoAlert),
];

/// From the server's Finished to the client's: the client's records are sealed.
const HANDSHAKE_OF_TLS13: &[Row] = &[
    (&[Sealed(21, &[])], UNEXPECTED),
    (&[Sealed(21, &[1])], DECODE),
    (&[Sealed(21, &[1, 0, 0])], DECODE),
    (&[Sealed(22, &[])], UNEXPECTED),
    (&[Sealed(23, b"x")], UNEXPECTED),
    (&[EMPTY], UNEXPECTED),
    (&[Sealed(20, &[1])], UNEXPECTED),
    (&[Sealed(24, &[1, 0, 0])], UNEXPECTED),
    (&[Sealed(99, &[1])], UNEXPECTED),
    (&[Sealed(0, ZEROS)], UNEXPECTED),
    (&[Sealed(0, &[])], UNEXPECTED),
    (&[Sealed(23, TOO_LONG)], OVERFLOW),
    (&[Raw(&[23, 3, 3, 0x41, 1])], OVERFLOW),
    (&[Raw(&[23, 2, 3, 0, 1])], UNEXPECTED),
    (&[Raw(&[99, 3, 3, 0, 1])], UNEXPECTED),
    (&[Raw(&[24, 3, 3, 0, 1, 22])], UNEXPECTED),
    (&[Raw(FORGED)], BAD_MAC),
    (&[Clear(23, &[])], BAD_MAC),
    // In the clear.
    (&[Clear(22, &finished::<36>(32))], UNEXPECTED),
    (&[Clear(22, &[])], UNEXPECTED),
    (&[Clear(20, &[2])], UNEXPECTED),
    (&[Clear(20, &[1, 1])], UNEXPECTED),
    (&[Clear(20, &[])], UNEXPECTED),
    (&[Clear(21, &[])], UNEXPECTED),
    (&[Clear(21, &[1])], DECODE),
    (&[Clear(21, &[1, 0, 0])], UNEXPECTED),
    (&[Clear(21, &[2, 40])], NoAlert),
    (&[Clear(21, &[1, 40])], NoAlert),
    // Between the pieces of a message.
    (&[Sealed(22, &[20, 0, 0]), Sealed(23, b"x")], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), EMPTY], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), WARNING], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), Sealed(22, &[])], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), Clear(20, &[1])], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), CLEAR_WARNING], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), Raw(&[99, 3, 3, 0, 1])], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0]), Raw(&[23, 3, 3, 0x41, 1])], OVERFLOW),
    (&[Sealed(22, &[20, 0, 0]), Raw(FORGED)], BAD_MAC),
    // Messages.
    (&[Sealed(22, &[24, 0, 0, 1, 0])], UNEXPECTED),
    (&[Sealed(22, &[0, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &[11, 0, 0, 4, 0, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &[1, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &[2, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &[11, 1, 0, 0])], DECODE),
    (&[Sealed(22, &finished::<36>(32))], DECRYPT),
    (&[Sealed(22, &finished::<35>(31))], DECODE),
    (&[Sealed(22, &finished::<37>(33))], DECODE),
    // Alerts that end it, and those that do not, up to a bound.
    (&[Sealed(21, &[2, 40])], NoAlert),
    (&[Sealed(21, &[1, 40])], NoAlert),
    (&[Sealed(21, &[1, 0])], NoAlert),
    (&[WARNING; 5], UNEXPECTED),
    (&[Clear(20, &[1]); 3], UNEXPECTED),
];

/// Up to the client's ChangeCipherSpec nothing is sealed.
const CLEAR_HANDSHAKE_OF_TLS12: &[Row] = &[
    (&[Clear(21, &[])], UNEXPECTED),
    (&[Clear(21, &[1])], DECODE),
    (&[Clear(21, &[1, 0, 0])], DECODE),
    (&[Clear(21, &[7, 90])], ILLEGAL),
    (&[Clear(21, &[2, 40])], NoAlert),
    (&[CLEAR_WARNING; 5], UNEXPECTED),
    (&[Clear(22, &[])], UNEXPECTED),
    (&[Clear(23, b"x")], UNEXPECTED),
    (&[Clear(23, &[])], UNEXPECTED),
    (&[Clear(20, &[])], UNEXPECTED),
    (&[Clear(20, &[2])], UNEXPECTED),
    (&[Clear(20, &[1, 1])], UNEXPECTED),
    (&[Clear(20, &[1])], UNEXPECTED),
    (&[Clear(24, &[1, 0, 0])], UNEXPECTED),
    (&[Clear(99, &[1])], UNEXPECTED),
    (&[Raw(&[22, 2, 3, 0, 1])], UNEXPECTED),
    (&[Raw(&[22, 3, 3, 0x40, 1])], OVERFLOW),
    (&[Clear(22, &[0, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[14, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[1, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[2, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[24, 0, 0, 1, 0])], UNEXPECTED),
    (&[Clear(22, &[16, 1, 0, 0])], DECODE),
    (&[Clear(22, &[16, 0]), Clear(21, &[1, 90])], UNEXPECTED),
    (&[Clear(22, &[16, 0]), Clear(23, b"x")], UNEXPECTED),
    (&[Clear(22, &[16, 0]), Clear(20, &[1])], UNEXPECTED),
    (&[Clear(22, &[16, 0]), Clear(22, &[])], UNEXPECTED),
];

/// From there to its Finished its records are sealed, and ours are not.
const SEALED_HANDSHAKE_OF_TLS12: &[Row] = &[
    (&[Sealed(21, &[])], UNEXPECTED),
    (&[Sealed(21, &[1])], DECODE),
    (&[Sealed(21, &[1, 0, 0])], DECODE),
    (&[Sealed(21, &[2, 40])], NoAlert),
    (&[Sealed(22, &[])], UNEXPECTED),
    (&[Sealed(23, b"x")], UNEXPECTED),
    (&[EMPTY], UNEXPECTED),
    (&[Sealed(20, &[1])], UNEXPECTED),
    (&[Clear(20, &[1])], UNEXPECTED),
    (&[Sealed(24, &[1])], UNEXPECTED),
    (&[Raw(&[22, 2, 3, 0, 1])], UNEXPECTED),
    (&[Raw(&[22, 3, 3, 0x48, 1])], OVERFLOW),
    (&[Sealed(22, TOO_LONG)], OVERFLOW),
    (&[Raw(FORGED)], BAD_MAC),
    (&[Clear(22, &finished::<16>(12))], BAD_MAC),
    (&[Sealed(22, &[20, 0]), Sealed(23, b"x")], UNEXPECTED),
    (&[Sealed(22, &[20, 0]), WARNING], UNEXPECTED),
    (&[Sealed(22, &[20, 0]), Clear(20, &[1])], UNEXPECTED),
    (&[Sealed(22, &[20, 0]), Raw(&[99, 3, 3, 0, 1])], UNEXPECTED),
    (&[Sealed(22, &[14, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &finished::<16>(12))], DECRYPT),
    (&[Sealed(22, &finished::<15>(11))], DECODE),
];

/// A resumed session of TLS 1.2, up to the client's ChangeCipherSpec: ours are sealed, its are not.
const RESUMED_HANDSHAKE_OF_TLS12: &[Row] = &[
    (&[Clear(21, &[])], UNEXPECTED),
    (&[Clear(21, &[1])], DECODE),
    (&[Clear(21, &[2, 40])], NoAlert),
    (&[CLEAR_WARNING; 5], UNEXPECTED),
    (&[Clear(22, &[])], UNEXPECTED),
    (&[Clear(22, &[20, 0]), Clear(20, &[1])], UNEXPECTED),
    (&[Clear(22, &[14, 0, 0, 0])], UNEXPECTED),
    (&[Clear(22, &[16, 1, 0, 0])], DECODE),
    (&[Clear(23, b"x")], UNEXPECTED),
    (&[Clear(20, &[2])], UNEXPECTED),
    (&[Clear(99, &[1])], UNEXPECTED),
    (&[Raw(&[22, 3, 3, 0x40, 1])], OVERFLOW),
];

/// After the handshake.
const SESSION: &[Row] = &[
    (&[Sealed(21, &[])], UNEXPECTED),
    (&[Sealed(21, &[1])], DECODE),
    (&[Sealed(21, &[1, 0, 0])], DECODE),
    (&[Sealed(21, &[2, 80])], NoAlert),
    (&[WARNING], GoesOn),
    (&[WARNING; 33], UNEXPECTED),
    (&[Sealed(22, &[])], UNEXPECTED),
    (&[EMPTY; 32], GoesOn),
    (&[EMPTY; 33], UNEXPECTED),
    (&[Sealed(20, &[1])], UNEXPECTED),
    (&[Sealed(24, &[1, 0, 0])], UNEXPECTED),
    (&[Sealed(99, &[1])], UNEXPECTED),
    (&[Sealed(22, &[0, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &[1, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(22, &[20, 0, 0, 0])], UNEXPECTED),
    (&[Sealed(23, TOO_LONG)], OVERFLOW),
    (&[Raw(FORGED)], BAD_MAC),
    (&[Raw(&[99, 3, 3, 0, 1])], UNEXPECTED),
    (&[Raw(&[23, 2, 3, 0, 1])], UNEXPECTED),
    (&[Raw(&[23, 3, 3, 0xff, 0xff])], OVERFLOW),
    (&[Clear(20, &[1])], UNEXPECTED),
    (&[Clear(20, &[2])], UNEXPECTED),
];

const SESSION_OF_TLS13: &[Row] = &[
    (&[Sealed(0, ZEROS)], UNEXPECTED),
    (&[Sealed(0, &[])], UNEXPECTED),
    (&[Raw(&[23, 3, 3, 0x41, 1])], OVERFLOW),
    (&[Clear(22, &[24, 0, 0, 1, 0])], UNEXPECTED),
    (&[Clear(21, &[1, 0])], UNEXPECTED),
    (&[Sealed(21, &[1, 40])], NoAlert),
    (&[Sealed(22, &[24, 0, 0, 1, 0])], NewKeys),
    (&[Sealed(22, &[24]), Sealed(22, &[0, 0, 1]), Sealed(22, &[0])], NewKeys),
    (&[Sealed(22, &[24, 0, 0, 1, 2])], ILLEGAL),
    (&[Sealed(22, &[24, 0, 0, 1, 255])], ILLEGAL),
    (&[Sealed(22, &[24, 0, 0, 0])], DECODE),
    (&[Sealed(22, &[24, 0, 0, 2, 0, 0])], DECODE),
    (&[Sealed(22, &[24, 0, 0, 1, 0, 24])], UNEXPECTED),
    (&[Sealed(22, &[24, 0, 0, 1]), Sealed(23, b"x")], UNEXPECTED),
    (&[Sealed(22, &[24, 0, 0, 1]), EMPTY], UNEXPECTED),
    (&[Sealed(22, &[24, 0, 0, 1]), WARNING], UNEXPECTED),
    (&[Sealed(22, &[24, 0, 0, 1]), Sealed(22, &[])], UNEXPECTED),
    // The old keys are over with it.
    (&[Sealed(22, &[24, 0, 0, 1, 0]), Sealed(23, b"x")], BAD_MAC),
];

const SESSION_OF_TLS12: &[Row] = &[
    (&[Raw(&[23, 3, 3, 0x48, 1])], OVERFLOW),
    (&[Clear(21, &[1, 0])], BAD_MAC),
    (&[Clear(23, b"NOOP\r\n")], BAD_MAC),
    (&[Sealed(22, &[24, 0, 0, 1, 0])], UNEXPECTED),
    (&[Sealed(21, &[1, 100])], GoesOn),
    (&[Sealed(21, &[3, 40])], ILLEGAL),
];

/// An upload of somebody else, a piece of it at each row.
struct Neighbour {
    client: Client,
    data: Wire,
    sent: Vec<u8>,
}

impl Neighbour {
    fn new(server: &Server) -> Self {
        let mut client = Client::implicit(server).login();
        let data = client.begin("STOR neighbour");
        Self { client, data, sent: Vec::new() }
    }

    fn goes_on(&mut self) {
        let piece = bytes(100, u64::try_from(self.sent.len()).unwrap());
        self.data.send(&piece).unwrap();
        self.sent.extend(piece);
    }

    fn ends(mut self, server: &Server) {
        self.data.finish();
        self.client.expect_reply(226);
        assert!(fs::read(server.root().join("neighbour")).unwrap() == self.sent);
        self.client.quit();
    }
}

/// How far a handshake goes before the row.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    Hello,
    Flight,
    ChangeCipherSpec,
}

/// Sends the records of a row.
#[track_caller]
fn say(wire: &mut Wire, sealer: Option<&Sealer>, said: &[Said]) {
    let mut octets = Vec::new();
    for record in said {
        match *record {
            Sealed(kind, content) => octets.extend(sealer.unwrap().seal(kind, content)),
            Clear(kind, content) => {
                let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
                octets.extend_from_slice(&[kind, 3, 3, high, low]);
                octets.extend_from_slice(content);
            }
            Raw(raw) => octets.extend_from_slice(raw),
        }
    }
    // The server may have refused a part of it already.
    let _ = wire.send_raw(&octets);
}

/// A row in a handshake that has begun on `wire`.
#[track_caller]
fn check_handshake(wire: &mut Wire, tls: &Tls, until: Until, (said, due): Row) {
    let ((), sealers) = sealers_before_finished(|| {
        let hello = wire.begin_handshake(tls);
        if until == Until::Hello {
            return;
        }
        wire.send_raw(&hello).unwrap();
        let mut answer = wire.hear_flight().unwrap();
        // The Finished is not sent.
        answer.pop();
        if until == Until::ChangeCipherSpec {
            wire.send_raw(&answer.concat()).unwrap();
        }
    });
    say(wire, sealers.first(), said);
    let (alert, end) = wire.read_to_alert();
    assert_eq!(alert.map_or(NoAlert, Due::Alert), due, "{until:?} {said:?}");
    assert_ne!(end, End::Timeout, "still open: {until:?} {said:?}");
}

/// A data connection without TLS yet. A passive port stays open for another client half a second
/// after each handshake that has failed, so most are active.
#[track_caller]
fn open_data(client: &mut Client, command: &str, passive: bool) -> Wire {
    if passive {
        let data = client.passive();
        client.expect(command, 150);
        return data;
    }
    let listener = client.port();
    client.expect(command, 150);
    accept(&listener)
}

/// A row in the handshake of the data connection of `command`, whose reply says that it failed.
fn check_data_handshake(
    client: &mut Client,
    command: &str,
    passive: bool,
    tls: &Tls,
    until: Until,
    row: Row,
) {
    let mut data = open_data(client, command, passive);
    check_handshake(&mut data, tls, until, row);
    drop(data);
    let reply = client.reply();
    assert!(matches!(reply.code, 425 | 426 | 522), "{row:?} {reply:?}");
}

/// Rows in handshakes of both kinds of connections.
fn check_handshakes(
    versions: &'static [&'static SupportedProtocolVersion],
    tables: &[(Until, &'static [Row])],
) {
    let server = Server::start();
    fs::write(server.root().join("file"), "content").unwrap();
    let mut neighbour = Neighbour::new(&server);
    let tls = server.tls().versions(versions).no_resumption().forging();
    let mut client = Client::open_with(&server, Listener::Explicit, tls.clone()).login();
    for &(until, rows) in tables {
        for (index, &row) in rows.iter().enumerate() {
            let mut wire = Wire::connect(server.address(Listener::Implicit));
            check_handshake(&mut wire, &tls, until, row);
            let mut explicit = Client::plain(&server);
            explicit.expect("AUTH TLS", 234);
            check_handshake(&mut explicit.wire, &tls, until, row);

            let command = if index % 2 == 0 { "RETR file" } else { "STOR up" };
            check_data_handshake(&mut client, command, index % 5 == 0, &tls, until, row);
            neighbour.goes_on();
        }
    }
    client.quit();
    neighbour.ends(&server);
}

#[test]
fn before_the_client_hello() {
    check_handshakes(TLS13, &[(Until::Hello, BEFORE_THE_HELLO)]);
}

#[test]
fn in_the_handshake_of_tls13() {
    check_handshakes(TLS13, &[(Until::Flight, HANDSHAKE_OF_TLS13)]);
}

#[test]
fn in_the_handshake_of_tls12() {
    check_handshakes(
        TLS12,
        &[
            (Until::Flight, CLEAR_HANDSHAKE_OF_TLS12),
            (Until::ChangeCipherSpec, SEALED_HANDSHAKE_OF_TLS12),
        ],
    );
}

/// The server's ChangeCipherSpec comes first when a session is resumed.
#[test]
fn in_a_resumed_handshake_of_tls12() {
    let server = Server::start();
    let mut neighbour = Neighbour::new(&server);
    let tls = server.tls().versions(TLS12).forging();
    let mut client = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
    for (index, &row) in RESUMED_HANDSHAKE_OF_TLS12.iter().enumerate() {
        let mut wire = Wire::connect(server.address(Listener::Implicit));
        check_handshake(&mut wire, &tls, Until::Flight, row);
        check_data_handshake(&mut client, "STOR up", index % 5 == 0, &tls, Until::Flight, row);
        neighbour.goes_on();
    }
    client.quit();
    neighbour.ends(&server);
}

/// The rows of a version after its handshake.
fn session_rows(versions: &[&SupportedProtocolVersion]) -> Vec<Row> {
    let own = if versions == TLS13 { SESSION_OF_TLS13 } else { SESSION_OF_TLS12 };
    [SESSION, own].concat()
}

#[test]
fn on_a_control_connection() {
    let server = Server::start();
    let mut neighbour = Neighbour::new(&server);
    for versions in [TLS13, TLS12] {
        let tls = server.tls().versions(versions).forging();
        for (said, due) in session_rows(versions) {
            let opened = || Client::open_with(&server, Listener::Explicit, tls.clone()).login();
            let (mut client, sealers) = sealers_of(opened);
            say(&mut client.wire, sealers.last(), said);
            neighbour.goes_on();
            if matches!(due, GoesOn | NewKeys) {
                if due == NewKeys {
                    client.wire.change_keys();
                }
                client.expect("NOOP", 200);
                client.quit();
                continue;
            }
            let (alert, end) = client.wire.read_to_alert();
            assert_eq!(alert.map_or(NoAlert, Due::Alert), due, "{said:?}");
            assert_ne!(end, End::Timeout, "still open: {said:?}");
        }
    }
    neighbour.ends(&server);
}

#[test]
fn in_an_upload() {
    let server = Server::start();
    let mut neighbour = Neighbour::new(&server);
    for versions in [TLS13, TLS12] {
        let tls = server.tls().versions(versions).forging();
        let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
        for (said, due) in session_rows(versions) {
            let (mut data, sealers) = sealers_of(|| client.begin("STOR up"));
            data.send(b"before").unwrap();
            say(&mut data, sealers.last(), said);
            neighbour.goes_on();
            if matches!(due, GoesOn | NewKeys) {
                if due == NewKeys {
                    data.change_keys();
                }
                client.deliver(data, b" and behind");
                assert_eq!(fs::read(server.root().join("up")).unwrap(), b"before and behind");
                fs::remove_file(server.root().join("up")).unwrap();
                continue;
            }
            let (alert, end) = data.read_to_alert();
            assert_eq!(alert.map_or(NoAlert, Due::Alert), due, "{said:?}");
            assert_ne!(end, End::Timeout, "still open: {said:?}");
            drop(data);
            client.expect_reply(426);
            assert!(!server.root().join("up").exists(), "{said:?}");
        }
        client.quit();
    }
    neighbour.ends(&server);
}

/// The alert needs room in the socket: the client takes what comes as fast as it can, and opens it
/// afterwards. Where that is not fast enough the end comes without it, and the row is tried again.
#[test]
fn in_a_download() {
    let server = Server::builder().toml("[tls]\nktls = \"off\"").start();
    fs::write(server.root().join("file"), bytes(32 << 20, 2)).unwrap();
    let mut neighbour = Neighbour::new(&server);
    for versions in [TLS13, TLS12] {
        let tls = server.tls().versions(versions).forging();
        let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
        client.expect("TYPE I", 200);
        for (said, due) in session_rows(versions) {
            neighbour.goes_on();
            let mut tries = 0;
            loop {
                let (mut data, sealers) = sealers_of(|| client.begin("RETR file"));
                say(&mut data, sealers.last(), said);
                if matches!(due, GoesOn | NewKeys) {
                    if due == NewKeys {
                        data.change_keys();
                    }
                    assert!(client.receive(data) == fs::read(server.root().join("file")).unwrap());
                    break;
                }
                let (alert, end) = data.take_to_alert();
                drop(data);
                client.expect_reply(426);
                assert_ne!(end, End::Timeout, "still open: {said:?}");
                if alert.map_or(NoAlert, Due::Alert) == due {
                    break;
                }
                tries += 1;
                assert!(alert.is_none() && tries < 20, "{alert:?} for {said:?}, {tries} tries");
            }
        }
        client.quit();
    }
    neighbour.ends(&server);
}
