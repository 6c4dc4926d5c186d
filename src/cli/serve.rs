//! `ringftpd serve`: from a validated configuration to running shards, and back to an exit code.
//! The order matters and is written down in [`run`].

use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::binding::{Listeners, bind};
use super::control::{self, ControlSocket, Subject};
use super::gate::Gate;
use super::hand_over::Estate;
use super::metrics_endpoint::Endpoint;
use super::names::Names;
use super::readiness::{Readiness, Stage};
use super::reload::{self, Origin, Reloader, Request, Results, Running};
use super::service_manager::ServiceManager;
use super::signals::{self, Caught, Meaning};
use super::sockets::Sockets;
use super::take_over::Inheritance;
use super::tls_setup::{TlsTexts, said};
use super::wake::{EndTimes, Successor, Wake};
use super::{activation, banner, check_config, fail, logging, shards, start_thread, tls_setup};
use crate::clock;
use crate::config::{Config, Settings, directory_rules};
use crate::connection::{OpenedHome, exchanges, split};
use crate::events;
use crate::limits::HOMES_PER_SHARD_MAX;
use crate::metrics;
use crate::runtime::remote::{self, RemoteSender};
use crate::runtime::{LOCKED_MEMORY, ShardThread, check_executor, spawn_shard};
use crate::shard::{BoundListener, END_GRACE, Message, Report, Shard, share};
use crate::sys::{cpu, host, ktls, privileges};
use crate::tls::{SelfSigned, ServerTls};
use crate::vfs::{Boot, Home, RootError};

/// Runs until SIGTERM or SIGINT.
pub(super) fn run(
    config: Config,
    origin: Origin,
    signals: Caught,
    mut inheritance: Inheritance,
) -> ExitCode {
    let started = start(config, origin, signals, &mut inheritance);
    if let Err(message) = &started {
        inheritance.failed(message);
    }
    // What nobody has taken.
    drop(inheritance);
    match started.and_then(Server::wait) {
        Ok(code) => code,
        Err(message) => fail(message),
    }
}

/// The running server as the main thread sees it.
struct Server {
    shards: Vec<RunningShard>,
    wakes: mpsc::Receiver<Wake>,
    times: EndTimes,
    reloads: mpsc::Sender<Request>,
    manager: ServiceManager,
    readiness: Readiness,
    /// Of the threads that accept.
    gate: Gate,
    _log: logging::LogGuard,
}

/// How to tell a shard something, and how to wait for its end.
type RunningShard = (RemoteSender<Message>, ShardThread<Report>);

/// Why the server ends.
enum Ending {
    Signal(i32),
    Asked,
    TakenOver(Successor),
    ShardEnded(usize),
}

