//! The reference: which replies a client may get, in which order, and what storage must hold.
//!
//! Works at the client's end, on commands as sent and replies as received, plus the log of what
//! the server asked storage. Knows nothing of how the session is built.

use std::collections::{BTreeMap, VecDeque};

use ringftpd::protocol::file::{
    FileError, FileRequest, ListRequest, ListStyle, StoreMode, TransferRequest,
};
use ringftpd::protocol::path::VirtualPath;
use ringftpd::protocol::session::{ProtectionLevel, TransferError};

use crate::workload::{Command, Swarm};
use crate::world::{FAILURES_MAX, permissions_of};

/// A home directory: `None` is a directory.
pub(crate) type Tree = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// What the server asked storage, and what came of it.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    File {
        user: String,
        request: FileRequest,
        result: Result<(), FileError>,
    },
    Open {
        user: String,
        request: TransferRequest,
        result: Result<(), FileError>,
    },
    /// The end of a transfer, with the octets of an upload that arrived.
    Finished {
        level: ProtectionLevel,
        result: Result<(), TransferError>,
        octets: Vec<u8>,
    },
}

/// A fault put into the model or the world that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Canary {
    None,
    /// The model believes that REST outlives its transfer.
    RestIsKept,
    /// Storage shows uploads that did not end.
    PartialUpload,
    /// The shell ends the last line of a client that is gone.
    CutLine,
    /// A reply is lost.
    LostReply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Clear,
    Protected,
    Cleared,
}

#[derive(Debug)]
struct Outstanding {
    command: Command,
    /// Its 1xx was received.
    open: bool,
}

#[derive(Debug)]
pub(crate) struct Model {
    swarm: Swarm,
    canary: Canary,
    outstanding: VecDeque<Outstanding>,
    pub(crate) log: VecDeque<Asked>,
    tls: Tls,
    pbsz: bool,
    level: ProtectionLevel,
    user: Option<&'static str>,
    logged_in: bool,
    failures: u32,
    ascii: bool,
    cwd: VirtualPath,
    data: bool,
    epsv_all: bool,
    rest: Option<u64>,
    rename_from: Option<VirtualPath>,
    request: Option<TransferRequest>,
    pub(crate) trees: [Tree; 2],
    /// The last reply was 421 or 221, or AUTH had something behind it.
    over: bool,
}

enum Wanted {
    Refused(u16),
    Request(TransferRequest),
}

type Verdict = Result<(), String>;

impl Model {
    pub(crate) fn new(swarm: &Swarm, canary: Canary, tree: &Tree) -> Self {
        let mut model = Self {
            swarm: swarm.clone(),
            canary,
            outstanding: VecDeque::new(),
            log: VecDeque::new(),
            tls: Tls::Clear,
            pbsz: false,
            level: ProtectionLevel::Clear,
            user: None,
            logged_in: false,
            failures: 0,
            ascii: true,
            cwd: VirtualPath::root(),
            data: false,
            epsv_all: false,
            rest: None,
            rename_from: None,
            request: None,
            trees: [tree.clone(), tree.clone()],
            over: false,
        };
        model.sent(Command::Greeting);
        model
    }

    pub(crate) fn sent(&mut self, command: Command) {
        self.outstanding.push_back(Outstanding { command, open: false });
    }

    pub(crate) fn waits(&self) -> bool {
        !self.outstanding.is_empty()
    }

    pub(crate) fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// The TLS handshake of the client is complete.
    pub(crate) fn established(&mut self) {
        self.tls = Tls::Protected;
        self.pbsz = self.swarm.implicit;
        self.level =
            if self.swarm.implicit { ProtectionLevel::Private } else { ProtectionLevel::Clear };
    }

