//! TLS on data connections: RFC 4217 §7, §9, §10.2, §12; RFC 8446 §6.1 on truncation.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::fixture::{
    alice, alice_with, expect_one_of, on_both, on_both_in_each_version, relaxed, strict,
};
use crate::support::client::accept;
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Listener, Server, Wire};

/// [DTLS-01] [PORT-08] The FTP server is the TLS server, whoever connects.
#[test]
fn server_is_tls_server_in_both_directions() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls01");
        client.store("STOR file", b"bytes");
        for extended in [false, true] {
            let incoming = if extended { client.eprt() } else { client.port() };
            client.expect("RETR file", 150);
            let mut data = accept(&incoming);
            client.secure(&mut data);
            assert_eq!(client.receive(data), b"bytes");
        }
        let incoming = client.port();
        client.expect("STOR active", 150);
        let mut data = accept(&incoming);
        client.secure(&mut data);
        client.deliver(data, b"active bytes");
        assert_eq!(client.retrieve("RETR active"), b"active bytes");
    });
}

/// [DTLS-02] close_notify before the FIN on every download: RETR, LIST, NLST, MLSD.
#[test]
fn downloads_end_with_close_notify() {
    let server = strict();
    on_both_in_each_version(&server, |listener, tls| {
        let mut client = alice_with(&server, listener, tls, "dtls02");
        client.store("STOR file", &[7; 100_000]);
        // `retrieve` asserts the close_notify.
        for command in ["RETR file", "LIST", "NLST", "MLSD"] {
            client.retrieve(command);
        }
    });
}

/// [DTLS-03] [DTLS-05] An upload that ends by FIN without close_notify is no 226, and nothing
/// becomes visible; an existing file stays as it was.
#[test]
fn upload_without_close_notify_is_incomplete() {
    let server = strict();
    on_both_in_each_version(&server, |listener, tls| {
        let mut client = alice_with(&server, listener, tls, "dtls03");
        client.store("STOR old", b"old contents");
        for name in ["old", "new"] {
            let mut data = client.begin(format!("STOR {name}"));
            data.send(b"partial").unwrap();
            data.fin();
            let code = client.reply().code;
            assert!([426, 451].contains(&code), "{code}");
        }
        client.expect("SIZE new", 550);
        assert_eq!(client.retrieve("RETR old"), b"old contents");
    });
}

/// [DTLS-03] The switch for clients that never send close_notify.
#[test]
fn lax_upload_eof_accepts_fin() {
    let server = Server::builder().toml("[policy]\nlax_upload_eof = true").start();
    on_both(|listener| {
        let mut client = alice(&server, listener, "lax");
        let mut data = client.begin("STOR file");
        data.send(b"no close_notify").unwrap();
        data.fin();
        client.expect_reply(226);
        assert_eq!(client.retrieve("RETR file"), b"no close_notify");
    });
}

/// [DTLS-03] The switch for one user, in either direction, and for anonymous; and where the refusal
/// and the log name it.
#[test]
fn lax_upload_eof_of_a_user() {
    let all = ["read", "write"];
    for lax in [true, false] {
        let rule = |lax: bool| format!("lax_upload_eof = {lax}");
        let home = tempfile::tempdir().unwrap();
        let anonymous = format!(
            "[policy]\n{}\n[anonymous]\nhome = {:?}\npermissions = [\"write\"]\n{}",
            rule(!lax),
            home.path(),
            rule(lax)
        );
        let server = Server::builder().toml(&anonymous);
        let server = server.user("carol", &all, &rule(lax)).user("dave", &all, "").start();
        for (user, accepted) in [("carol", lax), ("anonymous", lax), ("dave", !lax)] {
            let mut client = Client::implicit(&server).login_as(user);
            let mut data = client.begin("STOR file");
            data.send(b"no close_notify").unwrap();
            data.fin();
            let reply = client.reply();
            assert_eq!(reply.code, if accepted { 226 } else { 426 }, "{user}: {}", reply.text());
            assert_eq!(reply.text().contains("lax_upload_eof"), !accepted, "{}", reply.text());
            // The part of a record is no end for anybody.
            let mut data = client.begin("STOR part");
            let record = data.seal(b"never whole");
            data.send_raw(&record[..9]).unwrap();
            data.fin();
            let reply = client.expect_reply(426);
            assert!(!reply.text().contains("lax_upload_eof"), "{}", reply.text());
        }
        let log = server.stop();
        let named = |user: &str| {
            let line = |line: &&str| line.contains("WARN") && line.contains("lax_upload_eof =");
            log.lines().filter(line).any(|line| line.contains(user))
        };
        assert_eq!((named("user=\"carol\""), named("user=\"dave\"")), (!lax, lax), "{log}");
    }
}

/// [DTLS-04] An upload that ends by RST is 426 or 451, never 226.
#[test]
fn upload_reset_is_incomplete() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls04");
        let mut data = client.begin("STOR file");
        data.send(b"partial").unwrap();
        data.reset();
        let code = client.reply().code;
        assert!([426, 451].contains(&code), "{code}");
        client.expect("SIZE file", 550);
        client.expect("NOOP", 200);
    });
}

