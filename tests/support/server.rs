//! The real server program as a guard: started with a configuration of the test's own, stopped
//! with SIGTERM, and held to exit 0 without a panic.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use toml::{Table, Value};

use super::certificates::{Authority, Identity};
use super::tls::Tls;
use super::wait::{PATIENCE, Stopwatch, pause};

/// Argon2id (m=8 KiB, t=1) of `secret`: as cheap as the format allows, because tests log in often.
pub const SECRET_HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$cmluZ2Z0cGQtdGVzdHMhIQ$w8kAV0esF/gb/qiEO5ycssX/dBZZ4Ql2/MRAJDdDcfM";

/// Which of the two kinds of control port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Plain start, AUTH TLS.
    Explicit,
    /// TLS from the first byte.
    Implicit,
}

/// Both, for tests that hold on either.
pub const BOTH_LISTENERS: [Listener; 2] = [Listener::Explicit, Listener::Implicit];

/// What to start.
pub struct Builder {
    config: Table,
    through: Vec<String>,
    environment: Vec<(String, String)>,
    open_files: Option<u32>,
}

/// A running server with its root directory, certificates and output.
pub struct Server {
    child: Child,
    scratch: TempDir,
    authority: Authority,
    identity: Identity,
    implicit: Vec<SocketAddr>,
    explicit: Vec<SocketAddr>,
    log: Log,
    /// Of its output, until nobody can write there any more.
    readers: [JoinHandle<()>; 2],
    stopped: bool,
}

impl Builder {
    /// Merges TOML into the configuration; tables are merged, everything else is replaced.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        let extra: Table = text.parse().unwrap();
        merge(&mut self.config, extra);
        self
    }

    /// Adds a user with the password `secret`, the common home, and these permissions.
    #[must_use]
    pub fn user(mut self, name: &str, permissions: &[&str], extra: &str) -> Self {
        let mut user: Table = extra.parse().unwrap();
        user.insert("name".into(), name.into());
        if !user.contains_key("certificate_sha256") && !user.contains_key("certificate_subject") {
            user.entry("password").or_insert_with(|| SECRET_HASH.into());
        }
        let permissions = permissions.iter().map(|&name| Value::from(name)).collect();
        user.insert("permissions".into(), Value::Array(permissions));
        let users = self.config.entry("users").or_insert_with(|| Value::Array(Vec::new()));
        users.as_array_mut().unwrap().push(user.into());
        self
    }

    /// Lets anybody in as `anonymous`, read-only.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        let mut table = Table::new();
        table.insert("permissions".into(), Value::Array(vec!["read".into(), "list".into()]));
        self.config.insert("anonymous".into(), table.into());
        self
    }

    /// Sets an environment variable of the server.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Limits the server to this many descriptors.
    #[must_use]
    pub fn open_files(mut self, limit: u32) -> Self {
        self.open_files = Some(limit);
        self
    }

    /// Has this program start the server in its own place (exec): its arguments are the server's
    /// command line.
    #[must_use]
    pub fn through(mut self, program: &[&str]) -> Self {
        self.through = program.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts the server and waits until it says `ready`.
    #[track_caller]
    pub fn start(self) -> Server {
        self.start_with(|_| String::new())
    }

    /// Like [`Self::start`]; `extra` sees the authority before the start (for `client_ca`, for
    /// fingerprints) and returns more TOML. It is given the scratch directory and the authority.
    #[track_caller]
    pub fn start_with(mut self, extra: impl FnOnce(&Scratch<'_>) -> String) -> Server {
        let scratch = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let identity = authority.server();
        let path = |name: &str| scratch.path().join(name);
        std::fs::create_dir(path("root")).unwrap();
        std::fs::create_dir(path("state")).unwrap();
        std::fs::write(path("chain.pem"), &identity.certificate_pem).unwrap();
        write_private(&path("key.pem"), &identity.key_pem);
        std::fs::write(path("authority.pem"), authority.pem()).unwrap();
        let more = extra(&Scratch { path: scratch.path(), authority: &authority });
        self = self.toml(&more);
        complete(&mut self.config, scratch.path());
        write_private(&path("ringftpd.toml"), &toml::to_string(&self.config).unwrap());

        let mut child = program(&self.through, self.open_files)
            .args(["serve", "--config"])
            .arg(path("ringftpd.toml"))
            .arg("--state-dir")
            .arg(path("state"))
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, output) = channel();
        let log = Log::default();
        let readers = [
            forward(child.stdout.take().unwrap(), log.clone(), sender.clone()),
            forward(child.stderr.take().unwrap(), log.clone(), sender),
        ];
        let mut server = Server {
            child,
            scratch,
            authority,
            identity,
            implicit: Vec::new(),
            explicit: Vec::new(),
            log,
            readers,
            stopped: false,
        };
        server.wait_until_ready(&output);
        server
    }
}

