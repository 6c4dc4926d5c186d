//! How a transfer ends while the kernel seals it: on a full socket, cut by either side, by an
//! alert, by a file that shrinks, by ABOR, at the stall deadline, at shutdown.

use std::fs::{self, File};
use std::time::Duration;

use rustls::{AlertDescription, Error};

use crate::content::bytes;
use crate::fixture::{
    Counts, MIB, narrow_download, send_buffers, session, session_with, start, stop_and_count,
    tls_stat,
};
use crate::support::tls::TLS13;
use crate::support::wait::pause;
use crate::support::{End, Server, wait_until};

/// The last data and close_notify wait for room, and arrive whole. The sizes lie close together, so
/// that some end exactly where the socket is full.
#[test]
fn close_notify_on_a_full_socket() {
    let server = start();
    // So small that being writable is not enough room for what the kernel holds back.
    send_buffers(48 * 1024);
    let mut client = session(&server);
    let content = bytes(2 * MIB, 31);
    for extra in [0, 1, 1_000, 16_383, 16_384, 30_000, 65_536, 100_000, MIB] {
        let content = &content[..MIB + extra];
        fs::write(server.root().join("file"), content).unwrap();
        let data = narrow_download(&mut client, "file");
        // The server fills the socket and waits.
        pause(Duration::from_millis(100));
        assert!(client.receive(data) == content, "{extra}");
    }
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 9, records: 0, fallbacks: 0 });
}

/// A slow reader gets short writes all the time.
#[test]
fn a_slow_reader() {
    let server = start();
    let content = bytes(3 * MIB + 7, 32);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut client = session(&server);
    let mut data = narrow_download(&mut client, "file");
    let mut received = Vec::new();
    let end = loop {
        match data.fill() {
            Ok(()) => received.append(&mut data.received),
            Err(end) => break end,
        }
        if received.len() % 5 == 0 {
            pause(Duration::from_millis(1));
        }
    };
    assert_eq!(end, End::CloseNotify);
    assert!(received == content);
    client.expect_reply(226);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 0, fallbacks: 0 });
}

/// The client cuts the connection, by RST and by closing; the session goes on.
#[test]
fn the_client_goes_away() {
    let server = start();
    let content = bytes(4 * MIB, 33);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut client = session(&server);
    let mut data = narrow_download(&mut client, "file");
    data.fill_with_data().unwrap();
    data.reset();
    client.expect_reply(426);
    let mut data = narrow_download(&mut client, "file");
    data.fill_with_data().unwrap();
    drop(data);
    client.expect_reply(426);
    assert!(client.retrieve("RETR file") == content);
    client.quit();
    assert_eq!(tls_stat("TlsCurrTxSw"), 0, "a session is left over");
    assert_eq!(stop_and_count(server), Counts { ktls: 3, records: 0, fallbacks: 0 });
}

/// A client may end its own half first (RFC 8446 §6.1) and read on.
#[test]
fn the_client_closes_its_half_first() {
    let server = start();
    let content = bytes(4 * MIB, 34);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut client = session(&server);
    for fin in [false, true] {
        let mut data = narrow_download(&mut client, "file");
        data.fill_with_data().unwrap();
        data.close_notify().unwrap();
        if fin {
            data.fin();
        }
        let (received, end) = data.read_to_end();
        assert_eq!(end, End::CloseNotify);
        assert!(received == content);
        client.expect_reply(226);
    }
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 2, records: 0, fallbacks: 0 });
}

/// What does not authenticate ends the transfer, and the client is told why.
#[test]
fn a_forged_record() {
    let server = start();
    let content = bytes(8 * MIB, 35);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut client = session(&server);
    let mut data = narrow_download(&mut client, "file");
    data.fill_with_data().unwrap();
    let forged = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
    data.send_raw(&forged).unwrap();
    let (received, end) = data.read_to_end();
    let told = End::Tls(Error::AlertReceived(AlertDescription::BadRecordMac));
    // The alert waits for no room: on a full socket the end comes without it.
    assert!(end == told || end == End::Fin || end == End::Reset, "{end:?}");
    client.expect_reply(426);
    assert!(received.len() < content.len() && received == content[..received.len()]);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 0, fallbacks: 0 });
}

/// A client that says it gives up, with a fatal alert, is not sent the rest.
#[test]
fn an_alert_of_the_client() {
    let server = start();
    fs::write(server.root().join("file"), bytes(8 * MIB, 36)).unwrap();
    let tls = server.tls().versions(TLS13);
    let mut client = session_with(&server, tls);
    let mut data = narrow_download(&mut client, "file");
    data.fill_with_data().unwrap();
    // The engine is given what it must refuse, and answers with an alert.
    let alert = data.provoke_alert();
    data.send_raw(&alert).unwrap();
    data.forget_tls();
    let (_, end) = data.read_to_end();
    assert!(end == End::Fin || end == End::Reset, "{end:?}");
    client.expect_reply(426);
    client.quit();
    // What is logged is written a moment later; the end of the server waits for it.
    let log = server.stop();
    assert!(log.contains("end=\"protection\""), "{log}");
}

/// A file that becomes shorter is not a complete one: 451, and no close_notify.
#[test]
fn a_file_cut_while_it_is_sent() {
    let server = start();
    let content = bytes(8 * MIB, 37);
    let path = server.root().join("file");
    fs::write(&path, &content).unwrap();
    let mut client = session(&server);
    let mut data = narrow_download(&mut client, "file");
    data.fill_with_data().unwrap();
    File::options().write(true).open(&path).unwrap().set_len(4 * MIB as u64).unwrap();
    let (received, end) = data.read_to_end();
    assert!(end == End::Fin || end == End::Reset, "{end:?}");
    client.expect_reply(451);
    assert!(received.len() <= 4 * MIB && received == content[..received.len()]);
    client.quit();
    assert_eq!(stop_and_count(server), Counts { ktls: 1, records: 0, fallbacks: 0 });
}

#[test]
fn abor_and_the_stall_deadline() {
    let server = Server::builder().toml("[limits]\nstall_timeout = \"2s\"").start();
    fs::write(server.root().join("file"), bytes(8 * MIB, 38)).unwrap();
    let mut client = session(&server);
    let mut data = narrow_download(&mut client, "file");
    data.fill_with_data().unwrap();
    client.expect("ABOR", 426);
    client.expect_reply(226);
    let (_, end) = data.read_to_end();
    assert!(end == End::Fin || end == End::Reset, "{end:?}");
    let _silent = narrow_download(&mut client, "file");
    client.expect_reply(426);
    client.quit();
    wait_until("the log says why", || server.log().contains("end=\"stalled\""));
    assert_eq!(stop_and_count(server), Counts { ktls: 2, records: 0, fallbacks: 0 });
}
