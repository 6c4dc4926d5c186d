//! A shard for simulations: one thread, virtual time, connections that are pairs of local sockets,
//! and threads for blocking work that are none. One seed decides what runs next, how long storage
//! takes and how far a connection is read or written at once. What ships runs on it unchanged; only
//! what waits is replaced, here and nowhere above.
//!
//! The order of two events is the seed's, and time passes only when nothing else can happen, so a
//! run repeats, but for the octets that cryptography draws.

mod descriptor;
mod network;
mod tasks;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use descriptor::Interests;
use network::Network;
use tasks::Tasks;

use super::error::HelperError;
use crate::clock;

pub(crate) use descriptor::Watched;
pub(crate) use network::Port;
pub(crate) use tasks::SimulatedTask;

/// What makes a simulated shard slow or narrow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Longest time that storage usually takes.
    pub(crate) storage: Duration,
    /// One in this many pieces of storage work takes [`Weather::stuck`]; 0 for none.
    pub(crate) stuck_one_in: u64,
    /// How long stuck work takes.
    pub(crate) stuck: Duration,
    /// One in this many pieces of file work does not happen: it is refused, or lost with its
    /// thread; 0 for none.
    pub(crate) failing_one_in: u64,
    /// Octets that a socket holds on its way, as setsockopt(2) takes it; 0 is the kernel's choice.
    pub(crate) socket_bytes: usize,
    /// One in this many steps of tasks is followed by a poll of all sockets, even with tasks ready.
    pub(crate) look_one_in: u64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            storage: Duration::from_millis(2),
            stuck_one_in: 0,
            stuck: Duration::ZERO,
            failing_one_in: 0,
            socket_bytes: 0,
            look_one_in: 4,
        }
    }
}

/// File work that did not happen, so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    /// Because too much was waiting.
    pub(crate) refused: u64,
    /// Because its thread panicked.
    pub(crate) lost: u64,
}

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// Nothing is ready, and nothing will be.
    Deadlock,
    /// Something is always ready.
    Busy,
    /// The virtual time allowed is over.
    TooLong,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadlock => "nothing is ready any more, and no timer runs",
            Self::Busy => "tasks go on and on",
            Self::TooLong => "it takes longer than it may",
        })
    }
}

/// The simulated shard of the calling thread. Clones share it.
#[derive(Clone)]
pub(crate) struct Simulation(Rc<Inner>);

struct Inner {
    random: Cell<u64>,
    weather: Cell<Weather>,
    failures: Cell<Failures>,
    now: Cell<Instant>,
    tasks: Tasks,
    timers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next_timer: Cell<u64>,
    interests: Interests,
    network: Network,
    worked_for: RefCell<Vec<u64>>,
    worked_in: RefCell<Vec<&'static str>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

/// Steps of tasks after which a run has gone astray.
const STEPS_MAX: u64 = 2_000_000;

/// Virtual time after which it has.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// The simulation that the calling thread is in.
pub(crate) fn current() -> Option<Simulation> {
    CURRENT.with_borrow(Clone::clone)
}

impl Simulation {
    /// Runs what `main` returns to its end, and drops all tasks that are left then.
    pub(crate) fn run<T: 'static, F: Future<Output = T> + 'static>(
        seed: u64,
        weather: Weather,
        main: impl FnOnce(Self) -> F,
    ) -> Result<T, Stuck> {
        let start = clock::now();
        let simulation = Self(Rc::new(Inner {
            random: Cell::new(seed),
            weather: Cell::new(weather),
            failures: Cell::default(),
            now: Cell::new(start),
            tasks: Tasks::default(),
            timers: RefCell::default(),
            next_timer: Cell::new(0),
            interests: Interests::default(),
            network: Network::default(),
            worked_for: RefCell::default(),
            worked_in: RefCell::default(),
        }));
        CURRENT.set(Some(simulation.clone()));
        clock::simulate(Some(start));
        let main = simulation.spawn(main(simulation.clone()));
        let outcome = simulation.go_on(start, || main.is_finished());
        let result = outcome.map(|()| main.take());
        simulation.0.tasks.clear();
        simulation.0.timers.borrow_mut().clear();
        CURRENT.set(None);
        clock::simulate(None);
        // Finished tasks have their result.
        result.map(|result| result.expect("its task ended without a panic"))
    }

