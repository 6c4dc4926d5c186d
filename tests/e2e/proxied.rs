//! Behind proxies: each connection begins with a PROXY header, and the client that it names is who
//! the session is with. Forged, broken, late and missing headers let nobody in.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;

use crate::events::{events, named};
use crate::process::first_cpu;
use crate::support::client::accept;
use crate::support::server::{BOTH_LISTENERS, counter};
use crate::support::wait::Stopwatch;
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

/// A server of one shard behind the proxies of 127.0.0.1, whose passive ports are, too.
fn server(more: &str) -> Server {
    let config = format!(
        "[shards]\ncpus = \"{}\"\n[listen]\nproxy_protocol = true\nproxy_from = [\"127.0.0.1\"]\n\
         [passive]\nproxy_protocol = true\n[policy]\nrequire_control_tls = false\n\
         require_data_tls = false\n[log]\nformat = \"json\"\nlevel = \"debug\"\n\
         events_per_second = 0\n{more}",
        first_cpu()
    );
    Server::builder().toml(&config).start()
}

const TEXT: &str = "PROXY TCP4 192.0.2.7 203.0.113.5 50000 990\r\n";

/// The same client in a header of version 2, with what a proxy knows of the client's TLS.
fn binary() -> Vec<u8> {
    let ends = [192, 0, 2, 7, 203, 0, 113, 5, 0xc3, 0x50, 0x03, 0xde];
    let alpn_and_name = [1, 0, 3, b'f', b't', b'p', 2, 0, 4, b'h', b'o', b's', b't'];
    let head = [0x21, 0x11, 0, u8::try_from(ends.len() + alpn_and_name.len()).unwrap()];
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &head, &ends, &alpn_and_name].concat()
}

/// A look at whether the server is well, as HAProxy has it.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A connection that the proxy makes for somebody; nothing is read.
#[track_caller]
fn by_proxy(server: &Server, listener: Listener, header: &[u8]) -> Client {
    let mut wire = Wire::connect(server.address(listener));
    wire.send_raw(header).unwrap();
    Client::from_wire(server, listener, wire)
}

/// The same, logged in, data connections protected.
#[track_caller]
fn logged_in(server: &Server, listener: Listener, header: &[u8]) -> Client {
    log_in(by_proxy(server, listener, header), listener)
}

/// From the begin of the connection on.
#[track_caller]
fn log_in(mut client: Client, listener: Listener) -> Client {
    if listener == Listener::Implicit {
        client.start_tls();
        client.expect_reply(220);
    } else {
        client.expect_reply(220);
        client.auth();
        client.expect("PBSZ 0", 200);
        client.expect("PROT P", 200);
    }
    client.private = true;
    client.login()
}

/// A data connection that the proxy makes for the client of this header.
#[track_caller]
fn data(client: &mut Client, header: &[u8]) -> Wire {
    let mut data = client.passive();
    data.send_raw(header).unwrap();
    data
}

#[track_caller]
fn retrieve(client: &mut Client, header: &[u8], command: &str) -> Vec<u8> {
    let mut data = data(client, header);
    client.expect(command, 150);
    client.secure(&mut data);
    client.receive(data)
}

fn event(server: &Server, name: &str) -> Value {
    wait_until(name, || !named(&events(server), name).is_empty());
    named(&events(server), name)[0].clone()
}

