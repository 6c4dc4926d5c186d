//! The axes. One rule for all pages, so that two of them compare: each axis is of a fixed kind,
//! begins where all of its kind begin, and ends at the next round value above what is shown.
//!
//! * latency: logarithmic, from 10 µs to the next power of ten, at least 10 ms
//! * everything counted a second, time spent, and CPU: from 0 to the next of 1, 2, 5, 10, 20, 50,
//!   …; CPU to at least one core
//! * percentiles: each nine takes the same room, to 99.999 %
//! * ratios: logarithmic, as far below 1 as above it, to the next of 2, 5, 10, 20, …
//! * time: from the start to the end of what is shown

use super::format;

/// Where latency axes begin, in nanoseconds: 10 µs. What is less lies on their edge.
pub(crate) const LATENCY_LOW_NS: f64 = 1e4;

/// Where they end at least: 10 ms.
const LATENCY_HIGH_MIN_NS: f64 = 1e7;

/// Nines of the last percentile.
pub(crate) const NINES: f64 = 5.0;

/// One axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    pub(crate) title: String,
    low: f64,
    high: f64,
    logarithmic: bool,
    pub(crate) ticks: Vec<Tick>,
}

/// A value with its label.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) value: f64,
    pub(crate) label: String,
    /// Left out where there is little room.
    pub(crate) is_minor: bool,
}

