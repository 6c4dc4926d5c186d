//! What a control connection is made of, and who is logged in on it.

use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::times::Times;
use super::wire::{ClientSends, Wire};
use crate::auth::{ClientNetwork, is_anonymous_name};
use crate::buffer::RecvBuffer;
use crate::clock;
use crate::connection::arrivals::proof::Proof;
use crate::connection::context::{Context, Queues, State};
use crate::connection::logins::checks::KeptProof;
use crate::connection::logins::homes::FoundHome;
use crate::connection::newcomers::permits::HandshakePermit;
use crate::connection::ports::session::{PassiveListener, SessionPorts};
use crate::connection::proxied::Ends;
use crate::connection::sessions::{Direction, Listed};
use crate::connection::transfer::task::TransferHandle;
use crate::events::{Ending, Refusal};
use crate::metrics::Held;
use crate::protocol::account::Account;
use crate::protocol::policy::Policy;
use crate::protocol::session::{AuthenticationError, Input, Mode, Session, SessionStart};
use crate::runtime::{
    Flag, Mailbox, MailboxSender, Queue, Stream, Task, mailbox, number_of, work_for,
};
use crate::tls::{ClientCertificate, ControlSession, ServerTls, TlsError};
use crate::vfs::Root;

/// A control connection as the listener hands it over.
pub struct Accepted {
    /// The socket.
    pub stream: Stream,
    /// Which port it came to.
    pub mode: Mode,
    /// Our end.
    pub local: SocketAddr,
    /// Who it is with.
    pub ends: Ends,
    /// A session limit is reached: say 421 instead of 220.
    pub refused: Option<Refusal>,
    /// The permit for the handshake that an implicit connection begins with.
    pub permit: Option<HandshakePermit>,
    /// Dropped when the connection has ended.
    pub guard: Box<dyn Any>,
}

/// The stages of a control connection; each has a queue of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A TLS handshake, from the first octet to the flush of the greeting.
    Handshake,
    /// Commands of a client that has not logged in.
    LogIn,
    /// Commands of a user.
    Session,
}

impl Stage {
    pub(super) const fn is_handshake(self) -> bool {
        matches!(self, Self::Handshake)
    }

    pub(super) const fn queue(self, queues: Queues) -> Queue {
        match self {
            Self::Handshake => queues.newcomers,
            Self::LogIn => queues.logins,
            Self::Session => queues.sessions,
        }
    }
}

