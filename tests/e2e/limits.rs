//! How many sessions, and what happens when there is no room \[ABUSE-05, LOGIN-09\].

use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::process::{
    cpu_ticks, descriptors, descriptors_at_rest, first_cpu, raise_descriptor_limit,
};
use crate::support::server::BOTH_LISTENERS;
use crate::support::wait::{PATIENCE, pause};
use crate::support::{Client, End, Listener, Server, Wire, wait_until};

/// Limits are divided among the shards, so these tests have one shard.
fn one_shard(limits: &str) -> Server {
    let cpu = first_cpu();
    let config = format!("[shards]\ncpus = \"{cpu}\"\n[limits]\n{limits}");
    Server::builder().toml(&config).start()
}

#[test]
fn sessions_of_the_process() {
    let server = one_shard("sessions = 2");
    for listener in BOTH_LISTENERS {
        let first = Client::open(&server, listener).login();
        let second = Client::explicit(&server);
        assert_no_room(
            &server,
            Listener::Explicit,
            Wire::connect(server.address(Listener::Explicit)),
        );
        assert_no_room(
            &server,
            Listener::Implicit,
            Wire::connect(server.address(Listener::Implicit)),
        );
        // Open sessions are not disturbed, and when one ends another is let in.
        first.quit();
        wait_until("a free place", || {
            let mut third = Client::raw(&server, Listener::Explicit);
            third.reply().code == 220
        });
        second.quit();
    }
}

/// A passive port that nobody makes use of does not stay open, and the session goes on.
#[test]
fn a_passive_port_waits_for_data_timeout() {
    let server = one_shard("data_timeout = \"1s\"");
    let closed = || server.log().matches("no transfer came for a passive port").count();
    for (before, listener) in BOTH_LISTENERS.into_iter().enumerate() {
        let mut client = Client::open(&server, listener).login();
        let address = client.epsv();
        wait_until("a line in the log", || closed() > before);
        assert!(TcpStream::connect(address).is_err(), "the port is still open");
        client.expect("LIST", 150);
        client.expect_reply(425);
        client.retrieve("LIST");
        client.quit();
    }
}

#[test]
fn sessions_per_address() {
    let server = one_shard("sessions_per_ip = 2");
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let kept = [Client::implicit(&server), Client::explicit(&server)];
    for listener in BOTH_LISTENERS {
        let address = server.address(listener);
        assert_no_room(&server, listener, Wire::connect(address));
        let wire = Wire::connect_from(other, address);
        let mut client = Client::from_wire(&server, listener, wire);
        if listener == Listener::Implicit {
            client.start_tls();
        }
        client.expect_reply(220);
        client.quit();
    }
    kept.into_iter().for_each(Client::quit);
}

#[test]
fn sessions_per_user() {
    let server = one_shard("sessions_per_user = 1");
    let first = Client::implicit(&server).login();
    let mut second = Client::implicit(&server);
    second.expect("USER alice", 331);
    let reply = second.cmd("PASS secret");
    assert!(matches!(reply.code, 421 | 530), "{reply:?}");
    Client::implicit(&server).login_as("bob").quit();
    first.quit();
    wait_until("alice's place", || {
        let mut third = Client::implicit(&server);
        third.expect("USER alice", 331);
        third.cmd("PASS secret").code == 230
    });
}

/// Three failures in a row end the connection; REIN and USER do not start the count again.
#[test]
fn login_failures() {
    let server = one_shard("login_failures = 3");
    for user in ["alice", "nobody"] {
        let mut client = Client::implicit(&server);
        for attempt in 1..=3 {
            client.expect(format!("USER {user}"), 331);
            let code = if attempt < 3 { 530 } else { 421 };
            client.expect("PASS wrong", code);
            if attempt == 1 {
                client.expect("REIN", 220);
                client.end_tls();
                client.start_tls();
                client.expect_reply(220);
            }
        }
        client.expect_end(End::CloseNotify);
    }
}

