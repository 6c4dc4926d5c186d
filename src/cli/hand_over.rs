//! `ringftpd ctl upgrade` and `take-over`, as the server that is replaced has them: it gives its
//! listening sockets to another process, which says when it is ready, and goes on as before unless
//! that happens in time.
//!
//! What is said, a line of JSON each, the old server first: the sockets and what else the new one
//! needs; `ready` or `failed`; `go`, from when on the new one accepts, too; `accepting`, whereupon
//! the old one accepts nothing more and gives up metrics and control socket; `yours`.

use std::env;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::fcntl_dupfd_cloexec;
use serde_json::{Value, json};

use super::binding::settle_all;
use super::partner::Partner;
use super::readiness::{Readiness, Stage};
use super::sockets::{Held, Purpose, Sockets};
use super::wake::{Successor, Wake};
use super::{shards, start_thread};
use crate::clock;
use crate::config::Settings;
use crate::events;
use crate::runtime::remote::RemoteSender;
use crate::shard::Message;
use crate::sys::privileges;

/// What the new server's command line has, so that it speaks over standard input.
pub(super) const TAKE_OVER_INPUT: &str = "--take-over=-";

/// How long a server that was started by somebody else may take until it is ready.
pub(super) const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// How long each step behind that may take.
const STEP_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the shards may take to give descriptors of their sockets.
const LEND_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a process whose end of the socket is closed may take to end.
const EXIT_TIME_MAX: Duration = Duration::from_secs(1);

/// What a server has to hand over.
pub(super) struct Estate {
    pub(super) shards: Vec<RemoteSender<Message>>,
    pub(super) wakes: mpsc::Sender<Wake>,
    pub(super) readiness: Readiness,
    /// Of the metrics, and where they listen.
    pub(super) metrics: Option<(SocketAddr, OwnedFd)>,
    /// The control socket and its path.
    pub(super) control: Option<(PathBuf, OwnedFd)>,
    pub(super) ticket_secret: [u8; 32],
    /// Those of the start: what they say of listening, only a restart changes.
    pub(super) settings: Settings,
    /// Of the shards.
    pub(super) cpus: Vec<usize>,
    /// Another process is about to take over.
    pub(super) busy: AtomicBool,
}

/// Until this is dropped nobody else takes over.
struct Turn<'a>(&'a AtomicBool);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The process that has taken over.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) pid: u32,
    pub(super) version: String,
    /// While it is there this process goes on.
    _unanswered: mpsc::Sender<()>,
}

