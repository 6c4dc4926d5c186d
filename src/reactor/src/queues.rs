//! Which task is next. Tasks that are ready wait in queues; the queues share the executor's time by
//! weights. Pure: what a task has taken is told, and no clock is read.

use std::time::{Duration, Instant};

use crate::groups::Groups;
use crate::ration::Ration;
use crate::slab::Key;

/// The share of the queue that the main task is in.
pub(crate) const SHARE: u32 = 100;

/// Which tasks a task takes turns with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    pub(crate) queue: u32,
    /// Within the queue.
    pub(crate) group: u64,
}

/// Ready tasks by queue.
///
/// Each queue has a virtual time, which goes on by the time its tasks take, divided by its share;
/// the queue that is furthest behind is next. So queues that all have work get time in proportion
/// to their shares, measured over all their tasks, however much one task takes at once; and a queue
/// alone gets everything, but for one on a [`Ration`]. Within a queue, [`Groups`] take turns.
#[derive(Debug)]
pub(crate) struct Queues {
    queues: Vec<State>,
    /// The virtual time of the queue that was last taken from. One that was idle begins here: an
    /// idle queue saves nothing up, and starves none when it wakes.
    front: u64,
    ready: usize,
}

#[derive(Debug)]
struct State {
    share: u32,
    /// Nanoseconds of tasks, times [`SCALE`], divided by the share.
    virtual_time: u64,
    tasks: Groups,
    /// Of its tasks in this turn.
    taken: Duration,
    /// What may be taken in this turn; none: as much as comes.
    allowed: Option<Duration>,
    ration: Option<Ration>,
    /// Since it was last asked for.
    runtime: Duration,
}

impl State {
    fn may_run(&self) -> bool {
        !self.tasks.is_empty() && !self.has_had_its_ration()
    }

    fn has_had_its_ration(&self) -> bool {
        self.allowed.is_some_and(|allowed| self.taken >= allowed)
    }
}

/// When the next turn is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextTurn {
    /// Tasks are ready.
    Now,
    /// All tasks that are ready are held back until then, or until others are ready.
    At(Instant),
    /// No task is ready.
    WhenWoken,
}

/// Keeps the division by the share from losing what short tasks take.
const SCALE: u64 = 256;

