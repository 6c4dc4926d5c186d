//! Uploads: appends of several clients, rights, announcements, refusals, and what is left of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::Duration;

use super::{CONTENT, SEEDS, each, each_configured};
use crate::config::Settings;
use crate::connection::tests::client::{Client, Gone};
use crate::connection::tests::world::{Plan, World, run, vast_length};
use crate::limits::RESERVE_BYTES_MAX;
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::spawn;

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

/// APPE without the right to overwrite replaces nothing, also when the name is taken meanwhile.
#[test]
fn an_append_to_a_name_that_is_taken_meanwhile() {
    each(async |world, client| {
        client.quit().await.unwrap();
        let mut adder = Client::connect(&world, Mode::Explicit, None);
        adder.log_in_as("adder", Mode::Explicit, true).await.unwrap();
        let mut data = adder.begin("APPE log").await.unwrap();
        data.send(CONTENT).await.unwrap();
        assert_eq!(adder.reply().await, Ok(150));
        world.put_for("limited", b"/log", b"taken ");
        data.end().await.unwrap();
        assert_eq!(adder.reply().await, Ok(226), "{}", adder.last);
        let stored = fs::read(world.path_of("limited", "log")).unwrap();
        assert_eq!(stored, [b"taken ", CONTENT].concat());
        adder.send("STOR log").await.unwrap();
        assert_eq!(adder.reply().await, Ok(553), "{}", adder.last);
        adder.quit().await.unwrap();
    });
}

/// ALLO takes a part of the disk from others, not all that is announced, and gives it back.
#[test]
fn an_announcement_reserves_a_share() {
    each(async |world, mut client| {
        world.put("file", b"old ");
        let octets = || fs::metadata(world.path("file")).unwrap().blocks() * 512;
        client.say("ALLO 200000000", 200).await.unwrap();
        let mut data = client.begin("APPE file").await.unwrap();
        assert_eq!(client.reply().await, Ok(150));
        assert!(octets() <= RESERVE_BYTES_MAX + (1 << 20), "{}", octets());
        data.send(CONTENT).await.unwrap();
        data.end().await.unwrap();
        assert_eq!(client.reply().await, Ok(226));
        assert!(octets() <= 64 << 10, "{}", octets());
        client.quit().await.unwrap();
    });
}

/// A client that sends all before it reads can read why its upload was refused: its connection ends
/// without a reset.
#[test]
fn a_refused_upload_is_read_to_its_end() {
    if vast_length().is_none() {
        return;
    }
    each(async |world, client| {
        let private = client.is_private();
        client.quit().await.unwrap();
        world.furnish();
        let mut ann = Client::connect(&world, Mode::Explicit, None);
        ann.log_in_as("ann", Mode::Explicit, private).await.unwrap();
        let mut data = ann.begin("APPE vast").await.unwrap();
        for _ in 0..100 {
            data.send(CONTENT).await.unwrap();
        }
        data.end().await.unwrap();
        assert_eq!(data.receive().await, Ok(None));
        assert_eq!(ann.final_reply().await, Ok(552), "{}", ann.last);
        ann.quit().await.unwrap();
    });
}

/// [RFC 8446 §6.1] An upload under TLS without close_notify is refused, in words that name the
/// setting that accepts it.
#[test]
fn an_upload_without_close_notify() {
    let upload = async |world: Rc<World>, mut client: Client| {
        let lax = world.context.policy().lax_upload_eof;
        let mut data = client.begin("STOR file").await.unwrap();
        data.send(CONTENT).await.unwrap();
        data.stream.shutdown_write().unwrap();
        let code = client.final_reply().await.unwrap();
        if lax || !client.is_private() {
            assert_eq!(code, 226, "{}", client.last);
            assert_eq!(world.get("file").as_deref(), Some(CONTENT));
        } else {
            assert!(code == 426 && client.last.contains("lax_upload_eof"), "{}", client.last);
            assert_eq!(world.get("file"), None);
        }
        client.quit().await.unwrap();
    };
    each(upload);
    each_configured(Some(|settings| settings.policy.lax_upload_eof = true), upload);
}

/// What a killed server left under a hidden name goes when another upload needs one, what an upload
/// under way has stays, and the directory of such an upload is busy.
#[test]
fn hidden_files_of_the_dead_and_of_the_living() {
    let at_once: fn(&mut Settings) = |settings| settings.policy.leftover_age = Duration::ZERO;
    each_configured(Some(at_once), async |world, mut client| {
        client.say("MKD dir", 257).await.unwrap();
        client.say("CWD dir", 250).await.unwrap();
        let mut first = client.begin("STOU").await.unwrap();
        assert_eq!(client.reply().await, Ok(150), "{}", client.last);
        first.send(CONTENT).await.unwrap();
        let mut other = Client::connect(&world, Mode::Explicit, None);
        other.log_in(Mode::Explicit, false).await.unwrap();
        assert_eq!(other.ask("RMD dir").await, Ok(450), "{}", other.last);
        world.put("dir/.ringftpd-0123abcd.part", b"left");
        other.say("CWD dir", 250).await.unwrap();
        assert_eq!(other.store("STOU", CONTENT, None).await.unwrap().0, 226);
        assert_eq!(world.get("dir/.ringftpd-0123abcd.part"), None);
        other.quit().await.unwrap();
        first.end().await.unwrap();
        assert_eq!(client.reply().await, Ok(226), "{}", client.last);
        let stored = world.tree().into_values().filter(|octets| octets.as_deref() == Some(CONTENT));
        assert_eq!(stored.count(), 2);
        client.quit().await.unwrap();
    });
}
