//! CPU time of the generator and of the server over time. Samples are of what was used since each
//! began, so that a long run is kept short by leaving every other one out.

use std::time::Duration;

use super::interval::INTERVALS_MAX;
use super::result::CpuRow;

/// What had been used at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSample {
    /// The moment, since the run's start.
    pub at: Duration,
    /// CPU time of the generator until then.
    pub client: Duration,
    /// That of the server; `None` where it is not watched, or gone.
    pub server: Option<Duration>,
}

/// Samples, one a period.
#[derive(Clone, Debug)]
pub struct CpuSeries {
    period: Duration,
    samples: Vec<CpuSample>,
}

impl CpuSeries {
    /// Shorter periods would cost the generator's host more than they tell: the kernel counts a
    /// process's CPU time in ticks of 10 ms.
    pub const PERIOD_MIN: Duration = Duration::from_secs(1);

    /// One sample a `period`, which is raised to [`PERIOD_MIN`](Self::PERIOD_MIN).
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Self { period: period.max(Self::PERIOD_MIN), samples: Vec::new() }
    }

    /// When the next sample is due, since the run's start.
    #[must_use]
    pub fn next_due(&self) -> Duration {
        let Some(last) = self.samples.last() else { return Duration::ZERO };
        let whole = last.at.as_nanos() / self.period.as_nanos().max(1);
        self.period.saturating_mul(u32::try_from(whole + 1).unwrap_or(u32::MAX))
    }

    /// Whether what is left behind the last sample is worth a row of its own.
    #[must_use]
    pub fn is_worth_a_last(&self, elapsed: Duration) -> bool {
        elapsed + self.period / 2 >= self.next_due()
    }

    /// Adds the sample that was due, or a last one.
    pub fn add(&mut self, sample: CpuSample) {
        self.samples.push(sample);
        // An odd number, so that the newest stays.
        if self.samples.len() > INTERVALS_MAX {
            let mut kept = false;
            self.samples.retain(|_| {
                kept = !kept;
                kept
            });
            self.period *= 2;
        }
    }

    /// What was used between each sample and the next.
    #[must_use]
    pub fn rows(&self) -> Vec<CpuRow> {
        let between = |pair: &[CpuSample]| {
            let (from, to) = (pair[0], pair[1]);
            let server = from.server.zip(to.server).map(|(from, to)| to.saturating_sub(from));
            CpuRow {
                start_s: from.at.as_secs_f64(),
                seconds: to.at.saturating_sub(from.at).as_secs_f64(),
                client_s: to.client.saturating_sub(from.client).as_secs_f64(),
                server_s: server.map(|server| server.as_secs_f64()),
            }
        };
        self.samples.windows(2).map(between).collect()
    }
}

const _: () = assert!(INTERVALS_MAX.is_multiple_of(2), "the newest sample has an even index");

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CpuSample, CpuSeries, INTERVALS_MAX};

    #[test]
    fn samples_are_due_by_the_run_s_clock() {
        let mut series = CpuSeries::new(Duration::from_millis(100));
        for (at, server) in [(3, Some(1000)), (1002, Some(1250)), (2700, None), (3001, Some(9000))]
        {
            assert!(series.next_due() <= Duration::from_millis(at));
            series.add(CpuSample {
                at: Duration::from_millis(at),
                client: Duration::from_millis(at / 2),
                server: server.map(Duration::from_millis),
            });
        }
        assert_eq!(series.next_due(), Duration::from_secs(4));
        assert!(!series.is_worth_a_last(Duration::from_millis(3400)));
        assert!(series.is_worth_a_last(Duration::from_millis(3600)));
        let rows = series.rows();
        let ms = |seconds: f64| (seconds * 1e3).round();
        let first = &rows[0];
        assert_eq!([first.start_s, first.seconds, first.client_s].map(ms), [3.0, 999.0, 500.0]);
        let server: Vec<Option<f64>> = rows.iter().map(|row| row.server_s.map(ms)).collect();
        assert_eq!(server, [Some(250.0), None, None], "nothing is made up where it was gone");
    }

    #[test]
    fn a_long_run_is_bounded_and_loses_nothing() {
        let mut series = CpuSeries::new(Duration::from_secs(1));
        let mut second = 0;
        while second < INTERVALS_MAX as u64 * 3 {
            let at = Duration::from_secs(second);
            if series.next_due() <= at {
                series.add(CpuSample { at, client: at / 4, server: None });
            }
            second += 1;
        }
        let rows = series.rows();
        assert!(rows.len() <= INTERVALS_MAX);
        let last = rows.last().unwrap();
        let all: f64 = rows.iter().map(|row| row.client_s).sum();
        assert!((all - (last.start_s + last.seconds) / 4.0).abs() < 1e-6);
        assert!(last.start_s + last.seconds >= second as f64 - 8.0);
    }
}
