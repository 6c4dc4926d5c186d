//! Several sessions at one passive port, and data connections from other addresses than the
//! client's: who gets what (RFC 2577 §8, RFC 4217 §10.2) \[PASV-04, PASV-05, DTLS-11\].

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::thread;

use crate::process::first_cpu;
use crate::reload::{accepted, set};
use crate::run::{DEADLINE, run};
use crate::support::ports::free_ports;
use crate::support::server::counter;
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, Listener, Server, Wire, program, wait_until};

const HOSTS: &str = "[listen]\nimplicit = [\"127.0.0.1:0\", \"[::1]:0\"]\n";

/// One shard, with one passive port. Users u0 to u5 may read.
fn server(config: &str) -> Server {
    let cpu = first_cpu();
    let port = free_ports(&[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()], 1);
    let ports = format!("[shards]\ncpus = \"{cpu}\"\n[passive]\nports = \"{port}-{port}\"");
    let mut builder = Server::builder().toml(HOSTS).toml(&ports).toml(config);
    for number in 0..6 {
        builder = builder.user(&format!("u{number}"), &["read"], "");
    }
    let server = builder.start();
    fs::write(server.root().join("file"), "content").unwrap();
    server
}

/// A session that begins at this address of the server.
fn session(server: &Server, address: SocketAddr, user: &str, tls12: bool) -> Client {
    let mut client = Client::from_wire(server, Listener::Implicit, Wire::connect(address));
    client.server = address;
    client.use_tls(server.tls().versions(if tls12 { TLS12 } else { TLS13 }));
    client.start_tls();
    client.expect_reply(220);
    client.private = true;
    client.login_as(user)
}

fn connect(client: &Client, to: SocketAddr) -> Wire {
    let mut data = Wire::connect(to);
    client.secure(&mut data);
    assert!(data.resumed());
    data
}

/// PASV or EPSV, listings and files, IPv4 and IPv6: whoever comes first at the port.
#[test]
fn all_transfers_at_one_port() {
    let server = server("");
    let addresses = server.addresses(Listener::Implicit).to_vec();
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        let mut alice = session(&server, address, "alice", false);
        let mut bob = session(&server, address, "bob", true);
        for (of_alice, of_bob) in [("LIST", "RETR file"), ("STOR up", "MLSD"), ("NLST", "LIST")] {
            let port = alice.epsv();
            let other = if address.is_ipv4() { bob.pasv() } else { bob.epsv() };
            assert_eq!(other, port);
            bob.expect(of_bob, 150);
            alice.expect(of_alice, 150);
            let data = connect(&bob, port);
            let octets = bob.receive(data);
            assert!(octets.starts_with(b"content") || octets.ends_with(b"file\r\n"), "{of_bob}");
            let data = connect(&alice, port);
            if of_alice.starts_with("STOR") {
                alice.deliver(data, b"alice's");
                assert_eq!(fs::read(server.root().join("up")).unwrap(), b"alice's");
                fs::remove_file(server.root().join("up")).unwrap();
            } else {
                assert!(alice.receive(data).ends_with(b"file\r\n"), "{of_alice}");
            }
        }
        if address.is_ipv6() {
            alice.epsv();
            bob.expect("PASV", 425);
            alice.expect("ABOR", 226);
        }
        alice.quit();
        bob.quit();
    }
    let log = server.stop();
    let counts = ["passive_shared", "passive_by_ticket", "passive_refused"];
    assert_eq!(counts.map(|name| counter(&log, name) > 5), [true, true, false], "{log}");
}

/// The ticket keys are rotated while sessions wait at one port, again and again; those that begin
/// behind a reload wait there beside the older ones.
#[test]
fn ticket_keys_change_while_sessions_share_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let rotate = || {
        run(Command::new(program::path()).arg("ticket-keys").arg(&keys), DEADLINE).success();
    };
    rotate();
    let server = server(&format!("[tls]\nticket_keys = {keys:?}"));
    let address = server.address(Listener::Implicit);
    let mut clients = vec![session(&server, address, "bob", false)];
    for number in 0..6 {
        let port = clients[0].epsv();
        rotate();
        accepted(&server, "tls.ticket_keys");
        clients.push(session(&server, address, &format!("u{number}"), number % 2 == 0));
        for client in &mut clients[1..] {
            assert_eq!(client.epsv(), port);
        }
        for client in &mut clients {
            client.expect("RETR file", 150);
        }
        for client in clients.iter_mut().rev() {
            let data = connect(client, port);
            assert_eq!(client.receive(data), b"content");
        }
    }
    clients.into_iter().for_each(Client::quit);
    assert_eq!(counter(&server.stop(), "passive_refused"), 0);
}

