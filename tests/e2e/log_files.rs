//! `log.file`: what goes there, and how it is moved away and opened again while the server runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};

use crate::metrics::{endpoint, scrape};
use crate::reload::{configuration, ctl, set};
use crate::run::{DEADLINE, run};
use crate::support::server::BOTH_LISTENERS;
use crate::support::{Client, Listener, Server, program, wait_until};

/// A server that logs to a file, and its file.
fn server() -> (Server, PathBuf) {
    let server = Server::builder().toml("[log]\nfile = \"ringftpd.log\"").start();
    let path = server.scratch().join("ringftpd.log");
    (server, path)
}

/// Nothing while there is no such file.
fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[track_caller]
fn wait_for(path: &Path, words: &str) {
    wait_until(words, || text(path).contains(words));
}

fn log_in(server: &Server) {
    Client::implicit(server).login().quit();
}

#[test]
fn lines_go_to_the_file_and_are_added() {
    let (server, path) = server();
    log_in(&server);
    wait_for(&path, "logged in");
    assert!(!server.log().contains("logged in"), "{}", server.log());
    assert!(server.log().contains("ready"), "what is printed for people goes on to be printed");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    // The last lines are there when the process has ended.
    server.stop();
}

/// Each line is once in the one or the other, whichever way it is told.
#[test]
fn it_is_moved_away_and_nothing_is_lost() {
    let (server, path) = server();
    let ways: [&dyn Fn(); 3] = [
        &|| drop(ctl(&server, &["reopen"]).success().says("ringftpd.log")),
        &|| server.signal(Signal::HUP),
        &|| drop(ctl(&server, &["reload"]).success()),
    ];
    let mut files = vec![path.clone()];
    for (number, tell) in ways.into_iter().enumerate() {
        let moved = path.with_extension(number.to_string());
        log_in(&server);
        fs::rename(&path, &moved).unwrap();
        // Still to the old one.
        log_in(&server);
        let before = || text(&moved).matches("logged in").count();
        wait_until("both log-ins", || before() == 2);
        tell();
        wait_until("the new file", || path.exists());
        files.push(moved);
    }
    log_in(&server);
    let count = || files.iter().map(|file| text(file).matches("logged in").count()).sum::<usize>();
    wait_until("all log-ins", || count() == 7);
    // logrotate's second step; a mistake in the configuration does not keep the old file open.
    let moved = path.with_extension("last");
    fs::rename(&path, &moved).unwrap();
    set(&server, "[limits]\nsesions = 1");
    server.signal(Signal::HUP);
    wait_for(&path, "reload_failed");
    assert!(!text(&moved).contains("reload_failed"));
}

/// A reload may name another file, or none; one that cannot be written is refused like any mistake.
#[test]
fn a_reload_may_name_another() {
    let (server, path) = server();
    let other = server.scratch().join("other.log");
    set(&server, "[log]\nfile = \"other.log\"");
    ctl(&server, &["reload"]).success().says("log.file");
    log_in(&server);
    wait_for(&other, "logged in");
    assert!(!text(&path).contains("logged in"));
    for (wrong, reason) in [("absent/ringftpd.log", "absent"), (".", "is a directory")] {
        set(&server, &format!("[log]\nfile = {wrong:?}\n[policy]\ngreeting = \"new\""));
        let file = configuration(&server).display().to_string();
        let refused = ctl(&server, &["reload"]).exits(1).says(&format!("ringftpd: {file}:"));
        refused.says("log.file: ").says(reason);
        assert_ne!(Client::raw(&server, Listener::Explicit).expect_reply(220).text(), "new");
    }
    let count = || text(&other).matches("logged in").count();
    log_in(&server);
    wait_until("the second", || count() == 2);
    let without = text(&configuration(&server)).replace("file = \".\"", "");
    fs::write(configuration(&server), without).unwrap();
    ctl(&server, &["reload"]).success().says("log.file");
    log_in(&server);
    wait_until("a line on standard error", || server.log().contains("logged in"));
    assert_eq!(count(), 2);
}

