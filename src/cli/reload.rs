//! A reload: the configuration is read again, and every shard gets a copy of what it says, or
//! nothing changes and the log says why. On a thread of its own: reading may wait for a disk, and
//! whoever asks for the end must not wait for that.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::certificates;
use super::log_writer::{Log, Output};
use super::logging::{self, LogControl};
use super::names::Names;
use super::service_manager::ServiceManager;
use super::tls_setup::{TlsTexts, pair_files};
use super::wake::{EndTimes, Wake};
use super::{check_config, shards, start_thread};
use crate::clock;
use crate::config::{Config, FileText, Files, Overrides, Problem, directory_rules};
use crate::connection::NewState;
use crate::events;
use crate::runtime::remote::RemoteSender;
use crate::shard::{Message, Reload, share};
use crate::sys::cpu;
use crate::tls::ServerTls;
use crate::vfs::Home;

/// What the configuration is read from, each time.
#[derive(Debug)]
pub(super) struct Origin {
    /// `None` is a server without a file.
    pub(super) path: Option<PathBuf>,
    /// What wins over the file.
    pub(super) overrides: Overrides,
}

impl Origin {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Every mistake.
    pub(super) fn load(&self, files: &Files) -> Result<Config, Vec<Problem>> {
        match &self.path {
            Some(path) => Config::load_from(files, path, &self.overrides),
            None => Config::embedded(&self.overrides),
        }
        .map_err(|error| error.0)
    }

    /// Keeps the password that was made or hashed for `--user`: each reading would have another.
    pub(super) fn keep_password(&mut self, config: &Config) {
        let Some(announced) = &config.announced else { return };
        let user = config.accounts.users.users().find(|user| user.name == announced.name);
        self.overrides.password_hash = user.and_then(|user| user.password.clone());
    }
}

/// What a reload changed, for people.
pub(super) fn changes_text(changed: &[String]) -> String {
    if changed.is_empty() { "nothing".to_owned() } else { changed.join(", ") }
}

/// How reloads ended, for the metrics.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) succeeded: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// What is in force.
pub(super) struct Running {
    pub(super) config: Config,
    pub(super) texts: TlsTexts,
    pub(super) ticket_secret: [u8; 32],
    /// Of the files of `texts`, from before those were read at the start: what is renewed between
    /// that and the first look has another one.
    pub(super) stamps: Vec<Option<Stamps>>,
}

/// The server as a reload sees it.
pub(super) struct Reloader {
    pub(super) origin: Origin,
    pub(super) running: Running,
    pub(super) shards: Vec<RemoteSender<Message>>,
    pub(super) wakes: mpsc::Sender<Wake>,
    pub(super) names: Names,
    pub(super) results: Arc<Results>,
    pub(super) log: LogControl,
}

