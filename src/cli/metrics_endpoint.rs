//! `metrics.listen`: the shards' counters over HTTP, in the text format of OpenMetrics, which
//! Prometheus reads. Works on threads of its own and asks the shards through their inboxes; no
//! shard ever waits for it, and a scraper that is stuck holds up nobody.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::clock;
use crate::metrics::{self, Kind};
use crate::runtime::remote::RemoteSender;
use crate::shard::{Figures, ListenError, Message};

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

    /// Where it really listens; never port 0.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for as long as the process lives; `lines_dropped` tells how many lines the log lost.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(
        self,
        shards: Vec<RemoteSender<Message>>,
        lines_dropped: impl Fn() -> usize + Send + Sync + 'static,
    ) -> Result<(), String> {
        let source = Arc::new(Source { shards, lines_dropped });
        thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || accept(&self.listener, &source))
            .map(drop)
            .map_err(|error| format!("cannot start a thread: {error}"))
    }
}

/// Scrapes served at the same time; one more is closed unanswered.
const SCRAPES_MAX: usize = 8;

/// From the connection to the last octet of the answer.
const SCRAPE_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a shard may take to answer; one that has not by then is reported as not up.
const SHARD_TIME_MAX: Duration = Duration::from_secs(1);

/// Request line and header fields, octets.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request.
const FIELDS_MAX: usize = 64;

/// What the figures come from.
struct Source<F> {
    shards: Vec<RemoteSender<Message>>,
    lines_dropped: F,
}

fn accept<F>(listener: &TcpListener, source: &Arc<Source<F>>)
where
    F: Fn() -> usize + Send + Sync + 'static,
{
    loop {
        match listener.accept() {
            // Every scrape holds a reference, and so does this thread.
            Ok(_) if Arc::strong_count(source) > SCRAPES_MAX => {}
            Ok((stream, _)) => {
                let source = Arc::clone(source);
                let scrape = move || {
                    // A scraper that went away or was too slow tries again by itself.
                    let _ = serve(&stream, &source);
                };
                // Without a thread the connection is closed unanswered.
                let _ = thread::Builder::new().name("scrape".to_owned()).spawn(scrape);
            }
            Err(error) => {
                tracing::warn!(%error, "metrics: accepting pauses");
                thread::park_timeout(ACCEPT_PAUSE);
            }
        }
    }
}

/// After a failed accept, which descriptors that ran out repeat at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

fn serve<F: Fn() -> usize>(stream: &TcpStream, source: &Source<F>) -> io::Result<()> {
    let deadline = clock::now() + SCRAPE_TIME_MAX;
    let answer = match read_request(stream, deadline)? {
        Request::Metrics => response("200 OK", PAGE_TYPE, &source.collect()?),
        Request::Refused(status) => response(status, TEXT_TYPE, "The counters are at /metrics.\n"),
    };
    write_all(stream, deadline, &answer)
}

impl<F: Fn() -> usize> Source<F> {
    /// Asks every shard, waits for a bounded time, and writes down what came.
    fn collect(&self) -> io::Result<String> {
        let deadline = clock::now() + SHARD_TIME_MAX;
        let (asker, answers) = mpsc::sync_channel(self.shards.len());
        for shard in &self.shards {
            // A shard that has ended answers as one that is stuck does: not at all.
            let _ = shard.send(Message::Count(asker.clone()));
        }
        drop(asker);
        let next = || answers.recv_timeout(deadline.saturating_duration_since(clock::now())).ok();
        let mut figures: Vec<Figures> = std::iter::from_fn(next).take(self.shards.len()).collect();
        figures.sort_by_key(|figures| figures.shard);
        let lines_dropped = (self.lines_dropped)();
        page(Page { shards: self.shards.len(), figures, lines_dropped })
    }
}

/// All figures of one scrape.
#[derive(Debug)]
struct Page {
    shards: usize,
    figures: Vec<Figures>,
    lines_dropped: usize,
}

