//! Whether results are the parts of one run, and all of them.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use super::Named;
use crate::measure::RunResult;
use crate::moment::format_moment;

/// Refuses what are not all parts of one run, each once.
///
/// # Errors
///
/// A sentence that names the key and both values, or the part.
pub(super) fn refuse_unlike(runs: &[Named]) -> Result<(), String> {
    let mut there: Vec<(u64, &str)> = Vec::new();
    for (name, run) in runs {
        let Some(part) = run.part else {
            let why = match run.parts.len() {
                0 => "it was made without --part; `ringload compare` sets whole runs side by side",
                _ => "it is merged already",
            };
            return Err(format!("{name} is no part of a run: {why}"));
        };
        if let Some((_, other)) = there.iter().find(|(number, _)| *number == part.number) {
            let (number, of) = (part.number, part.of);
            return Err(format!("part {number}/{of} is there twice: {other} and {name}"));
        }
        there.push((part.number, name));
    }
    let Some(((first_name, first), others)) = runs.split_first() else { return Ok(()) };
    for (name, other) in others {
        if let Some((key, a, b)) = difference(first, other) {
            return Err(format!(
                "{first_name} and {name} are not parts of one run: {key} is {a} in the one and {b} \
                 in the other"
            ));
        }
    }
    let of = first.part.map_or(0, |part| part.of);
    let missing: Vec<String> = (1..=of)
        .filter(|number| there.iter().all(|(found, _)| found != number))
        .map(|number| format!("{number}/{of}"))
        .collect();
    match &missing[..] {
        [] => Ok(()),
        [one] => Err(format!("part {one} is missing")),
        several => Err(format!("parts {} are missing", several.join(", "))),
    }
}

/// The first thing that two parts of one run cannot have differently: its key and both values.
fn difference(a: &RunResult, b: &RunResult) -> Option<(String, String, String)> {
    let start = |run: &RunResult| {
        format_moment(UNIX_EPOCH + Duration::from_millis(run.timing.started_unix_ms))
    };
    let seconds =
        |seconds: Option<f64>| seconds.map_or("by --count".to_owned(), |s| format!("{s} s"));
    type Of<'a> = &'a dyn Fn(&RunResult) -> String;
    let keys: [(&str, Of<'_>); 10] = [
        ("version of ringload", &|run| run.version.clone()),
        ("--part K/N: N", &|run| run.part.map_or(0, |part| part.of).to_string()),
        ("--start-at", &start),
        ("seed", &|run| run.seed.to_string()),
        ("workload", &|run| run.workload.name.clone()),
        ("loop", &|run| run.workload.loop_kind.clone()),
        ("TLS", &|run| run.target.security.clone()),
        ("warm-up", &|run| seconds(Some(run.timing.warmup_s))),
        ("duration", &|run| seconds(run.timing.asked_s)),
        ("--slo", &|run| {
            run.objective.as_ref().map_or("none".to_owned(), |asked| asked.text.clone())
        }),
    ];
    let told = keys.iter().map(|(key, of)| ((*key).to_owned(), of(a), of(b)));
    let names: BTreeSet<&String> =
        a.workload.parameters.keys().chain(b.workload.parameters.keys()).collect();
    let parameters = names.into_iter().map(|name| {
        let value = |run: &RunResult| {
            run.workload.parameters.get(name).cloned().unwrap_or_else(|| "none".to_owned())
        };
        (name.clone(), value(a), value(b))
    });
    let ratio = a.timing.interval_s / b.timing.interval_s;
    // Of a run of hours, neighbours have been joined in pairs.
    let apart = (!(ratio.is_nan() || ratio.log2().fract() == 0.0)).then(|| {
        let [a, b] = [a, b].map(|run| seconds(Some(run.timing.interval_s)));
        ("--interval".to_owned(), a, b)
    });
    told.chain(parameters).find(|(_, a, b)| a != b).or(apart)
}