impl Axis {
    /// Latencies up to `highest`, in nanoseconds.
    pub(crate) fn latency(highest: f64) -> Self {
        /// Decades up to which 2 and 5 are labelled too.
        const DENSE_DECADES_MAX: f64 = 3.0;
        let highest = highest.max(LATENCY_HIGH_MIN_NS);
        let decades = ((highest / LATENCY_LOW_NS).log10() - 1e-9).ceil();
        let factors: &[f64] = if decades <= DENSE_DECADES_MAX { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let high = LATENCY_LOW_NS * 10_f64.powf(decades);
        let powers = std::iter::successors(Some(0.0), |power| Some(power + 1.0));
        let ticks = powers
            .take_while(|power| *power <= decades)
            .flat_map(|power| {
                let decade = LATENCY_LOW_NS * 10_f64.powf(power);
                factors.iter().map(move |factor| (decade * factor, *factor > 1.0))
            })
            .filter(|(value, _)| *value <= high * 1.001)
            .map(|(value, is_minor)| Tick { value, label: format::tick_duration(value), is_minor })
            .collect();
        let title = "latency".to_owned();
        Self { title, low: LATENCY_LOW_NS, high, logarithmic: true, ticks }
    }

    /// From 0 to the next round value above `highest`, labelled with `unit` behind each figure.
    pub(crate) fn amount(title: &str, highest: f64, unit: &str) -> Self {
        let (high, spaces) = next_round(highest);
        let ticks = (0..=spaces).map(|index| {
            let value = high * f64::from(index) / f64::from(spaces);
            let label = format!("{}{unit}", format::tick_count(value));
            Tick { value, label, is_minor: false }
        });
        let title = title.to_owned();
        Self { title, low: 0.0, high, logarithmic: false, ticks: ticks.collect() }
    }

    /// Time from 0 to the next round value above `highest`, both in nanoseconds.
    pub(crate) fn spent(title: &str, highest: f64) -> Self {
        let mut axis = Self::amount(title, highest, "");
        for tick in &mut axis.ticks {
            tick.label = format::tick_duration(tick.value);
        }
        axis
    }

    /// CPU cores in use.
    pub(crate) fn cores(highest: f64) -> Self {
        Self::amount("cores in use", highest.max(1.0), "")
    }

    /// Percentiles, by [`nines`].
    pub(crate) fn percentiles() -> Self {
        const SHOWN: [(f64, bool); 8] = [
            (50.0, false),
            (75.0, true),
            (90.0, false),
            (95.0, true),
            (99.0, false),
            (99.9, false),
            (99.99, false),
            (99.999, false),
        ];
        let ticks = SHOWN.map(|(percentile, is_minor)| Tick {
            value: nines(percentile),
            label: format!("p{percentile}"),
            is_minor,
        });
        let title = "percentile".to_owned();
        Self { title, low: 0.0, high: NINES, logarithmic: false, ticks: ticks.into() }
    }

    /// Seconds since the start, to `end`.
    pub(crate) fn time(end: f64) -> Self {
        /// Lengths between ticks that a person would choose, seconds.
        const STEPS: [f64; 20] = [
            0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
            1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0, 43_200.0,
        ];
        /// Spaces between ticks at most.
        const SPACES_MAX: f64 = 8.0;
        let end = if end > 0.0 { end } else { 1.0 };
        let step = STEPS.into_iter().find(|step| end / step <= SPACES_MAX).unwrap_or(86_400.0);
        let values = std::iter::successors(Some(0.0), |index| Some(index + 1.0));
        let ticks = values
            .map(|index| (index, index * step))
            .take_while(|(_, value)| *value <= end * 1.0001)
            .map(|(index, value)| Tick {
                value,
                label: format::tick_seconds(value),
                is_minor: index % 2.0 > 0.5,
            })
            .collect();
        let title = "time since the start".to_owned();
        Self { title, low: 0.0, high: end, logarithmic: false, ticks }
    }

    /// Ratios as far from 1 as `highest` and `lowest`.
    pub(crate) fn ratio(lowest: f64, highest: f64) -> Self {
        let far = highest.max(1.0 / lowest.max(1e-6)).clamp(2.0, 1e6);
        let high = if far <= 2.0 { 2.0 } else { next_round(far).0 };
        let middle = if high > 2.0 { Vec::new() } else { vec![1.0 / 1.5, 1.5] };
        let ticks = [1.0 / high, 1.0, high].into_iter().chain(middle).map(|value| Tick {
            value,
            label: format!("×{}", format::trimmed(value, 2)),
            is_minor: false,
        });
        let (title, ticks) = ("ratio".to_owned(), ticks.collect());
        Self { title, low: 1.0 / high, high, logarithmic: true, ticks }
    }

    /// Places of `names`, one beside the other, each in the middle of its room.
    pub(crate) fn numbers(title: &str, count: usize) -> Self {
        let ticks = (1..=count).map(|number| Tick {
            value: number as f64,
            label: number.to_string(),
            is_minor: count > 10 && number.is_multiple_of(2),
        });
        let high = count as f64 + 0.5;
        let title = title.to_owned();
        Self { title, low: 0.5, high, logarithmic: false, ticks: ticks.collect() }
    }

    /// Where `value` lies on the axis, 0 to 1; what is beyond its ends lies on them.
    pub(crate) fn position(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        // Of nothing at all a logarithm is −∞, and equal bounds leave one place.
        if share.is_nan() { 0.5 } else { share.clamp(0.0, 1.0) }
    }

    /// The same as a style, from the left.
    pub(crate) fn left(&self, value: f64) -> String {
        format!("left:{:.2}%", self.position(value) * 100.0)
    }

    /// Where it ends.
    pub(crate) const fn high(&self) -> f64 {
        self.high
    }
}

/// How many nines a percentile has: 90 has 1, 99 has 2, 99.9 has 3.
pub(crate) fn nines(percentile: f64) -> f64 {
    2.0 - (100.0 - percentile).max(1e-9).log10()
}

/// The percentile of so many nines.
pub(crate) fn percentile_of(nines: f64) -> f64 {
    100.0 - 10_f64.powf(2.0 - nines)
}

/// The next of 1, 2 and 5 times a power of ten that is not below `value`, and into how many parts
/// it is best divided.
fn next_round(value: f64) -> (f64, u32) {
    if value <= 0.0 || !value.is_finite() {
        return (1.0, 5);
    }
    let power = 10_f64.powf(value.log10().floor());
    let rounds = [(1.0, 5), (2.0, 4), (5.0, 5), (10.0, 5)];
    let round = rounds.into_iter().find(|(factor, _)| factor * power >= value * (1.0 - 1e-9));
    round.map_or((10.0 * power, 5), |(factor, spaces)| (factor * power, spaces))
}

#[cfg(test)]
mod tests {
    use super::{Axis, NINES, nines, percentile_of};

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    /// The rule that the module states: axes of a kind begin alike, and end at round values.
    #[test]
    fn axes_of_a_kind_compare() {
        for (highest_ms, last) in [
            (0.0, "10 ms"),
            (0.3, "10 ms"),
            (10.0, "10 ms"),
            (10.1, "100 ms"),
            (420.0, "1 s"),
            (5000.0, "10 s"),
        ] {
            let axis = Axis::latency(highest_ms * 1e6);
            let labels = labels(&axis);
            assert_eq!((labels[0], labels[labels.len() - 1]), ("10 µs", last), "{highest_ms}");
        }
        for (highest, last) in [
            (0.0, "1/s"),
            (7.0, "10/s"),
            (100.0, "100/s"),
            (101.0, "200/s"),
            (12_800.0, "20k/s"),
            (20_001.0, "50k/s"),
        ] {
            let axis = Axis::amount("", highest, "/s");
            assert_eq!(labels(&axis)[0], "0/s");
            assert_eq!(labels(&axis).last(), Some(&last), "{highest}");
        }
        assert_eq!(labels(&Axis::spent("", 1.1e9)), ["0 s", "500 ms", "1 s", "1.5 s", "2 s"]);
        assert_eq!(labels(&Axis::cores(0.2)).last(), Some(&"1"));
        assert_eq!(labels(&Axis::cores(1.7)), ["0", "0.5", "1", "1.5", "2"]);
        for (low, high, last) in [(1.0, 1.0, "×2"), (0.4, 1.1, "×5"), (0.9, 1.9, "×2")] {
            let axis = Axis::ratio(low, high);
            assert!(labels(&axis).contains(&last), "{:?}", labels(&axis));
            assert!((axis.position(1.0) - 0.5).abs() < 1e-9, "equal is in the middle");
        }
    }

