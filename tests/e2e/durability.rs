//! What is left when somebody dies in the middle of an upload: nothing visible under the name,
//! no temporary file, no descriptor \[DTLS-03, DTLS-04, XFER-25\].

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::Signal;

use crate::content::{bytes, tree};
use crate::process::{descriptors, open_files_below};
use crate::run::spawn;
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Listener, Server, Wire, wait_until};

/// How a client can leave.
#[derive(Clone, Copy, Debug)]
enum Exit {
    /// TCP FIN without close_notify on the data connection; the control connection stays.
    DataFin,
    /// TCP RST on the data connection; the control connection stays.
    DataReset,
    /// The control connection is gone, the data connection stays silent and open.
    ControlFin,
    /// Both are gone with FIN.
    Both,
}

const EXITS: [Exit; 4] = [Exit::DataFin, Exit::DataReset, Exit::ControlFin, Exit::Both];

/// The process is killed with SIGKILL while curl is uploading; with and without a file of that
/// name before.
#[test]
fn killed_client_leaves_nothing() {
    let server = Server::start();
    let local = tempfile::tempdir().unwrap();
    fs::write(local.path().join("big"), bytes(8 << 20, 1)).unwrap();
    let before = warm_descriptors(&server);
    for listener in BOTH_LISTENERS {
        for existing in [None, Some("what was there")] {
            if let Some(content) = existing {
                fs::write(server.root().join("big"), content).unwrap();
            }
            let mut curl = upload(&server, listener, &local.path().join("big"));
            wait_until("an upload in progress", || has_bytes(&server));
            assert_eq!(visible(&server), existing.map(str::to_owned), "visible while uploading");
            curl.kill().unwrap();
            curl.wait().unwrap();
            wait_until("the descriptors of the killed client's session", || {
                descriptors(server.pid()) <= before
            });
            assert_eq!(visible(&server), existing.map(str::to_owned), "visible after the kill");
            let files = tree(&server.root()).into_keys().collect::<Vec<_>>();
            assert_eq!(files.len(), usize::from(existing.is_some()), "left over: {files:?}");
            let _ = fs::remove_file(server.root().join("big"));
        }
    }
}

#[test]
fn every_way_to_leave_an_upload() {
    let server = Server::start();
    let before = warm_descriptors(&server);
    for listener in BOTH_LISTENERS {
        for exit in EXITS {
            for command in ["STOR file", "APPE file", "STOU"] {
                let mut client = Client::open(&server, listener).login();
                let data = start_upload(&mut client, command);
                leave(client, data, exit);
                wait_until("no file open for an upload", || {
                    open_files_below(server.pid(), &server.root()).is_empty()
                });
                assert_eq!(tree(&server.root()).len(), 0, "{listener:?} {exit:?} {command}");
            }
        }
    }
    wait_until("the descriptors of all sessions", || descriptors(server.pid()) <= before);
}

/// REST and APPE change a file in place only when complete: the old content stays whole.
#[test]
fn interrupted_upload_keeps_the_old_file() {
    let server = Server::start();
    for exit in EXITS {
        for commands in [&["REST 5", "STOR file"][..], &["APPE file"], &["STOR file"]] {
            fs::write(server.root().join("file"), "the old content").unwrap();
            let mut client = Client::implicit(&server).login();
            client.expect("TYPE I", 200);
            if let [rest, _] = commands {
                client.expect(rest, 350);
            }
            let data = start_upload(&mut client, commands[commands.len() - 1]);
            leave(client, data, exit);
            wait_until("no file open for an upload", || {
                open_files_below(server.pid(), &server.root()).is_empty()
            });
            let left = fs::read(server.root().join("file")).unwrap();
            let left = left.escape_ascii();
            assert_eq!(left.to_string(), "the old content", "{exit:?} {commands:?}");
            assert_eq!(tree(&server.root()).len(), 1);
        }
    }
}

/// `failed_upload = "keep"`: what arrived appears, but never in place of an older file.
#[test]
fn keeping_failed_uploads() {
    let server = Server::builder().toml("[storage]\nfailed_upload = \"keep\"").start();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let data = start_upload(&mut client, "STOR new");
    data.fin();
    client.expect_reply(426);
    wait_until("the part of the new file", || server.root().join("new").exists());
    let kept = fs::read(server.root().join("new")).unwrap();
    let sent = bytes(PART, 2);
    assert!(kept == sent, "{} of {} octets kept", kept.len(), sent.len());
    // Then the client resumes with what SIZE says.
    let size: usize = client.expect("SIZE new", 213).line().parse().unwrap();
    client.expect(format!("REST {size}"), 350);
    client.store("STOR new", b"the rest");
    assert_eq!(fs::read(server.root().join("new")).unwrap(), [&sent[..], b"the rest"].concat());

    fs::write(server.root().join("old"), "the old content").unwrap();
    let data = start_upload(&mut client, "STOR old");
    data.fin();
    client.expect_reply(426);
    assert_eq!(fs::read(server.root().join("old")).unwrap(), b"the old content");
    assert_eq!(tree(&server.root()).len(), 2);
    client.quit();
}

