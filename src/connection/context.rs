//! What all sessions of one shard have in common. Single-threaded; nothing of it is shared with
//! another shard but immutable values.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use crate::auth::UserTable;
use crate::buffer::{BlockPool, Semaphore};
use crate::clock;
use crate::config::Settings;
use crate::connection::data::kept::Kept;
use crate::connection::logins::checks::{Logins, PasswordChecks, Users};
use crate::connection::logins::homes::{Homes, OpenedHome};
use crate::connection::newcomers::permits::Handshakes;
use crate::connection::ports::exchange::Exchange;
use crate::connection::ports::pool::PassivePorts;
use crate::connection::sessions::Sessions;
use crate::limits::{DEVICES_PER_SHARD_MAX, LINGERING_PER_SHARD, READ_AHEAD_PER_SHARD};
use crate::metrics::{Counters, Gauges, Latencies, Replies, TurnLengths};
use crate::protocol::path::VirtualPath;
use crate::protocol::policy::Policy;
use crate::runtime::{
    FileHelpers, Flag, Helpers, Owner, Pacer, Queue, TaskGroup, Turns, number_of,
};
use crate::sys::ktls;
use crate::tls::ServerTls;
use crate::vfs::{Boot, Home, LeftoverRule, Root, Swept};

/// Values a shard's context is built from.
pub struct ContextParts {
    /// Number of the shard.
    pub shard: usize,
    /// The operator's decisions. Each shard has its own copy: sessions count references to it, and
    /// shards share no counter.
    pub settings: Arc<Settings>,
    /// Certificates, suites, tickets.
    pub tls: Arc<ServerTls>,
    /// Accounts. The outer `Arc` is the shard's own, so that log-ins do not count references to a
    /// value that other shards use.
    pub users: Arc<Arc<UserTable>>,
    /// Home directories, by [`HomeId`](crate::protocol::account::HomeId).
    pub homes: Vec<OpenedHome>,
    /// Threads for work that may block.
    pub helpers: Helpers,
    /// The part of the passive range that this shard begins with; `None` is any ephemeral port.
    pub passive_range: Option<RangeInclusive<u16>>,
    /// What the kernel's TLS can do; `None` when it cannot be used, or the settings forbid it.
    pub kernel_tls: Option<ktls::Abilities>,
    /// Of the machine, for the names of temporary files; `None` when it is not known.
    pub boot: Option<Boot>,
    /// Where the shard's tasks run.
    pub queues: Queues,
}

/// The queues of a shard's tasks.
#[derive(Clone, Copy, Debug)]
pub struct Queues {
    /// Sessions of users and their transfers, data connections with their handshakes included.
    pub sessions: Queue,
    /// Commands and replies of clients that have not logged in. They are no load for which
    /// newcomers are held back: a crowd that only logs in would hold itself back.
    pub logins: Queue,
    /// Accepting, and the TLS handshakes of control connections.
    pub newcomers: Queue,
}

impl Queues {
    /// Queues of the calling shard.
    ///
    /// # Panics
    ///
    /// Outside a shard.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sessions: Queue::new("sessions"),
            logins: Queue::new("logins"),
            newcomers: Queue::new("newcomers"),
        }
    }
}

impl Default for Queues {
    fn default() -> Self {
        Self::new()
    }
}

/// What a reload replaces, all of it at once. Who needs several values that belong together takes
/// the state once: a log-in its accounts and their homes, a control connection its TLS.
pub struct State {
    /// Number of reloads before it; 0 is the start's.
    pub generation: u64,
    /// The operator's decisions.
    pub settings: Arc<Settings>,
    /// The part of them that sessions use.
    pub policy: Arc<Policy>,
    pub(crate) tls: Arc<ServerTls>,
    pub(crate) users: Users,
    pub(crate) homes: Homes,
}

/// What a reload brings a shard, each `Arc` its own.
#[derive(Debug)]
pub struct NewState {
    /// Greater than that of the state there is.
    pub generation: u64,
    /// The operator's decisions. Those that only a restart changes are as they were.
    pub settings: Arc<Settings>,
    /// Certificates, suites, tickets.
    pub tls: Arc<ServerTls>,
    /// Accounts, as in [`ContextParts`].
    pub users: Arc<Arc<UserTable>>,
    /// Home directories, by [`HomeId`](crate::protocol::account::HomeId) of these accounts.
    pub homes: Vec<Arc<Home>>,
}

