//! Latency by percentile: the curve of one run or several, and the table.

use maud::{Markup, html};

use super::format;
use super::page::{TOO_FEW, figure, table};
use super::plot::{Layer, Limit, Line, Look, Plot};
use super::scale::{Axis, NINES, nines, percentile_of};
use crate::measure::{LatencyHistogram, LatencySummary, ObjectiveResult, Phase};

/// What the table has, beside the longest.
const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// Operations that must lie beyond a percentile for it to be more than chance. A median stands for
/// what was seen, however little that was.
const BEYOND_MIN: f64 = 10.0;

/// One curve.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) look: Look,
    pub(crate) histogram: LatencyHistogram,
}

/// The curves in one plot, up to `highest` nanoseconds.
pub(crate) fn curves(
    curves: &[Curve],
    highest: f64,
    objective: Option<&ObjectiveResult>,
    note: &str,
) -> Markup {
    let described: Vec<String> = curves
        .iter()
        .filter(|curve| !curve.name.is_empty())
        .map(|curve| {
            let [p50, p99] = [50.0, 99.0].map(|percentile| {
                format::duration_ns(curve.histogram.percentile(percentile) as f64)
            });
            format!("{}: p50 {p50}, p99 {p99}", curve.name)
        })
        .collect();
    let plot = Plot {
        description: format!(
            "Latency of the whole operation by percentile. {}",
            described.join("; ")
        ),
        x: Axis::percentiles(),
        y: Axis::latency(highest),
        layers: curves.iter().map(line).collect(),
        shades: Vec::new(),
        limits: limits(objective),
        hover: curves.last().filter(|_| curves.len() < 3).map_or_else(Vec::new, hover),
    };
    figure("Latency by percentile", note, &plot)
}

fn line(curve: &Curve) -> Layer {
    /// Points between two nines.
    const STEPS: u32 = 12;
    // Beyond the last operation there is nothing to show.
    let last = (curve.histogram.count().max(1) as f64).log10().clamp(0.0, NINES);
    let mut places: Vec<f64> = (0..)
        .map(|step| f64::from(step) / f64::from(STEPS))
        .take_while(|place| *place < last)
        .collect();
    places.push(last);
    let at = |place: f64| curve.histogram.percentile(percentile_of(place)) as f64;
    let points = places.into_iter().map(|place| (place, Some(at(place)))).collect();
    Layer::Line(Line { name: curve.name.clone(), look: curve.look, points })
}

fn hover(curve: &Curve) -> Vec<(f64, f64, String)> {
    const STEPS: u32 = 60;
    let place = |step: u32| NINES * f64::from(step) / f64::from(STEPS);
    (0..STEPS)
        .map(|step| {
            let (from, to) = (place(step), place(step + 1));
            let percentile = percentile_of(f64::midpoint(from, to));
            let value = format::duration_ns(curve.histogram.percentile(percentile) as f64);
            (from, to, format!("{percentile:.3} % within {value}"))
        })
        .collect()
}

/// What the objective says of the whole operation's percentiles: corners to stay below.
fn limits(objective: Option<&ObjectiveResult>) -> Vec<Limit> {
    latency_conditions(objective)
        .filter_map(|(percentile, limit, label)| {
            Some(Limit { y: limit, until: Some(nines(percentile?)), label })
        })
        .collect()
}

/// Conditions on the latency of the whole operation: percentile, limit and text.
pub(crate) fn latency_conditions(
    objective: Option<&ObjectiveResult>,
) -> impl Iterator<Item = (Option<f64>, f64, String)> {
    let conditions = objective.into_iter().flat_map(|objective| &objective.conditions);
    conditions
        .filter(|asked| asked.metric == "latency" && asked.phase == Some(Phase::Operation))
        .map(|asked| (asked.percentile, asked.limit, asked.text.clone()))
}

/// Rows of latencies, each with its name.
pub(crate) fn rows(heading: &str, rows: &[(String, &LatencySummary)]) -> Markup {
    let mut some_are_few = false;
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|(name, summary)| {
            let mut cells = vec![name.clone(), format::count(summary.count as f64)];
            let histogram = summary.decode();
            cells.extend(PERCENTILES.map(|percentile| match &histogram {
                Some(histogram) if is_enough(summary.count, percentile) => {
                    format::duration_ns(histogram.percentile(percentile) as f64)
                }
                _ => {
                    some_are_few = true;
                    TOO_FEW.to_owned()
                }
            }));
            cells.push(format::duration_ns(summary.max_ns as f64));
            cells
        })
        .collect();
    let names: Vec<String> =
        PERCENTILES.iter().map(|percentile| format!("p{percentile}")).collect();
    let mut header = vec!["", "count"];
    header.extend(names.iter().map(String::as_str));
    header.push("max");
    html! {
        (table(heading, &header, cells))
        @if some_are_few {
            p class="muted" {
                (TOO_FEW) ": fewer than " (BEYOND_MIN) " operations lie beyond that percentile, so \
                 that chance decides it."
            }
        }
    }
}

/// Whether so many operations tell a percentile.
fn is_enough(count: u64, percentile: f64) -> bool {
    // 1 − 0.99 is a little below 0.01.
    let beyond = count as f64 * (100.0 - percentile) / 100.0 + 1e-6;
    count > 0 && (percentile <= 50.0 || beyond >= BEYOND_MIN)
}

#[cfg(test)]
mod tests {
    use super::is_enough;

    #[test]
    fn a_percentile_needs_operations_beyond_it() {
        for (count, percentile, enough) in [
            (0, 50.0, false),
            (1, 50.0, true),
            (39, 75.0, false),
            (40, 75.0, true),
            (999, 99.0, false),
            (1000, 99.0, true),
            (10_000, 99.9, true),
            (99_999, 99.99, false),
            (100_000, 99.99, true),
        ] {
            assert_eq!(is_enough(count, percentile), enough, "p{percentile} of {count}");
        }
    }
}
