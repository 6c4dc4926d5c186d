//! What operators trip over: each mistake is answered with what, where, cause and remedy.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, geteuid};

use crate::run::{Finished, run};
use crate::seccomp::refusing;
use crate::support::{Client, Server, program, wait_until};

/// Of a run that should end by itself.
const DEADLINE: Duration = Duration::from_secs(30);

/// `ringftpd check-config` of a configuration in `folder`.
fn check_config(folder: &Path, text: &str) -> Finished {
    let path = folder.join("ringftpd.toml");
    let home = folder.display();
    // As root a configuration has to say so.
    let user = if geteuid().is_root() { "[process]\nuser = \"root\"\n" } else { "" };
    fs::write(&path, format!("{text}\n{user}[anonymous]\nhome = \"{home}\"\n")).unwrap();
    let mut program = Command::new(program::path());
    program.args(["check-config", "--config"]).arg(&path).env("HOME", folder);
    run(&mut program, DEADLINE)
}

/// Signals whose default action ends a process, which is never what is meant: SIGUSR2 is sent by
/// mistake for SIGUSR1.
#[test]
fn no_stray_signal_ends_the_server() {
    let server = Server::builder().start();
    let mut client = Client::implicit(&server).login();
    for (signal, name, remedy) in [
        (Signal::USR2, "SIGUSR2", "SIGUSR1 logs its counters"),
        (Signal::ALARM, "SIGALRM", "means nothing here"),
        (Signal::VTALARM, "SIGVTALRM", "means nothing here"),
        (Signal::PROF, "SIGPROF", "means nothing here"),
        (Signal::IO, "SIGIO", "means nothing here"),
    ] {
        server.signal(signal);
        wait_until(name, || {
            let log = server.log();
            log.lines().any(|line| line.contains(name) && line.contains(remedy))
        });
    }
    server.signal(Signal::PIPE);
    client.expect("NOOP", 200);
    client.quit();
    server.stop();
}

/// One finding, however many CPUs are not there.
#[test]
fn cpus_that_are_not_there_are_one_finding() {
    let folder = tempfile::tempdir().unwrap();
    let finished = check_config(folder.path(), "[shards]\ncpus = \"0-1023\"").exits(1);
    let finished = finished.says("-1023: not there, offline, or outside the cpuset");
    assert_eq!(finished.count("shards.cpus"), 1, "{finished}");
}

/// A name that `[anonymous]` has would keep the configuration from loading.
#[test]
fn no_user_is_added_with_a_name_of_anonymous() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ringftpd.toml");
    let home = folder.path().display();
    let text = format!("[anonymous]\nhome = \"{home}\"\n");
    fs::write(&config, &text).unwrap();
    for name in ["anonymous", "ftp", "FTP"] {
        let mut command = Command::new(program::path());
        command.args(["user", "add", name, "--generate", "--config"]).arg(&config);
        let finished = run(command.arg("--home").arg(folder.path()), DEADLINE).exits(1);
        finished.says("is a name of [anonymous]").says("ringftpd.toml");
    }
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    // A file of users alone may be meant for a configuration without [anonymous].
    let mut command = Command::new(program::path());
    command.args(["user", "add", "ftp", "--generate", "--file"]).arg(folder.path().join("users"));
    let finished = run(command.arg("--home").arg(folder.path()), DEADLINE).success();
    finished.says("a configuration with [anonymous] does not load with this file");
}

/// A file system that is not mounted is no reason to fill the screen; the count is there.
#[test]
fn findings_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let user = |number: u32, password: &str| {
        format!(
            "[[users]]\nname = \"u{number}\"\nhome = \"{}/gone{number}\"\n\
             permissions = [\"read\"]\npassword = \"{password}\"\n",
            folder.path().display()
        )
    };
    let users: String = (0..300).map(|number| user(number, "plain")).collect();
    let finished = check_config(folder.path(), &users).exits(1);
    let said = String::from_utf8_lossy(&finished.stderr).into_owned();
    assert_eq!(said.lines().count(), 51, "{said}");
    finished.says("users[u49].password: ").says("ringftpd: and 250 more; mend these first");

    let hash = "$5$rounds=1000$saltstring$AH5PD0i.riCRu4BNDy9v7OPV7u3dfLBApcXI6khquVA";
    let users: String = (0..300).map(|number| user(number, hash)).collect();
    let finished = check_config(folder.path(), &users).success();
    let warnings = String::from_utf8_lossy(&finished.stderr).into_owned();
    assert_eq!(warnings.lines().count(), 51, "{warnings}");
    finished.says("users[u0].home: ").says("ringftpd: warning: and 25");
}

