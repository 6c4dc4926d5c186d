//! Downloads by every way a file can be read: from the page cache, from the disk through it, and
//! past it; and what a large one leaves to small ones.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{Advice, fadvise, fstatfs, fsync};
use rustix::net::RecvFlags;
use rustls::CipherSuite;

use crate::content::{bytes, sha256};
use crate::process::first_cpu;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::Stopwatch;
use crate::support::{Client, Listener, Server, Tls, wait_until};

/// Around pages, records and batches; the last takes several reads ahead.
const SIZES: [usize; 9] =
    [0, 1, 4095, 4096, 16_385, 15 * 16_384, 15 * 16_384 + 1, 1_000_003, (9 << 20) + 7];

/// A server that reads what is below `direct` past the page cache.
fn server() -> Server {
    Server::builder().start_with(|scratch| {
        fs::create_dir(scratch.path.join("root/direct")).unwrap();
        let shard = format!("[shards]\ncpus = \"{}\"\n", first_cpu());
        shard + "[[directories]]\npath = \"root/direct\"\ncache = \"direct\""
    })
}

/// Writes a file and has the page cache drop it, where there is a disk below. That is advice, which
/// the kernel has been seen not to take at the first time.
fn write_cold(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    let file = File::open(path).unwrap();
    fsync(&file).unwrap();
    wait_until("the page cache to drop the file", || {
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        !on_disk(path) || resident(path) == 0
    });
}

