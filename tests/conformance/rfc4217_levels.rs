//! PBSZ and PROT (RFC 2228 §3, RFC 4217 §8 and §9), CCC (RFC 4217 §5 and §15.3).

use crate::fixture::{alice, dialogue, expect_one_of, on_both, relaxed, strict};
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, End, Listener};

/// [PROT-01] [PROT-02] Before TLS both are 503.
#[test]
fn pbsz_and_prot_need_tls() {
    let server = relaxed();
    let mut client = Client::plain(&server);
    let lines = [("PBSZ 0", 503), ("PROT P", 503), ("PROT C", 503)];
    dialogue(&mut client, &lines);
    dialogue(&mut client.login(), &lines);
}

/// [PROT-03] On explicit PROT before PBSZ is 503.
#[test]
fn prot_needs_pbsz_on_explicit() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.auth();
    dialogue(&mut client, &[("PROT P", 503), ("PROT C", 503), ("PBSZ 0", 200), ("PROT P", 200)]);
}

/// [PROT-04] [PROT-05] [PROT-06] PBSZ 0 is 200; no number, or one past 32 bits, is 501.
#[test]
fn pbsz_arguments() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        for bad in ["", " x", " -1", " 4294967296", " 99999999999999999999", " 0x10", " 1 2"] {
            client.expect(format!("PBSZ{bad}"), 501);
        }
        client.expect("PBSZ 0", 200);
    });
}

/// [PROT-07] Any other size is answered with the server's smaller one: `PBSZ=0`.
#[test]
fn other_sizes_are_answered_with_zero() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        for size in ["1", "16384", "4294967295"] {
            let reply = client.expect(format!("PBSZ {size}"), 200);
            assert!(reply.text().contains("PBSZ=0"), "{reply:?}");
        }
    });
}

/// [PROT-08] [PROT-09] [PROT-10] [PROT-11] P and C are 200, S and E 536, others 504, none 501.
#[test]
fn prot_arguments() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        dialogue(
            &mut client,
            &[
                ("PROT C", 200),
                ("PROT P", 200),
                ("PROT S", 536),
                ("PROT E", 536),
                ("PROT X", 504),
                ("PROT 7", 504),
                ("PROT", 501),
            ],
        );
    });
}

/// [PROT-13] On explicit the initial level is Clear.
#[test]
fn initial_level_is_clear_on_explicit() {
    let server = relaxed();
    let mut client = Client::plain(&server);
    client.auth();
    let mut client = client.login().within(&server, "prot13");
    client.store("STOR file", b"in clear");
    assert_eq!(client.retrieve("RETR file"), b"in clear");
}

/// [PROT-14] The level that counts is the one at the transfer command, not at PASV or PORT.
#[test]
fn level_at_the_transfer_command_counts() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice(&server, listener, "prot14");
        client.store("STOR file", b"bytes");
        for private in [false, true] {
            let mut data = client.passive();
            client.expect(if private { "PROT P" } else { "PROT C" }, 200);
            client.private = private;
            client.expect("RETR file", 150);
            client.secure(&mut data);
            assert_eq!(client.receive(data), b"bytes");
        }
        let incoming = client.port();
        client.expect("PROT C", 200);
        client.private = false;
        client.expect("RETR file", 150);
        assert_eq!(client.receive(crate::support::client::accept(&incoming)), b"bytes");
    });
}

/// [PROT-16] A level below policy is refused with 522 before any 1xx, for every transfer command;
/// PROT P and the same command again succeed.
#[test]
fn too_low_level_is_522() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "prot16");
        client.store("STOR file", b"bytes");
        if expect_one_of(&mut client, "PROT C", &[200, 534]) == 534 {
            return;
        }
        for command in ["RETR file", "STOR new", "APPE file", "STOU", "LIST", "NLST", "MLSD"] {
            client.refused(command, 522);
        }
        client.expect("PROT P", 200);
        assert_eq!(client.retrieve("RETR file"), b"bytes");
        client.expect("SIZE new", 550);
    });
}

/// [PROT-18] PBSZ and PROT may come before or after the log-in.
#[test]
fn either_order_of_protection_and_login() {
    let server = strict();
    let mut client = Client::plain(&server);
    client.auth();
    let mut client = client.login();
    dialogue(&mut client, &[("PBSZ 0", 200), ("PROT P", 200)]);
    client.private = true;
    client.retrieve("LIST");

    let mut client = Client::explicit(&server).login();
    client.retrieve("LIST");
}

