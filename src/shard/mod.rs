//! One executor pinned to one core, and everything it owns: listeners, sessions, passive ports,
//! buffers, counters. Shards share nothing that changes; what they must agree on is handed to each
//! at its start, or told through its inbox.

mod admission;
mod listener;
mod steering;
mod sweeper;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::auth::{ClientNetwork, UserTable};
use crate::clock;
use crate::config::Settings;
use crate::connection::{
    self, Accepted, Context, ContextParts, Ends, Exchange, HandshakePermit, Kicked, NewState,
    OpenedHome, Proxies, Queues, SessionFacts, Whom,
};
use crate::events::{self, ConnectionRefused, Counts, NotIntroduced, Refusal};
use crate::limits::INTRODUCTIONS_MAX;
use crate::metrics::{self, Held, Spans};
use crate::protocol::proxy_header::Introduced;
use crate::protocol::session::Mode;
use crate::runtime::remote::{RemoteInbox, RemoteReceiver};
use crate::runtime::{
    Helpers, Listener, ListenerTask, Notify, Stream, Task, end_turn, race, sleep_until, spawn,
    timeout_at, watch_turns,
};
use crate::sys::ktls;
use crate::tls::ServerTls;
use crate::vfs::Boot;

pub use self::admission::{Admission, Verdict, share};
pub use self::listener::{
    BoundListener, ListenError, ListenerKind, SteerBy, bind_all, deal, settle,
};

/// What the main thread tells a shard.
#[derive(Debug)]
pub enum Message {
    /// Accept nothing more, end when the sessions have ended, at the latest after the timeout.
    Drain,
    /// Accept on these, too.
    Listen(Vec<BoundListener>),
    /// Send other descriptors of the listening sockets here, and the shard's number.
    Lend(mpsc::SyncSender<(usize, io::Result<Vec<BoundListener>>)>),
    /// Another process accepts at these addresses from now on: leave the sockets to it, and close
    /// all others. Sessions go on; end when they have ended, at the latest after the timeout.
    HandOver(Arc<[SocketAddr]>),
    /// Write the counters to the log.
    LogCounters,
    /// Send the counters here. The shard never waits for room: the asker brings it.
    Count(mpsc::SyncSender<Figures>),
    /// Take this in place of what there is.
    Reload(Box<Reload>),
    /// Names of `passive.address` were looked up: these are their addresses.
    Addresses(BTreeMap<String, Ipv4Addr>),
    /// Send a part of the list of sessions here: those with numbers above this one.
    Sessions(u64, mpsc::SyncSender<Vec<SessionFacts>>),
    /// End these sessions, of those with numbers above this one; say how many were told.
    Kick(Whom, u64, mpsc::SyncSender<Kicked>),
    /// Say how many of the sessions that were told to end are there yet.
    Leaving(mpsc::SyncSender<usize>),
}

/// What a reload brings one shard.
#[derive(Debug)]
pub struct Reload {
    /// The shard's own copy.
    pub state: NewState,
    /// Its own part of `limits.sessions`.
    pub sessions_max: u32,
    /// Where it says that it has taken it: its number. The shard never waits for room.
    pub taken: mpsc::SyncSender<usize>,
}

/// What one shard has counted, as it tells who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Its number.
    pub shard: usize,
    /// Events since its start.
    pub counters: Report,
    /// What there is now.
    pub gauges: Report,
    /// Its certificates, `default` or the first name of each, and when they end, seconds since the
    /// Unix epoch.
    pub certificates: Vec<(String, u64)>,
    /// Replies by code.
    pub replies: Vec<(u16, u64)>,
    /// Refusals, failed log-ins and ends of sessions by reason.
    pub reasons: Vec<Counts>,
    /// Passive ports by state.
    pub passive_ports: Vec<(&'static str, u64)>,
    /// How long the phases took, in the order of [`metrics::Phase::ALL`].
    pub latencies: Vec<Spans>,
    /// How long turns took, and the longest of the last minute; none where the executor does not
    /// tell.
    pub turns: Option<(Spans, Duration)>,
}