pub(super) struct Control {
    pub(super) context: Rc<Context>,
    pub(super) stream: Stream,
    pub(super) ends: Ends,
    /// Where operators see it; `None` at its end.
    pub(super) listed: Option<Listed>,
    /// When it ends whatever it does, once an operator has said so.
    pub(super) kick_due: Option<Instant>,
    pub(super) local: SocketAddr,
    pub(super) session: Session,
    /// The certificates and rules of TLS on this connection and on its data connections, whatever
    /// a reload brings meanwhile: clients compare the certificates of both.
    pub(super) tls: Arc<ServerTls>,
    /// The rules of this connection and of its data connections, of when `tls` was.
    pub(super) policy: Arc<Policy>,
    /// The control session that data connections resume.
    pub(super) tls_session: Arc<ControlSession>,
    /// What data connections must prove.
    pub(super) proof: Rc<Proof>,
    pub(super) wire: Wire,
    pub(super) raw: RecvBuffer,
    /// Decrypted octets the session had no room for yet.
    pub(super) plain: BytesMut,
    /// Octets to send, as they go on the wire.
    pub(super) out: Vec<u8>,
    /// Inputs for the session that are known already.
    pub(super) answers: VecDeque<Input>,
    pub(super) mailbox: Mailbox<Input>,
    pub(super) sender: MailboxSender<Input>,
    /// The request that runs as a task of its own, at most one.
    pub(super) request: Option<Task<()>>,
    pub(super) give_up: Flag,
    pub(super) ports: SessionPorts,
    /// Boxed, for most sessions wait without one.
    pub(super) passive: Option<Box<PassiveListener>>,
    /// The port that was waited for, until the session learns of it.
    pub(super) found_port: Rc<Cell<Option<Box<PassiveListener>>>>,
    /// When `passive` is closed if no transfer command has come.
    pub(super) passive_until: Instant,
    pub(super) transfer: Option<TransferHandle>,
    /// The home found by the log-in in progress.
    pub(super) found_home: FoundHome,
    /// The home of the user who is logged in, as it was found at log-in, even if its pathname
    /// changes.
    pub(super) home: Option<Arc<Root>>,
    pub(super) certificate: Option<ClientCertificate>,
    /// The name under which the session is counted.
    pub(super) user: Option<String>,
    /// What the log-in in progress is proved by.
    pub(super) asked: Option<Rc<State>>,
    /// Since when the account is as it was at log-in, by [`since`](crate::auth::UserTable::since).
    pub(super) account_since: Option<u64>,
    /// The generation of the configuration that the account was last looked at in.
    pub(super) generation: u64,
    pub(super) logged_in: Option<Held>,
    /// The password proof of this log-in, kept for the end of the session.
    pub(super) kept_proof: KeptProof,
    pub(super) handshaking: Option<Held>,
    pub(super) drain_told: bool,
    pub(super) client_sends: ClientSends,
    pub(super) closing: bool,
    /// Why it ends, where the session does not know.
    pub(super) ending: Option<Ending>,
    /// Somebody has logged in on it.
    pub(super) ever_logged_in: bool,
    pub(super) traffic: Traffic,
    /// Held through a TLS handshake.
    pub(super) permit: Option<HandshakePermit>,
    /// Deadline for the ClientHello.
    pub(super) hello_due: Instant,
    /// Something was received since we last sent something: no segment of ours has acknowledged it.
    pub(super) unanswered: bool,
    pub(super) times: Times,
    pub(super) _guard: Box<dyn Any>,
}

/// Octets of the files and listings of a session so far.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    received: u64,
    sent: u64,
    /// Of the last transfer, which may run.
    last: Option<(Direction, Rc<Cell<u64>>)>,
}

impl Traffic {
    /// A transfer begins: its octets are to be counted here.
    pub(super) fn begin(&mut self, direction: Direction) -> Rc<Cell<u64>> {
        (self.received, self.sent) = self.total();
        let moved = Rc::<Cell<u64>>::default();
        self.last = Some((direction, moved.clone()));
        moved
    }

    /// Received and sent.
    pub(super) fn total(&self) -> (u64, u64) {
        let last = |upload: bool| match &self.last {
            Some((direction, moved)) if (*direction == Direction::Upload) == upload => moved.get(),
            _ => 0,
        };
        (self.received + last(true), self.sent + last(false))
    }
}

impl Control {
    pub(super) fn new(context: &Rc<Context>, accepted: Accepted) -> Result<Self, TlsError> {
        let (sender, receiver) = mailbox(ANSWERS_MAX);
        let (state, policy, now) = (context.state(), context.policy(), clock::now());
        let start = SessionStart {
            policy: policy.clone(),
            mode: accepted.mode,
            local: accepted.ends.destination,
            peer: accepted.ends.peer,
            refused: accepted.refused.is_some(),
        };
        Ok(Self {
            context: context.clone(),
            stream: accepted.stream,
            ends: accepted.ends,
            listed: Some(context.sessions.enter(accepted.ends.peer, accepted.mode)),
            kick_due: None,
            local: accepted.local,
            session: Session::new(now, start),
            tls: state.tls.clone(),
            policy,
            tls_session: ControlSession::new()?,
            proof: Rc::default(),
            wire: Wire::Clear,
            raw: RecvBuffer::new(),
            plain: BytesMut::new(),
            out: Vec::new(),
            answers: VecDeque::from([Input::Connected]),
            mailbox: receiver,
            sender,
            request: None,
            give_up: Flag::new(),
            ports: SessionPorts::new(&context.passive_ports),
            passive: None,
            found_port: Rc::default(),
            passive_until: now,
            transfer: None,
            found_home: FoundHome::default(),
            home: None,
            certificate: None,
            user: None,
            asked: None,
            account_since: None,
            generation: state.generation,
            logged_in: None,
            kept_proof: KeptProof::default(),
            handshaking: None,
            drain_told: false,
            client_sends: ClientSends::More,
            closing: false,
            ending: None,
            ever_logged_in: false,
            traffic: Traffic::default(),
            permit: accepted.permit,
            hello_due: now,
            unanswered: false,
            times: Times::new(context.latencies.clone(), now, accepted.mode),
            _guard: accepted.guard,
        })
    }

