//! Tests of the session through its public contract, with a scripted shell in place of the real
//! ones. The whole dialogue with random input, faults and cut connections is in
//! `connection::tests`.

mod login;
mod names;
mod queue;
mod security;
mod state_table;
mod timeouts;
mod transfers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    AuthenticationError, ControlTls, Event, Input, Mode, Output, Session, SessionStart,
    TransferError,
};
use crate::clock;
use crate::protocol::account::{Account, HomeId, Permissions};
use crate::protocol::file::{
    FileError, FileKind, FileReply, FileRequest, FileTime, HashAlgorithm, Metadata, NameFacts,
    Opened, TransferRequest,
};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::Policy;

pub(super) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const PASSIVE_PORT: u16 = 50_001;

/// What the scripted shell leaves unanswered, so that a test can act meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Nothing,
    Handshake,
    Shutdown,
    File,
    Passive,
    Opening,
    Running,
    Authentication,
}

/// Feeds a session and performs what it asks for, with a storage of fixed answers: a name that
/// starts with `absent` is not there, one that starts with `dir` is a directory, all else is a
/// file of 10 octets.
struct Shell {
    session: Session,
    now: Instant,
    hold: Hold,
    /// The client authenticated with a certificate in the next handshake.
    certificate: bool,
    server_name: Option<String>,
    /// Replies since the last [`Shell::take`].
    sent: Vec<u8>,
    /// Every other output, in order, since the last [`Shell::take_outputs`].
    outputs: Vec<Output>,
    events: Vec<Event>,
    /// Open listeners, to prove that there is never more than one.
    listening: bool,
    running: bool,
    /// The transfer was ended while it was being opened.
    aborted: bool,
    closed: bool,
    flushes: bool,
}

impl Shell {
    /// A connection just accepted and greeted; TLS is up on the implicit port.
    fn new(mode: Mode, policy: Policy) -> Self {
        let mut shell = Self::accepted(mode, policy);
        shell.input(Input::Connected);
        assert_eq!(shell.take(), "220");
        shell.take_outputs();
        shell
    }

    /// A connection just accepted.
    fn accepted(mode: Mode, policy: Policy) -> Self {
        Self::start(mode, policy, false)
    }

