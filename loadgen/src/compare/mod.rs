//! Results side by side: `ringload compare` of finished runs, and `ringload versus` of interleaved
//! rounds. Says what differs, by how much, and when the difference is within noise.
//!
//! # What is called noise
//!
//! *Rounds* (versus): round by round the ratio B ÷ A is taken, so that slow drift of the machine
//! cancels out. If the interval of at least [`CONFIDENCE`] around the median ratio holds 1, the
//! difference is within noise. From 6 rounds on it is the sign test's: the k-th lowest and k-th
//! highest of n ratios bound the median with the confidence 1 − 2·P(Binomial(n, ½) < k), whatever
//! their distribution. Fewer rounds cannot reach the confidence that way: there it is Student's
//! interval of their logarithms, and never less than their range. Of twenty metrics of equal
//! servers one is still expected to differ.
//!
//! *Single runs* (compare): a percentile's interval comes from the ranks of its own samples, a
//! rate's from its seconds. They cannot know how runs differ from each other, so a difference below
//! [`SINGLE_RUN_FLOOR`] is called noise too, and a greater one "differs", never better or worse.

mod html;
mod interval;
mod likeness;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::measure::{Channel, LatencySummary, Phase, RunResult, pretty_json, ratio};
use crate::report::format;
use crate::report::table::Table;
use interval::{median, median_interval, ratio_interval, rounds_confidence, sorted};
use likeness::negotiated_differently;

pub use likeness::Asked;

/// Confidence asked of an interval.
pub const CONFIDENCE: f64 = 0.95;

/// Single runs closer than this share are not told apart.
pub const SINGLE_RUN_FLOOR: f64 = 0.05;

/// Fewer rounds than this give no verdict.
pub const ROUNDS_MIN: usize = 3;

/// A result with the name it is shown under.
#[derive(Clone, Debug)]
pub struct Named {
    /// Usually the file's name.
    pub name: String,
    /// The result.
    pub result: RunResult,
}

/// Single runs compared; each with the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Names in the order given.
    pub names: Vec<String>,
    /// One row a metric that any of them has.
    pub rows: Vec<ComparisonRow>,
    /// What the connections had differently, one sentence each: not the same work.
    pub unlike: Vec<String>,
    /// What makes the comparison doubtful, one sentence each.
    pub warnings: Vec<String>,
}

/// One metric of each run.
#[derive(Clone, Debug, PartialEq)]
pub struct ComparisonRow {
    /// Its name for people.
    pub metric: String,
    unit: Unit,
    /// Value, ratio to the first and verdict; `None` where a run has no such value.
    pub cells: Vec<Option<Cell>>,
}

/// One run's value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// In the metric's base unit.
    pub value: f64,
    /// Value ÷ the first run's; `None` for the first, or where the first is absent or 0.
    pub ratio: Option<f64>,
    /// `None` for the first, and for metrics whose noise one run cannot tell.
    pub verdict: Option<Difference>,
}

/// Whether two values differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The second is better.
    Better,
    /// The second is worse.
    Worse,
    /// They differ; a single run cannot tell whether runs do.
    Differs,
    /// The difference is within noise.
    Noise,
    /// Too few rounds to tell.
    TooFew,
}

/// Interleaved rounds of two targets, aggregated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versus {
    /// `ringload-versus`.
    pub schema: String,
    /// Raised when a field changes its meaning or goes.
    pub schema_version: u32,
    /// What A is called.
    pub name_a: String,
    /// What B is called.
    pub name_b: String,
    /// Rounds in which both sides ran.
    pub rounds: usize,
    /// Confidence of the intervals, 0 to 1.
    pub confidence: f64,
    /// One row a metric that all rounds of both sides have.
    pub rows: Vec<VersusRow>,
    /// What the connections had differently, one sentence each: not the same work.
    pub unlike: Vec<String>,
    /// What makes the comparison doubtful, one sentence each.
    pub warnings: Vec<String>,
    /// The result of each of A's rounds.
    pub results_a: Vec<RunResult>,
    /// The result of each of B's rounds.
    pub results_b: Vec<RunResult>,
}

