//! RETR, STOR, APPE, REST, ABOR and commands during a transfer: RFC 959 §4.1.3 and §5, RFC 3659 §5.

use std::time::Duration;

use crate::fixture::{alice, alice_clear_data, dialogue, expect_one_of, on_both, own};
use crate::fixture::{relaxed, strict};
use crate::support::tls::TLS12;
use crate::support::{Client, End, Listener, Server, Wire};

/// [XFER-02] [XFER-03] RETR of nothing or of a directory is 550 before any 1xx.
#[test]
fn retr_of_nothing_is_550() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer02");
        client.expect("MKD sub", 257);
        client.refused("RETR absent", 550);
        client.refused("RETR sub", 550);
        client.refused("RETR sub/absent/deeper", 550);
        client.expect("RETR", 501);
    });
}

/// [XFER-04] STOR where it cannot be is 553, never 550, before any 1xx.
#[test]
fn stor_refusals_are_553() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer04");
        client.expect("MKD sub", 257);
        client.refused("STOR sub", 553);
        client.refused("STOR absent/file", 553);
        client.expect("STOR", 501);
        let mut reader = Client::open(&server, listener)
            .login_as("bob")
            .within(&server, &own("xfer04", listener));
        reader.refused("STOR file", 553);
        reader.refused("STOU", 553);
        let mut data = reader.passive();
        expect_one_of(&mut reader, "APPE file", &[550, 553]);
        assert_ne!(data.read_to_end().1, End::CloseNotify);
    });
}

/// [XFER-05] STOR replaces an existing file.
#[test]
fn stor_replaces() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer05");
        client.store("STOR file", b"a long first version");
        client.store("STOR file", b"short");
        assert_eq!(client.retrieve("RETR file"), b"short");
    });
}

/// [XFER-06] APPE appends, and creates what is absent.
#[test]
fn appe_appends_or_creates() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer06");
        client.store("APPE file", b"one ");
        client.store("APPE file", b"two");
        assert_eq!(client.retrieve("RETR file"), b"one two");
    });
}

/// [XFER-08] [XFER-12] REST n is 350; RETR goes on from n, STOR keeps 0..n and writes from there.
#[test]
fn rest_resumes_both_ways() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer08");
        client.store("STOR file", b"0123456789");
        client.expect("REST 4", 350);
        assert_eq!(client.retrieve("RETR file"), b"456789");
        client.expect("REST 7", 350);
        client.store("STOR file", b"ABCDE");
        assert_eq!(client.retrieve("RETR file"), b"0123456ABCDE");
        client.expect("REST 2", 350);
        client.store("STOR file", b"xy");
        assert!(client.retrieve("RETR file").starts_with(b"01xy"));
    });
}

/// [XFER-09] A marker that is no number is 501, also one too big for 64 bits (or 350, then 554).
#[test]
fn malformed_rest_is_501() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer09");
        client.store("STOR file", b"0123456789");
        for bad in ["REST", "REST x", "REST -1", "REST +1", "REST 1x", "REST 0x10"] {
            client.expect(bad, 501);
        }
        for huge in ["18446744073709551616", "99999999999999999999999", "18446744073709551615"] {
            if expect_one_of(&mut client, &format!("REST {huge}"), &[350, 501]) == 350 {
                client.refused("RETR file", 554);
            }
        }
        assert_eq!(client.retrieve("RETR file"), b"0123456789");
    });
}

/// [XFER-10] [XFER-11] A marker at the end gives zero octets; past it REST is 350 and the transfer
/// 554, before any 1xx.
#[test]
fn rest_at_and_past_the_end() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer10");
        client.store("STOR file", b"0123456789");
        client.expect("REST 10", 350);
        assert_eq!(client.retrieve("RETR file"), b"");
        client.expect("REST 11", 350);
        client.refused("RETR file", 554);
        client.expect("REST 11", 350);
        client.refused("STOR file", 554);
        assert_eq!(client.retrieve("RETR file"), b"0123456789");
    });
}

/// [XFER-14] REST + APPE, if accepted, is STOR at n.
#[test]
fn rest_with_appe_is_stor() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer14");
        client.store("STOR file", b"0123456789");
        client.expect("REST 8", 350);
        let mut data = client.passive();
        let reply = client.cmd("APPE file");
        if reply.code != 150 {
            assert!([501, 503, 504, 550, 554].contains(&reply.code), "{reply:?}");
            return;
        }
        client.secure(&mut data);
        client.deliver(data, b"abcd");
        assert_eq!(client.retrieve("RETR file"), b"01234567abcd");
    });
}

