//! A directory of a million entries: every one listed once, in memory that does not depend on them.

use std::fs;
use std::path::Path;

use crate::process::resident_most_kib;
use crate::support::{Client, Server};

const FEW: usize = 100_000;
const MANY: usize = 1_000_000;

/// What the many may take beyond the few: what the allocator keeps for helper threads that have not
/// listed before. The text of MLSD alone is six times as much.
const GROWTH_KIB_MAX: u64 = 12 * 1024;

/// Names of one file each, as links: no filesystem at hand allows more than 65,000 of one.
const LINKS: usize = 50_000;

fn fill(directory: &Path, entries: usize) {
    fs::create_dir(directory).unwrap();
    for number in 0..entries {
        let name = directory.join(format!("entry-{number:07}"));
        let first = directory.join(format!("entry-{:07}", number - number % LINKS));
        if name == first {
            fs::write(&name, "content").unwrap();
        } else {
            fs::hard_link(&first, &name).unwrap();
        }
    }
}

/// Panics unless each of the entries is there once.
#[track_caller]
fn check(lines: &[u8], entries: usize, what: &str) {
    let mut seen = vec![false; entries];
    for line in lines.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
        let line = std::str::from_utf8(line).unwrap();
        // "." and ".." of MLSD.
        let Some((_, number)) = line.trim_end().rsplit_once("entry-") else { continue };
        let number: usize = number.parse().unwrap();
        assert!(!std::mem::replace(&mut seen[number], true), "{what}: {line} again");
    }
    let missing = seen.iter().filter(|seen| !**seen).count();
    assert_eq!(missing, 0, "{what}: entries missing");
}

#[test]
fn a_million_entries_in_bounded_memory() {
    let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let home = format!("home = {:?}", memory.path());
    let server = Server::builder().user("crowd", &["list"], &home).start();
    let mut client = Client::implicit(&server).login_as("crowd");
    client.expect("PBSZ 0", 200);
    client.expect("PROT P", 200);
    client.private = true;
    let mut most = Vec::new();
    for (directory, entries) in [("few", FEW), ("many", MANY)] {
        fill(&memory.path().join(directory), entries);
        for command in ["MLSD", "LIST", "NLST"] {
            let listing = client.retrieve(format!("{command} {directory}"));
            check(&listing, entries, command);
        }
        most.push(resident_most_kib(server.pid()));
    }
    client.quit();
    assert!(most[1].saturating_sub(most[0]) < GROWTH_KIB_MAX, "KiB at most: {most:?}");
}

/// A client that reads as fast as the directory is read never lets a write wait; ABOR ends its
/// listing all the same.
#[test]
fn abor_ends_a_listing_that_never_waits() {
    let server = Server::start();
    for number in 0..20_000 {
        fs::write(server.root().join(format!("a-file-with-a-long-name-{number}")), "").unwrap();
    }
    let mut client = Client::implicit(&server).login();
    let mut data = client.begin("MLSD");
    data.fill_with_data().unwrap();
    let reading = std::thread::spawn(move || data.read_to_end());
    client.send("ABOR");
    client.expect_reply(426);
    client.expect_reply(226);
    reading.join().unwrap();
}
