//! What the shards' ring would cost if it did otherwise: the kernel asked directly, over the crate
//! `io-uring`, without the reactor.
//!
//! - Round trips of 24 octets, as in `reactor_round_trip`: sessions waited for by polls, by
//!   receives into memory of their own, and by receives that go on and take buffers from one ring
//!   for all; answered by send(2), or by the ring with the next submission; by descriptor, or by
//!   its place in the ring's table.
//! - Octets sent to a socket on loopback, by copies and without.
//! - A word from one thread to another: an eventfd that a read of the ring waits for, or a message
//!   from ring to ring.
//!
//! Prints CPU time. benches/README.md says what was decided by it. Needs Linux 6.6.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]
#![allow(clippy::print_stdout, reason = "its report")]
#![allow(
    unsafe_code,
    reason = "what the reactor does not do has no safe way; no part of the server"
)]

mod support;

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{io, thread};

use io_uring::types::{BufRingEntry, Fd, Fixed};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ringftpd::sys::cpu;
use rustix::event::EventfdFlags;
use rustix::net::{RecvFlags, SendFlags};
use support::round_trips::{OCTETS, Server, compare, cpu_nanoseconds};

fn main() {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(6)) {
        return println!("Linux {release} has not all that is asked of it here");
    }
    round_trips();
    bulk();
    words();
}

/// How sessions are waited for and answered.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    input: Input,
    /// With the next submission, else at once.
    sends_by_ring: bool,
    registered: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Poll,
    Receive,
    Shared,
}

const WAYS: [Way; 7] = [
    way("poll, recv(2), send(2)", Input::Poll, false, false),
    way("the same, registered", Input::Poll, false, true),
    way("receive, send(2)", Input::Receive, false, false),
    way("shared buffers, send(2)", Input::Shared, false, false),
    way("poll, recv(2), ring sends", Input::Poll, true, false),
    way("shared buffers, ring sends", Input::Shared, true, false),
    way("the same, registered", Input::Shared, true, true),
];

const fn way(name: &'static str, input: Input, sends_by_ring: bool, registered: bool) -> Way {
    Way { name, input, sends_by_ring, registered }
}

fn round_trips() {
    let servers =
        WAYS.map(|way| move |listener, sessions| Shard::new(way, listener, sessions).serve());
    let named: Vec<Server<'_>> =
        WAYS.iter().zip(&servers).map(|(way, server)| (way.name, server as _)).collect();
    compare(&named);
}

/// A ring as the shards have it, with what does not fit.
struct Ring {
    ring: IoUring,
    backlog: VecDeque<squeue::Entry>,
    enters: u64,
}

impl Ring {
    fn new() -> Self {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(8 * 1024);
        Self { ring: builder.build(1024).unwrap(), backlog: VecDeque::new(), enters: 0 }
    }

    /// What the entry points to must stay until it has completed: all of it is owned by those who
    /// own the ring, declared behind it, so that the ring goes first.
    fn push(&mut self, entry: squeue::Entry) {
        self.backlog.push_back(entry);
    }

    /// Submits and waits, and returns what has completed.
    fn turn(&mut self) -> Vec<cqueue::Entry> {
        loop {
            let mut submission = self.ring.submission();
            while let Some(entry) = self.backlog.front() {
                // SAFETY: what the entry points to stays, see `push`.
                if unsafe { submission.push(entry) }.is_err() {
                    break;
                }
                self.backlog.pop_front();
            }
            drop(submission);
            self.enters += 1;
            self.ring.submit_and_wait(usize::from(self.backlog.is_empty())).unwrap();
            let found: Vec<_> = self.ring.completion().collect();
            if !found.is_empty() {
                return found;
            }
        }
    }
}

/// Where a session is within `Shard`, and the sign of an answer that was sent.
const SENT: u64 = 1 << 32;

/// Group of the buffers for all.
const GROUP: u16 = 0;

struct Shard {
    ring: Ring,
    way: Way,
    sockets: Vec<OwnedFd>,
    /// A place for each session's question and answer.
    places: Vec<[u8; OCTETS]>,
    buffers: Buffers,
}

