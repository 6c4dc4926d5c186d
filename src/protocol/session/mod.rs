//! One control connection's server-PI as a pure state machine (RFC 959 §2.2).
//!
//! # Contract
//!
//! ```text
//! session.feed(now, bytes) or session.handle_input(now, input);   // one mutation …
//! while let Some(output) = session.poll_output() { perform(output) } // … drain to None …
//! let deadline = session.poll_timeout();                          // … then wait
//! ```
//!
//! At most one request ([`Output::File`], [`Output::Authenticate`], …) is open at a time; commands
//! that arrive meanwhile are queued, within [`PIPELINE_BYTES_MAX`](crate::limits), and executed in
//! order. Only ABOR, and STAT with nothing queued before it, act while a transfer runs.
//!
//! The end of what the client sends is not the end of the session: what is queued is executed
//! first, see [`Input::SendingEnded`].

pub mod command_table;
mod file_requests;
mod files;
mod information;
mod io;
mod lists;
mod login;
mod parameters;
mod rendezvous;
mod replies;
mod security;
mod security_state;
mod site;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use self::command_table::WhileBusy;
use self::file_requests::{FileWait, Interrupt};
use self::login::Login;
use self::parameters::Parameters;
use self::rendezvous::{NextDataConnection, PassiveForm};
use self::replies::Situation;
use self::transfer::TransferContext;
use crate::events::{Denial, Ending};
use crate::limits::REPLY_BACKLOG_BYTES_MAX;
use crate::protocol::account::Account;
use crate::protocol::line::{Line, LineReader};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::Policy;
use crate::protocol::reply;

pub use self::io::{
    Activity, AfterTls, AuthenticationError, ControlTls, Event, Input, Output, PassiveUnavailable,
    ProtectionLevel, Rendezvous, Secret, TimeoutPhase, TransferError,
};
pub use self::security_state::{Security, SecurityError};

/// The kind of port the client connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// TLS from the first byte, port 990 (MS-FTPS).
    Implicit,
    /// Clear at first, AUTH upgrades, port 21 (RFC 4217).
    Explicit,
}

/// Facts about a TCP connection just accepted.
#[derive(Clone, Debug)]
pub struct SessionStart {
    /// The operator's decisions.
    pub policy: Arc<Policy>,
    /// Which port.
    pub mode: Mode,
    /// The end of the control connection that the client sees: ours, or a proxy's.
    pub local: SocketAddr,
    /// The client's end.
    pub peer: SocketAddr,
    /// A session limit is reached: 421 takes the place of the greeting.
    pub refused: bool,
}

/// State of one control connection.
#[derive(Debug)]
pub struct Session {
    policy: Arc<Policy>,
    mode: Mode,
    local: SocketAddr,
    peer: SocketAddr,
    refused: bool,
    /// Time of the input at hand.
    now: Instant,
    /// Wall-clock seconds of the input at hand; only listings show it.
    unix_now: i64,
    lines: LineReader,
    /// Octets were offered that the line reader had no room for.
    unfed: bool,
    outputs: VecDeque<Output>,
    /// Reply octets handed out since the last [`Input::Flushed`].
    backlog: usize,
    security: Security,
    auth_ssl: bool,
    tls: Option<ControlTls>,
    login: Login,
    /// Failed log-ins; survives REIN (RFC 2577 §5).
    failures: u32,
    host: Option<String>,
    parameters: Parameters,
    cwd: VirtualPath,
    next_data: NextDataConnection,
    /// EPSV ALL was given (RFC 2428 §4).
    epsv_all: bool,
    /// Restart marker for the next transfer.
    restart: Option<u64>,
    /// Octets of ALLO for the next upload.
    announced: Option<u64>,
    /// Name of RNFR, valid for the very next command only.
    rename_from: Option<VirtualPath>,
    pending: Pending,
    /// [`Output::GiveUpFile`] was handed out.
    interrupting: bool,
    draining: bool,
    /// [`Input::Revoked`] was given to this log-in.
    revoked: bool,
    /// [`Input::Kicked`] was given.
    kicked: bool,
    /// [`Input::SendingEnded`] was given.
    ended: bool,
    /// The last command that was executed.
    command: &'static str,
    /// Why it was closed.
    ending: Option<Ending>,
    login_started: Option<Instant>,
    phase_started: Instant,
}

