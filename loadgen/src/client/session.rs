//! An FTP session: opening it (implicit or explicit), logging in, commands and their replies,
//! REIN. Transfers are in `transfer`.

use std::{
    cell::Cell,
    future::Future,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{
    Channel, ConnectionError, DataMode, Failure, OperationRecord, Presence, Received, Reply,
    ReplyParser, TicketStore, TlsSettings, Trace, Users, timeout_kind,
};
use crate::{
    engine::{net, timeout_at},
    measure::{
        Channel as Which, ConnectionState, ErrorKind, Phase, Resumption, TlsHandshake, TlsNames,
    },
};

/// How a session gets its TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// MS-FTPS 3.1.5: TLS from the first octet, then the greeting; PBSZ 0 and PROT P are implied.
    Implicit,
    /// RFC 4217 §4: greeting, AUTH, TLS.
    Explicit(AuthWord),
}

/// The argument of AUTH; both mean the same (MS-FTPS 2.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthWord {
    /// `AUTH TLS`.
    Tls,
    /// `AUTH SSL`.
    Ssl,
}

/// Protection level of data connections, RFC 4217 §9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protection {
    /// PROT P: TLS.
    #[value(name = "P")]
    Private,
    /// PROT C: in clear.
    #[value(name = "C")]
    Clear,
}

/// What to do about session resumption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ResumeMode {
    /// Every handshake is a full one.
    Never,
    /// Offer a session where there is one; the report says how many were taken.
    Offered,
    /// A handshake that is not resumed is a failure.
    Always,
}

/// A server and the protocol options for it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The control connection's address.
    pub target: SocketAddr,
    /// Implicit or explicit.
    pub opening: Opening,
    /// Implicit TLS to the letter of MS-FTPS: PBSZ and PROT P are implied and not sent.
    pub implied_prot: bool,
    /// Protection level of data connections.
    pub protection: Protection,
    /// How data connections are agreed on.
    pub data: DataMode,
    /// Who logs in.
    pub users: Users,
    /// TLS on both kinds of connection.
    pub tls: TlsSettings,
    /// Resumption on control connections.
    pub resume_control: ResumeMode,
    /// Resumption on data connections.
    pub resume_data: ResumeMode,
    /// Longest wait for any one step.
    pub timeout: Duration,
    /// Longest time of one transfer, beyond what its own pace asks for: a server that sends an
    /// octet now and then passes every step.
    pub transfer_timeout: Duration,
    /// Most octets of a listing, or of a file whose size is not known.
    pub bytes_max: u64,
    /// Text of the first greeting seen, for the report.
    pub greeting: Arc<OnceLock<String>>,
    /// The account of one client, if one is wanted.
    pub trace: Option<Trace>,
}

/// One simulated client: it has an address and remembers TLS sessions, and may open one FTP session
/// after another.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Rc<Endpoint>,
    source: Option<IpAddr>,
    /// The number of its user.
    user: u64,
    /// Whether an account of it is wanted.
    is_traced: bool,
    tickets: Arc<TicketStore>,
    control: Arc<ClientConfig>,
    data: Arc<ClientConfig>,
    /// The phase that its operation is in.
    step: Rc<Cell<Phase>>,
}

impl Client {
    /// A client of the first user that connects from `source` and remembers its TLS sessions in
    /// `tickets`.
    #[must_use]
    pub fn new(endpoint: Rc<Endpoint>, source: Option<IpAddr>, tickets: Arc<TicketStore>) -> Self {
        let tls = &endpoint.tls;
        let never = |mode| mode == ResumeMode::Never;
        // A control connection that never resumes still collects the tickets of its session.
        let control = if never(endpoint.resume_control) && never(endpoint.resume_data) {
            tls.full()
        } else {
            tls.resuming(&tickets)
        };
        let data = if never(endpoint.resume_data) { tls.full() } else { Arc::clone(&control) };
        let step = Rc::new(Cell::new(Phase::Operation));
        Self { endpoint, source, user: 0, is_traced: false, tickets, control, data, step }
    }

    /// The phase that its operation is in: where it is cut if the run ends now.
    #[must_use]
    pub fn step(&self) -> Phase {
        self.step.get()
    }

    /// Its operation is in `phase` now.
    pub fn enter(&self, phase: Phase) {
        self.step.set(phase);
    }

