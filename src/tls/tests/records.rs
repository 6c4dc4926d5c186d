//! The record layer against rustls': contents, key updates, closing, damage.

use std::collections::BTreeSet;
use std::io::Write as _;

use rustls::AlertDescription;

use super::*;
use crate::limits::TLS_QUIET_RECORDS_MAX;
use crate::tls::Culprit;
use crate::tls::record::Sealer;

#[test]
fn contents_pass_both_ways() {
    for kind in kinds() {
        let (mut server, mut client) = connected(kind);
        for size in [0, 1, 16_383, 16_384, 16_385, 1 << 20] {
            let content: Vec<u8> = (0..=250).cycle().take(size).collect();
            let mut wire = b"before".to_vec();
            server.channel.seal(&content, &mut wire).unwrap();
            assert!(wire.len() - 6 <= server.channel.sealed_len_max(size));
            assert_eq!(receive(&mut client, &wire[6..]).unwrap(), content, "sealed {size}");

            client.set_buffer_limit(None);
            for how in [How::InPlace, How::Elsewhere, How::Alternating] {
                client.writer().write_all(&content).unwrap();
                let mut wire = sent(&mut client);
                let mut out = Vec::new();
                let opened = open_all_how(&mut server.channel, &mut wire, &mut out, how).unwrap();
                assert!(opened == (content.clone(), false), "opened {size} {how:?}");
                assert!(out.is_empty());
            }
        }
    }
}

#[test]
fn records_fill_only_the_room_announced() {
    let (mut server, mut client) = connected(TLS13);
    let mut wire = vec![0; server.channel.sealed_len_max(40_000)];
    let length = server.channel.seal_into(&[5; 40_000], &mut wire).unwrap();
    assert_eq!(receive(&mut client, &wire[..length]).unwrap(), [5; 40_000]);
}

#[test]
fn close_notify_is_understood_and_ends_sending() {
    for kind in kinds() {
        let (mut server, mut client) = connected(kind);
        let mut out = Vec::new();
        server.channel.seal_close_notify(&mut out).unwrap();
        let length = out.len();
        server.channel.seal_close_notify(&mut out).unwrap();
        assert_eq!(out.len(), length, "one close_notify only");
        receive(&mut client, &out).unwrap();
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "clean end");
        assert_eq!(server.channel.seal(b"x", &mut out), Err(TlsError::SendClosed));

        client.writer().write_all(b"last").unwrap();
        client.send_close_notify();
        let mut wire = sent(&mut client);
        let opened = open_all(&mut server.channel, &mut wire, &mut Vec::new()).unwrap();
        assert_eq!(opened, (b"last".to_vec(), true));
        let mut more = [23, 3, 3, 0, 1, 0];
        let opened = server.channel.open(&mut more, &mut Vec::new()).unwrap();
        assert_eq!(opened, OpenedRecord::CloseNotify { consumed: 0 });
    }
}

#[test]
fn the_client_changes_keys() {
    let (mut server, mut client) = connected(TLS13);
    for (round, how) in (0..6_u8).zip([How::InPlace, How::Elsewhere].into_iter().cycle()) {
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round; 10]).unwrap();
        let mut wire = sent(&mut client);
        let mut out = Vec::new();
        let opened = open_all_how(&mut server.channel, &mut wire, &mut out, how).unwrap();
        assert_eq!(opened.0, [round; 10]);
        assert!(!out.is_empty(), "rustls asks for a KeyUpdate in return");
        server.channel.seal(&[round; 20], &mut out).unwrap();
        assert_eq!(receive(&mut client, &out).unwrap(), [round; 20]);
    }
}

#[test]
fn tls13_changes_its_keys_before_the_limit() {
    let (mut server, mut client) = connected(TLS13);
    server.channel.set_record_limit(4);
    let content = vec![3; 20 * 16_384];
    let mut wire = Vec::new();
    server.channel.seal(&content, &mut wire).unwrap();
    // One record of the first key carried the tickets; 3 of 4 records per key carry data.
    assert_eq!(record_count(&wire), 20 + 6);
    assert_eq!(receive(&mut client, &wire).unwrap(), content);
}

