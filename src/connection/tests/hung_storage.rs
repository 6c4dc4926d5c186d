//! Storage that does not answer while a client asks for the end.

use std::time::Duration;

use super::client::{Client, Connection};
use super::world::{Plan, World, run};
use crate::limits::STORING_PATIENCE;
use crate::protocol::session::Mode;
use crate::runtime::both;

const SEEDS: u64 = 60;
const CONTENT: &[u8] = &[9; 20_000];

/// How clients connect: in clear, explicit and implicit TLS.
const KINDS: [(Mode, bool); 3] =
    [(Mode::Explicit, false), (Mode::Explicit, true), (Mode::Implicit, true)];

/// Storage does not answer from now on.
fn hang(world: &World) {
    world.simulation.change(|weather| {
        (weather.stuck_one_in, weather.stuck) = (1, Duration::from_secs(300));
    });
}

/// ABOR is answered within `patience`, by 426 and 226, and the session goes on. Gives the code of
/// the transfer, and whether octets came.
async fn abort(client: &mut Client, data: &mut Connection, patience: Duration) -> (u16, bool) {
    client.send("ABOR").await.unwrap();
    let start = crate::clock::now();
    let (first, second) = both(client.final_reply(), data.receive()).await;
    let code = first.unwrap();
    assert!(matches!(client.reply().await, Ok(226 | 225)), "{}", client.last);
    let took = crate::clock::now() - start;
    assert!(took < patience, "{took:?}");
    assert_eq!(client.ask("NOOP").await, Ok(200));
    (code, matches!(second, Ok(Some(_))))
}

/// ABOR is answered although storage answers neither to the opening nor to the reading.
#[test]
fn abort_while_storage_hangs() {
    let commands = ["MLSD", "LIST", "STOR new", "APPE large", "STOU", "RETR small", "RETR large"];
    let (mut tried, mut cold) = (0, 0);
    for (seed, (mode, private)) in (0..SEEDS).zip(KINDS.into_iter().cycle()) {
        for command in commands {
            let found = run(Plan { seed, ..Plan::default() }, move |world| async move {
                world.put("small", CONTENT);
                world.put("large", &vec![1; 300_000]);
                let cold = world.evict("small") && world.evict("large");
                if command.starts_with("RETR") && !cold {
                    println!("skipped: what is on this file system is never cold");
                    return None;
                }
                let mut client = Client::connect(&world, mode, None);
                client.log_in(mode, private).await.unwrap();
                let mut data = client.data(None).await.unwrap();
                hang(&world);
                client.send(command).await.unwrap();
                if command.starts_with("RETR") {
                    client.secure(&mut data).await.unwrap();
                }
                world.pause(Duration::from_millis(50)).await;
                let found = abort(&mut client, &mut data, Duration::from_secs(1)).await;
                client.quit().await.unwrap();
                Some(found)
            });
            // What is looked for in the page cache the kernel may read: its disk may be faster than
            // the next look. By sendfile, nearly never.
            if !command.starts_with("RETR") {
                assert_eq!(found, Some((426, false)), "{command} in {mode:?}");
            } else if command == "RETR large" && !private {
                tried += usize::from(found.is_some());
                cold += usize::from(found == Some((426, false)));
            }
        }
    }
    assert!(cold >= tried / 2, "{cold} of {tried} downloads waited for the disk");
}

/// ABOR of an upload is answered although a helper thread holds a block of it, or all that came;
/// when storage answers again, nothing of it is left.
#[test]
fn abort_while_storage_has_a_block() {
    for (seed, (mode, private)) in (0..SEEDS / 2).zip(KINDS.into_iter().cycle()) {
        for (verb, whole) in [("STOR", false), ("APPE", false), ("STOU", false), ("STOR", true)] {
            run(Plan { seed, ..Plan::default() }, move |world| async move {
                world.put("old", b"what was there");
                let before = world.tree();
                let mut client = Client::connect(&world, mode, None);
                client.log_in(mode, private).await.unwrap();
                let mut data = client.data(None).await.unwrap();
                client.send(&format!("{verb} old")).await.unwrap();
                assert_eq!(client.reply().await, Ok(150), "{}", client.last);
                hang(&world);
                client.send_to(&mut data, &vec![2; 700_000]).await.unwrap();
                if whole {
                    data.end().await.unwrap();
                }
                world.pause(Duration::from_millis(50)).await;
                let patience = if whole { STORING_PATIENCE } else { Duration::ZERO };
                let patience = patience + Duration::from_secs(1);
                assert_eq!(abort(&mut client, &mut data, patience).await.0, 426);
                client.quit().await.unwrap();
                world.rest().await;
                assert_eq!(world.tree(), before, "{verb} {whole}");
            });
        }
    }
}

/// ABOR is answered although storage does not answer to what makes a whole upload visible, as long
/// as that has not begun: then nothing of it appears, whenever storage comes back. What has begun
/// is waited for, and ends in 226.
#[test]
fn abort_while_an_upload_is_made_visible() {
    let (mut aborted, mut complete) = (0, 0);
    for (seed, (mode, private)) in (0..SEEDS).zip(KINDS.into_iter().cycle()) {
        for verb in ["STOR", "APPE"] {
            let code = run(Plan { seed, ..Plan::default() }, move |world| async move {
                world.put("old", b"what was there");
                let before = world.tree();
                let mut client = Client::connect(&world, mode, None);
                client.log_in(mode, private).await.unwrap();
                let mut data = client.begin(&format!("{verb} old")).await.unwrap();
                data.send(CONTENT).await.unwrap();
                data.end().await.unwrap();
                // Until the octets are stored and the end has begun, or is over.
                let span = Duration::from_micros(world.simulation.below(6_000));
                world.pause(span).await;
                hang(&world);
                world.pause(Duration::from_millis(50)).await;
                let patience = STORING_PATIENCE + Duration::from_secs(1);
                let (code, _) = abort(&mut client, &mut data, patience).await;
                client.quit().await.unwrap();
                world.rest().await;
                assert_eq!(world.tree() == before, code == 426, "{verb} {code}");
                code
            });
            assert!(matches!(code, 226 | 426), "{verb}: {code}");
            *if code == 226 { &mut complete } else { &mut aborted } += 1;
        }
    }
    assert!(aborted > 10 && complete > 10, "{aborted} aborted, {complete} complete");
}
