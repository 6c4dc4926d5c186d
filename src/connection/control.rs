//! The control connection: octets to the session, and what the session wants done. One task a
//! session; requests that may wait run as tasks of their own and answer through the mailbox.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::data::Origin;
use super::handshakes::{self, Place};
use super::homes::{self, FoundHome, LOG_IN};
use super::logins::{self, KeptProof};
use super::passive_ports::PassiveError;
use super::proof::Proof;
use super::session_ports::{PassiveListener, SessionPorts};
use super::shaking::DataTls;
use super::transfer::{Job, TransferHandle};
use super::wire::{ClientSends, Step, Wire};
use super::{Context, storage};
use crate::auth::ClientNetwork;
use crate::buffer::InBuf;
use crate::clock;
use crate::metrics::Held;
use crate::protocol::account::Account;
use crate::protocol::file::{FileError, FileRequest, TransferRequest};
use crate::protocol::session::{
    AuthenticationError, ControlTls, Event, Input, Mode, Output, PassiveUnavailable,
    ProtectionLevel, Rendezvous, Secret, Session, SessionStart,
};
use crate::runtime::{
    Flag, Mailbox, MailboxSender, Stream, Task, end_turn, mailbox, race, spawn, timeout_at,
    yield_if_needed,
};
use crate::tls::{ClientCertificate, ControlSession, Handshake, HandshakeFacts, Purpose, TlsError};
use crate::vfs::{self, Root};

/// A control connection as the listener hands it over.
pub struct Accepted {
    /// The socket.
    pub stream: Stream,
    /// Which port it came to.
    pub mode: Mode,
    /// Our end.
    pub local: SocketAddr,
    /// The client's end.
    pub peer: SocketAddr,
    /// A session limit is reached: say 421 instead of 220.
    pub refused: bool,
    /// The place for the handshake that an implicit connection begins with.
    pub place: Option<Place>,
    /// Dropped when the connection has ended.
    pub guest: Box<dyn Any>,
}

/// Serves one control connection to its end, in tasks of the shard: those of its TLS handshakes
/// run in the queue of the newcomers, so that a flood of them cannot starve established sessions.
pub fn serve(context: &Rc<Context>, accepted: Accepted) {
    let stage = match accepted.mode {
        Mode::Implicit => Stage::Handshake,
        Mode::Explicit => Stage::Session,
    };
    match Control::new(context, accepted) {
        Ok(control) => go_on(Box::new(control), stage),
        Err(error) => tracing::error!(%error, "no random session id; connection dropped"),
    }
}

fn go_on(mut control: Box<Control>, stage: Stage) {
    let context = control.context.clone();
    let queues = context.parts.queues;
    let queue = match stage {
        Stage::Handshake => queues.newcomers,
        Stage::Session => queues.sessions,
    };
    context.tasks.spawn_into(queue, async move {
        if let Some(next) = control.run(stage).await {
            go_on(control, next);
        } else {
            control.end().await;
        }
    });
}

/// What a stretch of a control connection's life is spent on; each runs as a task of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A TLS handshake, from the first octet to the flush of the greeting.
    Handshake,
    /// Everything else.
    Session,
}

