//! Clients that end the sending direction of the control connection, and those that fill it: what
//! came is executed, a transfer that a QUIT waits for goes on, and nothing outlives its client
//! \[XFER-28 XFER-21\].

use std::fs;
use std::io::Write;
use std::time::Duration;

use crate::content::{bytes, tree};
use crate::process::open_files_below;
use crate::support::server::BOTH_LISTENERS;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::pause;
use crate::support::{Client, End, Listener, Server, wait_until};

/// How a client ends its sending direction.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ends {
    Fin,
    CloseNotify,
    Both,
}

const ENDS: [Ends; 3] = [Ends::Fin, Ends::CloseNotify, Ends::Both];

fn end(client: &mut Client, ends: Ends) {
    if ends != Ends::Fin && client.wire.tls().is_some() {
        client.wire.close_notify().unwrap();
    }
    if ends != Ends::CloseNotify {
        client.wire.fin();
    }
}

/// Explicit and implicit, both versions of TLS, and in clear.
fn clients(server: &Server) -> Vec<(String, Client)> {
    let mut clients = Vec::new();
    for listener in BOTH_LISTENERS {
        for versions in [TLS12, TLS13] {
            let tls = server.tls().versions(versions);
            let name = format!("{listener:?} {:?}", versions[0].version);
            clients.push((name, Client::open_with(server, listener, tls)));
        }
    }
    clients.push(("clear".to_owned(), Client::plain(server)));
    clients
}

fn server() -> Server {
    let policy = "[policy]\nrequire_control_tls = false\nrequire_data_tls = false\n\
                  [limits]\nsessions_per_ip = 100";
    Server::builder().toml(policy).start()
}

#[track_caller]
fn expect_replies(client: &mut Client, codes: &[u16], what: &str) {
    for code in codes {
        match client.try_reply() {
            Ok(reply) => assert_eq!(reply.code, *code, "{what}: {}", reply.text()),
            Err(end) => panic!("{what}: {end:?} instead of {code}"),
        }
    }
    let ended = client.try_reply().unwrap_err();
    let clean = if client.wire.tls().is_some() { End::CloseNotify } else { End::Fin };
    assert_eq!(ended, clean, "{what}");
}

/// An upload that is in, or still comes, is kept when QUIT and the end stand behind it.
#[test]
fn an_upload_that_quit_waits_for() {
    let server = server();
    let content = bytes(300_000, 21);
    for ends in ENDS {
        for early in [false, true] {
            for (name, client) in clients(&server) {
                let what = format!("{name} {ends:?} {early}");
                let mut client = client.login();
                client.expect("TYPE I", 200);
                let mut data = client.begin("STOR f");
                if early {
                    client.send("QUIT");
                    end(&mut client, ends);
                }
                data.send(&content).unwrap();
                if client.private {
                    data.close_notify().unwrap();
                }
                data.fin();
                if !early {
                    client.send("QUIT");
                    end(&mut client, ends);
                }
                expect_replies(&mut client, &[226, 221], &what);
                let stored = fs::read(server.root().join("f")).unwrap_or_default();
                assert!(stored == content, "{what}: {} octets", stored.len());
                fs::remove_file(server.root().join("f")).unwrap();
            }
        }
    }
}

/// close_notify, and the FIN a while later: the server, which reads no more then, must not take it
/// for the loss of the connection.
#[test]
fn the_two_ends_come_one_after_the_other() {
    let server = server();
    let content = bytes(300_000, 22);
    for (what, client) in clients(&server) {
        let mut client = client.login();
        if !client.private {
            continue;
        }
        client.expect("TYPE I", 200);
        let mut data = client.begin("STOR f");
        client.send("QUIT");
        client.wire.close_notify().unwrap();
        data.send(&content[..100_000]).unwrap();
        pause(Duration::from_millis(50));
        client.wire.fin();
        pause(Duration::from_millis(50));
        data.send(&content[100_000..]).unwrap();
        data.close_notify().unwrap();
        data.fin();
        expect_replies(&mut client, &[226, 221], &what);
        assert!(fs::read(server.root().join("f")).unwrap() == content, "{what}");
    }
}

