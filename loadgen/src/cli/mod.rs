//! The commands: a run, a search for the highest rate, two targets in turn, a comparison, the parts
//! of a run put together. Prints, writes the results and chooses the exit status.

mod fair;
mod merge;
mod output;
mod search;
mod versus;

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::Parser;

use crate::{
    args::{Arguments, Command, KEY_LOG_VARIABLE, PASSWORD_VARIABLE, Request, key_log_file},
    check::check,
    client::Opening,
    measure::{Details, Machine, PartOf, RunResult, Target, Workload, printable},
    plan::{Load, Part},
    progress::{Expected, Progress, Watchers},
    report,
    run::{Finished, run},
};
use fair::fair_here;
use output::{Console, Outputs};

/// An objective was missed.
const MISSED: u8 = 1;

/// A bad command line, as clap's own.
const USAGE: u8 = 2;

/// The run could not be done.
const FAILED: u8 = 3;

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
        command @ Command::Check { .. } => check_server(command),
        Command::Compare { files, force, report } => {
            versus::compare_files(files, *force, report.as_deref())
        }
        Command::Merge { files, output } => merge::merge_files(files, output),
        Command::Versus(options) => versus::run_versus(options, &interrupted),
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

/// One session told step by step.
fn check_server(command: &Command) -> Outcome {
    let endpoint = command.checked().map_err(|text| Problem { status: USAGE, text })?;
    let Some(endpoint) = endpoint else { return Ok(ExitCode::SUCCESS) };
    let console = Console::new(false, false);
    let tell = |what: &str, seen: &str| {
        // A reader that has gone does not change what the server does.
        let _ = Console::new(false, false).say(&format!("{what:<12} {seen}\n"));
    };
    let lacks = check(endpoint, None, Box::new(tell)).map_err(Problem::failed)?;
    for sentence in &lacks {
        console.say(&format!("{:<12} {sentence}\n", "lacks"))?;
    }
    if lacks.is_empty() {
        console.say("It has all that the workloads use.\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run_request(request: &Request, interrupted: &Arc<AtomicBool>) -> Outcome {
    let options = &request.common.output;
    // Before the run: what cannot be written is known at once.
    let outputs = Outputs::open(&options.files, options.stream.as_deref())?;
    let console = Console::new(outputs.use_stdout(), options.quiet);
    for warning in &request.warnings {
        let _ = writeln!(io::stderr(), "ringload: {warning}");
    }
    let (mut result, found) = match request.common.search() {
        Some(objective) => search::search(request, objective, interrupted, &console)?,
        None => {
            let stream = options.stream.as_deref().map(output::open_stream).transpose()?;
            let prometheus = options.prometheus.map(output::listen).transpose()?;
            let watchers = Watchers { display: !options.quiet, stream, prometheus };
            (measure(request, interrupted, watchers)?, true)
        }
    };
    let fair = fair_here(request, &result);
    result.client.limit_reasons.extend(fair);
    result.objective = request.common.objective().map(|objective| objective.result(&result));
    // After it: whatever becomes of the files, the summary is there.
    let shown = console.note(&report::summary(&result));
    let written = outputs.write(&result);
    shown.and(written)?;
    if request.common.search().is_some() {
        return Ok(if found { ExitCode::SUCCESS } else { ExitCode::from(MISSED) });
    }
    verdict(request, &result, &console)
}

/// What the exit status says of a finished run: problems of the run itself before its objectives.
fn verdict(request: &Request, result: &RunResult, console: &Console) -> Outcome {
    let mut good = true;
    if let Some(objective) = request.common.objective() {
        let checked = objective.check(result);
        console.say(&format!("objective {objective}\n{checked}\n"))?;
        good &= checked.holds();
    }
    if let Some(objective) = &request.common.output.fail_on {
        let checked = objective.check(result);
        console.say(&format!("fail on {objective}\n{checked}\n"))?;
        good &= !checked.fails();
    }
    if !result.problems.is_empty() {
        return Err(Problem::failed(result.problems.join("; ")));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(MISSED) })
}

/// One run, watched.
fn measure(
    request: &Request,
    interrupted: &Arc<AtomicBool>,
    watchers: Watchers,
) -> Result<RunResult, Problem> {
    let plan = &request.spec.plan;
    let expected = Expected {
        threads: usize::try_from(request.spec.threads()).unwrap_or(1),
        warmup: plan.warmup,
        duration: plan.count.is_none().then(|| plan.length()),
        start_at: request.spec.start_at,
    };
    let progress = if watchers.is_empty() {
        None
    } else {
        let started = Progress::start(expected, watchers);
        let no_thread = |error| Problem::failed(format!("no thread for the display: {error}"));
        Some(started.map_err(no_thread)?)
    };
    let (live, progress) = progress.unzip();
    if let Some(file) = key_log_file() {
        let file = file.display();
        let _ = writeln!(
            io::stderr(),
            "ringload: the secrets of all TLS connections go to {file} ({KEY_LOG_VARIABLE})"
        );
    }
    let finished = run(&request.spec, interrupted, live.as_ref());
    if let Some(trace) = request.spec.endpoint.trace.as_ref().filter(|trace| !trace.is_used()) {
        let _ = writeln!(io::stderr(), "ringload: client {} had nothing to do", trace.client());
    }
    drop(live);
    let watched = progress.map_or(Ok(()), Progress::finish);
    let finished = finished.map_err(Problem::failed)?;
    if let Some(warning) = &finished.warning {
        let _ = writeln!(io::stderr(), "ringload: {warning}");
    }
    let mut result = result_of(request, finished);
    // The result is there all the same.
    result.problems.extend(watched.err());
    Ok(result)
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
            // Beats are due by a clock, and silence is no operation that others wait for.
            coordinated_omission: matches!(spec.plan.load, Load::Closed { .. })
                && spec.workload.beat().is_none()
                && !spec.workload.ends_with_the_run(),
            parameters: request.parameters.clone(),
        },
        server: finished.server,
        cpu: finished.cpu,
        machine: Machine::read(),
        cut_as_asked: spec.workload.ends_with_the_run(),
        expected_interval: request.common.expected_interval(),
        think: match spec.plan.load {
            Load::Closed { think, .. } => think,
            Load::Open { .. } => Duration::ZERO,
        },
        aborted: finished.aborted,
        asked: spec.plan.count.is_none().then_some(spec.plan.duration),
        part: (spec.plan.part != Part::WHOLE)
            .then_some(PartOf { number: spec.plan.part.number, of: spec.plan.part.of }),
    };
    RunResult::new(details, &finished.recording)
}

/// The words of a command line without the password, for reports. A word may hold options itself,
/// as those of `versus` do.
fn without_password(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut hide = false;
    words
        .map(|word| {
            let hidden = std::mem::replace(&mut hide, word == "--password");
            if hidden {
                format!("${PASSWORD_VARIABLE}")
            } else if word.contains(char::is_whitespace) && word.contains("--password") {
                without_password(word.split_whitespace().map(str::to_owned)).join(" ")
            } else if word.starts_with("--password=") {
                format!("--password=${PASSWORD_VARIABLE}")
            } else {
                word
            }
        })
        .collect()
}
