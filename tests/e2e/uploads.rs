//! Uploads octet by octet: every suite and size, records of every shape, keys that change on the
//! way, connections that break inside a record, and storage that is full.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use rustls::CipherSuite;

use crate::content::{bytes, sha256, tree};
use crate::process::open_files_below;
use crate::run::{DEADLINE, run, run_with_input};
use crate::support::server::{BOTH_LISTENERS, Builder, counter};
use crate::support::tls::{TLS12, TLS13};
use crate::support::wait::pause;
use crate::support::{Client, End, Listener, Server, wait_until};

const SUITES: [CipherSuite; 6] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// Around one record and one block, and many blocks.
const SIZES: [usize; 10] =
    [0, 1, 16_383, 16_384, 16_385, 262_143, 262_144, 262_145, 4 * 245_760, 5 << 20];

/// The root on a disk, and another user's home in memory, where blocks are written at once.
struct Site {
    server: Server,
    memory: Option<tempfile::TempDir>,
}

impl Site {
    fn start(builder: Builder) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").ok();
        let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
        let builder = match &memory {
            Some(home) => builder.user("mem", &all, &format!("home = {:?}", home.path())),
            None => builder,
        };
        Self { server: builder.start(), memory }
    }

    /// Users and their homes.
    fn homes(&self) -> Vec<(&'static str, std::path::PathBuf)> {
        let memory = self.memory.iter().map(|home| ("mem", home.path().to_owned()));
        std::iter::once(("alice", self.server.root())).chain(memory).collect()
    }
}

/// Clear data connections allowed.
fn clear() -> Builder {
    Server::builder().toml("[policy]\nrequire_data_tls = false")
}

/// TYPE I, and PROT P or C.
#[track_caller]
fn log_in(server: &Server, user: &str, private: bool) -> Client {
    let mut client = Client::implicit(server).login_as(user);
    client.expect("TYPE I", 200);
    client.expect(if private { "PROT P" } else { "PROT C" }, 200);
    client.private = private;
    client
}

#[track_caller]
fn check_stored(home: &Path, expected: &[u8], what: &str) {
    let stored = fs::read(home.join("f")).unwrap();
    // Not assert_eq: nobody wants to read 5 MiB twice.
    assert!(stored == expected, "{what}: {} of {} octets", stored.len(), expected.len());
}

#[test]
fn every_suite_and_size() {
    let site = Site::start(clear());
    for (user, home) in site.homes() {
        for suite in SUITES {
            let tls = site.server.tls().suite(suite);
            let mut client = Client::open_with(&site.server, Listener::Implicit, tls);
            client = client.login_as(user);
            client.expect("TYPE I", 200);
            for size in SIZES {
                let content = bytes(size, 3);
                client.store("STOR f", &content);
                check_stored(&home, &content, &format!("{user} {suite:?} {size}"));
            }
            client.quit();
        }
        let mut client = log_in(&site.server, user, false);
        for size in SIZES {
            let content = bytes(size, 4);
            client.store("STOR f", &content);
            check_stored(&home, &content, &format!("{user} in clear {size}"));
        }
        client.quit();
    }
    let Site { server, memory } = site;
    let log = server.stop();
    assert!(log.contains("blocks_written_behind="), "{log}");
    if memory.is_some() {
        assert!(log.contains("blocks_written_inline="), "{log}");
        assert!(log.contains("storage=\"inline\""), "{log}");
    }
}

/// A CR may be the last octet of a record, of a block and of the text \[TYPE-05, TYPE-06\].
#[test]
fn text_across_records_and_blocks() {
    let site = Site::start(clear());
    let line = b"a line\r\nwith\rlone\nends\r\n\r\n";
    for (user, home) in site.homes() {
        let mut client = Client::implicit(&site.server).login_as(user);
        client.expect("TYPE A", 200);
        for private in [true, false] {
            client.expect(if private { "PROT P" } else { "PROT C" }, 200);
            client.private = private;
            for shift in [0, 1, 2, 7, 8] {
                let mut text = vec![b'x'; shift];
                text.extend(line.iter().cycle().take(600_000));
                text.push(b'\r');
                client.store("STOR f", &text);
                let mut expected = Vec::new();
                let mut rest = &text[..];
                while let Some((&first, more)) = rest.split_first() {
                    rest = more;
                    if first != b'\r' || more.first() != Some(&b'\n') {
                        expected.push(first);
                    }
                }
                check_stored(&home, &expected, &format!("{user} {private} {shift}"));
            }
        }
        client.quit();
    }
}

