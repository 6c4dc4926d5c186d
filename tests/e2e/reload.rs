//! A configuration that changes while the server runs: what a reload takes, for whom, and what it
//! refuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringftpd::config::{Change, Key, keys};
use rustix::process::{Signal, geteuid};
use toml::{Table, Value};

use crate::metrics::{endpoint, scrape};
use crate::process::first_cpu;
use crate::run::{DEADLINE, Finished, run};
use crate::support::certificates::Identity;
use crate::support::client::pasv_address;
use crate::support::server::{counter, merge, write_private};
use crate::support::{Client, Listener, Server, program, wait_until};

/// Changes the configuration file of a server; `change` gets what it says.
pub(crate) fn edit(server: &Server, change: impl FnOnce(&mut Table)) {
    let path = configuration(server);
    let mut table: Table = fs::read_to_string(&path).unwrap().parse().unwrap();
    change(&mut table);
    replace(&path, &toml::to_string(&table).unwrap());
}

pub(crate) fn configuration(server: &Server) -> PathBuf {
    server.scratch().join("ringftpd.toml")
}

/// As editors and certbot do it: the file is there as a whole at any moment.
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    write_private(&new, text);
    fs::rename(new, path).unwrap();
}

/// Merges TOML into the configuration file.
pub(crate) fn set(server: &Server, text: &str) {
    edit(server, |table| merge(table, text.parse().unwrap()));
}

/// What the log says of a reload: its lines, from a `reload` or a `reload_failed` on.
#[track_caller]
pub(crate) fn reload(server: &Server) -> Vec<String> {
    let lines = || -> Vec<String> {
        let log = server.log();
        log.lines().filter(|line| line.contains("ringftpd::reload")).map(str::to_owned).collect()
    };
    let before = lines().len();
    server.signal(Signal::HUP);
    wait_until("the reload", || lines().len() > before);
    // A signal behind it is a mark in the log: all lines of the reload are before its own.
    let marks = |log: &str| log.matches("SIGUSR2").count();
    let marked = marks(&server.log());
    server.signal(Signal::USR2);
    wait_until("the mark", || marks(&server.log()) > marked);
    lines().split_off(before)
}

/// The reload succeeds, and says that these changed.
#[track_caller]
pub(crate) fn accepted(server: &Server, changed: &str) {
    let lines = reload(server);
    let last = lines.last().unwrap();
    assert!(!last.contains("reload_failed"), "{lines:?}");
    assert!(last.contains(&format!("changed=\"{changed}\"")), "{changed}: {last}");
}

/// The reload is refused with one line for each of `mistakes`, with its words in it.
#[track_caller]
pub(crate) fn refused(server: &Server, mistakes: &[&[&str]]) {
    let lines = reload(server);
    assert_eq!(lines.len(), mistakes.len(), "{lines:?}");
    for (line, words) in lines.iter().zip(mistakes) {
        assert!(line.contains("reload_failed"), "{line}");
        for word in *words {
            assert!(line.contains(word), "{word}: {line}");
        }
    }
}

/// The value of one sample of the metrics.
#[track_caller]
fn sample(server: &Server, name: &str) -> i64 {
    let page = scrape(endpoint(server));
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
}

/// Larger than every buffer between the two processes.
const BIG: usize = 64 << 20;

fn one_shard() -> String {
    format!("[shards]\ncpus = \"{}\"\n", first_cpu())
}

pub(crate) fn greeting(server: &Server) -> String {
    Client::raw(server, Listener::Explicit).expect_reply(220).text()
}

#[test]
fn who_comes_sees_what_is_new_and_who_is_in_goes_on() {
    let server = Server::builder().toml("[metrics]\nlisten = \"127.0.0.1:0\"").start();
    let mut before = Client::implicit(&server).login();
    accepted(&server, "nothing");
    set(&server, "[policy]\ngreeting = \"Another day\"\n[limits]\nidle_timeout = \"7m\"");
    accepted(&server, "policy.greeting, limits.idle_timeout");
    assert_eq!(greeting(&server), "Another day");
    before.expect("NOOP", 200);
    before.store("STOR file", b"octets");
    assert_eq!(sample(&server, "ringftpd_reloads_total{result=\"succeeded\"}"), 2);
    assert_eq!(sample(&server, "ringftpd_reloads_total{result=\"failed\"}"), 0);
    assert_eq!(sample(&server, "ringftpd_config_generation{shard=\"0\"}"), 2);
    before.quit();
}