impl Estate {
    fn turn(&self) -> Result<Turn<'_>, String> {
        if self.readiness.stage() != Stage::Ready {
            return Err("the server ends".to_owned());
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err("another process is taking over just now".to_owned());
        }
        Ok(Turn(&self.busy))
    }

    /// Starts this server's program anew, as it was started, and hands over to it; it gets `files`,
    /// which it may not be able to read, and may take `patience` until it is ready.
    ///
    /// # Errors
    ///
    /// Why this server goes on; the other process has ended.
    pub(super) fn upgrade(&self, files: &Value, patience: Duration) -> Result<Taken, String> {
        let deadline = clock::now() + patience;
        let done = self.turn().and_then(|_turn| {
            let (mut child, mut partner) = start_successor()?;
            match self.converse(&mut partner, files, deadline) {
                Ok(taken) => {
                    // It is nobody's child when this process ends; until then it is ours.
                    start_thread("successor", move || drop(child.wait()))?;
                    Ok(taken)
                }
                Err(refused) => {
                    drop(partner);
                    let cause = explain(&mut child, refused);
                    self.restore();
                    Err(cause)
                }
            }
        });
        if let Err(cause) = &done {
            events::UpgradeFailed { cause }.log();
        }
        done
    }

    /// Hands over to the server at the other end, which somebody has started.
    ///
    /// # Errors
    ///
    /// Why this server goes on.
    pub(super) fn hand_over(&self, stream: &UnixStream) -> Result<Taken, String> {
        let done = self.turn().and_then(|_turn| {
            let stream = stream.try_clone().map_err(|error| error.to_string())?;
            let deadline = clock::now() + READY_TIME_MAX;
            let done = self.converse(&mut Partner::new(stream), &Value::Null, deadline);
            done.map_err(|refused| {
                self.restore();
                refused.to_string()
            })
        });
        if let Err(cause) = &done {
            events::UpgradeFailed { cause }.log();
        }
        done
    }

    fn converse(
        &self,
        partner: &mut Partner,
        files: &Value,
        deadline: Instant,
    ) -> Result<Taken, Refused> {
        let (told, sockets) = self.sockets().map_err(Refused::Here)?.into_parts();
        let secret: String =
            self.ticket_secret.iter().map(|octet| format!("{octet:02x}")).collect();
        let estate = json!({
            "ok": true, "pid": std::process::id(), "sockets": told, "ticket_secret": secret,
            "files": files,
        });
        partner.say(&estate, &sockets).map_err(Refused::Gone)?;
        drop(sockets);
        let (ready, _) = partner.hear(deadline).map_err(Refused::Gone)?;
        if let Some(reason) = ready["failed"].as_str() {
            return Err(Refused::There(reason.to_owned()));
        }
        let known = ready["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let (Some(pid), Some(addresses)) = (known, ready["addresses"].as_array()) else {
            return Err(Refused::There(format!("an answer without sense: {ready}")));
        };
        let addresses = addresses.iter().filter_map(Value::as_str);
        let addresses: Arc<[SocketAddr]> =
            addresses.filter_map(|address| address.parse().ok()).collect();
        let version = ready["version"].as_str().unwrap_or_default().to_owned();
        partner.say(&json!({ "go": true }), &[]).map_err(Refused::Gone)?;
        partner.hear(clock::now() + STEP_TIME_MAX).map_err(Refused::Gone)?;
        let (done, left) = mpsc::sync_channel(1);
        let (unanswered, answered) = mpsc::channel();
        let successor = Successor { pid, version: version.clone(), addresses, done, answered };
        // Its other end is gone when the main thread has something else to do.
        if self.wakes.send(Wake::TakenOver(successor)).is_err()
            || left.recv_timeout(STEP_TIME_MAX).is_err()
        {
            return Err(Refused::Here("the server ends".to_owned()));
        }
        // The other one serves, whatever becomes of this line.
        let _ = partner.say(&json!({ "yours": true }), &[]);
        Ok(Taken { pid, version, _unanswered: unanswered })
    }

    /// The other process may have ended when it had the sockets as it wants them, backlog, options
    /// and steering: they are as this server wants them again.
    fn restore(&self) {
        let mut lent = shards::ask(&self.shards, LEND_TIME_MAX, |_, asker| Message::Lend(asker));
        lent.sort_by_key(|(shard, _)| *shard);
        let per_shard: Vec<_> = lent.into_iter().filter_map(|(_, sockets)| sockets.ok()).collect();
        let settled = if per_shard.len() < self.shards.len() {
            Err("not all shards answer".to_owned())
        } else {
            settle_all(&per_shard, &self.settings, &self.cpus)
        };
        if let Err(error) = settled {
            tracing::warn!(error, "upgrade: the listening sockets may be steered otherwise");
        }
    }

    /// All listening sockets, those of one address in the order in which they began to listen.
    fn sockets(&self) -> Result<Sockets, String> {
        let mut lent = shards::ask(&self.shards, LEND_TIME_MAX, |_, asker| Message::Lend(asker));
        if lent.len() < self.shards.len() {
            return Err(format!(
                "{} of {} shards do not answer",
                self.shards.len() - lent.len(),
                self.shards.len()
            ));
        }
        lent.sort_by_key(|(shard, _)| *shard);
        let cannot = |error: io::Error| format!("no descriptor for a listening socket: {error}");
        let mut held = Vec::new();
        let mut queues = Vec::new();
        for (_, listeners) in lent {
            queues.push(listeners.map_err(cannot)?.into_iter());
        }
        // Of several sockets of one address on a shard, the first of each shard come first.
        let mut rounds: Vec<Vec<Held>> = Vec::new();
        for queue in queues {
            let mut seen: Vec<SocketAddr> = Vec::new();
            for bound in queue {
                let round = seen.iter().filter(|address| **address == bound.address).count();
                seen.push(bound.address);
                if rounds.len() <= round {
                    rounds.resize_with(round + 1, Vec::new);
                }
                rounds[round].push(bound.into());
            }
        }
        let mut known = Vec::new();
        for one in rounds.into_iter().flatten() {
            // Two shards may accept on one socket.
            let cookie = rustix::net::sockopt::socket_cookie(&one.socket)
                .map_err(|error| cannot(error.into()))?;
            if !known.contains(&cookie) {
                known.push(cookie);
                held.push(one);
            }
        }
        let other = |purpose, socket: &OwnedFd| -> Result<Held, String> {
            let socket = fcntl_dupfd_cloexec(socket, 0).map_err(|error| cannot(error.into()))?;
            Ok(Held { purpose, socket, lasting: false })
        };
        if let Some((address, socket)) = &self.metrics {
            held.push(other(Purpose::Metrics(*address), socket)?);
        }
        if let Some((path, socket)) = &self.control {
            held.push(other(Purpose::Control(path.clone()), socket)?);
        }
        Ok(Sockets::new(held))
    }
}

