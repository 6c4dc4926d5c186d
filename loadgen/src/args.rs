//! The command line: what each option means.

#![allow(rustdoc::broken_intra_doc_links, reason = "`--help` shows these comments as they are")]

mod request;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Parser, Subcommand};

pub use request::{Request, key_log_file};

use crate::{
    client::{DataMode, Listing, Protection, ResumeMode, TlsVersion},
    engine::parse_cpus,
    guard,
    moment::parse_moment,
    plan::{Arrivals, Part},
    slo::{AbortRule, Objective},
    units::{parse_duration, parse_size},
    verify::parse_sha256,
    workload::parse_speed,
};

/// Environment variable with the file that takes the secrets of TLS connections.
pub const KEY_LOG_VARIABLE: &str = "SSLKEYLOGFILE";

/// Environment variable with the password.
pub const PASSWORD_VARIABLE: &str = "RINGLOAD_PASSWORD";

/// Measures FTPS servers: open and closed loop, per-phase latency without coordinated omission,
/// session resumption under control, contents verified
#[derive(Debug, Parser)]
#[command(version, about, after_long_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  Full handshakes as fast as 64 clients can do them, for 10 s:
      ringload handshake 127.0.0.1:990 --clients 64 --duration 10s
  Resumed handshakes at 2,000 a second, Poisson arrivals; 5 ms at the 99th percentile is too much:
      ringload handshake 127.0.0.1:990 --rate 2000 --arrivals poisson --resume always \\
          --fail-on 'p99>5ms'
  The highest rate of logins that the server can sustain:
      ringload login 127.0.0.1:990 --user alice --find-max-rate --slo 'p99<50ms,errors=0'
  Ten thousand idle sessions, a NOOP on each every minute, and what each costs the server:
      ringload idle 127.0.0.1:990 --user alice --clients 10000 --every 1m --duration 5m \\
          --server-pid 4711
  Large downloads, compared octet by octet:
      ringload download 127.0.0.1:990 --user alice --size 100MiB --clients 4
  Uploads over explicit TLS:
      ringload upload 127.0.0.1:21 --explicit --user alice --size 10MiB
  A thousand small files, one session each client:
      ringload small-files 127.0.0.1:990 --user alice --files 1000 --size 4KiB
  Listings of a directory of 1,000 files:
      ringload list 127.0.0.1:990 --user alice --entries 1000 --listing mlsd
  A mix from a file (see `ringload mixed --help`), with 500 connections that never speak beside it:
      ringload mixed 127.0.0.1:990 --user alice --scenario day.toml --silent 500
  Two hours of a server's own log, in twelve minutes:
      ringload replay 127.0.0.1:990 --xferlog xferlog --speed 10x --users users.txt
  Slow clients:
      ringload slow-reader 127.0.0.1:990 --user alice --byte-rate 2KiB --clients 500
      ringload slow-writer 127.0.0.1:990 --user alice --byte-rate 2KiB --clients 500
  How long silent connections are tolerated:
      ringload silent 127.0.0.1:990 --clients 1000 --duration 2m
  A thousand sessions cut at once every 5 s:
      ringload reconnect-storm 127.0.0.1:990 --user alice --clients 1000 --every 5s
  What a server agrees to, and what it lacks:
      ringload check ftpes://127.0.0.1 --user alice
  Two servers, interleaved:
      ringload versus --a 127.0.0.1:990 --b '127.0.0.1:2121 --explicit' --rounds 7 -- \\
          small-files --user alice
  Half of a load of 20,000 a second on each of two machines, and both as one result:
      ringload login 192.0.2.7:990 --i-own-this-target 192.0.2.7 --user alice --rate 20000 \\
          --start-at 2026-11-28T17:00:00Z --part 1/2 --json 1.json     (and 2/2 on the other)
      ringload merge 1.json 2.json --json both.json --report both.html
  Finished runs overlaid in one page:
      ringload compare old.json new.json --report compared.html

Environment:
  RINGLOAD_PASSWORD   password of --user
  SSLKEYLOGFILE       file that takes the secrets of all TLS connections, for Wireshark

