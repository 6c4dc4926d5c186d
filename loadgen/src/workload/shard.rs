//! One thread of a run from its preparation to its record. It reports to the main thread through
//! [`ThreadReport`]s and gets its commands through [`RunCommands`].

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{Sender, SyncSender},
    },
    time::{Duration, Instant},
};

use super::{Workload, drive::Driver};
use crate::{
    client::{Endpoint, Failure, SharedRecorder},
    engine::{TaskGroup, sleep_until},
    measure::{
        Live, Recorder, Recording, Tally, ThreadUse, Window, thread_cpu_time, thread_cpu_wait,
    },
    plan::{Place, Plan},
};

/// How often a thread polls [`RunCommands`].
const LOOK: Duration = Duration::from_millis(5);

/// How often at least a thread closes intervals in which nothing ended.
const TICK: Duration = Duration::from_millis(250);

/// The time frame until the run begins: nothing is measured and no interval passes.
const BEFORE: Duration = Duration::from_secs(365 * 86_400);

/// What the main thread tells all threads to do; they poll it.
#[derive(Debug, Default)]
pub struct RunCommands {
    /// When the first operation is to begin.
    pub start: OnceLock<Instant>,
    /// Ctrl-C, or another thread could not prepare.
    pub stop: AtomicBool,
    /// The server's memory has been read; connections may be closed.
    pub release: AtomicBool,
}

/// Reports of a thread.
#[derive(Debug)]
pub enum ThreadReport {
    /// Its sessions are open.
    Ready(Result<(), Failure>),
    /// Its measured part has ended.
    Measured {
        /// Control connections still open.
        open: u64,
        /// When it ended.
        at: Instant,
    },
}

/// The input of a thread.
pub struct ShardSetup {
    /// The plan of the whole run.
    pub plan: Plan,
    /// What to do.
    pub workload: Workload,
    /// The server.
    pub endpoint: Endpoint,
    /// Source addresses; empty: the system's choice.
    pub sources: Vec<IpAddr>,
    /// Silent connections to hold, of the whole run.
    pub silent: u64,
    /// Which of the run's operations and clients are this thread's.
    pub place: Place,
    /// From the main thread.
    pub commands: Arc<RunCommands>,
    /// To the main thread.
    pub reports: Sender<ThreadReport>,
    /// Length of an interval of the record.
    pub interval: Duration,
    /// To those who watch.
    pub live: Option<SyncSender<Live>>,
    /// What has succeeded and failed so far, for the main thread.
    pub tally: Arc<Tally>,
}

/// The output of a thread.
#[derive(Debug)]
pub struct ShardResult {
    /// Its record.
    pub recording: Recording,
    /// Numbers of the clients it made.
    pub clients: Vec<u64>,
}

/// Runs one thread's part.
pub async fn run_shard(setup: ShardSetup) -> ShardResult {
    let ShardSetup { plan, workload, endpoint, sources, silent, place, commands, .. } = setup;
    let before = Window { start: Instant::now() + BEFORE, warmup: BEFORE, measured: None };
    let recorder = Recorder::new(before).with_interval(setup.interval).with_tally(setup.tally);
    let recorder = match setup.live {
        Some(live) => recorder.with_live(live),
        None => recorder,
    };
    let recorder: SharedRecorder = Rc::new(RefCell::new(recorder));
    let warmup = plan.warmup;
    let measured = plan.count.is_none().then_some(plan.duration);
    let driver = Driver::new(plan, workload, endpoint, sources, place, Rc::clone(&recorder));
    let beside = TaskGroup::default();
    watch(&beside, &driver, &commands);
    driver.hold_silent(silent);
    let prepared = driver.prepare().await;
    let good = prepared.is_ok();
    // The main thread outlives this one; if it is gone the report is not needed.
    let _ = setup.reports.send(ThreadReport::Ready(prepared));
    let start = if good { begun(&commands).await } else { None };
    let mut used = ThreadUse::default();
    if let Some(start) = start {
        let window = Window { start, warmup, measured };
        recorder.borrow_mut().begin(window);
        tick(&beside, &recorder, TICK.min(setup.interval / 2));
        let first = Used::now();
        let at_begin = used_at(&beside, Some(window.begin()));
        let at_end = used_at(&beside, window.end());
        let measured = async {
            // A run that is interrupted, or that ends by count, ends now.
            let end = at_end.get().unwrap_or_else(Used::now);
            used = end.since(at_begin.get().unwrap_or(first));
            let open = recorder.borrow().connections().open();
            let _ = setup.reports.send(ThreadReport::Measured { open, at: Instant::now() });
            while !commands.release.load(Ordering::Relaxed) {
                sleep_until(Instant::now() + LOOK).await;
            }
        };
        driver.run(start, measured).await;
    }
    driver.silent.end().await;
    driver.close_sessions().await;
    beside.end().await;
    let clients = driver.client_numbers();
    drop(driver);
    // Taken out of its cell, where an empty one stays.
    let window = recorder.borrow().window();
    let recorder = recorder.replace(Recorder::new(window));
    ShardResult { recording: recorder.finish(Instant::now(), used), clients }
}

/// Waits for the start; `None` when it will not come.
async fn begun(commands: &RunCommands) -> Option<Instant> {
    loop {
        if commands.stop.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(start) = commands.start.get() {
            return Some(*start);
        }
        sleep_until(Instant::now() + LOOK).await;
    }
}

/// Passes Ctrl-C on.
fn watch(tasks: &TaskGroup, driver: &Rc<Driver>, commands: &Arc<RunCommands>) {
    let (driver, commands) = (Rc::clone(driver), Arc::clone(commands));
    tasks.spawn(async move {
        while !commands.stop.load(Ordering::Relaxed) {
            sleep_until(Instant::now() + LOOK).await;
        }
        driver.interrupt();
    });
}

/// Advances the record's intervals while nothing ends.
fn tick(tasks: &TaskGroup, recorder: &SharedRecorder, every: Duration) {
    let recorder = Rc::clone(recorder);
    tasks.spawn(async move {
        loop {
            let now = Instant::now();
            recorder.borrow_mut().tick(now);
            sleep_until(now + every).await;
        }
    });
}

/// What this thread had used of its core at one moment.
#[derive(Clone, Copy)]
struct Used {
    at: Instant,
    cpu: Duration,
    waited: Duration,
}

impl Used {
    fn now() -> Self {
        Self { at: Instant::now(), cpu: thread_cpu_time(), waited: thread_cpu_wait() }
    }

    fn since(self, before: Self) -> ThreadUse {
        ThreadUse {
            cpu: self.cpu.saturating_sub(before.cpu),
            waited: self.waited.saturating_sub(before.waited),
            wall: self.at.saturating_duration_since(before.at),
        }
    }
}

/// Reads this thread's use of its core at `when`, if there is such a moment.
fn used_at(tasks: &TaskGroup, when: Option<Instant>) -> Rc<Cell<Option<Used>>> {
    let read: Rc<Cell<Option<Used>>> = Rc::default();
    if let Some(when) = when {
        let later = Rc::clone(&read);
        tasks.spawn(async move {
            sleep_until(when).await;
            later.set(Some(Used::now()));
        });
    }
    read
}
