//! Sockets that a service manager passes (sd_listen_fds(3)): taken by their names, kept open while
//! the server is restarted, and refused with a remedy where they fit nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::geteuid;
use socket2::{Domain, Socket, Type};

use crate::metrics::get;
use crate::reload::ctl;
use crate::run::{DEADLINE, Finished, run};
use crate::support::server::Builder;
use crate::support::wait::{PATIENCE, pause};
use crate::support::{Client, Listener, Server, program};
use crate::upgrade::Heir;

/// Passes the descriptors of its first argument, `name=number,…`, on to the program behind it, as
/// systemd does: from 3 on, and the environment says so.
const MANAGER: &str = "
import fcntl, os, sys
pairs = [pair.split('=') for pair in sys.argv[1].split(',')]
# Above all that they go to.
high = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 1000) for _, number in pairs]
for index, number in enumerate(high):
    os.dup2(number, 3 + index)
    os.close(number)
os.closerange(3 + len(pairs), 1000)
os.environ.update(
    LISTEN_PID=str(os.getpid()),
    LISTEN_FDS=str(len(pairs)),
    LISTEN_FDNAMES=':'.join(name for name, _ in pairs),
)
os.execvp(sys.argv[2], sys.argv[2:])
";

/// The manager's sockets.
struct Passed(Vec<(&'static str, OwnedFd)>);

impl Passed {
    fn new(sockets: Vec<(&'static str, OwnedFd)>) -> Self {
        for (_, socket) in &sockets {
            // Python, and what else a test starts meanwhile, has it, too.
            fcntl_setfd(socket, FdFlags::empty()).unwrap();
        }
        Self(sockets)
    }

    fn words(&self) -> String {
        let pair = |(name, socket): &(&str, OwnedFd)| format!("{name}={}", socket.as_raw_fd());
        self.0.iter().map(pair).collect::<Vec<_>>().join(",")
    }

    fn builder(&self, config: &str) -> Builder {
        Server::builder().toml(config).through(&["python3", "-c", MANAGER, &self.words()])
    }
}

/// A socket that listens at any port, or at that of another one.
fn listening(beside: Option<&OwnedFd>) -> OwnedFd {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    socket.bind(&beside.map_or(any, address_of).into()).unwrap();
    socket.listen(1024).unwrap();
    socket.into()
}

fn address_of(socket: &OwnedFd) -> SocketAddr {
    rustix::net::getsockname(socket.as_fd()).unwrap().try_into().unwrap()
}

fn both() -> (Passed, String) {
    let alone = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let (implicit, explicit) = (alone(), alone());
    let config = format!(
        "[listen]\nimplicit = [\"{}\"]\nexplicit = [\"{}\"]",
        address_of(&implicit),
        address_of(&explicit)
    );
    (Passed::new(vec![("implicit", implicit), ("explicit", explicit)]), config)
}

#[track_caller]
fn serves(server: &Server) {
    for listener in [Listener::Implicit, Listener::Explicit] {
        for _ in 0..6 {
            let mut client = Client::open(server, listener).login();
            client.expect("NOOP", 200);
            client.quit();
        }
    }
}

#[test]
fn sockets_are_taken_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ctl.sock");
    let metrics = OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let probes = address_of(&metrics);
    let (mut passed, config) = both();
    passed.0.push(("metrics", metrics));
    passed.0.push(("control", UnixListener::bind(&path).unwrap().into()));
    let passed = Passed::new(passed.0);
    let more = format!(
        "{config}\n[metrics]\nlisten = \"{probes}\"\n[control]\nsocket = {:?}",
        path.to_str().unwrap()
    );
    let server = passed.builder(&more).start();
    assert_eq!(server.address(Listener::Implicit), address_of(&passed.0[0].1));
    serves(&server);
    assert_eq!(get(probes, "/readyz"), (200, "ready\n".to_owned()));
    let mut program = Command::new(program::path());
    program.args(["ctl", "status", "--socket"]).arg(&path);
    run(&mut program, DEADLINE).success();
    server.stop();
    // They are the manager's still.
    TcpStream::connect(probes).unwrap();
    assert!(path.exists());
}

/// Fewer than shards, and one for each: everybody is served, and steering without effect is said.
#[test]
fn shards_share_what_there_is() {
    let first = listening(None);
    let address = address_of(&first);
    let config = format!(
        "[listen]\nimplicit = [\"{address}\"]\n[shards]\ncpus = \"0-1\"\nsteering = \"source\""
    );
    let one = Passed::new(vec![("implicit", first)]);
    let server = one.builder(&config).start();
    serves(&server);
    let log = server.stop();
    // Where too little memory may be locked for two rings of glommio, one shard is started.
    let both = log.contains("shards 2 ");
    assert!(both || program::is_on_glommio(), "{log}");
    assert_eq!(log.contains("passes 1 of 2 sockets for 127.0.0.1"), both, "{log}");
    let second = listening(Some(&one.0[0].1));
    let two = Passed::new(one.0.into_iter().chain([("implicit", second)]).collect());
    let server = two.builder(&config).start();
    serves(&server);
    let log = server.stop();
    assert!(!log.contains("sockets for 127.0.0.1"), "{log}");
}

/// Somebody connects all the time, while one server ends and the next one starts.
#[test]
fn a_restart_refuses_nobody() {
    let (passed, config) = both();
    let address = address_of(&passed.0[1].1);
    let server = passed.builder(&config).start();
    let end = AtomicBool::new(false);
    let greeted = thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            let mut clients = Vec::new();
            while !end.load(Ordering::Relaxed) {
                clients.push(TcpStream::connect(address).expect("a refused connection"));
                pause(Duration::from_millis(5));
            }
            // Those that came when there was no server wait no longer.
            clients.into_iter().map(greeting).collect::<Vec<_>>()
        });
        pause(Duration::from_millis(200));
        server.stop();
        pause(Duration::from_millis(200));
        let server = passed.builder(&config).start();
        pause(Duration::from_millis(100));
        end.store(true, Ordering::Relaxed);
        let greeted = connecting.join().unwrap();
        serves(&server);
        server.stop();
        greeted
    });
    assert!(greeted.len() > 40, "{}", greeted.len());
    for line in greeted {
        assert!(line.starts_with("220 ") || line.starts_with("421 "), "{line:?}");
    }
}

