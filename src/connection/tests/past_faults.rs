//! Faults that were found elsewhere once, each with what must hold, over many orders of events.

use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Gone, Wire};
use super::world::{Plan, World, run};
use crate::clock;
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::spawn;

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
        let mut data = client.begin("STOR file").await.unwrap();
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

/// Each append with 226 is under the name: a file that lost it meanwhile is refused with 450.
#[test]
fn an_append_whose_file_is_replaced_meanwhile() {
    each(async |world, mut client| {
        world.put("log", b"old ");
        world.put("other", b"another file");
        let mut data = client.data(None).await.unwrap();
        client.send("APPE log").await.unwrap();
        assert_eq!(client.reply().await, Ok(150));
        client.send_to(&mut data, CONTENT).await.unwrap();
        let mut other = Client::connect(&world, Mode::Explicit, None);
        other.log_in(Mode::Explicit, false).await.unwrap();
        other.say("RNFR other", 350).await.unwrap();
        other.say("RNTO log", 250).await.unwrap();
        other.quit().await.unwrap();
        data.end().await.unwrap();
        assert_eq!(client.reply().await, Ok(450), "{}", client.last);
        assert_eq!(world.get("log").as_deref(), Some(&b"another file"[..]));
        client.quit().await.unwrap();
    });
}

/// aioftp, axel and older Go clients have made their handshake when they send the command.
#[test]
fn tls_before_the_command() {
    each(async |world, mut client| {
        let mut data = client.data(None).await.unwrap();
        client.secure(&mut data).await.unwrap();
        client.send("STOR file").await.unwrap();
        data.send(CONTENT).await.unwrap();
        data.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        assert_eq!(world.get("file").as_deref(), Some(CONTENT));
        let mut data = client.data(None).await.unwrap();
        client.secure(&mut data).await.unwrap();
        client.send("RETR file").await.unwrap();
        let mut octets = Vec::new();
        while let Some(more) = data.receive().await.unwrap() {
            octets.extend(more);
        }
        assert_eq!(octets, CONTENT);
        data.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226));
        client.quit().await.unwrap();
    });
}

/// More than the sockets of a data connection hold.
fn put_big(world: &World) {
    world.put("big", &vec![3; 2_000_000]);
}

/// A download that its client does not read, with keep-alives behind it.
async fn stuck_download(world: &World, client: &mut Client) -> Wire {
    put_big(world);
    let data = client.begin("RETR big").await.unwrap();
    client.control.send(&b"NOOP\r\n".repeat(KEEP_ALIVES)).await.unwrap();
    data
}

const KEEP_ALIVES: usize = 1_000;

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

#[test]
fn a_reset_behind_many_keep_alives() {
    each(async |world, mut client| {
        let _data = stuck_download(&world, &mut client).await;
        world.pause(Duration::from_millis(100)).await;
        world.simulation.reset_on_close(&client.control.stream);
        drop(client);
        world.pause(Duration::from_secs(1)).await;
        let gauges = world.context.gauges.snapshot();
        let left: Vec<_> = gauges.iter().filter(|gauge| gauge.0 == "transfers").collect();
        assert!(matches!(left[..], [(_, 0)]), "{left:?}");
    });
}

