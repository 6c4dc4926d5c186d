//! The ports of passive data connections: each shard owns a part of the configured range, so that
//! a data connection always reaches the shard of its control connection. Owns which port is free
//! and who may connect to it; PASV and EPSV themselves are `protocol`'s.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    rc::Rc,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    runtime::{Listener, Mailbox, MailboxSender, Stream, Task, mailbox, spawn, yield_if_needed},
    sys::{host, socket},
};

/// Connections waiting to be looked at. More than one, because a stranger's may come first.
const BACKLOG: i32 = 8;

/// Random ports tried before the kernel is asked.
const GUESSES_MAX: usize = 16;

/// Ports tried for one listener while other processes hold them; bounds the time of one PASV.
const ATTEMPTS_MAX: usize = 64;

/// The part of `range` that belongs to shard `shard_index` of `shard_count`: contiguous, disjoint
/// from the others, and all together the whole range. Sizes differ by at most one.
///
/// # Errors
///
/// [`RangeTooSmall`] when a shard would have no port.
///
/// # Panics
///
/// When `shard_index` is not below `shard_count`.
pub fn split(
    range: RangeInclusive<u16>,
    shard_index: usize,
    shard_count: usize,
) -> Result<RangeInclusive<u16>, RangeTooSmall> {
    assert!(shard_index < shard_count, "no such shard");
    let ports = range.len();
    if ports < shard_count {
        return Err(RangeTooSmall { ports, shards: shard_count });
    }
    let bound = |index: usize| -> u16 {
        // At most `ports` in value, which fits: a range has at most 65,536 ports, and its end is
        // never asked for as a beginning.
        u16::try_from(ports * index / shard_count).unwrap_or(u16::MAX)
    };
    let first = range.start() + bound(shard_index);
    let last = if shard_index + 1 == shard_count {
        *range.end()
    } else {
        range.start() + (bound(shard_index + 1) - 1)
    };
    Ok(first..=last)
}

/// The configured range cannot be shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the passive port range has {ports} ports for {shards} shards, and each needs one of its own; \
     widen the range or start fewer shards"
)]
pub struct RangeTooSmall {
    /// Ports in the range.
    pub ports: usize,
    /// Shards to serve.
    pub shards: usize,
}

/// The passive ports of one shard. Clones share them.
#[derive(Debug, Clone)]
pub struct PassivePorts(Rc<Ports>);

impl PassivePorts {
    /// Owns `range`, as [`split`] gave it out; without one, each port is any of those the kernel
    /// gives out.
    #[must_use]
    pub fn new(range: Option<RangeInclusive<u16>>) -> Self {
        let ephemeral = if range.is_none() { host::ephemeral_ports() } else { Vec::new() };
        Self(Rc::new(Ports {
            pool: range.map(|range| RefCell::new(Pool::new(range))),
            ephemeral,
            counts: Cell::default(),
        }))
    }

    /// Listens on a random port [PASV-02] of `local`'s address (its own port does not matter) for
    /// one connection from `allowed_peer`, the client of the control connection [PASV-04]. The
    /// port is free again when the listener is dropped.
    ///
    /// # Errors
    ///
    /// `PassiveError`, either kind answered with 425.
    pub fn listen(
        &self,
        local: SocketAddr,
        allowed_peer: IpAddr,
    ) -> Result<PassiveListener, PassiveError> {
        let mut lease = Lease { ports: Rc::clone(&self.0), port: None };
        let socket = match &self.0.pool {
            None => bind_ephemeral(local, &self.0.ephemeral)?,
            Some(pool) => lease.bind_one_of(local, pool)?,
        };
        let listener = Listener::adopt(socket)?;
        let address = listener.local_addr()?;
        let (sender, connection) = mailbox(1);
        let ports = Rc::clone(&self.0);
        let task = spawn(wait_for(listener.clone(), allowed_peer.to_canonical(), sender, ports));
        Ok(PassiveListener { address, listener, connection, _task: task, _lease: lease })
    }

    /// What has happened on this shard's ports since it started.
    #[must_use]
    pub fn counts(&self) -> PassiveCounts {
        self.0.counts.get()
    }
}