struct Control {
    context: Rc<Context>,
    stream: Stream,
    peer: SocketAddr,
    local: SocketAddr,
    session: Session,
    /// What data connections resume.
    tls_session: Arc<ControlSession>,
    /// What they must prove.
    proof: Rc<Proof>,
    wire: Wire,
    raw: InBuf,
    /// Decrypted octets the session had no room for yet.
    plain: Vec<u8>,
    /// Octets to send, as they go on the wire.
    out: Vec<u8>,
    /// Answers known at once.
    answers: VecDeque<Input>,
    mailbox: Mailbox<Input>,
    sender: MailboxSender<Input>,
    /// The one request that runs off this task, and what ends it if it can be given up.
    request: Option<Task<()>>,
    give_up: Flag,
    ports: SessionPorts,
    passive: Option<PassiveListener>,
    /// How long it waits for a transfer.
    passive_until: Instant,
    transfer: Option<TransferHandle>,
    /// What the log-in in hand has found.
    found_home: FoundHome,
    /// The directory of the user who is in: that of the log-in, whatever becomes of its name.
    home: Option<Arc<Root>>,
    certificate: Option<ClientCertificate>,
    /// Counted under this name.
    user: Option<String>,
    logged_in: Option<Held>,
    /// The proof of its password.
    kept_proof: KeptProof,
    handshaking: Option<Held>,
    drain_told: bool,
    client_sends: ClientSends,
    closing: bool,
    /// Held through a TLS handshake.
    place: Option<Place>,
    /// When the ClientHello must be there.
    hello_due: Instant,
    _guest: Box<dyn Any>,
}

impl Control {
    fn new(context: &Rc<Context>, accepted: Accepted) -> Result<Self, TlsError> {
        let (sender, receiver) = mailbox(ANSWERS_MAX);
        let start = SessionStart {
            policy: context.policy().clone(),
            mode: accepted.mode,
            local: accepted.local,
            peer: accepted.peer,
            refused: accepted.refused,
        };
        Ok(Self {
            context: context.clone(),
            stream: accepted.stream,
            peer: accepted.peer,
            local: accepted.local,
            session: Session::new(clock::now(), start),
            tls_session: ControlSession::new()?,
            proof: Rc::default(),
            wire: Wire::Clear,
            raw: InBuf::new(),
            plain: Vec::new(),
            out: Vec::new(),
            answers: VecDeque::from([Input::Connected]),
            mailbox: receiver,
            sender,
            request: None,
            give_up: Flag::new(),
            ports: context.passive_ports.session(),
            passive: None,
            passive_until: clock::now(),
            transfer: None,
            found_home: FoundHome::default(),
            home: None,
            certificate: None,
            user: None,
            logged_in: None,
            kept_proof: KeptProof::default(),
            handshaking: None,
            drain_told: false,
            client_sends: ClientSends::More,
            closing: false,
            place: accepted.place,
            hello_due: clock::now(),
            _guest: accepted.guest,
        })
    }

    /// Mutate once, perform everything that came out, flush; then the next input. Returns at the
    /// end of the connection, or when another stage begins.
    async fn run(&mut self, stage: Stage) -> Option<Stage> {
        loop {
            let mut moved = true;
            if let Some(input) = self.answers.pop_front() {
                self.tell(input);
            } else {
                moved = self.step();
                if !moved && self.out.is_empty() && !self.closing {
                    self.tell_of_end();
                    self.tell_of_drain();
                    if self.answers.is_empty() {
                        self.wait(stage).await;
                    }
                }
            }
            // What is known already goes out in the same segment: the greeting with the tickets of
            // the handshake, above all, since two small segments meet a delayed acknowledgement,
            // and the replies of pipelined commands, that of a transfer included.
            let here = self.stage() == stage;
            let more = moved && here && self.out.len() < REPLIES_TOGETHER_BYTES_MAX;
            if (more || !self.answers.is_empty()) && !self.closing {
                continue;
            }
            if !self.flush().await || self.closing {
                return None;
            }
            let next = self.stage();
            if next != stage {
                end_turn();
                return Some(next);
            }
            yield_if_needed().await;
        }
    }

    const fn stage(&self) -> Stage {
        match self.wire {
            Wire::Handshake(_) => Stage::Handshake,
            Wire::Clear | Wire::Protected(_) | Wire::Draining(_) => Stage::Session,
        }
    }

    fn tell(&mut self, input: Input) {
        // What is left of a failed one goes with the next, or with the session.
        if matches!(input, Input::TransferFinished(Ok(())) | Input::TransferOpened(Err(_))) {
            self.transfer = None;
        }
        let input = match input {
            Input::Authenticated(Ok(account)) => Input::Authenticated(self.enter_user(account)),
            Input::Identified(Ok(Some(account))) => {
                Input::Identified(self.enter_user(account).map(Some))
            }
            input => input,
        };
        self.session.handle_input(clock::now(), input);
        self.perform();
    }

