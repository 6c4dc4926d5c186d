//! A reload: the configuration is read again, and every shard gets a copy of what it says, or
//! nothing changes and the log says why. On a thread of its own: reading may wait for a disk, and
//! whoever asks for the end must not wait for that.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::serve::Wake;
use super::tls_setup::TlsTexts;
use super::{check_config, serve};
use crate::clock;
use crate::config::{Config, Files, Overrides, Problem};
use crate::connection::NewState;
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
}

/// The server as a reload sees it.
pub(super) struct Reloader {
    pub(super) origin: Origin,
    pub(super) running: Running,
    pub(super) shards: Vec<RemoteSender<Message>>,
    pub(super) wakes: mpsc::Sender<Wake>,
    pub(super) results: Arc<Results>,
}

/// Asks for a reload.
pub(super) enum Request {
    /// SIGHUP came.
    Signal,
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
    pub(super) fn start(mut self) -> Result<mpsc::Sender<Request>, String> {
        let (sender, requests) = mpsc::channel();
        let work = move || {
            let mut generation = 0;
            for request in requests {
                match request {
                    Request::Signal => drop(self.reload(&Files::default(), &mut generation)),
                }
            }
        };
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(work)
            .map(|_| sender)
            .map_err(|error| format!("cannot start a thread: {error}"))
    }

    /// Does it, writes down what came of it, and tells.
    fn reload(&mut self, files: &Files, generation: &mut u64) -> Result<Reloaded, Vec<Problem>> {
        let next = *generation + 1;
        match self.prepare(files, next) {
            Ok(prepared) => {
                let reloaded = prepared.reloaded.clone();
                self.hand_over(prepared, next);
                *generation = next;
                self.results.succeeded.fetch_add(1, Ordering::Relaxed);
                let changed = match reloaded.changed.as_slice() {
                    [] => "nothing".to_owned(),
                    changed => changed.join(", "),
                };
                reloaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                tracing::info!(target: RELOAD, generation = next, changed, "reload");
                Ok(reloaded)
            }
            Err(problems) => {
                self.results.failed.fetch_add(1, Ordering::Relaxed);
                problems.iter().for_each(log_problem);
                Err(problems)
            }
        }
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
            Ok((texts.certificate()?, texts, tls))
        });
        let certificate = match &built {
            Ok((certificate, ..)) => Ok(Some(certificate.clone())),
            Err(refused) => Err(refused.clone()),
        };
        let examined = check_config::examine(&config, certificate, &cpu::available(), shards);
        let (difference, examined, (texts, tls)) = match (difference, examined, built) {
            (Ok(difference), Ok(examined), Ok((_, texts, tls))) => {
                (difference, examined, (texts, tls))
            }
            (difference, examined, _) => {
                let refused = examined.err().unwrap_or_default().into_iter();
                let refused = refused.map(|(key, message)| config.problem(key, message));
                return Err(difference.err().into_iter().flatten().chain(refused).collect());
            }
        };
        let mut changed = difference.keys;
        for key in texts.difference(&running.texts) {
            if !changed.iter().any(|known| known == key) {
                changed.push(key.to_owned());
            }
        }
        let accounts = config.succeed_accounts(&running.config, generation);
        if accounts != Default::default() {
            let (added, removed, other) = (accounts.added, accounts.removed, accounts.changed);
            changed.push(format!("users +{added} -{removed} ~{other}"));
        }
        // What was said at the start is not said each time.
        let known = &running.config.warnings;
        let warnings = config.warnings.iter().filter(|warning| !known.contains(warning));
        let warnings = warnings.map(ToString::to_string).chain(examined).collect();
        let reloaded = Reloaded { generation, changed, warnings };
        Ok(Prepared { reloaded, config, texts, tls })
    }

    /// Gives each shard its copy, and waits until they have taken it.
    fn hand_over(&mut self, prepared: Prepared, generation: u64) {
        let Prepared { config, texts, tls, .. } = prepared;
        let (taken, answers) = mpsc::sync_channel(self.shards.len());
        let count = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let rules = serve::rules(&config);
        for ((index, shard), tls) in (0..).zip(&self.shards).zip(tls) {
            let homes = config.accounts.homes.iter();
            let state = NewState {
                generation,
                settings: Arc::new(config.settings.clone()),
                tls,
                users: Arc::new(config.accounts.users.clone()),
                homes: homes.map(|path| Arc::new(Home::new(path.clone(), rules.clone()))).collect(),
            };
            let sessions_max = share(config.settings.limits.sessions, index, count);
            let reload = Reload { state, sessions_max, taken: taken.clone() };
            // A shard that has ended serves nobody.
            let _ = shard.send(Message::Reload(Box::new(reload)));
        }
        drop(taken);
        let timeout = config.settings.limits.shutdown_timeout;
        let _ = self.wakes.send(Wake::ShutdownTimeout(timeout));
        let deadline = clock::now() + SHARDS_TIME_MAX;
        let next = || answers.recv_timeout(deadline.saturating_duration_since(clock::now())).ok();
        let answered = std::iter::from_fn(next).take(self.shards.len()).count();
        if answered < self.shards.len() {
            let waiting = self.shards.len() - answered;
            tracing::warn!(target: RELOAD, waiting, "shards that have not taken the reload yet");
        }
        // What was in force ends here, on this thread and not on a shard's.
        self.running.config = config;
        self.running.texts = texts;
    }
}

/// A configuration that may come into force.
struct Prepared {
    reloaded: Reloaded,
    config: Config,
    texts: TlsTexts,
    /// One a shard.
    tls: Vec<Arc<ServerTls>>,
}

fn log_problem(problem: &Problem) {
    let Problem { file, line, key, message } = problem;
    let file = file.as_ref().map_or_else(String::new, |file| file.display().to_string());
    tracing::error!(target: RELOAD, file, line, key, cause = message, "reload_failed");
}
