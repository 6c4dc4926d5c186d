//! How close a whole server comes to rustls alone: CPU time of `ringftpd` a handshake, from accept
//! to close, over the time rustls needs for its half of the same handshake in memory, measured in
//! turns in one run. Needs `ringload` beside `ringftpd`, and two CPUs: 0 for the server.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "its report")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ringftpd::clock;
use rustls::crypto::aws_lc_rs::{Ticketer, cipher_suite as suite};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};
use support::tls::sent;

/// Clients that handshake all the time: enough to keep the server's core busy.
const CLIENTS: &str = "64";

/// As many as the server sends.
const TICKETS: usize = 4;

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

fn main() {
    let whole = support::size(0, 1) == 1;
    let rounds = support::size(1, 5);
    for case in &CASES {
        let floor = Floor::new(case);
        if !whole {
            assert!(floor.measure(3) > 0.0);
            continue;
        }
        let server = Server::start();
        let (mut floors, mut servers) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            floors.push(floor.measure(2000));
            servers.push(server.measure(case.ringload));
        }
        let (floor, server) = (median(&mut floors), median(&mut servers));
        let ratio = server / floor;
        println!("{}: rustls {floor:.1} us, server {server:.1} us, {ratio:.2} times", case.name);
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

/// The server as a process, stopped when dropped.
struct Server {
    child: Child,
    port: u16,
    _log: BufReader<ChildStderr>,
    _state: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringftpd"))
            .args(["serve", "--implicit", "127.0.0.1:0", "--explicit", "none", "--cpus", "0"])
            .args(["--log-level", "error", "--state-dir"])
            .arg(state.path())
            .arg(state.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.map(Result::unwrap).find_map(|line| {
            line.strip_prefix("listening implicit 127.0.0.1:").and_then(|port| port.parse().ok())
        });
        Self { child, port: address.unwrap(), _log: log, _state: state }
    }

    /// Microseconds of CPU time a handshake.
    fn measure(&self, extra: &[&str]) -> f64 {
        let ringload = Path::new(env!("CARGO_BIN_EXE_ringftpd")).with_file_name("ringload");
        let result = tempfile::NamedTempFile::new().unwrap();
        let target = format!("127.0.0.1:{}", self.port);
        let status = Command::new(&ringload)
            .args(["handshake", &target, "--clients", CLIENTS, "--count", "6000", "--quiet"])
            .args(["--cpus", "1", "--server-pid", &self.child.id().to_string(), "--json"])
            .arg(result.path())
            .args(extra)
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