    /// Moves buffered octets one step; false when more must arrive first.
    fn step(&mut self) -> bool {
        if self.stage() == Stage::Handshake && self.place.is_none() {
            return false;
        }
        let now = clock::now();
        let unix = i64::try_from(clock::unix_time().as_secs()).unwrap_or(i64::MAX);
        self.session.set_unix_time(unix);
        let step =
            self.wire.step(now, &mut self.session, &mut self.raw, &mut self.plain, &mut self.out);
        if let (Wire::Handshake(handshake), Some(place)) = (&self.wire, &mut self.place)
            && handshake.has_hello()
        {
            place.heard();
        }
        match step {
            Ok(Step::NeedBytes) => return false,
            Ok(Step::Progress) => self.perform(),
            Ok(Step::Established(facts)) => self.established(*facts),
            Ok(Step::Drained) => self.answers.push_back(Input::TlsEnded),
            Ok(Step::Closed) if self.client_sends != ClientSends::More => return false,
            Ok(Step::Closed) => self.client_sends = ClientSends::NoMore,
            Err(error) => self.tls_failed(&error),
        }
        true
    }

    fn established(&mut self, facts: HandshakeFacts) {
        self.place = None;
        self.handshaking = None;
        handshakes::count(&self.context.counters, &facts);
        tracing::debug!(
            peer = %self.peer.ip().to_canonical(),
            tls = facts.version, suite = facts.cipher_suite, group = facts.group,
            resumption = %facts.resumption,
            "control connection protected"
        );
        let description = format!("{} {}", facts.version, facts.cipher_suite);
        self.certificate = facts.client_certificate;
        let shown = self.certificate.as_ref().map(|shown| shown.sha256);
        self.proof.protected(shown, clock::now() + self.context.parts.tls.ticket_lifetime());
        // Its first command may wait for the acknowledgement of its Finished.
        if self.out.is_empty() {
            self.stream.acknowledge();
        }
        if let Some(certificate) = &self.certificate {
            tracing::debug!(
                peer = %self.peer.ip().to_canonical(), subject = %certificate.subject,
                verified = certificate.chain_verified, "client certificate"
            );
        }
        self.answers.push_back(Input::TlsEstablished(ControlTls {
            server_name: facts.server_name,
            client_certificate: self.certificate.is_some(),
            description,
        }));
    }

    /// Never falls back to clear text: alert, if there is one, and close (RFC 4217 §10.1).
    fn tls_failed(&mut self, error: &TlsError) {
        if matches!(self.wire, Wire::Handshake(_)) {
            self.context.counters.control_handshakes_failed.increment();
            self.place = None;
        }
        self.log_tls_failure(error);
        self.session.handle_input(clock::now(), Input::Disconnected);
        self.perform();
        self.wire = Wire::Clear;
        self.handshaking = None;
    }

    fn log_tls_failure(&self, error: &TlsError) {
        let peer = self.peer.ip().to_canonical();
        tracing::info!(%peer, %error, "control connection TLS failed");
    }

    /// Once all that came before the end has been fed; part of a line or record may be left.
    fn tell_of_end(&mut self) {
        let fed = self.session.wants_bytes() || self.wire.is_between_states();
        if self.client_sends == ClientSends::NoMore && fed {
            self.client_sends = ClientSends::NoMoreTold;
            self.answers.push_back(Input::SendingEnded);
        }
    }

    fn tell_of_drain(&mut self) {
        if self.context.drain.is_set() && !self.drain_told {
            self.drain_told = true;
            self.answers.push_back(Input::Drain);
        }
    }

