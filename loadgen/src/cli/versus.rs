//! Two targets in turn, and finished runs side by side.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Parser;

use super::{
    Outcome, Problem, USAGE,
    fair::fair_here,
    measure,
    output::{Console, Sink},
    without_password,
};
use crate::{
    args::{Arguments, Request, VersusOptions},
    compare::{Asked, Named, ROUNDS_MIN, compare, versus},
    measure::RunResult,
    progress::Watchers,
};

/// What --fair pins on both sides, unless the command line says it: options of TLS 1.3 and of
/// TLS 1.2. The curve after X25519 is for certificates (RFC 8422 §5.1.1).
const FAIR: [(&str, &str); 3] =
    [("--tls", "1.3"), ("--suites", "TLS13_AES_128_GCM_SHA256"), ("--groups", "X25519,secp256r1")];
const FAIR_SUITES_12: &str =
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";

pub(super) fn run_versus(options: &VersusOptions, interrupted: &Arc<AtomicBool>) -> Outcome {
    let sides = [options.a.as_str(), options.b.as_str()];
    let requests = sides.map(|side| side_request(side, options));
    let [a, b] = requests;
    let requests = [a?, b?];
    let asked = |request: &Request| Asked {
        workload: request.spec.workload.name().to_owned(),
        parameters: request.parameters.clone(),
        seed: request.spec.plan.seed,
    };
    let [of_a, of_b] = [asked(&requests[0]), asked(&requests[1])];
    refuse_unlike(("A", &of_a), ("B", &of_b), options.force)?;
    let sinks = open_both(options)?;
    let quiet = requests.iter().any(|request| request.common.output.quiet);
    let on_stdout = sinks.iter().any(|sink| matches!(sink, Some(Sink::Stdout)));
    let console = Console::new(on_stdout, quiet);
    let mut results = [Vec::new(), Vec::new()];
    'rounds: for round in 1..=options.rounds {
        for (index, request) in requests.iter().enumerate() {
            let watchers = Watchers { display: !console.is_quiet(), ..Watchers::default() };
            let result = measure(request, interrupted, watchers)?;
            if interrupted.load(Ordering::Relaxed) {
                break 'rounds;
            }
            let (rate, errors) = (result.totals.operations_per_s, result.totals.errors);
            let side = ["A", "B"][index];
            console.note(&format!("round {round} {side}: {rate:.1}/s, {errors} errors\n"))?;
            results[index].push(result);
        }
    }
    let [mut a, mut b] = results;
    let whole = a.len().min(b.len());
    if whole < ROUNDS_MIN {
        let text = format!("{whole} rounds are too few to compare; {ROUNDS_MIN} are needed");
        return Err(Problem::failed(text));
    }
    a.truncate(whole);
    b.truncate(whole);
    let [name_a, name_b] =
        sides.map(|side| without_password(side.split_whitespace().map(str::to_owned)).join(" "));
    let fair = [(&requests[0], &a), (&requests[1], &b)]
        .into_iter()
        .find_map(|(request, rounds)| rounds.iter().find_map(|round| fair_here(request, round)));
    let mut compared = versus(&name_a, a, &name_b, b);
    compared.warnings.extend(fair);
    let shown = console.say(&compared.to_string());
    let [json, report] = sinks;
    let written = json.map_or(Ok(()), |sink| sink.write(compared.to_json().as_bytes()));
    let page = report.map_or(Ok(()), |sink| sink.write(compared.html().as_bytes()));
    shown.and(written).and(page)?;
    let failed = compared.problems();
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Problem::failed(failed.join("; "))) }
}

/// Where JSON and page go.
fn open_both(options: &VersusOptions) -> Result<[Option<Sink>; 2], Problem> {
    let paths = [&options.json, &options.report];
    if paths.iter().all(|path| path.as_deref() == Some(Path::new("-"))) {
        let text = "only one of --json and --report can go to standard output".to_owned();
        return Err(Problem { status: USAGE, text });
    }
    let [json, report] = paths.map(|path| path.as_deref().map(Sink::open).transpose());
    Ok([json?, report?])
}

