//! The report of one run as one page.

use maud::{Markup, html};

use super::format;
use super::over_time::Course;
use super::page::{self, table};
use super::percentiles::{self, Curve};
use super::plot::Look;
use super::rate_search;
use super::text::{ending_note, limit_heading};
use crate::measure::{Channel, LatencySummary, Phase, RunResult};

/// The page.
#[must_use]
pub fn html(result: &RunResult) -> String {
    let (target, workload, timing) = (&result.target, &result.workload, &result.timing);
    let highest = highest_latency(result);
    let body = html! {
        p { (workload.meaning) }
        p class="muted" {
            (format::unix_time(timing.started_unix_ms)) ", " (workload.loop_kind) " loop, "
            (target.security) ", " (format!("{:.1}", timing.measured_s)) " s after "
            (format!("{:.1}", timing.warmup_s)) " s of warm-up" (ending_note(timing.ending))
        }
        (doubts(result))
        (tiles(result))
        (objective(result))
        (by_percentile(result, highest))
        @if let Some(course) = Course::new(result) { (course.sections(highest)) }
        (rate_search::section(result, highest))
        (phases(result))
        (errors(result))
        (tls(result))
        (costs(result))
        (about(result))
    };
    page::page(&format!("{} on {}:{}", workload.name, target.host, target.port), &body)
}

/// What all latency axes of the page reach up to.
pub(crate) fn highest_latency(result: &RunResult) -> f64 {
    let ended = result.phase(Phase::Operation).map_or(0, |operation| operation.corrected.max_ns);
    let over_time = result.intervals.iter().map(|row| row.max_ns);
    let conditions = result
        .objective
        .iter()
        .flat_map(|asked| &asked.conditions)
        .chain(result.rate_search.iter().flat_map(|step| &step.conditions))
        .filter(|asked| asked.metric == "latency");
    let asked = conditions.flat_map(|asked| [Some(asked.limit), asked.value]).flatten();
    let measured = over_time.chain([ended]).map(|value| value as f64);
    asked.chain(measured).fold(0.0, f64::max)
}

/// Warnings that make all figures doubtful come first.
fn doubts(result: &RunResult) -> Markup {
    let heading = limit_heading(&result.client).map(|heading| {
        let mut heading = heading.to_owned();
        heading[..1].make_ascii_uppercase();
        heading + ":"
    });
    html! {
        (page::warning("The run failed:", &result.problems))
        @if let Some(heading) = heading { (page::warning(&heading, &result.client.limit_reasons)) }
    }
}

fn tiles(result: &RunResult) -> Markup {
    let totals = &result.totals;
    let mut tiles = vec![("operations/s".to_owned(), format::count(totals.operations_per_s))];
    if result.workload.loop_kind == "open" {
        tiles.push(("offered/s".to_owned(), format::count(totals.offered_per_s)));
    }
    for (rate, name) in [(totals.bytes_down_per_s, "received/s"), (totals.bytes_up_per_s, "sent/s")]
    {
        if rate > 0.0 {
            tiles.push((name.to_owned(), format::bytes(rate)));
        }
    }
    if let Some(operation) = result.phase(Phase::Operation) {
        let latency = &operation.corrected;
        for (name, value) in [
            ("latency p50", latency.p50_ns),
            ("latency p99", latency.p99_ns),
            ("latency max", latency.max_ns),
        ] {
            tiles.push((name.to_owned(), format::duration_ns(value as f64)));
        }
    }
    let failed = format!("failed of {}", format::count((totals.operations + totals.errors) as f64));
    tiles.push((failed, format::count(totals.errors as f64)));
    if let Some(objective) = &result.objective {
        let met = objective.conditions.iter().all(|condition| condition.holds);
        tiles.push(("objective".to_owned(), if met { "met" } else { "missed" }.to_owned()));
    }
    page::tiles(&tiles)
}

fn objective(result: &RunResult) -> Markup {
    let rows = result.objective.iter().flat_map(|objective| &objective.conditions);
    let cells = rows.map(|condition| {
        let value = |value: f64| match condition.metric.as_str() {
            "latency" => format::duration_ns(value),
            "rate" => format!("{}/s", format::count(value)),
            "error_share" | "resumption" => format::share(value),
            _ => format::count(value),
        };
        vec![
            condition.text.clone(),
            condition.value.map_or_else(|| "not measured".to_owned(), value),
            if condition.holds { "met" } else { "missed" }.to_owned(),
        ]
    });
    table("Objective", &["asked", "measured", "and so"], cells)
}

fn by_percentile(result: &RunResult, highest: f64) -> Markup {
    let Some(operation) = result.phase(Phase::Operation) else {
        return html! { p { "No operation succeeded: there is no latency to show." } };
    };
    let differs = operation.corrected.histogram != operation.uncorrected.histogram;
    let curve = |name: &str, number, summary: &LatencySummary| {
        let name = name.to_owned();
        Some(Curve { name, look: Look::new(number), histogram: summary.decode()? })
    };
    let uncorrected = differs.then(|| curve("uncorrected", 1, &operation.uncorrected)).flatten();
    let curves: Vec<Curve> =
        uncorrected.into_iter().chain(curve("corrected", 0, &operation.corrected)).collect();
    let note = if differs {
        "Corrected latency counts from when each operation was due, uncorrected from when it \
         began: the gap is time in which operations waited behind others."
    } else if result.workload.coordinated_omission {
        "Closed loop: a client that waits asks nothing meanwhile, so what a stalled server was not \
         asked is left out (coordinated omission). The table has a line with it made up."
    } else {
        "Operations began when they were due: corrected and uncorrected latency are the same."
    };
    let mut rows = vec![("whole operation".to_owned(), &operation.corrected)];
    if differs {
        rows.push(("the same, uncorrected".to_owned(), &operation.uncorrected));
    }
    if let Some(expected) = &result.expected_interval {
        let interval = format::duration_ns(expected.interval_ns as f64);
        let title = format!("the same, made up for an operation every {interval}");
        rows.push((title, &expected.operation));
    }
    for (kind, latency) in &result.kinds {
        rows.push((format!("only {kind}"), &latency.corrected));
    }
    html! {
        (percentiles::curves(&curves, highest, result.objective.as_ref(), note))
        (percentiles::rows("Percentiles", &rows))
    }
}

