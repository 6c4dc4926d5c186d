//! The result of a run: everything a report shows, serialisable. `loadgen/SCHEMA.md` documents
//! each field; a test holds the two together.

mod limits;
mod problems;
mod rows;
mod shares;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{Channel, ConnectionState, ResumptionCounts};
use super::error_kind::ErrorClass;
use super::histogram::{Latency, LatencyHistogram, decode_histogram, encode_histogram};
use super::interval::Interval;
use super::machine::Machine;
use super::phase::Phase;
use super::process::{ServerProcesses, ServerUse};
use super::recording::Recording;
use limits::client_use;
use problems::problems;

pub use limits::LimitThresholds;
pub use rows::{
    ClientUse, ConditionResult, CpuRow, Details, Ending, ErrorRow, ExpectedInterval, IntervalRow,
    KindResult, LatencySummary, ObjectiveResult, PartOf, PartRow, PhaseResult, RateStep,
    ResumptionResult, ServerResult, StepPurpose, StepVerdict, Target, Timing, TlsRow, Totals,
    Within, Workload,
};
pub(crate) use shares::{per_gb, ratio};

/// The `schema` of every result.
pub const SCHEMA_NAME: &str = "ringload-result";

/// Raised when a field changes its meaning or goes; new fields alone do not raise it.
pub const SCHEMA_VERSION: u32 = 2;

/// Everything measured in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`SCHEMA_NAME`].
    pub schema: String,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The program's version.
    pub version: String,
    /// The command line.
    pub command_line: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// Where the generator ran.
    pub machine: Machine,
    /// The server measured.
    pub target: Target,
    /// What was asked of it.
    pub workload: Workload,
    /// When and how long.
    pub timing: Timing,
    /// Why the run counts as failed, one sentence each; empty when it did what it was asked.
    pub problems: Vec<String>,
    /// Counts of the measured part.
    pub totals: Totals,
    /// Latency by phase; phases that never happened are absent.
    pub phases: BTreeMap<Phase, PhaseResult>,
    /// Whole operations by kind, where the workload has several.
    pub kinds: BTreeMap<String, KindResult>,
    /// Closed loop: the whole operation with what was not asked meanwhile put in.
    pub expected_interval: Option<ExpectedInterval>,
    /// Operations that the end of the run cut, nobody's failures, by the phase they were in.
    pub unfinished: BTreeMap<Phase, u64>,
    /// Errors, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// What handshakes negotiated, the most frequent first.
    pub tls: Vec<TlsRow>,
    /// Resumption by channel.
    pub resumption: BTreeMap<String, ResumptionResult>,
    /// How late the generator was in sending what was due; absent in closed loop.
    pub lateness: Option<LatencySummary>,
    /// The generator's own cost.
    pub client: ClientUse,
    /// The server's cost, where its process id was given.
    pub server: Option<ServerResult>,
    /// What `--slo` asked for.
    #[serde(default)]
    pub objective: Option<ObjectiveResult>,
    /// CPU time of generator and server over time.
    #[serde(default)]
    pub cpu: Vec<CpuRow>,
    /// The run over time, warm-up included.
    pub intervals: Vec<IntervalRow>,
    /// The steps of a search for the highest rate, in the order tried; empty otherwise.
    pub rate_search: Vec<RateStep>,
    /// The highest rate that the search confirmed, operations a second.
    pub rate_held: Option<f64>,
    /// Which part of a run this is, where several processes shared it.
    #[serde(default)]
    pub part: Option<PartOf>,
    /// The parts that this result was merged from; empty otherwise.
    #[serde(default)]
    pub parts: Vec<PartRow>,
}

/// Why a text is no result.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// Not JSON, or not of these fields.
    #[error("not a result: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON of another kind or version.
    #[error("schema {found_name} version {found_version}, wanted {SCHEMA_NAME} {SCHEMA_VERSION}")]
    Schema {
        /// Its `schema`.
        found_name: String,
        /// Its `schema_version`.
        found_version: u64,
    },
}

