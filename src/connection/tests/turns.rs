//! For whom a session's tasks work and in which queue they are, which decides with whose they take
//! turns.

use super::client::Client;
use super::world::{CLIENT, Plan, run};
use crate::auth::ClientNetwork;
use crate::protocol::session::Mode;
use crate::runtime::number_of;

/// For the user from the log-in on; for the client's network before and in the handshake, behind a
/// further USER or REIN, and all along where the user has no name of its own.
#[test]
fn a_session_works_for_its_user() {
    let network = number_of(&ClientNetwork::of(CLIENT.into()));
    let [ann, bob] = ["ann", "bob"].map(number_of);
    for (seed, mode) in [(1, Mode::Explicit), (2, Mode::Implicit)] {
        run(Plan { seed, ..Plan::default() }, move |world| async move {
            let mut client = Client::connect(&world, mode, None);
            client.log_in(mode, mode == Mode::Implicit).await.unwrap();
            assert_eq!(world.simulation.worked_for(), [network]);
            client.say("USER ann", 331).await.unwrap();
            client.say("PASS wrong", 530).await.unwrap();
            assert_eq!(world.simulation.worked_for(), [network]);
            client.say("USER ann", 331).await.unwrap();
            client.say("PASS secret", 230).await.unwrap();
            assert_eq!(world.simulation.worked_for(), [network, ann]);
            client.say("USER bob", 331).await.unwrap();
            client.say("PASS secret", 230).await.unwrap();
            let so_far = [network, ann, network, bob];
            assert_eq!(world.simulation.worked_for(), so_far);
            if mode == Mode::Explicit {
                client.say("REIN", 220).await.unwrap();
                assert_eq!(world.simulation.worked_for(), [&so_far[..], &[network]].concat());
            }
            client.quit().await.unwrap();
        });
    }
}

/// In the queue of log-ins until it is a user's: newcomers are held back beside users, not beside
/// one another.
#[test]
fn a_session_is_no_users_before_its_log_in() {
    for (seed, mode) in [(1, Mode::Explicit), (2, Mode::Implicit)] {
        run(Plan { seed, ..Plan::default() }, move |world| async move {
            let mut client = Client::connect(&world, mode, None);
            client.begin_session(mode, true).await.unwrap();
            let before: &[_] = match mode {
                Mode::Explicit => &["logins", "newcomers", "logins"],
                Mode::Implicit => &["newcomers", "logins"],
            };
            client.say("USER ann", 331).await.unwrap();
            client.say("PASS wrong", 530).await.unwrap();
            assert_eq!(world.simulation.worked_in(), before);
            client.say("USER ann", 331).await.unwrap();
            client.say("PASS secret", 230).await.unwrap();
            client.say("NOOP", 200).await.unwrap();
            assert_eq!(world.simulation.worked_in(), [before, &["sessions"]].concat());
            client.say("USER ann", 331).await.unwrap();
            client.say("NOOP", 200).await.unwrap();
            assert_eq!(world.simulation.worked_in(), [before, &["sessions", "logins"]].concat());
            client.quit().await.unwrap();
        });
    }
}
