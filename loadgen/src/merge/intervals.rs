//! The parts' intervals beside each other. All parts began at one moment of the clock, so that the
//! n-th interval of each is of the same time; where one has longer intervals than another (of a run
//! of hours), the shorter ones are first joined.

use std::collections::BTreeMap;

use super::Named;
use crate::measure::{IntervalRow, LatencyHistogram, decode_histogram, encode_histogram};

/// The intervals of all parts as those of one run.
///
/// # Errors
///
/// A sentence: a histogram cannot be read.
pub(super) fn beside_each_other(runs: &[Named]) -> Result<Vec<IntervalRow>, String> {
    let length = runs.iter().map(|(_, run)| run.timing.interval_s).fold(0.0, f64::max);
    // By number: each part's rows of that time.
    let mut slots: BTreeMap<u64, Vec<Vec<&IntervalRow>>> = BTreeMap::new();
    for (index, (_, run)) in runs.iter().enumerate() {
        for row in &run.intervals {
            let rows = slots.entry(number(row.start_s, length)).or_default();
            rows.resize(runs.len(), Vec::new());
            rows[index].push(row);
        }
    }
    let (mut all, mut measured) = (LatencyHistogram::new(), LatencyHistogram::new());
    let broken = || "an interval's histogram cannot be read".to_owned();
    slots.values().map(|rows| one(rows, &mut all, &mut measured).ok_or_else(broken)).collect()
}

/// The number of the interval that begins at `start_s` or holds it.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
#[expect(clippy::cast_sign_loss, reason = "`as` saturates")]
fn number(start_s: f64, length: f64) -> u64 {
    // A start is a whole number of lengths but for rounding.
    (start_s / length.max(1e-3) + 1e-6) as u64
}

/// One interval of all parts. `None`: a histogram in it cannot be read.
fn one(
    parts: &[Vec<&IntervalRow>],
    all: &mut LatencyHistogram,
    measured: &mut LatencyHistogram,
) -> Option<IntervalRow> {
    all.clear();
    measured.clear();
    let rows = || parts.iter().flatten();
    let is_split = rows().any(|row| row.measured_histogram.is_some());
    let mut sum = (*rows().next()?).clone();
    (sum.operations, sum.due, sum.bytes_up, sum.bytes_down) = (0, 0, 0, 0);
    sum.errors.clear();
    sum.phase_ns.clear();
    for row in rows() {
        sum.operations += row.operations;
        sum.due += row.due;
        for (phase, nanoseconds) in &row.phase_ns {
            *sum.phase_ns.entry(*phase).or_default() += nanoseconds;
        }
        sum.bytes_up += row.bytes_up;
        sum.bytes_down += row.bytes_down;
        for (class, count) in &row.errors {
            *sum.errors.entry(class.clone()).or_default() += count;
        }
        add(&row.histogram, all)?;
        if is_split {
            add(row.measured_histogram.as_ref().unwrap_or(&row.histogram), measured)?;
        }
    }
    // Of one part, rows follow each other; parts are beside each other.
    let followed = |of: fn(&IntervalRow) -> f64| {
        parts.iter().map(move |rows| rows.iter().map(|row| of(row)).sum::<f64>())
    };
    sum.seconds = followed(|row| row.seconds).fold(0.0, f64::max);
    sum.connections =
        parts.iter().filter_map(|rows| rows.iter().map(|row| row.connections).max()).sum();
    sum.states.clear();
    for (state, count) in parts.iter().filter_map(|rows| rows.last()).flat_map(|row| &row.states) {
        *sum.states.entry(state.clone()).or_default() += count;
    }
    sum.p50_ns = all.percentile(50.0);
    sum.p99_ns = all.percentile(99.0);
    sum.max_ns = all.max();
    sum.histogram = text(all);
    sum.measured_histogram = is_split.then(|| text(measured));
    Some(sum)
}

fn add(text: &str, sum: &mut LatencyHistogram) -> Option<()> {
    if !text.is_empty() {
        sum.merge(&decode_histogram(text)?);
    }
    Some(())
}

/// As in a result: nothing for none.
fn text(histogram: &LatencyHistogram) -> String {
    if histogram.count() == 0 { String::new() } else { encode_histogram(histogram) }
}