impl Queues {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { queues: Vec::new(), front: 0, ready: 0 }
    }

    /// One more, with a share of at least 1.
    pub(crate) fn add(&mut self, share: u32) -> u32 {
        let state = State {
            share: share.max(1),
            virtual_time: self.front,
            tasks: Groups::default(),
            taken: Duration::ZERO,
            allowed: None,
            ration: None,
            runtime: Duration::ZERO,
        };
        self.queues.push(state);
        u32::try_from(self.queues.len() - 1).unwrap_or(u32::MAX)
    }

    /// Changes a share from here on.
    pub(crate) fn set_share(&mut self, queue: u32, share: u32) {
        if let Some(state) = self.queues.get_mut(queue as usize) {
            state.share = share.max(1);
        }
    }

    /// Gives a queue rations from the next turn on: `percent`, 1 to 99, of the time that it and
    /// `favoured` take, unless that one is quiet.
    pub(crate) fn ration(&mut self, queue: u32, favoured: u32, percent: u8) {
        if let Some(state) = self.queues.get_mut(queue as usize) {
            state.ration = Some(Ration::new(favoured, percent));
        }
    }

    /// Whether all queues that others are rationed for have nothing to do, and have had nothing for
    /// `span`. Not without rations.
    pub(crate) fn favoured_rest(&self, now: Instant, span: Duration) -> bool {
        let rations = || self.queues.iter().filter_map(|state| state.ration.as_ref());
        let rests = |ration: &Ration| {
            let favoured = self.queues.get(ration.favoured as usize);
            favoured.is_none_or(|state| state.tasks.is_empty() && state.taken.is_zero())
                && ration.rested(now, span)
        };
        rations().next().is_some() && rations().all(rests)
    }

    /// A turn of this length begins `now`.
    pub(crate) fn begin_turn(&mut self, now: Instant, budget: Duration) {
        for index in 0..self.queues.len() {
            let Some(mut ration) = self.queues[index].ration.take() else { continue };
            let favoured = self.queues.get(ration.favoured as usize);
            let (used, waiting) = favoured
                .map_or((Duration::ZERO, false), |state| (state.taken, !state.tasks.is_empty()));
            let state = &mut self.queues[index];
            state.allowed = Some(ration.renew(now, (used, waiting), state.taken, budget));
            state.ration = Some(ration);
        }
        self.queues.iter_mut().for_each(|state| state.taken = Duration::ZERO);
    }

    /// Whether a queue has had what it may take in this turn.
    pub(crate) fn has_had_its_ration(&self, queue: u32) -> bool {
        self.queues.get(queue as usize).is_some_and(State::has_had_its_ration)
    }

    /// The task is ready, and goes to the end of its lane.
    pub(crate) fn push(&mut self, lane: Lane, task: Key) {
        let front = self.front;
        let Some(state) = self.queues.get_mut(lane.queue as usize) else { return };
        if state.tasks.is_empty() {
            state.virtual_time = state.virtual_time.max(front);
        }
        state.tasks.push(lane.group, task);
        self.ready += 1;
    }

    /// Takes out the task that is next in this turn, and says from which queue.
    pub(crate) fn pop(&mut self) -> Option<(u32, Key)> {
        let busy = self.queues.iter_mut().zip(0..).filter(|(state, _)| state.may_run());
        // The first of equals: `min_by_key` keeps the order of the queues.
        let (state, queue) = busy.min_by_key(|(state, _)| state.virtual_time)?;
        let task = state.tasks.pop()?;
        self.front = self.front.max(state.virtual_time);
        self.ready -= 1;
        Some((queue, task))
    }

    /// A task of the queue has run for `span`.
    pub(crate) fn charge(&mut self, queue: u32, span: Duration) {
        let Some(state) = self.queues.get_mut(queue as usize) else { return };
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / SCALE).max(1);
        let cost = nanoseconds.saturating_mul(SCALE) / u64::from(state.share);
        state.virtual_time = state.virtual_time.saturating_add(cost);
        state.taken += span;
        state.runtime += span;
        state.tasks.charge(span);
    }

    /// How long tasks of the queue have run since the last call.
    pub(crate) fn take_runtime(&mut self, queue: u32) -> Duration {
        self.queues
            .get_mut(queue as usize)
            .map(|state| std::mem::take(&mut state.runtime))
            .unwrap_or_default()
    }

    /// Whether tasks are ready for the next turn.
    pub(crate) fn next_turn(&self) -> NextTurn {
        if self.ready == 0 {
            return NextTurn::WhenWoken;
        }
        let ready = self.queues.iter().filter(|state| !state.tasks.is_empty());
        let held = ready.map(|state| state.ration.as_ref().and_then(|ration| ration.held_until));
        // One that is not held comes first.
        held.min().flatten().map_or(NextTurn::Now, NextTurn::At)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    fn lane(queue: u32) -> Lane {
        Lane { queue, group: 0 }
    }

    fn tasks<const N: usize>() -> [Key; N] {
        let mut slab = Slab::new();
        [(); N].map(|()| slab.insert(()))
    }

    /// Microseconds each queue gets when one task of it is always ready and takes `step` of them.
    #[track_caller]
    fn check(shares: [u32; 2], steps: [u64; 2], total: u64, expected: [u64; 2]) {
        let scale = if cfg!(miri) { 20 } else { 1 };
        let (total, expected) = (total / scale, expected.map(|span| span / scale));
        let mut queues = Queues::new();
        let ids = shares.map(|share| queues.add(share));
        let keys = tasks::<2>();
        for (queue, key) in ids.into_iter().zip(keys) {
            queues.push(lane(queue), key);
        }
        let (mut got, mut spent) = ([0; 2], 0);
        while spent < total {
            let (queue, key) = queues.pop().unwrap();
            let step = steps[queue as usize];
            queues.charge(queue, Duration::from_micros(step));
            queues.push(lane(queue), key);
            got[queue as usize] += step;
            spent += step;
        }
        for (got, expected) in got.into_iter().zip(expected) {
            let most = steps[0].max(steps[1]);
            assert!(got.abs_diff(expected) <= 2 * most, "{got} for {expected}");
        }
    }

    #[test]
    fn queues_with_work_share_the_time() {
        check([100, 100], [10, 10], 10_000, [5_000, 5_000]);
        check([100, 100], [10, 500], 100_000, [50_000, 50_000]);
        check([90, 10], [10, 100], 100_000, [90_000, 10_000]);
        check([10, 90], [250, 40], 100_000, [10_000, 90_000]);
    }

    #[test]
    fn an_idle_queue_saves_nothing_up_and_waits_for_one_task_at_most() {
        let mut queues = Queues::new();
        let [busy, other] = [100, 100].map(|share| queues.add(share));
        let [a, b] = tasks();
        queues.push(lane(busy), a);
        let rounds = if cfg!(miri) { 20 } else { 1_000 };
        for _ in 0..rounds {
            assert_eq!(queues.pop(), Some((busy, a)));
            queues.charge(busy, Duration::from_millis(1));
            queues.push(lane(busy), a);
        }
        queues.push(lane(other), b);
        assert_eq!(queues.pop(), Some((other, b)));
        queues.charge(other, Duration::from_millis(2));
        queues.push(lane(other), b);
        for expected in [busy, busy] {
            let (queue, key) = queues.pop().unwrap();
            assert_eq!(queue, expected);
            queues.charge(queue, Duration::from_millis(1));
            queues.push(lane(queue), key);
        }
        assert_eq!(queues.take_runtime(busy), Duration::from_millis(rounds + 2));
        assert_eq!(queues.take_runtime(busy), Duration::ZERO);
    }

    #[test]
    fn a_share_may_change() {
        let mut queues = Queues::new();
        let (ids, [a, b]) = ([100, 100].map(|share| queues.add(share)), tasks());
        queues.set_share(ids[0], 90);
        queues.set_share(ids[1], 10);
        queues.push(lane(ids[0]), a);
        queues.push(lane(ids[1]), b);
        let mut got = [0; 2];
        let scale = if cfg!(miri) { 10 } else { 1 };
        for _ in 0..1_000 / scale {
            let (queue, key) = queues.pop().unwrap();
            queues.charge(queue, Duration::from_micros(10));
            queues.push(lane(queue), key);
            got[queue as usize] += 1;
        }
        assert!(got[0] >= 890 / scale && got[1] >= 90 / scale, "{got:?}");
    }

    /// Favoured tasks that sleep for a moment after each step, and others that are always ready
    /// and take longer.
    #[test]
    fn rations_hold_beside_a_queue_that_sleeps_now_and_then() {
        for step in [100, 30] {
            check_sleeper(Duration::from_micros(step));
        }
    }

    /// A favoured task that works for `favoured_step` and then waits for its client for 20 µs.
    #[track_caller]
    fn check_sleeper(favoured_step: Duration) {
        let mut queues = Queues::new();
        let [favoured, other] = [90, 10].map(|share| queues.add(share));
        queues.ration(other, favoured, 10);
        let ([a, b], budget) = (tasks(), Duration::from_micros(250));
        queues.push(lane(other), b);
        let (mut now, mut got) = (crate::clock::now(), [Duration::ZERO; 2]);
        let mut due = now;
        let whole = Duration::from_millis(if cfg!(miri) { 30 } else { 500 });
        while got[0] < whole {
            if due <= now {
                queues.push(lane(favoured), a);
                due += Duration::from_secs(1);
            }
            queues.begin_turn(now, budget);
            let start = now;
            while now - start < budget
                && let Some((queue, key)) = queues.pop()
            {
                let other_step = Duration::from_micros(120);
                let step = if queue == favoured { favoured_step } else { other_step };
                queues.charge(queue, step);
                now += step;
                got[queue as usize] += step;
                if queue == favoured {
                    due = now + Duration::from_micros(20);
                } else {
                    queues.push(lane(other), key);
                }
            }
            match queues.next_turn() {
                NextTurn::Now => {}
                NextTurn::At(then) => now = now.max(due.min(then)),
                NextTurn::WhenWoken => unreachable!("the other one is always ready"),
            }
        }
        let share = got[1].as_secs_f64() / (got[0] + got[1]).as_secs_f64();
        assert!((0.09..=0.11).contains(&share), "{share} of the time");
        // Nobody is favoured any more: after a moment it is all its own.
        queues.begin_turn(now, budget);
        queues.begin_turn(now + budget, budget);
        assert_eq!(queues.pop(), Some((other, b)));
        assert!(!queues.has_had_its_ration(other));
    }

    #[test]
    fn favoured_queues_rest_a_while_after_their_last_task() {
        let mut queues = Queues::new();
        let [favoured, other] = [90, 10].map(|share| queues.add(share));
        let (start, span) = (crate::clock::now(), Duration::from_millis(100));
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!queues.favoured_rest(start, span), "nobody is favoured");
        queues.ration(other, favoured, 10);
        assert!(queues.favoured_rest(start, span));
        let [a, b] = tasks();
        queues.push(lane(other), b);
        queues.push(lane(favoured), a);
        assert!(!queues.favoured_rest(start, span), "a task is ready");
        queues.begin_turn(start, span);
        while let Some((queue, _)) = queues.pop() {
            queues.charge(queue, Duration::from_micros(1));
        }
        assert!(!queues.favoured_rest(at(1), span), "a task has just run");
        queues.begin_turn(at(1), span);
        queues.begin_turn(at(2), span);
        assert!(!queues.favoured_rest(at(100), span), "a task ran less than the span ago");
        assert!(queues.favoured_rest(at(101), span));
    }

    #[test]
    fn tasks_of_a_queue_run_in_order() {
        let mut queues = Queues::new();
        let queue = queues.add(0);
        let keys = tasks::<3>();
        keys.iter().for_each(|key| queues.push(lane(queue), *key));
        assert_eq!(queues.next_turn(), NextTurn::Now);
        let order: Vec<_> = std::iter::from_fn(|| queues.pop()).map(|(_, key)| key).collect();
        assert_eq!((order, queues.next_turn()), (keys.to_vec(), NextTurn::WhenWoken));
    }
}
