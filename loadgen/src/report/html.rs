//! The report as one page: no script, no network, nothing beside it. Well-formed XML too, so that
//! any XML tool reads it. Follows the reader's light or dark scheme.

use std::fmt::{self, Write as _};

use super::format;
use super::markup::escape;
use super::plot::{Axis, Plot, Series};
use super::text::{ending_note, verdict_word};
use crate::measure::{
    Channel, ErrorClass, IntervalRow, LatencyHistogram, LatencySummary, Phase, RunResult, ratio,
};

/// Intervals beyond this have no hover texts: the page would be mostly those.
const HOVER_INTERVALS_MAX: usize = 600;

/// Label of the stretch after the measured part.
const ENDING: &str = "ending";

/// The page.
#[must_use]
pub fn html(result: &RunResult) -> String {
    let mut out = String::new();
    match write_page(&mut out, result) {
        Ok(()) => out,
        Err(fmt::Error) => unreachable!("writing to a String cannot fail"),
    }
}

fn write_page(out: &mut String, result: &RunResult) -> fmt::Result {
    let (target, workload, timing) = (&result.target, &result.workload, &result.timing);
    let place = format!("{}:{}", target.host, target.port);
    let title = escape(&format!("{} on {place}", workload.name));
    writeln!(
        out,
        r#"<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<title>{title} – ringload</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{}</p>
<p class="muted">{}, {} loop, {}, {:.1} s after {:.1} s of warm-up{}</p>"#,
        escape(&workload.meaning),
        format::unix_time(timing.started_unix_ms),
        escape(&workload.loop_kind),
        escape(&target.security),
        timing.measured_s,
        timing.warmup_s,
        ending_note(timing.ending)
    )?;
    write_limit(out, result)?;
    write_tiles(out, result)?;
    write_percentiles(out, result)?;
    write_over_time(out, result)?;
    write_rate_search(out, result)?;
    write_phases(out, result)?;
    write_errors(out, result)?;
    write_tls(out, result)?;
    write_costs(out, result)?;
    write_run(out, result)?;
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

/// Warnings that make all figures doubtful come first.
fn write_limit(out: &mut String, result: &RunResult) -> fmt::Result {
    for problem in &result.problems {
        let problem = escape(problem);
        writeln!(out, r#"<div class="warning"><strong>The run failed:</strong> {problem}</div>"#)?;
    }
    let Some(heading) = super::text::limit_heading(&result.client) else {
        return Ok(());
    };
    let mut heading = heading.to_owned();
    heading[..1].make_ascii_uppercase();
    writeln!(out, r#"<div class="warning"><strong>{heading}:</strong><ul>"#)?;
    for reason in &result.client.limit_reasons {
        writeln!(out, "<li>{}</li>", escape(reason))?;
    }
    out.push_str("</ul></div>\n");
    Ok(())
}

fn write_tiles(out: &mut String, result: &RunResult) -> fmt::Result {
    let totals = &result.totals;
    let mut tiles = vec![("operations/s".to_owned(), format::count(totals.operations_per_s))];
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
    out.push_str("<dl class=\"tiles\">\n");
    for (name, value) in tiles {
        writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape(&name), escape(&value))?;
    }
    out.push_str("</dl>\n");
    Ok(())
}

fn write_percentiles(out: &mut String, result: &RunResult) -> fmt::Result {
    let Some(operation) = result.phase(Phase::Operation) else {
        return writeln!(out, "<p>No operation succeeded: there is no latency to show.</p>");
    };
    let mut histograms: Vec<(&str, &'static str, LatencyHistogram)> = Vec::new();
    if operation.corrected.histogram != operation.uncorrected.histogram
        && let Some(histogram) = operation.uncorrected.decode()
    {
        histograms.push(("uncorrected", "c2", histogram));
    }
    if let Some(histogram) = operation.corrected.decode() {
        histograms.push(("corrected", "c1", histogram));
    }
    let nines = (operation.corrected.count.max(1) as f64).log10().max(1.0);
    let series: Vec<Series> = histograms
        .iter()
        .map(|(name, class, histogram)| Series {
            name: (*name).to_owned(),
            class,
            points: percentile_points(histogram, nines),
        })
        .collect();
    let plot = Plot {
        description: "Latency of the whole operation by percentile".to_owned(),
        x: Axis::nines("percentile", nines),
        y: latency_axis(&series),
        series,
        shades: Vec::new(),
        hover: percentile_hover(&operation.corrected, nines),
    };
    let note = if histograms.len() > 1 {
        "Corrected latency counts from when each operation was due, uncorrected from when it \
         began: the gap is time in which operations waited behind others."
    } else if result.workload.coordinated_omission {
        "Closed loop: a client that waits asks nothing meanwhile, so what a stalled server was not \
         asked is left out (coordinated omission). The table of phases has a line with it made up."
    } else {
        "Operations began when they were due: corrected and uncorrected latency are the same."
    };
    figure(out, "Latency by percentile", note, &plot)
}

fn percentile_points(histogram: &LatencyHistogram, nines: f64) -> Vec<(f64, Option<f64>)> {
    const STEPS: u32 = 240;
    (0..=STEPS)
        .map(|step| {
            let x = nines * f64::from(step) / f64::from(STEPS);
            let percentile = 100.0 - 10_f64.powf(2.0 - x);
            (x, Some(histogram.percentile(percentile) as f64))
        })
        .collect()
}

fn percentile_hover(summary: &LatencySummary, nines: f64) -> Vec<(f64, f64, String)> {
    const STEPS: u32 = 60;
    let Some(histogram) = summary.decode() else {
        return Vec::new();
    };
    (0..STEPS)
        .map(|step| {
            let at = |step: f64| nines * step / f64::from(STEPS);
            let (from, to) = (at(f64::from(step)), at(f64::from(step + 1)));
            let percentile = 100.0 - 10_f64.powf(2.0 - f64::midpoint(from, to));
            let value = format::duration_ns(histogram.percentile(percentile) as f64);
            (from, to, format!("{percentile:.3} % within {value}"))
        })
        .collect()
}

fn write_over_time(out: &mut String, result: &RunResult) -> fmt::Result {
    let rows = plotted_rows(result);
    let Some(last) = rows.last() else {
        return Ok(());
    };
    let end = last.start_s + last.seconds;
    let plot = |description: &str,
                y: Axis,
                series: Vec<Series>,
                hover: &dyn Fn(&IntervalRow) -> String| Plot {
        description: description.to_owned(),
        x: Axis::time("seconds since the start", end),
        y,
        series,
        shades: unmeasured(result, end),
        hover: time_hover(&rows, hover),
    };
    let rate = |row: &IntervalRow| ratio(row.operations as f64, row.seconds);
    let series = vec![time_series("operations", "c1", &rows, |row| Some(rate(row)))];
    let y = Axis::linear("operations/s", highest(&series), format::count);
    let hover = |row: &IntervalRow| {
        format!("{}/s, {} open", format::count(rate(row)), format::count(row.connections as f64))
    };
    let plotted = plot("Operations a second over time", y, series, &hover);
    let ends_late = plotted.shades.iter().any(|(_, _, label)| *label == ENDING);
    let note = if ends_late {
        "Ending: nothing was begun any more, what was under way ended. It is no throughput."
    } else {
        ""
    };
    figure(out, "Throughput over time", note, &plotted)?;
    if result.totals.bytes_up + result.totals.bytes_down > 0 {
        write_payload(out, &rows, &plot)?;
    }
    write_latency_over_time(out, &rows, &plot)?;
    write_errors_over_time(out, &rows, &plot)
}

/// Makes a plot over time from description, y axis, series and hover text.
type TimePlot<'a> = dyn Fn(&str, Axis, Vec<Series>, &dyn Fn(&IntervalRow) -> String) -> Plot + 'a;

fn write_payload(out: &mut String, rows: &[&IntervalRow], plot: &TimePlot<'_>) -> fmt::Result {
    let up = |row: &IntervalRow| ratio(row.bytes_up as f64, row.seconds);
    let down = |row: &IntervalRow| ratio(row.bytes_down as f64, row.seconds);
    let mut series = Vec::new();
    if rows.iter().any(|row| row.bytes_down > 0) {
        series.push(time_series("received", "c1", rows, |row| Some(down(row))));
    }
    if rows.iter().any(|row| row.bytes_up > 0) {
        series.push(time_series("sent", "c2", rows, |row| Some(up(row))));
    }
    /// Ticks are round in MiB.
    const MEBIBYTE: f64 = 1024.0 * 1024.0;
    for series in &mut series {
        for (_, value) in &mut series.points {
            *value = value.map(|bytes| bytes / MEBIBYTE);
        }
    }
    let y = Axis::linear("MiB/s", highest(&series), plain_number);
    let hover = |row: &IntervalRow| {
        format!("{}/s received, {}/s sent", format::bytes(down(row)), format::bytes(up(row)))
    };
    figure(
        out,
        "Payload over time",
        "",
        &plot("Payload bytes a second over time", y, series, &hover),
    )
}

fn write_latency_over_time(
    out: &mut String,
    rows: &[&IntervalRow],
    plot: &TimePlot<'_>,
) -> fmt::Result {
    let value = |row: &IntervalRow, value: u64| (row.operations > 0).then_some(value as f64);
    let series = vec![
        time_series("max", "c3", rows, |row| value(row, row.max_ns)),
        time_series("p99", "c2", rows, |row| value(row, row.p99_ns)),
        time_series("p50", "c1", rows, |row| value(row, row.p50_ns)),
    ];
    if highest(&series) <= 0.0 {
        return Ok(());
    }
    let hover = |row: &IntervalRow| {
        let [p50, p99, max] =
            [row.p50_ns, row.p99_ns, row.max_ns].map(|value| format::duration_ns(value as f64));
        format!("p50 {p50}, p99 {p99}, max {max}")
    };
    let y = latency_axis(&series);
    let note = "Corrected latency of the operations that ended in each interval.";
    figure(out, "Latency over time", note, &plot("Latency over time", y, series, &hover))
}

fn write_errors_over_time(
    out: &mut String,
    rows: &[&IntervalRow],
    plot: &TimePlot<'_>,
) -> fmt::Result {
    let classes = ["c1", "c6", "c2", "c4", "c5", "c3"];
    let series: Vec<Series> = ErrorClass::ALL
        .into_iter()
        .zip(classes)
        .filter(|(class, _)| rows.iter().any(|row| row.errors.contains_key(class.name())))
        .map(|(class, colour)| {
            let count = |row: &IntervalRow| *row.errors.get(class.name()).unwrap_or(&0);
            time_series(class.name(), colour, rows, |row| {
                Some(ratio(count(row) as f64, row.seconds))
            })
        })
        .collect();
    if series.is_empty() {
        return writeln!(out, "<h2>Errors over time</h2>\n<p>None.</p>");
    }
    let hover = |row: &IntervalRow| {
        let counts: Vec<String> =
            row.errors.iter().map(|(class, count)| format!("{count} {class}")).collect();
        if counts.is_empty() { "no errors".to_owned() } else { counts.join(", ") }
    };
    let y = Axis::linear("errors/s", highest(&series), plain_number);
    figure(out, "Errors over time", "By class.", &plot("Errors over time", y, series, &hover))
}

fn write_rate_search(out: &mut String, result: &RunResult) -> fmt::Result {
    if result.rate_search.is_empty() {
        return Ok(());
    }
    let mut steps: Vec<_> = result.rate_search.iter().collect();
    steps.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let line = |name: &str, class, value: &dyn Fn(&crate::measure::RateStep) -> u64| Series {
        name: name.to_owned(),
        class,
        points: steps
            .iter()
            .map(|step| (step.rate, (value(step) > 0).then(|| value(step) as f64)))
            .collect(),
    };
    let series =
        vec![line("p99", "c2", &|step| step.p99_ns), line("p50", "c1", &|step| step.p50_ns)];
    if highest(&series) > 0.0 {
        let highest_rate = steps.last().map_or(1.0, |step| step.rate);
        let plot = Plot {
            description: "Latency by rate".to_owned(),
            x: Axis::linear("operations/s asked", highest_rate, format::count),
            y: latency_axis(&series),
            series,
            shades: Vec::new(),
            hover: Vec::new(),
        };
        let note = match result.rate_held {
            Some(rate) => {
                format!("Highest rate that held, three times: {}/s.", format::count(rate))
            }
            None => "No rate was shown to hold the objective.".to_owned(),
        };
        figure(out, "Latency by rate", &note, &plot)?;
    }
    let header = ["rate asked", "reached", "p50", "p99", "max", "errors", "shown"];
    let rows = steps.iter().map(|step| {
        vec![
            format!("{}/s", format::count(step.rate)),
            format!("{}/s", format::count(step.reached)),
            format::duration_ns(step.p50_ns as f64),
            format::duration_ns(step.p99_ns as f64),
            format::duration_ns(step.max_ns as f64),
            format::count(step.errors as f64),
            verdict_word(step).to_owned(),
        ]
    });
    table(out, "Rates tried", &header, rows)
}

fn write_phases(out: &mut String, result: &RunResult) -> fmt::Result {
    let row = |title: String, latency: &LatencySummary| {
        let values = [
            latency.mean_ns,
            latency.p50_ns,
            latency.p90_ns,
            latency.p99_ns,
            latency.p99_9_ns,
            latency.max_ns,
        ];
        let mut cells = vec![title, format::count(latency.count as f64)];
        cells.extend(values.map(|value| format::duration_ns(value as f64)));
        cells
    };
    let mut rows = Vec::new();
    for (phase, latency) in &result.phases {
        rows.push(row(phase.title().to_owned(), &latency.corrected));
        if latency.corrected.histogram != latency.uncorrected.histogram {
            rows.push(row(format!("{}, uncorrected", phase.title()), &latency.uncorrected));
        }
    }
    for (kind, latency) in &result.kinds {
        rows.push(row(format!("only {kind}"), &latency.corrected));
    }
    if let Some(lateness) = &result.lateness {
        rows.push(row("generator’s lateness".to_owned(), lateness));
    }
    if let Some(expected) = &result.expected_interval {
        let interval = format::duration_ns(expected.interval_ns as f64);
        let title = format!("whole operation, made up for an operation every {interval}");
        rows.push(row(title, &expected.operation));
    }
    let header = ["phase", "count", "mean", "p50", "p90", "p99", "p99.9", "max"];
    table(out, "Latency by phase", &header, rows)
}

fn write_errors(out: &mut String, result: &RunResult) -> fmt::Result {
    let rows = result.errors.iter().map(|row| {
        vec![
            format!("{}{}", row.kind, row.code.map(|code| format!(" {code}")).unwrap_or_default()),
            row.phase.title().to_owned(),
            row.class.clone(),
            format::count(row.count as f64),
            row.example.clone(),
        ]
    });
    table(out, "Errors", &["kind", "phase", "class", "count", "first"], rows)
}

fn write_tls(out: &mut String, result: &RunResult) -> fmt::Result {
    let rows = result.tls.iter().map(|row| {
        let channel = row.channel.clone();
        let (version, suite, group) = (row.version.clone(), row.suite.clone(), row.group.clone());
        let certificate = row.certificate.clone();
        vec![channel, version, suite, group, certificate, format::count(row.count as f64)]
    });
    let header = ["connection", "version", "suite", "group", "certificate", "count"];
    table(out, "TLS handshakes", &header, rows)?;
    let rows = [Channel::Control, Channel::Data]
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
    let header = ["connection", "handshakes", "session offered", "resumed", "share"];
    table(out, "TLS session resumption", &header, rows)
}

fn write_costs(out: &mut String, result: &RunResult) -> fmt::Result {
    let client = &result.client;
    let busy: Vec<String> = client.thread_busy.iter().map(|share| format::share(*share)).collect();
    let mut rows = vec![
        vec![
            "client CPU for an operation".to_owned(),
            format::duration_ns(client.cpu_us_per_operation * 1e3),
        ],
        vec!["client threads busy".to_owned(), busy.join(", ")],
    ];
    if let Some(server) = &result.server {
        let cpu = format::duration_ns(server.cpu_us_per_operation * 1e3);
        rows.push(vec!["server CPU for an operation".to_owned(), cpu]);
        rows.push(vec!["server cores busy".to_owned(), format!("{:.2}", server.cores_busy)]);
        let [before, after] = [server.memory_before_bytes, server.memory_after_bytes]
            .map(|bytes| format::bytes(bytes as f64));
        rows.push(vec!["server memory".to_owned(), format!("{before} to {after}")]);
        if let Some(bytes) = server.memory_per_session_bytes {
            let text = format!("{} of {}", format::bytes(bytes as f64), server.sessions);
            rows.push(vec!["server memory for each session".to_owned(), text]);
        }
    }
    table(out, "Costs", &["what", "measured"], rows)
}

fn write_run(out: &mut String, result: &RunResult) -> fmt::Result {
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
    table(out, "The run", &["what", "value"], rows)
}

fn figure(out: &mut String, heading: &str, note: &str, plot: &Plot) -> fmt::Result {
    writeln!(out, "<h2>{}</h2>", escape(heading))?;
    writeln!(out, "<figure>\n{}", plot.svg())?;
    if !note.is_empty() {
        writeln!(out, "<figcaption>{}</figcaption>", escape(note))?;
    }
    writeln!(out, "</figure>")
}

/// A table with a heading; nothing at all without rows.
fn table(
    out: &mut String,
    heading: &str,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> fmt::Result {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let class = if header.len() == 2 { " class=\"pairs\"" } else { "" };
    writeln!(
        out,
        "<h2>{}</h2>\n<div class=\"scroll\"><table{class}>\n<thead><tr>",
        escape(heading)
    )?;
    for name in header {
        write!(out, "<th scope=\"col\">{}</th>", escape(name))?;
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (index, cell) in row.iter().enumerate() {
            let cell = escape(cell);
            match index {
                0 => write!(out, "<th scope=\"row\">{cell}</th>")?,
                _ if is_figure(&cell) => write!(out, "<td class=\"figure\">{cell}</td>")?,
                _ => write!(out, "<td>{cell}</td>")?,
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
    Ok(())
}

/// Whether a cell is a number with a unit, which aligns to the right.
fn is_figure(cell: &str) -> bool {
    cell.starts_with(|first: char| first.is_ascii_digit()) && cell.split(' ').count() <= 2
}

/// The warm-up, and the time in which nothing was sent any more and what was sent ended.
fn unmeasured(result: &RunResult, end: f64) -> Vec<(f64, f64, &'static str)> {
    let begin = result.timing.warmup_s;
    let measured_end = begin + result.timing.measured_s;
    [(0.0, begin, "warm-up"), (measured_end, end, ENDING)]
        .into_iter()
        // An interval is the shortest stretch that a plot over time can show.
        .filter(|(from, to, _)| to - from >= 1.0)
        .collect()
}

/// Intervals worth a point: a last one cut to less than half would show a rate by chance.
fn plotted_rows(result: &RunResult) -> Vec<&IntervalRow> {
    let full = result.intervals.iter().map(|row| row.seconds).fold(0.0, f64::max);
    result.intervals.iter().filter(|row| row.seconds >= full / 2.0).collect()
}

fn time_series(
    name: &str,
    class: &'static str,
    rows: &[&IntervalRow],
    value: impl Fn(&IntervalRow) -> Option<f64>,
) -> Series {
    let points = rows.iter().map(|row| (row.start_s + row.seconds / 2.0, value(row))).collect();
    Series { name: name.to_owned(), class, points }
}

fn time_hover(
    rows: &[&IntervalRow],
    text: &dyn Fn(&IntervalRow) -> String,
) -> Vec<(f64, f64, String)> {
    if rows.len() > HOVER_INTERVALS_MAX {
        return Vec::new();
    }
    rows.iter()
        .map(|row| {
            let end = row.start_s + row.seconds;
            let digits = usize::from(row.seconds < 1.0);
            let of = format!("{:.digits$} s to {end:.digits$} s: {}", row.start_s, text(row));
            (row.start_s, end, of)
        })
        .collect()
}

/// Logarithmic where the values span more than one order of magnitude.
fn latency_axis(series: &[Series]) -> Axis {
    const LINEAR_SPAN_MAX: f64 = 10.0;
    let high = highest(series);
    let low = values(series).filter(|value| *value > 0.0).fold(high, f64::min);
    if low > 0.0 && high / low > LINEAR_SPAN_MAX {
        Axis::logarithmic("latency", low, high, format::duration_ns)
    } else {
        Axis::linear("latency", high, format::duration_ns)
    }
}

fn highest(series: &[Series]) -> f64 {
    values(series).fold(0.0, f64::max)
}

fn values(series: &[Series]) -> impl Iterator<Item = f64> {
    series.iter().flat_map(|series| series.points.iter().filter_map(|(_, value)| *value))
}

/// A tick that is already round: without the noise of its multiplication.
fn plain_number(value: f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

/// Two sets of colours, each checked for contrast on its ground; series differ in lightness too.
const STYLE: &str = "
:root{--ground:#fcfcfb;--card:#f1f1ee;--text:#1d1d1b;--muted:#5c5b57;--rule:#dddcd7;--axis:#8b8a84;
--shade:#0000000d;--warn:#fdf0d5;--warn-edge:#b26a00;
--c1:#1f6fc6;--c2:#d1591b;--c3:#8a8983;--c4:#1c8a63;--c5:#a3398f;--c6:#8a6d00}
@media (prefers-color-scheme:dark){:root{--ground:#171716;--card:#232321;--text:#f0efeb;
--muted:#b0aea7;--rule:#383733;--axis:#7d7b75;--shade:#ffffff12;--warn:#3a2c10;--warn-edge:#e0a030;
--c1:#5ea5ee;--c2:#f08a4e;--c3:#9d9b94;--c4:#45c392;--c5:#d877c6;--c6:#d6b84a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2.25rem 0 .5rem}
p{margin:.25rem 0}
.muted,figcaption{color:var(--muted)}
figcaption{font-size:.875rem}
figure{margin:0}
figure{overflow-x:auto}
svg{display:block;width:100%;min-width:36rem;height:auto}
.warning{background:var(--warn);border-left:4px solid var(--warn-edge);padding:.75rem 1rem;
margin:1rem 0}
.warning ul{margin:.25rem 0 0;padding-left:1.25rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.4rem,1fr));gap:.75rem;
margin:1.25rem 0 0}
.tiles div{background:var(--card);border-radius:6px;padding:.625rem .75rem}
.tiles dt{color:var(--muted);font-size:.8125rem;line-height:1.3}
.tiles dd{margin:.2rem 0 0;font-size:1.2rem;font-weight:600;white-space:nowrap}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.875rem}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--rule);
vertical-align:top}
thead th{color:var(--muted);font-weight:500}
tbody th{font-weight:500;white-space:nowrap}
td{overflow-wrap:anywhere}
td.figure{font-variant-numeric:tabular-nums;white-space:nowrap}
.pairs th:first-child{width:16rem}
.line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}
.c5{stroke:var(--c5)}.c6{stroke:var(--c6)}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.axis{stroke:var(--axis);stroke-width:1;fill:none}
.shade{fill:var(--shade)}
.hover{fill:transparent}
.hover:hover{fill:var(--shade)}
svg text{font-size:12px;fill:var(--muted)}
svg .legend{fill:var(--text)}
";