/// Each mistake is in the log with its place, and nothing changes, not even what is good.
#[test]
fn a_mistake_changes_nothing() {
    let server = Server::builder().toml("[metrics]\nlisten = \"127.0.0.1:0\"").start();
    let path = configuration(&server);
    let good = fs::read_to_string(&path).unwrap();
    let file = format!("file=\"{}\"", path.display());
    let mut client = Client::implicit(&server).login();

    replace(&path, &format!("policy.greeting = \"new\"\nlog = 7\n= 3\n{good}"));
    refused(&server, &[&[&file, "line=3", "not valid TOML"]]);
    replace(&path, &good);
    set(&server, "[policy]\ngreeting = \"new\"\n[limits]\nsessions = 0\nsesions = 3");
    let unknown: &[&str] = &[&file, "key=\"limits.sesions\"", "unknown key"];
    refused(&server, &[unknown, &[&file, "key=\"limits.sessions\"", "cause="]]);
    replace(&path, &good);
    edit(&server, |table| {
        table.remove("users");
        merge(table, "policy.greeting = \"new\"".parse().unwrap());
    });
    refused(&server, &[&[&file, "nobody could log in"]]);
    replace(&path, &good);
    set(&server, "[tls]\ncertificate = \"gone.pem\"\n[policy]\ngreeting = \"new\"");
    refused(&server, &[&["key=\"tls.certificate\"", "gone.pem"]]);
    fs::remove_file(&path).unwrap();
    refused(&server, &[&[&file, "cannot read"]]);
    fs::write(&path, &good).unwrap();

    assert_eq!(greeting(&server), "ringftpd ready");
    client.expect("NOOP", 200);
    assert_eq!(sample(&server, "ringftpd_reloads_total{result=\"failed\"}"), 5);
    assert_eq!(sample(&server, "ringftpd_config_generation{shard=\"0\"}"), 0);
    client.quit();
}

/// Users of the configuration by name.
fn user<'t>(table: &'t mut Table, name: &str) -> &'t mut Table {
    let users = table["users"].as_array_mut().unwrap().iter_mut();
    let mut users = users.map(|user| user.as_table_mut().unwrap());
    users.find(|user| user["name"].as_str() == Some(name)).unwrap()
}

fn remove_user(table: &mut Table, name: &str) {
    let users = table["users"].as_array_mut().unwrap();
    users.retain(|user| user["name"].as_str() != Some(name));
}

fn builder_of_four() -> crate::support::Builder {
    Server::builder().user("carol", &["read", "list"], "").user("dave", &["read"], "")
}

/// Takes bob away, forbids carol to list, gives dave another password, and brings erin.
fn shuffle(server: &Server) {
    edit(server, |table| {
        remove_user(table, "bob");
        user(table, "carol").insert("permissions".into(), Value::Array(vec!["read".into()]));
        user(table, "dave").insert("password".into(), OTHER_HASH.into());
        let mut erin = user(table, "alice").clone();
        erin.insert("name".into(), "erin".into());
        // In front of the others: accounts are told by name, not by place.
        table["users"].as_array_mut().unwrap().insert(0, erin.into());
    });
}

/// SHA-crypt with the fewest rounds of `other`.
const OTHER_HASH: &str = "$5$rounds=1000$saltstring$jqkjwCJQy2yFEtfEjXwwD.Ii3PfaMlYl/4cq3HQxFk5";