    /// Waits for octets, an answer, a deadline, or the end of the shard.
    async fn wait(&mut self, stage: Stage) {
        if stage == Stage::Session {
            self.release_buffers();
        } else if self.place.as_ref().is_some_and(|place| !place.is_heard()) && self.read_ready() {
            // The kernel has kept an implicit connection back until its ClientHello was there.
            return self.context.pacer.turn().await;
        } else {
            // What came out of this handshake so far was dear.
            end_turn();
            // The client's next record may wait for the acknowledgement of its last.
            self.stream.acknowledge();
        }
        let ports_due = self.ports_due();
        let deadline = earlier(self.session.poll_timeout(), self.hello_deadline(stage));
        let deadline = earlier(deadline, ports_due);
        let reading = self.client_sends == ClientSends::More
            && (self.session.wants_bytes() || self.wire.is_between_states());
        let (stream, raw) = (&self.stream, &mut self.raw);
        let received = async {
            if reading {
                let take = |octets: &[u8]| raw.extend_from_slice(octets);
                Woken::Received(stream.read_with::<CONTROL_READ_BYTES>(take).await)
            } else if self.logged_in.is_some() && stream.broken().await.is_ok() {
                Woken::Broken
            } else {
                // No descriptor to watch with, for strangers least of all: what is sent will tell.
                std::future::pending().await
            }
        };
        let answered = async { Woken::Answer(self.mailbox.recv().await) };
        let (drain, cut) = (&self.context.drain, &self.context.cut);
        let drain_told = self.drain_told;
        let shutdown = async {
            if drain_told {
                cut.wait().await
            } else {
                drain.wait().await
            }
            Woken::Shutdown
        };
        let events = race(answered, shutdown);
        let waiting = async {
            match (stage, &self.place) {
                (Stage::Session, _) => race(events, received).await,
                (Stage::Handshake, Some(place)) => {
                    let shed = async {
                        place.shed().await;
                        Woken::Shed
                    };
                    race(race(events, received), shed).await
                }
                (Stage::Handshake, None) => {
                    let entering = async { Woken::Place(self.context.handshakes.enter().await) };
                    race(events, entering).await
                }
            }
        };
        let woken = match deadline {
            Some(deadline) => timeout_at(deadline, waiting).await.unwrap_or(Woken::Timeout),
            None => waiting.await,
        };
        self.woken(stage, woken).await;
    }

    async fn woken(&mut self, stage: Stage, woken: Woken) {
        match woken {
            Woken::Received(received) => {
                self.received(received);
                if stage == Stage::Handshake {
                    self.context.pacer.turn().await;
                } else if self.logged_in.is_some() {
                    self.context.pacer.attend();
                }
            }
            Woken::Answer(Some(input)) => self.answers.push_back(input),
            Woken::Answer(None) => {}
            Woken::Broken => self.answers.push_back(Input::Disconnected),
            Woken::Place(place) => {
                self.place = Some(place);
                self.hello_due = clock::now() + self.context.parts.client_hello_timeout;
            }
            Woken::Shed if self.read_ready() => {
                if let Some(place) = &self.place {
                    place.spared();
                }
            }
            Woken::Shed => {
                self.context.counters.handshakes_shed.increment();
                self.tls_failed(&TlsError::Shed);
            }
            Woken::Timeout if self.hello_deadline(stage).is_some_and(|due| due <= clock::now()) => {
                self.context.counters.handshakes_silent.increment();
                self.tls_failed(&TlsError::NoClientHello);
            }
            Woken::Timeout if self.ports_due().is_some_and(|due| due <= clock::now()) => {
                self.tend_ports();
            }
            Woken::Timeout => self.answers.push_back(Input::Timeout),
            Woken::Shutdown if self.context.cut.is_set() => {
                self.answers.push_back(Input::Disconnected);
            }
            Woken::Shutdown => {}
        }
    }

    fn received(&mut self, received: std::io::Result<usize>) {
        match received {
            Ok(0) => self.client_sends = ClientSends::NoMore,
            Ok(_) => {}
            Err(_) => self.answers.push_back(Input::Disconnected),
        }
    }