    fn start(mode: Mode, policy: Policy, refused: bool) -> Self {
        let now = clock::now();
        let start = SessionStart {
            policy: Arc::new(policy),
            mode,
            local: SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 21),
            peer: SocketAddr::new(CLIENT, 40_000),
            refused,
        };
        Self {
            session: Session::new(now, start),
            now,
            hold: Hold::Nothing,
            certificate: false,
            server_name: None,
            sent: Vec::new(),
            outputs: Vec::new(),
            events: Vec::new(),
            listening: false,
            running: false,
            aborted: false,
            closed: false,
            flushes: true,
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let taken = self.session.feed(self.now, rest);
            self.perform();
            if taken == 0 {
                break;
            }
            rest = &rest[taken..];
        }
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.perform();
    }

    /// The session's deadline passes.
    fn sleep(&mut self) -> Duration {
        let deadline = self.session.poll_timeout().expect("no deadline");
        let waited = deadline.saturating_duration_since(self.now);
        self.now = self.now.max(deadline);
        self.input(Input::Timeout);
        waited
    }

    fn perform(&mut self) {
        let mut replied = false;
        let mut answers = Vec::new();
        while let Some(output) = self.session.poll_output() {
            assert!(!self.closed, "{output:?} after Close");
            replied |= matches!(output, Output::Reply(_));
            answers.extend(self.answer(&output));
            match output {
                Output::Reply(octets) => self.sent.extend_from_slice(&octets),
                Output::Event(event) => self.events.push(event),
                output => self.outputs.push(output),
            }
        }
        if replied && self.flushes && !self.closed {
            self.input(Input::Flushed);
        }
        for answer in answers {
            self.input(answer);
        }
    }

    fn answer(&mut self, output: &Output) -> Option<Input> {
        let held = self.hold;
        match output {
            Output::StartTls { .. } if held != Hold::Handshake => Some(self.established()),
            Output::ShutdownTls(_) if held != Hold::Shutdown => Some(Input::TlsEnded),
            Output::Identify { user } if held != Hold::Authentication => {
                Some(Input::Identified(Ok((user == b"cert").then(|| account("cert")))))
            }
            Output::Authenticate { user, password } if held != Hold::Authentication => {
                let name = String::from_utf8_lossy(user).into_owned();
                let right = password.0 == b"right";
                let result = right.then(|| account(&name)).ok_or(AuthenticationError::Rejected);
                Some(Input::Authenticated(result))
            }
            Output::File(request) if held != Hold::File => Some(Input::File(storage(request))),
            Output::ListenPassive => {
                self.listening = true;
                (held != Hold::Passive).then(passive)
            }
            Output::ClosePassive => {
                assert!(self.listening, "no listener to close");
                self.listening = false;
                None
            }
            Output::OpenTransfer(request) if held != Hold::Opening => {
                Some(Input::TransferOpened(open(request)))
            }
            Output::RunTransfer { .. } => {
                self.listening = false;
                self.running = true;
                if std::mem::take(&mut self.aborted) {
                    return Some(self.finished(Err(TransferError::Aborted)));
                }
                (held != Hold::Running).then(|| self.finished(Ok(())))
            }
            Output::AbortTransfer => {
                let was_running = std::mem::take(&mut self.running);
                self.aborted = !was_running;
                was_running.then_some(Input::TransferFinished(Err(TransferError::Aborted)))
            }
            Output::ReportProgress => Some(Input::Progress(4_711)),
            Output::Close => {
                self.closed = true;
                None
            }
            _ => None,
        }
    }

    fn established(&mut self) -> Input {
        Input::TlsEstablished(ControlTls {
            server_name: self.server_name.clone(),
            client_certificate: self.certificate,
            description: "TLSv1.3".to_owned(),
        })
    }

    fn finished(&mut self, result: Result<(), TransferError>) -> Input {
        self.running = false;
        Input::TransferFinished(result)
    }

    /// Lets the held transfer end.
    fn finish(&mut self, result: Result<(), TransferError>) {
        assert!(self.running, "no transfer runs");
        self.hold = Hold::Nothing;
        let input = self.finished(result);
        self.input(input);
    }

    /// Reply octets since the last call.
    fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Codes of the replies since the last call, `closed` at the end when the session closed.
    fn take(&mut self) -> String {
        let text = self.take_text();
        let mut words = codes(&text);
        if self.closed {
            words.push("closed".to_owned());
        }
        words.join(" ")
    }

    fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    fn send(&mut self, command: impl AsRef<[u8]>) -> String {
        self.feed(&[command.as_ref(), b"\r\n"].concat());
        self.take()
    }

    #[track_caller]
    fn check(&mut self, command: impl AsRef<[u8]>, expected: &str) {
        let command = command.as_ref();
        let codes = self.send(command);
        assert_eq!(codes, expected, "after {}", command.escape_ascii());
    }

    #[track_caller]
    fn check_text(&mut self, command: impl AsRef<[u8]>, expected: &[u8]) {
        self.feed(&[command.as_ref(), b"\r\n"].concat());
        let text = self.take_text();
        assert_eq!(text.escape_ascii().to_string(), expected.escape_ascii().to_string());
    }

    /// A whole transfer that asks storage for exactly this.
    #[track_caller]
    fn check_transfer(&mut self, command: &str, expected: TransferRequest) {
        self.take_outputs();
        self.check(command, "150 226");
        assert_eq!(self.take_outputs()[0], Output::OpenTransfer(expected), "{command}");
    }

    fn log_in(mut self) -> Self {
        self.check("USER ann", "331");
        self.check("PASS right", "230");
        self.take_outputs();
        self
    }

    /// Behind a password that nobody has judged yet.
    fn authenticating(mut self) -> Self {
        self.hold = Hold::Authentication;
        self.check("USER ann", "331");
        self.check("PASS right", "");
        self
    }

    fn auth(mut self) -> Self {
        self.check("AUTH TLS", "234");
        self.take_outputs();
        self
    }

    /// PBSZ and PROT P.
    fn protect(mut self) -> Self {
        self.check("PBSZ 0", "200");
        self.check("PROT P", "200");
        self
    }

    /// A download that runs until [`Shell::finish`].
    fn running(mut self) -> Self {
        self.check("EPSV", "229");
        self.hold = Hold::Running;
        self.check("RETR file", "150");
        self.take_outputs();
        self
    }
}

/// Logged in on the explicit port under TLS, data connections protected.
fn logged_in() -> Shell {
    Shell::new(Mode::Explicit, strict()).auth().log_in().protect()
}

/// Logged in, in clear, on a server that allows it.
fn logged_in_clear() -> Shell {
    Shell::new(Mode::Explicit, lax()).log_in()
}

/// TLS is demanded everywhere; CCC is allowed.
fn strict() -> Policy {
    Policy { allow_ccc: true, ..Policy::default() }
}

