//! Clients with random dialogues on a slow disk, each in a directory of its own, and a model of
//! what must be in it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::client::{Client, Gone};
use super::world::{Plan, World, run};
use crate::clock;
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::spawn;

const NAMES: [&str; 3] = ["one", "two", "three"];

/// What one client's directory must hold, by name.
type Model = BTreeMap<&'static str, Vec<u8>>;

/// How often what was reached, over all runs.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    uploads: usize,
    failed_uploads: usize,
    downloads: usize,
    aborted: usize,
    cut: usize,
}

struct Actor {
    world: Rc<World>,
    client: Client,
    directory: String,
    model: Model,
    reached: Reached,
}

impl Actor {
    fn below(&self, bound: u64) -> usize {
        usize::try_from(self.world.simulation.below(bound)).unwrap()
    }

    fn content(&self) -> Vec<u8> {
        let length = self.below([0, 10, 3_000, 70_000][self.below(4)].max(1));
        let first = self.below(256);
        (0..length).map(|index| u8::try_from((first + index) % 251).unwrap()).collect()
    }

    async fn step(&mut self) -> Result<(), Gone> {
        let name = NAMES[self.below(3)];
        match self.below(10) {
            0..=3 => self.store("STOR", name).await,
            4 => self.store("APPE", name).await,
            5 | 6 => self.retrieve(name).await,
            7 => self.remove(name).await,
            8 => self.rename(name, NAMES[self.below(3)]).await,
            _ => self.abort(name).await,
        }
    }

    async fn store(&mut self, verb: &str, name: &'static str) -> Result<(), Gone> {
        let content = self.content();
        let cut = (self.below(4) == 0).then(|| self.below(2_500));
        // In clear a cut is an end like any other.
        let cut = cut.filter(|_| self.client.is_private());
        let before = self.model.get(name).cloned();
        let (code, _) = self.client.store(&format!("{verb} {name}"), &content, cut).await?;
        let appended = [before.clone().unwrap_or_default(), content.clone()].concat();
        let after = if verb == "APPE" { appended } else { content };
        if code == 226 {
            self.reached.uploads += 1;
            self.model.insert(name, after);
            return Ok(());
        }
        self.reached.failed_uploads += 1;
        assert!(cut.is_some(), "{code} without cause: {}", self.client.last);
        let stored = self.stored(name);
        if let (true, Some(before)) = (verb == "APPE", &before) {
            // An append in permit leaves what had come (README).
            let stored = stored.unwrap();
            assert!(after.starts_with(&stored) && stored.len() >= before.len());
            self.model.insert(name, stored);
        } else {
            assert_eq!(stored, before, "{verb} {name} failed and changed it");
        }
        Ok(())
    }

    fn stored(&self, name: &str) -> Option<Vec<u8>> {
        self.world.get(&format!("{}/{name}", self.directory))
    }

    async fn retrieve(&mut self, name: &str) -> Result<(), Gone> {
        let download = self.client.retrieve(&format!("RETR {name}"), None).await?;
        let Some(content) = self.model.get(name) else {
            assert_eq!(download.code, 550, "{}", self.client.last);
            return Ok(());
        };
        assert!(download.code == 226 && download.whole, "{}", self.client.last);
        assert!(download.octets == *content, "{name} is not what was stored");
        self.reached.downloads += 1;
        Ok(())
    }

    async fn remove(&mut self, name: &str) -> Result<(), Gone> {
        let there = self.model.remove(name).is_some();
        self.client.say(&format!("DELE {name}"), if there { 250 } else { 550 }).await
    }

    async fn rename(&mut self, from: &'static str, to: &'static str) -> Result<(), Gone> {
        let Some(content) = self.model.get(from).cloned() else {
            return self.client.say(&format!("RNFR {from}"), 550).await;
        };
        self.client.say(&format!("RNFR {from}"), 350).await?;
        self.client.say(&format!("RNTO {to}"), 250).await?;
        self.model.remove(from);
        self.model.insert(to, content);
        Ok(())
    }

