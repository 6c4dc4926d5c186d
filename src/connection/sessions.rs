//! The sessions of one shard, as an operator lists them and ends them. What each does is noted here
//! when its task begins to wait; nobody asks a session.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock;
use crate::limits::SESSIONS_PER_PART_MAX;
use crate::protocol::session::{Activity, Mode};
use crate::runtime::{Flag, LogOf, SessionId, log_user};

/// All sessions of a shard, from the accept to the last reply.
#[derive(Debug)]
pub struct Sessions {
    shard: usize,
    /// The greatest number given.
    last: Cell<u64>,
    all: RefCell<BTreeMap<u64, Rc<Entry>>>,
    /// Sessions that were told to end and are there yet.
    leaving: Cell<usize>,
}

#[derive(Debug)]
struct Entry {
    peer: SocketAddr,
    mode: Mode,
    since: Instant,
    user: RefCell<Option<String>>,
    tls: Cell<Option<&'static str>>,
    activity: Cell<(Activity, Instant)>,
    transfer: RefCell<Option<Moving>>,
    end: Flag,
}

/// A transfer in progress.
#[derive(Debug)]
struct Moving {
    direction: Direction,
    path: Vec<u8>,
    octets: Rc<Cell<u64>>,
    size: Cell<Option<u64>>,
}

/// Which way the octets of a transfer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A file to the client.
    Download,
    /// A file from the client.
    Upload,
    /// A directory to the client.
    Listing,
}

/// One session, as it was when the shard was asked.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// Its name.
    pub id: SessionId,
    /// The client's end of its control connection.
    pub peer: SocketAddr,
    /// The port that it came to.
    pub mode: Mode,
    /// Who is logged in.
    pub user: Option<String>,
    /// Version of TLS on the control connection; `None` in the clear.
    pub tls: Option<&'static str>,
    /// Since the connection was accepted.
    pub age: Duration,
    /// What it does.
    pub activity: Activity,
    /// For how long it has done that: since the last command or answer. While a transfer runs,
    /// since the 150.
    pub lasting: Duration,
    /// What is moved, if that is a transfer.
    pub transfer: Option<TransferFacts>,
}

/// A transfer, as it was when the shard was asked.
#[derive(Clone, Debug)]
pub struct TransferFacts {
    /// Which way.
    pub direction: Direction,
    /// File or directory: a pathname as the user sees it, any octets.
    pub path: Vec<u8>,
    /// Octets of the file or listing so far.
    pub octets: u64,
    /// How many there will be: of a file that is sent as it is, what is left of it from the restart
    /// marker on; of an upload, what the client has announced (ALLO).
    pub size: Option<u64>,
}

/// Whose sessions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This one.
    Session(SessionId),
    /// Those that this user is logged in on.
    User(String),
    /// Those from this network: an address, and how many of its first bits count.
    Network(IpAddr, u8),
}

/// What came of one part of a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kicked {
    /// Sessions that were told to end.
    pub told: usize,
    /// Where the next part begins; `None` when there is none.
    pub next: Option<u64>,
}

impl Sessions {
    pub(crate) fn new(shard: usize) -> Self {
        Self { shard, last: Cell::new(0), all: RefCell::default(), leaving: Cell::new(0) }
    }

    /// The number of the shard.
    #[must_use]
    pub const fn shard(&self) -> usize {
        self.shard
    }

    /// Enters a session, for as long as the result lives.
    pub(crate) fn enter(self: &Rc<Self>, peer: SocketAddr, mode: Mode) -> Listed {
        let (now, number) = (clock::now(), self.last.get() + 1);
        self.last.set(number);
        let entry = Rc::new(Entry {
            peer,
            mode,
            since: now,
            user: RefCell::default(),
            tls: Cell::new(None),
            activity: Cell::new((Activity::Idle, now)),
            transfer: RefCell::default(),
            end: Flag::new(),
        });
        self.all.borrow_mut().insert(number, entry.clone());
        Listed { sessions: self.clone(), number, entry }
    }

