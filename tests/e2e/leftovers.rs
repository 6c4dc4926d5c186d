//! What a server that is killed leaves in its users' directories, and who removes it.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::seccomp::without_unnamed_files;
use crate::support::server::{Builder, counter};
use crate::support::{Client, Server, wait_until};

const ALL: [&str; 7] = ["read", "list", "write", "append", "delete", "rename", "mkdir"];

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
        let builder = if unnamed { builder } else { builder.through(&without_unnamed_files()) };
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
        // Told when the walk is over, a moment after the file is gone.
        let told = "removed unfinished uploads of a server that is gone";
        wait_until("the log tells", || server.log().contains(told));
        let log = server.stop();
        assert_eq!(counter(&log, "leftovers_removed"), left as u64, "{log}");
    }
}

/// Two servers have one tree: what the other one is about to store is no leftover, however old.
#[test]
fn what_another_server_is_storing_remains() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    // Too patient to sweep anything here.
    let patient = "[storage]\nleftover_age = \"1h\"";
    let living = with_home(home).toml(patient).through(&without_unnamed_files()).start();
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