/// One metric over the rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersusRow {
    /// Its name for people.
    pub metric: String,
    /// Its unit.
    pub unit: Unit,
    /// A's value in each round.
    pub a: Vec<f64>,
    /// B's value in each round.
    pub b: Vec<f64>,
    /// A's median.
    pub median_a: f64,
    /// B's median.
    pub median_b: f64,
    /// Median of B ÷ A by round; `None` where a round has 0 on side A.
    pub ratio: Option<f64>,
    /// The interval of the median ratio.
    pub ratio_low: Option<f64>,
    /// Its upper bound.
    pub ratio_high: Option<f64>,
    /// B beside A.
    pub verdict: Difference,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Operations a second.
    PerSecond,
    /// Bytes a second.
    BytesPerSecond,
    /// Bytes.
    Bytes,
    /// Microseconds of CPU.
    CpuMicroseconds,
    /// A share of 1.
    Share,
}

/// Compares single runs with the first of them.
#[must_use]
pub fn compare(runs: &[Named]) -> Comparison {
    let results: Vec<&RunResult> = runs.iter().map(|run| &run.result).collect();
    let rows = Metric::all()
        .into_iter()
        .filter_map(|metric| {
            let values: Vec<Option<f64>> = results.iter().map(|run| metric.value(run)).collect();
            metric.is_worth_a_row(values.iter().flatten()).then(|| ComparisonRow {
                metric: metric.title(),
                unit: metric.unit(),
                cells: comparison_cells(metric, &results),
            })
        })
        .collect();
    Comparison {
        names: runs.iter().map(|run| run.name.clone()).collect(),
        rows,
        unlike: match runs.split_first() {
            Some((first, others)) => others
                .iter()
                .flat_map(|other| {
                    let (a, b) = (&first.result, &other.result);
                    negotiated_differently((&first.name, &[a]), (&other.name, &[b]))
                })
                .collect(),
            None => Vec::new(),
        },
        warnings: warnings(runs),
    }
}

/// Aggregates rounds in which A and B ran in turn; `a[i]` and `b[i]` are of one round. Rounds that
/// only one side finished are left out and said.
#[must_use]
pub fn versus(name_a: &str, mut a: Vec<RunResult>, name_b: &str, mut b: Vec<RunResult>) -> Versus {
    let rounds = a.len().min(b.len());
    let mut warnings: Vec<String> = Vec::new();
    if a.len() != b.len() {
        warnings.push(format!(
            "{name_a} finished {} rounds and {name_b} {}: only {rounds} are compared",
            a.len(),
            b.len()
        ));
    }
    a.truncate(rounds);
    b.truncate(rounds);
    if let (Some(first_a), Some(first_b)) = (a.first(), b.first()) {
        warnings.extend(difference_warnings(name_a, first_a, name_b, first_b));
    }
    warnings.extend(validity_warnings(name_a, a.iter()));
    warnings.extend(validity_warnings(name_b, b.iter()));
    let rows = Metric::all().into_iter().filter_map(|metric| versus_row(metric, &a, &b)).collect();
    let [all_a, all_b]: [Vec<&RunResult>; 2] = [a.iter().collect(), b.iter().collect()];
    let unlike = negotiated_differently((name_a, &all_a), (name_b, &all_b));
    Versus {
        schema: "ringload-versus".to_owned(),
        schema_version: 2,
        name_a: name_a.to_owned(),
        name_b: name_b.to_owned(),
        rounds,
        confidence: rounds_confidence(rounds),
        rows,
        unlike,
        warnings,
        results_a: a,
        results_b: b,
    }
}

