//! An open passive port and the sessions that wait at it. One session accepts for itself, as long
//! as it is the only one. From the second on a task of the port accepts for all and gives each
//! connection to the session that `dispatch` says it is for: by the client's address, or by the
//! ClientHello, which is read for that, answered by nobody, and goes with the connection. So it is
//! from the first connection of another address on that may be a session's by its ticket.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::contest::CONNECTIONS_MAX;
use super::dispatch::{ByAddress, Fit, Known, by_address, by_claim, fit};
use super::undecided::{Entry, Said, Undecided, listen};
use crate::buffer::RecvBuffer;
use crate::clock;
use crate::connection::proxied::Proxies;
use crate::events::{DataRefused, Refusal};
use crate::limits::{MISSED_PER_PORT_MAX, UNDECIDED_PER_ADDRESS_MAX, UNDECIDED_PER_SHARD_MAX};
use crate::metrics::Counters;
use crate::protocol::proxy_header::Introduced;
use crate::runtime::{
    Listener, Mailbox, MailboxSender, Notify, Stream, Task, logging_of, mailbox, number_of, race,
    spawn, work_for, yield_if_needed,
};
use crate::tls::{Claim, ClaimedTickets, ControlSession, ServerTls};

/// How long a proxy may take for its header, behind which others wait.
const HEADER_PATIENCE: Duration = Duration::from_secs(2);

/// How long the client of a session that left without a connection may still come: longer than a
/// client tries to connect again and again (RFC 6298 §2: 1, 3, 7, 15 and 31 s after the first).
const MISSED_SPAN: Duration = Duration::from_secs(60);

/// Connections taken from the backlog at once: more than it holds.
const DRAINED_MAX: usize = 64;

/// TLS configurations that tickets are tried with: one, and after reloads those of older sessions.
const SERVERS_MAX: usize = 16;

/// A session that is going to wait at a port.
#[derive(Clone)]
pub(crate) struct Expected {
    /// The client of the control connection [PASV-04].
    pub(crate) peer: IpAddr,
    /// Who is logged in.
    pub(crate) user: Option<Rc<str>>,
    /// What tells its data connections from those of others; `None` where nothing does.
    pub(crate) tickets: Option<(Arc<ServerTls>, Arc<ControlSession>)>,
    /// How long the client may take between the connection and its ClientHello.
    pub(crate) patience: Duration,
    /// The proxies that clients come by, if they do.
    pub(crate) proxies: Option<Proxies>,
    /// Its tickets count wherever they are shown.
    pub(crate) elsewhere: bool,
}

impl Expected {
    fn known(&self) -> Known<'_> {
        let (tells, elsewhere) = (self.tickets.is_some(), self.elsewhere);
        Known { user: self.user.as_deref(), tells, elsewhere }
    }
}

/// A connection that came to the port and is for one session.
pub(crate) struct Caller {
    pub(crate) stream: Stream,
    /// What was read of it already, and when that began.
    pub(super) heard: Option<(RecvBuffer, Instant)>,
}

/// An open port. Clones share it.
#[derive(Clone)]
pub(crate) struct Gate(Rc<Inner>);

struct Inner {
    listener: Listener,
    undecided: Undecided,
    counters: Rc<Counters>,
    waiting: RefCell<BTreeMap<IpAddr, Vec<Rc<Waiter>>>>,
    missed: RefCell<BTreeMap<IpAddr, Vec<Missed>>>,
    /// How many sessions wait.
    count: Cell<usize>,
    /// How many of them have connections that may come from any address.
    elsewhere: Cell<usize>,
    /// Until when connections may come from any address for those that have left.
    missed_elsewhere: Cell<Option<Instant>>,
    next: Cell<u64>,
    open: Cell<bool>,
    /// There from the second session on, or the first connection from elsewhere.
    usher: RefCell<Option<Usher>>,
}

/// The task that accepts for all.
struct Usher {
    events: MailboxSender<Event>,
    _task: Task<()>,
}

