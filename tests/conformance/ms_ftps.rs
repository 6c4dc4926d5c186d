//! Implicit TLS as MS-FTPS 3.2.5 has it, and the TLS versions of both ports.

use std::time::Duration;

use rustls::{CipherSuite, ProtocolVersion};

use crate::fixture::{dialogue, expect_one_of, on_both, on_both_in_each_version, relaxed, strict};
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::pause;
use crate::support::{Client, End, Listener, Server, Wire};

/// [IMP-01] The implicit port says nothing before the ClientHello.
#[test]
fn implicit_port_waits_in_silence() {
    let server = strict();
    let mut client = Client::raw(&server, Listener::Implicit);
    client.wire.expect_silence(Duration::from_millis(200));
    client.start_tls();
    client.expect_reply(220);
}

/// [IMP-02] [IMP-10] After the handshake the only unasked reply is the 220, inside TLS: PBSZ and
/// PROT are set without any.
#[test]
fn greeting_comes_inside_tls() {
    let server = strict();
    let mut client = Client::raw(&server, Listener::Implicit);
    client.start_tls();
    client.expect_reply(220);
    client.wire.expect_silence(Duration::from_millis(50));
    client.expect("NOOP", 200);
}

/// [IMP-03] [IMP-04] [IMP-05] [IMP-06] AUTH is refused with 534 and the session goes on in TLS.
#[test]
fn auth_is_refused_on_implicit() {
    let server = relaxed();
    let mut client = Client::implicit(&server);
    for mechanism in ["TLS", "SSL", "TLS-C"] {
        client.expect(format!("AUTH {mechanism}"), 534);
    }
    let mut client = client.login();
    dialogue(&mut client, &[("AUTH TLS", 534), ("PWD", 257)]);
}

/// [IMP-07] [IMP-08] [IMP-09] CCC is refused with 534, whatever the policy for explicit, and the
/// session goes on in TLS.
#[test]
fn ccc_is_refused_on_implicit() {
    for server in [strict(), relaxed()] {
        let mut client = Client::implicit(&server);
        client.expect("CCC", 534);
        let mut client = client.login();
        dialogue(&mut client, &[("CCC", 534), ("PWD", 257)]);
    }
}

/// [IMP-11] Data connections are private from the start: clear bytes from the server never come,
/// clear bytes from the client are not stored.
#[test]
fn implicit_data_is_private_without_prot() {
    let server = relaxed();
    let mut client = Client::implicit(&server).login().within(&server, "imp11");
    client.store("STOR file", b"private");
    assert_eq!(client.retrieve("RETR file"), b"private");

    let mut data = client.passive();
    client.expect("RETR file", 150);
    data.send_raw(b"this is no ClientHello").unwrap();
    let (bytes, _) = data.read_to_end();
    assert!(!bytes.windows(7).any(|window| window == b"private"), "clear data: {bytes:?}");
    let code = client.reply().code;
    assert!([425, 426, 522].contains(&code), "{code}");
    client.expect("NOOP", 200);
}

/// [IMP-12] PROT C later is an ordinary PROT.
#[test]
fn prot_c_works_on_implicit() {
    let server = relaxed();
    let mut client = Client::implicit(&server).login().within(&server, "imp12");
    client.store("STOR file", b"bytes");
    client.expect("PROT C", 200);
    client.private = false;
    assert_eq!(client.retrieve("RETR file"), b"bytes");
    client.expect("PROT P", 200);
    client.private = true;
    assert_eq!(client.retrieve("RETR file"), b"bytes");
}

/// [IMP-13] PBSZ 0 and PROT P sent anyway are 200.
#[test]
fn redundant_pbsz_and_prot_are_accepted() {
    let server = strict();
    let mut client = Client::implicit(&server);
    dialogue(&mut client, &[("PBSZ 0", 200), ("PROT P", 200), ("USER alice", 331)]);
    dialogue(&mut client, &[("PASS secret", 230), ("PBSZ 0", 200), ("PROT P", 200)]);
}

/// [IMP-14] PROT needs no PBSZ: it is implied.
#[test]
fn prot_needs_no_pbsz_on_implicit() {
    let server = relaxed();
    dialogue(&mut Client::implicit(&server), &[("PROT P", 200), ("PROT C", 200)]);
}

