//! Clients that mean harm, on data connections: bounce, theft, half-open connections, silence.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use crate::content::bytes;
use crate::process::{descriptors, descriptors_at_rest, first_cpu};
use crate::support::client::{accept, eprt_command, port_command};
use crate::support::server::BOTH_LISTENERS;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::Stopwatch;
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Short deadlines for data connections.
const SHORT: &str = "[limits]\ndata_timeout = \"1s\"\nstall_timeout = \"1s\"";

/// What a one-second deadline may take on a busy machine.
const SOON: Duration = Duration::from_secs(6);

/// PORT and EPRT reach nobody but the client, and no privileged port
/// \[PORT-02, PORT-03, EPRT-04\], RFC 2577 §3.
#[test]
fn bounce() {
    let server = Server::start();
    fs::write(server.root().join("file"), "content").unwrap();
    let victim = TcpListener::bind((OTHER, 0)).unwrap();
    victim.set_nonblocking(true).unwrap();
    let address = victim.local_addr().unwrap();
    for listener in BOTH_LISTENERS {
        let mut client = Client::open(&server, listener).login();
        let own = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        for command in [
            port_command(address),
            eprt_command(address),
            port_command(own(25)),
            eprt_command(own(1023)),
            port_command(own(0)),
            eprt_command(own(0)),
            eprt_command("[::1]:40000".parse().unwrap()),
            "PORT 127,0,0,1,256,1".to_owned(),
            "PORT 127,0,0,1,1".to_owned(),
            "EPRT |1|localhost|40000|".to_owned(),
            "EPRT |1|127.0.0.1|65536|".to_owned(),
            "EPRT |3|127.0.0.1|40000|".to_owned(),
        ] {
            let reply = client.cmd(&command);
            assert!(reply.code >= 500, "{command} → {reply:?}");
            client.expect("RETR file", 425);
        }
        client.quit();
    }
    let nobody = victim.accept().map(|_| ()).unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "the victim was reached");
}

/// A connection from another address to the passive port is closed, and the owner still served
/// \[PASV-04, PASV-05\].
#[test]
fn passive_theft_from_another_address() {
    let server = Server::start();
    fs::write(server.root().join("file"), "content").unwrap();
    for listener in BOTH_LISTENERS {
        let mut client = Client::open(&server, listener).login();
        let address = client.epsv();
        let mut thief = Wire::connect_from(OTHER, address);
        client.send("RETR file");
        let (stolen, end) = thief.read_to_end();
        assert!(stolen.is_empty(), "{}", stolen.escape_ascii());
        assert_ne!(end, End::Timeout, "the thief is kept");
        let mut data = Wire::connect(address);
        client.expect_reply(150);
        client.secure(&mut data);
        assert_eq!(client.receive(data), b"content");
        client.quit();
    }
}

/// From the same address only the TLS session tells: under `require` a thief gets and gives
/// nothing \[PASV-06, PASV-06b\]. Not at the second try either: tickets of a refused handshake
/// must not be tickets of the session that refused it.
#[test]
fn passive_theft_from_the_same_address() {
    let server = Server::builder().toml("[tls]\ndata_resumption = \"require\"").start();
    fs::write(server.root().join("file"), "content").unwrap();
    for versions in [TLS12, TLS13] {
        let owner = server.tls().versions(versions);
        // The thief begins with nothing, or with a session of its own as another user.
        let accomplice = Client::open_with(&server, Listener::Implicit, owner.clone().fresh());
        let accomplice = accomplice.login_as("bob");
        for tls in [owner.clone().fresh(), accomplice.tls.clone()] {
            let mut client = Client::open_with(&server, Listener::Explicit, owner.clone()).login();
            for command in ["RETR file", "RETR file", "STOR planted", "MLSD", "STOR planted"] {
                let address = client.epsv();
                let mut thief = Wire::connect(address);
                client.expect(command, 150);
                if thief.handshake(&tls).is_ok() {
                    let _ = thief.send(b"planted content");
                    let _ = thief.close_notify();
                }
                let (stolen, _) = thief.read_to_end();
                assert!(stolen.is_empty(), "{command}: {}", stolen.escape_ascii());
                client.expect_reply(522);
                assert!(!server.root().join("planted").exists());
            }
            assert_eq!(client.retrieve("RETR file"), b"content");
            client.quit();
        }
        accomplice.quit();
    }
}

