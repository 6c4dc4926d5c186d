//! The ports of passive data connections. Each shard owns some of the configured range, so that a
//! data connection always reaches the shard of its control connection, and listens on no others;
//! which, is `range`'s, and how they come from shards that need them less, `exchange`'s. Decides
//! which port is free, and when none is, which of the open ones serves one session more (`shared`);
//! who may connect to it is decided in `session`, PASV and EPSV in `protocol`.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    rc::{Rc, Weak},
};

use super::debts::Debts;
use super::queue::PortQueue;
use super::random_below;
use super::range::Part;
use super::shares::{ShareExceeded, Shares};
use super::wants::{MOVING_ADDRESSES_MAX, Wants};
use crate::{
    connection::arrivals::{
        gate::{Expected, Gate, Place},
        undecided::Undecided,
    },
    limits::PASSIVE_PARKED_PER_SHARD_MAX,
    metrics::{Counters, Latencies},
    runtime::Listener,
    sys::host,
};

/// Connections in the backlog of a port: more than one, because a stranger's may come first.
pub(crate) const BACKLOG: i32 = 32;

/// Random ports tried before the kernel chooses.
const GUESSES_MAX: usize = 16;

/// Local addresses whose ports are kept apart. More are a host that takes whole networks for its
/// own; those at which nobody has a port are forgotten then.
const LOCAL_ADDRESSES_MAX: usize = 64;

/// Ports tried for one listener while other processes hold them; bounds the time of one PASV.
const ATTEMPTS_MAX: usize = 64;

/// The ports of the range at which sessions wait, by address and number.
pub(super) type OpenPorts = RefCell<BTreeMap<(IpAddr, u16), Weak<OpenPort>>>;

/// The ports of the range that this shard has, by local address.
type Parts = BTreeMap<IpAddr, Part>;

/// The passive ports of one shard. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct PassivePorts(Rc<Ports>);

impl PassivePorts {
    /// Begins with `range`, as [`split`](super::range::split) gave it out; without one, each port
    /// is any of those the kernel gives out.
    #[must_use]
    pub(crate) fn new(
        range: Option<RangeInclusive<u16>>,
        counters: Rc<Counters>,
        latencies: Rc<Latencies>,
    ) -> Self {
        let ephemeral = if range.is_none() { host::ephemeral_ports() } else { Vec::new() };
        Self(Rc::new(Ports {
            range,
            parts: RefCell::default(),
            wants: Wants::default(),
            debts: Debts::default(),
            open: OpenPorts::default(),
            undecided: Undecided::default(),
            queue: PortQueue::default(),
            ephemeral,
            shares: Shares::default(),
            parked: RefCell::default(),
            held: Cell::new(0),
            counters,
            latencies,
        }))
    }

    /// Listens on a random port [PASV-02] at the address of `local`, whose own port is ignored.
    pub(crate) fn open(&self, local: SocketAddr) -> Result<BoundPort, PassiveError> {
        let mut lease = Lease { ports: Rc::clone(&self.0), port: None };
        let (listener, lasting) = match &self.0.range {
            None => bind_ephemeral(local, &self.0.ephemeral)?,
            Some(_) => (lease.bind_one_of_range(local)?, true),
        };
        let address = listener.local_addr()?;
        self.counters().passive_opened.increment();
        self.0.held.set(self.0.held.get() + 1);
        Ok(BoundPort { address, listener, announced: 1, lasting, lease })
    }

    /// Closed ports that wait for their session's next transfer.
    pub(super) fn parked(&self) -> &RefCell<ParkedPorts> {
        &self.0.parked
    }

    /// The ports of the range at which sessions wait.
    pub(super) fn open_ports(&self) -> &OpenPorts {
        &self.0.open
    }

    /// Whether the ports are those of a range.
    pub(super) fn have_range(&self) -> bool {
        self.0.range.is_some()
    }

    /// How many of the range this shard has at this address; `None` without one.
    pub(super) fn size_at(&self, address: IpAddr) -> Option<usize> {
        let range = self.0.range.as_ref()?;
        Some(self.0.parts.borrow().get(&address).map_or(range.len(), Part::size))
    }

    /// What the sessions of this shard want others to give.
    pub(super) fn wants(&self) -> &Wants {
        &self.0.wants
    }

    /// What this shard owes to others.
    pub(super) fn debts(&self) -> &Debts {
        &self.0.debts
    }

    /// What this shard can spare at this address, for another one. A port that is parked is evicted
    /// for that, as it would be for a session of its own. The last one is kept, for sessions to
    /// share, unless there are fewer ports than shards.
    pub(super) fn give(&self, address: IpAddr) -> Vec<u16> {
        let kept = usize::from(!self.0.debts.is_scarce());
        loop {
            let given = self.0.spare(address, kept).unwrap_or_default();
            let needed = given.is_empty() && self.size_at(address) > Some(kept);
            let evict = || self.0.parked.borrow_mut().evict(address);
            // Bound to a variable so that it is dropped here, and gives its port back.
            let evicted = needed.then(evict).flatten();
            if evicted.is_none() {
                return given;
            }
        }
    }

