//! REIN: RFC 959 §4.1.1, RFC 4217 §13, MS-FTPS 3.2.5.3, and the exact hand-over of bytes between
//! the old TLS session and what follows it on the same TCP connection.

use std::time::Duration;

use crate::fixture::{
    alice, alice_plain, dialogue, fail_for_the_last_time, on_both, relaxed, strict,
};
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Listener, Wire};

/// [REIN-00] [REIN-01] REIN is 220 in every state.
#[test]
fn rein_is_220() {
    let server = relaxed();
    let mut plain = Client::plain(&server);
    dialogue(
        &mut plain,
        &[("REIN", 220), ("USER alice", 331), ("REIN", 220), ("PASS secret", 503)],
    );
    let mut plain = plain.login();
    plain.expect("REIN", 220);
    on_both(|listener| {
        Client::open(&server, listener).expect("REIN", 220);
        Client::open(&server, listener).login().expect("REIN", 220);
    });
}

/// [REIN-02] Everything is as if just connected: user, directory, TYPE, REST, RNFR, EPSV ALL.
#[test]
fn rein_forgets_the_session() {
    let server = relaxed();
    let mut client = alice_plain(&server, "rein02");
    std::fs::write(server.root().join("rein02/file"), "a\nb\n").unwrap();
    dialogue(
        &mut client,
        &[("EPSV ALL", 200), ("OPTS MLST type;", 200), ("RNFR file", 350), ("REIN", 220)],
    );
    dialogue(&mut client, &[("PWD", 530), ("RNTO other", 530), ("PASS secret", 503)]);
    let feat = client.expect("FEAT", 211);
    assert!(feat.text().contains("size*;"), "OPTS MLST survived: {}", feat.text());
    let mut client = client.login();
    assert_eq!(client.expect("PWD", 257).quoted(), b"/");
    dialogue(&mut client, &[("RNTO other", 503), ("PASV", 227), ("CWD rein02", 250)]);
    // TYPE A again: LF becomes CRLF.
    assert_eq!(client.retrieve("RETR file"), b"a\r\nb\r\n");
}

/// [REIN-02] The restart marker is forgotten.
#[test]
fn rein_forgets_rest() {
    let server = relaxed();
    let mut client = alice_plain(&server, "rein02b");
    std::fs::write(server.root().join("rein02b/file"), "0123456789").unwrap();
    dialogue(&mut client, &[("REST 5", 350), ("REIN", 220)]);
    let mut client = client.login().within(&server, "rein02b");
    assert_eq!(client.retrieve("RETR file"), b"0123456789");
}

/// [REIN-03] On explicit the 220 and then close_notify come inside TLS; plaintext follows on the
/// same TCP connection without a second greeting.
#[test]
fn rein_on_explicit_reverts_to_clear() {
    let server = relaxed();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
        client.expect("REIN", 220);
        client.end_tls();
        client.wire.expect_silence(Duration::from_millis(50));
        dialogue(&mut client, &[("NOOP", 200), ("PWD", 530), ("PBSZ 0", 503), ("PROT P", 503)]);
        dialogue(&mut client, &[("USER alice", 331), ("PASS secret", 230)]);
    }
}

/// [REIN-04] A new AUTH TLS is possible, with a full or a resumed handshake; the level is Clear.
#[test]
fn auth_after_rein() {
    for fresh in [false, true] {
        let server = relaxed();
        let mut client = Client::explicit(&server).login();
        client.expect("REIN", 220);
        client.end_tls();
        if fresh {
            let tls = client.tls.clone().fresh();
            client.use_tls(tls);
        }
        client.auth();
        client.expect("PROT P", 503);
        let mut client = client.login().within(&server, "rein04");
        client.store("STOR file", b"in clear");
        dialogue(&mut client, &[("PBSZ 0", 200), ("PROT P", 200)]);
        client.private = true;
        assert_eq!(client.retrieve("RETR file"), b"in clear");
    }
}

/// [REIN-05] On implicit a new handshake follows on the same TCP connection, greeted with 220,
/// PBSZ 0 and PROT P implied again.
#[test]
fn rein_on_implicit_negotiates_again() {
    let server = strict();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls);
        for _ in 0..3 {
            client = client.login().within(&server, "rein05");
            client.store("STOR file", b"private");
            client.expect("REIN", 220);
            client.end_tls();
            client.wire.expect_silence(Duration::from_millis(30));
            client.start_tls();
            client.expect_reply(220);
            client.private = true;
            client.expect("PWD", 530);
        }
    }
}

/// [REIN-06] close_notify and the next ClientHello in one segment: not one byte is lost.
#[test]
fn close_notify_and_client_hello_in_one_segment() {
    let server = strict();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
        client.expect("REIN", 220);
        client.expect_end(End::CloseNotify);
        let mut bytes = client.wire.seal_close_notify();
        client.wire.forget_tls();
        bytes.extend(client.wire.begin_handshake(&tls));
        client.wire.send_raw(&bytes).unwrap();
        client.wire.finish_handshake().unwrap();
        client.expect_reply(220);
        client.login().expect("PWD", 257);
    }
}

