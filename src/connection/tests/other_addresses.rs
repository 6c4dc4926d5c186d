//! Data connections from other addresses than the client's: each gets its own session's transfer by
//! its ticket, or nothing.

use std::time::Duration;

use super::client::{Client, Connection};
use super::shared_ports::{ELSEWHERE, fetch, finish, gets_nothing, session};
use super::world::{CLIENT, Plan, World, run};
use crate::config::{OtherAddress, Settings};
use crate::limits::{UNDECIDED_PER_ADDRESS_MAX, UNDECIDED_PER_SHARD_MAX};
use crate::sys::host;

const WITH_TICKET: fn(&mut Settings) =
    |settings| settings.passive.other_address = OtherAddress::WithTicket;

fn plan(ports: u16, tls12: bool) -> Plan {
    Plan { ports, tls12, configure: Some(WITH_TICKET), ..Plan::default() }
}

async fn from_elsewhere(client: &mut Client) -> Connection {
    let port = client.port().await.unwrap();
    client.data_from(ELSEWHERE, port, None).await.unwrap()
}

/// Connections that came from elsewhere with a ticket; those that were read or tried, and refused;
/// those that were closed unread.
fn counts(world: &World) -> (u64, u64, u64) {
    let counters = &world.context.counters;
    let elsewhere = counters.passive_elsewhere.get();
    (elsewhere, counters.passive_refused.get(), counters.passive_strangers.get())
}

async fn store(client: &mut Client, world: &World, mut data: Connection) {
    client.send("STOR up").await.unwrap();
    client.send_to(&mut data, b"ann's").await.unwrap();
    data.end().await.unwrap();
    assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
    assert_eq!(std::fs::read(world.path_of("ann", "up")).unwrap(), b"ann's");
}

async fn list(client: &mut Client, mut data: Connection) {
    client.send("LIST").await.unwrap();
    client.secure(&mut data).await.unwrap();
    let mut listing = Vec::new();
    while let Some(more) = data.receive().await.unwrap() {
        listing.extend(more);
    }
    data.end().await.unwrap();
    assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
    assert!(listing.ends_with(b" file\r\n"), "{}", listing.escape_ascii());
}

/// From the first transfer on, at a port of its own; before the command or after it, with the
/// handshake or without.
#[test]
fn a_ticket_counts_from_any_address() {
    for tls12 in [false, true] {
        run(plan(0, tls12), async |world| {
            let mut ann = session(&world, CLIENT, "ann", true).await;
            let mut data = from_elsewhere(&mut ann).await;
            fetch(&mut ann, data, "ann").await;
            data = from_elsewhere(&mut ann).await;
            list(&mut ann, data).await;
            data = from_elsewhere(&mut ann).await;
            store(&mut ann, &world, data).await;
            let port = ann.port().await.unwrap();
            ann.send("RETR file").await.unwrap();
            world.pause(Duration::from_millis(100)).await;
            data = ann.data_from(ELSEWHERE, port, None).await.unwrap();
            finish(&mut ann, data, "ann").await;
            data = from_elsewhere(&mut ann).await;
            ann.secure(&mut data).await.unwrap();
            ann.send("STOR up").await.unwrap();
            data.send(b"more").await.unwrap();
            data.end().await.unwrap();
            assert_eq!(ann.final_reply().await, Ok(226), "{}", ann.last);
            // Its own address is as good as ever.
            data = ann.data(None).await.unwrap();
            fetch(&mut ann, data, "ann").await;
            assert_eq!(counts(&world), (5, 0, 0));
            ann.quit().await.unwrap();
        });
    }
}

/// Somebody elsewhere tries what there is: without a ticket, with that of a session of its own,
/// with a copied ClientHello, whole or not, with noise, with silence.
#[test]
fn strangers_elsewhere_get_nothing() {
    for tls12 in [false, true] {
        run(plan(0, tls12), async |world| {
            let mut ann = session(&world, CLIENT, "ann", true).await;
            let thief = session(&world, ELSEWHERE, "bob", true).await;
            for early in [true, false] {
                let port = ann.port().await.unwrap();
                if !early {
                    ann.send("RETR file").await.unwrap();
                }
                let (_, refused, _) = counts(&world);
                for config in [world.client_tls(), thief.config.clone()] {
                    let mut data = thief.data_at(port, None).await.unwrap();
                    if early {
                        // Nobody looks at once.
                        world.pause(Duration::from_millis(100)).await;
                    }
                    assert!(data.start_tls(&config).await.is_err(), "it was answered");
                }
                let noise = thief.data_at(port, None).await.unwrap();
                noise.stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
                gets_nothing(noise).await;
                assert_eq!(counts(&world).1 - refused, 3);
                let silent = thief.data_at(port, None).await.unwrap();
                let copy = thief.data_at(port, None).await.unwrap();
                let mut hello = Connection::hello(&ann.config);
                copy.stream.write_all(&hello).await.unwrap();
                let forged = thief.data_at(port, None).await.unwrap();
                *hello.last_mut().unwrap() ^= 1;
                forged.stream.write_all(&hello).await.unwrap();
                if early {
                    ann.send("RETR file").await.unwrap();
                }
                let data = ann.data_from(ELSEWHERE, port, None).await.unwrap();
                finish(&mut ann, data, "ann").await;
                for other in [silent, copy, forged] {
                    drop(other);
                }
            }
            assert_eq!(counts(&world).2, 0);
            ann.quit().await.unwrap();
            thief.quit().await.unwrap();
        });
    }
}

