//! The result of a run: everything a report shows, serialisable. `loadgen/SCHEMA.md` documents
//! each field; a test holds the two together.

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
use super::recorder::{Recording, ThreadUse};

/// The `schema` of every result.
pub const SCHEMA_NAME: &str = "ringload-result";

/// Raised when a field changes its meaning or goes; new fields alone do not raise it.
pub const SCHEMA_VERSION: u32 = 1;

/// What the caller knows of a run and the recording does not.
#[derive(Clone, Debug)]
pub struct Details {
    /// The program's version.
    pub version: String,
    /// The command line, argument by argument, without secrets (the caller replaces passwords).
    pub command_line: Vec<String>,
    /// The seed of everything random.
    pub seed: u64,
    /// Unix time at which the run began.
    pub started: Duration,
    /// From the run's start until everything had ended.
    pub elapsed: Duration,
    /// The warm-up asked for.
    pub warmup: Duration,
    /// How long the measured part sent work: throughput is what ended within this time.
    pub measured: Duration,
    /// Why the run ended.
    pub ending: Ending,
    /// What was measured.
    pub target: Target,
    /// What was asked of it.
    pub workload: Workload,
    /// What the server used, where its process id was given.
    pub server: Option<ServerUse>,
    /// Where the generator ran.
    pub machine: Machine,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The asked duration or count was reached.
    Complete,
    /// Interrupted; everything in the result is valid for the time it covers.
    Interrupted,
    /// A limit of the generator (errors, connections, time) ended it.
    Limit,
}

/// The server measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Host as given.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `implicit` or `explicit`.
    pub security: String,
    /// Text of the first greeting, printable.
    pub greeting: String,
}

/// The workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// The sentence on the reality that it stands for.
    pub meaning: String,
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub loop_kind: String,
    /// Everything that shapes it, by option name.
    pub parameters: BTreeMap<String, String>,
}

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
    /// Counts of the measured part.
    pub totals: Totals,
    /// Latency by phase; phases that never happened are absent.
    pub phases: BTreeMap<Phase, PhaseResult>,
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
    /// The run over time, warm-up included.
    pub intervals: Vec<IntervalRow>,
    /// The steps of a search for the highest rate, in the order tried; empty otherwise.
    pub rate_search: Vec<RateStep>,
}

/// When and how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Unix time of the start, milliseconds.
    pub started_unix_ms: u64,
    /// The warm-up, seconds.
    pub warmup_s: f64,
    /// The measured part, seconds.
    pub measured_s: f64,
    /// From start to the end of the last operation, seconds.
    pub elapsed_s: f64,
    /// Why it ended.
    pub ending: Ending,
}

/// Counts of the measured part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Failed ÷ all; 0 when there were none.
    pub error_share: f64,
    /// Operations given up on purpose.
    pub abandoned: u64,
    /// Operations that ended within the measured part, a second.
    pub operations_per_s: f64,
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
    /// Payload bytes sent a second.
    pub bytes_up_per_s: f64,
    /// Payload bytes received a second.
    pub bytes_down_per_s: f64,
    /// Control connections begun.
    pub connections: u64,
    /// The most control connections open within one interval, summed over threads.
    pub connections_peak: u64,
}

/// One phase's two latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseResult {
    /// From the intended start.
    pub corrected: LatencySummary,
    /// From the real start.
    pub uncorrected: LatencySummary,
}

/// One histogram in figures, and the histogram. All values in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it; SCHEMA.md documents each")]
pub struct LatencySummary {
    pub count: u64,
    pub min_ns: u64,
    pub mean_ns: u64,
    pub stdev_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p99_9_ns: u64,
    pub max_ns: u64,
    /// The whole histogram, as [`encode_histogram`] writes it.
    pub histogram: String,
}

/// Errors of one kind in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// Where.
    pub phase: Phase,
    /// What ([`ErrorKind::name`](super::ErrorKind::name)).
    pub kind: String,
    /// Alert, reply code or errno.
    pub code: Option<i32>,
    /// [`ErrorClass::name`].
    pub class: String,
    /// How often.
    pub count: u64,
    /// What the first one said.
    pub example: String,
}

/// One combination negotiated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsRow {
    /// `control` or `data`.
    pub channel: String,
    /// Protocol version.
    pub version: String,
    /// Cipher suite.
    pub suite: String,
    /// Key exchange group.
    pub group: String,
    /// How often.
    pub count: u64,
}

