//! Each reason for which a connection is refused, or a log-in fails: the log has a line with it,
//! and the page a counter that says the same.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::events::{events, named};
use crate::logins::COSTLY_HASH;
use crate::metrics::{endpoint, scrape};
use crate::process::{first_cpu, raise_descriptor_limit};
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

/// A server of one shard, in whose log each event is.
struct Judged {
    server: Server,
    address: SocketAddr,
}

impl Judged {
    fn with(config: &str) -> Self {
        let config = format!(
            "[shards]\ncpus = \"{}\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[policy]\n\
             require_control_tls = false\nrequire_data_tls = false\n\
             [log]\nformat = \"json\"\nevents_per_second = 0\n\
             {config}",
            first_cpu()
        );
        let builder = Server::builder().toml(&config);
        let costly = format!("password = \"{COSTLY_HASH}\"");
        let server = builder.user("carol", &["read"], &costly).start();
        Self { address: endpoint(&server), server }
    }

    /// Of this counter by reason, those that are not 0.
    fn counts(&self, counter: &str) -> BTreeSet<(String, u64)> {
        let begin = format!("ringftpd_{counter}_total{{reason=\"");
        let page = scrape(self.address);
        let samples = page.lines().filter_map(|line| line.strip_prefix(&begin)?.split_once("\"} "));
        let counts = samples.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap()));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    /// The lines of this event by reason.
    fn lines(&self, event: &str) -> BTreeSet<(String, u64)> {
        let events = events(&self.server);
        let lines = named(&events, event);
        let reason = |line: &Value| line["reason"].as_str().unwrap().to_owned();
        let reasons: BTreeSet<_> = lines.iter().map(|line| reason(line)).collect();
        let count = |wanted: &str| lines.iter().filter(|line| reason(line) == wanted).count();
        reasons.iter().map(|reason| (reason.clone(), count(reason) as u64)).collect()
    }

    /// Waits until this reason is told and counted, as often as it is told.
    #[track_caller]
    fn tells(&self, event: &str, counter: &str, reason: &str) {
        wait_until(reason, || {
            let lines = self.lines(event);
            lines.iter().any(|(told, _)| told == reason) && lines == self.counts(counter)
        });
    }

    #[track_caller]
    fn refuses(&self, reason: &str) {
        self.tells("refused", "refused", reason);
    }

    #[track_caller]
    fn lets_nobody_in(&self, reason: &str) {
        self.tells("login_failed", "login_failures", reason);
    }

    fn client(&self) -> Client {
        Client::plain(&self.server)
    }

    fn wire(&self, listener: Listener) -> Wire {
        Wire::connect(self.server.address(listener))
    }
}

/// Each word of a counter is there from the beginning.
#[track_caller]
fn words(server: &Judged, counter: &str) -> usize {
    let begin = format!("ringftpd_{counter}_total{{reason=\"");
    let page = scrape(server.address);
    page.lines().filter(|line| line.starts_with(&begin) && line.ends_with(" 0")).count()
}

#[test]
fn connections() {
    let judged = Judged::with("[limits]\nsessions = 2");
    assert_eq!(["refused", "login_failures"].map(|counter| words(&judged, counter)), [17, 4]);
    let (first, _second) = (judged.client(), judged.client());
    Client::raw(&judged.server, Listener::Explicit).expect_reply(421);
    judged.refuses("sessions");
    first.quit();

    let judged = Judged::with("[limits]\nsessions_per_ip = 1");
    let _first = judged.client();
    Client::raw(&judged.server, Listener::Explicit).expect_reply(421);
    judged.refuses("sessions_per_ip");

    let judged = Judged::with("[limits]\nshutdown_timeout = \"20s\"");
    let mut busy = judged.client().login();
    let data = busy.begin("STOR file");
    let _idle = judged.client();
    judged.server.terminate();
    judged.refuses("draining");
    busy.deliver(data, b"octets");
}