    /// The same client at another address, sharing its TLS sessions.
    #[must_use]
    pub fn at(&self, source: Option<IpAddr>) -> Self {
        Self { source, ..self.clone() }
    }

    /// The same client as user `number`; there are as many as there are, again and again.
    #[must_use]
    pub fn as_user(self, number: u64) -> Self {
        Self { user: number % self.endpoint.users.count(), ..self }
    }

    /// The same client with this number in the run: if that is the one of which an account is
    /// wanted, it gives it.
    #[must_use]
    pub fn numbered(self, number: u64) -> Self {
        let is_traced = self.endpoint.trace.as_ref().is_some_and(|trace| trace.is_of(number));
        Self { is_traced, ..self }
    }

    /// Where it gives an account of itself, if it does.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.endpoint.trace.as_ref().filter(|_| self.is_traced)
    }

    /// The number of its user.
    #[must_use]
    pub const fn user(&self) -> u64 {
        self.user
    }

    /// The server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its own address, if one was chosen.
    #[must_use]
    pub const fn source(&self) -> Option<IpAddr> {
        self.source
    }

    /// Connects and brings the session to where USER may be sent.
    ///
    /// # Errors
    ///
    /// [`Failure`]; nothing is left open.
    pub async fn open(&self, record: &mut OperationRecord) -> Result<Session, Failure> {
        let mut session = self.connect(record).await?;
        match self.endpoint.opening {
            Opening::Implicit => {
                session.start_tls(record).await?;
                session.greeting(record).await?;
            }
            Opening::Explicit(word) => {
                session.greeting(record).await?;
                session.authenticate(word, record).await?;
            }
        }
        Ok(session)
    }

    /// [`Self::open`], then logs in and settles what transfers need.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn log_in(&self, record: &mut OperationRecord) -> Result<Session, Failure> {
        let mut session = self.open(record).await?;
        session.log_in(record).await?;
        session.settle(record).await?;
        Ok(session)
    }

    /// Opens the TCP connection alone, for silent clients.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn connect(&self, record: &mut OperationRecord) -> Result<Session, Failure> {
        let presence = Presence::new(record.recorder());
        self.enter(Phase::TcpConnect);
        let endpoint = &self.endpoint;
        let connecting = net::connect(self.source, endpoint.target);
        if let Some(trace) = self.trace() {
            let (client, target) = (trace.client(), endpoint.target);
            trace.tell(format_args!("client {client}: control connection to {target}"));
        }
        let stream =
            within(Phase::TcpConnect, endpoint.timeout, async { Ok(connecting.await?) }).await?;
        record.phase(Phase::TcpConnect);
        if let Some(trace) = self.trace() {
            match stream.local_addr() {
                Ok(local) => {
                    trace.tell(format_args!("control connection established from {local}"))
                }
                Err(error) => trace.tell(format_args!("control connection established ({error})")),
            }
        }
        Ok(Session {
            client: self.clone(),
            channel: Channel::new(stream),
            parser: ReplyParser::default(),
            presence,
        })
    }

    /// Begins TLS for a connection of `which` kind and does the handshake on it.
    pub(super) async fn handshake(
        &self,
        channel: &mut Channel,
        which: Which,
        record: &OperationRecord,
    ) -> Result<(), Failure> {
        let (phase, config, mode) = match which {
            Which::Control => (Phase::TlsHandshake, &self.control, self.endpoint.resume_control),
            Which::Data => (Phase::DataTls, &self.data, self.endpoint.resume_data),
        };
        self.enter(phase);
        if which == Which::Control && mode == ResumeMode::Never {
            // Not sooner: with explicit TLS others leave their sessions while this one is greeted.
            self.tickets.clear();
        }
        let tls = self
            .endpoint
            .tls
            .connect(Arc::clone(config), &self.tickets)
            .map_err(|error| ConnectionError::from(error).during(phase))?;
        if let Some(trace) = self.trace() {
            trace.tell(format_args!("TLS {}: ClientHello", which.name()));
        }
        within(phase, self.endpoint.timeout, channel.handshake(tls)).await?;
        let Some(facts) = channel.tls().map(|tls| tls.facts(which)) else {
            return Ok(());
        };
        record.tls(facts);
        self.tell_handshake(which, facts);
        if !record.is_recorded() {
            // What prepares a run is where the first sessions to resume come from.
            return Ok(());
        }
        match (mode, facts.resumption) {
            (ResumeMode::Always, Resumption::Declined) => {
                let detail = "the server did a full handshake";
                Err(Failure::new(phase, ErrorKind::ResumptionRefused, detail))
            }
            (ResumeMode::Always, Resumption::NotOffered) => {
                let detail = "the server left no session to resume";
                Err(Failure::new(phase, ErrorKind::ResumptionRefused, detail))
            }
            _ => Ok(()),
        }
    }
}

