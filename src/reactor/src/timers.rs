//! Deadlines and who waits for them: a heap in which every entry knows its place, so that one is
//! removed as fast as it is added. Knows no clock, and makes no system call: the earliest deadline
//! is how long the ring may sleep.
//!
//! A session sets a deadline with each command and takes it back with the next, so most entries
//! never fire. A heap that leaves them in until their time would be as long as the commands of a
//! timeout; a wheel would have to round, and wake an idle shard at its ticks.

use std::task::Waker;
use std::time::Instant;

use crate::slab::{Key, Slab};

/// All deadlines of one executor.
#[derive(Debug)]
pub(crate) struct Timers {
    /// A binary heap, the earliest first.
    heap: Vec<(Instant, Key)>,
    entries: Slab<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Where in the heap.
    position: usize,
    waker: Waker,
}

impl Timers {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { heap: Vec::new(), entries: Slab::new() }
    }

    /// Has `waker` woken at `deadline`.
    pub(crate) fn insert(&mut self, deadline: Instant, waker: Waker) -> Key {
        let position = self.heap.len();
        let key = self.entries.insert(Entry { position, waker });
        self.heap.push((deadline, key));
        self.rise(position);
        key
    }

    /// Whom to wake instead; false when the deadline has passed and the key is worth nothing.
    pub(crate) fn update(&mut self, key: Key, waker: &Waker) -> bool {
        self.entries.get_mut(key).map(|entry| entry.waker.clone_from(waker)).is_some()
    }

    /// Forgets a deadline, and gives back whom it would have woken.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Waker> {
        let Entry { position, waker } = self.entries.remove(key)?;
        self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.settle(position);
        }
        Some(waker)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|(deadline, _)| *deadline)
    }

    /// Whom the earliest deadline wakes, if it has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Waker> {
        let (deadline, key) = *self.heap.first()?;
        if deadline > now { None } else { self.remove(key) }
    }

    /// Gives the entry that came to `position` its right place.
    fn settle(&mut self, position: usize) {
        let key = self.heap[position].1;
        self.rise(position);
        if self.heap[position].1 == key {
            self.sink(position);
        }
    }

    fn rise(&mut self, mut position: usize) {
        while position > 0 {
            let parent = (position - 1) / 2;
            if self.heap[parent].0 <= self.heap[position].0 {
                break;
            }
            self.heap.swap(parent, position);
            self.note(position);
            position = parent;
        }
        self.note(position);
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let children = 2 * position + 1..(2 * position + 3).min(self.heap.len());
            let Some(least) = children.min_by_key(|child| self.heap[*child].0) else { break };
            if self.heap[position].0 <= self.heap[least].0 {
                break;
            }
            self.heap.swap(position, least);
            self.note(position);
            position = least;
        }
        self.note(position);
    }

    /// Tells an entry where it is.
    fn note(&mut self, position: usize) {
        let key = self.heap[position].1;
        if let Some(entry) = self.entries.get_mut(key) {
            entry.position = position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::testing::Random;
    use std::collections::BTreeMap;
    use std::time::Duration;

    /// Against a sorted map, with a thousand random changes a seed.
    #[test]
    fn deadlines_pass_in_order_whatever_is_removed() {
        let start = clock::now();
        for seed in 0..if cfg!(miri) { 2 } else { 50 } {
            let mut random = Random::new(seed);
            let (mut timers, mut model) = (Timers::new(), BTreeMap::new());
            let mut now = start;
            for _ in 0..1_000 {
                match random.below(10) {
                    0..5 => {
                        let deadline = now + Duration::from_micros(random.below(1_000));
                        let key = timers.insert(deadline, Waker::noop().clone());
                        model.insert((deadline, key), ());
                    }
                    5..8 if !model.is_empty() => {
                        let chosen = random.index(model.len());
                        let (deadline, key) = *model.keys().nth(chosen).unwrap();
                        model.remove(&(deadline, key));
                        assert!(timers.update(key, Waker::noop()));
                        assert!(timers.remove(key).is_some());
                        assert!(timers.remove(key).is_none() && !timers.update(key, Waker::noop()));
                    }
                    _ => {
                        now += Duration::from_micros(random.below(100));
                        let due = model.keys().filter(|(deadline, _)| *deadline <= now).count();
                        model.retain(|(deadline, _), ()| *deadline > now);
                        let fired = std::iter::from_fn(|| timers.expire(now)).count();
                        assert_eq!(fired, due);
                    }
                }
                assert_eq!(timers.next(), model.keys().next().map(|(deadline, _)| *deadline));
                assert_eq!(timers.entries.len(), model.len());
            }
        }
    }
}