/// Everything a shard is started with.
pub struct Shard {
    /// Number of this shard, from 0.
    pub index: usize,
    /// Its own listening sockets.
    pub listeners: Vec<BoundListener>,
    /// The operator's decisions; the shard's own copy, as every `Arc` here: sessions count
    /// references to them, and a count shared by shards would be traffic between their caches.
    pub settings: Arc<Settings>,
    /// Certificates, suites, ticket keys.
    pub tls: Arc<ServerTls>,
    /// Accounts. The outer reference is the shard's own, the table is common to all.
    pub users: Arc<Arc<UserTable>>,
    /// Home directories.
    pub homes: Vec<OpenedHome>,
    /// The part of the passive range that it begins with; `None` is any ephemeral port.
    pub passive: Option<RangeInclusive<u16>>,
    /// Its way to get other parts of that from other shards, if there are any.
    pub exchange: Option<Exchange>,
    /// Its own part of `limits.sessions`.
    pub sessions_max: u32,
    /// Descriptors from this one on are for the sessions that are in.
    pub reserved_descriptors: RawFd,
    /// What the kernel's TLS can do; `None` when there is none, or it shall not be used.
    pub kernel_tls: Option<ktls::Abilities>,
    /// Of the machine; `None` when it is not known.
    pub boot: Option<Boot>,
    /// Messages of the main thread.
    pub inbox: RemoteInbox<Message>,
}