/// Everything that needs root comes first, then root is given up, then threads are started: a
/// thread started earlier would keep root's rights.
fn start(
    config: Config,
    origin: Origin,
    signals: Caught,
    inheritance: &mut Inheritance,
) -> Result<Server, String> {
    let settings = &config.settings;
    let mut cpus = wanted_cpus(settings)?;
    let room = host::check(cpus.len(), settings.process.user.is_some(), LOCKED_MEMORY);
    let room = room.map_err(|error| error.to_string())?;
    check_executor()?;
    cpus.truncate(room.shards);
    let files = host::raise_open_files().map_err(|error| error.to_string())?;
    let (running, tls) = prepare_tls(config, cpus.len(), inheritance)?;
    let (config, settings) = (&running.config, &running.config.settings);
    let certificates = running.texts.served().map_err(|refused| said(config, refused))?;
    let Bound { mut listeners, endpoint, control, doubts } =
        bind_everything(settings, &cpus, origin.path.is_some(), inheritance)?;
    // As root: then the kernel may load its module.
    let kernel_tls = tls_setup::kernel_tls(&settings.tls);
    become_user(settings)?;
    // To another user it may be forbidden.
    check_executor()?;
    let (homes, absent) = open_homes(config, cpus.len())?;

    let (log, log_control) = logging::start(&settings.log)?;
    let shard_count = u64::try_from(cpus.len()).unwrap_or(u64::MAX);
    let handles = handles_of(&homes);
    let warning =
        host::open_files_warning(files, settings.limits.sessions.into(), shard_count, handles);
    let reserved = host::reserved_descriptors(files, shard_count, handles);
    let ending = tls_setup::warnings(&certificates);
    let ending = ending.chain(check_config::share_warnings(settings, cpus.len()));
    let warnings = warning.into_iter().chain(room.warning).chain(absent).chain(doubts);
    let warnings = warnings.chain(ending.map(|warning| warning.to_string()));
    warnings.for_each(|warning| tracing::warn!("{warning}"));
    let times = EndTimes::of(settings);
    let (sender, wakes) = mpsc::channel();
    watch_signals(signals, sender.clone())?;
    let text = banner::Banner {
        config,
        implicit: &listeners.implicit,
        explicit: &listeners.explicit,
        metrics: endpoint.as_ref().map(Endpoint::address),
        certificates: &certificates,
        self_signed: running.texts.self_signed.is_some(),
        cpus: &cpus,
    }
    .to_string();
    if let Some(SelfSigned::Created { reason }) = &running.texts.self_signed {
        tracing::info!(reason, "made a self-signed certificate");
    }
    let own = tls.into_iter().zip(homes);
    let (results, readiness) = (Arc::<Results>::default(), Readiness::default());
    let means = Means::new(kernel_tls.and_then(tell_kernel_tls), reserved, tell_boot());
    let sockets = inheritance.accepted_at_once(&mut listeners);
    let shards = start_shards(config, &cpus, sockets, own, means, &sender)?;
    let inboxes: Vec<_> = shards.iter().map(|(inbox, _)| inbox.clone()).collect();
    inheritance.enter(listeners, settings, &cpus, &inboxes)?;
    let gate = Gate::new().map_err(|error| error.to_string())?;
    let (names, log_of) = (Names::start(inboxes.clone(), settings)?, log_control);
    let reloader =
        Reloader { origin, running, shards: inboxes, wakes: sender, names, results, log: log_of };
    let doors = Doors { control, endpoint, gate: gate.clone(), readiness: readiness.clone(), cpus };
    let (reloads, manager) = start_control(reloader, doors, log.lines_lost())?;
    readiness.ready();
    super::print(text);
    Ok(Server { shards, wakes, times, reloads, manager, readiness, gate, _log: log })
}

/// What is listened on.
struct Bound {
    listeners: Listeners,
    endpoint: Option<Endpoint>,
    control: Option<ControlSocket>,
    /// What to say about it.
    doubts: Vec<String>,
}

/// Takes what this process has been given, and binds the rest.
fn bind_everything(
    settings: &Settings,
    cpus: &[usize],
    has_file: bool,
    inheritance: &mut Inheritance,
) -> Result<Bound, String> {
    let (passed, sockets) = (inheritance.passed(), &mut inheritance.sockets);
    let mut doubts = Vec::new();
    if passed > 0 {
        let control = control_path(settings, has_file);
        doubts = activation::check(sockets, settings, control.as_deref(), cpus.len())?;
    }
    let listeners = bind(settings, cpus, sockets)?;
    if passed > 0 {
        listeners.settle(settings, cpus)?;
    }
    let endpoint = bind_metrics(settings, sockets)?;
    let (control, no_control) = bind_control(settings, has_file, sockets)?;
    doubts.extend(no_control);
    Ok(Bound { listeners, endpoint, control, doubts })
}

/// What is accepted on beside the shards.
struct Doors {
    control: Option<ControlSocket>,
    endpoint: Option<Endpoint>,
    gate: Gate,
    readiness: Readiness,
    /// Of the shards.
    cpus: Vec<usize>,
}

