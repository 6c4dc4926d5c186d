//! How close a whole server comes to the least it could cost: CPU time of `ringftpd` a handshake,
//! from accept to close, beside that of a bare loop over the same rustls (`support::bare_loop`),
//! and beside what rustls alone needs for its half of the same handshake in memory; in turns, in
//! one run. Needs `ringload` beside `ringftpd`, and two CPUs: 0 for the servers.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "its report")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use ringftpd::clock;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite as suite};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedCipherSuite,
};
use support::bare_loop;
use support::tls::sent;

/// Clients that handshake all the time: one at a time, when a server waits between two steps, and
/// enough to keep its core busy.
const CLIENTS: [usize; 3] = [1, 64, 128];

/// Handshakes of one measurement.
const COUNT: &str = "6000";

const ROUNDS: usize = 5;

const SERVER_CPU: usize = 0;
const CLIENT_CPU: &str = "1";

/// As many as the server sends.
const TICKETS: usize = 2;

struct Case {
    name: &'static str,
    suite: SupportedCipherSuite,
    resumed: bool,
    ringload: &'static [&'static str],
}

const CASES: [Case; 3] = [
    Case {
        name: "TLS 1.3 full, AES-128",
        suite: suite::TLS13_AES_128_GCM_SHA256,
        resumed: false,
        ringload: &["--tls", "1.3"],
    },
    Case {
        name: "TLS 1.2 full, AES-128",
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        resumed: false,
        ringload: &["--tls", "1.2"],
    },
    Case {
        name: "TLS 1.2 resumed, AES-128",
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        resumed: true,
        ringload: &["--tls", "1.2", "--resume", "offered"],
    },
];

/// The argument that makes this program the bare loop, for the case whose name follows.
const BARE_LOOP: &str = "bare-loop";

/// What the bare loop says before its port.
const ANNOUNCED: &str = "listening 127.0.0.1:";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name] = &arguments[..]
        && word == BARE_LOOP
    {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        let announce = |port| println!("{ANNOUNCED}{port}");
        return bare_loop::run(SERVER_CPU, Floor::new(case).server, announce).unwrap();
    }
    let whole = support::size(0, 1) == 1;
    for case in &CASES {
        if whole { measure(case) } else { Floor::new(case).try_out() }
    }
}

fn measure(case: &Case) {
    let floor = Floor::new(case);
    let (bare, server) = (Server::bare_loop(case), Server::ringftpd());
    for clients in CLIENTS {
        let (mut floors, mut bares, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(floor.measure(2000));
            bares.push(bare.measure(clients, case));
            servers.push(server.measure(clients, case));
        }
        let ratios = bares.iter().zip(&servers).map(|(bare, server)| server / bare);
        let ratio = median(&mut ratios.collect::<Vec<_>>());
        let [floor, bare, server] =
            [&mut floors, &mut bares, &mut servers].map(|values| median(values));
        println!(
            "{}, {clients} clients: rustls {floor:.1} us, bare loop {bare:.1} us, server \
             {server:.1} us: {:.2} times rustls, {ratio:.2} times the bare loop",
            case.name,
            server / floor,
        );
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// rustls as it comes, both ends in memory.
struct Floor {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Floor {
    fn new(case: &Case) -> Self {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let chain = CertificateDer::from_pem_slice(certified.cert.pem().as_bytes()).unwrap();
        let key = certified.signing_key.serialize_pem();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let provider = || {
            let cipher_suites = vec![case.suite];
            Arc::new(CryptoProvider { cipher_suites, ..aws_lc_rs::default_provider() })
        };
        let versions = [case.suite.version()];
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&versions).unwrap().with_no_client_auth();
        let mut server = builder.with_single_cert(vec![chain.clone()], key).unwrap();
        server.ticketer = Ticketer::new().unwrap();
        server.send_tls13_tickets = TICKETS;
        let mut roots = RootCertStore::empty();
        roots.add(chain).unwrap();
        let builder = ClientConfig::builder_with_provider(provider());
        let builder = builder.with_protocol_versions(&versions).unwrap();
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        if !case.resumed {
            client.resumption = rustls::client::Resumption::disabled();
        }
        Self { server: Arc::new(server), client: Arc::new(client) }
    }

    /// Median of `count`, microseconds of the server's half. Each is shorter than a time slice, so
    /// the median is CPU time even on a busy machine.
    fn measure(&self, count: usize) -> f64 {
        let mut times: Vec<f64> =
            (0..count).map(|_| self.handshake().as_secs_f64() * 1e6).collect();
        median(&mut times)
    }

    /// One handshake in memory, and one with the bare loop, with what it says and does at the end.
    fn try_out(&self) {
        assert!(self.measure(3) > 0.0);
        let (announced, port) = mpsc::channel();
        let server = self.server.clone();
        // Ends with the process.
        std::thread::spawn(move || {
            bare_loop::run(SERVER_CPU, server, |port| announced.send(port).unwrap()).unwrap();
        });
        let port = port.recv().unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(self.client.clone(), name).unwrap();
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut stream = StreamOwned::new(client, socket);
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 ");
        stream.conn.send_close_notify();
        // Without its close_notify that would be an error.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }

    fn handshake(&self) -> Duration {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(self.client.clone(), name).unwrap();
        let mut time = Duration::ZERO;
        let start = clock::now();
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        time += clock::now() - start;
        while client.is_handshaking() || server.is_handshaking() {
            let bytes = sent(&mut client);
            let start = clock::now();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut out = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut out).unwrap();
            }
            time += clock::now() - start;
            let mut rest = &out[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        time
    }
}

/// A server as a process, stopped when dropped.
struct Server {
    child: Child,
    port: u16,
    _log: BufReader<ChildStderr>,
    _state: Option<tempfile::TempDir>,
}

impl Server {
    fn ringftpd() -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringftpd"));
        command
            .args(["serve", "--implicit", "127.0.0.1:0", "--explicit", "none", "--cpus"])
            .arg(SERVER_CPU.to_string())
            .args(["--log-level", "error", "--state-dir"])
            .arg(state.path())
            .arg(state.path());
        Self::start(command, "listening implicit 127.0.0.1:", Some(state))
    }

    /// A process of its own, for ringload is a child of this one and would be counted with it.
    fn bare_loop(case: &Case) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([BARE_LOOP, case.name]);
        Self::start(command, ANNOUNCED, None)
    }

    /// `announced` stands before the port in a line of its output.
    fn start(mut command: Command, announced: &str, state: Option<tempfile::TempDir>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix(announced).and_then(|port| port.parse().ok()));
        Self { child, port: port.unwrap(), _log: log, _state: state }
    }

    /// Microseconds of CPU time a handshake.
    fn measure(&self, clients: usize, case: &Case) -> f64 {
        let ringload = Path::new(env!("CARGO_BIN_EXE_ringftpd")).with_file_name("ringload");
        let result = tempfile::NamedTempFile::new().unwrap();
        let target = format!("127.0.0.1:{}", self.port);
        let status = Command::new(&ringload)
            .args(["handshake", &target, "--quiet", "--cpus", CLIENT_CPU])
            .args(["--clients", &clients.to_string(), "--count", COUNT])
            .args(["--server-pid", &self.child.id().to_string(), "--json"])
            .arg(result.path())
            .args(case.ringload)
            .status();
        let status = status.unwrap_or_else(|error| panic!("{}: {error}", ringload.display()));
        assert!(status.success(), "{status}");
        let report: serde_json::Value =
            serde_json::from_reader(std::fs::File::open(result.path()).unwrap()).unwrap();
        report["server"]["cpu_us_per_operation"].as_f64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
