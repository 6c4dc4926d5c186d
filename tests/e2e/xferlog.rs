//! `log.xferlog`: a line for each file, in the form of wu-ftpd, whatever clients call their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::reload::{ctl, set};
use crate::run::{DEADLINE, run};
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Server, wait_until};

/// Whatever the level of the other log is.
fn server() -> (Server, PathBuf) {
    let config = "[log]\nlevel = \"off\"\nxferlog = \"xferlog.log\"";
    let server = Server::builder().anonymous().toml(config).start();
    let path = server.scratch().join("xferlog.log");
    (server, path)
}

/// A line as xferlog(5) says it, in its own words.
#[derive(Debug, PartialEq)]
struct Entry {
    time: String,
    seconds: u64,
    host: String,
    size: u64,
    name: String,
    /// Type, action flag, direction, access mode.
    flags: String,
    user: String,
    /// Service, authentication, its user, completion.
    end: String,
}

/// The time has five words, all else one.
#[track_caller]
fn parse(line: &str) -> Entry {
    let (time, rest) = line.split_at(24);
    let words: Vec<_> = rest.strip_prefix(' ').expect(line).split(' ').collect();
    let [seconds, host, size, name, kind, action, direction, access, user, end @ ..] = &words[..]
    else {
        panic!("{line:?}");
    };
    assert_eq!(end.len(), 4, "{line:?}");
    Entry {
        time: time.to_owned(),
        seconds: seconds.parse().unwrap(),
        host: (*host).to_owned(),
        size: size.parse().unwrap(),
        name: (*name).to_owned(),
        flags: [*kind, *action, *direction, *access].concat(),
        user: (*user).to_owned(),
        end: end.join(" "),
    }
}

/// All of them, once there are `count`.
#[track_caller]
fn entries(path: &Path, count: usize) -> Vec<Entry> {
    let text = || fs::read_to_string(path).unwrap_or_default();
    wait_until("lines", || text().lines().count() >= count);
    let text = text();
    assert!(text.ends_with('\n') && text.lines().count() == count, "{text}");
    text.lines().map(parse).collect()
}

/// Size, name, flags and completion of each.
fn told(entries: &[Entry]) -> Vec<(u64, &str, &str, &str)> {
    let told = |entry: &Entry| {
        assert!(entry.host == "127.0.0.1" && (1..60).contains(&entry.seconds), "{entry:?}");
        assert!(entry.time.starts_with(|day: char| day.is_ascii_uppercase()), "{entry:?}");
    };
    entries.iter().for_each(told);
    entries
        .iter()
        .map(|Entry { size, name, flags, end, .. }| (*size, &**name, &**flags, &**end))
        .collect()
}

const COMPLETE: &str = "ftp 0 * c";
const INCOMPLETE: &str = "ftp 0 * i";

#[test]
fn each_file_has_a_line() {
    let (server, path) = server();
    for (round, listener) in BOTH_LISTENERS.into_iter().enumerate() {
        let mut client = Client::open(&server, listener).login();
        client.expect("TYPE I", 200);
        client.store("STOR one", b"12345");
        client.retrieve("RETR one");
        client.list("MLSD");
        client.refused("RETR absent", 550);
        client.expect("TYPE A", 200);
        client.store("APPE one", b"67\r\n");
        client.expect("TYPE I", 200);
        client.store_and_abort("STOR cut", b"123");
        // Storage chooses the name.
        client.store("STOU one", b"unique");
        client.quit();
        let mut anonymous = Client::open(&server, listener).login_as("anonymous");
        anonymous.expect("TYPE I", 200);
        anonymous.retrieve("RETR one");
        anonymous.quit();
        let all = entries(&path, (round + 1) * 6);
        let all = &all[round * 6..];
        let told = told(all);
        assert_eq!(
            told[..4],
            [
                (5, "/one", "b_ir", COMPLETE),
                (5, "/one", "b_or", COMPLETE),
                (4, "/one", "a_ir", COMPLETE),
                (3, "/cut", "b_ir", INCOMPLETE),
            ]
        );
        let unique = told[4].1.to_owned();
        assert_ne!(unique, "/one");
        assert!(server.root().join(unique.trim_start_matches('/')).exists(), "{unique}");
        assert_eq!(told[5], (8, "/one", "b_oa", COMPLETE));
        let users: Vec<_> = all.iter().map(|entry| &*entry.user).collect();
        assert_eq!(users, ["alice", "alice", "alice", "alice", "alice", "anonymous"]);
        fs::remove_file(server.root().join("one")).unwrap();
    }
    assert!(!server.log().contains("transfer"), "{}", server.log());
}

