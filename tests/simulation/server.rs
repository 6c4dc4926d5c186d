//! The server under test: the real session and the real TLS layer, with storage and data
//! connections of the simulation in place of the kernel's.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ringftpd::buffer::RecvBuffer;
use ringftpd::protocol::account::{Account, HomeId};
use ringftpd::protocol::file::{
    FileError, FileKind, FileReply, FileRequest, FileTime, Metadata, NameFacts, Opened, StoreMode,
    TransferRequest,
};
use ringftpd::protocol::path::VirtualPath;
use ringftpd::protocol::policy::{DataResumption, Policy};
use ringftpd::protocol::session::{
    AfterTls, AuthenticationError, ControlTls, Input, Mode, Output, ProtectionLevel, Session,
    SessionStart, TransferError,
};
use ringftpd::tls::{
    Channel, ControlSession, Drain, DrainProgress, Handshake, Opened as OpenedRecord, PemText,
    Progress, Purpose, ServerCertificate, ServerTls, TlsError, TlsOptions, TlsProfile, TlsVersions,
};

use crate::model::{Asked, Canary, Tree, rename_in, store_in, unix_lines};
use crate::workload::{Random, Swarm};
use crate::world::{FAILURES_MAX, permissions_of};

/// Ed25519, because its signatures are all of one length: a run then repeats to the octet.
pub(crate) static CERTIFICATE: LazyLock<(ServerCertificate, Vec<u8>)> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["server.test".to_owned()]).unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let (chain, key) = (certificate.pem(), key.serialize_pem());
    let der = certificate.der().to_vec();
    (ServerCertificate::from_pem(&pem(&chain), &pem(&key)).unwrap(), der)
});

pub(crate) static TLS: LazyLock<Arc<ServerTls>> = LazyLock::new(|| {
    ServerTls::new(TlsOptions {
        certificates: vec![CERTIFICATE.0.clone()],
        profile: TlsProfile::Balanced,
        versions: TlsVersions::default(),
        groups: None,
        cipher_suites: None,
        client_ca: None,
        client_fingerprints: std::collections::BTreeSet::new(),
        resumption: DataResumption::Prefer,
        ticket_secret: [7; 32],
        ticket_lifetime: Duration::from_secs(3_600),
    })
    .unwrap()
});

fn pem(text: &str) -> PemText {
    PemText { origin: "memory".to_owned(), pem: text.as_bytes().to_vec() }
}

enum Wire {
    Clear,
    Handshake(Box<Handshake>),
    Protected(Box<Channel>),
    Draining(Box<Drain>),
}

/// What happens to the server later.
#[derive(Debug)]
pub(crate) enum Later {
    Answer(Input),
    /// Something happens on the data connection of that transfer.
    Data(u32),
}

/// How a data connection goes on after its octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotOpened,
    HandshakeFailed,
    /// close_notify, or FIN where there is no TLS.
    Clean,
    /// FIN without close_notify.
    BareFin,
    Reset,
    Stall,
    Stalled,
    StorageFails(FileError),
}

#[derive(Debug)]
struct Running {
    id: u32,
    request: TransferRequest,
    level: ProtectionLevel,
    chunks: VecDeque<Vec<u8>>,
    received: Vec<u8>,
    end: End,
}

pub(crate) struct Server {
    pub(crate) session: Session,
    wire: Wire,
    raw: RecvBuffer,
    plain: Vec<u8>,
    /// Octets for the client.
    pub(crate) out: Vec<u8>,
    answers: VecDeque<Input>,
    pub(crate) later: Vec<(u64, Later)>,
    pub(crate) log: Vec<Asked>,
    pub(crate) trees: [Tree; 2],
    opened: Option<TransferRequest>,
    /// The transfer was ended while it was being opened.
    aborted: bool,
    running: Option<Running>,
    transfers: u32,
    listening: bool,
    pub(crate) closing: bool,
    /// The client sends nothing more.
    ended: bool,
    ended_told: bool,
    random: Random,
    swarm: Swarm,
    canary: Canary,
}

