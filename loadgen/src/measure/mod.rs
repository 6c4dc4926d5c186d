//! What was measured: phases, histograms, errors, counters and the result of a run. Owns every
//! number between an event of the engine and the report. It reads no clock and opens no
//! connection: time is an argument, and what it reads of this host comes from `/proc`.
//!
//! Use, per generator thread: one [`Recorder`]; per operation one [`Timeline`], or
//! [`Recorder::record`] directly. When a thread ends, [`Recorder::finish`] makes a [`Recording`] of
//! it; [`Recording::merge`] makes one of all and [`RunResult::new`] the serialisable result.
//!
//! # Two latencies
//!
//! Every phase keeps two histograms. The *uncorrected* one counts from when the generator really
//! began. The *corrected* one counts from when it *intended* to begin: when a stalled server keeps
//! the generator from starting what was due, the wait is the server's and belongs to its latency.
//! Without this correction a one second stall hides all but one of the operations it hit, which is
//! the error called coordinated omission.

mod counters;
mod cpu;
mod error_kind;
mod histogram;
mod interval;
mod machine;
mod phase;
mod process;
mod recorder;
mod recording;
mod result;
mod timeline;

pub use counters::{
    Channel, ConnectionState, ConnectionStates, Counters, Resumption, ResumptionCounts,
    TlsHandshake, TlsNames,
};
pub use cpu::{CpuSample, CpuSeries};
pub(crate) use error_kind::printable;
pub use error_kind::{ErrorClass, ErrorKind, Errors};
pub use histogram::{
    HIGHEST_LATENCY_NS, Latency, LatencyHistogram, SIGNIFICANT_DIGITS, decode_histogram,
    encode_histogram,
};
pub use interval::{INTERVAL, INTERVALS_MAX, Interval};
pub use machine::Machine;
pub use phase::Phase;
pub use process::{
    ProcessSample, ServerProcesses, ServerUse, process_cpu_time, thread_cpu_time, thread_cpu_wait,
};
pub use recorder::{Live, LiveUpdate, Recorder, Tally, Window};
pub use recording::{Recording, ThreadUse};
pub use result::{
    ClientUse, ConditionResult, CpuRow, Details, Ending, ErrorRow, ExpectedInterval, IntervalRow,
    KindResult, LatencySummary, LimitThresholds, ObjectiveResult, PartOf, PartRow, PhaseResult,
    RateStep, ResultError, ResumptionResult, RunResult, SCHEMA_NAME, SCHEMA_VERSION, ServerResult,
    StepPurpose, StepVerdict, Target, Timing, TlsRow, Totals, Within, Workload,
};
pub(crate) use result::{per_gb, pretty_json, ratio};
pub use timeline::Timeline;