/// What a test may look at before the server starts.
pub struct Scratch<'a> {
    /// Directory of the test: `root`, `state`, `authority.pem`, `chain.pem`, `key.pem`.
    pub path: &'a Path,
    /// Issues client certificates.
    pub authority: &'a Authority,
}

impl Server {
    /// Users alice (everything) and bob (read, list), password `secret`; one root for both;
    /// an implicit and an explicit listener on 127.0.0.1; short delays; otherwise the defaults.
    pub fn builder() -> Builder {
        let all = ["read", "list", "write", "append", "delete", "rename", "mkdir"];
        let config = Table::new();
        Builder { config, through: Vec::new(), environment: Vec::new(), open_files: None }
            .toml("[limits]\nlogin_failure_delay = \"50ms\"\nshutdown_timeout = \"2s\"")
            .user("alice", &all, "")
            .user("bob", &["read", "list"], "")
    }

    /// [`Self::builder`], started.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// First address of a listener.
    #[track_caller]
    pub fn address(&self, listener: Listener) -> SocketAddr {
        self.addresses(listener)[0]
    }

    /// All addresses of a listener, in the order of the configuration.
    pub fn addresses(&self, listener: Listener) -> &[SocketAddr] {
        match listener {
            Listener::Explicit => &self.explicit,
            Listener::Implicit => &self.implicit,
        }
    }

    /// The users' home directory.
    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("root")
    }

    /// The test's own directory outside the root.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The file with the authority's certificate, for other programs (`curl --cacert`).
    pub fn authority_pem(&self) -> PathBuf {
        self.scratch.path().join("authority.pem")
    }

    /// The authority that issued the server's certificate.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The server's certificate.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes `name` under the root; the test's own place.
    #[track_caller]
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// TLS settings that trust this server, with an empty session store.
    pub fn tls(&self) -> Tls {
        Tls::trusting(self.authority.der())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything printed so far, standard output and standard error.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Sends SIGTERM and nothing else.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let watch = Stopwatch::start();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.stopped = true;
                return status;
            }
            if watch.elapsed() > 2 * PATIENCE {
                self.child.kill().unwrap();
                panic!("the server does not stop; its output:\n{}", self.log());
            }
            pause(Duration::from_millis(2));
        }
    }

    /// Stops the server and asserts that it ended well; gives everything it printed.
    #[track_caller]
    pub fn stop(mut self) -> String {
        self.stop_and_check()
    }

    #[track_caller]
    fn stop_and_check(&mut self) -> String {
        self.terminate();
        let status = self.wait();
        // What it wrote last may still be in the pipe; another process that has taken over from it
        // keeps that open.
        let watch = Stopwatch::start();
        while !self.readers.iter().all(JoinHandle::is_finished) && watch.elapsed() < READING_MAX {
            pause(Duration::from_millis(1));
        }
        let log = self.log();
        assert!(status.success(), "the server ended with {status}; its output:\n{log}");
        assert!(!log.contains("panicked"), "the server panicked; its output:\n{log}");
        log
    }

    #[track_caller]
    fn wait_until_ready(&mut self, output: &Receiver<String>) {
        loop {
            let Ok(line) = output.recv_timeout(2 * PATIENCE) else {
                let log = self.log();
                panic!("the server never became ready; its output:\n{log}");
            };
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["listening", "implicit", address] => self.implicit.push(address.parse().unwrap()),
                ["listening", "explicit", address] => self.explicit.push(address.parse().unwrap()),
                ["ready"] => return,
                _ => {}
            }
        }
    }
}

