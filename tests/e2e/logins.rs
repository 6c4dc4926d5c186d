//! Many log-ins at once: strangers who guess, and sessions that come back. A password check takes
//! tens of milliseconds here, as it does in production.

use std::net::{IpAddr, Ipv4Addr};

use rustix::process::Signal;

use crate::process::{first_cpu, raise_descriptor_limit};
use crate::support::server::{BOTH_LISTENERS, Builder, counter};
use crate::support::{Client, Listener, Server, Wire, wait_until};

/// SHA-256-crypt of `secret` with so many rounds that a check takes tens of milliseconds.
pub(crate) const COSTLY_HASH: &str =
    "$5$rounds=60000$ringftpdcostly$Px/yFDXZlYIBmQlzBnNhh.NkO0YO8.8enScB3UJ.YI9";

/// More than the server once let wait in all (256) beside those it checked (3).
const CROWD: usize = 400;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// One shard, so that all is counted in one place, and log-ins in clear, so that they are quick.
fn builder(limits: &str) -> Builder {
    let cpu = first_cpu();
    Server::builder().toml(&format!(
        "[shards]\ncpus = \"{cpu}\"\n[policy]\nrequire_control_tls = false\n[limits]\n{limits}"
    ))
}

fn costly(builder: Builder, name: &str) -> Builder {
    builder.user(name, &["read", "list"], &format!("password = \"{COSTLY_HASH}\""))
}

fn come_from(server: &Server, source: IpAddr) -> Client {
    let wire = Wire::connect_from(source, server.address(Listener::Explicit));
    let mut client = Client::from_wire(server, Listener::Explicit, wire);
    client.expect_reply(220);
    client
}

/// The reply to PASS.
fn log_in(client: &mut Client, user: &str, password: &str) -> u16 {
    client.expect(format!("USER {user}"), 331);
    client.cmd(format!("PASS {password}")).code
}

/// A crowd that comes back at the same moment: connections first, then everybody's log-in.
fn come_at_once(server: &Server, users: &[String]) -> Vec<Client> {
    let mut crowd: Vec<_> = (0..CROWD).map(|_| come_from(server, HERE)).collect();
    for (client, user) in crowd.iter_mut().zip(users.iter().cycle()) {
        client.send_bytes(format!("USER {user}\r\nPASS secret\r\n").as_bytes());
    }
    for client in &mut crowd {
        client.expect_reply(331);
        client.expect_reply(230);
    }
    crowd
}

/// Wrong guesses are not answered with 421, and log-ins from other addresses do not wait for them.
#[test]
fn wrong_passwords_from_one_address_lock_nobody_out() {
    raise_descriptor_limit();
    let server = costly(builder(""), "carol").start();
    let mut strangers: Vec<_> = (0..CROWD).map(|_| come_from(&server, THERE)).collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        // One name or many.
        let name = if number % 2 == 0 { "carol".to_owned() } else { format!("nobody{number}") };
        stranger.send_bytes(format!("USER {name}\r\nPASS wrong\r\n").as_bytes());
        stranger.expect_reply(331);
    }
    for listener in BOTH_LISTENERS {
        Client::open(&server, listener).login_as("carol").quit();
    }
    let answered = strangers.iter().filter(|stranger| has_answer(stranger)).count();
    assert!(answered < CROWD / 2, "{answered} of {CROWD} were checked before");
    // Who gives up leaves nothing behind.
    strangers.into_iter().for_each(|stranger| stranger.wire.reset());
    wait_until("nobody to wait", || {
        server.signal(Signal::USR1);
        server.log().rsplit_once("now=\"").is_some_and(|(_, now)| !now.contains("waiting="))
    });
    let log = server.stop();
    assert_eq!(counter(&log, "logins_overloaded"), 0);
    assert!(counter(&log, "logins_queued") > CROWD as u64 / 2, "{log}");
}

