//! Other people's servers, as `benches/peers/serve` starts them: on the loopback address, on free
//! ports, with the user `alice`, password `secret`. `benches/peers/install` has unpacked them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::announced;

/// A running server; ended when dropped.
pub struct Peer {
    child: Child,
    /// The implicit listener, as a target on the command line; empty if it has none.
    pub implicit: String,
    /// The explicit listener, likewise.
    pub explicit: String,
    /// The user's directory.
    pub root: PathBuf,
}

impl Peer {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// What `serve` said instead.
    #[track_caller]
    pub fn start(kind: &str) -> Result<Self, String> {
        let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut child = Command::new("python3")
            .arg(repository.join("benches/peers/serve"))
            .arg(kind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(announced) = announced(&mut lines) else {
            let output = child.wait_with_output().unwrap();
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        };
        let target = |kind: &str, option: &str| {
            announced.get(kind).map_or_else(String::new, |address| address.clone() + option)
        };
        let (implicit, explicit) = (target("implicit", ""), target("explicit", " --explicit"));
        Ok(Self { child, implicit, explicit, root: PathBuf::from(&announced["root"]) })
    }

    /// Names in the user's directory.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root).unwrap();
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its standard input ends it, and with it the server.
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        if !std::thread::panicking() {
            assert!(status.success(), "serve ended with {status}");
        }
    }
}