enum Event {
    Accepted(Option<Stream>),
    /// It may be of several sessions, or a proxy is to say for whom it is.
    Unclear(Stream, Step),
    Introduced(u64, Stream, Option<SocketAddr>),
    Said(u64, Stream, SocketAddr, Said),
}

enum Step {
    Header(Proxies),
    /// Of this client.
    Hello(SocketAddr, Duration),
}

/// A session that waits.
struct Waiter {
    number: u64,
    expected: Expected,
    callers: RefCell<VecDeque<Caller>>,
    /// Connections that it was given.
    given: Cell<u32>,
    /// It takes no further ones.
    closed: Cell<bool>,
    gone: Cell<bool>,
    news: Notify,
}

/// A session that has left without a connection.
struct Missed {
    user: Option<Rc<str>>,
    tells: bool,
    elsewhere: bool,
    until: Instant,
    /// What ends with it.
    _held: Option<Box<dyn Any>>,
}

impl Missed {
    fn known(&self) -> Known<'_> {
        Known { user: self.user.as_deref(), tells: self.tells, elsewhere: self.elsewhere }
    }
}

impl Gate {
    /// A port at which nobody waits yet.
    pub(crate) fn new(listener: Listener, undecided: &Undecided, counters: &Rc<Counters>) -> Self {
        Self(Rc::new(Inner {
            listener,
            undecided: undecided.clone(),
            counters: counters.clone(),
            waiting: RefCell::default(),
            missed: RefCell::default(),
            count: Cell::new(0),
            elsewhere: Cell::new(0),
            missed_elsewhere: Cell::new(None),
            next: Cell::new(0),
            open: Cell::new(true),
            usher: RefCell::default(),
        }))
    }

    /// Whether anybody waits; when the last one has left it is closed for good.
    pub(crate) fn is_open(&self) -> bool {
        self.0.open.get()
    }

    /// Whether several sessions wait, or did, or connections from elsewhere came.
    pub(crate) fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// How one more session would fit.
    pub(crate) fn fit(&self, new: &Expected) -> Fit {
        let now = clock::now();
        let (waiting, missed) = (self.0.waiting.borrow(), self.0.missed.borrow());
        // Those of other addresses matter only where connections may come from anywhere.
        let only = if new.elsewhere || self.0.any_elsewhere(now) { None } else { Some(new.peer) };
        let there = of_address(&waiting, only);
        let there = there.map(|(peer, one)| (peer == new.peer, one.expected.known()));
        let missed = of_address(&missed, only).filter(|(_, one)| one.until > now);
        let missed = missed.map(|(peer, one)| (peer == new.peer, one.known()));
        fit(new.known(), there.chain(missed))
    }

    /// Has a session wait that fits. What has come already is for those that waited before.
    pub(crate) fn join(&self, expected: Expected) -> Place {
        let inner = &self.0;
        if inner.count.get() > 0 {
            inner.share();
            inner.drain();
        }
        let number = inner.next.get();
        inner.next.set(number + 1);
        let (peer, elsewhere) = (expected.peer, usize::from(expected.elsewhere));
        inner.elsewhere.set(inner.elsewhere.get() + elsewhere);
        let waiter = Rc::new(Waiter {
            number,
            expected,
            callers: RefCell::default(),
            given: Cell::new(0),
            closed: Cell::new(false),
            gone: Cell::new(false),
            news: Notify::new(),
        });
        inner.waiting.borrow_mut().entry(peer).or_default().push(waiter.clone());
        inner.count.set(inner.count.get() + 1);
        Place { gate: self.clone(), waiter }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("listener", &self.0.listener)
            .field("waiting", &self.0.count.get())
            .finish_non_exhaustive()
    }
}

/// Those of one address, or all.
fn of_address<T>(
    all: &BTreeMap<IpAddr, Vec<T>>,
    only: Option<IpAddr>,
) -> impl Iterator<Item = (IpAddr, &T)> {
    let one = only.and_then(|address| all.get_key_value(&address));
    let every = only.is_none().then_some(all).into_iter().flatten();
    one.into_iter().chain(every).flat_map(|(peer, those)| those.iter().map(|one| (*peer, one)))
}