    #[test]
    fn ticks_are_as_a_person_writes_them() {
        let dense = Axis::latency(1e6);
        assert_eq!(labels(&dense)[..5], ["10 µs", "20 µs", "50 µs", "100 µs", "200 µs"]);
        let wide = Axis::latency(2e9);
        assert_eq!(labels(&wide), ["10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        for (end, ticks) in [
            (10.0, vec!["0 s", "2 s", "4 s", "6 s", "8 s", "10 s"]),
            (61.0, vec!["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]),
            (600.0, vec!["0 s", "2 min", "4 min", "6 min", "8 min", "10 min"]),
            (0.35, vec!["0 s", "0.1 s", "0.2 s", "0.3 s"]),
        ] {
            assert_eq!(labels(&Axis::time(end)), ticks);
        }
        let hours = Axis::time(86_400.0);
        assert_eq!(labels(&hours)[..3], ["0 s", "3 h", "6 h"]);
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        let axis = Axis::percentiles();
        for (percentile, place) in [(0.0, 0.0), (90.0, 0.2), (99.0, 0.4), (99.999, 1.0)] {
            assert!((axis.position(nines(percentile)) - place).abs() < 1e-6, "{percentile}");
        }
        assert!((percentile_of(NINES) - 99.999).abs() < 1e-9);
        assert_eq!(labels(&axis)[..4], ["p50", "p75", "p90", "p95"]);
    }

    #[test]
    fn what_is_beyond_an_axis_lies_on_its_edge() {
        let axis = Axis::latency(1e6);
        assert_eq!((axis.position(0.0), axis.position(1e12)), (0.0, 1.0));
        assert_eq!(Axis::time(0.0).position(f64::NAN), 0.5);
    }
}