/// The run of one side: the workload's name, then the side's target and options, then the common
/// options.
fn side_request(side: &str, options: &VersusOptions) -> Result<Request, Problem> {
    let usage = |text: String| Problem { status: USAGE, text };
    let workload = &options.workload;
    let mut words: Vec<String> = std::iter::once("ringload")
        .chain(workload.first().map(String::as_str))
        .chain(side.split_whitespace())
        .chain(workload.iter().skip(1).map(String::as_str))
        .map(str::to_owned)
        .collect();
    if options.fair {
        pin_tls(&mut words);
    }
    let arguments = Arguments::try_parse_from(words).map_err(|error| usage(error.to_string()))?;
    let request = arguments.command.request().map_err(usage)?;
    let request = request.ok_or_else(|| usage("versus runs a workload".to_owned()))?;
    if request.common.search().is_some() {
        return Err(usage("versus compares runs, not searches".to_owned()));
    }
    let output = &request.common.output;
    if request.spec.start_at.is_some() {
        return Err(usage("versus runs many times: it cannot --start-at one".to_owned()));
    }
    if output.stream.is_some() || output.prometheus.is_some() {
        let text = "versus runs many times: it has no --stream and no --prometheus";
        return Err(usage(text.to_owned()));
    }
    let files = &output.files;
    if files.json.is_some() || files.hdr_log.is_some() || files.report.is_some() {
        let text = "versus writes one comparison: give its --json and --report before the `--`";
        return Err(usage(text.to_owned()));
    }
    if output.fail_on.is_some() || request.common.objective().is_some() {
        return Err(usage("versus compares, it has no objectives".to_owned()));
    }
    Ok(request)
}

/// Adds what --fair asks for.
fn pin_tls(words: &mut Vec<String>) {
    let given = |words: &[String], name: &str| {
        words.iter().position(|word| word == name || word.starts_with(&format!("{name}=")))
    };
    let old = given(words, "--tls").is_some_and(|at| {
        words[at].ends_with("=1.2") || words.get(at + 1).is_some_and(|value| value == "1.2")
    });
    for (name, value) in FAIR {
        if given(words, name).is_none() {
            let value = if old && name == "--suites" { FAIR_SUITES_12 } else { value };
            words.extend([name.to_owned(), value.to_owned()]);
        }
    }
}

fn refuse_unlike(a: (&str, &Asked), b: (&str, &Asked), force: bool) -> Result<(), Problem> {
    match a.1.unlike(b.1) {
        Some(what) if !force => Err(Problem {
            status: USAGE,
            text: format!(
                "{} and {} are different workloads ({what}): their figures say nothing of each \
                 other; --force compares them anyway",
                a.0, b.0
            ),
        }),
        _ => Ok(()),
    }
}

/// Results, each under the name of its file.
pub(super) fn read_results(files: &[PathBuf]) -> Result<Vec<Named>, Problem> {
    let mut runs: Vec<Named> = Vec::new();
    for path in files {
        let name = path.display().to_string();
        let unreadable =
            |error: &dyn Display| Problem { status: USAGE, text: format!("{name}: {error}") };
        let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        let result = RunResult::from_json(&text).map_err(|error| unreadable(&error))?;
        runs.push(Named { name: name.clone(), result });
    }
    Ok(runs)
}

pub(super) fn compare_files(files: &[PathBuf], force: bool, report: Option<&Path>) -> Outcome {
    let runs = read_results(files)?;
    if let Some((first, others)) = runs.split_first() {
        for other in others {
            let (a, b) = (Asked::of(&first.result), Asked::of(&other.result));
            refuse_unlike((&first.name, &a), (&other.name, &b), force)?;
        }
    }
    let compared = compare(&runs);
    let sink = report.map(Sink::open).transpose()?;
    let on_stdout = matches!(sink, Some(Sink::Stdout));
    let shown = Console::new(on_stdout, false).say(&compared.to_string());
    let written = sink.map_or(Ok(()), |sink| sink.write(compared.html(&runs).as_bytes()));
    shown.and(written)?;
    Ok(ExitCode::SUCCESS)
}