impl Inner {
    fn is_shared(&self) -> bool {
        self.usher.borrow().is_some()
    }

    /// From here on a task accepts.
    fn share(self: &Rc<Self>) {
        if self.is_shared() {
            return;
        }
        let (events, mailbox) = mailbox(2 * UNDECIDED_PER_SHARD_MAX);
        let (gate, listener, sender) = (Rc::downgrade(self), self.listener.clone(), events.clone());
        // It works for no session.
        let task = logging_of(None, || spawn(usher(gate, listener, mailbox, sender)));
        *self.usher.borrow_mut() = Some(Usher { events, _task: task });
        let waiting = self.waiting.borrow();
        waiting.values().flatten().for_each(|waiter| waiter.news.notify());
    }

    /// Gives away what waits in the backlog.
    fn drain(&self) {
        for _ in 0..DRAINED_MAX {
            let Some(stream) = self.listener.accept_waiting() else { return };
            self.accepted(stream);
        }
    }

    /// The proxies by which the clients of a session come that waits here.
    fn proxies(&self) -> Option<Proxies> {
        let waiting = self.waiting.borrow();
        waiting.values().flatten().next_back()?.expected.proxies.clone()
    }

    fn accepted(&self, stream: Stream) {
        match self.proxies() {
            None => {
                let peer = stream.peer_addr();
                self.give_by_address(stream, peer);
            }
            Some(proxies) => self.look_closer(stream, Step::Header(proxies)),
        }
    }

    fn look_closer(&self, stream: Stream, step: Step) {
        let peer = stream.peer_addr();
        let usher = self.usher.borrow();
        let event = Event::Unclear(stream, step);
        let sent = usher.as_ref().is_some_and(|usher| usher.events.send(event).is_ok());
        drop(usher);
        if !sent {
            self.refuse(Refusal::DataCrowded, peer);
        }
    }

    fn give_by_address(&self, stream: Stream, client: SocketAddr) {
        let address = client.ip().to_canonical();
        let waiting = self.waiting.borrow();
        let there = waiting.get(&address).map_or(&[][..], Vec::as_slice);
        let all = self.elsewhere.get();
        let elsewhere = all > 0 && all > there.iter().filter(|one| one.expected.elsewhere).count();
        match by_address(there, self.has_missed(address), elsewhere) {
            ByAddress::Stranger => self.counters.passive_strangers.increment(),
            ByAddress::For(waiter) => {
                let waiter = waiter.clone();
                drop(waiting);
                self.give(&waiter, Caller { stream, heard: None });
            }
            ByAddress::Unclear => {
                let of_others = || waiting.values().flatten().find(|one| one.expected.elsewhere);
                let patience = there.iter().max_by_key(|waiter| waiter.expected.patience);
                let patience = patience.or_else(of_others).map(|waiter| waiter.expected.patience);
                drop(waiting);
                let step = Step::Hello(client, patience.unwrap_or_default());
                self.look_closer(stream, step);
            }
        }
    }

    /// What the ClientHello says, and what came with it.
    fn give_by_claim(&self, stream: Stream, client: SocketAddr, said: Said) {
        let (claim, octets, began) = match said {
            Said::Hello(claim, octets, began) => (claim, octets, began),
            Said::Else => return self.refuse(Refusal::DataUnclaimed, client),
            Said::Silent => return self.refuse(Refusal::DataSilent, client),
            Said::CrowdedOut => return self.refuse(Refusal::DataCrowded, client),
        };
        let address = client.ip().to_canonical();
        match by_claim(self.named_by(&claim, address)) {
            Some(waiter) => {
                self.counters.passive_by_ticket.increment();
                if waiter.expected.peer != address {
                    self.counters.passive_elsewhere.increment();
                }
                self.give(&waiter, Caller { stream, heard: Some((octets, began)) });
            }
            None => self.refuse(Refusal::DataUnclaimed, client),
        }
    }

