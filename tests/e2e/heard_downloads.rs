//! What clients say while they are sent to, and clients that read late: nothing they may say costs
//! them an octet, and nothing that must fail passes for a 226.

use std::fs;
use std::time::Duration;

use rustls::{AlertDescription, Error, SupportedProtocolVersion};
use socket2::SockRef;

use crate::content::bytes;
use crate::process::other_end_is_open;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::{PATIENCE, Stopwatch, pause};
use crate::support::{Client, End, Listener, Server, Wire};

/// Octets on the wire of a KeyUpdate: header, message, content type, tag.
const KEY_UPDATE_BYTES: usize = 5 + 5 + 1 + 16;

/// The ways of a download in user space: batches of records, text, a listing. `big` has no line
/// ends, so that it is the same as text.
const WAYS: [&[&str]; 3] = [&["TYPE I", "RETR big"], &["TYPE A", "RETR big"], &["MLSD many"]];

type Versions = &'static [&'static SupportedProtocolVersion];

/// Protocol versions, and the level of PROT.
const WAYS_OF_READING: [(Versions, &str); 3] = [(TLS13, "P"), (TLS12, "P"), (TLS13, "C")];

fn server() -> Server {
    let server = Server::builder().toml("[tls]\nktls = \"off\"").start();
    let content: Vec<u8> = bytes(6 << 20, 1).iter().map(|octet| octet | 0x40).collect();
    fs::write(server.root().join("big"), content).unwrap();
    fs::create_dir(server.root().join("many")).unwrap();
    for number in 0..3_000 {
        let name = format!("{number:0>200}");
        fs::write(server.root().join("many").join(name), "").unwrap();
    }
    server
}

/// A download under way over a connection that takes little at a time: the server waits for room.
#[track_caller]
fn narrow(client: &mut Client, commands: &[&str]) -> Wire {
    let (last, before) = commands.split_last().unwrap();
    for command in before {
        client.expect(command, 200);
    }
    let mut data = client.passive();
    SockRef::from(data.tcp()).set_recv_buffer_size(16 * 1024).unwrap();
    client.expect(last, 150);
    client.secure(&mut data);
    data.fill_with_data().unwrap();
    data
}

/// KeyUpdates that ask for one in return get it, one for all or one for each, and the download goes
/// on (RFC 8446 §4.6.3). A client that ends its half first reads on (§6.1); data is not heeded.
#[test]
fn what_a_client_may_say() {
    let server = server();
    for versions in [TLS13, TLS12] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
        for commands in WAYS {
            let mut data = narrow(&mut client, commands);
            let mut answers = 0;
            let mut rounds = 0;
            let end = loop {
                if rounds < 10 && data.received.len() > rounds * 16_384 {
                    rounds += 1;
                    let mut said = data.seal(b"data");
                    if versions == TLS13 {
                        said.extend(data.seal_key_update());
                    }
                    data.send_raw(&said).unwrap();
                    if rounds == 10 {
                        data.close_notify().unwrap();
                        data.fin();
                    }
                }
                match data.fill_record() {
                    Ok(KEY_UPDATE_BYTES) if versions == TLS13 => answers += 1,
                    Ok(_) => {}
                    Err(end) => break end,
                }
            };
            assert_eq!((end, rounds), (End::CloseNotify, 10), "{commands:?}");
            client.expect_reply(226);
            assert_eq!(answers > 0, versions == TLS13, "{commands:?}");
            assert!(answers <= 10);
            if commands.contains(&"RETR big") {
                assert!(data.received == fs::read(server.root().join("big")).unwrap());
            }
        }
        client.quit();
    }
}

/// A record that does not authenticate: an alert says so, 426. A fatal alert of the client: 426.
/// At once, though the client reads nothing meanwhile.
#[test]
fn what_ends_a_download() {
    let server = server();
    for versions in [TLS13, TLS12] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
        for commands in WAYS {
            let mut data = narrow(&mut client, commands);
            let forged = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
            data.send_raw(&forged).unwrap();
            client.expect_reply(426);
            let (_, end) = data.read_to_end();
            let told = End::Tls(Error::AlertReceived(AlertDescription::BadRecordMac));
            // The alert waits for no room: on a full socket the end comes without it.
            assert!(end == told || end == End::Fin || end == End::Reset, "{end:?}");

            let mut data = narrow(&mut client, commands);
            let alert = data.provoke_alert();
            data.send_raw(&alert).unwrap();
            client.expect_reply(426);
        }
        client.quit();
    }
}

