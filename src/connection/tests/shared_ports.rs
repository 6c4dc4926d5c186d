//! More sessions than passive ports: each gets its own data connections, or none.

use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Connection};
use super::world::{CLIENT, Plan, World, run};
use crate::config::Settings;
use crate::limits::{UNDECIDED_PER_ADDRESS_MAX, UNDECIDED_PER_SHARD_MAX};
use crate::protocol::policy::DataResumption;
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::{Task, spawn};

const USERS: [&str; 3] = ["anonymous", "ann", "bob"];
pub(super) const ELSEWHERE: [u8; 4] = [192, 0, 2, 8];
const REQUIRE: fn(&mut Settings) =
    |settings| settings.policy.data_resumption = DataResumption::Require;

/// What the file of a user has in it.
fn content(user: &str) -> Vec<u8> {
    user.bytes().cycle().take(30_000).collect()
}

fn plan(ports: u16, tls12: bool) -> Plan {
    Plan { ports, tls12, ..Plan::default() }
}

pub(super) async fn session(
    world: &Rc<World>,
    address: [u8; 4],
    user: &str,
    private: bool,
) -> Client {
    world.put_for(user, b"/file", &content(user));
    let mut client = Client::connect_from(address, world, Mode::Explicit);
    client.log_in_as(user, Mode::Explicit, private).await.unwrap();
    client
}

/// `RETR file`, whose data connection is there.
pub(super) async fn fetch(client: &mut Client, data: Connection, user: &str) {
    client.send("RETR file").await.unwrap();
    finish(client, data, user).await;
}

/// What follows the command.
pub(super) async fn finish(client: &mut Client, mut data: Connection, user: &str) {
    client.secure(&mut data).await.unwrap();
    receive(client, data, user).await;
}

/// What follows the handshake.
async fn receive(client: &mut Client, mut data: Connection, user: &str) {
    let mut octets = Vec::new();
    while let Some(more) = data.receive().await.unwrap() {
        octets.extend(more);
    }
    data.end().await.unwrap();
    assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
    assert!(octets == content(user), "{user} got something else");
}

/// A connection at which nothing may come.
pub(super) async fn gets_nothing(mut data: Connection) {
    let octets = data.receive().await;
    assert!(!matches!(octets, Ok(Some(_))), "a stranger got something");
}

fn counts(world: &World) -> (u64, u64, u64, u64) {
    let counters = &world.context.counters;
    (
        counters.passive_shared.get(),
        counters.passive_by_ticket.get(),
        counters.passive_refused.get(),
        counters.passive_strangers.get(),
    )
}

/// Two users behind one address, at one port: whoever comes first, before or behind the command.
#[test]
fn tickets_tell_sessions_of_one_address_apart() {
    for (tls12, configure) in [(false, None), (true, None), (false, Some(REQUIRE))] {
        run(Plan { configure, ..plan(1, tls12) }, async |world| {
            let mut ann = session(&world, CLIENT, "ann", true).await;
            let mut bob = session(&world, CLIENT, "bob", true).await;
            for round in 0..3 {
                let port = ann.port().await.unwrap();
                assert_eq!(bob.port().await.unwrap(), port);
                let mut of_bob = bob.data_at(port, None).await.unwrap();
                let mut of_ann = ann.data_at(port, None).await.unwrap();
                if round == 1 {
                    // One has begun its handshake, the other is behind it before the command.
                    of_bob.say_hello(&bob.config.clone()).await.unwrap();
                    ann.secure(&mut of_ann).await.unwrap();
                    ann.send("STOR up").await.unwrap();
                    of_ann.send(b"ann's").await.unwrap();
                    of_ann.end().await.unwrap();
                    assert_eq!(ann.final_reply().await, Ok(226), "{}", ann.last);
                    let up = std::fs::read(world.path_of("ann", "up")).unwrap();
                    assert_eq!(up, b"ann's");
                    drop(of_bob);
                    bob.say("ABOR", 226).await.unwrap();
                } else {
                    fetch(&mut bob, of_bob, "bob").await;
                    fetch(&mut ann, of_ann, "ann").await;
                }
            }
            let (shared, by_ticket, refused, strangers) = counts(&world);
            // The one that was given up may have been in its handshake.
            assert!((shared, strangers) == (3, 0) && refused <= 1, "{shared} {refused}");
            assert!(by_ticket >= 3, "{by_ticket}");
            ann.quit().await.unwrap();
            bob.quit().await.unwrap();
        });
    }
}

