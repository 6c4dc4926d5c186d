//! Many handshakes at once, and clients that begin one and never end it: which wait, which are
//! dropped, and that the log says so. And which shard a connection comes to.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use rustls::AlertDescription;

use crate::process::first_cpu;
use crate::support::server::{BOTH_LISTENERS, counter};
use crate::support::tls::{TLS12, TLS13, Tls};
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

fn one_shard(limits: &str) -> Server {
    let cpu = first_cpu();
    let config = format!("[shards]\ncpus = \"{cpu}\"\n[limits]\n{limits}");
    Server::builder().toml(&config).start()
}

/// Stops the server and gives the values of its counters.
#[track_caller]
fn counters(server: Server) -> impl Fn(&str) -> u64 {
    let log = server.stop();
    move |name| counter(&log, name)
}

fn waiting_for_tls(server: &Server) -> Client {
    let mut client = Client::plain(server);
    client.expect("AUTH TLS", 234);
    // The handshake begins behind the 234; by the end of another session it has.
    Client::plain(server).quit();
    client
}

/// A handshake as of a client with Nagle's algorithm, that writes its last flight record by record.
fn in_pieces(wire: &mut Wire, tls: &Tls) {
    wire.tcp().set_nodelay(false).unwrap();
    let hello = wire.begin_handshake(tls);
    wire.send_raw(&hello).unwrap();
    let flight = wire.hear_flight().unwrap();
    assert!(flight.len() > 1, "{} records", flight.len());
    flight.iter().for_each(|record| wire.send_raw(record).unwrap());
    wire.finish_handshake().unwrap();
}

/// Such a client sends the second record when the first is acknowledged, which takes the kernel
/// 40 ms by itself: on control connections of both ports, until a reply is there, and on data
/// connections in both directions, until the 226 is. The quickest of several, for the machine may
/// be busy.
#[test]
fn a_flight_in_pieces_is_acknowledged_at_once() {
    let toml = "[tls]\ndata_resumption = \"off\"\n[storage]\ndurability = \"none\"";
    let server = Server::builder().toml(toml).start();
    std::fs::write(server.root().join("file"), "octets").unwrap();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions).no_resumption();
        let check = |what: &str, attempt: &mut dyn FnMut() -> Duration| {
            let quickest = (0..5).map(|_| attempt()).min().unwrap();
            assert!(quickest < Duration::from_millis(35), "{what}: {quickest:?}");
        };
        let mut implicit = || {
            let mut wire = Wire::connect(server.address(Listener::Implicit));
            let watch = Stopwatch::start();
            in_pieces(&mut wire, &tls);
            wire.fill_with_data().unwrap();
            watch.elapsed()
        };
        let mut explicit = || {
            let mut client = Client::plain(&server);
            client.expect("AUTH TLS", 234);
            let watch = Stopwatch::start();
            in_pieces(&mut client.wire, &tls);
            client.expect("PBSZ 0", 200);
            watch.elapsed()
        };
        check("implicit", &mut implicit);
        check("explicit", &mut explicit);
        for command in ["RETR file", "STOR new"] {
            let mut client = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
            client.expect("TYPE I", 200);
            let mut data = || {
                let mut data = client.passive();
                client.expect(command, 150);
                let watch = Stopwatch::start();
                in_pieces(&mut data, &tls);
                if command.starts_with("RETR") {
                    assert_eq!(client.receive(data), b"octets");
                } else {
                    client.deliver(data, b"octets");
                }
                watch.elapsed()
            };
            check(command, &mut data);
        }
    }
}

/// The bound is reached by silent clients: the oldest of them is evicted, the others stay and can
/// still make their handshakes, and the newcomer makes its own.
#[test]
fn the_oldest_silent_one_makes_room() {
    let server = one_shard("handshakes = 2");
    let mut oldest = waiting_for_tls(&server);
    let mut second = waiting_for_tls(&server);
    Client::implicit(&server).login().quit();
    oldest.expect_close();
    second.wire.handshake(&server.tls()).unwrap();
    second.login().quit();
    let counter = counters(server);
    for (name, expected) in
        [("handshakes_queued", 1), ("handshakes_shed", 1), ("handshakes_most", 2)]
    {
        assert_eq!(counter(name), expected, "{name}");
    }
    assert_eq!((counter("control_handshakes"), counter("control_handshakes_failed")), (2, 1));
}

/// The same on the implicit port, with one that said a little and one that stopped half way; AUTH
/// has to wait its turn as well.
#[test]
fn half_done_handshakes_make_room() {
    let server = one_shard("handshakes = 1");
    let hello = Wire::client_hello(&server.tls());
    for sent in [&hello[..1], &hello] {
        for listener in BOTH_LISTENERS {
            let mut stuck = Wire::connect(server.address(Listener::Implicit));
            stuck.send_raw(sent).unwrap();
            stuck.set_patience(Duration::from_millis(20));
            // The first newcomer may be there before the stuck one was taken notice of.
            wait_until("the stuck one to be gone", || {
                Client::open(&server, listener).login().quit();
                stuck.read_to_end().1 != End::Timeout
            });
        }
    }
    assert_eq!(counters(server)("handshakes_most"), 1);
}

/// A handshake that its deadline has ended gives its permit back at once, although its client does
/// not close: the next waiter gets it before its own deadline.
#[test]
fn a_late_handshake_gives_its_place_up() {
    let server = one_shard("handshakes = 1\nhandshake_timeout = \"1s\"");
    let mut late = waiting_for_tls(&server);
    late.wire.send_raw(&Wire::client_hello(&server.tls())).unwrap();
    late.wire.set_patience(Duration::from_millis(700));
    assert_eq!(late.wire.read_to_end().1, End::Timeout);
    let mut next = waiting_for_tls(&server);
    next.wire.handshake(&server.tls()).unwrap();
    next.login().quit();
    let counter = counters(server);
    assert_eq!((counter("handshakes_queued"), counter("handshakes_shed")), (1, 0));
    drop(late);
}

