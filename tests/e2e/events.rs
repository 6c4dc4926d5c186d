//! Events of the log: each operation that changes something, each refusal, each session from its
//! begin to its end; what clients choose cannot look like another line or field; floods are
//! counted.

use std::fs;

use serde_json::{Value, json};

use crate::metrics::{endpoint, scrape, sum};
use crate::process::first_cpu;
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Listener, Server, Wire, wait_until};

const JSON: &str = "[log]\nformat = \"json\"\n";

/// The events so far, in their order.
pub(crate) fn events(server: &Server) -> Vec<Value> {
    let log = server.log();
    let objects = log.lines().filter(|line| line.starts_with('{'));
    let all = objects.map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|event| event["event"].is_string()).collect()
}

pub(crate) fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

/// All events, once there are `count` of this name.
#[track_caller]
fn events_with(server: &Server, name: &str, count: usize) -> Vec<Value> {
    wait_until(name, || named(&events(server), name).len() >= count);
    events(server)
}

/// These fields of an event.
fn fields(event: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| event[*name].clone()).collect()
}

/// What a session does between its uploads and the one that it aborts.
const COMMANDS: &[(&str, u16)] = &[
    ("RNFR d/one", 350),
    ("RNTO d/two", 250),
    ("SITE CHMOD 600 d/two", 200),
    ("SITE UTIME 20200102030405 d/two", 200),
    ("MFMT 20210102030405 d/two", 213),
    ("MFF Modify=20220102030405;UNIX.mode=0640; d/two", 213),
    ("MDTM 20230102030405 d/two", 213),
    ("DELE d/two", 250),
    ("DELE d/two", 550),
    ("RMD d/e", 550),
    ("RMD d/e/f", 250),
    ("RMD d/e", 250),
    ("RMD d", 250),
];

/// What the log has of it.
const CHANGES: &[&str] = &[
    "connect",
    "login",
    "mkdir /d",
    "mkdir /d/e",
    "mkdir /d/e/f",
    "transfer /d/one 5 complete",
    "transfer /d/two 1 complete",
    "transfer /d/two 2 complete",
    "rename /d/one /d/two",
    "chmod /d/two 0600",
    "mtime /d/two 20200102030405",
    "mtime /d/two 20210102030405",
    "chmod /d/two 0640",
    "mtime /d/two 20220102030405",
    "mtime /d/two 20230102030405",
    "delete /d/two",
    "rmdir /d/e/f",
    "rmdir /d/e",
    "rmdir /d",
    "transfer /cut 3 aborted",
    "disconnect",
];