impl Shard {
    fn new(way: Way, listener: TcpListener, sessions: usize) -> Self {
        cpu::pin_current_thread(cpu::available()[0]).unwrap();
        let sockets: Vec<OwnedFd> =
            (0..sessions).map(|_| listener.accept().unwrap().0.into()).collect();
        let ring = Ring::new();
        if way.registered {
            let table: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
            ring.ring.submitter().register_files(&table).unwrap();
        }
        let mut buffers = Buffers::new();
        if way.input == Input::Shared {
            buffers.register(&ring.ring);
        }
        let places = vec![[0; OCTETS]; sessions];
        Self { ring, way, sockets, places, buffers }
    }

    fn serve(mut self) -> (u64, Option<u64>) {
        (0..self.sockets.len()).for_each(|session| self.wait_for(session));
        let (before, calls) = (cpu_nanoseconds(), self.ring.enters);
        let mut open = self.sockets.len();
        while open > 0 {
            for entry in self.ring.turn() {
                open -= usize::from(self.has_ended(&entry));
            }
        }
        (cpu_nanoseconds() - before, Some(self.ring.enters - calls))
    }

    /// Takes one step of a session.
    fn has_ended(&mut self, entry: &cqueue::Entry) -> bool {
        if entry.user_data() & SENT != 0 {
            assert_eq!(usize::try_from(entry.result()).unwrap(), OCTETS);
            return false;
        }
        let session = usize::try_from(entry.user_data()).unwrap();
        let mut count = entry.result();
        match self.way.input {
            Input::Poll => {
                let place = &mut self.places[session][..];
                let read = rustix::net::recv(&self.sockets[session], place, RecvFlags::DONTWAIT);
                count = i32::try_from(read.map_or(0, |(count, _)| count)).unwrap();
            }
            Input::Receive => {}
            Input::Shared => {
                if let Some(id) = cqueue::buffer_select(entry.flags()) {
                    self.places[session].copy_from_slice(&self.buffers.octets[usize::from(id)]);
                    self.buffers.give_back(id);
                }
            }
        }
        if count <= 0 {
            return true;
        }
        self.answer(session);
        if self.way.input != Input::Shared || !cqueue::more(entry.flags()) {
            self.wait_for(session);
        }
        false
    }

    fn wait_for(&mut self, session: usize) {
        let (fd, fixed) = self.descriptor(session);
        let place = self.places[session].as_mut_ptr();
        let octets = u32::try_from(OCTETS).unwrap();
        let events = u32::from(libc::POLLIN.unsigned_abs());
        let entry = match (self.way.input, fixed) {
            (Input::Poll, None) => opcode::PollAdd::new(fd, events).build(),
            (Input::Poll, Some(fixed)) => opcode::PollAdd::new(fixed, events).build(),
            (Input::Receive, None) => opcode::Recv::new(fd, place, octets).build(),
            (Input::Receive, Some(fixed)) => opcode::Recv::new(fixed, place, octets).build(),
            (Input::Shared, None) => opcode::RecvMulti::new(fd, GROUP).build(),
            (Input::Shared, Some(fixed)) => opcode::RecvMulti::new(fixed, GROUP).build(),
        };
        self.ring.push(entry.user_data(session as u64));
    }

    fn answer(&mut self, session: usize) {
        let place = &self.places[session];
        if !self.way.sends_by_ring {
            rustix::net::send(&self.sockets[session], &place[..], SendFlags::DONTWAIT).unwrap();
            return;
        }
        let (octets, length) = (place.as_ptr(), u32::try_from(OCTETS).unwrap());
        let entry = match self.descriptor(session) {
            (_, Some(fixed)) => opcode::Send::new(fixed, octets, length).build(),
            (fd, None) => opcode::Send::new(fd, octets, length).build(),
        };
        self.ring.push(entry.user_data(session as u64 | SENT));
    }

    fn descriptor(&self, session: usize) -> (Fd, Option<Fixed>) {
        let place = u32::try_from(session).unwrap();
        let fd = Fd(self.sockets[session].as_raw_fd());
        (fd, self.way.registered.then_some(Fixed(place)))
    }
}