/// Where nothing can be written any more, clients are served all the same, standard error says what
/// is wrong, and lines are counted; when there is room again, whole lines follow.
#[test]
fn a_file_that_cannot_grow_stops_nobody() {
    let config = "[metrics]\nlisten = \"127.0.0.1:0\"\n[log]\nfile = \"ringftpd.log\"";
    let server = Server::builder().toml(config).start();
    let path = server.scratch().join("ringftpd.log");
    log_in(&server);
    wait_for(&path, "logged in");
    let pid = Pid::from_raw(server.pid().cast_signed()).unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    // Within a line.
    let limit = fs::metadata(&path).unwrap().len() + 30;
    let tight = Rlimit { current: Some(limit), maximum };
    let before = prlimit(Some(pid), Resource::Fsize, tight).unwrap();
    for listener in BOTH_LISTENERS.into_iter().cycle().take(6) {
        Client::open(&server, listener).login().quit();
    }
    wait_until("standard error to be told", || server.log().contains("lines are lost"));
    let lost = || {
        let page = scrape(endpoint(&server));
        let line = page.lines().find(|line| line.starts_with("ringftpd_log_lines_dropped_total "));
        line.unwrap().rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    wait_until("the lines to be counted", || lost() >= 6);
    assert_eq!(server.log().matches("lines are lost").count(), 1, "{}", server.log());
    prlimit(Some(pid), Resource::Fsize, before).unwrap();
    log_in(&server);
    wait_until("room again", || text(&path).matches("logged in").count() >= 2);
    // A line that was cut stays alone.
    let text = text(&path);
    let is_whole = |line: &str| line.starts_with("20") && line.contains(" ringftpd::");
    assert!(text.lines().filter(|line| !is_whole(line)).count() <= 1, "{text}");
    let good = |line: &&str| line.contains("user=\"alice\" by_certificate=false session=");
    assert!(text.lines().filter(good).count() >= 2, "{text}");
}

/// The shipped file, with the names of here.
#[test]
fn logrotate_as_it_is_shipped() {
    let both = "[log]\nfile = \"ringftpd.log\"\nxferlog = \"xferlog.log\"";
    let server = Server::builder().toml(both).start();
    let (path, transfers) =
        (server.scratch().join("ringftpd.log"), server.scratch().join("xferlog.log"));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/files/logrotate.conf");
    let id = |flag: &str| {
        let out = Command::new("id").arg(flag).output().unwrap().stdout;
        String::from_utf8(out).unwrap().trim().to_owned()
    };
    let scratch = server.scratch().display().to_string();
    let here = text(&shipped)
        .replace("/var/log/ringftpd", &scratch)
        .replace("/run/ringftpd", &scratch)
        .replace("su ftp ftp", &format!("su {} {}", id("-un"), id("-gn")))
        .replace("/usr/local/bin/ringftpd", &program::path());
    let config = server.scratch().join("logrotate.conf");
    fs::write(&config, here).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    for round in 1..=3 {
        let mut client = Client::implicit(&server).login();
        client.store(format!("STOR round{round}"), b"");
        client.quit();
        wait_for(&path, "logged in");
        wait_for(&transfers, "/round");
        let mut command = Command::new("logrotate");
        command.args(["--force", "--state"]).arg(server.scratch().join("rotated")).arg(&config);
        run(&mut command, DEADLINE).success();
        // `ctl reopen` has answered.
        assert!(!text(&path).contains("logged in"), "round {round}");
        assert!(text(&path.with_extension("log.1")).contains("logged in"), "round {round}");
        assert_eq!(text(&transfers), "", "round {round}");
        let name = format!("/round{round} ");
        assert!(text(&transfers.with_extension("log.1")).contains(&name), "round {round}");
    }
    assert!(path.with_extension("log.3.gz").exists());
    log_in(&server);
    wait_for(&path, "logged in");
}
