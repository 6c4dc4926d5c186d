//! The control socket: one request a connection, a line of JSON, and an answer of one line, or of
//! several for a list; from root or the server's own user. Each client has a thread of its own, so
//! that a silent one holds nobody up, which asks the shards through their inboxes.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::process::{geteuid, umask};
use serde_json::{Map, Value, json};

use super::client::{Client, refusal};
use super::{figures, sessions};
use crate::cli::finding::{Finding, failure};
use crate::cli::gate::Gate;
use crate::cli::hand_over::{Estate, READY_TIME_MAX, Taken};
use crate::cli::readiness::{Readiness, Stage};
use crate::cli::reload::{Reloaded, Request};
use crate::cli::wake::Wake;
use crate::cli::{ACCEPT_PAUSE, shards, start_thread};
use crate::clock;
use crate::config::{FileText, Problem};
use crate::runtime::remote::RemoteSender;
use crate::shard::{Figures, Message};
use crate::sys::privileges::Identity;

/// Clients that are served at a time, each by a thread of its own; one more is told to come again.
const CLIENTS_MAX: usize = 8;

/// How long the client beyond those may take to read that it was refused.
const REFUSAL_TIME_MAX: Duration = Duration::from_millis(100);

/// How long a reload may take until its client is told that it goes on.
const RELOAD_TIME_MAX: Duration = Duration::from_secs(60);

/// Where the socket is when nothing says so: in the service's runtime directory, else in root's,
/// else in the user's. `None` for a user who has none.
pub(crate) fn default_path() -> Option<PathBuf> {
    let of = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let directory = of("RUNTIME_DIRECTORY").or_else(|| {
        let root = geteuid().is_root().then(|| PathBuf::from("/run/ringftpd"));
        root.or_else(|| of("XDG_RUNTIME_DIR").map(|directory| directory.join("ringftpd")))
    });
    directory.map(|directory| directory.join("ctl.sock"))
}

/// The commands.
const KNOWN: &[&str] = &[
    "certificates",
    "drain",
    "kick",
    "log-level",
    "origin",
    "reload",
    "reopen",
    "sessions",
    "status",
    "take-over",
    "top",
    "upgrade",
];

/// The bound socket. Nobody is served before [`ControlSocket::start`].
pub(crate) struct ControlSocket {
    listener: UnixListener,
    /// Absolute.
    path: PathBuf,
}

/// What requests are about.
pub(crate) struct Subject {
    pub(crate) shards: Vec<RemoteSender<Message>>,
    pub(crate) reloads: mpsc::Sender<Request>,
    pub(crate) wakes: mpsc::Sender<Wake>,
    pub(crate) readiness: Readiness,
    pub(crate) estate: Estate,
    /// The files that a reload reads, as far as the command line says it.
    pub(crate) config: Option<PathBuf>,
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    pub(crate) started: Instant,
}

impl ControlSocket {
    /// Binds it at `path`, for its owner alone from the first moment: `user`, whom the process will
    /// become, or the one that it is. Only while no other thread makes files. One that a server has
    /// left behind is replaced, one that a server listens at is not.
    ///
    /// # Errors
    ///
    /// A sentence that names the path.
    pub(crate) fn bind(path: &Path, user: Option<&Identity>) -> Result<Self, String> {
        let bind = || -> io::Result<Self> {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let metadata = std::fs::symlink_metadata(path);
            if metadata.is_ok_and(|metadata| metadata.file_type().is_socket()) {
                if UnixStream::connect(path).is_ok() {
                    return Err(io::Error::from(io::ErrorKind::AddrInUse));
                }
                std::fs::remove_file(path)?;
            }
            let before = umask(Mode::from_raw_mode(0o177));
            let listener = UnixListener::bind(path);
            umask(before);
            let listener = listener?;
            if let Some((uid, gid)) = user.map(|user| (user.uid, user.gid)) {
                chown(path, Some(uid), Some(gid))?;
            }
            Ok(Self { listener, path: std::path::absolute(path)? })
        };
        bind().map_err(|error| format!("control.socket {}: {error}", path.display()))
    }

    /// Takes over the socket that another server has bound at `path`, for `user` as
    /// [`ControlSocket::bind`] does.
    ///
    /// # Errors
    ///
    /// A sentence that names the path.
    pub(crate) fn adopt(
        socket: OwnedFd,
        path: &Path,
        user: Option<&Identity>,
    ) -> Result<Self, String> {
        let adopt = || -> io::Result<Self> {
            if let Some((uid, gid)) = user.map(|user| (user.uid, user.gid)) {
                chown(path, Some(uid), Some(gid))?;
            }
            Ok(Self { listener: socket.into(), path: std::path::absolute(path)? })
        };
        adopt().map_err(|error| format!("control.socket {}: {error}", path.display()))
    }