/// A counter over all shards, from the log of a server that has ended; 0 when nothing was counted.
#[track_caller]
pub fn counter(log: &str, name: &str) -> u64 {
    let reports = log.lines().filter(|line| line.contains("shard ended"));
    let words = reports.flat_map(|line| line.split([' ', '"']));
    let values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        if std::thread::panicking() {
            // The process is ours and the test has failed already: end it, show what it said.
            let _ = self.child.kill();
            let _ = self.child.wait();
            eprintln!("--- server output ---\n{}", self.log());
            return;
        }
        self.stop_and_check();
    }
}

/// What the server printed, filled by the threads that drain its pipes.
#[expect(clippy::disallowed_types, reason = "two pipe threads and the test share one text")]
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<String>>);

impl Log {
    fn add(&self, line: &str) {
        let mut log = self.0.lock().unwrap();
        log.push_str(line);
        log.push('\n');
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// Lines of a pipe into the log, and into the channel while somebody listens there.
fn forward(pipe: impl Read + Send + 'static, log: Log, lines: Sender<String>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            log.add(&line);
            // Nobody listens once the server is ready.
            let _ = lines.send(line);
        }
    })
}

/// How long the output of a server that has ended may take to be read.
const READING_MAX: Duration = Duration::from_secs(2);

/// The command that starts the server program, by way of another program if one is asked for.
fn program(through: &[String], open_files: Option<u32>) -> Command {
    let mut words: Vec<String> = Vec::new();
    if let Some(limit) = open_files {
        let limited = ["sh", "-c", "ulimit -n \"$0\"; exec \"$@\"", &limit.to_string()];
        words.extend(limited.map(str::to_owned));
    }
    words.extend_from_slice(through);
    words.push(super::program::path());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Writes a file nobody else may read, as the server wants its secrets kept.
pub fn write_private(path: &Path, contents: &str) {
    let mut file =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(contents.as_bytes()).unwrap();
}

/// Fills in what depends on the scratch directory, where the test has not set it.
fn complete(config: &mut Table, scratch: &Path) {
    let file = |name: &str| Value::from(scratch.join(name).to_str().unwrap());
    let any_port = || Value::Array(vec!["127.0.0.1:0".into()]);
    let mut listen = Table::new();
    listen.insert("implicit".into(), any_port());
    listen.insert("explicit".into(), any_port());
    let mut tls = Table::new();
    tls.insert("certificate".into(), file("chain.pem"));
    tls.insert("key".into(), file("key.pem"));
    let mut defaults = Table::new();
    if rustix::process::geteuid().is_root() {
        let user = Table::from_iter([("user".to_owned(), Value::from("root"))]);
        defaults.insert("process".into(), user.into());
    }
    let control = Table::from_iter([("socket".to_owned(), file("ctl.sock"))]);
    defaults.insert("control".into(), control.into());
    defaults.insert("listen".into(), listen.into());
    defaults.insert("tls".into(), tls.into());
    merge(&mut defaults, std::mem::take(config));
    *config = defaults;
    let home = file("root");
    if let Some(anonymous) = config.get_mut("anonymous") {
        anonymous.as_table_mut().unwrap().entry("home").or_insert_with(|| home.clone());
    }
    for user in config.get_mut("users").unwrap().as_array_mut().unwrap() {
        user.as_table_mut().unwrap().entry("home").or_insert_with(|| home.clone());
    }
}

/// Merges tables; everything else is replaced.
pub fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}
