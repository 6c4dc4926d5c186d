//! `metrics.listen`: the shards' counters over HTTP, in the formats that Prometheus reads, and
//! whether the server is well and ready. Works on threads of its own and asks the shards through
//! their inboxes; no shard ever waits for it, and a client that is stuck holds up nobody: it makes
//! room for the next.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::gate::Gate;
use super::metrics_page::{Format, Page};
use super::readiness::{Readiness, Stage};
use super::reload::Results;
use super::{ACCEPT_PAUSE, shards, start_thread};
use crate::clock;
use crate::runtime::remote::RemoteSender;
use crate::shard::{ListenError, Message};
use crate::sys::process;

/// The bound socket. Nobody is served before [`Endpoint::start`].
pub(super) struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Binds; to be called before root is given up.
    ///
    /// # Errors
    ///
    /// Names the address, the cause and the remedy.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = TcpListener::bind(address)
            .and_then(|listener| Ok(Self { address: listener.local_addr()?, listener }));
        bound.map_err(|error| ListenError::new(address, &error))
    }

    /// Takes over a socket that another server has listened on.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        let listener = TcpListener::from(socket);
        Ok(Self { address: listener.local_addr()?, listener })
    }

    /// Another descriptor of the socket.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2).
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.listener.try_clone()?.into())
    }

    /// Where it really listens; never port 0.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `gate` is closed; `lines_dropped` tells how many lines the log lost,
    /// `reloads` how reloads ended, `readiness` how far the server has come.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(
        self,
        shards: Vec<RemoteSender<Message>>,
        lines_dropped: impl Fn() -> usize + Send + Sync + 'static,
        reloads: Arc<Results>,
        readiness: Readiness,
        gate: Gate,
    ) -> Result<(), String> {
        let source = Arc::new(Source { shards, lines_dropped, reloads, readiness });
        self.listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        start_thread("metrics", move || accept(&self.listener, &gate, &source))
    }
}

/// Scrapes served at the same time; for one more, the oldest that waits for its client has to go.
const SCRAPES_MAX: usize = 8;

/// From the connection to the last octet of the answer.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(5);

/// Request line and header fields, octets.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request.
const FIELDS_MAX: usize = 64;

/// What the figures come from.
struct Source<F> {
    shards: Vec<RemoteSender<Message>>,
    lines_dropped: F,
    reloads: Arc<Results>,
    readiness: Readiness,
}

fn accept<F>(listener: &TcpListener, gate: &Gate, source: &Arc<Source<F>>)
where
    F: Fn() -> usize + Send + Sync + 'static,
{
    let mut scrapes = VecDeque::with_capacity(SCRAPES_MAX);
    while gate.wait(listener) {
        match listener.accept() {
            Ok((stream, _)) => {
                scrapes.retain(|scrape: &Scrape| !scrape.thread.is_finished());
                if scrapes.len() >= SCRAPES_MAX && !drop_oldest(&mut scrapes) {
                    continue;
                }
                // Without a thread the connection is closed unanswered.
                scrapes.extend(Scrape::start(stream, source));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, "metrics: accepting pauses");
                thread::park_timeout(ACCEPT_PAUSE);
            }
        }
    }
}

/// One connection in progress, and the thread that serves it.
struct Scrape {
    connection: Arc<Connection>,
    thread: JoinHandle<()>,
}

/// A connection, and who may go on with it: its thread, or the one that accepts and drops it.
struct Connection {
    stream: TcpStream,
    state: AtomicU8,
}

/// The request is not complete.
const SILENT: u8 = 0;
/// The shards are asked: a matter of ours, for [`shards::FIGURES_TIME_MAX`] at most.
const ASKED: u8 = 1;
/// The answer is written, as fast as the client reads it.
const ANSWERED: u8 = 2;
/// Somebody else has its place.
const DROPPED: u8 = 3;

