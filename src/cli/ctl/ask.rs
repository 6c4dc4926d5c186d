//! A request to the control socket, and the lines of its answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// Longer than a reload may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(70);

pub(super) fn ask(socket: &Path, request: &Value) -> io::Result<Value> {
    ask_within(socket, request, PATIENCE)
}

pub(super) fn ask_within(socket: &Path, request: &Value, patience: Duration) -> io::Result<Value> {
    let mut answer =
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server does not answer"));
    ask_lines(socket, request, patience, |line| {
        answer = serde_json::from_str(line).map_err(io::Error::other);
        false
    })?;
    answer
}

/// Gives each line of the answer to `take`, for as long as that wants more.
pub(super) fn ask_lines(
    socket: &Path,
    request: &Value,
    patience: Duration,
    mut take: impl FnMut(&str) -> bool,
) -> io::Result<()> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience))?;
    // A server that has no ear for it may say why before it has read it.
    let sent = stream.write_all(format!("{request}\n").as_bytes());
    let mut lines = BufReader::new(&stream).lines();
    match lines.next() {
        Some(line) => {
            let mut line = line?;
            while take(&line) {
                match lines.next() {
                    Some(next) => line = next?,
                    None => break,
                }
            }
            Ok(())
        }
        None => sent,
    }
}

/// Why there is no answer, and what to look at.
pub(super) fn unanswered(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    format!("{socket}: {error}; is a server running that has its control.socket there?")
}
