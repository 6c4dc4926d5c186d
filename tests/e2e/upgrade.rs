//! Another process takes the place of a running server: nobody notices, and when it cannot, nothing
//! has changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::content::bytes;
use crate::metrics::{endpoint, scrape};
use crate::process::first_cpu;
use crate::reload::{configuration, ctl, set};
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Listener, Server, program, wait_until};

/// What `ctl status` says.
#[track_caller]
fn status(server: &Server) -> Value {
    serde_json::from_str(&ctl(server, &["status", "--json"]).success().out()).unwrap()
}

/// A process that has taken over: a child of nobody here.
pub(crate) struct Heir(Pid);

impl Heir {
    /// The one that serves now.
    #[track_caller]
    pub(crate) fn of(server: &Server) -> Self {
        Self(
            Pid::from_raw(i32::try_from(status(server)["pid"].as_u64().unwrap()).unwrap()).unwrap(),
        )
    }

    pub(crate) fn number(&self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    fn is_gone(&self) -> bool {
        // Whoever has it now may not have waited for it yet.
        fs::read_to_string(format!("/proc/{}/stat", self.number()))
            .map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with('Z'))
    }

    /// Ends it by SIGTERM.
    #[track_caller]
    pub(crate) fn stop(self) {
        kill_process(self.0, Signal::TERM).unwrap();
        wait_until("the end of the new process", || self.is_gone());
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if !self.is_gone() {
            let _ = kill_process(self.0, Signal::KILL);
        }
    }
}

/// Everybody is served, however the connections are spread.
#[track_caller]
fn serves(server: &Server) {
    for listener in BOTH_LISTENERS {
        for _ in 0..6 {
            let mut client = Client::open(server, listener).login();
            assert_eq!(client.retrieve("RETR file"), b"content");
            client.quit();
        }
    }
}

/// A server that was started by a path of ours: where it can be replaced.
fn replaceable(folder: &TempDir, config: &str) -> (Server, PathBuf) {
    let program = folder.path().join("ringftpd");
    let script = "ln -s \"$0\" \"$PROGRAM\"; exec \"$PROGRAM\" \"$@\"";
    let server = Server::builder()
        .toml(config)
        .environment("PROGRAM", program.to_str().unwrap())
        .through(&["sh", "-c", script])
        .start();
    fs::write(server.root().join("file"), b"content").unwrap();
    (server, program)
}

/// Puts a script in the place of the program.
fn replace(program: &Path, script: &str) {
    let new = program.with_extension("new");
    fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, program).unwrap();
}

/// Three times, with as many shards, with fewer and with more.
#[test]
fn nobody_notices_an_upgrade() {
    let config = "[limits]\nshutdown_timeout = \"30s\"\n[metrics]\nlisten = \"127.0.0.1:0\"";
    let mut server = Server::builder().toml(config).start();
    fs::write(server.root().join("file"), b"content").unwrap();
    let metrics = endpoint(&server);
    let tls = server.tls();
    let mut idle = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
    let mut down = Client::explicit(&server).login();
    let content = bytes(64 << 20, 1);
    fs::write(server.root().join("big"), &content).unwrap();
    down.expect("TYPE I", 200);
    let data = down.begin("RETR big");
    let mut heirs = Vec::new();
    let one_shard = format!("[shards]\ncpus = \"{}\"", first_cpu());
    for change in ["", &one_shard, "[shards]\ncpus = \"0-1\""] {
        if !change.is_empty() {
            set(&server, change);
        }
        let before = status(&server);
        ctl(&server, &["upgrade"]).success().says(&format!("pid {} ends with", before["pid"]));
        let after = status(&server);
        assert!(after["pid"] != before["pid"] && after["ready"] == true, "{after}");
        heirs.push(Heir::of(&server));
        serves(&server);
        assert!(scrape(metrics).contains("ringftpd_sessions"));
        // Of the first of all processes.
        idle.expect("NOOP", 200);
        assert_eq!(idle.retrieve("RETR file"), b"content");
    }
    // Tickets of the first process are good for the last one.
    assert!(Client::open_with(&server, Listener::Implicit, tls).wire.resumed());
    assert!(down.receive(data) == content, "the download differs");
    down.quit();
    idle.quit();
    assert!(server.wait().success());
    let last = heirs.pop().unwrap();
    wait_until("the others to end with their sessions", || heirs.iter().all(Heir::is_gone));
    serves(&server);
    last.stop();
}

