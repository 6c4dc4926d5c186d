//! Connections that end at each octet.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::client::{Client, Gone};
use super::world::{Plan, World, run};
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;

const OLD: &[u8] = b"what was there before";

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

async fn logged_in(world: &Rc<World>, mode: Mode, private: bool) -> Client {
    let mut client = Client::connect(world, mode, None);
    client.log_in(mode, private).await.unwrap();
    client
}

/// One upload whose data connection ends after `cut` octets: its reply, what is stored, and how
/// many octets went over it.
fn upload(cut: Option<usize>, private: bool, verb: &'static str) -> (u16, Option<Vec<u8>>, usize) {
    let seed = cut.unwrap_or(0) as u64;
    let plan = Plan { seed, ..Plan::default() };
    run(plan, move |world| async move {
        if verb == "APPE" {
            world.put("file", OLD);
        }
        let mode = if private { Mode::Implicit } else { Mode::Explicit };
        let mut client = logged_in(&world, mode, private).await;
        let line = format!("{verb} file");
        let (code, sent) = client.store(&line, &content(600), cut).await.unwrap();
        // The session goes on, whatever became of the transfer.
        assert_eq!(client.ask("NOOP").await, Ok(200));
        let stored = world.get("file");
        client.quit().await.unwrap();
        (code, stored, sent)
    })
}

/// [RFC 8446 §6.1] Only close_notify is the end of an upload under TLS.
#[test]
fn an_upload_under_tls_is_whole_or_not_there() {
    let (code, stored, total) = upload(None, true, "STOR");
    assert_eq!((code, stored), (226, Some(content(600))));
    for cut in 0..total {
        let (code, stored, _) = upload(Some(cut), true, "STOR");
        assert!((400..600).contains(&code), "{code} after {cut} of {total} octets");
        assert_eq!(stored, None, "after {cut} of {total} octets");
    }
    let (code, stored, _) = upload(Some(total), true, "STOR");
    assert_eq!((code, stored), (226, Some(content(600))));
}

/// In clear nobody can tell a cut from the end: what came is what is stored.
#[test]
fn an_upload_in_clear_is_what_came() {
    for cut in 0..=600 {
        let (code, stored, _) = upload(Some(cut), false, "STOR");
        assert_eq!((code, stored), (226, Some(content(600)[..cut].to_vec())));
    }
}

/// An append that fails leaves what was there, and nothing before it is lost.
#[test]
fn an_append_that_is_cut_keeps_what_was_there() {
    let (code, stored, total) = upload(None, true, "APPE");
    assert_eq!((code, stored), (226, Some([OLD, &content(600)].concat())));
    for cut in 0..total {
        let (code, stored, _) = upload(Some(cut), true, "APPE");
        assert!((400..600).contains(&code), "{code} after {cut} of {total} octets");
        let stored = stored.unwrap();
        assert!(stored.starts_with(OLD), "after {cut} of {total} octets");
        assert!([OLD, &content(600)].concat().starts_with(&stored));
    }
}

/// A download whose client leaves after each number of octets. One that has all of it was told so.
#[test]
fn a_download_that_is_cut_is_no_success_for_its_client() {
    for private in [true, false] {
        for stop in 0..=700 {
            let plan = Plan { seed: stop as u64, ..Plan::default() };
            run(plan, move |world| async move {
                world.put("file", &content(600));
                let mode = if private { Mode::Implicit } else { Mode::Explicit };
                let mut client = logged_in(&world, mode, private).await;
                let download = client.retrieve("RETR file", Some(stop)).await.unwrap();
                assert!(content(600).starts_with(&download.octets));
                let all = download.octets.len() == 600;
                assert!(!download.whole || (all && download.code == 226), "{}", download.code);
                assert!(stop <= 600 || download.whole, "it was to be read to its end");
                assert_eq!(client.ask("NOOP").await, Ok(200));
                client.quit().await.unwrap();
            });
        }
    }
}