/// What a shard did, told at its end.
pub type Report = Vec<(&'static str, u64)>;

impl Shard {
    /// Serves until told to drain.
    pub async fn run(self) -> Report {
        let helpers = match Helpers::new() {
            Ok(helpers) => helpers,
            Err(error) => {
                tracing::error!(shard = self.index, %error, "no channel to helper threads");
                return Report::new();
            }
        };
        let per_address_max = self.settings.limits.sessions_per_ip.0;
        let context = Rc::new(Context::new(ContextParts {
            shard: self.index,
            settings: self.settings,
            tls: self.tls,
            users: self.users,
            homes: self.homes,
            helpers: helpers.clone(),
            passive_range: self.passive,
            queues: Queues::new(),
            kernel_tls: self.kernel_tls,
            boot: self.boot,
        }));
        let percent = context.pacer.percent();
        tracing::debug!(shard = self.index, handshake_percent = percent, "shard started");
        let acceptor = Rc::new(Acceptor {
            context: context.clone(),
            admission: RefCell::new(Admission::new(self.sessions_max, per_address_max)),
            reserved_descriptors: self.reserved_descriptors,
        });
        let mut mailbox = Inbox {
            shard: self.index,
            turns_are_told: tell_turns(&context),
            acceptor,
            listening: Vec::new(),
            sweeping: (self.index == 0).then(|| spawn(sweeper::run(context.clone()))),
            inbox: self.inbox.open(),
        };
        mailbox.listen(self.listeners);
        events::set_rate(context.settings().log.events_per_second.0);
        let telling = spawn(tell_of_floods());
        let exchanging = self.exchange.map(|exchange| spawn(context.exchange_ports(exchange)));
        let ending = mailbox.answer().await;
        if let Some(sweeping) = mailbox.sweeping.take() {
            sweeping.cancel().await;
        }
        let mut deadline = clock::now() + context.settings().limits.shutdown_timeout;
        match ending {
            Ending::Drain => mailbox.stop_listening().await,
            Ending::HandOver(addresses) => {
                deadline = mailbox.outlive(&addresses, deadline).await;
            }
        }
        let answering = async {
            // Told again, or its sender is lost: the end is near either way.
            mailbox.answer().await;
            pending::<()>().await;
        };
        race(drain(self.index, &context, deadline), answering).await;
        // Who asks for signs of life sees from here on that the shard has ended.
        drop(mailbox);
        context.tasks.end().await;
        telling.cancel().await;
        if let Some(exchanging) = exchanging {
            exchanging.cancel().await;
        }
        events::tell_suppressed();
        end_helpers(self.index, &helpers).await;
        context.bring_up_to_date();
        context.counters.snapshot()
    }
}

/// Has the executor tell how long its turns are; false where it does not.
fn tell_turns(context: &Context) -> bool {
    let turns = context.turn_lengths.clone();
    watch_turns(move |now, length| turns.note(now, length))
}

/// Ends file work, or leaves it behind.
async fn end_helpers(shard: usize, helpers: &Helpers) {
    if !helpers.end(HELPERS_GRACE).await {
        let load = helpers.load();
        tracing::warn!(
            shard,
            running = load.running,
            waiting = load.waiting,
            milliseconds = u64::try_from(load.oldest.as_millis()).unwrap_or(u64::MAX),
            "file work is left behind: a file system does not answer"
        );
    }
}

/// The shard's end of the main thread's messages, and what they concern.
struct Inbox {
    shard: usize,
    turns_are_told: bool,
    acceptor: Rc<Acceptor>,
    listening: Vec<Listening>,
    /// On shard 0 until the drain.
    sweeping: Option<Task<()>>,
    inbox: RemoteReceiver<Message>,
}

/// A listening socket that is accepted on.
struct Listening {
    address: SocketAddr,
    kind: ListenerKind,
    lasting: bool,
    task: ListenerTask,
}

/// What ends the shard's accepting.
enum Ending {
    Drain,
    /// At these addresses another process accepts.
    HandOver(Arc<[SocketAddr]>),
}

impl Inbox {
    fn listen(&mut self, sockets: Vec<BoundListener>) {
        self.listening
            .extend(sockets.into_iter().filter_map(|bound| listen(&self.acceptor, bound)));
    }

    async fn stop_listening(&mut self) {
        for Listening { lasting, task, .. } in self.listening.drain(..) {
            if lasting { task.leave().await } else { task.stop().await }
        }
    }

    fn lend(&self) -> io::Result<Vec<BoundListener>> {
        let lend = |listening: &Listening| {
            let &Listening { address, kind, lasting, .. } = listening;
            Ok(BoundListener { socket: listening.task.duplicate()?, address, kind, lasting })
        };
        self.listening.iter().map(lend).collect()
    }

    /// Leaves the sockets to another process, and returns when the sessions have ended, it is told
    /// to drain or at `deadline`; until when the rest may take then.
    async fn outlive(&mut self, addresses: &[SocketAddr], deadline: Instant) -> Instant {
        let mut leaving = Vec::new();
        for Listening { address, lasting, task, .. } in self.listening.drain(..) {
            if lasting || addresses.contains(&address) {
                leaving.push(spawn(task.leave()));
            } else {
                task.stop().await;
            }
        }
        let context = self.acceptor.context.clone();
        let gone = async {
            for left in leaving {
                left.await;
            }
            context.tasks.idle().await;
        };
        let gone = async {
            let _ = timeout_at(deadline, gone).await;
        };
        let told = async { drop(self.answer().await) };
        race(gone, told).await;
        deadline.max(clock::now() + FAREWELL_TIME)
    }

    /// Does what the main thread says until it says [`Message::Drain`] or [`Message::HandOver`]. A
    /// lost main thread means the former.
    async fn answer(&mut self) -> Ending {
        while let Some(message) = self.inbox.recv().await {
            let context = &self.acceptor.context;
            let shard = self.shard;
            context.counters.messages.increment();
            match message {
                Message::Drain => return Ending::Drain,
                Message::Listen(sockets) => self.listen(sockets),
                Message::Lend(asker) => drop(asker.try_send((shard, self.lend()))),
                Message::HandOver(addresses) => return Ending::HandOver(addresses),
                Message::LogCounters => {
                    context.bring_up_to_date();
                    tracing::info!(
                        shard,
                        counters = metrics::line(&context.counters.snapshot()),
                        now = metrics::line(&context.gauges.snapshot()),
                        "counters"
                    );
                }
                Message::Count(asker) => {
                    // An asker that is gone, or that brought no room, has its reasons.
                    let _ = asker.try_send(self.figures());
                }
                Message::Reload(reload) => {
                    let Reload { state, sessions_max, taken } = *reload;
                    self.take(state, sessions_max).await;
                    let _ = taken.try_send(shard);
                }
                Message::Addresses(addresses) => context.take_addresses(addresses),
                Message::Sessions(after, asker) => {
                    let _ = asker.try_send(context.sessions.part(after));
                }
                Message::Kick(whom, after, asker) => {
                    let _ = asker.try_send(context.sessions.kick(&whom, after));
                }
                Message::Leaving(asker) => {
                    let _ = asker.try_send(context.sessions.leaving());
                }
            }
        }
        Ending::Drain
    }

    fn figures(&self) -> Figures {
        let context = &self.acceptor.context;
        context.bring_up_to_date();
        let turns = &context.turn_lengths;
        Figures {
            shard: self.shard,
            counters: context.counters.snapshot(),
            gauges: context.gauges.snapshot(),
            certificates: context.certificate_ends(),
            replies: context.replies.snapshot(),
            reasons: events::counts(),
            passive_ports: context.passive_ports(),
            latencies: context.latencies.snapshot(),
            turns: self.turns_are_told.then(|| (turns.snapshot(), turns.longest(clock::now()))),
        }
    }

    async fn take(&mut self, state: NewState, sessions_max: u32) {
        let context = &self.acceptor.context;
        let age = context.policy().leftover_age;
        let per_address_max = state.settings.limits.sessions_per_ip.0;
        context.replace(state);
        events::set_rate(context.settings().log.events_per_second.0);
        self.acceptor.admission.borrow_mut().set_limits(sessions_max, per_address_max);
        // It sleeps for as long as the age says.
        if context.policy().leftover_age != age
            && let Some(sweeping) = self.sweeping.take()
        {
            sweeping.cancel().await;
            self.sweeping = Some(spawn(sweeper::run(self.acceptor.context.clone())));
        }
    }
}

/// Tells of the lines that a flood suppressed when no further line of their kind does.
async fn tell_of_floods() {
    loop {
        events::first_suppressed().await;
        sleep_until(clock::now() + FLOOD_TOLD_AFTER).await;
        events::tell_suppressed();
    }
}

/// Lets sessions end: by themselves at first, and then without their transfers.
async fn drain(shard: usize, context: &Context, deadline: Instant) {
    context.drain.set();
    if timeout_at(deadline, context.tasks.idle()).await.is_err() {
        tracing::warn!(shard, "shutdown timeout: transfers are cut");
        context.cut.set();
        let deadline = clock::now() + CUT_GRACE;
        // Sessions that are still there have lost their right to clean up.
        let _ = timeout_at(deadline, context.tasks.idle()).await;
    }
}

/// What the accept loops of one shard share.
struct Acceptor {
    context: Rc<Context>,
    admission: RefCell<Admission>,
    reserved_descriptors: RawFd,
}

fn listen(acceptor: &Rc<Acceptor>, bound: BoundListener) -> Option<Listening> {
    let BoundListener { socket, address, kind, lasting } = bound;
    let mode = match kind {
        ListenerKind::Explicit => Mode::Explicit,
        ListenerKind::Implicit { .. } => Mode::Implicit,
    };
    let listener = match Listener::adopt(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%address, %error, "cannot use a listening socket");
            return None;
        }
    };
    let (admission, pauses) = (acceptor.clone(), acceptor.clone());
    let mut quiet_until = clock::now();
    let exhausted = move |error: &io::Error| {
        pauses.context.counters.accept_pauses.increment();
        // It may come and go with every connection.
        let now = clock::now();
        if now < quiet_until {
            return;
        }
        quiet_until = now + EXHAUSTED_QUIET;
        tracing::warn!(
            %error,
            "accepting pauses; live sessions go on. Raise the limit of open files (LimitNOFILE, \
             ulimit -n) or lower limits.sessions"
        );
    };
    // A handshake has its permit before the next connection is accepted: what is beyond the bound
    // waits in the kernel.
    let introductions = Rc::new(Introductions::default());
    let on_connection = async move |stream: Stream| {
        let context = &admission.context;
        match Proxies::of_listeners(&context.settings()) {
            None => admit(&admission, mode, stream, Introduced::Nobody).await,
            Some(proxies) => {
                let place = introductions.enter().await;
                let introduced = introduce(admission.clone(), mode, stream, proxies, place);
                context.tasks.spawn_into(context.queues().newcomers, introduced);
            }
        }
    };
    let (queue, reserved) = (acceptor.context.queues().newcomers, acceptor.reserved_descriptors);
    let task = listener.run(queue, reserved, on_connection, exhausted);
    Some(Listening { address, kind, lasting, task })
}

