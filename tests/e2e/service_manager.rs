//! What systemd is told (`sd_notify(3)`): each message as it arrives at a socket of ours.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::content::bytes;
use crate::metrics::{endpoint, get};
use crate::reload::{ctl, set};
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, Listener, Server, wait_until};
use crate::upgrade::Heir;

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    /// A server that tells us, with a watchdog of this length.
    fn server(&self, watchdog: Option<Duration>, config: &str) -> Server {
        let path = self.folder.path().join("notify");
        let mut builder = Server::builder().toml(config);
        builder = builder.environment("NOTIFY_SOCKET", path.to_str().unwrap());
        if let Some(length) = watchdog {
            builder = builder.environment("WATCHDOG_USEC", &length.as_micros().to_string());
        }
        builder.start()
    }

    /// The next message, its assignments in order.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut message = [0; 1024];
        let count = self.socket.recv(&mut message).expect("a message");
        let text = str::from_utf8(&message[..count]).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// The next message with an assignment that begins like this; that assignment.
    #[track_caller]
    fn next_with(&self, beginning: &str) -> String {
        let watch = Stopwatch::start();
        loop {
            assert!(watch.elapsed() < PATIENCE, "no {beginning}");
            let found = self.next().into_iter().find(|line| line.starts_with(beginning));
            if let Some(line) = found {
                return line;
            }
        }
    }
}

#[test]
fn ready_is_said_when_every_shard_serves() {
    let manager = Manager::new();
    let server = manager.server(None, "");
    assert_eq!(manager.next(), ["READY=1"]);
    for listener in [Listener::Implicit, Listener::Explicit] {
        TcpStream::connect_timeout(&server.address(listener), PATIENCE).unwrap();
    }
    let status = manager.next();
    assert_eq!(status.len(), 1, "no watchdog is wanted: {status:?}");
    assert!(status[0].starts_with("STATUS=") && status[0].ends_with("0 transfers"), "{status:?}");
}

/// Good or bad, by signal or over the control socket: a manager that waits for the end of a reload
/// must not wait for ever.
#[test]
fn a_reload_begins_and_ends() {
    let manager = Manager::new();
    let server = manager.server(None, "");
    manager.next_with("STATUS=");
    let signal: &dyn Fn() = &|| server.signal(Signal::HUP);
    let by_ctl: &dyn Fn() = &|| drop(ctl(&server, &["reload"]));
    let ways = [(signal, false), (by_ctl, false), (signal, true), (by_ctl, true)];
    for (number, (reload, wrong)) in ways.into_iter().enumerate() {
        let value = if wrong { "7" } else { &*format!("\"{number}\"") };
        set(&server, &format!("[policy]\ngreeting = {value}"));
        let before = monotonic_microseconds();
        reload();
        let begin = manager.next();
        assert_eq!(begin[0], "RELOADING=1", "{begin:?}");
        let then = begin[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=monotonic_microseconds()).contains(&then), "{then}");
        assert_eq!(manager.next(), ["READY=1"]);
        let status = manager.next_with("STATUS=");
        assert_eq!(status.contains("the last reload failed"), wrong, "{status}");
    }
}

fn monotonic_microseconds() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1_000
}

/// The manager gives a service that stops some time, and ours asks for more while a transfer runs.
#[test]
fn the_end_is_told_and_asks_for_time() {
    let manager = Manager::new();
    let watchdog = Duration::from_millis(400);
    let config = "[limits]\nshutdown_timeout = \"1h\"\n[metrics]\nlisten = \"127.0.0.1:0\"";
    let mut server = manager.server(Some(watchdog), config);
    let probes = endpoint(&server);
    assert_eq!(get(probes, "/readyz"), (200, "ready\n".to_owned()));
    std::fs::write(server.root().join("file"), bytes(8 << 20, 1)).unwrap();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let mut data = client.begin("RETR file");
    server.terminate();
    manager.next_with("STOPPING=1");
    assert_eq!(get(probes, "/readyz"), (503, "draining\n".to_owned()));
    // The shards without a session are gone soon; none of them is stuck.
    for _ in 0..3 {
        assert_eq!(get(probes, "/healthz"), (200, "ok\n".to_owned()));
    }
    for _ in 0..3 {
        let state = manager.next();
        let is_asked = |words: &str| state.iter().any(|line| line.starts_with(words));
        assert!(is_asked("EXTEND_TIMEOUT_USEC=30000000") && is_asked("WATCHDOG=1"), "{state:?}");
        assert!(state[0].contains("1 sessions, 1 transfers"), "{state:?}");
    }
    assert_eq!(data.read_to_end().0.len(), 8 << 20);
    client.expect_reply(226);
    drop(client);
    assert!(server.wait().success());
}

/// The manager takes it from the process that it knows alone, so that one says who follows it, and
/// nothing more.
#[test]
fn an_upgrade_is_told_by_the_process_that_is_replaced() {
    let manager = Manager::new();
    let mut server = manager.server(Some(Duration::from_secs(30)), "");
    manager.next_with("STATUS=");
    let client = Client::implicit(&server).login();
    ctl(&server, &["upgrade"]).success();
    let heir = Heir::of(&server);
    assert_eq!(manager.next(), [format!("MAINPID={}", heir.number())]);
    assert_eq!(manager.next(), ["READY=1"]);
    let status = manager.next();
    assert!(status[0].contains("0 sessions") && status.contains(&"WATCHDOG=1".to_owned()));
    drop(client);
    assert!(server.wait().success());
    heir.stop();
    assert_eq!(manager.next(), ["STOPPING=1"]);
}

/// Stops one thread of a process, as a shard is that hangs, until its standard input ends.
const STOP_A_THREAD: &str = "
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
SEIZE, INTERRUPT = 0x4206, 0x4207
thread = int(sys.argv[1])
for request in SEIZE, INTERRUPT:
    if ptrace(request, thread, 0, 0) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
print('stopped', flush=True)
sys.stdin.read()
";

/// A shard that hangs is no sign of life, whatever the others do.
#[test]
fn the_watchdog_hears_of_a_shard_that_hangs() {
    let manager = Manager::new();
    let watchdog = Duration::from_millis(200);
    let server = manager.server(Some(watchdog), "[metrics]\nlisten = \"127.0.0.1:0\"");
    let probes = endpoint(&server);
    assert_eq!(get(probes, "/healthz"), (200, "ok\n".to_owned()));
    (0..3).for_each(|_| drop(manager.next_with("WATCHDOG=1")));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let is_shard = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "shard-0")
    };
    let shard = tasks.map(|task| task.unwrap().path()).find(is_shard).unwrap();
    let mut tracer = Command::new("python3");
    tracer.args(["-c", STOP_A_THREAD]).arg(shard.file_name().unwrap());
    tracer.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut tracer = tracer.spawn().unwrap();
    let mut line = [0; 8];
    std::io::Read::read_exact(tracer.stdout.as_mut().unwrap(), &mut line).expect("a tracer");
    assert_eq!(&line, b"stopped\n");
    wait_until("no sign of life", || {
        let state = manager.next();
        let silent = state[0].contains("(1 of them do not answer)");
        assert!(!(silent && state.contains(&"WATCHDOG=1".to_owned())), "{state:?}");
        silent
    });
    assert_eq!(get(probes, "/healthz"), (503, "shard 0 does not answer\n".to_owned()));
    assert_eq!(get(probes, "/readyz"), (200, "ready\n".to_owned()));
    drop(tracer.stdin.take());
    assert!(tracer.wait().unwrap().success());
    manager.next_with("WATCHDOG=1");
}