/// [DTLS-06] A failed data handshake is 522 after the 150; the session goes on.
#[test]
fn failed_data_handshake_is_522() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls06");
        client.store("STOR file", b"bytes");
        for command in ["RETR file", "STOR other", "LIST"] {
            let mut data = client.passive();
            client.expect(command, 150);
            data.send_raw(b"GET / HTTP/1.1\r\nHost: this is not TLS\r\n\r\n").unwrap();
            client.expect_reply(522);
            assert_ne!(data.read_to_end().1, End::Timeout);
        }
        assert_eq!(client.retrieve("RETR file"), b"bytes");
    });
}

/// [DTLS-06c] A data connection that closes during the handshake leaves the session whole.
#[test]
fn data_connection_lost_in_the_handshake() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls06c");
        for reset in [false, true] {
            let mut data = client.passive();
            client.expect("LIST", 150);
            let hello = data.begin_handshake(&client.data_tls);
            data.send_raw(&hello[..hello.len() / 2]).unwrap();
            if reset {
                data.reset()
            } else {
                data.fin()
            }
            let code = client.reply().code;
            assert!([522, 425, 426].contains(&code), "{code}");
        }
        client.retrieve("LIST");
    });
}

/// [DTLS-08] The handshake may start before or after the client read the 150, even before the
/// transfer command; the server does not wait for client bytes before the 150.
#[test]
fn handshake_before_or_after_the_150() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls08");
        client.store("STOR file", b"bytes");
        // After: `expect` has read the 150 before the first data byte is sent.
        assert_eq!(client.retrieve("RETR file"), b"bytes");
        // Before the command: the ClientHello waits in the socket.
        let mut data = client.passive();
        let hello = data.begin_handshake(&client.data_tls);
        data.send_raw(&hello).unwrap();
        client.send("RETR file");
        data.finish_handshake().unwrap();
        client.expect_reply(150);
        assert_eq!(client.receive(data), b"bytes");
    });
}

/// [DTLS-10] The same certificate on control and data connections.
#[test]
fn one_certificate_for_both() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls10");
        client.data_tls = client.data_tls.clone().fresh();
        let control = client.wire.tls().unwrap().peer_certificates().unwrap().to_vec();
        assert_eq!(control[0], server.identity().certificate);
        let data = client.begin("LIST");
        assert_eq!(data.tls().unwrap().peer_certificates().unwrap(), control);
        client.receive(data);
    });
}

/// [DTLS-11] Resumption of the control connection's session is offered and works, TLS 1.2 and 1.3.
#[test]
fn data_connections_resume_the_control_session() {
    let server = strict();
    on_both_in_each_version(&server, |listener, tls| {
        let mut client = Client::open_with(&server, listener, tls).login();
        client.expect("NOOP", 200);
        let data = client.begin("LIST");
        assert!(data.resumed(), "full handshake on {listener:?}");
        client.receive(data);
    });
}

/// [DTLS-11] No tickets are sent on an upload before the client's close_notify: in TLS 1.3 they can
/// provoke a reset that truncates the file.
#[test]
fn no_tickets_on_uploads() {
    let server = strict();
    let mut client = alice(&server, Listener::Implicit, "tickets");
    let mut data = client.begin("STOR file");
    data.send(b"bytes").unwrap();
    data.expect_silence(Duration::from_millis(100));
    data.finish();
    client.expect_reply(226);
    assert_eq!(data.tls().unwrap().tls13_tickets_received(), 1);
}

/// [DTLS-12] Under PROT P clear bytes of the client store nothing.
#[test]
fn clear_upload_is_not_stored() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls12");
        let mut data = client.passive();
        client.expect("STOR file", 150);
        data.send_raw(&[b'x'; 5000]).unwrap();
        data.fin();
        let code = client.reply().code;
        assert!([522, 425, 426].contains(&code), "{code}");
        client.expect("SIZE file", 550);
    });
}

/// [DTLS-14] An empty file still gets its handshake and close_notify, both ways.
#[test]
fn empty_transfers_are_protected() {
    let server = strict();
    on_both_in_each_version(&server, |listener, tls| {
        let mut client = alice_with(&server, listener, tls, "dtls14");
        client.store("STOR empty", b"");
        assert_eq!(client.retrieve("RETR empty"), b"");
        client.expect("SIZE empty", 213);
    });
}

/// [DTLS-16] After the client's close_notify the server does not wait for its FIN: it answers
/// with its own, closes, and says 226.
#[test]
fn close_notify_completes_an_upload() {
    let server = strict();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client =
            Client::open_with(&server, Listener::Implicit, tls).login().within(&server, "dtls16");
        let mut data = client.begin("STOR file");
        data.send(b"bytes").unwrap();
        data.close_notify().unwrap();
        client.expect_reply(226);
        assert_eq!(data.read_to_end(), (Vec::new(), End::CloseNotify));
        data.forget_tls();
        assert_eq!(data.read_to_end(), (Vec::new(), End::Fin));
    }
}