/// Log, limits, the address in the reply to PASV, data connections both ways, in clear and
/// protected, whatever the version of the header.
#[test]
fn the_client_is_whom_the_proxy_names() {
    let contents = b"what is in the file".repeat(20_000);
    let foreign = b"PROXY TCP4 192.0.2.8 203.0.113.5 50001 990\r\n";
    for (listener, header) in [
        (Listener::Explicit, TEXT.as_bytes().to_vec()),
        (Listener::Implicit, binary()),
        (Listener::Implicit, TEXT.as_bytes().to_vec()),
    ] {
        let server = server("[limits]\nsessions_per_ip = 1");
        fs::write(server.root().join("file"), &contents).unwrap();
        let mut client = logged_in(&server, listener, &header);
        let connected = event(&server, "connect");
        assert_eq!(connected["peer"], "192.0.2.7:50000");
        assert!(connected["proxy"].as_str().unwrap().starts_with("127.0.0.1:"), "{connected}");
        assert_eq!(event(&server, "login")["peer"], "192.0.2.7:50000");

        // Another session of that client finds no place; one of another client does.
        let mut second = by_proxy(&server, Listener::Explicit, &header);
        second.expect_reply(421);
        by_proxy(&server, Listener::Explicit, foreign).expect_reply(220);

        client.expect("TYPE I", 200);
        assert_eq!(client.pasv().ip(), IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5)));
        for level in ["PROT P", "PROT C"] {
            client.expect(level, 200);
            client.private = level == "PROT P";
            assert!(retrieve(&mut client, &header, "RETR file") == contents);
            let mut upload = data(&mut client, &header);
            client.expect("STOR up", 150);
            client.secure(&mut upload);
            client.deliver(upload, &contents);
            assert!(fs::read(server.root().join("up")).unwrap() == contents);
        }
        // HOST names the address that the client has connected to.
        drop(client);
        wait_until("the end of the session", || !named(&events(&server), "disconnect").is_empty());
        let mut client = by_proxy(&server, Listener::Explicit, &header);
        client.expect_reply(220);
        client.expect("HOST 203.0.113.5", 220);
        client.expect("HOST 127.0.0.1", 504);
        client.quit();
    }
}

/// Clients of IPv6 by a proxy that comes over IPv4, and the other way round: EPSV for both, and
/// PASV for whom an address can be shown.
#[test]
fn families() {
    const OF_IPV6: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::5 50000 21\r\n";
    let on = |address: &str| {
        let config = format!(
            "[listen]\nproxy_protocol = true\nproxy_from = [\"127.0.0.1\", \"::1\"]\n\
             implicit = [\"{address}\"]\nexplicit = [\"{address}\"]\n[passive]\n\
             proxy_protocol = true\n[log]\nformat = \"json\""
        );
        let server = Server::builder().toml(&config).start();
        fs::write(server.root().join("file"), b"contents").unwrap();
        server
    };
    for (address, header, peer, pasv) in [
        ("127.0.0.1:0", OF_IPV6, "[2001:db8::7]:50000", 425),
        ("[::1]:0", OF_IPV6, "[2001:db8::7]:50000", 425),
        ("[::1]:0", TEXT.as_bytes(), "192.0.2.7:50000", 227),
    ] {
        let server = on(address);
        for listener in BOTH_LISTENERS {
            let mut client = logged_in(&server, listener, header);
            assert_eq!(retrieve(&mut client, header, "RETR file"), b"contents", "{address}");
            assert_eq!(client.cmd("PASV").code, pasv, "{address} {peer}");
            client.quit();
        }
        assert_eq!(event(&server, "connect")["peer"], peer);
    }
}

