//! Home directories that become others, vanish and come back while the server runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::process::geteuid;

use crate::hung::{Hung, alone};
use crate::process::{first_cpu, leads_below};
use crate::support::certificates::{Authority, Identity};
use crate::support::server::counter;
use crate::support::wait::{PATIENCE, Stopwatch};
use crate::support::{Client, Listener, Server, wait_until};

const ALL: [&str; 7] = ["read", "list", "write", "append", "delete", "rename", "mkdir"];

/// A directory whose file `name` says which it is.
fn make(path: &Path, content: &str) {
    fs::create_dir(path).unwrap();
    fs::write(path.join("name"), content).unwrap();
}

#[track_caller]
fn sees(client: &mut Client, content: &str) {
    client.expect("TYPE I", 200);
    let octets = client.retrieve("RETR name");
    assert_eq!(String::from_utf8_lossy(&octets), content);
}

/// One shard, so that what one log-in found is what the next one knows.
fn one_shard() -> String {
    format!("[shards]\ncpus = \"{}\"\n", first_cpu())
}

/// Logs in by password, by certificate and as nobody.
#[track_caller]
fn all_see(server: &Server, carol: &Identity, content: &str) {
    sees(&mut Client::implicit(server).login(), content);
    sees(&mut Client::explicit(server).login_as("anonymous"), content);
    let tls = server.tls().identity(carol);
    let mut client = Client::open_with(server, Listener::Implicit, tls);
    client.expect("USER carol", 232);
    sees(&mut client, content);
}

/// A log-in sees the directory that its home's pathname leads to; open sessions keep the old one.
#[test]
fn a_log_in_sees_the_directory_that_is_there() {
    let carol = Authority::new().client("carol");
    let fingerprint = ringftpd::tls::sha256_fingerprint(&carol.certificate);
    let hex: String = fingerprint.iter().map(|octet| format!("{octet:02x}")).collect();
    let server = Server::builder()
        .anonymous()
        .toml(&one_shard())
        .user("carol", &["read"], &format!("certificate_sha256 = \"{hex}\""))
        .start();
    let home = server.root();
    let other = |name: &str| server.scratch().join(name);

    fs::write(home.join("name"), "first").unwrap();
    let mut first = Client::implicit(&server).login();
    all_see(&server, &carol, "first");
    fs::rename(&home, other("old")).unwrap();
    make(&home, "second");
    all_see(&server, &carol, "second");
    // Who is in goes on where it began.
    sees(&mut first, "first");
    first.store("STOR new", b"x");
    assert!(other("old/new").exists());
    first.quit();
    wait_until("nobody holds the old directory", || !leads_below(server.pid(), &other("old")));

    // The switch of a release tree: a link that is turned by a rename.
    fs::remove_dir_all(&home).unwrap();
    make(&other("third"), "third");
    for (target, content) in [("old", "first"), ("third", "third"), ("old", "first")] {
        symlink(other(target), other("next")).unwrap();
        fs::rename(other("next"), &home).unwrap();
        all_see(&server, &carol, content);
    }

    // Gone, by each way in, and there again.
    fs::remove_file(&home).unwrap();
    let mut refused = Client::implicit(&server);
    refused.expect("USER alice", 331);
    refused.expect("PASS secret", 530);
    let mut nobody = Client::explicit(&server);
    nobody.expect("USER anonymous", 331);
    nobody.expect("PASS x", 530);
    let tls = server.tls().identity(&carol);
    let mut certified = Client::open_with(&server, Listener::Implicit, tls);
    certified.expect("USER carol", 530);
    certified.expect("PASS x", 503);
    wait_until("nobody holds it", || !leads_below(server.pid(), &other("old")));
    make(&home, "fourth");
    sees(&mut refused.login(), "fourth");
    certified.expect("USER carol", 232);
    sees(&mut certified, "fourth");
    all_see(&server, &carol, "fourth");

    let log = server.stop();
    let refusals = log.lines().filter(|line| line.contains("the user's home is not there"));
    let refusals: Vec<_> = refusals.collect();
    assert_eq!(refusals.len(), 3, "{log}");
    for (line, user) in refusals.iter().zip(["alice", "anonymous", "carol"]) {
        let told = ["WARN", user, "/root: No such file", "no restart is needed"];
        assert!(told.iter().all(|word| line.contains(word)), "{line}");
    }
    assert!(log.contains("the home is another directory by now"), "{log}");
    assert_eq!(counter(&log, "logins_without_home"), 3, "{log}");
    assert_eq!(counter(&log, "homes_replaced"), 5, "{log}");
    assert_eq!(counter(&log, "logins_failed"), 0, "a right proof is no failed log-in: {log}");
}