/// [REIN-06] On explicit the same holds for plaintext behind the close_notify.
#[test]
fn close_notify_and_plaintext_in_one_segment() {
    let server = relaxed();
    let mut client = Client::explicit(&server).login();
    client.expect("REIN", 220);
    client.expect_end(End::CloseNotify);
    let mut bytes = client.wire.seal_close_notify();
    client.wire.forget_tls();
    bytes.extend_from_slice(b"SYST\r\nNOOP\r\n");
    client.wire.send_raw(&bytes).unwrap();
    client.expect_reply(215);
    client.expect_reply(200);
}

/// [REIN-07] After REIN on implicit plaintext FTP is neither accepted nor sent.
#[test]
fn no_plaintext_after_rein_on_implicit() {
    let server = relaxed();
    let mut client = Client::implicit(&server).login();
    client.expect("REIN", 220);
    client.end_tls();
    client.wire.send_raw(b"USER alice\r\nPASS secret\r\nMKD rein07\r\n").unwrap();
    let (bytes, end) = client.wire.read_to_end();
    assert_ne!(end, End::Timeout);
    assert!(bytes.is_empty() || bytes[0] == 21, "said in clear: {}", bytes.escape_ascii());
    assert!(!server.root().join("rein07").exists());
}

/// [REIN-08] A listener opened with PASV or an address given with PORT is gone.
#[test]
fn rein_closes_data_setup() {
    let server = relaxed();
    let mut client = alice_plain(&server, "rein08");
    let address = client.epsv();
    client.expect("REIN", 220);
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is still open");
    let mut client = client.login();
    client.expect("LIST", 425);
    let _incoming = client.port();
    client.expect("REIN", 220);
    client.login().expect("LIST", 425);
}

/// [REIN-09] Failed log-ins are counted across REIN.
#[test]
fn rein_does_not_reset_failures() {
    let server = relaxed();
    let mut client = Client::plain(&server);
    for _ in 0..2 {
        dialogue(&mut client, &[("USER alice", 331), ("PASS wrong", 530), ("REIN", 220)]);
    }
    fail_for_the_last_time(&mut client);
}

/// [REIN-10] A running transfer completes first: 226, then 220.
#[test]
fn rein_waits_for_the_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "rein10");
        let mut data = client.begin("STOR file");
        data.send(b"first half, ").unwrap();
        client.send("REIN");
        client.deliver(data, b"second half");
        client.expect_reply(220);
        client.expect_end(End::CloseNotify);
        let path = server.root().join(crate::fixture::own("rein10", listener)).join("file");
        assert_eq!(std::fs::read(path).unwrap(), b"first half, second half");
    });
}

/// [REIN-11] Commands behind REIN in the old TLS session are executed nowhere.
#[test]
fn commands_behind_rein_are_dropped() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        client.send_bytes(b"REIN\r\nUSER alice\r\nPASS secret\r\nMKD rein11\r\nNO");
        client.expect_reply(220);
        client.expect_end(End::CloseNotify);
        // Still under the old keys, before our own close_notify.
        let mut late = client.wire.seal(b"OP\r\nMKD rein11\r\n");
        late.extend(client.wire.seal_close_notify());
        client.wire.send_raw(&late).unwrap();
        client.wire.forget_tls();
        if listener == Listener::Implicit {
            client.start_tls();
            client.expect_reply(220);
        }
        dialogue(&mut client, &[("NOOP", 200), ("PWD", 530)]);
        assert!(!server.root().join("rein11").exists());
    });
}

/// [REIN-12] A peer that sends no close_notify: a cleartext ClientHello starts the new session.
#[test]
fn rein_without_close_notify() {
    let server = relaxed();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
        client.expect("REIN", 220);
        client.expect_end(End::CloseNotify);
        client.wire.forget_tls();
        assert_eq!(client.wire.handshake(&tls.fresh()), Ok(()));
        client.expect_reply(220);
        client.login().expect("PWD", 257);
    }
    let mut client = Client::explicit(&server).login();
    client.expect("REIN", 220);
    client.expect_end(End::CloseNotify);
    client.wire.forget_tls();
    client.expect("NOOP", 200);
}

/// [REIN-12] In the old session's place nothing else than its records, a ClientHello or, on
/// explicit, plaintext is accepted: garbage ends the connection.
#[test]
fn garbage_after_rein_closes() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        client.expect("REIN", 220);
        client.expect_end(End::CloseNotify);
        client.wire.forget_tls();
        client.wire.send_raw(b"\x17\x03\x03\x00\x20this record is under no key at a").unwrap();
        assert_ne!(client.wire.read_to_end().1, End::Timeout);
        Wire::connect(server.address(listener));
    });
}