#[test]
fn each_change_is_told_and_by_whom() {
    let server = Server::builder().toml(JSON).start();
    for (round, listener) in BOTH_LISTENERS.into_iter().enumerate() {
        let mut client = Client::open(&server, listener).login();
        for (command, code) in [
            ("MKD d", 257),
            ("SITE MKDIR d/e/f", 200),
            // Nothing is made.
            ("SITE MKDIR d/e", 200),
            ("MKD d", 550),
        ] {
            client.expect(command, code);
        }
        client.store("STOR d/one", b"12345");
        client.store("STOR d/two", b"2");
        client.store("APPE d/two", b"34");
        for &(command, code) in COMMANDS {
            client.expect(command, code);
        }
        // Nothing comes of it.
        client.expect("TYPE I", 200);
        client.store_and_abort("STOR cut", b"123");
        client.quit();
        let all = events_with(&server, "disconnect", round + 1);
        let session = &all.last().unwrap()["session"];
        let mine: Vec<_> = all.iter().filter(|event| event["session"] == *session).collect();
        let told: Vec<_> = mine
            .iter()
            .map(|event| {
                let names = ["event", "path", "from", "to", "mode", "modified", "bytes", "end"];
                let values = fields(event, &names);
                let words = values.iter().filter(|value| !value.is_null());
                words
                    .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(told, CHANGES, "{mine:#?}");
        for event in &mine {
            let before = ["connect"].contains(&event["event"].as_str().unwrap());
            let user = if before { Value::Null } else { json!("alice") };
            assert_eq!(event["user"], user, "{event}");
            assert!(event["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
            assert!(event["shard"].is_u64() && event["level"] == "INFO", "{event}");
        }
        let listener = if listener == Listener::Implicit { "implicit" } else { "explicit" };
        assert_eq!(mine[0]["listener"], listener);
        let names = ["reason", "logged_in", "bytes_in", "bytes_out"];
        let end = fields(mine.last().unwrap(), &names);
        assert_eq!(end, [json!("quit"), json!(true), json!(11), json!(0)]);
    }
    server.terminate();
    assert_eq!(events_with(&server, "drain", 1).last().unwrap()["signal"], "SIGTERM");
}

/// Of each of two sessions on each port.
const DENIALS: &[&str] = &[
    "MKD /x permission reader",
    "RMD /x permission reader",
    "DELE /x permission reader",
    "RNFR /x permission reader",
    "SITE /x permission reader",
    "SITE /x permission reader",
    "SITE /x permission reader",
    "MFMT /x permission reader",
    "MFF /x permission reader",
    "HASH /x permission reader",
    "RETR /x permission reader",
    "STOR /x permission reader",
    "APPE /x permission reader",
    "STOU /upload permission reader",
    "CWD /out/ssl outside_root reader",
    "EPRT 127.0.0.1:4711 active_off reader",
    "PROT C tls_required reader",
    "MLSD / permission adder",
    "LIST / permission adder",
    "NLST / permission adder",
    "STAT / permission adder",
    "MLST /x permission adder",
    "AVBL / permission adder",
    "STOR /file permission adder",
    "RNTO /file permission adder",
];

/// What the account, the file system and the policy do not allow.
#[test]
fn each_denial_has_its_reason() {
    let policy = "[policy]\nallow_active = false\n";
    let all = "events_per_second = 0\n";
    let builder = Server::builder().toml(&format!("{JSON}{all}{policy}"));
    let server = builder.user("reader", &["list"], "").user("adder", &["create", "rename"], "");
    let server = server.start();
    fs::write(server.root().join("file"), "").unwrap();
    std::os::unix::fs::symlink("/etc", server.root().join("out")).unwrap();
    for listener in BOTH_LISTENERS {
        let mut reader = Client::open(&server, listener).login_as("reader");
        reader.expect("TYPE I", 200);
        for (command, code) in [
            ("MKD x", 550),
            ("RMD x", 550),
            ("DELE sub/../x", 550),
            ("RNFR x", 550),
            ("SITE MKDIR x", 550),
            ("SITE CHMOD 600 x", 550),
            ("SITE UTIME 20200102030405 x", 550),
            ("MFMT 20200102030405 x", 550),
            ("MFF Modify=20200102030405; x", 550),
            ("HASH x", 550),
            ("RETR x", 550),
            ("STOR x", 553),
            ("APPE x", 550),
            ("STOU", 553),
            ("CWD out/ssl", 550),
            ("EPRT |1|127.0.0.1|4711|", 500),
            ("PROT C", 534),
        ] {
            let reply = reader.cmd(command);
            assert!(reply.code == code || reply.code / 100 == 5, "{command}: {}", reply.code);
        }
        reader.quit();
        let mut adder = Client::open(&server, listener).login_as("adder");
        for command in ["MLSD", "LIST -la", "NLST", "STAT .", "MLST x", "AVBL"] {
            adder.expect(command, 550);
        }
        adder.refused("STOR file", 553);
        adder.store("STOR new", b"");
        adder.expect("RNFR new", 350);
        adder.expect("RNTO file", 553);
        adder.quit();
        fs::remove_file(server.root().join("new")).unwrap();
    }
    let mut early = Client::plain(&server);
    early.expect("USER alice", 530);
    early.quit();
    let all = events_with(&server, "denied", 51);
    let told: Vec<_> = named(&all, "denied")
        .iter()
        .map(|event| {
            let values = fields(event, &["command", "path", "reason", "user"]);
            let words = values.iter().filter_map(Value::as_str);
            words.collect::<Vec<_>>().join(" ")
        })
        .collect();
    let expected = [DENIALS, DENIALS, &["USER alice tls_required"]].concat();
    assert_eq!(told, expected);
}

/// No connection is turned away in silence.
#[test]
fn each_refusal_has_its_reason() {
    let config = format!(
        "{JSON}[shards]\ncpus = \"{}\"\n[limits]\nsessions_per_ip = 2\n\
         login_failures = 1\nlogin_failure_delay = \"0s\"\nclient_hello_timeout = \"1s\"\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n",
        first_cpu()
    );
    let server = Server::builder().toml(&config).start();
    let stay = Client::plain(&server);
    let address = endpoint(&server);
    // Its line is written before its place is free.
    let alone = || {
        wait_until("one session", || sum(&scrape(address), "ringftpd_sessions") == 1);
    };
    let reason = |index: usize, words: [&str; 2]| {
        let all = events_with(&server, "disconnect", index);
        let refused: Vec<_> = named(&all, "refused").into_iter().collect();
        let gone = named(&all, "disconnect");
        let last = |events: &[&Value]| events.last().map(|event| event["reason"].clone());
        assert_eq!([last(&refused), last(&gone)], words.map(|word| Some(json!(word))), "{all:?}");
        for event in [refused.last(), gone.last()].into_iter().flatten() {
            assert!(event["peer"].is_string() && event["session"].is_string(), "{event}");
        }
    };
    let second = Client::plain(&server);
    Client::raw(&server, Listener::Explicit).expect_reply(421);
    reason(1, ["sessions_per_ip", "refused"]);
    second.quit();
    reason(2, ["sessions_per_ip", "quit"]);
    alone();
    let mut client = Client::plain(&server);
    client.send_bytes(b"\x16\x03\x01\0\0");
    reason(3, ["not_ftp", "not_ftp"]);
    drop(client);
    alone();
    let mut client = Client::raw(&server, Listener::Implicit);
    client.send_bytes(b"USER alice\r\n");
    reason(4, ["tls_failed", "tls_failed"]);
    drop(client);
    alone();
    let mut client = Client::plain(&server);
    client.send_bytes(b"AUTH TLS\r\nUSER alice\r\n");
    reason(5, ["octets_behind_auth", "octets_behind_auth"]);
    drop(client);
    alone();
    let mut client = Client::plain(&server);
    client.expect("AUTH TLS", 234);
    reason(6, ["no_client_hello", "no_client_hello"]);
    drop(client);
    alone();
    let mut client = Client::open(&server, Listener::Implicit);
    client.expect("USER nobody", 331);
    client.expect("PASS wrong", 421);
    let all = events_with(&server, "disconnect", 7);
    let failed = named(&all, "login_failed");
    let names = ["reason", "user", "failures", "level"];
    assert_eq!(fields(failed[0], &names).map_json(), json!(["credentials", "nobody", 1, "WARN"]));
    assert_eq!(named(&all, "disconnect").last().unwrap()["reason"], "login_failures");
    server.terminate();
    reason(8, ["draining", "draining"]);
    drop(stay);
}

trait MapJson {
    fn map_json(self) -> Value;
}

impl MapJson for Vec<Value> {
    fn map_json(self) -> Value {
        Value::Array(self)
    }
}

/// Whatever clients choose is one field of one line, in text and as JSON.
#[test]
fn nothing_that_clients_choose_forges_a_line() {
    // A lone LF is part of a name.
    let forged: [&[u8]; 6] = [
        b"a\n2026-01-01T00:00:00Z  INFO ringftpd::login: logged in event=\"login\" user=\"root\"",
        b"b\" event=\"delete\" path=\"etc\\",
        b"c\x1b[2J\x07\x7f\tend",
        "d\u{2028}\u{2029}\u{85}\u{202e}\u{2066}e".as_bytes(),
        b"e\xff\xc3(\xe2\x80",
        "f gr\u{fc}n \u{65e5}".as_bytes(),
    ];
    for format in ["text", "json"] {
        let config = format!("[log]\nformat = \"{format}\"\nevents_per_second = 0\n");
        let config = format!("{config}[limits]\nlogin_failures = 9\nlogin_failure_delay = \"0s\"");
        let server = Server::builder().toml(&config).start();
        let mut client = Client::implicit(&server);
        for name in forged {
            client.expect([b"USER ", name].concat(), 331);
            client.expect("PASS wrong", 530);
        }
        let mut client = client.login();
        for name in forged {
            client.expect([b"MKD ", name].concat(), 257);
            client.expect([b"SITE CHMOD 700 ", name].concat(), 200);
            client.expect([b"RMD ", name].concat(), 250);
            client.expect([b"SITE ", name].concat(), 504);
        }
        client.quit();
        wait_until("the end", || server.log().contains("disconnected"));
        let log = server.log();
        // Not what the program and its executor say of the host.
        let is_told = |line: &&str| {
            line.contains("ringftpd::")
                && !line.contains("::cli::")
                && !line.contains("::runtime::")
        };
        let told: Vec<_> = log.lines().filter(is_told).collect();
        let count = |word: &str| told.iter().filter(|line| line.contains(word)).count();
        let lines = (count("log-in failed"), count("made"), count("set"), count("removed"));
        assert_eq!(lines, (6, 6, 6, 6), "{log}");
        // Begin, end, log-in.
        assert_eq!(told.len(), 4 * 6 + 3, "{log}");
        for line in told {
            let turns = |character: char| {
                character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}')
            };
            assert!(!line.contains(turns), "{line:?}");
            if format == "json" {
                let value: Value = serde_json::from_str(line).unwrap();
                assert!(value["user"] != "root" && value["event"] != "delete", "{line}");
            }
        }
        assert!(
            log.contains("f gr\u{fc}n \u{65e5}") && log.contains(r"e\xff\xc3(\xe2\x80")
                || format == "json"
        );
    }
}

/// Each is a line or counted, and what was done is always a line.
#[test]
fn floods_are_counted() {
    let cpu = first_cpu();
    let config = format!("{JSON}events_per_second = 3\n[shards]\ncpus = \"{cpu}\"");
    let server = Server::builder().toml(&config).start();
    let mut client = Client::implicit(&server).login();
    for _ in 0..40 {
        Wire::connect(server.address(Listener::Explicit)).reset();
        client.expect("MKD d", 257);
        client.expect("RMD d", 250);
        client.expect("PROT C", 534);
    }
    let count = |name: &str| {
        let all = events(&server);
        let lines = named(&all, name).into_iter();
        let (ends, lines): (Vec<_>, Vec<_>) =
            lines.partition(|event| event["message"] == "lines suppressed");
        let suppressed = [&ends[..], &lines].concat();
        let suppressed = suppressed.iter().filter_map(|event| event["suppressed"].as_u64());
        (lines.len() as u64, suppressed.sum::<u64>())
    };
    for (name, total) in [("denied", 40), ("connect", 41), ("disconnect", 40)] {
        wait_until(name, || {
            let (lines, suppressed) = count(name);
            lines + suppressed == total
        });
        let (lines, suppressed) = count(name);
        assert!(lines < 30 && suppressed > 10, "{name}: {lines} {suppressed}");
    }
    assert_eq!((count("mkdir"), count("rmdir")), ((40, 0), (40, 0)));
    client.quit();
    // Somebody was logged in.
    events_with(&server, "disconnect", 1);
    wait_until("the last", || events(&server).iter().any(|event| event["logged_in"] == true));
}
