//! Downloads in the clear by sendfile(2): every octet and no other, whatever the file and the
//! client do meanwhile. The same questions are asked of the kernel's TLS in `tests/ktls`.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use socket2::SockRef;

use crate::content::{bytes, sha256, write};
use crate::support::client::Client;
use crate::support::server::counter;
use crate::support::wait::pause;
use crate::support::{End, Listener, Server, Wire, wait_until};

const MIB: usize = 1 << 20;

/// Sizes around one block, one chunk, and the size from which sendfile is worth its calls.
const SIZES: [usize; 10] =
    [0, 1, 65_535, 65_536, 65_537, 262_144, MIB - 1, MIB, MIB + 1, 3 * MIB + 17];

fn start() -> Server {
    Server::builder().toml("[policy]\nrequire_data_tls = false").start()
}

/// Logged in, TYPE I, PROT C.
fn clear(server: &Server) -> Client {
    let mut client = Client::open(server, Listener::Explicit).login();
    client.expect("TYPE I", 200);
    client.expect("PROT C", 200);
    client.private = false;
    client
}

/// A data connection that takes little at a time.
fn narrow(client: &mut Client) -> Wire {
    let data = client.passive();
    SockRef::from(data.tcp()).set_recv_buffer_size(16 * 1024).unwrap();
    data
}

/// How many transfers have gone this way, after the server has ended.
#[track_caller]
fn check_paths(server: Server, expected: &[(&str, usize)]) {
    let log = server.stop();
    for (path, count) in expected {
        let found = log.matches(&format!("data_path=\"{path}\"")).count();
        assert_eq!(found, *count, "{path}:\n{log}");
        let counter = format!("transfers_{path}={count}");
        assert!(*count == 0 || log.contains(&counter), "{counter}:\n{log}");
    }
}

#[test]
fn every_octet_from_every_restart_marker() {
    let server = start();
    let mut client = clear(&server);
    for size in SIZES {
        let content = bytes(size, 7);
        fs::write(server.root().join("file"), &content).unwrap();
        for offset in [0, 1, 4_095, 4_096, 16_385, size / 2, size] {
            if offset > size {
                continue;
            }
            client.expect(format!("REST {offset}"), 350);
            assert!(client.retrieve("RETR file") == content[offset..], "{size} from {offset}");
        }
    }
    client.quit();
}

/// The way is chosen by protection, type and size, and the log and the counters say which.
#[test]
fn the_log_names_the_path() {
    let server = start();
    write(&server.root().join("large"), MIB, 1);
    write(&server.root().join("small"), 1000, 1);
    let mut client = clear(&server);
    client.retrieve("RETR large");
    client.retrieve("RETR small");
    client.store("STOR new", b"content");
    client.retrieve("NLST");
    client.expect("TYPE A", 200);
    client.retrieve("RETR large");
    client.quit();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    client.retrieve("RETR small");
    client.store("STOR new", b"content");
    client.quit();
    check_paths(server, &[("sendfile", 1), ("blocks", 2), ("text", 2), ("records", 2)]);
}

/// A reader that pauses fills the socket again and again.
#[test]
fn a_slow_reader() {
    let server = start();
    let hash = write(&server.root().join("file"), 6 * MIB + 3, 3);
    let mut client = clear(&server);
    let mut data = narrow(&mut client);
    client.expect("RETR file", 150);
    let mut received = Vec::new();
    while data.fill().is_ok() {
        received.append(&mut data.received);
        if received.len() % 31 == 0 {
            pause(Duration::from_millis(1));
        }
    }
    client.expect_reply(226);
    assert_eq!(sha256(&received), hash);
    client.quit();
    drop(data);
    // An operator sees that the client was the slower one, and how much it took at a time.
    let log = server.stop();
    let (sends, waits) = (counter(&log, "download_sends"), counter(&log, "download_waits"));
    assert!(waits > 0 && sends > 6, "{sends} sends and {waits} waits: {log}");
}

