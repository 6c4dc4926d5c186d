//! A server whose certificate is renewed again and again under load: no operation fails, and who
//! comes sees the new one soon.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::ringftpd::{Ringftpd, Setup};
use crate::support::{Authority, run};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const RELOADS: usize = 20;

/// From the signal to the first connection that is shown the new certificate.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

/// The certificate that a new connection is shown.
fn shown(server: &Ringftpd, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let mut stream = TcpStream::connect(server.implicit).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(config.clone(), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    tls.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Puts a file in the place of another, as a renewal does.
fn put(from: &str, to: &Path) {
    let new = to.with_extension("new");
    fs::copy(from, &new).unwrap();
    fs::rename(new, to).unwrap();
}

#[test]
fn reloads_with_other_certificates_cost_no_operation() {
    let authority = Authority::new();
    let pairs = ["one", "other"].map(|name| authority.issue(name));
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
    let renew = |(new_chain, new_key, _): &(String, String, String)| {
        put(new_chain, &chain);
        put(new_key, &key);
    };
    renew(&pairs[0]);
    let tls = format!("certificate = {chain:?}\nkey = {key:?}\nwatch = \"0s\"");
    let server = Ringftpd::start_with(&Setup { tls, ..Setup::default() });
    server.put("file", &[b'x'; 20_000]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.pem()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);
    let target = server.implicit.to_string();
    thread::scope(|scope| {
        let load = |line: &'static str| {
            let target = &target;
            scope.spawn(move || run(target, line).good())
        };
        let loads = [
            load("login --rate 100 --duration 8s --warm-up 0s --drain 20s"),
            load("download --rate 50 --duration 8s --warm-up 0s --drain 20s --size 20KB"),
        ];
        for reload in 1..=RELOADS {
            let pair = &pairs[reload % 2];
            let expected = CertificateDer::from_pem_file(&pair.0).unwrap();
            renew(pair);
            let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
            let told = Instant::now();
            kill_process(pid, Signal::HUP).unwrap();
            while shown(&server, &config) != expected {
                assert!(told.elapsed() < SEEN_WITHIN, "reload {reload} is not seen");
            }
            thread::sleep(Duration::from_millis(300).saturating_sub(told.elapsed()));
        }
        for load in loads {
            let outcome = load.join().unwrap();
            assert_eq!(outcome.total("errors"), 0, "{}", outcome.result["errors"]);
            assert!(outcome.total("operations") >= 390, "{}", outcome.result["totals"]);
        }
    });
}
