//! SIGTERM: no new sessions, 421 to the idle, running transfers to their end or to the deadline,
//! exit 0.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::content::bytes;
use crate::reload::ctl;
use crate::support::client::split_lines;
use crate::support::server::BOTH_LISTENERS;
use crate::support::wait::{PATIENCE, Stopwatch, wait_until};
use crate::support::{Client, End, Listener, Server, Wire};

/// Larger than every buffer between the two processes.
const BIG: usize = 64 << 20;

#[test]
fn idle_sessions_are_told_and_closed() {
    let mut server = Server::start();
    let mut clients = vec![
        Client::plain(&server),
        Client::explicit(&server),
        Client::explicit(&server).login(),
        Client::implicit(&server),
        Client::implicit(&server).login(),
    ];
    let mut waiting = Client::implicit(&server).login();
    let _data = waiting.passive();
    clients.push(waiting);
    // One that has not even sent a ClientHello.
    let silent = Wire::connect(server.address(Listener::Implicit));
    server.terminate();
    for mut client in clients {
        client.expect_reply(421);
        let clean = if client.wire.tls().is_some() { End::CloseNotify } else { End::Fin };
        client.expect_end(clean);
    }
    assert!(server.wait().success());
    drop(silent);
}

#[test]
fn running_transfers_finish() {
    let mut server = Server::builder().toml("[limits]\nshutdown_timeout = \"30s\"").start();
    let content = bytes(BIG, 1);
    fs::write(server.root().join("big"), &content).unwrap();

    let mut down = Client::implicit(&server).login();
    down.expect("TYPE I", 200);
    let down_data = down.begin("RETR big");
    let mut up = Client::explicit(&server).login();
    up.expect("TYPE I", 200);
    let mut up_data = up.begin("STOR up");
    up_data.send(&content[..BIG / 2]).unwrap();

    let mut idle = Client::implicit(&server).login();
    server.terminate();
    idle.expect_reply(421);
    assert_refused(&server, Listener::Implicit);
    assert_refused(&server, Listener::Explicit);

    let received = down.receive(down_data);
    assert!(received == content, "{} octets of the download", received.len());
    down.expect_reply(421);
    up.deliver(up_data, &content[BIG / 2..]);
    up.expect_reply(421);
    assert!(server.wait().success());
    assert!(fs::read(server.root().join("up")).unwrap() == content, "the upload differs");
}

#[test]
fn stalled_transfer_is_cut_at_the_deadline() {
    let mut server = Server::builder().toml("[limits]\nshutdown_timeout = \"1s\"").start();
    fs::write(server.root().join("big"), bytes(BIG, 1)).unwrap();
    let mut down = Client::implicit(&server).login();
    let mut down_data = down.begin("RETR big");
    let mut up = Client::explicit(&server).login();
    let mut up_data = up.begin("STOR up");
    up_data.send(b"a little").unwrap();

    let watch = Stopwatch::start();
    server.terminate();
    assert!(server.wait().success());
    let took = watch.elapsed();
    assert!(took > Duration::from_millis(900), "cut before the deadline: {took:?}");
    assert!(took < PATIENCE / 2, "cut late: {took:?}");
    let (_, end) = down_data.read_to_end();
    assert_ne!(end, End::CloseNotify, "a cut download ended as if complete");
    assert!(!server.root().join("up").exists(), "a cut upload became visible");
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 1, "something was left");
}

/// A listing is a transfer too.
#[test]
fn listing_finishes() {
    let mut server = Server::start();
    for index in 0..3000 {
        fs::write(server.root().join(format!("{index:0200}")), "").unwrap();
    }
    let mut client = Client::implicit(&server).login();
    let data = client.begin("MLSD");
    server.terminate();
    let lines = split_lines(&client.receive(data));
    let files = lines.iter().filter(|line| line.starts_with(b"type=file;"));
    assert_eq!(files.count(), 3000, "of {} lines", lines.len());
    client.expect_reply(421);
    assert!(server.wait().success());
}

/// Whoever asks hears that the server is not ready, and everybody is served all the same, until the
/// time is over or the end is asked for again.
#[test]
fn accepting_goes_on_for_the_delay() {
    let delayed = |delay: &str| {
        let config = format!("[limits]\ndrain_delay = \"{delay}\"\nshutdown_timeout = \"30s\"");
        Server::builder().toml(&config).start()
    };
    let ready = |server: &Server| {
        let status = ctl(server, &["status", "--json"]).success().out();
        serde_json::from_str::<serde_json::Value>(&status).unwrap()["ready"].clone()
    };
    let mut server = delayed("1h");
    assert_eq!(ready(&server), true);
    let mut before = Client::implicit(&server).login();
    ctl(&server, &["drain"]).success();
    wait_until("the end to begin", || ready(&server) == false);
    before.expect("NOOP", 200);
    for listener in BOTH_LISTENERS {
        let mut client = Client::open(&server, listener).login();
        client.store("STOR up", b"content");
        client.quit();
    }
    server.terminate();
    before.expect_reply(421);
    assert!(server.wait().success());

    let watch = Stopwatch::start();
    let mut server = delayed("500ms");
    // A person at the keyboard does not wait for it.
    let mut other = delayed("1h");
    other.signal(Signal::INT);
    server.terminate();
    assert!(server.wait().success());
    assert!(watch.elapsed() > Duration::from_millis(500));
    assert!(other.wait().success());
}

/// A second SIGTERM while transfers run does not break the first.
#[test]
fn second_signal_changes_nothing() {
    let mut server = Server::start();
    let mut client = Client::implicit(&server).login();
    let data = client.begin("STOR up");
    server.terminate();
    server.terminate();
    client.deliver(data, b"content");
    client.expect_reply(421);
    assert!(server.wait().success());
    assert_eq!(fs::read(server.root().join("up")).unwrap(), b"content");
}

/// New connections are refused, or closed without a greeting: all of them, once every shard has
/// closed its listeners.
#[track_caller]
fn assert_refused(server: &Server, listener: Listener) {
    wait_until("no shard listens any more", || {
        let Ok(stream) = TcpStream::connect_timeout(&server.address(listener), PATIENCE) else {
            return true;
        };
        let mut wire = Wire::new(stream);
        // A silent connection to the implicit port may still be in the kernel's hands.
        wire.set_patience(Duration::from_millis(500));
        let (bytes, end) = wire.read_to_end();
        if bytes.starts_with(b"220 ") {
            return false; // by a shard that had not heard yet; it says 421 next
        }
        assert!(bytes.is_empty() || bytes.starts_with(b"421 "), "{}", bytes.escape_ascii());
        end != End::Timeout
    });
}
