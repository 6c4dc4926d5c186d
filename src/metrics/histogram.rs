//! How long something takes: fixed buckets, the same everywhere, so that those of several shards
//! add up: a few of round numbers for classic histograms, and beside them those of native ones.
//! Plain cells; who measures reads the clock.

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

/// Buckets of native histograms to an octave: a bucket is 9 % wider than the one before.
const PER_OCTAVE: usize = 8;
/// Octaves on each side of a second: 0.95 µs to 12 days, which nothing here is longer than.
const OCTAVES: usize = 20;
/// Half of the native buckets.
const NATIVE_HALF: usize = OCTAVES * PER_OCTAVE;
/// With the one of what is shorter than all.
const NATIVE: usize = 2 * NATIVE_HALF + 1;

/// Number of the first of them, as Prometheus counts: 0 ends at one second.
const NATIVE_FIRST: i64 = -159;
const _: () = assert!(NATIVE_HALF == 160 && PER_OCTAVE == 1 << Spans::SCHEMA);

/// Upper bounds of the native buckets in whole nanoseconds: 2^(n/8) seconds, rounded down.
static NATIVE_BOUNDS: [u64; NATIVE] = {
    // 2^(n/8), as integers of 62 bits behind the point.
    const STEPS: [u128; PER_OCTAVE] = [
        4_611_686_018_427_387_904,
        5_029_079_263_719_320_435,
        5_484_249_825_272_419_511,
        5_980_616_842_327_661_685,
        6_521_908_912_666_391_106,
        7_112_192_101_001_162_094,
        7_755_900_482_342_532_474,
        8_457_869_449_776_733_335,
    ];
    let mut bounds = [0; NATIVE];
    let mut index = 0;
    while index < NATIVE {
        let nanoseconds = STEPS[index % PER_OCTAVE] * 1_000_000_000;
        // 12 days in nanoseconds are 50 bits.
        #[expect(clippy::cast_possible_truncation, reason = "see the line above")]
        let bound = (nanoseconds >> (62 + OCTAVES - index / PER_OCTAVE)) as u64;
        bounds[index] = bound;
        index += 1;
    }
    bounds
};

/// Counts spans of time.
#[derive(Debug)]
pub struct Histogram {
    buckets: [Cell<u64>; BUCKETS],
    /// 2.5 KiB: with the phases, 57 KiB a shard.
    native: [Cell<u64>; NATIVE],
    nanoseconds: Cell<u64>,
}

impl Histogram {
    /// Counts one span.
    pub fn record(&self, span: Duration) {
        let bucket = &self.buckets[BOUNDS.partition_point(|bound| *bound < span)];
        bucket.set(bucket.get() + 1);
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let place = NATIVE_BOUNDS.partition_point(|bound| *bound < nanoseconds).min(NATIVE - 1);
        self.native[place].set(self.native[place].get() + 1);
        self.nanoseconds.set(self.nanoseconds.get().wrapping_add(nanoseconds));
    }

    /// What it has counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Spans {
        let mut spans = Spans { nanoseconds: self.nanoseconds.get(), ..Spans::default() };
        spans.buckets.iter_mut().zip(&self.buckets).for_each(|(to, from)| *to = from.get());
        spans.native = self.native.iter().map(Cell::get).collect();
        spans
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { Cell::new(0) }; BUCKETS],
            native: [const { Cell::new(0) }; NATIVE],
            nanoseconds: Cell::new(0),
        }
    }
}

/// What histograms have counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans {
    buckets: [u64; BUCKETS],
    /// Empty where nothing was counted.
    native: Vec<u64>,
    nanoseconds: u64,
}

impl Spans {
    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(to, from)| *to += from);
        self.native.resize(self.native.len().max(other.native.len()), 0);
        self.native.iter_mut().zip(&other.native).for_each(|(to, from)| *to += from);
        self.nanoseconds = self.nanoseconds.wrapping_add(other.nanoseconds);
    }

    /// Of the native buckets: how many there are to an octave, as the power of two.
    pub const SCHEMA: i64 = 3;

    /// What is no longer than this is in the bucket of what is nothing.
    pub const ZERO_SECONDS: f64 = 1.0 / 1_048_576.0;

    /// How many are.
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.native.first().copied().unwrap_or(0)
    }

    /// The native buckets that are not empty: number n is of what is longer than 2^((n-1)/8)
    /// seconds, and no longer than 2^(n/8).
    pub fn native(&self) -> impl Iterator<Item = (i64, u64)> {
        let counts = self.native.iter().skip(1).copied();
        (NATIVE_FIRST..).zip(counts).filter(|(_, count)| *count > 0)
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

    /// The bounds are powers of the eighth root of two, and belong to their buckets.
    #[test]
    fn native_buckets() {
        for (number, bound) in (-160_i32..).zip(&NATIVE_BOUNDS) {
            let exact = 2_f64.powf(f64::from(number) / 8.0);
            let error = exact - Duration::from_nanos(*bound).as_secs_f64();
            assert!(error > exact * -1e-12 && error < 1e-9 + exact * 1e-12, "{number}: {bound}");
        }
        let histogram = Histogram::default();
        for span in [0, 953, 954, 1_000_000_000, 1_000_000_001, u64::MAX] {
            histogram.record(Duration::from_nanos(span));
        }
        let spans = histogram.snapshot();
        assert_eq!(spans.native().collect::<Vec<_>>(), [(-159, 1), (0, 1), (1, 1), (160, 1)]);
        assert_eq!((spans.zeros(), Spans::SCHEMA), (2, 3));
        assert_eq!(Spans::ZERO_SECONDS.to_bits(), 2_f64.powi(-20).to_bits());
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