/// Resumption on one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResumptionResult {
    /// Handshakes that succeeded.
    pub handshakes: u64,
    /// Those that offered a session.
    pub offered: u64,
    /// Those resumed.
    pub resumed: u64,
    /// Resumed ÷ handshakes; 0 when there were none.
    pub share: f64,
}

/// The generator's own cost, and whether it was the limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientUse {
    /// CPU time of all threads after the warm-up, seconds.
    pub cpu_s: f64,
    /// CPU time by operations, failed ones included, microseconds; 0 when there were none.
    pub cpu_us_per_operation: f64,
    /// Each thread's CPU time ÷ wall time.
    pub thread_busy: Vec<f64>,
    /// How long each thread was ready to run and others used its core, by wall time.
    #[serde(default)]
    pub thread_waiting: Vec<f64>,
    /// Whether the generator, by its own work, may have been the limit, not the server.
    pub was_limit: bool,
    /// Whether others took the CPU that the generator needed.
    #[serde(default)]
    pub was_starved: bool,
    /// Why, one sentence each; empty when it was neither.
    pub limit_reasons: Vec<String>,
}

/// The server's cost from the end of the warm-up until the last operation had ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerResult {
    /// Its process id, when it was given by one.
    pub pid: Option<u32>,
    /// Its cgroup's directory, when it was given by that.
    pub cgroup: Option<String>,
    /// CPU time of all its processes, seconds.
    pub cpu_s: f64,
    /// CPU time by operations, failed ones included, microseconds; 0 when there were none.
    pub cpu_us_per_operation: f64,
    /// CPU time ÷ wall time, in cores.
    pub cores_busy: f64,
    /// Memory before, bytes.
    pub memory_before_bytes: u64,
    /// Memory after, bytes.
    pub memory_after_bytes: u64,
    /// Connections open when it was read.
    pub sessions: u64,
    /// Growth ÷ connections open, bytes; absent when none were, or when it shrank.
    pub memory_per_session_bytes: Option<u64>,
}

/// One interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalRow {
    /// Its begin since the run's start, seconds.
    pub start_s: f64,
    /// Its length, seconds; the last is cut where the run ended.
    pub seconds: f64,
    /// Whether it began in the warm-up.
    pub warmup: bool,
    /// Operations that ended in it.
    pub operations: u64,
    /// Errors by class.
    pub errors: BTreeMap<String, u64>,
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
    /// The most connections open at once.
    pub connections: u64,
    /// Connections by state at its end.
    #[serde(default)]
    pub states: BTreeMap<String, u64>,
    /// Corrected latency of the operations: median, nanoseconds; 0 when none ended.
    pub p50_ns: u64,
    /// 99th percentile.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// The histogram; empty text when none ended.
    pub histogram: String,
}

/// One step of a search for the highest rate that holds an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateStep {
    /// Rate asked, operations a second.
    pub rate: f64,
    /// Rate reached.
    pub reached: f64,
    /// Whether the objective held.
    pub held: bool,
    /// Corrected median of the operation, nanoseconds.
    pub p50_ns: u64,
    /// Corrected 99th percentile.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// Errors.
    pub errors: u64,
    /// Whether the generator was the limit or starved, which makes the step prove nothing of the
    /// server.
    pub client_was_limit: bool,
}

/// When the generator is said to have been the limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitThresholds {
    /// A thread that ran or waited for its core for more than this share of its wall time has no
    /// room to be on time.
    pub thread_busy: f64,
    /// A thread that waited for its core for more than this share of its wall time, and was too
    /// busy or too late, was starved by others; with less it was its own work.
    pub thread_waiting: f64,
    /// A thread that waited for its core for more than this was starved in any case: its waits are
    /// in every latency.
    pub thread_starved: f64,
    /// A 99th percentile of lateness above this is too late whatever the latency …
    pub lateness_p99: Duration,
    /// … and above this share of the operation's corrected median it changes what is measured.
    pub lateness_share: f64,
    /// Lateness below this is never held against the generator: it is the timer's resolution.
    pub lateness_floor: Duration,
}