/// [IMP-15] [IMP-16] Plaintext or garbage instead of a ClientHello: closed, no FTP in clear.
#[test]
fn garbage_instead_of_client_hello_closes() {
    let server = strict();
    let cases = [&b"USER alice\r\n"[..], b"\0\0\0\0\0\0\0\0", b"\x16\x03\x01\xff\xffxx", b"\r\n"];
    for garbage in cases {
        let mut client = Client::raw(&server, Listener::Implicit);
        let mut sent = garbage.to_vec();
        sent.resize(64, b'.');
        client.wire.send_raw(&sent).unwrap();
        let (bytes, end) = client.wire.read_to_end();
        assert_ne!(end, End::Timeout, "after {}", garbage.escape_ascii());
        assert!(bytes.is_empty() || bytes[0] == 21, "said in clear: {}", bytes.escape_ascii());
    }
}

/// [IMP-17] A ClientHello may come byte by byte.
#[test]
fn client_hello_byte_by_byte() {
    let server = strict();
    for versions in [TLS12, TLS13] {
        let mut client = Client::raw(&server, Listener::Implicit);
        let hello = client.wire.begin_handshake(&server.tls().versions(versions));
        for byte in hello {
            client.wire.send_raw(&[byte]).unwrap();
        }
        client.wire.finish_handshake().unwrap();
        client.expect_reply(220);
    }
}

/// [TLS-01] [TLS-02] TLS 1.2 and TLS 1.3, each with every suite offered for it.
#[test]
fn both_versions_are_spoken() {
    let server = strict();
    let cases = [
        (TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256, ProtocolVersion::TLSv1_3),
        (TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384, ProtocolVersion::TLSv1_3),
        (TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, ProtocolVersion::TLSv1_3),
        (TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, ProtocolVersion::TLSv1_2),
        (TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, ProtocolVersion::TLSv1_2),
        (
            TLS12,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            ProtocolVersion::TLSv1_2,
        ),
    ];
    for (versions, suite, version) in cases {
        on_both(|listener| {
            let tls = server.tls().versions(versions).suite(suite);
            let mut client =
                Client::open_with(&server, listener, tls).login().within(&server, "tls01");
            let negotiated = client.wire.tls().unwrap().protocol_version();
            assert_eq!(negotiated, Some(version));
            client.store("STOR file", b"over any suite");
            assert_eq!(client.retrieve("RETR file"), b"over any suite");
        });
    }
}

/// [TLS-03] Anything older is refused with an alert, not answered.
#[test]
fn older_versions_are_refused() {
    let server = strict();
    // A TLS 1.0 ClientHello: version 3.1, one CBC suite, no extensions.
    let mut hello = vec![0x03, 0x01];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x0a, 1, 0]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(&hello);
    let mut record = vec![22, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(&message);
    let mut client = Client::raw(&server, Listener::Implicit);
    client.wire.send_raw(&record).unwrap();
    let (bytes, end) = client.wire.read_to_end();
    assert_ne!(end, End::Timeout);
    assert!(bytes.is_empty() || bytes[0] == 21, "not an alert: {}", bytes.escape_ascii());
}

/// [TLS-04] close_notify without QUIT ends the session: answered by close_notify, then FIN.
#[test]
fn close_notify_ends_the_session() {
    let server = strict();
    on_both_in_each_version(&server, |listener, tls| {
        let mut client = Client::open_with(&server, listener, tls).login();
        client.wire.close_notify().unwrap();
        client.expect_end(End::CloseNotify);
        client.wire.forget_tls();
        assert_eq!(client.wire.read_to_end(), (Vec::new(), End::Fin));
    });
}

/// [AUTH-03] [AUTH-04] AUTH SSL is AUTH TLS: 234, and the data level stays Clear.
#[test]
fn auth_ssl_is_auth_tls() {
    let server = relaxed();
    let mut client = Client::plain(&server);
    client.expect("AUTH SSL", 234);
    client.start_tls();
    // Level Clear and no PBSZ: as after AUTH TLS.
    client.expect("PROT P", 503);
    let mut client = client.login().within(&server, "auth04");
    client.store("STOR file", b"in clear");
    assert_eq!(client.retrieve("RETR file"), b"in clear");

    let server = strict();
    let mut client = Client::plain(&server);
    client.expect("AUTH SSL", 234);
    client.start_tls();
    let mut client = client.login();
    client.refused("LIST", 522);
}

