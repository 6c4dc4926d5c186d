//! Clients that mean harm, on the control connection: bytes where none belong, too many, too few,
//! too slow, and pathnames that climb.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crate::content::bytes;
use crate::process::{descriptors, descriptors_at_rest, resident_kib};
use crate::support::server::BOTH_LISTENERS;
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

/// Short deadlines before the log-in; the connection's own default is 20 s and more.
const SHORT: &str = "[limits]\nhandshake_timeout = \"1s\"\nlogin_timeout = \"2s\"";

/// What a one-second deadline may take on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Class of CVE-2011-0411: what arrives behind AUTH in clear is never executed under TLS
/// \[AUTH-13, AUTH-14, AUTH-15, AUTH-16\].
#[test]
fn plaintext_behind_auth() {
    let server = Server::start();
    let hello = Wire::client_hello(&server.tls());
    let injections: [&[u8]; 6] = [
        b"NOOP\r\n",
        b"NO",
        b"\xff",
        b"USER alice\r\nPASS secret\r\n",
        b"NOOP\r\nNOOP\r\nQUIT\r\n",
        &hello,
    ];
    for auth in ["AUTH TLS\r\n", "AUTH SSL\r\n", "auth tls-c\r\n"] {
        for injected in injections {
            let mut client = Client::plain(&server);
            client.send_bytes(&[auth.as_bytes(), injected].concat());
            let reply = client.reply();
            if reply.code == 503 {
                client.expect_close();
                continue;
            }
            assert_eq!(reply.code, 234, "{reply:?}");
            if client.wire.handshake(&server.tls()).is_err() {
                continue;
            }
            // Exactly one reply, to the command sent under TLS; nobody is logged in.
            client.expect("SYST", 215);
            client.expect("PWD", 530);
            client.wire.expect_silence(Duration::from_millis(50));
            client.quit();
        }
    }
}

/// A silent client is closed at the deadline, on the implicit port without an octet in clear
/// \[BG-01, BG-02, BG-05, IMP-15\].
#[test]
fn silence_and_half_handshakes() {
    let server = Server::builder().toml(SHORT).start();
    let hello = Wire::client_hello(&server.tls());
    for sent in [&b""[..], b"\x16", &hello[..5], &hello[..hello.len() - 1], &hello] {
        if !sent.is_empty() {
            let mut wire = Wire::connect(server.address(Listener::Implicit));
            wire.send_raw(sent).unwrap();
            assert_closed_without_clear_text(&mut wire);
        }
        let mut client = Client::plain(&server);
        client.expect("AUTH TLS", 234);
        client.wire.send_raw(sent).unwrap();
        assert_closed_without_clear_text(&mut client.wire);
    }
    // The explicit port says goodbye.
    let mut client = Client::plain(&server);
    client.expect_reply(421);
    client.expect_end(End::Fin);
    let mut client = Client::implicit(&server);
    client.expect("USER alice", 331);
    client.expect_reply(421);
    client.expect_end(End::CloseNotify);
}

/// Complete silence on the implicit port: the kernel keeps the connection to itself until the
/// client speaks (`TCP_DEFER_ACCEPT`), so the deadline starts when it gives up waiting.
#[test]
fn silence_on_the_implicit_port() {
    let server = Server::builder().toml(SHORT).start();
    Client::implicit(&server).quit();
    let before = descriptors_at_rest(server.pid());
    let mut silent = Wire::connect(server.address(Listener::Implicit));
    silent.set_patience(4 * PATIENCE);
    let (received, end) = silent.read_to_end();
    assert!(received.is_empty(), "in clear: {}", received.escape_ascii());
    assert_ne!(end, End::Timeout, "still open");
    wait_until("its descriptor to be closed", || descriptors(server.pid()) <= before);
}