/// Their transfers in progress reach their end; their next command is the last.
#[test]
fn sessions_of_users_who_changed_end_at_their_next_command() {
    let server = builder_of_four().start();
    let octets = vec![b'x'; BIG];
    fs::write(server.root().join("big"), &octets).unwrap();
    let mut alice = Client::implicit(&server).login();
    let mut changed: Vec<Client> = Vec::new();
    for listener in [Listener::Implicit, Listener::Explicit] {
        for name in ["bob", "carol", "dave"] {
            let mut client = Client::open(&server, listener).login_as(name);
            client.expect("TYPE I", 200);
            changed.push(client);
        }
    }
    let mut transfer = Client::implicit(&server).login_as("bob");
    transfer.expect("TYPE I", 200);
    let data = transfer.begin("RETR big");
    // Queued behind the transfer: the next command.
    transfer.send("NOOP");
    let mut logged_out = Client::implicit(&server).login_as("bob");
    logged_out.expect("USER bob", 331);

    shuffle(&server);
    accepted(&server, "users +1 -1 ~2");
    for mut client in changed {
        let reply = client.expect("PWD", 421);
        assert!(reply.text().contains("account"), "{reply:?}");
        client.expect_close();
    }
    assert_eq!(transfer.receive(data), octets);
    transfer.expect_reply(421);
    transfer.expect_close();
    logged_out.expect("PASS secret", 530);
    alice.expect("PWD", 257);
    assert_eq!(alice.retrieve("RETR big").len(), octets.len());
    Client::implicit(&server).login_as("erin").quit();
    let mut carol = Client::implicit(&server).login_as("carol");
    carol.expect("STAT big", 550);
    alice.quit();
}

#[test]
fn they_go_on_where_that_is_wanted() {
    let server = builder_of_four().toml("[limits]\nend_revoked = false").start();
    let mut clients = ["bob", "carol", "dave"].map(|name| Client::implicit(&server).login_as(name));
    shuffle(&server);
    accepted(&server, "users +1 -1 ~2");
    for client in &mut clients {
        client.expect("PWD", 257);
    }
    // The setting of the last reload counts, for changes of before it, too.
    clients[1].expect("STAT .", 213);
    set(&server, "[limits]\nend_revoked = true");
    accepted(&server, "limits.end_revoked");
    clients[0].expect("PWD", 421);
    clients[1].expect("PWD", 421);
}

/// What is remembered of right passwords is of the account as it was.
#[test]
fn a_remembered_password_is_that_of_the_account() {
    let server = builder_of_four().toml(&one_shard()).start();
    for name in ["alice", "bob", "carol", "dave"] {
        Client::implicit(&server).login_as(name).quit();
    }
    let logs_in = |name: &str, password: &str| {
        let mut client = Client::implicit(&server);
        client.expect(format!("USER {name}"), 331);
        client.cmd(format!("PASS {password}")).code == 230
    };
    shuffle(&server);
    accepted(&server, "users +1 -1 ~2");
    assert!(!logs_in("bob", "secret"));
    assert!(!logs_in("dave", "secret"));
    assert!(logs_in("dave", "other"));
    assert!(logs_in("alice", "secret") && logs_in("carol", "secret"));
    set(&server, "[limits]\nremember_logins = \"0s\"");
    accepted(&server, "limits.remember_logins");
    assert!(logs_in("alice", "secret"));
    let log = server.stop();
    assert_eq!(counter(&log, "logins_remembered"), 2, "alice and carol, once each");
}

/// A log-in finds the home of its account, whatever number that has by now.
#[test]
fn homes_move_with_their_users() {
    let server = builder_of_four().toml(&one_shard()).start();
    let make = |name: &str| {
        let path = server.scratch().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("name"), name).unwrap();
        path.display().to_string()
    };
    fs::write(server.root().join("name"), "root").unwrap();
    let mut before = Client::implicit(&server).login_as("carol");
    let sees = |client: &mut Client| {
        client.expect("TYPE I", 200);
        String::from_utf8(client.retrieve("RETR name")).unwrap()
    };
    let (first, second) = (make("first"), make("second"));
    edit(&server, |table| {
        user(table, "dave").insert("home".into(), first.into());
        user(table, "alice").insert("home".into(), second.into());
    });
    accepted(&server, "users +0 -0 ~2");
    assert_eq!(sees(&mut before), "root");
    for (name, home) in [("alice", "second"), ("carol", "root"), ("dave", "first")] {
        assert_eq!(sees(&mut Client::implicit(&server).login_as(name)), home);
    }
    let third = make("third");
    edit(&server, |table| {
        remove_user(table, "dave");
        user(table, "bob").insert("home".into(), third.into());
    });
    accepted(&server, "users +0 -1 ~1");
    for (name, home) in [("alice", "second"), ("carol", "root"), ("bob", "third")] {
        assert_eq!(sees(&mut Client::implicit(&server).login_as(name)), home);
    }
    let log = server.stop();
    assert_eq!(counter(&log, "homes_replaced"), 0, "a home of a reload replaces none");
}

