//! How the program starts, what it prints, and how it refuses to start.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::process::{thread_gids, thread_uids};
use crate::run::{Finished, run, run_with_input};
use crate::support::server::SECRET_HASH;
use crate::support::wait::{PATIENCE, Stopwatch, pause};
use crate::support::{Client, Listener, Server, program, wait_until};

/// Of a run that should end by itself.
const DEADLINE: Duration = Duration::from_secs(30);

/// The lines for curl and lftp work exactly as printed, and so does the fingerprint; nothing but
/// a home directory is needed, and the certificate stays the same.
#[test]
fn default_run_prints_lines_that_work() {
    let home = tempfile::tempdir().unwrap();
    let served = tempfile::tempdir().unwrap();
    fs::write(served.path().join("hello.txt"), "content").unwrap();
    let mut fingerprints = Vec::new();
    for _ in 0..2 {
        let mut server = Running::start(program(home.path()).arg("serve").arg(served.path()));
        let shards = server.line_with("shard");
        assert!(shards.chars().any(|c| c.is_ascii_digit()), "how many shards? {shards}");
        let printed = server.commands();
        for wanted in ["curl", "lftp"] {
            assert!(
                printed.iter().any(|line| line.starts_with(wanted)),
                "no {wanted}: {printed:?}"
            );
        }
        for line in printed {
            let finished = shell(&line, home.path(), &[]).success();
            assert!(finished.out().contains("hello.txt"), "no listing: {finished}");
        }
        let explicit = server.address(Listener::Explicit);
        let fingerprint = fingerprint(explicit);
        let out = server.out().to_uppercase();
        assert!(out.contains(&fingerprint), "{fingerprint} is not what was printed:\n{out}");
        fingerprints.push(fingerprint);

        // Read-only.
        let put = format!("curl -sk --ssl-reqd -T hello.txt ftp://{explicit}/up");
        fs::write(home.path().join("hello.txt"), "content").unwrap();
        shell(&put, home.path(), &[]).exits(25);
        assert_eq!(fs::read_dir(served.path()).unwrap().count(), 1);
        server.stop();
    }
    assert_eq!(fingerprints[0], fingerprints[1], "the certificate changed");
    let open = files_readable_by_others(home.path());
    assert!(open.iter().all(|name| !name.contains("key")), "keys anybody may read: {open:?}");
}

/// `--user`: a generated password that works, or one from the environment that is not shown.
#[test]
fn one_user_by_flag() {
    for given in [None, Some("from-the-environment")] {
        let home = tempfile::tempdir().unwrap();
        let served = tempfile::tempdir().unwrap();
        fs::write(served.path().join("hello.txt"), "content").unwrap();
        let mut command = program(home.path());
        command.arg("serve").arg(served.path()).args(["--user", "eve", "--log-level", "trace"]);
        let variables: Vec<_> = given.iter().map(|&word| ("RINGFTPD_PASSWORD", word)).collect();
        let mut server = Running::start(command.envs(variables.iter().copied()));
        for line in server.commands() {
            let finished = shell(&line, home.path(), &variables).success();
            assert!(finished.out().contains("hello.txt"), "no listing: {finished}");
        }
        let password = match given {
            Some(word) => {
                assert!(!server.out().contains(word), "the password is shown:\n{}", server.out());
                word.to_owned()
            }
            None => {
                let line = server.line_with("password");
                line.split_whitespace().next_back().unwrap().to_owned()
            }
        };
        assert!(password.len() >= 12, "{password:?} is short");
        let explicit = server.address(Listener::Explicit);
        let base = format!("curl -sk --ssl-reqd ftp://{explicit}/up");
        fs::write(home.path().join("file"), "content").unwrap();
        let put = format!("{base} -T file -u 'eve:{password}'");
        shell(&put, home.path(), &[]).success();
        assert_eq!(fs::read(served.path().join("up")).unwrap(), b"content");
        shell(&format!("{base} -u eve:wrong"), home.path(), &[]).exits(67);
        shell(&base, home.path(), &[]).exits(67);
        let said = server.stop();
        // A generated one is printed before `ready`, and never again.
        let (_, log) = said.split_once("\nready\n").unwrap();
        assert!(!log.contains(&password), "the password is in the log");
    }
}

