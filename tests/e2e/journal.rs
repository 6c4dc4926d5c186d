//! `log.journal`: lines as entries of systemd's journal, taken by a socket in its place.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::metrics::{endpoint, scrape};
use crate::run::{DEADLINE, run};
use crate::support::wait::PATIENCE;
use crate::support::{Client, Server, program, wait_until};

/// The next entry by its fields; the native protocol, of which lines `NAME=value` are all it has.
fn entry(journal: &UnixDatagram) -> BTreeMap<String, String> {
    let mut octets = vec![0; 256 * 1024];
    let count = journal.recv(&mut octets).expect("an entry");
    let text = String::from_utf8(octets[..count].to_vec()).unwrap();
    assert!(text.ends_with('\n'), "{text:?}");
    let fields: Vec<_> = text.lines().map(|line| line.split_once('=').unwrap()).collect();
    let all: BTreeMap<_, _> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(all.len(), fields.len(), "a field is there twice: {text}");
    all
}

fn until(journal: &UnixDatagram, event: &str) -> BTreeMap<String, String> {
    loop {
        let entry = entry(journal);
        if entry.get("RINGFTPD_EVENT").is_some_and(|name| name == event) {
            return entry;
        }
    }
}

#[test]
fn lines_are_entries_with_fields() {
    let mut journal = None;
    let server =
        Server::builder().toml("[metrics]\nlisten = \"127.0.0.1:0\"").start_with(|scratch| {
            let path = scratch.path.join("journal.sock");
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            journal = Some(socket);
            "[log]\njournal = \"journal.sock\"".to_owned()
        });
    let journal = journal.unwrap();
    let mut client = Client::implicit(&server).login();
    let name = "a\"b\\ PRIORITY=0";
    client.store(format!("STOR {name}"), b"content");
    client.expect(format!("DELE {name}"), 250);
    let login = until(&journal, "login");
    assert_eq!((login["RINGFTPD_USER"].as_str(), login["PRIORITY"].as_str()), ("alice", "6"));
    assert_eq!(login["SYSLOG_IDENTIFIER"], "ringftpd");
    let deleted = until(&journal, "delete");
    assert_eq!(deleted["RINGFTPD_PATH"], format!("/{name}"));
    assert_eq!(deleted["RINGFTPD_SESSION"], login["RINGFTPD_SESSION"]);
    let message = &deleted["MESSAGE"];
    assert!(message.starts_with("INFO ringftpd::"), "{message}");
    assert!(message.contains("event=\"delete\" path=\"/a\\\"b\\\\ PRIORITY=0\""), "{message}");
    let log = server.log();
    assert!(log.contains("ready") && !log.contains("logged in"), "{log}");
    // The journal is gone: lines are counted, clients notice nothing, and a new one gets them.
    drop(journal);
    client.store("STOR other", b"content");
    let metrics = endpoint(&server);
    wait_until("a lost line", || !scrape(metrics).contains("ringftpd_log_lines_dropped_total 0"));
    assert!(server.log().contains("ringftpd: log.journal "), "{}", server.log());
    let path = server.scratch().join("journal.sock");
    fs::remove_file(&path).unwrap();
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(PATIENCE)).unwrap();
    client.expect("DELE other", 250);
    assert_eq!(until(&journal, "delete")["RINGFTPD_PATH"], "/other");
    client.quit();
}

/// At the start it has to be there, and there is one place for lines.
#[test]
fn a_start_without_a_journal_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringftpd.toml");
    let start = |log: &str| {
        let user = if rustix::process::geteuid().is_root() { "user = \"root\"" } else { "" };
        let listen = "implicit = [\"127.0.0.1:0\"]\nexplicit = []";
        let text = format!(
            "[process]\n{user}\n[listen]\n{listen}\n[anonymous]\nhome = \".\"\n[log]\n{log}\n"
        );
        fs::write(&config, text).unwrap();
        let mut server = Command::new(program::path());
        server.args(["serve", "--config"]).arg(&config).arg("--state-dir").arg(folder.path());
        run(&mut server, DEADLINE).exits(1)
    };
    let absent = start("journal = \"nowhere.sock\"");
    let place = folder.path().join("nowhere.sock").display().to_string();
    absent.says("log.journal: ").says(&place).says("is systemd-journald running");
    start("journal = \"nowhere.sock\"\nfile = \"log\"").says("log.journal: log.file is there, too");
}