#[test]
fn tls12_ends_at_the_limit_but_can_still_say_goodbye() {
    let (mut server, mut client) = connected(TLS12);
    server.channel.set_record_limit(5); // one is used by Finished, one kept back
    let mut wire = Vec::new();
    assert_eq!(server.channel.seal(&[1; 4 * 16_384], &mut wire), Err(TlsError::KeyExhausted));
    assert!(wire.is_empty());
    server.channel.seal(&[1; 3 * 16_384], &mut wire).unwrap();
    assert_eq!(server.channel.seal(b"x", &mut wire), Err(TlsError::KeyExhausted));
    server.channel.seal_close_notify(&mut wire).unwrap();
    assert_eq!(receive(&mut client, &wire).unwrap().len(), 3 * 16_384);
}

#[test]
fn tls12_explicit_nonces_never_repeat() {
    let (mut server, _) = connected(TLS12);
    let mut wire = Vec::new();
    for _ in 0..1000 {
        server.channel.seal(b"x", &mut wire).unwrap();
    }
    server.channel.seal_close_notify(&mut wire).unwrap();
    let mut nonces = BTreeSet::new();
    let mut rest = &wire[..];
    while let [_, _, _, high, low, body @ ..] = rest {
        let (record, next) = body.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        assert!(nonces.insert(record[..8].to_vec()), "repeated");
        rest = next;
    }
    assert_eq!(nonces.len(), 1001);
}

#[test]
fn every_damaged_octet_is_refused_with_an_alert() {
    for kind in kinds() {
        let record_bytes = {
            let (_, mut client) = connected(kind);
            client.writer().write_all(b"STOR x").unwrap();
            sent(&mut client).len()
        };
        for position in 0..record_bytes {
            let (mut server, mut client) = connected(kind);
            client.writer().write_all(b"STOR x").unwrap();
            let mut wire = sent(&mut client);
            wire[position] ^= 1 << (position % 8);
            let mut out = Vec::new();
            match server.channel.open(&mut wire, &mut out) {
                Err(error) => {
                    assert_eq!(error.culprit(), Culprit::Peer);
                    assert!(!out.is_empty(), "an alert is due");
                }
                // A larger length waits for more and finds out then.
                Ok(OpenedRecord::Incomplete) => assert!(matches!(position, 3 | 4)),
                Ok(other) => panic!("{other:?} from a record damaged at {position}"),
            }
        }
    }
}

#[test]
fn a_bad_mac_is_told_to_the_client() {
    for kind in kinds() {
        let (mut server, mut client) = connected(kind);
        client.writer().write_all(b"STOR x").unwrap();
        let mut wire = sent(&mut client);
        *wire.last_mut().unwrap() ^= 1;
        let mut out = Vec::new();
        let opened = server.channel.open(&mut wire, &mut out);
        assert_eq!(opened, Err(TlsError::BadRecordMac));
        let alert = AlertDescription::BadRecordMac;
        assert_eq!(receive(&mut client, &out), Err(rustls::Error::AlertReceived(alert)));
        assert_eq!(server.channel.seal(b"x", &mut out), Err(TlsError::SendClosed));
    }
}

#[test]
fn records_left_out_or_repeated_are_refused() {
    for kind in kinds() {
        let (mut server, mut client) = connected(kind);
        client.writer().write_all(b"one").unwrap();
        let first = sent(&mut client);
        client.writer().write_all(b"two").unwrap();
        let mut second = sent(&mut client);
        let opened = server.channel.open(&mut second, &mut Vec::new());
        assert_eq!(opened, Err(TlsError::BadRecordMac), "left out");

        let (mut server, mut client) = connected(kind);
        client.writer().write_all(b"one").unwrap();
        let mut again = sent(&mut client);
        assert_ne!(first, again);
        let mut once = again.clone();
        open_all(&mut server.channel, &mut once, &mut Vec::new()).unwrap();
        let opened = server.channel.open(&mut again, &mut Vec::new());
        assert_eq!(opened, Err(TlsError::BadRecordMac), "repeated");
    }
}

#[test]
fn partial_records_are_waited_for_and_not_touched() {
    let (mut server, mut client) = connected(TLS13);
    client.writer().write_all(b"RETR x").unwrap();
    let wire = sent(&mut client);
    for length in 0..wire.len() {
        let mut part = wire[..length].to_vec();
        let opened = server.channel.open(&mut part, &mut Vec::new());
        assert_eq!(opened, Ok(OpenedRecord::Incomplete));
        assert_eq!(part, wire[..length]);
    }
}

