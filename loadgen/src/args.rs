//! The command line: what each option means.

#![allow(rustdoc::broken_intra_doc_links, reason = "`--help` shows these comments as they are")]

mod request;

use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::{Args, Parser, Subcommand};

pub use request::Request;

use crate::{
    client::{DataMode, Listing, Protection, ResumeMode, TlsVersion},
    engine::parse_cpus,
    guard,
    moment::parse_moment,
    plan::{Arrivals, Part},
    slo::{AbortRule, Objective},
    units::{parse_duration, parse_size},
    verify::parse_sha256,
};

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

Environment:
  RINGLOAD_PASSWORD   password of --user

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
mod tests {
    use std::time::Duration;

    use clap::{CommandFactory, Parser};

    use super::{Arguments, Command, Request};
    use crate::plan::{Arrivals, Load};

    fn request(line: &str) -> Result<Request, String> {
        let words = std::iter::once("ringload").chain(line.split_whitespace());
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        arguments.command.request().map(|request| request.expect("a workload"))
    }

    #[test]
    fn the_definition_is_consistent_and_every_workload_has_an_example() {
        Arguments::command().debug_assert();
        let help = Arguments::command().render_long_help().to_string();
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            if !["help", "compare"].contains(&name) {
                assert!(help.contains(&format!("ringload {name} ")), "{name}");
            }
        }
    }

    #[test]
    fn loads() {
        let closed = request("handshake 127.0.0.1:990 -c 3").unwrap().spec;
        assert!(matches!(closed.plan.load, Load::Closed { clients: 3, .. }));
        assert_eq!(closed.workload.name(), "handshake");
        let open = request("login 127.0.0.1:990 --ramp 10..20 --max-connections 7").unwrap().spec;
        assert!(matches!(open.plan.load, Load::Open { connections: 7, .. }));
        let counted = request("login 127.0.0.1:990 --count 5 --cpus 0").unwrap().spec;
        assert!(counted.plan.warmup.is_zero());
    }

    #[test]
    fn refuses_what_would_have_no_effect_or_no_sense() {
        #[track_caller]
        fn check(line: &str, part: &str) {
            let error = request(line).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        check("handshake 192.0.2.1:990", "--i-own-this-target");
        check("handshake 127.0.0.1:990 --rate 0", "above 0");
        check("handshake 127.0.0.1:990 --rate 9e9", "at most");
        check("handshake 127.0.0.1:990 --rate 1 --ramp 1..2", "cannot be used with");
        check("handshake 127.0.0.1:990 --count 1 --warm-up 1s", "cannot be used with");
        check("handshake 127.0.0.1:990 --duration 0s", "above 0");
        check("handshake 127.0.0.1:990 --clients 0", "0 is not in");
        check("handshake 127.0.0.1:990 --suites TLS_NONE", "is not one of TLS13_AES_256");
        check("handshake 127.0.0.1:990 --groups nope", "X25519");
        check("handshake 127.0.0.1:990 --sources ::1", "one address family");
        check("list [::1]:990 --data pasv", "IPv6");
        check("list [::1]:990 --data port", "IPv6");
        check("login 127.0.0.1:990 --rate 5 --clients 3", "--clients and --think");
        check("login 127.0.0.1:990 --rate 5 --think 1s", "--clients and --think");
        check("login 127.0.0.1:990 --max-connections 3", "--max-connections and --arrivals");
        check("login 127.0.0.1:990 --arrivals poisson", "--max-connections and --arrivals");
        let pin = format!("login 127.0.0.1:990 --ca a --pin {}", "0".repeat(64));
        check(&pin, "cannot be used with");
        check("handshake 127.0.0.1:990 --find-max-rate", "--slo");
        check("handshake 127.0.0.1:990 --tls 1.2 --suites TLS13_AES_128_GCM_SHA256", "nothing");
        check("idle 127.0.0.1:990 --rate 5", "a rate means nothing");
        check("idle 127.0.0.1:990 --every 0s", "above 0");
        check(&format!("download 127.0.0.1:990 --sha256 {}", "0".repeat(64)), "--path");
        check("mixed 127.0.0.1:990 --scenario /nonexistent", "/nonexistent");
        check("handshake 127.0.0.1:990 --duration 25h --warm-up 0s", "at most a day");
        for option in ["--discard", "--keep", "--size 1", "--files 2"] {
            check(&format!("download 127.0.0.1:990 --path f {option}"), "cannot be used with");
        }
        check("list 127.0.0.1:990 --path d --keep", "cannot be used with");
        check("small-files 127.0.0.1:990 --upload --files 2", "cannot be used with");
        check("small-files 127.0.0.1:990 --upload --discard", "cannot be used with");
        check("login 127.0.0.1:990 --ca /nonexistent", "/nonexistent");
        check("login 127.0.0.1:990 --interval 99ms", "at least 100ms");
        check("login 127.0.0.1:990 --part 1/2", "--start-at");
        let past = format!("login 127.0.0.1:990 --start-at {}", at(-90.0));
        check(&past, "is past by 90");
        check(&format!("login 127.0.0.1:990 --start-at {}", at(1e6)), "more than a week");
        let part = format!("login 127.0.0.1:990 --start-at {}", at(60.0));
        check(&format!("{part} --part 3/2"), "no part of a run");
        check(&format!("{part} --clients 3 --part 4/5"), "nothing for --part 4/5 of 3 clients");
        check(&format!("{part} --count 1 --part 2/2"), "nothing for --part 2/2 of 1 operation");
        check(&format!("{part} --find-max-rate --slo errors=0"), "cannot be used with");
    }

    /// As seconds since the epoch, whole ones, so many from now on.
    fn at(seconds: f64) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        format!("{:.0}", now.as_secs_f64().floor() + seconds)
    }

    #[test]
    fn a_scenario_gives_way_to_the_command_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "rate = 50\narrivals = \"poisson\"\nthink = \"2s\"\n\
                    operation = [{ kind = \"noop\" }]\n";
        std::fs::write(file.path(), text).unwrap();
        let run = |options: &str| {
            let path = file.path().display();
            request(&format!("mixed 127.0.0.1:990 --scenario {path} {options}")).unwrap()
        };
        let as_written = run("");
        assert!(matches!(
            as_written.spec.plan.load,
            Load::Open { arrivals: Arrivals::Poisson, .. }
        ));
        assert_eq!(as_written.parameters["rate"], "50");
        assert_eq!(run("--rate 7").parameters["rate"], "7");
        let two = Duration::from_secs(2);
        let closed = run("--clients 3").spec.plan.load;
        assert!(matches!(closed, Load::Closed { clients: 3, think } if think == two));
        let think = run("--think 1ms").spec.plan.load;
        assert!(matches!(think, Load::Closed { think, .. } if think == Duration::from_millis(1)));
    }

    #[test]
    fn the_parameters_tell_workloads_apart() {
        let parameter = |line: &str, name: &str| {
            let request = request(line).unwrap();
            request.parameters.get(name).cloned().unwrap_or_default()
        };
        assert_eq!(parameter("login 127.0.0.1:990 --rein", "rein"), "true");
        assert_eq!(parameter("small-files 127.0.0.1:990 --upload", "upload"), "true");
        assert_eq!(parameter("small-files 127.0.0.1:990 --files 7", "files"), "7");
        assert_eq!(parameter("handshake 127.0.0.1:990 --groups X25519", "groups"), "X25519");
        assert_eq!(parameter("handshake 127.0.0.1:990 --count 9", "count"), "9");
        assert_eq!(parameter("list 127.0.0.1:990 --path d", "path"), "d");
        assert_eq!(parameter("list 127.0.0.1:990 --path d", "entries"), "0");
        assert_eq!(parameter("list 127.0.0.1:990 --path d --entries 7", "entries"), "7");
        assert_eq!(parameter("list 127.0.0.1:990", "entries"), "100");
        // A file that was there has no size that is known, and nothing to compare it with.
        assert_eq!(parameter("download 127.0.0.1:990 --path f", "path"), "f");
        assert_eq!(parameter("download 127.0.0.1:990 --path f", "verify"), "false");
        assert_eq!(parameter("download 127.0.0.1:990 --path f", "sizes"), "");
        assert_eq!(parameter("download 127.0.0.1:990", "verify"), "true");
        assert_eq!(parameter("upload 127.0.0.1:990", "verify"), "");
    }

    #[test]
    fn versus_takes_a_workload_behind_two_dashes() {
        let line = "ringload versus --a 127.0.0.1:1 --b 127.0.0.1:2 -- login --user u";
        let arguments = Arguments::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Versus(options) = arguments.command else { panic!("not versus") };
        assert_eq!(options.workload, ["login", "--user", "u"]);
        let line = "ringload versus --a 127.0.0.1:1 --b 127.0.0.1:2 --rounds 2 -- login";
        let error = Arguments::try_parse_from(line.split_whitespace()).unwrap_err();
        assert!(error.to_string().contains("2 is not in 3..="), "{error}");
    }
}
