//! What an executor consists of, and its turn. Every borrow here is short, and ends before code of
//! others runs: a future, a destructor, a waker.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::block::Block;
use crate::budget::TurnBudget;
use crate::inbox::{Inbox, Wake, Woken};
use crate::operation::{Descriptor, Operation, Ring, RingCounters, Wait};
use crate::operations::{Effect, For, Operations, Outcome};
use crate::queues::{self, Lane, NextTurn, Queues};
use crate::run::Run;
use crate::slab::{Key, Slab};
use crate::timers::Timers;

pub(crate) struct Core {
    ring: RefCell<Box<dyn Ring>>,
    operations: RefCell<Operations>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) queues: RefCell<Queues>,
    pub(crate) tasks: RefCell<Slab<Rc<dyn Run>>>,
    /// Who waits for a bell.
    pub(crate) bells: RefCell<Slab<Option<Waker>>>,
    pub(crate) inbox: Arc<Inbox>,
    woken: Woken,
    bell: Descriptor,
    /// The ring reads the bell.
    listening: Cell<bool>,
    /// Of the task that runs.
    pub(crate) lane: Cell<Lane>,
    /// The main task has finished: no more waits.
    pub(crate) finished: Cell<bool>,
    budget: TurnBudget,
    /// When the tasks of this turn have had their time.
    turn_ends: Cell<Option<Instant>>,
    /// When a task last said that a peer waits for an answer.
    last_input: Cell<Option<Instant>>,
    turns: Cell<u64>,
    polls: Cell<u64>,
    /// Who is told of each turn.
    watcher: RefCell<Option<Watcher>>,
}

/// Is told when tasks had run, and for how long, at the end of each turn in which some did.
pub(crate) type Watcher = Rc<dyn Fn(Instant, Duration)>;

/// What an executor has done since its beginning, and has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of the ring.
    pub ring: RingCounters,
    /// Operations that the kernel has, those that were given up included.
    pub in_flight: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Turns.
    pub turns: u64,
    /// Times a task was polled.
    pub polls: u64,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

impl Core {
    pub(crate) fn new(
        ring: Box<dyn Ring>,
        (inbox, woken, bell): (Arc<Inbox>, Woken, OwnedFd),
        budget: TurnBudget,
    ) -> Rc<Self> {
        let mut queues = Queues::new();
        let queue = queues.add(queues::SHARE);
        Rc::new(Self {
            ring: RefCell::new(ring),
            operations: RefCell::new(Operations::new()),
            timers: RefCell::new(Timers::new()),
            queues: RefCell::new(queues),
            tasks: RefCell::new(Slab::new()),
            bells: RefCell::new(Slab::new()),
            inbox,
            woken,
            bell: bell.into(),
            listening: Cell::new(false),
            lane: Cell::new(Lane { queue, group: 0 }),
            finished: Cell::new(false),
            budget,
            turn_ends: Cell::new(None),
            last_input: Cell::new(None),
            turns: Cell::new(0),
            polls: Cell::new(0),
            watcher: RefCell::new(None),
        })
    }

    /// The executor that runs on this thread.
    #[track_caller]
    pub(crate) fn current() -> Rc<Self> {
        CURRENT.with_borrow(Clone::clone).expect("called outside of an executor")
    }