Exit status:
  0  as asked    1  an objective was missed, or no rate held
  2  bad command line    3  the run failed: nothing succeeded, or from some moment on nothing more";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// TCP and TLS to the greeting, then close
    Handshake(Common),
    /// Connect, TLS, USER, PASS, QUIT
    Login {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Log in again and again on one connection, with REIN between
        #[arg(long)]
        rein: bool,
    },
    /// Hold sessions; NOOP on each in turn
    Idle {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Time between two NOOPs of one session
        #[arg(long, default_value = "10s", value_parser = parse_duration)]
        every: Duration,
    },
    /// Download files in kept sessions
    Download {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Files.
        #[command(flatten)]
        files: DownloadOptions,
    },
    /// Upload files in kept sessions
    Upload {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Size of a file
        #[arg(long, default_value = "16MiB", value_parser = parse_size)]
        size: u64,
        /// Leave the files on the server
        #[arg(long)]
        keep: bool,
    },
    /// Many small files in each session
    SmallFiles {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Size of a file
        #[arg(long, default_value = "4KiB", value_parser = parse_size)]
        size: u64,
        /// How many different files to download
        #[arg(long, default_value_t = 100)]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000))]
        files: u64,
        /// Upload instead of download
        #[arg(long, conflicts_with_all = ["files", "discard"])]
        upload: bool,
        /// Do not compare downloads but for their length
        #[arg(long)]
        discard: bool,
        /// Leave the files on the server
        #[arg(long)]
        keep: bool,
    },
    /// List a directory in kept sessions
    List {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Which command
        #[arg(long, value_enum, default_value = "mlsd")]
        listing: Listing,
        /// Files in the directory, made for it unless there is a --path; fewer lines are a failure
        /// [default: 100; any number with --path]
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        entries: Option<u64>,
        /// List this directory instead of making one
        #[arg(long, value_name = "DIR", conflicts_with = "keep")]
        path: Option<String>,
        /// Leave the directory on the server
        #[arg(long)]
        keep: bool,
    },
    /// A weighted mix of operations, from a file
    ///
    /// The file is TOML: [[operation]] entries with `kind` (download, upload, list, noop, login)
    /// and `weight`; [[size]] entries with `bytes` (such as "64KiB") and `weight`; and above them
    /// `abandon` (share of transfers given up in the middle), `think` (pause after an operation, in
    /// closed loop), `rate` and `arrivals` (constant, poisson) for open loop. Options of the
    /// command line win.
    Mixed {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// The mix
        #[arg(long, value_name = "FILE")]
        scenario: PathBuf,
        /// Leave the files on the server
        #[arg(long)]
        keep: bool,
    },
    /// The transfers of an xferlog, at its own pace or faster
    ///
    /// Each transfer begins when it did, by the log: its time of logging less the time that it
    /// took, which logs have in whole seconds. Direction, name, size and user are those of the log,
    /// whose tree has to be on the server. UPLOADS REPLACE THE FILES OF THEIR NAMES, and stay.
    /// Transfers that were not whole are given up after as many octets.
    Replay {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// The log, as wu-ftpd and most servers after it write it: xferlog(5)
        #[arg(long, value_name = "FILE")]
        xferlog: PathBuf,
        /// How many times as fast as it was
        #[arg(long, default_value = "1x", value_parser = parse_speed)]
        speed: f64,
    },
    /// Downloads read slowly
    SlowReader {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Slowness.
        #[command(flatten)]
        slow: SlowOptions,
    },
    /// Uploads sent slowly
    SlowWriter {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Slowness.
        #[command(flatten)]
        slow: SlowOptions,
    },
    /// Connections that never speak
    Silent(Common),
    /// All sessions cut at once, and back
    ReconnectStorm {
        /// Common options.
        #[command(flatten)]
        common: Common,
        /// Time between two storms
        #[arg(long, default_value = "5s", value_parser = parse_duration)]
        every: Duration,
    },
    /// One session told step by step: what the server agrees to, and what it lacks
    Check {
        /// The server: HOST:PORT, ftps://HOST (implicit TLS) or ftpes://HOST (explicit)
        target: String,
        /// Server.
        #[command(flatten)]
        server: ServerOptions,
        /// TLS.
        #[command(flatten)]
        tls: TlsArguments,
    },
    /// Compare finished runs (--json files), each with the first
    Compare {
        /// Compare unlike workloads too
        #[arg(long)]
        force: bool,
        /// Write a page with all runs overlaid (HTML); - is standard output
        #[arg(long, value_name = "FILE", visible_alias = "html")]
        report: Option<PathBuf>,
        /// Results
        #[arg(required = true, num_args = 2.., value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Put the results of the parts of one run (--part) together, exactly
    Merge {
        /// Where the whole result goes.
        #[command(flatten)]
        output: ResultFiles,
        /// Results of all parts
        #[arg(required = true, num_args = 2.., value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Run one workload at two targets in turn, and say what differs beyond noise
    Versus(VersusOptions),
}

/// Two targets in turn.
#[derive(Debug, Args)]
pub struct VersusOptions {
    /// Target A, and options that hold for it alone: '127.0.0.1:990 --implied-prot'
    #[arg(long)]
    pub a: String,
    /// Target B
    #[arg(long)]
    pub b: String,
    /// Rounds of each
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(3..=1000))]
    pub rounds: u32,
    /// Pin TLS version, suite and group on both, where the options do not: TLS 1.3 with AES-128-GCM
    /// and X25519
    #[arg(long)]
    pub fair: bool,
    /// Compare unlike workloads too
    #[arg(long)]
    pub force: bool,
    /// Write the comparison, with the result of each round, as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page with plots of all rounds (HTML); - is standard output
    #[arg(long, value_name = "FILE", visible_alias = "html")]
    pub report: Option<PathBuf>,
    /// The workload and its options, without a target
    #[arg(last = true, required = true, value_name = "WORKLOAD")]
    pub workload: Vec<String>,
}