/// A port in use is named, with what can be done about it; nothing half-started stays.
#[test]
fn port_taken() {
    let home = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    for flag in ["--implicit", "--explicit"] {
        let mut command = Command::new(program::path());
        command.arg("serve").arg(home.path()).env("HOME", home.path());
        let finished = run(command.args([flag, &address.to_string()]), DEADLINE).exits(1);
        let finished = finished.says(&address.to_string());
        let said = String::from_utf8_lossy(&finished.stderr).to_lowercase();
        assert!(said.contains("use") && said.contains("port"), "no cause or remedy: {finished}");
    }
}

/// Two servers never share a port, although each of them lets its shards do so.
#[test]
fn second_server_on_the_same_port() {
    let home = tempfile::tempdir().unwrap();
    let mut first = Running::start(program(home.path()).arg("serve").arg(home.path()));
    let address = first.address(Listener::Implicit).to_string();
    let mut second = Command::new(program::path());
    second.arg("serve").arg(home.path()).env("HOME", home.path());
    second.args(["--implicit", &address, "--explicit", "none"]);
    run(&mut second, DEADLINE).exits(1).says(&address);
    first.stop();
}

/// Every mistake with its file, line and key, from check-config and from serve alike.
#[test]
fn mistakes_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringftpd.toml");
    for (text, line, key) in [
        ("[limits]\nsessions = 5\nbogus = 1\n", 3, "limits.bogus"),
        ("\n\n[nonsense]\n", 3, "nonsense"),
        ("[limits]\nidle_timeout = \"soon\"\n", 2, "limits.idle_timeout"),
        ("[limits]\nsessions = \"many\"\n", 2, "limits.sessions"),
        ("[tls]\ndata_resumption = \"maybe\"\n", 2, "tls.data_resumption"),
        ("[tls]\ncertificate = \"absent.pem\"\nkey = \"absent.pem\"\n", 2, "tls.certificate"),
        ("[listen]\nimplicit = [\"nowhere\"]\n", 2, "listen.implicit"),
        ("[passive]\nports = \"9-7\"\n", 2, "passive.ports"),
        ("[limits\n", 1, ""),
    ] {
        let home = folder.path().display();
        let users = format!("{text}\n[anonymous]\nhome = \"{home}\"\n");
        fs::write(&path, users).unwrap();
        for command in ["check-config", "serve"] {
            let mut program = Command::new(program::path());
            program.args([command, "--config"]).arg(&path).env("HOME", folder.path());
            let place = format!("{}:{line}:", path.display());
            run(&mut program, DEADLINE).exits(1).says(&place).says(key);
        }
    }
}

/// A good configuration is described, and check-config writes and binds nothing.
#[test]
fn good_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringftpd.toml");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let home = folder.path().display();
    let text = format!(
        "[listen]\nimplicit = [\"{}\"]\n[anonymous]\nhome = \"{home}\"\n[process]\n{}",
        taken.local_addr().unwrap(),
        root_line()
    );
    fs::write(&path, text).unwrap();
    let mut program = Command::new(program::path());
    program.args(["check-config", "--config"]).arg(&path).env("HOME", folder.path());
    run(&mut program, DEADLINE).success().says(&taken.local_addr().unwrap().to_string());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "check-config wrote something");
}