/// Beside the owner's connection another gets nothing, and after its handshake none gets in
/// \[PASV-13\].
#[test]
fn second_connection_to_a_passive_port() {
    let server = Server::start();
    fs::write(server.root().join("file"), "content").unwrap();
    let mut client = Client::implicit(&server).login();
    let address = client.epsv();
    let mut data = Wire::connect(address);
    client.expect("RETR file", 150);
    let second = std::net::TcpStream::connect(address);
    client.secure(&mut data);
    if let Ok(tcp) = second {
        let (stolen, end) = Wire::new(tcp).read_to_end();
        assert!(stolen.is_empty() && end != End::Timeout, "{stolen:?} {end:?}");
    }
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!(client.receive(data), b"content");
    client.quit();
}

/// Nobody connects, nobody shakes hands, nobody moves a byte: each ends with its reply at its
/// deadline, and the session goes on \[BG-03, BG-04, PORT-09\].
#[test]
fn half_open_data_connections() {
    let server = Server::builder().toml(SHORT).start();
    fs::write(server.root().join("file"), "content").unwrap();
    fs::write(server.root().join("big"), bytes(64 << 20, 1)).unwrap();
    let mut client = Client::implicit(&server).login();
    let before = descriptors_at_rest(server.pid());

    // PASV, then no connection at all.
    client.epsv();
    within_deadline(&mut client, "RETR file", &[425]);
    // A connection without a handshake: the 150 does not wait for it \[DTLS-08\].
    for command in ["RETR file", "STOR up", "MLSD"] {
        let data = client.passive();
        client.expect(command, 150);
        ended(&mut client, &[425, 426, 522]);
        drop(data);
    }
    // Half a ClientHello.
    let mut data = client.passive();
    let hello = data.begin_handshake(&server.tls());
    data.send_raw(&hello[..hello.len() / 2]).unwrap();
    client.expect("STOR up", 150);
    ended(&mut client, &[425, 426, 522]);
    // A handshake, then silence; some bytes, then silence.
    for sent in [&b""[..], b"some bytes"] {
        let mut data = client.begin("STOR up");
        data.send(sent).unwrap();
        ended(&mut client, &[426]);
    }
    // A download nobody reads.
    let data = client.begin("RETR big");
    ended(&mut client, &[426]);
    drop(data);
    // Active mode: connected, then silence.
    let listener = client.port();
    client.expect("RETR file", 150);
    let silent = accept(&listener);
    ended(&mut client, &[425, 426, 522]);
    drop(silent);
    assert!(!server.root().join("up").exists());
    wait_until("no descriptor left behind", || descriptors(server.pid()) <= before);
    client.quit();
}

/// PROT P: what is not TLS is not data \[IMP-11, DTLS-12\].
#[test]
fn clear_text_on_a_protected_data_connection() {
    let server = Server::start();
    for listener in BOTH_LISTENERS {
        let mut client = Client::open(&server, listener).login();
        for sent in [&b"plain text, no TLS"[..], &bytes(100_000, 5)] {
            let mut data = client.passive();
            client.expect("STOR up", 150);
            // The server may reset before everything is sent.
            let _ = data.send_raw(sent);
            data.fin();
            let reply = client.reply();
            assert!(matches!(reply.code, 425 | 426 | 522), "{reply:?}");
            assert!(!server.root().join("up").exists());
        }
        client.expect("NOOP", 200);
        client.quit();
    }
}

/// 300 times PASV leave one listener, and QUIT leaves none \[PASV-03, ABUSE-09\].
#[test]
fn passive_storm() {
    // One shard: another one may still be opening its own descriptors while they are counted.
    let config = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder().toml(&config).start();
    let mut client = Client::implicit(&server).login();
    client.epsv();
    let before = descriptors_at_rest(server.pid());
    let mut last = client.epsv();
    for _ in 0..300 {
        last = client.epsv();
        client.pasv();
    }
    wait_until("one listener", || descriptors(server.pid()) <= before);
    let refused = std::net::TcpStream::connect(last).is_err();
    assert!(refused, "a replaced listener still accepts");
    client.quit();
    wait_until("no listener", || descriptors(server.pid()) < before);
}