    /// One reply. Gives the command it ended, if it ended one. `may_close` says whether a timeout
    /// or a drain may be the reason of a 421.
    pub(crate) fn reply(&mut self, code: u16, may_close: bool) -> Result<Option<Command>, String> {
        if self.over {
            return Err(format!("{code} after the end"));
        }
        if code == 421 {
            let failed = self.outstanding.front().is_some_and(|head| {
                head.command == Command::Pass(false) && self.failures + 1 >= FAILURES_MAX
            });
            self.over = true;
            return if may_close || failed { Ok(None) } else { Err("421 without cause".into()) };
        }
        let stat_next = self.outstanding.get(1).is_some_and(|next| next.command == Command::Stat);
        let Some(head) = self.outstanding.front() else { return Err(format!("{code} unasked")) };
        if head.open && code == 211 && stat_next {
            self.outstanding.remove(1);
            return Ok(Some(Command::Stat));
        }
        let (command, open) = (head.command, head.open);
        if code < 200 {
            if open || !command.is_transfer() {
                return Err(format!("{code} to {command:?}"));
            }
            self.opened(command)?;
            self.outstanding[0].open = true;
            return Ok(None);
        }
        self.outstanding.pop_front();
        let expected = if open { self.finished(command)? } else { self.answered(command, code)? };
        if code == expected {
            Ok(Some(command))
        } else {
            Err(format!("{code} to {command:?}, not {expected}"))
        }
    }

    /// The one final code, with the state changed accordingly.
    fn answered(&mut self, command: Command, code: u16) -> Result<u16, String> {
        let rename_from = self.rename_from.take();
        if needs_login(command) && !self.logged_in {
            return Ok(530);
        }
        match command {
            Command::Noop => self.rename_from = rename_from,
            Command::Rnto(name) => return self.rename(rename_from, name),
            _ => {}
        }
        if command.is_transfer() {
            return self.refused(command);
        }
        match command {
            Command::User(_) | Command::Pass(_) => Ok(self.log_in(command)),
            Command::Auth | Command::Pbsz | Command::Prot(_) | Command::Ccc | Command::Rein => {
                Ok(self.security(command, code))
            }
            Command::Mkd(_)
            | Command::Rmd(_)
            | Command::Dele(_)
            | Command::Rnfr(_)
            | Command::Cwd(_)
            | Command::Size(_) => self.file(command),
            command => Ok(self.simple(command)),
        }
    }

    fn simple(&mut self, command: Command) -> u16 {
        match command {
            Command::Greeting => 220,
            Command::Quit => {
                self.over = true;
                221
            }
            Command::Feat | Command::Stat => 211,
            Command::Abor => {
                self.data = false;
                226
            }
            Command::Type(code) => {
                self.ascii = code == 'A';
                200
            }
            Command::EpsvAll => {
                self.epsv_all = true;
                200
            }
            Command::Pasv | Command::Port if self.epsv_all => 501,
            Command::Epsv | Command::Pasv | Command::Port => {
                self.data = true;
                match command {
                    Command::Epsv => 229,
                    Command::Pasv => 227,
                    _ => 200,
                }
            }
            Command::Rest(marker) => {
                self.rest = Some(marker);
                350
            }
            Command::Pwd => 257,
            Command::Unknown | Command::TooLong => 500,
            _ => 200,
        }
    }

    fn log_in(&mut self, command: Command) -> u16 {
        match command {
            Command::User(_) if self.tls != Tls::Protected && self.tls_required() => 530,
            Command::User(name) => {
                self.log_out();
                self.user = Some(name);
                331
            }
            _ if self.user.is_none() || self.logged_in => 503,
            Command::Pass(true) => {
                self.logged_in = true;
                230
            }
            _ => {
                self.user = None;
                self.failures += 1;
                if self.failures >= FAILURES_MAX { 421 } else { 530 }
            }
        }
    }

    fn tls_required(&self) -> bool {
        self.swarm.tls_required && !self.swarm.implicit
    }

    fn log_out(&mut self) {
        self.user = None;
        self.logged_in = false;
        self.cwd = VirtualPath::root();
        self.data = false;
        self.rest = None;
        self.rename_from = None;
    }

    fn reset(&mut self) {
        self.log_out();
        self.ascii = true;
        self.epsv_all = false;
        self.pbsz = false;
        self.level = ProtectionLevel::Clear;
    }