/// `ringftpd user add`, then log in; `passwd` changes, `remove` ends it.
#[test]
fn users_by_command() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.toml");
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let config = folder.path().join("ringftpd.toml");
    let text = format!(
        "[listen]\nimplicit = [\"127.0.0.1:0\"]\nexplicit = [\"127.0.0.1:0\"]\n\
         [process]\nusers_file = \"{}\"\n{}[limits]\nlogin_failure_delay = \"10ms\"\n",
        users.display(),
        root_line()
    );
    fs::write(&config, text).unwrap();
    let user = |arguments: &[&str], password: &str| {
        let mut command = Command::new(program::path());
        command.arg("user").arg(arguments[0]).arg("--file").arg(&users).args(&arguments[1..]);
        run(command.env("RINGFTPD_PASSWORD", password), DEADLINE)
    };
    let home_text = home.to_str().unwrap();
    let all = "read,list,write,append,delete,rename,mkdir";
    user(&["add", "carol", "--home", home_text, "--permissions", all], "first one").success();
    user(&["add", "dave", "--home", home_text], "another").success();
    user(&["add", "carol", "--home", home_text], "again").exits(1).says("carol");
    let list = user(&["list"], "").success();
    assert!(list.out().contains("carol") && list.out().contains("dave"), "{list}");
    let stored = fs::read_to_string(&users).unwrap();
    assert!(stored.contains("$argon2id$") && !stored.contains("first one"), "{stored}");
    assert_eq!(fs::metadata(&users).unwrap().permissions().mode() & 0o077, 0);

    let attempt = |name: &str, password: &str, expected: i32| {
        let mut command = Command::new(program::path());
        command.args(["serve", "--config"]).arg(&config).arg("--state-dir").arg(folder.path());
        // Of its control socket.
        command.env("RUNTIME_DIRECTORY", folder.path());
        let mut server = Running::start(&mut command);
        let address = server.address(Listener::Implicit);
        let line = format!("curl -sk -u '{name}:{password}' ftps://{address}/");
        shell(&line, folder.path(), &[]).exits(expected);
        server.stop();
    };
    attempt("carol", "first one", 0);
    attempt("carol", "wrong", 67);
    user(&["passwd", "carol"], "second one").success();
    attempt("carol", "first one", 67);
    attempt("carol", "second one", 0);
    user(&["remove", "carol"], "").success();
    attempt("carol", "second one", 67);
    attempt("dave", "another", 0);
    user(&["remove", "carol"], "").exits(1);
}

/// The certificate that the server has made is made anew in time, while it runs, and kept for the
/// next start.
#[test]
fn its_own_certificate_is_renewed_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    // Due 30 days before its end.
    let end = ringftpd::clock::unix_time() + Duration::from_secs(30 * 24 * 60 * 60 + 3);
    parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    let key = rcgen::KeyPair::generate().unwrap();
    let chain = path("self-signed-certificate.pem");
    fs::write(&chain, parameters.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(path("self-signed-key.pem"), key.serialize_pem()).unwrap();
    let text = format!(
        "[listen]\nimplicit = [\"127.0.0.1:0\"]\nexplicit = [\"127.0.0.1:0\"]\n\
         [tls]\nwatch = \"100ms\"\n[process]\n{}[anonymous]\nhome = {:?}\n",
        root_line(),
        folder.path()
    );
    fs::write(path("ringftpd.toml"), text).unwrap();
    let mut command = Command::new(program::path());
    command.args(["serve", "--config"]).arg(path("ringftpd.toml"));
    command.arg("--state-dir").arg(folder.path()).env("RUNTIME_DIRECTORY", folder.path());
    let mut server = Running::start(&mut command);
    let explicit = server.address(Listener::Explicit);
    let first = fingerprint(explicit);
    wait_until("another certificate", || fingerprint(explicit) != first);
    let renewed = fingerprint(explicit);
    let log = server.stop();
    let said = "changed=\"tls.certificate\"";
    assert!(log.contains("ends within 30 days") && log.contains(said), "{log}");
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]);
    let kept = run(command.arg(&chain), DEADLINE).success();
    assert!(kept.out().to_uppercase().contains(&renewed), "{renewed}: {kept}");
}

