//! The summary printed at the end of a run.

use std::fmt::{self, Write as _};

use super::format;
use super::table::Table;
use crate::measure::{
    Channel, ClientUse, Ending, LatencySummary, RateStep, RunResult, StepPurpose, StepVerdict,
};

/// The whole summary, with a final line end.
#[must_use]
pub fn summary(result: &RunResult) -> String {
    let mut text = String::new();
    match write_summary(&mut text, result) {
        Ok(()) => text,
        Err(fmt::Error) => unreachable!("writing to a String cannot fail"),
    }
}

fn write_summary(out: &mut String, result: &RunResult) -> fmt::Result {
    write_heading(out, result)?;
    write_latencies(out, result)?;
    write_totals(out, result)?;
    write_errors(out, result)?;
    write_tls(out, result)?;
    write_rate_search(out, result)?;
    write_costs(out, result)?;
    write_environment(out, result)
}

fn write_heading(out: &mut String, result: &RunResult) -> fmt::Result {
    let (target, workload, timing) = (&result.target, &result.workload, &result.timing);
    writeln!(
        out,
        "{} ({} loop) on {}:{} ({}), {:.1} s after {:.1} s of warm-up{}",
        workload.name,
        workload.loop_kind,
        target.host,
        target.port,
        target.security,
        timing.measured_s,
        timing.warmup_s,
        ending_note(timing.ending)
    )?;
    writeln!(out, "{}\n", workload.meaning)?;
    for problem in &result.problems {
        writeln!(out, "THE RUN FAILED: {problem}\n")?;
    }
    Ok(())
}

/// How the run ended, unless it ended as asked.
pub(super) fn ending_note(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "",
        Ending::Interrupted => ", interrupted",
        Ending::Limit => ", ended by a limit of the generator",
        Ending::Aborted => ", aborted",
    }
}

/// Why the generator makes the figures doubtful; empty when it does not.
pub(super) fn limit_heading(client: &ClientUse) -> Option<&'static str> {
    match (client.was_limit, client.was_starved) {
        (true, _) => Some("the client may have been the limit, not the server"),
        (false, true) => Some("others took the CPU that the client needed"),
        (false, false) => None,
    }
}

fn write_latencies(out: &mut String, result: &RunResult) -> fmt::Result {
    if result.phases.is_empty() {
        return writeln!(out, "No operation got through its first phase.\n");
    }
    let columns = ["latency by phase", "count", "p50", "p90", "p99", "p99.9", "max"];
    let mut table = Table::new(columns.map(str::to_owned).to_vec());
    for (phase, latency) in &result.phases {
        table.row(latency_row(phase.title(), &latency.corrected));
    }
    let corrected_differs = result
        .phases
        .values()
        .any(|latency| latency.corrected.histogram != latency.uncorrected.histogram);
    if corrected_differs {
        for (phase, latency) in &result.phases {
            if latency.corrected.histogram != latency.uncorrected.histogram {
                let title = format!("{} (uncorrected)", phase.title());
                table.row(latency_row(&title, &latency.uncorrected));
            }
        }
    }
    for (kind, latency) in &result.kinds {
        table.row(latency_row(&format!("only {kind}"), &latency.corrected));
    }
    if let Some(lateness) = &result.lateness {
        table.row(latency_row("generator's lateness", lateness));
    }
    if let Some(expected) = &result.expected_interval {
        let interval = format::duration_ns(expected.interval_ns as f64);
        let title = format!("whole operation (made up for {interval})");
        table.row(latency_row(&title, &expected.operation));
    }
    writeln!(out, "{table}")?;
    if let Some(expected) = &result.expected_interval {
        writeln!(
            out,
            "Closed loop: a client that waits asks nothing meanwhile, so these latencies leave out \
             what a stalled\nserver was not asked (coordinated omission). In the line \"made up\" \
             it is put in, as if each client had\nbegun an operation every {} ({}); an open loop \
             (--rate) measures it.\n",
            format::duration_ns(expected.interval_ns as f64),
            if expected.given {
                "--expected-interval"
            } else {
                "the median and the pause after it"
            }
        )?;
    }
    if corrected_differs {
        writeln!(
            out,
            "Latency counts from when each operation was due; uncorrected, from when it began.\n"
        )?;
    }
    Ok(())
}