    /// Another descriptor of the socket, and its path.
    ///
    /// # Errors
    ///
    /// Those of fcntl(2).
    pub(crate) fn duplicate(&self) -> io::Result<(PathBuf, OwnedFd)> {
        Ok((self.path.clone(), self.listener.try_clone()?.into()))
    }

    /// Serves until `gate` is closed.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(crate) fn start(self, subject: Subject, gate: Gate) -> Result<(), String> {
        self.listener.set_nonblocking(true).map_err(|error| error.to_string())?;
        let subject = Arc::new(subject);
        // Each client that is served holds one.
        let places = Arc::new(());
        let serve = move || {
            while gate.wait(&self.listener) {
                match self.listener.accept().map(|(stream, _)| stream) {
                    Ok(stream) if Arc::strong_count(&places) > CLIENTS_MAX => refuse(&stream),
                    Ok(stream) => {
                        let (subject, place) = (subject.clone(), places.clone());
                        let work = move || {
                            // A client that went away has its reasons.
                            let _ = subject.serve(&stream);
                            drop(place);
                        };
                        if let Err(error) = start_thread("control-client", work) {
                            tracing::warn!(error, "control socket: a client was not served");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => {
                        tracing::warn!(%error, "control socket: accepting pauses");
                        thread::park_timeout(ACCEPT_PAUSE);
                    }
                }
            }
        };
        start_thread("control", serve)
    }
}

/// In a moment, for the thread that accepts has others to hear.
fn refuse(mut stream: &UnixStream) {
    let busy = refusal(format!("{CLIENTS_MAX} others are served; come again"));
    let _ = stream.set_write_timeout(Some(REFUSAL_TIME_MAX));
    let _ = stream.write_all(format!("{busy}\n").as_bytes());
}

impl Subject {
    fn serve(&self, stream: &UnixStream) -> io::Result<()> {
        let mut client = Client::new(stream);
        if let Err(refused) = client.check_user()? {
            return client.send(&format!("{}\n", refusal(refused)));
        }
        let answer = match client.request()? {
            Ok(request) if request["command"] == "sessions" => {
                return sessions::list(&mut client, &self.shards, |end| end);
            }
            Ok(request) if request["command"] == "top" => {
                let with_figures = |end| self.figures(end);
                return sessions::list(&mut client, &self.shards, with_figures);
            }
            Ok(request) if request["command"] == "upgrade" => {
                let patience = request["patience_seconds"].as_u64().map(Duration::from_secs);
                let patience = patience.unwrap_or(READY_TIME_MAX);
                let done = self.estate.upgrade(&request["files"], patience);
                client.forgive();
                // This process does not end before.
                return client.send(&format!("{}\n", upgraded(&done)));
            }
            Ok(request) if request["command"] == "take-over" => {
                match self.estate.hand_over(stream) {
                    Ok(_) => return Ok(()),
                    Err(error) => refusal(error),
                }
            }
            Ok(request) => self.answer(&request),
            Err(error) => refusal(error),
        };
        client.forgive();
        client.send(&format!("{answer}\n"))
    }

    fn answer(&self, request: &Value) -> Value {
        match request["command"].as_str() {
            Some("certificates") => self.certificates(),
            Some("drain") => self.drain(),
            Some("kick") => sessions::kick(request, &self.shards),
            Some("log-level") => self.log_level(request["filter"].as_str()),
            Some("origin") => self.origin(),
            Some("reload") => self.reload(files_of(request)),
            Some("reopen") => self.reopen(),
            Some("status") => self.status(),
            other => {
                let other = other.unwrap_or_default();
                refusal(format!("unknown command {other:?}; known: {}", KNOWN.join(", ")))
            }
        }
    }

    fn certificates(&self) -> Value {
        let (answer, answers) = mpsc::sync_channel(1);
        if self.reloads.send(Request::Certificates(answer)).is_err() {
            return refusal("the server ends");
        }
        match answers.recv_timeout(RELOAD_TIME_MAX) {
            Ok(certificates) => json!({ "ok": true, "certificates": certificates }),
            Err(_) => refusal("the disk of the certificates does not answer"),
        }
    }

    /// Without a filter: the configuration's.
    fn log_level(&self, filter: Option<&str>) -> Value {
        let (answer, answers) = mpsc::sync_channel(1);
        if self.reloads.send(Request::Levels(filter.map(str::to_owned), answer)).is_err() {
            return refusal("the server ends");
        }
        match answers.recv_timeout(RELOAD_TIME_MAX) {
            Ok(Ok(())) => json!({ "ok": true }),
            Ok(Err(error)) => refusal(error),
            Err(_) => refusal("a reload still waits for a disk"),
        }
    }