#[track_caller]
fn check_refused(kind: Kind, bytes: &[u8], expected: &TlsError) {
    let (mut server, _) = connected(kind);
    let mut out = Vec::new();
    let opened = server.channel.open(&mut bytes.to_vec(), &mut out);
    assert_eq!(opened.as_ref(), Err(expected));
    assert!(!out.is_empty(), "an alert is due");
}

#[test]
fn what_does_not_belong_is_refused_by_its_header() {
    for kind in kinds() {
        let too_long = if *kind.version == version::TLS13 { 16_641 } else { 18_433_u16 };
        let [high, low] = too_long.to_be_bytes();
        let overflow = TlsError::RecordOverflow { length: usize::from(too_long) };
        check_refused(kind, &[23, 3, 3, high, low], &overflow);
        for first in [0, 20, 24, 128, b'U', 255] {
            let unexpected = TlsError::UnexpectedRecord { kind: first };
            check_refused(kind, &[first, 3, 3, 0, 1, 1], &unexpected);
        }
        check_refused(kind, &[23, 2, 3, 0, 1, 1], &TlsError::UnexpectedRecord { kind: 23 });
    }
    check_refused(TLS13, &[22, 3, 3, 0, 1, 1], &TlsError::UnexpectedRecord { kind: 22 });
    check_refused(TLS13, &[21, 3, 3, 0, 2, 1, 0], &TlsError::UnexpectedRecord { kind: 21 });
    check_refused(TLS12, &[21, 3, 3, 0, 2, 1, 0], &TlsError::BadRecordMac);
}

/// A second server end whose sender is the client's: seals what rustls' client would never send.
fn forged(kind: Kind) -> (Channel, Sealer) {
    let tls = server(options());
    let mut client_config = (*client_config(&tls, kind, None)).clone();
    client_config.enable_secret_extraction = true;
    let mut client = client(&Arc::new(client_config), "localhost");
    let server = connect(&tls, &mut client);
    let tls_version = client.protocol_version().unwrap();
    let secrets = client.dangerous_extract_secrets().unwrap();
    let (sequence, secrets) = secrets.tx;
    let sealer = Sealer::new(tls_version, sequence, &secrets, u64::MAX).unwrap();
    (server.channel, sealer)
}

#[track_caller]
fn check_forged(kind: Kind, records: &[(u8, &[u8])], expected: Result<bool, TlsError>) {
    let opened = open_forged(kind, records).map(|(_, closed)| closed);
    assert_eq!(opened, expected);
}

/// Opens the records in both ways, which must agree.
#[track_caller]
fn open_forged(kind: Kind, records: &[(u8, &[u8])]) -> Result<(Vec<u8>, bool), TlsError> {
    let [in_place, elsewhere] = [How::InPlace, How::Elsewhere].map(|how| {
        let (mut channel, mut sealer) = forged(kind);
        let mut wire = Vec::new();
        for (kind, content) in records {
            let start = wire.len();
            wire.resize(start + content.len() + sealer.format().overhead(), 0);
            sealer.seal(*kind, content, &mut wire[start..]).unwrap();
        }
        open_all_how(&mut channel, &mut wire, &mut Vec::new(), how)
    });
    assert_eq!(in_place, elsewhere, "in place and elsewhere");
    in_place
}

/// Zeros behind the content type (RFC 8446 §5.4): a record sealed as type 0 whose content ends with
/// the true type.
#[test]
fn padding_is_taken_off() {
    #[track_caller]
    fn check(content: &[u8], padding: usize) {
        let mut inner = [content, &[23]].concat();
        inner.resize(inner.len() + padding, 0);
        let opened = open_forged(TLS13, &[(0, &inner), (23, b"next")]);
        let expected = Ok(([content, b"next"].concat(), false));
        assert!(opened == expected, "{} octets, {padding} of padding", content.len());
    }
    let full = vec![7; 16_384];
    check(b"text", 0);
    check(b"text", 200);
    check(b"ends with zeros\0\0", 3);
    check(b"", 16_382);
    check(&full[..16_382], 1);
    let nothing = open_forged(TLS13, &[(0, &[0; 100])]);
    assert_eq!(nothing, Err(TlsError::UnexpectedRecord { kind: 0 }));
}

