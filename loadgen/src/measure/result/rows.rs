//! The parts of a result, each as it stands in the JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::machine::Machine;
use super::super::phase::Phase;
use super::super::process::ServerUse;

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
    /// CPU time over time.
    pub cpu: Vec<CpuRow>,
    /// Where the generator ran.
    pub machine: Machine,
    /// Operations that the end of the run cuts are what was asked for: silent and slow clients.
    pub cut_as_asked: bool,
    /// Closed loop: how often a client would have begun an operation; `None`: the median operation
    /// and the pause after it.
    pub expected_interval: Option<Duration>,
    /// Closed loop: the pause of a client after an operation.
    pub think: Duration,
    /// Why the run was ended early, if a rule of the command line did it.
    pub aborted: Option<String>,
    /// The length of the measured part that was asked for; `None`: a count was.
    pub asked: Option<Duration>,
    /// Which part of a run this is, where several processes share it.
    pub part: Option<PartOf>,
}

/// One of several processes that share a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// Its number, from 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

/// One part of a run that was merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartRow {
    /// Its number, from 1.
    pub number: u64,
    /// Name of the file with its result.
    pub file: String,
    /// Its command line.
    pub command_line: Vec<String>,
    /// Its target, as it was given.
    pub target: String,
    /// Where it ran: processor, kernel.
    pub machine: String,
    /// Why it ended.
    pub ending: Ending,
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Operations that ended within the measured part, a second of that part's own.
    pub operations_per_s: f64,
    /// Whether this generator was the limit, or starved.
    pub client_was_limit: bool,
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
    /// What the command line wants a run aborted for came true.
    Aborted,
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
    /// Whether the latencies leave out what a stalled server was not asked meanwhile: closed loop.
    #[serde(default)]
    pub coordinated_omission: bool,
    /// Everything that shapes it, by option name.
    pub parameters: BTreeMap<String, String>,
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
    /// The measured part that was asked for, seconds; absent where a count was.
    #[serde(default)]
    pub asked_s: Option<f64>,
    /// Length of an interval, seconds.
    #[serde(default)]
    pub interval_s: f64,
    /// From start to the end of the last operation, seconds.
    pub elapsed_s: f64,
    /// Why it ended.
    pub ending: Ending,
}

/// What happened between the two ends of the measured part: what rates are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Within {
    /// Operations that were due.
    pub due: u64,
    /// Operations that succeeded.
    pub operations: u64,
    /// Payload bytes sent.
    pub bytes_up: u64,
    /// Payload bytes received.
    pub bytes_down: u64,
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
    /// Operations that the end of the run cut, nobody's failures.
    pub unfinished: u64,
    /// Operations that were due within the measured part, a second.
    pub offered_per_s: f64,
    /// Operations due before the measured part began and not ended by then.
    pub backlog_begin: u64,
    /// Operations due before the measured part ended and not ended by then.
    pub backlog_end: u64,
    /// Operations that ended within the measured part, transfers by the share of their payload that
    /// moved in it: what CPU time is divided by.
    pub work: f64,
    /// What happened between the two ends of the measured part; absent in results from before it
    /// was written down.
    #[serde(default)]
    pub within: Option<Within>,
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
    /// The whole histogram, as [`encode_histogram`](crate::measure::encode_histogram) writes it.
    pub histogram: String,
}

/// Errors of one kind in one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorRow {
    /// Where.
    pub phase: Phase,
    /// What ([`ErrorKind::name`](crate::measure::ErrorKind::name)).
    pub kind: String,
    /// Alert, reply code or errno.
    pub code: Option<i32>,
    /// [`ErrorClass::name`](crate::measure::ErrorClass::name).
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
    /// Kind of the server's certificate.
    pub certificate: String,
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
    /// CPU time of all threads in the measured part, seconds.
    pub cpu_s: f64,
    /// CPU time by the work done in the same time, failed operations included, microseconds; 0 when
    /// there was none.
    pub cpu_us_per_operation: f64,
    /// CPU time by payload moved in the same time, seconds by 10⁹ bytes; absent where none moved.
    pub cpu_s_per_gb: Option<f64>,
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

