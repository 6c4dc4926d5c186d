//! Which task is next. Tasks that are ready wait in queues; the queues share the executor's time by
//! weights. Pure: what a task has taken is told, and no clock is read.

use std::time::Duration;

use crate::groups::Groups;
use crate::slab::Key;

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
/// alone gets everything. Within a queue, [`Groups`] take turns.
///
/// A queue may give way to another: it gets no more than its share beside that one also when the
/// other has nothing more to do in this turn, until input has been looked for.
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
    /// Since it was last asked for.
    runtime: Duration,
    /// In this turn, and in the one before.
    turns: [Duration; 2],
    /// The queue that it gives way to.
    gives_way_to: Option<u32>,
}

/// Keeps the division by the share from losing what short tasks take.
const SCALE: u64 = 256;

/// Who has worked for less than this in a turn has nothing to do: that is a command or two.
const QUIET: Duration = Duration::from_micros(50);

/// How far a queue that gives way may be ahead of its share, by its own time: one step may take
/// long, and is not held against the queue for longer.
const AHEAD_MAX: Duration = Duration::from_millis(2);

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
            runtime: Duration::ZERO,
            turns: [Duration::ZERO; 2],
            gives_way_to: None,
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

    /// Has a queue give way to another one.
    pub(crate) fn give_way(&mut self, queue: u32, other: u32) {
        if let Some(state) = self.queues.get_mut(queue as usize) {
            state.gives_way_to = Some(other);
        }
    }

    /// Input has been looked for.
    pub(crate) fn begin_turn(&mut self) {
        for state in &mut self.queues {
            state.turns = [Duration::ZERO, state.turns[0]];
        }
        for queue in 0..self.queues.len() {
            let Some(other) = self.gives_way_to(queue) else { continue };
            let (quiet, reached) = (other.turns[1] < QUIET, other.virtual_time.max(self.front));
            let state = &mut self.queues[queue];
            let most = if quiet { Duration::ZERO } else { AHEAD_MAX };
            let most = reached.saturating_add(cost(most, state.share));
            state.virtual_time = state.virtual_time.min(most);
        }
    }

    fn gives_way_to(&self, queue: usize) -> Option<&State> {
        let other = self.queues[queue].gives_way_to?;
        self.queues.get(other as usize)
    }

    /// Whether its tasks have to wait for another queue's, though those may have nothing to do.
    fn has_to_wait(&self, queue: usize) -> bool {
        self.gives_way_to(queue).is_some_and(|other| {
            other.turns[0] >= QUIET && self.queues[queue].virtual_time > other.virtual_time
        })
    }

    /// Whether all tasks that are ready have to wait until input has been looked for.
    pub(crate) fn all_wait(&self) -> bool {
        (0..self.queues.len())
            .all(|queue| self.queues[queue].tasks.is_empty() || self.has_to_wait(queue))
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

    /// Takes out the task that is next, and says from which queue. None also when those that are
    /// ready have to give way until the next turn.
    pub(crate) fn pop(&mut self) -> Option<(u32, Key)> {
        let busy = (0..self.queues.len())
            .filter(|queue| !self.queues[*queue].tasks.is_empty() && !self.has_to_wait(*queue));
        // The first of equals: `min_by_key` keeps the order of the queues.
        let index = busy.min_by_key(|queue| self.queues[*queue].virtual_time)?;
        let (state, queue) = (&mut self.queues[index], u32::try_from(index).unwrap_or(u32::MAX));
        let task = state.tasks.pop()?;
        self.front = self.front.max(state.virtual_time);
        self.ready -= 1;
        Some((queue, task))
    }

    /// A task of the queue has run for `span`.
    pub(crate) fn charge(&mut self, queue: u32, span: Duration) {
        let Some(state) = self.queues.get_mut(queue as usize) else { return };
        let cost = cost(span, state.share);
        state.virtual_time = state.virtual_time.saturating_add(cost);
        state.runtime += span;
        state.turns[0] += span;
        state.tasks.charge(span);
    }

    /// How long tasks of the queue have run since the last call.
    pub(crate) fn take_runtime(&mut self, queue: u32) -> Duration {
        self.queues
            .get_mut(queue as usize)
            .map(|state| std::mem::take(&mut state.runtime))
            .unwrap_or_default()
    }

    /// Whether no task is ready.
    pub(crate) const fn is_empty(&self) -> bool {
        self.ready == 0
    }
}