/// A certificate for another time is warned of, one of an old version is refused in words.
#[test]
fn certificates_that_clients_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let make = |arguments: &str| {
        let line = format!("cd '{}' && openssl {arguments}", path.display());
        run(Command::new("sh").args(["-c", &line]), DEADLINE).success();
    };
    let tls = "[tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"";
    make("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out root.pem -subj /CN=a -days 9");
    make("req -new -key key.pem -subj /CN=a -out request.pem");
    // Without extensions, openssl's x509 makes version 1.
    make("x509 -req -in request.pem -CA root.pem -CAkey key.pem -CAcreateserial -out chain.pem");
    let mut show = Command::new("openssl");
    show.args(["x509", "-noout", "-text", "-in"]).arg(path.join("chain.pem"));
    run(&mut show, DEADLINE).success().says("Version: 1 ");
    let finished = check_config(path, tls).exits(1);
    let finished = finished.says("chain.pem is of X.509 version 1; version 3 is needed");
    assert_eq!(finished.count("OtherError"), 0, "{finished}");
    fs::copy(path.join("root.pem"), path.join("chain.pem")).unwrap();
    let finished = check_config(path, tls).success();
    assert_eq!(finished.count("ends in"), 0, "nine days of nine are left: {finished}");
    let issue = |begin: &str, end: &str| {
        make(&format!(
            "version && : > index.txt; echo 01 > serial; printf '%s\\n' '[ca]' \
             'default_ca=c' '[c]' 'database=index.txt' 'new_certs_dir=.' 'serial=serial' \
             'default_md=sha256' 'policy=p' 'x509_extensions=e' '[p]' 'commonName=supplied' '[e]' \
             'subjectAltName=DNS:a' > ca.conf && openssl ca -batch -notext -config ca.conf \
             -selfsign -keyfile key.pem -in request.pem -out chain.pem \
             -startdate $(date -u -d '{begin}' +%Y%m%d%H%M%SZ) \
             -enddate $(date -u -d '{end}' +%Y%m%d%H%M%SZ)"
        ));
    };
    issue("-5 days", "+2 days");
    check_config(path, tls).success().says("tls.certificate: ends in 1 days");
    issue("2090-01-01", "2091-01-01");
    check_config(path, tls).success().says("tls.certificate: is not valid yet, for another ");
}

/// Container runtimes forbid io_uring by default, with EPERM (Docker) or ENOSYS (Podman): one
/// sentence with the calls to allow, before anything is bound, and in check-config, too.
#[test]
fn io_uring_forbidden_by_seccomp_is_one_sentence() {
    const EPERM: &str = "1";
    const ENOSYS: &str = "38";
    let folder = tempfile::tempdir().unwrap();
    for (errno, number, call) in [
        (EPERM, "425", "io_uring_setup"),
        (ENOSYS, "425", "io_uring_setup"),
        (EPERM, "426", "io_uring_enter"),
        (EPERM, "427", "io_uring_register"),
    ] {
        let registers = program::is_on_glommio();
        if call == "io_uring_register" && !registers {
            continue;
        }
        for command in ["serve", "check-config"] {
            let [filter, arguments @ ..] = refusing(errno, number);
            let mut program = Command::new(filter);
            program.args(arguments).arg(program::path());
            program.args([command, "--implicit", "127.0.0.1:0"]);
            program.args(["--explicit", "none"]).arg(folder.path()).env("HOME", folder.path());
            let finished = run(&mut program, DEADLINE).exits(1);
            let said = String::from_utf8_lossy(&finished.stderr);
            let mut lines = said.lines().filter(|line| !line.starts_with("ringftpd: warning: "));
            let start = format!("ringftpd: io_uring cannot be used: {call} says ");
            assert!(lines.next().unwrap_or("").starts_with(&start), "{finished}");
            assert_eq!(lines.next(), None, "{finished}");
            finished.says(if registers {
                "allow io_uring_setup, io_uring_enter and io_uring_register in"
            } else {
                "allow io_uring_setup and io_uring_enter in"
            });
        }
    }
}