/// What the session waits for; everything but `Nothing` holds further commands back.
#[derive(Debug)]
enum Pending {
    Nothing,
    TlsHandshake,
    TlsShutdown(AfterTls),
    Identify(Vec<u8>),
    Authenticate(Vec<u8>),
    LoginDelay { until: Instant },
    File(FileWait),
    Passive(PassiveForm),
    Opening(TransferContext),
    Running(TransferContext),
    Closed,
}

impl Session {
    /// A session for a connection just accepted; [`Input::Connected`] must follow.
    #[must_use]
    pub fn new(now: Instant, start: SessionStart) -> Self {
        Self {
            policy: start.policy,
            mode: start.mode,
            local: start.local,
            peer: start.peer,
            refused: start.refused,
            now,
            unix_now: 0,
            lines: LineReader::new(),
            unfed: false,
            outputs: VecDeque::new(),
            backlog: 0,
            security: Security::new(),
            auth_ssl: false,
            tls: None,
            login: Login::Out,
            failures: 0,
            host: None,
            parameters: Parameters::default(),
            cwd: VirtualPath::root(),
            next_data: NextDataConnection::None,
            epsv_all: false,
            restart: None,
            announced: None,
            rename_from: None,
            pending: Pending::Nothing,
            interrupting: false,
            draining: false,
            revoked: false,
            kicked: false,
            ended: false,
            command: "",
            ending: None,
            login_started: None,
            phase_started: now,
        }
    }

    /// Sets the wall-clock time, in seconds since the Unix epoch; LIST shows dates relative to it.
    pub fn set_unix_time(&mut self, seconds: i64) {
        self.unix_now = seconds;
    }

    /// Takes octets of the control connection, decrypted where TLS is on, in any split. Returns how
    /// many were taken; the rest must be offered again after the next output was performed.
    pub fn feed(&mut self, now: Instant, bytes: &[u8]) -> usize {
        self.begin(now);
        if matches!(self.pending, Pending::Closed) {
            return bytes.len();
        }
        if self.is_between_tls_states() {
            return 0; // these octets are TLS, or of the next state; nobody may execute them
        }
        if self.is_foreign_start(bytes) {
            self.event(Event::ForeignProtocol);
            self.say(Situation::ForeignProtocol);
            self.close(Ending::NotFtp);
            return bytes.len();
        }
        let mut telnet = Vec::new();
        let taken = self.lines.push(bytes, &mut telnet);
        self.unfed = taken < bytes.len();
        if !telnet.is_empty() {
            self.write(&telnet);
        }
        self.run();
        taken
    }