/// The second session waits for the port; what came before it is the first one's.
#[test]
fn what_came_before_is_for_those_before() {
    run(plan(1, false), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let port = ann.port().await.unwrap();
        let mut data = ann.data_at(port, None).await.unwrap();
        let mut bob = session(&world, CLIENT, "bob", true).await;
        assert_eq!(bob.port().await.unwrap(), port);
        // It resumes nothing, and need not.
        ann.send("RETR file").await.unwrap();
        data.start_tls(&world.client_tls()).await.unwrap();
        receive(&mut ann, data, "ann").await;
        let data = bob.data_at(port, None).await.unwrap();
        fetch(&mut bob, data, "bob").await;
        // Its client has not resumed: nothing would tell its next connection from bob's.
        assert_eq!(bob.port().await.unwrap(), port);
        assert_eq!(ann.ask("EPSV").await.unwrap(), 425, "{}", ann.last);
        ann.quit().await.unwrap();
        bob.quit().await.unwrap();
    });
}

/// Addresses tell sessions apart, in the clear as well.
#[test]
fn sessions_of_several_addresses_need_no_tickets() {
    run(plan(1, false), async |world| {
        let mut clients = Vec::new();
        for last in 10..30 {
            clients.push(session(&world, [192, 0, 2, last], "ann", last % 2 == 0).await);
        }
        for _ in 0..2 {
            for client in &mut clients {
                client.port().await.unwrap();
            }
            let stranger = Client::connect_from(ELSEWHERE, &world, Mode::Explicit);
            gets_nothing(stranger.data_at(50_000, None).await.unwrap()).await;
            for client in clients.iter_mut().rev() {
                let data = client.data_at(50_000, None).await.unwrap();
                fetch(client, data, "ann").await;
            }
        }
        let (shared, by_ticket, refused, strangers) = counts(&world);
        assert_eq!((shared, by_ticket, refused, strangers), (38, 0, 0, 2));
        for client in clients {
            client.quit().await.unwrap();
        }
    });
}

/// Sessions of one address that nothing tells apart: one waits for the other, and not for ever.
#[test]
fn who_cannot_be_told_apart_waits() {
    for (one, other) in [
        (("ann", false), ("bob", false)),
        (("ann", false), ("bob", true)),
        (("ann", true), ("bob", false)),
        (("ann", true), ("ann", true)),
    ] {
        run(plan(1, false), async move |world| {
            let mut first = session(&world, CLIENT, one.0, one.1).await;
            let mut second = session(&world, CLIENT, other.0, other.1).await;
            let port = first.port().await.unwrap();
            second.send("EPSV").await.unwrap();
            world.pause(Duration::from_millis(100)).await;
            let data = first.data_at(port, None).await.unwrap();
            fetch(&mut first, data, one.0).await;
            assert_eq!(second.reply().await, Ok(229), "{}", second.last);
            assert_eq!(first.ask("EPSV").await, Ok(425), "{}", first.last);
            assert_eq!(world.context.counters.passive_exhausted.get(), 1);
            let data = second.data_at(port, None).await.unwrap();
            fetch(&mut second, data, other.0).await;
            // Its end while it waits leaves nothing behind.
            first.port().await.unwrap();
            second.send("EPSV").await.unwrap();
            world.pause(Duration::from_millis(100)).await;
            drop(second);
            first.quit().await.unwrap();
            assert_eq!(counts(&world).0, 0);
        });
    }
}