impl Server {
    pub(crate) fn new(now: Instant, swarm: &Swarm, canary: Canary, tree: &Tree, seed: u64) -> Self {
        let policy = Policy {
            require_control_tls: swarm.tls_required,
            require_data_tls: swarm.tls_required,
            allow_ccc: true,
            login_failures: FAILURES_MAX,
            ..Policy::default()
        };
        let start = SessionStart {
            policy: Arc::new(policy),
            mode: if swarm.implicit { Mode::Implicit } else { Mode::Explicit },
            local: "192.0.2.1:21".parse().unwrap(),
            peer: "192.0.2.7:40000".parse().unwrap(),
            refused: false,
        };
        Self {
            session: Session::new(now, start),
            wire: Wire::Clear,
            raw: RecvBuffer::new(),
            plain: Vec::new(),
            out: Vec::new(),
            answers: VecDeque::from([Input::Connected]),
            later: Vec::new(),
            log: Vec::new(),
            trees: [tree.clone(), tree.clone()],
            opened: None,
            aborted: false,
            running: None,
            transfers: 0,
            listening: false,
            closing: false,
            ended: false,
            ended_told: false,
            random: Random::new(seed ^ 0x5e17e7),
            swarm: swarm.clone(),
            canary,
        }
    }

    pub(crate) fn receive(&mut self, octets: &[u8]) {
        self.raw.extend_from_slice(octets);
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.answers.push_back(input);
    }

    /// The client sends nothing more.
    pub(crate) fn ends(&mut self, now: Instant) {
        if self.canary == Canary::CutLine {
            self.session.feed(now, b"\r\n");
            self.perform();
        }
        self.ended = true;
    }

    /// All that came before the end has been fed.
    fn tell_of_end(&mut self) -> bool {
        let between = matches!(self.wire, Wire::Handshake(_) | Wire::Draining(_));
        let tell = self.ended && !self.ended_told && (self.session.wants_bytes() || between);
        if tell {
            self.ended_told = true;
            self.answers.push_back(Input::SendingEnded);
        }
        tell
    }

    /// Goes on until something must arrive.
    pub(crate) fn run(&mut self, now: Instant) {
        while !self.closing {
            if let Some(input) = self.answers.pop_front() {
                self.session.handle_input(now, input);
                self.perform();
            } else {
                match self.step(now) {
                    Ok(true) => {}
                    Ok(false) if self.tell_of_end() => {}
                    Ok(false) => return,
                    Err(_) => self.answers.push_back(Input::Disconnected),
                }
            }
        }
    }

    /// As `connection::control::wire` does it: one record, or what the session has room for.
    fn step(&mut self, now: Instant) -> Result<bool, TlsError> {
        match &mut self.wire {
            Wire::Clear => {
                if self.raw.is_empty() || !self.session.wants_bytes() {
                    return Ok(false);
                }
                let taken = self.session.feed(now, self.raw.filled());
                self.raw.consume(taken);
                self.perform();
            }
            Wire::Handshake(handshake) => {
                if handshake.advance(&mut self.raw, &mut self.out)? == Progress::NeedBytes {
                    return Ok(false);
                }
                let Wire::Handshake(done) = std::mem::replace(&mut self.wire, Wire::Clear) else {
                    return Ok(false);
                };
                let (channel, _) = done.finish()?;
                self.wire = Wire::Protected(Box::new(channel));
                self.answers.push_back(Input::TlsEstablished(ControlTls::default()));
            }
            Wire::Protected(_) => return self.step_protected(now),
            Wire::Draining(drain) => {
                if drain.advance(&mut self.raw)? == DrainProgress::NeedBytes {
                    return Ok(false);
                }
                self.wire = Wire::Clear;
                self.answers.push_back(Input::TlsEnded);
            }
        }
        Ok(true)
    }

    fn step_protected(&mut self, now: Instant) -> Result<bool, TlsError> {
        let Wire::Protected(channel) = &mut self.wire else { return Ok(false) };
        if !self.session.wants_bytes() {
            return Ok(false);
        }
        if self.plain.is_empty() {
            match channel.open(self.raw.filled_mut(), &mut self.out)? {
                OpenedRecord::Incomplete => return Ok(false),
                OpenedRecord::Handled { consumed } => self.raw.consume(consumed),
                OpenedRecord::CloseNotify { consumed } => {
                    self.raw.consume(consumed);
                    return Ok(!std::mem::replace(&mut self.ended, true));
                }
                OpenedRecord::Data { consumed, plaintext } => {
                    self.plain.extend_from_slice(&self.raw.filled()[plaintext]);
                    self.raw.consume(consumed);
                }
            }
            return Ok(true);
        }
        let taken = self.session.feed(now, &self.plain);
        self.plain.drain(..taken);
        self.perform();
        Ok(true)
    }

