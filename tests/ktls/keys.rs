//! KeyUpdate (RFC 8446 §4.6.3) while the kernel sends, and on uploads.

use std::fs;
use std::time::Duration;

use crate::content::bytes;
use crate::fixture::{
    Counts, MIB, SUITES, kernel_has_key_updates, narrow_download, session, session_with, start,
    stop_and_count, tls_stat,
};
use crate::support::End;
use crate::support::tls::TLS13;
use crate::support::wait::{PATIENCE, pause};

/// The client changes its keys and asks for new ones: a kernel that can (6.14) gets them and the
/// download goes on; on others it ends, and what came until then is right.
#[test]
fn the_client_asks_for_new_keys() {
    let server = start();
    let content = bytes(6 * MIB, 21);
    fs::write(server.root().join("file"), &content).unwrap();
    let rekeyed = tls_stat("TlsTxRekeyOk");
    for suite in SUITES {
        let mut client = session_with(&server, server.tls().versions(TLS13).suite(suite));
        let mut data = narrow_download(&mut client, "file");
        let rounds = 3;
        for round in 1..=rounds {
            while data.received.len() < round * MIB {
                data.fill_with_data().unwrap();
            }
            let update = data.seal_key_update();
            if data.send_raw(&update).is_err() {
                break;
            }
            if !kernel_has_key_updates() {
                break;
            }
        }
        if kernel_has_key_updates() {
            assert!(client.receive(data) == content, "{suite:?}");
        } else {
            let (received, end) = data.read_to_end();
            assert!(end != End::CloseNotify && end != End::Timeout, "{end:?}");
            client.expect_reply(426);
            assert!(received.len() < content.len());
            assert!(received == content[..received.len()], "{suite:?}");
        }
        client.quit();
    }
    let expected = if kernel_has_key_updates() { 9 } else { 0 };
    assert_eq!(tls_stat("TlsTxRekeyOk") - rekeyed, expected);
    assert_eq!(stop_and_count(server), Counts { ktls: 3, records: 0, fallbacks: 0 });
}

/// The server is done; the client reads on late, and changes its keys before. No kernel needs new
/// keys for that, and nothing is lost.
#[test]
fn a_late_key_update() {
    let server = start();
    let content = bytes(2 * MIB, 23);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut client = session(&server);
    let mut data = narrow_download(&mut client, "file");
    client.wire.set_patience(Duration::from_millis(50));
    while client.wire.tcp().peek(&mut [0]).is_err() {
        data.fill_with_data().unwrap();
    }
    client.wire.set_patience(PATIENCE);
    client.expect_reply(226);
    assert!(data.received.len() < content.len(), "all was read already");
    pause(Duration::from_millis(2_500));
    let update = data.seal_key_update();
    data.send_raw(&update).unwrap();
    pause(Duration::from_millis(50));
    let (received, end) = data.read_to_end();
    assert_eq!((received.len(), end), (content.len(), End::CloseNotify));
    assert!(received == content);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 0, fallbacks: 0 });
}

/// Uploads are opened in user space, which changes keys on every kernel.
#[test]
fn the_client_changes_keys_while_it_uploads() {
    let server = start();
    let content = bytes(3 * MIB, 22);
    let mut client = session(&server);
    let mut data = client.begin("STOR file");
    for piece in content.chunks(MIB) {
        data.send(piece).unwrap();
        let update = data.seal_key_update();
        data.send_raw(&update).unwrap();
    }
    data.finish();
    client.expect_reply(226);
    client.quit();
    assert!(fs::read(server.root().join("file")).unwrap() == content);
    assert_eq!(stop_and_count(server), Counts { ktls: 0, records: 1, fallbacks: 0 });
}
