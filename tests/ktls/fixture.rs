//! What the tests of the kernel's TLS share: sessions, slow data connections, what the kernel and
//! the server say about what was done.

use std::fs;
use std::process::Command;

use rustls::CipherSuite;
use socket2::SockRef;

use crate::support::client::Client;
use crate::support::server::counter;
use crate::support::tls::TLS13;
use crate::support::{Server, Tls, Wire};

pub(crate) const MIB: usize = 1 << 20;

/// Every suite of TLS 1.3 the server offers.
pub(crate) const SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// A server with a log of everything, whose sockets are full after few octets.
pub(crate) fn start() -> Server {
    send_buffers(128 * 1024);
    Server::builder().toml("[log]\nlevel = \"debug\"").start()
}

/// Bounds what the kernel takes of a connection beyond what its reader has room for; of all
/// connections, and for good, so only a throw-away kernel is asked.
#[track_caller]
pub(crate) fn send_buffers(octets: usize) {
    let guest = std::env::var_os("KVM_RUN_GUEST").is_some();
    assert!(guest, "these tests change the kernel's settings: start them with tests/ktls/run");
    fs::write("/proc/sys/net/ipv4/tcp_wmem", format!("4096 {octets} {octets}")).unwrap();
}

/// Logged in over TLS 1.3, TYPE I, PROT P.
#[track_caller]
pub(crate) fn session(server: &Server) -> Client {
    session_with(server, server.tls().versions(TLS13))
}

/// The same with these TLS settings.
#[track_caller]
pub(crate) fn session_with(server: &Server, tls: Tls) -> Client {
    let listener = crate::support::Listener::Implicit;
    let mut client = Client::open_with(server, listener, tls).login();
    client.expect("TYPE I", 200);
    client
}

/// A download under way over a data connection that takes little at a time. Nothing is read beyond
/// the handshake.
#[track_caller]
pub(crate) fn narrow_download(client: &mut Client, name: &str) -> Wire {
    let mut data = client.passive();
    SockRef::from(data.tcp()).set_recv_buffer_size(96 * 1024).unwrap();
    client.expect(format!("RETR {name}"), 150);
    client.secure(&mut data);
    data
}

/// Stops the server and says how many transfers took each path.
#[track_caller]
pub(crate) fn stop_and_count(server: Server) -> Counts {
    counts(&server.stop())
}

/// How many transfers took each path, by the log of a server that has ended.
#[track_caller]
pub(crate) fn counts(log: &str) -> Counts {
    let path = |name: &str| log.matches(&format!("data_path=\"{name}\"")).count();
    let counts = Counts {
        ktls: path("ktls"),
        records: path("records"),
        fallbacks: counter(log, "ktls_fallbacks"),
    };
    assert_eq!(counts.ktls as u64, counter(log, "transfers_ktls"), "{log}");
    assert_eq!(counts.records as u64, counter(log, "transfers_records"), "{log}");
    counts
}

/// Transfers by path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) ktls: usize,
    pub(crate) records: usize,
    pub(crate) fallbacks: u64,
}

/// A line of /proc/net/tls_stat; 0 while the module is not loaded.
pub(crate) fn tls_stat(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/net/tls_stat").unwrap_or_default();
    let mut words = text.split_whitespace();
    words.find(|word| *word == name);
    words.next().map_or(0, |value| value.parse().unwrap())
}

/// Whether this kernel can replace keys: Linux 6.14 and later.
pub(crate) fn kernel_has_key_updates() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 14)
}

/// Unloads modules and hides their files, so that the kernel cannot find them again.
pub(crate) struct Hidden(Vec<String>);

impl Hidden {
    #[track_caller]
    pub(crate) fn new(modules: &[&str]) -> Self {
        let mut hidden = Self(Vec::new());
        for module in modules {
            // One that is built in, or not loaded, is none to unload.
            let _ = Command::new("/bin/rmmod").arg(module).output().unwrap();
        }
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut pending = vec![format!("/lib/modules/{}/kernel", release.trim()).into()];
        while let Some(directory) = pending.pop() {
            let directory: std::path::PathBuf = directory;
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else if modules.iter().any(|module| is_file_of(&path, module)) {
                    let path = path.to_str().unwrap().to_owned();
                    fs::rename(&path, format!("{path}.hidden")).unwrap();
                    hidden.0.push(path);
                }
            }
        }
        assert!(!hidden.0.is_empty(), "none of {modules:?} is a file");
        hidden
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        for path in &self.0 {
            fs::rename(format!("{path}.hidden"), path).unwrap();
        }
    }
}

fn is_file_of(path: &std::path::Path, module: &str) -> bool {
    let stem = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
    path.extension().is_some_and(|extension| extension == "ko")
        && stem.replace('-', "_") == module.replace('-', "_")
}