/// Far more at once than the bound: they wait, and all are served.
#[test]
fn a_crowd_beyond_the_bound_is_served() {
    let server = one_shard("handshakes = 3");
    thread::scope(|scope| {
        for number in 0..48 {
            let listener = BOTH_LISTENERS[number % 2];
            let server = &server;
            scope.spawn(move || Client::open(server, listener).quit());
        }
    });
    let counter = counters(server);
    assert_eq!((counter("control_handshakes"), counter("handshakes_shed")), (48, 0));
    assert!((1..=3).contains(&counter("handshakes_most")));
}

/// No ClientHello in time: closed, and not by the deadline of the whole handshake.
#[test]
fn the_client_hello_has_a_deadline() {
    let server = one_shard("client_hello_timeout = \"1s\"\nhandshake_timeout = \"5m\"");
    let watch = Stopwatch::start();
    let mut after_auth = waiting_for_tls(&server);
    let mut one_octet = Wire::connect(server.address(Listener::Implicit));
    one_octet.send_raw(b"\x16").unwrap();
    after_auth.expect_close();
    let (received, end) = one_octet.read_to_end();
    assert!(received.is_empty() && end != End::Timeout, "{end:?}");
    assert!(watch.elapsed() < PATIENCE, "{:?}", watch.elapsed());

    // One that has sent its ClientHello is judged by the other deadline.
    let mut half_done = Wire::connect(server.address(Listener::Implicit));
    half_done.send_raw(&Wire::client_hello(&server.tls())).unwrap();
    half_done.read_record().unwrap();
    half_done.set_patience(Duration::from_millis(1500));
    let (_, end) = half_done.read_to_end();
    assert_eq!(end, End::Timeout, "closed");
    drop(half_done);
    assert_eq!(counters(server)("handshakes_silent"), 2);
}

/// Each shard's scheduler gets the configured percentage; its effect is tested beside the
/// scheduler, without a clock.
#[test]
fn the_share_of_newcomers_is_the_configured_one() {
    for percent in [3, 97] {
        let config = format!("shards.handshake_percent = {percent}\nlog.level = \"debug\"");
        let server = Server::builder().toml(&config).start();
        Client::implicit(&server).quit();
        let log = server.stop();
        let mut started = log.lines().filter(|line| line.contains(" shard started ")).peekable();
        assert!(started.peek().is_some(), "{log}");
        let share = format!("handshake_percent={percent}");
        for line in started {
            assert!(line.split_whitespace().any(|word| word == share), "{line}");
        }
    }
}

/// With `steering = "source"` the limit of sessions for one address is exact, on all shards and on
/// both ports together.
#[test]
fn limits_per_address_are_exact_when_addresses_are_steered() {
    let config = "[shards]\nsteering = \"source\"\n[limits]\nsessions_per_ip = 3";
    let server = Server::builder().toml(config).start();
    for number in 1..=12 {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 9, number));
        let mut kept = Vec::new();
        for (listener, expected) in [
            (Listener::Explicit, 220),
            (Listener::Implicit, 220),
            (Listener::Explicit, 220),
            (Listener::Implicit, 421),
            (Listener::Explicit, 421),
        ] {
            let wire = Wire::connect_from(source, server.address(listener));
            let mut client = Client::from_wire(&server, listener, wire);
            if listener == Listener::Implicit {
                client.start_tls();
            }
            assert_eq!(client.reply().code, expected, "{source} {listener:?}");
            kept.push(client);
        }
    }
    wait_until("all sessions to have ended", || {
        let (source, address) = (IpAddr::from([127, 0, 9, 1]), server.address(Listener::Explicit));
        let wire = Wire::connect_from(source, address);
        Client::from_wire(&server, Listener::Explicit, wire).reply().code == 220
    });
}

/// ALPN (RFC 7301): a client meant for another server (ALPACA) gets the alert for that and nothing
/// else, neither on the control connection nor on a data connection.
#[test]
fn clients_of_other_protocols_are_refused() {
    let server = Server::start();
    let refused = End::Tls(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol));
    for versions in [TLS12, TLS13] {
        let offering = |names| Tls::clone(&server.tls()).versions(versions).protocols(names);
        let [web, control, data] =
            [&["h2", "http/1.1"][..], &["h2", "ftp"], &["ftp-data"]].map(offering);
        let named = |wire: &Wire| {
            wire.tls()
                .unwrap()
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned())
        };
        for listener in BOTH_LISTENERS {
            for stranger in [&web, &data] {
                let mut client = Client::raw(&server, listener);
                if listener == Listener::Explicit {
                    client.expect_reply(220);
                    client.expect("AUTH TLS", 234);
                }
                assert_eq!(client.wire.handshake(stranger), Err(refused.clone()), "{listener:?}");
            }
            let mut client = Client::open_with(&server, listener, control.clone()).login();
            assert_eq!(named(&client.wire).as_deref(), Some("ftp"));
            let mut wire = client.passive();
            client.expect("LIST", 150);
            assert_eq!(wire.handshake(&web), Err(refused.clone()), "{listener:?}");
            client.expect_reply(522);
            client.data_tls = data.clone();
            let wire = client.begin("LIST");
            assert_eq!(named(&wire).as_deref(), Some("ftp-data"));
            client.receive(wire);
            client.quit();
        }
    }
    server.stop();
}
