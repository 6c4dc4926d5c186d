//! An operator's first week, as `tuning/README.md` tells it: its commands are run as they stand
//! there, below a directory of the test's, and what it promises is looked at from outside.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use serde_json::Value;

use crate::reload::replace;
use crate::run::{DEADLINE, Finished, run};
use crate::startup::Running;
use crate::support::certificates::Authority;
use crate::support::wait::PATIENCE;
use crate::support::{Listener, program, wait_until};

#[test]
fn the_first_week() {
    let mut week = Week::new();
    week.monday();
    let password = week.tuesday();
    let bob = Bob { week: &week, password: &password };
    bob.store("reports/2026.csv", "figures");
    week.wednesday();
    bob.delete("reports/2026.csv");
    week.thursday();
    week.friday();
    week.saturday(&bob);
    week.sunday(&bob);
    week.end();
}

/// The story, the host it is played on, and the server.
struct Week {
    story: String,
    /// What stands for `/` of the story.
    host: tempfile::TempDir,
    authority: Authority,
    server: Option<Running>,
    /// Addresses of the story and of here, once the server has said which it has.
    addresses: Vec<(&'static str, String)>,
}

/// Where files of the story are.
const PLACES: [&str; 5] = ["/etc/", "/var/", "/usr/local/", "/srv/", "/run/"];

impl Week {
    fn new() -> Self {
        let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/README.md");
        let manual = fs::read_to_string(manual).unwrap();
        let (_, story) = manual.split_once("## An operator's first week\n").unwrap();
        let story = story.split("\n## ").next().unwrap().to_owned();
        let host = tempfile::tempdir().unwrap();
        fs::create_dir_all(host.path().join("run/ringftpd")).unwrap();
        Self { story, host, authority: Authority::new(), server: None, addresses: Vec::new() }
    }

    /// The part of a day.
    fn day(&self, day: &str) -> &str {
        let (_, rest) = self.story.split_once(&format!("### {day}")).unwrap();
        rest.split("\n### ").next().unwrap()
    }

    /// The blocks of a day in this language, one behind the other.
    fn blocks(&self, day: &str, language: &str) -> String {
        let day = self.day(day);
        let begin = format!("```{language}\n");
        let blocks = day.split(begin.as_str()).skip(1);
        let blocks: Vec<_> = blocks.map(|block| block.split("```").next().unwrap()).collect();
        assert!(!blocks.is_empty(), "{day}");
        blocks.concat()
    }

    /// A path of the story.
    fn path(&self, path: &str) -> PathBuf {
        self.host.path().join(path.strip_prefix('/').unwrap())
    }

    /// The story's words with what is here in the place of what is there.
    fn here(&self, text: &str) -> String {
        let host = self.host.path().to_str().unwrap();
        let mut text = text.replace("target/release/ringftpd", &program::path());
        for place in PLACES {
            text = text.replace(place, &format!("{host}{place}"));
        }
        for (there, here) in &self.addresses {
            text = text.replace(there, here);
        }
        text
    }

    /// Runs shell lines in the source tree.
    #[track_caller]
    fn shell(&self, lines: &str) -> Finished {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command.args(["-euc", &self.here(lines)]).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("PATH", format!("{}:{path}", self.path("/usr/local/bin").display()));
        command.env("RUNTIME_DIRECTORY", self.path("/run/ringftpd"));
        run(&mut command, DEADLINE)
    }

    /// Runs what an operator types that day.
    #[track_caller]
    fn types(&self, day: &str) -> Finished {
        self.shell(&self.blocks(day, "sh")).success()
    }

    #[track_caller]
    fn status(&self) -> Value {
        let status = self.shell("ringftpd ctl status --json").success();
        serde_json::from_str(&status.out()).unwrap()
    }

    fn pid(&self) -> Pid {
        let pid = self.status()["pid"].as_i64().unwrap();
        Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("/var/log/ringftpd/ringftpd.log")).unwrap_or_default()
    }

    fn renew(&self) {
        let identity = self.authority.server();
        let live = self.path("/etc/letsencrypt/live/ftp.example.org");
        fs::create_dir_all(&live).unwrap();
        replace(&live.join("privkey.pem"), &identity.key_pem);
        replace(&live.join("fullchain.pem"), &identity.certificate_pem);
    }

    /// Install and start.
    fn monday(&mut self) {
        self.renew();
        let configuration = self.here(&self.blocks("Monday", "toml"));
        // The ports and the user of the story belong to others here.
        let configuration = configuration
            .replace("0.0.0.0:990", "127.0.0.1:0")
            .replace("0.0.0.0:21", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace(
                "user = \"ftp\"\n",
                if geteuid().is_root() { "user = \"root\"\n" } else { "" },
            );
        assert_eq!(configuration.matches("127.0.0.1:0").count(), 3, "{configuration}");
        let path = self.path("/etc/ringftpd/ringftpd.toml");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, configuration).unwrap();
        self.types("Monday").says("alice added");

        let mut command = Command::new(self.path("/usr/local/bin/ringftpd"));
        command.args(["serve", "--config"]).arg(self.path("/etc/ringftpd/ringftpd.toml"));
        command.env("RUNTIME_DIRECTORY", self.path("/run/ringftpd"));
        let mut server = Running::start(&mut command);
        let metrics = server.line_with("metrics http://");
        let metrics = metrics.strip_prefix("metrics http://").unwrap();
        let metrics = metrics.strip_suffix("/metrics").unwrap().to_owned();
        let explicit = server.address(Listener::Explicit).to_string();
        self.addresses = vec![("127.0.0.1:9090", metrics), ("ftp.example.org:21", explicit)];
        self.server = Some(server);
    }