/// Every line of a JSON log is JSON, and no line at any level has a password.
#[test]
fn json_log_without_passwords() {
    let server = Server::builder().toml("[log]\nformat = \"json\"\nlevel = \"trace\"").start();
    fs::write(server.root().join("file"), "content").unwrap();
    let mut client = Client::implicit(&server);
    client.expect("USER alice", 331);
    client.expect("PASS hunter2-wrong", 530);
    client.expect("USER alice", 331);
    client.expect("PASS secret", 230);
    assert_eq!(client.retrieve("RETR file"), b"content");
    client.store("STOR \"quo\\te\" \x07", b"content");
    client.quit();
    wait_until("the last transfer in the log", || server.log().contains("quo"));
    let log = server.log();
    let mut transfers = 0;
    for line in log.lines().filter(|line| !is_start_line(line)) {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object() && value["level"].is_string(), "{line}");
        transfers += usize::from(value["message"] == "transfer ended");
    }
    assert_eq!(transfers, 2, "transfers in the log:\n{log}");
    let in_clear = |line: &&str| line.contains("hunter2") || line.contains("PASS secret");
    assert_eq!(log.lines().find(in_clear), None);
    assert!(log.contains("log-in failed") && log.contains("logged in"), "{log}");
}

/// What is printed on standard output before `ready`, which is for people.
fn is_start_line(line: &str) -> bool {
    !line.starts_with('{')
}

/// Started as root with `process.user`: every thread is that user, and can still serve.
#[test]
fn privileges_are_dropped_in_every_thread() {
    if !geteuid().is_root() {
        // Another user cannot change to `nobody`, and must be told so.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ringftpd.toml");
        let home = folder.path().display();
        let text = format!(
            "[listen]\nimplicit = [\"127.0.0.1:0\"]\nexplicit = []\n[process]\nuser = \"nobody\"\n\
             [anonymous]\nhome = \"{home}\"\n"
        );
        fs::write(&path, text).unwrap();
        let mut program = Command::new(program::path());
        program.args(["serve", "--config"]).arg(&path).env("HOME", folder.path());
        program.env("RUNTIME_DIRECTORY", folder.path());
        run(&mut program, DEADLINE).exits(1).says("process.user");
        return;
    }
    let nobody = id_of("nobody", "-u");
    let group = id_of("nobody", "-g");
    let server = Server::builder().toml("[process]\nuser = \"nobody\"").start_with(|scratch| {
        fs::set_permissions(scratch.path, fs::Permissions::from_mode(0o755)).unwrap();
        chown(scratch.path.join("root"), Some(nobody), Some(group)).unwrap();
        String::new()
    });
    let mut client = Client::implicit(&server).login();
    client.store("STOR file", b"content");
    assert_eq!(client.retrieve("RETR file"), b"content");
    assert_eq!(client.list("NLST"), [b"file"]);
    for (uids, gids) in thread_uids(server.pid()).into_iter().zip(thread_gids(server.pid())) {
        assert_eq!((uids, gids), ([nobody; 4], [group; 4]));
    }
    assert!(thread_uids(server.pid()).len() > 1, "one thread only");
    client.quit();
}

/// A password in clear, or in a form that is not one of ours, is no configuration.
#[test]
fn only_hashes_are_passwords() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringftpd.toml");
    let home = folder.path().display();
    for (hash, exit) in [(SECRET_HASH, 0), ("secret", 1), ("$1$salt$hash", 1), ("", 1)] {
        let process = root_line();
        let text = format!(
            "[[users]]\nname = \"alice\"\nhome = \"{home}\"\npassword = '{hash}'\n\
             [process]\n{process}"
        );
        fs::write(&path, text).unwrap();
        let mut program = Command::new(program::path());
        program.args(["check-config", "--config"]).arg(&path).env("HOME", folder.path());
        run(&mut program, DEADLINE).exits(exit);
    }
}

/// Root serves from a configuration only when it is written there.
#[test]
fn root_is_not_served_from_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ringftpd.toml");
    fs::write(&path, format!("[anonymous]\nhome = \"{}\"\n", folder.path().display())).unwrap();
    let mut program = Command::new(program::path());
    program.args(["check-config", "--config"]).arg(&path).env("HOME", folder.path());
    let checked = run(&mut program, DEADLINE);
    if geteuid().is_root() {
        checked.exits(1).says("process.user: is missing").says("process.user = \"root\"");
    } else {
        checked.success();
    }
}

