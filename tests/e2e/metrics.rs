//! What an operator sees of a running server: counters and gauges over HTTP, and in the log.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::process::Signal;

use crate::content::bytes;
use crate::process::{descriptors, descriptors_at_rest};
use crate::support::client::accept;
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, Server, program, wait_until};

/// Larger than every buffer between the two processes.
const BIG: usize = 64 << 20;

fn start() -> (Server, SocketAddr) {
    let server = Server::builder().toml("[metrics]\nlisten = \"127.0.0.1:0\"").start();
    let address = endpoint(&server);
    (server, address)
}

/// Where a server with `metrics.listen` has its counters.
#[track_caller]
pub(crate) fn endpoint(server: &Server) -> SocketAddr {
    let log = server.log();
    let printed = log.lines().find_map(|line| line.strip_prefix("metrics http://")).unwrap();
    printed.strip_suffix("/metrics").unwrap().parse().unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status and body of the answer to GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The whole answer to `request`; empty when the connection was closed without one.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = connect(address);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub(crate) fn scrape(address: SocketAddr) -> String {
    let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    assert!(!body.contains("# EOF") && body.ends_with('\n'), "{body}");
    body.to_owned()
}

/// Sum of a metric over all shards.
#[track_caller]
pub(crate) fn sum(page: &str, name: &str) -> u64 {
    let values: Vec<u64> = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix("{shard=")?.split_once("} "))
        .map(|(_, value)| value.parse().unwrap())
        .collect();
    assert!(!values.is_empty(), "no {name} in\n{page}");
    values.iter().sum()
}

/// What crosses from thread to thread is counted, and sessions with all they do add nothing.
#[test]
fn connections_cause_no_messages_to_shards() {
    let (server, address) = start();
    fs::write(server.root().join("file"), bytes(1 << 20, 1)).unwrap();
    let before = scrape(address);
    for _ in 0..10 {
        let mut client = Client::implicit(&server).login();
        client.expect("TYPE I", 200);
        client.retrieve("RETR file");
        client.store("STOR new", b"content");
        client.list("MLSD");
        client.quit();
    }
    let after = scrape(address);
    let added = |name| sum(&after, name) - sum(&before, name);
    assert_eq!(added("ringftpd_logins_total"), 10);
    assert_eq!(added("ringftpd_uploads_total"), 10);
    let shards = after.lines().filter(|line| line.starts_with("ringftpd_sessions{")).count();
    assert_eq!(added("ringftpd_messages_total"), shards as u64, "more than the second scrape");
}

/// A value by its name and labels; the page has it as a whole number.
#[track_caller]
fn value(page: &str, sample: &str) -> u64 {
    let found = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {sample} in\n{page}")).parse().unwrap()
}