/// Records of odd sizes, some thousands of a single octet, in one write and one by one.
#[test]
fn records_of_any_size() {
    let server = Server::start();
    for listener in BOTH_LISTENERS {
        let mut client = Client::open(&server, listener).login();
        client.expect("TYPE I", 200);
        let content = bytes(400_000, 5);
        let mut data = client.begin("STOR f");
        let mut rest = &content[..];
        let mut wire = Vec::new();
        let sizes = [1, 2, 16_384, 3, 4_095, 1, 12_289, 777, 1, 16_383];
        for size in std::iter::repeat_n(1, 30_000).chain(sizes.into_iter().cycle()) {
            let piece;
            (piece, rest) = rest.split_at(size.min(rest.len()));
            wire.extend(data.seal(piece));
            if rest.is_empty() {
                break;
            }
            if wire.len() > 100_000 {
                data.send_raw(&std::mem::take(&mut wire)).unwrap();
            }
        }
        data.send_raw(&wire).unwrap();
        data.finish();
        client.expect_reply(226);
        check_stored(&server.root(), &content, "odd records");
        client.quit();
    }
}

/// A client that sends nothing but records of one octet, as fast as it can, keeps nobody waiting.
#[test]
fn a_flood_of_small_records_stops_nobody() {
    let cpu = crate::process::first_cpu();
    let server = Server::builder().toml(&format!("[shards]\ncpus = \"{cpu}\"")).start();
    let mut flooding = Client::implicit(&server).login();
    let mut other = Client::implicit(&server).login();
    flooding.expect("TYPE I", 200);
    let mut data = flooding.begin("STOR f");
    let flood = std::thread::spawn(move || {
        let content = bytes(300_000, 6);
        for piece in content.chunks(5_000) {
            let records: Vec<u8> = piece.iter().flat_map(|octet| data.seal(&[*octet])).collect();
            data.send_raw(&records).unwrap();
        }
        data.finish();
        content
    });
    let mut answered = 0;
    while !flood.is_finished() {
        other.expect("NOOP", 200);
        answered += 1;
    }
    assert!(answered > 3, "{answered} answers during the flood");
    flooding.expect_reply(226);
    check_stored(&server.root(), &flood.join().unwrap(), "flood");
    other.quit();
    flooding.quit();
}

/// More uploads at a time than the shard has blocks for: the others go on with small ones.
#[test]
fn past_the_end_of_the_pool() {
    let cpu = crate::process::first_cpu();
    let server = Server::builder().toml(&format!("[shards]\ncpus = \"{cpu}\"")).start();
    // Two blocks each, and a shard has 256.
    let mut holding: Vec<_> = (0..130)
        .map(|number| {
            let mut client = Client::implicit(&server).login();
            client.expect("TYPE I", 200);
            let mut data = client.begin(format!("STOR held{number}"));
            data.send(&bytes(100, number)).unwrap();
            (client, data)
        })
        .collect();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    for size in SIZES {
        let content = bytes(size, 15);
        client.store("STOR f", &content);
        check_stored(&server.root(), &content, &format!("{size} in small blocks"));
    }
    client.quit();
    for (number, (client, data)) in (0..).zip(&mut holding) {
        data.finish();
        client.expect_reply(226);
        let stored = fs::read(server.root().join(format!("held{number}"))).unwrap();
        assert_eq!(stored, bytes(100, number));
    }
}

