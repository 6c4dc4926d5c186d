//! `ringload merge`: the results of the processes that shared a run (`--part`), put together into
//! what one process would have written. Counts add exactly, histograms bucket by bucket, intervals
//! by the clock, which `--start-at` makes one for all.

mod alike;
mod cpu;
mod intervals;
mod sums;

use crate::measure::{
    ClientUse, Ending, PartRow, RunResult, ServerResult, Timing, Totals, per_gb, ratio,
};
use crate::slo::Objective;
use alike::refuse_unlike;
use sums::{Counts, Latencies};

/// A part's result, under the name of its file.
pub type Named = (String, RunResult);

/// The result of the whole run. `command_line` is that which merges.
///
/// # Errors
///
/// A sentence: what makes these no parts of one run, by its key and both values; or that a file was
/// changed.
pub fn merge(mut runs: Vec<Named>, command_line: Vec<String>) -> Result<RunResult, String> {
    refuse_unlike(&runs)?;
    runs.sort_by_key(|(_, run)| run.part.map(|part| part.number));
    let (mut latencies, mut counts) = (Latencies::default(), Counts::default());
    for (name, run) in &runs {
        let in_file = |error: String| format!("{name}: {error}");
        latencies.add(run).map_err(in_file)?;
        counts.add(run).map_err(in_file)?;
    }
    let Some((_, first)) = runs.first() else { return Err("there is nothing to merge".to_owned()) };
    let results: Vec<&RunResult> = runs.iter().map(|(_, run)| run).collect();
    let cpus: Vec<_> = results.iter().map(|run| &run.cpu[..]).collect();
    let timing = timing(first, &results);
    let intervals = intervals::beside_each_other(&runs)?;
    let totals = Totals {
        connections_peak: intervals.iter().map(|row| row.connections).max().unwrap_or_default(),
        ..counts.totals(timing.measured_s)
    };
    let moved = counts.within.bytes_up + counts.within.bytes_down;
    let mut merged = RunResult {
        command_line,
        timing,
        problems: told(&runs, |run| &run.problems),
        phases: latencies.phases(),
        kinds: latencies.kinds(),
        expected_interval: latencies.expected_interval(first),
        unfinished: counts.unfinished.clone(),
        errors: counts.errors(),
        tls: counts.tls(),
        resumption: counts.resumption.clone(),
        lateness: latencies.lateness(),
        client: client(&runs, totals.work, moved),
        server: server(&results, &totals, moved),
        totals,
        intervals,
        cpu: cpu::beside_each_other(&cpus),
        part: None,
        parts: runs.iter().map(part_row).collect(),
        ..first.clone()
    };
    // What holds of a part need not hold of the whole.
    if let Some(asked) = &first.objective {
        let objective: Objective =
            asked.text.parse().map_err(|error| format!("its objective {}: {error}", asked.text))?;
        merged.objective = Some(objective.result(&merged));
    }
    Ok(merged)
}

/// All began together; the run ends when the last one does.
fn timing(first: &RunResult, runs: &[&RunResult]) -> Timing {
    let longest =
        |of: fn(&Timing) -> f64| runs.iter().map(|run| of(&run.timing)).fold(0.0, f64::max);
    let severity = |ending: &Ending| match ending {
        Ending::Complete => 0,
        Ending::Limit => 1,
        Ending::Interrupted => 2,
        Ending::Aborted => 3,
    };
    let endings = runs.iter().map(|run| run.timing.ending);
    Timing {
        measured_s: longest(|timing| timing.measured_s),
        interval_s: longest(|timing| timing.interval_s),
        elapsed_s: longest(|timing| timing.elapsed_s),
        ending: endings.max_by_key(severity).unwrap_or(first.timing.ending),
        ..first.timing.clone()
    }
}

/// Sentences of the parts, each with the number of its part before it.
fn told(runs: &[Named], of: impl Fn(&RunResult) -> &Vec<String>) -> Vec<String> {
    let told = |(_, run): &Named| {
        let number = run.part.map_or(0, |part| part.number);
        of(run).iter().map(move |text| format!("part {number}: {text}")).collect::<Vec<_>>()
    };
    runs.iter().flat_map(told).collect()
}

fn client(runs: &[Named], work: f64, moved: u64) -> ClientUse {
    let clients = || runs.iter().map(|(_, run)| &run.client);
    let cpu_s: f64 = clients().map(|client| client.cpu_s).sum();
    ClientUse {
        cpu_s,
        cpu_us_per_operation: ratio(cpu_s * 1e6, work),
        cpu_s_per_gb: per_gb(cpu_s, moved),
        thread_busy: clients().flat_map(|client| client.thread_busy.clone()).collect(),
        thread_waiting: clients().flat_map(|client| client.thread_waiting.clone()).collect(),
        was_limit: clients().any(|client| client.was_limit),
        was_starved: clients().any(|client| client.was_starved),
        limit_reasons: told(runs, |run| &run.client.limit_reasons),
    }
}

/// What the first part saw that measured the server: all parts loaded it, so its cost is that of
/// the work of all. Its memory is not divided by sessions, for some were open when it was first
/// read.
fn server(runs: &[&RunResult], totals: &Totals, moved: u64) -> Option<ServerResult> {
    let server = runs.iter().find_map(|run| run.server.clone())?;
    Some(ServerResult {
        cpu_us_per_operation: ratio(server.cpu_s * 1e6, totals.work),
        cpu_s_per_gb: per_gb(server.cpu_s, moved),
        memory_per_session_bytes: None,
        ..server
    })
}

fn part_row((file, run): &Named) -> PartRow {
    let (machine, client) = (&run.machine, &run.client);
    PartRow {
        number: run.part.map_or(0, |part| part.number),
        file: file.clone(),
        command_line: run.command_line.clone(),
        target: format!("{}:{}", run.target.host, run.target.port),
        machine: format!("{}, {} CPUs, {}", machine.cpu_model, machine.cpus, machine.kernel),
        ending: run.timing.ending,
        operations: run.totals.operations,
        errors: run.totals.errors,
        operations_per_s: run.totals.operations_per_s,
        client_was_limit: client.was_limit || client.was_starved,
    }
}