    /// The end, as SIGTERM begins it.
    fn drain(&self) -> Value {
        match self.wakes.send(Wake::Drain) {
            Ok(()) => json!({ "ok": true }),
            Err(_) => refusal("the server ends"),
        }
    }

    /// What a client has to read to hand it over.
    fn origin(&self) -> Value {
        let certificate = self.certificate.as_ref().map(|(chain, key)| json!([chain, key]));
        let directory = env::current_dir().ok();
        json!({
            "ok": true, "config": self.config, "certificate": certificate, "directory": directory,
        })
    }

    fn reload(&self, files: BTreeMap<PathBuf, FileText>) -> Value {
        let (answer, answers) = mpsc::sync_channel(1);
        if self.reloads.send(Request::Control { files, answer }).is_err() {
            return refusal("the server ends");
        }
        match answers.recv_timeout(RELOAD_TIME_MAX) {
            Ok(Ok(Reloaded { generation, changed, warnings })) => json!({
                "ok": true, "generation": generation, "changed": changed, "warnings": warnings,
            }),
            Ok(Err(problems)) => {
                let problems: Vec<_> = problems.into_iter().map(Finding::from).collect();
                failure(&problems)
            }
            Err(_) => refusal("the reload still waits for a disk; the log will tell"),
        }
    }

    fn reopen(&self) -> Value {
        let (answer, answers) = mpsc::sync_channel(1);
        if self.reloads.send(Request::Reopen(answer)).is_err() {
            return refusal("the server ends");
        }
        match answers.recv_timeout(RELOAD_TIME_MAX) {
            Ok(Ok(files)) => json!({ "ok": true, "files": files }),
            Ok(Err(error)) => refusal(error),
            Err(_) => refusal("the disk of the log does not answer"),
        }
    }

    fn status(&self) -> Value {
        self.status_by(&shards::figures(&self.shards)).into()
    }

    /// What is behind the list of sessions for `top`, whose `end` it completes.
    fn figures(&self, mut end: Map<String, Value>) -> Map<String, Value> {
        let figures = shards::figures(&self.shards);
        let up_seconds = (clock::now() - self.started).as_secs_f64();
        end.extend(self.status_by(&figures));
        end.insert("clock_seconds".to_owned(), json!(up_seconds));
        end.insert("figures".to_owned(), figures::by_shard(&figures));
        end.insert("phases".to_owned(), figures::phases(&figures));
        end
    }

    fn status_by(&self, figures: &[Figures]) -> Map<String, Value> {
        let gauge = |figures: &Figures, name: &str| {
            let found = figures.gauges.iter().find(|(known, _)| *known == name);
            found.map_or(0, |(_, value)| *value)
        };
        let sum = |name| figures.iter().map(|figures| gauge(figures, name)).sum::<u64>();
        let generations = figures.iter().map(|figures| gauge(figures, "config_generation"));
        let status = [
            ("ok", json!(true)),
            ("version", json!(env!("CARGO_PKG_VERSION"))),
            ("pid", json!(std::process::id())),
            ("ready", json!(self.readiness.stage() == Stage::Ready)),
            ("uptime_seconds", json!((clock::now() - self.started).as_secs())),
            ("generation", json!(generations.min())),
            ("shards", json!(self.shards.len())),
            ("shards_up", json!(figures.len())),
            ("sessions", json!(sum("sessions"))),
            ("sessions_logged_in", json!(sum("sessions_logged_in"))),
            ("transfers", json!(sum("transfers"))),
        ];
        status.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn upgraded(done: &Result<Taken, String>) -> Value {
    match done {
        Ok(taken) => json!({
            "ok": true, "pid": taken.pid, "version": taken.version,
            "pid_before": std::process::id(),
        }),
        Err(error) => refusal(error.clone()),
    }
}

/// A mistake as [`failure`] has it, for who asked.
pub(crate) fn problem_of(value: &Value) -> Problem {
    let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let line = value["line"].as_u64().and_then(|line| usize::try_from(line).ok());
    Problem {
        file: value["file"].as_str().map(PathBuf::from),
        line: line.unwrap_or(0),
        key: word("key"),
        message: word("message"),
    }
}

/// Files as a request has them.
pub(crate) fn files_of(request: &Value) -> BTreeMap<PathBuf, FileText> {
    let file = |(path, file): (&String, &Value)| {
        let mode = u32::try_from(file["mode"].as_u64()?).ok()?;
        let octets = file["text"].as_str()?.as_bytes().to_vec();
        Some((PathBuf::from(path), FileText { octets, mode }))
    };
    let files = request["files"].as_object();
    files.map(|files| files.iter().filter_map(file).collect()).unwrap_or_default()
}