/// Counters of one shard's passive ports, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassiveCounts {
    /// PASV and EPSV refused because no port was left.
    pub exhausted: u64,
    /// Times the host had no descriptor or memory for a data connection that had arrived.
    pub starved: u64,
    /// Connections from elsewhere than the control connection's client, closed unread [PASV-05].
    pub strangers: u64,
}

/// A port waiting for one data connection. Dropping it frees the port at once; it costs one
/// descriptor, a second one while nothing has connected, and a task.
#[derive(Debug)]
pub struct PassiveListener {
    address: SocketAddr,
    listener: Listener,
    connection: Mailbox<Stream>,
    _task: Task<()>,
    _lease: Lease,
}

impl PassiveListener {
    /// Where the client is to connect, for the 227 or 229 reply.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first connection from the control connection's client, also when it came earlier.
    /// There is one for each listener: the port is closed to further ones [PASV-13], and a second
    /// call waits for ever. Bounded by the caller's deadline; may be dropped at any time.
    pub async fn connection(&mut self) -> Stream {
        match self.connection.recv().await {
            Some(stream) => stream,
            None => std::future::pending().await,
        }
    }
}

impl Drop for PassiveListener {
    fn drop(&mut self) {
        // The descriptor is closed a turn later, with the task; the port is free from here on.
        self.listener.shut_down();
    }
}

