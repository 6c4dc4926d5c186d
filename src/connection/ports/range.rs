//! Which ports of the configured range a shard has: how many at first, which of them are free,
//! which rest, and which it can spare for another shard.

use std::{collections::VecDeque, io, ops::RangeInclusive};

/// Ports given to another shard at once.
const GIVEN_MAX: usize = 64;

/// The part of `range` that shard `shard_index` of `shard_count` begins with: contiguous, disjoint
/// from the others, and all together the whole range. Sizes differ by at most one; where there are
/// fewer ports than shards, some begin with none.
///
/// # Panics
///
/// When `shard_index` is not below `shard_count`.
#[must_use]
pub fn split(
    range: RangeInclusive<u16>,
    shard_index: usize,
    shard_count: usize,
) -> RangeInclusive<u16> {
    assert!(shard_index < shard_count, "no such shard");
    let bound = |index: usize| range.len() * index / shard_count;
    let (first, end) = (bound(shard_index), bound(shard_index + 1));
    let mut part = range.skip(first).take(end - first);
    match (part.next(), part.next_back()) {
        (Some(first), Some(last)) => first..=last,
        (Some(only), None) => only..=only,
        (None, _) => EMPTY,
    }
}

#[expect(clippy::reversed_empty_ranges, reason = "that is what it is to be")]
const EMPTY: RangeInclusive<u16> = 1..=0;

/// A shard's ports of a range at one local address. Of those that no listener holds, `free` ones
/// are drawn at random. A released port rests until half of them have been released after it, so
/// that a late connection for its last transfer does not reach the next one.
#[derive(Debug)]
pub(super) struct Part {
    free: Vec<u16>,
    resting: VecDeque<u16>,
    /// How many there are, those that listeners hold included.
    size: usize,
    moved: bool,
}

impl Part {
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        let free: Vec<u16> = range.collect();
        let size = free.len();
        Self { free, resting: VecDeque::new(), size, moved: false }
    }

    pub(super) const fn size(&self) -> usize {
        self.size
    }

    pub(super) const fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    /// Whether some have come from another shard, or gone to one. Then it is not known any more
    /// from the configuration which they are.
    pub(super) const fn has_moved(&self) -> bool {
        self.moved
    }

    /// Whether no listener holds one of them.
    pub(super) fn is_idle(&self) -> bool {
        self.size == self.free.len() + self.resting.len()
    }

    /// A random free one, else the one that has rested longest.
    pub(super) fn draw(&mut self) -> io::Result<Option<u16>> {
        if self.free.is_empty() {
            return Ok(self.resting.pop_front());
        }
        let index = super::random_below(self.free.len())?;
        Ok(Some(self.free.swap_remove(index)))
    }

    pub(super) fn release(&mut self, port: u16) {
        self.resting.push_back(port);
        if self.resting.len() > self.size / 2 {
            self.free.extend(self.resting.pop_front());
        }
    }

    /// Takes out what another shard, which has too few, is to have: half of the free ones, else the
    /// one that has rested longest; so many of all are kept.
    pub(super) fn give(&mut self, kept: usize) -> Vec<u16> {
        let spare = self.size.saturating_sub(kept);
        let half = self.free.len().div_ceil(2).min(spare).min(GIVEN_MAX);
        let given = if half > 0 {
            self.free.split_off(self.free.len() - half)
        } else if spare > 0 {
            self.resting.pop_front().into_iter().collect()
        } else {
            Vec::new()
        };
        self.size -= given.len();
        self.moved |= !given.is_empty();
        given
    }

    /// A port that a listener had is another shard's.
    pub(super) const fn lose(&mut self) {
        self.size -= 1;
        self.moved = true;
    }

    /// Takes what another shard has given.
    pub(super) fn receive(&mut self, given: Vec<u16>) {
        self.size += given.len();
        self.moved |= !given.is_empty();
        self.free.extend(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn parts_are_disjoint_complete_and_even() {
        for (range, shards) in [
            (50_000..=50_999, 7),
            (50_000..=50_002, 3),
            (1..=u16::MAX, 64),
            (0..=u16::MAX, 1),
            (0..=u16::MAX, 65_536),
            (1024..=1033, 4),
            (8192..=8200, 64),
            (7..=7, 2),
        ] {
            let parts: Vec<_> =
                (0..shards).map(|shard| split(range.clone(), shard, shards)).collect();
            let all: Vec<u16> = parts.iter().cloned().flatten().collect();
            assert_eq!(all, range.clone().collect::<Vec<_>>(), "{range:?} among {shards}");
            let sizes = parts.iter().map(ExactSizeIterator::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    /// [PASV-02]
    #[test]
    fn ports_are_random_and_rest_before_they_come_again() {
        let mut part = Part::new(100..=199);
        let mut drawn = Vec::new();
        for _ in 0..1000 {
            let port = part.draw().unwrap().unwrap();
            assert!((100..=199).contains(&port));
            drawn.push(port);
            part.release(port);
        }
        for window in drawn.windows(50) {
            assert_eq!(window.iter().collect::<BTreeSet<_>>().len(), 50, "{window:?}");
        }
        let successors = drawn.windows(2).filter(|pair| pair[1] == pair[0] + 1).count();
        assert!(successors < 100, "{successors} of 1000 follow the one before");
    }

    /// Whoever gives and receives, each port is in one place, and nobody gives the last one away.
    #[test]
    fn ports_move_and_none_is_lost() {
        let whole: BTreeSet<u16> = (1..=9).collect();
        let mut parts = [Part::new(1..=5), Part::new(6..=9)];
        let mut held = Vec::new();
        let mut drain = |part: &mut Part| {
            while let Some(port) = part.draw().unwrap() {
                held.push(port);
            }
        };
        assert!(!parts[0].has_moved());
        drain(&mut parts[0]);
        for expected in [2, 1, 0, 0] {
            let given = parts[1].give(1);
            assert_eq!(given.len(), expected);
            parts[0].receive(given);
            drain(&mut parts[0]);
        }
        assert_eq!(parts.each_ref().map(Part::size), [8, 1]);
        assert!(parts.iter().all(Part::has_moved));
        assert!(parts[1].is_idle() && !parts[0].is_idle());
        // What rests can be had where nothing is free, one at a time.
        held.iter().for_each(|&port| parts[0].release(port));
        assert_eq!((parts[0].free(), parts[0].resting()), (4, 4));
        let given: Vec<_> = (0..8).map(|_| parts[0].give(1)).collect();
        let counts: Vec<_> = given.iter().map(Vec::len).collect();
        assert_eq!(counts, [2, 1, 1, 1, 1, 1, 0, 0]);
        given.into_iter().for_each(|ports| parts[1].receive(ports));
        // The last one of all, where there are too few.
        assert_eq!(parts[0].give(1).len(), 0);
        let last = parts[0].give(0);
        assert_eq!((last.len(), parts[0].size()), (1, 0));
        parts[1].receive(last);
        let mut all = BTreeSet::new();
        for part in &mut parts {
            while let Some(port) = part.draw().unwrap() {
                assert!(all.insert(port), "{port} is in two places");
            }
        }
        assert_eq!(all, whole);
    }
}