/// [PROT-19] A refused PROT changes nothing.
#[test]
fn refused_prot_changes_nothing() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice(&server, listener, "prot19");
        dialogue(&mut client, &[("PROT S", 536), ("PROT X", 504), ("PROT", 501)]);
        client.retrieve("LIST");
        client.expect("PROT C", 200);
        dialogue(&mut client, &[("PROT E", 536), ("PROT Q", 504)]);
        client.private = false;
        client.retrieve("LIST");
    });
}

/// [PROT-20] Repeating PBSZ does not reset PROT.
#[test]
fn pbsz_does_not_reset_prot() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "prot20");
        client.expect("PBSZ 0", 200);
        client.retrieve("LIST");
        client.expect("PBSZ 1024", 200);
        client.retrieve("LIST");
    });
}

/// [CCC-01] Not under TLS: 533.
#[test]
fn ccc_needs_tls() {
    let server = relaxed();
    let mut client = Client::plain(&server);
    client.expect("CCC", 533);
    client.login().expect("CCC", 533);
}

/// [CCC-02] [CCC-03] 200 inside TLS, close_notify, then plaintext commands on the same TCP
/// connection, with the user still logged in.
#[test]
fn ccc_continues_in_clear() {
    let server = relaxed();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Explicit, tls).login();
        client.expect("CCC", 200);
        client.end_tls();
        dialogue(&mut client, &[("PWD", 257), ("NOOP", 200)]);
        client.quit();
    }
}

/// [CCC-02] close_notify and plaintext in one segment: nothing is lost.
#[test]
fn ccc_hand_over_is_exact() {
    let server = relaxed();
    let mut client = Client::explicit(&server).login();
    client.expect("CCC", 200);
    client.expect_end(End::CloseNotify);
    let mut bytes = client.wire.seal_close_notify();
    client.wire.forget_tls();
    bytes.extend_from_slice(b"PWD\r\nNOOP\r\n");
    client.wire.send_raw(&bytes).unwrap();
    client.expect_reply(257);
    client.expect_reply(200);
}

/// [CCC-03] A client that never sends its close_notify is understood, too.
#[test]
fn ccc_without_close_notify() {
    let server = relaxed();
    let mut client = Client::explicit(&server).login();
    client.expect("CCC", 200);
    client.expect_end(End::CloseNotify);
    client.wire.forget_tls();
    client.expect("PWD", 257);
}

/// [CCC-03] Commands behind CCC in the old TLS session are not executed in the clear one.
#[test]
fn commands_behind_ccc_are_dropped() {
    let server = relaxed();
    let mut client = Client::explicit(&server).login();
    client.send_bytes(b"CCC\r\nMKD ccc03\r\nNO");
    client.expect_reply(200);
    client.end_tls();
    client.expect("PWD", 257);
    assert!(!server.root().join("ccc03").exists());
}

/// [CCC-04] [CCC-05] After it neither PBSZ nor PROT.
#[test]
fn no_protection_commands_after_ccc() {
    let server = relaxed();
    let mut client = Client::explicit(&server).login();
    client.expect("CCC", 200);
    client.end_tls();
    dialogue(&mut client, &[("PBSZ 0", 533), ("PROT P", 533), ("PROT C", 533), ("CCC", 533)]);
    client.expect("AUTH TLS", 534);
}

/// [CCC-06] Data transfers keep the level they had.
#[test]
fn ccc_keeps_the_data_level() {
    let server = relaxed();
    for private in [true, false] {
        let mut client = Client::explicit(&server).login().within(&server, "ccc06");
        if !private {
            client.expect("PROT C", 200);
        }
        client.expect("CCC", 200);
        client.end_tls();
        client.private = private;
        client.store("STOR file", b"bytes");
        assert_eq!(client.retrieve("RETR file"), b"bytes");
    }
}

/// [CCC-08] By policy (the default) and before the log-in: 534, and TLS goes on.
#[test]
fn ccc_is_refused_by_policy_and_before_login() {
    let server = strict();
    let mut client = Client::explicit(&server);
    client.expect("CCC", 534);
    let mut client = client.login();
    dialogue(&mut client, &[("CCC", 534), ("PWD", 257)]);

    let server = relaxed();
    let mut client = Client::explicit(&server);
    dialogue(&mut client, &[("CCC", 534), ("USER alice", 331), ("CCC", 534), ("NOOP", 200)]);
}