/// A connection from another address than the client's is the session's by its ticket, if the
/// configuration says so.
#[test]
fn another_address_shows_a_ticket() {
    let server = server("[passive]\nother_address = \"with-ticket\"");
    let elsewhere = IpAddr::from([127, 0, 0, 2]);
    let address = server.address(Listener::Implicit);
    for tls12 in [false, true] {
        let mut client = session(&server, address, "alice", tls12);
        for command in ["RETR file", "STOR up", "LIST"] {
            let port = client.epsv();
            let mut stranger = Wire::connect_from(elsewhere, port);
            let mut early = Wire::connect_from(elsewhere, port);
            client.secure(&mut early);
            assert!(early.resumed());
            client.expect(command, 150);
            if command.starts_with("STOR") {
                client.deliver(early, b"alice's");
                assert_eq!(fs::read(server.root().join("up")).unwrap(), b"alice's");
                fs::remove_file(server.root().join("up")).unwrap();
            } else {
                let octets = client.receive(early);
                assert!(octets == b"content" || octets.ends_with(b" file\r\n"), "{command}");
            }
            assert!(stranger.handshake(&client.tls.clone().no_resumption()).is_err());
        }
        let port = client.epsv();
        client.expect("RETR file", 150);
        let mut stranger = Wire::connect_from(elsewhere, port);
        assert!(stranger.handshake(&client.tls.clone().no_resumption()).is_err());
        let said = "reason=\"data_unclaimed\"";
        wait_until("the log says so", || server.log().contains(said));
        let data = connect(&client, port);
        assert_eq!(client.receive(data), b"content");
        client.quit();
    }
    set(&server, "passive.other_address = \"never\"");
    accepted(&server, "passive.other_address");
    let mut client = session(&server, address, "alice", false);
    let port = client.epsv();
    client.expect("RETR file", 150);
    let mut data = Wire::connect_from(elsewhere, port);
    assert!(data.handshake(&client.data_tls).is_err());
    let data = connect(&client, port);
    assert_eq!(client.receive(data), b"content");
    client.quit();
    let log = server.stop();
    assert_eq!(counter(&log, "passive_elsewhere"), 6);
    assert_eq!(counter(&log, "passive_strangers"), 1);
}

/// Where too little memory may be locked for two rings of glommio, one shard is started.
fn has_two_shards(log: &str) -> bool {
    let both = log.contains("shards 2 ");
    assert!(both || program::is_on_glommio(), "{log}");
    both
}

/// All sessions of one client address come to one shard, and wait for connections in the clear:
/// none shares a port with another. They have the ports of both shards but one, and those of the
/// other shard's clients still have that; then it is the other way round.
#[test]
fn a_shard_has_the_ports_that_others_do_not_need() {
    const PORTS: u16 = 8;
    let config = "[listen]\nexplicit = [\"127.0.0.1:0\", \"[::1]:0\"]\n[shards]\ncpus = \"0-1\"\n\
                  steering = \"source\"\n[policy]\nrequire_control_tls = false\n\
                  require_data_tls = false";
    let hosts = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
    let first = free_ports(&hosts, PORTS);
    let range = format!("[passive]\nports = \"{first}-{}\"", first + PORTS - 1);
    let mut builder = Server::builder().toml(config).toml(&range);
    for number in 1..PORTS {
        builder = builder.user(&format!("u{number}"), &["read"], "");
    }
    let server = builder.start();
    fs::write(server.root().join("file"), "content").unwrap();
    // Of several addresses, some come to each shard.
    let sources = (1..=6).map(|last| IpAddr::from([127, 0, 31, last]));
    for source in sources.chain([Ipv6Addr::LOCALHOST.into()]) {
        let addresses = server.addresses(Listener::Explicit);
        let address = *addresses.iter().find(|to| to.is_ipv4() == source.is_ipv4()).unwrap();
        let session = |number: u16| {
            let wire = Wire::connect_from(source, address);
            let mut client = Client::from_wire(&server, Listener::Explicit, wire);
            client.server = address;
            client.expect_reply(220);
            client.login_as(&format!("u{number}"))
        };
        let mut clients: Vec<_> = (1..PORTS).map(session).collect();
        let each = clients.iter_mut().enumerate();
        let ports: Vec<_> = each
            .map(|(index, client)| match index % 2 {
                0 if source.is_ipv4() => client.pasv(),
                _ => client.epsv(),
            })
            .collect();
        let different: BTreeSet<_> = ports.iter().collect();
        assert_eq!(different.len(), clients.len(), "{ports:?}");
        for client in &mut clients {
            client.expect("RETR file", 150);
        }
        for (client, port) in clients.iter_mut().zip(ports) {
            let data = Wire::connect_from(source, port);
            assert_eq!(client.receive(data), b"content");
        }
        clients.into_iter().for_each(Client::quit);
    }
    let log = server.stop();
    let [moved, messages, exhausted] =
        ["passive_moved", "port_messages", "passive_exhausted"].map(|name| counter(&log, name));
    assert_eq!(exhausted, 0, "{log}");
    assert!(!has_two_shards(&log) || moved >= 3 && messages > moved / 4, "{log}");
}

/// One port for two shards, both busy with clients of several addresses at once: they take turns,
/// and each transfer is its session's.
#[test]
fn two_shards_take_turns_at_one_port() {
    let port = free_ports(&[Ipv4Addr::LOCALHOST.into()], 1);
    let config = format!(
        "[shards]\ncpus = \"0-1\"\nsteering = \"source\"\n[passive]\nports = \"{port}-{port}\""
    );
    let server = Server::builder().toml(HOSTS).toml(&config).start();
    fs::write(server.root().join("file"), "content").unwrap();
    thread::scope(|scope| {
        for last in 1..=8 {
            let server = &server;
            scope.spawn(move || {
                let source = IpAddr::from([127, 0, 32, last]);
                let wire = Wire::connect_from(source, server.address(Listener::Implicit));
                let mut client = Client::from_wire(server, Listener::Implicit, wire);
                client.use_tls(server.tls().versions(TLS13));
                client.start_tls();
                client.expect_reply(220);
                client.private = true;
                let mut client = client.login();
                for _ in 0..10 {
                    let port = client.epsv();
                    client.expect("RETR file", 150);
                    let mut data = Wire::connect_from(source, port);
                    client.secure(&mut data);
                    assert_eq!(client.receive(data), b"content");
                }
                client.quit();
            });
        }
    });
    let log = server.stop();
    let [moved, exhausted] = ["passive_moved", "passive_exhausted"].map(|name| counter(&log, name));
    assert_eq!(exhausted, 0, "{log}");
    if has_two_shards(&log) {
        assert!(log.contains("passive.ports: 1 for 2 shards; they take turns"), "{log}");
        assert!(moved > 0, "{log}");
    }
}
