//! `ringftpd ctl top`: the picture in a terminal, beside a server at work; and what it prints where
//! there is none.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::reload::ctl;
use crate::support::{Client, End, Server, Wire, program, wait_until};
use crate::terminal::Terminal;

/// Larger than every buffer between the two processes.
const BIG: u64 = 64 << 20;

fn top(server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(program::path());
    command.args(["ctl", "top", "--socket"]).arg(server.scratch().join("ctl.sock")).args(words);
    command
}

/// A server on which alice takes a large file, of which she has read some, and bob is idle.
fn at_work() -> (Server, Client, Wire, Client) {
    let server = Server::start();
    fs::File::create(server.root().join("big")).unwrap().set_len(BIG).unwrap();
    let mut alice = Client::implicit(&server).login();
    alice.expect("TYPE I", 200);
    let mut data = alice.begin("RETR big");
    let mut read = 0;
    while read < BIG / 4 {
        read += data.read_record().unwrap().len() as u64;
    }
    let mut bob = Client::implicit(&server).login_as("bob");
    bob.expect("NOOP", 200);
    (server, alice, data, bob)
}

#[test]
fn a_picture_of_a_server_at_work() {
    let (server, mut alice, data, mut bob) = at_work();
    let mut terminal = Terminal::start(&mut top(&server, &["--interval", "0.2"]), 130, 30);
    let version = format!("ringftpd {}", env!("CARGO_PKG_VERSION"));
    let process = format!("pid {}", server.pid());
    let text = terminal.shows(&[
        &version,
        &process,
        "sessions 2 (2 logged in)  transfers 1  handshakes 0",
        "commands/s",
        "RETR [##",
        "/big",
        "idle ",
        "SHARD SESS",
        "(1-2 of 2)",
        "s sort (rate)",
    ]);
    let line_of = |part: &str| text.lines().position(|line| line.contains(part));
    assert!(line_of("RETR [") < line_of("idle "), "{text}");
    // What happens is seen in the next interval.
    let commands = || {
        let text = terminal.text();
        let rates = text.lines().find(|line| line.contains("commands/s"));
        !rates.is_none_or(|rates| rates.contains(" 0 commands/s"))
    };
    wait_until("a rate of commands", || {
        bob.expect("NOOP", 200);
        commands()
    });
    terminal.press("s");
    terminal.shows(&["s sort (octets)"]);
    terminal.press("p");
    terminal.shows(&["PAUSED"]);
    terminal.press("p");
    // Bob is the last.
    terminal.press("\x1b[B\x1b[F");
    terminal.press("k");
    terminal.shows(&["end session ", " of bob (127.0.0.1:", "? y/n"]);
    terminal.press("n");
    terminal.shows(&["s sort (octets)"]);
    bob.expect("NOOP", 200);
    terminal.press("k");
    terminal.shows(&["end session "]);
    terminal.press("y");
    terminal.shows(&["has ended"]);
    bob.expect_reply(421);
    bob.expect_end(End::CloseNotify);
    terminal.resize(40, 10);
    let text = terminal.shows(&["sessions 1 (1 logged in)", "alice", "RETR", "% ", "/s /"]);
    assert!(text.lines().count() == 10 && !text.contains("[#"), "{text}");
    drop(data);
    alice.expect_reply(426);
    alice.quit();
    terminal.shows(&["sessions 0 (0 logged in)"]);
    server.stop();
    terminal.shows(&["no answer, trying again"]);
    terminal.press("q");
    assert_eq!(terminal.ends().code(), Some(0));
}

#[test]
fn the_terminal_is_left_as_it_was() {
    let server = Server::start();
    let start = || {
        let terminal = Terminal::start(&mut top(&server, &[]), 80, 24);
        terminal.shows(&["sessions 0", "q quit"]);
        terminal
    };
    let mut terminal = start();
    terminal.press("\x03");
    assert_eq!(terminal.ends().code(), Some(0));
    // It was stopped, and others had the terminal.
    let mut terminal = start();
    terminal.resize(60, 12);
    terminal.signal(Signal::CONT);
    terminal.shows(&["sessions 0", "q quit"]);
    terminal.press("q");
    assert_eq!(terminal.ends().code(), Some(0));
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let terminal = start();
        terminal.signal(signal);
        assert_eq!(terminal.ends().code(), Some(code));
    }
    // Never entered.
    let mut nobody = Command::new(program::path());
    nobody.args(["ctl", "top", "--socket"]).arg(server.scratch().join("none"));
    let terminal = Terminal::start(&mut nobody, 80, 24);
    terminal.shows(&["No such file or directory"]);
    assert_eq!(terminal.ends().code(), Some(1));
}

#[test]
fn lines_for_programs() {
    let (server, alice, data, bob) = at_work();
    let words = ["top", "--json", "--interval", "0.3", "--count", "2"];
    let finished = ctl(&server, &words).success();
    let lines: Vec<Value> =
        finished.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{finished}");
    for line in &lines {
        assert!(line["interval_seconds"].as_f64().unwrap() >= 0.2, "{line}");
        let [ok, sessions, transfers] = ["ok", "sessions", "transfers"].map(|key| &line[key]);
        assert_eq!((ok, sessions, transfers), (&json!(true), &json!(2), &json!(1)), "{line}");
        assert_eq!(line["shards_silent"], json!([]));
        let list = line["list"].as_array().unwrap();
        let moving = list.iter().find(|session| session["user"] == "alice").unwrap();
        let transfer = &moving["transfer"];
        assert_eq!((&transfer["path"], &transfer["size"]), (&json!("/big"), &json!(BIG)));
        // Of what was read some is TLS.
        assert!(transfer["octets"].as_u64().unwrap() > BIG / 5, "{line}");
        assert!(list.iter().any(|session| session["user"] == "bob"), "{line}");
        assert!(line["rates"]["octets_out"].is_number(), "{line}");
    }
    drop((data, alice, bob));
}

#[test]
fn a_table_where_there_is_no_terminal() {
    let (server, alice, data, bob) = at_work();
    let table = ctl(&server, &["top", "--interval", "0.3"]).success();
    let table = ["commands/s", "SHARD", "SESSION", "RETR [##", "/big"]
        .into_iter()
        .fold(table, |table, part| table.says(part));
    let out = table.out();
    assert!(!out.contains('\x1b') && !out.contains("q quit"), "{out}");
    assert!(out.lines().all(|line| !line.is_empty()), "{out}");
    drop((data, alice, bob));
}