    /// Takes what another shard has given. Gives back what it has no room for: where clients come
    /// to more local addresses than are kept apart.
    pub(super) fn receive(&self, address: IpAddr, given: Vec<u16>) -> Vec<u16> {
        if given.is_empty() {
            return given;
        }
        let mut parts = self.0.parts.borrow_mut();
        let Some(part) = self.0.part(&mut parts, address) else { return given };
        self.counters().passive_moved.add(given.len() as u64);
        part.receive(given);
        drop(parts);
        self.0.queue.freed_for_all();
        Vec::new()
    }

    /// Connections of which it is not known yet for which session they are.
    pub(super) fn undecided(&self) -> &Undecided {
        &self.0.undecided
    }

    /// How many of those there are.
    #[cfg(test)]
    pub(crate) fn undecided_count(&self) -> usize {
        self.0.undecided.len()
    }

    /// Sessions that wait for a port.
    pub(super) fn queue(&self) -> &PortQueue {
        &self.0.queue
    }

    /// The ports each user holds.
    pub(crate) fn shares(&self) -> &Shares {
        &self.0.shares
    }

    pub(super) fn counters(&self) -> &Rc<Counters> {
        &self.0.counters
    }

    pub(super) fn latencies(&self) -> &Rc<Latencies> {
        &self.0.latencies
    }

    /// How many ports there are in each state: announced and waiting for a connection, parked for
    /// the next transfer of a session, and of a configured range also those that rest and those
    /// that are free: of each address that clients connect to. (Where the data connection of a
    /// transfer has come, its port is none of them, or parked again.)
    pub(crate) fn by_state(&self) -> Vec<(&'static str, u64)> {
        let parked = self.0.parked.borrow().ports.len() as u64;
        let mut states = vec![("waiting", self.0.held.get() - parked), ("parked", parked)];
        if let Some(range) = &self.0.range {
            let parts = self.0.parts.borrow();
            let resting = parts.values().map(|part| part.resting() as u64).sum();
            let free = parts.values().map(|part| part.free() as u64).sum();
            let free = if parts.is_empty() { range.len() as u64 } else { free };
            states.extend([("resting", resting), ("free", free)]);
        }
        states
    }
}

/// A socket bound to a port of this shard; it may listen or not. Dropping it frees the port at
/// once; until then it costs a descriptor.
#[derive(Debug)]
pub(crate) struct BoundPort {
    pub(crate) address: SocketAddr,
    pub(crate) listener: Listener,
    /// How often the port was announced to a client.
    pub(crate) announced: u32,
    /// The socket keeps its port when it stops listening; a port chosen by the kernel is lost then.
    pub(crate) lasting: bool,
    lease: Lease,
}

impl Drop for BoundPort {
    fn drop(&mut self) {
        // A task may hold the descriptor for another turn; the port is free from here on.
        self.listener.shut_down();
        let held = &self.lease.ports.held;
        held.set(held.get() - 1);
        // Not with each lease: who tries ports that others have would tell itself for ever.
        self.lease.ports.queue.freed_for_all();
    }
}

/// A port at which sessions wait, or did until their connections came.
#[derive(Debug)]
pub(super) struct OpenPort {
    ports: PassivePorts,
    address: SocketAddr,
    gate: Gate,
    /// Its socket, until it is parked for the next transfer.
    bound: RefCell<Option<BoundPort>>,
}

impl OpenPort {
    /// Opens `bound` for one session.
    pub(super) fn new(
        ports: &PassivePorts,
        bound: BoundPort,
        expected: Expected,
    ) -> (Rc<Self>, Place) {
        let gate = Gate::new(bound.listener.clone(), ports.undecided(), ports.counters());
        let place = gate.join(expected);
        let (ports, address) = (ports.clone(), bound.address);
        let port = Rc::new(Self { ports, address, gate, bound: RefCell::new(Some(bound)) });
        if port.ports.have_range() {
            port.ports.open_ports().borrow_mut().insert(key_of(address), Rc::downgrade(&port));
        }
        (port, place)
    }

    /// The address that is listened on.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who waits there.
    pub(super) const fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Who waits for a port.
    pub(super) fn queue(&self) -> &PortQueue {
        self.ports.queue()
    }

    /// The socket, if the port served one session only.
    pub(super) fn into_unshared(self: Rc<Self>) -> Option<BoundPort> {
        if self.gate.is_shared() { None } else { self.bound.take() }
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let mut open = self.ports.open_ports().borrow_mut();
        let key = key_of(self.address);
        if open.get(&key).is_some_and(|port| port.strong_count() == 0) {
            open.remove(&key);
        }
    }
}