    /// A user more; the password.
    fn tuesday(&self) -> String {
        let typed = self.types("Tuesday").says("bob added").says("users +1");
        let out = typed.out();
        let password = out.lines().find_map(|line| line.strip_prefix("password: ")).unwrap();
        password.to_owned()
    }

    /// A new certificate, as certbot brings it.
    fn wednesday(&self) {
        self.types("Wednesday");
        self.renew();
        let hook = "/etc/letsencrypt/renewal-hooks/deploy/ringftpd";
        let lines = format!("RINGFTPD=/usr/local/bin/ringftpd {hook}");
        self.shell(&lines).success().says("tls.certificate");
    }

    /// The log moves away.
    fn thursday(&self) {
        let lines = self.blocks("Thursday", "sh");
        let (install, rotate) = lines.split_once("logrotate --force").unwrap();
        self.shell(install).success();
        let path = self.path("/etc/logrotate.d/ringftpd");
        let id = |flag: &str| self.shell(&format!("id {flag}")).out().trim().to_owned();
        let shipped = fs::read_to_string(&path).unwrap();
        let su = format!("su {} {}", id("-un"), id("-gn"));
        fs::write(&path, self.here(&shipped).replace("su ftp ftp", &su)).unwrap();
        let rotate = format!("logrotate --state /var/log/rotated --force{rotate}");
        self.shell(&rotate).success();
        assert!(!self.log().contains("event=\"delete\""), "{}", self.log());
    }

    /// Who was it?
    fn friday(&self) {
        let found = self.types("Friday").says("user=\"bob\"").says("peer=127.0.0.1:");
        assert_eq!(found.out().lines().count(), 1, "{found}");
    }

    /// Twice, under somebody who stays connected all the time.
    fn saturday(&self, bob: &Bob<'_>) {
        let mut idle = TcpStream::connect(self.explicit()).unwrap();
        idle.set_read_timeout(Some(PATIENCE)).unwrap();
        reply(&mut idle, "220");
        for _ in 0..2 {
            let before = self.pid();
            self.types("Saturday").says("pid");
            assert_ne!(self.pid(), before);
            bob.store("reports/after.csv", "figures");
        }
        idle.write_all(b"QUIT\r\n").unwrap();
        reply(&mut idle, "221");
    }

    /// A flood, and what the operator sees of it; bob works on.
    fn sunday(&self, bob: &Bob<'_>) {
        let flood: Vec<_> = (0..60).map(|_| TcpStream::connect(self.explicit()).unwrap()).collect();
        // curl's status for a log-in that was refused.
        Bob { week: self, password: "wrong" }.curl("reports/", &[]).exits(67);
        wait_until("the flood", || {
            let page = self.types("Sunday").out();
            let sessions = page.lines().filter_map(|line| {
                line.strip_prefix("ringftpd_sessions{")?.rsplit_once(' ')?.1.parse::<usize>().ok()
            });
            sessions.sum::<usize>() >= flood.len()
        });
        bob.store("reports/during.csv", "figures");
        wait_until("both", || {
            let log = self.log();
            log.contains("event=\"login_failed\"") && log.contains("suppressed=")
        });
    }

    fn explicit(&self) -> SocketAddr {
        self.addresses[1].1.parse().unwrap()
    }

    fn end(mut self) {
        let last = self.pid();
        self.shell("ringftpd ctl drain").success();
        wait_until("the end", || test_kill_process(last).is_err() || is_zombie(last));
        drop(self.server.take());
    }
}

impl Drop for Week {
    fn drop(&mut self) {
        // After a test that failed: the process that serves may be nobody's child.
        if std::thread::panicking() && self.server.is_some() {
            let _ = kill_process(self.pid(), Signal::KILL);
        }
    }
}

/// Nobody may have waited for it yet.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(") ").next().unwrap().starts_with('Z'))
}

#[track_caller]
fn reply(control: &mut TcpStream, code: &str) {
    let mut line = [0; 512];
    let count = control.read(&mut line).unwrap();
    let line = String::from_utf8_lossy(&line[..count]);
    assert!(line.starts_with(code), "{line}");
}

/// The user of Tuesday, with curl.
struct Bob<'a> {
    week: &'a Week,
    password: &'a str,
}

impl Bob<'_> {
    fn curl(&self, path: &str, more: &[&str]) -> Finished {
        let mut command = Command::new("curl");
        command.args(["--silent", "--insecure", "--ssl-reqd", "--user"]);
        command.arg(format!("bob:{}", self.password)).args(more);
        run(command.arg(format!("ftp://{}/{path}", self.week.explicit())), DEADLINE)
    }

    #[track_caller]
    fn store(&self, path: &str, content: &str) {
        let file = self.week.path("/srv/upload");
        fs::write(&file, content).unwrap();
        let more = ["--ftp-create-dirs", "--upload-file", file.to_str().unwrap()];
        self.curl(path, &more).success();
        let stored = self.week.path("/srv/ftp/bob").join(path);
        assert_eq!(fs::read_to_string(stored).unwrap(), content);
    }

    #[track_caller]
    fn delete(&self, path: &str) {
        self.curl("", &["--quote", &format!("DELE {path}")]).success();
        assert!(!self.week.path("/srv/ftp/bob").join(path).exists());
    }
}