    fn release_buffers(&mut self) {
        self.raw.release_if_empty();
        if self.plain.is_empty() {
            self.plain = Vec::new();
        }
        self.out = Vec::new();
    }

    /// When a silent client has to be gone; nothing while it waits for a place.
    fn hello_deadline(&self, stage: Stage) -> Option<Instant> {
        let place = self.place.as_ref().filter(|_| stage == Stage::Handshake)?;
        (!place.is_heard()).then_some(self.hello_due)
    }

    /// Reads what is there without waiting; false when nothing is.
    fn read_ready(&mut self) -> bool {
        let room = self.raw.spare(CONTROL_READ_BYTES);
        match self.stream.try_read(room) {
            Ok(count) if count > 0 => self.raw.commit(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
            other => self.received(other),
        }
        true
    }

    /// Sends what is to be sent; false when the client is gone or does not read.
    async fn flush(&mut self) -> bool {
        if self.out.is_empty() {
            return true;
        }
        let deadline = clock::now() + self.context.policy().stall_timeout;
        let sent = timeout_at(deadline, self.stream.write_all(&self.out)).await;
        self.out.clear();
        if !matches!(sent, Ok(Ok(()))) {
            return false;
        }
        if !self.closing {
            self.answers.push_back(Input::Flushed);
        }
        true
    }

    fn perform(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let performed = match output {
                Output::Reply(reply) => self.wire.send(&reply, &mut self.out),
                Output::ShutdownTls(after) => {
                    self.plain.clear();
                    self.wire.shut_down_tls(after, &mut self.out)
                }
                Output::StartTls { host } => self.start_tls(host.as_deref()),
                output => {
                    self.perform_request(output);
                    Ok(())
                }
            };
            if let Err(error) = performed {
                self.log_tls_failure(&error);
                self.closing = true;
            }
        }
    }

    fn start_tls(&mut self, host: Option<&str>) -> Result<(), TlsError> {
        let tls = &self.context.parts.tls;
        // What an earlier log-in on this connection was given to resume ends here (REIN).
        self.tls_session = ControlSession::new()?;
        self.proof = Rc::default();
        let handshake = Handshake::new(tls, Purpose::Control, &self.tls_session, host);
        self.wire = Wire::Handshake(Box::new(handshake));
        self.hello_due = clock::now() + self.context.parts.client_hello_timeout;
        self.handshaking = Some(self.context.gauges.handshakes.hold());
        Ok(())
    }

    fn perform_request(&mut self, output: Output) {
        match output {
            Output::Identify { user } => self.identify(&user),
            Output::Authenticate { user, password } => self.authenticate(user, password),
            Output::File(request) => self.ask_storage(request),
            Output::GiveUpFile => self.give_up.set(),
            Output::ListenPassive => self.listen(),
            Output::ClosePassive => self.passive = None,
            Output::OpenTransfer(request) => self.open_transfer(request),
            Output::RunTransfer { rendezvous, level } => {
                let origin = match rendezvous {
                    Rendezvous::Active(peer) => Origin::Active { peer, local: self.local },
                    Rendezvous::Passive => {
                        self.passive.take().map_or(Origin::Nothing, Origin::Passive)
                    }
                };
                if let Some(transfer) = &self.transfer {
                    transfer.run(origin, level);
                }
            }
            Output::AbortTransfer => {
                if let Some(transfer) = &self.transfer {
                    transfer.abort();
                }
            }
            Output::ReportProgress => {
                let moved = self.transfer.as_ref().map_or(0, TransferHandle::moved);
                self.answers.push_back(Input::Progress(moved));
            }
            Output::Event(event) => self.note(&event),
            Output::Close => {
                self.wire.close_notify(&mut self.out);
                self.closing = true;
            }
            Output::Reply(_) | Output::ShutdownTls(_) | Output::StartTls { .. } => {}
        }
    }