/// A whole session whose control connection ends after each octet that the client sends: exactly
/// the complete lines were executed, and nothing is left of the rest [SYN-20 XFER-28].
#[test]
fn a_control_connection_cut_at_every_octet() {
    for private in [true, false] {
        let marks = Rc::new(session(None, private));
        let total = marks.last().map_or(0, |mark| mark.sent);
        for cut in 1..total {
            let found = session(Some(cut), private);
            let executed = |mark: &&Mark| mark.sent < cut || (mark.sent == cut && !mark.moves_data);
            let due = marks.iter().rfind(executed).map(|mark| &mark.tree);
            let found = found.last().map(|mark| &mark.tree);
            assert_eq!(found, due, "cut after {cut} of {total} octets");
        }
    }
}

/// A line of the session, or its end.
struct Mark {
    /// Octets that the client had sent by its end.
    sent: usize,
    /// Its effect is that of a data connection, which comes later.
    moves_data: bool,
    /// What storage held when it was answered.
    tree: BTreeMap<String, Option<Vec<u8>>>,
}

impl Mark {
    fn new(client: &Client, world: &World, moves_data: bool) -> Self {
        Self { sent: client.control.sent, moves_data, tree: world.tree() }
    }
}

/// The lines that were answered, and the end.
fn session(cut: Option<usize>, private: bool) -> Vec<Mark> {
    let plan = Plan { seed: cut.unwrap_or(0) as u64, ..Plan::default() };
    run(plan, move |world| async move {
        world.put("old", OLD);
        let mode = if private { Mode::Implicit } else { Mode::Explicit };
        let mut client = Client::connect(&world, mode, cut);
        let mut marks = vec![Mark::new(&client, &world, false)];
        let result = dialogue(&world, &mut client, mode, private, &mut marks).await;
        assert!(cut.is_some() || result.is_ok(), "{result:?}: {}", client.last);
        let sent = client.control.sent;
        // Closed with something unread, it would be reset, and the last line lost with reason.
        while matches!(client.control.receive().await, Ok(Some(_))) {}
        drop(client);
        world.rest().await;
        marks.push(Mark { sent, moves_data: false, tree: world.tree() });
        marks
    })
}

async fn dialogue(
    world: &World,
    client: &mut Client,
    mode: Mode,
    private: bool,
    marks: &mut Vec<Mark>,
) -> Result<(), Gone> {
    client.log_in(mode, private).await?;
    for (line, code) in [
        ("MKD m", 257),
        ("RNFR old", 350),
        ("RNTO m/old", 250),
        ("STOR new", 226),
        ("RETR m/old", 226),
        ("DELE m/old", 250),
        ("RMD m", 250),
    ] {
        let moves_data = line.starts_with("STOR");
        if moves_data {
            assert_eq!(client.store(line, &content(300), None).await?.0, code);
        } else if line.starts_with("RETR") {
            assert_eq!(client.retrieve(line, None).await?.octets, OLD);
        } else {
            client.say(line, code).await?;
        }
        marks.push(Mark::new(client, world, moves_data));
    }
    client.say("QUIT", 221).await
}

/// Sockets that hold a page and a client that takes its time: every octet arrives, in order.
#[test]
fn full_sockets_lose_nothing() {
    let big = content(400_000);
    for seed in 0..40 {
        let weather = Weather { socket_bytes: 4_608, ..Weather::default() };
        let big = big.clone();
        run(Plan { seed, weather, ..Plan::default() }, move |world| async move {
            let private = seed % 2 == 0;
            let mode = if private { Mode::Implicit } else { Mode::Explicit };
            let mut client = logged_in(&world, mode, private).await;
            assert_eq!(client.store("STOR big", &big, None).await.unwrap().0, 226);
            let download = client.retrieve("RETR big", None).await.unwrap();
            assert!(download.octets == big && download.whole && download.code == 226);
            client.quit().await.unwrap();
        });
    }
}
