//! What the generator used, and whether it or others on its cores were the limit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::error_kind::ErrorClass;
use super::super::phase::Phase;
use super::super::recording::{Recording, ThreadUse};
use super::rows::{ClientUse, PhaseResult};
use super::shares::{per_gb, ratio};

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
            thread_busy: 0.85,
            thread_waiting: 0.02,
            thread_starved: 0.2,
            lateness_p99: Duration::from_millis(10),
            lateness_share: 0.1,
            lateness_floor: Duration::from_millis(1),
        }
    }
}

pub(super) fn client_use(
    recording: &Recording,
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
        cpu_us_per_operation: ratio(cpu.as_secs_f64() * 1e6, recording.work.operations),
        cpu_s_per_gb: per_gb(cpu.as_secs_f64(), recording.work.bytes()),
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