impl Versus {
    /// As JSON (`SCHEMA.md`), indented, with a final line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        pretty_json(self)
    }

    /// Why some of its runs count as failed, one sentence a side and a reason.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let sides = [(&self.name_a, &self.results_a), (&self.name_b, &self.results_b)];
        let mut problems = Vec::new();
        for (name, results) in sides {
            let failed: Vec<_> = results.iter().filter(|run| !run.problems.is_empty()).collect();
            if let Some(first) = failed.first() {
                let (rounds, all) = (failed.len(), results.len());
                let why = first.problems.join("; ");
                problems.push(format!("{name}: in {rounds} of {all} rounds {why}"));
            }
        }
        problems
    }
}

/// What can be compared between runs.
#[derive(Clone, Copy, Debug)]
enum Metric {
    Rate,
    BytesUp,
    BytesDown,
    ErrorShare,
    Percentile(Phase, f64),
    Resumption(Channel),
    ClientCpu,
    ClientCpuByGb,
    ServerCpu,
    ServerCpuByGb,
    ServerMemory,
}

impl Metric {
    fn all() -> Vec<Self> {
        let mut metrics = vec![Self::Rate, Self::BytesUp, Self::BytesDown, Self::ErrorShare];
        for percentile in [50.0, 90.0, 99.0, 99.9, 100.0] {
            metrics.push(Self::Percentile(Phase::Operation, percentile));
        }
        for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Operation) {
            metrics.push(Self::Percentile(phase, 50.0));
            metrics.push(Self::Percentile(phase, 99.0));
        }
        metrics.push(Self::Resumption(Channel::Control));
        metrics.push(Self::Resumption(Channel::Data));
        metrics.extend([Self::ClientCpu, Self::ClientCpuByGb]);
        metrics.extend([Self::ServerCpu, Self::ServerCpuByGb, Self::ServerMemory]);
        metrics
    }

    fn title(self) -> String {
        match self {
            Self::Rate => "operations/s".to_owned(),
            Self::BytesUp => "sent/s".to_owned(),
            Self::BytesDown => "received/s".to_owned(),
            Self::ErrorShare => "errors".to_owned(),
            Self::Percentile(phase, percentile) if percentile >= 100.0 => {
                format!("{} max", phase.title())
            }
            Self::Percentile(phase, percentile) => format!("{} p{percentile}", phase.title()),
            Self::Resumption(channel) => format!("{} resumed", channel.name()),
            Self::ClientCpu => "client CPU/operation".to_owned(),
            Self::ClientCpuByGb => "client CPU/GB".to_owned(),
            Self::ServerCpu => "server CPU/operation".to_owned(),
            Self::ServerCpuByGb => "server CPU/GB".to_owned(),
            Self::ServerMemory => "server memory/session".to_owned(),
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Rate => Unit::PerSecond,
            Self::BytesUp | Self::BytesDown => Unit::BytesPerSecond,
            Self::ErrorShare | Self::Resumption(_) => Unit::Share,
            Self::Percentile(..) => Unit::Nanoseconds,
            Self::ClientCpu | Self::ClientCpuByGb | Self::ServerCpu | Self::ServerCpuByGb => {
                Unit::CpuMicroseconds
            }
            Self::ServerMemory => Unit::Bytes,
        }
    }

    fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::BytesUp | Self::BytesDown | Self::Resumption(_))
    }

    fn value(self, result: &RunResult) -> Option<f64> {
        let totals = &result.totals;
        match self {
            Self::Rate => Some(totals.operations_per_s),
            Self::BytesUp => Some(totals.bytes_up_per_s),
            Self::BytesDown => Some(totals.bytes_down_per_s),
            Self::ErrorShare => Some(totals.error_share),
            Self::Percentile(phase, percentile) => {
                let summary = &result.phase(phase)?.corrected;
                percentile_of(summary, percentile)
            }
            Self::Resumption(channel) => {
                let counts = result.resumption_on(channel);
                (counts.offered > 0).then_some(counts.share)
            }
            Self::ClientCpu => Some(result.client.cpu_us_per_operation),
            Self::ClientCpuByGb => Some(result.client.cpu_s_per_gb? * 1e6),
            Self::ServerCpu => Some(result.server.as_ref()?.cpu_us_per_operation),
            Self::ServerCpuByGb => Some(result.server.as_ref()?.cpu_s_per_gb? * 1e6),
            Self::ServerMemory => Some(result.server.as_ref()?.memory_per_session_bytes? as f64),
        }
    }

    /// Where the value could as well have been, by the run's own samples; `None` where one run
    /// cannot tell.
    fn interval(self, result: &RunResult) -> Option<(f64, f64)> {
        match self {
            Self::Rate => seconds_interval(result, |row| row.operations),
            Self::BytesUp => seconds_interval(result, |row| row.bytes_up),
            Self::BytesDown => seconds_interval(result, |row| row.bytes_down),
            // A maximum is one sample: nothing bounds it.
            Self::Percentile(phase, percentile) if percentile < 100.0 => {
                percentile_interval(&result.phase(phase)?.corrected, percentile)
            }
            _ => None,
        }
    }

    /// Metrics that are 0 everywhere are left out, but for the rate and the errors: their 0 tells.
    fn is_worth_a_row<'a>(self, values: impl Iterator<Item = &'a f64>) -> bool {
        let mut values = values.peekable();
        let some = values.peek().is_some();
        some && (matches!(self, Self::Rate | Self::ErrorShare) || values.any(|value| *value > 0.0))
    }

    fn judge(self, ratio: f64) -> Difference {
        if (ratio > 1.0) == self.more_is_better() { Difference::Better } else { Difference::Worse }
    }
}