    /// ABOR behind an upload that goes on: 426 and 226, or the upload's own 226 and 226.
    async fn abort(&mut self, name: &'static str) -> Result<(), Gone> {
        let content = self.content();
        let mut data = self.client.data(None).await?;
        self.client.send(&format!("STOR {name}")).await?;
        let sent = self.client.send_to(&mut data, &content).await;
        if self.below(2) == 0 {
            let span = Duration::from_micros(self.world.simulation.below(20_000));
            self.world.pause(span).await;
        }
        self.client.send("ABOR").await?;
        let first = self.client.final_reply().await?;
        let second = self.client.reply().await?;
        assert!(matches!((first, second), (426 | 226, 226 | 225)), "{first} {second}");
        drop(data);
        let (stored, before) = (self.stored(name), self.model.get(name).cloned());
        if first == 226 {
            assert!(sent.is_ok() && stored.as_deref() == Some(&content[..]));
            self.model.insert(name, content);
        } else {
            self.reached.aborted += 1;
            assert_eq!(stored, before, "an aborted upload changed {name}");
        }
        Ok(())
    }
}

async fn act(world: Rc<World>, number: usize) -> Reached {
    let simulation = world.simulation.clone();
    let private = simulation.below(2) == 0;
    let mode = if simulation.below(2) == 0 { Mode::Implicit } else { Mode::Explicit };
    let directory = format!("client{number}");
    let cut = (simulation.below(2) == 0).then(|| usize::try_from(simulation.below(2_000)).unwrap());
    let mut client = Client::connect(&world, mode, None);
    client.log_in(mode, private).await.unwrap();
    client.say(&format!("MKD {directory}"), 257).await.unwrap();
    client.say(&format!("CWD {directory}"), 250).await.unwrap();
    client.control.cut = cut.map(|cut| cut + client.control.sent + 1);
    let reached = Reached::default();
    let mut actor = Actor { world, client, directory, model: Model::new(), reached };
    for _ in 0..12 {
        if let Err(gone) = actor.step().await {
            // What the cut found half done is between its two states; the world checks the rest.
            assert_eq!(gone, Gone::Cut);
            actor.reached.cut += 1;
            return actor.reached;
        }
        for name in NAMES {
            let stored = actor.stored(name);
            assert!(stored == actor.model.get(name).cloned(), "{name} is not as the model has it");
        }
    }
    let Actor { client, reached, .. } = actor;
    client.quit().await.unwrap_or_else(|gone| assert_eq!(gone, Gone::Cut));
    reached
}

#[test]
fn many_clients_on_a_slow_disk() {
    let mut all = Reached::default();
    for seed in 0..150 {
        let weather = Weather {
            storage: Duration::from_millis(seed % 30 + 1),
            stuck_one_in: if seed % 3 == 0 { 40 } else { 0 },
            stuck: Duration::from_secs(20),
            socket_bytes: if seed % 2 == 0 { 0 } else { 16 * 1024 },
            ..Weather::default()
        };
        let reached = run(Plan { seed, weather, ..Plan::default() }, |world| async move {
            let actors = [0, 1, 2].map(|number| spawn(act(world.clone(), number)));
            let mut all = Vec::new();
            for actor in actors {
                all.push(actor.await);
            }
            all
        });
        for reached in reached {
            all.uploads += reached.uploads;
            all.failed_uploads += reached.failed_uploads;
            all.downloads += reached.downloads;
            all.aborted += reached.aborted;
            all.cut += reached.cut;
        }
    }
    let Reached { uploads, failed_uploads, downloads, aborted, cut } = all;
    assert!([uploads, failed_uploads, downloads, aborted, cut].iter().all(|&n| n > 20), "{all:?}");
}

/// A seed decides everything but the octets of keys and the numbers of ports: two runs draw as many
/// random numbers, and as much time passes.
#[test]
fn a_seed_repeats() {
    for seed in 0..8 {
        let took = || {
            run(Plan { seed, ..Plan::default() }, |world| async move {
                let start = clock::now();
                let actors = [0, 1].map(|number| spawn(act(world.clone(), number)));
                for actor in actors {
                    actor.await;
                }
                (clock::now() - start, world.simulation.below(u64::MAX))
            })
        };
        assert_eq!(took(), took(), "seed {seed}");
    }
}
