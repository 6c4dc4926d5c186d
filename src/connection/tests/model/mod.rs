//! The reference: which replies a client may get, in which order, and what storage must hold.
//!
//! Works at the client's end, on commands as sent, replies as received and what went over the data
//! connections. Knows nothing of how the server is built, and has its own idea of files (`tree`).

mod ending;
mod transfers;
pub(super) mod tree;

use std::collections::VecDeque;

use super::workload::{Command, Swarm};
use tree::{StoreMode, Tree};

/// Log-ins that may fail.
const FAILURES_MAX: u32 = 3;

/// More octets of a download than the sockets of a run hold.
const HELD_OCTETS_MAX: usize = 100_000;

/// A fault put into the model or the world that the simulation must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Canary {
    None,
    /// The model believes that REST outlives its transfer.
    RestIsKept,
    /// Storage shows uploads that did not end.
    PartialUpload,
    /// The last line of a client that is gone is ended.
    CutLine,
    /// A reply is lost.
    LostReply,
}

/// How a data connection went, as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client did not come, or too late.
    NotOpened,
    /// What came was no TLS.
    BadHandshake,
    /// close_notify and FIN, or FIN where there is no TLS.
    Clean,
    /// FIN without close_notify.
    BareFin,
    Reset,
    /// The client waited longer than it may.
    Stalled,
    /// The server ended it before the client did.
    Broken,
}

/// What went over a data connection.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    pub(super) end: End,
    /// Octets of an upload that were sent, or of a download that came.
    pub(super) octets: Vec<u8>,
    /// The server has ended a download as it should.
    pub(super) whole: bool,
}

/// A reply, and what is known when it comes.
pub(super) struct Heard<'a> {
    pub(super) code: u16,
    pub(super) text: &'a [u8],
    /// A timeout or a drain may be the reason of a 421.
    pub(super) may_close: bool,
    /// Work of storage that failed so far.
    pub(super) failures: u64,
    /// How the transfer went that the reply ends, if it ends one.
    pub(super) moved: Option<Moved>,
}

/// A transfer that was asked for.
#[derive(Clone, Debug)]
enum Request {
    Retrieve { path: Vec<u8>, offset: usize, ascii: bool },
    Store { path: Vec<u8>, mode: StoreMode, ascii: bool, announced: bool },
    List { path: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Clear,
    Protected,
    Cleared,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    command: Command,
    /// Its 1xx was received.
    open: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    swarm: Swarm,
    canary: Canary,
    outstanding: VecDeque<Outstanding>,
    tls: Tls,
    pbsz: bool,
    private: bool,
    user: Option<&'static str>,
    logged_in: bool,
    failed_log_ins: u32,
    ascii: bool,
    cwd: Vec<u8>,
    data: bool,
    epsv_all: bool,
    rest: Option<usize>,
    announced: bool,
    rename_from: Option<Vec<u8>>,
    request: Option<Request>,
    /// There is a file that cannot grow.
    vast: bool,
    /// Work of storage that failed so far.
    failures: u64,
    /// Failures that a reply was the answer to. The server may be further than the replies that
    /// were heard, so nobody knows which.
    explained: u64,
    pub(super) trees: [Tree; 2],
    /// The client sends nothing more.
    ended: bool,
    /// The last reply was 421 or 221, or AUTH had something behind it.
    over: bool,
}

enum Wanted {
    Refused(u16),
    Request(Request),
}

type Verdict = Result<(), String>;

impl Model {
    pub(super) fn new(swarm: &Swarm, canary: Canary, tree: &Tree, vast: bool) -> Self {
        let mut model = Self {
            swarm: swarm.clone(),
            canary,
            outstanding: VecDeque::new(),
            tls: Tls::Clear,
            pbsz: false,
            private: false,
            user: None,
            logged_in: false,
            failed_log_ins: 0,
            ascii: true,
            cwd: b"/".to_vec(),
            data: false,
            epsv_all: false,
            rest: None,
            announced: false,
            rename_from: None,
            request: None,
            vast,
            failures: 0,
            explained: 0,
            trees: [tree.clone(), tree.clone()],
            ended: false,
            over: false,
        };
        model.sent(Command::Greeting);
        model
    }

    pub(super) fn sent(&mut self, command: Command) {
        self.outstanding.push_back(Outstanding { command, open: false });
    }

    pub(super) fn waits(&self) -> bool {
        !self.outstanding.is_empty()
    }

    /// Whether a command like this waits for its reply.
    pub(super) fn waits_for(&self, like: impl Fn(Command) -> bool) -> bool {
        self.outstanding.iter().any(|outstanding| like(outstanding.command))
    }

    /// Commands that wait for their reply.
    pub(super) fn waiting(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.logged_in
    }

    /// Nothing can come any more that is a reply.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the data connections of now are under TLS.
    pub(super) fn is_private(&self) -> bool {
        self.private
    }

