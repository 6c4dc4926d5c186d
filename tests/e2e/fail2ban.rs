//! What `tuning/` has for fail2ban, tried with Debian's: the lines are those of the server.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{DEADLINE, run};
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Listener, Server, wait_until};

fn root() -> PathBuf {
    let directory = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let target = || directory("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let peers = directory("PEERS_DIR").unwrap_or_else(|| target().join("peers"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(peers).join("fail2ban");
    assert!(root.exists(), "{} is missing: run benches/peers/install fail2ban", root.display());
    root
}

/// A program of Debian's package, which `tests/run` has unpacked.
fn program(name: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("usr/bin").join(name));
    command.env("PYTHONPATH", root().join("usr/lib/python3/dist-packages"));
    command
}

/// A directory as /etc/fail2ban, with the shipped files and no other jail.
fn configuration(into: &Path) {
    let mut copy = Command::new("cp");
    run(copy.arg("-r").arg(root().join("etc/fail2ban")).arg(into), DEADLINE).success();
    fs::remove_dir_all(into.join("jail.d")).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/files/fail2ban");
    for name in ["filter.d", "jail.d"] {
        fs::create_dir_all(into.join(name)).unwrap();
        let file = format!("{name}/ringftpd.conf");
        fs::copy(shipped.join(&file), into.join(&file)).unwrap();
    }
}

/// The address of each line that the filter matches.
fn matched(directory: &Path, lines: &str, mode: &str) -> Vec<String> {
    let file = directory.parent().unwrap().join("lines");
    fs::write(&file, lines).unwrap();
    let mut command = program("fail2ban-regex");
    command.arg("-c").arg(directory).args(["-o", "ip"]).arg(file);
    command.arg(format!("ringftpd[mode={mode}]"));
    let found = run(&mut command, DEADLINE).success();
    found.out().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// Names that look like another address's line, or like the end of their own.
const FORGED: [&str; 5] = [
    "x\" failures=1 session=0-1 peer=192.0.2.66:1 shard=0",
    "x\\\" failures=1 session=0-1 peer=192.0.2.66:1 shard=0\n",
    "x\n2026-01-01T00:00:00.000000Z  WARN ringftpd::login: log-in failed event=\"login_failed\" \
     reason=\"credentials\" user=\"x\" failures=1 session=0-1 peer=192.0.2.66:1 shard=0",
    "\",\"failures\":1,\"session\":\"0-1\",\"peer\":\"192.0.2.66:1\",\"shard\":0}",
    "Jan 1 00:00:00 host ringftpd[1]: 192.0.2.66",
];

#[test]
fn the_right_address_is_matched_and_no_other() {
    for format in ["text", "json"] {
        let config = format!(
            "[log]\nfile = \"ringftpd.log\"\nformat = \"{format}\"\n\
             [limits]\nlogin_failures = 9\nlogin_failure_delay = \"0s\"\n\
             [listen]\nexplicit = [\"127.0.0.1:0\", \"[::1]:0\"]\n"
        );
        let server = Server::builder().toml(&config).start();
        for listener in BOTH_LISTENERS {
            let mut client = Client::open(&server, listener);
            for name in ["alice"].iter().chain(&FORGED) {
                client.expect(format!("USER {name}"), 331);
                client.expect("PASS wrong", 530);
            }
            let mut client = client.login();
            for name in FORGED {
                let made = client.cmd(format!("MKD {name}")).code;
                assert!(made == 257 || made == 550);
            }
            client.quit();
        }
        // By the other family, too; and no FTP.
        let [_, six] = *server.addresses(Listener::Explicit) else { panic!() };
        let wire = crate::support::Wire::connect(six);
        let mut client = Client::from_wire(&server, Listener::Explicit, wire);
        client.expect_reply(220);
        client.expect("AUTH TLS", 234);
        client.start_tls();
        client.expect("USER alice", 331);
        client.expect("PASS wrong", 530);
        client.quit();
        let mut client = Client::plain(&server);
        client.send_bytes(b"\x16\x03\x01\0\0");
        client.expect_reply(500);
        let path = server.scratch().join("ringftpd.log");
        let text = || fs::read_to_string(&path).unwrap();
        wait_until("the last line", || text().contains("not_ftp"));
        let lines = text();
        let directory = server.scratch().join("fail2ban");
        configuration(&directory);
        let failed = |v4: usize| [vec!["127.0.0.1"; v4], vec!["::1"]].concat();
        assert_eq!(matched(&directory, &lines, "normal"), failed(12), "{lines}");
        let aggressive = [failed(12), vec!["127.0.0.1"]].concat();
        assert_eq!(matched(&directory, &lines, "aggressive"), aggressive, "{lines}");
        // As the journal hands them over.
        let mut journal = String::new();
        for line in lines.lines() {
            writeln!(journal, "Nov 28 01:00:50 host ringftpd[77]: {line}").unwrap();
        }
        assert_eq!(matched(&directory, &journal, "normal"), failed(12), "{journal}");
        let mut test = program("fail2ban-client");
        let jail = directory.join("jail.d/ringftpd.conf");
        let here = fs::read_to_string(&jail).unwrap();
        let here = here.replace("/var/log/ringftpd/ringftpd.log", &path.display().to_string());
        fs::write(&jail, here).unwrap();
        run(test.arg("-c").arg(&directory).arg("-t"), DEADLINE).success().says("successful");
    }
}
