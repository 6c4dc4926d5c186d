//! Who gets a transfer when others come to its passive port from the client's own address, before
//! the client, beside it and instead of it (RFC 2577 §8, RFC 4217 §10.2) \[PASV-05, DTLS-11\].

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::server::BOTH_LISTENERS;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::{Stopwatch, pause};
use crate::support::wire::{End, Wire};
use crate::support::{Client, Listener, Server, Tls, wait_until};

const VERSIONS: [&[&rustls::SupportedProtocolVersion]; 2] = [TLS12, TLS13];

fn server(policy: &str) -> Server {
    configured(&format!("[tls]\ndata_resumption = \"{policy}\""))
}

fn configured(config: &str) -> Server {
    let server = Server::builder().toml(config).start();
    std::fs::write(server.root().join("file"), "content").unwrap();
    server
}

/// For each version and listener: a client with `tls` that has resumed its session, if `resumed`.
fn each_client(server: &Server, resumed: bool, mut with: impl FnMut(Client, Tls)) {
    for versions in VERSIONS {
        for listener in BOTH_LISTENERS {
            let tls = server.tls().versions(versions);
            let mut client = Client::open_with(server, listener, tls.clone()).login();
            if resumed {
                downloads(&mut client);
            }
            with(client, tls.no_resumption());
        }
    }
}

/// Nothing of a transfer may come.
#[track_caller]
fn assert_gets_nothing(mut stranger: Wire) {
    let (octets, end) = stranger.read_to_end();
    assert!(octets.is_empty(), "a stranger got {}", octets.escape_ascii());
    assert_ne!(end, End::Timeout);
}

/// The same of the one that the transfer was refused to (522): it has time to read the reply. Never
/// a reset: clients would tell of that instead. A download that failed has no close_notify.
#[track_caller]
fn assert_is_refused(mut data: Wire, command: &str) {
    let told = if command.starts_with("STOR") { End::CloseNotify } else { End::Fin };
    assert_eq!(data.read_to_end(), (Vec::new(), told), "{command}");
}

/// The client comes to the port, last of all, and its download is its own.
#[track_caller]
fn downloads_at(client: &mut Client, address: SocketAddr) {
    let mut data = Wire::connect(address);
    client.secure(&mut data);
    assert!(data.resumed());
    assert_eq!(client.receive(data), b"content");
}

/// A download with nobody else about.
#[track_caller]
fn downloads(client: &mut Client) {
    let address = client.epsv();
    client.expect("RETR file", 150);
    downloads_at(client, address);
}

fn connect_and_shake(address: SocketAddr, tls: &Tls) -> Wire {
    let mut wire = Wire::connect(address);
    wire.handshake(tls).unwrap();
    wire
}

/// Some clients connect, finish their handshake, and only then send the command; one that sends no
/// command costs nobody anything.
#[test]
fn the_handshake_may_be_over_before_the_command() {
    let server = server("require");
    each_client(&server, true, |mut client, stranger| {
        for _ in 0..2 {
            let mut data = client.passive();
            client.secure(&mut data);
            client.expect("RETR file", 150);
            assert_eq!(client.receive(data), b"content");
            let mut data = client.passive();
            client.secure(&mut data);
            client.expect("STOR up", 150);
            client.deliver(data, b"content");
        }
        let data = connect_and_shake(client.epsv(), &stranger);
        client.expect("RETR file", 150);
        assert_is_refused(data, "RETR");
        client.expect_reply(522);
        let mut unused = client.passive();
        client.secure(&mut unused);
        downloads(&mut client);
        client.quit();
    });
}

