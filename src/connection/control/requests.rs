//! Requests of the session: each is answered at once, or runs as a task of its own and answers
//! through the mailbox.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::state::{Control, earlier};
use crate::auth::ClientNetwork;
use crate::clock;
use crate::config::ShownAddress;
use crate::connection::arrivals::handshake::DataTls;
use crate::connection::data::open::Origin;
use crate::connection::logins::checks;
use crate::connection::logins::homes;
use crate::connection::ports::pool::PassiveError;
use crate::connection::proxied::Proxies;
use crate::connection::sessions::Direction;
use crate::connection::transfer::job::TransferJob;
use crate::connection::transfer::task::TransferHandle;
use crate::connection::transfer::{audit, storage};
use crate::events::{
    Denied, HandshakeTimedOut, LoggedIn, LoginFailed, LoginFailure, NoPassivePort, NotFtp,
    OctetsBehindAuth, Refusal,
};
use crate::protocol::file::{FileError, FileRequest, TransferRequest};
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
            Output::ClosePassive => self.passive = None,
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
        let result = match self.ports.listen(self.local, self.ends.peer.ip()) {
            Ok(mut listener) => {
                let settings = self.context.settings();
                listener.come_by(Proxies::of_passive_ports(&settings));
                let reached = self.ends.proxy.map(|_| self.ends.destination.ip());
                let shown = settings.passive.address.shown_to(self.ends.peer.ip());
                let masquerade = match shown {
                    ShownAddress::Control => None,
                    ShownAddress::Host(address) => Some(*address),
                    // Not known yet: the session refuses PASV, and EPSV shows no address.
                    ShownAddress::Name(name) => {
                        Some(self.context.address_of(name).unwrap_or(Ipv4Addr::UNSPECIFIED))
                    }
                };
                let address = listener.advertised(masquerade, reached);
                self.passive = Some(Box::new(listener));
                self.passive_until = clock::now() + self.policy.data_timeout;
                Ok(address)
            }
            Err(error) => {
                let (reason, unavailable) = match &error {
                    PassiveError::Exhausted | PassiveError::Share { .. } => {
                        (Refusal::PassivePorts, PassiveUnavailable::Exhausted)
                    }
                    PassiveError::Io(_) => (Refusal::PassiveFailed, PassiveUnavailable::Failed),
                };
                NoPassivePort { reason, error: &error }.log();
                Err(unavailable)
            }
        };
        self.answers.push_back(Input::PassiveListening(result));
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
