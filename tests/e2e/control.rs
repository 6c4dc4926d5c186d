//! The control socket: who is on the server and what they do, how an operator ends them, and who
//! may ask.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::geteuid;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::content::bytes;
use crate::process::raise_descriptor_limit;
use crate::reload::ctl;
use crate::run::{DEADLINE, Finished, run};
use crate::support::server::{BOTH_LISTENERS, write_private};
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, End, Listener, Server, Wire, program, wait_until};

/// Larger than every buffer between the two processes.
const BIG: usize = 64 << 20;

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&TLS12], &[&TLS13]];

/// A client on each listener in each version of TLS, and one in the clear.
fn everybody(server: &Server) -> Vec<Client> {
    let ways = BOTH_LISTENERS.into_iter().flat_map(|way| VERSIONS.map(|tls| (way, tls)));
    let open = |(way, versions)| {
        Client::open_with(server, way, server.tls().versions(versions).no_resumption())
    };
    ways.map(open).chain([Client::plain(server)]).collect()
}

/// What `ctl` answers with --json, one value a line.
#[track_caller]
fn answers(server: &Server, words: &[&str]) -> Vec<Value> {
    let finished = ctl(server, words);
    finished.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sessions that there are.
#[track_caller]
fn sessions(server: &Server) -> Vec<Value> {
    let mut lines = answers(server, &["sessions", "--json"]);
    let end = lines.pop().unwrap();
    assert_eq!(end, json!({ "ok": true, "sessions": lines.len(), "shards_silent": [] }));
    lines
}

/// The one of this client.
#[track_caller]
fn session_of(server: &Server, client: &Client) -> Value {
    let peer = client.wire.tcp().local_addr().unwrap().to_string();
    let found = sessions(server).into_iter().find(|session| session["peer"] == peer.as_str());
    found.unwrap_or_else(|| panic!("no session of {peer}"))
}

#[test]
fn sessions_say_who_is_there_and_the_log_has_their_names() {
    let server = Server::start();
    let mut clients = everybody(&server);
    for client in clients.iter_mut().take(3) {
        client.expect("USER alice", 331);
        client.expect("PASS secret", 230);
    }
    let listed = sessions(&server);
    assert_eq!(listed.len(), clients.len());
    let ways = [("explicit", "TLSv1.2"), ("explicit", "TLSv1.3"), ("implicit", "TLSv1.2")];
    for (index, client) in clients.iter().enumerate() {
        let session = session_of(&server, client);
        let (mode, tls) = ways.get(index).copied().unwrap_or(match index {
            3 => ("implicit", "TLSv1.3"),
            _ => ("explicit", ""),
        });
        assert_eq!(session["mode"], mode, "{session}");
        assert_eq!(session["tls"].as_str().unwrap_or_default(), tls, "{session}");
        let user = if index < 3 { json!("alice") } else { Value::Null };
        assert_eq!(session["user"], user, "{session}");
        assert_eq!((&session["activity"], &session["transfer"]), (&json!("idle"), &Value::Null));
        let id = session["session"].as_str().unwrap();
        assert!(id.starts_with(&format!("{}-", session["shard"])), "{session}");
        assert!(session["since"].as_str().unwrap().ends_with('Z'), "{session}");
        let peer = session["peer"].as_str().unwrap();
        if index < 3 {
            let named = format!("session={id} peer={peer}");
            let log = server.log();
            let is_its = |line: &str| line.contains(&named) && line.contains("logged in");
            assert!(log.lines().any(is_its), "{named}: {log}");
        }
    }
    // They leave the TLS session, the log-in and the list.
    let mut first = clients.remove(0);
    first.expect("REIN", 220);
    let session = session_of(&server, &first);
    assert_eq!((&session["user"], &session["tls"]), (&Value::Null, &Value::Null), "{session}");
    first.wire.fin();
    wait_until("the end of a session", || sessions(&server).len() == clients.len());
}

/// Each line of a session has its name, also those of its transfers and of what they wait for.
#[test]
fn lines_of_transfers_have_the_name_of_their_session() {
    let server = Server::builder().toml("[log]\nlevel = \"debug\"").start();
    let mut client = Client::implicit(&server).login();
    let id = session_of(&server, &client)["session"].as_str().unwrap().to_owned();
    client.store("STOR up", b"content");
    client.retrieve("RETR up");
    client.refused("RETR nothing", 550);
    // A data connection whose handshake fails.
    let mut data = client.passive();
    client.send("RETR up");
    client.expect_reply(150);
    let _ = data.send_raw(b"no TLS at all, but some octets");
    client.expect_reply(522);
    client.quit();
    let log = server.log();
    let mine = |words: &str| {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
        assert!(!lines.is_empty(), "no {words:?} in {log}");
        for line in lines {
            assert!(line.contains(&format!(" session={id} peer=127.0.0.1:")), "{line}");
            assert_eq!(line.matches(" peer=").count(), 1, "{line}");
        }
    };
    mine("logged in");
    mine("transfer ended");
    mine("transfer refused");
    mine("control connection protected");
    mine("TLS handshake of a data connection");
}

#[test]
fn sessions_say_what_is_moved() {
    for (way, versions) in BOTH_LISTENERS.into_iter().zip(VERSIONS) {
        let server = Server::start();
        fs::write(server.root().join("big"), bytes(BIG, 1)).unwrap();
        let tls = || server.tls().versions(versions);
        let mut down = Client::open_with(&server, way, tls()).login();
        down.expect("TYPE I", 200);
        let mut down_data = down.begin("RETR big");
        let mut up = Client::open_with(&server, way, tls()).login();
        up.expect("TYPE I", 200);
        // Names are the clients' choice, and must not become lines or orders to a terminal.
        let mut up_data = up.begin("STOR a\u{1b}[2J\u{9b}31m \"b\"");
        up_data.send(&bytes(1000, 2)).unwrap();
        wait_until("octets of the upload", || {
            session_of(&server, &up)["transfer"]["octets"] == 1000
        });
        let session = session_of(&server, &up);
        assert_eq!(
            (&session["activity"], &session["command"]),
            (&json!("transfer"), &json!("STOR"))
        );
        assert_eq!(session["transfer"]["direction"], "upload");
        assert_eq!(session["transfer"]["path"], "/a\u{1b}[2J\u{9b}31m \"b\"");
        let session = session_of(&server, &down);
        assert_eq!(session["transfer"]["path"], "/big");
        assert_eq!(session["transfer"]["direction"], "download");
        let moved = session["transfer"]["octets"].as_u64().unwrap();
        assert!(moved > 0 && moved < BIG as u64, "{session}");
        assert!(session["transfer"]["octets_per_second"].as_u64().unwrap() > 0, "{session}");
        for words in [&["sessions"][..], &["sessions", "--json"]] {
            let out = ctl(&server, words).success().out();
            let control = |character: char| character.is_control() && character != '\n';
            assert!(!out.contains(control), "{out:?}");
            assert_eq!(out.lines().count(), 3, "{out}");
        }
        let text = ctl(&server, &["sessions"]).success();
        text.says("STOR upload 1000 octets, ").says(r#": /a\x1b[2J\xc2\x9b31m "b""#);

        drop(up_data);
        up.expect_reply(426);
        down_data.set_patience(PATIENCE);
        assert_eq!(down_data.read_to_end().0.len(), BIG);
    }
}

/// The shards are asked in parts, and go on serving meanwhile.
#[test]
fn two_thousand_sessions_are_listed_beside_a_transfer() {
    const SESSIONS: usize = 2000;
    raise_descriptor_limit();
    let server = Server::builder().toml("[limits]\nlogin_timeout = \"10m\"").start();
    let content = bytes(BIG, 3);
    fs::write(server.root().join("big"), &content).unwrap();
    let address = server.address(Listener::Explicit);
    let idle: Vec<TcpStream> =
        (0..SESSIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let data = client.begin("RETR big");
    wait_until("all sessions", || sessions(&server).len() == SESSIONS + 1);
    let watch = Stopwatch::start();
    let listed = sessions(&server);
    assert!(watch.elapsed() < Duration::from_secs(5), "slow: {:?}", watch.elapsed());
    let mut names: Vec<_> = listed.iter().map(|session| session["session"].to_string()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SESSIONS + 1, "each has a name of its own");
    assert!(client.receive(data) == content, "the download differs");
    // All but that one.
    drop(idle);
    wait_until("the end of the others", || sessions(&server).len() == 1);
}

#[test]
fn a_kick_ends_idle_sessions_with_421() {
    let server = Server::start();
    for mut client in everybody(&server) {
        let id = session_of(&server, &client)["session"].as_str().unwrap().to_owned();
        let mut beside = Client::implicit(&server).login();
        ctl(&server, &["kick", &id]).success().says("sessions ended: 1");
        client.expect_reply(421);
        let clean = if client.wire.tls().is_some() { End::CloseNotify } else { End::Fin };
        client.expect_end(clean);
        beside.expect("NOOP", 200);
        let gone = ctl(&server, &["kick", &id]).exits(1);
        gone.says(&format!("there is no session {id}"));
        beside.quit();
    }
}

#[test]
fn a_kick_cuts_transfers() {
    let server = Server::start();
    fs::write(server.root().join("big"), bytes(BIG, 1)).unwrap();
    for (way, versions) in BOTH_LISTENERS.into_iter().flat_map(|w| VERSIONS.map(|v| (w, v))) {
        let open = || Client::open_with(&server, way, server.tls().versions(versions)).login();
        let mut bob = Client::implicit(&server).login_as("bob");
        let mut down = open();
        let mut down_data = down.begin("RETR big");
        let mut up = open();
        let mut up_data = up.begin("STOR up");
        up_data.send(b"a little").unwrap();
        // One whose client has yet to connect, and one that has said nothing of its next command.
        let mut late = open();
        late.epsv();
        late.expect("RETR big", 150);
        let mut half = open();
        half.send_bytes(b"NOO");
        let answer = answers(&server, &["kick", "--user", "alice", "--json"]);
        assert_eq!(answer, [json!({ "ok": true, "ended": 4, "ending": 0, "shards_silent": [] })]);
        for client in [&mut down, &mut up, &mut late] {
            client.expect_reply(426);
        }
        for client in [&mut down, &mut up, &mut late, &mut half] {
            client.expect_reply(421);
            client.expect_end(End::CloseNotify);
        }
        assert_ne!(down_data.read_to_end().1, End::CloseNotify, "a cut download seems complete");
        assert!(!server.root().join("up").exists(), "a cut upload became visible");
        bob.expect("NOOP", 200);
        assert_eq!(sessions(&server).len(), 1);
        bob.quit();
    }
    let gone = ctl(&server, &["kick", "--user", "alice"]).exits(1);
    gone.says("no session of user \"alice\"");
}

#[test]
fn a_kick_goes_by_address() {
    let server = Server::start();
    let from = |octet: u8| {
        let source = std::net::IpAddr::from([127, 0, octet, 1]);
        let wire = Wire::connect_from(source, server.address(Listener::Explicit));
        let mut client = Client::from_wire(&server, Listener::Explicit, wire);
        client.expect_reply(220);
        client
    };
    let (mut one, mut two, mut three) = (from(1), from(2), from(3));
    ctl(&server, &["kick", "--address", "127.0.1.1"]).success().says("sessions ended: 1");
    one.expect_reply(421);
    two.expect("NOOP", 200);
    ctl(&server, &["kick", "--address", "127.0.2.77/23"]).success().says("sessions ended: 2");
    two.expect_reply(421);
    three.expect_reply(421);
    ctl(&server, &["kick", "--address", "127.0.0.0/8"]).exits(1).says("no session from");
    ctl(&server, &["kick", "--address", "::1/200"]).exits(1).says("is no address");
    ctl(&server, &["kick", "alice"]).exits(1).says("\"alice\" is no session");
    ctl(&server, &["kick"]).exits(2);
    ctl(&server, &["kick", "0-1", "--user", "alice"]).exits(2);
}

/// Neither a handshake that does not go on nor a client that reads nothing outlives the grace.
#[test]
fn a_kick_ends_those_that_do_not_play_along() {
    let server = Server::builder()
        .toml("[policy]\nrequire_control_tls = false\n[limits]\nstall_timeout = \"5m\"")
        .start();
    let mut begun = Wire::connect(server.address(Listener::Implicit));
    let hello = Wire::client_hello(&server.tls());
    begun.send_raw(&hello[..20]).unwrap();
    let deaf = Client::plain(&server).login();
    // Until its replies fill every buffer.
    let mut tcp = deaf.wire.tcp();
    tcp.set_nonblocking(true).unwrap();
    let commands = b"HELP\r\n".repeat(1000);
    let mut full = 0;
    wait_until("a full connection", || {
        full = if tcp.write(&commands).is_ok() { 0 } else { full + 1 };
        full >= 20
    });
    wait_until("two sessions", || sessions(&server).len() == 2);
    let watch = Stopwatch::start();
    let answer = answers(&server, &["kick", "--address", "127.0.0.1", "--json"]);
    assert_eq!(answer, [json!({ "ok": true, "ended": 2, "ending": 0, "shards_silent": [] })]);
    assert!(watch.elapsed() < PATIENCE / 2, "{:?}", watch.elapsed());
    assert!(sessions(&server).is_empty());
}

#[test]
fn certificates_are_told_and_compared_with_their_files() {
    let server = Server::builder().start_with(|scratch| {
        let other = scratch.authority.server();
        fs::write(scratch.path.join("other-chain.pem"), &other.certificate_pem).unwrap();
        write_private(&scratch.path.join("other-key.pem"), &other.key_pem);
        "[[tls.certificates]]\ncertificate = \"other-chain.pem\"\nkey = \"other-key.pem\"\n\
         names = [\"ftp.example.test\"]"
            .to_owned()
    });
    let all = || {
        let answer = answers(&server, &["certificates", "--json"]).remove(0);
        answer["certificates"].as_array().unwrap().clone()
    };
    let told = || all().remove(0);
    let other = all().remove(1);
    assert_eq!(other["certificate"], "tls.certificates[ftp.example.test]");
    assert_eq!(other["served_for"], json!(["ftp.example.test"]));
    assert!(other["file"].as_str().unwrap().ends_with("other-chain.pem"), "{other}");
    assert_eq!(other["on_disk"], "same");
    let first = told();
    assert_eq!(all().len(), 2);
    assert_ne!(first["sha256"], other["sha256"]);
    assert_eq!(
        (&first["certificate"], &first["on_disk"]),
        (&json!("tls.certificate"), &json!("same"))
    );
    let fingerprint = first["sha256"].as_str().unwrap();
    assert!(server.log().contains(&format!("certificate SHA-256 {fingerprint}")), "{first}");
    let names = first["names"].as_array().unwrap();
    assert!(names.contains(&json!("127.0.0.1")) && names.contains(&json!("localhost")), "{first}");
    assert!(first["days_left"].as_i64().unwrap() > 0, "{first}");
    assert!(first["file"].as_str().unwrap().ends_with("/chain.pem"), "{first}");
    assert!(first["serial"].as_str().unwrap().contains(':'), "{first}");

    let renewed = server.authority().expired_server();
    fs::write(server.scratch().join("chain.pem"), &renewed.certificate_pem).unwrap();
    let second = told();
    assert_eq!((&second["on_disk"], &second["sha256"]), (&json!("differs"), &first["sha256"]));
    fs::write(server.scratch().join("key.pem"), &renewed.key_pem).unwrap();
    ctl(&server, &["reload"]).success();
    let third = told();
    assert_eq!(third["on_disk"], "same");
    assert_ne!(third["serial"], first["serial"]);
    assert!(third["days_left"].as_i64().unwrap() < 0, "{third}");
    fs::remove_file(server.scratch().join("chain.pem")).unwrap();
    assert!(told()["on_disk"].as_str().unwrap().contains("No such file"), "{}", told());
    let text = ctl(&server, &["certificates"]).success();
    text.says("tls.certificate").says(third["serial"].as_str().unwrap());
}

#[test]
fn the_log_level_changes_and_comes_back() {
    let server = Server::start();
    let said = "control connection protected";
    let protected = || server.log().matches(said).count();
    let log_in = || Client::implicit(&server).login().quit();
    let marked = |word: &str| wait_until(word, || server.log().contains(word));
    log_in();
    assert_eq!(protected(), 0);
    ctl(&server, &["log-level", "debug"]).success().says("log level: debug");
    log_in();
    wait_until("a line of level debug", || protected() == 1);
    ctl(&server, &["log-level", "default"]).success();
    marked("log level as configured");
    log_in();
    ctl(&server, &["log-level", "warn,ringftpd::connection=debug"]).success();
    log_in();
    wait_until("the next", || protected() == 2);
    // A reload brings the configured level back, too.
    ctl(&server, &["reload"]).success();
    log_in();
    ctl(&server, &["log-level", "debug", "--json"]).success().says("{\"ok\":true}");
    log_in();
    wait_until("the last", || protected() == 3);
    for (wrong, cause) in [
        ("debgu", "is no level and no filter"),
        ("", "is no level and no filter"),
        ("a=b=c", "is no filter: "),
        ("ringftpd=loud", "is no filter: "),
    ] {
        let refused = ctl(&server, &["log-level", wrong]).exits(1);
        refused.says(cause).says("a level is one of off, error, warn, info, debug and trace");
    }
    // As it was.
    log_in();
    wait_until("one more", || protected() == 4);
}

#[test]
fn a_drain_is_answered_at_once() {
    let mut server = Server::start();
    let mut idle = Client::explicit(&server).login();
    let mut client = Client::implicit(&server).login();
    let data = client.begin("STOR up");
    let watch = Stopwatch::start();
    assert_eq!(answers(&server, &["drain", "--json"]), [json!({ "ok": true })]);
    assert!(watch.elapsed() < Duration::from_secs(5), "{:?}", watch.elapsed());
    idle.expect_reply(421);
    // Once more changes nothing, and the others are still answered.
    ctl(&server, &["drain"]).success().says("ends with its sessions");
    let session = session_of(&server, &client);
    assert_eq!(session["activity"], "transfer", "{session}");
    client.deliver(data, b"content");
    client.expect_reply(421);
    assert!(server.wait().success());
    assert_eq!(fs::read(server.root().join("up")).unwrap(), b"content");
}

/// What is said on the socket, and all that comes back.
fn said(server: &Server, octets: &[u8]) -> String {
    let mut stream = UnixStream::connect(server.scratch().join("ctl.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(octets).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_no_request_is_answered() {
    let server = Server::start();
    for (octets, expected) in [
        (&b"{\"command\":\"dance\"}\n"[..], "unknown command \\\"dance\\\"; known: "),
        (b"{}\n", "unknown command"),
        (b"7\n", "unknown command"),
        (b"{\"command\":\n", "not a request"),
        (b"\xff\xfe\n", "not a request"),
        (b"\n", "not a request"),
    ] {
        let answer = said(&server, octets);
        assert!(answer.contains("\"ok\":false") && answer.contains(expected), "{answer}");
        assert_eq!(answer.lines().count(), 1, "{answer}");
    }
}

/// Each has a thread; when there are too many, the next is told at once, and later there is room.
#[test]
fn who_is_silent_holds_nobody_up() {
    let server = Server::start();
    let socket = server.scratch().join("ctl.sock");
    let connect = || UnixStream::connect(&socket).unwrap();
    let watch = Stopwatch::start();
    let silent: Vec<_> = (0..7).map(|_| connect()).collect();
    ctl(&server, &["status"]).success();
    // One that sends now and then, and one that asks for much and reads nothing.
    let mut slow = connect();
    slow.write_all(b"{").unwrap();
    let mut refused = String::new();
    wait_until("all places are taken", || {
        let mut one = BufReader::new(connect());
        one.get_ref().write_all(b"{\"command\":\"status\"}\n").ok();
        refused.clear();
        let read = one.read_line(&mut refused);
        read.is_ok() && refused.contains("come again")
    });
    ctl(&server, &["status"]).exits(1).says("8 others are served; come again");
    assert!(watch.elapsed() < Duration::from_secs(4), "{:?}", watch.elapsed());
    for mut stream in silent.into_iter().chain([slow]) {
        let mut answer = String::new();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("no request within 5 s"), "{answer}");
    }
    assert!(watch.elapsed() < Duration::from_secs(9), "{:?}", watch.elapsed());
    ctl(&server, &["status"]).success();
}

/// Five seconds for a piece of the answer, and then it is alone.
#[test]
fn who_does_not_read_is_left() {
    raise_descriptor_limit();
    let server = Server::start();
    let address = server.address(Listener::Explicit);
    let _idle: Vec<TcpStream> = (0..2000).map(|_| TcpStream::connect(address).unwrap()).collect();
    wait_until("all sessions", || sessions(&server).len() == 2000);
    let mut stream = UnixStream::connect(server.scratch().join("ctl.sock")).unwrap();
    stream.write_all(b"{\"command\":\"sessions\"}\n").unwrap();
    let threads = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        let names =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "control-client").count()
    };
    wait_until("a thread for it", || threads() == 1);
    let watch = Stopwatch::start();
    ctl(&server, &["status"]).success();
    wait_until("the end of its thread", || threads() == 0);
    assert!(watch.elapsed() < Duration::from_secs(9), "{:?}", watch.elapsed());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("\"ok\""), "it was whole");
}

/// `ringftpd ctl` of a user who is neither root nor, mostly, the server's.
fn as_nobody(server: &Server, words: &[&str]) -> Finished {
    // Where that user may execute it, too.
    let binary = server.scratch().join("ringftpd");
    if !binary.exists() && fs::hard_link(program::path(), &binary).is_err() {
        fs::copy(program::path(), &binary).unwrap();
    }
    let mut program = Command::new(binary);
    program
        .uid(65534)
        .gid(65534)
        .arg("ctl")
        .args(words)
        .arg("--socket")
        .arg(server.scratch().join("ctl.sock"));
    run(&mut program, DEADLINE)
}

#[test]
fn the_socket_is_for_root_and_the_servers_user() {
    if !geteuid().is_root() {
        return;
    }
    let reachable = |scratch: &std::path::Path| {
        fs::set_permissions(scratch, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let server = Server::builder().start_with(|scratch| {
        reachable(scratch.path);
        String::new()
    });
    // The mode of the socket says it, and who comes past that is told by its uid.
    as_nobody(&server, &["status"]).exits(1).says("Permission denied");
    let socket = server.scratch().join("ctl.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    for words in [&["status"][..], &["sessions"], &["kick", "0-1"], &["drain"], &["reload"]] {
        let refused = as_nobody(&server, words).exits(1);
        refused.says("this socket is for root and for uid 0, and you are uid 65534");
    }
    assert!(server.log().contains("control socket: refused uid=65534"), "{}", server.log());
    Client::implicit(&server).login().quit();

    // The server's own user, when that is not root, and root all the same.
    let server =
        Server::builder().toml("[process]\nuser = \"65534:65534\"").start_with(|scratch| {
            reachable(scratch.path);
            String::new()
        });
    as_nobody(&server, &["status"]).success();
    ctl(&server, &["status"]).success();
}