impl Unit {
    /// `value` for people.
    #[must_use]
    pub fn format(self, value: f64) -> String {
        match self {
            Self::Nanoseconds => format::duration_ns(value),
            Self::PerSecond => format!("{}/s", format::count(value)),
            Self::BytesPerSecond => format!("{}/s", format::bytes(value)),
            Self::Bytes => format::bytes(value),
            Self::CpuMicroseconds => format::duration_ns(value * 1e3),
            Self::Share => format::share(value),
        }
    }
}

impl Difference {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Differs => "differs",
            Self::Noise => "within noise",
            Self::TooFew => "too few rounds",
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut header = vec![String::new()];
        for (index, name) in self.names.iter().enumerate() {
            header.push(name.clone());
            if index > 0 {
                header.extend(["ratio".to_owned(), String::new()]);
            }
        }
        write_unlike(f, &self.unlike)?;
        let mut table = Table::new(header);
        for row in &self.rows {
            let mut cells = vec![row.metric.clone()];
            for (index, cell) in row.cells.iter().enumerate() {
                cells.push(cell.map_or_else(|| "–".to_owned(), |cell| row.unit.format(cell.value)));
                if index > 0 {
                    let cell = cell.as_ref();
                    cells.push(cell.and_then(|cell| cell.ratio).map_or("–".into(), format::ratio));
                    let verdict = cell.and_then(|cell| cell.verdict);
                    cells.push(verdict.map_or("", Difference::text).to_owned());
                }
            }
            table.row(cells);
        }
        write!(f, "{table}")?;
        writeln!(
            f,
            "\nWithin noise: closer than {:.0} %, or than the {:.0} % interval of a run's own \
             samples. Single runs\ncannot show how runs differ from each \
             other; `ringload versus` does.",
            SINGLE_RUN_FLOOR * 100.0,
            CONFIDENCE * 100.0
        )?;
        write_warnings(f, &self.warnings)
    }
}