impl Default for LimitThresholds {
    fn default() -> Self {
        Self {
            thread_busy: 0.95,
            thread_waiting: 0.02,
            thread_starved: 0.2,
            lateness_p99: Duration::from_millis(10),
            lateness_share: 0.1,
            lateness_floor: Duration::from_millis(1),
        }
    }
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
        let attempts = totals.operations + totals.errors + totals.abandoned;
        // The server is busy with the last operations too, and its sample is taken after them.
        let busy_wall = details.elapsed.saturating_sub(details.warmup);
        let lateness = &recording.lateness;
        let client = client_use(recording, attempts, &phases, LimitThresholds::default());
        Self {
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
                elapsed_s: details.elapsed.as_secs_f64(),
                ending: details.ending,
            },
            totals,
            phases,
            errors: error_rows(recording),
            tls: tls_rows(recording),
            resumption: [Channel::Control, Channel::Data]
                .map(|channel| {
                    let counts = recording.counters.resumption(channel);
                    (channel.name().to_owned(), ResumptionResult::from(counts))
                })
                .into(),
            lateness: (lateness.count() > 0).then(|| LatencySummary::new(lateness)),
            client,
            server: details.server.map(|used| ServerResult::new(&used, busy_wall, attempts)),
            intervals: recording
                .intervals
                .iter()
                .map(|interval| IntervalRow::new(interval, details.warmup, details.elapsed))
                .collect(),
            rate_search: Vec::new(),
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
        match serde_json::to_string_pretty(self) {
            Ok(text) => text + "\n",
            Err(_) => unreachable!("all keys are text and all values plain"),
        }
    }

    /// One phase's latency, where the phase happened.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> Option<&PhaseResult> {
        self.phases.get(&phase)
    }

    /// The highest rate of the search that held, with the generator not the limit.
    #[must_use]
    pub fn highest_rate_held(&self) -> Option<f64> {
        let held = self.rate_search.iter().filter(|step| step.held && !step.client_was_limit);
        held.map(|step| step.rate).max_by(f64::total_cmp)
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
        let per_s = |count: fn(&Interval) -> u64| rate_within(recording, details, count);
        Self {
            operations: counters.operations,
            errors,
            error_share: ratio(errors as f64, (counters.operations + errors) as f64),
            abandoned: counters.abandoned,
            operations_per_s: per_s(|interval| interval.operations),
            bytes_up: counters.bytes_up,
            bytes_down: counters.bytes_down,
            bytes_up_per_s: per_s(|interval| interval.bytes_up),
            bytes_down_per_s: per_s(|interval| interval.bytes_down),
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
    fn new(used: &ServerUse, wall: Duration, attempts: u64) -> Self {
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
            cpu_us_per_operation: ratio(cpu * 1e6, attempts as f64),
            cores_busy: ratio(cpu, wall.as_secs_f64()),
            memory_before_bytes: used.before.memory_bytes,
            memory_after_bytes: used.after.memory_bytes,
            sessions: used.sessions,
            memory_per_session_bytes: growth.and_then(|bytes| bytes.checked_div(used.sessions)),
        }
    }
}

impl IntervalRow {
    fn new(interval: &Interval, warmup: Duration, elapsed: Duration) -> Self {
        let latency = interval.latency();
        let start_s = (interval.index * interval.seconds) as f64;
        let cut = (elapsed.as_secs_f64() - start_s).max(0.0);
        Self {
            start_s,
            seconds: (interval.seconds as f64).min(cut),
            warmup: start_s < warmup.as_secs_f64(),
            operations: interval.operations,
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
        }
    }
}

/// `numerator / denominator`, and 0 for nothing by nothing: a share of no events.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> f64 {
    if denominator > 0.0 { numerator / denominator } else { 0.0 }
}

/// What happened *within* the measured part, by its length. Not what was sent in it: an overloaded
/// server works off its backlog afterwards, and that would count as throughput it never had. An
/// interval across an edge of the measured part counts by the share that lies inside.
fn rate_within(recording: &Recording, details: &Details, count: fn(&Interval) -> u64) -> f64 {
    let begin = details.warmup.as_secs_f64();
    let end = begin + details.measured.as_secs_f64();
    let elapsed = details.elapsed.as_secs_f64();
    let inside = |interval: &Interval| {
        let from = (interval.index * interval.seconds) as f64;
        let to = (from + interval.seconds as f64).min(elapsed);
        let overlap = (to.min(end) - from.max(begin)).max(0.0);
        count(interval) as f64 * ratio(overlap, to - from)
    };
    ratio(recording.intervals.iter().map(inside).sum(), end - begin)
}