    fn go_on(&self, start: Instant, is_done: impl Fn() -> bool) -> Result<(), Stuck> {
        for _ in 0..STEPS_MAX {
            if is_done() {
                return Ok(());
            }
            self.fire_timers();
            let look = self.0.weather.get().look_one_in;
            if look > 0 && self.below(look) == 0 {
                self.0.interests.look();
            }
            if self.0.tasks.step(|count| self.below(count)) {
                // A step takes its time.
                let step = Duration::from_nanos(self.below(20_000));
                self.pass(self.0.now.get() + step);
            } else if !self.0.interests.look() {
                let next = self.0.timers.borrow().first_key_value().map(|((due, _), _)| *due);
                let due = next.ok_or(Stuck::Deadlock)?;
                if due - start > SPAN_MAX {
                    return Err(Stuck::TooLong);
                }
                self.pass(due.max(self.0.now.get()));
            }
        }
        Err(Stuck::Busy)
    }

    fn pass(&self, now: Instant) {
        self.0.now.set(now);
        clock::simulate(Some(now));
    }

    fn fire_timers(&self) {
        loop {
            let mut timers = self.0.timers.borrow_mut();
            match timers.first_entry() {
                Some(entry) if entry.key().0 <= self.0.now.get() => {
                    let waker = entry.remove();
                    drop(timers);
                    waker.wake();
                }
                _ => return,
            }
        }
    }

    /// A number below `bound`, which is not zero (splitmix64).
    pub(crate) fn below(&self, bound: u64) -> u64 {
        let state = self.0.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// A task says for whom it works. The seed says who is next, so it is only written down.
    pub(crate) fn work_for(&self, user: u64) {
        let mut users = self.0.worked_for.borrow_mut();
        if users.last() != Some(&user) {
            users.push(user);
        }
    }

    /// For whom tasks said that they work, those in a row once.
    pub(crate) fn worked_for(&self) -> Vec<u64> {
        self.0.worked_for.borrow().clone()
    }

    /// A task is started in a queue, or enters it.
    pub(crate) fn work_in(&self, queue: &'static str) {
        let mut queues = self.0.worked_in.borrow_mut();
        if queues.last() != Some(&queue) {
            queues.push(queue);
        }
    }

    /// In which queues tasks were started, and which they entered, those in a row once.
    pub(crate) fn worked_in(&self) -> Vec<&'static str> {
        self.0.worked_in.borrow().clone()
    }

    /// Starts a task.
    pub(crate) fn spawn<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> SimulatedTask<T> {
        self.0.tasks.spawn(future)
    }

    /// Returns once `deadline` has passed.
    pub(crate) async fn sleep_until(&self, deadline: Instant) {
        let mut timer = Timer { simulation: self, key: None };
        poll_fn(|cx| {
            if self.0.now.get() >= deadline {
                return Poll::Ready(());
            }
            timer.set(deadline, cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// What did not happen so far.
    pub(crate) fn failures(&self) -> Failures {
        self.0.failures.get()
    }

    /// Changes how slow or narrow the shard is, from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Weather)) {
        let mut weather = self.0.weather.get();
        change(&mut weather);
        self.0.weather.set(weather);
    }

    /// How long the next piece of storage work takes.
    pub(crate) fn storage_time(&self) -> Duration {
        let weather = self.0.weather.get();
        if weather.stuck_one_in > 0 && self.below(weather.stuck_one_in) == 0 {
            return weather.stuck;
        }
        let most = u64::try_from(weather.storage.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(most.max(1)))
    }
}

/// Whether the next piece of file work fails, and why.
pub(crate) fn failing() -> Option<HelperError> {
    let simulation = current()?;
    let weather = simulation.0.weather.get();
    if weather.failing_one_in == 0 || simulation.below(weather.failing_one_in) > 0 {
        return None;
    }
    let mut failures = simulation.0.failures.get();
    let error = if simulation.below(2) == 0 {
        failures.refused += 1;
        HelperError::Overloaded
    } else {
        failures.lost += 1;
        HelperError::Panicked
    };
    simulation.0.failures.set(failures);
    Some(error)
}

struct Timer<'a> {
    simulation: &'a Simulation,
    key: Option<(Instant, u64)>,
}

impl Timer<'_> {
    fn set(&mut self, deadline: Instant, waker: Waker) {
        let inner = &self.simulation.0;
        let key = *self.key.get_or_insert_with(|| {
            let number = inner.next_timer.get();
            inner.next_timer.set(number + 1);
            (deadline, number)
        });
        inner.timers.borrow_mut().insert(key, waker);
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // Outside the borrow: a waker's destructor may do anything.
            let waker = self.simulation.0.timers.borrow_mut().remove(&key);
            drop(waker);
        }
    }
}

mod tests {
    use super::*;
    use crate::runtime as rt;
    use std::net::SocketAddr;

