//! The ready tasks of one queue, by group: groups share the queue's time evenly, however many tasks
//! each of them has. Pure: what a task has taken is told, and no clock is read.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use crate::slab::Key;

/// Ready tasks, in turns of their groups.
///
/// Each group has a virtual time, which goes on by the time its tasks take; the group that is
/// furthest behind is next, and of equals the one that became ready first. A group with nothing
/// ready is forgotten when its task has run: it saves nothing up, and owes nothing when it wakes.
/// Within a group it is first come, first served.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Those with a task that is ready, but for the one whose task runs.
    waiting: HashMap<u64, Active>,
    /// The same by virtual time, and by the order in which they came.
    order: BinaryHeap<Reverse<(u64, u64, u64)>>,
    /// Whose task was taken and has not been charged yet.
    running: Option<(u64, Active)>,
    /// The virtual time of the group that was last taken from: one that wakes begins here.
    front: u64,
    came: u64,
    /// Empty, to be used again: a group that comes and goes takes no memory each time.
    spare: Vec<VecDeque<Key>>,
}

#[derive(Debug)]
struct Active {
    /// Nanoseconds.
    virtual_time: u64,
    tasks: VecDeque<Key>,
}

/// Empty queues kept at most; one takes some hundred octets.
const SPARE_MAX: usize = 64;

impl Groups {
    /// The task is ready, and goes to the end of its group.
    pub(crate) fn push(&mut self, group: u64, task: Key) {
        match (&mut self.running, self.waiting.get_mut(&group)) {
            (Some((running, active)), _) if *running == group => active.tasks.push_back(task),
            (_, Some(active)) => active.tasks.push_back(task),
            _ => {
                let mut tasks = self.spare.pop().unwrap_or_default();
                tasks.push_back(task);
                self.await_turn(group, Active { virtual_time: self.front, tasks });
            }
        }
    }

    /// Takes out the task that is next.
    pub(crate) fn pop(&mut self) -> Option<Key> {
        self.charge(Duration::ZERO);
        let Reverse((_, _, group)) = self.order.pop()?;
        let mut active = self.waiting.remove(&group)?;
        self.front = self.front.max(active.virtual_time);
        let task = active.tasks.pop_front();
        self.running = Some((group, active));
        task
    }

    /// The task that was last taken out has run for `span`.
    pub(crate) fn charge(&mut self, span: Duration) {
        let Some((group, mut active)) = self.running.take() else { return };
        if active.tasks.is_empty() {
            if self.spare.len() < SPARE_MAX {
                self.spare.push(active.tasks);
            }
            return;
        }
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).max(1);
        active.virtual_time = active.virtual_time.saturating_add(nanoseconds);
        self.await_turn(group, active);
    }

    /// Whether no task is ready.
    pub(crate) fn is_empty(&self) -> bool {
        let behind = self.running.as_ref().is_some_and(|(_, active)| !active.tasks.is_empty());
        self.waiting.is_empty() && !behind
    }

    fn await_turn(&mut self, group: u64, active: Active) {
        self.came += 1;
        self.order.push(Reverse((active.virtual_time, self.came, group)));
        self.waiting.insert(group, active);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    fn tasks<const N: usize>() -> [Key; N] {
        let mut slab = Slab::new();
        [(); N].map(|()| slab.insert(()))
    }

    const STEP: Duration = Duration::from_micros(20);

    /// One task beside very many of another group: it is the next, each time.
    #[test]
    fn who_comes_alone_waits_for_one_task_of_a_crowd() {
        let mut groups = Groups::default();
        let [lonely, crowd @ ..] = tasks::<65>();
        crowd.iter().for_each(|task| groups.push(1, *task));
        for round in 0..if cfg!(miri) { 30 } else { 1_000 } {
            let first = groups.pop().unwrap();
            assert_eq!(first, crowd[round % crowd.len()], "first come, first served");
            groups.push(2, lonely);
            groups.charge(STEP);
            groups.push(1, first);
            assert_eq!(groups.pop(), Some(lonely), "round {round}");
            groups.charge(STEP);
        }
    }

    /// Microseconds that each of two groups gets, whose tasks are always ready and take `steps`.
    #[test]
    fn groups_share_the_time_whatever_their_tasks_take() {
        for (steps, counts) in [([10, 10], [1, 1]), ([10, 500], [1, 1]), ([300, 7], [3, 60])] {
            let mut groups = Groups::default();
            let keys = tasks::<63>();
            let (first, second) = keys.split_at(counts[0]);
            first.iter().for_each(|task| groups.push(7, *task));
            second[..counts[1]].iter().for_each(|task| groups.push(9, *task));
            let mut got = [0_u64; 2];
            while got[0] + got[1] < if cfg!(miri) { 2_500 } else { 100_000 } {
                let task = groups.pop().unwrap();
                let of = usize::from(!first.contains(&task));
                groups.push([7, 9][of], task);
                groups.charge(Duration::from_micros(steps[of]));
                got[of] += steps[of];
            }
            assert!(got[0].abs_diff(got[1]) <= 2 * steps[0].max(steps[1]), "{got:?} {steps:?}");
        }
    }

    #[test]
    fn a_group_that_is_idle_is_forgotten() {
        let mut groups = Groups::default();
        let [a, b] = tasks();
        for group in 0..1_000 {
            assert!(groups.is_empty());
            groups.push(group, a);
            groups.push(group, b);
            assert!(!groups.is_empty());
            assert_eq!(groups.pop(), Some(a));
            assert!(!groups.is_empty());
            groups.charge(STEP);
            // Ended, perhaps, and never charged.
            assert_eq!(groups.pop(), Some(b));
            assert!(groups.is_empty());
            assert_eq!(groups.pop(), None);
        }
        assert_eq!((groups.waiting.len(), groups.order.len(), groups.spare.len()), (0, 0, 1));
    }
}