/// A result as JSON (`SCHEMA.md`), indented, with a final line end.
pub(crate) fn pretty_json(result: &impl Serialize) -> String {
    match serde_json::to_string_pretty(result) {
        Ok(text) => text + "\n",
        Err(_) => unreachable!("all keys are text and all values plain"),
    }
}

impl RunResult {
    /// The result of a run: the merged recording and what only the caller knows.
    #[must_use]
    pub fn new(details: Details, recording: &Recording) -> Self {
        let phases: BTreeMap<Phase, PhaseResult> = Phase::ALL
            .into_iter()
            .map(|phase| (phase, recording.latency(phase)))
            .filter(|(_, latency)| latency.corrected.count() > 0)
            .map(|(phase, latency)| (phase, PhaseResult::new(latency)))
            .collect();
        let totals = Totals::new(recording, &details);
        let lateness = &recording.lateness;
        let client = client_use(recording, &phases, LimitThresholds::default());
        let errors = error_rows(recording);
        Self {
            problems: problems(&details, recording, &errors),
            expected_interval: ExpectedInterval::new(&details, recording),
            schema: SCHEMA_NAME.to_owned(),
            schema_version: SCHEMA_VERSION,
            version: details.version,
            command_line: details.command_line,
            seed: details.seed,
            machine: details.machine,
            target: details.target,
            workload: details.workload,
            timing: Timing {
                started_unix_ms: u64::try_from(details.started.as_millis()).unwrap_or(u64::MAX),
                warmup_s: details.warmup.as_secs_f64(),
                measured_s: details.measured.as_secs_f64(),
                asked_s: details.asked.map(|asked| asked.as_secs_f64()),
                interval_s: interval_length(recording),
                elapsed_s: details.elapsed.as_secs_f64(),
                ending: details.ending,
            },
            totals,
            phases,
            kinds: kind_results(recording),
            unfinished: recording.unfinished.clone(),
            errors,
            tls: tls_rows(recording),
            resumption: [Channel::Control, Channel::Data]
                .map(|channel| {
                    let counts = recording.counters.resumption(channel);
                    (channel.name().to_owned(), ResumptionResult::from(counts))
                })
                .into(),
            lateness: (lateness.count() > 0).then(|| LatencySummary::new(lateness)),
            client,
            server: details
                .server
                .map(|used| ServerResult::new(&used, details.measured, recording)),
            intervals: recording
                .intervals
                .iter()
                .map(|interval| IntervalRow::new(interval, details.warmup, details.elapsed))
                .collect(),
            objective: None,
            cpu: details.cpu,
            rate_search: Vec::new(),
            rate_held: None,
            part: details.part,
            parts: Vec::new(),
        }
    }

    /// Reads a result that [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// When the text is not JSON, or of another schema or version.
    pub fn from_json(text: &str) -> Result<Self, ResultError> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        let found_name = value["schema"].as_str().unwrap_or("none");
        let found_version = value["schema_version"].as_u64().unwrap_or(0);
        if found_name != SCHEMA_NAME || found_version != u64::from(SCHEMA_VERSION) {
            return Err(ResultError::Schema { found_name: found_name.to_owned(), found_version });
        }
        Ok(serde_json::from_value(value)?)
    }

    /// The result as JSON, indented, with a final line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        pretty_json(self)
    }

    /// One phase's latency, where the phase happened.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<&PhaseResult> {
        self.phases.get(&phase)
    }

    /// The channel's resumption.
    #[must_use]
    pub fn resumption_on(&self, channel: Channel) -> ResumptionResult {
        self.resumption.get(channel.name()).copied().unwrap_or_default()
    }
}

impl PhaseResult {
    fn new(latency: &Latency) -> Self {
        Self {
            corrected: LatencySummary::new(&latency.corrected),
            uncorrected: LatencySummary::new(&latency.uncorrected),
        }
    }
}