/// Has a proxy say for whom its connection is, and lets that client in.
async fn introduce(
    acceptor: Rc<Acceptor>,
    mode: Mode,
    stream: Stream,
    proxies: Proxies,
    _place: Introduction,
) {
    let context = &acceptor.context;
    let deadline = clock::now() + context.settings().limits.client_hello_timeout;
    let introduced = async { Some(proxies.introduce(&stream, deadline).await) };
    let draining = async {
        context.drain.wait().await;
        None
    };
    let (peer, shard) = (stream.peer_addr(), context.sessions.shard());
    match race(introduced, draining).await {
        Some(Ok(introduced)) => admit(&acceptor, mode, stream, introduced).await,
        Some(Err(error)) => {
            context.counters.connections.increment();
            context.counters.connections_refused.increment();
            NotIntroduced { reason: error.reason(), peer, shard, error: &error }.log();
        }
        None => {
            let (reason, peer, shard) = (Refusal::Draining, Some(peer), Some(shard));
            ConnectionRefused { reason, peer, shard }.log();
        }
    }
}

/// Lets a client in when its turn has come: the one that was introduced, or who has connected.
async fn admit(acceptor: &Rc<Acceptor>, mode: Mode, stream: Stream, introduced: Introduced) {
    acceptor.context.pacer.turn().await;
    let permit = match mode {
        Mode::Implicit => Some(acceptor.context.handshakes.enter().await),
        Mode::Explicit => None,
    };
    enter(acceptor, mode, stream, introduced, permit);
    end_turn();
}