/// What it is greeted with; a reset is none.
fn greeting(client: TcpStream) -> String {
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).expect("a greeting");
    line
}

/// They go from process to process, and stay the manager's.
#[test]
fn an_upgrade_hands_them_over() {
    let (passed, config) = both();
    let mut server = passed.builder(&config).start();
    ctl(&server, &["upgrade"]).success();
    let heir = Heir::of(&server);
    assert!(server.wait().success());
    serves(&server);
    heir.stop();
    let waiting = TcpStream::connect(address_of(&passed.0[1].1)).unwrap();
    let next = passed.builder(&config).start();
    assert!(greeting(waiting).starts_with("220 "));
    next.stop();
}

/// `serve` with these sockets and this configuration.
fn refused(passed: &Passed, folder: &Path, config: &str) -> Finished {
    let user = if geteuid().is_root() { "[process]\nuser = \"root\"\n" } else { "" };
    let file = folder.join("ringftpd.toml");
    let text = format!("{config}\n{user}[anonymous]\nhome = {:?}\n", folder.to_str().unwrap());
    fs::write(&file, text).unwrap();
    let mut manager = Command::new("python3");
    manager.args(["-c", MANAGER, &passed.words()]).arg(program::path());
    manager.args(["serve", "--config"]).arg(file).arg("--state-dir").arg(folder.join("state"));
    run(&mut manager, DEADLINE).exits(1)
}

#[test]
fn what_fits_nothing_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let one = |name, socket| Passed::new(vec![(name, socket)]);
    let config = "[listen]\nimplicit = [\"127.0.0.1:1\"]\nexplicit = [\"127.0.0.1:0\"]";
    let check = |passed: &Passed, words: &[&str]| {
        let finished = refused(passed, folder.path(), config);
        words.iter().fold(finished, |finished, word| finished.says(word));
    };
    let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    check(&one("ftp", socket()), &["descriptor 3 of the", "\"ftp\"", "FileDescriptorName="]);
    check(&one("implicit", socket()), &["listen.implicit: ", "127.0.0.1:1; make ListenStream="]);
    check(&one("metrics", socket()), &["metrics.listen: ", "has off; "]);
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let two = Passed::new(vec![("explicit", socket()), ("explicit", silent.into())]);
    check(&two, &["descriptor 4 of the", "is no socket that listens; use ListenStream="]);
}

/// The names and the ports of the units that are shipped.
#[test]
fn shipped_units_have_names_that_are_known() {
    for (name, port) in [("implicit", 990), ("explicit", 21)] {
        let unit = format!("tuning/files/ringftpd-{name}.socket");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(unit);
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for line in [
            "Service=ringftpd.service".to_owned(),
            format!("FileDescriptorName={name}"),
            format!("ListenStream=0.0.0.0:{port}"),
            format!("ListenStream=[::]:{port}"),
            "BindIPv6Only=ipv6-only".to_owned(),
        ] {
            assert!(lines.contains(&line.as_str()), "{line}");
        }
    }
}