#[test]
fn no_name_makes_a_line_or_a_field() {
    let (server, path) = server();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let forged = b"a\nSat Nov 28 04:00:00 2026 1 192.0.2.66 5 x b _ o r root ftp 0 * c";
    let names: [(&[u8], &str); 5] = [
        (b"a b", "/a_b"),
        (forged, "/a_Sat_Nov_28_04:00:00_2026_1_192.0.2.66_5_x_b___o_r_root_ftp_0_*_c"),
        ("gr\u{fc}n \u{65e5}".as_bytes(), "/gr\u{fc}n_\u{65e5}"),
        ("b\u{a0}\u{2028}\u{202e}\u{85}c".as_bytes(), "/b____c"),
        (b"\xff\x1b[2J\x7f\t", "/__[2J__"),
    ];
    for (name, _) in names {
        client.store([b"STOR ", name].concat(), b"1");
    }
    client.quit();
    let all = entries(&path, names.len());
    let shown: Vec<_> = all.iter().map(|entry| &*entry.name).collect();
    assert_eq!(shown, names.map(|(_, shown)| shown));
}

/// As the other log: it is opened again, and a reload may take it away, or give it another name.
#[test]
fn it_is_moved_away_and_nothing_is_lost() {
    let (server, path) = server();
    let upload = || {
        let mut client = Client::implicit(&server).login();
        client.store("STOR file", b"1");
        client.quit();
    };
    let ways: [&dyn Fn(); 2] =
        [&|| drop(ctl(&server, &["reopen"]).success().says("xferlog.log")), &|| {
            server.signal(Signal::HUP)
        }];
    for (number, tell) in ways.into_iter().enumerate() {
        let moved = path.with_extension(number.to_string());
        upload();
        entries(&path, 1);
        fs::rename(&path, &moved).unwrap();
        upload();
        entries(&moved, 2);
        tell();
        wait_until("the new file", || path.exists());
    }
    upload();
    entries(&path, 1);
    set(&server, "[log]\nxferlog = \"other.log\"");
    ctl(&server, &["reload"]).success().says("log.xferlog");
    upload();
    entries(&server.scratch().join("other.log"), 1);
    entries(&path, 1);
}

/// A program of Debian's package, which `tests/run` has unpacked.
fn awstats() -> Command {
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let target = || directory("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let peers = directory("PEERS_DIR").unwrap_or_else(|| target().join("peers"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(peers);
    let path = path.join("awstats/usr/lib/cgi-bin/awstats.pl");
    assert!(path.exists(), "{} is missing: run benches/peers/install awstats", path.display());
    let mut command = Command::new("perl");
    command.arg(path);
    command
}

/// The shipped file, with the names of here.
#[test]
fn a_real_awstats_reads_it() {
    let (server, path) = server();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    client.store("STOR a b", b"12345");
    client.retrieve("RETR a b");
    client.store("STOR gr\u{fc}n\nx", b"123");
    client.quit();
    entries(&path, 3);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/files/awstats.ringftpd.conf");
    let scratch = server.scratch().display().to_string();
    let here = fs::read_to_string(shipped).unwrap().replace("/var/log/ringftpd", &scratch);
    let here = here.replace("/var/lib/awstats", &scratch);
    fs::write(server.scratch().join("awstats.ringftpd.conf"), here).unwrap();
    let mut command = awstats();
    command.args(["-config=ringftpd", "-update"]).arg(format!("-configdir={scratch}"));
    command.env("AWSTATS_ENABLE_CONFIG_DIR", "1");
    let said = run(&mut command, DEADLINE).success();
    said.says("Found 0 corrupted records").says("Found 3 new qualified records");
    let files = fs::read_dir(server.scratch()).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    let [found] = &found[..] else { panic!("{found:?}") };
    let found = fs::read_to_string(found).unwrap();
    for line in ["/a_b 2 10 ", "/gr\u{fc}n_x 1 3 ", "alice 3 3 13 "] {
        assert!(found.lines().any(|row| row.starts_with(line)), "{line:?} in {found}");
    }
}