/// Writes another certificate of the same authority, as a renewal does.
fn renew(server: &Server) -> Identity {
    let identity = server.authority().server();
    replace(&server.scratch().join("key.pem"), &identity.key_pem);
    replace(&server.scratch().join("chain.pem"), &identity.certificate_pem);
    identity
}

/// The certificate that a connection was shown; none when it resumed.
pub(crate) fn shown(client: &Client) -> Vec<u8> {
    client.wire.tls().unwrap().peer_certificates().unwrap()[0].to_vec()
}

/// A session has one certificate from beginning to end, for clients compare those of its
/// connections; and a ticket of before resumes after.
#[test]
fn a_renewed_certificate_is_for_those_who_come() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let versions: &'static [_] = Box::leak(Box::new([version]));
        let server = Server::builder().start();
        let tls = || server.tls().versions(versions);
        let open = |listener, tls| Client::open_with(&server, listener, tls);
        let resuming = tls();
        let mut before: Vec<Client> =
            [Listener::Implicit, Listener::Explicit].map(|at| open(at, tls()).login()).into();
        let first = shown(&before[0]);
        open(Listener::Implicit, resuming.clone()).login().quit();
        let mut not_yet = Client::plain(&server);

        let renewed = renew(&server);
        accepted(&server, "tls.certificate");
        for listener in [Listener::Implicit, Listener::Explicit] {
            let mut after = open(listener, tls()).login();
            assert_eq!(shown(&after), &*renewed.certificate);
            after.store("STOR after", b"octets");
        }
        not_yet.use_tls(tls());
        not_yet.auth();
        assert_eq!(shown(&not_yet), &*renewed.certificate);
        let resumed = open(Listener::Implicit, resuming).login();
        assert!(resumed.wire.resumed());
        // By a ticket, and by a handshake that shows the certificate.
        before[0].store("STOR before", b"octets");
        before[1].data_tls = tls().no_resumption();
        before[1].expect("TYPE I", 200);
        let data = before[1].begin("RETR before");
        let peer = data.tls().unwrap().peer_certificates().unwrap();
        assert_eq!(peer[0].to_vec(), first);
        assert_eq!(before[1].receive(data), b"octets");
    }
}

/// Open sessions stay; new ones are counted by the new limit.
#[test]
fn limits_are_those_of_the_last_reload() {
    let config = one_shard() + "[limits]\nsessions_per_ip = 3\nsessions_per_user = 2";
    let server = Server::builder().toml(&config).start();
    let mut clients = vec![Client::implicit(&server).login(), Client::implicit(&server).login()];
    set(&server, "[limits]\nsessions_per_ip = 2\nsessions_per_user = 1");
    accepted(&server, "limits.sessions_per_ip, limits.sessions_per_user");
    Client::raw(&server, Listener::Explicit).expect_reply(421);
    clients.iter_mut().for_each(|client| drop(client.expect("NOOP", 200)));
    set(&server, "[limits]\nsessions_per_ip = 0\nsessions_per_user = 3");
    accepted(&server, "limits.sessions_per_ip, limits.sessions_per_user");
    clients.push(Client::implicit(&server).login());
    let mut more = Client::implicit(&server);
    more.expect("USER alice", 331);
    more.expect("PASS secret", 530);
    set(&server, "[limits]\nsessions = 3");
    accepted(&server, "limits.sessions");
    Client::raw(&server, Listener::Explicit).expect_reply(421);
    clients.pop().unwrap().quit();
    clients.pop().unwrap().quit();
    wait_until("a place", || {
        let mut client = Client::raw(&server, Listener::Explicit);
        client.reply().code == 220
    });
}

/// A transfer keeps the policy of its beginning, and the next one has the new one.
#[test]
fn transfers_obey_the_policy_of_their_beginning() {
    let server = Server::builder().start();
    let mut client = Client::implicit(&server).login();
    client.expect("TYPE I", 200);
    let cut = |client: &mut Client, name: &str, meanwhile: &dyn Fn()| {
        let mut data = client.begin(format!("STOR {name}"));
        data.send(&[b'x'; 100_000]).unwrap();
        wait_until("octets", || client.cmd("STAT").text().contains("100000"));
        meanwhile();
        data.reset();
        client.expect_reply(426);
        server.root().join(name).exists()
    };
    let kept = cut(&mut client, "first", &|| {
        set(&server, "[storage]\nfailed_upload = \"keep\"");
        accepted(&server, "storage.failed_upload");
    });
    assert!(!kept);
    assert!(cut(&mut client, "second", &|| ()));
}