/// Why the other process has not taken over.
enum Refused {
    /// This server cannot.
    Here(String),
    /// The other one says why.
    There(String),
    /// It says nothing.
    Gone(io::Error),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(reason) => write!(f, "{reason}"),
            Self::There(reason) => write!(f, "the new process: {reason}"),
            Self::Gone(error) if error.kind() == io::ErrorKind::TimedOut => {
                write!(f, "the new process was not ready in time")
            }
            Self::Gone(_) => write!(f, "the new process ended before it was ready"),
        }
    }
}

/// The program under the name by which this one was started, so that it is the one that is there
/// now, with the same arguments and environment; and the way to speak to it.
fn start_successor() -> Result<(Child, Partner), String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    privileges::bequeath_low_ports().map_err(|error| error.to_string())?;
    let mut words = env::args_os();
    let program = words.next().unwrap_or_default();
    let child = Command::new(&program)
        .args(arguments(words))
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // Those of systemd that name this process.
        .env_remove("WATCHDOG_PID")
        .env_remove("LISTEN_PID")
        .env_remove("LISTEN_FDS")
        .env_remove("LISTEN_FDNAMES")
        .spawn()
        .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    tracing::info!(pid = child.id(), "upgrade: started the process that shall take over");
    Ok((child, Partner::new(ours)))
}

/// This process's arguments, and that it takes over.
fn arguments(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_take_over = |word: &OsString| word.as_encoded_bytes().starts_with(b"--take-over");
    let mut words: Vec<OsString> = words.filter(|word| !is_take_over(word)).collect();
    let place = usize::from(words.first().is_some_and(|word| word == "serve"));
    words.insert(place, TAKE_OVER_INPUT.into());
    words
}

/// Ends the process that has not taken over, and says why it has not.
fn explain(child: &mut Child, refused: Refused) -> String {
    let deadline = clock::now() + EXIT_TIME_MAX;
    let mut status = None;
    if matches!(&refused, Refused::Gone(error) if error.kind() != io::ErrorKind::TimedOut) {
        while status.is_none() && clock::now() < deadline {
            status = child.try_wait().ok().flatten();
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    match status {
        Some(status) => format!("{refused}, with {status}; its output may say why"),
        None => refused.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_next_process() {
        #[track_caller]
        fn check(words: &str, expected: &str) {
            let made = arguments(words.split_whitespace().map(OsString::from));
            let made: Vec<_> = made.iter().map(|word| word.to_str().unwrap()).collect();
            assert_eq!(made.join(" "), expected);
        }
        check("", "--take-over=-");
        check("/srv --config a", "--take-over=- /srv --config a");
        check("serve --config a -- /srv", "serve --take-over=- --config a -- /srv");
        check("serve --take-over=- --config a", "serve --take-over=- --config a");
        check("serve --config a --take-over", "serve --take-over=- --config a");
    }
}
