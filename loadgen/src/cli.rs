//! The commands: a run, a search for the highest rate, two targets in turn, a comparison. Prints,
//! writes the results and chooses the exit status.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;

use crate::{
    args::{Arguments, Command, OutputOptions, PASSWORD_VARIABLE, Request},
    client::Opening,
    compare::{Named, ROUNDS_MIN, compare, versus},
    measure::{Details, Ending, Machine, Phase, RateStep, RunResult, Target, Workload, printable},
    plan::{Load, Profile, RATE_MAX},
    progress::{Expected, Progress},
    report,
    run::{Finished, run},
    slo::Objective,
};

/// An objective was missed.
const MISSED: u8 = 1;

/// A bad command line, as clap's own.
const USAGE: u8 = 2;

/// The run could not be done.
const FAILED: u8 = 3;

/// The search begins here, operations a second.
const SEARCH_BEGIN: f64 = 50.0;

/// The search ends when the bounds are this close: 5 %.
const SEARCH_PRECISION: f64 = 1.05;

/// Runs the command line and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second signal ends the program at once. That a handler cannot be installed only means
        // that Ctrl-C ends the run without a report.
        let _ =
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted));
        let _ = signal_hook::flag::register(signal, Arc::clone(&interrupted));
    }
    let outcome = match &arguments.command {
        Command::Compare { files } => compare_files(files),
        Command::Versus { a, b, rounds, json, workload } => {
            let sides = [a.as_str(), b.as_str()];
            run_versus(sides, *rounds, json.as_deref(), workload, &interrupted)
        }
        command => match command.request() {
            Ok(Some(request)) => run_request(&request, &interrupted),
            Ok(None) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Problem { status: USAGE, text: error }),
        },
    };
    outcome.unwrap_or_else(|problem| {
        let _ = writeln!(io::stderr(), "ringload: {}", problem.text);
        ExitCode::from(problem.status)
    })
}

/// Why a command did not come to its end.
struct Problem {
    status: u8,
    text: String,
}

impl Problem {
    fn failed(text: impl Into<String>) -> Self {
        Self { status: FAILED, text: text.into() }
    }
}

type Outcome = Result<ExitCode, Problem>;

fn run_request(request: &Request, interrupted: &Arc<AtomicBool>) -> Outcome {
    let result = match request.common.search() {
        Some(objective) => search(request, objective, interrupted)?,
        None => measure(request, interrupted, !request.common.output.quiet)?,
    };
    let output = &request.common.output;
    write_outputs(output, &result)?;
    if !output.quiet {
        print(&report::summary(&result))?;
    }
    verdict(request, &result)
}

/// Objectives of a finished run.
fn verdict(request: &Request, result: &RunResult) -> Outcome {
    let mut good = true;
    if let Some(objective) = request.common.objective() {
        let checked = objective.check(result);
        print(&format!("objective {objective}\n{checked}\n"))?;
        good &= checked.holds();
    }
    if let Some(objective) = &request.common.output.fail_on {
        let checked = objective.check(result);
        print(&format!("fail on {objective}\n{checked}\n"))?;
        good &= !checked.fails();
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(MISSED) })
}

/// One run with its display.
fn measure(
    request: &Request,
    interrupted: &Arc<AtomicBool>,
    show: bool,
) -> Result<RunResult, Problem> {
    let plan = &request.spec.plan;
    let threads = usize::try_from(request.spec.threads()).unwrap_or(1);
    let display = if show {
        let duration = plan.count.is_none().then(|| plan.length());
        Some(Progress::start(Expected { threads, warmup: plan.warmup, duration }))
    } else {
        None
    };
    let (live, display) = match display.transpose() {
        Ok(Some((live, display))) => (Some(live), Some(display)),
        Ok(None) => (None, None),
        Err(error) => return Err(Problem::failed(format!("no thread for the display: {error}"))),
    };
    let finished = run(&request.spec, interrupted, live.as_ref());
    drop(live);
    if let Some(display) = display {
        display.finish();
    }
    let finished = finished.map_err(Problem::failed)?;
    if let Some(warning) = &finished.warning {
        let _ = writeln!(io::stderr(), "ringload: {warning}");
    }
    Ok(result_of(request, finished))
}

