//! One command, much work: what one user asks for in 64 sessions leaves the others their turn, and
//! ends when it is not wanted any more. How long the others wait on a quiet machine is a question
//! for `benches/peers/beside`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::process::{first_cpu, open_files_below};
use crate::support::server::counter;
use crate::support::wait::{PATIENCE, Stopwatch, wait_until};
use crate::support::{Client, Server};

const SESSIONS: usize = 64;

/// Larger than any disk here; all of it is a hole.
const HUGE: u64 = 8 << 40;

/// Everybody on one shard.
fn start() -> Server {
    let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
    let config = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder().user("carol", &all, "").toml(&config).start();
    server.directory("carol");
    server
}

/// A file that is one hole, as long as the file system allows up to `octets`.
fn sparse(path: &Path, octets: u64) -> u64 {
    let file = fs::File::create(path).unwrap();
    let sizes = std::iter::successors(Some(octets), |size| Some(size / 2));
    let set = sizes.take(4).find(|&size| file.set_len(size).is_ok());
    set.expect("a file of 1 TiB")
}

/// Alice in many sessions that have sent `line`.
fn crowd(server: &Server, line: &str) -> Vec<Client> {
    (0..SESSIONS)
        .map(|_| {
            let mut client = Client::implicit(server).login();
            client.send(line);
            client
        })
        .collect()
}

/// Carol logs in and works.
#[track_caller]
fn others_go_on(server: &Server) {
    let watch = Stopwatch::start();
    let mut carol = Client::implicit(server).login_as("carol");
    carol.expect("CWD carol", 250);
    for _ in 0..20 {
        carol.expect("MKD d", 257);
        carol.expect("RMD d", 250);
    }
    carol.quit();
    assert!(watch.elapsed() < PATIENCE / 2, "held up: {:?}", watch.elapsed());
}

/// Digests of 8 TiB take hours: ABOR ends one, and a client that is gone, and the end of the
/// server.
#[test]
fn digests_of_huge_files() {
    let server = start();
    sparse(&server.root().join("huge"), HUGE);
    let mut crowd = crowd(&server, "HASH huge");
    others_go_on(&server);
    for client in crowd.iter_mut().take(SESSIONS / 2) {
        client.send("ABOR");
        client.expect_reply(451);
        client.expect_reply(226);
        client.expect("NOOP", 200);
    }
    // Gone with a reset, and without QUIT.
    for client in crowd.drain(..SESSIONS / 4) {
        client.wire.reset();
    }
    crowd.drain(..SESSIONS / 4).for_each(drop);
    others_go_on(&server);
    // The others are stopped when the time is up.
    let log = server.stop();
    assert!(!log.contains("left behind"), "{log}");
}

/// SIZE in TYPE A reads the file: piece by piece, in turn, and no further after ABOR.
#[test]
fn sizes_of_texts() {
    let server = start();
    let line = b"a line of text\n";
    let text = line.repeat((16 << 20) / line.len());
    let size = text.len() + text.len() / line.len();
    fs::write(server.root().join("text"), &text).unwrap();
    let mut crowd = crowd(&server, "SIZE text");
    let mut last = Client::implicit(&server).login();
    last.send_bytes(b"SIZE text\r\nABOR\r\nNOOP\r\n");
    others_go_on(&server);
    assert_eq!(last.expect_reply(451).text(), "Command aborted.");
    last.expect_reply(226);
    last.expect_reply(200);
    for client in crowd.drain(..SESSIONS / 2) {
        client.wire.reset();
    }
    for client in &mut crowd {
        assert_eq!(client.expect_reply(213).text(), size.to_string());
    }
}

