//! An operator ends sessions whose work another thread does, and a client of the control socket is
//! slow: neither holds anybody up.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hung::{Hung, alone};
use crate::logins::COSTLY_HASH;
use crate::process::first_cpu;
use crate::reload::ctl;
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, End, Server, wait_until};

/// What `ctl sessions` says of those that do `command`.
fn busy_with(server: &Server, command: &str) -> usize {
    let sessions = ctl(server, &["sessions", "--json"]).success().out();
    let sessions = sessions.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    sessions.filter(|session| session["command"] == command).count()
}

/// More checks than are done at a time: some sessions wait for theirs.
#[test]
fn a_kick_ends_sessions_whose_password_is_checked() {
    const CLIENTS: usize = 12;
    let user = format!("password = \"{COSTLY_HASH}\"");
    let config = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder().toml(&config).user("carol", &["read"], &user).start();
    let mut beside = Client::implicit(&server).login_as("bob");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Client::explicit(&server)).collect();
    for client in &mut clients {
        client.expect("USER carol", 331);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("PASS wrong{number}"));
    }
    wait_until("checks", || busy_with(&server, "PASS") > 0);
    let watch = Stopwatch::start();
    let answer = ctl(&server, &["kick", "--address", "127.0.0.1", "--json"]).success().out();
    assert!(watch.elapsed() < PATIENCE / 2, "{:?}", watch.elapsed());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let all = json!(CLIENTS + 1);
    assert_eq!((&answer["ended"], &answer["ending"]), (&all, &json!(0)), "{answer}");
    beside.expect_reply(421);
    beside.expect_end(End::CloseNotify);
    assert_eq!(ctl(&server, &["sessions"]).success().out(), "", "somebody is left");
    for client in &mut clients {
        // Some are answered within the 3 s, all learn why they are closed.
        let first = client.reply().code;
        let last = if first == 530 { client.reply().code } else { first };
        assert_eq!(last, 421);
        client.expect_end(End::CloseNotify);
    }
    // Whoever comes next is not behind them.
    Client::implicit(&server).login().quit();
}

/// What cannot be given up gets its 3 s, then the session ends without it, with 421.
#[test]
fn a_kick_ends_sessions_whose_file_system_hangs() {
    if !rustix::process::geteuid().is_root() {
        return alone("kicks::a_kick_ends_sessions_whose_file_system_hangs");
    }
    let server = Server::start();
    fs::create_dir(server.root().join("mount")).unwrap();
    let hung = Hung::mount(&server.root().join("mount"));
    let mut stuck = Client::implicit(&server).login();
    stuck.send("MKD mount/d");
    let mut moving = Client::implicit(&server).login();
    moving.epsv();
    moving.send("RETR mount/f");
    let mut beside = Client::implicit(&server).login_as("bob");
    wait_until("the request", || busy_with(&server, "MKD") == 1);
    let watch = Stopwatch::start();
    let answer = ctl(&server, &["kick", "--user", "alice", "--json"]).success().out();
    assert!(watch.elapsed() < PATIENCE / 2, "{:?}", watch.elapsed());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["ended"], &answer["ending"]), (&json!(2), &json!(0)), "{answer}");
    beside.expect("NOOP", 200);
    let left = ctl(&server, &["sessions", "--json"]).success();
    assert_eq!(left.count("\"user\":\"alice\""), 0, "{left}");
    stuck.expect_reply(421);
    stuck.expect_end(End::CloseNotify);
    drop(hung);
    // Of no session any more.
    beside.expect("NOOP", 200);
    beside.quit();
}

/// An octet now and then, so that no single wait is long: the whole request has 5 s all the same.
#[test]
fn who_drips_is_refused_in_time_and_holds_nobody_up() {
    let server = Server::start();
    let mut slow = UnixStream::connect(server.scratch().join("ctl.sock")).unwrap();
    slow.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    let watch = Stopwatch::start();
    let mut answer = [0; 1024];
    let mut refused = None;
    for octet in b"{\"command\":\"status\"   " {
        slow.write_all(&[*octet]).unwrap();
        let asked = Stopwatch::start();
        ctl(&server, &["status"]).success();
        assert!(asked.elapsed() < PATIENCE / 2, "{:?}", asked.elapsed());
        if let Ok(count) = slow.read(&mut answer) {
            refused = Some(String::from_utf8_lossy(&answer[..count]).into_owned());
            break;
        }
    }
    let refused = refused.expect("an answer");
    assert!(refused.contains("no request within 5 s"), "{refused}");
    assert!(watch.elapsed() < Duration::from_secs(8), "{:?}", watch.elapsed());
}