/// Who connects to a passive port gets nothing without a header of the session's client; the client
/// gets its transfer all the same.
#[test]
fn data_connections_of_others() {
    let server = server("");
    fs::write(server.root().join("file"), b"contents").unwrap();
    let mut client = logged_in(&server, Listener::Implicit, TEXT.as_bytes());
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let strangers: [(&str, &[u8]); 4] = [
        ("another client", b"PROXY TCP4 192.0.2.8 203.0.113.5 50001 990\r\n"),
        ("nobody", LOCAL),
        ("no header", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 and so on"),
        ("half a header", &TEXT.as_bytes()[..20]),
    ];
    for level in ["PROT P", "PROT C"] {
        client.expect(level, 200);
        client.private = level == "PROT P";
        for (who, header) in strangers {
            let address = client.epsv();
            let mut stranger = Wire::connect(address);
            stranger.send_raw(header).unwrap();
            let mut forger = Wire::connect_from(other, address);
            // It may be closed before that.
            let _ = forger.send_raw(TEXT.as_bytes());
            let mut data = Wire::connect(address);
            data.send_raw(TEXT.as_bytes()).unwrap();
            client.expect("RETR file", 150);
            client.secure(&mut data);
            assert_eq!(client.receive(data), b"contents", "{who}");
            for mut wire in [stranger, forger] {
                let (octets, end) = wire.read_to_end();
                assert!(octets.is_empty() && end != End::Timeout, "{who}: {octets:?}, {end:?}");
            }
        }
    }
    client.quit();
}

/// With `passive.other_address = "with-ticket"` the address that the header names may be another
/// one than the session's, of either family: the connection is the session's by its ticket, and
/// without one, or with a ticket of the session that somebody else has there, it gets nothing.
#[test]
fn other_addresses_by_proxy() {
    const HERE: &str = "PROXY TCP4 192.0.2.7 203.0.113.5 50000 990\r\n";
    const THERE: &str = "PROXY TCP4 192.0.2.8 203.0.113.5 50001 990\r\n";
    const HERE6: &str = "PROXY TCP6 2001:db8::7 2001:db8::5 50000 990\r\n";
    const THERE6: &str = "PROXY TCP6 2001:db8::8 2001:db8::5 50001 990\r\n";
    let config = "[listen]\nproxy_protocol = true\nproxy_from = [\"127.0.0.1\", \"::1\"]\n\
                  implicit = [\"127.0.0.1:0\", \"[::1]:0\"]\n[passive]\nproxy_protocol = true\n\
                  other_address = \"with-ticket\"";
    let server = Server::builder().toml(config).start();
    fs::write(server.root().join("file"), b"contents").unwrap();
    let by_proxy = |address, header: &[u8]| {
        let mut wire = Wire::connect(address);
        wire.send_raw(header).unwrap();
        wire
    };
    for &address in server.addresses(Listener::Implicit) {
        for (here, there) in [(HERE, THERE), (HERE6, THERE6), (HERE, THERE6), (HERE6, THERE)] {
            let [mut client, thief] = [here, there].map(|header| {
                let wire = by_proxy(address, header.as_bytes());
                let mut client = Client::from_wire(&server, Listener::Implicit, wire);
                client.server = address;
                log_in(client, Listener::Implicit)
            });
            let without = client.tls.clone().no_resumption();
            let strangers = [
                (there.as_bytes(), &without),
                (there.as_bytes(), &thief.data_tls),
                // The proxy itself, in nobody's name.
                (LOCAL, &without),
            ];
            for (header, tls) in strangers {
                let port = client.epsv();
                let mut stranger = by_proxy(port, header);
                assert!(stranger.handshake(tls).is_err(), "{there} {}", header.escape_ascii());
                let mut data = by_proxy(port, there.as_bytes());
                client.secure(&mut data);
                assert!(data.resumed());
                client.expect("RETR file", 150);
                assert_eq!(client.receive(data), b"contents", "{here} {there}");
            }
            client.quit();
            thief.quit();
        }
    }
    assert_eq!(counter(&server.stop(), "passive_elsewhere"), 24);
}

/// Data connections that come without the proxy, as they do where it keeps the clients' addresses:
/// here the client is 127.0.0.1 by its own name.
#[test]
fn only_control_connections_by_proxy() {
    let config = "[listen]\nproxy_protocol = true\nproxy_from = [\"127.0.0.0/8\"]";
    let server = Server::builder().toml(config).start();
    fs::write(server.root().join("file"), b"contents").unwrap();
    let header = b"PROXY TCP4 127.0.0.1 127.0.0.1 50000 990\r\n";
    for listener in BOTH_LISTENERS {
        let mut wire =
            Wire::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9)), server.address(listener));
        wire.send_raw(header).unwrap();
        let mut client = log_in(Client::from_wire(&server, listener, wire), listener);
        assert_eq!(client.retrieve("RETR file"), b"contents");
        // Active mode goes to the client, not to the proxy.
        let port = client.eprt();
        client.expect("RETR file", 150);
        let mut data = accept(&port);
        client.secure(&mut data);
        assert_eq!(client.receive(data), b"contents");
        client.quit();
    }
    // The proxy's own address is not the client's.
    let mut client = Client::from_wire(&server, Listener::Explicit, {
        let mut wire = Wire::connect(server.address(Listener::Explicit));
        wire.send_raw(TEXT.as_bytes()).unwrap();
        wire
    });
    client.expect_reply(220);
    client.auth();
    let mut client = client.login();
    client.expect("EPRT |1|127.0.0.1|50000|", 504);
}

