//! Log-ins and newcomers: homes, turns of password checks, and crowds of handshakes.

use std::rc::Rc;
use std::time::Duration;

use super::{CONTENT, SEEDS, each};
use crate::clock;
use crate::config::Settings;
use crate::connection::tests::client::{Client, Gone};
use crate::connection::tests::world::{Plan, World, run};
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;
use crate::runtime::{Task, race, spawn};

/// A log-in sees the home that is there by then; open sessions keep the one they began with.
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

/// A home that is gone is 530 for its user alone, until it is there.
#[test]
fn a_home_that_is_gone() {
    each(async |world, client| {
        client.quit().await.unwrap();
        std::fs::rename(world.path_of("ann", ""), world.path_of("elsewhere", "")).unwrap();
        let mut ann = Client::connect(&world, Mode::Explicit, None);
        ann.begin_session(Mode::Explicit, false).await.unwrap();
        ann.say("USER ann", 331).await.unwrap();
        assert_eq!(ann.ask("PASS secret").await, Ok(530), "{}", ann.last);
        std::fs::create_dir(world.path_of("ann", "")).unwrap();
        ann.say("USER ann", 331).await.unwrap();
        ann.say("PASS secret", 230).await.unwrap();
        ann.quit().await.unwrap();
    });
}

/// The longest time that a password check takes here.
const CHECK: Duration = Duration::from_millis(40);

const CROWD: u8 = 120;

/// A crowd that sends wrong passwords, from as many addresses; each tries until it is answered.
fn guess(world: &Rc<World>, addresses: u8) -> Vec<Task<Result<(), Gone>>> {
    let guess = |number: u8| {
        let world = world.clone();
        spawn(async move {
            let address = [192, 0, 2, 100 + number % addresses];
            let mut client = Client::connect_from(address, &world, Mode::Explicit);
            client.begin_session(Mode::Explicit, false).await?;
            let name =
                if number.is_multiple_of(2) { "ann".to_owned() } else { format!("no{number}") };
            client.say(&format!("USER {name}"), 331).await?;
            client.say("PASS wrong", 530).await?;
            client.quit().await
        })
    };
    (0..CROWD).map(guess).collect()
}

/// Wrong passwords from one address, or from many, keep no log-in from elsewhere waiting.
#[test]
fn wrong_passwords_lock_nobody_out() {
    for (seed, addresses) in (0..SEEDS / 3).zip([1, 40].into_iter().cycle()) {
        let weather = Weather { storage: CHECK, ..Weather::default() };
        let configure: fn(&mut Settings) =
            |settings| settings.limits.remember_logins = Duration::ZERO;
        let plan = Plan { seed, weather, configure: Some(configure), ..Plan::default() };
        run(plan, move |world| async move {
            let crowd = guess(&world, addresses);
            // One wrong password of each address is known by then.
            world.pause(CHECK * u32::from(addresses)).await;
            for mode in [Mode::Explicit, Mode::Implicit] {
                let mut ann = Client::connect(&world, mode, None);
                ann.begin_session(mode, mode == Mode::Implicit).await.unwrap();
                ann.say("USER ann", 331).await.unwrap();
                let start = clock::now();
                ann.say("PASS secret", 230).await.unwrap();
                let took = clock::now() - start;
                assert!(took < CHECK * 4, "{took:?} beside {addresses} addresses");
                ann.quit().await.unwrap();
            }
            drop(crowd);
        });
    }
}

