//! Reloads: what a session keeps of its beginning, and who may not go on.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::{CONTENT, SEEDS, each};
use crate::connection::tests::client::{Client, Gone};
use crate::connection::tests::world::{Plan, World, run};
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::spawn;

/// A session and its data connections go by the rules that there were when it began.
#[test]
fn a_session_keeps_its_rules() {
    each(async |world, mut client| {
        world.reload(None, |settings| settings.policy.data_timeout = Duration::from_secs(1));
        let port = client.port().await.unwrap();
        world.pause(Duration::from_secs(3)).await;
        let mut data = client.data_at(port, None).await.unwrap();
        client.send("STOR file").await.unwrap();
        assert_eq!(client.reply().await, Ok(150), "{}", client.last);
        client.send_to(&mut data, CONTENT).await.unwrap();
        data.end().await.unwrap();
        assert_eq!(client.final_reply().await, Ok(226), "{}", client.last);
        client.quit().await.unwrap();
        let mut later = Client::connect(&world, Mode::Explicit, None);
        later.log_in(Mode::Explicit, false).await.unwrap();
        let port = later.port().await.unwrap();
        world.pause(Duration::from_secs(3)).await;
        assert!(later.data_at(port, None).await.is_err());
        later.quit().await.unwrap();
    });
}

/// An account that a reload takes away, at any moment of a log-in, between commands or during a
/// transfer: no log-in, 421 to the next command, and a transfer that runs ends well. Nobody else
/// notices.
#[test]
fn an_account_that_is_taken_away() {
    for seed in 0..SEEDS {
        let weather = Weather { storage: Duration::from_millis(20), ..Weather::default() };
        run(Plan { seed, weather, ..Plan::default() }, move |world| async move {
            let mut bob = Client::connect(&world, Mode::Explicit, None);
            bob.log_in_as("bob", Mode::Explicit, false).await.unwrap();
            let gone = Rc::new(Cell::new(false));
            spawn({
                let (world, gone) = (world.clone(), gone.clone());
                async move {
                    world.pause(Duration::from_millis(seed * 3)).await;
                    world.reload(Some("ann"), |_| {});
                    gone.set(true);
                }
            })
            .detach();
            let mut ann = Client::connect(&world, Mode::Explicit, None);
            ann.begin_session(Mode::Explicit, seed.is_multiple_of(2)).await.unwrap();
            if log_in(&mut ann, &gone).await.unwrap() {
                upload_until_421(&world, &mut ann, &gone).await.unwrap();
                assert_eq!(ann.reply().await, Err(Gone::Closed));
            } else {
                ann.quit().await.unwrap();
            }
            bob.say("PWD", 257).await.unwrap();
            bob.quit().await.unwrap();
        });
    }
}

/// Whether ann is let in.
async fn log_in(ann: &mut Client, gone: &Cell<bool>) -> Result<bool, Gone> {
    ann.say("USER ann", 331).await?;
    let late = gone.get();
    match ann.ask("PASS secret").await? {
        230 => assert!(!late, "let in although there is no such account"),
        code => assert_eq!((code, gone.get()), (530, true), "{}", ann.last),
    }
    Ok(ann.last.starts_with("230"))
}

async fn upload_until_421(
    world: &Rc<World>,
    ann: &mut Client,
    gone: &Cell<bool>,
) -> Result<(), Gone> {
    loop {
        let late = gone.get();
        if ann.ask("EPSV").await? == 421 {
            break;
        }
        assert!(ann.last.starts_with("229") && !late, "{}", ann.last);
        let port = ann.last.split('|').nth(3).unwrap().parse().unwrap();
        let mut data = ann.data_at(port, None).await?;
        let late = gone.get();
        if ann.ask("STOR file").await? == 421 {
            break;
        }
        assert!(ann.last.starts_with("150") && !late, "{}", ann.last);
        ann.send_to(&mut data, CONTENT).await?;
        data.end().await?;
        assert_eq!(ann.reply().await?, 226, "{}", ann.last);
        assert_eq!(std::fs::read(world.path_of("ann", "file")).unwrap(), CONTENT);
    }
    assert!(gone.get(), "{}", ann.last);
    Ok(())
}