/// The alert itself, where the socket has room for it: the client reads as fast as it can.
#[test]
fn a_bad_record_is_told() {
    let server = Server::start();
    fs::write(server.root().join("file"), bytes(64 << 20, 2)).unwrap();
    for versions in [TLS13, TLS12] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
        let mut data = client.begin("RETR file");
        data.fill_with_data().unwrap();
        data.send_raw(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).unwrap();
        let (_, end) = data.read_to_end();
        let told = End::Tls(Error::AlertReceived(AlertDescription::BadRecordMac));
        assert!(end == told || end == End::Fin, "{end:?}");
        client.expect_reply(426);
        client.quit();
    }
}

/// A download of `file` of which the client has read no more than it took for the server to be
/// done, which it is (226), under TLS of `versions` or with PROT C.
#[track_caller]
fn half_read(server: &Server, versions: Versions, level: &str) -> (Client, Wire) {
    let tls = server.tls().versions(versions);
    let mut client = Client::open_with(server, Listener::Explicit, tls).login();
    client.private = level == "P";
    client.expect(format!("PROT {level}"), 200);
    client.expect("TYPE I", 200);
    let mut data = client.passive();
    SockRef::from(data.tcp()).set_recv_buffer_size(8 * 1024).unwrap();
    client.expect("RETR file", 150);
    client.secure(&mut data);
    client.wire.set_patience(Duration::from_millis(50));
    while client.wire.tcp().peek(&mut [0]).is_err() {
        data.fill_with_data().unwrap();
    }
    client.wire.set_patience(PATIENCE);
    client.expect_reply(226);
    (client, data)
}

/// A client that has not read all when the server is done, and then says something, long after the
/// moment that others need to close: it still gets all, under TLS and in the clear.
#[test]
fn a_slow_reader_that_speaks_late() {
    let server = Server::builder().toml("[policy]\nrequire_data_tls = false").start();
    let content = bytes(400_000, 3);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut readers = Vec::new();
    for (versions, level) in WAYS_OF_READING {
        let (client, data) = half_read(&server, versions, level);
        assert!(data.received.len() < content.len(), "all was read already");
        readers.push((client, data));
    }
    // Longer than a connection is kept whose client has everything.
    pause(Duration::from_millis(2_500));
    for (client, mut data) in readers {
        let said = match data.tls().map(|tls| tls.protocol_version()) {
            Some(Some(rustls::ProtocolVersion::TLSv1_3)) => data.seal_key_update(),
            Some(_) => data.seal(b"late"),
            None => b"late".to_vec(),
        };
        data.send_raw(&said).unwrap();
        pause(Duration::from_millis(50));
        let clean = if data.tls().is_some() { End::CloseNotify } else { End::Fin };
        let (received, end) = data.read_to_end();
        assert_eq!((received.len(), end), (content.len(), clean));
        assert!(received == content);
        client.quit();
    }
}

/// And one that reads nothing more is let go when it has taken nothing for the stall timeout, no
/// sooner and not never; one that takes a little now and then stays.
#[test]
fn a_reader_that_has_stopped_is_let_go() {
    // Longer than a connection is kept whose client has everything.
    const STALL: Duration = Duration::from_secs(3);
    let config = "[limits]\nstall_timeout = \"3s\"\n[policy]\nrequire_data_tls = false";
    let server = Server::builder().toml(config).start();
    fs::write(server.root().join("file"), bytes(400_000, 4)).unwrap();
    let mut readers = Vec::new();
    for (versions, level) in WAYS_OF_READING {
        let (client, data) = half_read(&server, versions, level);
        readers.push((client, data, Stopwatch::start(), None));
    }
    let (slow, mut reading) = half_read(&server, TLS13, "P");
    let (watch, mut rounds) = (Stopwatch::start(), 0);
    while readers.iter().any(|(.., kept)| kept.is_none()) {
        for (_, data, watch, kept) in &mut readers {
            if kept.is_none() && !other_end_is_open(data.tcp()) {
                *kept = Some(watch.elapsed());
            }
            assert!(watch.elapsed() < PATIENCE, "still there after {:?}", watch.elapsed());
        }
        if watch.elapsed() > rounds * Duration::from_millis(1_500) {
            assert!(other_end_is_open(reading.tcp()), "after {:?}", watch.elapsed());
            // Enough for the window to open.
            (0..3).for_each(|_| reading.fill_with_data().unwrap());
            rounds += 1;
        }
        pause(Duration::from_millis(5));
    }
    assert_eq!(reading.read_to_end().1, End::CloseNotify);
    slow.quit();
    for (mut client, _, _, kept) in readers {
        assert!(kept.unwrap() >= STALL, "let go after {kept:?}");
        client.expect("NOOP", 200);
        client.quit();
    }
}