/// Octets of the file that are in the page cache.
fn resident(path: &Path) -> u64 {
    let mut fincore = Command::new("fincore");
    fincore.args(["--bytes", "--noheadings", "--output", "RES"]).arg(path);
    let output = fincore.output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Whether files are on a disk, so that there is something to wait for.
fn on_disk(directory: &Path) -> bool {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    let kind = fstatfs(File::open(directory).unwrap()).unwrap().f_type;
    kind != TMPFS
}

/// What the log says of the last download of `name`.
fn logged(server: &Server, name: &str) -> String {
    let mut found = None;
    wait_until("the log line of the transfer", || {
        let log = server.log();
        let mut lines = log.lines().filter(|l| l.contains("transfer ended") && l.contains(name));
        found = lines.next_back().map(str::to_owned);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn every_way_of_reading_brings_the_same_octets() {
    let server = server();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    for (index, size) in SIZES.into_iter().enumerate() {
        let content = bytes(size, index as u64);
        fs::write(server.root().join(format!("hot{index}")), &content).unwrap();
        write_cold(&server.root().join(format!("cold{index}")), &content);
        write_cold(&server.root().join(format!("direct/file{index}")), &content);
        for name in [format!("hot{index}"), format!("cold{index}"), format!("direct/file{index}")] {
            for offset in [0, 1, 4099, size / 2, size.saturating_sub(1), size] {
                if offset > size {
                    continue;
                }
                client.expect(format!("REST {offset}"), 350);
                let got = client.retrieve(format!("RETR {name}"));
                let expected = &content[offset..];
                assert_eq!(sha256(&got), sha256(expected), "{name} from {offset} of {size}");
            }
        }
    }
    client.quit();
}

/// The sealing of batches, by version and suite.
#[test]
fn every_suite_seals_what_was_read() {
    let server = server();
    let content = bytes((1 << 20) + 3, 7);
    fs::write(server.root().join("hot"), &content).unwrap();
    write_cold(&server.root().join("direct/file"), &content);
    for (versions, suite) in [
        (TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (TLS13, CipherSuite::TLS13_AES_256_GCM_SHA384),
        (TLS13, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
        (TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        (TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ] {
        let tls: Tls = server.tls().versions(versions).suite(suite);
        let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
        client.expect("TYPE I", 200);
        for name in ["hot", "direct/file"] {
            client.expect("REST 4097", 350);
            let got = client.retrieve(format!("RETR {name}"));
            assert_eq!(sha256(&got), sha256(&content[4097..]), "{name} with {suite:?}");
        }
        client.quit();
    }
}

/// TYPE A: line ends are converted and restart markers count what is sent (RFC 3659 §5.1).
#[test]
fn text_is_converted_however_it_is_read() {
    let server = server();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE A", 200);
    let text: Vec<u8> = (0..40_000).flat_map(|n: u32| format!("line {n}\n").into_bytes()).collect();
    let expected: Vec<u8> =
        text.iter().flat_map(|o| if *o == b'\n' { vec![13, 10] } else { vec![*o] }).collect();
    fs::write(server.root().join("hot"), &text).unwrap();
    write_cold(&server.root().join("cold"), &text);
    write_cold(&server.root().join("direct/file"), &text);
    for name in ["hot", "cold", "direct/file"] {
        for offset in [0, 7, 300_001] {
            client.expect(format!("REST {offset}"), 350);
            let got = client.retrieve(format!("RETR {name}"));
            assert_eq!(sha256(&got), sha256(&expected[offset..]), "{name} from {offset}");
        }
    }
    client.quit();
}

/// A tree that is read past the page cache takes nothing from what is in it; log and counters tell
/// how files were read.
#[test]
fn direct_reads_leave_the_page_cache_alone() {
    let mut server = server();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let content = bytes((4 << 20) + 11, 3);
    let direct = server.root().join("direct/file");
    write_cold(&direct, &content);
    write_cold(&server.root().join("cold"), &content);
    fs::write(server.root().join("hot"), &content).unwrap();
    for name in ["direct/file", "hot", "cold"] {
        assert_eq!(sha256(&client.retrieve(format!("RETR {name}"))), sha256(&content), "{name}");
    }
    if on_disk(&server.root()) {
        assert_eq!(resident(&direct), 0);
        let all = content.len();
        let line = logged(&server, "direct/file");
        assert!(line.contains(&format!("read_direct={all}")), "{line}");
        assert!(!line.contains("read_cached") && !line.contains("read_cold"), "{line}");
        let line = logged(&server, "/hot");
        assert!(line.contains(&format!("read_cached={all}")), "{line}");
        assert!(logged(&server, "/cold").contains("read_cold="));
    }
    client.quit();
    server.terminate();
    server.wait();
    for counter in ["bytes_read_cached=", "bytes_read_direct=", "bytes_read_cold="] {
        assert!(!on_disk(Path::new("/tmp")) || server.log().contains(counter), "{counter}");
    }
}

/// One batch a turn: while a download of a shard runs as fast as the client takes it, a small one
/// is served before many batches have passed. The least of several is compared, so that a test
/// program that had to wait for a CPU does not count.
#[test]
fn a_large_download_lets_small_ones_pass() {
    const LEAST_MAX: u64 = 48 << 20;
    let server = server();
    fs::write(server.root().join("elephant"), bytes(128 << 20, 1)).unwrap();
    fs::write(server.root().join("mouse"), "mouse").unwrap();
    let (moved, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let least = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::implicit(&server).login();
            client.expect("TYPE I", 200);
            let mut sink = vec![0; 1 << 20];
            while !stop.load(Ordering::Relaxed) {
                let data = client.begin("RETR elephant");
                // Nobody reads the records: they are dropped in the kernel.
                loop {
                    let received = rustix::net::recv(data.tcp(), &mut sink[..], RecvFlags::TRUNC);
                    match received.unwrap().1 {
                        0 => break,
                        count => moved.fetch_add(count as u64, Ordering::Relaxed),
                    };
                }
                drop(data);
                client.expect_reply(226);
            }
            client.quit();
        });
        let mut client = Client::implicit(&server).login();
        client.expect("TYPE I", 200);
        wait_until("the elephant", || moved.load(Ordering::Relaxed) > 0);
        let least = (0..20)
            .map(|_| {
                let before = moved.load(Ordering::Relaxed);
                assert_eq!(client.retrieve("RETR mouse"), b"mouse");
                moved.load(Ordering::Relaxed) - before
            })
            .min();
        stop.store(true, Ordering::Relaxed);
        client.quit();
        least.unwrap()
    });
    assert!(least < LEAST_MAX, "{least} octets of the elephant went before each mouse");
}

/// What a restart marker of TYPE A skips is read and counted (RFC 3659 §5.1), in turns like
/// everything else: other sessions of the shard do not wait for all of it. A busy machine may hold
/// up any one round, but a shard that waits would hold up each.
#[test]
fn what_a_marker_skips_stops_nobody() {
    const SIZE: u64 = 512 << 20;
    let config = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder().toml(&config).start();
    let path = server.root().join("big");
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    // Into the page cache: what is read from disk is waited for, and others go on meanwhile.
    std::io::copy(&mut File::open(&path).unwrap(), &mut std::io::sink()).unwrap();
    let mut skipping = Client::implicit(&server).login();
    let mut other = Client::implicit(&server).login();
    skipping.expect("TYPE A", 200);
    let mut stops_nobody = || {
        skipping.expect(format!("REST {}", SIZE - 1), 350);
        let whole = Stopwatch::start();
        let mut data = skipping.begin("RETR big");
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let watch = Stopwatch::start();
            other.expect("NOOP", 200);
            longest = longest.max(watch.elapsed());
        }
        data.fill_with_data().unwrap();
        let whole = whole.elapsed();
        assert_eq!(data.received, [0]);
        assert_eq!(skipping.receive(data), [0]);
        longest < whole / 2
    };
    assert!((0..5).any(|_| stops_nobody()), "in each of five rounds a NOOP waited for it");
}
