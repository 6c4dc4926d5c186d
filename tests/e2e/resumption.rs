//! TLS session resumption of data connections under each policy (RFC 4217 §10.2)
//! \[DTLS-11, PASV-06, PASV-06b, DTLS-06c\].

use crate::support::server::BOTH_LISTENERS;
use crate::support::tls::{TLS12, TLS13};
use crate::support::wire::End;
use crate::support::{Client, Listener, Server, Tls, wait_until};

const VERSIONS: [&[&rustls::SupportedProtocolVersion]; 2] = [TLS12, TLS13];

fn server(policy: &str) -> Server {
    let server = Server::builder().toml(&format!("[tls]\ndata_resumption = \"{policy}\"")).start();
    std::fs::write(server.root().join("file"), "content").unwrap();
    server
}

/// A download that reports whether its data connection was resumed.
#[track_caller]
fn fetch(client: &mut Client) -> bool {
    let data = client.begin("RETR file");
    let resumed = data.resumed();
    assert_eq!(client.receive(data), b"content");
    resumed
}

#[track_caller]
fn store(client: &mut Client, name: &str) -> bool {
    let data = client.begin(format!("STOR {name}"));
    let resumed = data.resumed();
    client.deliver(data, b"content");
    resumed
}

/// The server must end the data connection without a byte of content, say 522, and go on.
#[track_caller]
fn refused(client: &mut Client, command: &str) {
    let mut data = client.passive();
    client.expect(command, 150);
    let tls = client.data_tls.clone();
    if data.handshake(&tls).is_ok() {
        // In TLS 1.3 the client is done before the server has judged.
        let (bytes, end) = data.read_to_end();
        assert!(bytes.is_empty(), "content over a refused session: {}", bytes.escape_ascii());
        // Never a reset: clients would tell of that, and not of the reply. A download that failed
        // has no close_notify.
        let told = if command.starts_with("STOR") { End::CloseNotify } else { End::Fin };
        assert_eq!(end, told, "{command}");
    }
    let reply = client.expect_reply(522);
    assert!(reply.text().to_lowercase().contains("resum"), "no reason: {}", reply.text());
    client.expect("NOOP", 200);
}

#[test]
fn off_never_resumes() {
    let server = server("off");
    for versions in VERSIONS {
        for listener in BOTH_LISTENERS {
            let tls = server.tls().versions(versions);
            let mut client = Client::open_with(&server, listener, tls.clone()).login();
            assert!(!fetch(&mut client) && !store(&mut client, "up"));
            client.quit();
            // Nor does the next control connection.
            let again = Client::open_with(&server, listener, tls);
            assert!(!again.wire.resumed());
            again.quit();
        }
    }
}

#[test]
fn prefer_resumes_and_demands_nothing() {
    let server = server("prefer");
    for versions in VERSIONS {
        for listener in BOTH_LISTENERS {
            let tls = server.tls().versions(versions);
            let mut client = Client::open_with(&server, listener, tls.clone()).login();
            assert!(fetch(&mut client) && fetch(&mut client) && store(&mut client, "up"));
            client.quit();
            let mut client = Client::open_with(&server, listener, tls.clone().fresh()).login();
            client.data_tls = tls.clone().fresh();
            assert!(!fetch(&mut client));
            client.data_tls = tls.clone().no_resumption();
            assert!(!fetch(&mut client) && !store(&mut client, "up"));
            client.quit();
            let again = Client::open_with(&server, listener, tls);
            assert!(again.wire.resumed(), "the next control connection was not resumed");
            again.quit();
        }
    }
}

#[test]
fn require_accepts_only_its_own_session() {
    let server = server("require");
    for versions in VERSIONS {
        for listener in BOTH_LISTENERS {
            let tls = server.tls().versions(versions);
            let mut client = Client::open_with(&server, listener, tls.clone()).login();
            assert!(fetch(&mut client) && store(&mut client, "up"));

            // A full handshake.
            client.data_tls = tls.clone().no_resumption();
            refused(&mut client, "RETR file");
            refused(&mut client, "STOR none");
            refused(&mut client, "MLSD");

            // A ticket of another session of the same user from the same address.
            let other = Client::open_with(&server, listener, tls.clone().fresh()).login();
            client.data_tls = other.tls.clone();
            refused(&mut client, "RETR file");
            refused(&mut client, "STOR none");
            other.quit();

            // A ticket of a session that is over.
            let past = Client::open_with(&server, listener, tls.clone().fresh()).login();
            client.data_tls = past.tls.clone();
            past.quit();
            refused(&mut client, "RETR file");

            client.data_tls = client.tls.clone();
            assert!(fetch(&mut client), "the session does not go on after refusals");
            assert!(!server.root().join("none").exists(), "a refused upload left something");
            client.quit();
        }
    }
}

