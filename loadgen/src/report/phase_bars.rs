//! The mean operation of several runs, phase beside phase, one bar a run on one scale.

use maud::{Markup, html};

use super::format;
use super::page::table;
use super::plot::Look;
use super::scale::Axis;
use crate::measure::{Phase, RunResult};

/// One bar: a name, and the runs that it is of.
pub(crate) type Bar<'a> = (&'a str, Vec<&'a RunResult>);

/// Phases with a colour of their own.
const PHASES_MAX: usize = 5;

/// Nothing where no operation succeeded.
pub(crate) fn section(bars: &[Bar<'_>]) -> Markup {
    let parts = &Phase::ALL[..Phase::COUNT - 1];
    let means: Vec<Vec<f64>> = bars
        .iter()
        .map(|(_, runs)| parts.iter().map(|phase| mean_ns(runs, *phase)).collect())
        .collect();
    let longest = means.iter().map(|means| means.iter().sum::<f64>()).fold(0.0, f64::max);
    if longest <= 0.0 {
        return html! {};
    }
    let groups = groups(parts, &means);
    let axis = Axis::spent("", longest);
    let names: Vec<&str> = std::iter::once("").chain(bars.iter().map(|(name, _)| *name)).collect();
    let told =
        parts.iter().enumerate().filter(|(index, _)| means.iter().any(|of| of[*index] > 0.0));
    let rows = told.map(|(index, phase)| {
        let cells = means.iter().map(|of| format::duration_ns(of[index]));
        std::iter::once(phase.title().to_owned()).chain(cells).collect()
    });
    html! {
        section {
            h2 { "Mean operation by phase" }
            figure {
                div class="legend" {
                    @for (number, (name, _)) in groups.iter().enumerate() {
                        span { (Look::new(number).sample(true)) (name) }
                    }
                }
                div class="bars" {
                    @for ((name, _), means) in bars.iter().zip(&means) {
                        span { (name) }
                        div class="bar" role="img" aria-label=(told_as_text(name, parts, means)) {
                            @for (number, (name, phases)) in groups.iter().enumerate() {
                                @let mean: f64 = phases.iter().map(|phase| means[*phase]).sum();
                                i class=(Look::new(number).surface())
                                    title=(format!("{name}: {}", format::duration_ns(mean)))
                                    style=(format!("width:{:.2}%", axis.position(mean) * 100.0)) {}
                            }
                        }
                    }
                    span {}
                    div class="scale" aria-hidden="true" {
                        @for tick in &axis.ticks {
                            span style=(axis.left(tick.value)) { (tick.label) }
                        }
                    }
                }
                figcaption { "In the order of the legend, from the left." }
            }
            (table("", &names, rows))
        }
    }
}

fn told_as_text(name: &str, parts: &[Phase], means: &[f64]) -> String {
    let told: Vec<String> = parts
        .iter()
        .zip(means)
        .filter(|(_, mean)| **mean > 0.0)
        .map(|(phase, mean)| format!("{} {}", phase.title(), format::duration_ns(*mean)))
        .collect();
    format!("{name}: {}", told.join(", "))
}

/// The largest phases by name, in the order in which they happen, and all others together; as
/// indexes of `parts`.
fn groups(parts: &[Phase], means: &[Vec<f64>]) -> Vec<(String, Vec<usize>)> {
    let sum = |index: usize| means.iter().map(|of| of[index]).sum::<f64>();
    let mut largest: Vec<usize> = (0..parts.len()).filter(|index| sum(*index) > 0.0).collect();
    largest.sort_by(|a, b| sum(*b).total_cmp(&sum(*a)));
    let others = largest.split_off(largest.len().min(PHASES_MAX));
    largest.sort_unstable();
    let named = |index: usize| (parts[index].title().to_owned(), vec![index]);
    let mut groups: Vec<(String, Vec<usize>)> = largest.into_iter().map(named).collect();
    if !others.is_empty() {
        groups.push(("all others".to_owned(), others));
    }
    groups
}

/// Of an operation that succeeded: what most of them do not have counts for less.
fn mean_ns(runs: &[&RunResult], phase: Phase) -> f64 {
    let sum = |run: &&RunResult| {
        let latency = run.phase(phase).map(|latency| &latency.corrected);
        latency.map_or(0.0, |latency| latency.mean_ns as f64 * latency.count as f64)
    };
    let operations: u64 = runs.iter().map(|run| run.totals.operations).sum();
    if operations == 0 {
        return 0.0;
    }
    runs.iter().map(sum).sum::<f64>() / operations as f64
}
