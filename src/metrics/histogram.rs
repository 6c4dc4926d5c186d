//! How long something takes: fixed buckets, the same everywhere, so that those of several shards
//! add up. Plain cells; who measures reads the clock.

use std::cell::Cell;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Upper bounds of the buckets; what is longer than the last is in one more.
const BOUNDS: [Duration; 18] = {
    let micros = [
        100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
        1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
    ];
    let mut bounds = [Duration::ZERO; 18];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = Duration::from_micros(micros[index]);
        index += 1;
    }
    bounds
};

const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts spans of time.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Cell<u64>; BUCKETS],
    nanoseconds: Cell<u64>,
}

impl Histogram {
    /// Counts one span.
    pub fn record(&self, span: Duration) {
        let bucket = &self.buckets[BOUNDS.partition_point(|bound| *bound < span)];
        bucket.set(bucket.get() + 1);
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.set(self.nanoseconds.get().wrapping_add(nanoseconds));
    }

    /// What it has counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Spans {
        let mut spans = Spans { nanoseconds: self.nanoseconds.get(), ..Spans::default() };
        spans.buckets.iter_mut().zip(&self.buckets).for_each(|(to, from)| *to = from.get());
        spans
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { Cell::new(0) }; BUCKETS], nanoseconds: Cell::new(0) }
    }
}

/// What histograms have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Spans {
    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(to, from)| *to += from);
        self.nanoseconds = self.nanoseconds.wrapping_add(other.nanoseconds);
    }

    /// How many spans were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How many were no longer than each bound, 100 µs to 60 s.
    pub fn up_to_bounds(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut sum = 0;
        BOUNDS.into_iter().zip(&self.buckets).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }

    /// The sum of all, in seconds.
    #[must_use]
    pub fn seconds(&self) -> String {
        seconds(Duration::from_nanos(self.nanoseconds))
    }
}

/// `span` in seconds, exactly, without zeros at the end: `0.0001`, `2.5`, `10`.
#[must_use]
pub fn seconds(span: Duration) -> String {
    let mut text = span.as_secs().to_string();
    if span.subsec_nanos() > 0 {
        let _ = write!(text, ".{:09}", span.subsec_nanos());
        text.truncate(text.trim_end_matches('0').len());
    }
    text
}

/// How long the tasks of an executor run between two looks for input: a shard that was held up
/// shows it.
#[derive(Debug)]
pub struct TurnLengths {
    began: Instant,
    lengths: Histogram,
    longest: Longest,
}

impl TurnLengths {
    /// None yet; the windows of [`TurnLengths::longest`] begin `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, lengths: Histogram::default(), longest: Longest::default() }
    }

    /// A turn that ended `now`.
    pub fn note(&self, now: Instant, length: Duration) {
        self.lengths.record(length);
        self.longest.note(now.saturating_duration_since(self.began), length);
    }

    /// All since the beginning.
    #[must_use]
    pub fn snapshot(&self) -> Spans {
        self.lengths.snapshot()
    }

    /// The longest that ended within the minute before `now`, to 5 s: the same for everybody who
    /// asks, however often.
    #[must_use]
    pub fn longest(&self, now: Instant) -> Duration {
        self.longest.get(now.saturating_duration_since(self.began))
    }
}

/// Slots that [`Longest`] looks back over.
const SLOTS: usize = 12;
const SLOT_SECONDS: u64 = 5;

/// The longest span of the last minute. Times are since a common beginning.
#[derive(Debug, Default)]
struct Longest {
    /// Number of a slot of time, and the longest span in it.
    slots: [Cell<(u64, Duration)>; SLOTS],
}

impl Longest {
    fn note(&self, now: Duration, span: Duration) {
        let number = number(now);
        let slot = &self.slots[usize::try_from(number % SLOTS as u64).unwrap_or(0)];
        let (known, longest) = slot.get();
        slot.set((number, if known == number { longest.max(span) } else { span }));
    }

    fn get(&self, now: Duration) -> Duration {
        let number = number(now);
        let recent = self.slots.iter().map(Cell::get);
        let recent = recent.filter(|(known, _)| known + SLOTS as u64 > number);
        recent.map(|(_, longest)| longest).max().unwrap_or_default()
    }
}

/// From 1 on: 0 is a slot that was never used, whose span is none.
const fn number(now: Duration) -> u64 {
    now.as_secs() / SLOT_SECONDS + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(span: u64) -> Duration {
        Duration::from_micros(span)
    }

    /// A bound belongs to its bucket, as `le` says.
    #[test]
    fn buckets() {
        let histogram = Histogram::default();
        for span in [micros(0), micros(100), Duration::from_nanos(100_001), micros(60_000_000)] {
            histogram.record(span);
        }
        histogram.record(Duration::from_secs(61));
        let spans = histogram.snapshot();
        let counts: Vec<_> = spans.up_to_bounds().collect();
        assert_eq!(counts[..3], [(micros(100), 2), (micros(250), 3), (micros(500), 3)]);
        assert_eq!(counts.last(), Some(&(micros(60_000_000), 4)));
        assert_eq!(spans.count(), 5);
        assert_eq!(spans.seconds(), "121.000200001");
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS.is_sorted() && BOUNDS[0] == micros(100));
        assert_eq!(BOUNDS[BOUNDS.len() - 1], Duration::from_secs(60));
    }

    /// Two shards together are as one that has seen all.
    #[test]
    fn histograms_add_up() {
        let [one, other, both] = [(); 3].map(|()| Histogram::default());
        for (number, span) in
            [3, 90, 250, 251, 7_000, 61_000_000, 1_000_000].into_iter().enumerate()
        {
            if number % 2 == 0 { &one } else { &other }.record(micros(span));
            both.record(micros(span));
        }
        let mut sum = one.snapshot();
        sum.add(&other.snapshot());
        assert_eq!(sum, both.snapshot());
    }

    #[test]
    fn seconds_are_exact() {
        for (span, expected) in [
            (Duration::ZERO, "0"),
            (micros(100), "0.0001"),
            (micros(2_500_000), "2.5"),
            (Duration::from_secs(60), "60"),
            (Duration::from_nanos(10_000_000_001), "10.000000001"),
        ] {
            assert_eq!(seconds(span), expected);
        }
    }

    /// Two who ask hear the same, and a minute later it is forgotten.
    #[test]
    fn the_longest_of_a_minute() {
        let (longest, at) = (Longest::default(), Duration::from_secs);
        assert_eq!(longest.get(at(0)), Duration::ZERO);
        longest.note(at(1), micros(50));
        longest.note(at(2), micros(900));
        longest.note(at(3), micros(40));
        longest.note(at(21), micros(100));
        assert_eq!((longest.get(at(21)), longest.get(at(54))), (micros(900), micros(900)));
        assert_eq!(longest.get(at(61)), micros(100));
        longest.note(at(61), micros(7));
        assert_eq!((longest.get(at(61)), longest.get(at(81))), (micros(100), micros(7)));
        assert_eq!(longest.get(at(1000)), Duration::ZERO);
    }
}