fn latency_row(title: &str, latency: &LatencySummary) -> Vec<String> {
    let mut cells = vec![title.to_owned(), format::count(latency.count as f64)];
    let values = [latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p99_9_ns, latency.max_ns];
    cells.extend(values.map(|value| format::duration_ns(value as f64)));
    cells
}

fn write_totals(out: &mut String, result: &RunResult) -> fmt::Result {
    let totals = &result.totals;
    let due = if result.workload.loop_kind == "open" {
        format!(" of {}/s due", format::count(totals.offered_per_s))
    } else {
        String::new()
    };
    writeln!(
        out,
        "operations   {} ({}/s{due}), {} failed ({}){}{}",
        format::count(totals.operations as f64),
        format::count(totals.operations_per_s),
        format::count(totals.errors as f64),
        format::share(totals.error_share),
        if totals.abandoned > 0 {
            format!(", {} abandoned on purpose", format::count(totals.abandoned as f64))
        } else {
            String::new()
        },
        if totals.unfinished > 0 {
            let phases = result.unfinished.iter();
            let phases: Vec<_> =
                phases.map(|(phase, count)| format!("{count} in {}", phase.title())).collect();
            format!(", {} under way at the end ({})", totals.unfinished, phases.join(", "))
        } else {
            String::new()
        }
    )?;
    if totals.bytes_up + totals.bytes_down > 0 {
        writeln!(
            out,
            "payload      up {} ({}/s), down {} ({}/s)",
            format::bytes(totals.bytes_up as f64),
            format::bytes(totals.bytes_up_per_s),
            format::bytes(totals.bytes_down as f64),
            format::bytes(totals.bytes_down_per_s)
        )?;
    }
    writeln!(
        out,
        "connections  {} begun, at most {} open at once",
        format::count(totals.connections as f64),
        format::count(totals.connections_peak as f64)
    )
}

fn write_errors(out: &mut String, result: &RunResult) -> fmt::Result {
    if result.errors.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nerrors")?;
    for row in &result.errors {
        let code = row.code.map(|code| format!(" {code}")).unwrap_or_default();
        writeln!(
            out,
            "{:>9}  {} in {}: {}{code}{}",
            row.count,
            row.class,
            row.phase.title(),
            row.kind,
            if row.example.is_empty() {
                String::new()
            } else {
                format!(", first: {}", row.example)
            }
        )?;
    }
    Ok(())
}

fn write_tls(out: &mut String, result: &RunResult) -> fmt::Result {
    if result.tls.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nTLS handshakes")?;
    for row in &result.tls {
        writeln!(
            out,
            "{:>9}  {}: {} {} {}, certificate {}",
            row.count, row.channel, row.version, row.suite, row.group, row.certificate
        )?;
    }
    for channel in [Channel::Control, Channel::Data] {
        let counts = result.resumption_on(channel);
        if counts.handshakes > 0 {
            writeln!(
                out,
                "{:>9}  {} resumed: {} of handshakes ({} offered a session)",
                counts.resumed,
                channel.name(),
                format::share(counts.share),
                counts.offered
            )?;
        }
    }
    Ok(())
}

fn write_rate_search(out: &mut String, result: &RunResult) -> fmt::Result {
    if result.rate_search.is_empty() {
        return Ok(());
    }
    let columns = ["rate search", "for", "due", "reached", "p50", "p99", "max", "errors", ""];
    let mut table = Table::new(columns.map(str::to_owned).to_vec());
    for step in &result.rate_search {
        let mut row = vec![
            format!("{}/s", format::count(step.rate)),
            format!("{:.1} s", step.seconds),
            format!("{}/s", format::count(step.offered)),
        ];
        row.extend(step_outcome(step));
        table.row(row);
    }
    writeln!(out, "\n{table}")?;
    writeln!(out, "{}", highest_held(result))
}

/// What the search has found.
pub(super) fn highest_held(result: &RunResult) -> String {
    match result.rate_held {
        Some(rate) => format!("Highest rate that held, three times: {}/s.", format::count(rate)),
        None => "No rate was shown to hold the objective.".to_owned(),
    }
}

