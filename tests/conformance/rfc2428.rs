//! EPSV and EPRT: RFC 2428; PASV and PORT beside them (RFC 959 §4.1.2).

use std::net::{IpAddr, SocketAddr};

use crate::fixture::{alice, alice_clear_data, dialogue, expect_one_of, on_both, relaxed, strict};
use crate::support::client::{accept, eprt_command, epsv_port};
use crate::support::{Client, Listener, Server, Wire};

/// [PASV-01] 227 names the address the control connection uses, in parentheses.
#[test]
fn pasv_names_the_control_address() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "pasv01");
        let address = client.pasv();
        assert_eq!(address.ip(), client.server.ip());
        let mut data = Wire::connect(address);
        client.expect("LIST", 150);
        client.secure(&mut data);
        client.receive(data);
    });
}

/// [PASV-01] The configured public address is shown instead.
#[test]
fn pasv_shows_the_configured_address() {
    let server = Server::builder().toml("[passive]\naddress = \"192.0.2.7\"").start();
    let mut client = Client::implicit(&server).login();
    assert_eq!(client.pasv().ip(), IpAddr::from([192, 0, 2, 7]));
    // EPSV carries no address: it works all the same.
    client.retrieve("LIST");
}

/// [PASV-08] `229 text (|||port|)` and the port works.
#[test]
fn epsv_gives_a_port() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "pasv08");
        let reply = client.expect("EPSV", 229);
        assert_ne!(epsv_port(&reply), 0);
        client.retrieve("LIST");
    });
}

/// [PASV-09] `EPSV 1` is the control connection's family; another one is 522 with the list of
/// those served, or 229.
#[test]
fn epsv_with_a_family() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "pasv09");
        client.expect("EPSV 1", 229);
        if expect_one_of(&mut client, "EPSV 2", &[229, 522]) == 522 {
            assert!(client.expect("EPSV 2", 522).text().contains("(1)"));
        }
        expect_one_of(&mut client, "EPSV 3", &[522, 501]);
        dialogue(&mut client, &[("EPSV x", 501), ("EPSV", 229)]);
    });
}

/// [PASV-10] [PASV-11] After `EPSV ALL` only EPSV sets up data connections.
#[test]
fn epsv_all_refuses_the_others() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "pasv10");
        client.expect("EPSV ALL", 200);
        for command in ["PASV", "PORT 127,0,0,1,100,100", "EPRT |1|127.0.0.1|25700|"] {
            expect_one_of(&mut client, command, &[500, 501, 503]);
        }
        for command in ["LPRT 4,4,127,0,0,1,2,100,100", "LPSV"] {
            expect_one_of(&mut client, command, &[500, 501, 502, 503]);
        }
        client.retrieve("LIST");
        client.retrieve("LIST");
    });
}

/// [EPRT-01] EPRT is 200 and the connection comes there.
#[test]
fn eprt_connects() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "eprt01");
        client.store("STOR file", b"bytes");
        let incoming = client.eprt();
        client.expect("RETR file", 150);
        assert_eq!(client.receive(accept(&incoming)), b"bytes");
    });
}

/// [EPRT-02] An unknown family is 522 with the served ones in parentheses.
#[test]
fn eprt_unknown_family_is_522() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        let text = client.expect("EPRT |9|127.0.0.1|25700|", 522).text();
        assert!(text.contains("(1,2)") || text.contains("(1)"), "{text}");
    });
}

/// [EPRT-03] Any delimiter of 33 to 126 is taken; other forms are 501.
#[test]
fn eprt_syntax() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for delimiter in ['|', '!', '~', '#', ';', 'x'] {
            let d = delimiter;
            client.expect(format!("EPRT {d}1{d}127.0.0.1{d}25700{d}"), 200);
        }
        for bad in [
            "",
            " ",
            " |1|127.0.0.1|25700",
            " |1|127.0.0.1|",
            " |1|127.0.0|25700|",
            " |1|127.0.0.1|x|",
            " |1|127.0.0.1|65536|",
            " |1|127.0.0.1|-1|",
            " |1|::1|25700|",
            " |1!127.0.0.1|25700|",
            " |1|127.0.0.1|25700|x",
        ] {
            client.expect(format!("EPRT{bad}"), 501);
        }
    });
}