/// What is shorter than it was is no success.
#[test]
fn a_file_that_shrinks_while_it_is_sent() {
    each(async |world, mut client| {
        world.put("big", &vec![3; 8_000_000]);
        let mut data = client.begin("RETR big").await.unwrap();
        assert!(data.receive().await.unwrap().is_some());
        let file = std::fs::File::options().write(true).open(world.path("big")).unwrap();
        file.set_len(1_000).unwrap();
        while matches!(data.receive().await, Ok(Some(_))) {}
        drop(data);
        assert_eq!(client.final_reply().await, Ok(451), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// [RFC 8446 §4.6.3] A protected download hears its client: keys are renewed on the way, and again
/// when the server has sent all and the client has not read it.
#[test]
fn keys_are_renewed_while_a_download_goes_on() {
    each(async |world, mut client| {
        if !client.is_private() {
            return;
        }
        put_big(&world);
        let mut data = client.begin("RETR big").await.unwrap();
        let (mut octets, mut due) = (0, 0);
        while let Some(more) = data.receive().await.unwrap() {
            octets += more.len();
            if octets >= due {
                data.update_keys().await.unwrap();
                due += 200_000;
            }
        }
        assert_eq!(octets, 2_000_000);
        data.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        world.put("small", CONTENT);
        let mut data = client.begin("RETR small").await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        for _ in 0..2 {
            world.pause(Duration::from_secs(4)).await;
            data.update_keys().await.unwrap();
        }
        let mut octets = Vec::new();
        while let Some(more) = data.receive().await.unwrap() {
            octets.extend(more);
        }
        assert_eq!(octets, CONTENT);
        client.quit().await.unwrap();
    });
}

/// [RFC 8446 §5.2] A record that does not authenticate ends a download with 426.
#[test]
fn a_forged_record_ends_a_download() {
    each(async |world, mut client| {
        if !client.is_private() {
            return;
        }
        put_big(&world);
        let mut data = client.begin("RETR big").await.unwrap();
        assert!(data.receive().await.unwrap().is_some());
        data.forge().await.unwrap();
        while matches!(data.receive().await, Ok(Some(_))) {}
        assert_eq!(client.final_reply().await, Ok(426), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// A passive port that no transfer makes use of closes after `limits.data_timeout`.
#[test]
fn a_passive_port_without_a_transfer_closes() {
    each(async |world, mut client| {
        client.say("EPSV", 229).await.unwrap();
        let port = client.last.split('|').nth(3).unwrap().parse().unwrap();
        let span = world.context.policy().data_timeout;
        world.pause(span - Duration::from_secs(1)).await;
        drop(client.data_at(port, None).await.unwrap());
        world.pause(Duration::from_secs(2)).await;
        assert!(client.data_at(port, None).await.is_err());
        client.send("STOR file").await.unwrap();
        assert_eq!(client.final_reply().await, Ok(425), "{}", client.last);
        client.quit().await.unwrap();
    });
}

/// The last quarter of the ports is kept for users who hold none.
#[test]
fn one_user_does_not_hold_all_ports() {
    run(Plan::default(), async |world| {
        let mut clients = Vec::new();
        let mut granted = 0;
        for _ in 0..90 {
            let mut client = Client::connect(&world, Mode::Explicit, None);
            client.log_in(Mode::Explicit, false).await.unwrap();
            match client.ask("EPSV").await.unwrap() {
                229 => granted += 1,
                code => assert_eq!(code, 425),
            }
            clients.push(client);
        }
        assert_eq!(granted, 75);
        let mut ann = Client::connect(&world, Mode::Explicit, None);
        assert_eq!(ann.reply().await, Ok(220));
        ann.say("USER ann", 331).await.unwrap();
        ann.say("PASS secret", 230).await.unwrap();
        ann.say("EPSV", 229).await.unwrap();
    });
}

/// Who logs in sees the home that is there by then; who is in keeps the one it began with.
#[test]
fn a_home_that_is_made_anew() {
    each(async |world, mut client| {
        world.put("old", CONTENT);
        let home = world.path("");
        std::fs::rename(&home, world.path_of("elsewhere", "")).unwrap();
        std::fs::create_dir(&home).unwrap();
        world.put("new", CONTENT);
        assert_eq!(client.ask("SIZE old").await, Ok(213));
        let mut later = Client::connect(&world, Mode::Explicit, None);
        later.log_in(Mode::Explicit, false).await.unwrap();
        assert_eq!(later.ask("SIZE old").await, Ok(550));
        assert_eq!(later.ask("SIZE new").await, Ok(213));
        later.quit().await.unwrap();
        client.quit().await.unwrap();
    });
}