/// Commands that came are executed, the log-in before them included; the part of a line is not.
#[test]
fn commands_behind_a_login() {
    let server = server();
    for ends in ENDS {
        for (name, mut client) in clients(&server) {
            let what = format!("{name} {ends:?}");
            client.send_bytes(b"USER alice\r\nPASS secret\r\nMKD a\r\nMKD b\r\nQUIT\r\n");
            end(&mut client, ends);
            expect_replies(&mut client, &[331, 230, 257, 257, 221], &what);
            assert_eq!(tree(&server.root()).len(), 2, "{what}");
            for directory in ["a", "b"] {
                fs::remove_dir(server.root().join(directory)).unwrap();
            }
        }
        let mut client = Client::implicit(&server);
        client.send_bytes(b"USER alice\r\nPASS secret\r\nMKD a\r\nRMD a\r\nMKD cut");
        end(&mut client, ends);
        expect_replies(&mut client, &[331, 230, 257, 250], "a cut line");
        assert!(tree(&server.root()).is_empty());
    }
}

/// More than is taken at once, behind a transfer, and the end behind that.
#[test]
fn more_commands_than_are_taken_at_once() {
    const COMMANDS: usize = 2_000;
    let server = server();
    for (name, client) in clients(&server) {
        let mut client = client.login();
        client.expect("TYPE I", 200);
        let data = client.begin("STOR f");
        let lines: String =
            (0..COMMANDS).map(|n| if n % 2 == 0 { "MKD d\r\n" } else { "RMD d\r\n" }).collect();
        client.send_bytes(lines.as_bytes());
        client.send("QUIT");
        end(&mut client, Ends::Both);
        let mut data = data;
        data.send(b"content").unwrap();
        data.finish();
        let mut codes = vec![226];
        codes.extend((0..COMMANDS).map(|n| if n % 2 == 0 { 257 } else { 250 }));
        codes.push(221);
        expect_replies(&mut client, &codes, &name);
        assert_eq!(fs::read(server.root().join("f")).unwrap(), b"content", "{name}");
    }
}

/// Without QUIT nobody waits for a transfer, and behind a reset nobody is there.
#[test]
fn transfers_that_nobody_waits_for() {
    let server = server();
    for reset in [false, true] {
        for (name, client) in clients(&server) {
            let what = format!("{name} {reset}");
            let mut client = client.login();
            client.expect("TYPE I", 200);
            let mut data = client.begin("STOR f");
            data.send(b"partial").unwrap();
            if reset {
                client.send("QUIT");
                client.wire.reset();
            } else {
                client.send("NOOP");
                end(&mut client, Ends::Both);
                expect_replies(&mut client, &[426, 200], &what);
            }
            assert_ne!(data.read_to_end().1, End::Timeout, "{what}");
            wait_until("no file open for an upload", || {
                open_files_below(server.pid(), &server.root()).is_empty()
            });
            assert!(tree(&server.root()).is_empty(), "{what}");
        }
    }
}