/// What says nothing, and what speaks for nobody.
#[test]
fn looks_at_whether_the_server_is_well() {
    let server = server("");
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        for listener in BOTH_LISTENERS {
            let mut client = logged_in(&server, listener, header);
            // It is the proxy's own session, and so are its data connections.
            retrieve(&mut client, header, "MLSD");
            client.quit();
        }
    }
    let connected = event(&server, "connect");
    assert!(connected["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{connected}");
    assert!(connected["proxy"].is_null(), "{connected}");
}

/// Refused and counted, soon or at the end of the time for it, and nobody waits for them.
#[test]
fn connections_without_a_header() {
    let more = "[limits]\nclient_hello_timeout = \"1s\"\n[metrics]\nlisten = \"127.0.0.1:0\"";
    let server = server(more);
    let refused = |reason: &str| {
        let events = events(&server);
        let lines = named(&events, "refused");
        lines.iter().filter(|line| line["reason"] == reason).count()
    };
    for (turn, listener) in BOTH_LISTENERS.into_iter().enumerate() {
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let mut stranger = Wire::connect_from(other, server.address(listener));
        // It may be closed before that.
        let _ = stranger.send_raw(TEXT.as_bytes());
        assert_ne!(stranger.read_to_end(), (Vec::new(), End::Timeout));
        wait_until("the stranger", || refused("not_a_proxy") == turn + 1);

        let mut silent: Vec<Wire> =
            (0..40).map(|_| Wire::connect(server.address(listener))).collect();
        silent[0].send_raw(&TEXT.as_bytes()[..30]).unwrap();
        silent[1].send_raw(b"\r\n\r\n\0\r\nQUIT\n\x21\x11").unwrap();
        let watch = Stopwatch::start();
        by_proxy(&server, listener, TEXT.as_bytes()).wire.reset();
        let mut client = logged_in(&server, listener, TEXT.as_bytes());
        client.expect("NOOP", 200);
        assert!(watch.elapsed() < Duration::from_millis(900), "{:?}", watch.elapsed());
        for mut wire in silent {
            let (octets, end) = wire.read_to_end();
            assert!(octets.is_empty() && end != End::Timeout, "{octets:?}, {end:?}");
        }
        for octets in [&b"USER alice\r\n"[..], &Wire::client_hello(&server.tls()), &[b'P'; 300]] {
            let mut wire = Wire::connect(server.address(listener));
            wire.send_raw(octets).unwrap();
            let (octets, end) = wire.read_to_end();
            assert!(octets.is_empty() && end != End::Timeout, "{octets:?}, {end:?}");
        }
        client.quit();
        wait_until("silent and broken ones", || refused("proxy_header") == (turn + 1) * 43);
    }
    let events = events(&server);
    let refusals = named(&events, "refused");
    let errors: Vec<_> = refusals.iter().map(|line| line["error"].as_str().unwrap()).collect();
    for error in ["not in listen.proxy_from", "did not come in time", "no PROXY header: "] {
        assert!(errors.iter().any(|line| line.contains(error)), "{error}: {errors:?}");
    }
    assert!(refusals.iter().all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.")));
}
