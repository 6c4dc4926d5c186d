//! The run cut into intervals, for plots over time, the histogram log and the display.
//!
//! An interval is one second long unless the command line says otherwise. A run with more than
//! [`INTERVALS_MAX`] of them halves their number by joining neighbours, so memory stays bounded
//! however long the run is.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

use super::counters::ConnectionStates;
use super::error_kind::ErrorClass;
use super::histogram::LatencyHistogram;
use super::phase::Phase;

/// Intervals kept; more are joined in pairs.
pub const INTERVALS_MAX: usize = 4096;

/// Length of an interval where nothing else is said.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What ended within one interval, in one thread or in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// Position: the interval begins `index` × `length` after the run's start.
    pub index: u64,
    /// Its length.
    pub length: Duration,
    /// Operations that ended, warm-up included.
    pub operations: u64,
    /// Operations that were due in it, and have ended, in it or later.
    pub due: u64,
    /// Of the operations that ended well in it: the sum of each phase, and of the whole, in
    /// nanoseconds, in the order of [`Phase::ALL`].
    pub phase_ns: [u64; Phase::COUNT],
    /// Errors by class, in the order of [`ErrorClass::ALL`].
    pub errors: [u64; ErrorClass::ALL.len()],
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
    /// The most connections open at once in one thread; summed over threads when merged.
    pub connections_peak: u64,
    /// Connections by state at its end.
    pub connections: ConnectionStates,
    /// Corrected latency of the operations, in HdrHistogram's V2 format; empty when none ended.
    histogram: Vec<u8>,
    /// The same of those that the measured part counts; `None` when it counts all of them.
    measured: Option<Vec<u8>>,
}

impl Interval {
    /// When it begins, since the run's start.
    #[must_use]
    pub fn begin(&self) -> Duration {
        Duration::from_nanos(nanoseconds(self.length).saturating_mul(self.index))
    }

    /// Corrected latency of the operations that ended in this interval.
    #[must_use]
    pub fn latency(&self) -> LatencyHistogram {
        let mut latency = LatencyHistogram::new();
        self.add_latency_to(&mut latency);
        latency
    }

    /// Adds this interval's latencies to `latency`.
    pub fn add_latency_to(&self, latency: &mut LatencyHistogram) {
        add_packed(&self.histogram, latency);
    }

    /// Corrected latency of those of its operations that the measured part counts; `None` when it
    /// counts all of them.
    #[must_use]
    pub fn measured_latency(&self) -> Option<LatencyHistogram> {
        let packed = self.measured.as_ref()?;
        let mut latency = LatencyHistogram::new();
        add_packed(packed, &mut latency);
        Some(latency)
    }

    /// Adds what another thread did in the same interval.
    pub(crate) fn merge_thread(&mut self, other: &Self) {
        self.add_counts(other);
        self.connections_peak += other.connections_peak;
        self.connections.merge(&other.connections);
    }

    /// Adds the interval that follows in the same thread.
    pub(crate) fn merge_next(&mut self, next: &Self) {
        self.add_counts(next);
        self.connections_peak = self.connections_peak.max(next.connections_peak);
        self.connections = next.connections;
    }