    #[test]
    fn time_passes_only_when_nothing_else_happens() {
        let slept = Simulation::run(1, Weather::default(), |_| async {
            let start = clock::now();
            rt::sleep_until(start + Duration::from_secs(3_600)).await;
            clock::now() - start
        });
        let slept = slept.unwrap();
        assert!((3_600..3_601).contains(&slept.as_secs()), "{slept:?}");
    }

    #[test]
    fn what_never_ends_is_found() {
        let result = Simulation::run(1, Weather::default(), |_| std::future::pending::<()>());
        assert_eq!(result, Err(Stuck::Deadlock));
        assert!(current().is_none());
    }

    /// Ports, connections, reads and writes of the shipped types.
    #[test]
    fn connections_carry_octets_both_ways() {
        for seed in 0..20 {
            let weather = Weather { socket_bytes: 4_096, ..Weather::default() };
            let sent = Simulation::run(seed, weather, |_| async {
                let address: SocketAddr = "192.0.2.1:5000".parse().unwrap();
                let listener = rt::Listener::bind(address, 8).unwrap();
                assert_eq!(listener.local_addr().unwrap(), address);
                assert!(rt::Listener::bind(address, 8).is_err());
                let client = rt::spawn(async move {
                    let local = "192.0.2.7:0".parse().unwrap();
                    let stream = rt::connect(local, address, None).await.unwrap();
                    stream.write_all(&[7; 100_000]).await.unwrap();
                    stream.shutdown_write().unwrap();
                    let mut received = 0;
                    while received < 4 {
                        received += stream.read(&mut [0; 8]).await.unwrap();
                    }
                    received
                });
                let stream = listener.accept(&mut |_| {}).await.unwrap();
                assert_eq!(stream.peer_addr().ip().to_string(), "192.0.2.7");
                let (mut sum, mut buffer) = (0, [0; 1000]);
                loop {
                    match stream.read(&mut buffer).await.unwrap() {
                        0 => break,
                        count => sum += count,
                    }
                }
                stream.write_all(b"done").await.unwrap();
                assert_eq!(client.await, 4);
                listener.shut_down();
                let local = "192.0.2.7:0".parse().unwrap();
                assert!(rt::connect(local, address, None).await.is_err());
                sum
            });
            assert_eq!(sent, Ok(100_000), "seed {seed}");
        }
    }

    #[test]
    fn cancelled_tasks_are_dropped() {
        let counts = Simulation::run(3, Weather::default(), |_| async {
            let held = Rc::new(());
            let tasks = [(); 3].map(|()| {
                let held = held.clone();
                rt::spawn(async move {
                    let _held = held;
                    std::future::pending::<()>().await;
                })
            });
            rt::yield_now().await;
            let [first, second, third] = tasks;
            assert!(first.cancel().await.is_none());
            drop(second);
            third.detach();
            rt::sleep_until(clock::now() + Duration::from_millis(1)).await;
            Rc::strong_count(&held)
        });
        assert_eq!(counts, Ok(2));
    }

    #[test]
    fn helpers_take_their_time_and_panics_stay_with_them() {
        let took = Simulation::run(5, Weather::default(), |_| async {
            let start = clock::now();
            let helpers = rt::Helpers::new().unwrap();
            let files = helpers.of(rt::Owner::default());
            assert_eq!(files.run(|| 7).await, Ok(7));
            let panicked = files.run(|| panic!("on purpose")).await;
            assert_eq!(panicked, Err::<(), _>(HelperError::Panicked));
            assert!(helpers.end(Duration::from_secs(1)).await);
            clock::now() - start
        });
        assert!(took.unwrap() > Duration::ZERO);
    }
}