/// Buffers for whoever receives next, and the ring by which the kernel is given them.
struct Buffers {
    entries: Box<[Page]>,
    octets: Vec<[u8; OCTETS]>,
    tail: u16,
}

/// As the kernel wants the ring to lie.
#[repr(align(4096))]
#[derive(Clone)]
struct Page {
    _octets: [u8; 4096],
}

const BUFFERS: u16 = 1024;

impl Buffers {
    fn new() -> Self {
        let pages = usize::from(BUFFERS) * size_of::<BufRingEntry>() / size_of::<Page>();
        let entries = vec![Page { _octets: [0; 4096] }; pages].into_boxed_slice();
        Self { entries, octets: vec![[0; OCTETS]; usize::from(BUFFERS)], tail: 0 }
    }

    fn register(&mut self, ring: &IoUring) {
        let address = self.entries.as_ptr().addr() as u64;
        // SAFETY: the memory is aligned, has room for this many entries, and stays longer than the
        // ring, by the order of the fields of `Shard`.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0) }
            .unwrap();
        (0..BUFFERS).for_each(|id| self.give_back(id));
    }

    fn give_back(&mut self, id: u16) {
        let address = self.octets[usize::from(id)].as_mut_ptr().expose_provenance() as u64;
        let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: the index is within the ring. The kernel looks at no entry from the tail on, and
        // at this one when the tail has been stored.
        unsafe {
            let entry = &mut *base.add(usize::from(self.tail % BUFFERS));
            entry.set_addr(address);
            entry.set_len(u32::try_from(OCTETS).unwrap());
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(base).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Server's CPU time per GB that is sent in pieces of these sizes.
fn bulk() {
    let (total, rounds) = (support::size(4 << 20, 2 << 30), support::size(1, 5));
    println!("octets sent                   at a time  median s/GB  least");
    for piece in [16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let mut results = [const { Vec::new() }; 2];
        for _ in 0..rounds {
            for (copies, results) in [true, false].into_iter().zip(&mut results) {
                results.push(send_all(copies, piece, total / piece));
            }
        }
        for (name, mut results) in ["copied", "not copied"].into_iter().zip(results) {
            results.sort_by(f64::total_cmp);
            let (median, least) = (results[results.len() / 2], results[0]);
            println!("{name:28}  {piece:9}  {median:11.3}  {least:5.3}");
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a report of three digits")]
fn send_all(copies: bool, piece: usize, count: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    let receiver = thread::spawn(move || {
        cpu::pin_current_thread(*cpu::available().last().unwrap()).unwrap();
        // Dropped by the kernel, not copied.
        let mut nothing = vec![0; 1 << 20];
        while rustix::net::recv(&client, &mut nothing[..], RecvFlags::TRUNC).unwrap().1 > 0 {}
    });
    cpu::pin_current_thread(cpu::available()[0]).unwrap();
    let mut ring = Ring::new();
    let octets = vec![0x5a_u8; piece];
    let (fd, length) = (Fd(socket.as_raw_fd()), u32::try_from(piece).unwrap());
    let before = cpu_nanoseconds();
    for _ in 0..count {
        ring.push(if copies {
            opcode::Send::new(fd, octets.as_ptr(), length).flags(libc::MSG_WAITALL).build()
        } else {
            opcode::SendZc::new(fd, octets.as_ptr(), length).flags(libc::MSG_WAITALL).build()
        });
        // Without a copy there is a second completion, when the memory may be used again.
        let mut last = false;
        while !last {
            for entry in ring.turn() {
                let sent = usize::try_from(entry.result()).unwrap();
                assert!(cqueue::notif(entry.flags()) || sent == piece, "{sent} of {piece}");
                last = !cqueue::more(entry.flags());
            }
        }
    }
    let used = cpu_nanoseconds() - before;
    drop(socket);
    receiver.join().unwrap();
    used as f64 / (piece * count) as f64
}

/// How a thread that waits in its ring is told of something.
#[derive(Clone, Copy)]
enum Telling {
    Event,
    Message,
}

fn words() {
    let (count, rounds) = (support::size(100, 50_000), support::size(1, 5));
    println!("words between two threads     median us, both  least");
    for (name, telling) in [("eventfd", Telling::Event), ("ring to ring", Telling::Message)] {
        let mut results: Vec<f64> = (0..rounds).map(|_| tell(telling, count)).collect();
        results.sort_by(f64::total_cmp);
        println!("{name:28}  {:15.2}  {:5.2}", results[results.len() / 2], results[0]);
    }
}

/// Two threads, each of which tells the other as soon as it has been told: CPU time of both, in
/// microseconds a word.
#[expect(clippy::cast_precision_loss, reason = "a report of three digits")]
fn tell(telling: Telling, count: usize) -> f64 {
    let (first_ready, second_is) = std::sync::mpsc::channel();
    let (second_ready, first_is) = std::sync::mpsc::channel();
    let [first, second] = [0, 1].map(|index| {
        let cpus = cpu::available();
        if index == 0 { cpus[0] } else { *cpus.last().unwrap() }
    });
    let other = thread::spawn(move || {
        cpu::pin_current_thread(second).unwrap();
        Teller::new(telling, &second_ready, &second_is).take_turns(false, count)
    });
    let own = thread::spawn(move || {
        cpu::pin_current_thread(first).unwrap();
        Teller::new(telling, &first_ready, &first_is).take_turns(true, count)
    });
    let used = own.join().unwrap() + other.join().unwrap();
    used as f64 / 1e3 / (2 * count) as f64
}

/// One of the two.
struct Teller {
    ring: Ring,
    telling: Telling,
    event: OwnedFd,
    /// The other's ring and event; they stay open until both have ended.
    ring_of_other: RawFd,
    event_of_other: RawFd,
    read: Box<[u8; 8]>,
}

const TOLD: u64 = 1;
const HAS_TOLD: u64 = 2;

impl Teller {
    fn new(
        telling: Telling,
        ready: &std::sync::mpsc::Sender<(RawFd, RawFd)>,
        other: &std::sync::mpsc::Receiver<(RawFd, RawFd)>,
    ) -> Self {
        let ring = Ring::new();
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        ready.send((ring.ring.as_raw_fd(), event.as_raw_fd())).unwrap();
        let (ring_of_other, event_of_other) = other.recv().unwrap();
        Self { ring, telling, event, ring_of_other, event_of_other, read: Box::new([0; 8]) }
    }

    fn take_turns(mut self, first: bool, count: usize) -> u64 {
        let before = cpu_nanoseconds();
        self.listen();
        if first {
            self.say();
        }
        let mut heard = 0;
        while heard < count {
            for entry in self.ring.turn() {
                assert!(entry.result() >= 0, "{}", io::Error::from_raw_os_error(-entry.result()));
                if entry.user_data() == TOLD {
                    heard += 1;
                    if heard < count {
                        self.listen();
                    }
                    if !first || heard < count {
                        self.say();
                    }
                }
            }
        }
        // What was said last is submitted, and the other has it before this end is closed.
        self.ring.push(opcode::Nop::new().build());
        self.ring.turn();
        cpu_nanoseconds() - before
    }

    fn listen(&mut self) {
        if matches!(self.telling, Telling::Event) {
            let fd = Fd(self.event.as_raw_fd());
            let entry = opcode::Read::new(fd, self.read.as_mut_ptr(), 8).build();
            self.ring.push(entry.user_data(TOLD));
        }
    }

    fn say(&mut self) {
        match self.telling {
            Telling::Event => {
                // SAFETY: the descriptor is open as long as its owner waits for a word.
                let event = unsafe { BorrowedFd::borrow_raw(self.event_of_other) };
                rustix::io::write(event, &1_u64.to_ne_bytes()).unwrap();
            }
            Telling::Message => {
                let other = Fd(self.ring_of_other);
                let entry = opcode::MsgRingData::new(other, 0, TOLD, None).build();
                self.ring.push(entry.user_data(HAS_TOLD));
            }
        }
    }
}