/// One shard's common state.
pub struct Context {
    state: RefCell<Rc<State>>,
    helpers: Helpers,
    /// What the kernel's TLS can do; `None` when it cannot be used, or shall not.
    pub(crate) kernel_tls: Option<ktls::Abilities>,
    boot: Option<Boot>,
    queues: Queues,
    pub(crate) passive_ports: PassivePorts,
    pub(crate) blocks: BlockPool,
    /// Password checks.
    pub(crate) checks: PasswordChecks,
    /// Permits for blocks read ahead from disks.
    pub(crate) read_ahead: Semaphore,
    /// Permits for data connections that wait for a slow reader after their transfer.
    pub(crate) lingering: Semaphore,
    /// All data connections that outlive their transfer.
    pub(crate) kept: Kept,
    /// Turns of the uploads that are longer than a batch.
    pub(crate) uploads: Turns,
    /// Events counted since the start.
    pub counters: Rc<Counters>,
    /// Values as they are now.
    pub gauges: Gauges,
    /// How long the parts of sessions and transfers took.
    pub latencies: Rc<Latencies>,
    /// Replies given.
    pub replies: Replies,
    /// How long the shard's turns took.
    pub turn_lengths: Rc<TurnLengths>,
    /// Handshakes of control connections.
    pub handshakes: Handshakes,
    /// Turns for accepting and for the steps of those handshakes.
    pub pacer: Pacer,
    /// Those there are.
    pub sessions: Rc<Sessions>,
    /// Set when the shard shuts down: sessions end when idle.
    pub drain: Flag,
    /// Set when the shutdown deadline has passed: transfers end as well.
    pub cut: Flag,
    sessions_by_user: RefCell<BTreeMap<String, u32>>,
    /// Of the names of `passive.address`, as they were looked up last.
    addresses: RefCell<BTreeMap<String, Ipv4Addr>>,
    /// Devices below homes, and whether their file systems are this host's own.
    devices: RefCell<BTreeMap<u64, bool>>,
    /// Sessions and transfers.
    pub tasks: TaskGroup,
}

impl Context {
    /// A fresh context without sessions.
    #[must_use]
    pub fn new(parts: ContextParts) -> Self {
        let ContextParts { settings, tls, users, homes, helpers, queues, .. } = parts;
        let limits = &settings.limits;
        let (counters, latencies) = (Rc::<Counters>::default(), Rc::<Latencies>::default());
        let gauges = Gauges::default();
        let checks = PasswordChecks {
            helpers: helpers.clone(),
            logins: Logins::new(limits.remember_logins, counters.clone()),
            waiting: gauges.logins_waiting.clone(),
        };
        let percent = settings.shards.handshake_percent.0;
        Self {
            pacer: Pacer::new(queues.newcomers, queues.sessions, percent),
            handshakes: Handshakes::new(handshakes_max(&settings), counters.clone()),
            checks,
            passive_ports: PassivePorts::new(
                parts.passive_range,
                counters.clone(),
                latencies.clone(),
            ),
            state: RefCell::new(Rc::new(State {
                generation: 0,
                policy: Arc::new(settings.policy.clone()),
                settings,
                tls,
                users,
                homes: Homes::new(homes, helpers.clone(), counters.clone()),
            })),
            helpers,
            kernel_tls: parts.kernel_tls,
            boot: parts.boot,
            queues,
            blocks: BlockPool::default(),
            read_ahead: Semaphore::new(READ_AHEAD_PER_SHARD),
            lingering: Semaphore::new(LINGERING_PER_SHARD),
            kept: Kept::default(),
            uploads: Turns::default(),
            counters,
            gauges,
            latencies,
            replies: Replies::default(),
            turn_lengths: Rc::new(TurnLengths::new(clock::now())),
            sessions: Rc::new(Sessions::new(parts.shard)),
            drain: Flag::new(),
            cut: Flag::new(),
            sessions_by_user: RefCell::default(),
            addresses: RefCell::default(),
            devices: RefCell::default(),
            tasks: TaskGroup::new(),
        }
    }

    /// Takes what a reload has brought. Sessions to come and transfers to come see it; a session
    /// keeps the policy and the TLS that it began with, and a transfer keeps its policy.
    pub fn replace(&self, new: NewState) {
        let NewState { generation, settings, tls, users, homes } = new;
        self.handshakes.set_max(handshakes_max(&settings));
        self.checks.logins.set_remembered(settings.limits.remember_logins);
        let homes = self.state().homes.succeed(homes);
        let policy = Arc::new(settings.policy.clone());
        let state = State { generation, settings, policy, tls, users, homes };
        *self.state.borrow_mut() = Rc::new(state);
    }

    /// Takes what names of `passive.address` were found to be.
    pub fn take_addresses(&self, addresses: BTreeMap<String, Ipv4Addr>) {
        *self.addresses.borrow_mut() = addresses;
    }

