//! A shard that shuts down at any moment of a session.

use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Gone};
use super::world::{Plan, World, run};
use crate::clock;
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::{sleep_until, spawn};

const CONTENT: &[u8] = &[7; 50_000];

async fn dialogue(
    client: &mut Client,
    private: bool,
    acknowledged: &mut Vec<String>,
) -> Result<(), Gone> {
    let mode = if private { Mode::Implicit } else { Mode::Explicit };
    client.log_in(mode, private).await?;
    for number in 0..4 {
        let name = format!("file{number}");
        if client.store(&format!("STOR {name}"), CONTENT, None).await?.0 == 226 {
            acknowledged.push(name.clone());
            let download = client.retrieve(&format!("RETR {name}"), None).await?;
            assert!(!download.whole || download.octets == CONTENT);
        }
    }
    client.say("QUIT", 221).await
}

/// The shutdown begins after `after`, and its deadline passes after `patience` more: what was
/// acknowledged is stored, what was not is whole or absent, and all ends.
fn shut_down(seed: u64, after: Duration, patience: Duration) -> usize {
    let weather = Weather { socket_bytes: 8_192, ..Weather::default() };
    run(Plan { seed, weather, ..Plan::default() }, move |world: Rc<World>| async move {
        let private = seed.is_multiple_of(2);
        let mode = if private { Mode::Implicit } else { Mode::Explicit };
        let mut client = Client::connect(&world, mode, None);
        let ending = spawn({
            let context = world.context.clone();
            async move {
                sleep_until(clock::now() + after).await;
                context.drain.set();
                sleep_until(clock::now() + patience).await;
                context.cut.set();
            }
        });
        let start = clock::now();
        let mut acknowledged = Vec::new();
        let result = dialogue(&mut client, private, &mut acknowledged).await;
        // The reason may still be on its way when a data connection finds its port closed.
        while result.is_err() && client.reply().await.is_ok() {}
        // Nothing can be said in the middle of a handshake.
        let silent = private && client.last.is_empty();
        let told = client.last.starts_with("421") || client.last.starts_with("221") || silent;
        // Whoever is left without a reply was in the middle of something at the deadline.
        let at_the_deadline = clock::now() - start >= after + patience;
        assert!(result.is_ok() || told || at_the_deadline, "{result:?}: {}", client.last);
        drop(client);
        ending.await;
        world.context.tasks.idle().await;
        let tree = world.tree();
        for name in &acknowledged {
            assert_eq!(tree[name].as_deref(), Some(CONTENT), "{name} was acknowledged");
        }
        for (name, octets) in &tree {
            assert_eq!(octets.as_deref(), Some(CONTENT), "half of {name}");
        }
        acknowledged.len()
    })
}

#[test]
fn at_any_moment() {
    let mut some = [0; 5];
    for step in 0..240 {
        let after = Duration::from_micros(step * 331);
        let patience = Duration::from_millis(if step % 3 == 0 { 1 } else { 30_000 });
        some[shut_down(step, after, patience)] += 1;
    }
    assert!(some.iter().filter(|&&runs| runs > 0).count() >= 3, "always at one permit: {some:?}");
}
