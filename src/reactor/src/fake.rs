//! A kernel that does whatever a kernel may do: it completes operations in any order, late, in
//! part, with any error, cancelled although they were done, or done although they were cancelled. A
//! seed decides. Time is virtual, so a run takes no longer than its work.
//!
//! It keeps books of what it has handed out and taken in, for the tests to compare theirs with.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::clock;
use crate::operation::{
    Completion, Descriptor, InFlight, Operation, Ring, RingCounters, Value, Wait,
};
use crate::slab::{Key, Slab};
use crate::testing::Random;

/// What the kernel has handed out and taken in.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// Octets received, and sent, by socket.
    pub(crate) received: RefCell<BTreeMap<RawFd, u64>>,
    pub(crate) sent: RefCell<BTreeMap<RawFd, u64>>,
    /// The far ends of all connections accepted, by number; see [`Books::is_open`].
    connections: RefCell<Vec<OwnedFd>>,
    /// A hash of all that happened.
    pub(crate) trace: Cell<u64>,
}

impl Books {
    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Whether somebody has the connection with this number.
    pub(crate) fn is_open(&self, number: usize) -> bool {
        let connections = self.connections.borrow();
        rustix::io::read(&connections[number], &mut [0; 1]) == Err(rustix::io::Errno::AGAIN)
    }

    /// What the octet at this place of a stream is. Its period is none of a block's.
    pub(crate) fn octet(place: u64) -> u8 {
        (place % 251).to_le_bytes()[0]
    }

    fn note(&self, what: u64) {
        let mixed = (self.trace.get() ^ what).wrapping_mul(0x100_0000_01b3);
        self.trace.set(mixed);
    }
}

/// An operation under way.
#[derive(Debug)]
struct Flight {
    waiter: Key,
    operation: Operation,
    cancelled: bool,
}

/// The kernel.
#[derive(Debug)]
pub(crate) struct FakeRing {
    random: RefCell<Random>,
    now: Cell<Instant>,
    in_flight: Slab<Flight>,
    found: VecDeque<Completion>,
    books: Rc<Books>,
    counters: RingCounters,
    /// It does not know how to accept many with one request.
    old: bool,
}

impl FakeRing {
    pub(crate) fn new(seed: u64, books: Rc<Books>) -> Self {
        let mut random = Random::new(seed);
        let old = random.one_in(4);
        Self {
            random: RefCell::new(random),
            now: Cell::new(clock::now()),
            in_flight: Slab::new(),
            found: VecDeque::new(),
            books,
            counters: RingCounters::default(),
            old,
        }
    }

    fn below(&self, end: u64) -> u64 {
        self.random.borrow_mut().below(end)
    }

    fn one_in(&self, times: u64) -> bool {
        self.random.borrow_mut().one_in(times)
    }

    /// A random one of those that can complete.
    fn choose(&self) -> Option<Key> {
        let able: Vec<Key> = self
            .in_flight
            .keys()
            .filter(|key| {
                let flight = self.in_flight.get(*key);
                flight.is_some_and(Flight::can_complete)
            })
            .collect();
        (!able.is_empty()).then(|| able[self.random.borrow_mut().index(able.len())])
    }

    fn complete(&mut self, key: Key) {
        let Some(flight) = self.in_flight.get_mut(key) else { return };
        let (waiter, cancelled) = (flight.waiter, flight.cancelled);
        let mut operation = std::mem::replace(&mut flight.operation, Operation::Nothing);
        let result = self.perform(&mut operation, cancelled);
        self.books.note(key.to_bits() ^ u64::from(result.is_ok()));
        let many = matches!(operation, Operation::Accept { many: true, .. });
        let goes_on = many && result.is_ok() && !self.one_in(8);
        let ended = match self.in_flight.get_mut(key) {
            Some(flight) if goes_on => {
                flight.operation = operation;
                None
            }
            _ => {
                self.in_flight.remove(key);
                Some(operation)
            }
        };
        self.found.push_back(Completion { waiter, result, ended });
        self.counters.completions += 1;
    }

