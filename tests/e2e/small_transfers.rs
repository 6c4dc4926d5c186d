//! Small files and listings by the thousand: which ports are used again, what leaves in one write,
//! which side closes first. Each test checks the octets, too.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use crate::content::bytes;
use crate::process::first_cpu;
use crate::support::server::counter;
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

/// A server on one shard, so that its counters are those of the test.
fn server(extra: &str) -> Server {
    let config = format!("[shards]\ncpus = \"{}\"\n{extra}", first_cpu());
    Server::builder().toml(&config).start()
}

/// RETR in passive mode; the contents, and the port they came from.
#[track_caller]
fn retrieve(client: &mut Client, name: &str) -> (Vec<u8>, SocketAddr) {
    let address = client.epsv();
    let mut data = Wire::connect(address);
    client.expect(format!("RETR {name}"), 150);
    client.secure(&mut data);
    (client.receive(data), address)
}

/// Contents of every size around the bound of one write arrive whole, and only the small ones are
/// counted as sent in one.
#[test]
fn contents_of_any_size_are_right() {
    let server = server("");
    let sizes = [0, 1, 4096, 32 * 1024 - 1, 32 * 1024, 32 * 1024 + 1, 300_000];
    for size in sizes {
        fs::write(server.root().join(format!("f{size}")), bytes(size, 7)).unwrap();
    }
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
        client.expect("TYPE I", 200);
        for size in sizes {
            assert!(retrieve(&mut client, &format!("f{size}")).0 == bytes(size, 7), "{size}");
            let restart = size / 3;
            client.expect(format!("REST {restart}"), 350);
            let rest = retrieve(&mut client, &format!("f{size}")).0;
            assert!(rest == bytes(size, 7)[restart..], "{size} from {restart}");
        }
        client.quit();
    }
    // A write of a few octets into an empty socket always goes at once.
    let log = server.stop();
    let at_once = counter(&log, "downloads_in_one_write");
    let downloads = counter(&log, "downloads");
    assert_eq!(downloads, 28);
    assert!((16..=24).contains(&at_once), "{at_once} of {downloads}");
    let sends = counter(&log, "download_sends");
    assert!(sends >= downloads - at_once, "{sends} sends of what did not leave at once");
}

/// A port serves its session again after a transfer whose TLS proved to be the session's, not for
/// ever, and never while it rests. Without that proof every port is new.
#[test]
fn ports_serve_their_session_again() {
    let server = server("");
    fs::write(server.root().join("file"), "content").unwrap();
    let mut ports = [BTreeSet::new(), BTreeSet::new()];
    let proving = Client::implicit(&server).login();
    let tls = server.tls().no_resumption();
    let other = Client::open_with(&server, Listener::Implicit, tls).login();
    for (mut client, ports) in [proving, other].into_iter().zip(&mut ports) {
        for _ in 0..32 {
            let (content, address) = retrieve(&mut client, "file");
            assert_eq!(content, b"content");
            assert!(std::net::TcpStream::connect(address).is_err(), "open while it rests");
            ports.insert(address.port());
        }
        client.quit();
    }
    assert!((2..=4).contains(&ports[0].len()), "{:?}", ports[0]);
    assert!(ports[1].len() > 16, "{:?}", ports[1]);
    let log = server.stop();
    let (opened, reused) = (counter(&log, "passive_opened"), counter(&log, "passive_reused"));
    assert_eq!(opened + reused, 64);
    assert!(reused >= 28, "{opened} opened, {reused} reused");
}

/// A range of two ports serves three sessions that all have one resting or want one.
#[test]
fn resting_ports_do_not_use_a_range_up() {
    let server = server("[passive]\nports = \"28371-28372\"");
    fs::write(server.root().join("file"), "content").unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| Client::implicit(&server).login()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            assert_eq!(retrieve(client, "file").0, b"content");
        }
    }
    clients.into_iter().for_each(Client::quit);
}

/// After close_notify the client may close first, and the server keeps nothing in TIME_WAIT; a
/// client that waits for the FIN gets it soon.
#[test]
fn the_client_may_close_first() {
    let server = server("");
    fs::write(server.root().join("file"), "content").unwrap();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let mut ours = BTreeSet::new();
    for _ in 0..10 {
        let address = client.epsv();
        let mut data = Wire::connect(address);
        let source = data.tcp().local_addr().unwrap();
        client.expect("RETR file", 150);
        client.secure(&mut data);
        assert_eq!(client.receive(data), b"content");
        ours.insert((address.port(), source.port()));
    }
    wait_until("the server's ends to be gone", || {
        connections().all(|connection| !ours.contains(&connection))
    });

    let mut data = client.begin("RETR file");
    assert_eq!(data.read_to_end(), (b"content".to_vec(), End::CloseNotify));
    client.expect_reply(226);
    data.forget_tls();
    assert_eq!(data.read_to_end(), (Vec::new(), End::Fin));
    client.quit();
}

/// Local and remote port of every IPv4 connection of this host, those in TIME_WAIT included.
fn connections() -> impl Iterator<Item = (u16, u16)> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let ports: Vec<(u16, u16)> = table
        .lines()
        .skip(1)
        .map(|line| {
            let mut columns = line.split_whitespace().skip(1);
            let mut port = || {
                let (_, port) = columns.next().unwrap().split_once(':').unwrap();
                u16::from_str_radix(port, 16).unwrap()
            };
            (port(), port())
        })
        .collect();
    ports.into_iter()
}

/// Replies of pipelined commands arrive in order and whole, those around a transfer included.
#[test]
fn replies_of_pipelined_commands() {
    let server = server("");
    fs::write(server.root().join("file"), "content").unwrap();
    let mut client = Client::implicit(&server).login();
    let mut data = client.passive();
    client.expect("RETR file", 150);
    for _ in 0..100 {
        client.send("NOOP");
        client.send("SIZE file");
    }
    client.secure(&mut data);
    assert_eq!(client.receive(data), b"content");
    for _ in 0..100 {
        client.expect_reply(200);
        client.expect_reply(213);
    }
    client.quit();
}
