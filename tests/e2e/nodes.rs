//! Several servers with the same ticket keys, as the nodes of a cluster have them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::reload::accepted;
use crate::run::{DEADLINE, run};
use crate::support::program;
use crate::support::server::{BOTH_LISTENERS, SECRET_HASH, write_private};
use crate::support::{Client, Listener, Server, Wire};

/// Makes the file or rotates it, as operators do.
#[track_caller]
fn rotate(keys: &Path) {
    let mut command = Command::new(program::path());
    run(command.arg("ticket-keys").arg(keys), DEADLINE).success();
}

/// The file of one node.
fn file(folder: &TempDir, node: &str) -> PathBuf {
    folder.path().join(node)
}

fn node(keys: &Path) -> Server {
    let config = format!("[tls]\nticket_keys = {keys:?}\ndata_resumption = \"require\"");
    let server = Server::builder().toml(&config).start();
    fs::write(server.root().join("file"), b"contents").unwrap();
    server
}

/// Whether a session of `first` is resumed by `second`, whose certificate the client would not
/// take.
#[track_caller]
fn resumes(first: &Server, second: &Server) -> bool {
    let tls = first.tls();
    Client::open_with(first, Listener::Implicit, tls.clone()).login().quit();
    let mut wire = Wire::connect(second.address(Listener::Implicit));
    wire.handshake(&tls).is_ok() && wire.resumed()
}

/// A client comes back to another node: it resumes, logs in, and its data connections resume the
/// session that it has there.
#[test]
fn a_session_goes_on_at_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file(&folder, "keys");
    rotate(&keys);
    let (first, second) = (node(&keys), node(&keys));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for listener in BOTH_LISTENERS {
            let versions: &'static [_] = Box::leak(Box::new([version]));
            let tls = first.tls().versions(versions);
            let mut client = Client::open_with(&first, listener, tls.clone()).login();
            assert!(!client.wire.resumed());
            assert_eq!(client.retrieve("RETR file"), b"contents");
            client.quit();
            let mut client = Client::open_with(&second, listener, tls).login();
            assert!(client.wire.resumed(), "{version:?}, {listener:?}");
            for _ in 0..3 {
                assert_eq!(client.retrieve("RETR file"), b"contents");
            }
            client.quit();
        }
    }
    let other = file(&folder, "other");
    rotate(&other);
    let stranger = node(&other);
    assert!(resumes(&first, &second) && !resumes(&first, &stranger));
}

/// A ticket that another node gave to somebody else opens there, and is still no proof that the
/// data connection is this session's.
#[test]
fn a_ticket_of_another_session_gets_no_transfer() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file(&folder, "keys");
    rotate(&keys);
    let (first, second) = (node(&keys), node(&keys));
    let stolen = first.tls();
    Client::open_with(&first, Listener::Implicit, stolen.clone()).login_as("bob").quit();
    let mut client = Client::implicit(&second).login();
    let mut data = client.passive();
    client.expect("RETR file", 150);
    if data.handshake(&stolen).is_ok() {
        assert!(data.resumed());
        assert!(data.read_to_end().0.is_empty());
    }
    client.expect_reply(522);
    assert_eq!(client.retrieve("RETR file"), b"contents");
    client.quit();
}

/// Between two nodes the file is copied later, and reloaded later still: at no moment does one seal
/// what the other cannot open.
#[test]
fn a_rotation_is_noticed_by_no_client() {
    let folder = tempfile::tempdir().unwrap();
    let [mine, theirs] = ["mine", "theirs"].map(|node| file(&folder, node));
    rotate(&mine);
    fs::copy(&mine, &theirs).unwrap();
    let (first, second) = (node(&mine), node(&theirs));
    let both = || resumes(&first, &second) && resumes(&second, &first);
    assert!(both());
    for _ in 0..3 {
        let before = first.tls();
        Client::open_with(&first, Listener::Implicit, before.clone()).login().quit();
        rotate(&mine);
        accepted(&first, "tls.ticket_keys");
        assert!(both(), "one has the new keys, the other does not");
        fs::copy(&mine, &theirs).unwrap();
        accepted(&second, "tls.ticket_keys");
        assert!(both(), "both have them");
        let mut wire = Wire::connect(second.address(Listener::Implicit));
        wire.handshake(&before).unwrap();
        assert!(wire.resumed(), "what was sealed before the rotation");
    }
}

/// A server that gets common keys while it runs still opens its own tickets, and one that loses
/// them, too.
#[test]
fn common_keys_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file(&folder, "keys");
    rotate(&keys);
    let server = Server::start();
    let tls = server.tls();
    let comes_back = |tls: &crate::support::Tls| {
        let client = Client::open_with(&server, Listener::Implicit, tls.clone()).login();
        let resumed = client.wire.resumed();
        client.quit();
        resumed
    };
    assert!(!comes_back(&tls) && comes_back(&tls));
    let config = crate::reload::configuration(&server);
    let before = fs::read_to_string(&config).unwrap();
    crate::reload::set(&server, &format!("[tls]\nticket_keys = {keys:?}"));
    accepted(&server, "tls.ticket_keys");
    assert!(comes_back(&tls), "a ticket of the process's own key");
    let second = node(&keys);
    assert!(resumes(&server, &second));
    crate::reload::replace(&config, &before);
    accepted(&server, "tls.ticket_keys");
    assert!(!resumes(&server, &second));
}

/// A file that is not what it should be changes nothing.
#[test]
fn broken_keys() {
    let folder = tempfile::tempdir().unwrap();
    let keys = file(&folder, "keys");
    rotate(&keys);
    let (first, second) = (node(&keys), node(&keys));
    crate::reload::replace(&keys, "0123\n");
    crate::reload::refused(&first, &[&["tls.ticket_keys", "keys:1 is not a key of 64"]]);
    assert!(resumes(&first, &second));
}

/// The configuration that is shipped for a node.
#[test]
fn the_shipped_configuration() {
    let server = Server::start();
    rotate(&server.scratch().join("ticket-keys"));
    let users = "[[users]]\nname = \"alice\"\npassword = \"HASH\"\nhome = \".\"\n";
    write_private(&server.scratch().join("users.toml"), &users.replace("HASH", SECRET_HASH));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/cluster/ringftpd.toml");
    let text = fs::read_to_string(shipped).unwrap();
    let here = server.scratch().to_str().unwrap();
    let text = text.replace("/etc/ringftpd", here).replace("\"ftp\"", "\"root\"");
    let file = server.scratch().join("node.toml");
    fs::write(&file, text).unwrap();
    let mut check = Command::new(program::path());
    run(check.args(["check-config", "--config"]).arg(file), DEADLINE)
        .success()
        .says("listen.proxy_from")
        .says("10.0.0.2");
}
