//! `--prometheus`: what has happened so far, in Prometheus' text format, to whoever asks over HTTP.

use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use super::gather::Stretch;
use crate::measure::{ConnectionState, Errors, Interval, LatencyHistogram};

/// How long one who asks may hold up the others who watch.
const PATIENCE: Duration = Duration::from_millis(200);

/// Longest request that is read.
const REQUEST_BYTES_MAX: usize = 8192;

/// Upper bounds of the buckets, in nanoseconds: 1, 2.5 and 5 of each power of ten from 100 µs on.
const BUCKETS_NS: [u64; 18] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
    100_000_000_000,
];

/// Answers.
pub(super) struct Exporter {
    listener: TcpListener,
    warmup: Duration,
    elapsed: Duration,
    /// Everything so far, the warm-up included.
    sum: Interval,
    latency: LatencyHistogram,
    errors: Errors,
}

impl Exporter {
    /// On a listener that does not block.
    pub(super) fn new(listener: TcpListener, warmup: Duration) -> Self {
        Self {
            listener,
            warmup,
            elapsed: Duration::ZERO,
            sum: Interval::default(),
            latency: LatencyHistogram::new(),
            errors: Errors::default(),
        }
    }

    /// Counts a stretch of the run.
    pub(super) fn add(&mut self, stretch: &Stretch) {
        let (sum, new) = (&mut self.sum, &stretch.sum);
        sum.operations += new.operations;
        sum.bytes_up += new.bytes_up;
        sum.bytes_down += new.bytes_down;
        sum.connections = new.connections;
        new.add_latency_to(&mut self.latency);
        self.errors.merge(&stretch.errors);
        self.elapsed = stretch.end();
    }

    /// Answers those who wait.
    pub(super) fn answer(&self) {
        while let Ok((stream, _)) = self.listener.accept() {
            // Whoever asks and goes away has no answer.
            let _ = self.answer_one(stream);
        }
    }

    fn answer_one(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut request = Vec::new();
        let mut piece = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let count = stream.read(&mut piece)?;
            if count == 0 || request.len() > REQUEST_BYTES_MAX {
                return Ok(());
            }
            request.extend_from_slice(&piece[..count]);
        }
        let asks = |start: &[u8]| request.starts_with(start);
        let (status, body) = if asks(b"GET /metrics ") || asks(b"GET / ") {
            ("200 OK", self.text())
        } else {
            ("404 Not Found", "what there is, is at /metrics\n".to_owned())
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    fn text(&self) -> String {
        let mut text = String::new();
        match self.write(&mut text) {
            Ok(()) => text,
            Err(fmt::Error) => unreachable!("writing to a String cannot fail"),
        }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let sum = &self.sum;
        for (name, value, help) in [
            ("operations_total", sum.operations, "Operations that succeeded."),
            ("sent_bytes_total", sum.bytes_up, "Payload sent on data connections."),
            ("received_bytes_total", sum.bytes_down, "Payload received on data connections."),
        ] {
            head(out, name, "counter", help)?;
            writeln!(out, "ringload_{name} {value}")?;
        }
        head(out, "errors_total", "counter", "Operations that failed, by what happened.")?;
        for (kind, count) in self.errors.by_kind() {
            let (class, name) = (kind.class().name(), kind.name());
            let code = kind.code().map_or_else(String::new, |code| code.to_string());
            writeln!(
                out,
                "ringload_errors_total{{class=\"{class}\",kind=\"{name}\",code=\"{code}\"}} {count}"
            )?;
        }
        head(out, "connections", "gauge", "Control connections by state.")?;
        for state in ConnectionState::ALL {
            let count = sum.connections.count(state);
            writeln!(out, "ringload_connections{{state=\"{}\"}} {count}", state.key())?;
        }
        let help = "Latency of whole operations that succeeded, from when they were due.";
        head(out, "operation_seconds", "histogram", help)?;
        let histogram = self.latency.inner();
        for bound in BUCKETS_NS {
            let seconds = Duration::from_nanos(bound).as_secs_f64();
            let count = histogram.count_between(0, bound);
            writeln!(out, "ringload_operation_seconds_bucket{{le=\"{seconds}\"}} {count}")?;
        }
        let count = self.latency.count();
        writeln!(out, "ringload_operation_seconds_bucket{{le=\"+Inf\"}} {count}")?;
        let total_s = if count == 0 { 0.0 } else { histogram.mean() * count as f64 / 1e9 };
        writeln!(out, "ringload_operation_seconds_sum {total_s}")?;
        writeln!(out, "ringload_operation_seconds_count {count}")?;
        head(out, "elapsed_seconds", "gauge", "How far the run has come that is counted here.")?;
        writeln!(out, "ringload_elapsed_seconds {}", self.elapsed.as_secs_f64())?;
        head(out, "warm_up", "gauge", "1 during the warm-up, which the counts here include.")?;
        writeln!(out, "ringload_warm_up {}", u8::from(self.elapsed < self.warmup))
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP ringload_{name} {help}\n# TYPE ringload_{name} {kind}")
}