    /// Whether a data connection is agreed on.
    pub(super) fn has_data(&self) -> bool {
        self.data
    }

    /// The transfer that runs is an upload.
    pub(super) fn is_upload(&self) -> bool {
        matches!(self.request, Some(Request::Store { .. }))
    }

    /// What runs, for the trace.
    pub(super) fn running(&self) -> String {
        format!("{:?} private: {}", self.request, self.private)
    }

    /// Whose files the upload that runs goes to, and under which name.
    pub(super) fn upload_goes_to(&self) -> Option<(&'static str, Vec<u8>)> {
        match &self.request {
            Some(Request::Store { path, .. }) => Some((self.user?, path.clone())),
            _ => None,
        }
    }

    /// The client sends nothing more.
    pub(super) fn ends_sending(&mut self) {
        self.ended = true;
    }

    /// The TLS handshake of the client is complete.
    pub(super) fn established(&mut self) {
        self.tls = Tls::Protected;
        self.pbsz = self.swarm.implicit;
        self.private = self.swarm.implicit;
    }

    /// Whether a reply of this code ends the transfer that runs.
    pub(super) fn ends_transfer(&self, code: u16) -> bool {
        let running = self.outstanding.front().is_some_and(|head| head.open);
        running && code != 421 && !(code == 211 && self.stat_is_next())
    }

    fn stat_is_next(&self) -> bool {
        self.outstanding.get(1).is_some_and(|next| next.command == Command::Stat)
    }

    /// One reply. Gives the command it ended, if it ended one.
    pub(super) fn reply(&mut self, heard: Heard<'_>) -> Result<Option<Command>, String> {
        let code = heard.code;
        self.failures = heard.failures;
        if self.over {
            return Err(format!("{code} after the end"));
        }
        if code == 421 {
            let failed = self.outstanding.front().is_some_and(|head| {
                head.command == Command::Pass(false) && self.failed_log_ins + 1 >= FAILURES_MAX
            });
            self.over = true;
            let cause = heard.may_close || failed;
            return if cause { Ok(None) } else { Err("421 without cause".into()) };
        }
        let Some(head) = self.outstanding.front() else { return Err(format!("{code} unasked")) };
        if head.open && code == 211 && self.stat_is_next() {
            self.outstanding.remove(1);
            return Ok(Some(Command::Stat));
        }
        let Outstanding { command, open } = *head;
        if code < 200 {
            if open || !command.is_transfer() {
                return Err(format!("{code} to {command:?}"));
            }
            self.opened(command)?;
            self.outstanding[0].open = true;
            return Ok(None);
        }
        self.outstanding.pop_front();
        if open {
            let moved = heard.moved.ok_or("a transfer without its data connection")?;
            self.finished(command, code, &moved)?;
            return Ok(Some(command));
        }
        let expected = self.answered(command, code)?;
        if code != expected {
            return Err(format!("{code} to {command:?}, not {expected}"));
        }
        self.check_text(command, code, heard.text)?;
        Ok(Some(command))
    }

    /// What a client reads in the text of a reply.
    fn check_text(&self, command: Command, code: u16, text: &[u8]) -> Verdict {
        let expected = match command {
            Command::Pwd if code == 257 => [b"257 \"", &*self.cwd, b"\""].concat(),
            Command::Size(name) if code == 213 => {
                let octets = tree::file(self.tree(), &self.path(name)).cloned().unwrap_or_default();
                let octets = if self.ascii { tree::network_lines(&octets) } else { octets };
                format!("213 {}\r\n", octets.len()).into_bytes()
            }
            _ => return Ok(()),
        };
        // Names with quotes or controls in them have a form of their own.
        let plain = !self.cwd.contains(&b'"');
        if text.starts_with(&expected) || (command == Command::Pwd && !plain) {
            return Ok(());
        }
        Err(format!("{} to {command:?}, not {}", text.escape_ascii(), expected.escape_ascii()))
    }

    /// A failure of storage that no reply has told of yet.
    fn explain(&mut self) -> bool {
        let left = self.failures > self.explained;
        self.explained += u64::from(left);
        left
    }

    /// The client has asked for the end of what runs: by ABOR, or because it sends nothing more
    /// and no QUIT.
    fn gives_up(&self) -> bool {
        let behind = |wanted| self.outstanding.iter().any(|behind| behind.command == wanted);
        behind(Command::Abor) || (self.ended && !behind(Command::Quit))
    }