/// The client changes its keys in the middle (RFC 8446 §4.6.3), many times.
#[test]
fn keys_change_on_the_way() {
    let server = Server::start();
    let tls = server.tls().suite(CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
    client.expect("TYPE I", 200);
    let content = bytes(3 << 20, 7);
    let mut data = client.begin("STOR f");
    for piece in content.chunks(100_001) {
        data.update_keys();
        data.send(piece).unwrap();
    }
    data.finish();
    client.expect_reply(226);
    check_stored(&server.root(), &content, "with new keys");
    client.quit();
}

/// A client that was fast and no longer is, or that waits for an answer to its close_notify with
/// the connection open, is not kept waiting for octets that will not come; and trickling is no
/// stalling \[BG-04\].
#[test]
fn a_fast_client_may_become_slow() {
    let limits = "[limits]\nstall_timeout = \"1s\"\n[policy]\nrequire_data_tls = false";
    let site = Site::start(Server::builder().toml(limits));
    let content = bytes((16 << 20) + 6, 12);
    let (fast, slow) = content.split_at(16 << 20);
    for (user, home) in site.homes() {
        for private in [true, false] {
            let mut client = log_in(&site.server, user, private);
            let mut data = client.begin("STOR f");
            data.send(fast).unwrap();
            for octet in slow {
                pause(Duration::from_millis(400));
                data.send(&[*octet]).unwrap();
            }
            if private {
                data.close_notify().unwrap();
                client.expect_reply(226);
            }
            data.finish();
            if !private {
                client.expect_reply(226);
            }
            check_stored(&home, &content, user);
            client.quit();
        }
    }
    let raised = counter(&site.server.stop(), "uploads_waited_by_block");
    assert!(raised > 0, "16 MiB at once were never fast");
}

/// Full blocks are kept for one long write only as long as the client keeps sending: what it has
/// sent before a pause is stored during it. APPE in place shows what is.
#[test]
fn what_came_before_a_pause_is_stored_in_it() {
    let site = Site::start(clear());
    // Three blocks and a part of one; a long write is four.
    let content = bytes(3 * 262_144 + 1000, 31);
    let blocks = 3 * 240_000;
    for (user, home) in site.homes() {
        for private in [true, false] {
            let mut client = log_in(&site.server, user, private);
            fs::write(home.join("f"), "begin").unwrap();
            let mut data = client.begin("APPE f");
            data.send(&content).unwrap();
            wait_until("the blocks in storage", || {
                fs::metadata(home.join("f")).unwrap().len() >= blocks
            });
            client.deliver(data, b"end");
            let whole = [b"begin", &content[..], b"end"].concat();
            check_stored(&home, &whole, &format!("{user}, private: {private}"));
            client.quit();
        }
    }
}

/// A client that hides the length of what it sends: zeros follow the content type inside each
/// record (RFC 8446 §5.4), and none of them is content.
#[test]
fn padding_is_no_content() {
    let server = Server::start();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let text: String = (0..40_000).map(|number| format!("line {number}\n")).collect();
    // The last is the most that RFC 8446 §5.2 allows.
    for block in [1000_u16, 4096, 16_384] {
        // What is sealed is filled up to a multiple of the block, and the tag has 16 octets.
        let [high, low] = (block + 16).to_be_bytes();
        let header = format!("17 03 03 {high:02x} {low:02x}");
        let block = &block.to_string();
        for content in [&text[..7], &text] {
            let address = client.epsv().to_string();
            client.expect("STOR f", 150);
            let mut openssl = Command::new("openssl");
            openssl.args(["s_client", "-connect", &address, "-tls1_3", "-nocommands", "-msg"]);
            openssl.args(["-no_ign_eof", "-verify_return_error", "-record_padding", block]);
            openssl.arg("-CAfile").arg(server.authority_pem());
            let sent = run_with_input(&mut openssl, content.as_bytes().to_vec(), DEADLINE);
            client.expect_reply(226);
            check_stored(&server.root(), content.as_bytes(), block);
            assert!(sent.count(&header) > 0, "no padded record: {sent}");
        }
    }
    client.quit();
}

/// FIN anywhere but behind close_notify is no end: not inside a record's header, not inside its
/// body, not after blocks that are stored already \[DTLS-03\].
#[test]
fn truncation_inside_a_record() {
    let server = Server::start();
    let mut client = Client::implicit(&server).login();
    // A transfer that fails brings no ticket in place of the one it has used.
    client.data_tls = client.tls.clone().no_resumption();
    client.expect("TYPE I", 200);
    for before in [0, 10, 1 << 20] {
        for cut in [1, 4, 5, 20, 9_000] {
            let mut data = client.begin("STOR f");
            data.send(&bytes(before, 8)).unwrap();
            let record = data.seal(&bytes(10_000, 9));
            data.send_raw(&record[..cut]).unwrap();
            data.fin();
            client.expect_reply(426);
            wait_until("no file open for an upload", || {
                open_files_below(server.pid(), &server.root()).is_empty()
            });
            assert!(tree(&server.root()).is_empty(), "{before} {cut}");
        }
        // The same with a damaged record, and what came before it kept out as well.
        let mut data = client.begin("STOR f");
        let _ = data.send(&bytes(before, 8));
        let mut record = data.seal(b"damaged");
        *record.last_mut().unwrap() ^= 1;
        let _ = data.send_raw(&record);
        let refusal = client.reply();
        assert!((400..600).contains(&refusal.code), "{refusal:?}");
        assert!(tree(&server.root()).is_empty(), "damaged after {before}");
    }
    client.quit();
}

/// A full disk is an error and never 226, however much was received by then, and nothing is left
/// of the upload \[XFER-04\].
#[test]
fn a_full_disk_is_never_a_success() {
    let site = Site::start(clear());
    let limit = Rlimit { current: Some(1 << 20), maximum: None };
    let pid = Pid::from_raw(site.server.pid().try_into().unwrap());
    prlimit(pid, Resource::Fsize, limit).unwrap();
    for (user, home) in site.homes() {
        for private in [true, false] {
            let mut client = log_in(&site.server, user, private);
            for size in [(1 << 20) + 1, 3 << 20, 16 << 20] {
                let mut data = client.begin("STOR f");
                // All of it is taken: a reset would hide the reply.
                data.send(&bytes(size, 10)).unwrap();
                data.finish();
                client.expect_reply(552);
                assert!(tree(&home).is_empty(), "{user} {private} {size}");
            }
            client.store("STOR f", &bytes(1 << 20, 11));
            check_stored(&home, &bytes(1 << 20, 11), "what fits");
            fs::remove_file(home.join("f")).unwrap();
            client.quit();
        }
    }
}

/// Names the tmpfs of 4 MiB on which [`a_filesystem_runs_full`] finds itself when it has started
/// itself again.
const SMALL: &str = "RINGFTPD_TEST_SMALL_FILESYSTEM";

/// The same with a filesystem that really is full: in a mount namespace of its own, where the test
/// starts itself again and the server with it \[XFER-04\].
#[test]
fn a_filesystem_runs_full() {
    if let Some(home) = std::env::var_os(SMALL) {
        return fill(Path::new(&home));
    }
    let home = tempfile::tempdir().unwrap();
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(home.path()).arg(std::env::current_exe().unwrap()).env(SMALL, home.path());
        run(&mut command, DEADLINE)
    };
    const MOUNT: &str = "mount -t tmpfs -o size=4m tmpfs \"$1\"";
    let mounted = private(&format!("{MOUNT} && echo mounted"));
    if mounted.count("mounted") == 0 {
        return println!("skipped: no private mount namespace here: {mounted}");
    }
    let test = "uploads::a_filesystem_runs_full --exact --nocapture";
    private(&format!("{MOUNT} && exec \"$2\" {test}")).success().says("1 passed");
}

