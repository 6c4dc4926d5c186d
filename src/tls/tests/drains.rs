//! Leaving TLS to the byte.

use std::io::Write as _;

use super::*;
use crate::limits::TLS_DRAIN_BYTES_MAX;
use crate::protocol::session::AfterTls;
use crate::tls::{Drain, DrainProgress, is_tls_record};

/// Our close_notify is out; `wire` is what the client sends from then on. It is tried whole and
/// byte by byte; `left` is what must remain for the next state.
#[track_caller]
fn check(
    kind: Kind,
    after: AfterTls,
    send: impl Fn(&mut ClientConnection) -> Vec<u8>,
    left: &[u8],
    expected: Result<DrainProgress, TlsError>,
) {
    for piece in [usize::MAX, 1] {
        let (mut server, mut client) = connected(kind);
        let mut out = Vec::new();
        server.channel.seal(b"220 reset\r\n", &mut out).unwrap();
        server.channel.seal_close_notify(&mut out).unwrap();
        let wire = send(&mut client);
        let mut drain = Drain::new(server.channel, after);
        let mut inbound = RecvBuffer::new();
        let mut result = Ok(DrainProgress::NeedBytes);
        let mut fed = 0;
        for bytes in wire.chunks(piece) {
            inbound.extend_from_slice(bytes);
            fed += bytes.len();
            result = drain.advance(&mut inbound);
            if result != Ok(DrainProgress::NeedBytes) {
                break;
            }
        }
        assert_eq!(result, expected, "in pieces of {piece}");
        if result == Ok(DrainProgress::Finished) {
            inbound.extend_from_slice(&wire[fed..]);
            assert_eq!(inbound.filled(), left, "in pieces of {piece}");
            if piece == usize::MAX {
                assert_eq!(drain.advance(&mut inbound), expected, "and stays finished");
            }
        }
    }
}

fn hello() -> Vec<u8> {
    let tls = server(options());
    sent(&mut client(&client_config(&tls, TLS13, None), "localhost"))
}

#[test]
fn rein_06_close_notify_and_client_hello_in_one_segment() {
    let hello = hello();
    for kind in kinds() {
        let send = |client: &mut ClientConnection| {
            client.send_close_notify();
            [sent(client), hello.clone()].concat()
        };
        check(kind, AfterTls::Implicit, send, &hello, Ok(DrainProgress::Finished));
    }
}

#[test]
fn rein_11_commands_of_the_old_session_are_dropped() {
    for kind in kinds() {
        let send = |client: &mut ClientConnection| {
            client.writer().write_all(b"USER a\r\nPASS b\r\n").unwrap();
            client.writer().write_all(b"DELE x\r\n").unwrap();
            client.send_close_notify();
            [sent(client), b"USER c\r\n".to_vec()].concat()
        };
        check(kind, AfterTls::Clear, send, b"USER c\r\n", Ok(DrainProgress::Finished));
    }
}

#[test]
fn rein_12_client_hello_without_close_notify() {
    let hello = hello();
    for kind in kinds() {
        let send = |client: &mut ClientConnection| {
            client.writer().write_all(b"NOOP\r\n").unwrap();
            [sent(client), hello.clone()].concat()
        };
        // Byte by byte, the drain ends as soon as the ClientHello is recognised; all of it is left.
        check(kind, AfterTls::Implicit, send, &hello, Ok(DrainProgress::Finished));
    }
}

#[test]
fn passive_ccc_plaintext_without_close_notify() {
    for kind in kinds() {
        for plain in [&b"NOOP\r\n"[..], b"\r\n", b"\xff\xf4\xf2ABOR\r\n"] {
            let send = |client: &mut ClientConnection| {
                client.writer().write_all(b"NOOP\r\n").unwrap();
                [sent(client), plain.to_vec()].concat()
            };
            check(kind, AfterTls::Clear, send, plain, Ok(DrainProgress::Finished));
        }
    }
}

#[test]
fn late_key_updates_belong_to_the_old_session() {
    let send = |client: &mut ClientConnection| {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(b"NOOP\r\n").unwrap();
        client.send_close_notify();
        [sent(client), b"QUIT\r\n".to_vec()].concat()
    };
    check(TLS13, AfterTls::Clear, send, b"QUIT\r\n", Ok(DrainProgress::Finished));
}

#[test]
fn a_close_notify_seen_before_needs_no_drain() {
    let (mut server, mut client) = connected(TLS13);
    client.send_close_notify();
    let mut wire = sent(&mut client);
    server.channel.open(&mut wire, &mut Vec::new()).unwrap();
    server.channel.seal_close_notify(&mut Vec::new()).unwrap();
    let mut drain = Drain::new(server.channel, AfterTls::Clear);
    assert_eq!(drain.advance(&mut RecvBuffer::new()), Ok(DrainProgress::Finished));
}

#[track_caller]
fn check_refused(kind: Kind, after: AfterTls, wire: &[u8]) {
    let expected = Err(TlsError::UnexpectedAfterClose { first: wire[0] });
    check(kind, after, |_| wire.to_vec(), b"", expected);
}

#[test]
fn neither_old_session_nor_new_state() {
    for kind in [TLS12, TLS13] {
        check_refused(kind, AfterTls::Implicit, b"USER a\r\n");
        check_refused(kind, AfterTls::Implicit, &[20, 3, 3, 0, 1, 1]);
        check_refused(kind, AfterTls::Clear, &[22, 3, 3, 0, 1, 1]);
        check_refused(kind, AfterTls::Clear, &[24, 3, 3, 0, 1, 1]);
        // An encrypted handshake record of the old session is no ClientHello.
        check_refused(kind, AfterTls::Implicit, &[22, 3, 3, 0, 6, 0, 0, 0, 0, 0, 0]);
        check_refused(kind, AfterTls::Implicit, &[22, 3, 3, 0, 6, 1, 0, 0, 0, 9, 9]);
        check_refused(kind, AfterTls::Implicit, &[22, 3, 3, 0, 0]);
    }
    let garbage = [23, 3, 3, 0, 40].into_iter().chain([7; 40]).collect::<Vec<_>>();
    check(TLS13, AfterTls::Clear, |_| garbage.clone(), b"", Err(TlsError::BadRecordMac));
    check(TLS13, AfterTls::Clear, |_| b"\x17\x03".to_vec(), b"", Ok(DrainProgress::NeedBytes));
}

#[test]
fn an_old_session_does_not_go_on_for_ever() {
    let (mut server, mut client) = connected(TLS13);
    server.channel.seal_close_notify(&mut Vec::new()).unwrap();
    let mut drain = Drain::new(server.channel, AfterTls::Clear);
    client.set_buffer_limit(None);
    client.writer().write_all(&vec![0; TLS_DRAIN_BYTES_MAX + 1]).unwrap();
    let mut inbound = RecvBuffer::new();
    inbound.extend_from_slice(&sent(&mut client));
    assert_eq!(drain.advance(&mut inbound), Err(TlsError::DrainTooLong));
}

#[test]
fn tls_is_told_from_plaintext() {
    assert!(is_tls_record(&hello()));
    assert!(is_tls_record(&[22]));
    for other in [&b""[..], b"USER a", b"GET / HTTP/1.1", &[22, 2], &[0x80, 0x2e, 1]] {
        assert!(!is_tls_record(other));
    }
}
