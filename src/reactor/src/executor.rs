//! Building an executor and running it, and what its tasks ask of it.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::budget::TurnBudget;
use crate::core::{Core, Counters};
use crate::inbox::Inbox;
use crate::queues::{self, Lane};
use crate::refusal::{Level, Refusal};
use crate::ring::KernelRing;
use crate::task::Task;

/// How an executor is made.
#[derive(Clone, Debug)]
pub struct Builder {
    level: Option<Level>,
    entries: u32,
    budget: TurnBudget,
}

impl Builder {
    /// The best the kernel has, and the budget of [`TurnBudget::default`].
    #[must_use]
    pub fn new() -> Self {
        Self { level: None, entries: 1024, budget: TurnBudget::default() }
    }

    /// Insists on a level, for tests and for measuring.
    #[must_use]
    pub const fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// How many operations one io_uring_enter(2) can submit; more take more calls.
    #[must_use]
    pub const fn entries(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// How long tasks run between two looks for input.
    #[must_use]
    pub const fn turn_budget(mut self, budget: TurnBudget) -> Self {
        self.budget = budget;
        self
    }

    /// Sets up a ring for the calling thread and uses it once. Where no level is insisted on, the
    /// best one that the kernel knows.
    ///
    /// # Errors
    ///
    /// [`Refusal`], with cause and remedy.
    pub fn build(&self) -> Result<Executor, Refusal> {
        let levels = self.level.as_ref().map_or(&Level::ALL[..], std::slice::from_ref);
        let mut refused = None;
        for level in levels {
            match KernelRing::new(*level, self.entries) {
                Ok(ring) => {
                    let inbox = Inbox::new();
                    let inbox = inbox.map_err(|error| Refusal::new("eventfd", &error, *level))?;
                    let core = Core::new(Box::new(ring), inbox, self.budget);
                    return Ok(Executor { core, level: *level });
                }
                Err(refusal) if refusal.is_about_the_level() => refused = Some(refusal),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(refused.unwrap_or_else(|| {
            let error = io::Error::from_raw_os_error(libc::ENOSYS);
            Refusal::new("io_uring_setup", &error, Level::Plain)
        }))
    }
}

impl Builder {
    /// For an executor of another kind, which needs io_uring_register(2) as well: whether all calls
    /// are allowed.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn check_registering(&self) -> Result<(), Refusal> {
        let executor = self.build().map_err(Refusal::of_one_that_registers)?;
        let (level, error) = (executor.level, executor.core.try_registering().err());
        error.map_or(Ok(()), |error| {
            Err(Refusal::new("io_uring_register", &error, level).of_one_that_registers())
        })
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// A ring and its tasks, on one thread.
pub struct Executor {
    core: Rc<Core>,
    level: Level,
}

impl Executor {
    /// How the ring was set up.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Runs `main` and the tasks it starts until `main` has its result. All other tasks end then:
    /// their futures are dropped, and what they had under way in the kernel is waited for, up to
    /// [`END_PATIENCE`].
    ///
    /// # Errors
    ///
    /// Those of io_uring_enter(2) that repetition does not mend; none is known to happen.
    ///
    /// # Panics
    ///
    /// When a task does: its panic goes through, after all tasks have been dropped.
    pub fn run<T: 'static>(self, main: impl Future<Output = T> + 'static) -> io::Result<T> {
        run(&self.core, main)
    }

    /// For a ring that is none of the kernel's.
    #[cfg(test)]
    pub(crate) fn over(ring: Box<dyn crate::operation::Ring>, budget: TurnBudget) -> Self {
        let inbox = Inbox::new().expect("descriptors");
        Self { core: Core::new(ring, inbox, budget), level: Level::Plain }
    }
}

fn run<T: 'static>(core: &Rc<Core>, main: impl Future<Output = T> + 'static) -> io::Result<T> {
    let _entered = core.enter();
    let finished = Rc::clone(core);
    let main = Task::start(core, core.lane.get(), async move {
        let result = main.await;
        finished.finished.set(true);
        result
    });
    loop {
        core.turn()?;
        if let Some(result) = main.take() {
            drop(main);
            core.end(END_PATIENCE)?;
            return Ok(result);
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // For a run that ended by a panic; the ring waits at its own end.
        let _entered = self.core.enter();
        let _ = self.core.end(Duration::ZERO);
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("core", &self.core).finish()
    }
}

/// How long the end waits for what was cancelled in the kernel. Almost everything ends at once; a
/// read of a disk that does not answer, never. What it owns is leaked then.
pub const END_PATIENCE: Duration = Duration::from_secs(1);

/// Tasks that share the executor's time with those of other queues by weight, and the queue's time
/// among themselves by [groups](set_group). A task stays in the queue it was started in until it
/// [enters](Queue::enter) another, and [`spawn`] starts tasks in the queue of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue(u32);

impl Queue {
    /// The share of the queue that the main task is in.
    pub const SHARE: u32 = queues::SHARE;

    /// A new queue: while others have work, it gets time as its share is to theirs.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    #[must_use]
    pub fn new(share: u32) -> Self {
        Self(Core::current().queues.borrow_mut().add(share))
    }

    /// Changes its share from here on.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    pub fn set_share(self, share: u32) {
        Core::current().queues.borrow_mut().set_share(self.0, share);
    }

    /// From the next turn on its tasks have `percent`, 1 to 99, of the time that they and those of
    /// `favoured` take, however often these wait; all they want while `favoured` is quiet. A step
    /// is never interrupted: one that was too long is made up for.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    pub fn ration(self, favoured: Self, percent: u8) {
        Core::current().queues.borrow_mut().ration(self.0, favoured.0, percent);
    }

    /// Starts `future` as a task of this queue, which must be one of the running executor.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    pub fn spawn<T: 'static>(self, future: impl Future<Output = T> + 'static) -> Task<T> {
        let core = Core::current();
        let lane = Lane { queue: self.0, ..core.lane.get() };
        Task::start(&core, lane, future)
    }

