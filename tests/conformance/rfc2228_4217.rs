//! AUTH and the upgrade to TLS: RFC 2228 §3, RFC 4217 §4, §8, §10.1, §17.

use std::time::Duration;

use crate::fixture::{dialogue, expect_one_of, on_both, relaxed, strict};
use crate::support::{Client, End, Listener, Wire};

/// [AUTH-01] AUTH TLS is 234 in clear (never 334), then the handshake with the server as server.
#[test]
fn auth_tls_is_234() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.expect("AUTH TLS", 234);
    client.wire.expect_silence(Duration::from_millis(30));
    client.start_tls();
    // No second greeting.
    client.wire.expect_silence(Duration::from_millis(30));
    client.expect("NOOP", 200);
}

/// [AUTH-05] TLS-C is a synonym of TLS.
#[test]
fn auth_tls_c_is_auth_tls() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.expect("AUTH TLS-C", 234);
    client.start_tls();
    dialogue(&mut client, &[("PROT P", 503), ("PBSZ 0", 200), ("PROT P", 200)]);
}

/// [AUTH-07] [AUTH-08] [AUTH-09] Unknown mechanism 504, none 501, TLS-P never plain TLS; a refused
/// AUTH changes nothing.
#[test]
fn auth_refusals() {
    let server = strict();
    let mut client = Client::plain(&server);
    dialogue(
        &mut client,
        &[
            ("AUTH GSSAPI", 504),
            ("AUTH KERBEROS_V4", 504),
            ("AUTH X", 504),
            ("AUTH", 501),
            ("AUTH TLS-P", 504),
            ("NOOP", 200),
            ("PBSZ 0", 503),
        ],
    );
    client.auth();
}

/// [AUTH-10] A second AUTH under TLS is 534; the session goes on under the same TLS.
#[test]
fn second_auth_is_refused() {
    let server = relaxed();
    let mut client = Client::explicit(&server);
    client.expect("AUTH TLS", 534);
    client.expect("AUTH SSL", 534);
    let mut client = client.login();
    dialogue(&mut client, &[("AUTH TLS", 534), ("PWD", 257)]);
}

/// [AUTH-11] An accepted AUTH logs the user out.
#[test]
fn auth_forgets_the_login() {
    let server = relaxed();
    let mut client = Client::plain(&server).login();
    client.auth();
    dialogue(&mut client, &[("PWD", 530), ("PASS secret", 503)]);
    let mut half = Client::plain(&server);
    half.expect("USER alice", 331);
    half.auth();
    half.expect("PASS secret", 503);
}

/// [AUTH-12] An accepted AUTH resets TYPE, REST, RNFR, EPSV ALL, the passive listener, LANG, OPTS.
#[test]
fn auth_forgets_the_parameters() {
    let server = relaxed();
    let mut client = Client::plain(&server).login().within(&server, "auth12");
    std::fs::write(server.root().join("auth12/file"), "1\n2\n").unwrap();
    dialogue(&mut client, &[("OPTS MLST type;", 200), ("REST 2", 350), ("EPSV ALL", 200)]);
    let address = client.epsv();
    client.auth();
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is still open");
    let mut client = client.login();
    assert_eq!(client.expect("PWD", 257).quoted(), b"/");
    assert!(client.expect("FEAT", 211).text().contains("size*;"));
    dialogue(&mut client, &[("RNTO x", 503), ("PASV", 227), ("CWD auth12", 250)]);
    assert_eq!(client.retrieve("RETR file"), b"1\r\n2\r\n");
}

/// [AUTH-13] [AUTH-14] [AUTH-15] Plaintext behind AUTH, whole lines or half of one, Telnet bytes
/// included: 503 and close, and none of it is executed, in clear or under TLS.
#[test]
fn plaintext_behind_auth_closes() {
    let server = relaxed();
    let cases = [
        &b"NOOP\r\n"[..],
        b"USER alice\r\nPASS secret\r\nMKD auth13\r\n",
        b"MKD aut",
        b"\xff",
        b"\r",
    ];
    for injected in cases {
        let mut client = Client::plain(&server).login();
        client.send_bytes(&[b"AUTH TLS\r\n", injected].concat());
        client.expect_reply(503);
        client.expect_close();
    }
    assert!(!server.root().join("auth13").exists());
}

