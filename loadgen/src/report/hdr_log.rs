//! The histogram log: HdrHistogram's interval log format, version 1.3 with V2 histograms, for its
//! own tools (`HistogramLogProcessor`, the HdrHistogram plotter).
//!
//! Untagged lines are the whole operation by interval, corrected: what the tools take without
//! options. They hold the operations of the measured part and no others, so that together they are
//! the histogram of the JSON result. Lines tagged `total.PHASE` and
//! `total.uncorrected.PHASE` hold each phase over the whole measured part. Values are nanoseconds;
//! the `Interval_Max` column is in milliseconds.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::measure::{LatencyHistogram, RunResult, decode_histogram};

/// Writes the log of `result`.
///
/// # Errors
/// Those of `out`, and [`io::ErrorKind::InvalidData`] for a result whose histograms someone broke.
pub fn write_hdr_log(result: &RunResult, out: &mut impl io::Write) -> io::Result<()> {
    /// Nanoseconds in a millisecond.
    const MAX_VALUE_DIVISOR: f64 = 1e6;
    let started = UNIX_EPOCH + Duration::from_millis(result.timing.started_unix_ms);
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("ringload {}, values in nanoseconds", result.version))
        .add_comment(&one_line(&result.command_line.join(" ")))
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(MAX_VALUE_DIVISOR);
    let mut log = builder.begin_log_with(out, &mut serializer)?;
    let mut write = |start_s: f64, seconds: f64, tag: Option<Tag<'_>>, histogram: &str| {
        let histogram: LatencyHistogram = decode_histogram(histogram).ok_or_else(broken)?;
        let start = Duration::try_from_secs_f64(start_s).map_err(|_| broken())?;
        let length = Duration::try_from_secs_f64(seconds).map_err(|_| broken())?;
        log.write_histogram(histogram.inner(), start, length, tag).map_err(io::Error::other)
    };
    // The totals begin with the measured part, so they come before its intervals: a log is sorted
    // by start.
    let timing = &result.timing;
    for (phase, latency) in &result.phases {
        for (kind, summary) in [("", &latency.corrected), ("uncorrected.", &latency.uncorrected)] {
            let tag = format!("total.{kind}{}", phase.name());
            write(timing.warmup_s, timing.measured_s, Tag::new(&tag), &summary.histogram)?;
        }
    }
    for row in &result.intervals {
        let histogram = row.measured_histogram.as_ref().unwrap_or(&row.histogram);
        if !histogram.is_empty() {
            // Not before the totals: what the warm-up's last interval has of it ended after it.
            let start = row.start_s.max(timing.warmup_s);
            write(start, row.start_s + row.seconds - start, None, histogram)?;
        }
    }
    Ok(())
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the result holds a broken histogram or time")
}

/// A comment is one line, whatever an argument holds.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