fn bind_metrics(settings: &Settings, held: &mut Sockets) -> Result<Option<Endpoint>, String> {
    let Some(wanted) = settings.metrics.listen else { return Ok(None) };
    let bound = match held.take_metrics(wanted) {
        Some(socket) => Endpoint::adopt(socket).map_err(|error| error.to_string()),
        None => Endpoint::bind(wanted).map_err(|error| error.to_string()),
    };
    bound.map(Some).map_err(|error| format!("metrics.listen: {error}"))
}

/// Those that are to get a shard each.
fn wanted_cpus(settings: &Settings) -> Result<Vec<usize>, String> {
    let cpus =
        settings.shards.cpus.as_ref().map_or_else(cpu::available, |list| list.as_slice().to_vec());
    if cpus.is_empty() {
        return Err("no CPU to run on: the affinity mask of this process is empty".to_owned());
    }
    match check_config::missing_cpus(settings, &cpu::available()) {
        Some(problem) => Err(format!("shards.cpus: {problem}")),
        None => Ok(cpus),
    }
}

/// When every shard serves, starts what tells the service manager, what reloads, and the control
/// socket if there is one.
fn start_control(
    reloader: Reloader,
    doors: Doors,
    lines_lost: impl Fn() -> usize + Send + Sync + 'static,
) -> Result<(mpsc::Sender<Request>, ServiceManager), String> {
    let (shards, started) = (reloader.shards.clone(), clock::now());
    shards::wait_for_all(&shards)?;
    let manager = ServiceManager::start(shards.clone())?;
    let config = reloader.origin.path.clone();
    let wakes = reloader.wakes.clone();
    let certificate = reloader.origin.overrides.certificate.clone();
    let ticket_secret = reloader.running.ticket_secret;
    let settings = reloader.running.config.settings.clone();
    let Doors { control, endpoint, gate, readiness, cpus } = doors;
    let metrics = endpoint.as_ref().map(|endpoint| Ok((endpoint.address(), endpoint.duplicate()?)));
    let metrics = metrics.transpose().map_err(|error: io::Error| error.to_string())?;
    if let Some(endpoint) = endpoint {
        let (results, readiness) = (reloader.results.clone(), readiness.clone());
        endpoint.start(shards.clone(), lines_lost, results, readiness, gate.clone())?;
    }
    let reloads = reloader.start(manager.clone())?;
    if let Some(control) = control {
        let estate = Estate {
            shards: shards.clone(),
            wakes: wakes.clone(),
            readiness: readiness.clone(),
            metrics,
            control: Some(control.duplicate().map_err(|error| error.to_string())?),
            ticket_secret,
            settings,
            cpus,
            busy: AtomicBool::new(false),
        };
        let reloads = reloads.clone();
        let subject =
            Subject { shards, reloads, wakes, readiness, estate, config, certificate, started };
        control.start(subject, gate)?;
    }
    Ok((reloads, manager))
}

/// The configuration with what its certificates are made of, and the TLS of each shard.
fn prepare_tls(
    config: Config,
    shards: usize,
    inheritance: &Inheritance,
) -> Result<(Running, Vec<Arc<ServerTls>>), String> {
    let said = |refused| said(&config, refused);
    let stamps = reload::stamps(&config);
    let texts = TlsTexts::read(&config, &inheritance.files, None).map_err(said)?;
    let ticket_secret = match inheritance.ticket_secret {
        Some(secret) => secret,
        None => tls_setup::new_ticket_secret()?,
    };
    let tls = texts.build(&config, ticket_secret, shards).map_err(said)?;
    Ok((Running { config, texts, ticket_secret, stamps }, tls))
}

/// Where the control socket is to be, if anywhere; `has_file`: there is a configuration file.
fn control_path(settings: &Settings, has_file: bool) -> Option<PathBuf> {
    match settings.control.socket.as_deref() {
        Some("off") => None,
        Some(path) => Some(path.into()),
        None => has_file.then(control::default_path).flatten(),
    }
}

