//! 200 sessions from 3 addresses at a range of 4 ports, with several clients at once: each has its
//! own files, whatever waits beside it at the same port.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;

use crate::content;
use crate::lftp;
use crate::openssl;
use crate::run::{DEADLINE, run};
use crate::site::{Family, Site};
use crate::support::ports::free_ports;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wire::Wire;
use crate::support::{Client, Listener, wait_until};

const ADDRESSES: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
/// Each with its own threads and sessions; with curl, lftp and openssl they are 200.
const THREADS: usize = 9;
const SESSIONS: usize = 21;
/// Users, and so sessions, of one address; those of the programs come last.
const USERS: usize = THREADS / ADDRESSES.len() * SESSIONS + 4;

fn site(config: &str) -> Site {
    let first = free_ports(&[ADDRESSES[0].parse().unwrap()], 4);
    let last = first + 3;
    let site = Site::with(|mut builder| {
        for user in 0..USERS {
            builder = builder.user(&format!("u{user}"), &["read", "list", "write"], "");
        }
        let ports = format!("[passive]\nports = \"{first}-{last}\"\n[shards]\ncpus = \"0-1\"\n");
        builder.toml(&(ports + config))
    });
    for user in 0..USERS {
        content::write(&site.served(format!("u{user}")), 3_000 + user, user as u64);
    }
    site
}

/// A session of the user from the address, which has one version of TLS.
fn log_in(site: &Site, source: IpAddr, user: usize) -> Client {
    let address = site.address(Listener::Implicit, Family::V4);
    let wire = Wire::connect_from(source, address);
    let mut client = Client::from_wire(&site.server, Listener::Implicit, wire);
    client.use_tls(site.server.tls().versions(if user.is_multiple_of(3) { TLS12 } else { TLS13 }));
    client.start_tls();
    client.expect_reply(220);
    client.private = true;
    let mut client = client.login_as(&format!("u{user}"));
    client.expect("TYPE I", 200);
    client
}

fn connect(client: &Client, source: IpAddr, address: SocketAddr) -> Wire {
    let mut data = Wire::connect_from(source, address);
    client.secure(&mut data);
    data
}

/// Sessions that all have their ports before the first has its connection.
fn work(site: &Site, source: IpAddr, users: std::ops::Range<usize>, uploads: bool) {
    let mut clients: Vec<_> = users.map(|user| (user, log_in(site, source, user))).collect();
    let ports: Vec<_> = clients.iter_mut().map(|(_, client)| client.epsv()).collect();
    for ((user, client), port) in clients.iter_mut().zip(&ports).rev() {
        client.expect(format!("RETR u{user}"), 150);
        let data = connect(client, source, *port);
        assert!(data.resumed());
        let octets = client.receive(data);
        assert!(octets == std::fs::read(site.served(format!("u{user}"))).unwrap(), "u{user}");
    }
    for (user, client) in clients.iter_mut().filter(|_| uploads) {
        let name = format!("{source}-u{user}");
        let octets = content::bytes(2_000 + *user, 1_000 + *user as u64);
        let port = client.epsv();
        client.expect(format!("STOR {name}"), 150);
        let data = connect(client, source, port);
        client.deliver(data, &octets);
        assert!(std::fs::read(site.served(&name)).unwrap() == octets, "{name}");
    }
    clients.into_iter().for_each(|(_, client)| client.quit());
}

fn curl(site: &Site, source: &str, user: usize) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--interface", source]);
    command.arg("--user").arg(format!("u{user}:secret"));
    command.arg("--cacert").arg(site.server.authority_pem());
    let url = format!("{}/u{user}", site.url(Listener::Implicit, Family::V4));
    let finished = run(command.args([&url, &url]), DEADLINE).success();
    let expected = std::fs::read(site.served(format!("u{user}"))).unwrap();
    assert!(finished.stdout == [&expected[..], &expected].concat(), "u{user}");
}

fn lftp(site: &Site, source: &str, user: usize) {
    let down = format!("down-{source}-{user}");
    let url = site.url(Listener::Implicit, Family::V4);
    let script = format!(
        "set net:socket-bind-ipv4 {source}\nopen -u u{user},secret {url}\n\
         get u{user} -o {down}\nput {down} -o up-{down}"
    );
    run(&mut lftp::command(site, &script), DEADLINE).success();
    let expected = content::sha256_of(&site.served(format!("u{user}")));
    assert_eq!(content::sha256_of(&site.local(&down)), expected);
    assert_eq!(content::sha256_of(&site.served(format!("up-{down}"))), expected);
}

/// All at once.
fn check(site: &Site, uploads: bool) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let source = ADDRESSES[thread % ADDRESSES.len()].parse().unwrap();
            let begin = thread / ADDRESSES.len() * SESSIONS;
            scope.spawn(move || work(site, source, begin..begin + SESSIONS, uploads));
        }
        for source in ADDRESSES {
            scope.spawn(move || curl(site, source, USERS - 1));
            scope.spawn(move || curl(site, source, USERS - 2));
            scope.spawn(move || lftp(site, source, USERS - 3));
        }
        scope.spawn(move || openssl::download(site, "u1"));
    });
    let resumed = || {
        let log = site.server.log();
        let ended: Vec<_> = log.lines().filter(|line| line.contains("transfer ended")).collect();
        assert!(ended.iter().all(|line| line.contains("end=\"complete\"")), "{ended:?}");
        ended.len() >= THREADS * SESSIONS
    };
    wait_until("a line in the log for each transfer", resumed);
}

fn counted(site: Site) {
    let log = site.server.stop();
    for counter in ["passive_shared", "passive_by_ticket"] {
        assert!(crate::support::server::counter(&log, counter) > 50, "{counter}");
    }
    assert_eq!(crate::support::server::counter(&log, "passive_exhausted"), 0);
}

#[test]
fn two_hundred_sessions_at_four_ports() {
    let site = site("");
    check(&site, true);
    counted(site);
}

#[test]
fn the_same_where_resumption_is_required() {
    let site = site("[tls]\ndata_resumption = \"require\"");
    check(&site, false);
    counted(site);
}