/// Which files are downloaded.
#[derive(Debug, Clone, Args)]
pub struct DownloadOptions {
    /// Size of a file
    #[arg(long, default_value = "16MiB", value_parser = parse_size)]
    size: u64,
    /// How many different files
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    files: u64,
    /// Download this file instead of making some; unchecked without --sha256
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "files", "discard", "keep"])]
    path: Option<String>,
    /// Download files of this list instead: a path a line, behind it, parted by tabs, its size
    /// (compared with what comes) and its weight [default: 1]
    #[arg(long, value_name = "LIST")]
    #[arg(conflicts_with_all = ["path", "size", "files", "discard", "keep"])]
    paths: Option<PathBuf>,
    /// What the file must be
    #[arg(long, value_name = "HEX", requires = "path", value_parser = parse_sha256)]
    sha256: Option<[u8; 32]>,
    /// Do not compare what comes but for its length: pure speed
    #[arg(long)]
    discard: bool,
    /// Leave the files on the server
    #[arg(long)]
    keep: bool,
}

/// How slow clients are.
#[derive(Debug, Clone, Args)]
pub struct SlowOptions {
    /// Octets a second of one client
    #[arg(long, default_value = "10KiB", value_parser = parse_size)]
    byte_rate: u64,
    /// Size of a file
    #[arg(long, default_value = "10MiB", value_parser = parse_size)]
    size: u64,
    /// Leave the files on the server
    #[arg(long)]
    keep: bool,
}

/// Options of every workload.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server: HOST:PORT, ftps://HOST (implicit TLS) or ftpes://HOST (explicit)
    target: String,
    /// Server.
    #[command(flatten)]
    server: ServerOptions,
    /// What the server uses.
    #[command(flatten)]
    cost: CostOptions,
    /// TLS.
    #[command(flatten)]
    tls: TlsArguments,
    /// Load.
    #[command(flatten)]
    load: LoadOptions,
    /// Output.
    #[command(flatten)]
    pub output: OutputOptions,
}

/// How to speak to the server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerOptions {
    /// Explicit TLS: AUTH TLS after the greeting. Without it: implicit
    #[arg(long)]
    explicit: bool,
    /// Explicit TLS with AUTH SSL
    #[arg(long)]
    auth_ssl: bool,
    /// Implicit TLS to the letter of MS-FTPS: do not send PBSZ 0 and PROT P, which it implies; many
    /// servers protect no data connection without them
    #[arg(long, conflicts_with_all = ["explicit", "auth_ssl"])]
    implied_prot: bool,
    /// Protection level of data connections
    #[arg(long, value_enum, default_value = "P")]
    prot: Protection,
    /// How data connections are agreed on; over IPv6 only epsv and eprt exist
    #[arg(long, value_enum, default_value = "epsv")]
    data: DataMode,
    /// User
    #[arg(long, default_value = "anonymous")]
    user: String,
    /// Its password [default: the variable RINGLOAD_PASSWORD, else "ringload@"]
    #[arg(long)]
    password: Option<String>,
    /// Users whom clients take in turn, by their number: lines NAME:PASSWORD; a name alone has the
    /// password of --password. For `replay` the passwords of the log's users
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    users: Option<PathBuf>,
    /// Longest wait for any one step
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
    /// Longest time of one transfer, beside what --byte-rate asks for
    #[arg(long, default_value = "1h", value_parser = parse_duration)]
    transfer_timeout: Duration,
    /// Most octets of a listing or of a file given by --path; more are a failure
    #[arg(long, value_name = "SIZE", default_value = "64GiB", value_parser = parse_size)]
    max_bytes: u64,
    /// Allow a target that is not this host: its name, as in the target
    #[arg(long, value_name = "HOST")]
    i_own_this_target: Vec<String>,
    /// Use the IPv4 addresses of the target's name alone
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use its IPv6 addresses alone; else all are tried, and the first that takes a connection is
    /// used
    #[arg(short = '6', long)]
    ipv6: bool,
}