/// TLS is an offer.
fn lax() -> Policy {
    Policy { require_control_tls: false, require_data_tls: false, ..strict() }
}

fn account(name: &str) -> Account {
    let permissions = Permissions::ALL;
    Account { name: name.to_owned(), home: HomeId(0), permissions, lax_upload_eof: None }
}

fn passive() -> Input {
    let address = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), PASSIVE_PORT);
    Input::PassiveListening(Ok(address))
}

fn path(text: &[u8]) -> VirtualPath {
    VirtualPath::root().resolve(text).unwrap()
}

fn metadata_of(path: &VirtualPath) -> Result<Metadata, FileError> {
    let name = path.file_name().unwrap_or(b"dir");
    if name.starts_with(b"absent") {
        return Err(FileError::NotFound);
    }
    let kind = match name {
        name if name.starts_with(b"dir") => FileKind::Directory,
        name if name.starts_with(b"link") => FileKind::Link,
        _ => FileKind::File,
    };
    Ok(Metadata {
        kind,
        size: 10,
        modified: FileTime { seconds: 1_000_000_000, nanoseconds: 0 },
        mode: 0o644,
        links: 1,
        unique: (1, 2),
        writable: true,
        searchable: !name.ends_with(b"locked"),
    })
}

fn storage(request: &FileRequest) -> Result<FileReply, FileError> {
    match request {
        FileRequest::Metadata(path) | FileRequest::SetFacts { path, .. } => {
            metadata_of(path).map(FileReply::Metadata)
        }
        FileRequest::Facts { path, digests } => metadata_of(path).map(|metadata| {
            let digest = (HashAlgorithm::Sha1, vec![0xab; 20]);
            let digests = if *digests { vec![digest] } else { Vec::new() };
            let link = path.file_name().map_or(&b""[..], |name| match metadata.kind {
                FileKind::Link => name,
                _ => b"",
            });
            FileReply::Facts(NameFacts { metadata, link: link.to_vec(), digests })
        }),
        FileRequest::MakeDirectory(_) | FileRequest::MakeDirectories(_) => Ok(FileReply::Done),
        FileRequest::RemoveDirectory(path) | FileRequest::Delete(path) => {
            metadata_of(path).map(|_| FileReply::Done)
        }
        FileRequest::Rename { to, .. } => metadata_of(to).map(|_| FileReply::Done),
        FileRequest::AsciiSize(path) => metadata_of(path).map(|_| FileReply::Octets(12)),
        FileRequest::Available(path) => metadata_of(path).map(|_| FileReply::Octets(1_000)),
        FileRequest::Hash { path, start, .. } => {
            let digest = vec![0xab; 4];
            metadata_of(path).map(|_| FileReply::Hash { digest, start: *start, end: 10 })
        }
        FileRequest::ControlListing(list) => {
            metadata_of(&list.path).map(|_| FileReply::Listing(b"-rw-r--r-- file\r\n".to_vec()))
        }
    }
}

fn open(request: &TransferRequest) -> Result<Opened, FileError> {
    match request {
        TransferRequest::Retrieve { path, offset, .. } => {
            let size = metadata_of(path)?.size;
            let left = size.checked_sub(*offset).ok_or(FileError::BeyondEnd)?;
            Ok(Opened { size: Some(left), name: None })
        }
        TransferRequest::Store { path, .. } => {
            metadata_of(path)?;
            Ok(Opened { size: None, name: path.file_name().map(<[u8]>::to_vec) })
        }
        TransferRequest::List(list) => metadata_of(&list.path).map(|_| Opened::default()),
    }
}

/// The codes of a run of replies, each of which must be well formed (RFC 959 §4.2) [FMT-01].
#[track_caller]
fn codes(text: &[u8]) -> Vec<String> {
    let mut codes = Vec::new();
    let mut open: Option<String> = None;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("a line without CRLF");
        let line = &rest[..end];
        rest = &rest[end + 2..];
        let head = String::from_utf8_lossy(&line[..line.len().min(4)]).into_owned();
        match &open {
            Some(code) if head == format!("{code} ") => open = None,
            Some(_) => {}
            None => {
                let (code, separator) = head.split_at(3);
                assert!(code.bytes().all(|octet| octet.is_ascii_digit()), "no code: {head:?}");
                assert!([" ", "-"].contains(&separator), "no separator: {head:?}");
                if separator == "-" {
                    open = Some(code.to_owned());
                }
                codes.push(code.to_owned());
            }
        }
    }
    assert_eq!(open, None, "a multi-line reply without its end");
    codes
}
