//! Two nodes with one tree of files behind HAProxy, as `tuning/cluster` has it: upgrades of both
//! under load cost no operation, and a node that dies costs its own sessions and nothing else.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../../tests/support/haproxy.rs"]
mod balancer;
#[path = "../../tests/support/ports.rs"]
mod ports;
mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use balancer::Haproxy;
use ports::{free_address, free_ports};
use support::ringftpd::{Ringftpd, Setup};
use support::{Outcome, run};
use tempfile::TempDir;

/// Of each node.
const PORTS: u16 = 48;

/// The address for clients.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const NODES: [&str; 2] = ["127.0.0.11", "127.0.0.12"];

struct Cluster {
    nodes: [Ringftpd; 2],
    _balancer: Haproxy,
    implicit: SocketAddr,
    explicit: SocketAddr,
    files: TempDir,
}

/// The lines of `haproxy.cfg` with the addresses that there are here, and two nodes.
fn configuration(cluster: [&Ringftpd; 2], addresses: [SocketAddr; 2], first: u16) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tuning/cluster/haproxy.cfg");
    let shipped = fs::read_to_string(file).unwrap();
    let third = shipped.find("listen passive3").unwrap();
    let mut text = shipped[..third].to_owned();
    let mut put = |from: &str, to: String| {
        assert!(text.contains(from), "haproxy.cfg has no {from}");
        text = text.replace(from, &to);
    };
    put("203.0.113.5:990", addresses[0].to_string());
    put("203.0.113.5:21", addresses[1].to_string());
    for (index, node) in cluster.into_iter().enumerate() {
        let (low, high) = (50_000 + 400 * index, 50_399 + 400 * index);
        let first = first + PORTS * u16::try_from(index).unwrap();
        put(
            &format!("203.0.113.5:{low}-{high}"),
            format!("{BALANCER}:{first}-{}", first + PORTS - 1),
        );
        let host = format!("10.0.0.{}", 11 + index);
        put(&format!("{host}:990"), node.implicit.to_string());
        put(&format!("{host}:21"), node.explicit.to_string());
        put(
            &format!("addr {host} port 9121"),
            format!("addr {} port {}", NODES[index], node.metrics.port()),
        );
        put(
            &format!("node{} {host} send", index + 1),
            format!("node{} {} send", index + 1, NODES[index]),
        );
    }
    text.lines()
        .filter(|line| !line.contains("10.0.0.13"))
        .map(|line| format!("{line}\n"))
        .collect()
}

impl Cluster {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let (home, keys) = (files.path().join("home"), files.path().join("ticket-keys"));
        fs::create_dir(&home).unwrap();
        fs::write(&keys, "7a".repeat(32)).unwrap();
        let hosts = [BALANCER, NODES[0].parse().unwrap(), NODES[1].parse().unwrap()];
        let first = free_ports(&hosts.map(IpAddr::V4), 2 * PORTS);
        let node = |index: u16| {
            let first = first + index * PORTS;
            let passive =
                format!("ports = \"{first}-{}\"\nproxy_protocol = true", first + PORTS - 1);
            Ringftpd::start_with(&Setup {
                ip: NODES[usize::from(index)],
                tls: format!("ticket_keys = {keys:?}"),
                listen: "proxy_protocol = true\nproxy_from = [\"127.0.0.1\"]",
                passive,
                home: Some(home.clone()),
                ..Setup::default()
            })
        };
        let nodes = [node(0), node(1)];
        let addresses = [(); 2].map(|()| free_address(BALANCER));
        let text = configuration([&nodes[0], &nodes[1]], addresses, first);
        let [implicit, explicit] = addresses;
        let balancer = Haproxy::start(files.path(), &text);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(explicit).is_err() {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Self { nodes, implicit, explicit, files, _balancer: balancer }
    }

    fn home(&self) -> PathBuf {
        self.files.path().join("home")
    }
}

/// Without an error, and at least so many.
#[track_caller]
fn all_well(outcome: &Outcome, least: u64) {
    assert_eq!(outcome.total("errors"), 0, "{}", outcome.result["errors"]);
    assert!(outcome.total("operations") >= least, "{}", outcome.result["totals"]);
}

#[test]
fn upgrades_of_all_nodes_cost_no_operation() {
    let cluster = Cluster::start();
    let large = fs::File::create(cluster.home().join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let (implicit, explicit) = (cluster.implicit.to_string(), cluster.explicit.to_string());
    let rest = "--duration 4s --warm-up 0s --drain 40s";
    thread::scope(|scope| {
        let load = |target: &str, line: String| {
            let target = target.to_owned();
            scope.spawn(move || run(&target, &line).good())
        };
        let loads = [
            (100, load(&implicit, format!("login --clients 16 {rest}"))),
            (2, load(&implicit, format!("download --clients 2 --path large {rest}"))),
            (50, load(&explicit, format!("small-files --explicit --clients 4 {rest}"))),
            (2, load(&explicit, format!("upload --explicit --clients 2 --size 16MiB {rest}"))),
        ];
        for node in &cluster.nodes {
            thread::sleep(Duration::from_millis(1200));
            node.upgrade();
        }
        for (least, load) in loads {
            all_well(&load.join().unwrap(), least);
        }
    });
}

/// In the middle of uploads to both nodes one is killed: what is visible is whole, and clients that
/// connect afterwards come to the other node, without an error.
#[test]
fn a_node_that_dies_leaves_nothing_half_visible() {
    const SIZE: u64 = 8 << 20;
    let cluster = Cluster::start();
    let target = cluster.implicit.to_string();
    let uploads = "upload --clients 6 --size 8MiB --keep --duration 3s --warm-up 0s --drain 20s";
    thread::scope(|scope| {
        let uploads = scope.spawn(|| run(&target, uploads));
        thread::sleep(Duration::from_millis(1500));
        cluster.nodes[1].kill();
        all_well(&run(&target, "login --clients 8 --duration 1s --warm-up 0s"), 8);
        let outcome = uploads.join().unwrap();
        assert!(outcome.total("errors") > 0, "no upload was cut: {}", outcome.output);
        assert!(outcome.total("operations") > 0, "{}", outcome.result["errors"]);
    });
    let mut seen = 0;
    let mut folders = vec![cluster.home()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let (path, kind) =
                entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if !path.file_name().unwrap().as_encoded_bytes().starts_with(b".") {
                assert_eq!(fs::metadata(&path).unwrap().len(), SIZE, "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no upload is there");
}

/// More clients than passive ports, all of one user: those of each address take turns at them.
#[test]
fn more_clients_than_passive_ports() {
    let first = free_ports(&[Ipv4Addr::LOCALHOST.into()], 4);
    let passive = format!("ports = \"{first}-{}\"", first + 3);
    let server = Ringftpd::start_with(&Setup { cpus: "0-1", passive, ..Setup::default() });
    let sources = "--sources 127.0.0.1,127.0.0.2,127.0.0.3";
    let line = format!("small-files --count 120 -c 24 --files 5 --size 4KiB {sources}");
    let outcome = run(&server.implicit.to_string(), &line).all_succeeded(120);
    assert_eq!(outcome.total("errors"), 0);
}
