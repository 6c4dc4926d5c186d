//! The loop of a control connection: octets to the session, and what the session wants done.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::state::{Accepted, Control, KICK_GRACE, Stage};
use super::waiting::kicked;
use super::wire::{ClientSends, Step, Wire};
use crate::clock;
use crate::connection::context::Context;
use crate::connection::newcomers::permits;
use crate::connection::sessions::Listed;
use crate::events::{
    ConnectionRefused, Disconnected, Ending, HandshakeRefused, Listener, Refusal, SessionBegun,
};
use crate::protocol::session::{ControlTls, Input, Mode, Output};
use crate::runtime::{Elapsed, end_turn, log_of, logging_of, race, timeout_at, yield_if_needed};
use crate::tls::{ControlSession, Handshake, HandshakeFacts, Purpose, TlsError};

/// Serves one control connection to its end, in tasks of the shard. TLS handshakes run in the queue
/// of the newcomers, so that a flood of them cannot starve established sessions.
pub fn serve(context: &Rc<Context>, accepted: Accepted) {
    let stage = match accepted.mode {
        Mode::Implicit => Stage::Handshake,
        Mode::Explicit => Stage::LogIn,
    };
    let (mode, refused, proxy) = (accepted.mode, accepted.refused, accepted.ends.proxy);
    match Control::new(context, accepted) {
        Ok(control) => {
            let of = control.listed.as_ref().map(Listed::log_of);
            logging_of(of, || tell_of_begin(mode, refused, proxy));
            go_on(Box::new(control), stage);
        }
        Err(error) => tracing::error!(%error, "no random session id; connection dropped"),
    }
}

fn tell_of_begin(mode: Mode, refused: Option<Refusal>, proxy: Option<SocketAddr>) {
    let listener = match mode {
        Mode::Implicit => Listener::Implicit,
        Mode::Explicit => Listener::Explicit,
    };
    SessionBegun { listener, proxy }.log();
    if let Some(reason) = refused {
        ConnectionRefused { reason, peer: None, shard: None }.log();
    }
}

/// Runs `control` from `stage` on. Each stage has its queue; the task takes itself there, or where
/// the executor leaves a task where it is, hands over to another.
fn go_on(mut control: Box<Control>, mut stage: Stage) {
    let context = control.context.clone();
    let queue = stage.queue(context.queues());
    context.tasks.spawn_into(queue, async move {
        if let Some(listed) = &control.listed {
            log_of(listed.log_of());
        }
        control.take_turns();
        while let Some(next) = control.run(stage).await {
            if !next.queue(control.context.queues()).enter() {
                return go_on(control, next);
            }
            stage = next;
        }
        control.end().await;
    });
}

impl Control {
    /// Each round feeds one input to the session, does everything the session asks for and sends
    /// the replies. Returns at the end of the connection, or when another stage begins.
    pub(super) async fn run(&mut self, stage: Stage) -> Option<Stage> {
        loop {
            if self.is_revoked() {
                self.session.handle_input(clock::now(), Input::Revoked);
                self.perform();
            }
            if self.is_kicked() {
                tracing::info!("ended by the operator");
                self.session.handle_input(clock::now(), Input::Kicked);
                self.perform();
            }
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
            // Replies are sent only when nothing more is known now, so that they share a segment:
            // the greeting with the tickets of the handshake (two small segments would meet a
            // delayed acknowledgement), and the replies of pipelined commands, transfers included.
            // So it is not before that either that a log-in makes the session one of a user's.
            let here = self.stage().is_handshake() == stage.is_handshake();
            let more = moved && here && self.out.len() < REPLIES_TOGETHER_BYTES_MAX;
            if (more || !self.answers.is_empty()) && !self.closing {
                continue;
            }
            if !self.flush().await || self.closing {
                return None;
            }
            let next = self.stage();
            if next != stage {
                // Whatever is done in a handshake is expensive.
                if stage.is_handshake() {
                    end_turn();
                }
                return Some(next);
            }
            yield_if_needed().await;
        }
    }

    pub(super) fn tell(&mut self, input: Input) {
        // A transfer that failed is kept: its connection is closed by the next one, or with the
        // session.
        let ended =
            matches!(input, Input::TransferFinished(Ok(())) | Input::TransferOpened(Err(_)));
        let ended = self.transfer.take_if(|_| ended);
        if let (Input::TransferFinished(Ok(())), Some(transfer)) = (&input, &ended) {
            transfer.timing().completed(clock::now());
        }
        if let Input::TransferFinished(_) | Input::TransferOpened(Err(_)) = input
            && let Some(listed) = &self.listed
        {
            listed.note_no_transfer();
        }
        if let (Input::TransferOpened(Ok(opened)), Some(listed)) = (&input, &self.listed)
            && let Some(size) = opened.size
        {
            listed.note_size(size);
        }
        let input = match input {
            Input::Authenticated(proved) => {
                let asked = self.asked.take();
                Input::Authenticated(proved.and_then(|account| self.enter_user(account, asked)))
            }
            Input::Identified(Ok(Some(account))) => {
                let asked = self.asked.take();
                Input::Identified(self.enter_user(account, asked).map(Some))
            }
            Input::Identified(refused) => {
                self.asked = None;
                Input::Identified(refused)
            }
            input @ Input::PassiveListening(_) => self.take_port(input),
            input => input,
        };
        let now = clock::now();
        match &input {
            Input::Authenticated(result) => self.times.login_ends(now, Some(result.is_ok())),
            Input::Identified(Ok(None)) => self.times.login_ends(now, None),
            Input::Identified(result) => self.times.login_ends(now, Some(result.is_ok())),
            _ => {}
        }
        self.session.handle_input(now, input);
        self.perform();
    }