/// A value of `key`, as TOML, that is neither its default nor what the tests' servers have.
fn other_value(key: &Key, server: &Server) -> String {
    let file = |name: &str| format!("{:?}", server.scratch().join(name).display().to_string());
    match key.path().as_str() {
        "tls.certificate" => return file("other-chain.pem"),
        "tls.watch" => return "\"5m\"".to_owned(),
        "tls.key" => return file("other-key.pem"),
        "tls.client_ca" => return file("authority.pem"),
        "tls.ticket_keys" => return file("ticket-keys"),
        "process.users_file" => return file("users.toml"),
        "control.socket" => return file("other.sock"),
        "process.user" => return "\"0\"".to_owned(),
        "shards.cpus" => return format!("[{}]", first_cpu()).replace(['[', ']'], "\""),
        "limits.login_failure_delay" | "limits.shutdown_timeout" | "limits.drain_delay" => {
            return "\"3s\"".to_owned();
        }
        _ => {}
    }
    let default = key.default.as_deref().unwrap_or_default();
    if let Some(example) = key.example.filter(|example| *example != default) {
        return example.to_owned();
    }
    let words = key.words.iter().map(|word| format!("\"{word}\""));
    let bounds = key.bounds.iter().flat_map(|bounds| bounds.split(" to ")).map(str::to_owned);
    let all = words.chain(bounds).chain(["true", "false"].map(str::to_owned));
    all.into_iter().find(|value| value != default).unwrap()
}

/// The column of the table is what the server does, key by key.
#[test]
fn each_key_is_taken_or_refused_as_the_table_says() {
    let server = Server::builder().anonymous().toml("listen.proxy_from = [\"::1\"]").start();
    let path = configuration(&server);
    let good = fs::read_to_string(&path).unwrap();
    for (from, to) in [("chain.pem", "other-chain.pem"), ("key.pem", "other-key.pem")] {
        replace(
            &server.scratch().join(to),
            &fs::read_to_string(server.scratch().join(from)).unwrap(),
        );
    }
    replace(&server.scratch().join("users.toml"), "");
    replace(&server.scratch().join("ticket-keys"), &"2b".repeat(32));
    let (mut taken, mut kept) = (0, 0);
    for key in keys() {
        if ["tls.certificates", "users", "anonymous", "directories"].contains(&key.section) {
            assert_eq!(key.change, Change::Reload, "{}: see the tests of accounts", key.path());
            continue;
        }
        // The line that the next lines look for would be in that file: see its own tests.
        if ["log.file", "log.xferlog"].contains(&key.path().as_str()) {
            assert_eq!(key.change, Change::Reload);
            continue;
        }
        set(&server, &format!("[{}]\n{} = {}", key.section, key.name, other_value(&key, &server)));
        match key.change {
            Change::Reload => accepted(&server, &key.path()),
            Change::Restart => {
                let name = format!("key=\"{}\"", key.path());
                refused(&server, &[&[&name, "only a restart changes it"]]);
            }
        }
        replace(&path, &good);
        match key.change {
            Change::Reload => {
                accepted(&server, &key.path());
                taken += 1;
            }
            Change::Restart => kept += 1,
        }
    }
    assert!(taken > 30 && kept > 8, "{taken} {kept}");
    for (change, name) in [
        ("[anonymous]\npermissions = [\"list\"]", "users +0 -0 ~1"),
        (
            "[[tls.certificates]]\ncertificate = \"other-chain.pem\"\nkey = \"other-key.pem\"",
            "tls.certificates[localhost]",
        ),
        ("[[directories]]\npath = \".\"\ncache = \"direct\"", "directories"),
    ] {
        set(&server, change);
        accepted(&server, name);
        replace(&path, &good);
        accepted(&server, name);
    }
}

