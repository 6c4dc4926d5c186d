//! Data connections: who gets the transfer, and how long a port stays.

use std::rc::Rc;
use std::time::Duration;

use super::{CONTENT, each, each_configured};
use crate::config::Settings;
use crate::connection::tests::client::{Client, Connection};
use crate::connection::tests::world::{Plan, World, run};
use crate::protocol::policy::DataResumption;
use crate::protocol::session::Mode;

/// Somebody at the client's address is at the port first, and says nothing, makes a handshake, or
/// resumes another session: the client's own connection, which proves itself, gets the transfer.
#[test]
fn a_stranger_is_at_the_port_first() {
    for kind in 0..3 {
        each(async move |world, mut client| {
            if !client.is_private() {
                return;
            }
            assert_eq!(client.store("STOR first", CONTENT, None).await.unwrap().0, 226);
            let mut ann = Client::connect(&world, Mode::Explicit, None);
            ann.log_in_as("ann", Mode::Explicit, true).await.unwrap();
            let port = client.port().await.unwrap();
            let mut stranger = client.data_at(port, None).await.unwrap();
            match kind {
                0 => {}
                1 => stranger.start_tls(&world.client_tls()).await.unwrap(),
                _ => stranger.start_tls(&ann.config).await.unwrap(),
            }
            let mut data = client.data_at(port, None).await.unwrap();
            client.send("STOR second").await.unwrap();
            client.secure(&mut data).await.unwrap();
            data.send(CONTENT).await.unwrap();
            data.end().await.unwrap();
            assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
            assert_eq!(world.get("second").as_deref(), Some(CONTENT));
            client.quit().await.unwrap();
            ann.quit().await.unwrap();
        });
    }
}

/// Nobody can tell which of two without proof is the client's.
#[test]
fn of_two_without_proof_neither_gets_it() {
    each(async |world, mut client| {
        if !client.is_private() {
            return;
        }
        let port = client.port().await.unwrap();
        let mut both = Vec::new();
        for _ in 0..2 {
            let mut data = client.data_at(port, None).await.unwrap();
            data.start_tls(&world.client_tls()).await.unwrap();
            both.push(data);
        }
        client.send("STOR never").await.unwrap();
        assert_eq!(client.final_reply().await, Ok(522), "{}", client.last);
        assert_eq!(world.get("never"), None);
        client.quit().await.unwrap();
    });
}

/// A data connection of a client that does not resume, for `line`.
async fn begin_unresumed(world: &Rc<World>, client: &mut Client, line: &str) -> Connection {
    let mut data = client.data(None).await.unwrap();
    client.send(line).await.unwrap();
    data.start_tls(&world.client_tls()).await.unwrap();
    data
}

/// Who has resumed must go on so: without, neither an upload nor a download is the client's.
#[test]
fn who_has_resumed_must() {
    each(async |world, mut client| {
        if !client.is_private() {
            return;
        }
        assert_eq!(client.store("STOR file", CONTENT, None).await.unwrap().0, 226);
        for line in ["RETR file", "STOR never", "MLSD"] {
            let mut stranger = begin_unresumed(&world, &mut client, line).await;
            let octets = stranger.receive().await;
            assert!(!matches!(octets, Ok(Some(_))), "{line}");
            drop(stranger);
            assert_eq!(client.final_reply().await, Ok(522), "{line}: {}", client.last);
        }
        assert_eq!(world.get("never"), None);
        let download = client.retrieve("RETR file", None).await.unwrap();
        assert!(download.code == 226 && download.octets == CONTENT);
        client.quit().await.unwrap();
    });
}

const REQUIRE: fn(&mut Settings) =
    |settings| settings.policy.data_resumption = DataResumption::Require;

/// `data_resumption = "require"` refuses what does not resume from the first transfer on, and a
/// client never runs out of tickets that it uses once: not by uploads, which bring it none before
/// their end, not by refusals.
#[test]
fn resumption_is_required() {
    each_configured(Some(REQUIRE), async |world, mut client| {
        if !client.is_private() {
            return;
        }
        let stranger = begin_unresumed(&world, &mut client, "STOR never").await;
        drop(stranger);
        assert_eq!(client.final_reply().await, Ok(522), "{}", client.last);
        assert_eq!(world.get("never"), None);
        for turn in 0..12 {
            let (code, _) = client.store("STOR file", CONTENT, None).await.unwrap();
            assert_eq!(code, 226, "upload {turn}: {}", client.last);
        }
        for turn in 0..12 {
            let download = client.retrieve("RETR file", None).await.unwrap();
            assert_eq!(download.code, 226, "download {turn}: {}", client.last);
        }
        for turn in 0..12 {
            let mut data = client.data(None).await.unwrap();
            client.secure(&mut data).await.unwrap();
            client.send("STOR absent/file").await.unwrap();
            assert_eq!(client.reply().await, Ok(553), "refusal {turn}: {}", client.last);
        }
        assert_eq!(client.store("STOR file", CONTENT, None).await.unwrap().0, 226);
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

/// A passive port that no transfer makes use of closes after `limits.data_timeout`.
#[test]
fn a_passive_port_without_a_transfer_closes() {
    each(async |world, mut client| {
        let port = client.port().await.unwrap();
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
        // Those that are refused have waited for a moment each.
        for _ in 0..78 {
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
        ann.log_in_as("ann", Mode::Explicit, false).await.unwrap();
        ann.say("EPSV", 229).await.unwrap();
    });
}