/// The control socket, or what to say when there is none where nobody has asked for it.
fn bind_control(
    settings: &Settings,
    has_file: bool,
    held: &mut Sockets,
) -> Result<(Option<ControlSocket>, Option<String>), String> {
    let user = settings.process.user.as_deref().filter(|_| rustix::process::geteuid().is_root());
    let user = user.map(privileges::Identity::resolve).transpose();
    let user = user.map_err(|error| format!("process.user: {error}"))?;
    let mut bind = |path: &std::path::Path| match held.take_control(path) {
        Some(socket) => ControlSocket::adopt(socket, path, user.as_ref()),
        None => ControlSocket::bind(path, user.as_ref()),
    };
    let Some(path) = control_path(settings, has_file) else { return Ok((None, None)) };
    match bind(&path) {
        Ok(socket) => Ok((Some(socket), None)),
        // Nobody has asked for it.
        Err(error) if settings.control.socket.is_none() => Ok((None, Some(error))),
        Err(error) => Err(error),
    }
}

impl Server {
    /// Waits for the end: a signal drains the shards, a later SIGINT ends at once. SIGUSR1 asks for
    /// the counters at any time.
    fn wait(mut self) -> Result<ExitCode, String> {
        let code = match self.wake() {
            Ok(Ending::TakenOver(successor)) => return self.outlive(successor),
            Ok(ending) => self.begin_end(&ending),
            Err(mpsc::RecvError) => ExitCode::FAILURE,
        };
        self.end(code)
    }

    /// Leaves what it listens on to another process, and ends with its sessions. SIGTERM drains
    /// them.
    fn outlive(mut self, successor: Successor) -> Result<ExitCode, String> {
        let Successor { pid, version, addresses, done, answered } = successor;
        self.readiness.draining();
        self.gate.close();
        self.manager.handed_over(pid);
        self.tell(|| Message::HandOver(addresses.clone()));
        let _ = done.try_send(());
        events::Upgraded { pid: pid.into(), version: &version }.log();
        let deadline = clock::now() + self.patience();
        let mut running = self.shards.len();
        while running > 0 {
            match self.wake_before(deadline) {
                Some(Ending::ShardEnded(_)) => running -= 1,
                Some(Ending::Signal(_) | Ending::Asked) => {
                    self.tell(|| Message::Drain);
                    break;
                }
                Some(Ending::TakenOver(_)) => {}
                None => break,
            }
        }
        let code = self.finish(ExitCode::SUCCESS, running, deadline);
        // Whoever has asked for this is to hear of it.
        let _ = answered.recv_timeout(ANSWER_GRACE);
        code
    }

    /// Says that the end begins, and goes on accepting for as long as [`EndTimes::delay`] says, or
    /// until somebody asks for the end once more.
    fn begin_end(&mut self, ending: &Ending) -> ExitCode {
        self.readiness.draining();
        let mut delay = self.times.delay;
        match ending {
            Ending::Signal(signal) => {
                events::DrainBySignal { signal: signals::name(*signal) }.log();
                if signals::meaning(*signal) == Meaning::Interrupt {
                    delay = Duration::ZERO;
                }
            }
            Ending::Asked => events::DrainAsked {}.log(),
            Ending::TakenOver(_) => {}
            Ending::ShardEnded(shard) => {
                tracing::error!(shard, "a shard ended by itself; shutting down");
                return ExitCode::FAILURE;
            }
        }
        if delay.is_zero() {
            return ExitCode::SUCCESS;
        }
        let until = clock::now() + delay;
        self.manager.stopping(until + self.patience());
        tracing::info!(seconds = delay.as_secs_f64(), "not ready any more, accepting for a while");
        match self.wake_before(until) {
            Some(Ending::ShardEnded(shard)) => {
                tracing::error!(shard, "a shard ended by itself");
                ExitCode::FAILURE
            }
            Some(_) | None => ExitCode::SUCCESS,
        }
    }