/// What a client can see of a key, it sees in its first session after the reload.
#[test]
fn what_is_taken_is_seen() {
    let server = Server::builder().start();
    let path = configuration(&server);
    let good = fs::read_to_string(&path).unwrap();
    fs::write(server.root().join("20200101000000"), "").unwrap();
    let in_clear = |command: &str| Client::plain(&server).cmd(command).code;
    let inside = |command: &str| {
        let mut client = Client::explicit(&server).login();
        client.cmd(command).code
    };
    let version = || {
        let client = Client::implicit(&server);
        format!("{:?}", client.wire.tls().unwrap().protocol_version().unwrap())
    };
    let asked_for = || {
        let tls = server.tls();
        Client::open_with(&server, Listener::Implicit, tls.clone());
        tls.certificate_requests().to_string()
    };
    let code = |code: u16| code.to_string();
    let active = "PORT 127,0,0,1,200,200";
    let foreign = "PORT 127,0,0,2,200,200";
    let checks: &[(&str, &dyn Fn() -> String, &str, &str)] = &[
        ("policy.greeting = \"new\"", &|| greeting(&server), "ringftpd ready", "new"),
        ("policy.require_control_tls = false", &|| code(in_clear("USER alice")), "530", "331"),
        ("policy.require_data_tls = false", &|| code(inside("PROT C")), "534", "200"),
        ("policy.allow_ccc = true", &|| code(inside("CCC")), "534", "200"),
        ("policy.allow_active = false", &|| code(inside(active)), "200", "502"),
        ("policy.allow_foreign_data_address = true", &|| code(inside(foreign)), "504", "200"),
        ("policy.host_names = [\"a.test\"]", &|| code(in_clear("HOST localhost")), "220", "504"),
        (
            "policy.mdtm_may_set = false",
            &|| code(inside("MDTM 20200101000000 20200101000000")),
            "213",
            "550",
        ),
        ("storage.hash_uploads = [\"MD5\"]", &|| feature(&server, "X.hash"), "false", "true"),
        ("passive.address = \"203.0.113.7\"", &|| pasv(&server), "127.0.0.1", "203.0.113.7"),
        ("tls.versions = [\"1.2\"]", &version, "TLSv1_3", "TLSv1_2"),
        ("tls.profile = \"throughput\"", &version, "TLSv1_3", "TLSv1_2"),
        ("tls.client_ca = \"authority.pem\"", &asked_for, "0", "1"),
        ("tls.data_resumption = \"require\"", &|| unresumed(&server), "226", "522"),
    ];
    for (change, look, before, after) in checks {
        let key = change.split(' ').next().unwrap();
        assert_eq!(&look(), before, "{key} before");
        set(&server, change);
        accepted(&server, key);
        assert_eq!(&look(), after, "{key} after");
        replace(&path, &good);
        accepted(&server, key);
        assert_eq!(&look(), before, "{key} at last");
    }
}

fn feature(server: &Server, name: &str) -> String {
    let features = Client::implicit(server).login().expect("FEAT", 211);
    String::from_utf8(features.lines.concat()).unwrap().contains(name).to_string()
}

fn pasv(server: &Server) -> String {
    let mut client = Client::implicit(server).login();
    pasv_address(&client.expect("PASV", 227)).ip().to_string()
}

/// How a download ends whose data connection does not resume.
fn unresumed(server: &Server) -> String {
    let mut client = Client::implicit(server).login();
    client.data_tls = server.tls().no_resumption();
    let mut data = client.passive();
    client.send("NLST");
    let _ = data.handshake(&client.data_tls);
    client.expect_reply(150);
    data.read_to_end();
    client.reply().code.to_string()
}

/// `ringftpd ctl` at a server.
pub(crate) fn ctl(server: &Server, words: &[&str]) -> Finished {
    let mut program = Command::new(program::path());
    program.arg("ctl").args(words).arg("--socket").arg(server.scratch().join("ctl.sock"));
    run(&mut program, DEADLINE)
}