    fn add_counts(&mut self, other: &Self) {
        self.operations += other.operations;
        self.due += other.due;
        for (mine, theirs) in self.phase_ns.iter_mut().zip(other.phase_ns) {
            *mine = mine.saturating_add(theirs);
        }
        for (mine, theirs) in self.errors.iter_mut().zip(other.errors) {
            *mine += theirs;
        }
        self.bytes_up += other.bytes_up;
        self.bytes_down += other.bytes_down;
        if self.measured.is_some() || other.measured.is_some() {
            let part = |of: &Self| of.measured.clone().unwrap_or_else(|| of.histogram.clone());
            let mut sum = part(self);
            add_to_packed(&mut sum, &part(other));
            self.measured = Some(sum);
        }
        add_to_packed(&mut self.histogram, &other.histogram);
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// A histogram in HdrHistogram's V2 format; nothing for one without counts.
fn packed(latency: &LatencyHistogram) -> Vec<u8> {
    let mut octets = Vec::new();
    if latency.count() > 0 && V2Serializer::new().serialize(latency.inner(), &mut octets).is_err() {
        unreachable!("writing to memory cannot fail and the counts fit");
    }
    octets
}

fn add_packed(octets: &[u8], latency: &mut LatencyHistogram) {
    if octets.is_empty() {
        return;
    }
    let read: Result<Histogram<u64>, _> = Deserializer::new().deserialize(&mut &*octets);
    match read {
        Ok(histogram) => latency.add_raw(&histogram),
        Err(_) => unreachable!("written by `packed`"),
    }
}

fn add_to_packed(mine: &mut Vec<u8>, theirs: &[u8]) {
    if mine.is_empty() {
        mine.extend_from_slice(theirs);
    } else if !theirs.is_empty() {
        let mut latency = LatencyHistogram::new();
        add_packed(mine, &mut latency);
        add_packed(theirs, &mut latency);
        *mine = packed(&latency);
    }
}

/// One thread's intervals, without gaps: those closed, and the one being filled.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    closed: Vec<Interval>,
    open: Interval,
    /// Of the operations that the measured part counts, and of the others.
    measured: LatencyHistogram,
    unmeasured: LatencyHistogram,
}

impl Series {
    /// Of intervals of this length.
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            closed: Vec::new(),
            open: Interval { length, ..Interval::default() },
            measured: LatencyHistogram::new(),
            unmeasured: LatencyHistogram::new(),
        }
    }

    /// Closes the intervals that ended before `elapsed` (since the run's start) and shows each to
    /// `on_close`. What is counted late, for an interval already closed, counts in the open one.
    pub(crate) fn advance(&mut self, elapsed: Duration, mut on_close: impl FnMut(&Interval)) {
        while nanoseconds(elapsed) / nanoseconds(self.open.length).max(1) > self.open.index {
            on_close(self.close_open());
            if self.closed.len() >= INTERVALS_MAX {
                self.closed = join_pairs(std::mem::take(&mut self.closed));
                // INTERVALS_MAX is even and there are no gaps: the open one joins none of them.
                self.open.index /= 2;
                self.open.length *= 2;
            }
        }
    }

    /// An operation ended; `measured`: the measured part counts it.
    pub(crate) fn operation(&mut self, latency: Duration, measured: bool) {
        self.open.operations += 1;
        if measured { &mut self.measured } else { &mut self.unmeasured }.record(latency);
    }

    /// An operation that has ended was due so long after the run's start.
    pub(crate) fn due(&mut self, elapsed: Duration) {
        let index = nanoseconds(elapsed) / nanoseconds(self.open.length).max(1);
        // There are no gaps: a closed interval stands at its index.
        match usize::try_from(index).ok().and_then(|index| self.closed.get_mut(index)) {
            Some(closed) => closed.due += 1,
            None => self.open.due += 1,
        }
    }

    /// The interval being filled, for counts other than operations.
    pub(crate) fn open(&mut self) -> &mut Interval {
        &mut self.open
    }

    /// Ends the series with the interval that `elapsed` falls into, and shows that one to
    /// `on_last`.
    pub(crate) fn finish(
        mut self,
        elapsed: Duration,
        on_last: impl FnOnce(&Interval),
    ) -> Vec<Interval> {
        self.advance(elapsed, |_| ());
        on_last(self.close_open());
        self.closed
    }

    fn close_open(&mut self) -> &Interval {
        if self.unmeasured.count() > 0 {
            self.open.measured = Some(packed(&self.measured));
            self.measured.merge(&self.unmeasured);
            self.unmeasured.clear();
        }
        self.open.histogram = packed(&self.measured);
        self.measured.clear();
        let next = Interval {
            index: self.open.index + 1,
            length: self.open.length,
            connections: self.open.connections,
            connections_peak: self.open.connections.open(),
            ..Interval::default()
        };
        let position = self.closed.len();
        self.closed.push(std::mem::replace(&mut self.open, next));
        &self.closed[position]
    }
}

/// Adds another thread's finished intervals, at the coarser of the two lengths.
pub(crate) fn merge_threads(mine: &mut Vec<Interval>, mut theirs: Vec<Interval>) {
    let length =
        |intervals: &[Interval]| intervals.first().map_or(Duration::ZERO, |first| first.length);
    while !mine.is_empty() && length(mine) < length(&theirs) {
        *mine = join_pairs(std::mem::take(mine));
    }
    while !theirs.is_empty() && length(&theirs) < length(mine) {
        theirs = join_pairs(theirs);
    }
    let extra = theirs.split_off(theirs.len().min(mine.len()));
    for (mine, theirs) in mine.iter_mut().zip(&theirs) {
        mine.merge_thread(theirs);
    }
    mine.extend(extra);
}