/// However many addresses they come from: a good log-in from elsewhere waits for what is being
/// checked, and not until each of them has had its turn.
#[test]
fn wrong_passwords_from_many_addresses_lock_nobody_out() {
    const ADDRESSES: u8 = 64;
    raise_descriptor_limit();
    let server = costly(builder("remember_logins = \"0s\""), "carol").start();
    let mut strangers: Vec<_> = (1..=ADDRESSES)
        .cycle()
        .take(CROWD)
        .map(|last| come_from(&server, Ipv4Addr::new(127, 0, 2, last).into()))
        .collect();
    for (number, stranger) in strangers.iter_mut().enumerate() {
        let name = if number % 2 == 0 { "carol".to_owned() } else { format!("nobody{number}") };
        stranger.send_bytes(format!("USER {name}\r\nPASS wrong\r\n").as_bytes());
        stranger.expect_reply(331);
    }
    let answered = || strangers.iter().filter(|stranger| has_answer(stranger)).count();
    wait_until("a wrong password of each address", || answered() >= usize::from(ADDRESSES) + 3);
    for listener in BOTH_LISTENERS {
        let mut carol = Client::open(&server, listener);
        carol.expect("USER carol", 331);
        let before = answered();
        carol.expect("PASS secret", 230);
        // One runs beside it, and others while the counts are made.
        let meanwhile = answered() - before;
        assert!(meanwhile <= usize::from(ADDRESSES) / 8, "{meanwhile} were checked before");
        carol.quit();
    }
    assert!(answered() < CROWD, "nobody was left");
    strangers.into_iter().for_each(|stranger| stranger.wire.reset());
}

/// Anything but silence.
fn has_answer(client: &Client) -> bool {
    let mut octet = [0];
    let tcp = client.wire.tcp();
    tcp.set_nonblocking(true).unwrap();
    let answer = tcp.peek(&mut octet);
    tcp.set_nonblocking(false).unwrap();
    answer.is_ok()
}

/// The first time one check a user is made, the second time none.
#[test]
fn sessions_that_come_back_at_once_are_all_let_in() {
    raise_descriptor_limit();
    let users: Vec<_> = (0..8).map(|number| format!("user{number}")).collect();
    let server = users.iter().fold(builder(""), |builder, user| costly(builder, user)).start();
    let crowd = come_at_once(&server, &users);
    // The network fails.
    crowd.into_iter().for_each(|client| client.wire.reset());
    let crowd = come_at_once(&server, &users);
    crowd.into_iter().for_each(Client::quit);
    // Under TLS, too, and with a wrong password among the right ones.
    for listener in BOTH_LISTENERS {
        let mut client = Client::open(&server, listener);
        assert_eq!(log_in(&mut client, "user0", "wrong"), 530);
        assert_eq!(log_in(&mut client, "user0", "secret"), 230);
        client.quit();
    }
    let log = server.stop();
    let logins = 2 * CROWD as u64 + 2;
    assert_eq!((counter(&log, "logins"), counter(&log, "logins_overloaded")), (logins, 0));
    // Three checks of one user may run at a time.
    let checked = logins - counter(&log, "logins_remembered");
    assert!((8..=24).contains(&checked), "{checked} checks");
}

/// What is remembered is no way to guess: it answers one address, and not for long.
#[test]
fn a_right_password_is_remembered_where_it_came_from() {
    for (limits, expected) in [("", [0, 1, 1, 2, 2]), ("remember_logins = \"0s\"", [0; 5])] {
        let server = builder(limits).start();
        let remembered = |expected: usize| {
            server.signal(Signal::USR1);
            let log = server.log();
            let last = log.rsplit_once("logins_remembered=").map_or("0", |(_, rest)| rest);
            last.split(|c: char| !c.is_ascii_digit()).next() == Some(&expected.to_string())
        };
        let wrong = |times| {
            for _ in 0..times {
                let mut client = come_from(&server, THERE);
                assert_eq!(log_in(&mut client, "alice", "guess"), 530);
            }
        };
        for (step, expected) in expected.into_iter().enumerate() {
            let source = if step == 2 { HERE } else { THERE };
            if step == 4 {
                wrong(4);
            }
            let mut client = come_from(&server, source);
            assert_eq!(log_in(&mut client, "alice", "secret"), 230);
            client.quit();
            wait_until("the count", || remembered(expected));
        }
    }
}

/// An address with many failures has to pause, and everybody there gets in all the same.
#[test]
fn failures_of_an_address_delay_it_alone() {
    let server = builder("login_failures = 100\nremember_logins = \"0s\"").start();
    let mut stranger = come_from(&server, THERE);
    for _ in 0..9 {
        assert_eq!(log_in(&mut stranger, "alice", "wrong"), 530);
    }
    for _ in 0..9 {
        let mut client = come_from(&server, HERE);
        assert_eq!(log_in(&mut client, "alice", "secret"), 230);
        client.quit();
    }
    assert_eq!(log_in(&mut come_from(&server, THERE), "alice", "secret"), 230);
    drop(stranger);
    let log = server.stop();
    let delayed = counter(&log, "logins_delayed");
    // The sixth failure is the first that costs a pause; that of the log-in is the last.
    assert!((1..=4).contains(&delayed), "{delayed} were delayed");
}
