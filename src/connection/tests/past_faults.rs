//! Faults that were found elsewhere once, each with what must hold, over many orders of events.

use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Gone};
use super::world::{Plan, World, run};
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::{both, spawn};

const SEEDS: u64 = 60;
const CONTENT: &[u8] = &[9; 20_000];

/// Half of the seeds under TLS, and a disk that takes its time.
fn each(clients: impl AsyncFn(Rc<World>, Client) + Copy + 'static) {
    for seed in 0..SEEDS {
        let storage = Duration::from_millis(seed % 10 * 5 + 1);
        let weather = Weather { storage, ..Weather::default() };
        run(Plan { seed, weather, ..Plan::default() }, move |world| async move {
            let private = seed % 2 == 0;
            let mode = if private { Mode::Implicit } else { Mode::Explicit };
            let mut client = Client::connect(&world, mode, None);
            client.log_in(mode, private).await.unwrap();
            clients(world, client).await;
        });
    }
}

/// [RFC 959 §4.1.1] A QUIT behind a transfer waits for it, and the end of what the client sends is
/// no disconnect: cameras end so.
#[test]
fn quit_and_fin_behind_an_upload() {
    each(async |world, mut client| {
        let mut data = client.data(None).await.unwrap();
        client.send("STOR file").await.unwrap();
        let sending = async {
            client.secure(&mut data).await.unwrap();
            data.send(CONTENT).await.unwrap();
            data.end().await.unwrap();
        };
        sending.await;
        client.send("QUIT").await.unwrap();
        client.control.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        assert_eq!(client.reply().await, Ok(221));
        assert_eq!(world.get("file").as_deref(), Some(CONTENT));
    });
}

/// What came before the end is executed.
#[test]
fn fin_behind_pipelined_commands() {
    each(async |world, mut client| {
        client.control.send(b"MKD a\r\nMKD b\r\nQUIT\r\n").await.unwrap();
        client.control.end().await.unwrap();
        for code in [257, 257, 221] {
            assert_eq!(client.reply().await, Ok(code));
        }
        assert!(world.path("a").is_dir() && world.path("b").is_dir());
    });
}

/// A session that ends without QUIT has its transfer given up.
#[test]
fn fin_without_quit_gives_the_upload_up() {
    each(async |world, mut client| {
        let mut data = client.data(None).await.unwrap();
        client.send("STOR file").await.unwrap();
        client.secure(&mut data).await.unwrap();
        data.send(CONTENT).await.unwrap();
        client.control.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(426), "{}", client.last);
        assert_eq!(world.get("file"), None);
    });
}

/// Acknowledged appends are all there, each whole, whoever began the file.
#[test]
fn appends_to_one_new_name() {
    for seed in 0..SEEDS {
        let weather = Weather { storage: Duration::from_millis(15), ..Weather::default() };
        run(Plan { seed, weather, ..Plan::default() }, |world| async move {
            let appends = [1_u8, 2, 3, 4].map(|octet| {
                let world = world.clone();
                spawn(async move {
                    let mut client = Client::connect(&world, Mode::Explicit, None);
                    client.log_in(Mode::Explicit, false).await?;
                    let (code, _) = client.store("APPE log", &[octet; 100], None).await?;
                    client.quit().await?;
                    Ok::<_, Gone>((octet, code))
                })
            });
            let mut results = Vec::new();
            for append in appends {
                results.push(append.await.unwrap());
            }
            let stored = world.get("log").unwrap_or_default();
            let chunks: Vec<&[u8]> = stored.chunks(100).collect();
            for &(octet, code) in &results {
                let found = chunks.iter().filter(|chunk| **chunk == [octet; 100]).count();
                assert_eq!(found, usize::from(code == 226), "{code} for {octet}: {results:?}");
            }
        });
    }
}

/// Somebody at the client's address is at the port first and says nothing: the client's own
/// connection, which proves itself, gets the transfer.
#[test]
fn a_stranger_is_at_the_port_first() {
    each(async |_, mut client| {
        if !client.is_private() {
            return;
        }
        assert_eq!(client.store("STOR first", CONTENT, None).await.unwrap().0, 226);
        client.say("EPSV", 229).await.unwrap();
        let port = client.last.split('|').nth(3).unwrap().parse().unwrap();
        let _stranger = client.data_at(port, None).await.unwrap();
        let mut data = client.data_at(port, None).await.unwrap();
        client.send("STOR second").await.unwrap();
        client.secure(&mut data).await.unwrap();
        data.send(CONTENT).await.unwrap();
        data.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// ABOR is answered although storage does not answer, and the session goes on.
#[test]
fn abort_while_storage_hangs() {
    // What the page cache has is sent without a question to storage.
    let commands = ["MLSD", "LIST", "STOR new", "APPE cold", "STOU"];
    for (seed, command) in (0..SEEDS).zip(commands.into_iter().cycle()) {
        let weather =
            Weather { stuck_one_in: 1, stuck: Duration::from_secs(900), ..Weather::default() };
        run(Plan { seed, weather, ..Plan::default() }, move |world| async move {
            world.put("cold", CONTENT);
            let mut client = Client::connect(&world, Mode::Explicit, None);
            client.log_in(Mode::Explicit, false).await.unwrap();
            let mut data = client.data(None).await.unwrap();
            client.send(command).await.unwrap();
            world.pause(Duration::from_millis(50)).await;
            client.send("ABOR").await.unwrap();
            let start = crate::clock::now();
            let (first, second) = both(client.final_reply(), data.receive()).await;
            assert_eq!(first, Ok(426), "{command}: {}", client.last);
            assert!(!matches!(second, Ok(Some(_))), "{command}");
            assert!(matches!(client.reply().await, Ok(226 | 225)), "{}", client.last);
            assert!(crate::clock::now() - start < Duration::from_secs(5));
            assert_eq!(client.ask("NOOP").await, Ok(200));
            client.quit().await.unwrap();
        });
    }
}