/// The server itself is killed: no part of a file under its name, whatever the durability.
#[test]
fn killed_server_leaves_nothing_visible() {
    for durability in ["none", "data", "full"] {
        let config = format!("[storage]\ndurability = \"{durability}\"");
        let mut server = Server::builder().toml(&config).start();
        let mut client = Client::implicit(&server).login();
        client.store("STOR complete", b"complete");
        let _data = start_upload(&mut client, "STOR part");
        wait_until("bytes in the temporary file", || has_bytes(&server));
        server.signal(Signal::KILL);
        assert!(!server.wait().success());
        let found = tree(&server.root()).into_keys().collect::<Vec<_>>();
        assert!(found.contains(&b"complete".to_vec()), "226 was said: {found:?}");
        assert!(!found.contains(&b"part".to_vec()), "a part became visible: {found:?}");
        assert_eq!(fs::read(server.root().join("complete")).unwrap(), b"complete");
    }
}

/// Octets sent before the client leaves.
const PART: usize = 300_000;

/// Begins an upload and waits until the server has some of it.
#[track_caller]
fn start_upload(client: &mut Client, command: &str) -> Wire {
    let mut data = client.begin(command);
    data.send(&bytes(PART, 2)).unwrap();
    data
}

#[track_caller]
fn leave(mut client: Client, data: Wire, exit: Exit) {
    match exit {
        Exit::DataFin => data.fin(),
        Exit::DataReset => data.reset(),
        Exit::ControlFin => {
            client.wire.fin();
            client.expect_close_after_replies();
            return;
        }
        Exit::Both => {
            client.wire.fin();
            data.fin();
            return;
        }
    }
    client.expect_reply(426);
    client.expect("NOOP", 200);
    client.quit();
}

/// Whatever the server says to a control connection that is half closed, it must end.
trait ExpectClose {
    fn expect_close_after_replies(&mut self);
}

impl ExpectClose for Client {
    #[track_caller]
    fn expect_close_after_replies(&mut self) {
        loop {
            match self.try_reply() {
                Ok(reply) => assert!(matches!(reply.code, 421 | 426), "{reply:?}"),
                Err(end) => {
                    assert_ne!(end, crate::support::End::Timeout);
                    return;
                }
            }
        }
    }
}

/// Descriptors of the idle server after one session has made everything it keeps.
#[track_caller]
fn warm_descriptors(server: &Server) -> usize {
    for listener in BOTH_LISTENERS {
        for _ in 0..8 {
            let mut client = Client::open(server, listener).login();
            client.store("STOR warm", b"warm");
            assert_eq!(client.retrieve("RETR warm"), b"warm");
            client.expect("DELE warm", 250);
            client.quit();
        }
    }
    let mut lowest = usize::MAX;
    // Closing takes a moment after the last reply: the count must come to rest.
    wait_until("the descriptors at rest", || {
        let now = descriptors(server.pid());
        let at_rest = now == lowest;
        lowest = lowest.min(now);
        at_rest && open_files_below(server.pid(), &server.root()).is_empty()
    });
    lowest
}

/// curl at 1 MiB/s: eight seconds for the file, killed long before.
fn upload(server: &Server, listener: Listener, file: &Path) -> Child {
    let scheme = if listener == Listener::Implicit { "ftps" } else { "ftp" };
    let mut command = Command::new("curl");
    command.args(["-q", "--silent", "--ssl-reqd", "--limit-rate", "1M", "--max-time", "30"]);
    command.args(["--user", "alice:secret", "--cacert"]).arg(server.authority_pem());
    command.arg("--upload-file").arg(file);
    spawn(command.arg(format!("{scheme}://{}/big", server.address(listener))))
}

/// Whether the temporary file of an upload has content already.
fn has_bytes(server: &Server) -> bool {
    let entries = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    entries.filter_map(Result::ok).any(|entry| {
        let below = fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(server.root()));
        below && fs::metadata(entry.path()).is_ok_and(|file| file.is_file() && file.len() > 0)
    })
}

fn visible(server: &Server) -> Option<String> {
    fs::read_to_string(server.root().join("big")).ok()
}
