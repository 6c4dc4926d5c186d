//! The kernel's ring, and the only `unsafe` of this crate. Knows no task.
//!
//! What the kernel may write to or read from after a call returned is owned by
//! [`KernelRing::in_flight`] until the completion is here: memory on the heap that does not move
//! with its owner ([`Block`], a boxed address), and descriptors. Nothing outside this module can
//! take it away. When the ring ends with operations that the kernel does not give back, what they
//! own is leaked.
//!
//! [`Block`]: crate::block::Block

#![allow(unsafe_code, reason = "the one audited place; every block has its SAFETY line")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode, squeue};

use crate::clock;
use crate::operation::{
    Completion, Descriptor, InFlight, Interest, Operation, Ring, RingCounters, Value, Wait,
};
use crate::refusal::{Level, Refusal};
use crate::slab::{Key, Slab};

/// A ring of the calling thread, which alone may use it.
pub(crate) struct KernelRing {
    ring: IoUring,
    /// Operations and their waiters. The keys are what the kernel hands back with a completion.
    in_flight: Slab<(Key, Operation)>,
    /// What did not fit into the submission queue, in order.
    backlog: VecDeque<squeue::Entry>,
    found: VecDeque<Completion>,
    counters: RingCounters,
}

/// The key of completions of cancellations, which nobody waits for.
const CANCELLATION: u64 = u64::MAX;

/// How long the end of a ring waits for cancelled operations. Almost all end at once; a read of a
/// disk that does not answer, never.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait when the kernel has no memory for a submission.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(10);