    pub(super) const fn stage(&self) -> Stage {
        match self.wire {
            Wire::Handshake(_) => Stage::Handshake,
            Wire::Clear | Wire::Protected(_) | Wire::Draining(_) => match self.logged_in {
                Some(_) => Stage::Session,
                None => Stage::LogIn,
            },
        }
    }

    /// Enters `account`, as it was in the state `asked`.
    pub(super) fn enter_user(
        &mut self,
        account: Account,
        asked: Option<Rc<State>>,
    ) -> Result<Account, AuthenticationError> {
        self.leave_user();
        // Not kept when the log-in is refused: a file system with a directory that is held cannot
        // be unmounted.
        let home = self.found_home.take();
        // A reload may have come while the password was checked: what it was checked against may
        // be no account any more, or another.
        let now = self.context.state();
        let since = asked.and_then(|asked| asked.users.since(&account.name));
        if since.is_none() || since != now.users.since(&account.name) {
            return Err(AuthenticationError::Rejected);
        }
        (self.account_since, self.generation) = (since, now.generation);
        if !self.context.enter_user(&account.name) {
            return Err(AuthenticationError::TooManySessions);
        }
        (self.user, self.home) = (Some(account.name.clone()), home);
        self.ports.enter(Some(&account.name));
        if let Some(listed) = &self.listed {
            listed.note_user(Some(&account.name));
        }
        self.logged_in = Some(self.context.gauges.sessions_logged_in.hold());
        self.take_turns();
        Ok(account)
    }

    /// Whether the account that is logged in is another since a reload, or gone. Tells it once.
    pub(super) fn is_revoked(&mut self) -> bool {
        if self.context.generation() == self.generation {
            return false;
        }
        let now = self.context.state();
        self.generation = now.generation;
        let user = self.user.as_ref().filter(|_| now.policy.end_revoked);
        user.is_some_and(|user| now.users.since(user) != self.account_since)
    }

    /// Whether an operator wants it to end. Tells it once.
    pub(super) fn is_kicked(&mut self) -> bool {
        let new = self.kick_due.is_none()
            && self.listed.as_ref().is_some_and(|listed| listed.end().is_set());
        if new {
            self.kick_due = Some(clock::now() + KICK_GRACE);
        }
        new
    }

    /// From here on the session's tasks take turns with those of other users. A client that has not
    /// logged in, or not by a name of its own, is its network.
    pub(super) fn take_turns(&self) {
        let user = self.user.as_deref().filter(|user| !is_anonymous_name(user.as_bytes()));
        let network = || number_of(&ClientNetwork::of(self.ends.peer.ip()));
        work_for(user.map_or_else(network, number_of));
    }

    /// Runs on drop too, so that a panic does not leave the user counted.
    pub(super) fn leave_user(&mut self) {
        if let Some(user) = self.user.take() {
            self.ports.enter(None);
            if let Some(listed) = &self.listed {
                listed.note_user(None);
            }
            self.context.leave_user(&user);
            self.logged_in = None;
            self.home = None;
            self.context.checks.logins.remember(self.kept_proof.take());
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.leave_user();
    }
}

/// A session that an operator ends has this long for its 421, and before it for the answer to what
/// was in progress.
pub(super) const KICK_GRACE: Duration = Duration::from_secs(3);

/// Answers in flight: one for the request, two for the transfer (opened, finished).
const ANSWERS_MAX: usize = 8;

/// The earlier of two deadlines.
pub(super) fn earlier(first: Option<Instant>, second: Option<Instant>) -> Option<Instant> {
    first.into_iter().chain(second).min()
}
