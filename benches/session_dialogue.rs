//! What the server-PI costs without anything around it: the sans-io session from the greeting to
//! QUIT, and one download of a session that is kept.

mod support;

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use ringftpd::clock;
use ringftpd::protocol::account::{Account, HomeId, Permissions};
use ringftpd::protocol::file::Opened;
use ringftpd::protocol::policy::Policy;
use ringftpd::protocol::session::{ControlTls, Input, Mode, Output, Session, SessionStart};

const LOG_IN: [&[u8]; 2] = [b"USER alice\r\n", b"PASS secret\r\n"];
const DOWNLOAD: [&[u8]; 3] = [b"TYPE I\r\n", b"PASV\r\n", b"RETR pub/annual report.pdf\r\n"];
const QUIT: &[u8] = b"QUIT\r\n";

/// First digits of the replies that each must get.
const LOG_IN_CODES: &str = "220 331 230 ";
const DOWNLOAD_CODES: &str = "200 227 150 226 ";
const QUIT_CODES: &str = "221 ";

fn dialogues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session_dialogue");
    let whole = [&LOG_IN[..], &DOWNLOAD[..], &[QUIT]].concat();
    let pipelined = whole.concat();
    let codes = [LOG_IN_CODES, DOWNLOAD_CODES, QUIT_CODES].concat();
    for (name, segments) in [("whole", &whole[..]), ("whole_pipelined", &[&pipelined[..]])] {
        let mut shell = Shell::new();
        shell.converse(segments);
        assert_eq!(shell.codes(), codes, "{name}");
        support::report_work(name, &shell.sent);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut shell = Shell::new();
                shell.converse(black_box(segments));
                shell.sent.len()
            });
        });
    }

    let mut shell = Shell::new();
    shell.converse(&LOG_IN);
    shell.sent.clear();
    shell.converse(&DOWNLOAD);
    assert_eq!(shell.codes(), DOWNLOAD_CODES);
    support::report_work("download", &shell.sent);
    group.bench_function("download", |bencher| {
        bencher.iter(|| {
            shell.sent.clear();
            shell.converse(black_box(&DOWNLOAD));
            shell.sent.len()
        });
    });
    group.finish();
}

/// Stands where the server's shells do: everything the session asks for succeeds at once.
struct Shell {
    session: Session,
    now: Instant,
    sent: Vec<u8>,
}

impl Shell {
    /// A connection to the implicit port, greeted.
    fn new() -> Self {
        let now = clock::now();
        let start = SessionStart {
            policy: Arc::new(Policy::default()),
            mode: Mode::Implicit,
            local: SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 990),
            peer: SocketAddr::new(Ipv4Addr::new(192, 0, 2, 7).into(), 40_000),
            refused: false,
        };
        let mut shell = Self { session: Session::new(now, start), now, sent: Vec::new() };
        shell.session.handle_input(now, Input::Connected);
        shell.perform();
        shell
    }

    /// Feeds each segment as one piece, and does what the session asks for.
    fn converse(&mut self, segments: &[&[u8]]) {
        for segment in segments {
            let mut rest = *segment;
            while !rest.is_empty() {
                let taken = self.session.feed(self.now, rest);
                self.perform();
                rest = &rest[taken..];
            }
        }
    }

    fn perform(&mut self) {
        loop {
            let (mut answer, mut replied) = (None, false);
            while let Some(output) = self.session.poll_output() {
                if let Output::Reply(octets) = &output {
                    self.sent.extend_from_slice(octets);
                    replied = true;
                }
                // At most one request is open at a time.
                answer = answer.or_else(|| Self::answer(&output));
            }
            match answer {
                Some(input) => self.session.handle_input(self.now, input),
                None if replied => self.session.handle_input(self.now, Input::Flushed),
                None => return,
            }
        }
    }

    fn answer(output: &Output) -> Option<Input> {
        Some(match output {
            Output::StartTls { .. } => Input::TlsEstablished(ControlTls::default()),
            Output::Authenticate { .. } => Input::Authenticated(Ok(Account {
                name: "alice".to_owned(),
                home: HomeId(0),
                permissions: Permissions::ALL,
                lax_upload_eof: None,
            })),
            Output::ListenPassive => {
                let address = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 50_001);
                Input::PassiveListening(Ok(address))
            }
            Output::OpenTransfer(_) => {
                Input::TransferOpened(Ok(Opened { size: Some(4096), name: None }))
            }
            Output::RunTransfer { .. } => Input::TransferFinished(Ok(())),
            _ => return None,
        })
    }

    /// The codes of all replies, in order, a space after each.
    fn codes(&self) -> String {
        let text = String::from_utf8(self.sent.clone()).expect("replies are ASCII");
        let code = |line: &str| line.get(..4).map(str::to_owned);
        text.lines().filter_map(code).collect()
    }
}

criterion_group!(benches, dialogues);
criterion_main!(benches);