impl KernelRing {
    /// Sets up a ring and uses it, so that a refusal shows here and not later.
    ///
    /// `entries` is how many operations one io_uring_enter(2) can submit. There is room for
    /// [`COMPLETIONS_PER_ENTRY`] times as many completions, and the kernel keeps what does not fit.
    pub(crate) fn new(level: Level, entries: u32) -> Result<Self, Refusal> {
        let refused = |call| move |error: io::Error| Refusal::new(call, &error, level);
        let mut builder = IoUring::builder();
        builder.setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_ENTRY));
        match level {
            // The flag lets a look for completions do without a system call when there are none.
            Level::Deferred => {
                builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag()
            }
            Level::Cooperative => builder.setup_coop_taskrun().setup_taskrun_flag(),
            Level::Plain => &mut builder,
        };
        let ring = builder.build(entries).map_err(refused("io_uring_setup"))?;
        let features = ring.params();
        // 5.11: waits that end. 5.5: completions that do not fit are kept.
        if !features.is_feature_ext_arg() || !features.is_feature_nodrop() {
            return Err(refused("io_uring_setup")(io::Error::from_raw_os_error(libc::ENOSYS)));
        }
        let mut ring = Self {
            ring,
            in_flight: Slab::new(),
            backlog: VecDeque::new(),
            found: VecDeque::new(),
            counters: RingCounters::default(),
        };
        ring.start(Key::from_bits(0), Operation::Nothing);
        let patience = Wait::Until(clock::now() + END_PATIENCE);
        ring.turn(patience).map_err(refused("io_uring_enter"))?;
        ring.found.clear();
        Ok(ring)
    }

    fn push(&mut self, entry: squeue::Entry) {
        self.counters.submissions += 1;
        // In order: a cancellation finds what was submitted before it.
        // SAFETY: by the head of this module, what the entry points to lives until its completion.
        let pushed =
            self.backlog.is_empty() && unsafe { self.ring.submission().push(&entry) }.is_ok();
        if !pushed {
            self.backlog.push_back(entry);
        }
    }

    /// Moves what waits into the submission queue, as far as it fits.
    fn refill(&mut self) {
        let mut submission = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: by the head of this module, what the entry points to lives until its
            // completion.
            if unsafe { submission.push(entry) }.is_err() {
                break;
            }
            self.backlog.pop_front();
        }
    }

    /// io_uring_enter(2): submits the queue, and waits for `least` completions for at most `span`.
    fn enter(&mut self, least: usize, span: Option<Duration>) -> io::Result<()> {
        self.counters.enters += 1;
        let timespec = span.map(timespec);
        let arguments = SubmitArgs::new();
        let arguments = match &timespec {
            Some(timespec) => arguments.timespec(timespec),
            None => arguments,
        };
        let entered = self.ring.submitter().submit_with_args(least, &arguments);
        match entered.map_err(|error| error.raw_os_error()) {
            Ok(_) | Err(Some(libc::ETIME | libc::EINTR)) => Ok(()),
            // Completions are to be taken first, which the caller does.
            Err(Some(libc::EBUSY)) => Ok(()),
            Err(Some(libc::EAGAIN | libc::ENOMEM)) => {
                self.pause();
                Ok(())
            }
            Err(errno) => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EIO))),
        }
    }

    /// Waits for a completion, which frees memory, without submitting anything.
    fn pause(&self) {
        let timespec = timespec(SHORTAGE_PAUSE);
        let arguments = SubmitArgs::new().timespec(&timespec);
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: nothing is submitted, and the argument is what the flags say and lives through
        // the call.
        let _ = unsafe { self.ring.submitter().enter(0, 1, flags.bits(), Some(&arguments)) };
    }

    /// Takes all completions that are in memory.
    fn collect(&mut self) {
        for entry in self.ring.completion() {
            if entry.user_data() == CANCELLATION {
                continue;
            }
            let key = Key::from_bits(entry.user_data());
            let (result, more) = (entry.result(), cqueue::more(entry.flags()));
            let Some((waiter, operation)) = self.in_flight.get(key) else { continue };
            let waiter = *waiter;
            let accepted = matches!(operation, Operation::Accept { .. });
            let result = match u32::try_from(result) {
                Err(_) => Err(io::Error::from_raw_os_error(result.wrapping_neg())),
                // SAFETY: the result of a successful accept is a new descriptor that is ours alone.
                Ok(_) if accepted => Ok(Value::Connection(unsafe { OwnedFd::from_raw_fd(result) })),
                Ok(count) => Ok(Value::Count(count)),
            };
            let ended = if more { None } else { self.in_flight.remove(key) };
            let ended = ended.map(|(_, operation)| closed(operation, &result));
            self.counters.completions += 1;
            self.found.push_back(Completion { waiter, result, ended });
        }
    }

    /// Cancels everything and waits for the ends, up to [`END_PATIENCE`].
    fn drain(&mut self) {
        let deadline = clock::now() + END_PATIENCE;
        let keys: Vec<Key> = self.in_flight.keys().collect();
        keys.into_iter().for_each(|key| self.cancel(InFlight(key)));
        while self.in_flight.len() > 0 && clock::now() < deadline {
            if self.turn(Wait::Until(deadline)).is_err() {
                break;
            }
            self.found.clear();
        }
    }
}

impl Ring for KernelRing {
    fn now(&self) -> Instant {
        clock::now()
    }

    fn start(&mut self, waiter: Key, operation: Operation) -> InFlight {
        let key = self.in_flight.insert((waiter, operation));
        if let Some((_, operation)) = self.in_flight.get_mut(key) {
            let entry = entry(operation).user_data(key.to_bits());
            self.push(entry);
        }
        InFlight(key)
    }

    fn cancel(&mut self, InFlight(key): InFlight) {
        if self.in_flight.get(key).is_some_and(|(_, operation)| operation.is_cancellable()) {
            let cancel = opcode::AsyncCancel::new(key.to_bits()).build();
            self.push(cancel.user_data(CANCELLATION));
        }
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.refill();
        while !self.backlog.is_empty() {
            self.enter(0, None)?;
            self.collect();
            self.refill();
        }
        let span = match wait {
            Wait::Look => Some(Duration::ZERO),
            Wait::Until(deadline) => Some(deadline.saturating_duration_since(clock::now())),
            Wait::Forever => None,
        };
        // What has come without a system call is reason enough not to wait.
        self.collect();
        if span != Some(Duration::ZERO) && self.found.is_empty() {
            self.enter(1, span)?;
        } else {
            let queue = self.ring.submission();
            let idle = queue.is_empty() && !queue.taskrun() && !queue.cq_overflow();
            drop(queue);
            if !idle {
                self.enter(0, None)?;
            }
        }
        self.collect();
        Ok(())
    }

