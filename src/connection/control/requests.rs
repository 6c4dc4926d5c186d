//! Requests of the session: each is answered at once, or runs as a task of its own and answers
//! through the mailbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::state::{Control, earlier};
use crate::auth::ClientNetwork;
use crate::clock;
use crate::config::{OtherAddress, Settings, ShownAddress};
use crate::connection::arrivals::handshake::DataTls;
use crate::connection::context::Context;
use crate::connection::data::open::Origin;
use crate::connection::logins::checks;
use crate::connection::logins::homes;
use crate::connection::ports::pool::PassiveError;
use crate::connection::ports::session::{Client, PassiveListener};
use crate::connection::proxied::Proxies;
use crate::connection::sessions::Direction;
use crate::connection::transfer::job::TransferJob;
use crate::connection::transfer::task::TransferHandle;
use crate::connection::transfer::{audit, storage};
use crate::events::{
    Denied, HandshakeTimedOut, LoggedIn, LoginFailed, LoginFailure, NoPassivePort, NotFtp,
    OctetsBehindAuth, Refusal,
};
use crate::limits::PASSIVE_PORT_PATIENCE;
use crate::protocol::file::{FileError, FileRequest, TransferRequest};
use crate::protocol::policy::DataResumption;
use crate::protocol::session::{
    Event, Input, Output, PassiveUnavailable, ProtectionLevel, Rendezvous, Secret, TimeoutPhase,
};
use crate::runtime::{Flag, spawn};
use crate::vfs::{self, Glance};