/// Each way of setting a ring up serves alike, and what is none is a sentence.
#[test]
fn rings_can_be_set_up_in_each_way() {
    if program::is_on_glommio() {
        return;
    }
    for level in ["plain", "cooperative", "deferred"] {
        let ring = format!("RINGFTPD_RING={level}");
        let server = Server::builder().through(&["env", &ring]).start();
        fs::write(server.root().join("file"), level).unwrap();
        let mut client = Client::implicit(&server).login();
        assert_eq!(client.retrieve("RETR file"), level.as_bytes());
        client.store("STOR other", b"content");
        client.quit();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(program::path());
    program.arg("check-config").env("RINGFTPD_RING", "best").env("HOME", folder.path());
    let finished = run(program.current_dir(folder.path()), DEADLINE).exits(1);
    finished.says("RINGFTPD_RING is \"best\": \"deferred\", \"cooperative\" or \"plain\"");
}

/// Where the kernel counts locked memory, as many shards start as may have it; where it does not,
/// for CAP_IPC_LOCK, all of them.
#[test]
fn as_many_shards_as_locked_memory_allows() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::thread::available_parallelism().unwrap().get();
    let check = |before: &str| {
        let program = program::path();
        // KiB: what one needs, and what two would.
        let limit = if program::is_on_glommio() { 512 } else { 300 };
        let line = format!("ulimit -l {limit}; exec {before} {program} check-config .");
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(folder.path()).env("HOME", folder.path());
        run(&mut command, DEADLINE).success()
    };
    let root = geteuid().is_root();
    let charged = check(if root { "setpriv --bounding-set -ipc_lock,-sys_resource" } else { "" });
    if count > 1 {
        charged
            .says("which is enough for 1 shards of the")
            .says("LimitMEMLOCK=")
            .says("(1 shards)");
    }
    if root {
        check("").says(&format!("({count} shards)"));
    }
}

/// Names in the log are what they are, and how a transfer went is one of a few words.
#[test]
fn the_log_has_words_and_names() {
    for (format, name, latin, forged, missing) in [
        (
            "text",
            "path=\"/Gr\u{fc}\u{df}e\" ",
            r#"path="/Gr\xfc\xdfe" "#,
            r#"path="/a\x0aERROR b\" end=\"c" "#,
            r#"path="/missing" refused="not_found""#,
        ),
        (
            "json",
            "\"path\":\"/Gr\u{fc}\u{df}e\",",
            r#""path":"/Gr\\xfc\\xdfe","#,
            r#""path":"/a\nERROR b\" end=\"c","#,
            r#""path":"/missing","refused":"not_found""#,
        ),
    ] {
        let server = Server::builder().toml(&format!("[log]\nformat = \"{format}\"")).start();
        let mut client = Client::implicit(&server);
        client.expect("USER J\u{fc}rgen", 331);
        client.expect("PASS wrong", 530);
        let mut client = client.login();
        client.store("STOR Gr\u{fc}\u{df}e", b"content");
        client.store(b"STOR Gr\xfc\xdfe", b"content");
        client.store("STOR a\nERROR b\" end=\"c", b"content");
        let _data = client.passive();
        client.expect("RETR missing", 550);
        client.quit();
        for wanted in ["J\u{fc}rgen", name, latin, forged, missing] {
            wait_until(wanted, || server.log().contains(wanted));
        }
        let log = server.log();
        let ended = |line: &&str| line.contains("transfer ended") && line.contains("complete");
        assert_eq!(log.lines().filter(ended).count(), 3, "{log}");
        assert_eq!(log.lines().filter(|line| line.starts_with("ERROR")).count(), 0, "{log}");
    }
}
