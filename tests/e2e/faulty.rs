//! A shared file system that answers with errors: each costs the command or transfer that met it
//! its right reply, never a 226 or 250 for what is not stored, and nobody else anything.

use std::ffi::OsString;
use std::fs::{self, DirEntry};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::io::Errno;
use rustix::process::geteuid;

use crate::hung::alone;
use crate::support::{Client, End, Server};

/// A FUSE file system in memory on the directory it is given. A line of its input, `KIND ERRNO
/// OFFSET`, has all requests of that kind fail from then on, where they have an offset those from
/// there on; any other line has none fail.
const FAULTY: &str = include_str!("faulty.py");

/// The mount, until it is dropped.
struct Faulty {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Faulty {
    fn mount(at: &Path) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", FAULTY])
            .arg(at)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut faulty = Self { child, input, output };
        faulty.expect("mounted");
        faulty
    }

    /// Requests of this kind fail from now on, those at this offset and behind it.
    fn fails(&mut self, kind: &str, errno: Errno, offset: u64) {
        self.say(&format!("{kind} {} {offset}", errno.raw_os_error()));
    }

    fn works(&mut self) {
        self.say("none");
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
        self.expect("ok");
    }

    fn expect(&mut self, word: &str) {
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        assert_eq!(said.trim(), word, "no FUSE here?");
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// What a shared file system says when its server, its connection or its object is gone, and when
/// there is no room.
const ERRORS: [Errno; 5] = [Errno::IO, Errno::STALE, Errno::NOTCONN, Errno::DQUOT, Errno::NOSPC];
const LOST: usize = 3;

/// What an upload is told for each of these, before its 150 and after.
const BEFORE: [u16; 5] = [451, 451, 451, 552, 452];
const AFTER: [u16; 5] = [451, 451, 451, 552, 552];

struct Site {
    server: Server,
    faulty: Faulty,
    client: Client,
    /// Somebody whose files lie elsewhere.
    other: Client,
}

impl Site {
    fn start(config: &str) -> Self {
        let server = Server::builder().toml(config).start();
        for name in ["mount", "local"] {
            fs::create_dir(server.root().join(name)).unwrap();
        }
        fs::write(server.root().join("local/file"), "local").unwrap();
        let faulty = Faulty::mount(&server.root().join("mount"));
        fs::write(server.root().join("mount/file"), vec![7; 1_000_000]).unwrap();
        fs::write(server.root().join("mount/small"), "small").unwrap();
        fs::create_dir(server.root().join("mount/dir")).unwrap();
        let [client, other] = [(); 2].map(|()| Client::implicit(&server).login());
        let mut site = Self { server, faulty, client, other };
        site.client.expect("TYPE I", 200);
        site.other.expect("TYPE I", 200);
        site
    }

    /// Names and sizes, hidden ones included.
    fn there(&self) -> Vec<(OsString, u64)> {
        let entries = fs::read_dir(self.server.root().join("mount")).unwrap();
        let of_one = |entry: DirEntry| (entry.file_name(), entry.metadata().unwrap().len());
        let mut there: Vec<_> = entries.map(|entry| of_one(entry.unwrap())).collect();
        there.sort();
        there
    }

    /// A transfer from its EPSV to its last reply: its code, what came, and whether that came to a
    /// proper end. What is refused before the 150 has no data connection.
    fn transfer(&mut self, command: &str) -> (u16, Vec<u8>, bool) {
        let client = &mut self.client;
        let mut data = client.passive();
        let opened = client.cmd(command);
        if opened.code != 150 {
            return (opened.code, Vec::new(), false);
        }
        client.secure(&mut data);
        if ["STOR", "STOU", "APPE"].contains(&&command[..4]) {
            // The server may have met the fault before all of it.
            let _ = data.send(&[1; 100_000]);
            data.finish();
            return (client.reply().code, Vec::new(), false);
        }
        let (octets, end) = data.read_to_end();
        (client.reply().code, octets, end == End::CloseNotify)
    }

    /// While requests fail, and afterwards, the other one and the session itself go on.
    fn goes_on(&mut self) {
        assert_eq!(self.other.retrieve("RETR local/file"), b"local");
        self.other.store("STOR local/up", b"up");
        self.other.expect("DELE local/up", 250);
        self.client.expect("SIZE local/file", 213);
    }
}

/// Nothing appears, nothing that was there changes, and no upload is called complete that is not
/// stored.
#[test]
fn uploads_that_fail() {
    if !geteuid().is_root() {
        return alone("faulty::uploads_that_fail");
    }
    let mut site = Site::start("");
    let before = site.there();
    for (kind, offset, command, codes) in [
        ("LOOKUP", 0, "STOR mount/up", BEFORE),
        ("CREATE", 0, "STOR mount/up", BEFORE),
        ("CREATE", 0, "STOU mount/up", BEFORE),
        ("OPEN", 0, "APPE mount/small", BEFORE),
        ("WRITE", 0, "STOR mount/up", AFTER),
        ("WRITE", 60_000, "STOR mount/small", AFTER),
        ("WRITE", 60_000, "STOU mount/up", AFTER),
        ("WRITE", 60_000, "APPE mount/small", AFTER),
        ("FSYNC", 0, "STOR mount/up", AFTER),
        ("FSYNC", 0, "APPE mount/small", AFTER),
        ("RENAME", 0, "STOR mount/up", AFTER),
        ("RENAME", 0, "STOR mount/small", AFTER),
        ("RENAME", 0, "STOU mount/up", AFTER),
    ] {
        for (errno, code) in ERRORS.into_iter().zip(codes) {
            site.faulty.fails(kind, errno, offset);
            let (replied, ..) = site.transfer(command);
            assert_eq!(replied, code, "{command}, {kind} {errno:?}");
            if errno == Errno::IO {
                site.goes_on();
            }
            site.faulty.works();
            assert_eq!(site.there(), before, "{command}, {kind} {errno:?}");
        }
    }
    assert_eq!(site.transfer("STOR mount/up").0, 226);
    site.goes_on();
}

/// NFS may tell of what it could not write when the file is closed, and only then.
#[test]
fn a_close_that_fails_is_no_success() {
    if !geteuid().is_root() {
        return alone("faulty::a_close_that_fails_is_no_success");
    }
    let mut site = Site::start("[storage]\ndurability = \"none\"");
    let before = site.there();
    for (errno, code) in ERRORS.into_iter().zip(AFTER) {
        for command in ["STOR mount/up", "STOU mount/up", "STOR mount/small"] {
            site.faulty.fails("FLUSH", errno, 0);
            assert_eq!(site.transfer(command).0, code, "{command} {errno:?}");
            site.faulty.works();
            assert_eq!(site.there(), before, "{command} {errno:?}");
        }
    }
    assert_eq!(site.transfer("STOR mount/up").0, 226);
    site.goes_on();
}

/// Nothing that is not whole ends as if it were.
#[test]
fn downloads_and_listings_that_fail() {
    if !geteuid().is_root() {
        return alone("faulty::downloads_and_listings_that_fail");
    }
    let mut site = Site::start("");
    for (kind, offset, command) in [
        ("LOOKUP", 0, "RETR mount/file"),
        ("OPEN", 0, "RETR mount/file"),
        ("READ", 0, "RETR mount/file"),
        ("READ", 500_000, "RETR mount/file"),
        ("READ", 0, "RETR mount/small"),
        ("OPENDIR", 0, "LIST mount"),
        ("OPENDIR", 0, "MLSD mount"),
        ("OPENDIR", 0, "NLST mount"),
        ("READDIR", 0, "LIST mount"),
        ("READDIR", 0, "MLSD mount"),
        ("READDIR", 1, "MLSD mount"),
        ("READDIR", 1, "NLST mount"),
        ("LOOKUP", 0, "LIST mount"),
        ("LOOKUP", 0, "MLSD mount"),
    ] {
        for errno in ERRORS.into_iter().take(LOST) {
            site.faulty.fails(kind, errno, offset);
            let (code, octets, whole) = site.transfer(command);
            assert_eq!((code, whole), (451, false), "{command}, {kind} {errno:?}");
            assert!(octets.len() < 700_000, "{}", octets.len());
            let shown = String::from_utf8_lossy(&octets);
            // Sizes of 0 would be taken for the truth.
            let facts = kind == "LOOKUP" && shown.contains("file\r\n");
            assert!(!facts, "{command}: {shown}");
            if errno == Errno::IO {
                site.goes_on();
            }
            site.faulty.works();
        }
    }
    for (command, length) in [("RETR mount/file", 1_000_000), ("NLST mount", 36)] {
        let (code, octets, whole) = site.transfer(command);
        assert_eq!((code, octets.len(), whole), (226, length, true), "{command}");
    }
    site.goes_on();
}

/// Other commands. A reply that is not 4yz: clients would ask again until they are stopped.
#[test]
fn commands_that_fail() {
    if !geteuid().is_root() {
        return alone("faulty::commands_that_fail");
    }
    let mut site = Site::start("");
    for (kind, command, code) in [
        ("LOOKUP", "SIZE mount/file", 550),
        ("GETATTR", "MDTM mount/file", 550),
        ("LOOKUP", "MLST mount/file", 550),
        ("LOOKUP", "CWD mount/dir", 550),
        ("MKDIR", "MKD mount/new", 550),
        ("RMDIR", "RMD mount/dir", 550),
        ("UNLINK", "DELE mount/small", 550),
        ("LOOKUP", "RNFR mount/small", 550),
        ("RENAME", "RNTO mount/else", 553),
        ("SETATTR", "SITE CHMOD 600 mount/small", 550),
        ("SETATTR", "MFMT 20200101000000 mount/small", 550),
        ("STATFS", "AVBL mount", 550),
        ("READ", "HASH mount/small", 550),
        ("READDIR", "STAT mount", 550),
    ] {
        let before = site.there();
        for errno in ERRORS {
            if command.starts_with("RNTO") {
                site.client.expect("RNFR mount/small", 350);
            }
            site.faulty.fails(kind, errno, 0);
            let reply = site.client.expect(command, code);
            assert!(!reply.text().contains("No such"), "{command}, {kind} {errno:?}: {reply:?}");
            if errno == Errno::IO {
                site.goes_on();
            }
            site.faulty.works();
        }
        assert_eq!(site.there(), before, "{command}");
    }
}