    /// The address of a name of `passive.address`, if one was ever found.
    pub(crate) fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        self.addresses.borrow().get(name).copied()
    }

    /// What there is since the last reload. Not to be kept for long: it holds all of it in memory.
    #[must_use]
    pub fn state(&self) -> Rc<State> {
        self.state.borrow().clone()
    }

    /// The generation of [`Context::state`].
    pub(crate) fn generation(&self) -> u64 {
        self.state.borrow().generation
    }

    /// The operator's decisions.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.state.borrow().settings.clone()
    }

    /// The part of the settings that sessions use.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.state.borrow().policy.clone()
    }

    /// Where the shard's tasks run.
    #[must_use]
    pub const fn queues(&self) -> Queues {
        self.queues
    }

    /// The helper threads for work of `user` at `device`.
    pub(crate) fn files(&self, user: &str, device: u64) -> FileHelpers {
        self.helpers.of(Owner { user: number_of(user), device })
    }

    /// The helper threads for the sweep of `device`.
    pub fn sweep_files(&self, device: u64) -> FileHelpers {
        self.helpers.of(Owner { user: number_of(&("sweep", device)), device })
    }

    /// Every home, with the device it is on; 0 for a home that is not open.
    pub fn homes(&self) -> Vec<(Arc<Home>, u64)> {
        self.state.borrow().homes.all()
    }

    /// Which leftovers are removed.
    pub fn leftovers(&self, policy: &Policy) -> LeftoverRule {
        LeftoverRule { age: policy.leftover_age, boot: self.boot }
    }

    /// Counts and logs leftovers that were removed.
    pub fn note_leftovers(&self, swept: Swept, place: &dyn fmt::Display) {
        if swept.files > 0 {
            self.counters.leftovers_removed.add(swept.files);
            self.counters.leftover_bytes_removed.add(swept.octets);
            let (files, octets) = (swept.files, swept.octets);
            let what = "removed unfinished uploads of a server that is gone";
            tracing::info!(%place, files, octets, "{what}");
        }
    }

    /// Whether files at `device`, where `path` is, may be opened and closed on this thread, because
    /// their file system never waits for another host. False for a device seen for the first time;
    /// a helper thread then examines it.
    pub(crate) fn is_local(
        self: &Rc<Self>,
        root: &Arc<Root>,
        path: &VirtualPath,
        files: &FileHelpers,
        device: u64,
    ) -> bool {
        if root.local_device() == Some(device) {
            return true;
        }
        let mut devices = self.devices.borrow_mut();
        if let Some(local) = devices.get(&device) {
            return *local;
        }
        if devices.len() >= DEVICES_PER_SHARD_MAX {
            devices.clear();
        }
        devices.insert(device, false);
        let (context, root, path, files) =
            (self.clone(), root.clone(), path.clone(), files.clone());
        self.tasks.spawn(async move {
            let look = move || root.look_at_device(&path);
            if let Ok(Some((device, local))) = files.run(look).await {
                context.devices.borrow_mut().insert(device, local);
            }
        });
        false
    }

    /// Brings the gauges up to date that are not counted: of helper threads and of the state.
    pub fn bring_up_to_date(&self) {
        let helpers = &self.helpers;
        let load = helpers.load();
        self.counters.helper_threads_added.add(helpers.added());
        let state = self.state();
        self.gauges.config_generation.set(state.generation);
        self.gauges.file_work_waiting.set(load.waiting as u64);
        self.gauges.file_work_running.set(load.running as u64);
        self.gauges.helper_work_oldest_seconds.set(load.oldest);
    }

    /// Has passive ports move between this shard and others, for as long as it is polled.
    pub fn exchange_ports(&self, exchange: Exchange) -> impl Future<Output = ()> + use<> {
        exchange.run(self.passive_ports.clone())
    }

    /// How many passive ports are in each state.
    pub fn passive_ports(&self) -> Vec<(&'static str, u64)> {
        self.passive_ports.by_state()
    }

    /// The certificates in force, and when each ends, seconds since the Unix epoch.
    pub fn certificate_ends(&self) -> Vec<(String, u64)> {
        let tls = &self.state().tls;
        let names = tls.certificates().iter().enumerate().map(|(index, certificate)| match index {
            0 => "default".to_owned(),
            _ => certificate.served_names().first().cloned().unwrap_or_default(),
        });
        names.zip(tls.ends().map(|end| end.as_secs())).collect()
    }

    /// The helper threads, to be ended with the shard.
    #[cfg(test)]
    pub(crate) const fn helpers(&self) -> &Helpers {
        &self.helpers
    }

    /// Counts a session of `user`; false when the user has reached its limit of sessions.
    pub(crate) fn enter_user(&self, user: &str) -> bool {
        let mut sessions = self.sessions_by_user.borrow_mut();
        let count = sessions.entry(user.to_owned()).or_insert(0);
        let free = self.settings().limits.sessions_per_user.0.is_none_or(|max| *count < max);
        *count += u32::from(free);
        free
    }

    pub(crate) fn leave_user(&self, user: &str) {
        let mut sessions = self.sessions_by_user.borrow_mut();
        if let Some(count) = sessions.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(user);
            }
        }
    }
}

fn handshakes_max(settings: &Settings) -> usize {
    usize::try_from(settings.limits.handshakes).unwrap_or(usize::MAX)
}