fn client_use(
    recording: &Recording,
    attempts: u64,
    phases: &BTreeMap<Phase, PhaseResult>,
    thresholds: LimitThresholds,
) -> ClientUse {
    let cpu: Duration = recording.threads.iter().map(|thread| thread.cpu).sum();
    let of_wall =
        |thread: &ThreadUse, time: Duration| ratio(time.as_secs_f64(), thread.wall.as_secs_f64());
    let threads = &recording.threads;
    let thread_busy: Vec<f64> = threads.iter().map(|used| of_wall(used, used.cpu)).collect();
    let thread_waiting: Vec<f64> = threads.iter().map(|used| of_wall(used, used.waited)).collect();
    let limits = limits(recording, &thread_busy, &thread_waiting, phases, thresholds);
    ClientUse {
        cpu_s: cpu.as_secs_f64(),
        cpu_us_per_operation: ratio(cpu.as_secs_f64() * 1e6, attempts as f64),
        thread_busy,
        thread_waiting,
        was_limit: limits.own,
        was_starved: limits.others,
        limit_reasons: limits.reasons,
    }
}

/// What kept the generator from doing what it was asked.
#[derive(Default)]
struct Limits {
    /// Its own work.
    own: bool,
    /// Others on its cores.
    others: bool,
    reasons: Vec<String>,
}

fn limits(
    recording: &Recording,
    busy: &[f64],
    waiting: &[f64],
    phases: &BTreeMap<Phase, PhaseResult>,
    thresholds: LimitThresholds,
) -> Limits {
    let mut limits = Limits::default();
    let threads = || busy.iter().copied().zip(waiting.iter().copied());
    let full = |(ran, waited): (f64, f64)| ran + waited >= thresholds.thread_busy;
    // Others had the time that a full or late thread needed.
    let held_up = |(ran, waited): (f64, f64)| {
        ran < thresholds.thread_busy && waited >= thresholds.thread_waiting
    };
    let starved =
        |used: (f64, f64)| used.1 >= thresholds.thread_starved || (full(used) && held_up(used));
    let most_starved = threads().filter(|used| starved(*used)).max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((ran, waited)) = most_starved {
        limits.others = true;
        limits.reasons.push(format!(
            "a generator thread ran for {:.0} % of the time and waited for {:.0} % while others \
             (the server, if it shares the core) used its core: pin them apart",
            ran * 100.0,
            waited * 100.0
        ));
    }
    let busiest =
        threads().filter(|used| full(*used) && !starved(*used)).max_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((ran, _)) = busiest {
        limits.own = true;
        limits.reasons.push(format!(
            "a generator thread used {:.0} % of its core: give it more cores, or the server less",
            ran * 100.0
        ));
    }
    let longest_wait =
        threads().filter(|used| held_up(*used)).map(|used| used.1).max_by(f64::total_cmp);
    let lateness = Duration::from_nanos(recording.lateness.percentile(99.0));
    let median = phases
        .get(&Phase::Operation)
        .map_or(Duration::ZERO, |operation| Duration::from_nanos(operation.corrected.p50_ns));
    let too_late =
        lateness > thresholds.lateness_p99 || lateness > median.mul_f64(thresholds.lateness_share);
    if recording.lateness.count() > 0 && lateness > thresholds.lateness_floor && too_late {
        limits.others |= longest_wait.is_some();
        limits.own |= longest_wait.is_none();
        limits.reasons.push(format!(
            "1 % of its sends were more than {:.1} ms late, beside a median operation of {:.1} ms{}",
            lateness.as_secs_f64() * 1e3,
            median.as_secs_f64() * 1e3,
            longest_wait.map_or_else(String::new, |waited| format!(
                "; a thread waited {:.0} % of the time for its core",
                waited * 100.0
            ))
        ));
    }
    let own: u64 = recording.errors.by_class()[ErrorClass::Client as usize];
    if own > 0 {
        limits.own = true;
        limits
            .reasons
            .push(format!("{own} operations failed in the generator's own host, see the errors"));
    }
    limits
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
