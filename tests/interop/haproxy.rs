//! A whole way through HAProxy: control and data connections in TCP mode, each with a PROXY header
//! of either version. The server sees who the client is; the client sees HAProxy.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::balancer::Haproxy;
use crate::content;
use crate::run::{DEADLINE, run};
use crate::support::ports::{free_address, free_ports};
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Listener, Server, wait_until};

/// Where clients connect to.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where they come from.
const CLIENT: &str = "127.0.0.5";
/// Passive ports.
const PORTS: u16 = 8;
/// Octets of a file.
const SIZE: usize = 8 * 1024 * 1024;

/// A running HAProxy.
struct Balancer {
    implicit: SocketAddr,
    explicit: SocketAddr,
    _process: Haproxy,
}

impl Balancer {
    /// In front of `server`, with this kind of header.
    #[track_caller]
    fn start(server: &Server, first_passive: u16, header: &str) -> Self {
        let [implicit, explicit] = [(); 2].map(|()| free_address(BALANCER));
        let node = |listener| server.address(listener);
        let last_passive = first_passive + PORTS - 1;
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  \
             timeout server 60s\n\
             listen implicit\n  bind {implicit}\n  server node {} {header} check \
             check-send-proxy inter 200ms\n\
             listen explicit\n  bind {explicit}\n  server node {} {header}\n\
             listen passive\n  bind {BALANCER}:{first_passive}-{last_passive}\n  \
             server node 127.0.0.1 {header}\n",
            node(Listener::Implicit),
            node(Listener::Explicit),
        );
        let process = Haproxy::start(server.scratch(), &config);
        wait_until("HAProxy", || TcpStream::connect(explicit).is_ok());
        Self { implicit, explicit, _process: process }
    }

    fn url(&self, listener: Listener) -> String {
        match listener {
            Listener::Implicit => format!("ftps://{}", self.implicit),
            Listener::Explicit => format!("ftp://{}", self.explicit),
        }
    }
}

fn curl(server: &Server) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--ssl-reqd", "--user", "alice:secret"]);
    command.args(["--insecure", "--interface", CLIENT]);
    command.arg("--output").arg(server.scratch().join("down"));
    command
}

#[track_caller]
fn assert_same(one: &Path, other: &Path) {
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{} differs", other.display());
}

fn check(header: &str) {
    let first = free_ports(&[BALANCER.into(), Ipv4Addr::LOCALHOST.into()], PORTS);
    let config = format!(
        "[listen]\nproxy_protocol = true\nproxy_from = [\"127.0.0.1\"]\n[passive]\n\
         proxy_protocol = true\nports = \"{first}-{}\"\n[shards]\ncpus = \"0\"\n\
         [tls]\ndata_resumption = \"require\"",
        first + PORTS - 1
    );
    let server = Server::builder().toml(&config).start();
    let balancer = Balancer::start(&server, first, header);
    let source = server.scratch().join("source");
    content::write(&source, SIZE, 1);
    for listener in BOTH_LISTENERS {
        for (way, file) in [("--ftp-pasv", "epsv"), ("--disable-epsv", "pasv")] {
            let name = format!("{}/{file}", balancer.url(listener));
            let mut upload = curl(&server);
            run(upload.arg(way).arg("--upload-file").arg(&source).arg(&name), DEADLINE).success();
            assert_same(&source, &server.root().join(file));
            run(curl(&server).arg(way).arg(&name), DEADLINE).success();
            assert_same(&source, &server.scratch().join("down"));
        }
    }
    let mirror = format!(
        "set ssl:verify-certificate no; set net:socket-bind-ipv4 {CLIENT}; \
         set net:max-retries 3; open -u alice,secret {}; mirror --parallel=4 / {}",
        balancer.url(Listener::Implicit),
        server.scratch().join("mirror").display()
    );
    let mut lftp = Command::new("lftp");
    lftp.env("HOME", server.scratch()).args(["--norc", "-c", &mirror]);
    run(&mut lftp, DEADLINE).success();
    for name in ["epsv", "pasv"] {
        assert_same(&source, &server.scratch().join("mirror").join(name));
    }
    let log = server.log();
    let logins: Vec<&str> = log.lines().filter(|line| line.contains("event=\"login\"")).collect();
    assert!(logins.len() >= 9, "{log}");
    let from_client = format!("peer={CLIENT}:");
    assert!(logins.iter().all(|line| line.contains(&from_client)), "{logins:#?}");
    // HAProxy's own looks are sessions of HAProxy.
    wait_until("a look at whether the server is well", || {
        let log = server.log();
        log.lines().any(|line| line.contains("event=\"connect\"") && !line.contains(" proxy="))
    });
}

#[test]
fn headers_of_version_1() {
    check("send-proxy");
}

#[test]
fn headers_of_version_2() {
    check("send-proxy-v2");
}