impl Control {
    pub(super) fn perform_request(&mut self, output: Output) {
        match output {
            Output::Identify { user } => self.identify(&user),
            Output::Authenticate { user, password } => self.authenticate(user, password),
            Output::File(request) => self.ask_storage(request),
            Output::GiveUpFile => self.give_up.set(),
            Output::ListenPassive => self.listen(),
            Output::ClosePassive => {
                self.passive = None;
                self.found_port.take();
            }
            Output::OpenTransfer(request) => self.open_transfer(request),
            Output::RunTransfer { rendezvous, level } => {
                let origin = match rendezvous {
                    Rendezvous::Active(peer) => Origin::Active { peer, local: self.local },
                    Rendezvous::Passive => self
                        .passive
                        .take()
                        .map_or(Origin::Nothing, |passive| Origin::Passive(*passive)),
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

    pub(super) fn identify(&mut self, user: &[u8]) {
        let state = self.context.state();
        let account = homes::account_of(&state.users, self.certificate.as_ref(), user);
        let Some(account) = account else {
            return self.answers.push_back(Input::Identified(Ok(None)));
        };
        self.asked = Some(state.clone());
        self.times.login_begins();
        let (found, sender) = (self.found_home.clone(), self.sender.clone());
        self.request = Some(spawn(async move {
            let result = homes::seek(&state.homes, Ok(account), &found).await.map(Some);
            let _ = sender.send(Input::Identified(result));
        }));
    }

    pub(super) fn authenticate(&mut self, user: Vec<u8>, Secret(password): Secret) {
        let (context, sender) = (self.context.clone(), self.sender.clone());
        let (network, kept) = (ClientNetwork::of(self.ends.peer.ip()), self.kept_proof.clone());
        let found = self.found_home.clone();
        let state = context.state();
        self.asked = Some(state.clone());
        self.times.login_begins();
        self.request = Some(spawn(async move {
            let (checks, given) = (&context.checks, (user, password));
            let proved = checks::check(checks, &state.users, network, given, kept).await;
            let result = homes::seek(&state.homes, proved, &found).await;
            let _ = sender.send(Input::Authenticated(result));
        }));
    }

    pub(super) fn ask_storage(&mut self, request: FileRequest) {
        let Some(root) = self.home.clone() else {
            return self.answers.push_back(Input::File(Err(FileError::NotFound)));
        };
        let command = self.session.command();
        let may_replace = !matches!(request, FileRequest::Rename { replace: false, .. });
        if let Some(answer) = vfs::try_perform(&root, &request) {
            if let Err(error) = &answer {
                audit::refused(command, request.path(), may_replace, *error);
            }
            return self.answers.push_back(Input::File(answer));
        }
        let (context, sender) = (self.context.clone(), self.sender.clone());
        let user = self.session.account().map_or("", |account| &account.name);
        let files = context.files(user, root.glance(request.path()).device);
        self.give_up = Flag::new();
        let give_up = self.give_up.clone();
        self.request = Some(spawn(async move {
            let path = request.path().clone();
            let answer = storage::perform(&context, &files, root, request);
            let answer = storage::unless(&give_up, answer).await;
            if let Err(error) = &answer {
                audit::refused(command, &path, may_replace, *error);
            }
            let _ = sender.send(Input::File(answer));
        }));
    }

    pub(super) fn listen(&mut self) {
        self.passive = None;
        let settings = self.context.settings();
        match self.ports.listen(self.local, self.data_client(&settings)) {
            Err(error) if error.may_pass() => {
                let client = self.data_client(&settings);
                self.wait_for_port(client);
            }
            result => {
                let result = result.map(|listener| self.announce(Box::new(listener)));
                self.answers.push_back(listening(&self.context, result));
            }
        }
    }

    /// All ports are taken, some of them for a moment only.
    fn wait_for_port(&mut self, client: Client) {
        let (ports, local, sender) = (self.ports.clone(), self.local, self.sender.clone());
        let (found, context) = (self.found_port.clone(), self.context.clone());
        let deadline = clock::now() + PASSIVE_PORT_PATIENCE;
        self.request = Some(spawn(async move {
            let result = ports.listen_until(local, client, deadline).await;
            // The address is looked up when the listener is taken from there.
            let result = result.map(|listener| {
                let address = listener.advertised(None, None);
                found.set(Some(Box::new(listener)));
                address
            });
            let _ = sender.send(listening(&context, result));
        }));
    }

    /// Takes the port that was waited for.
    pub(super) fn take_port(&mut self, input: Input) -> Input {
        match (input, self.found_port.take()) {
            (Input::PassiveListening(Ok(_)), Some(listener)) => {
                Input::PassiveListening(Ok(self.announce(listener)))
            }
            (input, _) => input,
        }
    }

    /// Where the client is to connect.
    fn announce(&mut self, listener: Box<PassiveListener>) -> SocketAddr {
        let settings = self.context.settings();
        let reached = self.ends.proxy.map(|_| self.ends.destination.ip());
        let masquerade = match settings.passive.address.shown_to(self.ends.peer.ip()) {
            ShownAddress::Control => None,
            ShownAddress::Host(address) => Some(*address),
            // Not known yet: the session refuses PASV, and EPSV shows no address.
            ShownAddress::Name(name) => {
                Some(self.context.address_of(name).unwrap_or(Ipv4Addr::UNSPECIFIED))
            }
        };
        let address = listener.advertised(masquerade, reached);
        self.passive = Some(listener);
        self.passive_until = clock::now() + self.policy.data_timeout;
        address
    }

    /// Who is going to connect to a passive port, and how that is told from others.
    fn data_client(&self, settings: &Arc<Settings>) -> Client {
        let private = self.session.security().level() == ProtectionLevel::Private;
        let resumes = self.policy.data_resumption != DataResumption::Off && self.proof.tells();
        let told = private && resumes;
        Client {
            peer: self.ends.peer.ip(),
            tickets: told.then(|| (self.tls.clone(), self.tls_session.clone())),
            patience: self.policy.data_timeout,
            proxies: Proxies::of_passive_ports(settings),
            elsewhere: told && settings.passive.other_address == OtherAddress::WithTicket,
        }
    }

    /// When [`Control::service_ports`] has something to do.
    pub(super) fn ports_due(&self) -> Option<Instant> {
        match &self.passive {
            // Storage may delay a transfer whose command has come: only the guard is due then.
            Some(passive) if self.session.is_transferring() => passive.guard_due(),
            Some(passive) => earlier(passive.guard_due(), Some(self.passive_until)),
            None => self.ports.parked_until(),
        }
    }

    /// Closes or guards a passive port whose transfer is late, and frees a parked one.
    pub(super) fn service_ports(&mut self) {
        let private = self.session.security().level() == ProtectionLevel::Private;
        let tls = self.data_tls();
        match &mut self.passive {
            Some(_) if self.passive_until <= clock::now() => {
                tracing::info!(
                    "no transfer came for a passive port within `limits.data_timeout`; port closed"
                );
                self.passive = None;
            }
            Some(passive) => passive.guard(private.then_some(tls)),
            None => self.ports.free(),
        }
    }

    pub(super) fn data_tls(&self) -> DataTls {
        let context = &self.context;
        DataTls {
            server: self.tls.clone(),
            policy: self.policy.clone(),
            counters: context.counters.clone(),
            in_progress: context.gauges.handshakes.clone(),
            session: self.tls_session.clone(),
            proof: self.proof.clone(),
        }
    }

    pub(super) fn open_transfer(&mut self, request: TransferRequest) {
        let policy = self.context.policy();
        let account = self.session.account();
        let opening = account.and_then(|account| {
            let lax = account.lax_upload_eof.unwrap_or(policy.lax_upload_eof);
            self.home.clone().map(|root| (root, account.name.clone(), lax))
        });
        let Some((root, user, lax_upload_eof)) = opening else {
            return self.answers.push_back(Input::TransferOpened(Err(FileError::NotFound)));
        };
        if self.session.security().level() == ProtectionLevel::Private {
            self.proof.uses_ticket();
        }
        let Glance { device, is_file } = root.glance(request.path());
        let files = self.context.files(&user, device);
        let local = self.context.is_local(&root, request.path(), &files, device);
        let (direction, path) = match &request {
            TransferRequest::Retrieve { path, .. } => (Direction::Download, path),
            TransferRequest::Store { path, .. } => (Direction::Upload, path),
            TransferRequest::List(request) => (Direction::Listing, &request.path),
        };
        let moved = self.traffic.begin(direction);
        if let Some(listed) = &self.listed {
            listed.note_transfer(direction, path.as_bytes(), moved.clone());
            if let TransferRequest::Store { announced: Some(size), .. } = &request {
                listed.note_size(*size);
            }
        }
        let job = TransferJob {
            context: self.context.clone(),
            policy,
            root,
            files,
            local,
            is_file,
            request,
            tls: self.data_tls(),
            user,
            command: self.session.command(),
            lax_upload_eof,
            mailbox: self.sender.clone(),
        };
        self.transfer = Some(TransferHandle::start(job, moved));
    }

    pub(super) fn note(&mut self, event: &Event) {
        let counters = &self.context.counters;
        match event {
            Event::LoggedIn { user, by_certificate } => {
                counters.logins.increment();
                self.proof.logged_in(*by_certificate);
                self.tls_session.logged_in(user);
                self.ever_logged_in = true;
                LoggedIn { user, by_certificate: *by_certificate }.log();
            }
            Event::LoginFailed { reason, user, failures } => {
                if *reason == LoginFailure::Credentials {
                    counters.logins_failed.increment();
                }
                LoginFailed { reason: *reason, user, failures: *failures }.log();
            }
            Event::Denied { command, path, reason } => {
                Denied { command, path, reason: *reason }.log();
            }
            Event::LoggedOut => {
                self.leave_user();
                self.take_turns();
            }
            Event::PlaintextBehindAuth => {
                OctetsBehindAuth { reason: Refusal::OctetsBehindAuth }.log();
            }
            Event::TimedOut(phase @ TimeoutPhase::Handshake) => {
                counters.control_handshakes_failed.increment();
                HandshakeTimedOut { reason: Refusal::HandshakeTimeout, phase: phase.name() }.log();
            }
            Event::TimedOut(phase @ (TimeoutPhase::Login | TimeoutPhase::Idle)) => {
                tracing::info!(phase = phase.name(), "session timed out");
            }
            Event::ForeignProtocol => NotFtp { reason: Refusal::NotFtp }.log(),
        }
    }
}

/// What the session is told of its port. A refusal is counted and logged.
fn listening(context: &Context, result: Result<SocketAddr, PassiveError>) -> Input {
    Input::PassiveListening(result.map_err(|error| {
        let (reason, unavailable) = match &error {
            PassiveError::Exhausted | PassiveError::Share { .. } => {
                context.counters.passive_exhausted.increment();
                (Refusal::PassivePorts, PassiveUnavailable::Exhausted)
            }
            PassiveError::Io(_) => (Refusal::PassiveFailed, PassiveUnavailable::Failed),
        };
        NoPassivePort { reason, error: &error }.log();
        unavailable
    }))
}