/// Each phase is there as often as it happened, with the kind that it was, and took as long as it
/// can have.
#[test]
fn phases_are_counted_and_timed() {
    let (server, address) = start();
    fs::write(server.root().join("file"), bytes(1 << 20, 1)).unwrap();
    let watch = Stopwatch::start();
    for number in 0..3 {
        let mut client = Client::implicit(&server).login();
        client.expect("TYPE I", 200);
        client.retrieve("RETR file");
        client.store("STOR new", b"content");
        client.store("STOR empty", b"");
        if number == 0 {
            client.list("MLSD");
            client.expect("SIZE absent", 550);
        }
        client.quit();
    }
    let mut explicit = Client::explicit(&server).login();
    let incoming = explicit.eprt();
    explicit.expect("NLST", 150);
    let mut data = accept(&incoming);
    explicit.secure(&mut data);
    explicit.receive(data);
    explicit.quit();
    let page = scrape(address);
    let longest = watch.elapsed().as_secs_f64();
    let count = |phase, kind| {
        value(&page, &format!("ringftpd_phase_seconds_count{{phase=\"{phase}\",kind=\"{kind}\"}}"))
    };
    for (phase, kind, expected) in [
        ("client_hello", "any", 4),
        ("greeting", "any", 4),
        ("login", "accepted", 4),
        ("login", "refused", 0),
        ("data_connect", "passive", 10),
        ("data_connect", "active", 1),
        ("first_byte", "download", 3),
        ("first_byte", "upload", 3),
        ("last_byte", "upload", 3),
        ("completion", "upload", 6),
        ("completion", "listing", 2),
        ("transfer", "download", 3),
        ("transfer", "upload", 6),
        ("transfer", "listing", 2),
    ] {
        assert_eq!(count(phase, kind), expected, "{phase} {kind}\n{page}");
    }
    for (phase, expected) in [("tls_handshake", 4), ("data_tls", 11)] {
        let both = count(phase, "full") + count(phase, "resumed");
        assert_eq!(both, expected, "{phase}\n{page}");
    }
    let sums = page.lines().filter(|line| line.starts_with("ringftpd_phase_seconds_sum"));
    let sums = sums.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    assert!(sums.clone().all(|sum| (0.0..longest).contains(&sum)), "{longest} s\n{page}");
    assert!(sums.filter(|sum| *sum > 0.0).count() > 10, "{page}");

    for (code, expected) in [(220, 4), (226, 11), (230, 4), (550, 1)] {
        let sample = format!("ringftpd_replies_total{{code=\"{code}\"}}");
        assert_eq!(value(&page, &sample), expected, "{code}\n{page}");
    }
    assert_eq!(value(&page, "ringftpd_passive_ports{state=\"waiting\"}"), 0);
    assert!(value(&page, "process_open_fds") > 10 && value(&page, "process_threads") > 2);
    assert!(value(&page, "process_max_fds") > value(&page, "process_open_fds"));
    if !program::is_on_glommio() {
        assert!(sum(&page, "ringftpd_turn_seconds_count") > 20, "{page}");
        assert!(page.contains("ringftpd_turn_longest_seconds{shard=\"0\"} 0."), "{page}");
    }
}

#[test]
fn a_scrape_while_a_transfer_runs() {
    let (server, address) = start();
    let content = bytes(BIG, 1);
    fs::write(server.root().join("big"), &content).unwrap();
    let mut down = Client::implicit(&server).login();
    down.expect("TYPE I", 200);
    let mut data = down.passive();
    down.expect("RETR big", 150);
    let _clear = Client::plain(&server);
    wait_until("the data connection's handshake", || {
        sum(&scrape(address), "ringftpd_handshakes") == 1
    });
    down.secure(&mut data);

    let page = scrape(address);
    assert_eq!(sum(&page, "ringftpd_sessions"), 2, "{page}");
    assert_eq!(sum(&page, "ringftpd_sessions_logged_in"), 1, "{page}");
    assert_eq!(sum(&page, "ringftpd_transfers"), 1, "{page}");
    assert_eq!(sum(&page, "ringftpd_logins_total"), 1, "{page}");
    assert_eq!(sum(&page, "ringftpd_downloads_total"), 0, "{page}");
    assert!(sum(&page, "ringftpd_shard_up") >= 1, "{page}");
    assert!(page.contains("# TYPE ringftpd_logins_total counter\n"), "{page}");
    assert!(sum(&page, "ringftpd_handshakes_most") >= 1, "{page}");
    assert!(page.contains("# TYPE ringftpd_handshakes_most gauge\n"), "{page}");
    assert!(page.contains("# HELP ringftpd_passive_strangers_total Connections to"), "{page}");

    assert!(down.receive(data) == content, "the scrape has changed the download");
    down.quit();
    wait_until("the end of the transfer", || {
        let page = scrape(address);
        sum(&page, "ringftpd_transfers") == 0
            && sum(&page, "ringftpd_handshakes") == 0
            && sum(&page, "ringftpd_sessions_logged_in") == 0
            && sum(&page, "ringftpd_sessions") == 1
            && sum(&page, "ringftpd_downloads_total") == 1
            && sum(&page, "ringftpd_bytes_sent_total") == BIG as u64
    });
}

