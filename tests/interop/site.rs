//! A running server and a directory for its client: what every interoperability test starts with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Builder, Listener, Server, wait_until};

/// Listeners on both address families; [`Site::address`] picks by family.
const BOTH_FAMILIES: &str = r#"
[listen]
explicit = ["127.0.0.1:0", "[::1]:0"]
implicit = ["127.0.0.1:0", "[::1]:0"]
"#;

/// Which address family a client uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The two TLS versions, as clients name them.
pub(crate) const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// A server with user alice (password `secret`, every permission) and the client's own directory.
pub(crate) struct Site {
    pub(crate) server: Server,
    local: TempDir,
}

impl Site {
    /// The default configuration on both address families.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(|builder| builder)
    }

    /// The same with changes.
    #[track_caller]
    pub(crate) fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let server = change(Server::builder().toml(BOTH_FAMILIES)).start();
        Self { server, local: tempfile::tempdir().unwrap() }
    }

    /// Data connections must resume their control session.
    #[track_caller]
    pub(crate) fn requiring_resumption() -> Self {
        Self::with(|builder| builder.toml("[tls]\ndata_resumption = \"require\""))
    }

    /// Where a listener is.
    pub(crate) fn address(&self, listener: Listener, family: Family) -> SocketAddr {
        let is_wanted = |address: &&SocketAddr| address.is_ipv4() == (family == Family::V4);
        *self.server.addresses(listener).iter().find(is_wanted).unwrap()
    }

    /// `ftp://127.0.0.1:port` or `ftps://…`.
    pub(crate) fn url(&self, listener: Listener, family: Family) -> String {
        let scheme = match listener {
            Listener::Explicit => "ftp",
            Listener::Implicit => "ftps",
        };
        format!("{scheme}://{}", self.address(listener, family))
    }

    /// Panics unless the log has this many transfers, each over a resumed TLS session.
    #[track_caller]
    pub(crate) fn assert_log_has_resumed(&self, transfers: usize) {
        let lines = |text: &str| {
            let log = self.server.log();
            log.lines().filter(|l| l.contains("transfer ended") && l.contains(text)).count()
        };
        let complete = || lines("end=\"complete\"");
        wait_until("a line in the log for each transfer", || complete() >= transfers);
        let resumed = lines("resumption=\"resumed\"");
        assert_eq!(
            (lines("end=\"complete\""), resumed),
            (transfers, transfers),
            "complete, resumed"
        );
    }

    /// A file as the server has it.
    pub(crate) fn served(&self, name: impl AsRef<Path>) -> PathBuf {
        self.server.root().join(name)
    }

    /// A file of the client's.
    pub(crate) fn local(&self, name: impl AsRef<Path>) -> PathBuf {
        self.local.path().join(name)
    }
}