/// What the server uses.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct CostOptions {
    /// The server's process on this host: its CPU time and memory are reported
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// The server's cgroup v2 on this host, where its processes do not stay one tree: as
    /// --server-pid, and CPU to the microsecond
    #[arg(long, value_name = "DIR", conflicts_with = "server_pid")]
    server_cgroup: Option<PathBuf>,
}

/// What to ask of TLS.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArguments {
    /// Versions to offer
    #[arg(long = "tls", value_enum, default_value = "any")]
    version: TlsVersion,
    /// Cipher suites to offer, in order: IANA names, separated by commas
    #[arg(long, value_delimiter = ',')]
    suites: Vec<String>,
    /// Key exchange groups to offer, in order, such as X25519,secp256r1
    #[arg(long, value_delimiter = ',')]
    groups: Vec<String>,
    /// Demand a certificate that these authorities (PEM) vouch for, and that is for --server-name;
    /// without it and --pin nothing is verified, not even the handshake's signature
    #[arg(long, value_name = "FILE", conflicts_with = "pin")]
    ca: Option<PathBuf>,
    /// Demand the certificate with this SHA-256 fingerprint (of its DER form), whatever its name
    #[arg(long, value_name = "HEX", value_parser = parse_sha256)]
    pin: Option<[u8; 32]>,
    /// Name to verify and to send as SNI [default: the target's host]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Send no SNI
    #[arg(long)]
    no_sni: bool,
    /// Client certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// Private key (PEM) of --client-cert
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Session resumption on control connections
    #[arg(long, value_enum, default_value = "never")]
    resume: ResumeMode,
    /// Session resumption on data connections
    #[arg(long, value_enum, default_value = "offered")]
    resume_data: ResumeMode,
}