    /// The sessions that wait for connections of this address and that the ClientHello is of.
    fn named_by(&self, claim: &Claim, address: IpAddr) -> Vec<Rc<Waiter>> {
        let mut opened: Vec<(&Arc<ServerTls>, ClaimedTickets)> = Vec::new();
        let waiting = self.waiting.borrow();
        let mut named = Vec::new();
        let only = (self.elsewhere.get() == 0).then_some(address);
        for (peer, waiter) in of_address(&waiting, only) {
            if peer != address && !waiter.expected.elsewhere {
                continue;
            }
            let Some((server, session)) = &waiter.expected.tickets else { continue };
            let known = opened.iter().position(|(other, _)| Arc::ptr_eq(other, server));
            let at = known.or_else(|| {
                let room = opened.len() < SERVERS_MAX;
                room.then(|| opened.push((server, claim.opened_by(server))))?;
                Some(opened.len() - 1)
            });
            let by_ticket = at.is_some_and(|at| opened[at].1.are_of(session));
            if by_ticket || claim.is_by_id_of(session) {
                named.push(waiter.clone());
            }
        }
        named
    }

    fn give(&self, waiter: &Waiter, caller: Caller) {
        let room = waiter.callers.borrow().len() < CONNECTIONS_MAX as usize;
        if waiter.closed.get() || !room {
            return self.counters.passive_refused.increment();
        }
        waiter.given.set(waiter.given.get() + 1);
        waiter.callers.borrow_mut().push_back(caller);
        waiter.news.notify();
    }

    /// Closes the oldest of those whose ClientHello is waited for, if this address has too many.
    fn make_room(&self, waiting: &mut Vec<(u64, SocketAddr, Task<()>)>, address: IpAddr) {
        let mut same = waiting.iter().enumerate().filter(|(_, one)| one.1.ip() == address);
        let Some((oldest, _)) = same.next() else { return };
        if same.count() + 1 >= UNDECIDED_PER_ADDRESS_MAX {
            let (_, client, task) = waiting.remove(oldest);
            drop(task);
            self.refuse(Refusal::DataCrowded, client);
        }
    }

    fn refuse(&self, reason: Refusal, peer: SocketAddr) {
        self.counters.passive_refused.increment();
        logging_of(None, || DataRefused { reason, peer }.log());
    }

    /// Whether connections may come from any address, for those that wait or have left.
    fn any_elsewhere(&self, now: Instant) -> bool {
        self.elsewhere.get() > 0 || self.missed_elsewhere.get().is_some_and(|until| until > now)
    }

    fn has_missed(&self, address: IpAddr) -> bool {
        let missed = self.missed.borrow();
        if missed.is_empty() {
            return false;
        }
        let now = clock::now();
        let here = missed.get(&address).into_iter().flatten().any(|one| one.until > now);
        here || self.missed_elsewhere.get().is_some_and(|until| until > now)
    }

    fn leave(&self, waiter: &Waiter, held: Option<Box<dyn Any>>) {
        if waiter.gone.replace(true) {
            return;
        }
        if self.is_shared() {
            self.drain();
        }
        let peer = waiter.expected.peer;
        {
            let mut waiting = self.waiting.borrow_mut();
            if let Some(those) = waiting.get_mut(&peer) {
                those.retain(|one| one.number != waiter.number);
                if those.is_empty() {
                    waiting.remove(&peer);
                }
            }
        }
        self.count.set(self.count.get() - 1);
        let elsewhere = usize::from(waiter.expected.elsewhere);
        self.elsewhere.set(self.elsewhere.get() - elsewhere);
        let callers = waiter.callers.take();
        drop(callers);
        if self.count.get() == 0 {
            self.close();
        } else if waiter.given.get() == 0 {
            self.miss(&waiter.expected, held);
        }
    }

    fn close(&self) {
        self.open.set(false);
        self.listener.shut_down();
        // Outside the borrows: with the task go connections, and with what was missed what it held.
        let usher = self.usher.take();
        let missed = self.missed.take();
        drop((usher, missed));
    }

