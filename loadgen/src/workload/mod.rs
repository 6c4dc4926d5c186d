//! The named workloads: which reality each stands for, and what one operation of it is. When
//! operations begin is decided by `plan` and done by `drive`.

mod drive;
mod paths;
mod perform;
mod prepare;
mod replay;
mod scenario;
mod shard;

use std::{net::IpAddr, time::Duration};

pub use paths::{Existing, Paths};
pub use prepare::{clean_up, prepare};
pub use replay::{Replay, Transfer, parse_speed};
pub use scenario::{Action, Choice, Scenario};
pub use shard::{RunCommands, ShardResult, ShardSetup, ThreadReport, run_shard};

use crate::{
    client::{Listing, Pace},
    verify::{Content, Expected},
};

/// A workload with its parameters.
#[derive(Debug, Clone)]
pub struct Workload {
    /// What one operation does.
    pub kind: Kind,
    /// What downloads fetch, uploads make.
    pub files: Files,
}

/// What one operation does.
#[derive(Debug, Clone)]
pub enum Kind {
    /// TCP and TLS to the greeting, then close.
    Handshake,
    /// To the reply that logs in, then QUIT; or with REIN again and again on one connection.
    Login {
        /// REIN instead of a new connection.
        rein: bool,
    },
    /// NOOP on each of many sessions in turn.
    Idle {
        /// Time between two NOOPs of one session.
        every: Duration,
    },
    /// RETR in a kept session.
    Download(Pace),
    /// STOR in a kept session.
    Upload(Pace),
    /// RETR or STOR of many small files, one after another, in kept sessions.
    SmallFiles {
        /// STOR instead of RETR.
        upload: bool,
    },
    /// A listing in a kept session.
    List {
        /// The command.
        listing: Listing,
        /// The directory.
        path: String,
        /// Fewer lines than this are a failure.
        entries: u64,
    },
    /// A weighted mix.
    Mixed(Scenario),
    /// The transfers of a log.
    Replay(Replay),
    /// Silent connections: they never send an octet.
    Silent,
    /// All sessions cut at once, and back.
    ReconnectStorm {
        /// Time between two storms.
        every: Duration,
    },
}

/// The files of a workload.
#[derive(Debug, Clone)]
pub struct Files {
    /// The seed of their contents and names.
    pub seed: u64,
    /// Sizes of the files to make, octets; file `n` has size `n` modulo their number.
    pub sizes: Vec<u64>,
    /// How many to make for downloads.
    pub count: u64,
    /// Existing files to download instead.
    pub existing: Option<Paths>,
    /// Of downloads only the length is compared.
    pub discard: bool,
    /// Files made are left behind.
    pub keep: bool,
    /// Files of a directory to make for listings.
    pub entries: u64,
}