fn fill(home: &Path) {
    let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
    let server = clear().user("carol", &all, &format!("home = {home:?}")).start();
    fs::write(home.join("old"), "old").unwrap();
    let free = || rustix::fs::statvfs(home).unwrap().f_bfree;
    let before = free();
    for private in [true, false] {
        let mut client = log_in(&server, "carol", private);
        for command in ["STOR new", "STOR old", "STOU", "APPE old", "REST 1"] {
            let command = match command {
                "REST 1" => {
                    client.expect(command, 350);
                    "STOR old"
                }
                command => command,
            };
            let mut data = client.begin(command);
            data.send(&bytes(8 << 20, 10)).unwrap();
            data.finish();
            client.expect_reply(552);
            assert_eq!(tree(home).len(), 1, "{command}: {:?}", tree(home));
            assert_eq!(fs::read(home.join("old")).unwrap(), b"old", "{command}");
            assert_eq!(free(), before, "{command}: something is left");
        }
        client.store("STOR new", &bytes(3 << 20, 11));
        assert!(fs::read(home.join("new")).unwrap() == bytes(3 << 20, 11), "what fits");
        client.expect("DELE new", 250);
        client.quit();
    }
    // What curl makes of it: it looks for a reply only when everything is sent.
    let upload = server.scratch().join("upload");
    fs::write(&upload, bytes(24 << 20, 12)).unwrap();
    for options in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--ftp-ssl-control"]] {
        let mut curl = Command::new("curl");
        curl.args(["-q", "-sS", "--noproxy", "*", "--ssl-reqd", "--user", "carol:secret"])
            .args(options)
            .arg("--cacert");
        curl.arg(server.authority_pem()).arg("-T").arg(&upload);
        curl.arg(format!("ftp://{}/new", server.address(Listener::Explicit)));
        run(&mut curl, DEADLINE).exits(CURL_REMOTE_DISK_FULL);
        assert_eq!(tree(home).len(), 1, "{options:?}: {:?}", tree(home));
    }
    assert_eq!(counter(&server.stop(), "transfers_failed"), 13);
}

