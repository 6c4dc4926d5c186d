//! What a server that is killed leaves in its users' directories, and who removes it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::support::server::{Builder, counter};
use crate::support::{Client, Server, wait_until};

const ALL: [&str; 7] = ["read", "list", "write", "append", "delete", "rename", "mkdir"];

/// Installs a seccomp filter that refuses unnamed files (openat with `O_TMPFILE`), as file systems
/// without them do, and becomes the program it is given.
const NO_UNNAMED: &str = r#"
import ctypes, os, platform, struct, sys
openat = {"x86_64": 257, "aarch64": 56}[platform.machine()]
program = [
    struct.pack("HBBI", 0x20, 0, 0, 0),
    struct.pack("HBBI", 0x15, 0, 3, openat),
    struct.pack("HBBI", 0x20, 0, 0, 32),
    struct.pack("HBBI", 0x45, 0, 1, 0x400000),
    struct.pack("HBBI", 0x06, 0, 0, 0x50000 | 95),
    struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000),
]
code = ctypes.create_string_buffer(b"".join(program))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(program), ctypes.addressof(code))), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// A server whose user carol sees `home`.
fn with_home(home: &Path) -> Builder {
    let sweeping = "[storage]\nleftover_age = \"1s\"";
    Server::builder().toml(sweeping).user("carol", &ALL, &format!("home = {home:?}"))
}

fn log_in(server: &Server) -> Client {
    Client::implicit(server).login_as("carol")
}

/// Reserved names in `directory`.
fn hidden(directory: &Path) -> usize {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".ringftpd-")).count()
}

/// Killed in the middle of uploads, with unnamed files and without: the next server removes what is
/// left, and counts it; a file of the user's with a similar name is the user's.
#[test]
fn what_a_killed_server_left_is_removed() {
    for (unnamed, commands, left) in
        [(true, ["STOU", "STOR new", "STOR old"], 1), (false, ["STOU", "STOR new", "STOR old"], 3)]
    {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir_all(home.join("deep/er")).unwrap();
        fs::write(home.join("deep/er/old"), "old").unwrap();
        fs::write(home.join("deep/.ringftpd-0123456.part"), "the user's").unwrap();
        let builder = with_home(&home);
        let builder =
            if unnamed { builder } else { builder.through(&["python3", "-c", NO_UNNAMED]) };
        let mut killed = builder.start();
        let uploads: Vec<_> = commands
            .iter()
            .map(|command| {
                let mut client = log_in(&killed);
                client.expect("CWD deep/er", 250);
                let mut data = client.begin(command);
                data.send(&[b'x'; 4096]).unwrap();
                (client, data)
            })
            .collect();
        killed.signal(Signal::KILL);
        assert!(!killed.wait().success());
        drop(uploads);
        assert_eq!(hidden(&home.join("deep/er")), left, "unnamed files: {unnamed}");

        let server = with_home(&home).start();
        wait_until("the leftovers are gone", || hidden(&home.join("deep/er")) == 0);
        assert_eq!(fs::read(home.join("deep/er/old")).unwrap(), b"old");
        assert!(home.join("deep/.ringftpd-0123456.part").exists());
        let log = server.stop();
        assert_eq!(counter(&log, "leftovers_removed"), left as u64, "{log}");
        assert!(log.contains("removed unfinished uploads of a server that is gone"), "{log}");
    }
}

/// Two servers have one tree: what the other one is about to store is no leftover, however old.
#[test]
fn what_another_server_is_storing_remains() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    // Too patient to sweep anything here.
    let patient = "[storage]\nleftover_age = \"1h\"";
    let living = with_home(home).toml(patient).through(&["python3", "-c", NO_UNNAMED]).start();
    let uploads: Vec<_> = ["STOU", "STOR new"]
        .iter()
        .map(|command| {
            let mut client = log_in(&living);
            let data = client.begin(command);
            (client, data)
        })
        .collect();
    // Made after them: when this one is old enough, so are they.
    fs::write(home.join(".ringftpd-00000001.part"), "left").unwrap();
    let other = with_home(home).start();
    wait_until("the leftover is gone", || !home.join(".ringftpd-00000001.part").exists());
    assert_eq!(hidden(home), 2);
    for (mut client, data) in uploads {
        client.deliver(data, b"whole");
    }
    assert_eq!(fs::read(home.join("new")).unwrap(), b"whole");
    other.stop();
    living.stop();
}
