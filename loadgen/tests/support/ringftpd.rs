//! The real server: built by cargo once a test program, or named by `RINGFTPD_BIN`; stopped by its
//! process id.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::announced;

/// Argon2id (m=8 KiB, t=1) of `secret`: as cheap as the format allows, because tests log in often.
const SECRET_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$cmluZ2Z0cGQtdGVzdHMhIQ\
                           $w8kAV0esF/gb/qiEO5ycssX/dBZZ4Ql2/MRAJDdDcfM";

/// A running ringftpd with the user `alice`, password `secret`.
pub struct Ringftpd {
    child: Child,
    scratch: TempDir,
    /// The implicit listener.
    pub implicit: SocketAddr,
    /// The explicit listener.
    pub explicit: SocketAddr,
    /// Processes that have taken over.
    heirs: RefCell<Vec<Pid>>,
}

/// What a test wants of the server.
pub struct Setup {
    /// Where it listens.
    pub ip: &'static str,
    /// Lines of `[tls]`.
    pub tls: String,
    /// Lines of the user.
    pub user: String,
    /// A shard each.
    pub cpus: &'static str,
    /// Lines of `[passive]`.
    pub passive: String,
}

impl Default for Setup {
    fn default() -> Self {
        let user = format!("password = \"{SECRET_HASH}\"");
        let (tls, passive) = (String::new(), String::new());
        Self { ip: "127.0.0.1", tls, user, cpus: "0", passive }
    }
}

impl Ringftpd {
    /// Starts it.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&Setup::default())
    }

    /// Starts it as `setup` says.
    #[track_caller]
    pub fn start_with(setup: &Setup) -> Self {
        let Setup { ip, tls, user, cpus, passive } = setup;
        let scratch = TempDir::new().unwrap();
        let root = scratch.path().join("root");
        std::fs::create_dir(&root).unwrap();
        // As root a configuration has to say so.
        let is_root = rustix::process::geteuid().is_root();
        let control = scratch.path().join("ctl.sock");
        let process = if is_root { "[process]\nuser = \"root\"\n" } else { "" };
        let config = format!(
            "[listen]\nimplicit = [\"{ip}:0\"]\nexplicit = [\"{ip}:0\"]\n\
             [passive]\n{passive}\n[tls]\n{tls}\n\
             {process}[control]\nsocket = {control:?}\n[shards]\ncpus = \"{cpus}\"\n[policy]\n\
             require_data_tls = false\n\
             [[users]]\nname = \"alice\"\n{user}\nhome = {root:?}\n\
             permissions = [\"read\", \"list\", \"write\", \"append\", \"delete\", \"rename\", \
             \"mkdir\"]\n"
        );
        let file = scratch.path().join("ringftpd.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&file)
            .arg("--state-dir")
            .arg(scratch.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let announced = announced(&mut lines).expect("the server ended before it was ready");
        let address = |kind: &str| announced[kind].parse().unwrap();
        let (implicit, explicit) = (address("implicit"), address("explicit"));
        // Whatever it still prints must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, scratch, implicit, explicit, heirs: RefCell::default() }
    }

    /// Has a new process of the same program take over.
    #[track_caller]
    pub fn upgrade(&self) {
        let mut ctl = Command::new(binary());
        ctl.args(["ctl", "upgrade", "--json", "--socket"]);
        let done = ctl.arg(self.scratch.path().join("ctl.sock")).output().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(answer["ok"], true, "{answer}");
        let pid = i32::try_from(answer["pid"].as_i64().unwrap()).unwrap();
        self.heirs.borrow_mut().push(Pid::from_raw(pid).unwrap());
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Names in the user's home.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.scratch.path().join("root")).unwrap();
        let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.flatten().map(name).collect();
        names.sort();
        names
    }

    /// Puts a file of zeros into the user's home that takes no room there.
    pub fn put_sparse(&self, name: &str, octets: u64) {
        let file = std::fs::File::create(self.scratch.path().join("root").join(name)).unwrap();
        file.set_len(octets).unwrap();
    }

    /// Puts a file into the user's home.
    pub fn put(&self, name: &str, octets: &[u8]) {
        std::fs::write(self.scratch.path().join("root").join(name), octets).unwrap();
    }
}

impl Drop for Ringftpd {
    fn drop(&mut self) {
        // Children of nobody here.
        for heir in self.heirs.take() {
            let _ = kill_process(heir, Signal::TERM);
        }
        // It may have ended already; then there is nothing to stop.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "the server ended with {status}");
        }
    }
}

fn binary() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("RINGFTPD_BIN") {
                return path.into();
            }
            let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
            let built = Command::new(env!("CARGO"))
                // As a part of the workspace: with the features that all else is built with.
                .args(["build", "--quiet", "--workspace", "--bin", "ringftpd"])
                .current_dir(&root)
                .status()
                .unwrap();
            assert!(built.success(), "ringftpd does not build");
            // The test program is target/PROFILE/deps/NAME; cargo builds the server as `dev`.
            let target = std::env::current_exe().unwrap();
            target.ancestors().nth(3).unwrap().join("debug/ringftpd")
        })
        .clone()
}