#[test]
fn messages_of_the_protocol_itself() {
    let quiet = TLS_QUIET_RECORDS_MAX as usize;
    for kind in kinds() {
        check_forged(kind, &[(21, &[1, 0])], Ok(true));
        check_forged(kind, &[(21, &[1, 90]), (23, b"x"), (21, &[2, 0])], Ok(true));
        check_forged(kind, &[(21, &[])], Err(TlsError::UnexpectedRecord { kind: 21 }));
        check_forged(kind, &[(22, &[])], Err(TlsError::UnexpectedRecord { kind: 22 }));
        check_forged(kind, &[(21, &[2])], Err(TlsError::Decode));
        check_forged(kind, &[(21, &[1, 0, 0])], Err(TlsError::Decode));
        let internal = AlertDescription::InternalError;
        check_forged(kind, &[(21, &[2, 80])], Err(TlsError::AlertReceived(internal)));
        check_forged(kind, &vec![(23, &[][..]); quiet], Ok(false));
        check_forged(kind, &vec![(23, &[][..]); quiet + 1], Err(TlsError::QuietRecords));
        check_forged(kind, &vec![(21, &[1, 90][..]); quiet + 1], Err(TlsError::QuietRecords));
        let ccs = TlsError::UnexpectedRecord { kind: 20 };
        check_forged(kind, &[(20, &[1])], Err(ccs));
    }
    let renegotiate = [1, 0, 0, 0];
    check_forged(TLS12, &[(22, &renegotiate)], Err(TlsError::Renegotiation));
    check_forged(TLS12, &[(21, &[1, 100])], Ok(false));
    let no_renegotiation = AlertDescription::NoRenegotiation;
    let fatal = Err(TlsError::AlertReceived(no_renegotiation));
    check_forged(TLS13, &[(21, &[1, 100])], fatal);
    let unexpected = Err(TlsError::UnexpectedRecord { kind: 22 });
    check_forged(TLS13, &[(22, &renegotiate)], unexpected.clone());
    check_forged(TLS13, &[(22, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0])], unexpected);
    check_forged(TLS13, &[(22, &[24, 0, 0, 1, 0])], Ok(false));
    // The key has changed; what the old one seals is not accepted any more.
    check_forged(TLS13, &[(22, &[24, 0, 0, 1, 1]), (23, b"x")], Err(TlsError::BadRecordMac));
}

/// Records, by type and content, and the alert for them; `None`: the session goes on.
type Expected = (&'static [(u8, &'static [u8])], Option<AlertDescription>);

const UNEXPECTED: Option<AlertDescription> = Some(AlertDescription::UnexpectedMessage);
const DECODE: Option<AlertDescription> = Some(AlertDescription::DecodeError);
const ILLEGAL: Option<AlertDescription> = Some(AlertDescription::IllegalParameter);
const LONG: [u8; 300] = [0; 300];

/// RFC 8446 §5.1, §6 and RFC 5246 §6.2.1, §7.2.
const IN_BOTH_VERSIONS: &[Expected] = &[
    (&[(21, &[])], UNEXPECTED),
    (&[(21, &[1])], DECODE),
    (&[(21, &[2])], DECODE),
    (&[(21, &[1, 0, 0])], DECODE),
    (&[(21, &[1, 90, 1, 90])], DECODE),
    (&[(21, &[1, 90])], None),
    (&[(22, &[])], UNEXPECTED),
    (&[(23, &[])], None),
    (&[(20, &[1])], UNEXPECTED),
    (&[(20, &[])], UNEXPECTED),
    (&[(24, &[1, 0, 0])], UNEXPECTED),
    (&[(255, &[1])], UNEXPECTED),
];