/// Without descriptors the server waits: no session is lost, no core is kept busy, and when there
/// are some again the connections that waited are served.
#[test]
fn descriptor_exhaustion_backs_off() {
    let server = Server::start();
    let mut client = Client::implicit(&server).login();
    let pid = Pid::from_raw(server.pid().cast_signed()).unwrap();
    let room = 10;
    let limit = descriptors(server.pid()) as u64 + room;
    // The server inherited our hard limit, and raising its soft limit again needs it untouched.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let tight = Rlimit { current: Some(limit), maximum };
    let old = prlimit(Some(pid), Resource::Nofile, tight).unwrap();
    let crowd: Vec<TcpStream> = (0..100)
        .map(|_| TcpStream::connect_timeout(&server.address(Listener::Explicit), PATIENCE).unwrap())
        .collect();
    // Their number does not tell: an accept(2) that waits, as that of the control socket does, has
    // taken a descriptor that is not open yet.
    wait_until("accepting to pause", || server.log().contains("accepting pauses"));

    let before = cpu_ticks(server.pid());
    pause(Duration::from_secs(1));
    let spent = cpu_ticks(server.pid()) - before;
    assert!(spent < 40, "{spent} ticks of CPU time in a second of waiting for descriptors");
    client.expect("NOOP", 200);
    client.expect("PWD", 257);
    // No data connection can be had now, and that is a reply, not the end.
    let code = client.cmd("EPSV").code;
    assert!(matches!(code, 229 | 421 | 425), "EPSV without descriptors → {code}");

    drop(crowd);
    let mut later = Client::plain(&server);
    later.expect("NOOP", 200);
    client.expect("NOOP", 200);
    prlimit(Some(pid), Resource::Nofile, old).unwrap();
    client.expect("PWD", 257);
    assert_eq!(client.list("NLST").len(), 0);
    client.quit();
    later.quit();
}

/// Strangers get no more descriptors than are for newcomers, and established sessions go on as if
/// there were none: no 425, in either direction, from either listener.
#[test]
fn descriptors_are_kept_for_those_who_are_in() {
    raise_descriptor_limit();
    let config = format!("[shards]\ncpus = \"{}\"", first_cpu());
    let server = Server::builder().toml(&config).open_files(256).start();
    std::fs::write(server.root().join("file"), "content").unwrap();
    let mut clients: Vec<Client> = BOTH_LISTENERS
        .iter()
        .cycle()
        .take(6)
        .map(|&listener| {
            let mut client = Client::open(&server, listener).login();
            client.expect("TYPE I", 200);
            client
        })
        .collect();
    // On the implicit port the kernel would keep the silent back.
    let address = server.address(Listener::Explicit);
    let strangers: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect_timeout(&address, PATIENCE).unwrap()).collect();
    wait_until("accepting to pause", || server.log().contains("accepting pauses"));
    let taken = descriptors(server.pid());
    assert!((150..230).contains(&taken), "{taken} descriptors of 256");

    let mut transfers = Vec::new();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.retrieve("RETR file"), b"content");
            client.store(format!("STOR {round}-{number}"), b"new");
            assert!(client.list("MLSD").len() >= 2);
        }
    }
    // Some at the same time.
    for (number, client) in clients.iter_mut().enumerate() {
        transfers.push(client.begin(format!("STOR big-{number}")));
    }
    for (client, data) in clients.iter_mut().zip(transfers) {
        client.deliver(data, b"big");
    }
    drop(strangers);
    Client::implicit(&server).login().quit();
    clients.into_iter().for_each(Client::quit);
}

/// A client that closes no data connection after its transfers holds a bounded number of the
/// server's descriptors, and each of its downloads was complete.
#[test]
fn connections_kept_after_their_transfers_are_bounded() {
    // With those that have not acknowledged everything yet.
    const KEPT_MAX: u64 = 1024 + 256;
    raise_descriptor_limit();
    let config = format!(
        "[shards]\ncpus = \"{}\"\n[policy]\nrequire_control_tls = false\nrequire_data_tls = false",
        first_cpu()
    );
    let server = Server::builder().toml(&config).start();
    std::fs::write(server.root().join("file"), "content").unwrap();
    let mut client = Client::plain(&server).login();
    client.expect("TYPE I", 200);
    let before = descriptors_at_rest(server.pid()) as u64;
    let mut most = 0;
    let mut kept: Vec<Wire> = (0..KEPT_MAX + 400)
        .map(|number| {
            let data = client.begin("RETR file");
            client.expect_reply(226);
            if number % 50 == 0 {
                most = most.max((descriptors(server.pid()) as u64).saturating_sub(before));
            }
            data
        })
        .collect();
    server.signal(Signal::USR1);
    wait_until("the gauge", || server.log().contains("data_connections_kept="));
    // A listener, and files that are just being closed.
    assert!(most <= KEPT_MAX + 32, "{most} descriptors for one session");
    for data in &mut kept {
        assert_eq!(data.read_to_end(), (b"content".to_vec(), End::Fin));
    }
    drop(kept);
    wait_until("their descriptors", || descriptors(server.pid()) as u64 <= before + 8);
    client.quit();
}

/// Refused on the explicit port with 421; on the implicit port with 421 under TLS or at once,
/// but with no octet in clear.
#[track_caller]
fn assert_no_room(server: &Server, listener: Listener, wire: Wire) {
    let mut client = Client::from_wire(server, listener, wire);
    if listener == Listener::Implicit {
        let tls = client.tls.clone();
        match client.wire.handshake(&tls) {
            Ok(()) => {}
            Err(end) => {
                assert_ne!(end, End::Timeout);
                return;
            }
        }
    }
    client.expect_reply(421);
    client.expect_close();
}
