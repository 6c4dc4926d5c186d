//! The results of the parts of a run, put together.

use std::{path::PathBuf, process::ExitCode};

use super::{
    Outcome, Problem, USAGE,
    output::{Console, Outputs},
    versus::read_results,
    without_password,
};
use crate::{args::ResultFiles, merge, report};

pub(super) fn merge_files(files: &[PathBuf], output: &ResultFiles) -> Outcome {
    let usage = |text: String| Problem { status: USAGE, text };
    let command_line = without_password(std::env::args());
    let runs = read_results(files)?.into_iter().map(|run| (run.name, run.result)).collect();
    let merged = merge::merge(runs, command_line).map_err(usage)?;
    let outputs = Outputs::open(output, None)?;
    let console = Console::new(outputs.use_stdout(), false);
    let shown = console.say(&report::summary(&merged));
    shown.and(outputs.write(&merged))?;
    match &merged.problems[..] {
        [] => Ok(ExitCode::SUCCESS),
        problems => Err(Problem::failed(problems.join("; "))),
    }
}