/// How much load.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub struct LoadOptions {
    /// Closed loop: clients, each with one operation at a time [default: 10]
    #[arg(long, short, value_parser = clap::value_parser!(u64).range(1..=guard::CONNECTIONS_MAX))]
    clients: Option<u64>,
    /// Closed loop: pause of a client after each operation
    #[arg(long, value_parser = parse_duration)]
    think: Option<Duration>,
    /// Open loop: operations a second, whatever becomes of them
    #[arg(long, conflicts_with_all = ["ramp", "steps", "find_max_rate"])]
    rate: Option<f64>,
    /// Open loop: a rate that rises (or falls) from A to B
    #[arg(long, value_name = "A..B", value_parser = parse_ramp)]
    #[arg(conflicts_with_all = ["steps", "count", "find_max_rate"])]
    ramp: Option<(f64, f64)>,
    /// Open loop: rates held for equal parts of the duration, separated by commas
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["count", "find_max_rate"])]
    steps: Vec<f64>,
    /// Open loop: how arrivals are spread [default: constant]
    #[arg(long, value_enum)]
    arrivals: Option<Arrivals>,
    /// Open loop: most connections at once; more operations wait, and the wait counts [default:
    /// 1000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=guard::CONNECTIONS_MAX))]
    max_connections: Option<u64>,
    /// Search for the highest rate that holds --slo, is reached, and lets no queue grow; --duration
    /// is that of one step, longer where the objective needs more operations
    #[arg(long, requires = "slo", conflicts_with = "count")]
    pub find_max_rate: bool,
    /// Objective that must hold, such as 'p99<50ms,errors=0'
    #[arg(long, value_name = "OBJECTIVE")]
    pub slo: Option<Objective>,
    /// Give up when so much has failed, such as 'errors>50%' or 'errors>100'
    #[arg(long, value_name = "RULE")]
    abort_on: Option<AbortRule>,
    /// Closed loop: how often a client would have begun an operation, for the latencies that it did
    /// not see while it waited [default: the median operation and --think]
    #[arg(long, value_parser = parse_duration)]
    expected_interval: Option<Duration>,
    /// Length of the measured part [default: 10s; with --count: at most a day]
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Operations in all, without a warm-up
    #[arg(long, conflicts_with = "warm_up", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// What comes before the measured part [default: 1s; none with --count]
    #[arg(long, value_parser = parse_duration)]
    warm_up: Option<Duration>,
    /// How long operations still under way at the end may take before they are failures
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
    /// Connections that never speak, beside the workload
    #[arg(long, default_value_t = 0, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=guard::CONNECTIONS_MAX))]
    silent: u64,
    /// CPUs that get a thread each, such as 0-3,8 [default: all]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpus: Option<CpuList>,
    /// Addresses to connect from, separated by commas [default: 127.0.0.1 to 127.0.0.64 for targets
    /// in 127.0.0.0/8, else the system's choice]
    #[arg(long, value_delimiter = ',')]
    sources: Vec<IpAddr>,
    /// Seed of everything random: work, contents, arrivals
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// When the first operation is to begin, on this host's clock: RFC 3339, such as
    /// 2026-11-28T17:00:00Z, or seconds since the epoch
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "find_max_rate")]
    start_at: Option<SystemTime>,
    /// Do part K of a run that N processes share, each with the same options: clients, operations
    /// and arrivals are dealt out in turn (--rate, --clients and all other numbers are of the whole
    /// run); `merge` puts the results together
    #[arg(long, value_name = "K/N", value_parser = Part::parse, requires = "start_at")]
    part: Option<Part>,
}

type CpuList = Vec<usize>;

/// Where results go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputOptions {
    /// Files of the result.
    #[command(flatten)]
    pub files: ResultFiles,
    /// Write a line of JSON for each interval when it is over (loadgen/SCHEMA.md); - is standard
    /// output
    #[arg(long, value_name = "FILE", conflicts_with = "find_max_rate")]
    pub stream: Option<PathBuf>,
    /// Length of an interval of everything over time, from 100ms on
    #[arg(long, default_value = "1s", value_parser = parse_interval)]
    pub interval: Duration,
    /// Tell what happens while the run goes on to whoever asks over HTTP at this address, in
    /// Prometheus' text format: http://ADDRESS/metrics
    #[arg(long, value_name = "ADDRESS", conflicts_with = "find_max_rate")]
    pub prometheus: Option<SocketAddr>,
    /// Give an account of client number N of the run (from 0), to standard error: its commands,
    /// replies, handshakes and data connections with their times, and no password
    #[arg(long, value_name = "N")]
    pub trace_session: Option<u64>,
    /// Where that account goes
    #[arg(long, value_name = "FILE", requires = "trace_session")]
    pub trace_file: Option<PathBuf>,
    /// Objective that must not hold, such as 'p99>100ms': exit status 1 if it does
    #[arg(long, value_name = "OBJECTIVE")]
    pub fail_on: Option<Objective>,
    /// No progress and no summary
    #[arg(long, short)]
    pub quiet: bool,
}

/// The forms in which a result is written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct ResultFiles {
    /// Write the result as JSON (loadgen/SCHEMA.md); - is standard output, also for the next two
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log
    #[arg(long, value_name = "FILE")]
    pub hdr_log: Option<PathBuf>,
    /// Write a page with plots (HTML)
    #[arg(long, value_name = "FILE", visible_alias = "html")]
    pub report: Option<PathBuf>,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    const BOUNDS: std::ops::RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(3600);
    let length = parse_duration(text)?;
    let refuse = || format!("an interval is at least 100ms and at most 1h long, not {text}");
    BOUNDS.contains(&length).then_some(length).ok_or_else(refuse)
}

fn parse_ramp(text: &str) -> Result<(f64, f64), String> {
    let refuse = || format!("\"{text}\" is not a ramp; write 100..2000");
    let (from, to) = text.split_once("..").ok_or_else(refuse)?;
    Ok((from.parse().map_err(|_| refuse())?, to.parse().map_err(|_| refuse())?))
}

#[cfg(test)]
mod tests;