#[test]
fn handshakes() {
    let limits = "[limits]\nhandshakes = 1\nclient_hello_timeout = \"1s\"\n\
                  handshake_timeout = \"2s\"";
    let judged = Judged::with(limits);
    let server = &judged.server;
    let hello = Wire::client_hello(&server.tls());
    let mut silent = judged.wire(Listener::Implicit);
    silent.send_raw(b"\x16").unwrap();
    assert_ne!(silent.read_to_end().1, End::Timeout);
    judged.refuses("no_client_hello");

    let mut slow = judged.wire(Listener::Implicit);
    slow.send_raw(&hello).unwrap();
    assert_ne!(slow.read_to_end().1, End::Timeout);
    judged.refuses("handshake_timeout");

    let mut stuck = judged.client();
    stuck.expect("AUTH TLS", 234);
    // The handshake begins behind the 234; by the end of another session it has.
    judged.client().quit();
    Client::implicit(server).quit();
    judged.refuses("shed");

    judged.wire(Listener::Implicit).send_raw(b"USER alice\r\n").unwrap();
    judged.refuses("tls_failed");
    let mut client = judged.client();
    client.send_bytes(b"\x16\x03\x01\0\0");
    judged.refuses("not_ftp");
    let mut client = judged.client();
    client.send_bytes(b"AUTH TLS\r\nUSER alice\r\n");
    judged.refuses("octets_behind_auth");

    let mut client = judged.client();
    client.expect("HOST ftp.example.test", 220);
    client.use_tls(server.tls().server_name("localhost"));
    client.auth();
    client.expect_reply(421);
    judged.refuses("host_mismatch");
}

#[test]
fn passive_ports() {
    let judged = Judged::with("[passive]\nports = \"28381-28381\"");
    let (mut first, mut second) = (judged.client().login(), judged.client().login());
    first.expect("EPSV", 229);
    second.expect("EPSV", 425);
    judged.refuses("passive_ports");

    let judged = Judged::with("");
    let mut client = judged.client().login();
    let pid = Pid::from_raw(judged.server.pid().try_into().unwrap());
    let few = Rlimit { current: Some(3), maximum: most_files(judged.server.pid()) };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    client.expect("EPSV", 425);
    prlimit(pid, Resource::Nofile, before).unwrap();
    judged.refuses("passive_failed");
    client.expect("EPSV", 229);
}

/// The most descriptors that a process may allow itself.
fn most_files(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let row = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    row.split_whitespace().nth(4).unwrap().parse().ok()
}

#[test]
fn log_ins() {
    let judged = Judged::with("[limits]\nsessions_per_user = 1");
    let mut client = judged.client();
    client.expect("USER alice", 331);
    client.expect("PASS wrong", 530);
    judged.lets_nobody_in("credentials");
    let first = judged.client().login();
    client.expect("USER alice", 331);
    assert_ne!(client.cmd("PASS secret").code, 230);
    judged.lets_nobody_in("sessions_per_user");
    first.quit();
    fs::rename(judged.server.root(), judged.server.root().with_extension("away")).unwrap();
    let mut client = judged.client();
    client.expect("USER bob", 331);
    client.expect("PASS secret", 530);
    judged.lets_nobody_in("no_home");
}

/// More of one address than may wait for the check of a password.
#[test]
fn a_crowd_of_log_ins() {
    const WAITING_MAX: usize = 2 * 1024;
    const CHECKED: usize = 3;
    raise_descriptor_limit();
    let judged = Judged::with("[limits]\nlogin_failure_delay = \"0s\"");
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let to = judged.server.address(Listener::Explicit);
    let mut crowd = Vec::new();
    for number in 0..WAITING_MAX + CHECKED + 400 {
        let mut wire = Wire::connect_from(here, to);
        wire.send_raw(format!("USER carol\r\nPASS wrong{number}\r\n").as_bytes()).unwrap();
        crowd.push(wire);
    }
    judged.lets_nobody_in("overloaded");
    crowd.into_iter().for_each(Wire::reset);
}