/// Offsets beyond 32 bits, and holes, which the page cache does not have: those go through reads,
/// and the octets at their end through sendfile again.
#[test]
fn sparse_and_larger_than_4_gib() {
    let server = start();
    let content = bytes(2 * MIB, 5);
    let mut file = File::create(server.root().join("file")).unwrap();
    let end = (4_u64 << 30) + 12_345;
    file.seek(SeekFrom::Start(end)).unwrap();
    file.write_all(&content).unwrap();
    let mut client = clear(&server);
    client.expect(format!("REST {}", end - 3_000_000), 350);
    let received = client.retrieve("RETR file");
    assert_eq!(received.len(), 3_000_000 + content.len());
    assert!(received[..3_000_000].iter().all(|&octet| octet == 0));
    assert!(received[3_000_000..] == content[..]);
    client.quit();
    let log = server.stop();
    assert!(log.contains("sendfile_cold_reads="), "{log}");
}

/// What the disk has and the page cache has not is read by a helper thread, not by the shard.
#[test]
fn a_cold_file() {
    let server = start();
    let path = server.root().join("file");
    let hash = write(&path, 5 * MIB + 11, 9);
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    // Only advice: where it is not taken the file stays hot, and the octets are right all the same.
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut client = clear(&server);
    assert_eq!(sha256(&client.retrieve("RETR file")), hash);
    client.quit();
}

/// A file that becomes shorter while it is sent is not a complete one: 451, and under TLS no
/// close_notify.
#[test]
fn a_file_cut_while_it_is_sent() {
    let server = start();
    let path = server.root().join("file");
    for private in [false, true] {
        let content = bytes(32 * MIB, 11);
        fs::write(&path, &content).unwrap();
        let mut client = clear(&server);
        if private {
            client.expect("PROT P", 200);
            client.private = true;
        }
        let mut data = narrow(&mut client);
        client.expect("RETR file", 150);
        client.secure(&mut data);
        data.fill().unwrap();
        // The server cannot be past what the sockets hold.
        File::options().write(true).open(&path).unwrap().set_len(20 * MIB as u64).unwrap();
        let (received, end) = data.read_to_end();
        assert_ne!(end, End::CloseNotify);
        client.expect_reply(451);
        assert!(received.len() <= 20 * MIB, "{}", received.len());
        assert!(received == content[..received.len()]);
        client.quit();
    }
}

/// A file that grows is sent to its end, as a reader would find it.
#[test]
fn a_file_that_grows_while_it_is_sent() {
    let server = start();
    let path = server.root().join("file");
    let content = bytes(24 * MIB, 13);
    fs::write(&path, &content[..20 * MIB]).unwrap();
    let mut client = clear(&server);
    let mut data = narrow(&mut client);
    client.expect("RETR file", 150);
    data.fill().unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&content[20 * MIB..], 20 * MIB as u64).unwrap();
    assert!(client.receive(data) == content);
    client.quit();
}

/// ABOR, and a client that goes away: the transfer ends, the session and the server go on.
#[test]
fn ended_in_the_middle() {
    let server = start();
    write(&server.root().join("file"), 32 * MIB, 15);
    let mut client = clear(&server);
    let mut data = narrow(&mut client);
    client.expect("RETR file", 150);
    data.fill().unwrap();
    client.expect("ABOR", 426);
    client.expect_reply(226);
    let (rest, end) = data.read_to_end();
    assert!(rest.len() < 32 * MIB && end != End::Timeout, "{} {end:?}", rest.len());
    let mut data = narrow(&mut client);
    client.expect("RETR file", 150);
    data.fill().unwrap();
    data.reset();
    client.expect_reply(426);
    assert_eq!(client.retrieve("RETR file").len(), 32 * MIB);
    client.quit();
}

/// A client that takes nothing is cut off at the stall deadline, though the kernel does the work.
#[test]
fn a_reader_that_has_stopped() {
    let limits = "[policy]\nrequire_data_tls = false\n[limits]\nstall_timeout = \"1s\"";
    let server = Server::builder().toml(limits).start();
    write(&server.root().join("file"), 32 * MIB, 17);
    let mut client = clear(&server);
    let mut data = narrow(&mut client);
    client.expect("RETR file", 150);
    data.fill().unwrap();
    client.expect_reply(426);
    client.quit();
    wait_until("the log says why", || server.log().contains("end=\"stalled\""));
}