    fn next(&mut self) -> Option<Completion> {
        self.found.pop_front()
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn try_registering(&self) -> io::Result<()> {
        self.ring.submitter().register_probe(&mut Probe::new())
    }

    fn counters(&self) -> RingCounters {
        self.counters
    }
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        self.drain();
        let keys: Vec<Key> = self.in_flight.keys().collect();
        // The kernel may still use what they own.
        keys.into_iter().for_each(|key| std::mem::forget(self.in_flight.remove(key)));
    }
}

impl std::fmt::Debug for KernelRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelRing")
            .field("in_flight", &self.in_flight.len())
            .finish_non_exhaustive()
    }
}

/// The kernel hashes waiting polls by the size of the completion queue, and searches one list of
/// the hash for each cancellation: with 1,024 entries, and so 8,192 completions, it has the most
/// lists it ever makes.
const COMPLETIONS_PER_ENTRY: u32 = 8;

/// The submission of an operation. The addresses in it are of memory that the operation owns on the
/// heap, and stay right when the operation itself is moved.
fn entry(operation: &mut Operation) -> squeue::Entry {
    match operation {
        Operation::Accept { listener, many, nonblocking } => {
            let flags = libc::SOCK_CLOEXEC | if *nonblocking { libc::SOCK_NONBLOCK } else { 0 };
            if *many {
                opcode::AcceptMulti::new(raw(listener)).flags(flags).build()
            } else {
                let nowhere = std::ptr::null_mut();
                opcode::Accept::new(raw(listener), nowhere, nowhere.cast()).flags(flags).build()
            }
        }
        Operation::Close { descriptor } => opcode::Close::new(Fd(descriptor.as_raw_fd())).build(),
        Operation::Connect { socket, address } => {
            opcode::Connect::new(raw(socket), address.as_ptr().cast(), address.len()).build()
        }
        Operation::Nothing => opcode::Nop::new().build(),
        Operation::Poll { descriptor, interest } => {
            let events = match interest {
                Interest::Readable => libc::POLLIN,
                Interest::Writable => libc::POLLOUT,
            };
            let events = u32::from(events.unsigned_abs());
            opcode::PollAdd::new(raw(descriptor), events).build()
        }
        Operation::Read { file, block, part, position } => {
            let (address, len) = extent(block.part(part));
            // The greatest number stands for the file's own position.
            let position = position.unwrap_or(u64::MAX);
            opcode::Read::new(raw(file), address, len).offset(position).build()
        }
        Operation::Receive { socket, block } => {
            let (address, len) = extent(block);
            opcode::Recv::new(raw(socket), address, len).build()
        }
        Operation::Send { socket, block, part } => {
            let (address, len) = extent(block.part(part));
            let flags = libc::MSG_NOSIGNAL;
            opcode::Send::new(raw(socket), address, len).flags(flags).build()
        }
    }
}

fn raw(descriptor: &Descriptor) -> Fd {
    Fd(descriptor.as_fd().as_raw_fd())
}

/// Where octets are.
fn extent(octets: &mut [u8]) -> (*mut u8, u32) {
    (octets.as_mut_ptr(), u32::try_from(octets.len()).unwrap_or(u32::MAX))
}

fn timespec(span: Duration) -> Timespec {
    Timespec::new().sec(span.as_secs()).nsec(span.subsec_nanos())
}

/// What remains of an operation that has ended: close(2) has closed its descriptor, also when it
/// returned an error, unless it was never tried.
fn closed(operation: Operation, result: &io::Result<Value>) -> Operation {
    let Operation::Close { descriptor } = operation else { return operation };
    let errno = result.as_ref().err().and_then(io::Error::raw_os_error);
    if !matches!(errno, Some(libc::ECANCELED | libc::EINVAL | libc::EOPNOTSUPP)) {
        let _ = descriptor.into_raw_fd();
    }
    Operation::Nothing
}