    /// The running task goes on in this queue, which must be one of its executor, from its next
    /// wait on.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    pub fn enter(self) {
        let lane = &Core::current().lane;
        lane.set(Lane { queue: self.0, ..lane.get() });
    }

    /// How long its tasks have run since the last call.
    ///
    /// # Panics
    ///
    /// Outside of an executor.
    #[must_use]
    pub fn take_runtime(self) -> Duration {
        Core::current().queues.borrow_mut().take_runtime(self.0)
    }
}

/// Puts the running task into a group of its queue from its next wait on, and with it the tasks
/// that it starts. Groups with ready tasks share the time of their queue evenly, however many tasks
/// they have: a crowd of one user's tasks does not delay another user's. Tasks begin in the group
/// of the one that started them, the main task in group 0.
///
/// # Panics
///
/// Outside of an executor.
pub fn set_group(group: u64) {
    let lane = &Core::current().lane;
    lane.set(Lane { group, ..lane.get() });
}

/// Starts `future` as a task of the caller's queue and group.
///
/// # Panics
///
/// Outside of an executor.
pub fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let core = Core::current();
    Task::start(&core, core.lane.get(), future)
}

/// Now, by the executor's clock, which deadlines are by.
///
/// # Panics
///
/// Outside of an executor.
#[must_use]
pub fn now() -> Instant {
    Core::current().now()
}

/// Says that a peer has sent something and waits for an answer: for a while, turns are as short as
/// [`TurnBudget::busy`].
///
/// # Panics
///
/// Outside of an executor.
pub fn note_input() {
    Core::current().note_input();
}

/// Whether the tasks of this turn have had their time: who can go on for long lets the executor
/// look for input by [`yield_now`] then.
///
/// # Panics
///
/// Outside of an executor.
#[must_use]
pub fn turn_is_over() -> bool {
    Core::current().turn_is_over()
}

/// Lets every other task of the queue run that is ready, and the executor look for input if the
/// turn's budget is spent.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// From here on tells `watcher`, at the end of each turn in which tasks ran, when that was and for
/// how long they did. It is called on the executor's thread and costs each turn its time.
///
/// # Panics
///
/// Outside of an executor.
pub fn watch_turns(watcher: impl Fn(Instant, Duration) + 'static) {
    Core::current().watch_turns(Rc::new(watcher));
}

/// What the running executor has done and has.
///
/// # Panics
///
/// Outside of an executor.
#[must_use]
pub fn counters() -> Counters {
    Core::current().counters()
}