/// Asks for a reload, or for a part of one.
pub(super) enum Request {
    /// SIGHUP came.
    Signal,
    /// Somebody asks over the control socket.
    Control {
        /// What they may read and the server perhaps not.
        files: BTreeMap<PathBuf, FileText>,
        /// Has room.
        answer: mpsc::SyncSender<Result<Reloaded, Vec<Problem>>>,
    },
    /// What is logged from now on: a level or a filter, or `None` for what the configuration says.
    Levels(Option<String>, mpsc::SyncSender<Result<(), String>>),
    /// Which certificates are served, each as [`certificates::served`] has it.
    Certificates(mpsc::SyncSender<Vec<Value>>),
    /// The logs' files alone are opened again. The answer, for which there is room, is their names.
    Reopen(mpsc::SyncSender<Result<Vec<PathBuf>, String>>),
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reloaded {
    /// How many there were.
    pub(super) generation: u64,
    /// For people: keys, and how many accounts.
    pub(super) changed: Vec<String>,
    /// Good values that deserve a second look.
    pub(super) warnings: Vec<String>,
}

/// So long the shards may take. One that does not answer has it waiting in its inbox.
const SHARDS_TIME_MAX: Duration = Duration::from_secs(5);

/// The log target.
const RELOAD: &str = "ringftpd::reload";

impl Reloader {
    /// Starts the thread. It ends when nobody can ask any more.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn start(
        mut self,
        manager: ServiceManager,
    ) -> Result<mpsc::Sender<Request>, String> {
        let (sender, requests) = mpsc::channel();
        let work = move || {
            let mut generation = 0;
            let mut watch = Watch::new(std::mem::take(&mut self.running.stamps));
            loop {
                let request = match watch.due(&self.running.config) {
                    None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(due) => requests.recv_timeout(due.saturating_duration_since(clock::now())),
                };
                let request = match request {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => {
                        let mut changed = watch.look(&self.running.config);
                        changed.extend(watch.renewal(&self.running.texts));
                        if !changed.is_empty() {
                            self.take_certificates(&changed, &mut generation);
                        }
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                match request {
                    Request::Signal => {
                        drop(self.tell_and_reload(&manager, &Files::default(), &mut generation));
                    }
                    Request::Control { files, answer } => {
                        let files = Files::given(files);
                        let done = self.tell_and_reload(&manager, &files, &mut generation);
                        // Who asked may be gone; the log has it.
                        let _ = answer.try_send(done);
                    }
                    Request::Reopen(answer) => drop(answer.try_send(self.reopen_logs())),
                    Request::Levels(filter, answer) => {
                        drop(answer.try_send(self.set_levels(filter.as_deref())));
                    }
                    Request::Certificates(answer) => {
                        let Running { config, texts, .. } = &self.running;
                        drop(answer.try_send(certificates::served(config, texts)));
                    }
                }
            }
        };
        start_thread("reload", work).map(|()| sender)
    }

    fn tell_and_reload(
        &mut self,
        manager: &ServiceManager,
        files: &Files,
        generation: &mut u64,
    ) -> Result<Reloaded, Vec<Problem>> {
        manager.reloading();
        let done = self.reload(files, generation);
        manager.reloaded(done.is_ok());
        done
    }

    /// Does it, writes down what came of it, and tells.
    fn reload(&mut self, files: &Files, generation: &mut u64) -> Result<Reloaded, Vec<Problem>> {
        let next = *generation + 1;
        match self.prepare(files, next) {
            Ok(prepared) => {
                let Prepared { reloaded, config, texts, tls, logs } = prepared;
                let [events, transfers] = logs;
                // The journal is reached anew for each entry.
                if self.running.config.settings.log.journal.is_none() {
                    let events = events.unwrap_or(Output::StandardError);
                    self.log.switch.to(Log::Events, Some(events));
                }
                self.log.switch.to(Log::Transfers, transfers);
                // Before the shards need them.
                self.names.look_for(&config.settings);
                self.hand_over(Some(config), texts, tls, next);
                *generation = next;
                let level = self.running.config.settings.log.level;
                if let Err(cause) = self.log.levels.reset(level) {
                    tracing::warn!(target: RELOAD, cause, "log level not reset");
                }
                self.succeeded(&reloaded);
                Ok(reloaded)
            }
            Err(problems) => {
                self.results.failed.fetch_add(1, Ordering::Relaxed);
                // logrotate has moved the file away, whatever is wrong with the configuration.
                let _ = self.reopen_logs();
                problems.iter().for_each(log_problem);
                Err(problems)
            }
        }
    }

    fn set_levels(&mut self, filter: Option<&str>) -> Result<(), String> {
        let level = self.running.config.settings.log.level;
        match filter {
            Some(filter) => {
                self.log.levels.set(level, filter)?;
                tracing::info!(target: RELOAD, filter, "log level");
            }
            None => {
                self.log.levels.reset(level)?;
                tracing::info!(target: RELOAD, "log level as configured");
            }
        }
        Ok(())
    }

    /// Opens the logs' files again, for logrotate has moved them away; their names. Where that
    /// fails, lines go on to where they went.
    fn reopen_logs(&self) -> Result<Vec<PathBuf>, String> {
        let (mut opened, mut refused) = (Vec::new(), None);
        for which in LOGS {
            let log = &self.running.config.settings.log;
            match logging::open(log, which) {
                Ok(None) => {}
                Ok(Some(output)) => {
                    self.log.switch.to(which, Some(output));
                    opened.extend(logging::file(log, which).map(Path::to_owned));
                }
                Err(cause) => {
                    tracing::error!(target: RELOAD, cause, "log not opened again");
                    refused = refused.or(Some(cause));
                }
            }
        }
        for path in &opened {
            tracing::info!(target: RELOAD, file = %path.display(), "log opened");
        }
        refused.map_or(Ok(opened), Err)
    }

    /// Takes the certificates at these places whose files belong together.
    fn take_certificates(&mut self, changed: &[usize], generation: &mut u64) {
        let running = &self.running;
        let (texts, mut refused) = running.texts.look_again(&running.config, changed);
        let changed = texts.difference(&running.texts);
        if !changed.is_empty() {
            let (secret, shards) = (running.ticket_secret, self.shards.len());
            match texts.build(&running.config, secret, shards) {
                Ok(tls) => {
                    let warnings = warnings_of(&texts, &changed);
                    *generation += 1;
                    self.hand_over(None, texts, tls, *generation);
                    self.succeeded(&Reloaded { generation: *generation, changed, warnings });
                }
                Err(problem) => refused.push(problem),
            }
        }
        // Looked at again when the files change again: a renewal may write one after the other.
        for (key, cause) in refused {
            tracing::warn!(target: RELOAD, %key, cause, "changed files are not taken");
        }
    }

    fn succeeded(&self, reloaded: &Reloaded) {
        let Reloaded { generation, changed, warnings } = reloaded;
        self.results.succeeded.fetch_add(1, Ordering::Relaxed);
        let changed = changes_text(changed);
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        events::Reloaded { generation: *generation, changed: &changed }.log();
    }

    /// Reads and checks everything. Nothing is changed.
    fn prepare(&self, files: &Files, generation: u64) -> Result<Prepared, Vec<Problem>> {
        let shards = self.shards.len();
        let mut config = self.origin.load(files)?;
        let running = &self.running;
        let difference = config.difference(&running.config.settings);
        let texts = TlsTexts::read(&config, files, Some(&running.texts));
        let built = texts.and_then(|texts| {
            let tls = texts.build(&config, running.ticket_secret, shards)?;
            Ok((texts.served()?, texts, tls))
        });
        let certificates = match &built {
            Ok((certificates, ..)) => Ok(certificates.clone()),
            Err(refused) => Err(refused.clone()),
        };
        let examined = check_config::examine(&config, certificates, &cpu::available(), shards);
        let (difference, examined, (texts, tls)) = match (difference, examined, built) {
            (Ok(difference), Ok(examined), Ok((_, texts, tls))) => {
                (difference, examined, (texts, tls))
            }
            (difference, examined, _) => {
                let refused = examined.err().unwrap_or_default().into_iter();
                let refused = refused.map(|(key, message)| config.problem(&key, message));
                return Err(difference.err().into_iter().flatten().chain(refused).collect());
            }
        };
        let logs = open_logs(&config)?;
        let mut changed = difference;
        for key in texts.difference(&running.texts) {
            if !changed.contains(&key) {
                changed.push(key);
            }
        }
        let accounts = config.succeed_accounts(&running.config, generation);
        if accounts != Default::default() {
            let (added, removed, other) = (accounts.added, accounts.removed, accounts.changed);
            changed.push(format!("users +{added} -{removed} ~{other}"));
        }
        // What the files were warned of already is not said again, wherever it stands by now; what
        // is about time, CPUs and ports is.
        let same = |one: &Problem, other: &Problem| {
            (&one.file, &one.key, &one.message) == (&other.file, &other.key, &other.message)
        };
        let known = |new: &Problem| running.config.warnings.iter().any(|old| same(old, new));
        let warnings = config.warnings.iter().filter(|warning| !known(warning));
        let examined = examined.iter().map(ToString::to_string);
        let warnings = warnings.map(ToString::to_string).chain(examined).collect();
        let reloaded = Reloaded { generation, changed, warnings };
        Ok(Prepared { reloaded, config, texts, tls, logs })
    }

    /// Gives each shard its copy, and waits until they have taken it.
    fn hand_over(
        &mut self,
        new: Option<Config>,
        texts: TlsTexts,
        tls: Vec<Arc<ServerTls>>,
        generation: u64,
    ) {
        let config = new.as_ref().unwrap_or(&self.running.config);
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let rules = directory_rules(&config.settings.directories);
        let _ = self.wakes.send(Wake::Times(EndTimes::of(&config.settings)));
        let answered = shards::ask(&self.shards, SHARDS_TIME_MAX, |index, taken| {
            let homes = config.accounts.homes.iter();
            let state = NewState {
                generation,
                settings: Arc::new(config.settings.clone()),
                tls: tls[index].clone(),
                users: Arc::new(config.accounts.users.clone()),
                homes: homes.map(|path| Arc::new(Home::new(path.clone(), rules.clone()))).collect(),
            };
            let sessions_max = share(
                config.settings.limits.sessions,
                u32::try_from(index).unwrap_or(u32::MAX),
                count,
            );
            Message::Reload(Box::new(Reload { state, sessions_max, taken }))
        });
        let waiting = self.shards.len() - answered.len();
        if waiting > 0 {
            tracing::warn!(target: RELOAD, waiting, "shards that have not taken the reload yet");
        }
        // What was in force ends here, on this thread and not on a shard's.
        if let Some(config) = new {
            self.running.config = config;
        }
        self.running.texts = texts;
    }
}

/// What to say about the certificates with these titles.
fn warnings_of(texts: &TlsTexts, titles: &[String]) -> Vec<String> {
    let served = texts.served().unwrap_or_default().into_iter();
    let now = clock::unix_time();
    let concerned = served.filter(|one| titles.contains(&one.title));
    concerned.flat_map(|one| one.warnings(now)).map(|warning| warning.to_string()).collect()
}

/// The files of the certificates, looked at each `tls.watch`.
struct Watch {
    last: Instant,
    /// When a self-signed certificate may be made anew, if it is time.
    renewal: Instant,
    /// By the places of [`pair_files`]; `None` where there are no such files, or not just now.
    seen: Vec<Option<Stamps>>,
}

/// Of chain and key: inode, length, time of the last change in nanoseconds.
pub(super) type Stamps = [(u64, u64, i64); 2];

impl Watch {
    fn new(seen: Vec<Option<Stamps>>) -> Self {
        Self { last: clock::now(), renewal: clock::now(), seen }
    }

    /// When to look next; `None` is never.
    fn due(&self, config: &Config) -> Option<Instant> {
        let interval = config.settings.tls.watch;
        (!interval.is_zero()).then(|| self.last + interval)
    }

    /// The places where there is something new to be seen. What a reload has read meanwhile is new
    /// here, and no other certificate then: a look too many. One too few would be that of a reload
    /// that was refused, or that came in the middle of a renewal.
    fn look(&mut self, config: &Config) -> Vec<usize> {
        let before = std::mem::replace(&mut self.seen, stamps(config));
        self.last = clock::now();
        let seen = self.seen.iter().enumerate();
        let new = seen.filter(|(place, now)| now.is_some() && before.get(*place) != Some(*now));
        new.map(|(place, _)| place).collect()
    }

    /// The place of the self-signed certificate when it is to be made anew now.
    fn renewal(&mut self, texts: &TlsTexts) -> Option<usize> {
        let due = self.renewal <= self.last && texts.is_renewal_due(clock::unix_time());
        if due {
            self.renewal = self.last + RENEWAL_INTERVAL;
        }
        due.then_some(0)
    }
}

/// How soon another try follows one to renew a self-signed certificate: there are 30 days for it.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// By the places of [`pair_files`].
pub(super) fn stamps(config: &Config) -> Vec<Option<Stamps>> {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        let time = metadata.mtime().wrapping_mul(1_000_000_000) + metadata.mtime_nsec();
        Some((metadata.ino(), metadata.len(), time))
    };
    let pairs = pair_files(config).into_iter();
    pairs.map(|pair| pair.and_then(|pair| Some([stamp(pair.chain)?, stamp(pair.key)?]))).collect()
}

/// A configuration that may come into force.
struct Prepared {
    reloaded: Reloaded,
    config: Config,
    texts: TlsTexts,
    /// One a shard.
    tls: Vec<Arc<ServerTls>>,
    /// Of events, which may be none for standard error, and of transfers.
    logs: [Option<Output>; 2],
}

const LOGS: [Log; 2] = [Log::Events, Log::Transfers];

fn open_logs(config: &Config) -> Result<[Option<Output>; 2], Vec<Problem>> {
    let log = &config.settings.log;
    let open = |which: Log| {
        let opened = logging::file(log, which).map(|path| Output::open(Some(path))).transpose();
        opened.map_err(|cause| vec![config.problem(which.key(), cause)])
    };
    Ok([open(Log::Events)?, open(Log::Transfers)?])
}

fn log_problem(problem: &Problem) {
    let Problem { file, line, key, message } = problem;
    let file = file.as_ref().map_or_else(String::new, |file| file.display().to_string());
    let remedy = if message.contains("Permission denied") {
        "; what only root may read is handed over by `ringftpd ctl reload` run by root"
    } else {
        ""
    };
    let cause = format!("{message}{remedy}");
    events::ReloadFailed { file: &file, line: *line, key, cause: &cause }.log();
}
