//! TYPE, STRU and MODE: RFC 959 §3.1 and §3.3–3.4, RFC 1123 §4.1.2.1–4.1.2.2.

use crate::fixture::{alice, dialogue, on_both, own, relaxed, strict};
use crate::support::Client;

/// [TYPE-01] A, A N, A T, I and L 8 are 200.
#[test]
fn supported_types() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        for kind in ["A", "A N", "A T", "I", "L 8", "a n", "l 8"] {
            client.expect(format!("TYPE {kind}"), 200);
        }
    });
}

/// [TYPE-02] E, A C and other byte sizes are 504.
#[test]
fn unsupported_types_are_504() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        dialogue(
            &mut client,
            &[("TYPE E", 504), ("TYPE A C", 504), ("TYPE L 7", 504), ("TYPE L 36", 504)],
        );
    });
}

/// [TYPE-03] Unknown or missing is 501; the type stays as it was.
#[test]
fn malformed_types_are_501() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "type03");
        client.store("STOR file", b"a\nb\n");
        dialogue(
            &mut client,
            &[
                ("TYPE", 501),
                ("TYPE X", 501),
                ("TYPE A X", 501),
                ("TYPE L", 501),
                ("TYPE L x", 501),
            ],
        );
        assert_eq!(client.retrieve("RETR file"), b"a\nb\n");
    });
}

/// [TYPE-05] TYPE A converts: LF to CRLF out, CRLF to LF in; lone CR and lone LF pass.
#[test]
fn ascii_conversion() {
    let server = relaxed();
    let check = |client: &mut Client, wire: &[u8], stored: &[u8]| {
        client.expect("TYPE A", 200);
        client.store("STOR text", wire);
        client.expect("TYPE I", 200);
        assert_eq!(client.retrieve("RETR text"), stored, "stored from {}", wire.escape_ascii());
        client.expect("TYPE A", 200);
        let mut sent = Vec::new();
        for byte in stored {
            // One line end stays one.
            if *byte == b'\n' && sent.last() != Some(&b'\r') {
                sent.push(b'\r');
            }
            sent.push(*byte);
        }
        assert_eq!(client.retrieve("RETR text"), sent, "sent from {}", stored.escape_ascii());
    };
    on_both(|listener| {
        let mut client = alice(&server, listener, "type05");
        check(&mut client, b"one\r\ntwo\r\n", b"one\ntwo\n");
        check(&mut client, b"", b"");
        check(&mut client, b"\r\n", b"\n");
        check(&mut client, b"lone\rcr", b"lone\rcr");
        check(&mut client, b"lone\nlf", b"lone\nlf");
        check(&mut client, b"a\r\r\nb", b"a\r\nb");
        check(&mut client, b"ends with cr\r", b"ends with cr\r");
    });
}

/// [TYPE-06] The CR may be the last octet of one record, segment or buffer, the LF the first of
/// the next.
#[test]
fn ascii_conversion_across_boundaries() {
    let server = relaxed();
    on_both(|listener| {
        let mut client = alice(&server, listener, "type06");
        client.expect("TYPE A", 200);
        let mut data = client.begin("STOR text");
        for piece in [&b"a\r"[..], b"\n", b"b", b"\r", b"\n\r", b"c\r", b"\r", b"\n"] {
            data.send(piece).unwrap();
        }
        data.finish();
        client.expect_reply(226);
        client.expect("TYPE I", 200);
        assert_eq!(client.retrieve("RETR text"), b"a\nb\n\rc\r\n");
        // Long enough to cross every buffer of the server, CR on every possible boundary.
        let stored = b"x\n".repeat(400_000);
        let wire = b"x\r\n".repeat(400_000);
        client.expect("TYPE A", 200);
        client.store("STOR long", &wire);
        assert!(client.retrieve("RETR long") == wire, "conversion out");
        client.expect("TYPE I", 200);
        assert!(client.retrieve("RETR long") == stored, "conversion in");
    });
}

/// [TYPE-07] The default is A N.
#[test]
fn default_type_is_ascii() {
    let server = strict();
    on_both(|listener| {
        let place = server.directory(&own("type07", listener));
        std::fs::write(place.join("file"), "a\nb\n").unwrap();
        let mut client = Client::open(&server, listener).login();
        client.expect(format!("CWD {}", own("type07", listener)), 250);
        assert_eq!(client.retrieve("RETR file"), b"a\r\nb\r\n");
    });
}

/// [TYPE-08] SIZE in TYPE A is the exact size after conversion, never the raw one.
#[test]
fn ascii_size_is_exact() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "type08");
        client.store("STOR file", b"a\nb\r\nc\n");
        assert_eq!(client.expect("SIZE file", 213).line(), "7");
        client.expect("TYPE A", 200);
        assert_eq!(client.expect("SIZE file", 213).line(), "9");
        assert_eq!(client.retrieve("RETR file"), b"a\r\nb\r\nc\r\n");
    });
}

/// [TYPE-09] REST in TYPE A counts octets of the converted stream.
#[test]
fn ascii_rest_counts_converted_octets() {
    let server = strict();
    on_both(|listener| {
        let mut client = alice(&server, listener, "type09");
        client.store("STOR file", b"ab\ncd\nef\n");
        client.expect("TYPE A", 200);
        let whole = b"ab\r\ncd\r\nef\r\n";
        for from in 0..=whole.len() {
            client.expect(format!("REST {from}"), 350);
            let mut data = client.passive();
            let reply = client.cmd("RETR file");
            if reply.code != 150 {
                assert!([501, 554, 555].contains(&reply.code), "{reply:?}");
                continue;
            }
            client.secure(&mut data);
            assert_eq!(client.receive(data), &whole[from..], "from {from}");
        }
    });
}

/// [TYPE-20] [TYPE-21] MODE S and STRU F are 200; B, C, Z and P 504; unknown 501 or 504.
#[test]
fn modes_and_structures() {
    let server = strict();
    on_both(|listener| {
        let mut client = Client::open(&server, listener).login();
        dialogue(
            &mut client,
            &[
                ("MODE S", 200),
                ("MODE B", 504),
                ("MODE C", 504),
                ("MODE Z", 504),
                ("STRU F", 200),
                ("STRU P", 504),
                ("MODE", 501),
                ("STRU", 501),
            ],
        );
        crate::fixture::expect_one_of(&mut client, "STRU R", &[200, 504]);
        crate::fixture::expect_one_of(&mut client, "MODE Q", &[501, 504]);
        crate::fixture::expect_one_of(&mut client, "STRU Q", &[501, 504]);
    });
}