impl Client {
    /// Tells `what`, if an account of this client is wanted.
    pub(crate) fn tell(&self, what: &str) {
        if let Some(trace) = self.trace() {
            trace.tell(format_args!("{what}"));
        }
    }

    fn tell_handshake(&self, which: Which, facts: TlsHandshake) {
        let Some(trace) = self.trace() else { return };
        let TlsNames { version, suite, group, certificate } = facts.names;
        let how = match facts.resumption {
            Resumption::NotOffered => "a full handshake, no session offered",
            Resumption::Declined => "a full handshake, though a session was offered",
            Resumption::Resumed => "resumed",
        };
        trace.tell(format_args!(
            "TLS {}: {version} {suite} {group}, certificate {certificate}, {how}",
            which.name()
        ));
    }
}

/// An FTP session: its control connection.
pub struct Session {
    pub(super) client: Client,
    channel: Channel,
    parser: ReplyParser,
    presence: Presence,
}

impl Session {
    /// USER and PASS.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn log_in(&mut self, record: &mut OperationRecord) -> Result<(), Failure> {
        const PHASE: Phase = Phase::Login;
        self.presence.set(ConnectionState::LoggingIn);
        let endpoint = Rc::clone(&self.client.endpoint);
        let user = endpoint.users.of(self.client.user);
        let mut reply = self.exchange(PHASE, &format!("USER {}", user.name)).await?;
        if reply.is_intermediate() {
            reply = self.exchange(PHASE, &format!("PASS {}", user.password)).await?;
        }
        if !reply.is_completion() {
            return Err(Failure::unexpected(PHASE, &reply));
        }
        record.phase(PHASE);
        self.presence.set(ConnectionState::Idle);
        Ok(())
    }

    /// What transfers need: the protection level, where it is not implied, and TYPE I. Belongs to
    /// no phase.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn settle(&mut self, record: &mut OperationRecord) -> Result<(), Failure> {
        let endpoint = Rc::clone(&self.client.endpoint);
        self.protect(&endpoint).await?;
        self.expect(Phase::Login, "TYPE I", 200).await?;
        record.skip();
        Ok(())
    }

    /// NOOP.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn keep_alive(&mut self) -> Result<(), Failure> {
        self.presence.set(ConnectionState::Waiting);
        let reply = self.exchange(Phase::Completion, "NOOP").await?;
        self.presence.set(ConnectionState::Idle);
        if reply.is_completion() {
            return Ok(());
        }
        Err(Failure::unexpected(Phase::Completion, &reply))
    }

    /// REIN: the session is as after connecting, on the same TCP connection, with TLS negotiated
    /// anew. RFC 959 §4.1.1, RFC 4217 §13, MS-FTPS 3.2.5.3.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn reinitialize(&mut self, record: &mut OperationRecord) -> Result<(), Failure> {
        const PHASE: Phase = Phase::Greeting;
        self.expect(PHASE, "REIN", 220).await?;
        let timeout = self.client.endpoint.timeout;
        within(PHASE, timeout, self.channel.end_tls()).await?;
        if !self.parser.is_empty() {
            return Err(behind(PHASE));
        }
        match self.client.endpoint.opening {
            Opening::Implicit => {
                self.start_tls(record).await?;
                self.greeting(record).await
            }
            // RFC 4217 §13: the control connection is in clear again, and REIN's 220 was the reply.
            Opening::Explicit(word) => self.authenticate(word, record).await,
        }
    }

    /// The certificate that the server showed, in its DER form.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        Some(self.channel.tls()?.certificate()?.to_vec())
    }

    /// QUIT, and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`Failure`]; the connection is closed in any case.
    pub async fn quit(mut self) -> Result<(), Failure> {
        self.presence.set(ConnectionState::Closing);
        let reply = self.exchange(Phase::Operation, "QUIT").await?;
        self.client.tell("control connection closed");
        self.channel.close().await;
        if reply.code == 221 { Ok(()) } else { Err(Failure::unexpected(Phase::Operation, &reply)) }
    }

    /// Closes without QUIT, as a client that has gone: close_notify and FIN.
    pub async fn close(mut self) {
        self.client.tell("control connection closed");
        self.presence.set(ConnectionState::Closing);
        self.channel.close().await;
    }

    /// Cuts the connection: RST.
    pub fn reset(self) {
        self.client.tell("control connection reset");
        self.channel.reset();
    }

    /// Says nothing and reads until the server ends the connection.
    ///
    /// # Errors
    ///
    /// The connection's failure, a reset among them.
    pub async fn stay_silent(&mut self) -> Result<(), Failure> {
        const READ_BYTES: usize = 4096;
        self.presence.set(ConnectionState::Idle);
        self.client.enter(Phase::Operation);
        loop {
            match self.channel.receive(READ_BYTES, |_| {}).await {
                Ok(Received::Some) => {}
                Ok(Received::End) => return Ok(()),
                Err(error) => return Err(error.during(Phase::Operation)),
            }
        }
    }

    /// Sends a command and reads the reply, whatever its code.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn exchange(&mut self, phase: Phase, command: &str) -> Result<Reply, Failure> {
        self.command(phase, command).await?;
        self.reply(phase).await
    }

    /// Sends a command whose reply must have this code.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub async fn expect(&mut self, phase: Phase, command: &str, code: u16) -> Result<(), Failure> {
        let reply = self.exchange(phase, command).await?;
        if reply.code == code { Ok(()) } else { Err(Failure::unexpected(phase, &reply)) }
    }

    /// Sends a command line. Line ends in it would make it two commands and are left out.
    pub(super) async fn command(&mut self, phase: Phase, command: &str) -> Result<(), Failure> {
        self.client.enter(phase);
        self.nothing_unasked(phase)?;
        if let Some(trace) = self.client.trace() {
            trace.command(command);
        }
        let mut line: Vec<u8> =
            command.bytes().filter(|octet| !matches!(octet, b'\r' | b'\n' | 0)).collect();
        line.extend_from_slice(b"\r\n");
        let timeout = self.client.endpoint.timeout;
        within(phase, timeout, self.channel.send(&line)).await
    }

    /// Octets behind the last reply would be taken for the reply to the next command. A whole reply
    /// there is reported by its code: 421 may come at any time (RFC 959 §4.2).
    fn nothing_unasked(&mut self, phase: Phase) -> Result<(), Failure> {
        match self.parser.next_reply() {
            Ok(Some(reply)) => Err(Failure::unexpected(phase, &reply)),
            Ok(None) if self.parser.is_empty() => Ok(()),
            Ok(None) => {
                let detail = "octets behind the last reply";
                Err(Failure::new(phase, ErrorKind::ReplyParse, detail))
            }
            Err(error) => Err(Failure::malformed(phase, error)),
        }
    }

    /// Reads one reply.
    pub(super) async fn reply(&mut self, phase: Phase) -> Result<Reply, Failure> {
        let reply = self.next_reply(phase).await?;
        if let Some(trace) = self.client.trace() {
            trace.reply(&reply);
        }
        Ok(reply)
    }

    async fn next_reply(&mut self, phase: Phase) -> Result<Reply, Failure> {
        const READ_BYTES: usize = 16 * 1024;
        let timeout = self.client.endpoint.timeout;
        let deadline = Instant::now() + timeout;
        self.client.enter(phase);
        loop {
            match self.parser.next_reply() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(error) => return Err(Failure::malformed(phase, error)),
            }
            let parser = &mut self.parser;
            let receiving = self.channel.receive(READ_BYTES, |octets| parser.push(octets));
            match timeout_at(deadline, receiving).await {
                None => {
                    let detail = format!("no whole reply within {timeout:?} (--timeout)");
                    return Err(Failure::new(phase, ErrorKind::ReplyTimeout, detail));
                }
                // In the phase of a transfer too, it is the control connection that ended.
                Some(Err(ConnectionError::Truncated)) => {
                    return Err(ConnectionError::Closed.during(phase));
                }
                Some(Err(error)) => return Err(error.during(phase)),
                Some(Ok(Received::Some)) => {}
                // What came before the end may hold the reply: 421 and close.
                Some(Ok(Received::End)) => match self.parser.next_reply() {
                    Ok(Some(reply)) => return Ok(reply),
                    Ok(None) => return Err(ConnectionError::Closed.during(phase)),
                    Err(error) => return Err(Failure::malformed(phase, error)),
                },
            }
        }
    }

    pub(super) fn set_state(&mut self, state: ConnectionState) {
        self.presence.set(state);
    }

    pub(super) const fn channel(&self) -> &Channel {
        &self.channel
    }

    async fn start_tls(&mut self, record: &mut OperationRecord) -> Result<(), Failure> {
        self.presence.set(ConnectionState::Handshaking);
        self.client.handshake(&mut self.channel, Which::Control, record).await?;
        record.phase(Phase::TlsHandshake);
        Ok(())
    }

    /// Reads 220, after any 120 (RFC 959 §5.4).
    async fn greeting(&mut self, record: &mut OperationRecord) -> Result<(), Failure> {
        const PHASE: Phase = Phase::Greeting;
        self.presence.set(ConnectionState::LoggingIn);
        let explicit = self.client.endpoint.opening != Opening::Implicit;
        let mut reply = self.reply(PHASE).await.map_err(|mut failure| {
            // What waits for a ClientHello says nothing.
            if explicit && failure.kind == ErrorKind::ReplyTimeout {
                failure.detail.push_str(
                    ": a server of implicit TLS waits for the client; if it is one, leave out \
                     --explicit",
                );
            }
            failure
        })?;
        if reply.code == 120 {
            reply = self.reply(PHASE).await?;
        }
        if reply.code != 220 {
            return Err(Failure::unexpected(PHASE, &reply));
        }
        self.client.endpoint.greeting.get_or_init(|| reply.text);
        record.phase(PHASE);
        Ok(())
    }

    async fn authenticate(
        &mut self,
        word: AuthWord,
        record: &mut OperationRecord,
    ) -> Result<(), Failure> {
        const PHASE: Phase = Phase::TlsHandshake;
        let command = match word {
            AuthWord::Tls => "AUTH TLS",
            AuthWord::Ssl => "AUTH SSL",
        };
        self.expect(PHASE, command, 234).await?;
        if !self.parser.is_empty() {
            return Err(behind(PHASE));
        }
        self.start_tls(record).await
    }

    /// PBSZ and PROT (RFC 4217 §9). With implicit TLS many servers want them too, and where they
    /// are refused there the level P is implied.
    async fn protect(&mut self, endpoint: &Endpoint) -> Result<(), Failure> {
        const PHASE: Phase = Phase::Login;
        let private = endpoint.protection == Protection::Private;
        let implicit = endpoint.opening == Opening::Implicit;
        if implicit && endpoint.implied_prot && private {
            return Ok(());
        }
        let implied = implicit && private;
        if !(implicit && endpoint.implied_prot) {
            self.settled(PHASE, "PBSZ 0", implied).await?;
        }
        self.settled(PHASE, if private { "PROT P" } else { "PROT C" }, implied).await
    }

    /// Sends a command whose reply must be 200, or may be that it is not known where it is implied.
    async fn settled(&mut self, phase: Phase, command: &str, implied: bool) -> Result<(), Failure> {
        let reply = self.exchange(phase, command).await?;
        let good = reply.code == 200 || (implied && (500..=504).contains(&reply.code));
        if good { Ok(()) } else { Err(Failure::unexpected(phase, &reply)) }
    }
}

/// Runs one step of `phase` within `timeout`.
pub(super) async fn within<T>(
    phase: Phase,
    timeout: Duration,
    step: impl Future<Output = Result<T, ConnectionError>>,
) -> Result<T, Failure> {
    match timeout_at(Instant::now() + timeout, step).await {
        Some(result) => result.map_err(|error| error.during(phase)),
        None => Err(late(phase, timeout)),
    }
}

pub(super) fn late(phase: Phase, timeout: Duration) -> Failure {
    Failure::new(phase, timeout_kind(phase), format!("not within {timeout:?} (--timeout)"))
}

/// Clear octets that came before TLS began would be taken for protected ones.
fn behind(phase: Phase) -> Failure {
    Failure::new(phase, ErrorKind::ReplyParse, "octets behind the reply that begins TLS")
}