fn key_of(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip(), address.port())
}

/// The parked ports of all sessions of a shard, in the order they came.
#[derive(Debug, Default)]
pub(super) struct ParkedPorts {
    ports: BTreeMap<u64, BoundPort>,
    next: u64,
}

impl ParkedPorts {
    pub(super) fn add(&mut self, port: BoundPort) -> u64 {
        let id = self.next;
        self.next += 1;
        self.ports.insert(id, port);
        id
    }

    /// The port that was parked under `id`, unless it was evicted.
    pub(super) fn take(&mut self, id: u64) -> Option<BoundPort> {
        self.ports.remove(&id)
    }

    /// Whether no port is parked.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Evicts the port of this address that was parked first.
    pub(super) fn evict(&mut self, address: IpAddr) -> Option<BoundPort> {
        let mut those = self.ports.iter().filter(|(_, port)| port.address.ip() == address);
        let first = those.next().map(|(id, _)| *id)?;
        self.ports.remove(&first)
    }

    pub(super) fn evict_surplus(&mut self) -> Option<BoundPort> {
        let surplus = self.ports.len() > PASSIVE_PARKED_PER_SHARD_MAX;
        surplus.then(|| self.ports.pop_first()).flatten().map(|(_, port)| port)
    }
}

/// Why no passive port could be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassiveError {
    /// All ports that this shard could get are taken, and at each of its own waits somebody whose
    /// data connection could be taken for this session's, or other shards wait for it.
    #[error(
        "no passive port is free, and none can be shared: at each of the shard's waits a session \
         of this address that nothing tells from this one, or other shards are to have it next; \
         widen the passive port range"
    )]
    Exhausted,
    /// The rest of this shard's ports is kept for users who hold none.
    #[error("{0}; widen the passive port range")]
    Share(#[from] ShareExceeded),
    /// The socket could not be made.
    #[error("cannot open a passive port: {0}")]
    Io(#[from] io::Error),
}

impl PassiveError {
    /// Whether it may be otherwise in a moment: when others have their data connections.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(self, Self::Exhausted | Self::Share(_))
    }
}

#[derive(Debug)]
struct Ports {
    range: Option<RangeInclusive<u16>>,
    /// Of each local address that sessions came to.
    parts: RefCell<Parts>,
    wants: Wants,
    debts: Debts,
    open: OpenPorts,
    undecided: Undecided,
    queue: PortQueue,
    /// The kernel's range of ephemeral ports, for a server without a configured range.
    ephemeral: Vec<u16>,
    shares: Shares,
    parked: RefCell<ParkedPorts>,
    /// Those that are bound, parked ones included.
    held: Cell<u64>,
    counters: Rc<Counters>,
    latencies: Rc<Latencies>,
}

/// A port held by one listener; `None` when it is not of a configured range.
#[derive(Debug)]
struct Lease {
    ports: Rc<Ports>,
    port: Option<(IpAddr, u16)>,
}

impl Lease {
    /// Binds a random free port of the range. Ports that other processes hold are passed over.
    fn bind_one_of_range(&mut self, local: SocketAddr) -> Result<Listener, PassiveError> {
        let address = local.ip().to_canonical();
        // Each tried port is leased until the end, so that it is not drawn twice.
        let mut occupied = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let Some(port) = self.draw(address)? else { break };
            let lease = Self { ports: Rc::clone(&self.ports), port: Some((address, port)) };
            match bind(local, port) {
                Ok(listener) => {
                    *self = lease;
                    return Ok(listener);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => occupied.push(lease),
                Err(error) => return Err(error.into()),
            }
        }
        Err(PassiveError::Exhausted)
    }

    /// A random free port of this address; when there is none, the port parked first is evicted.
    fn draw(&self, address: IpAddr) -> io::Result<Option<u16>> {
        loop {
            let drawn = self.ports.draw(address)?;
            // Bound to a variable so that it is dropped here, and gives its port back.
            let evict = || self.ports.parked.borrow_mut().evict(address);
            let evicted = drawn.is_none().then(evict).flatten();
            if drawn.is_some() || evicted.is_none() {
                return Ok(drawn);
            }
        }
    }
}