fn result_of(request: &Request, finished: Finished) -> RunResult {
    let spec = &request.spec;
    let security = match spec.endpoint.opening {
        Opening::Implicit => "implicit",
        Opening::Explicit(_) => "explicit",
    };
    let details = Details {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command_line: without_password(std::env::args()),
        seed: spec.plan.seed,
        started: finished.started,
        elapsed: finished.elapsed,
        warmup: spec.plan.warmup,
        measured: finished.measured,
        ending: finished.ending,
        target: Target {
            host: request.host.clone(),
            port: spec.endpoint.target.port(),
            security: security.to_owned(),
            greeting: printable(spec.endpoint.greeting.get().map_or("", String::as_str)),
        },
        workload: Workload {
            name: spec.workload.name().to_owned(),
            meaning: spec.workload.meaning().to_owned(),
            loop_kind: match spec.plan.load {
                Load::Closed { .. } => "closed".to_owned(),
                Load::Open { .. } => "open".to_owned(),
            },
            parameters: request.parameters.clone(),
        },
        server: finished.server,
        machine: Machine::read(),
    };
    RunResult::new(details, &finished.recording)
}

/// Searches the highest rate at which `objective` holds: doubles it until it does not, then halves
/// the distance. The result is that of the highest rate that held, with every step beside it.
/// Ctrl-C ends it with the steps before; the one it cut short has shown nothing of its rate.
fn search(
    request: &Request,
    objective: &Objective,
    interrupted: &Arc<AtomicBool>,
) -> Result<RunResult, Problem> {
    let show = !request.common.output.quiet;
    let (mut low, mut high) = (0.0, f64::INFINITY);
    let mut rate = SEARCH_BEGIN;
    let mut steps: Vec<RateStep> = Vec::new();
    let mut best: Option<RunResult> = None;
    let mut last = None;
    loop {
        let result = match measure(&at_rate(request, rate)?, interrupted, show) {
            Ok(result) if result.timing.ending == Ending::Interrupted => break,
            Ok(result) => result,
            // The step had not begun.
            Err(_) if !steps.is_empty() && interrupted.load(Ordering::Relaxed) => break,
            Err(problem) => return Err(problem),
        };
        let held = objective.check(&result).holds();
        let step = step_of(rate, held, &result);
        if show {
            let word = if held { "holds" } else { "does not hold" };
            let limit = if step.client_was_limit { ", and the client was the limit" } else { "" };
            print(&format!("{rate:.1}/s: {objective} {word}{limit}\n"))?;
        }
        steps.push(step);
        if held {
            low = rate;
            best = Some(result);
        } else {
            high = rate;
            last = Some(result);
        }
        if interrupted.load(Ordering::Relaxed) {
            break;
        }
        rate = if high.is_finite() { f64::midpoint(low, high) } else { rate * 2.0 };
        if high <= low * SEARCH_PRECISION || !(1.0..=RATE_MAX).contains(&rate) {
            break;
        }
    }
    let mut result =
        best.or(last).ok_or_else(|| Problem::failed("interrupted in the first step"))?;
    result.rate_search = steps;
    Ok(result)
}

fn at_rate(request: &Request, rate: f64) -> Result<Request, Problem> {
    let mut request = request.clone();
    if let Load::Open { profile, .. } = &mut request.spec.plan.load {
        *profile = Profile::constant(rate).map_err(Problem::failed)?;
    }
    request.parameters.insert("rate".to_owned(), rate.to_string());
    Ok(request)
}

fn step_of(rate: f64, held: bool, result: &RunResult) -> RateStep {
    let latency = result.phase(Phase::Operation).map(|phase| &phase.corrected);
    RateStep {
        rate,
        reached: result.totals.operations_per_s,
        held,
        p50_ns: latency.map_or(0, |latency| latency.p50_ns),
        p99_ns: latency.map_or(0, |latency| latency.p99_ns),
        max_ns: latency.map_or(0, |latency| latency.max_ns),
        errors: result.totals.errors,
        client_was_limit: result.client.was_limit || result.client.was_starved,
    }
}