/// The stranger has finished its handshake before the command, or begins it after; the client comes
/// second each time, and proves itself.
#[test]
fn a_stranger_that_comes_first_gets_nothing() {
    for policy in ["prefer", "require"] {
        let server = server(policy);
        each_client(&server, true, |mut client, tls| {
            for early in [true, false] {
                for command in ["RETR file", "STOR up", "MLSD"] {
                    let address = client.epsv();
                    let mut stranger = Wire::connect(address);
                    if early {
                        stranger.handshake(&tls).unwrap();
                    }
                    client.expect(command, 150);
                    if !early {
                        stranger.handshake(&tls).unwrap();
                    }
                    let mut data = Wire::connect(address);
                    client.secure(&mut data);
                    if command.starts_with("STOR") {
                        client.deliver(data, b"the client's");
                        assert_eq!(
                            std::fs::read(server.root().join("up")).unwrap(),
                            b"the client's"
                        );
                    } else {
                        assert!(!client.receive(data).is_empty());
                    }
                    assert_gets_nothing(stranger);
                }
            }
            client.quit();
        });
    }
}

/// Nor when the client has a long round trip, if `limits.data_proof_timeout` allows for that.
#[test]
fn a_client_with_a_long_way_is_waited_for() {
    let server = configured("[limits]\ndata_proof_timeout = \"20s\"");
    each_client(&server, true, |mut client, tls| {
        let address = client.epsv();
        let stranger = connect_and_shake(address, &tls);
        client.expect("RETR file", 150);
        // By default the stranger would be taken, or the transfer refused, after half a second.
        pause(Duration::from_millis(1_500));
        downloads_at(&mut client, address);
        assert_gets_nothing(stranger);
        client.quit();
    });
}

/// And with no time for it, a client that has stopped resuming is refused at once: of several
/// sessions on a busy machine, some one is in less than the default.
#[test]
fn nobody_is_waited_for_in_no_time() {
    let server = configured("[limits]\ndata_proof_timeout = \"0s\"");
    let refused_in = |()| {
        let mut client = Client::implicit(&server).login();
        downloads(&mut client);
        client.data_tls = client.tls.clone().no_resumption();
        let address = client.epsv();
        client.expect("RETR file", 150);
        let watch = Stopwatch::start();
        let mut data = Wire::connect(address);
        client.secure(&mut data);
        client.expect_reply(522);
        let elapsed = watch.elapsed();
        assert_is_refused(data, "RETR");
        client.quit();
        elapsed
    };
    let fastest = [(); 5].map(refused_in).into_iter().min().unwrap();
    assert!(fastest < Duration::from_millis(400), "only after {fastest:?}");
}