/// Somebody at the address of both tries what there is: without a ticket, with that of a session of
/// its own, with silence, with noise, in the clear.
#[test]
fn strangers_at_the_address_get_nothing() {
    for tls12 in [false, true] {
        run(plan(1, tls12), async |world| {
            let mut ann = session(&world, CLIENT, "ann", true).await;
            let mut bob = session(&world, CLIENT, "bob", true).await;
            let thief = session(&world, CLIENT, "anonymous", true).await;
            let port = ann.port().await.unwrap();
            assert_eq!(bob.port().await.unwrap(), port);
            ann.send("RETR file").await.unwrap();
            bob.send("RETR file").await.unwrap();
            for config in [world.client_tls(), thief.config.clone()] {
                let mut data = thief.data_at(port, None).await.unwrap();
                assert!(data.start_tls(&config).await.is_err(), "it was answered");
            }
            let noise = thief.data_at(port, None).await.unwrap();
            noise.stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            gets_nothing(noise).await;
            let silent = thief.data_at(port, None).await.unwrap();
            assert_eq!(counts(&world).2, 3);
            for (client, user) in [(&mut bob, "bob"), (&mut ann, "ann")] {
                let data = client.data_at(port, None).await.unwrap();
                finish(client, data, user).await;
            }
            // The port is closed with the last of them.
            gets_nothing(silent).await;
            assert!(thief.data_at(port, None).await.is_err());
            for client in [ann, bob, thief] {
                client.quit().await.unwrap();
            }
        });
    }
}

/// A ClientHello can be copied by whoever sees it go by: it is given to whom it names, and proves
/// nothing there.
#[test]
fn a_copied_hello_gets_nothing() {
    run(plan(1, false), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let mut bob = session(&world, CLIENT, "bob", true).await;
        let port = ann.port().await.unwrap();
        assert_eq!(bob.port().await.unwrap(), port);
        ann.send("RETR file").await.unwrap();
        // Its ticket is shown by another, with and without what proves that it has the secret.
        let copy = ann.data_at(port, None).await.unwrap();
        let mut hello = Connection::hello(&ann.config);
        copy.stream.write_all(&hello).await.unwrap();
        let forged = ann.data_at(port, None).await.unwrap();
        *hello.last_mut().unwrap() ^= 1;
        forged.stream.write_all(&hello).await.unwrap();
        let own = ann.data_at(port, None).await.unwrap();
        finish(&mut ann, own, "ann").await;
        let data = bob.data_at(port, None).await.unwrap();
        fetch(&mut bob, data, "bob").await;
        drop((copy, forged));
        ann.quit().await.unwrap();
        bob.quit().await.unwrap();
    });
}

/// The client of a session that gave up may still come, and would be taken for that of another one.
#[test]
fn who_has_given_up_is_not_forgotten() {
    run(plan(1, false), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let mut bob = session(&world, CLIENT, "bob", true).await;
        let port = ann.port().await.unwrap();
        assert_eq!(bob.port().await.unwrap(), port);
        // Others keep the port open.
        let mut others = Vec::new();
        for last in 20..22 {
            let mut other = session(&world, [192, 0, 2, last], "bob", false).await;
            assert_eq!(other.port().await.unwrap(), port);
            others.push(other);
        }
        let late = ann.config.clone();
        ann.say("ABOR", 226).await.unwrap();
        ann.quit().await.unwrap();
        bob.send("RETR file").await.unwrap();
        for config in [world.client_tls(), late] {
            let mut data = bob.data_at(port, None).await.unwrap();
            assert!(data.start_tls(&config).await.is_err(), "it was answered");
        }
        let mut clear = session(&world, CLIENT, "anonymous", false).await;
        assert_eq!(clear.ask("EPSV").await, Ok(425), "{}", clear.last);
        let mut data = bob.data_at(port, None).await.unwrap();
        bob.secure(&mut data).await.unwrap();
        assert!(data.receive().await.unwrap().is_some());
        drop(data);
        // A minute later it is.
        bob.final_reply().await.unwrap();
        for _ in 0..3 {
            world.pause(Duration::from_secs(20)).await;
            for other in &mut others {
                let data = other.data_at(port, None).await.unwrap();
                fetch(other, data, "bob").await;
                assert_eq!(other.port().await.unwrap(), port);
            }
        }
        assert_eq!(clear.port().await.unwrap(), port);
        let data = clear.data_at(port, None).await.unwrap();
        fetch(&mut clear, data, "anonymous").await;
        for client in others.into_iter().chain([bob, clear]) {
            client.quit().await.unwrap();
        }
    });
}

