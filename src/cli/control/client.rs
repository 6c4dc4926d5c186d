//! A client of the control socket as the server meets it: who it is, its request, and an answer
//! that it has to read in time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::cli::finding::remedy_of;
use crate::clock;

/// A request, octets: files of a configuration are in it.
const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long a client may take for its whole request, and for reading each piece of the answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long it may take for reading a whole answer of many pieces.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// A connection, each of whose calls ends at a deadline.
pub(super) struct Client<'a> {
    stream: &'a UnixStream,
    /// When the step that it is at has to be over.
    due: Instant,
    /// When all has to be over.
    end: Instant,
}

impl<'a> Client<'a> {
    pub(super) fn new(stream: &'a UnixStream) -> Self {
        let now = clock::now();
        Self { stream, due: now + CLIENT_TIME_MAX, end: now + ANSWER_TIME_MAX }
    }

    /// Whether it is root or the server's own user; else what to say to it.
    pub(super) fn check_user(&self) -> io::Result<Result<(), String>> {
        let (peer, own) = (rustix::net::sockopt::socket_peercred(self.stream)?.uid, geteuid());
        if peer.is_root() || peer == own {
            return Ok(Ok(()));
        }
        let (peer, own) = (peer.as_raw(), own.as_raw());
        tracing::warn!(uid = peer, "control socket: refused");
        Ok(Err(format!("this socket is for root and for uid {own}, and you are uid {peer}")))
    }

    /// Its request, or what to say about one that is none.
    pub(super) fn request(&mut self) -> io::Result<Result<Value, String>> {
        let mut line = Vec::new();
        let read = BufReader::new(&mut *self).take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line);
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let seconds = CLIENT_TIME_MAX.as_secs();
                return Ok(Err(format!("no request within {seconds} s")));
            }
            Err(error) => return Err(error),
        }
        Ok(serde_json::from_slice(&line).map_err(|error| format!("not a request: {error}")))
    }

    /// Sends one line or several, each with its end.
    pub(super) fn send(&mut self, lines: &str) -> io::Result<()> {
        self.due = (clock::now() + CLIENT_TIME_MAX).min(self.end);
        self.write_all(lines.as_bytes())
    }

    /// The step that waited for somebody else is over: its time does not count.
    pub(super) fn forgive(&mut self) {
        self.end = self.end.max(clock::now() + ANSWER_TIME_MAX);
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.due.saturating_duration_since(clock::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

/// The same error whichever way the time has run out.
fn timed_out<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    })
}

impl Read for Client<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        timed_out((&mut &*self.stream).read(buffer))
    }
}

impl Write for Client<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        timed_out((&mut &*self.stream).write(octets))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An answer that says no, and what to do about it where that is known.
pub(crate) fn refusal(error: impl Into<String>) -> Value {
    let error = error.into();
    json!({ "ok": false, "error": error, "remedy": remedy_of(&error) })
}