    /// Processes buffered octets, one step; false when more must arrive first.
    pub(super) fn step(&mut self) -> bool {
        if self.stage().is_handshake() && self.permit.is_none() {
            return false;
        }
        let now = clock::now();
        if !self.stage().is_handshake() {
            let unix = i64::try_from(clock::unix_time().as_secs()).unwrap_or(i64::MAX);
            self.session.set_unix_time(unix);
        }
        let step =
            self.wire.step(now, &mut self.session, &mut self.raw, &mut self.plain, &mut self.out);
        if let (Wire::Handshake(handshake), Some(permit)) = (&self.wire, &mut self.permit)
            && handshake.has_hello()
        {
            permit.on_client_hello();
            self.times.hello(now);
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

    pub(super) fn established(&mut self, facts: HandshakeFacts) {
        self.permit = None;
        self.handshaking = None;
        let now = clock::now();
        self.times.established(now, facts.resumption.is_resumed());
        permits::count(&self.context.counters, &facts);
        tracing::debug!(
            tls = facts.version.name(), suite = facts.cipher_suite, group = facts.group,
            resumption = %facts.resumption,
            "control connection protected"
        );
        let description = format!("{} {}", facts.version.name(), facts.cipher_suite);
        if let Some(listed) = &self.listed {
            listed.note_tls(Some(facts.version.name()));
        }
        self.certificate = facts.client_certificate;
        let shown = self.certificate.as_ref().map(|shown| shown.sha256);
        let lifetime = self.tls.ticket_lifetime();
        let supplied = self.tls_session.gives_tickets();
        self.proof.protected(shown, supplied, now, lifetime);
        // The client's first command may wait for the acknowledgement of its Finished.
        if self.out.is_empty() {
            self.stream.acknowledge();
        }
        if let Some(certificate) = &self.certificate {
            tracing::debug!(
                subject = %certificate.subject, verified = certificate.chain_verified,
                "client certificate"
            );
        }
        self.answers.push_back(Input::TlsEstablished(ControlTls {
            server_name: facts.server_name,
            client_certificate: self.certificate.is_some(),
            description,
        }));
    }

    /// Never falls back to clear text: alert, if there is one, and close (RFC 4217 §10.1).
    pub(super) fn tls_failed(&mut self, error: &TlsError) {
        if matches!(self.wire, Wire::Handshake(_)) {
            self.context.counters.control_handshakes_failed.increment();
            self.permit = None;
            let (reason, ending) = match error {
                TlsError::Shed => (Refusal::Shed, Ending::Shed),
                TlsError::NoClientHello => (Refusal::NoClientHello, Ending::NoClientHello),
                _ => (Refusal::TlsFailed, Ending::TlsFailed),
            };
            HandshakeRefused { reason, error }.log();
            self.ending = Some(ending);
        } else {
            log_tls_failure(error);
            self.ending = Some(Ending::TlsFailed);
        }
        self.session.handle_input(clock::now(), Input::Disconnected);
        self.perform();
        self.wire = Wire::Clear;
        self.handshaking = None;
    }

    /// Reports the end of the client's sending, once all that came before it was processed; part of
    /// a line or record may be left.
    pub(super) fn tell_of_end(&mut self) {
        let fed = self.session.wants_bytes() || self.wire.is_between_states();
        if self.client_sends == ClientSends::NoMore && fed {
            self.client_sends = ClientSends::NoMoreTold;
            self.answers.push_back(Input::SendingEnded);
        }
    }

    pub(super) fn tell_of_drain(&mut self) {
        if self.context.drain.is_set() && !self.drain_told {
            self.drain_told = true;
            self.answers.push_back(Input::Drain);
        }
    }

    /// Sends what is pending; false when the client is gone or does not read.
    pub(super) async fn flush(&mut self) -> bool {
        if self.out.is_empty() {
            return true;
        }
        // Nearly always all of it fits.
        let sent = match self.stream.try_write(&self.out) {
            Ok(sent) if sent == self.out.len() => Ok(Ok(())),
            Ok(sent) => self.flush_rest(sent).await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.flush_rest(0).await,
            Err(error) => Ok(Err(error)),
        };
        self.out.clear();
        if !matches!(sent, Ok(Ok(()))) {
            return false;
        }
        self.unanswered = false;
        self.times.sent();
        if !self.closing {
            self.answers.push_back(Input::Flushed);
        }
        true
    }

    /// Sends what is left behind the first `sent` octets, as the client takes it; until the stall
    /// timeout, or for a moment once an operator ends the session.
    async fn flush_rest(&self, sent: usize) -> Result<io::Result<()>, Elapsed> {
        let deadline = clock::now() + self.policy.stall_timeout;
        let mut sending = pin!(self.stream.write_all(&self.out[sent..]));
        let kicked = async {
            kicked(self.listed.as_ref()).await;
            None
        };
        let sent = async { Some(timeout_at(deadline, &mut sending).await) };
        match race(sent, kicked).await {
            Some(sent) => sent,
            // One that reads gets what is on its way.
            None => {
                let due = self.kick_due.unwrap_or_else(|| clock::now() + KICK_GRACE);
                timeout_at(due, &mut sending).await
            }
        }
    }

    pub(super) fn perform(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let performed = match output {
                Output::Reply(reply) => {
                    self.context.replies.count(&reply);
                    self.give_ticket().and_then(|()| self.wire.send(&reply, &mut self.out))
                }
                Output::ShutdownTls(after) => {
                    self.proof.unprotected();
                    if let Some(listed) = &self.listed {
                        listed.note_tls(None);
                    }
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
                log_tls_failure(&error);
                self.ending = Some(Ending::Failed);
                self.closing = true;
            }
        }
    }

    /// The ticket goes before a reply, so that the client has it before it can act on the reply.
    fn give_ticket(&mut self) -> Result<(), TlsError> {
        if !self.proof.take_ticket_due() {
            return Ok(());
        }
        let tls = &self.tls;
        let Some(message) = tls.new_ticket(&self.tls_session) else { return Ok(()) };
        self.proof.ticket_given(clock::now(), tls.ticket_lifetime());
        self.wire.send_ticket(&message, &mut self.out)
    }

    pub(super) fn start_tls(&mut self, host: Option<&str>) -> Result<(), TlsError> {
        let state = self.context.state();
        (self.tls, self.policy) = (state.tls.clone(), state.policy.clone());
        // Data connections can no longer resume the TLS session of an earlier log-in (REIN).
        if self.tls_session.has_begun() {
            self.tls_session = ControlSession::new()?;
        }
        self.proof = Rc::default();
        let handshake = Handshake::new(&self.tls, Purpose::Control, &self.tls_session, host);
        self.wire = Wire::Handshake(Box::new(handshake));
        let now = clock::now();
        self.hello_due = now + self.context.settings().limits.client_hello_timeout;
        self.times.tls_begins(now);
        self.handshaking = Some(self.context.gauges.handshakes.hold());
        Ok(())
    }

    /// Sends the last reply and FIN, and gives the client a moment to read them; everything else is
    /// dropped.
    pub(super) async fn end(&mut self) {
        if !self.closing {
            self.session.handle_input(clock::now(), Input::Disconnected);
            while self.session.poll_output().is_some() {}
        }
        self.tell_of_ending();
        // Released before lingering: others may be waiting for a permit.
        self.permit = None;
        self.handshaking = None;
        self.transfer = None;
        self.passive = None;
        self.found_port.take();
        if let Some(request) = self.request.take() {
            request.cancel().await;
        }
        self.leave_user();
        self.listed = None;
        // A client that has closed first is gone when our close_notify has reached it.
        if self.stream.shutdown_write().unwrap_or(false) {
            self.stream.linger(LINGER, LINGER_BYTES_MAX).await;
        }
    }
}

impl Control {
    fn tell_of_ending(&self) {
        let reason = self.ending.or(self.session.ending()).unwrap_or(Ending::Failed);
        let refusal = match reason {
            Ending::Draining if !self.ever_logged_in => Some(Refusal::Draining),
            Ending::HostMismatch => Some(Refusal::HostMismatch),
            _ => None,
        };
        if let Some(reason) = refusal {
            ConnectionRefused { reason, peer: None, shard: None }.log();
        }
        let (bytes_in, bytes_out) = self.traffic.total();
        let seconds = self.listed.as_ref().map_or(0, |listed| listed.age().as_secs());
        let logged_in = self.ever_logged_in;
        Disconnected { reason, logged_in, seconds, bytes_in, bytes_out }.log();
    }
}

fn log_tls_failure(error: &TlsError) {
    tracing::info!(%error, "control connection TLS failed");
}

/// Replies of at least this many octets are not kept back for those of further pipelined commands.
const REPLIES_TOGETHER_BYTES_MAX: usize = 2 * 1024;

const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;