/// However many come and say nothing, there is an end to what is kept of them, and other addresses
/// do not notice.
#[test]
fn silent_connections_are_bounded() {
    run(plan(1, false), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let mut bob = session(&world, CLIENT, "bob", true).await;
        let mut far = session(&world, ELSEWHERE, "ann", false).await;
        let port = ann.port().await.unwrap();
        assert_eq!((bob.port().await.unwrap(), far.port().await.unwrap()), (port, port));
        let mut crowd = Vec::new();
        for _ in 0..3 * UNDECIDED_PER_ADDRESS_MAX {
            crowd.push(bob.data_at(port, None).await.unwrap());
            world.pause(Duration::from_millis(1)).await;
        }
        let undecided = world.context.passive_ports.undecided_count();
        assert!(undecided <= UNDECIDED_PER_ADDRESS_MAX, "{undecided}");
        const { assert!(UNDECIDED_PER_ADDRESS_MAX < UNDECIDED_PER_SHARD_MAX) };
        let data = far.data_at(port, None).await.unwrap();
        fetch(&mut far, data, "ann").await;
        let data = bob.data_at(port, None).await.unwrap();
        fetch(&mut bob, data, "bob").await;
        let data = ann.data_at(port, None).await.unwrap();
        fetch(&mut ann, data, "ann").await;
        for silent in crowd {
            gets_nothing(silent).await;
        }
        assert_eq!(world.context.passive_ports.undecided_count(), 0);
        for client in [ann, bob, far] {
            client.quit().await.unwrap();
        }
    });
}

/// One session after the other, of any kind, and all at once.
async fn work(world: Rc<World>, address: [u8; 4], user: &'static str, private: bool) {
    let mut client = session(&world, address, user, private).await;
    for turn in 0..4 {
        if turn % 2 == 1 && user != "bob" {
            let name = format!("{}-{private}", address[3]);
            let octets = [content(user), name.clone().into_bytes()].concat();
            let (code, _) = client.store(&format!("STOR {name}"), &octets, None).await.unwrap();
            assert_eq!(code, 226, "{}", client.last);
            assert!(std::fs::read(world.path_of(user, &name)).unwrap() == octets);
        } else {
            let download = client.retrieve("RETR file", None).await.unwrap();
            assert_eq!(download.code, 226, "{}", client.last);
            assert!(download.octets == content(user), "{user} got something else");
        }
    }
    client.quit().await.unwrap();
}

#[test]
fn many_sessions_at_two_ports() {
    for seed in 0..8 {
        let weather = Weather { storage: Duration::from_millis(seed % 4), ..Weather::default() };
        let configure = (seed % 3 == 0).then_some(REQUIRE);
        let plan = Plan { seed, weather, configure, ..plan(2, seed % 2 == 1) };
        run(plan, async |world| {
            let mut tasks: Vec<Task<()>> = Vec::new();
            for last in 7..10 {
                for user in USERS {
                    for private in [true, true, false] {
                        tasks.push(spawn(work(world.clone(), [192, 0, 2, last], user, private)));
                    }
                }
            }
            for task in tasks {
                task.await;
            }
            let (shared, by_ticket, ..) = counts(&world);
            assert!(shared > 0 && by_ticket > 0, "{shared} {by_ticket}");
        });
    }
}