/// A log-in that is refused holds no directory, whose file system could not be unmounted.
#[test]
fn a_refused_log_in_holds_no_home() {
    let config = one_shard() + "[limits]\nsessions_per_user = 1";
    let server = Server::builder().toml(&config).start();
    let (home, old) = (server.root(), server.scratch().join("old"));
    let first = Client::implicit(&server).login();
    let mut refused = Client::implicit(&server);
    refused.expect("USER alice", 331);
    assert_ne!(refused.cmd("PASS secret").code, 230);
    first.quit();
    fs::rename(&home, &old).unwrap();
    make(&home, "second");
    // It finds the other one.
    wait_until("alice's place", || {
        let mut third = Client::implicit(&server);
        third.expect("USER alice", 331);
        third.cmd("PASS secret").code == 230
    });
    wait_until("nobody holds the old directory", || !leads_below(server.pid(), &old));
    drop(refused);
    server.stop();
}

/// A mount over the home, and its end.
#[test]
fn a_home_that_is_mounted_over() {
    if !geteuid().is_root() {
        return alone("homes::a_home_that_is_mounted_over");
    }
    let server = Server::builder().toml(&one_shard()).start();
    let home = server.root();
    fs::write(home.join("name"), "below").unwrap();
    sees(&mut Client::implicit(&server).login(), "below");
    let mount = |program: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(program);
        assert!(command.args(arguments).arg(&home).status().unwrap().success());
    };
    mount("mount", &["-t", "tmpfs", "tmpfs"]);
    fs::write(home.join("name"), "above").unwrap();
    let mut above = Client::implicit(&server).login();
    sees(&mut above, "above");
    above.quit();
    mount("umount", &["--lazy"]);
    sees(&mut Client::implicit(&server).login(), "below");
    server.stop();
}

/// A home that does not answer holds up its own users' log-ins, and ends as any that is not there.
#[test]
fn a_home_that_hangs() {
    if !geteuid().is_root() {
        return alone("homes::a_home_that_hangs");
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    make(&home, "carol's");
    let server = Server::builder()
        .toml(&one_shard())
        .user("carol", &ALL, &format!("home = {home:?}"))
        .start();
    fs::write(server.root().join("name"), "alice's").unwrap();
    sees(&mut Client::implicit(&server).login_as("carol"), "carol's");

    let hung = Hung::mount(&home);
    // As many as may hold threads, and more.
    let waiting: Vec<_> = (0..12)
        .map(|_| {
            let mut client = Client::implicit(&server);
            client.expect("USER carol", 331);
            client.send("PASS secret");
            client
        })
        .collect();
    let watch = Stopwatch::start();
    for _ in 0..3 {
        sees(&mut Client::implicit(&server).login(), "alice's");
    }
    assert!(watch.elapsed() < PATIENCE / 2, "held up: {:?}", watch.elapsed());
    drop(hung);
    for mut client in waiting {
        let reply = client.reply();
        assert!(matches!(reply.code, 230 | 530), "{reply:?}");
    }
    sees(&mut Client::implicit(&server).login_as("carol"), "carol's");
    server.stop();
}

/// The others' users are served; none at all is a mistake.
#[test]
fn a_home_that_is_not_there_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("later");
    let server = Server::builder().user("carol", &ALL, &format!("home = {home:?}")).start();
    fs::write(server.root().join("name"), "alice's").unwrap();
    sees(&mut Client::implicit(&server).login(), "alice's");
    let log = server.log();
    let warned = log.lines().any(|line| {
        line.contains("later: No such file") && line.contains("its users cannot log in until")
    });
    assert!(warned, "{log}");
    let mut carol = Client::implicit(&server);
    carol.expect("USER carol", 331);
    carol.expect("PASS secret", 530);
    make(&home, "carol's");
    sees(&mut carol.login_as("carol"), "carol's");
    let log = server.stop();
    assert!(log.contains("the home is there by now"), "{log}");
}