    fn security(&mut self, command: Command, code: u16) -> u16 {
        let protected = self.tls == Tls::Protected;
        match command {
            Command::Auth if self.tls != Tls::Clear => 534,
            Command::Auth if !self.outstanding.is_empty() => {
                // Octets behind AUTH: the end, before the handshake or in it [AUTH-13].
                self.over = true;
                if code == 234 { 234 } else { 503 }
            }
            Command::Auth => {
                self.reset();
                234
            }
            Command::Pbsz | Command::Prot(_) if self.tls == Tls::Cleared => 533,
            Command::Pbsz | Command::Prot(_) if !protected => 503,
            Command::Pbsz => {
                self.pbsz = true;
                200
            }
            Command::Prot(_) if !self.pbsz => 503,
            Command::Prot('C') if self.swarm.tls_required => 534,
            Command::Prot(level) => {
                let private = level == 'P';
                self.level =
                    if private { ProtectionLevel::Private } else { ProtectionLevel::Clear };
                200
            }
            Command::Ccc if !protected => 533,
            Command::Ccc if self.swarm.implicit || !self.logged_in => 534,
            Command::Ccc => {
                self.tls = Tls::Cleared;
                // What was sent inside TLS behind it is nobody's [REIN-11].
                self.outstanding.clear();
                200
            }
            _ => {
                self.reset();
                self.tls = Tls::Clear;
                if protected {
                    self.outstanding.clear();
                }
                if self.swarm.implicit {
                    self.sent(Command::Greeting);
                }
                220
            }
        }
    }

    fn path(&self, name: &[u8]) -> VirtualPath {
        self.cwd.resolve(name).unwrap()
    }

    fn tree(&mut self) -> &mut Tree {
        &mut self.trees[usize::from(self.user == Some("bob"))]
    }

    /// Compares what storage was asked with what the command means.
    fn asked(&mut self, expected: &FileRequest) -> Result<Result<(), FileError>, String> {
        match self.log.pop_front() {
            Some(Asked::File { user, request, result })
                if request == *expected && Some(user.as_str()) == self.user =>
            {
                Ok(result)
            }
            other => Err(format!("storage was asked {other:?}, not {expected:?}")),
        }
    }

    fn file(&mut self, command: Command) -> Result<u16, String> {
        let may = permissions_of(self.user);
        let (name, allowed) = match command {
            Command::Mkd(name) => (name, may.mkdir),
            Command::Rmd(name) | Command::Dele(name) => (name, may.delete),
            Command::Rnfr(name) => (name, may.rename),
            Command::Cwd(name) | Command::Size(name) => (name, true),
            _ => return Err(format!("{command:?} is no file command")),
        };
        if !allowed {
            return Ok(550);
        }
        let path = self.path(name);
        let (request, good) = match command {
            Command::Mkd(_) => (FileRequest::MakeDirectory(path.clone()), 257),
            Command::Rmd(_) => (FileRequest::RemoveDirectory(path.clone()), 250),
            Command::Dele(_) => (FileRequest::Delete(path.clone()), 250),
            Command::Size(_) if self.ascii => (FileRequest::AsciiSize(path.clone()), 213),
            Command::Size(_) => (FileRequest::Metadata(path.clone()), 213),
            Command::Rnfr(_) => (FileRequest::Facts { path: path.clone(), digests: false }, 350),
            _ => (FileRequest::Metadata(path.clone()), 250),
        };
        if let Err(error) = self.asked(&request)? {
            return Ok(if error == FileError::Busy { 450 } else { 550 });
        }
        let is_file = self.tree().get(path.as_bytes()).is_some_and(Option::is_some);
        match command {
            Command::Mkd(_) => {
                self.tree().insert(path.as_bytes().to_vec(), None);
            }
            Command::Rmd(_) | Command::Dele(_) => {
                self.tree().remove(path.as_bytes());
            }
            Command::Rnfr(_) => self.rename_from = Some(path),
            Command::Cwd(_) if is_file => return Ok(550),
            Command::Cwd(_) => self.cwd = path,
            _ if !is_file => return Ok(550),
            _ => {}
        }
        Ok(good)
    }

    fn rename(&mut self, from: Option<VirtualPath>, name: &[u8]) -> Result<u16, String> {
        let Some(from) = from else { return Ok(503) };
        let to = self.path(name);
        let request = FileRequest::Rename {
            from: from.clone(),
            to: to.clone(),
            replace: permissions_of(self.user).may_replace_by_rename(),
        };
        if let Err(error) = self.asked(&request)? {
            return Ok(if error == FileError::Busy { 450 } else { 553 });
        }
        rename_in(self.tree(), from.as_bytes(), to.as_bytes());
        Ok(250)
    }