impl Ports {
    /// The ports at this address; `None` if there are too many addresses, or no range.
    fn part<'a>(&self, parts: &'a mut Parts, address: IpAddr) -> Option<&'a mut Part> {
        let range = self.range.as_ref()?;
        if !parts.contains_key(&address) && parts.len() >= LOCAL_ADDRESSES_MAX {
            parts.retain(|_, part| !part.is_idle() || part.has_moved());
            if parts.len() >= LOCAL_ADDRESSES_MAX {
                return None;
            }
        }
        Some(parts.entry(address).or_insert_with(|| Part::new(range.clone())))
    }

    fn draw(&self, address: IpAddr) -> io::Result<Option<u16>> {
        let mut parts = self.parts.borrow_mut();
        self.part(&mut parts, address).map_or(Ok(None), Part::draw)
    }

    /// See [`PassivePorts::give`]. What has moved is not forgotten, so it moves at some addresses
    /// only.
    fn spare(&self, address: IpAddr, kept: usize) -> Option<Vec<u16>> {
        let mut parts = self.parts.borrow_mut();
        let moved = parts.values().filter(|part| part.has_moved()).count();
        let part = self.part(&mut parts, address)?;
        (part.has_moved() || moved < MOVING_ADDRESSES_MAX).then(|| part.give(kept))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some((address, port)) = self.port else { return };
        if let Some(part) = self.ports.parts.borrow_mut().get_mut(&address) {
            if self.ports.debts.pay(address, port) {
                part.lose();
            } else {
                part.release(port);
            }
        }
    }
}

/// A listening socket on a random port of `ephemeral`, and whether that was guessed. The kernel
/// chooses only when some guesses were taken: it searches through all ports in TIME_WAIT, which
/// after some thousand transfers took 2.7 ms of the shard's time (measured), where a guess takes
/// microseconds.
fn bind_ephemeral(local: SocketAddr, ephemeral: &[u16]) -> io::Result<(Listener, bool)> {
    for _ in 0..GUESSES_MAX.min(ephemeral.len()) {
        match bind(local, ephemeral[random_below(ephemeral.len())?]) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|listener| (listener, true)),
        }
    }
    bind(local, 0).map(|listener| (listener, false))
}

/// A listening socket on `local`'s address and `port`.
fn bind(local: SocketAddr, port: u16) -> io::Result<Listener> {
    let mut address = local;
    address.set_ip(local.ip().to_canonical());
    address.set_port(port);
    Listener::bind(address, BACKLOG)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::runtime::testing::on_shard;
    use std::{
        collections::BTreeSet,
        net::{Ipv4Addr, TcpListener},
    };

    pub(in crate::connection) const HERE: SocketAddr =
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 21);

    /// `count` neighbouring ports that nobody listens on, outside the range the kernel chooses
    /// from so that other tests do not get them.
    pub(in crate::connection) fn free_range(count: u16) -> RangeInclusive<u16> {
        let first = 2000 + u16::try_from(random_below(25_000).unwrap()).unwrap();
        let range = first..=first + count - 1;
        if range.clone().all(|port| bind(HERE, port).is_ok()) { range } else { free_range(count) }
    }

    /// A host with several addresses has all ports at each of them.
    #[test]
    fn ports_are_taken_at_one_local_address() {
        on_shard(|| async {
            let range = free_range(2);
            let ports = PassivePorts::new(Some(range), Rc::default(), Rc::default());
            let count = |state| {
                let states = ports.by_state();
                states.iter().find_map(|(name, count)| (*name == state).then_some(*count)).unwrap()
            };
            assert_eq!(count("free"), 2);
            let there = SocketAddr::from(([127, 0, 0, 2], 21));
            let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 21);
            let here: Vec<_> = [HERE, mapped].map(|local| ports.open(local).unwrap()).into();
            assert!(matches!(ports.open(HERE), Err(PassiveError::Exhausted)));
            let other: Vec<_> = [there; 2].map(|local| ports.open(local).unwrap()).into();
            assert!(matches!(ports.open(there), Err(PassiveError::Exhausted)));
            assert_eq!((count("waiting"), count("free")), (4, 0));
            drop((here, other));
            // So many that all cannot be kept.
            for last in 1..=250 {
                ports.open(SocketAddr::from(([127, 0, 1, last], 21))).unwrap();
            }
            assert!(ports.0.parts.borrow().len() <= LOCAL_ADDRESSES_MAX);
            assert!(count("free") + count("resting") <= 2 * LOCAL_ADDRESSES_MAX as u64);
        });
    }

    #[test]
    fn ports_of_other_processes_are_passed_over() {
        on_shard(|| async {
            let range = free_range(4);
            let others: Vec<_> = range
                .clone()
                .skip(1)
                .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap())
                .collect();
            let ports = PassivePorts::new(Some(range.clone()), Rc::default(), Rc::default());
            for _ in 0..10 {
                let passive = ports.open(HERE).unwrap();
                assert_eq!(passive.address.port(), *range.start());
                assert!(matches!(ports.open(HERE), Err(PassiveError::Exhausted)));
            }
            drop(others);
            let all: Vec<_> = (0..4).map(|_| ports.open(HERE).unwrap()).collect();
            let taken: BTreeSet<u16> = all.iter().map(|one| one.address.port()).collect();
            assert_eq!(taken, range.collect());
        });
    }
}