    /// The longest that the end may take when nothing is accepted any more.
    fn patience(&self) -> Duration {
        self.times.timeout + END_GRACE
    }

    /// Drains the shards and waits for them.
    fn end(self, code: ExitCode) -> Result<ExitCode, String> {
        self.tell(|| Message::Drain);
        let deadline = clock::now() + self.patience();
        self.manager.stopping(deadline);
        let running = self.shards.len();
        self.finish(code, running, deadline)
    }

    /// Waits for this number of shards that have been told to end.
    fn finish(
        mut self,
        mut code: ExitCode,
        mut running: usize,
        deadline: Instant,
    ) -> Result<ExitCode, String> {
        while running > 0 {
            match self.wake_before(deadline) {
                Some(Ending::ShardEnded(_)) => running -= 1,
                // Whoever supervises us may repeat SIGTERM; only an impatient person cuts it short.
                Some(Ending::Signal(signal)) if signals::meaning(signal) == Meaning::Interrupt => {
                    tracing::warn!("interrupted: transfers are cut off");
                    return Ok(ExitCode::FAILURE);
                }
                Some(Ending::Signal(_) | Ending::Asked | Ending::TakenOver(_)) => {}
                None => {
                    tracing::error!(
                        running,
                        "shards do not end, likely held by a file system that does not answer; \
                         the process ends without them"
                    );
                    return Ok(ExitCode::FAILURE);
                }
            }
            if code == ExitCode::FAILURE {
                running = 0;
            }
        }
        if !join(self.shards, deadline) {
            code = ExitCode::FAILURE;
        }
        Ok(code)
    }

    /// The next event that has to do with the end.
    fn wake(&mut self) -> Result<Ending, mpsc::RecvError> {
        loop {
            let wake = self.wakes.recv()?;
            if let Some(ending) = self.sort(wake) {
                return Ok(ending);
            }
        }
    }

    /// The same before `deadline`; nothing then, and when there is nobody left to wake us.
    fn wake_before(&mut self, deadline: Instant) -> Option<Ending> {
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            let wake = self.wakes.recv_timeout(left).ok()?;
            if let Some(ending) = self.sort(wake) {
                return Some(ending);
            }
        }
    }

    /// Gives back what has to do with the end, and does what all else asks for.
    fn sort(&mut self, wake: Wake) -> Option<Ending> {
        let signal = match wake {
            Wake::Signal(signal) => signal,
            Wake::ShardEnded(shard) => return Some(Ending::ShardEnded(shard)),
            Wake::Drain => return Some(Ending::Asked),
            // Dropped, it tells whoever asks that this server ends.
            Wake::TakenOver(successor) => {
                let ends = self.readiness.stage() == Stage::Draining;
                return (!ends).then_some(Ending::TakenOver(successor));
            }
            Wake::Times(times) => {
                self.times = times;
                return None;
            }
        };
        match signals::meaning(signal) {
            Meaning::Drain | Meaning::Interrupt => return Some(Ending::Signal(signal)),
            Meaning::Counters => self.tell(|| Message::LogCounters),
            // Its thread lives as long as this one.
            Meaning::Reload => drop(self.reloads.send(Request::Signal)),
            Meaning::Nothing => signals::log_ignored(signal),
        }
        None
    }

    /// Tells every shard.
    fn tell(&self, message: impl Fn() -> Message) {
        for (inbox, _) in &self.shards {
            // A shard that is gone already is found out by its join.
            let _ = inbox.send(message());
        }
    }
}