/// An announcement reserves a part of it at a time, and what cannot be had is refused at once.
#[test]
fn announcements_of_all_there_is() {
    let server = start();
    let mut alice = Client::implicit(&server).login().within(&server, "alice");
    let free: u64 = alice.expect("AVBL /", 213).text().parse().unwrap();
    alice.expect(format!("ALLO {}", free + (1 << 40)), 200);
    alice.epsv();
    alice.expect("STOR too-much", 452);
    let mut uploads: Vec<_> = (0..4)
        .map(|number| {
            let mut client = Client::implicit(&server).login().within(&server, "alice");
            client.expect(format!("ALLO {}", free / 2), 200);
            let mut data = client.begin(format!("STOR {number}"));
            data.send(b"some").unwrap();
            (client, data)
        })
        .collect();
    wait_until("all to be open", || open_files_below(server.pid(), &server.root()).len() >= 4);
    let reserved = reserved_by(server.pid(), &server.root());
    assert!(reserved <= 4 * (64 << 20) + (1 << 20), "{reserved} octets are taken");
    others_go_on(&server);
    // Given back when a session ends, by QUIT or without.
    let (mut client, data) = uploads.pop().unwrap();
    client.send("ABOR");
    client.expect_reply(426);
    client.expect_reply(226);
    drop(data);
    for (client, data) in uploads.drain(..2) {
        client.wire.reset();
        data.reset();
    }
    let (mut client, data) = uploads.pop().unwrap();
    client.deliver(data, b" more");
    wait_until("everything to be given back", || reserved_by(server.pid(), &server.root()) == 0);
    let kept = |number: &str| server.root().join("alice").join(number).exists();
    assert_eq!(["0", "1", "2", "3"].map(kept), [false, false, true, false]);
}

/// Octets that the files open in the server take on their disk.
fn reserved_by(pid: u32, root: &Path) -> u64 {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let target = fs::read_link(&path).ok()?;
            let file = fs::metadata(&path).ok()?;
            (target.starts_with(root) && file.is_file()).then(|| file.blocks() * 512)
        })
        .sum()
}

/// What lies before a restart marker is copied, but for holes; the copy ends with the transfer.
#[test]
fn restarts_far_into_sparse_files() {
    let server = start();
    let size = sparse(&server.root().join("huge"), HUGE / 8);
    let watch = Stopwatch::start();
    let mut crowd: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let mut client = Client::implicit(&server).login();
            client.expect("TYPE I", 200);
            client.expect(format!("REST {}", size - (1 << 20)), 350);
            client.epsv();
            client.send("STOR huge");
            client
        })
        .collect();
    others_go_on(&server);
    for client in &mut crowd {
        // Its prefix is there at once.
        client.expect_reply(150);
    }
    assert!(watch.elapsed() < PATIENCE, "copied: {:?}", watch.elapsed());
    let taken = reserved_by(server.pid(), &server.root());
    assert!(taken < 64 << 20, "{taken} octets of holes");
    for mut client in crowd.drain(..SESSIONS / 2) {
        client.send("ABOR");
        client.expect_reply(426);
        client.expect_reply(226);
    }
    crowd.into_iter().for_each(|client| client.wire.reset());
    others_go_on(&server);
}

/// Listings of large directories, to clients that read them and to clients that do not.
#[test]
fn listings_of_large_directories() {
    let server = start();
    let directory = server.directory("many");
    for number in 0..20_000 {
        fs::File::create(directory.join(format!("{number:06}"))).unwrap();
    }
    let mut crowd: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let mut client = Client::implicit(&server).login();
            let data = client.begin("LIST many");
            (client, data)
        })
        .collect();
    others_go_on(&server);
    // STAT's is refused for its size, not read to its end.
    let mut stat = Client::implicit(&server).login();
    stat.expect("STAT many", 550);
    for (mut client, data) in crowd.drain(..SESSIONS / 2) {
        client.send("ABOR");
        // All of it may have gone into the socket.
        let code = client.reply().code;
        assert!(matches!(code, 226 | 426), "{code}");
        client.expect_reply(226);
        drop(data);
    }
    for (client, data) in crowd.drain(..SESSIONS / 4) {
        client.wire.reset();
        data.reset();
    }
    for (mut client, data) in crowd.drain(..2) {
        assert!(client.receive(data).len() > 20_000 * 60);
    }
    others_go_on(&server);
    drop(crowd);
    let log = server.stop();
    assert!(counter(&log, "downloads") >= 2, "{log}");
}