    fn perform(&mut self) {
        while let Some(output) = self.session.poll_output() {
            assert!(!self.closing, "{output:?} after Close");
            match output {
                Output::Reply(reply) => {
                    if self.canary == Canary::LostReply && self.random.one_in(40) {
                        continue;
                    }
                    self.send(&reply);
                    self.answers.push_back(Input::Flushed);
                }
                Output::StartTls { host } => {
                    let session = ControlSession::new().unwrap();
                    let handshake =
                        Handshake::new(&TLS, Purpose::Control, &session, host.as_deref());
                    self.wire = Wire::Handshake(Box::new(handshake));
                }
                Output::ShutdownTls(after) => self.shut_down_tls(after),
                Output::Close => {
                    if let Wire::Protected(channel) = &mut self.wire {
                        channel.seal_close_notify(&mut self.out).unwrap();
                    }
                    self.closing = true;
                    assert!(!self.listening, "closed with a listener open");
                    assert!(self.running.is_none(), "closed with a transfer running");
                }
                output => self.perform_request(output),
            }
        }
    }

    fn send(&mut self, reply: &[u8]) {
        match &mut self.wire {
            Wire::Clear => self.out.extend_from_slice(reply),
            Wire::Protected(channel) => channel.seal(reply, &mut self.out).unwrap(),
            Wire::Handshake(_) | Wire::Draining(_) => panic!("a reply between two TLS states"),
        }
    }

    fn shut_down_tls(&mut self, after: AfterTls) {
        self.plain.clear();
        let Wire::Protected(mut channel) = std::mem::replace(&mut self.wire, Wire::Clear) else {
            panic!("shutdown of a TLS that is not there");
        };
        channel.seal_close_notify(&mut self.out).unwrap();
        self.wire = Wire::Draining(Box::new(Drain::new(*channel, after)));
    }

    fn perform_request(&mut self, output: Output) {
        match output {
            Output::Authenticate { user, password } => {
                let name = String::from_utf8(user).unwrap();
                let home = HomeId(u32::from(name == "bob"));
                let permissions = permissions_of(Some(&name));
                let account = Account { name, home, permissions, lax_upload_eof: None };
                let result = if password.0 == b"right" {
                    Ok(account)
                } else {
                    Err(AuthenticationError::Rejected)
                };
                self.later.push((5, Later::Answer(Input::Authenticated(result))));
            }
            Output::File(request) => self.ask_storage(request),
            // The answer is on its way.
            Output::GiveUpFile => {}
            Output::ListenPassive => {
                self.listening = true;
                let address = "192.0.2.1:50000".parse().unwrap();
                self.answers.push_back(Input::PassiveListening(Ok(address)));
            }
            Output::ClosePassive => {
                assert!(self.listening, "no listener to close");
                self.listening = false;
            }
            Output::OpenTransfer(request) => self.open(request),
            Output::RunTransfer { level, .. } => {
                self.listening = false;
                self.run_transfer(level);
            }
            Output::AbortTransfer => {
                self.aborted = self.running.is_none();
                if self.running.is_some() {
                    self.finish(Err(TransferError::Aborted));
                }
            }
            Output::ReportProgress => self.answers.push_back(Input::Progress(1)),
            Output::Event(_) => {}
            output => panic!("unexpected {output:?}"),
        }
    }

    fn account(&self) -> (String, usize) {
        let account = self.session.account().expect("storage asked while nobody is logged in");
        (account.name.clone(), usize::try_from(account.home.0).unwrap())
    }

    fn answer(&mut self, input: Input) {
        if self.random.one_in(3) {
            let delay = self.random.next() % 50;
            self.later.push((delay, Later::Answer(input)));
        } else {
            self.answers.push_back(input);
        }
    }

    fn fault(&mut self) -> Option<FileError> {
        let errors = [FileError::NotFound, FileError::NoSpace, FileError::Io(5), FileError::Busy];
        (self.swarm.storage_faults && self.random.one_in(8)).then(|| self.random.pick(&errors))
    }

