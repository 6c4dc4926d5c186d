//! How sessions and commands end: QUIT, ABOR, the end of what the client sends, and resets.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::{CONTENT, each, put_big};
use crate::clock;
use crate::connection::tests::client::{Client, Connection};
use crate::connection::tests::world::World;
use crate::limits::PIPELINE_BYTES_MAX;

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
        let mut data = client.begin("STOR file").await.unwrap();
        data.send(CONTENT).await.unwrap();
        client.control.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(426), "{}", client.last);
        assert_eq!(world.get("file"), None);
    });
}

/// A download that its client does not read, with keep-alives behind it.
async fn stuck_download(world: &World, client: &mut Client) -> Connection {
    put_big(world);
    let data = client.begin("RETR big").await.unwrap();
    client.control.send(&b"NOOP\r\n".repeat(KEEP_ALIVES)).await.unwrap();
    data
}

const KEEP_ALIVES: usize = 1_000;

/// The queue of commands holds some 455 NOOPs, and the session hears ABOR and the end beyond them.
#[test]
fn abort_behind_many_keep_alives() {
    each(async |world, mut client| {
        let data = stuck_download(&world, &mut client).await;
        client.send("ABOR").await.unwrap();
        let start = clock::now();
        assert_eq!(client.final_reply().await, Ok(426), "{}", client.last);
        assert!(clock::now() - start < Duration::from_secs(1));
        for _ in 0..KEEP_ALIVES {
            assert_eq!(client.reply().await, Ok(200));
        }
        assert_eq!(client.reply().await, Ok(226));
        drop(data);
        client.quit().await.unwrap();
    });
}

/// A reset is noticed although the queue is full and nothing is read.
#[test]
fn a_reset_behind_a_full_queue() {
    each(async |world, mut client| {
        let _data = stuck_download(&world, &mut client).await;
        // Equal lines are only counted.
        client.control.send(&b"PWD\r\nSYST\r\n".repeat(PIPELINE_BYTES_MAX / 8)).await.unwrap();
        world.pause(Duration::from_millis(100)).await;
        world.simulation.reset_on_close(&client.control.stream);
        drop(client);
        world.pause(Duration::from_secs(1)).await;
        let gauges = world.context.gauges.snapshot();
        let left: Vec<_> = gauges.iter().filter(|gauge| gauge.0 == "transfers").collect();
        assert!(matches!(left[..], [(_, 0)]), "{left:?}");
    });
}

/// What one piece of storage work takes where ABOR has to act between two of them.
const PIECE: Duration = Duration::from_secs(10);

fn slow_down(world: &World) {
    world.simulation.change(|weather| (weather.stuck_one_in, weather.stuck) = (1, PIECE));
}

/// A file whose octets a copy reaches in many pieces: data and holes by turns.
fn put_many_pieces(world: &World, pieces: u64) {
    let file = fs::File::create(world.path("long")).unwrap();
    for piece in 0..pieces {
        file.write_at(b"x", piece << 20).unwrap();
    }
}

/// ABOR is answered at once, the command with `code`, and its work does not go on.
async fn abort_long_work(world: &World, client: &mut Client, code: u16) {
    client.send("ABOR").await.unwrap();
    let start = clock::now();
    assert_eq!(client.final_reply().await, Ok(code), "{}", client.last);
    assert!(matches!(client.reply().await, Ok(225 | 226)), "{}", client.last);
    let took = clock::now() - start;
    assert!(took < Duration::from_secs(1), "{took:?}");
    // The piece that runs, and the closing of what it had open.
    world.pause(PIECE * 3).await;
    let load = world.context.helpers().load();
    assert_eq!((load.waiting, load.running), (0, 0));
}

/// ABOR acts while the octets before a restart marker are copied, and ends the copying.
#[test]
fn abort_while_a_marker_is_reached() {
    each(async |world, mut client| {
        put_many_pieces(&world, 40);
        let before = world.get("long");
        let data = client.data(None).await.unwrap();
        client.say("REST 39000000", 350).await.unwrap();
        slow_down(&world);
        client.send("STOR long").await.unwrap();
        world.pause(PIECE * 9 / 2).await;
        abort_long_work(&world, &mut client, 426).await;
        assert!(world.get("long") == before);
        drop(data);
        client.quit().await.unwrap();
    });
}

/// ABOR ends commands that read much, and their work.
#[test]
fn abort_of_commands_that_read_much() {
    each(async |world, mut client| {
        fs::File::create(world.path("vast")).unwrap().set_len(1 << 40).unwrap();
        fs::File::create(world.path("text")).unwrap().set_len(60 << 20).unwrap();
        client.say("TYPE A", 200).await.unwrap();
        slow_down(&world);
        for command in ["HASH vast", "XSHA256 vast", "SIZE text", "STAT ."] {
            client.send(command).await.unwrap();
            world.pause(PIECE / 2).await;
            abort_long_work(&world, &mut client, 451).await;
        }
        client.quit().await.unwrap();
    });
}