/// Nothing from elsewhere is read without the setting, in the clear, or for who has not resumed.
#[test]
fn when_no_ticket_counts() {
    run(Plan::default(), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        closes_unread(&mut ann, &world).await;
        // It was reloaded: the next port is another matter.
        world.reload(None, WITH_TICKET);
        let data = from_elsewhere(&mut ann).await;
        fetch(&mut ann, data, "ann").await;
        world.reload(None, |settings| settings.passive.other_address = OtherAddress::Never);
        closes_unread(&mut ann, &world).await;
        ann.quit().await.unwrap();
    });
    run(plan(0, false), async |world| {
        let mut clear = session(&world, CLIENT, "ann", false).await;
        closes_unread(&mut clear, &world).await;
        clear.quit().await.unwrap();
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let mut data = ann.data(None).await.unwrap();
        ann.send("RETR file").await.unwrap();
        data.start_tls(&world.client_tls()).await.unwrap();
        while data.receive().await.unwrap().is_some() {}
        data.end().await.unwrap();
        assert_eq!(ann.final_reply().await, Ok(226), "{}", ann.last);
        closes_unread(&mut ann, &world).await;
        // Until it does resume.
        let data = ann.data(None).await.unwrap();
        fetch(&mut ann, data, "ann").await;
        let data = from_elsewhere(&mut ann).await;
        fetch(&mut ann, data, "ann").await;
        // What has begun a handshake is not used in the clear.
        let mut data = from_elsewhere(&mut ann).await;
        data.say_hello(&ann.config.clone()).await.unwrap();
        assert_eq!(ann.ask("PROT C").await, Ok(200), "{}", ann.last);
        ann.send("RETR file").await.unwrap();
        assert!(data.receive().await.is_err(), "it was answered");
        assert!(ann.final_reply().await.unwrap() >= 400, "{}", ann.last);
        ann.quit().await.unwrap();
    });
}

/// A connection from elsewhere with the session's own ticket.
async fn closes_unread(client: &mut Client, world: &World) {
    let (elsewhere, refused, strangers) = counts(world);
    let port = client.port().await.unwrap();
    client.send("RETR file").await.unwrap();
    let mut data = client.data_from(ELSEWHERE, port, None).await.unwrap();
    assert!(data.start_tls(&client.config).await.is_err(), "it was answered");
    let data = client.data_at(port, None).await.unwrap();
    finish(client, data, "ann").await;
    assert_eq!(counts(world), (elsewhere, refused, strangers + 1));
}

/// Each comes from the address of the other. Who could be taken for one of them waits elsewhere.
#[test]
fn tickets_tell_sessions_of_several_addresses_apart() {
    run(plan(1, false), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let mut bob = session(&world, ELSEWHERE, "bob", true).await;
        for _ in 0..2 {
            let port = ann.port().await.unwrap();
            assert_eq!(bob.port().await.unwrap(), port);
            let far = [192, 0, 2, 9];
            for (user, private) in [("anonymous", false), ("ann", true)] {
                let mut other = session(&world, far, user, private).await;
                assert_eq!(other.ask("EPSV").await, Ok(425), "{}", other.last);
                other.quit().await.unwrap();
            }
            let of_bob = bob.data_from(CLIENT, port, None).await.unwrap();
            let of_ann = ann.data_from(ELSEWHERE, port, None).await.unwrap();
            fetch(&mut bob, of_bob, "bob").await;
            fetch(&mut ann, of_ann, "ann").await;
        }
        // One has given up, and may come from anywhere yet.
        let port = ann.port().await.unwrap();
        assert_eq!(bob.port().await.unwrap(), port);
        ann.say("ABOR", 226).await.unwrap();
        let mut late = ann.data_from(ELSEWHERE, port, None).await.unwrap();
        bob.send("RETR file").await.unwrap();
        assert!(late.start_tls(&ann.config).await.is_err(), "it was answered");
        let mut other = session(&world, CLIENT, "anonymous", false).await;
        assert_eq!(other.ask("EPSV").await, Ok(425), "{}", other.last);
        let data = bob.data_at(port, None).await.unwrap();
        finish(&mut bob, data, "bob").await;
        assert_eq!(counts(&world), (4, 1, 0));
        for client in [ann, bob, other] {
            client.quit().await.unwrap();
        }
    });
}

/// However many are silent at however many addresses: those of a shard are bounded, and who speaks
/// is heard.
#[test]
fn silent_connections_from_elsewhere_are_bounded() {
    assert!(host::raise_open_files().unwrap() > 4 * UNDECIDED_PER_SHARD_MAX as u64);
    run(plan(0, false), async |world| {
        let mut ann = session(&world, CLIENT, "ann", true).await;
        let port = ann.port().await.unwrap();
        ann.send("RETR file").await.unwrap();
        let mut crowd = Vec::new();
        for last in 20..38 {
            for number in 0..UNDECIDED_PER_ADDRESS_MAX + 2 {
                crowd.push(ann.data_from([192, 0, 2, last], port, None).await.unwrap());
                if number % 16 == 1 {
                    world.pause(Duration::from_millis(10)).await;
                }
            }
            let undecided = world.context.passive_ports.undecided_count();
            let some = UNDECIDED_PER_ADDRESS_MAX * (usize::from(last) - 19);
            assert!(undecided <= some.min(UNDECIDED_PER_SHARD_MAX), "{undecided}");
        }
        let undecided = world.context.passive_ports.undecided_count();
        assert!(undecided > UNDECIDED_PER_SHARD_MAX - 16, "{undecided}");
        let data = ann.data_from(ELSEWHERE, port, None).await.unwrap();
        finish(&mut ann, data, "ann").await;
        for silent in crowd {
            gets_nothing(silent).await;
        }
        assert_eq!(world.context.passive_ports.undecided_count(), 0);
        ann.quit().await.unwrap();
    });
}