impl Connection {
    /// Whether the state was `from`, and is `to` now.
    fn turn(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Scrape {
    fn start<F>(stream: TcpStream, source: &Arc<Source<F>>) -> io::Result<Self>
    where
        F: Fn() -> usize + Send + Sync + 'static,
    {
        let connection = Arc::new(Connection { stream, state: AtomicU8::new(SILENT) });
        let (source, served) = (Arc::clone(source), Arc::clone(&connection));
        let serve = move || {
            // A scraper that went away or was too slow tries again by itself.
            let _ = serve(&served, &source);
            let _ = served.stream.shutdown(Shutdown::Both);
        };
        let thread = thread::Builder::new().name("scrape".to_owned()).spawn(serve)?;
        Ok(Self { connection, thread })
    }
}

/// Makes room: the oldest of those that say nothing goes, else the oldest that does not read.
/// Whether there was one; otherwise all ask the shards just now.
fn drop_oldest(scrapes: &mut VecDeque<Scrape>) -> bool {
    for state in [SILENT, ANSWERED] {
        let place = scrapes.iter().position(|scrape| scrape.connection.turn(state, DROPPED));
        if let Some(scrape) = place.and_then(|place| scrapes.remove(place)) {
            // Its thread waits for the client alone, and so ends at once.
            let _ = scrape.connection.stream.shutdown(Shutdown::Both);
            let _ = scrape.thread.join();
            return true;
        }
    }
    false
}

fn serve<F: Fn() -> usize>(connection: &Connection, source: &Source<F>) -> io::Result<()> {
    let stream = &connection.stream;
    let deadline = clock::now() + SCRAPE_TIME_MAX;
    let request = read_request(stream, deadline)?;
    if !connection.turn(SILENT, ASKED) {
        return Ok(());
    }
    let answer = match request {
        Request::Metrics { format, body } => {
            let page = source.collect().write(format);
            response("200 OK\r\nVary: Accept", format.content_type(), &page, body)
        }
        Request::Health { body } => {
            let ending = source.readiness.stage() == Stage::Draining;
            told(health(&shards::roll_call(&source.shards).silent(ending)), body)
        }
        Request::Ready { body } => told(ready(source.readiness.stage()), body),
        Request::Refused { status, body } => response(status, TEXT_TYPE, REFUSAL, body),
    };
    // Nobody takes it from this state, so it is given up here.
    connection.turn(ASKED, ANSWERED);
    write_all(stream, deadline, &answer)
}

/// What `/healthz` says when these shards are silent.
fn health(silent: &[usize]) -> Result<&'static str, String> {
    let numbers: Vec<_> = silent.iter().map(usize::to_string).collect();
    match numbers.as_slice() {
        [] => Ok("ok"),
        [one] => Err(format!("shard {one} does not answer")),
        several => Err(format!("shards {} do not answer", several.join(", "))),
    }
}

/// What `/readyz` says.
fn ready(stage: Stage) -> Result<&'static str, String> {
    match stage {
        Stage::Starting => Err("starting".to_owned()),
        Stage::Ready => Ok("ready"),
        Stage::Draining => Err("draining".to_owned()),
    }
}

/// The answer to a probe.
fn told(said: Result<&str, String>, body: Body) -> Vec<u8> {
    match said {
        Ok(line) => response("200 OK", TEXT_TYPE, format!("{line}\n"), body),
        Err(line) => response("503 Service Unavailable", TEXT_TYPE, format!("{line}\n"), body),
    }
}

impl<F: Fn() -> usize> Source<F> {
    /// Asks every shard, and waits for a bounded time for what comes.
    fn collect(&self) -> Page {
        let figures = shards::figures(&self.shards);
        let lines_dropped = (self.lines_dropped)();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let reloads = [&self.reloads.succeeded, &self.reloads.failed].map(count);
        let unix_time = clock::unix_time();
        let process = process::figures();
        Page { shards: self.shards.len(), figures, lines_dropped, reloads, unix_time, process }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Metrics {
        format: Format,
        body: Body,
    },
    /// Whether every shard answers.
    Health {
        body: Body,
    },
    /// Whether new sessions are welcome.
    Ready {
        body: Body,
    },
    Refused {
        /// Of the answer's first line, and fields behind it.
        status: &'static str,
        body: Body,
    },
}

/// Whether the answer has one: to HEAD it has none (RFC 9110 §9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Sent,
    Left,
}

impl Request {
    const fn refused(status: &'static str) -> Self {
        Self::Refused { status, body: Body::Sent }
    }
}

