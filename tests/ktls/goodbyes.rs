//! The end of the server and of the session while the kernel seals a download: SIGTERM with and
//! without time for the transfers, and QUIT with the end of the control connection behind it.

use std::fs;
use std::time::Duration;

use crate::content::bytes;
use crate::fixture::{
    Counts, MIB, counts, narrow_download, send_buffers, session, session_with, stop_and_count,
    tls_stat,
};
use crate::support::server::counter;
use crate::support::tls::TLS13;
use crate::support::wait::Stopwatch;
use crate::support::{Client, End, Listener, Server, wait_until};

fn start(toml: &str) -> Server {
    send_buffers(128 * 1024);
    Server::builder().toml(&format!("[log]\nlevel = \"debug\"\n{toml}")).start()
}

/// Both go on to their end: the octets, close_notify, 226, and only then 421.
#[test]
fn transfers_finish_before_the_server_ends() {
    let mut server = start("[limits]\nshutdown_timeout = \"60s\"");
    let content = bytes(6 * MIB + 11, 61);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut down = session(&server);
    let mut down_data = narrow_download(&mut down, "file");
    down_data.fill_with_data().unwrap();
    let mut up = Client::open_with(&server, Listener::Explicit, server.tls().versions(TLS13));
    up = up.login();
    up.expect("TYPE I", 200);
    let mut up_data = up.begin("STOR up");
    up_data.send(&content[..MIB]).unwrap();
    let mut idle = session(&server);
    assert_eq!(tls_stat("TlsCurrTxSw"), 1);

    server.terminate();
    idle.expect_reply(421);
    let (received, end) = down_data.read_to_end();
    assert_eq!((received.len(), end), (content.len(), End::CloseNotify));
    assert!(received == content);
    down_data.finish();
    down.expect_reply(226);
    down.expect_reply(421);
    down.expect_end(End::CloseNotify);
    up.deliver(up_data, &content[MIB..]);
    up.expect_reply(421);
    assert!(server.wait().success());
    assert!(fs::read(server.root().join("up")).unwrap() == content, "the upload differs");
    assert_eq!(tls_stat("TlsCurrTxSw"), 0, "a session is left over");
    assert_eq!(counts(&server.log()), Counts { ktls: 1, records: 1, fallbacks: 0 });
}

/// Whoever has not finished when `limits.shutdown_timeout` is over is cut: no close_notify ends
/// what is not whole, be it in the middle or with everything but the last octets sent.
#[test]
fn transfers_are_cut_when_the_time_is_over() {
    let mut server = start("[limits]\nshutdown_timeout = \"2s\"");
    let content = bytes(8 * MIB, 62);
    fs::write(server.root().join("file"), &content).unwrap();
    let mut down = session(&server);
    let mut down_data = narrow_download(&mut down, "file");
    down_data.fill_with_data().unwrap();
    let mut up = session_with(&server, server.tls().versions(TLS13));
    let mut up_data = up.begin("STOR up");
    up_data.send(b"a little").unwrap();

    let watch = Stopwatch::start();
    server.terminate();
    assert!(server.wait().success());
    let took = watch.elapsed();
    assert!(took > Duration::from_millis(1_900), "cut before the deadline: {took:?}");
    assert!(took < Duration::from_secs(20), "cut late: {took:?}");
    let (received, end) = down_data.read_to_end();
    assert!(end == End::Fin || end == End::Reset, "a cut download ended by {end:?}");
    assert!(received.len() < content.len() && received == content[..received.len()]);
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 1, "something of the upload is left");
    wait_until("the kernel has no session left", || tls_stat("TlsCurrTxSw") == 0);
    let log = server.log();
    assert_eq!(counter(&log, "transfers_ktls"), 1, "{log}");
    assert_eq!(counter(&log, "ktls_fallbacks"), 0, "{log}");
}

/// How a client ends its half of the control connection.
const ENDS: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

/// A download that QUIT waits for is sent whole, and answered, whatever ends behind the QUIT.
#[test]
fn a_download_that_quit_waits_for() {
    let server = start("");
    let content = bytes(6 * MIB, 63);
    fs::write(server.root().join("file"), &content).unwrap();
    for (close_notify, fin) in ENDS {
        let what = format!("close_notify {close_notify}, FIN {fin}");
        let mut client = session(&server);
        let mut data = narrow_download(&mut client, "file");
        data.fill_with_data().unwrap();
        client.send("QUIT");
        if close_notify {
            client.wire.close_notify().unwrap();
        }
        if fin {
            client.wire.fin();
        }
        let (received, end) = data.read_to_end();
        assert_eq!((received.len(), end), (content.len(), End::CloseNotify), "{what}");
        assert!(received == content, "{what}");
        data.finish();
        client.expect_reply(226);
        client.expect_reply(221);
        client.expect_end(End::CloseNotify);
    }
    assert_eq!(stop_and_count(server), Counts { ktls: 3, records: 0, fallbacks: 0 });
}

/// Without a QUIT nobody waits for it: 426, and no close_notify behind a part of the file. One who
/// has said QUIT and does not read is given up after `limits.stall_timeout`.
#[test]
fn a_download_that_nobody_waits_for() {
    let server = start("[limits]\nstall_timeout = \"2s\"");
    fs::write(server.root().join("file"), bytes(8 * MIB, 64)).unwrap();
    for (close_notify, fin) in ENDS {
        let what = format!("close_notify {close_notify}, FIN {fin}");
        let mut client = session(&server);
        let mut data = narrow_download(&mut client, "file");
        data.fill_with_data().unwrap();
        if close_notify {
            client.wire.close_notify().unwrap();
        }
        if fin {
            client.wire.fin();
        }
        let (_, end) = data.read_to_end();
        assert!(end == End::Fin || end == End::Reset, "{what}: {end:?}");
        client.expect_reply(426);
        client.expect_end(End::CloseNotify);
    }
    let mut silent = session(&server);
    let _data = narrow_download(&mut silent, "file");
    silent.send("QUIT");
    silent.wire.close_notify().unwrap();
    silent.wire.fin();
    silent.expect_reply(426);
    silent.expect_reply(221);
    silent.expect_end(End::CloseNotify);
    wait_until("the kernel has no session left", || tls_stat("TlsCurrTxSw") == 0);
    assert_eq!(stop_and_count(server), Counts { ktls: 4, records: 0, fallbacks: 0 });
}