/// Sessions that come back at once are all let in, and pay for few checks.
#[test]
fn a_crowd_that_comes_back() {
    for seed in 0..SEEDS / 3 {
        let weather = Weather { storage: CHECK, ..Weather::default() };
        run(Plan { seed, weather, ..Plan::default() }, |world| async move {
            let come = |_| {
                let world = world.clone();
                spawn(async move {
                    let mut client = Client::connect(&world, Mode::Explicit, None);
                    client.log_in_as("ann", Mode::Explicit, false).await?;
                    client.quit().await
                })
            };
            let start = clock::now();
            for session in (0..200).map(come).collect::<Vec<_>>() {
                session.await.unwrap();
            }
            let counters = &world.context.counters;
            let checked = counters.logins.get() - counters.logins_remembered.get();
            assert!((1..=3).contains(&checked), "{checked} checks");
            assert_eq!(counters.logins_overloaded.get(), 0);
            let took = clock::now() - start;
            assert!(took < Duration::from_secs(1), "{took:?}");
        });
    }
}

/// Silent connections in a crowd, and those that stop behind their ClientHello, make room for who
/// waits, oldest first; an established session notices nothing.
#[test]
fn a_crowd_of_silent_newcomers() {
    for seed in 0..SEEDS / 3 {
        let configure: fn(&mut Settings) = |settings| settings.limits.handshakes = 2;
        let plan = Plan { seed, configure: Some(configure), ..Plan::default() };
        run(plan, move |world| async move {
            let mut inside = Client::connect(&world, Mode::Implicit, None);
            inside.log_in(Mode::Implicit, true).await.unwrap();
            let mut crowd = Vec::new();
            for number in 0..6 {
                let mut client = Client::connect_from([192, 0, 2, 9], &world, Mode::Implicit);
                if seed % 2 == 0 && number % 2 == 0 {
                    client.control.say_hello(&world.client_tls()).await.unwrap();
                }
                crowd.push(client);
            }
            world.pause(Duration::from_millis(10)).await;
            let start = clock::now();
            let coming = spawn({
                let world = world.clone();
                async move {
                    let mut client = Client::connect(&world, Mode::Implicit, None);
                    client.log_in(Mode::Implicit, true).await.unwrap();
                    client.quit().await.unwrap();
                }
            });
            let nagging = async {
                loop {
                    let asked = clock::now();
                    assert_eq!(inside.ask("NOOP").await, Ok(200));
                    assert!(clock::now() - asked < Duration::from_millis(50));
                    world.pause(Duration::from_millis(100)).await;
                }
            };
            race(coming, nagging).await;
            let took = clock::now() - start;
            let most = Duration::from_secs(if seed % 2 == 0 { 5 } else { 2 });
            assert!(took < most, "{took:?}");
            assert!(world.context.counters.handshakes_shed.get() >= 5);
            assert!(world.context.counters.handshakes_most.get() <= 2);
            inside.quit().await.unwrap();
        });
    }
}

/// File work of one user that hangs holds some of the helper threads; log-ins and file work of
/// others go on at once.
#[test]
fn one_user_on_a_disk_that_hangs() {
    each(async |world, mut client| {
        let mut hanging = Vec::new();
        for number in 0..12 {
            let mut ann = Client::connect(&world, Mode::Explicit, None);
            ann.log_in_as("ann", Mode::Explicit, false).await.unwrap();
            hanging.push((number, ann));
        }
        let hung = Duration::from_secs(60);
        world.simulation.change(|weather| (weather.stuck_one_in, weather.stuck) = (1, hung));
        for (number, ann) in &mut hanging {
            ann.send(&format!("MKD {number}")).await.unwrap();
        }
        world.pause(Duration::from_millis(5)).await;
        world.simulation.change(|weather| weather.stuck_one_in = 0);
        let start = clock::now();
        client.say("MKD mine", 257).await.unwrap();
        let mut other = Client::connect(&world, Mode::Explicit, None);
        other.log_in_as("bob", Mode::Explicit, false).await.unwrap();
        other.quit().await.unwrap();
        let took = clock::now() - start;
        assert!(took < Duration::from_millis(400), "{took:?}");
        for (_, mut ann) in hanging {
            assert_eq!(ann.reply().await, Ok(257), "{}", ann.last);
            ann.quit().await.unwrap();
        }
        client.quit().await.unwrap();
    });
}
