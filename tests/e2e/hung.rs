//! A file system that stops answering: what is asked of it waits, and nothing else does.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::first_cpu;
use crate::support::wait::{PATIENCE, Stopwatch, wait_until};
use crate::support::{Client, Server};
use rustix::process::Signal;

/// Mounts a FUSE file system on the directory it is given, answers what the kernel asks at the
/// mount and nothing after that, until its input ends.
const HUNG: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
at = sys.argv[1].encode()
device = os.open("/dev/fuse", os.O_RDWR)
options = b"fd=%d,rootmode=40755,user_id=%d,group_id=%d" % (device, os.getuid(), os.getgid())
if libc.mount(b"hung", at, b"fuse", 0, options):
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
unique, = struct.unpack_from("<Q", os.read(device, 1 << 20), 8)
body = struct.pack("<IIIIHHIII", 7, 31, 65536, 0, 12, 10, 65536, 1, 0) + bytes(28)
os.write(device, struct.pack("<IiQ", 16 + len(body), 0, unique) + body)
print("hung", flush=True)
sys.stdin.read()
libc.umount2(at, 2)
"#;

/// The mount, until it is dropped.
pub(crate) struct Hung(Child);

impl Hung {
    /// Mounts it on a directory.
    pub(crate) fn mount(at: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", HUNG])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 4];
        child.stdout.as_mut().unwrap().read_exact(&mut said).expect("no FUSE here");
        Self(child)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Each kind of request, from one user in many sessions; the other user logs in and works. SIGTERM
/// ends the process in time, and the log says what hangs.
#[test]
fn a_hung_file_system_stops_nobody_else() {
    if !rustix::process::geteuid().is_root() {
        return alone("hung::a_hung_file_system_stops_nobody_else");
    }
    let all = ["read", "list", "write", "delete", "mkdir", "rename", "append"];
    let config =
        format!("[shards]\ncpus = \"{}\"\n[limits]\nshutdown_timeout = \"1s\"", first_cpu());
    let mut server = Server::builder().user("carol", &all, "").toml(&config).start();
    fs::create_dir(server.root().join("mount")).unwrap();
    fs::write(server.root().join("f"), "content").unwrap();
    let hung = Hung::mount(&server.root().join("mount"));

    let requests = ["LIST mount", "RETR mount/f", "STOR mount/g", "MLSD mount", "NLST mount/d"];
    let mut stuck: Vec<_> = requests
        .iter()
        .map(|request| {
            let mut client = Client::implicit(&server).login();
            client.epsv();
            client.send(request);
            client
        })
        .collect();
    for request in [
        "MKD mount/d",
        "DELE mount/f",
        "SIZE mount/f",
        "MDTM mount/f",
        "MLST mount/f",
        "RMD mount/d",
        "AVBL mount",
        "CWD mount/d",
        "STAT mount",
    ] {
        let mut client = Client::implicit(&server).login();
        client.send(request);
        stuck.push(client);
    }
    // Gone, and their work with them or not: their places are others'.
    for _ in 0..10 {
        let mut client = Client::implicit(&server).login();
        client.send("MKD mount/e");
    }

    let watch = Stopwatch::start();
    for _ in 0..3 {
        let mut client = Client::implicit(&server).login_as("carol");
        client.expect("TYPE I", 200);
        client.expect("MKD d", 257);
        assert_eq!(client.retrieve("RETR f"), b"content");
        client.store("STOR g", b"more");
        assert!(client.list("MLSD d").len() >= 2);
        client.expect("DELE g", 250);
        client.expect("RMD d", 250);
        client.quit();
    }
    assert!(watch.elapsed() < PATIENCE / 2, "held up: {:?}", watch.elapsed());

    server.signal(Signal::USR1);
    wait_until("the oldest work is told", || age_of_oldest_work(&server).is_some());
    let watch = Stopwatch::start();
    server.terminate();
    assert!(server.wait().success());
    // The timeout, and the grace of those who do not end.
    assert!(watch.elapsed() < Duration::from_secs(1 + 6 + 2), "{:?}", watch.elapsed());
    assert!(server.log().contains("a file system does not answer"));
    drop(hung);
}

/// As the log told it last.
fn age_of_oldest_work(server: &Server) -> Option<Duration> {
    let log = server.log();
    let (_, told) = log.rsplit_once("helper_work_oldest_seconds=")?;
    // In seconds, as on the page.
    let age = Duration::from_secs_f64(told.split(['"', ' ']).next()?.parse().ok()?);
    assert!(age < PATIENCE, "{age:?}");
    Some(age)
}

/// Runs the test named `test` in a mount namespace of its own, where everybody may mount.
pub(crate) fn alone(test: &str) {
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
}