/// Text unless OpenMetrics is asked for; HEAD says what GET would, without the page.
#[test]
fn the_format_is_the_one_asked_for() {
    let (_server, address) = start();
    let open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = "text/plain; version=0.0.4; charset=utf-8";
    for (accept, expected) in [
        ("text/html, */*;q=0.8", text),
        ("application/openmetrics-text", open),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", open),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4", text),
    ] {
        for method in ["GET", "HEAD"] {
            let request = format!("{method} /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n");
            let answer = ask(address, &request);
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert!(head.contains(&format!("\r\nContent-Type: {expected}\r\n")), "{head}");
            assert!(head.contains("\r\nVary: Accept\r\n"), "{head}");
            let length = head.split_once("Content-Length: ").unwrap().1.lines().next().unwrap();
            let length: usize = length.parse().unwrap();
            assert_eq!(body.len(), if method == "GET" { length } else { 0 });
            assert!(length > 1000, "{head}");
            let has_end = body.ends_with("# EOF\n");
            assert_eq!(has_end, expected == open && method == "GET", "{body}");
        }
    }
    // The body is no text: see what a real Prometheus makes of it.
    let messages = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
                    encoding=delimited";
    let request = format!("HEAD /metrics HTTP/1.1\r\nAccept: {messages}, */*;q=0.1\r\n\r\n");
    let answer = ask(address, &request);
    assert!(answer.contains(&format!("\r\nContent-Type: {messages}\r\n")), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn other_requests_are_refused() {
    let (_server, address) = start();
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("DELETE /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("USER anonymous\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = ask(address, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "b".repeat(8 * 1024));
    let answer = ask(address, &long[..8 * 1024]);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

/// Scrapers that never ask, or never read, are ended at a deadline; meanwhile sessions and other
/// scrapers go on, and however many there are, they hold a bounded number of threads.
#[test]
fn stuck_scrapers_hold_up_nothing() {
    let (server, address) = start();
    let before = descriptors_at_rest(server.pid());
    let silent: Vec<TcpStream> = (0..4).map(|_| connect(address)).collect();
    wait_until("the silent ones", || descriptors(server.pid()) >= before + 4);
    let watch = Stopwatch::start();
    scrape(address);
    Client::implicit(&server).login().quit();
    assert!(watch.elapsed() < PATIENCE / 4, "held up for {:?}", watch.elapsed());

    // However many come, and half a request is none: the next scrape has a place at once.
    let many: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
            stream
        })
        .collect();
    let watch_scrape = Stopwatch::start();
    scrape(address);
    let waited = watch_scrape.elapsed();
    assert!(waited < PATIENCE / 10, "half-open requests shut a scrape out for {waited:?}");
    // The oldest make room at once, the others end at the deadline.
    for mut stream in silent.into_iter().chain(many) {
        let mut octets = [0; 1];
        assert!(matches!(stream.read(&mut octets), Ok(0) | Err(_)), "an answer to no question");
        assert!(descriptors(server.pid()) <= before + 24, "threads of stuck scrapers");
    }
    assert!(watch.elapsed() < PATIENCE, "no deadline: {:?}", watch.elapsed());
    scrape(address);
    server.stop();
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let config = scratch.path().join("ringftpd.toml");
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root { "[process]\nuser = \"root\"\n" } else { "" };
    fs::write(&config, format!("{user}[metrics]\nlisten = \"{address}\"\n")).unwrap();
    let output = std::process::Command::new(program::path())
        .args(["serve", "--implicit", "127.0.0.1:0", "--explicit", "none", "--config"])
        .arg(&config)
        .arg("--state-dir")
        .arg(scratch.path())
        .arg(scratch.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    let expected = format!("ringftpd: metrics.listen: cannot listen on {address}: ");
    assert!(text.contains(&expected) && text.contains("another server has it"), "{text}");
}

/// SIGUSR1 ends nothing: every shard writes what it has counted, now and while it drains.
#[test]
fn a_signal_writes_the_counters_to_the_log() {
    let mut server = Server::builder().toml("[limits]\nshutdown_timeout = \"30s\"").start();
    fs::write(server.root().join("big"), bytes(BIG, 1)).unwrap();
    let mut down = Client::implicit(&server).login();
    let data = down.begin("RETR big");
    let lines = || {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains(" counters shard="));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for times in 1..=2 {
        server.signal(Signal::USR1);
        wait_until("the counters in the log", || {
            let found = lines();
            let counted =
                |line: &&String| line.contains("logins=1") && line.contains("transfers=1");
            // A shard without sessions ends as soon as it is told to drain.
            let first = times > 1 || found.iter().any(|line| line.contains("shard=0"));
            first && found.iter().filter(counted).count() == times
        });
        if times == 1 {
            server.terminate();
            wait_until("the drain", || server.log().contains("shutting down"));
        }
    }
    down.receive(data);
    assert!(server.wait().success());
}