impl Workload {
    /// Its name on the command line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.kind {
            Kind::Handshake => "handshake",
            Kind::Login { .. } => "login",
            Kind::Idle { .. } => "idle",
            Kind::Download(Pace::Full) => "download",
            Kind::Upload(Pace::Full) => "upload",
            Kind::SmallFiles { .. } => "small-files",
            Kind::List { .. } => "list",
            Kind::Mixed(_) => "mixed",
            Kind::Replay(_) => "replay",
            Kind::Download(Pace::BytesPerSecond(_)) => "slow-reader",
            Kind::Upload(Pace::BytesPerSecond(_)) => "slow-writer",
            Kind::Silent => "silent",
            Kind::ReconnectStorm { .. } => "reconnect-storm",
        }
    }

    /// The sentence on the reality that it stands for.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self.kind {
            Kind::Handshake => {
                "the flood of clients that reconnect after a restart or a network fault: TCP and \
                 TLS to the 220, then close"
            }
            Kind::Login { rein: false } => {
                "short sessions of scripts and devices that log in, look and leave: connect, TLS, \
                 USER, PASS, QUIT"
            }
            Kind::Login { rein: true } => {
                "a connection reused for another user: REIN, TLS anew on the same TCP connection, \
                 USER, PASS"
            }
            Kind::Idle { .. } => {
                "people and programs that stay logged in all day and keep the session alive: a \
                 NOOP on each in turn"
            }
            Kind::Download(Pace::Full) => {
                "large files fetched from a mirror or a media archive: EPSV, RETR, 226 in a kept \
                 session"
            }
            Kind::Upload(Pace::Full) => {
                "large files handed in, as backups and video: EPSV, STOR, 226 in a kept session"
            }
            Kind::SmallFiles { .. } => {
                "web sites, invoices and sensor readings: many small files one after another in \
                 one session, each with its own data connection"
            }
            Kind::List { .. } => {
                "clients that refresh a directory: EPSV, a listing, 226 in a kept session"
            }
            Kind::Mixed(_) => "a day of a public server: operations in the file's proportions",
            Kind::Replay(_) => {
                "a day that a server has had: the transfers of its log, each at its time, by its \
                 user, of its size"
            }
            Kind::Download(Pace::BytesPerSecond(_)) => {
                "clients on bad lines that read slowly and hold the server's buffers"
            }
            Kind::Upload(Pace::BytesPerSecond(_)) => {
                "devices that send slowly and hold a session and a file for long"
            }
            Kind::Silent => {
                "scanners and half-dead peers that connect and never say anything; an operation \
                 ends when the server has had enough"
            }
            Kind::ReconnectStorm { .. } => {
                "a switch that reboots: all sessions are cut at the same moment and come back at \
                 once; an operation lasts from the cut until logged in again"
            }
        }
    }

    /// Whether operations under way at the end of the run are expected, not late: they are cut then
    /// and count nowhere.
    #[must_use]
    pub const fn ends_with_the_run(&self) -> bool {
        matches!(
            self.kind,
            Kind::Silent
                | Kind::Download(Pace::BytesPerSecond(_))
                | Kind::Upload(Pace::BytesPerSecond(_))
        )
    }

    /// Whether each client is driven by the clock of the workload itself.
    #[must_use]
    pub const fn beat(&self) -> Option<Beat> {
        match self.kind {
            Kind::Idle { every } => Some(Beat { every, in_turn: true }),
            Kind::ReconnectStorm { every } => Some(Beat { every, in_turn: false }),
            _ => None,
        }
    }

    /// Most descriptors of one client: a data connection, or the listener for it, comes on top of
    /// the control connection.
    #[must_use]
    pub const fn descriptors_per_client(&self) -> u64 {
        match self.kind {
            Kind::Handshake
            | Kind::Login { .. }
            | Kind::Idle { .. }
            | Kind::Silent
            | Kind::ReconnectStorm { .. } => 1,
            Kind::Download(_)
            | Kind::Upload(_)
            | Kind::SmallFiles { .. }
            | Kind::List { .. }
            | Kind::Mixed(_)
            | Kind::Replay(_) => 3,
        }
    }

    /// Whether files are downloaded.
    #[must_use]
    pub fn downloads(&self) -> bool {
        match &self.kind {
            Kind::Download(_) | Kind::SmallFiles { upload: false } => true,
            Kind::Mixed(scenario) => scenario.downloads(),
            _ => false,
        }
    }

    /// Whether each operation begins with a connection of its own.
    #[must_use]
    pub const fn connects(&self) -> bool {
        matches!(self.kind, Kind::Handshake | Kind::Login { rein: false })
    }

    /// Whether clients log in before the run begins.
    #[must_use]
    pub const fn keeps_sessions(&self) -> bool {
        !matches!(self.kind, Kind::Handshake | Kind::Login { rein: false } | Kind::Silent)
    }
}

/// A workload's own clock.
#[derive(Debug, Clone, Copy)]
pub struct Beat {
    /// Time between two operations of one client.
    pub every: Duration,
    /// Clients take turns evenly within that time; otherwise all act at once.
    pub in_turn: bool,
}

impl Files {
    /// The name of file `index` for downloads.
    #[must_use]
    pub fn name(&self, index: u64) -> String {
        format!("ringload-{:x}-{index}", self.seed)
    }

    /// The contents of file `index`.
    #[must_use]
    pub fn content(&self, index: u64) -> Content {
        let size = usize::try_from(index).unwrap_or_default() % self.sizes.len().max(1);
        Content::new(self.seed, index, self.sizes.get(size).copied().unwrap_or_default())
    }

    /// The name under which client `number` uploads.
    #[must_use]
    pub fn upload_name(&self, number: u64) -> String {
        format!("ringload-{:x}-up-{number}", self.seed)
    }

    /// The directory made for listings.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("ringload-{:x}-dir", self.seed)
    }

    /// The directory that says that part `number` of a run has not ended.
    #[must_use]
    pub fn sign(&self, number: u64) -> String {
        format!("ringload-{:x}-part-{number}", self.seed)
    }

    /// What file `index` must be when it is downloaded.
    #[must_use]
    pub fn expected(&self, index: u64) -> Expected {
        let content = self.content(index);
        if self.discard { Expected::Length(content.size()) } else { Expected::Content(content) }
    }
}

/// Where clients connect from, in turn. Empty: the system chooses.
#[must_use]
pub fn source_of(sources: &[IpAddr], number: u64) -> Option<IpAddr> {
    let index = usize::try_from(number % sources.len().max(1) as u64).unwrap_or_default();
    sources.get(index).copied()
}