/// [DTLS-17] A client that closes right after its close_notify is fine.
#[test]
fn closing_at_once_after_close_notify() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls17");
        let mut data = client.begin("STOR file");
        data.send(&[1; 50_000]).unwrap();
        data.close_notify().unwrap();
        drop(data);
        client.expect_reply(226);
        assert!(client.expect("SIZE file", 213).line().ends_with("50000"));
    });
}

/// [DTLS-17] On a download the client's missing close_notify is no error.
#[test]
fn download_client_may_omit_close_notify() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "dtls17b");
        client.store("STOR file", b"bytes");
        let mut data = client.begin("RETR file");
        assert_eq!(data.read_to_end(), (b"bytes".to_vec(), End::CloseNotify));
        drop(data);
        client.expect_reply(226);
    });
}

/// [DTLS-20] Data level C under TLS on the control connection: plain data.
#[test]
fn clear_data_under_protected_control() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = crate::fixture::alice_clear_data(&server, listener, "dtls20");
        client.store("STOR file", b"in clear");
        assert_eq!(client.retrieve("RETR file"), b"in clear");
    });
}

/// [PASV-06] [PASV-06b] `require`: no resumption, or resumption of another control session, is
/// 522; resumption of this one is served.
#[test]
fn required_resumption_binds_data_to_control() {
    let server = Server::builder().toml("[tls]\ndata_resumption = \"require\"").start();
    on_both_in_each_version(&server, |listener, tls| {
        let open = || {
            let tls = tls.clone().fresh();
            let mut client = Client::open_with(&server, listener, tls).login();
            client.expect("NOOP", 200);
            client
        };
        let (mut client, other) = (open(), open());
        client.retrieve("LIST");
        for foreign in [client.tls.clone().no_resumption(), other.tls] {
            let own_tls = std::mem::replace(&mut client.data_tls, foreign);
            let mut data = client.passive();
            client.expect("LIST", 150);
            // The handshake may complete on the client's side before it is refused.
            let _ = data.handshake(&client.data_tls);
            let (bytes, _) = data.read_to_end();
            assert!(bytes.is_empty(), "data for a stranger");
            client.expect_reply(522);
            client.data_tls = own_tls;
        }
        client.retrieve("LIST");
    });
}

/// [DTLS-11] `off`: no tickets at all, and full handshakes are served.
#[test]
fn resumption_can_be_switched_off() {
    let server = Server::builder().toml("[tls]\ndata_resumption = \"off\"").start();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
        let data = client.begin("LIST");
        assert!(!data.resumed());
        client.receive(data);
        assert_eq!(client.wire.tls().unwrap().tls13_tickets_received(), 0);
    }
}

/// [BG-04] A data connection that never starts its handshake is 522 after the deadline.
#[test]
fn data_handshake_has_a_deadline() {
    let server = Server::builder().toml("[limits]\ndata_timeout = \"1s\"").start();
    on_both(|listener| {
        let mut client = alice(&server, listener, "bg04");
        let data = client.passive();
        client.expect("LIST", 150);
        client.expect_reply(522);
        drop(data);
        // Half a ClientHello does not extend it.
        let mut data = client.passive();
        client.expect("LIST", 150);
        let hello = data.begin_handshake(&client.data_tls);
        data.send_raw(&hello[..20]).unwrap();
        client.expect_reply(522);
        client.retrieve("LIST");
    });
}

/// [DTLS-06] A record whose MAC is wrong ends the transfer with 426, 451 or 535; nothing is kept.
#[test]
fn tampered_record_ends_the_transfer() {
    let server = strict();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client =
            Client::open_with(&server, Listener::Implicit, tls).login().within(&server, "mac");
        let mut data = client.begin("STOR file");
        let mut record = data.seal(b"will be damaged");
        *record.last_mut().unwrap() ^= 1;
        data.send_raw(&record).unwrap();
        let code = client.reply().code;
        assert!([426, 451, 535].contains(&code), "{code}");
        client.expect("SIZE file", 550);
    }
}

/// [DTLS-08] A stranger's early bytes on another connection never reach a transfer: one data
/// connection, one TLS session.
#[test]
fn second_connection_to_the_listener_gets_nothing() {
    let server = strict();
    let mut client = alice(&server, Listener::Implicit, "second");
    client.store("STOR file", b"bytes");
    let address = client.epsv();
    let mut first = Wire::connect(address);
    client.expect("RETR file", 150);
    client.secure(&mut first);
    let second = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port()));
    assert_eq!(client.receive(first), b"bytes");
    if let Ok(second) = second {
        let mut second = Wire::new(second);
        second.set_patience(Duration::from_secs(5));
        assert!(matches!(second.read_to_end(), (bytes, End::Fin | End::Reset) if bytes.is_empty()));
    }
    expect_one_of(&mut client, "RETR file", &[425]);
}