/// [XFER-15] REST is consumed by the next transfer, successful or not.
#[test]
fn rest_is_consumed() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer15");
        client.store("STOR file", b"0123456789");
        client.expect("REST 4", 350);
        client.retrieve("RETR file");
        assert_eq!(client.retrieve("RETR file"), b"0123456789");
        client.expect("REST 4", 350);
        client.refused("RETR absent", 550);
        assert_eq!(client.retrieve("RETR file"), b"0123456789");
    });
}

/// [XFER-16] ABOR with nothing to abort is 226, before the log-in too.
#[test]
fn idle_abor_is_226() {
    let server = strict();
    Client::plain(&server).expect("ABOR", 226);
    on_both(|listener| {
        let mut client = Client::open(&server, listener);
        client.expect("ABOR", 226);
        dialogue(&mut client.login(), &[("ABOR", 226), ("NOOP", 200), ("ABOR", 226)]);
    });
}

/// [XFER-17] [XFER-20] ABOR during a transfer: the data connection closes, 426, then 226.
#[test]
fn abor_ends_a_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer17");
        sparse(&server, &own("xfer17", listener));
        for command in ["RETR sparse", "STOR upload"] {
            let mut data = client.begin(command);
            client.send("ABOR");
            client.expect_reply(426);
            client.expect_reply(226);
            let (bytes, end) = data.read_to_end();
            assert_ne!(end, End::Timeout);
            assert!(bytes.len() < SPARSE, "{command} ran to its end");
            client.expect("NOOP", 200);
        }
        client.expect("SIZE upload", 550);
        client.retrieve("LIST");
    });
}

/// [XFER-18] ABOR as IAC IP IAC DM ABOR, with and without TCP urgent data.
#[test]
fn abor_with_telnet_synch() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer18");
        let _data = client.begin("STOR upload");
        client.send_bytes(b"\xff\xf4\xff\xf2ABOR\r\n");
        client.expect_reply(426);
        client.expect_reply(226);
    });
    let mut client = crate::fixture::alice_plain(&server, "xfer18");
    let _data = client.passive();
    client.expect("STOR upload", 150);
    client.send_bytes(b"\xff\xf4\xff");
    client.wire.send_urgent(0xf2);
    client.send("ABOR");
    client.expect_reply(426);
    client.expect_reply(226);
    client.expect("NOOP", 200);
}

/// [XFER-20] The transfer had ended already: its 226, then ABOR's 226.
#[test]
fn abor_after_the_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer20");
        client.store("STOR file", b"bytes");
        client.expect("ABOR", 226);
        assert_eq!(client.retrieve("RETR file"), b"bytes");
        client.expect("ABOR", 226);
    });
}

/// [XFER-21] While a transfer runs commands wait in order and are answered after its 226.
#[test]
fn commands_wait_for_the_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer21");
        let data = client.begin("STOR file");
        client.send_bytes(b"NOOP\r\nSIZE file\r\nTYPE A\r\nDELE file\r\nNOSUCH\r\n");
        client.wire.expect_silence(Duration::from_millis(50));
        client.deliver(data, b"12345");
        client.expect_reply(200);
        assert_eq!(client.expect_reply(213).line(), "5");
        for code in [200, 250, 500] {
            client.expect_reply(code);
        }
    });
}

/// [XFER-22] STAT during a transfer is answered at once, with its progress; behind a queued
/// command it waits its turn.
#[test]
fn stat_during_a_transfer() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer22");
        let mut data = client.begin("STOR file");
        data.send(b"12345").unwrap();
        client.expect("STAT", 211);
        client.send_bytes(b"NOOP\r\nSTAT\r\n");
        data.finish();
        client.expect_reply(226);
        client.expect_reply(200);
        client.expect_reply(211);
    });
}

/// [XFER-25] The client resets the data connection: RETR 426, STOR 426 or 451; the session lives.
#[test]
fn reset_data_connection() {
    let server = strict();
    on_both(|listener| {
        // In TLS 1.2 the client knows when the server's handshake is over.
        let tls = server.tls().versions(TLS12);
        let place = own("xfer25", listener);
        let mut client = Client::open_with(&server, listener, tls).login().within(&server, &place);
        sparse(&server, &place);
        for command in ["RETR sparse", "STOR upload"] {
            let data = client.begin(command);
            data.reset();
            expect_code(&client.reply(), &[426, 451]);
        }
        client.retrieve("LIST");
    });
}