    fn perform(&self, operation: &mut Operation, cancelled: bool) -> io::Result<Value> {
        const ERRORS: [i32; 6] =
            [libc::EIO, libc::ECONNRESET, libc::EMFILE, libc::EINTR, libc::ENOBUFS, libc::EAGAIN];
        let fails = |errno| Err(io::Error::from_raw_os_error(errno));
        // Done all the same once in three times: the cancellation came too late.
        if cancelled && !self.one_in(3) {
            return fails(libc::ECANCELED);
        }
        if self.one_in(10) {
            return fails(ERRORS[self.random.borrow_mut().index(ERRORS.len())]);
        }
        match operation {
            Operation::Accept { many: true, .. } if self.old => fails(libc::EINVAL),
            Operation::Accept { .. } => {
                let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let (far, near) = rustix::net::socketpair(family, kind, flags, None)?;
                self.books.connections.borrow_mut().push(far);
                Ok(Value::Connection(near))
            }
            Operation::Close { .. } => {
                *operation = Operation::Nothing;
                Ok(Value::Count(0))
            }
            Operation::Connect { .. } | Operation::Nothing => Ok(Value::Count(0)),
            Operation::Poll { .. } => Ok(Value::Count(1)),
            Operation::Read { block, part, position, .. } => {
                let part = block.part(part);
                let count = self.some(part.len());
                let places = position.unwrap_or_default()..;
                part[..count].iter_mut().zip(places).for_each(|(to, at)| *to = Books::octet(at));
                Ok(counted(count))
            }
            Operation::Receive { socket, block } => {
                let count = self.some(block.len()).max(1);
                let places = advance(&self.books.received, socket, count)..;
                block[..count].iter_mut().zip(places).for_each(|(to, at)| *to = Books::octet(at));
                Ok(counted(count))
            }
            Operation::Send { socket, block, part } => {
                let part = block.part(part);
                let count = self.some(part.len()).max(1);
                let places = advance(&self.books.sent, socket, count)..;
                let right = part.iter().zip(places).take(count);
                for (octet, at) in right {
                    assert_eq!(*octet, Books::octet(at), "an octet was sent twice, or left out");
                }
                Ok(counted(count))
            }
        }
    }

    /// All of it, or less.
    fn some(&self, most: usize) -> usize {
        if self.one_in(2) { most } else { self.random.borrow_mut().index(most + 1) }
    }
}

impl Flight {
    /// By itself: not the wait for another thread.
    fn can_complete(&self) -> bool {
        self.cancelled || !matches!(self.operation, Operation::Read { position: None, .. })
    }
}

fn counted(count: usize) -> Value {
    Value::Count(u32::try_from(count).unwrap())
}

/// Where the stream of the socket was before `count` octets more.
fn advance(streams: &RefCell<BTreeMap<RawFd, u64>>, socket: &Descriptor, count: usize) -> u64 {
    let mut streams = streams.borrow_mut();
    let place = streams.entry(socket.as_fd().as_raw_fd()).or_default();
    let before = *place;
    *place += count as u64;
    before
}

impl Ring for FakeRing {
    fn now(&self) -> Instant {
        // Whoever reads the clock has worked for a moment.
        let now = self.now.get() + Duration::from_nanos(self.below(20_000));
        self.now.set(now);
        now
    }

    fn start(&mut self, waiter: Key, operation: Operation) -> InFlight {
        self.counters.submissions += 1;
        InFlight(self.in_flight.insert(Flight { waiter, operation, cancelled: false }))
    }

    fn cancel(&mut self, InFlight(key): InFlight) {
        if let Some(flight) = self.in_flight.get_mut(key) {
            flight.cancelled |= flight.operation.is_cancellable();
        }
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.counters.enters += 1;
        self.now();
        while let Some(key) = self.choose().filter(|_| !self.one_in(3)) {
            self.complete(key);
        }
        if self.found.is_empty() && wait != Wait::Look {
            match (wait, self.choose()) {
                (Wait::Until(deadline), None) => self.now.set(deadline.max(self.now.get())),
                (Wait::Until(deadline), Some(_)) if self.one_in(3) => {
                    self.now.set(deadline.max(self.now.get()));
                }
                (_, Some(key)) => self.complete(key),
                (_, None) => panic!("asleep for ever: a wake was lost"),
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.found.pop_front()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn counters(&self) -> RingCounters {
        self.counters
    }
}