/// [EPRT-04] An address that is not the control peer's is 504, or 500 or 501: no bounce.
#[test]
fn eprt_to_a_stranger_is_refused() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        client.expect("EPRT |1|192.0.2.1|25700|", 504);
        client.expect("EPRT |1|127.0.0.2|25700|", 504);
        client.expect("LIST", 425);
    });
}

/// [EPRT-05] IPv6: EPRT with family 2 and EPSV work on an IPv6 control connection; PASV cannot.
#[test]
fn ipv6_data_connections() {
    let six = "[listen]\nimplicit = [\"[::1]:0\"]\nexplicit = [\"[::1]:0\"]";
    let server = Server::builder().toml(six).toml("[policy]\nrequire_data_tls = false").start();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "eprt05");
        client.store("STOR file", b"bytes");
        assert_eq!(client.retrieve("RETR file"), b"bytes");
        let incoming = client.eprt();
        client.expect("RETR file", 150);
        assert_eq!(client.receive(accept(&incoming)), b"bytes");
        expect_one_of(&mut client, "PASV", &[425, 500, 501, 502, 522]);
        expect_one_of(&mut client, "PORT 127,0,0,1,100,100", &[500, 501, 504, 522]);
        client.expect("EPSV 2", 229);
        let foreign = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 25700));
        client.expect(eprt_command(foreign), 504);
    });
}

/// [PORT-04] PORT takes six decimals of 0 to 255; anything else is 501 (or 500).
#[test]
fn port_syntax() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        client.expect("PORT 127,0,0,1,100,100", 200);
        for bad in [
            "",
            " 127,0,0,1,100",
            " 127,0,0,1,100,100,1",
            " 127,0,0,1,256,100",
            " 127,0,0,1,-1,100",
            " 127,0,0,1,100,",
            " 127,0,0,1,100,x",
            " 127.0.0.1,100,100",
            " 127,0,0,1,99999999999999999999,1",
            " ,,,,,",
        ] {
            expect_one_of(&mut client, &format!("PORT{bad}"), &[500, 501]);
        }
    });
}

/// [PORT-07] The latest of PORT and PASV wins.
#[test]
fn latest_set_up_wins() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "port07");
        client.store("STOR file", b"bytes");
        let passive = client.epsv();
        let incoming = client.port();
        assert!(std::net::TcpStream::connect(passive).is_err(), "the listener is still open");
        client.expect("RETR file", 150);
        assert_eq!(client.receive(accept(&incoming)), b"bytes");

        let incoming = client.port();
        assert_eq!(client.retrieve("RETR file"), b"bytes");
        incoming.set_nonblocking(true).unwrap();
        assert!(incoming.accept().is_err(), "PORT was used although PASV came later");
    });
}

/// [PASV-03] [XFER-19] New PASV, EPSV, ABOR and QUIT close the former listener.
#[test]
fn former_listeners_are_closed() {
    let server = strict();
    let closed = |address: SocketAddr| std::net::TcpStream::connect(address).is_err();
    on_both(|listener| {
        let mut client = alice(&server, listener, "pasv03");
        let (first, second) = (client.epsv(), client.pasv());
        assert!(closed(first), "after PASV");
        let third = client.epsv();
        assert!(closed(second), "after EPSV");
        client.expect("ABOR", 226);
        assert!(closed(third), "after ABOR");
        client.expect("LIST", 425);
        let last = client.epsv();
        client.quit();
        crate::support::wait_until("the listener closes after QUIT", || closed(last));
    });
}

/// [PASV-02] Ports are not handed out in a pattern.
#[test]
fn passive_ports_are_not_predictable() {
    let server = Server::builder().toml("[passive]\nports = \"28200-29199\"").start();
    let mut client = Client::open(&server, Listener::Implicit).login();
    let ports: Vec<u16> = (0..20).map(|_| client.epsv().port()).collect();
    assert!(ports.iter().all(|port| (28200..=29199).contains(port)), "{ports:?}");
    let steps: std::collections::BTreeSet<i32> =
        ports.windows(2).map(|pair| i32::from(pair[1]) - i32::from(pair[0])).collect();
    assert!(steps.len() > 5, "a pattern: {ports:?}");
}