    fn ask_storage(&mut self, request: FileRequest) {
        let (user, home) = self.account();
        let result = match self.fault() {
            Some(error) => Err(error),
            None => perform(&mut self.trees[home], &request),
        };
        let outcome = result.as_ref().map(drop).map_err(|error| *error);
        self.log.push(Asked::File { user, request, result: outcome });
        self.answer(Input::File(result));
    }

    fn open(&mut self, request: TransferRequest) {
        let (user, home) = self.account();
        let result = match self.fault() {
            Some(error) => Err(error),
            None => open_in(&self.trees[home], &request),
        };
        let outcome = result.as_ref().map(drop).map_err(|error| *error);
        self.log.push(Asked::Open { user, request: request.clone(), result: outcome });
        self.opened = Some(request);
        self.aborted = false;
        self.answer(Input::TransferOpened(result));
    }

    fn run_transfer(&mut self, level: ProtectionLevel) {
        let request = self.opened.take().expect("a transfer that was not opened");
        self.transfers += 1;
        let mut end = End::Clean;
        if self.swarm.data_faults && self.random.one_in(2) {
            end = self.random.pick(&[
                End::NotOpened,
                End::HandshakeFailed,
                End::BareFin,
                End::Reset,
                End::Stall,
                End::StorageFails(FileError::NoSpace),
                End::StorageFails(FileError::Io(5)),
            ]);
        }
        let mut chunks = VecDeque::new();
        for _ in 0..self.random.below(4) {
            let length = self.random.below(6);
            chunks.push_back((0..length).map(|_| self.random.pick(b"x\r\ny\n")).collect());
        }
        let id = self.transfers;
        self.running = Some(Running { id, request, level, chunks, received: Vec::new(), end });
        if std::mem::take(&mut self.aborted) {
            return self.finish(Err(TransferError::Aborted));
        }
        self.next_data(40);
    }

    fn next_data(&mut self, longest: u64) {
        let delay = self.random.next() % longest;
        self.later.push((delay, Later::Data(self.transfers)));
    }

    /// The next thing on the data connection.
    pub(crate) fn data(&mut self, id: u32) {
        let Some(running) = self.running.as_mut().filter(|running| running.id == id) else {
            return; // it has ended meanwhile
        };
        let upload = matches!(running.request, TransferRequest::Store { .. });
        match running.end {
            End::NotOpened => return self.finish(Err(TransferError::NotOpened)),
            End::HandshakeFailed => return self.finish(Err(TransferError::HandshakeFailed)),
            _ => {}
        }
        if let Some(chunk) = running.chunks.pop_front() {
            if upload {
                running.received.extend_from_slice(&chunk);
            }
            return self.next_data(60);
        }
        let private = running.level == ProtectionLevel::Private;
        let result = match running.end {
            End::BareFin if upload && private => Err(TransferError::Truncated),
            End::Reset => Err(TransferError::ConnectionLost),
            End::Stalled => Err(TransferError::Stalled),
            End::StorageFails(error) => Err(TransferError::Storage(error)),
            End::Stall => {
                running.end = End::Stalled;
                self.later.push((120_000, Later::Data(id)));
                return;
            }
            _ => Ok(()),
        };
        self.finish(result);
    }

    fn finish(&mut self, result: Result<(), TransferError>) {
        let Some(running) = self.running.take() else { return };
        let published = result.is_ok() || self.canary == Canary::PartialUpload;
        if let (TransferRequest::Store { path, mode, ascii, .. }, true) =
            (&running.request, published)
        {
            let text =
                if *ascii { unix_lines(&running.received) } else { running.received.clone() };
            let home = usize::try_from(self.session.account().map_or(0, |a| a.home.0)).unwrap();
            store_in(&mut self.trees[home], path.as_bytes(), *mode, &text);
        }
        self.log.push(Asked::Finished {
            level: running.level,
            result: result.clone(),
            octets: running.received,
        });
        self.answers.push_back(Input::TransferFinished(result));
    }
}

fn is_directory(tree: &Tree, path: &VirtualPath) -> bool {
    tree.get(path.as_bytes()).is_some_and(Option::is_none)
}