/// By how much a virtual time goes on.
fn cost(span: Duration, share: u32) -> u64 {
    let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / SCALE).max(1);
    nanoseconds.saturating_mul(SCALE) / u64::from(share)
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
        for _ in 0..1_000 {
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
        assert_eq!(queues.take_runtime(busy), Duration::from_millis(1_002));
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
        for _ in 0..1_000 {
            let (queue, key) = queues.pop().unwrap();
            queues.charge(queue, Duration::from_micros(10));
            queues.push(lane(queue), key);
            got[queue as usize] += 1;
        }
        assert!(got[0] >= 890 && got[1] >= 90, "{got:?}");
    }

    /// One that is asked for a step in each turn, and so has nothing to do in between, beside one
    /// with work without end.
    #[test]
    fn who_gives_way_keeps_to_its_share_also_when_nobody_else_is_ready() {
        for (gives_way, least, most) in [(true, 8, 10), (false, 0, 1)] {
            let mut queues = Queues::new();
            let [favoured, paced] = [90, 10].map(|share| queues.add(share));
            if gives_way {
                queues.give_way(paced, favoured);
            }
            let [a, b] = tasks();
            queues.push(lane(paced), b);
            let mut got = [0_u64; 2];
            for _ in 0..2_000 {
                queues.begin_turn();
                queues.push(lane(favoured), a);
                let mut spent = 0;
                while spent < 250 {
                    let Some((queue, key)) = queues.pop() else { break };
                    queues.charge(queue, Duration::from_micros(100));
                    (spent, got[queue as usize]) = (spent + 100, got[queue as usize] + 1);
                    if key == b {
                        queues.push(lane(paced), b);
                    }
                }
            }
            let ratio = got[0] / got[1];
            assert!((least..=most).contains(&ratio), "{got:?}");
        }
    }

    #[test]
    fn who_gives_way_is_free_in_a_quiet_turn_whatever_it_took() {
        let mut queues = Queues::new();
        let [favoured, paced] = [90, 10].map(|share| queues.add(share));
        queues.give_way(paced, favoured);
        let [a, b] = tasks();
        for _ in 0..3 {
            queues.begin_turn();
            queues.push(lane(paced), b);
            assert_eq!(queues.pop(), Some((paced, b)));
            queues.charge(paced, Duration::from_secs(1));
        }
        queues.push(lane(favoured), a);
        queues.push(lane(paced), b);
        queues.begin_turn();
        assert_eq!(queues.pop(), Some((favoured, a)));
        queues.charge(favoured, Duration::from_micros(200));
        // It is not ahead yet; then it has to wait, until a turn without the other.
        assert_eq!(queues.pop(), Some((paced, b)));
        queues.charge(paced, Duration::from_millis(1));
        queues.push(lane(paced), b);
        assert_eq!((queues.pop(), queues.is_empty(), queues.all_wait()), (None, false, true));
        queues.begin_turn();
        assert!(!queues.all_wait());
        assert_eq!(queues.pop(), Some((paced, b)));
    }

    #[test]
    fn tasks_of_a_queue_run_in_order() {
        let mut queues = Queues::new();
        let queue = queues.add(0);
        let keys = tasks::<3>();
        keys.iter().for_each(|key| queues.push(lane(queue), *key));
        assert!(!queues.is_empty());
        let order: Vec<_> = std::iter::from_fn(|| queues.pop()).map(|(_, key)| key).collect();
        assert_eq!((order, queues.is_empty()), (keys.to_vec(), true));
    }
}