/// A range that is used up is 425, and never a port outside of it.
#[test]
fn passive_range_exhausted() {
    let ports = free_pair();
    let config = format!(
        "[shards]\ncpus = \"{}\"\n[passive]\nports = \"{}-{}\"",
        first_cpu(),
        ports,
        ports + 1
    );
    let server = Server::builder().toml(&config).start();
    let [mut first, mut second, mut third] = [(); 3].map(|()| Client::implicit(&server).login());
    let mut used = [first.epsv().port(), second.epsv().port()];
    used.sort_unstable();
    assert_eq!(used, [ports, ports + 1]);
    third.expect("EPSV", 425);
    third.expect("PASV", 425);
    first.quit();
    wait_until("the port to be free again", || third.cmd("EPSV").code == 229);
    second.quit();
    third.quit();
}

/// Two neighbouring ports nobody uses just now.
fn free_pair() -> u16 {
    for _ in 0..100 {
        let low = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = low.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind((Ipv4Addr::LOCALHOST, port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free neighbouring ports");
}

#[track_caller]
fn within_deadline(client: &mut Client, command: &str, codes: &[u16]) {
    client.send(command);
    let watch = Stopwatch::start();
    let mut reply = client.reply();
    // RFC 959 lets 150 come before or after the connection.
    if reply.code == 150 {
        reply = client.reply();
    }
    assert!(codes.contains(&reply.code), "{command} → {reply:?}");
    assert!(watch.elapsed() < SOON, "only after {:?}", watch.elapsed());
    client.expect("NOOP", 200);
}

/// The completion reply comes soon, and the session goes on.
#[track_caller]
fn ended(client: &mut Client, codes: &[u16]) {
    let watch = Stopwatch::start();
    let reply = client.reply();
    assert!(codes.contains(&reply.code), "{reply:?}");
    assert!(watch.elapsed() < SOON, "only after {:?}", watch.elapsed());
    client.expect("NOOP", 200);
}

/// Connections that arrive before the command are used by it, and listeners of a session that is
/// over are closed with it.
#[test]
fn abandoned_passive_listener() {
    let server = Server::start();
    let mut client = Client::implicit(&server).login();
    let address = client.epsv();
    client.wire.fin();
    client.expect_close();
    wait_until("the listener to be closed", || std::net::TcpStream::connect(address).is_err());
    let other = Client::open(&server, Listener::Explicit);
    other.quit();
}

/// A client that asks for new keys and does not read the answers, while it is its upload's turn,
/// delays no other upload of its shard.
#[test]
fn an_upload_that_reads_nothing_holds_up_no_other() {
    let config = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder().toml(&config).start();
    let mut silent = Client::open_with(&server, Listener::Implicit, server.tls().versions(TLS13));
    silent = silent.login();
    let mut data = silent.begin("STOR silent");
    data.send(&bytes(1 << 20, 1)).unwrap();
    // Each KeyUpdate is answered, and the answers fill the socket until nothing more is taken.
    data.tcp().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let updates = |data: &mut Wire| {
        let mut wire = Vec::new();
        for _ in 0..100 {
            for _ in 0..30 {
                wire.extend(data.seal_key_update());
            }
            wire.extend(data.seal(b"x"));
        }
        wire
    };
    let mut sent = 0;
    loop {
        let wire = updates(&mut data);
        if data.send_raw(&wire).is_err() {
            break;
        }
        sent += wire.len();
        assert!(sent < 256 << 20, "all of it is read");
    }
    let mut other = Client::implicit(&server).login();
    let watch = Stopwatch::start();
    other.store("STOR other", &bytes(4 << 20, 2));
    assert!(watch.elapsed() < SOON, "only after {:?}", watch.elapsed());
    other.quit();
    drop((silent, data));
}