impl fmt::Display for Versus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_unlike(f, &self.unlike)?;
        let columns = ["", &self.name_a, &self.name_b, "ratio", "spread", ""];
        let mut table = Table::new(columns.map(str::to_owned).to_vec());
        for row in &self.rows {
            table.row(vec![
                row.metric.clone(),
                row.unit.format(row.median_a),
                row.unit.format(row.median_b),
                row.ratio.map_or("–".into(), format::ratio),
                match (row.ratio_low, row.ratio_high) {
                    (Some(low), Some(high)) => format!("{low:.3} … {high:.3}"),
                    _ => "–".to_owned(),
                },
                row.verdict.text().to_owned(),
            ]);
        }
        write!(f, "{table}")?;
        writeln!(
            f,
            "\nMedians of {} rounds in turn; ratio: median of {} ÷ {} by round, with its {:.0} % \
             interval.\nOf twenty metrics of equal servers, one is expected to differ.",
            self.rounds,
            self.name_b,
            self.name_a,
            self.confidence * 100.0
        )?;
        write_warnings(f, &self.warnings)
    }
}

/// First of all: what makes the two sides do different work.
fn write_unlike(f: &mut fmt::Formatter<'_>, unlike: &[String]) -> fmt::Result {
    if unlike.is_empty() {
        return Ok(());
    }
    writeln!(f, "NOT THE SAME WORK. The connections differ, and so does what they cost:")?;
    for sentence in unlike {
        writeln!(f, "  - {sentence}")?;
    }
    writeln!(f, "`ringload versus --fair` pins version, suite and group on both sides.\n")
}

fn write_warnings(f: &mut fmt::Formatter<'_>, warnings: &[String]) -> fmt::Result {
    for warning in warnings {
        writeln!(f, "Beware: {warning}.")?;
    }
    Ok(())
}

fn comparison_cells(metric: Metric, results: &[&RunResult]) -> Vec<Option<Cell>> {
    let first = results.first().copied();
    let cell = |(index, result): (usize, &&RunResult)| {
        let value = metric.value(result)?;
        let base = first.and_then(|first| metric.value(first)).filter(|_| index > 0);
        let ratio = base.filter(|base| *base > 0.0).map(|base| value / base);
        let verdict = match (ratio, first) {
            (Some(ratio), Some(first)) => single_verdict(metric, ratio, first, result),
            _ => None,
        };
        Some(Cell { value, ratio, verdict })
    };
    results.iter().enumerate().map(cell).collect()
}

fn single_verdict(
    metric: Metric,
    ratio: f64,
    first: &RunResult,
    other: &RunResult,
) -> Option<Difference> {
    let (first_low, first_high) = metric.interval(first)?;
    let (other_low, other_high) = metric.interval(other)?;
    let overlap = first_low <= other_high && other_low <= first_high;
    let close = ratio.max(1.0 / ratio) - 1.0 < SINGLE_RUN_FLOOR;
    Some(if overlap || close { Difference::Noise } else { Difference::Differs })
}

fn versus_row(metric: Metric, a: &[RunResult], b: &[RunResult]) -> Option<VersusRow> {
    let values = |side: &[RunResult]| -> Option<Vec<f64>> {
        side.iter().map(|result| metric.value(result)).collect()
    };
    let (a, b) = (values(a)?, values(b)?);
    metric.is_worth_a_row(a.iter().chain(&b)).then_some(())?;
    let ratios: Option<Vec<f64>> =
        a.iter().zip(&b).map(|(a, b)| (*a > 0.0).then(|| b / a)).collect();
    let ratios = ratios.filter(|ratios| !ratios.is_empty()).map(sorted);
    let interval = ratios.as_deref().map(ratio_interval);
    let verdict = match (&ratios, interval) {
        _ if a.len() < ROUNDS_MIN => Difference::TooFew,
        (Some(ratios), Some((low, high))) if low > 1.0 || high < 1.0 => {
            metric.judge(median(ratios))
        }
        (Some(_), _) => Difference::Noise,
        // A has a 0 in some round (errors, say): only a difference in every round is one.
        (None, _) if a.iter().zip(&b).all(|(a, b)| b > a) => metric.judge(f64::INFINITY),
        (None, _) => Difference::Noise,
    };
    Some(VersusRow {
        metric: metric.title(),
        unit: metric.unit(),
        median_a: median(&sorted(a.clone())),
        median_b: median(&sorted(b.clone())),
        a,
        b,
        ratio: ratios.as_deref().map(median),
        ratio_low: interval.map(|interval| interval.0),
        ratio_high: interval.map(|interval| interval.1),
        verdict,
    })
}