fn page(page: Page) -> io::Result<String> {
    let mut registry = Registry::with_prefix("ringftpd");
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running program", version);
    registry.register_collector(Box::new(page));
    let mut encoded = String::new();
    text::encode(&mut encoded, &registry).map_err(io::Error::other)?;
    Ok(encoded)
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let dropped = ConstCounter::new(u64::try_from(self.lines_dropped).unwrap_or(u64::MAX));
        let help = "Log lines lost because standard error was read too slowly.";
        let metric =
            encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?;
        dropped.encode(metric)?;

        let help = "Whether the shard answered.";
        let mut up = encoder.encode_descriptor("shard_up", help, None, MetricType::Gauge)?;
        for shard in 0..self.shards {
            let answered = self.figures.iter().any(|figures| figures.shard == shard);
            let labels = [("shard", shard.to_string())];
            ConstGauge::new(i64::from(answered)).encode(up.encode_family(&labels)?)?;
        }

        for values in
            [(|f| &f.counters) as fn(&Figures) -> &Vec<(&'static str, u64)>, |f| &f.gauges]
        {
            // Every shard tells the same names in the same order.
            let names = self.figures.first().map(|first| values(first).as_slice());
            for (index, (name, _)) in names.unwrap_or_default().iter().enumerate() {
                let Some((kind, help)) = metrics::describe(name) else { continue };
                let metric_type = match kind {
                    Kind::Counter => MetricType::Counter,
                    Kind::Gauge => MetricType::Gauge,
                };
                let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
                for figures in &self.figures {
                    let value = values(figures).get(index).map_or(0, |(_, value)| *value);
                    let labels = [("shard", figures.shard.to_string())];
                    let metric = family.encode_family(&labels)?;
                    match kind {
                        Kind::Counter => ConstCounter::new(value).encode(metric)?,
                        Kind::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
                            .encode(metric)?,
                    }
                }
            }
        }
        Ok(())
    }
}

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Metrics,
    /// Status line of the answer.
    Refused(&'static str),
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
            return Ok(Request::Refused("431 Request Header Fields Too Large"));
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
            return Some(Request::Refused("431 Request Header Fields Too Large"));
        }
        Err(_) => return Some(Request::Refused("400 Bad Request")),
    }
    let path = request.path.unwrap_or_default();
    Some(match (request.method, path.split('?').next()) {
        (Some("GET"), Some("/metrics")) => Request::Metrics,
        (Some("GET"), _) => Request::Refused("404 Not Found"),
        _ => Request::Refused("405 Method Not Allowed\r\nAllow: GET"),
    })
}

/// An answer as it goes on the wire.
fn response(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}");
    let text = format!("{head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    text.into_bytes()
}

const PAGE_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";

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
        let refused = |status| Some(Request::Refused(status));
        check("", None);
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n", None);
        check("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Some(Request::Metrics));
        check("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Some(Request::Metrics));
        check("GET / HTTP/1.1\r\n\r\n", refused("404 Not Found"));
        check("POST /metrics HTTP/1.1\r\n\r\n", refused("405 Method Not Allowed\r\nAllow: GET"));
        check("\x16\x03\x01\x02\x00", refused("400 Bad Request"));
        let many = "A: b\r\n".repeat(FIELDS_MAX + 1);
        let too_large = refused("431 Request Header Fields Too Large");
        check(&format!("GET /metrics HTTP/1.1\r\n{many}\r\n"), too_large);
    }

    #[test]
    fn a_page_has_every_value_of_every_shard() {
        let figures = |shard, logins, sessions| Figures {
            shard,
            counters: vec![("logins", logins), ("handshakes_most", 4), ("uploads", 0)],
            gauges: vec![("sessions", sessions)],
        };
        let figures = vec![figures(0, 3, 1), figures(2, 5, 0)];
        let text = page(Page { shards: 3, figures, lines_dropped: 7 }).unwrap();
        for line in [
            "# HELP ringftpd_logins Successful log-ins.",
            "# TYPE ringftpd_logins counter",
            "ringftpd_logins_total{shard=\"0\"} 3",
            "ringftpd_logins_total{shard=\"2\"} 5",
            "# TYPE ringftpd_handshakes_most gauge",
            "ringftpd_handshakes_most{shard=\"2\"} 4",
            "ringftpd_uploads_total{shard=\"2\"} 0",
            "# TYPE ringftpd_sessions gauge",
            "ringftpd_sessions{shard=\"0\"} 1",
            "ringftpd_shard_up{shard=\"0\"} 1",
            "ringftpd_shard_up{shard=\"1\"} 0",
            "ringftpd_log_lines_dropped_total 7",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
    }
}
