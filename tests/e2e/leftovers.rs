//! What a server that is killed leaves in its users' directories, and who removes it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ringftpd::vfs::Boot;
use rustix::process::Signal;

use crate::hung::{Hung, alone};
use crate::process::first_cpu;
use crate::seccomp::{without_locks, without_unnamed_files};
use crate::support::server::{Builder, counter};
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, Server, wait_until};

const ALL: [&str; 7] = ["read", "list", "write", "append", "delete", "rename", "mkdir"];

/// Has the log tell of each walk through the homes, with [`WALKED`].
const TELLING: &str = "[log]\nlevel = \"debug\"";
const WALKED: &str = "swept the homes for leftovers";

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

/// Where files can neither be locked nor be without a name, nothing tells a leftover from what
/// another server stores: for a week it stays, and its directory with it, unless its name tells
/// that it was made before this machine's last boot. Uploads are whole all the same; to append to a
/// file is refused, for two could not be told apart.
#[test]
fn without_locks_nothing_young_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    fs::create_dir(home.join("directory")).unwrap();
    let leftover = home.join("directory/.ringftpd-00000001.part");
    fs::write(&leftover, "left").unwrap();
    // Of this boot, of an earlier one, and of another machine.
    let own = Boot::current().map(|boot| boot.to_string());
    let own = own.as_deref().unwrap_or("0123456789abcdef");
    let [this, earlier, other] = [own, &flipped(own, 8..16), &flipped(own, 0..8)]
        .map(|boot| home.join("directory").join(format!(".ringftpd-00000001-{boot}.part")));
    for name in [&this, &earlier, &other] {
        fs::write(name, "left").unwrap();
    }
    fs::write(home.join("old"), "old").unwrap();
    let server = with_home(home).toml(TELLING).through(&without_locks()).start();
    let mut client = log_in(&server);
    for upload in ["STOR new", "STOR old", "STOU", "APPE added"] {
        client.store(upload, b"whole");
    }
    assert_eq!(fs::read(home.join("old")).unwrap(), b"whole");
    assert_eq!(hidden(home), 0);
    client.epsv();
    assert_eq!(client.expect("APPE old", 550).text(), "Not available for this file.");
    // Cut: here the server itself removes what it made.
    let mut data = client.begin("STOR cut");
    data.send(b"a part").unwrap();
    assert_eq!(hidden(home), 1);
    if Boot::current().is_some() {
        let names = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name());
        let mark = format!("-{own}.part");
        assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(&mark)).count(), 1);
    }
    data.reset();
    client.expect_reply(426);
    assert_eq!(hidden(home), 0);
    // The second walk finds what was there at the start old enough.
    wait_until("two walks", || server.log().matches(WALKED).count() >= 2);
    assert!(leftover.exists() && this.exists() && other.exists());
    // A machine without an id does not know its boots.
    let removed = u64::from(Boot::current().is_some());
    assert_eq!(earlier.exists(), removed == 0);
    client.expect("RMD directory", 450);
    client.quit();
    let log = server.stop();
    assert_eq!(counter(&log, "leftovers_removed"), removed);
}

/// With other digits at these places.
fn flipped(digits: &str, places: std::ops::Range<usize>) -> String {
    let flip = |(place, digit)| match digit {
        _ if !places.contains(&place) => digit,
        '0' => '1',
        _ => '0',
    };
    digits.chars().enumerate().map(flip).collect()
}

/// The walk through a home that does not answer: everybody else works, also at long work, and the
/// end comes in time.
#[test]
fn a_walk_that_hangs_holds_up_nobody() {
    if !rustix::process::geteuid().is_root() {
        return alone("leftovers::a_walk_that_hangs_holds_up_nobody");
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let config = format!(
        "{TELLING}\n[shards]\ncpus = \"{}\"\n[limits]\nshutdown_timeout = \"1s\"",
        first_cpu()
    );
    let mut server = with_home(home).toml(&config).user("dave", &ALL, "").start();
    wait_until("the first walk", || server.log().contains(WALKED));
    let hung = Hung::mount(home);
    wait_until("a walk that hangs", || {
        server.signal(Signal::USR1);
        let log = server.log();
        let (_, now) = log.rsplit_once("now=\"").unwrap_or_default();
        now.contains("file_work_running=1") && now.contains("helper_work_oldest_seconds=")
    });
    let watch = Stopwatch::start();
    for _ in 0..3 {
        let mut dave = Client::implicit(&server).login_as("dave");
        dave.expect("MKD d", 257);
        dave.store("STOR d/f", b"content");
        assert!(dave.expect("HASH d/f", 213).text().contains("SHA-256"));
        dave.expect("TYPE A", 200);
        dave.expect("SIZE d/f", 213);
        dave.expect("DELE d/f", 250);
        dave.expect("RMD d", 250);
        dave.quit();
    }
    assert!(watch.elapsed() < PATIENCE / 2, "held up: {:?}", watch.elapsed());
    let watch = Stopwatch::start();
    server.terminate();
    assert!(server.wait().success());
    assert!(watch.elapsed() < Duration::from_secs(1 + 6 + 2), "{:?}", watch.elapsed());
    drop(hung);
}