/// How long a process that has handed over, and has nothing left to do, waits until whoever asked
/// has been answered.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// Waits for the threads of shards that have ended, and writes down what they did; false when one
/// failed, or its executor has not ended at `deadline`. The process ends then all the same, and
/// with it what the kernel was still asked to do.
fn join(shards: Vec<RunningShard>, deadline: Instant) -> bool {
    let (sender, joined) = mpsc::channel();
    let mut waiting = 0;
    for (shard, (_, thread)) in shards.into_iter().enumerate() {
        let sender = sender.clone();
        let join = move || {
            let _ = sender.send((shard, thread.join()));
        };
        waiting += usize::from(thread::Builder::new().spawn(join).is_ok());
    }
    let mut good = true;
    for _ in 0..waiting {
        let left = deadline.saturating_duration_since(clock::now());
        match joined.recv_timeout(left) {
            Ok((shard, Ok(report))) => log_report(shard, &report),
            Ok((shard, Err(error))) => {
                tracing::error!(shard, %error, "shard failed");
                good = false;
            }
            Err(_) => {
                tracing::error!("a shard's executor does not end; the process ends without it");
                return false;
            }
        }
    }
    good
}

fn log_report(shard: usize, report: &Report) {
    tracing::info!(shard, counters = metrics::line(report), "shard ended");
}

fn become_user(settings: &Settings) -> Result<(), String> {
    let Some(user) = &settings.process.user else { return Ok(()) };
    let identity = privileges::Identity::resolve(user).map_err(|error| error.to_string())?;
    let keep = if settings.policy.allow_active {
        privileges::Keep::LowPorts
    } else {
        privileges::Keep::Nothing
    };
    privileges::drop_to(&identity, keep).map_err(|error| error.to_string())
}

/// Opened as the user who will serve them, so that a home that user cannot enter is found now;
/// one list a shard, each with handles of its own, unless they are too many. One that is not there
/// is a warning, not the end for all others' users; that none is there, is an error.
fn open_homes(
    config: &Config,
    shards: usize,
) -> Result<(Vec<Vec<OpenedHome>>, Vec<String>), String> {
    let homes = &config.accounts.homes;
    let rules = directory_rules(&config.settings.directories);
    let open = |path: &PathBuf| {
        let home = Arc::new(Home::new(path.clone(), rules.clone()));
        match home.open() {
            Ok(root) => Ok((OpenedHome { home, root: Some(Arc::new(root)) }, None)),
            Err(error @ RootError::Directory { .. }) => {
                Ok((OpenedHome { home, root: None }, Some(error.to_string())))
            }
            Err(error @ RootError::Confinement { .. }) => Err(error.to_string()),
        }
    };
    let open_all = || {
        let opened = homes.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let (opened, errors): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        Ok::<_, String>((opened, errors.into_iter().flatten().collect::<Vec<_>>()))
    };
    let (first, errors) = open_all()?;
    if first.iter().all(|home| home.root.is_none()) {
        return Err(errors.into_iter().next().unwrap_or_default());
    }
    let explain = |error| format!("{error}; its users cannot log in until it is there");
    let warnings = errors.into_iter().map(explain).collect();
    let mut all = vec![first];
    while all.len() < shards {
        all.push(if homes.len() <= HOMES_PER_SHARD_MAX { open_all()?.0 } else { all[0].clone() });
    }
    Ok((all, warnings))
}

/// Descriptors that the homes hold: the shards may have handles of their own, or common ones.
fn handles_of(homes: &[Vec<OpenedHome>]) -> u64 {
    let opened = homes.iter().flatten().filter_map(|home| home.root.as_ref());
    let handles: BTreeSet<_> = opened.map(Arc::as_ptr).collect();
    u64::try_from(handles.len()).unwrap_or(u64::MAX)
}

/// Says whether there is kernel TLS, and what it can do.
fn tell_kernel_tls(found: Result<ktls::Abilities, String>) -> Option<ktls::Abilities> {
    match &found {
        Ok(abilities) => tracing::info!(%abilities, "kernel TLS"),
        Err(reason) => tracing::info!(reason, "no kernel TLS"),
    }
    found.ok()
}