    /// Makes this executor the current one until the guard is dropped.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered(CURRENT.replace(Some(Rc::clone(self))))
    }

    /// Puts a task in its queue if its executor runs on this thread.
    pub(crate) fn push_if_current(inbox: &Arc<Inbox>, lane: Lane, task: Key) -> bool {
        // No executor runs any more while the thread's values are destroyed.
        let pushed = CURRENT.try_with(|current| {
            let current = current.borrow();
            let core = current.as_ref().filter(|core| Arc::ptr_eq(&core.inbox, inbox))?;
            core.queues.borrow_mut().push(lane, task);
            Some(())
        });
        pushed.ok().flatten().is_some()
    }

    pub(crate) fn now(&self) -> Instant {
        self.ring.borrow().now()
    }

    /// Whether the budget of this turn is spent, or the ration of the running task's queue.
    pub(crate) fn turn_is_over(&self) -> bool {
        self.turn_ends.get().is_some_and(|end| self.now() >= end)
            || self.queues.borrow().has_had_its_ration(self.lane.get().queue)
    }

    /// A peer waits for an answer: turns are short for a while.
    pub(crate) fn note_input(&self) {
        self.last_input.set(Some(self.now()));
    }

    /// Tells `watcher` of each turn from here on.
    pub(crate) fn watch_turns(&self, watcher: Watcher) {
        let before = self.watcher.replace(Some(watcher));
        drop(before);
    }

    pub(crate) fn counters(&self) -> Counters {
        let ring = self.ring.borrow();
        Counters {
            ring: ring.counters(),
            in_flight: ring.in_flight(),
            tasks: self.tasks.borrow().len(),
            turns: self.turns.get(),
            polls: self.polls.get(),
        }
    }

    pub(crate) fn try_registering(&self) -> io::Result<()> {
        self.ring.borrow().try_registering()
    }

    /// Starts an operation; it is submitted when the turn ends.
    pub(crate) fn start(&self, whom: For, operation: Operation) -> Key {
        let (mut operations, mut ring) = (self.operations.borrow_mut(), self.ring.borrow_mut());
        operations.insert(whom, |key| ring.start(key, operation))
    }

    pub(crate) fn poll_operation(&self, key: Key, cx: &Context<'_>) -> Poll<Option<Outcome>> {
        self.operations.borrow_mut().poll(key, cx)
    }

    /// Asks the kernel to end an operation whose waiter goes on waiting.
    pub(crate) fn cancel(&self, key: Key) {
        if let Some(operation) = self.operations.borrow().in_flight(key) {
            self.ring.borrow_mut().cancel(operation);
        }
    }

    /// Has the ring close a file, or closes it where no executor runs.
    pub(crate) fn close_apart(descriptor: OwnedFd) {
        let current = CURRENT.try_with(|current| current.borrow().clone()).ok().flatten();
        if let Some(core) = current {
            let key = core.start(For::Future, Operation::Close { descriptor });
            core.give_up(key);
        }
    }

    /// Nobody waits for the operation any more.
    pub(crate) fn give_up(&self, key: Key) {
        let (cancel, outcome) = self.operations.borrow_mut().give_up(key);
        if let Some(operation) = cancel {
            self.ring.borrow_mut().cancel(operation);
        }
        drop(outcome);
    }

    /// One turn: what is due, tasks until the budget is spent, and one visit to the kernel, which
    /// submits all that the tasks have started and waits if none is ready.
    pub(crate) fn turn(&self) -> io::Result<()> {
        self.turns.set(self.turns.get() + 1);
        let start = self.now();
        while let Some(waker) = self.expired(start) {
            waker.wake();
        }
        self.take_woken();
        self.run_tasks(start);
        let wait = self.wait();
        let looked = self.ring.borrow_mut().turn(wait);
        self.inbox.awake();
        self.complete_all();
        looked
    }

    fn expired(&self, now: Instant) -> Option<Waker> {
        self.timers.borrow_mut().expire(now)
    }

    /// Tasks that other threads have woken; whether there were any.
    fn take_woken(&self) -> bool {
        let mut any = false;
        while let Ok(wake) = self.woken.try_recv() {
            match wake {
                Wake::Task(lane, task) => self.queues.borrow_mut().push(lane, task),
                Wake::Bell(key) => {
                    let waker = self.bells.borrow_mut().get_mut(key).and_then(Option::take);
                    waker.into_iter().for_each(Waker::wake);
                }
            }
            any = true;
        }
        any
    }

    fn run_tasks(&self, start: Instant) {
        let resting = self.queues.borrow().favoured_rest(start, self.budget.busy_for);
        let budget = self.budget.at(start, self.last_input.get(), resting);
        self.turn_ends.set(Some(start + budget));
        self.queues.borrow_mut().begin_turn(start, budget);
        let mut now = start;
        // At least one, whatever the budget.
        while !self.finished.get() {
            let next = self.queues.borrow_mut().pop();
            let Some((queue, key)) = next else { break };
            let task = self.tasks.borrow().get(key).map(Rc::clone);
            // Woken and then ended.
            let Some(task) = task else { continue };
            self.polls.set(self.polls.get() + 1);
            let outer = self.lane.replace(task.lane());
            if task.run() {
                let ended = self.tasks.borrow_mut().remove(key);
                drop(ended);
            }
            task.set_lane(self.lane.get());
            drop(task);
            self.lane.set(outer);
            let end = self.now();
            self.queues.borrow_mut().charge(queue, end.saturating_duration_since(now));
            now = end;
            if now.saturating_duration_since(start) >= budget {
                break;
            }
        }
        if now > start {
            let watcher = self.watcher.borrow().clone();
            watcher.iter().for_each(|told| told(now, now.saturating_duration_since(start)));
        }
    }

    /// How long the kernel may keep this thread.
    fn wait(&self) -> Wait {
        let next_turn = self.queues.borrow().next_turn();
        if self.finished.get() || next_turn == NextTurn::Now {
            return Wait::Look;
        }
        if !self.listening.replace(true) {
            let (file, block) = (self.bell.clone(), Block::small(size_of::<u64>()));
            let part = 0..size_of::<u64>();
            let operation = Operation::Read { file, block, part, position: None };
            self.start(For::Sleep, operation);
        }
        self.inbox.sleep();
        if self.take_woken() {
            return Wait::Look;
        }
        let held = if let NextTurn::At(then) = next_turn { Some(then) } else { None };
        let next = self.timers.borrow().next().into_iter().chain(held).min();
        next.map_or(Wait::Forever, Wait::Until)
    }

    fn complete_all(&self) {
        loop {
            let next = self.ring.borrow_mut().next();
            let Some(completion) = next else { break };
            let effect = self.operations.borrow_mut().complete(completion);
            match effect {
                Effect::Arrive(arrivals, result, last) => {
                    let full = arrivals.arrive(result, last);
                    full.into_iter().for_each(|key| self.cancel(key));
                }
                Effect::Drop(completion) => drop(completion),
                Effect::Rung => self.listening.set(false),
                Effect::Wake(waker) => waker.into_iter().for_each(Waker::wake),
            }
        }
    }

    /// Ends all tasks, and waits for what they leave in the kernel, up to `patience`.
    pub(crate) fn end(&self, patience: Duration) -> io::Result<()> {
        loop {
            let keys: Vec<Key> = self.tasks.borrow().keys().collect();
            // A destructor may have started another.
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let task = self.tasks.borrow_mut().remove(key);
                task.iter().for_each(|task| task.end());
            }
        }
        let deadline = self.now() + patience;
        loop {
            let kept = usize::from(self.listening.get());
            if self.ring.borrow().in_flight() <= kept || self.now() >= deadline {
                return Ok(());
            }
            self.ring.borrow_mut().turn(Wait::Until(deadline))?;
            self.complete_all();
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

/// Restores the executor that was current before, if any.
pub(crate) struct Entered(Option<Rc<Core>>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}