/// \[IMP-15, IMP-16, AUTH-17, AUTH-18, ABUSE-11, ABUSE-13\]
#[test]
fn garbage_instead_of_tls() {
    let server = Server::builder().toml(SHORT).start();
    let noise = bytes(70_000, 3);
    let garbage: [&[u8]; 7] = [
        b"USER alice\r\nPASS secret\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x17\x03\x03\x00\x01\x00",
        &noise,
    ];
    for sent in garbage {
        let mut wire = Wire::connect(server.address(Listener::Implicit));
        // The server may reset before everything is sent.
        let _ = wire.send_raw(sent);
        assert_closed_without_clear_text(&mut wire);
        let mut client = Client::plain(&server);
        client.expect("AUTH TLS", 234);
        let _ = client.wire.send_raw(sent);
        assert_closed_without_clear_text(&mut client.wire);
    }
    // Under TLS, a record that cannot be opened ends the connection, too.
    let mut client = Client::implicit(&server);
    client.wire.send_raw(b"\x17\x03\x03\x00\x20AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    client.expect_close();
    Client::implicit(&server).login().quit();
}

/// Binary noise as commands: replies or the end, no panic, no endless loop.
#[test]
fn garbage_as_commands() {
    let server = Server::start();
    let hello = Wire::client_hello(&server.tls());
    for seed in 0..8 {
        let noise = bytes(50_000, seed);
        for sent in [&noise[..], &hello, b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\r\n\xff\xff\r\n\r\n"] {
            let mut client = Client::plain(&server);
            let _ = client.wire.send_raw(sent);
            client.wire.fin();
            let (replies, end) = client.wire.read_to_end();
            assert_ne!(end, End::Timeout, "no end after {}", replies.escape_ascii());
        }
    }
    Client::implicit(&server).login().quit();
}

/// The handshake deadline counts from accept, not from the last octet \[BG-02\].
#[test]
fn slow_handshake() {
    let server = Server::builder().toml(SHORT).start();
    let hello = Wire::client_hello(&server.tls());
    for listener in BOTH_LISTENERS {
        let mut wire = Wire::connect(server.address(listener));
        if listener == Listener::Explicit {
            let mut client = Client::from_wire(&server, listener, wire);
            client.expect_reply(220);
            client.expect("AUTH TLS", 234);
            wire = client.wire;
        }
        drip(&mut wire, &hello);
    }
}

/// Neither do commands that never end keep a connection that is not logged in.
#[test]
fn slow_commands() {
    let server = Server::builder().toml(SHORT).start();
    let mut client = Client::plain(&server);
    drip(&mut client.wire, &b"NOOP\r\n".repeat(200));
    let mut client = Client::plain(&server);
    drip(&mut client.wire, &[b'A'; 1000]);
}

/// 10,000 commands at once: every reply, in order, in clear and under TLS
/// \[SYN-05, ABUSE-01, ABUSE-04\].
#[test]
fn ten_thousand_pipelined_commands() {
    let server = Server::builder().toml("[policy]\nrequire_control_tls = false").start();
    let mut in_clear = Client::plain(&server);
    in_clear.expect("USER alice", 331);
    in_clear.expect("PASS secret", 230);
    pipeline(in_clear);
    for listener in BOTH_LISTENERS {
        pipeline(Client::open(&server, listener).login());
    }
}

#[track_caller]
fn pipeline(mut client: Client) {
    let commands = [("NOOP", 200), ("SYST", 215), ("PWD", 257), ("XYZZY", 500), ("CWD /", 250)];
    let expected: Vec<_> = commands.into_iter().cycle().take(10_000).collect();
    let lines: String = expected.iter().map(|(line, _)| format!("{line}\r\n")).collect();
    let raw = if client.wire.tls().is_some() {
        client.wire.seal(lines.as_bytes())
    } else {
        lines.into_bytes()
    };
    // Sent by another thread: the server stops reading while its replies are not read.
    let mut tcp = client.wire.tcp().try_clone().unwrap();
    let sender = thread::spawn(move || tcp.write_all(&raw));
    for (index, (line, code)) in expected.iter().enumerate() {
        assert_eq!(client.reply().code, *code, "reply {index}, to {line}");
    }
    sender.join().unwrap().unwrap();
    client.quit();
}

/// A client that sends and never reads is not buffered without bound.
#[test]
fn replies_never_read() {
    let server = Server::start();
    let commands = b"FEAT\r\n".repeat(100_000);
    let stop = || {
        let mut client = Client::implicit(&server).login();
        client.wire.tcp().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        // The kernel's buffers on both sides take some; what no buffer takes must come to a stop.
        let stopped = (0..200).find_map(|_| client.wire.send(&commands).err());
        assert_eq!(stopped, Some(End::Timeout), "the server goes on reading");
        client
    };
    // The first of its kind also touches huge pages (2 MiB each) that the next finds in use.
    let _first = stop();
    let before = resident_kib(server.pid());
    let _second = stop();
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB for replies nobody reads");
    Client::implicit(&server).login().quit();
}

/// One 500 per line however long, nothing of its tail executed, nothing of it kept
/// \[SYN-07a, SYN-07e, SYN-21\].
#[test]
fn oversized_lines() {
    let server = Server::builder().toml("[policy]\nrequire_control_tls = false").start();
    for mut client in [Client::plain(&server), Client::explicit(&server), Client::implicit(&server)]
    {
        let before = resident_kib(server.pid());
        for size in [9_000, 100_000, 16 << 20] {
            let line = [&vec![b'A'; size], &b" NOOP\nNOOP\r\n"[..]].concat();
            client.send_bytes(&line);
            let reply = client.reply();
            assert!(matches!(reply.code, 500 | 501), "{size} octets → {reply:?}");
            client.expect("SYST", 215);
        }
        // Telnet noise makes neither lines nor replies.
        client.send_bytes(&b"\xff\xf1".repeat(500_000));
        client.expect("NOOP", 200);
        let grown = resident_kib(server.pid()).saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB kept of lines nobody may send");
        client.quit();
    }
}

/// REIN again and again costs nothing that is kept \[REIN-05, REIN-08\].
#[test]
fn rein_storm() {
    let server = Server::start();
    let mut client = Client::implicit(&server);
    let before = descriptors_at_rest(server.pid());
    for round in 0..100 {
        client = client.login();
        // Each leaves a listener behind that REIN must close.
        client.epsv();
        client.expect("REIN", 220);
        client.end_tls();
        client.start_tls();
        let greeting = client.reply();
        assert_eq!(greeting.code, 220, "round {round}: {greeting:?}");
    }
    wait_until("no descriptor left behind", || descriptors(server.pid()) <= before);
    client.quit();

    let mut clear = Client::plain(&server);
    clear.send_bytes(&b"REIN\r\n".repeat(1000));
    (0..1000).for_each(|_| drop(clear.expect_reply(220)));
    clear.quit();
}

/// Every command with a pathname, every way to climb \[TRAV-*, LINK-*\]: refused, and what is
/// outside the root neither told nor touched.
#[test]
fn pathnames_cannot_leave_the_root() {
    let server = Server::start();
    let outside = server.scratch().join("outside");
    fs::create_dir_all(outside.join("vault")).unwrap();
    let secret = File::create(outside.join("secret.txt")).unwrap();
    (&secret).write_all(b"outside content").unwrap();
    // An old time, unlike that of a link to it.
    secret.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    let root = server.root();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("inside"), "inside content").unwrap();
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../outside", root.join("relative")).unwrap();
    symlink("../../outside", root.join("sub/up")).unwrap();
    symlink("relative", root.join("chain")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink(outside.join("secret.txt"), root.join("file-link")).unwrap();
    let real = outside.to_str().unwrap();
    let doors = [
        "absolute".to_owned(),
        "relative".to_owned(),
        "sub/up".to_owned(),
        "sub/../chain".to_owned(),
        "../outside".to_owned(),
        "/../../outside".to_owned(),
        "sub/../../outside".to_owned(),
        "relative/../outside".to_owned(),
        format!("magic{real}"),
        real.to_owned(),
    ];
    let before = snapshot(&outside);
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    for door in &doors {
        try_commands(&mut client, door);
        assert_eq!(snapshot(&outside), before, "{door} let something out");
    }
    for command in ["RETR", "SIZE", "MDTM", "APPE", "MFMT 20200101000000", "HASH", "XSHA256"] {
        must_refuse(&mut client, &format!("{command} file-link"));
    }
    assert_eq!(snapshot(&outside), before);

    // Links that stay inside work.
    symlink("../inside", root.join("sub/good")).unwrap();
    assert_eq!(client.retrieve("RETR sub/good"), b"inside content");
    assert_eq!(client.retrieve("RETR ../../inside"), b"inside content");
    client.quit();
}

#[track_caller]
fn try_commands(client: &mut Client, door: &str) {
    for command in [
        "CWD {}",
        "XCWD {}",
        "CWD {}/vault",
        "RETR {}/secret.txt",
        "STOR {}/new",
        "STOR {}/secret.txt",
        "APPE {}/secret.txt",
        "DELE {}/secret.txt",
        "MKD {}/new",
        "XMKD {}/new",
        "RMD {}/vault",
        "XRMD {}/vault",
        "RNFR {}/secret.txt",
        "SIZE {}/secret.txt",
        "MDTM {}/secret.txt",
        "MDTM 20200101000000 {}/secret.txt",
        "MFMT 20200101000000 {}/secret.txt",
        "MFF modify=20200101000000; {}/secret.txt",
        "MLST {}/secret.txt",
        "MLSD {}/vault",
        "MLSD {}",
        "HASH {}/secret.txt",
        "XCRC {}/secret.txt",
        "XMD5 {}/secret.txt",
        "XSHA1 {}/secret.txt",
        "XSHA256 {}/secret.txt",
        "XSHA512 {}/secret.txt",
        "SITE CHMOD 777 {}/secret.txt",
        "SITE UTIME 20200101000000 {}/secret.txt",
        "SITE UTIME {}/secret.txt 20200101000000 20200101000000 20200101000000 UTC",
    ] {
        must_refuse(client, &command.replace("{}", door));
    }
    // Listings may be refused or be empty, but must not name what is outside.
    for command in ["LIST {}/", "LIST -a {}/secret.txt", "NLST {}/", "STAT {}/", "NLST {}/*"] {
        must_not_tell(client, &command.replace("{}", door));
    }
    // Into it from inside.
    client.expect("RNFR inside", 350);
    let reply = client.cmd(format!("RNTO {door}/stolen"));
    assert!(reply.code >= 500, "RNTO {door}/stolen → {reply:?}");
}

/// A 4xx or 5xx, and no 1xx before it.
#[track_caller]
fn must_refuse(client: &mut Client, command: &str) {
    let data = client.passive();
    let reply = client.cmd(command);
    drop(data);
    assert!(reply.code >= 400, "{command} → {} {}", reply.code, reply.text());
    assert!(!reply.text().contains("outside content"), "{command} → {reply:?}");
}

#[track_caller]
fn must_not_tell(client: &mut Client, command: &str) {
    let mut data = client.passive();
    let reply = client.cmd(command);
    let mut told = reply.text();
    if reply.code == 150 {
        client.secure(&mut data);
        told += &String::from_utf8_lossy(&client.receive(data));
    }
    // The name of the command itself may come back.
    let told = told.replace(command.split(' ').next_back().unwrap(), "");
    assert!(!told.contains("secret") && !told.contains("vault"), "{command} → {told}");
}

/// Names, contents, modes and times of everything outside.
fn snapshot(outside: &std::path::Path) -> Vec<(String, Vec<u8>, u32, i64)> {
    let mut found = Vec::new();
    for (name, hash) in crate::content::tree(outside) {
        let path = outside.join(String::from_utf8_lossy(&name).as_ref());
        let metadata = fs::metadata(&path).unwrap();
        let name = String::from_utf8_lossy(&name).into_owned();
        found.push((name, hash.into_bytes(), metadata.mode(), metadata.mtime()));
    }
    found
}

/// Sends an octet every 50 ms until the server ends it: soon after the deadline, although there
/// was always something new.
#[track_caller]
fn drip(wire: &mut Wire, octets: &[u8]) {
    let watch = Stopwatch::start();
    wire.set_patience(Duration::from_millis(50));
    for octet in octets {
        if wire.send_raw(&[*octet]).is_err() {
            return;
        }
        match wire.fill() {
            Ok(()) | Err(End::Timeout) => {}
            Err(_) => return,
        }
        assert!(watch.elapsed() < SOON, "still open after {:?}", watch.elapsed());
    }
    wire.set_patience(PATIENCE);
    let (_, end) = wire.read_to_end();
    assert_ne!(end, End::Timeout);
    assert!(watch.elapsed() < SOON, "closed only after {:?}", watch.elapsed());
}

/// The connection ends soon; what came, if anything, is TLS (an alert or the server's flight).
#[track_caller]
fn assert_closed_without_clear_text(wire: &mut Wire) {
    let watch = Stopwatch::start();
    let (received, end) = wire.read_to_end();
    assert_ne!(end, End::Timeout, "still open");
    assert!(watch.elapsed() < SOON, "closed only after {:?}", watch.elapsed());
    let first = received.first();
    assert!(matches!(first, None | Some(0x15 | 0x16)), "in clear: {}", received.escape_ascii());
}