/// A data connection that policy refuses is refused in words, however much is sent on it.
#[test]
fn an_upload_that_does_not_resume_is_told_so() {
    let server = Server::builder().toml("[tls]\ndata_resumption = \"require\"").start();
    for versions in [TLS12, TLS13] {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
        client.data_tls = client.data_tls.clone().fresh();
        client.expect("TYPE I", 200);
        let mut data = client.begin("STOR f");
        data.send(&bytes(8 << 20, 15)).unwrap();
        assert_eq!(data.finish(), End::CloseNotify);
        client.expect_reply(522);
        assert!(tree(&server.root()).is_empty());
        client.quit();
    }
}

/// curl's exit status for 452 and 552.
const CURL_REMOTE_DISK_FULL: i32 = 70;

/// Behind ABOR, too, what was still sent is dropped, and the connection ends by FIN; a client that
/// goes on sending is cut when it begins its next transfer, or leaves.
#[test]
fn the_rest_of_a_refused_upload() {
    let server = clear().toml("[policy]\nlax_upload_eof = false").start();
    for private in [true, false] {
        let mut client = log_in(&server, "alice", private);
        let mut data = client.begin("STOR f");
        data.send(&bytes(100_000, 13)).unwrap();
        client.expect("ABOR", 426);
        client.expect_reply(226);
        data.send(&bytes(100_000, 14)).unwrap();
        let end = data.read_to_end().1;
        assert_eq!(end, if private { End::CloseNotify } else { End::Fin });

        let next = client.begin("STOR f");
        wait_until("the connection of the transfer before is closed", || {
            data.send(b"more").is_err()
        });
        client.deliver(next, b"content");
        client.quit();
    }
}

/// ALLO of more than there is: refused before anything is sent, and nothing is reserved on the way
/// \[INFO-09\]. What was reserved and not used is given back.
#[test]
fn announced_sizes() {
    use std::os::unix::fs::MetadataExt;
    let site = Site::start(Server::builder());
    for (user, home) in site.homes() {
        let mut client = Client::implicit(&site.server).login_as(user);
        client.expect("TYPE I", 200);
        // 8 TiB: below the largest file of ext4, above what test machines have free.
        let free = rustix::fs::statvfs(&home).unwrap();
        if free.f_bavail * free.f_frsize < 8 << 40 {
            assert!((200..300).contains(&client.cmd("ALLO 8796093022208").code));
            client.refused("STOR f", 452);
        }
        assert!((200..300).contains(&client.cmd("ALLO 8388608").code));
        client.store("STOR f", b"much less");
        let stat = fs::metadata(home.join("f")).unwrap();
        assert_eq!(stat.len(), 9);
        assert!(stat.blocks() * 512 < 1 << 20, "{user}: {} blocks kept", stat.blocks());
        fs::remove_file(home.join("f")).unwrap();
        client.quit();
    }
    let log = site.server.stop();
    assert!(log.contains("bytes_preallocated="), "{log}");
}

/// ABOR while blocks are on their way to storage.
#[test]
fn aborted_on_the_way_to_storage() {
    let server = Server::start();
    let mut client = Client::implicit(&server).login();
    // A transfer that fails brings no ticket in place of the one it has used.
    client.data_tls = client.tls.clone().no_resumption();
    client.expect("TYPE I", 200);
    for _ in 0..20 {
        let mut data = client.begin("STOR f");
        data.send(&bytes(2 << 20, 12)).unwrap();
        client.expect("ABOR", 426);
        client.expect_reply(226);
        assert!(tree(&server.root()).is_empty());
    }
    client.quit();
}

