//! A session whose records somebody else seals: here, in place of the kernel, a few lines of AEAD
//! that share nothing with the record layer but the keys handed over.

use std::io::Write as _;

use ::aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::*;
use crate::tls::{Aead, KernelSender, SendKeys};

/// What the kernel does with keys: records of one content type after the other.
struct Stand {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
}

impl Stand {
    fn new(keys: &SendKeys<'_>) -> Self {
        let algorithm = match keys.aead {
            Aead::Aes128Gcm => &AES_128_GCM,
            Aead::Aes256Gcm => &AES_256_GCM,
            Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, keys.key).unwrap());
        Self { key, iv: keys.iv, sequence: keys.sequence }
    }

    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (octet, count) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *octet ^= count;
        }
        self.sequence += 1;
        let mut body = content.to_vec();
        body.push(kind);
        let length = u16::try_from(body.len() + 16).unwrap().to_be_bytes();
        let header = [23, 3, 3, length[0], length[1]];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).unwrap();
        [&header[..], &body].concat()
    }
}

fn download(kind: Kind) -> (Server, ClientConnection) {
    let tls = server(options());
    let mut client = client(&client_config(&tls, kind, None), "localhost");
    let session = this_session();
    let purpose = Purpose::Data;
    let server = connect_in_pieces(&tls, purpose, &session, &mut client, usize::MAX).unwrap();
    (server, client)
}

fn hand_over(server: Server) -> (KernelSender, Stand) {
    let stand = Stand::new(&server.channel.send_keys().unwrap());
    (KernelSender::new(server.channel), stand)
}

#[test]
fn records_go_on_where_user_space_stopped() {
    for kind in kinds().into_iter().filter(|kind| kind.version.version == TLS13.version.version) {
        let (mut server, mut client) = download(kind);
        let mut wire = Vec::new();
        server.channel.seal(&[1; 40_000], &mut wire).unwrap();
        let (_, mut stand) = hand_over(server);
        wire.extend(stand.seal(23, b"from the kernel"));
        let (alert, content) = KernelSender::close_notify();
        wire.extend(stand.seal(alert, &content));
        let expected = [&[1; 40_000][..], b"from the kernel"].concat();
        assert_eq!(receive(&mut client, &wire).unwrap(), expected);
        assert_eq!(client.reader().read(&mut [0]).unwrap(), 0, "clean end");
    }
}

#[test]
fn only_downloads_of_tls_1_3_hand_over() {
    let (server, _) = download(TLS12);
    assert!(server.channel.send_keys().is_none());
    let (server, _) = connected(TLS13);
    assert!(server.channel.send_keys().is_none(), "a control connection keeps no secrets");
    let (mut server, _) = download(TLS13);
    assert!(server.channel.send_keys().is_some());
    server.channel.seal_close_notify(&mut Vec::new()).unwrap();
    assert!(server.channel.send_keys().is_none(), "nothing follows close_notify");
}

/// Keys changed in user space before are the ones handed over.
#[test]
fn keys_changed_before() {
    let (mut server, mut client) = download(TLS13);
    client.refresh_traffic_keys().unwrap();
    let mut wire = Vec::new();
    open_all(&mut server.channel, &mut sent(&mut client), &mut wire).unwrap();
    let (_, mut stand) = hand_over(server);
    wire.extend(stand.seal(23, b"under new keys"));
    assert_eq!(receive(&mut client, &wire).unwrap(), b"under new keys");
}

#[test]
fn the_client_changes_keys_and_asks_for_new_ones() {
    let (server, mut client) = download(TLS13);
    let (mut sender, mut stand) = hand_over(server);
    for round in 0..3_u8 {
        assert!(!sender.owes_update());
        client.refresh_traffic_keys().unwrap();
        client.writer().write_all(&[round; 10]).unwrap();
        let mut wire = sent(&mut client);
        let OpenedRecord::Handled { consumed } = sender.open(&mut wire).unwrap() else { panic!() };
        assert!(sender.owes_update());
        let opened = sender.open(&mut wire[consumed..]).unwrap();
        assert!(matches!(opened, OpenedRecord::Data { .. }), "{opened:?}");
        let (kind, content) = KernelSender::key_update();
        let mut answer = stand.seal(kind, &content);
        stand = Stand::new(&sender.next_keys().unwrap());
        answer.extend(stand.seal(23, &[round; 20]));
        assert_eq!(receive(&mut client, &answer).unwrap(), [round; 20]);
    }
}

#[test]
fn counts_records_against_the_limit() {
    let (server, _) = download(TLS13);
    let (mut sender, _) = hand_over(server);
    // RFC 8446 §5.5: 2^24.5; rustls allows 2^24.
    sender.set_records((1 << 24) - 6);
    assert!(sender.has_room_for(4 * 16_384, 1));
    assert!(!sender.has_room_for(4 * 16_384 + 1, 1));
    sender.count(3 * 16_384);
    assert!(sender.has_room_for(1, 0));
    assert!(!sender.has_room_for(1, 1), "one is kept for an alert");
    sender.next_keys().unwrap();
    assert!(sender.has_room_for(1 << 30, 1));
}

#[test]
fn what_the_client_says_meanwhile() {
    let (server, mut client) = download(TLS13);
    let (mut sender, _) = hand_over(server);
    client.send_close_notify();
    let opened = sender.open(&mut sent(&mut client)).unwrap();
    assert!(matches!(opened, OpenedRecord::CloseNotify { .. }), "{opened:?}");

    let (server, _) = download(TLS13);
    let (mut sender, _) = hand_over(server);
    let error = sender
        .open(&mut [23, 3, 3, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .unwrap_err();
    assert_eq!(KernelSender::fatal_alert(&error), Some((21, [2, 20])), "bad_record_mac");
}