fn warnings(runs: &[Named]) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some((first, others)) = runs.split_first() {
        for other in others {
            warnings.extend(difference_warnings(
                &first.name,
                &first.result,
                &other.name,
                &other.result,
            ));
        }
    }
    for run in runs {
        warnings.extend(validity_warnings(&run.name, std::iter::once(&run.result)));
    }
    warnings
}

/// What two runs must have in common to be compared.
fn difference_warnings(name_a: &str, a: &RunResult, name_b: &str, b: &RunResult) -> Vec<String> {
    let workload = |run: &RunResult| (run.workload.clone(), run.seed);
    let differing = [
        ("workload, its parameters or seed", workload(a) != workload(b)),
        ("machine or kernel", a.machine != b.machine),
        ("version of ringload", a.version != b.version),
        ("security (implicit, explicit)", a.target.security != b.target.security),
    ];
    differing
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(what, _)| format!("{name_a} and {name_b} differ in {what}"))
        .collect()
}

fn validity_warnings<'a>(name: &str, runs: impl Iterator<Item = &'a RunResult>) -> Vec<String> {
    let (mut limited, mut starved, mut failed, mut empty) = (0, 0, 0, 0);
    for run in runs {
        limited += usize::from(run.client.was_limit);
        starved += usize::from(run.client.was_starved);
        failed += usize::from(run.totals.errors > 0);
        empty += usize::from(run.totals.operations == 0);
    }
    [
        (limited, "the generator, not the server, may have been the limit"),
        (starved, "others took the CPU that the generator needed"),
        (failed, "some operations failed; latency is of those that did not"),
        (empty, "no operation succeeded"),
    ]
    .into_iter()
    .filter(|(runs, _)| *runs > 0)
    .map(|(runs, what)| format!("{name}: in {runs} of its runs {what}"))
    .collect()
}

fn percentile_of(summary: &LatencySummary, percentile: f64) -> Option<f64> {
    Some(summary.decode()?.percentile(percentile) as f64)
}

/// The percentile's interval from the ranks of its samples (normal approximation of the binomial).
fn percentile_interval(summary: &LatencySummary, percentile: f64) -> Option<(f64, f64)> {
    /// Two-sided 95 % of the normal distribution.
    const Z: f64 = 1.96;
    let histogram = summary.decode()?;
    let count = histogram.count() as f64;
    let share = percentile / 100.0;
    let deviation = Z * (share * (1.0 - share) / count).sqrt();
    let at = |share: f64| histogram.percentile(share.clamp(0.0, 1.0) * 100.0) as f64;
    (count > 0.0).then(|| (at(share - deviation), at(share + deviation)))
}

/// The interval of the median over whole measured seconds.
fn seconds_interval(
    result: &RunResult,
    count: impl Fn(&crate::measure::IntervalRow) -> u64,
) -> Option<(f64, f64)> {
    let full = result.intervals.iter().map(|row| row.seconds).fold(0.0, f64::max);
    let begin = result.timing.warmup_s;
    let end = begin + result.timing.measured_s;
    let rates: Vec<f64> = result
        .intervals
        .iter()
        .filter(|row| row.start_s >= begin && row.start_s + full <= end + 1e-9)
        .filter(|row| row.seconds >= full)
        .map(|row| ratio(count(row) as f64, row.seconds))
        .collect();
    (rates.len() >= ROUNDS_MIN).then(|| median_interval(&sorted(rates)))
}