/// The boot of this machine; says so when it cannot be told.
fn tell_boot() -> Option<Boot> {
    let boot = Boot::current();
    if boot.is_none() {
        tracing::debug!(
            "no machine-id(5) or boot id: hidden files of an earlier boot stay for a week where \
             the file system has no locks"
        );
    }
    boot
}

/// What this host gives each shard.
#[derive(Clone, Copy)]
struct Means {
    kernel_tls: Option<ktls::Abilities>,
    reserved_descriptors: RawFd,
    boot: Option<Boot>,
}

impl Means {
    fn new(kernel_tls: Option<ktls::Abilities>, reserved: u64, boot: Option<Boot>) -> Self {
        let reserved_descriptors = reserved.try_into().unwrap_or(i32::MAX);
        Self { kernel_tls, reserved_descriptors, boot }
    }
}

fn start_shards(
    config: &Config,
    cpus: &[usize],
    listeners: Vec<Vec<BoundListener>>,
    own: impl Iterator<Item = (Arc<ServerTls>, Vec<OpenedHome>)>,
    means: Means,
    wakes: &mpsc::Sender<Wake>,
) -> Result<Vec<RunningShard>, String> {
    let Config { settings, accounts, .. } = config;
    let count = u32::try_from(cpus.len()).unwrap_or(u32::MAX);
    let mut shards = Vec::new();
    let parts = cpus.iter().zip(listeners).zip(own);
    let mut exchanges = match settings.passive.ports {
        Some(range) if cpus.len() > 1 => {
            let each = exchanges(cpus.len(), usize::try_from(range.count()).unwrap_or(usize::MAX));
            each.map_err(|error| format!("no channels between shards: {error}"))?
        }
        _ => Vec::new(),
    }
    .into_iter();
    for (index, ((&cpu, listeners), (tls, homes))) in parts.enumerate() {
        let range = settings.passive.ports.map(|range| range.low()..=range.high());
        let passive = range.map(|range| split(range, index, cpus.len()));
        let (sender, inbox) = remote::channel().map_err(|error| error.to_string())?;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let shard = Shard {
            index,
            listeners,
            settings: Arc::new(settings.clone()),
            tls,
            users: Arc::new(accounts.users.clone()),
            homes,
            passive,
            exchange: exchanges.next(),
            sessions_max: share(settings.limits.sessions, number, count),
            kernel_tls: means.kernel_tls,
            boot: means.boot,
            reserved_descriptors: means.reserved_descriptors,
            inbox,
        };
        let notice = EndNotice { wakes: wakes.clone(), index };
        let name = format!("shard-{index}");
        let main = move || async move {
            let _notice = notice;
            shard.run().await
        };
        let thread =
            spawn_shard(&name, cpu, main).map_err(|error| format!("shard {index}: {error}"))?;
        shards.push((sender, thread));
    }
    Ok(shards)
}

/// Tells the main thread that a shard has ended, however it did.
struct EndNotice {
    wakes: mpsc::Sender<Wake>,
    index: usize,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        let _ = self.wakes.send(Wake::ShardEnded(self.index));
    }
}

fn watch_signals(caught: Caught, wakes: mpsc::Sender<Wake>) -> Result<(), String> {
    let mut signals = caught.watch()?;
    let forward = move || {
        for signal in &mut signals {
            if wakes.send(Wake::Signal(signal)).is_err() {
                return;
            }
        }
    };
    start_thread("signals", forward)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_handles_of_homes_count_once() {
        let directory = tempfile::tempdir().unwrap();
        let open = || {
            let home = Arc::new(Home::new(directory.path().to_owned(), Arc::default()));
            OpenedHome { root: Some(Arc::new(home.open().unwrap())), home }
        };
        let absent = || OpenedHome { root: None, ..open() };
        assert_eq!(handles_of(&[vec![open(), open()], vec![open(), open()]]), 4);
        assert_eq!(handles_of(&vec![vec![open(), open(), absent()]; 8]), 2);
    }
}