    /// The client of this session may still come.
    fn miss(&self, expected: &Expected, held: Option<Box<dyn Any>>) {
        let now = clock::now();
        let new = Missed {
            user: expected.user.clone(),
            tells: expected.tickets.is_some(),
            elsewhere: expected.elsewhere,
            until: now + MISSED_SPAN,
            _held: held,
        };
        if new.elsewhere {
            self.missed_elsewhere.set(Some(new.until));
        }
        let mut all = self.missed.borrow_mut();
        // Dropped outside the borrow: what they hold is given back.
        let mut over = Vec::new();
        if all.values().map(Vec::len).sum::<usize>() >= MISSED_PER_PORT_MAX {
            for those in all.values_mut() {
                over.extend(those.extract_if(.., |one| one.until <= now));
            }
            all.retain(|_, those| !those.is_empty());
            let oldest = all.iter().min_by_key(|(_, those)| those.first().map(|one| one.until));
            let full = all.values().map(Vec::len).sum::<usize>() >= MISSED_PER_PORT_MAX;
            if let Some(address) = oldest.map(|(address, _)| *address).filter(|_| full) {
                over.extend(all.remove(&address).into_iter().flatten());
            }
        }
        let those = all.entry(expected.peer).or_default();
        let replaced = |one: &Missed| one.user == new.user && one.tells == new.tells;
        over.extend(those.extract_if(.., |one| one.until <= now || replaced(one)));
        those.push(new);
        drop(all);
        drop(over);
    }
}

/// Accepts for the sessions that wait at a port, until that is closed.
async fn usher(
    gate: Weak<Inner>,
    listener: Listener,
    mut events: Mailbox<Event>,
    sender: MailboxSender<Event>,
) {
    work_for(number_of(&"passive ports"));
    // Those whose header or ClientHello is waited for, by number, the oldest first.
    let mut waiting: Vec<(u64, SocketAddr, Task<()>)> = Vec::new();
    loop {
        let event = {
            let mut starved = |_: &io::Error| {
                if let Some(gate) = gate.upgrade() {
                    gate.counters.passive_accept_pauses.increment();
                }
            };
            let accepted = async { Some(Event::Accepted(listener.accept(&mut starved).await)) };
            race(events.recv(), accepted).await
        };
        let Some(gate) = gate.upgrade() else { return };
        match event {
            Some(Event::Accepted(Some(stream))) => gate.accepted(stream),
            Some(Event::Unclear(stream, step)) => {
                let client = match &step {
                    Step::Header(_) => stream.peer_addr(),
                    Step::Hello(client, _) => *client,
                };
                gate.make_room(&mut waiting, client.ip());
                let entry = gate.undecided.enter();
                let number = entry.number();
                let task = spawn(look(stream, step, entry, sender.clone()));
                waiting.push((number, client, task));
            }
            Some(Event::Introduced(number, stream, client)) => {
                waiting.retain(|one| one.0 != number);
                match client {
                    Some(client) => gate.give_by_address(stream, client),
                    None => gate.counters.passive_strangers.increment(),
                }
            }
            Some(Event::Said(number, stream, client, said)) => {
                waiting.retain(|one| one.0 != number);
                gate.give_by_claim(stream, client, said);
            }
            Some(Event::Accepted(None)) | None => return,
        }
        drop(gate);
        yield_if_needed().await;
    }
}

/// Waits for what a connection says of itself.
async fn look(stream: Stream, step: Step, entry: Entry, events: MailboxSender<Event>) {
    let number = entry.number();
    let event = match step {
        Step::Header(proxies) => {
            let crowded_out = async {
                entry.crowded_out().await;
                None
            };
            let client = race(crowded_out, introduced(&proxies, &stream)).await;
            Event::Introduced(number, stream, client)
        }
        Step::Hello(client, patience) => {
            let said = listen(&stream, &entry, patience).await;
            Event::Said(number, stream, client, said)
        }
    };
    drop(entry);
    // Fails only when the port is closed, or there are more than a shard may have.
    let _ = events.send(event);
}