impl LatencySummary {
    /// The figures of `histogram`.
    #[must_use]
    pub fn new(histogram: &LatencyHistogram) -> Self {
        let inner = histogram.inner();
        Self {
            count: histogram.count(),
            min_ns: inner.min(),
            mean_ns: rounded(inner.mean()),
            stdev_ns: rounded(inner.stdev()),
            p50_ns: histogram.percentile(50.0),
            p90_ns: histogram.percentile(90.0),
            p99_ns: histogram.percentile(99.0),
            p99_9_ns: histogram.percentile(99.9),
            max_ns: histogram.max(),
            histogram: encode_histogram(histogram),
        }
    }

    /// The histogram; `None` in a result that someone edited.
    #[must_use]
    pub fn decode(&self) -> Option<LatencyHistogram> {
        decode_histogram(&self.histogram)
    }
}

impl Totals {
    fn new(recording: &Recording, details: &Details) -> Self {
        let counters = &recording.counters;
        let errors = recording.errors.total();
        // What happened *within* the measured part. Not what was sent in it: an overloaded server
        // works off its backlog afterwards, and that would count as throughput it never had.
        let work = recording.work;
        let per_s = |count: u64| ratio(count as f64, details.measured.as_secs_f64());
        Self {
            operations: counters.operations,
            errors,
            error_share: ratio(errors as f64, (counters.operations + errors) as f64),
            abandoned: counters.abandoned,
            unfinished: recording.unfinished(),
            offered_per_s: per_s(work.due),
            backlog_begin: work.backlog_begin,
            backlog_end: work.backlog_end,
            work: work.operations,
            within: Some(Within {
                due: work.due,
                operations: work.succeeded,
                bytes_up: work.bytes_up,
                bytes_down: work.bytes_down,
            }),
            operations_per_s: per_s(work.succeeded),
            bytes_up: counters.bytes_up,
            bytes_down: counters.bytes_down,
            bytes_up_per_s: per_s(work.bytes_up),
            bytes_down_per_s: per_s(work.bytes_down),
            connections: counters.connections,
            connections_peak: recording
                .intervals
                .iter()
                .map(|interval| interval.connections_peak)
                .max()
                .unwrap_or_default(),
        }
    }
}

impl From<ResumptionCounts> for ResumptionResult {
    fn from(counts: ResumptionCounts) -> Self {
        Self {
            handshakes: counts.handshakes,
            offered: counts.offered,
            resumed: counts.resumed,
            share: ratio(counts.resumed as f64, counts.handshakes as f64),
        }
    }
}

impl ServerResult {
    fn new(used: &ServerUse, wall: Duration, recording: &Recording) -> Self {
        let cpu = used.after.cpu.saturating_sub(used.before.cpu).as_secs_f64();
        let growth = used.after.memory_bytes.checked_sub(used.before.memory_bytes);
        let (pid, cgroup) = match &used.processes {
            ServerProcesses::Tree(pid) => (Some(*pid), None),
            ServerProcesses::Cgroup(directory) => (None, Some(directory.display().to_string())),
        };
        Self {
            pid,
            cgroup,
            cpu_s: cpu,
            cpu_us_per_operation: ratio(cpu * 1e6, recording.work.operations),
            cpu_s_per_gb: per_gb(cpu, recording.work.bytes()),
            cores_busy: ratio(cpu, wall.as_secs_f64()),
            memory_before_bytes: used.before.memory_bytes,
            memory_after_bytes: used.after.memory_bytes,
            sessions: used.sessions,
            memory_per_session_bytes: growth.and_then(|bytes| bytes.checked_div(used.sessions)),
        }
    }
}