    /// The sessions with numbers above `after`, in their order; not more than
    /// [`SESSIONS_PER_PART_MAX`], so that a shard with thousands is not held up. Fewer are the
    /// last.
    #[must_use]
    pub fn part(&self, after: u64) -> Vec<SessionFacts> {
        let now = clock::now();
        let all = self.all.borrow();
        let range = all.range((Bound::Excluded(after), Bound::Unbounded));
        let facts = |(&number, entry): (&u64, &Rc<Entry>)| {
            entry.facts(SessionId { shard: self.shard, number }, now)
        };
        range.take(SESSIONS_PER_PART_MAX).map(facts).collect()
    }

    /// Tells sessions to end, of those with numbers above `after` as many as [`Sessions::part`]
    /// lists.
    #[must_use]
    pub fn kick(&self, whom: &Whom, after: u64) -> Kicked {
        let all = self.all.borrow();
        if let Whom::Session(id) = whom {
            let entry = all.get(&id.number).filter(|_| id.shard == self.shard);
            entry.inspect(|entry| self.tell(entry));
            return Kicked { told: usize::from(entry.is_some()), next: None };
        }
        let mut looked_at = 0;
        let mut last = after;
        let mut told = 0;
        let range = all.range((Bound::Excluded(after), Bound::Unbounded));
        for (&number, entry) in range.take(SESSIONS_PER_PART_MAX) {
            (looked_at, last) = (looked_at + 1, number);
            if entry.is_meant(whom) {
                self.tell(entry);
                told += 1;
            }
        }
        Kicked { told, next: (looked_at == SESSIONS_PER_PART_MAX).then_some(last) }
    }

    /// How many of those that were told to end are there yet.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.leaving.get()
    }

    fn tell(&self, entry: &Entry) {
        if !entry.end.is_set() {
            self.leaving.set(self.leaving.get() + 1);
            entry.end.set();
        }
    }
}

impl Entry {
    fn facts(&self, id: SessionId, now: Instant) -> SessionFacts {
        let (activity, since) = self.activity.get();
        let transfer = self.transfer.borrow();
        let moving = transfer.as_ref().filter(|_| matches!(activity, Activity::Transfer(_)));
        SessionFacts {
            id,
            peer: self.peer,
            mode: self.mode,
            user: self.user.borrow().clone(),
            tls: self.tls.get(),
            age: now.saturating_duration_since(self.since),
            activity,
            lasting: now.saturating_duration_since(since),
            transfer: moving.map(|moving| TransferFacts {
                direction: moving.direction,
                path: moving.path.clone(),
                octets: moving.octets.get(),
                size: moving.size.get(),
            }),
        }
    }

    fn is_meant(&self, whom: &Whom) -> bool {
        match whom {
            Whom::Session(_) => false,
            Whom::User(name) => self.user.borrow().as_ref() == Some(name),
            Whom::Network(address, bits) => is_in(self.peer.ip(), *address, *bits),
        }
    }
}

/// Whether the first `bits` of both are the same. An address of IPv4 is one, however its socket has
/// it.
fn is_in(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |differing: u32| differing >= bits.into();
    match (address.to_canonical(), network.to_canonical()) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            same((one.to_bits() ^ other.to_bits()).leading_zeros())
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            same((one.to_bits() ^ other.to_bits()).leading_zeros())
        }
        _ => false,
    }
}

/// A session that is entered, until this is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    sessions: Rc<Sessions>,
    number: u64,
    entry: Rc<Entry>,
}

impl Listed {
    /// What the log says of it.
    pub(crate) fn log_of(&self) -> LogOf {
        let session = SessionId { shard: self.sessions.shard, number: self.number };
        let user = self.entry.user.borrow().as_deref().map(Arc::from);
        LogOf { session, peer: self.entry.peer, user }
    }

    /// Also for the log, from here on.
    pub(crate) fn note_user(&self, user: Option<&str>) {
        log_user(SessionId { shard: self.sessions.shard, number: self.number }, user);
        *self.entry.user.borrow_mut() = user.map(str::to_owned);
    }

    pub(crate) fn note_tls(&self, version: Option<&'static str>) {
        self.entry.tls.set(version);
    }

    pub(crate) fn note_activity(&self, activity: Activity, since: Instant) {
        self.entry.activity.set((activity, since));
    }

    /// A transfer begins: `octets` is what has moved of it.
    pub(crate) fn note_transfer(&self, direction: Direction, path: &[u8], octets: Rc<Cell<u64>>) {
        let (path, size) = (path.to_vec(), Cell::new(None));
        *self.entry.transfer.borrow_mut() = Some(Moving { direction, path, octets, size });
    }