/// For whom a connection is, as far as a proxy has to say that.
async fn introduced(proxies: &Proxies, stream: &Stream) -> Option<SocketAddr> {
    match proxies.introduce(stream, clock::now() + HEADER_PATIENCE).await {
        Ok(Introduced::Nobody) => Some(stream.peer_addr()),
        Ok(Introduced::Client { source, .. }) => Some(source),
        Err(error) => {
            // Anybody can make these, as often as they like.
            tracing::debug!(peer = %stream.peer_addr(), %error, "data connection closed");
            None
        }
    }
}

/// A session's place at a port. Its connections go with it.
pub(crate) struct Place {
    gate: Gate,
    waiter: Rc<Waiter>,
}

impl Place {
    /// The client that it is for.
    pub(crate) fn peer(&self) -> IpAddr {
        self.waiter.expected.peer
    }

    /// The next connection for this session, if one is there. Connections from other addresses are
    /// closed and counted, or given to a task of the port; they, and other sessions at the port,
    /// clear `alone`.
    pub(super) async fn waiting(&self, alone: &mut bool) -> Option<Caller> {
        let inner = &self.gate.0;
        loop {
            if let Some(caller) = self.take(alone) {
                return Some(caller);
            }
            if inner.is_shared() {
                inner.drain();
                return self.take(alone);
            }
            let stream = inner.listener.accept_waiting()?;
            if let Some(caller) = self.admit(stream).await {
                return Some(caller);
            }
            *alone = false;
            yield_if_needed().await;
        }
    }

    /// As [`Place::waiting`], but returns only when there is one.
    pub(super) async fn next(&self, alone: &mut bool) -> Caller {
        let inner = &self.gate.0;
        let counters = &inner.counters;
        let mut starved = |_: &io::Error| counters.passive_accept_pauses.increment();
        loop {
            if let Some(caller) = self.take(alone) {
                return caller;
            }
            // First, for what comes from then on is the usher's to give.
            let news = async {
                self.waiter.news.notified().await;
                None
            };
            let accepted = async {
                if inner.is_shared() {
                    return std::future::pending().await;
                }
                match inner.listener.accept(&mut starved).await {
                    Some(stream) => Some(stream),
                    None => std::future::pending().await,
                }
            };
            let Some(stream) = race(news, accepted).await else { continue };
            if let Some(caller) = self.admit(stream).await {
                return caller;
            }
            *alone = false;
            yield_if_needed().await;
        }
    }

    fn take(&self, alone: &mut bool) -> Option<Caller> {
        if self.gate.is_shared() {
            *alone = false;
        }
        self.waiter.callers.borrow_mut().pop_front()
    }

    /// Accepted by the session itself.
    fn own(&self, stream: Stream) -> Caller {
        self.waiter.given.set(self.waiter.given.get() + 1);
        Caller { stream, heard: None }
    }

    /// The connection, if its address makes it the session's; if a ticket may, others look at it
    /// from here on. A proxy says for whom it is at once, so nobody waits long for another's
    /// header.
    async fn admit(&self, stream: Stream) -> Option<Caller> {
        let expected = &self.waiter.expected;
        let client = match &expected.proxies {
            None => Some(stream.peer_addr()),
            Some(proxies) => introduced(proxies, &stream).await,
        };
        match client {
            Some(client) if client.ip().to_canonical() == expected.peer => {
                return Some(self.own(stream));
            }
            Some(client) if expected.elsewhere => {
                self.gate.0.share();
                self.gate.0.look_closer(stream, Step::Hello(client, expected.patience));
            }
            _ => self.gate.0.counters.passive_strangers.increment(),
        }
        None
    }

    /// Further connections are refused rather than left waiting.
    pub(super) fn close(&self) {
        self.waiter.closed.set(true);
        if !self.gate.is_shared() {
            self.gate.0.listener.shut_down();
        }
    }

    /// Waits no longer; `held` is kept as long as the client may still come.
    pub(crate) fn leave(&self, held: Option<Box<dyn Any>>) {
        self.gate.0.leave(&self.waiter, held);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(None);
    }
}