/// Digests made on the way to storage: equal to those computed afterwards, kept across a restart
/// and a new modification time, and forgotten when the file changes \[FILE-14\].
#[test]
fn digests_are_kept_with_the_file() {
    let home = tempfile::tempdir().unwrap();
    let keeps = keeps_attributes(home.path());
    let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
    let start = || {
        let hashing = Server::builder().toml("[storage]\nhash_uploads = [\"SHA-256\", \"MD5\"]");
        hashing.user("carol", &all, &format!("home = {:?}", home.path())).start()
    };
    let open = |server: &Server| {
        let mut client = Client::implicit(server).login_as("carol");
        client.expect("TYPE I", 200);
        client.expect("OPTS MLST X.hash;", 200);
        client
    };
    let file = home.path().join("f");
    let server = start();
    let mut client = open(&server);
    let content = bytes(3_000_001, 13);
    client.store("STOR f", &content);
    check_digests(&mut client, &content, keeps);
    client.expect("MFMT 20010909014640 f", 213);
    check_digests(&mut client, &content, keeps);
    client.expect("RNFR f", 350);
    client.expect("RNTO g", 250);
    client.expect("RNFR g", 350);
    client.expect("RNTO f", 250);
    check_digests(&mut client, &content, keeps);
    client.quit();
    assert_eq!(hits(server), if keeps { 6 } else { 0 });

    // Known to the next server as well, until the file changes from outside, in the same size.
    let server = start();
    let mut client = open(&server);
    check_digests(&mut client, &content, keeps);
    let other = bytes(content.len(), 14);
    fs::write(&file, &other).unwrap();
    check_digests(&mut client, &other, false);
    // What begins with octets that did not go by here has no digest of the whole.
    client.store("STOR f", b"begin");
    client.store("APPE f", b"ning");
    check_digests(&mut client, b"beginning", false);
    client.expect("REST 2", 350);
    client.store("STOR f", b"tter");
    check_digests(&mut client, b"better", false);
    client.store("STOR f", b"");
    check_digests(&mut client, b"", keeps);
    client.expect("TYPE A", 200);
    client.store("STOR f", b"a\r\nb\r");
    client.expect("TYPE I", 200);
    check_digests(&mut client, b"a\nb\r", keeps);
    client.quit();
    assert_eq!(hits(server), if keeps { 6 } else { 0 });
}

/// HASH and XMD5 of `f`, and the fact X.hash of MLST where digests are `kept`.
#[track_caller]
fn check_digests(client: &mut Client, content: &[u8], kept: bool) {
    let wanted = sha256(content);
    let hash = client.expect("HASH f", 213).line();
    assert!(hash.contains(&wanted), "{hash}");
    let md5 = client.expect("XMD5 f", 250).line().to_lowercase();
    let facts = client.expect("MLST f", 250).text();
    assert_eq!(facts.contains("X.hash="), kept, "{facts}");
    if kept {
        assert!(facts.contains(&format!("X.hash=SHA-256:{wanted},MD5:{md5};")), "{facts}");
    }
}

/// Ends the server; the hits it has counted.
#[track_caller]
fn hits(server: Server) -> u64 {
    counter(&server.stop(), "hash_cache_hits")
}

/// Whether files here have attributes of users, and so keep their digests.
fn keeps_attributes(directory: &Path) -> bool {
    let probe = fs::File::create(directory.join("probe")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let keeps = rustix::fs::fsetxattr(&probe, "user.probe", b"", flags).is_ok();
    fs::remove_file(directory.join("probe")).unwrap();
    keeps
}

/// A drop box: `create` alone takes files under free names and gives nothing away, and nobody there
/// replaces, continues, removes or sees what another has left.
#[test]
fn create_alone_is_a_drop_box() {
    let server = Server::builder().user("drop", &["create"], "").start();
    for (number, listener) in BOTH_LISTENERS.into_iter().enumerate() {
        let name = format!("left-{number}");
        let mut client = Client::open(&server, listener).login_as("drop");
        client.expect("TYPE I", 200);
        client.store(format!("STOR {name}"), b"first");
        client.store("STOU", b"unique");
        client.refused(format!("STOR {name}"), 553);
        client.refused(format!("APPE {name}"), 550);
        client.refused(format!("APPE new-{number}"), 550);
        client.expect("REST 5", 350);
        client.refused(format!("STOR {name}"), 553);
        client.refused(format!("RETR {name}"), 550);
        for list in ["LIST", "NLST", "MLSD"] {
            client.refused(list, 550);
        }
        for command in ["DELE", "RNFR", "SIZE", "MDTM", "HASH", "MLST", "STAT", "SITE CHMOD 600"] {
            client.expect(format!("{command} {name}"), 550);
        }
        client.expect(format!("MFMT 20200101000000 {name}"), 550);
        client.expect("MKD directory", 550);
        assert_eq!(fs::read(server.root().join(&name)).unwrap(), b"first");
        client.quit();
    }
    // Each has left two, and what was refused nothing.
    assert_eq!(fs::read_dir(server.root()).unwrap().count(), 4);
}