fn read_request(mut stream: &TcpStream, deadline: Instant) -> io::Result<Request> {
    let mut octets = [0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    loop {
        stream.set_read_timeout(Some(remaining(deadline)?))?;
        match stream.read(&mut octets[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if let Some(request) = parse(&octets[..filled]) {
            return Ok(request);
        }
        if filled == octets.len() {
            return Ok(Request::refused("431 Request Header Fields Too Large"));
        }
    }
}

/// `None` while the request is not complete.
fn parse(octets: &[u8]) -> Option<Request> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(octets) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Some(Request::refused("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Request::refused("400 Bad Request")),
    }
    let body = if request.method == Some("HEAD") { Body::Left } else { Body::Sent };
    let path = request.path.unwrap_or_default();
    let accept = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("accept"));
    let format = Format::accepted(accept.map(|field| field.value));
    Some(match (request.method, path.split('?').next()) {
        (Some("GET" | "HEAD"), Some("/metrics")) => Request::Metrics { format, body },
        (Some("GET" | "HEAD"), Some("/healthz")) => Request::Health { body },
        (Some("GET" | "HEAD"), Some("/readyz")) => Request::Ready { body },
        (Some("GET" | "HEAD"), _) => Request::Refused { status: "404 Not Found", body },
        _ => Request::refused("405 Method Not Allowed\r\nAllow: GET, HEAD"),
    })
}

/// An answer as it goes on the wire.
fn response(status: &str, kind: &str, content: impl AsRef<[u8]>, body: Body) -> Vec<u8> {
    let content = content.as_ref();
    let length = content.len();
    let mut text = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n");
    text += &format!("Content-Length: {length}\r\nConnection: close\r\n\r\n");
    let mut octets = text.into_bytes();
    if body == Body::Sent {
        octets.extend_from_slice(content);
    }
    octets
}

const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const REFUSAL: &str = "The counters are at /metrics; /healthz says whether every shard answers, \
                       /readyz whether new sessions are welcome.\n";

fn write_all(mut stream: &TcpStream, deadline: Instant, mut octets: &[u8]) -> io::Result<()> {
    while !octets.is_empty() {
        stream.set_write_timeout(Some(remaining(deadline)?))?;
        match stream.write(octets)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => octets = &octets[count..],
        }
    }
    Ok(())
}

/// Time left; never zero, which would mean no limit.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(clock::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        #[track_caller]
        fn check(octets: &str, expected: Option<Request>) {
            assert_eq!(parse(octets.as_bytes()), expected, "{octets:?}");
        }
        let refused = |status| Some(Request::refused(status));
        let metrics = |format, body| Some(Request::Metrics { format, body });
        let text = metrics(Format::Text, Body::Sent);
        check("", None);
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n", None);
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", text);
        check(
            "GET /metrics?x=1 HTTP/1.0\r\naccept: application/openmetrics-text\r\n\r\n",
            metrics(Format::OpenMetrics, Body::Sent),
        );
        check("HEAD /metrics HTTP/1.1\r\n\r\n", metrics(Format::Text, Body::Left));
        check("GET /healthz HTTP/1.1\r\n\r\n", Some(Request::Health { body: Body::Sent }));
        check("HEAD /readyz?a HTTP/1.1\r\n\r\n", Some(Request::Ready { body: Body::Left }));
        check("GET / HTTP/1.1\r\n\r\n", refused("404 Not Found"));
        let not_found = Request::Refused { status: "404 Not Found", body: Body::Left };
        check("HEAD / HTTP/1.1\r\n\r\n", Some(not_found));
        let not_allowed = refused("405 Method Not Allowed\r\nAllow: GET, HEAD");
        check("POST /metrics HTTP/1.1\r\n\r\n", not_allowed.clone());
        check("POST /healthz HTTP/1.1\r\n\r\n", not_allowed);
        check("\x16\x03\x01\x02\x00", refused("400 Bad Request"));
        let many = "A: b\r\n".repeat(FIELDS_MAX + 1);
        let too_large = refused("431 Request Header Fields Too Large");
        check(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n"), too_large);
    }

    #[test]
    fn probes() {
        assert_eq!(health(&[]), Ok("ok"));
        assert_eq!(health(&[1]), Err("shard 1 does not answer".to_owned()));
        assert_eq!(health(&[0, 3]), Err("shards 0, 3 do not answer".to_owned()));
        let at = |stage, body| String::from_utf8(told(ready(stage), body)).unwrap();
        let starting = at(Stage::Starting, Body::Sent);
        assert!(starting.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{starting}");
        assert!(starting.ends_with("\r\n\r\nstarting\n"), "{starting}");
        let ready = at(Stage::Ready, Body::Left);
        assert!(ready.starts_with("HTTP/1.1 200 OK\r\n"), "{ready}");
        assert!(
            ready.contains("\r\nContent-Length: 6\r\n") && ready.ends_with("\r\n\r\n"),
            "{ready}"
        );
    }
}