/// What `[process]` of a configuration needs when the tests run as root.
fn root_line() -> &'static str {
    if geteuid().is_root() { "user = \"root\"\n" } else { "" }
}

/// The program with free ports on 127.0.0.1 and nothing of this machine's environment.
fn program(home: &Path) -> Command {
    let mut command = Command::new(program::path());
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// A server started by command line.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    out: String,
    seen_ready: bool,
}

impl Running {
    /// Starts it on free ports, unless a configuration names them, and waits for `ready`.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        if !command.get_args().any(|argument| argument == "--config") {
            command.args(["--implicit", "127.0.0.1:0", "--explicit", "127.0.0.1:0"]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = channel();
        let pipes: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let mut running = Self { child, lines, out: String::new(), seen_ready: false };
        while !running.seen_ready {
            let Ok(line) = running.lines.recv_timeout(2 * PATIENCE) else {
                panic!("never ready; it said:\n{}", running.out);
            };
            running.seen_ready = line == "ready";
            running.out += &format!("{line}\n");
        }
        running
    }

    /// Everything said so far.
    fn out(&mut self) -> String {
        self.out.extend(self.lines.try_iter().map(|line| line + "\n"));
        self.out.clone()
    }

    #[track_caller]
    pub(crate) fn line_with(&mut self, word: &str) -> String {
        let out = self.out();
        let mut lines = out.lines();
        let line = lines.find(|line| line.to_lowercase().contains(word));
        line.unwrap_or_else(|| panic!("no line with {word:?}:\n{out}")).trim().to_owned()
    }

    /// Lines to paste into a shell.
    fn commands(&mut self) -> Vec<String> {
        let out = self.out();
        let trimmed = out.lines().map(str::trim);
        let commands =
            trimmed.filter(|line| line.starts_with("curl ") || line.starts_with("lftp "));
        commands.map(str::to_owned).collect()
    }

    #[track_caller]
    pub(crate) fn address(&mut self, listener: Listener) -> SocketAddr {
        let kind = format!("listening {listener:?} ").to_lowercase();
        let line = self.line_with(&kind);
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// SIGTERM, exit 0; everything it said.
    #[track_caller]
    fn stop(mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let watch = Stopwatch::start();
        while self.child.try_wait().unwrap().is_none() {
            assert!(watch.elapsed() < PATIENCE, "does not stop");
            pause(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        let out = self.out();
        assert!(status.success() && !out.contains("panicked"), "{status}:\n{out}");
        out
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already over, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a line as a person would paste it; an interactive client is told to list and leave.
#[track_caller]
fn shell(line: &str, directory: &Path, variables: &[(&str, &str)]) -> Finished {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(directory).env("HOME", directory);
    command.envs(variables.iter().copied());
    run_with_input(&mut command, b"ls\nexit\n".to_vec(), DEADLINE)
}

/// SHA-256 of the certificate that is really served, as openssl prints it.
#[track_caller]
fn fingerprint(explicit: SocketAddr) -> String {
    let line = format!(
        "openssl s_client -starttls ftp -connect {explicit} </dev/null 2>/dev/null \
         | openssl x509 -noout -fingerprint -sha256"
    );
    let mut command = Command::new("sh");
    let finished = run(command.args(["-c", &line]), DEADLINE).success();
    finished.out().trim().rsplit_once('=').unwrap().1.to_uppercase()
}

fn files_readable_by_others(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_readable_by_others(&path));
        } else if fs::metadata(&path).unwrap().permissions().mode() & 0o077 != 0 {
            found.push(path.display().to_string());
        }
    }
    found
}

fn id_of(user: &str, flag: &str) -> u32 {
    let mut command = Command::new("id");
    run(command.args([flag, user]), DEADLINE).success().out().trim().parse().unwrap()
}
