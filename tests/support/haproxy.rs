//! A running HAProxy.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ended when it is dropped.
pub(crate) struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Haproxy {
    /// With this configuration, kept in `folder`. It listens soon, at all its addresses at once.
    #[track_caller]
    pub(crate) fn start(folder: &Path, configuration: &str) -> Self {
        let file = folder.join("haproxy.cfg");
        fs::write(&file, configuration).unwrap();
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("haproxy: {error}; tests/run installs it"));
        Self(process)
    }
}