/// Who connects does not matter: the server is the TLS server (RFC 4217 §7) and asks the same.
#[test]
fn require_holds_in_active_mode() {
    let server = server("require");
    for versions in VERSIONS {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Explicit, tls.clone()).login();
        let listener = client.port();
        client.expect("RETR file", 150);
        let mut data = crate::support::client::accept(&listener);
        client.secure(&mut data);
        assert!(data.resumed());
        assert_eq!(client.receive(data), b"content");

        let listener = client.port();
        client.expect("RETR file", 150);
        let mut data = crate::support::client::accept(&listener);
        if data.handshake(&tls.no_resumption()).is_ok() {
            assert_eq!(data.read_to_end(), (Vec::new(), End::Fin));
        }
        client.expect_reply(522);
        client.quit();
    }
}

/// After REIN the session is a new one: its tickets are new, the old ones are another session's.
#[test]
fn rein_starts_another_session() {
    let server = server("require");
    let old = server.tls().versions(TLS13);
    let mut client = Client::open_with(&server, Listener::Implicit, old.clone()).login();
    assert!(fetch(&mut client));
    client.expect("REIN", 220);
    client.end_tls();
    client.use_tls(old.clone().fresh());
    client.start_tls();
    client.expect_reply(220);
    client.private = true;
    let mut client = client.login();
    assert!(fetch(&mut client));
    client.data_tls = old;
    refused(&mut client, "RETR file");
    client.quit();
}

/// Tickets hold on every shard: many sessions, wherever the kernel puts them.
#[test]
fn resumption_works_on_every_shard() {
    let server = server("require");
    let tls = server.tls().versions(TLS13);
    let first = Client::open_with(&server, Listener::Implicit, tls.clone());
    first.quit();
    for _ in 0..16 {
        let mut client = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
        assert!(client.wire.resumed(), "a control connection was not resumed");
        assert!(fetch(&mut client));
        client.quit();
    }
}

/// An upload's ticket waits for the client's close_notify: a client that never reads would answer
/// it with RST and lose what it sent.
#[test]
fn tickets_of_uploads_come_last() {
    let server = server("prefer");
    let tls: Tls = server.tls().versions(TLS13);
    let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
    let mut data = client.begin("STOR up");
    data.send(&[b'x'; 100_000]).unwrap();
    // Everything the server sends before the client's close_notify would be a ticket.
    data.expect_silence(std::time::Duration::from_millis(200));
    assert_eq!(data.tls().unwrap().tls13_tickets_received(), 0);
    assert_eq!(data.finish(), End::CloseNotify);
    assert_eq!(data.tls().unwrap().tls13_tickets_received(), 1);
    client.expect_reply(226);
    client.quit();
}

/// Twenty times as many uploads as there are tickets at first on the control connection, for a
/// client that uses each once, whether it reads those that an upload brings or not.
#[test]
fn uploads_do_not_use_up_the_tickets() {
    let server = server("require");
    for versions in VERSIONS {
        let tls = server.tls().versions(versions);
        let mut client = Client::open_with(&server, Listener::Implicit, tls).login();
        for turn in 0..40 {
            assert!(store(&mut client, "up"), "upload {turn}");
        }
        for turn in 0..40 {
            let mut data = client.begin("STOR up");
            assert!(data.resumed(), "upload {turn} without its ticket");
            data.send(b"content").unwrap();
            data.close_notify().unwrap();
            data.fin();
            client.expect_reply(226);
        }
        client.quit();
    }
}

/// The log says how each data connection stood to its control session, and why if it did not
/// resume it.
#[test]
fn the_log_says_why() {
    let server = server("require");
    let mut client = Client::implicit(&server).login();
    assert!(fetch(&mut client));
    client.data_tls = client.tls.clone().no_resumption();
    refused(&mut client, "RETR file");
    let other = Client::implicit(&server).login();
    client.data_tls = other.tls.clone();
    refused(&mut client, "RETR file");
    client.quit();
    other.quit();
    for reason in ["\"resumed\"", "no ticket offered", "ticket of another session"] {
        let said = |line: &str| line.contains("transfer ended") && line.contains(reason);
        wait_until(reason, || server.log().lines().any(said));
    }
}
