//! Connections that end at each octet.

use std::rc::Rc;
use std::time::Duration;

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
    for cut in (0..total).step_by(7) {
        let (code, stored, _) = upload(Some(cut), true, "APPE");
        assert!((400..600).contains(&code), "{code} after {cut} of {total} octets");
        let stored = stored.unwrap();
        assert!(stored.starts_with(OLD), "after {cut} of {total} octets");
        assert!([OLD, &content(600)].concat().starts_with(&stored));
    }
}

/// A download whose client goes after so many octets. A client that has all of it has been told so.
#[test]
fn a_download_that_is_cut_is_no_success_for_its_client() {
    for private in [true, false] {
        for stop in (0..=700).step_by(if private { 7 } else { 1 }) {
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

/// A whole session whose control connection ends after each octet that the client sends.
#[test]
fn a_control_connection_that_is_cut_leaves_nothing() {
    for private in [true, false] {
        let total = session(None, private);
        for cut in (1..total).step_by(if private { 3 } else { 1 }) {
            session(Some(cut), private);
        }
    }
}

/// Octets sent over the control connection.
fn session(cut: Option<usize>, private: bool) -> usize {
    let plan = Plan { seed: cut.unwrap_or(0) as u64, ..Plan::default() };
    run(plan, move |world| async move {
        world.put("old", OLD);
        let mode = if private { Mode::Implicit } else { Mode::Explicit };
        let mut client = Client::connect(&world, mode, cut);
        let mut acknowledged = Vec::new();
        let result = dialogue(&mut client, mode, private, &mut acknowledged).await;
        assert!(cut.is_some() || result.is_ok(), "{result:?}: {}", client.last);
        let sent = client.control.sent;
        drop(client);
        world.pause(Duration::from_secs(10)).await;
        let tree = world.tree();
        for name in acknowledged {
            assert_eq!(tree[name].as_deref(), Some(&content(300)[..]), "{name} was acknowledged");
        }
        for (name, octets) in tree {
            let expected = if name == "old" { OLD } else { &content(300) };
            // A directory has no octets.
            assert!(octets.is_none_or(|octets| octets == expected), "half of {name}");
        }
        sent
    })
}

async fn dialogue(
    client: &mut Client,
    mode: Mode,
    private: bool,
    acknowledged: &mut Vec<&'static str>,
) -> Result<(), Gone> {
    client.log_in(mode, private).await?;
    client.say("MKD directory", 257).await?;
    for name in ["first", "second"] {
        if client.store(&format!("STOR {name}"), &content(300), None).await?.0 == 226 {
            acknowledged.push(name);
        }
    }
    assert_eq!(client.retrieve("RETR old", None).await?.octets, OLD);
    client.say("QUIT", 221).await
}

/// Sockets that hold a page and a client that takes its time: every octet arrives, in order.
#[test]
fn full_sockets_lose_nothing() {
    let big = content(400_000);
    for seed in 0..40 {
        let weather = Weather { socket_bytes: 4_608, ..Weather::default() };
        let big = big.clone();
        run(Plan { seed, weather }, move |world| async move {
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