    fn identify(&mut self, user: &[u8]) {
        let account = homes::account_of(&self.context, self.certificate.as_ref(), user);
        let Some(account) = account else {
            return self.answers.push_back(Input::Identified(Ok(None)));
        };
        let (context, sender) = (self.context.clone(), self.sender.clone());
        let found = self.found_home.clone();
        self.request = Some(spawn(async move {
            let result = homes::seek(&context, Ok(account), &found).await.map(Some);
            let _ = sender.send(Input::Identified(result));
        }));
    }

    fn authenticate(&mut self, user: Vec<u8>, Secret(password): Secret) {
        let (context, sender) = (self.context.clone(), self.sender.clone());
        let (network, kept) = (ClientNetwork::of(self.peer.ip()), self.kept_proof.clone());
        let found = self.found_home.clone();
        self.request = Some(spawn(async move {
            let proved = logins::check(&context, network, user, password, kept).await;
            let result = homes::seek(&context, proved, &found).await;
            let _ = sender.send(Input::Authenticated(result));
        }));
    }

    fn enter_user(&mut self, account: Account) -> Result<Account, AuthenticationError> {
        self.leave_user();
        self.home = self.found_home.take();
        if !self.context.enter_user(&account.name) {
            return Err(AuthenticationError::TooManySessions);
        }
        self.user = Some(account.name.clone());
        self.ports.enter(Some(&account.name));
        self.logged_in = Some(self.context.gauges.sessions_logged_in.hold());
        Ok(account)
    }

    /// Also when a panic ends the session.
    fn leave_user(&mut self) {
        if let Some(user) = self.user.take() {
            self.ports.enter(None);
            self.context.leave_user(&user);
            self.logged_in = None;
            self.home = None;
            self.context.logins.remember(self.kept_proof.take());
        }
    }

    fn ask_storage(&mut self, request: FileRequest) {
        let Some(root) = self.home.clone() else {
            return self.answers.push_back(Input::File(Err(FileError::NotFound)));
        };
        if let Some(answer) = vfs::try_perform(&root, &request) {
            return self.answers.push_back(Input::File(answer));
        }
        let (context, sender) = (self.context.clone(), self.sender.clone());
        let user = self.session.account().map_or("", |account| &account.name);
        let files = context.files(user, root.device_of(request.path()));
        self.give_up = Flag::new();
        let give_up = self.give_up.clone();
        self.request = Some(spawn(async move {
            let answer = storage::perform(&context, &files, root, request);
            let _ = sender.send(Input::File(storage::unless(&give_up, answer).await));
        }));
    }

    fn listen(&mut self) {
        self.passive = None;
        let result = match self.ports.listen(self.local, self.peer.ip()) {
            Ok(listener) => {
                let address = listener.advertised(self.context.parts.masquerade);
                self.passive = Some(listener);
                self.passive_until = clock::now() + self.context.policy().data_timeout;
                Ok(address)
            }
            Err(error) => {
                tracing::warn!(%error, "no passive port");
                Err(match error {
                    PassiveError::Exhausted | PassiveError::Share { .. } => {
                        PassiveUnavailable::Exhausted
                    }
                    PassiveError::Io(_) => PassiveUnavailable::Failed,
                })
            }
        };
        self.answers.push_back(Input::PassiveListening(result));
    }

    /// When [`Control::tend_ports`] has something to do.
    fn ports_due(&self) -> Option<Instant> {
        match &self.passive {
            // Behind a command, storage may take its time.
            Some(passive) if self.session.is_transferring() => passive.guard_due(),
            Some(passive) => earlier(passive.guard_due(), Some(self.passive_until)),
            None => self.ports.rests_until(),
        }
    }

    /// Looks after a port whose connection or next transfer is late.
    fn tend_ports(&mut self) {
        let private = self.session.security().level() == ProtectionLevel::Private;
        let tls = self.data_tls();
        match &mut self.passive {
            Some(_) if self.passive_until <= clock::now() => {
                tracing::info!(peer = %self.peer.ip().to_canonical(), "no transfer came for a \
                    passive port within `limits.data_timeout`; port closed");
                self.passive = None;
            }
            Some(passive) => passive.guard(private.then_some(tls)),
            None => self.ports.free(),
        }
    }

