//! openssl s_client as the client: both openings by hand, and the proof that a data connection
//! resumed the session of its control connection, in OpenSSL's own words (`Reused`).

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::content;
use crate::run::{DEADLINE, Finished, run, run_with_input, spawn};
use crate::site::{Family, Site, VERSIONS};
use crate::support::server::BOTH_LISTENERS;
use crate::support::wait::PATIENCE;
use crate::support::{Listener, wait_until};

/// `require`: what is transferred at all was transferred on a resumed session.
#[test]
fn data_connection_resumes_the_control_session() {
    let site = Site::requiring_resumption();
    for version in VERSIONS {
        for listener in BOTH_LISTENERS {
            let content = content::bytes(60_000, 7);
            std::fs::write(site.served("file"), &content).unwrap();
            let mut control = Control::open(&site, listener, version);
            control.login();

            let data = control.passive();
            control.command("RETR file", "150");
            let down = run(data_connection(&site, data, version).arg("-ign_eof"), DEADLINE);
            assert_eq!(down.count(&format!("Reused, TLSv{version}")), 1, "{down}");
            let at = position(&down.stdout, &content[..64]).expect("no content");
            assert_eq!(&down.stdout[at..at + content.len()], content, "content differs");
            control.expect("226");

            let data = control.passive();
            control.command("STOR up", "150");
            let mut up = data_connection(&site, data, version);
            // Text, because s_client in this mode would take some first letters for its own.
            let up = run_with_input(up.arg("-no_ign_eof"), b"uploaded\n".repeat(999), DEADLINE);
            assert_eq!(up.count(&format!("Reused, TLSv{version}")), 1, "{up}");
            control.expect("226");
            assert_eq!(std::fs::read(site.served("up")).unwrap(), b"uploaded\n".repeat(999));
            control.quit();
        }
    }
    site.assert_log_has_resumed(8);
}

/// A session of alice that resumes, and has this file.
pub(crate) fn download(site: &Site, name: &str) {
    let content = std::fs::read(site.served(name)).unwrap();
    let mut control = Control::open(site, Listener::Implicit, "1.3");
    control.login();
    let data = control.passive();
    control.command(&format!("RETR {name}"), "150");
    let down = run(data_connection(site, data, "1.3").arg("-ign_eof"), DEADLINE);
    assert_eq!(down.count("Reused, TLSv1.3"), 1, "{down}");
    let at = position(&down.stdout, &content[..64]).expect("no content");
    assert_eq!(&down.stdout[at..at + content.len()], content, "content differs");
    control.expect("226");
    control.quit();
}

/// A data connection with a session of its own is refused with 522, and the session goes on.
#[test]
fn full_handshake_is_refused_when_resumption_is_required() {
    let site = Site::requiring_resumption();
    std::fs::write(site.served("file"), "secret content").unwrap();
    for version in VERSIONS {
        let mut control = Control::open(&site, Listener::Explicit, version);
        control.login();
        let data = control.passive();
        control.command("RETR file", "150");
        let mut command = s_client(&site, data, version);
        let finished: Finished = run(command.args(["-nocommands", "-ign_eof"]), DEADLINE);
        assert_eq!(finished.count("secret content"), 0, "{finished}");
        control.expect("522");
        control.command("NOOP", "200");
        control.quit();
    }
}

/// Chain and name of the certificate hold on both openings, and each version can be had alone.
#[test]
fn certificate_and_versions() {
    let site = Site::start();
    for listener in BOTH_LISTENERS {
        for version in VERSIONS {
            let mut command = s_client(&site, site.address(listener, Family::V4), version);
            starttls(&mut command, listener);
            command.args(["-verify_ip", "127.0.0.1", "-crlf", "-nocommands", "-ign_eof"]);
            let finished = run_with_input(&mut command, b"QUIT\n".to_vec(), DEADLINE).success();
            let finished = finished.says("Verification: OK").says("221 ");
            finished.says(&format!("New, TLSv{version}"));
        }
        // Nothing older than TLS 1.2.
        let mut old = Command::new("openssl");
        let address = site.address(listener, Family::V4).to_string();
        old.args(["s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", &address]);
        starttls(&mut old, listener);
        run(&mut old, DEADLINE).exits(1);
    }
}