/// Halves the number of intervals by joining each with the next.
fn join_pairs(intervals: Vec<Interval>) -> Vec<Interval> {
    let mut joined: Vec<Interval> = Vec::with_capacity(intervals.len() / 2 + 1);
    for mut interval in intervals {
        let second_of_pair = interval.index % 2 == 1;
        interval.index /= 2;
        interval.length *= 2;
        match joined.last_mut() {
            Some(first) if second_of_pair => first.merge_next(&interval),
            _ => joined.push(interval),
        }
    }
    joined
}

const _: () = assert!(INTERVALS_MAX.is_multiple_of(2), "a full series joins into whole pairs");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{INTERVAL, INTERVALS_MAX, Interval, Series, merge_threads};

    /// A thread that ends one operation each second.
    fn series(seconds: u64) -> Vec<Interval> {
        let mut series = Series::new(INTERVAL);
        for second in 0..seconds {
            series.advance(Duration::from_secs(second), |_| ());
            series.operation(Duration::from_millis(second + 1), true);
        }
        series.finish(Duration::from_secs(seconds - 1), |_| ())
    }

    fn operations(intervals: &[Interval]) -> u64 {
        intervals.iter().map(|interval| interval.operations).sum()
    }

    #[test]
    fn each_operation_counts_in_the_second_it_ended_in() {
        let intervals = series(5);
        assert_eq!(intervals.len(), 5);
        for (index, interval) in (0_u64..).zip(&intervals) {
            assert_eq!(
                (interval.index, interval.length, interval.operations),
                (index, INTERVAL, 1)
            );
            let milliseconds = interval.latency().max() / 1_000_000;
            assert_eq!(milliseconds, index + 1);
        }
    }

    #[test]
    fn what_was_due_counts_where_it_was_due() {
        let mut series = Series::new(INTERVAL);
        series.advance(Duration::from_secs(3), |_| ());
        for milliseconds in [0, 999, 1000, 3200] {
            series.due(Duration::from_millis(milliseconds));
        }
        let due: Vec<u64> = series
            .finish(Duration::from_millis(3500), |_| ())
            .iter()
            .map(|interval| interval.due)
            .collect();
        assert_eq!(due, [2, 1, 0, 1]);
    }

    #[test]
    fn an_interval_may_be_a_tenth_of_a_second() {
        let mut series = Series::new(INTERVAL / 10);
        for milliseconds in [0, 99, 100, 250] {
            series.advance(Duration::from_millis(milliseconds), |_| ());
            series.operation(Duration::from_millis(1), true);
        }
        let intervals = series.finish(Duration::from_millis(350), |_| ());
        let counts: Vec<u64> = intervals.iter().map(|interval| interval.operations).collect();
        assert_eq!(counts, [2, 1, 1, 0]);
        assert_eq!(intervals[3].begin(), Duration::from_millis(300));
    }

    #[test]
    fn a_silent_stretch_has_intervals_too() {
        let mut series = Series::new(INTERVAL);
        series.operation(Duration::from_millis(1), true);
        let mut shown = Vec::new();
        series.advance(Duration::from_secs(4), |interval| shown.push(interval.operations));
        series.advance(Duration::from_secs(4), |interval| shown.push(interval.operations));
        assert_eq!(shown, [1, 0, 0, 0], "each is shown once");
        let intervals = series.finish(Duration::from_millis(4500), |_| ());
        let counts: Vec<u64> = intervals.iter().map(|interval| interval.operations).collect();
        assert_eq!(counts, [1, 0, 0, 0, 0]);
    }

    #[test]
    fn a_long_run_is_bounded_and_loses_nothing() {
        let seconds = INTERVALS_MAX as u64 * 3;
        let intervals = series(seconds);
        assert!(intervals.len() <= INTERVALS_MAX);
        assert_eq!(operations(&intervals), seconds);
        let latencies: u64 = intervals.iter().map(|interval| interval.latency().count()).sum();
        assert_eq!(latencies, seconds);
    }

    #[test]
    fn threads_with_different_interval_lengths_merge_exactly() {
        let long = INTERVALS_MAX as u64 + 10;
        for (first, second) in [(7, 3), (3, 7), (long, 9), (9, long)] {
            let mut merged = series(first);
            merge_threads(&mut merged, series(second));
            assert_eq!(operations(&merged), first + second);
            let indexes: Vec<u64> = merged.iter().map(|interval| interval.index).collect();
            assert_eq!(indexes, (0..merged.len() as u64).collect::<Vec<_>>());
        }
    }
}