fn enter(
    acceptor: &Rc<Acceptor>,
    mode: Mode,
    stream: Stream,
    introduced: Introduced,
    permit: Option<HandshakePermit>,
) {
    // The client may be gone again already.
    let Ok(local) = stream.local_addr() else { return };
    let ends = Ends::new(stream.peer_addr(), local, introduced);
    let peer = ends.peer;
    let address = ClientNetwork::of(peer.ip());
    let verdict = acceptor.admission.borrow_mut().enter(address);
    let counters = &acceptor.context.counters;
    counters.connections.increment();
    if verdict != Verdict::Welcome {
        counters.connections_refused.increment();
    }
    let refused = match verdict {
        Verdict::Welcome => None,
        Verdict::Refuse(reason) => Some(reason),
        Verdict::Drop(reason) => {
            let shard = Some(acceptor.context.sessions.shard());
            return ConnectionRefused { reason, peer: Some(peer), shard }.log();
        }
    };
    let counted = acceptor.context.gauges.sessions.hold();
    let guard = Box::new(AdmissionGuard {
        acceptor: acceptor.clone(),
        address,
        verdict,
        _counted: counted,
    });
    connection::serve(
        &acceptor.context,
        Accepted { stream, mode, local, ends, refused, permit, guard },
    );
}

/// Connections of one listening socket whose proxy has not said yet for whom they are, or that wait
/// for their turn behind that. Beyond the bound they wait in the kernel, as others do.
#[derive(Default)]
struct Introductions {
    in_progress: Cell<usize>,
    left: Notify,
}

/// A place among the [`Introductions`]; free again when it is dropped.
struct Introduction(Rc<Introductions>);

impl Introductions {
    /// Returns when there is a place. One at a time may wait: the accept loop.
    async fn enter(self: &Rc<Self>) -> Introduction {
        while self.in_progress.get() >= INTRODUCTIONS_MAX {
            self.left.notified().await;
        }
        self.in_progress.set(self.in_progress.get() + 1);
        Introduction(self.clone())
    }
}

impl Drop for Introduction {
    fn drop(&mut self) {
        self.0.in_progress.set(self.0.in_progress.get() - 1);
        self.0.left.notify();
    }
}

/// A connection that counts, until it is dropped.
struct AdmissionGuard {
    acceptor: Rc<Acceptor>,
    address: ClientNetwork,
    verdict: Verdict,
    _counted: Held,
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        self.acceptor.admission.borrow_mut().leave(self.address, self.verdict);
    }
}

/// Suppressed lines are told of so soon. In a flood that goes on, its own lines do it each second.
const FLOOD_TOLD_AFTER: Duration = Duration::from_secs(2);

/// So long nothing more is said about pauses of accepting.
const EXHAUSTED_QUIET: Duration = Duration::from_secs(10);

/// When the time of those who have outlived an upgrade is over, they are told so this long before
/// their transfers are cut.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// After the cut, sessions have this long to clean up.
const CUT_GRACE: Duration = Duration::from_secs(3);

/// When all sessions have ended, file work has this long to end.
const HELPERS_GRACE: Duration = Duration::from_secs(1);

/// The longest that a shard whose thread is not held goes on after the shutdown timeout; then the
/// process ends without it.
pub const END_GRACE: Duration = Duration::from_secs(6);
const _: () = assert!(
    FAREWELL_TIME.as_secs() + CUT_GRACE.as_secs() + HELPERS_GRACE.as_secs() < END_GRACE.as_secs()
);