/// What a step of the search reached, its p50, p99 and maximum, its errors, and what it showed.
pub(super) fn step_outcome(step: &RateStep) -> [String; 6] {
    [
        format!("{}/s", format::count(step.reached)),
        format::duration_ns(step.p50_ns as f64),
        format::duration_ns(step.p99_ns as f64),
        format::duration_ns(step.max_ns as f64),
        format::count(step.errors as f64),
        verdict_word(step).to_owned(),
    ]
}

/// What a step of the search showed, in a word or two.
fn verdict_word(step: &RateStep) -> &'static str {
    match (step.verdict, step.purpose) {
        (StepVerdict::Held, _) => "held",
        (StepVerdict::Broken, _) => "broken",
        (StepVerdict::TooFew, StepPurpose::Scout) => "scouted",
        (StepVerdict::TooFew, _) => "too few",
        (StepVerdict::Unknown, _) => "unknown (client)",
    }
}

fn write_costs(out: &mut String, result: &RunResult) -> fmt::Result {
    let client = &result.client;
    let shares = |shares: &[f64]| {
        shares.iter().map(|share| format::share(*share)).collect::<Vec<_>>().join(", ")
    };
    writeln!(
        out,
        "\nclient       {} of CPU per operation{}; threads busy: {}; waiting for their core: {}",
        format::duration_ns(client.cpu_us_per_operation * 1e3),
        by_gb(client.cpu_s_per_gb),
        shares(&client.thread_busy),
        shares(&client.thread_waiting)
    )?;
    match limit_heading(client) {
        Some(heading) => writeln!(out, "{}:", heading.to_uppercase())?,
        None => writeln!(out, "             the client was not the limit")?,
    }
    for reason in &client.limit_reasons {
        writeln!(out, "             {reason}")?;
    }
    if let Some(server) = &result.server {
        writeln!(
            out,
            "server       {} of CPU per operation{}, {:.2} cores busy; memory {} to {}{}",
            format::duration_ns(server.cpu_us_per_operation * 1e3),
            by_gb(server.cpu_s_per_gb),
            server.cores_busy,
            format::bytes(server.memory_before_bytes as f64),
            format::bytes(server.memory_after_bytes as f64),
            server.memory_per_session_bytes.map_or_else(String::new, |bytes| format!(
                ", {} for each of {} sessions",
                format::bytes(bytes as f64),
                server.sessions
            ))
        )?;
    }
    Ok(())
}

/// CPU time by payload, where payload moved.
fn by_gb(cpu_s_per_gb: Option<f64>) -> String {
    cpu_s_per_gb.map_or_else(String::new, |cpu_s| {
        format!(", {} per GB of payload", format::duration_ns(cpu_s * 1e9))
    })
}

fn write_environment(out: &mut String, result: &RunResult) -> fmt::Result {
    for part in &result.parts {
        writeln!(
            out,
            "\npart {:<7} {} operations ({}/s), {} failed{}{}; on {}; {}",
            part.number,
            format::count(part.operations as f64),
            format::count(part.operations_per_s),
            format::count(part.errors as f64),
            ending_note(part.ending),
            if part.client_was_limit { ", the client may have been the limit" } else { "" },
            part.machine,
            part.file
        )?;
    }
    if let Some(part) = result.part {
        let started = format::unix_time(result.timing.started_unix_ms);
        writeln!(out, "\npart         {} of {} of the run of {started}", part.number, part.of)?;
    }
    let machine = &result.machine;
    writeln!(out, "\nserver says  {}", result.target.greeting)?;
    writeln!(
        out,
        "machine      {} ({} CPUs, {}, {}), {}",
        machine.cpu_model,
        machine.cpus,
        format::bytes(machine.memory_bytes as f64),
        machine.architecture,
        machine.kernel
    )?;
    writeln!(
        out,
        "run          {}, ringload {}, seed {}",
        format::unix_time(result.timing.started_unix_ms),
        result.version,
        result.seed
    )?;
    writeln!(out, "command      {}", result.command_line.join(" "))
}