/// Nor one that is in its handshake when the client, which has never resumed yet, comes.
#[test]
fn a_stranger_in_its_handshake_does_not_keep_the_client_out() {
    let server = server("prefer");
    each_client(&server, false, |mut client, _| {
        let address = client.epsv();
        let silent: Vec<_> = (0..20).map(|_| Wire::connect(address)).collect();
        let mut foreign = Wire::connect(address);
        foreign.send_raw(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        client.expect("RETR file", 150);
        downloads_at(&mut client, address);
        silent.into_iter().for_each(assert_gets_nothing);
        client.quit();
    });
}

/// A ticket of another session is no proof.
#[test]
fn a_ticket_of_another_session_is_no_proof() {
    let server = server("prefer");
    each_client(&server, true, |mut client, tls| {
        let other = Client::open_with(&server, BOTH_LISTENERS[0], tls.fresh());
        let address = client.epsv();
        client.expect("RETR file", 150);
        let stranger = connect_and_shake(address, &other.tls);
        downloads_at(&mut client, address);
        assert_gets_nothing(stranger);
        client.quit();
        other.quit();
    });
}

/// Nobody can tell which of two without proof is the client's.
#[test]
fn of_two_without_proof_neither_gets_it() {
    let server = server("prefer");
    each_client(&server, false, |mut client, tls| {
        for command in ["RETR file", "STOR never"] {
            let address = client.epsv();
            let first = connect_and_shake(address, &tls);
            let second = connect_and_shake(address, &tls);
            client.expect(command, 150);
            client.expect_reply(522);
            assert_gets_nothing(first);
            assert_gets_nothing(second);
        }
        assert!(!server.root().join("never").exists());
        downloads(&mut client);
        client.quit();
    });
}

/// Unless both sessions are of one user and the ticket, of TLS 1.3, was given after the log-in:
/// clients with one store for all their sessions show such.
#[test]
fn a_ticket_of_the_same_user_is_proof() {
    let server = server("prefer");
    for listener in BOTH_LISTENERS {
        let own = server.tls().versions(TLS13);
        let mut client = Client::open_with(&server, listener, own).login();
        downloads(&mut client);
        let other = server.tls().versions(TLS13);
        let other = Client::open_with(&server, listener, other).login();
        client.data_tls = other.tls.clone();
        // The one that came with the log-in is used first.
        downloads(&mut client);
        client.quit();
        other.quit();
    }
    let said = |line: &str| line.contains("ticket of another session of this user");
    wait_until("the log says so", || server.log().lines().any(said));
}

/// A client that has resumed has no reason to come without, in any version: it is given what it
/// needs for it.
#[test]
fn who_has_resumed_must() {
    let server = server("prefer");
    each_client(&server, true, |mut client, tls| {
        let own = std::mem::replace(&mut client.data_tls, tls);
        for command in ["RETR file", "STOR never", "MLSD"] {
            let mut data = client.passive();
            client.expect(command, 150);
            // In TLS 1.3 the client is done before the server has judged.
            client.secure(&mut data);
            assert_is_refused(data, command);
            client.expect_reply(522);
        }
        assert!(!server.root().join("never").exists());
        client.data_tls = own;
        downloads(&mut client);
        client.quit();
    });
}

/// A client that makes its handshake before the command has used a ticket up even when the command
/// is refused, and is given another all the same.
#[test]
fn refused_commands_cost_no_ticket() {
    let server = Server::builder()
        .user("reader", &["read", "list"], "")
        .toml("[tls]\ndata_resumption = \"require\"")
        .start();
    std::fs::write(server.root().join("file"), "content").unwrap();
    for listener in BOTH_LISTENERS {
        let tls = server.tls().versions(TLS13);
        let mut client = Client::open_with(&server, listener, tls).login_as("reader");
        downloads(&mut client);
        for _ in 0..12 {
            let mut data = client.passive();
            client.secure(&mut data);
            assert!(data.resumed());
            client.expect("STOR refused", 553);
        }
        downloads(&mut client);
        client.quit();
    }
}

/// Once the control connection has left TLS there are no further tickets, and a client may run out.
#[test]
fn who_has_left_tls_may_run_out() {
    let server = configured("[tls]\nversions = [\"1.3\"]\n[policy]\nallow_ccc = true");
    let tls = server.tls().versions(TLS13);
    let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
    client.expect("CCC", 200);
    client.end_tls();
    client.private = true;
    let resumed = [(); 6].map(|()| {
        let mut data = client.begin("STOR up");
        data.send(b"content").unwrap();
        data.close_notify().unwrap();
        data.fin();
        client.expect_reply(226);
        data.resumed()
    });
    // Two tickets came with the handshake, one with the log-in.
    assert_eq!(resumed, [true, true, true, false, false, false]);
    client.quit();
}

/// However many come, one announcement takes a bounded number of them, and the session goes on.
#[test]
fn connections_of_one_port_are_bounded() {
    let server = server("prefer");
    each_client(&server, true, |mut client, _| {
        let address = client.epsv();
        // Those that come too late are refused.
        let crowd: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(address).ok()).collect();
        assert!(crowd.len() >= 64, "{}", crowd.len());
        client.expect("RETR file", 150);
        client.expect("ABOR", 426);
        client.expect_reply(226);
        crowd.into_iter().map(Wire::new).for_each(assert_gets_nothing);
        downloads(&mut client);
        client.quit();
    });
}