/// Why no passive port could be opened.
#[derive(Debug, thiserror::Error)]
pub enum PassiveError {
    /// All ports of this shard are taken.
    #[error("no passive port is free; widen the passive port range")]
    Exhausted,
    /// The socket could not be made.
    #[error("cannot open a passive port: {0}")]
    Io(#[from] io::Error),
}

/// The task behind a listener: strangers are closed and counted, the first good connection is
/// kept, and then the port closes.
async fn wait_for(
    listener: Listener,
    allowed_peer: IpAddr,
    connection: MailboxSender<Stream>,
    ports: Rc<Ports>,
) {
    let mut starved = |_: &io::Error| ports.count(|counts| counts.starved += 1);
    while let Some(stream) = listener.accept(&mut starved).await {
        if stream.peer_addr().ip().to_canonical() == allowed_peer {
            listener.shut_down();
            // Fails only when the listener is gone, and the connection goes with it.
            let _ = connection.send(stream);
            return;
        }
        ports.count(|counts| counts.strangers += 1);
        drop(stream);
        yield_if_needed().await;
    }
}

#[derive(Debug)]
struct Ports {
    pool: Option<RefCell<Pool>>,
    /// What the kernel would choose from, for when there is no pool.
    ephemeral: Vec<u16>,
    counts: Cell<PassiveCounts>,
}

impl Ports {
    fn count(&self, change: impl FnOnce(&mut PassiveCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

/// The ports of a range that no listener holds. `free` ones are drawn at random; a released one
/// rests until half of the range has been released after it, so that a late connection meant for
/// the last transfer does not meet the next one.
#[derive(Debug)]
struct Pool {
    free: Vec<u16>,
    resting: VecDeque<u16>,
    resting_max: usize,
}

impl Pool {
    fn new(range: RangeInclusive<u16>) -> Self {
        let free: Vec<u16> = range.collect();
        let resting_max = free.len() / 2;
        Self { free, resting: VecDeque::new(), resting_max }
    }

    fn draw(&mut self) -> io::Result<Option<u16>> {
        if self.free.is_empty() {
            return Ok(self.resting.pop_front());
        }
        let index = random_below(self.free.len())?;
        Ok(Some(self.free.swap_remove(index)))
    }

    fn release(&mut self, port: u16) {
        self.resting.push_back(port);
        if self.resting.len() > self.resting_max {
            self.free.extend(self.resting.pop_front());
        }
    }
}

/// A port held by one listener; `None` when it is of no range of ours.
#[derive(Debug)]
struct Lease {
    ports: Rc<Ports>,
    port: Option<u16>,
}

impl Lease {
    /// Binds a random free port of the pool. Ports that other processes hold are passed over.
    fn bind_one_of(
        &mut self,
        local: SocketAddr,
        pool: &RefCell<Pool>,
    ) -> Result<Socket, PassiveError> {
        // Each tried port is leased until the end, so that it is not drawn twice.
        let mut occupied = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            let Some(port) = pool.borrow_mut().draw()? else { break };
            let lease = Self { ports: Rc::clone(&self.ports), port: Some(port) };
            match bind(local, port) {
                Ok(socket) => {
                    *self = lease;
                    return Ok(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => occupied.push(lease),
                Err(error) => return Err(error.into()),
            }
        }
        self.ports.count(|counts| counts.exhausted += 1);
        Err(PassiveError::Exhausted)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(port), Some(pool)) = (self.port, &self.ports.pool) {
            pool.borrow_mut().release(port);
        }
    }
}

/// A listening socket on a random port of `ephemeral`. The kernel is asked to choose only when some
/// guesses were taken: its search is through all ports in TIME_WAIT, and after some thousand
/// transfers it took 2.7 ms of the shard's time (measured) where a guess takes microseconds.
fn bind_ephemeral(local: SocketAddr, ephemeral: &[u16]) -> io::Result<Socket> {
    for _ in 0..GUESSES_MAX.min(ephemeral.len()) {
        match bind(local, ephemeral[random_below(ephemeral.len())?]) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound,
        }
    }
    bind(local, 0)
}

/// A listening socket on `local`'s address and `port`.
fn bind(local: SocketAddr, port: u16) -> io::Result<Socket> {
    let mut address = local;
    address.set_ip(local.ip().to_canonical());
    address.set_port(port);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the last transfer on this port may be in TIME_WAIT. The option lets another
    // process bind the port too, but only one of us can listen: the other gets EADDRINUSE there.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket::set_nodelay(&socket)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// A uniform number below `bound`, which is not zero, from the kernel's generator.
fn random_below(bound: usize) -> io::Result<usize> {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    debug_assert_eq!(filled, bytes.len(), "small requests are never cut short");
    // Multiplying maps 2^32 values onto at most 2^16; no value is favoured by more than 2^-16.
    let scaled = (u64::from(u32::from_ne_bytes(bytes)) * bound as u64) >> 32;
    Ok(usize::try_from(scaled).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{
        poll_once,
        testing::{eventually, on_shard},
    };
    use std::{
        collections::BTreeSet,
        io::Read,
        net::{Ipv4Addr, TcpListener, TcpStream},
    };

    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 21);

    /// `count` neighbouring ports that nobody listens on, outside the range the kernel chooses
    /// from so that other tests do not get them.
    fn free_range(count: u16) -> RangeInclusive<u16> {
        let first = 2000 + u16::try_from(random_below(25_000).unwrap()).unwrap();
        let range = first..=first + count - 1;
        if range.clone().all(|port| bind(HERE, port).is_ok()) { range } else { free_range(count) }
    }

    fn connect_from(source: [u8; 4], target: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&target.into())?;
        Ok(socket.into())
    }

    #[test]
    fn parts_are_disjoint_complete_and_even() {
        for (range, shards) in [
            (50_000..=50_999, 7),
            (50_000..=50_002, 3),
            (1..=u16::MAX, 64),
            (0..=u16::MAX, 1),
            (0..=u16::MAX, 65_536),
            (1024..=1033, 4),
        ] {
            let parts: Vec<_> =
                (0..shards).map(|shard| split(range.clone(), shard, shards).unwrap()).collect();
            let all: Vec<u16> = parts.iter().cloned().flatten().collect();
            assert_eq!(all, range.clone().collect::<Vec<_>>(), "{range:?} among {shards}");
            let sizes = parts.iter().map(ExactSizeIterator::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
        assert_eq!(split(1..=3, 0, 4), Err(RangeTooSmall { ports: 3, shards: 4 }));
        #[expect(clippy::reversed_empty_ranges, reason = "what a wrong configuration gives")]
        let empty = 5..=4;
        assert_eq!(split(empty, 0, 1), Err(RangeTooSmall { ports: 0, shards: 1 }));
    }

    /// [PASV-02]
    #[test]
    fn ports_are_random_and_rest_before_they_come_again() {
        let mut pool = Pool::new(100..=199);
        let mut drawn = Vec::new();
        for _ in 0..1000 {
            let port = pool.draw().unwrap().unwrap();
            assert!((100..=199).contains(&port));
            drawn.push(port);
            pool.release(port);
        }
        for window in drawn.windows(50) {
            assert_eq!(window.iter().collect::<BTreeSet<_>>().len(), 50, "{window:?}");
        }
        let successors = drawn.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(successors < 100, "{successors} of 1000 follow the one before");
    }

    #[test]
    fn a_connection_comes_before_or_after_it_is_waited_for() {
        on_shard(|| async {
            let ports = PassivePorts::new(None);
            let mut early = ports.listen(HERE, HERE.ip()).unwrap();
            let client = TcpStream::connect(early.address()).unwrap();
            let stream = early.connection().await;
            assert_eq!(stream.peer_addr(), client.local_addr().unwrap());

            let mut late = ports.listen(HERE, HERE.ip()).unwrap();
            for _ in 0..5 {
                assert!(poll_once(late.connection()).await.is_none());
            }
            let client = TcpStream::connect(late.address()).unwrap();
            let stream = late.connection().await;
            assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
        });
    }

    /// [PASV-04] [PASV-05]: theft from another address; [PASV-13]: later connections.
    #[test]
    fn strangers_are_closed_and_later_ones_refused() {
        on_shard(|| async {
            let ports = PassivePorts::new(None);
            let mapped = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
            let mut passive = ports.listen(HERE, mapped).unwrap();
            let address = passive.address();
            for _ in 0..20 {
                let mut thief = connect_from([127, 0, 0, 2], address).unwrap();
                assert!(poll_once(passive.connection()).await.is_none());
                let reader = std::thread::spawn(move || thief.read(&mut [0; 1]).unwrap_or(0));
                assert!(eventually(|| reader.is_finished()).await);
                assert_eq!(reader.join().unwrap(), 0);
            }
            assert_eq!(ports.counts().strangers, 20);
            let client = connect_from([127, 0, 0, 1], address).unwrap();
            let stream = passive.connection().await;
            assert_eq!(stream.peer_addr(), client.local_addr().unwrap());
            let late = connect_from([127, 0, 0, 1], address).unwrap_err();
            assert_eq!(late.kind(), io::ErrorKind::ConnectionRefused);
            assert!(poll_once(passive.connection()).await.is_none());
        });
    }

    #[test]
    fn a_dropped_listener_frees_its_port_at_once() {
        on_shard(|| async {
            let range = free_range(1);
            let port = *range.start();
            let ports = PassivePorts::new(Some(range));
            for round in 0..20 {
                let mut passive = ports.listen(HERE, HERE.ip()).unwrap();
                assert_eq!(passive.address().port(), port);
                assert!(matches!(ports.listen(HERE, HERE.ip()), Err(PassiveError::Exhausted)));
                if round % 2 == 0 {
                    let _client = TcpStream::connect(passive.address()).unwrap();
                    passive.connection().await;
                } else {
                    assert!(poll_once(passive.connection()).await.is_none());
                }
                let address = passive.address();
                drop(passive);
                let error = TcpStream::connect(address).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            }
            assert_eq!(ports.counts().exhausted, 20);
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
            let ports = PassivePorts::new(Some(range.clone()));
            for _ in 0..10 {
                let passive = ports.listen(HERE, HERE.ip()).unwrap();
                assert_eq!(passive.address().port(), *range.start());
                assert!(matches!(ports.listen(HERE, HERE.ip()), Err(PassiveError::Exhausted)));
            }
            drop(others);
            let all: Vec<_> = (0..4).map(|_| ports.listen(HERE, HERE.ip()).unwrap()).collect();
            let taken: BTreeSet<u16> = all.iter().map(|one| one.address().port()).collect();
            assert_eq!(taken, range.collect());
        });
    }
}