fn run_versus(
    sides: [&str; 2],
    rounds: u32,
    json: Option<&Path>,
    workload: &[String],
    interrupted: &Arc<AtomicBool>,
) -> Outcome {
    let usage = |text: String| Problem { status: USAGE, text };
    let mut requests = Vec::new();
    for side in sides {
        // The workload's name, then the side's target and options, then the common options.
        let words = std::iter::once("ringload")
            .chain(workload.first().map(String::as_str))
            .chain(side.split_whitespace())
            .chain(workload.iter().skip(1).map(String::as_str));
        let arguments =
            Arguments::try_parse_from(words).map_err(|error| usage(error.to_string()))?;
        let request = arguments.command.request().map_err(usage)?;
        let request = request.ok_or_else(|| usage("versus runs a workload".to_owned()))?;
        if request.common.search().is_some() {
            return Err(usage("versus compares runs, not searches".to_owned()));
        }
        let output = &request.common.output;
        if output.json.is_some() || output.hdr_log.is_some() || output.report.is_some() {
            let text = "versus writes one comparison: give its --json FILE before the `--`";
            return Err(usage(text.to_owned()));
        }
        if output.fail_on.is_some() || request.common.objective().is_some() {
            return Err(usage("versus compares, it has no objectives".to_owned()));
        }
        requests.push(request);
    }
    let mut results = [Vec::new(), Vec::new()];
    'rounds: for round in 1..=rounds {
        for (index, request) in requests.iter().enumerate() {
            let quiet = request.common.output.quiet;
            let result = measure(request, interrupted, !quiet)?;
            if interrupted.load(Ordering::Relaxed) {
                break 'rounds;
            }
            if !quiet {
                let (rate, errors) = (result.totals.operations_per_s, result.totals.errors);
                let side = ["A", "B"][index];
                print(&format!("round {round} {side}: {rate:.1}/s, {errors} errors\n"))?;
            }
            results[index].push(result);
        }
    }
    let [a, b] = results;
    let whole = a.len().min(b.len());
    if whole < ROUNDS_MIN {
        let text = format!("{whole} rounds are too few to compare; {ROUNDS_MIN} are needed");
        return Err(Problem::failed(text));
    }
    let [name_a, name_b] =
        sides.map(|side| without_password(side.split_whitespace().map(str::to_owned)).join(" "));
    let compared = versus(&name_a, &a[..whole], &name_b, &b[..whole]);
    if let Some(path) = json {
        write_file(path, compared.to_json().as_bytes())?;
    }
    print(&compared.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn compare_files(files: &[std::path::PathBuf]) -> Outcome {
    let mut runs = Vec::new();
    for path in files {
        let name = path.display().to_string();
        let unreadable = |error: &dyn std::fmt::Display| Problem {
            status: USAGE,
            text: format!("{name}: {error}"),
        };
        let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        let result = RunResult::from_json(&text).map_err(|error| unreadable(&error))?;
        runs.push(Named { name: name.clone(), result });
    }
    print(&compare(&runs).to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn write_outputs(output: &OutputOptions, result: &RunResult) -> Result<(), Problem> {
    if let Some(path) = &output.json {
        write_file(path, result.to_json().as_bytes())?;
    }
    if let Some(path) = &output.report {
        write_file(path, report::html(result).as_bytes())?;
    }
    if let Some(path) = &output.hdr_log {
        let mut log = Vec::new();
        report::write_hdr_log(result, &mut log)
            .map_err(|error| Problem::failed(format!("{}: {error}", path.display())))?;
        write_file(path, &log)?;
    }
    Ok(())
}

fn write_file(path: &Path, octets: &[u8]) -> Result<(), Problem> {
    fs::write(path, octets).map_err(|error| Problem::failed(format!("{}: {error}", path.display())))
}

/// Writes to standard output. A reader that has gone (`| head`) is no failure of the run.
fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Problem::failed(error.to_string()))
        }
        _ => Ok(()),
    }
}

/// The words of a command line without the password, for reports.
fn without_password(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut hide = false;
    words
        .map(|word| {
            let hidden = std::mem::replace(&mut hide, word == "--password");
            if hidden {
                format!("${PASSWORD_VARIABLE}")
            } else if word.starts_with("--password=") {
                format!("--password=${PASSWORD_VARIABLE}")
            } else {
                word
            }
        })
        .collect()
}