#[test]
fn ctl_reloads_and_says_what_came_of_it() {
    let server = Server::builder().start();
    let socket = fs::metadata(server.scratch().join("ctl.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    set(&server, "[policy]\ngreeting = \"new\"");
    ctl(&server, &["reload"]).success().says("generation 1: policy.greeting");
    // In force when the program has ended.
    assert_eq!(greeting(&server), "new");
    set(&server, "[policy]\ngreeting = 7\n[limits]\nsesions = 1");
    let failed = ctl(&server, &["reload"]).exits(1);
    let file = configuration(&server).display().to_string();
    let failed = failed.says(&format!("ringftpd: {file}:")).says("limits.sesions: unknown key");
    failed.says("policy.greeting: ");
    assert_eq!(greeting(&server), "new");
    let mut client = Client::implicit(&server).login();
    let status = ctl(&server, &["status", "--json"]).success();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let expected = [("pid", u64::from(server.pid())), ("generation", 1), ("sessions_logged_in", 1)];
    for (key, value) in expected {
        assert_eq!(status[key], value, "{status}");
    }
    client.expect("NOOP", 200);
    let nobody = server.scratch().join("nobody.sock");
    let nobody = nobody.to_str().unwrap();
    let mut program = Command::new(program::path());
    program.args(["ctl", "status", "--socket", nobody]);
    run(&mut program, DEADLINE).exits(1).says(nobody);
}

/// A server that has given up root cannot read root's files, and says so; root hands them over.
#[test]
fn root_hands_over_what_only_root_may_read() {
    if !geteuid().is_root() {
        return;
    }
    let config = "[process]\nuser = \"65534:65534\"\n";
    let server = Server::builder().toml(config).start_with(|scratch| {
        fs::set_permissions(scratch.path, fs::Permissions::from_mode(0o755)).unwrap();
        String::new()
    });
    let renewed = renew(&server);
    set(&server, "[policy]\ngreeting = \"new\"");
    let file = format!("file=\"{}\"", configuration(&server).display());
    refused(&server, &[&[&file, "Permission denied", "`ringftpd ctl reload` run by root"]]);
    ctl(&server, &["reload"]).success().says("policy.greeting, tls.certificate");
    assert_eq!(greeting(&server), "new");
    assert_eq!(shown(&Client::implicit(&server)), &*renewed.certificate);
}

/// certbot's deploy hook as it is shipped.
#[test]
fn the_deploy_hook_brings_a_renewed_certificate() {
    let server = Server::builder().start();
    let renewed = renew(&server);
    let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/files/certbot-deploy.sh");
    let mut program = Command::new(hook);
    program.env("RINGFTPD", program::path());
    program.env("RUNTIME_DIRECTORY", server.scratch());
    run(&mut program, DEADLINE).success().says("tls.certificate");
    assert_eq!(shown(&Client::implicit(&server)), &*renewed.certificate);
}

/// Nobody says a word: the files are looked at, and taken when they match.
#[test]
fn a_renewed_certificate_is_seen() {
    let server = Server::builder().toml("[tls]\nwatch = \"100ms\"").start();
    let first = shown(&Client::implicit(&server));
    let identity = server.authority().server();
    replace(&server.scratch().join("chain.pem"), &identity.certificate_pem);
    wait_until("the warning", || server.log().contains("changed files are not taken"));
    assert_eq!(shown(&Client::implicit(&server)), first);
    replace(&server.scratch().join("key.pem"), &identity.key_pem);
    wait_until("the certificate", || {
        shown(&Client::implicit(&server)) == identity.certificate.to_vec()
    });
}

/// A reload that is refused has not taken the certificate, so the watch still has to.
#[test]
fn a_refused_reload_takes_no_certificate_from_the_watch() {
    let server = Server::builder().toml("[tls]\nwatch = \"2s\"").start();
    set(&server, "[limits]\nsesions = 3");
    let renewed = renew(&server);
    refused(&server, &[&["key=\"limits.sesions\""]]);
    wait_until("the certificate", || {
        shown(&Client::implicit(&server)) == renewed.certificate.to_vec()
    });
}

/// One that clients will refuse is taken, for the other is no better, but not without a word.
#[test]
fn an_expired_certificate_is_warned_of_when_it_is_taken() {
    let server = Server::builder().toml("[tls]\nwatch = \"100ms\"").start();
    let expired = server.authority().expired_server();
    replace(&server.scratch().join("key.pem"), &expired.key_pem);
    replace(&server.scratch().join("chain.pem"), &expired.certificate_pem);
    wait_until("the reload", || server.log().contains("changed=\"tls.certificate\""));
    let log = server.log();
    let warned = log.lines().any(|line| line.contains("WARN") && line.contains("expired "));
    assert!(warned, "{log}");
}
