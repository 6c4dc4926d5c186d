//! Faults that were found elsewhere once, each with what must hold, over many orders of events. In
//! the order of the CHANGELOG:
//!
//! | what was wrong | found by |
//! |---|---|
//! | crowds of silent newcomers | `logins::a_crowd_of_silent_newcomers` |
//! | wrong passwords, from one address or many | `logins::wrong_passwords_lock_nobody_out` |
//! | sessions that come back at once | `logins::a_crowd_that_comes_back` |
//! | connections and descriptors that nobody frees | the end of every run (`World::rest`) |
//! | restart markers behind much; HASH, SIZE and STAT of what is large | `endings::abort_…` |
//! | one user on a disk that hangs | `logins::one_user_on_a_disk_that_hangs` |
//! | ALLO of all there is | `uploads::an_announcement_reserves_a_share` |
//! | strangers at a passive port, `require` | `data_connections` |
//! | tickets that run out | `data_connections::resumption_is_required` |
//! | TLS before the transfer command | `data_connections::tls_before_the_command` |
//! | QUIT and FIN at once; keep-alives behind a transfer | `endings` |
//! | ABOR while storage does not answer | `hung_storage` |
//! | uploads without close_notify, and their words | `uploads::an_upload_without_close_notify` |
//! | a refused upload that ended with a reset | `uploads::a_refused_upload_is_read_to_its_end` |
//! | control characters, links, patterns, 550 and 450, `CWD ~`, rights to names | `names` |
//! | CR LF in TYPE A | `downloads::lines_that_end_in_cr_lf` |
//! | REIN and CCC that lose octets | `random_sessions` |
//! | downloads that do not hear, slow readers that speak, files that shrink | `downloads` |
//! | cut uploads, appends of several, lost names, hidden leftovers | `cuts`, `uploads` |
//! | ports that stay open, and those one user holds | `data_connections` |
//! | homes that are made anew, or gone | `logins` |
//! | sessions that obey a later configuration than their own; accounts that are gone | `reloads` |
//!
//! Not here, because nothing that is simulated decides it: waits of the kernel's TCP (Nagle,
//! delayed acknowledgements: `tests/e2e/small_transfers.rs`), its TLS (`tests/ktls`); what record
//! gets which alert, ALPN (`tests/e2e/alerts.rs`, `tls/tests`); client certificates
//! (`tests/client_certificates.rs`); addresses of a /64, admission, the reserve of descriptors and
//! the sweep, which are the shard's (`tests/e2e/{limits,leftovers}.rs`); signals, io_uring that is
//! refused, locked memory, log and metrics (`tests/e2e/{startup,seccomp,process,metrics}.rs`).

mod data_connections;
mod downloads;
mod endings;
mod logins;
mod names;
mod reloads;
mod uploads;

use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use super::world::{Plan, World, run};
use crate::config::Settings;
use crate::protocol::session::Mode;
use crate::runtime::simulated::Weather;

const SEEDS: u64 = 60;
const CONTENT: &[u8] = &[9; 20_000];

/// How clients come: the listener, whether data connections are under TLS, and whether that is 1.2.
const KINDS: [(Mode, bool, bool); 6] = [
    (Mode::Explicit, false, false),
    (Mode::Explicit, true, false),
    (Mode::Implicit, true, false),
    (Mode::Explicit, true, true),
    (Mode::Implicit, true, true),
    (Mode::Implicit, false, false),
];

/// Clients of each kind, and a disk that takes its time.
fn each(clients: impl AsyncFn(Rc<World>, Client) + Copy + 'static) {
    each_configured(None, clients);
}

fn each_configured(
    configure: Option<fn(&mut Settings)>,
    clients: impl AsyncFn(Rc<World>, Client) + Copy + 'static,
) {
    for (seed, (mode, private, tls12)) in (0..SEEDS).zip(KINDS.into_iter().cycle()) {
        let storage = Duration::from_millis(seed % 10 * 5 + 1);
        let weather = Weather { storage, ..Weather::default() };
        let plan = Plan { seed, weather, tls12, configure, ..Plan::default() };
        run(plan, move |world| async move {
            let mut client = Client::connect(&world, mode, None);
            client.log_in(mode, private).await.unwrap();
            clients(world, client).await;
        });
    }
}

/// More than the sockets of a data connection hold.
fn put_big(world: &World) {
    world.put("big", &vec![3; 2_000_000]);
}
