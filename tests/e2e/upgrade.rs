//! Another process takes the place of a running server: nobody notices, and when it cannot, nothing
//! has changed.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::content::bytes;
use crate::metrics::{endpoint, scrape};
use crate::process::first_cpu;
use crate::reload::{configuration, ctl, greeting, set};
use crate::support::ports::free_ports;
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Listener, Server, Wire, program, wait_until};

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

/// The old process is no root any more, and what only root may read comes from who asks for the
/// upgrade.
#[test]
fn root_upgrades_a_server_that_has_given_root_up() {
    if !geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("ringftpd");
    let passable = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o711)).unwrap();
    };
    passable(folder.path());
    // Where that user may execute it.
    let script = "cp \"$0\" \"$PROGRAM\"; exec \"$PROGRAM\" \"$@\"";
    let mut server = Server::builder()
        .toml("[process]\nuser = \"65534:65534\"")
        .environment("PROGRAM", program.to_str().unwrap())
        .through(&["sh", "-c", script])
        .start_with(|scratch| {
            passable(scratch.path);
            String::new()
        });
    fs::write(server.root().join("file"), b"content").unwrap();
    let users = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(users(server.pid()), ["65534"; 4]);
    let mut idle = Client::implicit(&server).login();
    set(&server, "[policy]\ngreeting = \"the second\"");
    let mode = fs::metadata(configuration(&server)).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "the configuration is for root alone");
    ctl(&server, &["upgrade"]).success();
    let heir = Heir::of(&server);
    assert_ne!(heir.number(), server.pid());
    assert_eq!(users(heir.number()), ["65534"; 4]);
    assert_eq!(greeting(&server), "the second");
    serves(&server);
    idle.expect("NOOP", 200);
    idle.quit();
    assert!(server.wait().success());
    // And once more, from a process that never was root.
    ctl(&server, &["upgrade"]).success();
    let last = Heir::of(&server);
    assert_ne!(last.number(), heir.number());
    wait_until("the end of the second process", || heir.is_gone());
    serves(&server);
    last.stop();
}

/// Both processes give out ports of one narrow range: none of them twice, and each transfer is its
/// session's.
#[test]
fn two_processes_share_a_narrow_passive_range() {
    share_a_range(&first_cpu().to_string(), 8);
}

/// The same where ports move between shards, which find some of them with the other process.
#[test]
fn two_processes_of_two_shards_share_a_passive_range() {
    share_a_range("0-1", 12);
}

fn share_a_range(cpus: &str, ports: u16) {
    let first = free_ports(&[Ipv4Addr::LOCALHOST.into()], ports);
    let range = first..first + ports;
    let config = format!(
        "[limits]\nshutdown_timeout = \"30s\"\n[passive]\nports = \"{first}-{}\"\n\
         [shards]\ncpus = \"{cpus}\"\nsteering = \"source\"",
        range.end - 1
    );
    let mut server = Server::builder().toml(&config).start();
    let content = |number: u64| bytes(8 << 20, number);
    for number in 0..8 {
        fs::write(server.root().join(format!("f{number}")), content(number)).unwrap();
    }
    let log_in = || {
        let mut client = Client::implicit(&server).login();
        client.expect("TYPE I", 200);
        client
    };
    // Of the old process: two transfers that wait for their clients, and two ports that wait.
    let mut moving: Vec<_> = (0..2)
        .map(|number| {
            let mut client = log_in();
            let data = client.begin(format!("RETR f{number}"));
            (client, data, number)
        })
        .collect();
    let mut waiting: Vec<_> = (2..4)
        .map(|number| {
            let mut client = log_in();
            let address = client.epsv();
            (client, address, number)
        })
        .collect();
    ctl(&server, &["upgrade"]).success();
    let heir = Heir::of(&server);
    // Of the new one: as many as it gets.
    let mut new = Vec::new();
    let mut refused = log_in();
    for number in 4..8 {
        let mut client = log_in();
        let address = client.epsv();
        new.push((client, address, number));
    }
    let mut ports: Vec<_> =
        waiting.iter().chain(&new).map(|(_, address, _)| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 6, "a port was given out twice: {ports:?}");
    assert!(ports.iter().all(|port| range.contains(port)), "{ports:?}");
    for (client, address, number) in new.iter_mut().chain(&mut waiting).rev() {
        let mut data = Wire::connect(*address);
        client.expect(format!("RETR f{number}"), 150);
        client.secure(&mut data);
        assert!(client.receive(data) == content(*number), "f{number} differs");
    }
    for (mut client, data, number) in moving.drain(..) {
        assert!(client.receive(data) == content(number), "f{number} differs");
        client.quit();
    }
    // The range is there for the new process alone in the end.
    waiting.into_iter().chain(new).for_each(|(client, ..)| client.quit());
    assert!(server.wait().success());
    assert!(refused.retrieve("RETR f0") == content(0));
    refused.quit();
    heir.stop();
}

/// Where connections come to is decided by the same rule in the new process, with fewer shards and
/// with more.
#[test]
fn steering_outlasts_upgrades() {
    let both = "[shards]\ncpus = \"0-1\"";
    let one = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder()
        .toml("[shards]\ncpus = \"0-1\"\nsteering = \"source\"\n[limits]\nsessions_per_ip = 2")
        .start();
    fs::write(server.root().join("file"), b"content").unwrap();
    let mut heirs: Vec<Heir> = Vec::new();
    for (round, change) in ["", &one, both].into_iter().enumerate() {
        if !change.is_empty() {
            set(&server, change);
        }
        ctl(&server, &["upgrade"]).success();
        heirs.push(Heir::of(&server));
        // The limit is exact only if all connections of an address come to one shard.
        for number in 1..=8 {
            let source = IpAddr::from([127, 0, 20 + u8::try_from(round).unwrap(), number]);
            let replies = [220, 220, 421].map(|expected| {
                let wire = Wire::connect_from(source, server.address(Listener::Explicit));
                let mut client = Client::from_wire(&server, Listener::Explicit, wire);
                assert_eq!(client.reply().code, expected, "{source} after upgrade {round}");
                client
            });
            drop(replies);
        }
    }
    heirs.pop().unwrap().stop();
}

/// A connection comes to the shard of the CPU that its first segment came to: on the loopback
/// device, the client's.
#[test]
fn steering_by_cpu_outlasts_an_upgrade() {
    let server = Server::builder().toml("[shards]\ncpus = \"0-1\"\nsteering = \"cpu\"").start();
    let come = || {
        for cpu in [0, 1] {
            let clients = std::thread::scope(|scope| {
                let connect = || {
                    let mut cpus = rustix::thread::CpuSet::new();
                    cpus.set(cpu);
                    rustix::thread::sched_setaffinity(None, &cpus).unwrap();
                    (0..6).map(|_| Client::explicit(&server)).collect::<Vec<_>>()
                };
                scope.spawn(connect).join().unwrap()
            });
            let listed = ctl(&server, &["sessions", "--json"]).success();
            let here = listed.count(&format!("\"shard\":{cpu},"));
            let both = server.log().contains("shards 2 ");
            assert!(here == clients.len() || !both, "CPU {cpu}: {listed}");
            drop(clients);
            wait_until("the end of the sessions", || status(&server)["sessions"] == 0);
        }
    };
    come();
    ctl(&server, &["upgrade"]).success();
    let heir = Heir::of(&server);
    come();
    heir.stop();
}
