//! The search for the highest rate, run: which rate comes next is decided by [`Search`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Problem, measure, output::Console};
use crate::{
    args::Request,
    measure::{Ending, RateStep, RunResult, StepPurpose, StepVerdict},
    plan::{Load, Profile},
    progress::Watchers,
    report::format,
    slo::{Above, Next, Objective, Search, Trial},
};

/// What is due in a trial and later than the objective allows by this is late enough.
const DRAIN: Duration = Duration::from_secs(2);

/// Searches, and returns the result of the last trial at the rate found with every trial beside it,
/// and whether there is such a rate. Ctrl-C ends the search with the trials before; the one it cut
/// short has shown nothing.
pub(super) fn search(
    request: &Request,
    objective: &Objective,
    interrupted: &Arc<AtomicBool>,
    console: &Console,
) -> Result<(RunResult, bool), Problem> {
    let mut search = Search::new(objective.clone(), request.spec.plan.duration);
    let mut steps: Vec<RateStep> = Vec::new();
    let mut results: Vec<(f64, RunResult)> = Vec::new();
    let found = loop {
        let trial = match search.next() {
            Next::Run(trial) => trial,
            Next::End(found) => break found,
        };
        let at_rate = at_rate(request, objective, trial)?;
        let result = match measure(&at_rate, interrupted, Watchers::default()) {
            Ok(result) if result.timing.ending == Ending::Interrupted => break search.found(),
            Ok(result) => result,
            // The trial had not begun.
            Err(_) if !steps.is_empty() && interrupted.load(Ordering::Relaxed) => {
                break search.found();
            }
            Err(problem) => return Err(problem),
        };
        let step = search.report(trial, &result);
        console.note(&line(&step))?;
        if step.verdict != StepVerdict::Unknown || results.is_empty() {
            results.retain(|(rate, _)| *rate != trial.rate);
            results.push((trial.rate, result));
        }
        steps.push(step);
        if interrupted.load(Ordering::Relaxed) {
            break search.found();
        }
    };
    let rate = found.rate;
    let chosen = results.iter().rposition(|(tried, _)| Some(*tried) == rate);
    let chosen = chosen.or_else(|| results.len().checked_sub(1));
    let chosen = chosen.ok_or_else(|| Problem::failed("interrupted in the first step"))?;
    let (_, mut result) = results.swap_remove(chosen);
    result.rate_search = steps;
    result.rate_held = rate;
    result.problems = match rate {
        Some(_) => Vec::new(),
        None => vec![format!("no rate held {objective}")],
    };
    if let (Some(_), Above::Unknown(above)) = (rate, found.above) {
        let limit = format!(
            "above the rate found nothing is known: at {}/s the generator was the limit or starved",
            format::count(above)
        );
        result.client.limit_reasons.push(limit);
    }
    Ok((result, rate.is_some()))
}

/// One line a trial.
fn line(step: &RateStep) -> String {
    let purpose = match step.purpose {
        StepPurpose::Scout => "scout",
        StepPurpose::Narrow => "narrow",
        StepPurpose::Confirm => "confirm",
        StepPurpose::Refute => "refute",
    };
    let verdict = match step.verdict {
        StepVerdict::Held => "holds",
        StepVerdict::Broken => "does not hold",
        StepVerdict::TooFew if step.purpose == StepPurpose::Scout => "seems to hold",
        StepVerdict::TooFew => "too few operations",
        StepVerdict::Unknown => "unknown, the generator was the limit or starved",
    };
    let reasons = step.reasons.join("; ");
    let separator = if reasons.is_empty() { "" } else { ": " };
    format!(
        "{:.1}/s for {:.1} s ({purpose}): {verdict}{separator}{reasons}\n",
        step.rate, step.seconds
    )
}

fn at_rate(request: &Request, objective: &Objective, trial: Trial) -> Result<Request, Problem> {
    let mut request = request.clone();
    let plan = &mut request.spec.plan;
    if let Load::Open { profile, .. } = &mut plan.load {
        *profile = Profile::constant(trial.rate).map_err(Problem::failed)?;
    }
    plan.duration = trial.duration;
    plan.drain = plan.drain.min(DRAIN + objective.longest_latency());
    request.parameters.insert("rate".to_owned(), trial.rate.to_string());
    Ok(request)
}
