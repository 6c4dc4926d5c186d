//! A search for the highest rate: what was offered and reached, and how it stood to the objective.

use maud::{Markup, html};

use super::format;
use super::page::{figure, table};
use super::plot::{Layer, Limit, Line, Look, Plot};
use super::scale::Axis;
use super::text::{highest_held, step_outcome};
use crate::measure::{ConditionResult, RateStep, RunResult, StepVerdict};

/// Nothing for a run that was none.
pub(crate) fn section(result: &RunResult, highest: f64) -> Markup {
    let mut steps: Vec<&RateStep> = result.rate_search.iter().collect();
    let Some(last) = steps.last().copied() else { return html! {} };
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let highest_rate = steps.last().map_or(1.0, |step| step.rate);
    let held = highest_held(result);
    let rate_axis = |title: &str| Axis::amount(title, highest_rate, "/s");
    let mut marks = vec![Layer::Line(Line {
        name: "all that is offered".to_owned(),
        look: Look::faint(5),
        points: [0.0, rate_axis("").high()].map(|rate| (rate, Some(rate))).into(),
    })];
    marks.extend(by_verdict(&steps, |step| (step.reached > 0.0).then_some(step.reached)));
    let reached = Plot {
        description: format!("Rate reached by rate offered. {held}"),
        x: rate_axis("offered"),
        y: rate_axis("reached"),
        layers: marks,
        shades: Vec::new(),
        limits: Vec::new(),
        hover: Vec::new(),
    };
    // Where the lines of what was asked for are.
    let mut latencies = Vec::new();
    for condition in last.conditions.iter().filter(|condition| condition.metric == "latency") {
        let value = |step: &RateStep| {
            let measured = step.conditions.iter().find(|other| other.text == condition.text);
            measured.and_then(|measured| measured.value)
        };
        let plot = Plot {
            description: format!("{} by rate. {held}", condition.text),
            x: rate_axis("offered"),
            y: Axis::latency(highest),
            layers: by_verdict(&steps, value),
            shades: Vec::new(),
            limits: vec![Limit { y: condition.limit, until: None, label: condition.text.clone() }],
            hover: Vec::new(),
        };
        let heading = format!("{} by rate", named(condition));
        latencies.push(figure(&heading, "Each mark is a step of the search.", &plot));
    }
    html! {
        (figure("Search for the highest rate", &held, &reached))
        @for figure in latencies { (figure) }
        (steps_tried(result))
    }
}

/// Marks of the steps, those of one verdict together.
fn by_verdict(steps: &[&RateStep], value: impl Fn(&RateStep) -> Option<f64>) -> Vec<Layer> {
    const VERDICTS: [(StepVerdict, &str, usize); 4] = [
        (StepVerdict::Held, "held", 0),
        (StepVerdict::Broken, "broken", 1),
        (StepVerdict::TooFew, "too few operations to tell", 2),
        (StepVerdict::Unknown, "unknown, the client was the limit", 3),
    ];
    let layer = |(verdict, name, number): (StepVerdict, &str, usize)| {
        let of_it = steps.iter().filter(|step| step.verdict == verdict);
        let points: Vec<(f64, Option<f64>)> =
            of_it.map(|step| (step.offered, value(step))).collect();
        (!points.is_empty())
            .then(|| Layer::Line(Line { name: name.to_owned(), look: Look::apart(number), points }))
    };
    VERDICTS.into_iter().filter_map(layer).collect()
}

/// What a condition is about.
fn named(condition: &ConditionResult) -> String {
    let end = condition.text.find(['<', '>', '=', '!']).unwrap_or(condition.text.len());
    condition.text[..end].to_owned()
}

fn steps_tried(result: &RunResult) -> Markup {
    let header =
        ["offered", "asked", "for", "reached", "p50", "p99", "max", "errors", "shown", "why"];
    let rows = result.rate_search.iter().map(|step| {
        let mut row = vec![
            format!("{}/s", format::count(step.offered)),
            format!("{}/s", format::count(step.rate)),
            format!("{:.1} s", step.seconds),
        ];
        row.extend(step_outcome(step));
        row.push(step.reasons.join("; "));
        row
    });
    table("Steps in the order tried", &header, rows)
}