/// [AUTH-04] The switch for clients of the expired drafts: AUTH SSL implies PBSZ 0 and PROT P.
#[test]
fn auth_ssl_can_imply_prot_p() {
    let server = Server::builder().toml("[policy]\nauth_ssl_implies_prot_p = true").start();
    let mut client = Client::plain(&server);
    client.expect("AUTH SSL", 234);
    client.start_tls();
    client.private = true;
    let mut client = client.login().within(&server, "authssl");
    client.store("STOR file", b"private");
    let mut client = Client::plain(&server);
    client.auth();
    client.expect("PROT P", 503);
}

/// [PORT-10] [PORT-11] Active data connections come from the control connection's own address,
/// from port L-1 where the system permits it.
#[test]
fn active_connections_come_from_the_control_address() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = crate::fixture::alice_clear_data(&server, listener, "port10");
        client.store("STOR file", b"bytes");
        let incoming = client.port();
        client.expect("RETR file", 150);
        let data = crate::support::client::accept(&incoming);
        let source = data.tcp().peer_addr().unwrap();
        assert_eq!(source.ip(), client.server.ip());
        let wanted = client.server.port() - 1;
        // Port L-1 may be in use by something else: then any port will do.
        if source.port() != wanted {
            let probe = std::net::TcpListener::bind((source.ip(), wanted));
            assert!(probe.is_err() || wanted < 1024, "port {wanted} was free, not used");
        }
        assert_eq!(client.receive(data), b"bytes");
    });
}

/// [BG-01] [BG-02] A connection that says nothing, or half a ClientHello, is closed after the
/// handshake deadline, and nobody else waits for it.
#[test]
fn handshake_has_a_deadline() {
    let server = Server::builder().toml("[limits]\nhandshake_timeout = \"1s\"").start();
    let mut silent = Client::raw(&server, Listener::Implicit);
    let mut half = Client::raw(&server, Listener::Implicit);
    let hello = Wire::client_hello(&server.tls());
    half.wire.send_raw(&hello[..hello.len() / 2]).unwrap();
    let mut upgrade = Client::plain(&server);
    upgrade.expect("AUTH TLS", 234);
    upgrade.wire.send_raw(&hello[..5]).unwrap();
    Client::implicit(&server).quit();
    // Linux keeps a connection that says nothing to itself (TCP_DEFER_ACCEPT, up to 15 s) before
    // the server sees it and its deadline begins.
    silent.wire.set_patience(Duration::from_secs(40));
    for client in [&mut silent, &mut half, &mut upgrade] {
        let (bytes, end) = client.wire.read_to_end();
        assert_ne!(end, End::Timeout);
        assert!(bytes.is_empty() || bytes[0] == 21, "in clear: {}", bytes.escape_ascii());
    }
}

/// [BG-02] A ClientHello that drips does not extend the deadline.
#[test]
fn dripping_client_hello_is_cut_off() {
    let server = Server::builder().toml("[limits]\nhandshake_timeout = \"1s\"").start();
    let mut client = Client::raw(&server, Listener::Implicit);
    let hello = Wire::client_hello(&server.tls());
    let cut = hello.iter().take(100).any(|byte| {
        pause(Duration::from_millis(20));
        client.wire.send_raw(&[*byte]).is_err()
    });
    assert!(
        cut || client.wire.read_to_end().1 != End::Timeout,
        "still waiting after twice the deadline"
    );
}

/// [IMP-12] By policy PROT C may be kept out: the transfer is refused with 522, the level named.
#[test]
fn clear_data_is_refused_by_policy_on_implicit() {
    let server = strict();
    let mut client = Client::implicit(&server).login();
    if expect_one_of(&mut client, "PROT C", &[200, 534]) == 200 {
        client.refused("LIST", 522);
        client.expect("PROT P", 200);
    }
    client.retrieve("LIST");
}