    /// How many octets the transfer will have moved at its end.
    pub(crate) fn note_size(&self, size: u64) {
        if let Some(moving) = &*self.entry.transfer.borrow() {
            moving.size.set(Some(size));
        }
    }

    pub(crate) fn note_no_transfer(&self) {
        *self.entry.transfer.borrow_mut() = None;
    }

    /// Since the accept.
    pub(crate) fn age(&self) -> Duration {
        clock::now().saturating_duration_since(self.entry.since)
    }

    /// Set when an operator wants the session to end.
    pub(crate) fn end(&self) -> &Flag {
        &self.entry.end
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.sessions.all.borrow_mut().remove(&self.number);
        if self.entry.end.is_set() {
            self.sessions.leaving.set(self.sessions.leaving.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(sessions: &Rc<Sessions>, address: &str) -> Listed {
        sessions.enter(SocketAddr::new(address.parse().unwrap(), 4711), Mode::Implicit)
    }

    #[test]
    fn all_are_listed_in_parts_and_no_number_comes_twice() {
        let sessions = Rc::new(Sessions::new(3));
        let many = SESSIONS_PER_PART_MAX * 2 + 1;
        let mut listed: Vec<_> = (0..many).map(|_| enter(&sessions, "192.0.2.1")).collect();
        let (mut seen, mut after) = (Vec::new(), 0);
        loop {
            let part = sessions.part(after);
            assert!(part.len() <= SESSIONS_PER_PART_MAX);
            after = part.last().map_or(after, |last| last.id.number);
            seen.extend(part.iter().map(|facts| facts.id));
            if part.len() < SESSIONS_PER_PART_MAX {
                break;
            }
        }
        let wanted = (1..).map(|number| SessionId { shard: 3, number });
        assert_eq!(seen, wanted.take(many).collect::<Vec<_>>());
        listed.clear();
        assert!(sessions.part(0).is_empty());
        let new = enter(&sessions, "192.0.2.1").log_of().session;
        assert_eq!(usize::try_from(new.number), Ok(many + 1));
    }

    #[test]
    fn those_that_are_meant_are_told_and_waited_for() {
        let sessions = Rc::new(Sessions::new(0));
        let mut listed: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.9", "192.0.3.1", "2001:db8::1"]
            .map(|address| enter(&sessions, address))
            .into();
        listed[2].note_user(Some("alice"));
        let told = |whom: Whom| sessions.kick(&whom, 0).told;
        let network = |text: &str, bits| told(Whom::Network(text.parse().unwrap(), bits));
        assert_eq!(told(Whom::User("bob".to_owned())), 0);
        assert_eq!(told(Whom::Session(SessionId { shard: 1, number: 1 })), 0);
        assert_eq!(network("192.0.4.1", 24), 0);
        assert_eq!((sessions.leaving(), listed[0].end().is_set()), (0, false));
        assert_eq!(network("192.0.2.255", 24), 2);
        assert_eq!(told(Whom::User("alice".to_owned())), 1);
        // Again: they are there yet, and counted once.
        assert_eq!(network("0.0.0.0", 0), 3);
        assert_eq!(sessions.leaving(), 3);
        assert_eq!(network("2001:db8:ffff::", 33), 0);
        assert_eq!(network("2001:db8:ffff::", 32), 1);
        assert_eq!(told(Whom::Session(SessionId { shard: 0, number: 1 })), 1);
        assert_eq!(sessions.leaving(), 4);
        listed.truncate(1);
        assert_eq!(sessions.leaving(), 1);
    }

    #[test]
    fn a_kick_of_many_comes_in_parts() {
        let sessions = Rc::new(Sessions::new(0));
        let many = SESSIONS_PER_PART_MAX + 5;
        let listed: Vec<_> = (0..many).map(|_| enter(&sessions, "192.0.2.1")).collect();
        let whom = Whom::Network("192.0.2.1".parse().unwrap(), 32);
        let first = sessions.kick(&whom, 0);
        assert_eq!(first.told, SESSIONS_PER_PART_MAX);
        let rest = sessions.kick(&whom, first.next.unwrap());
        assert_eq!(rest, Kicked { told: 5, next: None });
        assert!(listed.iter().all(|listed| listed.end().is_set()));
    }
}