/// [XFER-26] 226 only when everything is there: a second session sees the whole file at once.
#[test]
fn success_means_stored() {
    let server = strict();
    on_both(|listener| {
        let mut writer = alice(&server, listener, "xfer26");
        let mut reader = alice(&server, listener, "xfer26");
        let path = server.root().join(own("xfer26", listener)).join("file");
        for size in [0_usize, 1, 16_383, 16_384, 16_385, 300_000] {
            let contents = vec![b'z'; size];
            writer.store("STOR file", &contents);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), size as u64);
            assert!(reader.retrieve("RETR file") == contents, "{size} octets");
        }
    });
}

/// [XFER-26] On RETR the data connection is closed before the 226: one that stays open would
/// keep `receive` waiting. Two transfers follow each other on one session.
#[test]
fn transfers_follow_each_other() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer26b");
        for n in 0..10_u8 {
            client.store("STOR file", &[n; 1000]);
            assert_eq!(client.retrieve("RETR file"), [n; 1000]);
        }
    });
}

/// [XFER-33] Offsets and sizes have 64 bits.
#[test]
fn sizes_beyond_32_bits() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "xfer33");
        let path = server.root().join(own("xfer33", listener)).join("huge");
        let size = 5_u64 << 30;
        let file = std::fs::File::create(path).unwrap();
        file.set_len(size).unwrap();
        assert_eq!(client.expect("SIZE huge", 213).line(), size.to_string());
        let mlst = client.expect("MLST huge", 250);
        assert!(mlst.text().contains(&format!("size={size};")), "{mlst:?}");
        client.expect(format!("REST {}", size - 3), 350);
        assert_eq!(client.retrieve("RETR huge"), [0, 0, 0]);
        let listed = client.list("LIST huge");
        assert!(String::from_utf8_lossy(&listed[0]).contains(&size.to_string()));
    });
}

/// [XFER-21] Exactly one 1xx and one final reply for each transfer, whatever goes wrong.
#[test]
fn one_preliminary_and_one_final_reply() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice_clear_data(&server, listener, "xfer21b");
        client.store("STOR file", b"bytes");
        for command in ["RETR file", "STOR other", "LIST"] {
            for ending in 0..3 {
                let mut data: Wire = client.passive();
                client.expect(command, 150);
                match ending {
                    0 => data.fin(),
                    1 => drop(data.finish()),
                    _ => data.reset(),
                }
                let code = client.reply().code;
                assert!([226, 426, 451].contains(&code), "{command}: {code}");
                client.expect("NOOP", 200);
            }
        }
    });
}

/// [BG-04] A transfer that moves nothing is ended with 426 after the stall deadline.
#[test]
fn stalled_transfers_are_ended() {
    let server = Server::builder().toml("[limits]\nstall_timeout = \"1s\"").start();
    on_both(|listener| {
        let mut client = alice(&server, listener, "stall");
        sparse(&server, &own("stall", listener));
        for command in ["RETR sparse", "STOR upload"] {
            let _data = client.begin(command);
            client.expect_reply(426);
        }
        client.expect("SIZE upload", 550);
        client.retrieve("LIST");
    });
}

/// [XFER-18] Urgent data in the middle of a TLS session carries no meaning and does no harm.
#[test]
fn urgent_data_under_tls_is_no_signal() {
    let server = strict();
    let mut client = alice(&server, Listener::Implicit, "urgent");
    // The urgent byte is part of the record stream: the last octet of a sealed NOOP.
    let record = client.wire.seal(b"NOOP\r\n");
    let (last, head) = record.split_last().unwrap();
    client.wire.send_raw(head).unwrap();
    client.wire.send_urgent(*last);
    client.expect_reply(200);
    client.expect("NOOP", 200);
}

const SPARSE: usize = 64 << 20;

/// A file too big for the socket buffers: its RETR runs until the client reads.
fn sparse(server: &Server, place: &str) {
    let file = std::fs::File::create(server.directory(place).join("sparse")).unwrap();
    file.set_len(SPARSE as u64).unwrap();
}

#[track_caller]
fn expect_code(reply: &crate::support::Reply, codes: &[u16]) {
    assert!(codes.contains(&reply.code), "{reply:?}");
}
