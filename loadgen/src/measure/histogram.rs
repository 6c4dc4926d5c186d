//! Latency histograms: their bounds, the pair of corrected and uncorrected, and their encoding.
//!
//! Values are nanoseconds from 1 to [`HIGHEST_LATENCY_NS`], kept to [`SIGNIFICANT_DIGITS`]
//! significant decimal digits: any value reported is within 0.1 % of the one recorded. A histogram
//! of these bounds takes 256 KiB, whatever it holds. A longer latency is counted at the bound.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// The longest latency told from longer ones: one hour, in nanoseconds.
pub const HIGHEST_LATENCY_NS: u64 = 3_600 * 1_000_000_000;

/// Decimal digits kept of each value.
pub const SIGNIFICANT_DIGITS: u8 = 3;

/// Histogram of nanoseconds with this module's bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyHistogram(Histogram<u64>);

impl LatencyHistogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_LATENCY_NS, SIGNIFICANT_DIGITS)
            .unwrap_or_else(|_| unreachable!("the bounds are constants that the crate accepts"));
        Self(histogram)
    }

    /// Counts one latency; none is lost: below 1 ns counts as 1 ns, above the bound as the bound.
    pub fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanoseconds.max(1));
    }

    /// Adds another one's counts.
    pub fn merge(&mut self, other: &Self) {
        self.add_raw(&other.0);
    }

    /// Adds the counts of a histogram that was encoded from this type.
    pub(super) fn add_raw(&mut self, other: &Histogram<u64>) {
        if self.0.add(other).is_err() {
            unreachable!("both have the bounds of this module");
        }
    }

    /// With what a client left out that began no operation while it waited for one, by
    /// HdrHistogram's rule for an expected interval; and the interval, which is at least a
    /// ten-thousandth of the longest latency.
    #[must_use]
    pub fn with_expected_interval(&self, interval: Duration) -> (Duration, Self) {
        let least = (self.max() / 10_000).max(1);
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(least);
        (Duration::from_nanos(interval), Self(self.0.clone_correct(interval)))
    }

    /// Forgets all counts, keeping the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The value below or at which `percentile` (0 to 100) of the counts are, in nanoseconds;
    /// 0 when empty.
    #[must_use]
    pub fn percentile(&self, percentile: f64) -> u64 {
        // 99.9 ÷ 100 is a little above 0.999: of 1000 counts it must still be the 999th.
        let quantile = percentile / 100.0 * (1.0 - 4.0 * f64::EPSILON);
        self.0.value_at_quantile(quantile).min(self.0.max())
    }

    /// How many latencies were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The longest, in nanoseconds (within the histogram's precision, rounded up).
    #[must_use]
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The histogram itself, for logs and plots.
    #[must_use]
    pub fn inner(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

/// One phase's latency, counted twice (see the module [`measure`](super)).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latency {
    /// From the intended start.
    pub corrected: LatencyHistogram,
    /// From the real start.
    pub uncorrected: LatencyHistogram,
}

impl Latency {
    /// Counts one phase. A real start before the intended one (a timer that fired early) is taken
    /// as on time; an end before a start counts as the shortest latency.
    pub fn record(&mut self, intended: Instant, started: Instant, ended: Instant) {
        self.corrected.record(ended.saturating_duration_since(intended.min(started)));
        self.uncorrected.record(ended.saturating_duration_since(started));
    }

    /// Adds another thread's counts.
    pub fn merge(&mut self, other: &Self) {
        self.corrected.merge(&other.corrected);
        self.uncorrected.merge(&other.uncorrected);
    }
}

/// The histogram in HdrHistogram's V2 format, compressed, in base64: what its own tools read and
/// what stands in the JSON result.
#[must_use]
pub fn encode_histogram(histogram: &LatencyHistogram) -> String {
    let mut bytes = Vec::new();
    if V2DeflateSerializer::new().serialize(&histogram.0, &mut bytes).is_err() {
        unreachable!("writing to memory cannot fail and the counts fit");
    }
    BASE64.encode(bytes)
}

/// Reads what [`encode_histogram`] wrote, or any tool of the same format. `None` when the text is
/// no such histogram, or one of coarser bounds than ours.
#[must_use]
pub fn decode_histogram(text: &str) -> Option<LatencyHistogram> {
    /// Compressed input beyond this is not one of ours (an uncompressed one takes 256 KiB).
    const TEXT_BYTES_MAX: usize = 1024 * 1024;
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    let bytes = BASE64.decode(text).ok()?;
    let read: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).ok()?;
    let mut histogram = LatencyHistogram::new();
    (read.max() <= HIGHEST_LATENCY_NS * 2).then_some(())?;
    histogram.0.add(&read).ok()?;
    Some(histogram)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HIGHEST_LATENCY_NS, LatencyHistogram, decode_histogram, encode_histogram};

    #[track_caller]
    fn check_precision(nanoseconds: u64) {
        let mut histogram = LatencyHistogram::new();
        histogram.record(Duration::from_nanos(nanoseconds));
        let reported = histogram.percentile(50.0);
        let error = reported.abs_diff(nanoseconds);
        assert!(error * 1000 <= nanoseconds, "{nanoseconds} reported as {reported}");
    }

    #[test]
    fn three_digits_are_kept_over_the_whole_range() {
        for nanoseconds in [1, 999, 12_345, 1_234_567, 999_999_999, HIGHEST_LATENCY_NS] {
            check_precision(nanoseconds);
        }
    }

    #[test]
    fn a_percentile_is_the_value_of_its_rank() {
        let mut histogram = LatencyHistogram::new();
        for value in 1..=1000_u64 {
            histogram.record(Duration::from_nanos(value));
        }
        for (percentile, rank) in
            [(0.0, 1), (0.1, 1), (50.0, 500), (90.0, 900), (99.0, 990), (99.9, 999), (100.0, 1000)]
        {
            assert_eq!(histogram.percentile(percentile), rank, "p{percentile}");
        }
    }

    #[test]
    fn no_latency_is_lost_at_the_bounds() {
        let mut histogram = LatencyHistogram::new();
        histogram.record(Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.count(), 2);
        assert!(histogram.max() >= HIGHEST_LATENCY_NS);
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let mut histogram = LatencyHistogram::new();
        for value in 1..=1000_u64 {
            histogram.record(Duration::from_micros(value));
        }
        histogram.record(Duration::MAX);
        assert_eq!(decode_histogram(&encode_histogram(&histogram)), Some(histogram));
        let empty = LatencyHistogram::new();
        assert_eq!(decode_histogram(&encode_histogram(&empty)), Some(empty));
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["", "!", "AAAA", "HISTFAAAABl42g==", &"A".repeat(2 << 20)] {
            assert_eq!(decode_histogram(text), None);
        }
    }
}
