//! Data connections and strangers: RFC 2577 (bounce, port theft), RFC 1123 §4.1.2.12.

use std::time::Duration;

use crate::fixture::{alice, alice_clear_data, expect_one_of, loopback, on_both, relaxed, strict};
use crate::support::client::accept;
use crate::support::{Client, End, Listener, Server, Wire};

/// [PORT-02] A foreign address is 504, and nothing is ever connected there.
#[test]
fn bounce_is_refused() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "port02");
        let victim = std::net::TcpListener::bind((loopback(3), 0)).unwrap();
        let [high, low] = victim.local_addr().unwrap().port().to_be_bytes();
        client.expect(format!("PORT 127,0,0,3,{high},{low}"), 504);
        client.expect("LIST", 425);
        victim.set_nonblocking(true).unwrap();
        assert!(victim.accept().is_err(), "bounced");
        client.expect("PORT 192,0,2,1,100,100", 504);
    });
}

/// [PORT-02] A refused PORT does not leave the former one in place for the bounce's purpose, and
/// the switch for server-to-server transfers allows foreign addresses.
#[test]
fn foreign_addresses_can_be_allowed() {
    let policy = "allow_foreign_data_address = true\nrequire_data_tls = false";
    let server = Server::builder().toml(&format!("[policy]\n{policy}")).start();
    let mut client = alice_clear_data(&server, Listener::Implicit, "fxp");
    let other = std::net::TcpListener::bind((loopback(3), 0)).unwrap();
    let [high, low] = other.local_addr().unwrap().port().to_be_bytes();
    client.expect(format!("PORT 127,0,0,3,{high},{low}"), 200);
    client.expect("LIST", 150);
    client.receive(accept(&other));
}

/// [PORT-03] [PORT-05] Ports below 1024 are 504, port 0 is 501, with PORT and EPRT.
#[test]
fn privileged_ports_are_refused() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for port in [1_u16, 22, 25, 1023] {
            let [high, low] = port.to_be_bytes();
            client.expect(format!("PORT 127,0,0,1,{high},{low}"), 504);
            client.expect(format!("EPRT |1|127.0.0.1|{port}|"), 504);
        }
        client.expect("PORT 127,0,0,1,0,0", 501);
        client.expect("EPRT |1|127.0.0.1|0|", 501);
        client.expect("PORT 127,0,0,1,4,0", 200);
    });
}

/// [PORT-02] Active mode can be switched off altogether.
#[test]
fn active_mode_can_be_switched_off() {
    let server = Server::builder().toml("[policy]\nallow_active = false").start();
    let mut client = Client::implicit(&server).login();
    expect_one_of(&mut client, "PORT 127,0,0,1,100,100", &[500, 501, 502, 504]);
    expect_one_of(&mut client, "EPRT |1|127.0.0.1|25700|", &[500, 501, 502, 504, 522]);
    client.retrieve("LIST");
}

/// [PORT-09] Nobody listens at the announced port: 150, then 425; the session goes on.
#[test]
fn unreachable_active_port_is_425() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "port09");
        let port = client.port();
        drop(port);
        let first = client.cmd("LIST");
        if first.code == 150 {
            client.expect_reply(425);
        } else {
            assert_eq!(first.code, 425, "{first:?}");
        }
        client.retrieve("LIST");
    });
}

/// [PASV-04] [PASV-05] A connection from another address is closed and gets nothing; the listener
/// goes on waiting for the client's own.
#[test]
fn strangers_cannot_take_the_passive_port() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "pasv04");
        client.store("STOR file", b"for the client alone");
        let address = client.epsv();
        let mut thief = Wire::connect_from(loopback(9), address);
        client.send("RETR file");
        let (stolen, end) = thief.read_to_end();
        assert!(stolen.is_empty(), "stolen: {}", stolen.escape_ascii());
        assert_ne!(end, End::Timeout);
        let data = Wire::connect(address);
        client.expect_reply(150);
        assert_eq!(client.receive(data), b"for the client alone");

        // Nor can a stranger inject into an upload.
        let address = client.epsv();
        let mut thief = Wire::connect_from(loopback(9), address);
        let _ = thief.send(b"forged");
        let data = Wire::connect(address);
        client.expect("STOR file", 150);
        client.deliver(data, b"genuine");
        assert_eq!(client.retrieve("RETR file"), b"genuine");
    });
}

/// [PASV-07] Without PASV or PORT: 425 (503), no 1xx, for every transfer command.
#[test]
fn transfers_need_a_data_connection() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "pasv07");
        client.store("STOR file", b"bytes");
        for command in ["RETR file", "STOR new", "APPE new", "STOU", "LIST", "NLST", "MLSD"] {
            expect_one_of(&mut client, command, &[425, 503]);
        }
        client.expect("SIZE new", 550);
    });
}

/// [PASV-13] After the accepted connection later ones get nothing.
#[test]
fn one_connection_per_listener() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "pasv13");
        let address = client.epsv();
        let first = Wire::connect(address);
        client.expect("STOR file", 150);
        if let Ok(second) = std::net::TcpStream::connect(address) {
            let mut second = Wire::new(second);
            // It may be refused at any moment: neither call need succeed.
            let _ = second.send(b"intruder");
            second.fin();
        }
        client.deliver(first, b"owner");
        assert_eq!(client.retrieve("RETR file"), b"owner");
    });
}

/// [BG-03] [PORT-09] A passive listener nobody connects to: 425 after the deadline.
#[test]
fn passive_wait_has_a_deadline() {
    let server = Server::builder().toml("[limits]\ndata_timeout = \"1s\"").start();
    on_both(|listener| {
        let mut client = alice(&server, listener, "bg03");
        let address = client.epsv();
        let first = client.cmd("LIST");
        if first.code == 150 {
            client.expect_reply(425);
        } else {
            assert_eq!(first.code, 425, "{first:?}");
        }
        assert!(std::net::TcpStream::connect(address).is_err(), "the listener is still open");
        client.retrieve("LIST");
    });
}

/// [XFER-24] One PASV serves one transfer: the next without a new one is 425 and never hangs.
#[test]
fn one_set_up_serves_one_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer24");
        client.retrieve("LIST");
        client.expect("LIST", 425);
        client.wire.expect_silence(Duration::from_millis(20));
        client.retrieve("LIST");
    });
}