/// RFC 8446 §4.6.3, §5.2, §5.4.
const IN_TLS13: &[Expected] = &[
    // KeyUpdate, whole and in pieces.
    (&[(22, &[24, 0, 0, 1, 0])], None),
    (&[(22, &[24, 0, 0, 1, 1])], None),
    (&[(22, &[24]), (22, &[0, 0, 1, 1])], None),
    (&[(22, &[24]), (22, &[0]), (22, &[0]), (22, &[1]), (22, &[0])], None),
    (&[(22, &[24, 0, 0, 1]), (22, &[])], UNEXPECTED),
    (&[(22, &[24, 0, 0, 1]), (23, b"x")], UNEXPECTED),
    (&[(22, &[24, 0, 0, 1]), (23, &[])], UNEXPECTED),
    (&[(22, &[24, 0, 0, 1]), (21, &[1, 0])], UNEXPECTED),
    (&[(22, &[24, 0, 0, 1, 2])], ILLEGAL),
    (&[(22, &[24, 0, 0, 1, 255])], ILLEGAL),
    (&[(22, &[24, 0, 0, 1]), (22, &[7])], ILLEGAL),
    (&[(22, &[24, 0, 0, 0])], DECODE),
    (&[(22, &[24, 0, 0, 2, 0, 0])], DECODE),
    (&[(22, &[24, 1, 0, 1, 0])], DECODE),
    (&[(22, &[24, 0, 1, 1, 0])], DECODE),
    (&[(22, &[24]), (22, &[0, 0]), (22, &[3])], DECODE),
    // Nothing may stand behind it in its record.
    (&[(22, &[24, 0, 0, 1, 0, 24])], UNEXPECTED),
    (&[(22, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 0])], UNEXPECTED),
    // Every other handshake message: ClientHello, ticket, certificate, Finished, unknown.
    (&[(22, &[1, 0, 0, 0])], UNEXPECTED),
    (&[(22, &[4, 0, 0, 0])], UNEXPECTED),
    (&[(22, &[11, 0, 0, 4, 0, 0, 0, 0])], UNEXPECTED),
    (&[(22, &[15, 0])], UNEXPECTED),
    (&[(22, &[20, 0, 0, 32])], UNEXPECTED),
    (&[(22, &LONG)], UNEXPECTED),
    // A record of zeros has no type.
    (&[(0, &LONG)], UNEXPECTED),
];

const IN_TLS12: &[Expected] = &[
    (&[(22, &[1, 0, 0, 0])], UNEXPECTED),
    (&[(22, &[24, 0, 0, 1, 0])], UNEXPECTED),
    (&[(22, &[0, 0, 0, 0])], UNEXPECTED),
    (&[(21, &[1, 100])], None),
    (&[(21, &[1, 255])], None),
    (&[(21, &[0, 90])], ILLEGAL),
    (&[(21, &[3, 40])], ILLEGAL),
];

/// What a client may say in a session at work, and the alert it gets for what it may not.
#[test]
fn each_record_has_its_alert() {
    for kind in kinds() {
        let own = if *kind.version == version::TLS13 { IN_TLS13 } else { IN_TLS12 };
        for (records, expected) in IN_BOTH_VERSIONS.iter().chain(own) {
            let error = open_forged(kind, records).err();
            let alert = error.as_ref().and_then(TlsError::alert);
            assert_eq!((alert, error.is_none()), (*expected, expected.is_none()), "{records:?}");
        }
        // Alerts of the client end the session, and are not answered with one.
        for description in [10, 20, 22, 40, 47, 50, 80, 254] {
            let content = [2, description];
            let error = open_forged(kind, &[(21, &content)]).unwrap_err();
            assert!(matches!(error, TlsError::AlertReceived(_)) && error.alert().is_none());
        }
        let canceled = open_forged(kind, &[(21, &[2, 90])]);
        assert_eq!(canceled.is_ok(), *kind.version == version::TLS13, "{canceled:?}");
    }
}

/// Records sealed ahead keep their order: the answer to KeyUpdates is in front of the next data,
/// one for all, or in front of close_notify.
#[test]
fn an_answer_that_waits_for_data() {
    for data in [&b"next"[..], b""] {
        let (mut server, mut client) = connected(TLS13);
        server.channel.answer_with_data();
        let mut wire = Vec::new();
        server.channel.seal(b"ahead", &mut wire).unwrap();
        for _ in 0..10 {
            client.refresh_traffic_keys().unwrap();
            let mut out = Vec::new();
            open_all(&mut server.channel, &mut sent(&mut client), &mut out).unwrap();
            assert!(out.is_empty(), "nothing comes in between");
        }
        let before = wire.len();
        let room = server.channel.sealed_len_max(data.len());
        server.channel.seal(data, &mut wire).unwrap();
        assert!(wire.len() - before <= room);
        server.channel.seal_close_notify(&mut wire).unwrap();
        assert_eq!(record_count(&wire[before..]), 2 + usize::from(!data.is_empty()));
        assert_eq!(receive(&mut client, &wire).unwrap(), [b"ahead", data].concat());
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "clean end");
    }
}

fn record_count(mut wire: &[u8]) -> usize {
    let mut count = 0;
    while let [_, _, _, high, low, body @ ..] = wire {
        wire = &body[usize::from(u16::from_be_bytes([*high, *low]))..];
        count += 1;
    }
    count
}