/// [AUTH-13] The same injection on a fresh connection: no reply of the injected command is ever
/// read inside TLS.
#[test]
fn injection_does_not_survive_the_handshake() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.send_bytes(b"AUTH TLS\r\nNOOP\r\n");
    match client.try_reply() {
        Ok(reply) => assert_eq!(reply.code, 503),
        Err(end) => assert_ne!(end, End::Timeout),
    }
    client.expect_close();
}

/// [AUTH-16] A ClientHello pipelined behind AUTH: closed, never hanging.
#[test]
fn client_hello_behind_auth_does_not_hang() {
    let server = strict();
    let mut client = Client::plain(&server);
    let hello = Wire::client_hello(&server.tls());
    client.send_bytes(&[b"AUTH TLS\r\n", &hello[..]].concat());
    client.expect_reply(503);
    client.expect_close();
}

/// [AUTH-17] [AUTH-18] A failed handshake never falls back to plaintext commands.
#[test]
fn failed_handshake_drops_the_connection() {
    let server = relaxed();
    for garbage in [&b"USER alice\r\nPASS secret\r\nMKD auth17\r\n"[..], b"\x16\x03\x01\0\x04abcd"]
    {
        let mut client = Client::plain(&server);
        client.expect("AUTH TLS", 234);
        client.send_bytes(garbage);
        let (bytes, end) = client.wire.read_to_end();
        assert_ne!(end, End::Timeout);
        let quiet = bytes.is_empty() || bytes[0] == 21 || bytes.starts_with(b"421 ");
        assert!(quiet, "said in clear: {}", bytes.escape_ascii());
    }
    // Midway: the ClientHello is good, the next flight is not.
    let mut client = Client::plain(&server);
    client.expect("AUTH TLS", 234);
    let hello = client.wire.begin_handshake(&server.tls());
    client.wire.send_raw(&hello).unwrap();
    client.wire.read_record().unwrap();
    client.wire.send_raw(b"USER alice\r\nPASS secret\r\nMKD auth17\r\n").unwrap();
    client.wire.forget_tls();
    assert_ne!(client.wire.read_to_end().1, End::Timeout);
    assert!(!server.root().join("auth17").exists());
}

/// [AUTH-21] [AUTH-22] [AUTH-23] FEAT has the MS-FTPS lines, on both ports, before and under TLS.
#[test]
fn feat_lists_the_security_extensions() {
    let server = strict();
    let check = |client: &mut Client| {
        let feat = client.expect("FEAT", 211);
        for feature in ["AUTH TLS;SSL;", "PBSZ", "PROT C;P;"] {
            assert!(feat.has_feature(feature), "no {feature}: {}", feat.text());
        }
    };
    check(&mut Client::plain(&server));
    on_both(|listener| check(&mut Client::open(&server, listener)));
}

/// [AUTH-24] ADAT is 503: the mechanism needs none.
#[test]
fn adat_is_503() {
    let server = strict();
    Client::plain(&server).expect("ADAT c2VjcmV0", 503);
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("ADAT c2VjcmV0", 503);
        client.login().expect("ADAT c2VjcmV0", 503);
    });
}

/// [AUTH-25] MIC, CONF and ENC are 537.
#[test]
fn protected_commands_are_537() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for verb in ["MIC", "CONF", "ENC"] {
            client.expect(format!("{verb} Tk9PUA0K"), 537);
        }
    });
}

/// [AUTH-29] TLS demanded: USER and what shows data is 530 before TLS, the rest stays.
#[test]
fn tls_required_before_login() {
    let server = strict();
    let mut client = Client::plain(&server);
    for command in ["USER alice", "ACCT x", "PWD", "CWD /", "PASV", "LIST", "RETR x", "STAT"] {
        client.expect(command, 530);
    }
    expect_one_of(&mut client, "PASS secret", &[503, 530]);
    dialogue(
        &mut client,
        &[
            ("FEAT", 211),
            ("HOST ftp.example.test", 220),
            ("SYST", 215),
            ("HELP", 214),
            ("NOOP", 200),
            ("LANG EN", 200),
            ("OPTS UTF8 ON", 200),
            ("AUTH TLS", 234),
        ],
    );
    client.start_tls();
    client.login().quit();
}

/// [AUTH-17] After AUTH the old plaintext session is not resumed by FIN either.
#[test]
fn fin_instead_of_client_hello() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.expect("AUTH TLS", 234);
    client.wire.fin();
    assert_ne!(client.wire.read_to_end().1, End::Timeout);
    Client::open(&server, Listener::Explicit).quit();
}