    /// The one final code, with the state changed accordingly; `code` is what came, 0 for whatever
    /// is due.
    fn answered(&mut self, command: Command, code: u16) -> Result<u16, String> {
        let rename_from = self.rename_from.take();
        if needs_login(command) && !self.logged_in {
            return Ok(530);
        }
        match command {
            Command::Noop => self.rename_from = rename_from,
            Command::Rnto(name) => return Ok(self.rename(rename_from, name, code)),
            _ => {}
        }
        if command.is_transfer() {
            return self.refused(command, code);
        }
        match command {
            Command::User(_) | Command::Pass(_) => Ok(self.log_in(command, code)),
            Command::Auth | Command::Pbsz | Command::Prot(_) | Command::Ccc | Command::Rein => {
                Ok(self.security(command, code))
            }
            Command::Mkd(_)
            | Command::Rmd(_)
            | Command::Dele(_)
            | Command::Rnfr(_)
            | Command::Cwd(_)
            | Command::Size(_) => self.file(command, code),
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
                self.rest = usize::try_from(marker).ok();
                350
            }
            Command::Allo => {
                self.announced = true;
                200
            }
            Command::Pwd => 257,
            Command::Unknown | Command::TooLong => 500,
            _ => 200,
        }
    }

    fn log_in(&mut self, command: Command, code: u16) -> u16 {
        match command {
            Command::User(_) if self.tls != Tls::Protected && self.tls_required() => 530,
            Command::User(name) => {
                self.log_out();
                self.user = Some(name);
                331
            }
            _ if self.user.is_none() || self.logged_in => 503,
            // The home is looked for.
            Command::Pass(true) if code == 530 && self.explain() => {
                self.user = None;
                530
            }
            Command::Pass(true) => {
                self.logged_in = true;
                230
            }
            _ => {
                self.user = None;
                self.failed_log_ins += 1;
                if self.failed_log_ins >= FAILURES_MAX { 421 } else { 530 }
            }
        }
    }

    fn tls_required(&self) -> bool {
        self.swarm.tls_required && !self.swarm.implicit
    }

    fn log_out(&mut self) {
        self.user = None;
        self.logged_in = false;
        self.cwd = b"/".to_vec();
        self.data = false;
        self.rest = None;
        self.announced = false;
        self.rename_from = None;
    }

    fn reset(&mut self) {
        self.log_out();
        self.ascii = true;
        self.epsv_all = false;
        self.pbsz = false;
        self.private = false;
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
                self.private = level == 'P';
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

    fn path(&self, name: &[u8]) -> Vec<u8> {
        tree::resolve(&self.cwd, name)
    }

    /// ann may do everything, bob may read.
    fn may_write(&self) -> bool {
        self.user == Some("ann")
    }

    fn tree(&self) -> &Tree {
        &self.trees[usize::from(self.user == Some("bob"))]
    }

    fn tree_mut(&mut self) -> &mut Tree {
        &mut self.trees[usize::from(self.user == Some("bob"))]
    }

    /// Whether a command on files was answered by a failure of storage instead.
    fn is_failure(&mut self, code: u16, due: u16, refusal: u16) -> bool {
        code != due && (code == 450 || code == refusal) && self.explain()
    }

    fn file(&mut self, command: Command, code: u16) -> Result<u16, String> {
        let (name, writes) = match command {
            Command::Cwd(name) | Command::Size(name) => (name, false),
            Command::Mkd(name) | Command::Rmd(name) | Command::Dele(name) | Command::Rnfr(name) => {
                (name, true)
            }
            _ => return Err(format!("{command:?} is no file command")),
        };
        if writes && !self.may_write() {
            return Ok(550);
        }
        let path = self.path(name);
        let before = self.tree().clone();
        let tree = self.tree_mut();
        let (done, good) = match command {
            Command::Mkd(_) => (tree::make_directory(tree, &path), 257),
            Command::Rmd(_) => (tree::remove_directory(tree, &path), 250),
            Command::Dele(_) => (tree::delete(tree, &path), 250),
            Command::Rnfr(_) => (tree.contains_key(&path), 350),
            Command::Cwd(_) => (tree::is_directory(tree, &path), 250),
            _ => (tree::file(tree, &path).is_some(), 213),
        };
        let due = if done { good } else { 550 };
        let given_up = matches!(command, Command::Size(_)) && self.gives_up();
        if self.is_failure(code, due, 550) || (code == 451 && given_up) {
            *self.tree_mut() = before;
            return Ok(code);
        }
        match command {
            Command::Rnfr(_) if done => self.rename_from = Some(path),
            Command::Cwd(_) if done => self.cwd = path,
            _ => {}
        }
        Ok(due)
    }

    fn rename(&mut self, from: Option<Vec<u8>>, name: &[u8], code: u16) -> u16 {
        let Some(from) = from else { return 503 };
        let to = self.path(name);
        let before = self.tree().clone();
        let due = if tree::rename(self.tree_mut(), &from, &to) { 250 } else { 553 };
        if self.is_failure(code, due, 553) {
            *self.tree_mut() = before;
            return code;
        }
        due
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
                | Command::Allo
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