    /// Applies one input.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.begin(now);
        if matches!(self.pending, Pending::Closed) {
            return;
        }
        // An answer has come: idle time counts from here.
        let answer = !matches!(
            input,
            Input::Timeout | Input::Flushed | Input::Drain | Input::Revoked | Input::Kicked
        );
        if answer {
            self.phase_started = self.now;
        }
        match input {
            Input::Connected => self.connected(),
            Input::TlsEstablished(facts) => self.tls_established(facts),
            Input::TlsEnded => self.tls_ended(),
            Input::Identified(account) => self.identified(account),
            Input::Authenticated(result) => self.authenticated(result),
            Input::File(result) => self.file_answered(result),
            Input::PassiveListening(result) => self.passive_listening(result),
            Input::TransferOpened(result) => self.transfer_opened(result),
            Input::TransferFinished(result) => self.transfer_finished(result),
            Input::Progress(octets) => self.stat_progress(octets),
            Input::Flushed => self.backlog = 0,
            Input::Timeout => self.timed_out(),
            Input::Drain => self.drain(),
            Input::Kicked => self.kick(),
            Input::Revoked => self.revoked = self.account().is_some(),
            Input::SendingEnded => self.ended = true,
            Input::Disconnected => self.close(Ending::Lost),
        }
        self.run();
    }

    /// The next thing to do; `None` once drained.
    #[must_use]
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Gives back what memory the queues have that are empty: a session that waits may do so for
    /// hours.
    pub fn release_buffers(&mut self) {
        if self.outputs.is_empty() {
            self.outputs = VecDeque::new();
        }
        self.lines.release_buffers();
    }

    /// When to come back with [`Input::Timeout`]. May change with every input.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = |span| Some(self.phase_started + span);
        let deadline = match &self.pending {
            Pending::Closed | Pending::Opening(_) | Pending::Running(_) => return None,
            Pending::TlsHandshake | Pending::TlsShutdown(_) => phase(self.policy.handshake_timeout),
            Pending::LoginDelay { until } => Some(*until),
            Pending::Identify(_)
            | Pending::Authenticate(_)
            | Pending::File(_)
            | Pending::Passive(_) => None,
            Pending::Nothing => phase(self.policy.idle_timeout),
        };
        let login = match (&self.login, self.login_started) {
            (Login::In(_), _) | (_, None) => None,
            (_, Some(started)) => Some(started + self.policy.login_timeout),
        };
        match (deadline, login) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Whether more octets of the control connection can be taken now. While false the shell leaves
    /// them in the socket, and TCP slows the client down.
    #[must_use]
    pub fn wants_bytes(&self) -> bool {
        !matches!(self.pending, Pending::Closed)
            && !self.ended
            && !self.is_between_tls_states()
            && self.lines.has_room()
            && self.backlog <= REPLY_BACKLOG_BYTES_MAX
    }

    /// Whether a transfer is opening or running.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        matches!(self.pending, Pending::Opening(_) | Pending::Running(_))
    }

    /// What it does, and since when it does that.
    #[must_use]
    pub fn activity(&self) -> (Activity, Instant) {
        let activity = match &self.pending {
            Pending::Nothing | Pending::Closed => Activity::Idle,
            Pending::TlsHandshake | Pending::TlsShutdown(_) => Activity::Handshake,
            Pending::Opening(_) | Pending::Running(_) => Activity::Transfer(self.command),
            Pending::Identify(_)
            | Pending::Authenticate(_)
            | Pending::LoginDelay { .. }
            | Pending::File(_)
            | Pending::Passive(_) => Activity::Command(self.command),
        };
        (activity, self.phase_started)
    }

    /// Whether [`Output::Close`] was handed out.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.pending, Pending::Closed)
    }

    /// Why [`Output::Close`] was handed out.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The command that is executed, or was last.
    #[must_use]
    pub const fn command(&self) -> &'static str {
        self.command
    }

    /// The account that is logged in.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        match &self.login {
            Login::In(account) => Some(account),
            Login::Out | Login::Named(_) => None,
        }
    }

    /// Where the security negotiation stands.
    #[must_use]
    pub fn security(&self) -> Security {
        self.security
    }

    fn begin(&mut self, now: Instant) {
        debug_assert!(self.outputs.is_empty(), "drain poll_output before the next input");
        // A clock that steps back must not make deadlines pass early or never.
        self.now = self.now.max(now);
    }

    /// A transfer in progress goes on; a handshake is given up.
    fn drain(&mut self) {
        self.draining = true;
        if self.is_between_tls_states() {
            self.close(Ending::Draining);
        }
    }

    /// What can be given up is given up; what is answered soon is waited for, until it comes again.
    fn kick(&mut self) {
        if self.kicked && !self.is_between_tls_states() {
            self.say(Situation::Kicked);
            return self.close(Ending::Kicked);
        }
        self.kicked = true;
        if self.is_between_tls_states() {
            self.close(Ending::Kicked);
        } else if matches!(self.pending, Pending::LoginDelay { .. }) {
            self.pending = Pending::Nothing;
        }
    }

    fn is_between_tls_states(&self) -> bool {
        matches!(self.pending, Pending::TlsHandshake | Pending::TlsShutdown(_))
    }

    fn connected(&mut self) {
        match self.mode {
            Mode::Explicit => self.greet(),
            Mode::Implicit => self.start_tls(),
        }
    }

    fn greet(&mut self) {
        if self.refused {
            self.say(Situation::TooManySessions);
            return self.close(Ending::Refused);
        }
        self.login_started = Some(self.now);
        let text = self.policy.greeting.clone();
        self.reply(220, text.as_bytes());
    }

    /// A TLS ClientHello or an HTTP request on the clear port is another protocol: answer once and
    /// close, never loop over its lines.
    fn is_foreign_start(&self, bytes: &[u8]) -> bool {
        self.security.check_start().is_ok() && self.lines.is_clean() && bytes.first() == Some(&0x16)
    }

    /// Executes queued commands until something must be waited for.
    fn run(&mut self) {
        loop {
            match &self.pending {
                Pending::Nothing => {}
                Pending::Opening(_) | Pending::Running(_) => return self.run_during_transfer(),
                // The handshake that would follow cannot come.
                Pending::TlsHandshake | Pending::TlsShutdown(_) if self.ended => {
                    return self.close(Ending::Closed);
                }
                // May wait long for its turn, and nothing follows.
                Pending::Authenticate(_) if self.ended && self.lines.front().is_none() => {
                    return self.close(Ending::Closed);
                }
                // May take hours.
                Pending::File(wait) if wait.interrupt != Interrupt::Never => {
                    return self.run_during_long_request(wait.interrupt);
                }
                _ => break,
            }
            if self.kicked || self.draining {
                let (situation, ending) = if self.kicked {
                    (Situation::Kicked, Ending::Kicked)
                } else {
                    (Situation::ShuttingDown, Ending::Draining)
                };
                self.say(situation);
                self.close(ending);
                break;
            }
            if self.backlog > REPLY_BACKLOG_BYTES_MAX {
                break;
            }
            let Some(line) = self.lines.pop() else {
                if self.ended {
                    self.close(Ending::Closed);
                }
                break;
            };
            self.phase_started = self.now;
            if self.revoked {
                self.say(Situation::Revoked);
                self.close(Ending::Revoked);
                break;
            }
            match line {
                Line::Command(line) => self.execute(&line),
                Line::TooLong => {
                    self.rename_from = None;
                    self.say(Situation::LineTooLong);
                }
            }
        }
    }

    /// Whether the client sends nothing more, and has not asked by QUIT to wait for what is in
    /// progress.
    fn is_abandoned(&self) -> bool {
        self.ended && !self.lines.contains(|line| is(line, WhileBusy::Leaves))
    }

    /// RFC 959 §4.2: commands queue while a 1xx is open, except ABOR and STAT. ABOR need not wait
    /// for the 1xx: storage may copy what lies before a restart marker first.
    fn run_during_transfer(&mut self) {
        let unwanted = self.kicked
            || self.is_abandoned()
            || self.lines.contains(|line| is(line, WhileBusy::Aborts));
        let running = matches!(self.pending, Pending::Running(_));
        let (Pending::Opening(context) | Pending::Running(context)) = &mut self.pending else {
            return;
        };
        if !context.aborting && unwanted {
            context.aborting = true;
            self.output(Output::AbortTransfer);
            return;
        }
        let room = self.backlog <= REPLY_BACKLOG_BYTES_MAX;
        if room
            && running
            && !context.stat_asked
            && self.lines.front().is_some_and(|line| is(line, WhileBusy::Reports))
        {
            context.stat_asked = true;
            self.output(Output::ReportProgress);
        }
    }

    /// ABOR ends it, and is answered in its turn.
    fn run_during_long_request(&mut self, interrupt: Interrupt) {
        if interrupt == Interrupt::OnAbortOrEnd && self.is_abandoned() {
            return self.close(Ending::Closed);
        }
        let unwanted = self.kicked || self.lines.contains(|line| is(line, WhileBusy::Aborts));
        if !self.interrupting && unwanted {
            self.interrupting = true;
            self.output(Output::GiveUpFile);
        }
    }

    fn execute(&mut self, line: &[u8]) {
        let keeps_rename = match command_table::split(line) {
            Some((Ok(row), argument)) => {
                self.command = row.names[0];
                if row.login && self.account().is_none() {
                    self.say(Situation::NeedLogin);
                } else {
                    row.execute(self, argument);
                }
                !row.clears_rename
            }
            Some((Err(unknown), _)) => {
                self.say(Situation::CommandUnknown);
                if is_http(unknown) {
                    self.event(Event::ForeignProtocol);
                    self.close(Ending::NotFtp);
                }
                false
            }
            None => {
                self.say(Situation::NoCommand);
                false
            }
        };
        // RNTO has taken the name by now. RNFR sets it later, when storage answers.
        if !keeps_rename {
            self.rename_from = None;
        }
    }

    fn timed_out(&mut self) {
        if self.poll_timeout().is_none_or(|deadline| deadline > self.now) {
            return; // an early timer changes nothing
        }
        match &self.pending {
            Pending::TlsHandshake | Pending::TlsShutdown(_) => {
                // Nothing may be sent in clear on a connection that was promised TLS.
                self.event(Event::TimedOut(TimeoutPhase::Handshake));
                self.close(Ending::HandshakeTimeout);
            }
            Pending::LoginDelay { until } if *until <= self.now => self.login_delay_over(),
            _ if self.account().is_none() && self.login_expired() => {
                self.event(Event::TimedOut(TimeoutPhase::Login));
                self.say(Situation::LoginTimeout);
                self.close(Ending::LoginTimeout);
            }
            _ => {
                self.event(Event::TimedOut(TimeoutPhase::Idle));
                self.say(Situation::IdleTimeout);
                self.close(Ending::Idle);
            }
        }
    }

    fn login_expired(&self) -> bool {
        self.login_started.is_some_and(|started| started + self.policy.login_timeout <= self.now)
    }

    fn quit(&mut self) {
        self.say(Situation::Quit);
        self.close(Ending::Quit);
    }

    /// Ends the session and gives up open requests.
    fn close(&mut self, ending: Ending) {
        self.ending = self.ending.or(Some(ending));
        if self.is_transferring() {
            self.output(Output::AbortTransfer);
        }
        self.close_next_data();
        self.lines.clear();
        self.pending = Pending::Closed;
        self.output(Output::Close);
    }

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    /// Tells that the command is refused by right.
    fn deny(&mut self, reason: Denial, path: Vec<u8>) {
        self.event(Event::Denied { command: self.command, path, reason });
    }

    /// As [`Session::deny`], for a command with a pathname.
    fn deny_path(&mut self, reason: Denial, argument: &[u8]) {
        let resolved = self.cwd.resolve(argument);
        let path = resolved.map_or_else(|_| argument.to_vec(), |path| path.as_bytes().to_vec());
        self.deny(reason, path);
    }

    fn say(&mut self, situation: Situation) {
        let (code, text) = situation.code_and_text();
        self.reply(code, text.as_bytes());
    }

    fn reply(&mut self, code: u16, text: &[u8]) {
        let mut bytes = Vec::with_capacity(text.len() + 8);
        reply::line(&mut bytes, code, text);
        self.write(&bytes);
    }

    /// Replies that follow each other leave in one piece.
    fn write(&mut self, bytes: &[u8]) {
        self.backlog += bytes.len();
        if let Some(Output::Reply(last)) = self.outputs.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.output(Output::Reply(bytes.to_vec()));
        }
    }
}

/// Whether `line` is a command without argument that does `wanted` while the session is busy.
fn is(line: &Line, wanted: WhileBusy) -> bool {
    match line {
        Line::Command(line) => matches!(
            command_table::split(line),
            Some((Ok(row), None)) if row.while_busy == wanted
        ),
        Line::TooLong => false,
    }
}

/// Requests of HTTP clients, and of browsers tricked into talking to us.
fn is_http(verb: &[u8]) -> bool {
    const VERBS: [&[u8]; 9] =
        [b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"PATCH", b"HOST:"];
    VERBS.iter().any(|http| http.eq_ignore_ascii_case(verb))
}
