//! Servers shared by the tests of this program, and small checks many of them use.

use std::net::IpAddr;
use std::sync::{Arc, Weak};

use crate::support::server::BOTH_LISTENERS;
use crate::support::tls::{TLS12, TLS13};
use crate::support::{Client, Listener, Server, Tls};

#[expect(clippy::disallowed_types, reason = "test threads share one server")]
type Slot = std::sync::Mutex<Weak<Server>>;

/// The default policy: TLS demanded on both connections, CCC off.
pub(crate) fn strict() -> Arc<Server> {
    static SLOT: Slot = Slot::new(Weak::new());
    share(&SLOT, "")
}

/// TLS offered but demanded nowhere, CCC allowed.
pub(crate) fn relaxed() -> Arc<Server> {
    static SLOT: Slot = Slot::new(Weak::new());
    let policy = "require_control_tls = false\nrequire_data_tls = false\nallow_ccc = true";
    share(&SLOT, &format!("[policy]\n{policy}"))
}

/// Runs `test` on the explicit and on the implicit port.
#[track_caller]
pub(crate) fn on_both(mut test: impl FnMut(Listener)) {
    for listener in BOTH_LISTENERS {
        test(listener);
    }
}

/// [`on_both`] with a client of TLS 1.2 and with one of TLS 1.3.
#[track_caller]
pub(crate) fn on_both_in_each_version(server: &Server, mut test: impl FnMut(Listener, Tls)) {
    for versions in [TLS12, TLS13] {
        on_both(|listener| test(listener, server.tls().versions(versions)));
    }
}

/// Alice under TLS, in a directory of the test's own: `directory` with the listener's name.
#[track_caller]
pub(crate) fn alice(server: &Server, listener: Listener, directory: &str) -> Client {
    alice_with(server, listener, server.tls(), directory)
}

/// The same with other TLS settings.
#[track_caller]
pub(crate) fn alice_with(server: &Server, listener: Listener, tls: Tls, directory: &str) -> Client {
    Client::open_with(server, listener, tls).login().within(server, &own(directory, listener))
}

/// The same with data connections in clear, for tests where TLS is beside the point.
#[track_caller]
pub(crate) fn alice_clear_data(server: &Server, listener: Listener, directory: &str) -> Client {
    let mut client = alice(server, listener, directory);
    client.expect("PROT C", 200);
    client.private = false;
    client
}

/// Alice in clear on the explicit port of a server that allows it.
#[track_caller]
pub(crate) fn alice_plain(server: &Server, directory: &str) -> Client {
    Client::plain(server).login().within(server, directory)
}

/// Directory name of one test on one listener.
pub(crate) fn own(directory: &str, listener: Listener) -> String {
    format!("{directory}-{listener:?}").to_lowercase()
}

/// Runs a dialogue: each command must be answered with its code.
#[track_caller]
pub(crate) fn dialogue(client: &mut Client, lines: &[(&str, u16)]) {
    for (command, code) in lines {
        client.expect(command, *code);
    }
}

/// The third failure of alice's log-in: 421, a 530 before it or not, and the connection closes.
#[track_caller]
pub(crate) fn fail_for_the_last_time(client: &mut Client) {
    client.expect("USER alice", 331);
    if expect_one_of(client, "PASS wrong", &[421, 530]) == 530 {
        client.expect_reply(421);
    }
    client.expect_close();
}

/// The reply code must be one of these.
#[track_caller]
pub(crate) fn expect_one_of(client: &mut Client, command: &str, codes: &[u16]) -> u16 {
    let reply = client.cmd(command);
    let text = reply.text();
    assert!(codes.contains(&reply.code), "{command} → {} {text}, not in {codes:?}", reply.code);
    reply.code
}

/// 127.0.0.`last`, for clients that come from elsewhere.
pub(crate) fn loopback(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// Starts the variant of a slot unless a running test holds it. The last test that lets go of
/// a server stops it and thereby checks its exit.
fn share(slot: &Slot, config: &str) -> Arc<Server> {
    let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    slot.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Server::builder().toml(config).start());
        *slot = Arc::downgrade(&server);
        server
    })
}