    /// What a transfer command means now; uses up REST.
    fn wanted(&mut self, command: Command) -> Wanted {
        let marker = match self.canary {
            Canary::RestIsKept => self.rest,
            _ => self.rest.take(),
        };
        let may = permissions_of(self.user);
        let ascii = self.ascii;
        let offset = marker.unwrap_or(0);
        let (allowed, refusal, request) = match command {
            Command::Retr(name) => {
                let path = self.path(name);
                (may.read, 550, TransferRequest::Retrieve { path, offset, ascii })
            }
            Command::Stor(name) | Command::Appe(name) => {
                let append = matches!(command, Command::Appe(_));
                let mode = match (offset, append) {
                    (0, true) => StoreMode::Append,
                    (0, false) => StoreMode::Replace,
                    _ => StoreMode::At(offset),
                };
                let allowed = may.append && (may.create || may.overwrite);
                if allowed && ascii && offset > 0 {
                    return Wanted::Refused(554);
                }
                let path = self.path(name);
                let request = TransferRequest::Store {
                    path,
                    mode,
                    rights: may.store_rights(),
                    ascii,
                    announced: None,
                };
                (allowed, if append { 550 } else { 553 }, request)
            }
            _ => {
                let style = ListStyle::Facts(ringftpd::protocol::file::FactSet::DEFAULT);
                let request = ListRequest {
                    path: self.cwd.clone(),
                    argument: Vec::new(),
                    style,
                    hidden: true,
                    recursive: false,
                    permissions: may,
                    now: 0,
                };
                (may.list, 550, TransferRequest::List(request))
            }
        };
        if !allowed {
            Wanted::Refused(refusal)
        } else if self.swarm.tls_required && self.level == ProtectionLevel::Clear {
            Wanted::Refused(522)
        } else if !self.data {
            Wanted::Refused(425)
        } else {
            self.data = false;
            Wanted::Request(request)
        }
    }

    fn open_asked(&mut self, wanted: &TransferRequest) -> Result<Result<(), FileError>, String> {
        match self.log.pop_front() {
            Some(Asked::Open { user, request, result })
                if request == *wanted && Some(user.as_str()) == self.user =>
            {
                Ok(result)
            }
            other => Err(format!("storage was asked {other:?}, not {wanted:?}")),
        }
    }

    fn opened(&mut self, command: Command) -> Verdict {
        self.rename_from = None;
        if !self.logged_in {
            return Err(format!("150 to {command:?} before log-in"));
        }
        match self.wanted(command) {
            Wanted::Refused(code) => Err(format!("150 to {command:?}, not {code}")),
            Wanted::Request(request) => {
                self.open_asked(&request)?.map_err(|error| format!("150 after {error:?}"))?;
                self.request = Some(request);
                Ok(())
            }
        }
    }

    /// A transfer command that got no 150.
    fn refused(&mut self, command: Command) -> Result<u16, String> {
        let request = match self.wanted(command) {
            Wanted::Refused(code) => return Ok(code),
            Wanted::Request(request) => request,
        };
        let Err(error) = self.open_asked(&request)? else {
            return Err(format!("no 150 to {command:?}"));
        };
        Ok(match error {
            FileError::Busy => 450,
            FileError::Io(_) => 451,
            FileError::NoSpace => 452,
            FileError::BeyondEnd => 554,
            FileError::NotADirectory if command == Command::Mlsd => 501,
            _ if matches!(command, Command::Stor(_)) => 553,
            _ => 550,
        })
    }

    fn finished(&mut self, command: Command) -> Result<u16, String> {
        let Some(Asked::Finished { level, result, octets }) = self.log.pop_front() else {
            return Err(format!("{command:?} ended, its transfer did not"));
        };
        if level != self.level {
            return Err(format!("{command:?} ran at {level:?}"));
        }
        let request = self.request.take();
        let storing = matches!(command, Command::Stor(_) | Command::Appe(_));
        Ok(match result {
            Ok(()) => {
                if let Some(TransferRequest::Store { path, mode, ascii, .. }) = request {
                    let text = if ascii { unix_lines(&octets) } else { octets };
                    store_in(self.tree(), path.as_bytes(), mode, &text);
                }
                226
            }
            Err(TransferError::NotOpened) => 425,
            Err(TransferError::HandshakeFailed | TransferError::NotResumed(_)) => 522,
            Err(TransferError::Storage(FileError::NoSpace)) if storing => 552,
            Err(TransferError::Storage(_)) => 451,
            Err(_) => 426,
        })
    }