fn phases(result: &RunResult) -> Markup {
    let mut rows = Vec::new();
    for (phase, latency) in &result.phases {
        if *phase != Phase::Operation {
            rows.push((phase.title().to_owned(), &latency.corrected));
            if latency.corrected.histogram != latency.uncorrected.histogram {
                rows.push((format!("{}, uncorrected", phase.title()), &latency.uncorrected));
            }
        }
    }
    if let Some(lateness) = &result.lateness {
        rows.push(("generator’s lateness".to_owned(), lateness));
    }
    if rows.is_empty() {
        html! {}
    } else {
        percentiles::rows("Latency by phase", &rows)
    }
}

fn errors(result: &RunResult) -> Markup {
    let rows = result.errors.iter().map(|row| {
        vec![
            format!("{}{}", row.kind, row.code.map(|code| format!(" {code}")).unwrap_or_default()),
            row.phase.title().to_owned(),
            row.class.clone(),
            format::count(row.count as f64),
            row.example.clone(),
        ]
    });
    table("Errors", &["kind", "phase", "class", "count", "first"], rows)
}

fn tls(result: &RunResult) -> Markup {
    let rows = result.tls.iter().map(|row| {
        let channel = row.channel.clone();
        let (version, suite, group) = (row.version.clone(), row.suite.clone(), row.group.clone());
        let certificate = row.certificate.clone();
        vec![channel, version, suite, group, certificate, format::count(row.count as f64)]
    });
    let header = ["connection", "version", "suite", "group", "certificate", "count"];
    let resumed = [Channel::Control, Channel::Data]
        .map(|channel| (channel, result.resumption_on(channel)))
        .into_iter()
        .filter(|(_, counts)| counts.handshakes > 0)
        .map(|(channel, counts)| {
            vec![
                channel.name().to_owned(),
                format::count(counts.handshakes as f64),
                format::count(counts.offered as f64),
                format::count(counts.resumed as f64),
                format::share(counts.share),
            ]
        });
    html! {
        (table("TLS handshakes", &header, rows))
        (table(
            "TLS session resumption",
            &["connection", "handshakes", "session offered", "resumed", "share"],
            resumed,
        ))
    }
}

fn costs(result: &RunResult) -> Markup {
    let client = &result.client;
    let busy: Vec<String> = client.thread_busy.iter().map(|share| format::share(*share)).collect();
    let cpu = |microseconds: f64| format::duration_ns(microseconds * 1e3);
    let mut rows = vec![
        vec!["client CPU for an operation".to_owned(), cpu(client.cpu_us_per_operation)],
        vec!["client threads busy".to_owned(), busy.join(", ")],
    ];
    let by_gb = |side: &str, cpu_s: Option<f64>| {
        let told = cpu_s.map(|cpu_s| format::duration_ns(cpu_s * 1e9));
        told.map(|told| vec![format!("{side} CPU for a GB of payload"), told])
    };
    rows.extend(by_gb("client", client.cpu_s_per_gb));
    if let Some(server) = &result.server {
        rows.push(vec!["server CPU for an operation".to_owned(), cpu(server.cpu_us_per_operation)]);
        rows.extend(by_gb("server", server.cpu_s_per_gb));
        rows.push(vec!["server cores busy".to_owned(), format!("{:.2}", server.cores_busy)]);
        let [before, after] = [server.memory_before_bytes, server.memory_after_bytes]
            .map(|bytes| format::bytes(bytes as f64));
        rows.push(vec!["server memory".to_owned(), format!("{before} to {after}")]);
        if let Some(bytes) = server.memory_per_session_bytes {
            let text = format!("{} of {}", format::bytes(bytes as f64), server.sessions);
            rows.push(vec!["server memory for each session".to_owned(), text]);
        }
    }
    table("Costs", &["what", "measured"], rows)
}

fn about(result: &RunResult) -> Markup {
    let machine = &result.machine;
    let memory = format::bytes(machine.memory_bytes as f64);
    let mut rows = vec![
        vec!["server’s greeting".to_owned(), result.target.greeting.clone()],
        vec![
            "generator’s machine".to_owned(),
            format!("{}, {} CPUs, {memory}", machine.cpu_model, machine.cpus),
        ],
        vec!["kernel".to_owned(), format!("{} ({})", machine.kernel, machine.architecture)],
        vec!["ringload".to_owned(), result.version.clone()],
        vec!["seed".to_owned(), result.seed.to_string()],
    ];
    for (name, value) in &result.workload.parameters {
        rows.push(vec![name.clone(), value.clone()]);
    }
    if let Some(part) = result.part {
        rows.push(vec!["part".to_owned(), format!("{} of {}", part.number, part.of)]);
    }
    for part in &result.parts {
        let rate = format::count(part.operations_per_s);
        let told = format!("{rate}/s, {} failed, on {}", part.errors, part.machine);
        rows.push(vec![format!("part {}", part.number), told]);
    }
    rows.push(vec!["command".to_owned(), result.command_line.join(" ")]);
    table("The run", &["what", "value"], rows)
}