/// The server's cost in the measured part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerResult {
    /// Its process id, when it was given by one.
    pub pid: Option<u32>,
    /// Its cgroup's directory, when it was given by that.
    pub cgroup: Option<String>,
    /// CPU time of all its processes, seconds.
    pub cpu_s: f64,
    /// CPU time by the work done in the same time, failed operations included, microseconds; 0 when
    /// there was none.
    pub cpu_us_per_operation: f64,
    /// CPU time by payload moved in the same time, seconds by 10⁹ bytes; absent where none moved.
    pub cpu_s_per_gb: Option<f64>,
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
    /// Operations that were due in it and have ended, in it or later.
    #[serde(default)]
    pub due: u64,
    /// Operations that ended in it.
    pub operations: u64,
    /// Of those operations: the sum of each phase, and of the whole, nanoseconds; phases that took
    /// no time are not there.
    #[serde(default)]
    pub phase_ns: BTreeMap<Phase, u64>,
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
    /// That of the operations which the measured part counts; absent when it counts all of them.
    pub measured_histogram: Option<String>,
}

/// CPU time used in a stretch of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuRow {
    /// Its begin since the run's start, seconds.
    pub start_s: f64,
    /// Its length, seconds.
    pub seconds: f64,
    /// CPU time of the whole generator, seconds.
    pub client_s: f64,
    /// That of the server; absent where it is not watched.
    pub server_s: Option<f64>,
}

/// What was asked of a run by `--slo`, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveResult {
    /// As `--slo` takes it.
    pub text: String,
    /// Its conditions; all must hold.
    pub conditions: Vec<ConditionResult>,
}

/// One condition of an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConditionResult {
    /// The condition.
    pub text: String,
    /// What it is about: `latency`, `rate`, `errors`, `abandoned`, `error_share`, `resumption`.
    pub metric: String,
    /// Of a latency: the phase.
    pub phase: Option<Phase>,
    /// Of a latency: the percentile, 0 for the shortest and 100 for the longest; absent for the
    /// mean.
    pub percentile: Option<f64>,
    /// What it is compared with: nanoseconds, operations a second, a count or a share.
    pub limit: f64,
    /// What was measured, likewise; absent where nothing was.
    pub value: Option<f64>,
    /// Whether it is met.
    pub holds: bool,
}

/// The operations of one kind, where a workload has several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindResult {
    /// Operations that failed.
    pub errors: u64,
    /// From the intended start.
    pub corrected: LatencySummary,
    /// From the real start.
    pub uncorrected: LatencySummary,
}

/// What the latency of a closed loop would have been if its clients had not waited for a stalled
/// server, by HdrHistogram's rule: an operation that took k expected intervals stands for those
/// k − 1 as well that would have begun meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpectedInterval {
    /// How often a client would have begun an operation, nanoseconds.
    pub interval_ns: u64,
    /// Whether the command line said so; otherwise it is the median operation and the pause.
    pub given: bool,
    /// The pause of a client after an operation, nanoseconds.
    #[serde(default)]
    pub pause_ns: u64,
    /// Latency of the whole operation with what was left out put in.
    pub operation: LatencySummary,
}

/// One step of a search for the highest rate that holds an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateStep {
    /// Rate asked, operations a second.
    pub rate: f64,
    /// What it was run for.
    pub purpose: StepPurpose,
    /// Length of its measured part, seconds.
    pub seconds: f64,
    /// Operations that were due, a second.
    pub offered: f64,
    /// Operations that succeeded, a second.
    pub reached: f64,
    /// What it showed.
    pub verdict: StepVerdict,
    /// Whether the verdict is "held".
    pub held: bool,
    /// Why it did not hold, or why nothing is known: one sentence each.
    pub reasons: Vec<String>,
    /// What became of each condition of the objective.
    #[serde(default)]
    pub conditions: Vec<ConditionResult>,
    /// Operations in the latencies.
    pub samples: u64,
    /// Corrected median of the operation, nanoseconds.
    pub p50_ns: u64,
    /// Corrected 99th percentile.
    pub p99_ns: u64,
    /// Longest.
    pub max_ns: u64,
    /// Errors.
    pub errors: u64,
    /// Whether the generator was the limit or starved.
    pub client_was_limit: bool,
}

/// What a step of the search is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepPurpose {
    /// To find the region quickly; proves nothing.
    Scout,
    /// To halve the distance between the bounds.
    Narrow,
    /// To show again that the rate found holds.
    Confirm,
    /// To show again that the rate above it does not.
    Refute,
}

/// What a step of the search showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    /// The objective held, the rate was reached, the queue did not grow, and there were enough
    /// operations to tell.
    Held,
    /// One of these was not so, and the generator was not the cause.
    Broken,
    /// Nothing speaks against it, but there were too few operations to claim it.
    TooFew,
    /// It did not hold, and the generator may have been the cause.
    Unknown,
}