/// What a client that offers both versions gets under each profile, and that the data connections
/// resume. (This OpenSSL need not know X25519MLKEM768: then "pq" is as "balanced".)
#[test]
fn profiles() {
    for (profile, expected) in [("balanced", "1.3"), ("throughput", "1.2"), ("pq", "1.3")] {
        let settings = format!("[tls]\nprofile = \"{profile}\"\ndata_resumption = \"require\"");
        let site = Site::with(|builder| builder.toml(&settings));
        for listener in BOTH_LISTENERS {
            let mut command = Command::new("openssl");
            let address = site.address(listener, Family::V4).to_string();
            command.args(["s_client", "-connect", &address, "-crlf", "-nocommands", "-ign_eof"]);
            command.arg("-CAfile").arg(site.server.authority_pem()).arg("-verify_return_error");
            starttls(&mut command, listener);
            let finished = run_with_input(&mut command, b"QUIT\n".to_vec(), DEADLINE).success();
            finished.says(&format!("New, TLSv{expected}")).says("Verification: OK");
        }
        // A client that has one version alone is served in that one.
        for version in VERSIONS {
            let content = content::bytes(30_000, 7);
            std::fs::write(site.served("file"), &content).unwrap();
            let mut control = Control::open(&site, Listener::Implicit, version);
            control.login();
            let data = control.passive();
            control.command("RETR file", "150");
            let down = run(data_connection(&site, data, version).arg("-ign_eof"), DEADLINE);
            assert_eq!(down.count(&format!("Reused, TLSv{version}")), 1, "{profile}: {down}");
            control.expect("226");
            control.quit();
        }
    }
}

/// A control connection in s_client's hands.
struct Control<'a> {
    site: &'a Site,
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl<'a> Control<'a> {
    #[track_caller]
    fn open(site: &'a Site, listener: Listener, version: &str) -> Self {
        let _ = std::fs::remove_file(session_file(site));
        let mut command = s_client(site, site.address(listener, Family::V4), version);
        starttls(&mut command, listener);
        command.args(["-quiet", "-crlf", "-sess_out"]).arg(session_file(site));
        let mut child = spawn(&mut command);
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take().unwrap();
        let mut control = Self { site, child, stdin, lines };
        if listener == Listener::Implicit {
            control.expect("220");
        }
        control
    }

    #[track_caller]
    fn login(&mut self) {
        self.command("USER alice", "331");
        self.command("PASS secret", "230");
        self.command("PBSZ 0", "200");
        self.command("PROT P", "200");
        self.command("TYPE I", "200");
        let path = session_file(self.site);
        wait_until("the session in its file", || {
            std::fs::read_to_string(&path).is_ok_and(|text| text.contains("END SSL SESSION"))
        });
    }

    /// EPSV; where to connect.
    #[track_caller]
    fn passive(&mut self) -> SocketAddr {
        let line = self.command("EPSV", "229");
        let (_, rest) = line.split_once("(|||").unwrap();
        SocketAddr::from(([127, 0, 0, 1], rest.trim_end_matches("|)").parse().unwrap()))
    }

    #[track_caller]
    fn command(&mut self, line: &str, code: &str) -> String {
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.expect(code)
    }

    #[track_caller]
    fn expect(&mut self, code: &str) -> String {
        let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("no {code}: {error}; the server said:\n{}", self.site.server.log())
        });
        assert!(line.starts_with(code), "{code} expected: {line}");
        line
    }

    #[track_caller]
    fn quit(mut self) {
        self.command("QUIT", "221");
        // s_client ends when the server closes.
        wait_until("the end of s_client", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        // Already over, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The common part: certificate checked, one TLS version.
fn s_client(site: &Site, address: SocketAddr, version: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address.to_string()]);
    command.arg("-CAfile").arg(site.server.authority_pem()).arg("-verify_return_error");
    command.arg(if version == "1.2" { "-tls1_2" } else { "-tls1_3" });
    command
}

/// A data connection that offers the control connection's session.
fn data_connection(site: &Site, address: SocketAddr, version: &str) -> Command {
    let mut command = s_client(site, address, version);
    command.arg("-nocommands").arg("-sess_in").arg(session_file(site));
    command
}

fn starttls(command: &mut Command, listener: Listener) {
    if listener == Listener::Explicit {
        command.args(["-starttls", "ftp"]);
    }
}

fn session_file(site: &Site) -> std::path::PathBuf {
    Path::new(&site.local("session.pem")).to_path_buf()
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
