//! What adds up over the parts of a run: histograms and counts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::measure::{
    ErrorRow, ExpectedInterval, KindResult, Latency, LatencyHistogram, LatencySummary, Phase,
    PhaseResult, ResumptionResult, RunResult, TlsRow, Totals, Within, ratio,
};

/// Histograms, bucket by bucket.
#[derive(Default)]
pub(super) struct Latencies {
    phases: BTreeMap<Phase, Latency>,
    kinds: BTreeMap<String, (u64, Latency)>,
    lateness: Option<LatencyHistogram>,
    /// The shortest expected interval: what was asked for, raised where that was too short.
    interval_ns: Option<u64>,
}

impl Latencies {
    /// Adds those of one part.
    ///
    /// # Errors
    ///
    /// A sentence: one cannot be read.
    pub(super) fn add(&mut self, run: &RunResult) -> Result<(), String> {
        for (phase, latency) in &run.phases {
            let sum = self.phases.entry(*phase).or_default();
            sum.corrected.merge(&decode(&latency.corrected)?);
            sum.uncorrected.merge(&decode(&latency.uncorrected)?);
        }
        for (kind, result) in &run.kinds {
            let (errors, sum) = self.kinds.entry(kind.clone()).or_default();
            *errors += result.errors;
            sum.corrected.merge(&decode(&result.corrected)?);
            sum.uncorrected.merge(&decode(&result.uncorrected)?);
        }
        if let Some(lateness) = &run.lateness {
            self.lateness.get_or_insert_default().merge(&decode(lateness)?);
        }
        if let Some(expected) = &run.expected_interval {
            let shortest = self.interval_ns.unwrap_or(u64::MAX).min(expected.interval_ns);
            self.interval_ns = Some(shortest);
        }
        Ok(())
    }

    pub(super) fn phases(&self) -> BTreeMap<Phase, PhaseResult> {
        let result = |(phase, latency): (&Phase, &Latency)| {
            let corrected = LatencySummary::new(&latency.corrected);
            let uncorrected = LatencySummary::new(&latency.uncorrected);
            (*phase, PhaseResult { corrected, uncorrected })
        };
        self.phases.iter().map(result).collect()
    }

    pub(super) fn kinds(&self) -> BTreeMap<String, KindResult> {
        let result = |(kind, (errors, latency)): (&String, &(u64, Latency))| {
            let corrected = LatencySummary::new(&latency.corrected);
            let uncorrected = LatencySummary::new(&latency.uncorrected);
            (kind.clone(), KindResult { errors: *errors, corrected, uncorrected })
        };
        self.kinds.iter().map(result).collect()
    }

    pub(super) fn lateness(&self) -> Option<LatencySummary> {
        self.lateness.as_ref().map(LatencySummary::new)
    }

    /// Of all operations, by the rule that each part has used for its own. `first` says what was
    /// asked for.
    pub(super) fn expected_interval(&self, first: &RunResult) -> Option<ExpectedInterval> {
        let shortest = self.interval_ns?;
        let asked = first.expected_interval.as_ref();
        let (given, pause_ns) = asked.map_or((false, 0), |asked| (asked.given, asked.pause_ns));
        let operation = &self.phases.get(&Phase::Operation)?.uncorrected;
        let interval_ns =
            if given { shortest } else { operation.percentile(50.0).saturating_add(pause_ns) };
        let (interval, corrected) =
            operation.with_expected_interval(Duration::from_nanos(interval_ns));
        Some(ExpectedInterval {
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            given,
            pause_ns,
            operation: LatencySummary::new(&corrected),
        })
    }
}

fn decode(summary: &LatencySummary) -> Result<LatencyHistogram, String> {
    summary.decode().ok_or_else(|| "a histogram in it cannot be read".to_owned())
}

/// Counts of the measured part.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) within: Within,
    pub(super) unfinished: BTreeMap<Phase, u64>,
    pub(super) resumption: BTreeMap<String, ResumptionResult>,
    totals: Totals,
    errors: Vec<ErrorRow>,
    tls: Vec<TlsRow>,
}

impl Counts {
    /// Adds those of one part.
    ///
    /// # Errors
    ///
    /// A sentence: they are not all there.
    pub(super) fn add(&mut self, run: &RunResult) -> Result<(), String> {
        let (sum, totals) = (&mut self.totals, &run.totals);
        sum.operations += totals.operations;
        sum.errors += totals.errors;
        sum.abandoned += totals.abandoned;
        sum.unfinished += totals.unfinished;
        sum.backlog_begin += totals.backlog_begin;
        sum.backlog_end += totals.backlog_end;
        sum.work += totals.work;
        sum.bytes_up += totals.bytes_up;
        sum.bytes_down += totals.bytes_down;
        sum.connections += totals.connections;
        let within = totals.within.ok_or("it has no `totals.within`: an older ringload made it")?;
        self.within.due += within.due;
        self.within.operations += within.operations;
        self.within.bytes_up += within.bytes_up;
        self.within.bytes_down += within.bytes_down;
        for (phase, count) in &run.unfinished {
            *self.unfinished.entry(*phase).or_default() += count;
        }
        for (channel, counts) in &run.resumption {
            let sum = self.resumption.entry(channel.clone()).or_default();
            sum.handshakes += counts.handshakes;
            sum.offered += counts.offered;
            sum.resumed += counts.resumed;
            sum.share = ratio(sum.resumed as f64, sum.handshakes as f64);
        }
        for row in &run.errors {
            let same = |sum: &&mut ErrorRow| {
                (sum.phase, &sum.kind, sum.code) == (row.phase, &row.kind, row.code)
            };
            match self.errors.iter_mut().find(same) {
                Some(sum) => sum.count += row.count,
                None => self.errors.push(row.clone()),
            }
        }
        for row in &run.tls {
            let same = |sum: &&mut TlsRow| TlsRow { count: row.count, ..(**sum).clone() } == *row;
            match self.tls.iter_mut().find(same) {
                Some(sum) => sum.count += row.count,
                None => self.tls.push(row.clone()),
            }
        }
        Ok(())
    }

    /// With the rates over a measured part of this length. The peak of connections is the
    /// intervals' to say.
    pub(super) fn totals(&self, measured_s: f64) -> Totals {
        let (sum, within) = (&self.totals, self.within);
        let per_s = |count: u64| ratio(count as f64, measured_s);
        Totals {
            error_share: ratio(sum.errors as f64, (sum.operations + sum.errors) as f64),
            offered_per_s: per_s(within.due),
            operations_per_s: per_s(within.operations),
            bytes_up_per_s: per_s(within.bytes_up),
            bytes_down_per_s: per_s(within.bytes_down),
            within: Some(within),
            ..sum.clone()
        }
    }

    /// The most frequent first.
    pub(super) fn errors(&self) -> Vec<ErrorRow> {
        let mut rows = self.errors.clone();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows
    }

    /// The most frequent first.
    pub(super) fn tls(&self) -> Vec<TlsRow> {
        let mut rows = self.tls.clone();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows
    }
}