/// A download goes on for a client that has said QUIT and reads; one that does not read is given
/// up after `stall_timeout`, with all it holds.
#[test]
fn a_download_that_quit_waits_for() {
    let toml = "[limits]\nstall_timeout = \"1s\"\n[policy]\nrequire_control_tls = false\n\
                require_data_tls = false";
    let server = Server::builder().toml(toml).start();
    let content = bytes(24 << 20, 22);
    fs::write(server.root().join("big"), &content).unwrap();
    let mut silent = Vec::new();
    for (name, client) in clients(&server) {
        for reads in [true, false] {
            let fresh = if name == "clear" {
                Client::plain(&server)
            } else {
                Client::open_with(&server, Listener::Implicit, client.tls.clone())
            };
            let mut client = fresh.login();
            client.expect("TYPE I", 200);
            let mut data = client.begin("RETR big");
            client.send("QUIT");
            end(&mut client, Ends::Both);
            if reads {
                let (received, ended) = data.read_to_end();
                assert!(received == content, "{name}: {} octets, {ended:?}", received.len());
                data.finish();
                expect_replies(&mut client, &[226, 221], &name);
            } else {
                silent.push((name.clone(), client, data));
            }
        }
    }
    for (name, mut client, _data) in silent {
        expect_replies(&mut client, &[426, 221], &name);
    }
    wait_until("no file is open any more", || {
        open_files_below(server.pid(), &server.root()).is_empty()
    });
}

/// However many keep-alives stand behind a transfer, ABOR behind them acts, and each is answered.
#[test]
fn abor_behind_keep_alives() {
    const TIMES: usize = 3_000;
    let server = server();
    for (name, client) in clients(&server) {
        let mut client = client.login();
        client.expect("TYPE I", 200);
        let _data = client.begin("STOR f");
        client.send_bytes(&b"NOOP\r\n".repeat(TIMES));
        client.send("ABOR");
        client.send("QUIT");
        let mut codes = vec![200; TIMES + 2];
        (codes[0], codes[TIMES + 1]) = (426, 226);
        codes.push(221);
        expect_replies(&mut client, &codes, &name);
        assert!(tree(&server.root()).is_empty(), "{name}");
    }
}

/// A client is seen to be gone although its commands fill the queue and nothing is read.
#[test]
fn a_reset_behind_a_full_queue() {
    let server = server();
    for (name, client) in clients(&server) {
        let mut client = client.login();
        client.expect("TYPE I", 200);
        let mut data = client.begin("STOR f");
        data.send(b"partial").unwrap();
        client.send_bytes(&b"PWD\r\nNOOP\r\n".repeat(2_000));
        client.wire.reset();
        assert_ne!(data.read_to_end().1, End::Timeout, "{name}: nobody noticed");
        wait_until("no file open for an upload", || {
            open_files_below(server.pid(), &server.root()).is_empty()
        });
        assert!(tree(&server.root()).is_empty(), "{name}");
    }
}

/// The connection is not closed with octets unread: that would be a reset, which can overtake the
/// reply on its way.
#[test]
fn more_behind_quit_is_no_reset() {
    let server = server();
    for (name, client) in clients(&server) {
        let mut client = client.login();
        client.send_bytes(&[b"QUIT\r\n".as_slice(), &b"NOOP\r\n".repeat(10_000)].concat());
        expect_replies(&mut client, &[221], &name);
        assert!(matches!(client.expect_close(), End::CloseNotify | End::Fin), "{name}");
        // A reset would be here by now.
        pause(Duration::from_millis(50));
        for _ in 0..2 {
            client.wire.tcp().write_all(b"more").unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

/// Long replies to a client that reads late: each is sent in pieces, as there is room, and whole.
#[test]
fn long_replies_that_are_read_late() {
    const ENTRIES: usize = 1_000;
    const TIMES: usize = 100;
    let server = server();
    let directory = server.root().join("many");
    fs::create_dir(&directory).unwrap();
    for number in 0..ENTRIES {
        fs::write(directory.join(format!("{number:0>100}")), "").unwrap();
    }
    for (name, client) in clients(&server) {
        let mut client = client.login();
        client.send_bytes(&b"STAT many\r\n".repeat(TIMES));
        let mut other = Client::implicit(&server).login();
        other.expect("STAT many", 213);
        other.quit();
        for _ in 0..TIMES {
            let text = client.reply().text();
            let names = text.matches(&"0".repeat(97)).count();
            assert_eq!(names, ENTRIES, "{name}");
        }
        client.quit();
    }
}