    /// The connection is gone and `actual` is what storage holds. Commands that got no reply may
    /// have been executed or not, those of `cut` (a line without its end) must not.
    pub(crate) fn check_end(&self, actual: &[Tree; 2], cut_off: bool) -> Verdict {
        if !self.over && !cut_off && self.waits() {
            return Err(format!("no answer to {:?}", self.outstanding));
        }
        let doubtful: Vec<Command> = self.outstanding.iter().map(|o| o.command).collect();
        if self.log.len() > 2 * doubtful.len() {
            return Err(format!("{:?} asked for by {doubtful:?}", self.log));
        }
        if !self.log.is_empty() {
            return self.check_doubtful(&doubtful);
        }
        if self.trees == *actual {
            Ok(())
        } else {
            Err(format!("storage holds {actual:?}, not {:?}", self.trees))
        }
    }

    /// Every request without its reply must come from a command that was sent whole.
    fn check_doubtful(&self, doubtful: &[Command]) -> Verdict {
        for asked in &self.log {
            let known = match asked {
                Asked::Finished { .. } => doubtful.iter().any(|command| command.is_transfer()),
                Asked::Open { .. } => doubtful.iter().any(|command| command.is_transfer()),
                Asked::File { request, .. } => doubtful.iter().any(|command| {
                    matches!(
                        (command, request),
                        (Command::Mkd(_), FileRequest::MakeDirectory(_))
                            | (Command::Rmd(_), FileRequest::RemoveDirectory(_))
                            | (Command::Dele(_), FileRequest::Delete(_))
                            | (Command::Rnto(_), FileRequest::Rename { .. })
                            | (Command::Size(_), FileRequest::AsciiSize(_))
                            | (Command::Rnfr(_), FileRequest::Facts { .. })
                            | (Command::Size(_) | Command::Cwd(_), FileRequest::Metadata(_))
                    )
                }),
            };
            if !known {
                return Err(format!("{asked:?} was asked for by nobody of {doubtful:?}"));
            }
        }
        Ok(())
    }
}

fn needs_login(command: Command) -> bool {
    command.is_transfer()
        || matches!(
            command,
            Command::Stat
                | Command::Type(_)
                | Command::Epsv
                | Command::EpsvAll
                | Command::Pasv
                | Command::Port
                | Command::Rest(_)
                | Command::Mkd(_)
                | Command::Rmd(_)
                | Command::Dele(_)
                | Command::Rnfr(_)
                | Command::Rnto(_)
                | Command::Cwd(_)
                | Command::Pwd
                | Command::Size(_)
        )
}

/// CRLF to LF; a lone CR and a lone LF stay (RFC 959 §3.1.1.1).
pub(crate) fn unix_lines(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (index, &octet) in text.iter().enumerate() {
        if octet != b'\r' || text.get(index + 1) != Some(&b'\n') {
            lines.push(octet);
        }
    }
    lines
}

pub(crate) fn store_in(tree: &mut Tree, name: &[u8], mode: StoreMode, octets: &[u8]) {
    let old = tree.get(name).cloned().flatten().unwrap_or_default();
    let keep = match mode {
        StoreMode::Replace | StoreMode::Unique => 0,
        StoreMode::Append => old.len(),
        StoreMode::At(offset) => usize::try_from(offset).unwrap(),
    };
    tree.insert(name.to_vec(), Some([&old[..keep], octets].concat()));
}

/// Directories take what is in them along.
pub(crate) fn rename_in(tree: &mut Tree, from: &[u8], to: &[u8]) {
    let below = [from, b"/"].concat();
    let names: Vec<Vec<u8>> = tree.keys().cloned().collect();
    for name in names.iter().filter(|name| *name == from || name.starts_with(&below)) {
        if let Some(node) = tree.remove(name) {
            tree.insert([to, &name[from.len()..]].concat(), node);
        }
    }
}