impl IntervalRow {
    /// `interval` of a run of this warm-up that ended, or has come, so long after its start.
    #[must_use]
    pub fn new(interval: &Interval, warmup: Duration, elapsed: Duration) -> Self {
        let latency = interval.latency();
        let begin = interval.begin();
        Self {
            start_s: begin.as_secs_f64(),
            seconds: interval.length.min(elapsed.saturating_sub(begin)).as_secs_f64(),
            warmup: begin < warmup,
            due: interval.due,
            operations: interval.operations,
            phase_ns: Phase::ALL
                .into_iter()
                .zip(interval.phase_ns)
                .filter(|(_, sum)| *sum > 0)
                .collect(),
            errors: ErrorClass::ALL
                .into_iter()
                .zip(interval.errors)
                .filter(|(_, count)| *count > 0)
                .map(|(class, count)| (class.name().to_owned(), count))
                .collect(),
            bytes_up: interval.bytes_up,
            bytes_down: interval.bytes_down,
            connections: interval.connections_peak,
            states: ConnectionState::ALL
                .into_iter()
                .map(|state| (state.key().to_owned(), interval.connections.count(state)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            p50_ns: latency.percentile(50.0),
            p99_ns: latency.percentile(99.0),
            max_ns: latency.max(),
            histogram: if latency.count() == 0 {
                String::new()
            } else {
                encode_histogram(&latency)
            },
            measured_histogram: interval.measured_latency().map(|latency| {
                if latency.count() == 0 { String::new() } else { encode_histogram(&latency) }
            }),
        }
    }
}

impl ExpectedInterval {
    fn new(details: &Details, recording: &Recording) -> Option<Self> {
        let operation = &recording.latency(Phase::Operation).uncorrected;
        if !details.workload.coordinated_omission || operation.count() == 0 {
            return None;
        }
        let usual = Duration::from_nanos(operation.percentile(50.0)) + details.think;
        let interval = details.expected_interval.unwrap_or(usual);
        let (interval, corrected) = operation.with_expected_interval(interval);
        Some(Self {
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            given: details.expected_interval.is_some(),
            pause_ns: u64::try_from(details.think.as_nanos()).unwrap_or(u64::MAX),
            operation: LatencySummary::new(&corrected),
        })
    }
}

/// Length of an interval, seconds; all have one length.
fn interval_length(recording: &Recording) -> f64 {
    recording.intervals.first().map_or(0.0, |interval| interval.length.as_secs_f64())
}

fn kind_results(recording: &Recording) -> BTreeMap<String, KindResult> {
    let result = |(name, record): (&&'static str, &super::recording::KindRecord)| {
        let result = KindResult {
            errors: record.errors,
            corrected: LatencySummary::new(&record.latency.corrected),
            uncorrected: LatencySummary::new(&record.latency.uncorrected),
        };
        ((*name).to_owned(), result)
    };
    recording.kinds.iter().map(result).collect()
}

fn error_rows(recording: &Recording) -> Vec<ErrorRow> {
    let mut rows: Vec<ErrorRow> = recording
        .errors
        .iter()
        .map(|(phase, kind, row)| ErrorRow {
            phase,
            kind: kind.name().to_owned(),
            code: kind.code(),
            class: kind.class().name().to_owned(),
            count: row.count,
            example: row.example.clone(),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    rows
}

fn tls_rows(recording: &Recording) -> Vec<TlsRow> {
    let mut rows: Vec<TlsRow> = recording
        .counters
        .handshakes()
        .map(|(channel, names, count)| TlsRow {
            channel: channel.name().to_owned(),
            version: names.version.to_owned(),
            suite: names.suite.to_owned(),
            group: names.group.to_owned(),
            certificate: names.certificate.to_owned(),
            count,
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    rows
}

/// A non-negative finite float to the nearest integer.
#[expect(clippy::cast_possible_truncation, reason = "`as` saturates; a mean is within the bounds")]
#[expect(clippy::cast_sign_loss, reason = "a mean and a deviation are not negative")]
fn rounded(value: f64) -> u64 {
    value.round() as u64
}