/// A program that dies at once, one that hangs, and a configuration with a mistake.
#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (server, program) = replaceable(&folder, "");
    let real = fs::read_link(&program).unwrap();
    let mut idle = Client::implicit(&server).login();
    let mut check = |words: &[&str], reason: &str| {
        ctl(&server, &[&["upgrade"], words].concat()).exits(1).says(reason);
        assert_eq!(status(&server)["pid"], server.pid());
        assert_eq!(status(&server)["ready"], true);
        idle.expect("NOOP", 200);
        serves(&server);
    };
    replace(&program, "exit 3");
    check(&[], "ended before it was ready, with exit status: 3");
    replace(&program, "exec sleep 100");
    check(&["--timeout", "1"], "not ready in time");
    fs::remove_file(&program).unwrap();
    check(&[], "cannot start");
    std::os::unix::fs::symlink(&real, &program).unwrap();
    let good = fs::read_to_string(configuration(&server)).unwrap();
    set(&server, "[limits]\nsessions = -7");
    check(&[], "limits.sessions");
    // What only the start finds.
    fs::write(configuration(&server), &good).unwrap();
    set(&server, "[listen]\nimplicit = [\"192.0.2.1:0\"]");
    check(&[], "this host has no such address");
    drop(idle);
    server.stop();
}

/// A process that says it is ready, has all connections come to the first socket of each address,
/// and dies before it accepts.
const DIES_AFTER_GO: &str = r#"
import array, json, os, socket, struct
import ctypes
there = socket.socket(fileno=0)
def hear(text=b''):
    numbers = []
    while not text.endswith(b'\n'):
        part, ancillary, _, _ = there.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 200))
        for level, kind, data in ancillary:
            numbers += array.array('i', data)
        if not part:
            raise SystemExit('gone')
        text += part
    return json.loads(text), numbers
def say(value):
    there.sendall(json.dumps(value).encode() + b'\n')
estate, numbers = hear()
say({'ready': True, 'pid': os.getpid(), 'version': 'none', 'addresses': []})
hear()
steps = struct.pack('HBBI', 0x06, 0, 0, 0)
code = ctypes.create_string_buffer(steps)
for told, number in zip(estate['sockets'], numbers):
    if told['for'] in ('implicit', 'explicit'):
        program = struct.pack('HL', 1, ctypes.addressof(code))
        socket.socket(fileno=os.dup(number)).setsockopt(socket.SOL_SOCKET, 51, program)
os._exit(7)
"#;

/// What it has done to the sockets is undone.
#[test]
fn a_process_that_dies_when_it_may_accept_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (server, program) = replaceable(&folder, "[shards]\ncpus = \"0-1\"");
    let mut idle = Client::implicit(&server).login();
    let script = folder.path().join("dies.py");
    fs::write(&script, DIES_AFTER_GO).unwrap();
    let real = fs::read_link(&program).unwrap();
    replace(&program, &format!("exec python3 {}", script.display()));
    ctl(&server, &["upgrade"]).exits(1).says("ended before it was ready, with exit status: 7");
    assert_eq!(status(&server)["pid"], server.pid());
    idle.expect("NOOP", 200);
    serves(&server);
    // By the kernel's hash, 40 connections come to both shards: to one alone once in 2^39 times.
    let clients: Vec<_> = (0..40).map(|_| Client::explicit(&server)).collect();
    let sessions = ctl(&server, &["sessions", "--json"]).success();
    // Where too little memory may be locked for two rings of glommio, one shard is started.
    let both = server.log().contains("shards 2 ");
    assert!(both || program::is_on_glommio(), "{}", server.log());
    for shard in ["\"shard\":0,", "\"shard\":1,"].into_iter().take(1 + usize::from(both)) {
        assert!(sessions.count(shard) > 1, "{shard} {}", sessions.out());
    }
    drop(clients);
    // And the next upgrade is as good as the first.
    fs::remove_file(&program).unwrap();
    std::os::unix::fs::symlink(&real, &program).unwrap();
    ctl(&server, &["upgrade"]).success();
    let heir = Heir::of(&server);
    serves(&server);
    drop(idle);
    heir.stop();
}

/// By hand, from the control socket of the configuration; SIGTERM ends the sessions that are left.
#[test]
fn a_server_takes_over_from_one_that_runs() {
    let mut server = Server::builder().toml("[limits]\nshutdown_timeout = \"1h\"").start();
    fs::write(server.root().join("file"), b"content").unwrap();
    let mut idle = Client::implicit(&server).login();
    let mut new = Command::new(program::path());
    new.args(["serve", "--take-over", "--config"]).arg(configuration(&server));
    new.arg("--state-dir").arg(server.scratch().join("state"));
    let mut new = new.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the new process to serve", || status(&server)["pid"] == new.id());
    serves(&server);
    idle.expect("NOOP", 200);
    server.terminate();
    idle.expect_reply(421);
    assert!(server.wait().success());
    serves(&server);
    Heir::of(&server).stop();
    assert!(new.wait().unwrap().success());
}