fn metadata(tree: &Tree, path: &VirtualPath) -> Result<Metadata, FileError> {
    let node = tree.get(path.as_bytes()).ok_or(FileError::NotFound)?;
    Ok(Metadata {
        kind: if node.is_none() { FileKind::Directory } else { FileKind::File },
        size: node.as_ref().map_or(0, |octets| octets.len() as u64),
        modified: FileTime::default(),
        mode: 0o644,
        links: 1,
        unique: (0, 0),
        writable: true,
        searchable: node.is_none(),
    })
}

fn perform(tree: &mut Tree, request: &FileRequest) -> Result<FileReply, FileError> {
    match request {
        FileRequest::Metadata(path) => return metadata(tree, path).map(FileReply::Metadata),
        FileRequest::Facts { path, .. } => {
            let (link, digests) = (Vec::new(), Vec::new());
            return metadata(tree, path)
                .map(|metadata| FileReply::Facts(NameFacts { metadata, link, digests }));
        }
        FileRequest::AsciiSize(path) => {
            let metadata = metadata(tree, path)?;
            return match metadata.kind {
                FileKind::File => Ok(FileReply::Octets(metadata.size)),
                _ => Err(FileError::NotAFile),
            };
        }
        FileRequest::MakeDirectory(path) => {
            if tree.contains_key(path.as_bytes()) {
                return Err(FileError::AlreadyExists);
            }
            if !is_directory(tree, &path.parent()) {
                return Err(FileError::NotFound);
            }
            tree.insert(path.as_bytes().to_vec(), None);
        }
        FileRequest::RemoveDirectory(path) => {
            let below = [path.as_bytes(), b"/"].concat();
            if !is_directory(tree, path) {
                return Err(FileError::NotADirectory);
            }
            if tree.keys().any(|name| name.starts_with(&below)) {
                return Err(FileError::NotEmpty);
            }
            tree.remove(path.as_bytes());
        }
        FileRequest::Delete(path) => {
            if metadata(tree, path)?.kind == FileKind::Directory {
                return Err(FileError::IsADirectory);
            }
            tree.remove(path.as_bytes());
        }
        FileRequest::Rename { from, to, replace } => rename(tree, from, to, *replace)?,
        request => panic!("the workload never leads to {request:?}"),
    }
    Ok(FileReply::Done)
}

fn rename(
    tree: &mut Tree,
    from: &VirtualPath,
    to: &VirtualPath,
    replace: bool,
) -> Result<(), FileError> {
    let moved = metadata(tree, from)?;
    if !is_directory(tree, &to.parent()) {
        return Err(FileError::NotFound);
    }
    if to.as_bytes().starts_with(&[from.as_bytes(), b"/"].concat()) {
        return Err(FileError::Loop);
    }
    match metadata(tree, to) {
        Ok(_) if from == to => return Ok(()),
        Ok(there) if there.kind == FileKind::Directory || moved.kind == FileKind::Directory => {
            return Err(FileError::AlreadyExists);
        }
        Ok(_) if !replace => return Err(FileError::AlreadyExists),
        _ => {}
    }
    rename_in(tree, from.as_bytes(), to.as_bytes());
    Ok(())
}

fn open_in(tree: &Tree, request: &TransferRequest) -> Result<Opened, FileError> {
    match request {
        TransferRequest::Retrieve { path, offset, .. } => {
            let metadata = metadata(tree, path)?;
            if metadata.kind == FileKind::Directory {
                return Err(FileError::IsADirectory);
            }
            if *offset > metadata.size {
                return Err(FileError::BeyondEnd);
            }
            Ok(Opened { size: Some(metadata.size - offset), name: None })
        }
        TransferRequest::Store { path, mode, .. } => {
            let there = metadata(tree, path).ok();
            if there.is_some_and(|there| there.kind == FileKind::Directory) {
                return Err(FileError::IsADirectory);
            }
            if !is_directory(tree, &path.parent()) {
                return Err(FileError::NotFound);
            }
            match mode {
                StoreMode::At(offset) if *offset > there.map_or(0, |there| there.size) => {
                    Err(FileError::BeyondEnd)
                }
                _ => Ok(Opened::default()),
            }
        }
        TransferRequest::List(list) => {
            if metadata(tree, &list.path)?.kind != FileKind::Directory {
                return Err(FileError::NotADirectory);
            }
            Ok(Opened::default())
        }
    }
}