    fn data_tls(&self) -> DataTls {
        let (session, proof) = (self.tls_session.clone(), self.proof.clone());
        DataTls { context: self.context.clone(), session, proof }
    }

    fn open_transfer(&mut self, request: TransferRequest) {
        let account = self.session.account();
        let opening = account.and_then(|account| {
            let lax = account.lax_upload_eof.unwrap_or(self.context.policy().lax_upload_eof);
            self.home.clone().map(|root| (root, account.name.clone(), lax))
        });
        let Some((root, user, lax_upload_eof)) = opening else {
            return self.answers.push_back(Input::TransferOpened(Err(FileError::NotFound)));
        };
        let device = root.device_of(request.path());
        let files = self.context.files(&user, device);
        let local = self.context.is_local(&root, request.path(), &files, device);
        self.transfer = Some(TransferHandle::start(Job {
            context: self.context.clone(),
            root,
            files,
            local,
            request,
            tls: self.data_tls(),
            user,
            peer: self.peer,
            lax_upload_eof,
            mailbox: self.sender.clone(),
        }));
    }

    fn note(&mut self, event: &Event) {
        let counters = &self.context.counters;
        let peer = self.peer.ip().to_canonical();
        match event {
            Event::LoggedIn { user, by_certificate } => {
                counters.logins.increment();
                self.proof.logged_in(*by_certificate);
                tracing::info!(target: LOG_IN, %peer, user, by_certificate, "logged in");
            }
            Event::LoginFailed { user, failures } => {
                counters.logins_failed.increment();
                let user = user.as_slice();
                tracing::warn!(target: LOG_IN, %peer, user, failures, "log-in failed");
            }
            Event::LoggedOut => self.leave_user(),
            Event::PlaintextBehindAuth => {
                tracing::warn!(%peer, "octets behind AUTH in the clear; connection closed");
            }
            Event::TimedOut(phase) => {
                if *phase == "handshake" {
                    counters.control_handshakes_failed.increment();
                }
                tracing::info!(%peer, phase, "session timed out");
            }
            Event::ForeignProtocol => tracing::info!(%peer, "not FTP; connection closed"),
        }
    }

    /// Last words out, FIN, and a moment for the client to read them; everything else is dropped.
    async fn end(&mut self) {
        if !self.closing {
            self.session.handle_input(clock::now(), Input::Disconnected);
            while self.session.poll_output().is_some() {}
        }
        // Not kept from others while the client lingers, as after the deadline of a handshake.
        self.place = None;
        self.handshaking = None;
        self.transfer = None;
        self.passive = None;
        if let Some(request) = self.request.take() {
            request.cancel().await;
        }
        self.leave_user();
        if self.stream.shutdown_write().is_ok() {
            self.stream.linger(LINGER, LINGER_BYTES_MAX).await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.leave_user();
    }
}

/// Why [`Control::wait`] returned.
enum Woken {
    /// So many octets came; none is the end.
    Received(std::io::Result<usize>),
    /// The connection failed while it was not read from.
    Broken,
    Answer(Option<Input>),
    Timeout,
    Shutdown,
    /// The handshake may begin.
    Place(Place),
    /// Others wait for this handshake's place.
    Shed,
}

fn earlier(first: Option<Instant>, second: Option<Instant>) -> Option<Instant> {
    first.into_iter().chain(second).min()
}

/// Answers on their way at the same time: one request and one transfer, which speaks twice.
const ANSWERS_MAX: usize = 8;

/// Octets of replies that wait for those of the commands behind them.
const REPLIES_TOGETHER_BYTES_MAX: usize = 2 * 1024;

/// Octets read from a control connection at once.
const CONTROL_READ_BYTES: usize = 4 * 1024;

const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;
