//! Objectives over a result: `p99<50ms,errors=0`. They decide `--slo` (all must hold), `--fail-on`
//! (none may hold), `--abort-on` ([`AbortRule`]) and the search for the highest rate ([`Search`]).
//!
//! ```text
//! objective = condition *("," condition)
//! condition = metric ("<" / "<=" / ">" / ">=" / "=" / "!=") value
//! metric    = [phase "."] ("p" percentile / "min" / "mean" / "max") value: 50ms, 1.5s, 200us, 9ns
//!           / "rate"                                    value: operations a second, "/s" optional
//!           / "errors" / "abandoned"                                   value: a count
//!           / "error_share"                            value: 0.01 or 1%; `errors<1%` is the same
//!           / ["control." / "data."] "resumption"                      value: 0.9 or 90%
//! ```
//! A latency without a phase is the whole operation's; all are corrected ones. `resumption` alone
//! is the control connection's. Times need a unit: a bare number would be guessed.

mod abort;
mod search;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::measure::{Channel, ConditionResult, ObjectiveResult, Phase, RunResult};
use crate::report::format;

pub use abort::AbortRule;
pub use search::{Above, Found, Next, Search, Trial};

/// Conditions on one result, parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
struct Condition {
    metric: Metric,
    relation: Relation,
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    Latency(Phase, Statistic),
    Rate,
    Errors,
    Abandoned,
    ErrorShare,
    Resumption(Channel),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Statistic {
    Percentile(f64),
    Min,
    Mean,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// Why a text is no objective. Each names the part it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectiveError {
    /// Nothing between two commas, or nothing at all.
    #[error("an objective is like `p99<50ms,errors=0`; a condition is empty")]
    Empty,
    /// No relation sign.
    #[error("`{0}`: no relation; use <, <=, >, >=, = or !=")]
    Relation(String),
    /// A metric of no such name.
    #[error(
        "`{0}`: no such metric; use p50 … p99.9, min, mean or max, each also after a phase as in \
         tls_handshake.p99, or rate, errors, abandoned, error_share, resumption, data.resumption"
    )]
    Metric(String),
    /// A value that does not fit the metric.
    #[error("`{value}`: {metric} wants {wanted}")]
    Value {
        /// The metric.
        metric: String,
        /// What was given.
        value: String,
        /// What fits.
        wanted: &'static str,
    },
}

/// What became of one condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The relation is true.
    True,
    /// The relation is false.
    False,
    /// The result has no such measurement: the phase never happened.
    NotMeasured,
}

/// One condition, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The condition, normalised.
    pub condition: String,
    /// What was measured, for people.
    pub measured: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// An objective, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Each condition in the order given.
    pub conditions: Vec<Checked>,
}

impl Objective {
    /// Checks each condition against `result`.
    #[must_use]
    pub fn check(&self, result: &RunResult) -> Verdict {
        let conditions = self
            .conditions
            .iter()
            .map(|condition| {
                let value = condition.metric.value(result);
                Checked {
                    condition: condition.to_string(),
                    measured: value.map_or_else(
                        || "not measured".to_owned(),
                        |value| condition.metric.format(value),
                    ),
                    outcome: match value {
                        None => Outcome::NotMeasured,
                        Some(value) if condition.relation.holds(value, condition.limit) => {
                            Outcome::True
                        }
                        Some(_) => Outcome::False,
                    },
                }
            })
            .collect();
        Verdict { conditions }
    }

    /// The same for the result itself.
    #[must_use]
    pub fn result(&self, result: &RunResult) -> ObjectiveResult {
        let conditions = self.conditions.iter().map(|condition| {
            let value = condition.metric.value(result);
            let (metric, phase, percentile) = condition.metric.parts();
            ConditionResult {
                text: condition.to_string(),
                metric: metric.to_owned(),
                phase,
                percentile,
                limit: condition.limit,
                value,
                holds: value.is_some_and(|value| condition.relation.holds(value, condition.limit)),
            }
        });
        ObjectiveResult { text: self.to_string(), conditions: conditions.collect() }
    }
}

impl Objective {
    /// How many operations it takes to tell whether it holds: for a percentile p, 100 ÷ (1 − p).
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates")]
    #[expect(clippy::cast_sign_loss, reason = "a percentile is at most 100")]
    pub fn samples_needed(&self) -> u64 {
        /// Beyond the sixth nine nobody waits for it.
        const REST_MIN: f64 = 1e-6;
        let needed = |condition: &Condition| match condition.metric {
            Metric::Latency(_, Statistic::Percentile(percentile)) => {
                let rest = (1.0 - percentile / 100.0).max(REST_MIN);
                // 1 − 0.99 is a little above 0.01.
                (100.0 / rest - 1e-3).ceil() as u64
            }
            _ => 0,
        };
        self.conditions.iter().map(needed).max().unwrap_or(0)
    }

    /// Whether it says itself how many operations may fail.
    #[must_use]
    pub fn judges_errors(&self) -> bool {
        let of_errors =
            |condition: &Condition| matches!(condition.metric, Metric::Errors | Metric::ErrorShare);
        self.conditions.iter().any(of_errors)
    }

    /// The longest latency that it speaks of.
    #[must_use]
    pub fn longest_latency(&self) -> Duration {
        let latency = |condition: &Condition| match condition.metric {
            Metric::Latency(..) => Duration::try_from_secs_f64(condition.limit / 1e9).ok(),
            _ => None,
        };
        self.conditions.iter().filter_map(latency).max().unwrap_or_default()
    }
}

impl Verdict {
    /// Each condition that is not met, with what was measured.
    pub fn unmet(&self) -> impl Iterator<Item = String> + '_ {
        let unmet = self.conditions.iter().filter(|checked| checked.outcome != Outcome::True);
        unmet.map(|checked| format!("{}: measured {}", checked.condition, checked.measured))
    }

    /// For `--slo`: every condition is true. What was not measured is not met.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.conditions.iter().all(|checked| checked.outcome == Outcome::True)
    }

    /// For `--fail-on`: some condition is true, or could not be shown to be false because it was
    /// not measured: a run that did nothing must not pass a gate.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.conditions.iter().any(|checked| checked.outcome != Outcome::False)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for checked in &self.conditions {
            let outcome = match checked.outcome {
                Outcome::True => "true",
                Outcome::False => "false",
                Outcome::NotMeasured => "not measured",
            };
            writeln!(f, "{}: {outcome} (measured {})", checked.condition, checked.measured)?;
        }
        Ok(())
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let conditions = text.split(',').map(parse_condition).collect::<Result<_, _>>()?;
        Ok(Self { conditions })
    }
}

impl Metric {
    /// Its name in a result, and of a latency the phase and the percentile, which a mean has not.
    fn parts(&self) -> (&'static str, Option<Phase>, Option<f64>) {
        match self {
            Self::Latency(phase, statistic) => {
                let percentile = match statistic {
                    Statistic::Percentile(percentile) => Some(*percentile),
                    Statistic::Min => Some(0.0),
                    Statistic::Max => Some(100.0),
                    Statistic::Mean => None,
                };
                ("latency", Some(*phase), percentile)
            }
            Self::Rate => ("rate", None, None),
            Self::Errors => ("errors", None, None),
            Self::Abandoned => ("abandoned", None, None),
            Self::ErrorShare => ("error_share", None, None),
            Self::Resumption(_) => ("resumption", None, None),
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.conditions.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{condition}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = match self.metric {
            Metric::Latency(..) => duration_text(self.limit),
            Metric::Rate => format!("{}/s", self.limit),
            Metric::Errors | Metric::Abandoned => format!("{}", self.limit),
            Metric::ErrorShare | Metric::Resumption(_) => format!("{}%", self.limit * 100.0),
        };
        write!(f, "{}{}{limit}", self.metric, self.relation.sign())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(phase, statistic) => {
                if *phase != Phase::Operation {
                    write!(f, "{}.", phase.name())?;
                }
                match statistic {
                    Statistic::Percentile(percentile) => write!(f, "p{percentile}"),
                    Statistic::Min => f.write_str("min"),
                    Statistic::Mean => f.write_str("mean"),
                    Statistic::Max => f.write_str("max"),
                }
            }
            Self::Rate => f.write_str("rate"),
            Self::Errors => f.write_str("errors"),
            Self::Abandoned => f.write_str("abandoned"),
            Self::ErrorShare => f.write_str("error_share"),
            Self::Resumption(Channel::Control) => f.write_str("resumption"),
            Self::Resumption(Channel::Data) => f.write_str("data.resumption"),
        }
    }
}

impl Metric {
    fn parse(name: &str) -> Option<Self> {
        match name {
            "rate" => return Some(Self::Rate),
            "errors" => return Some(Self::Errors),
            "abandoned" => return Some(Self::Abandoned),
            "error_share" => return Some(Self::ErrorShare),
            "resumption" | "control.resumption" => {
                return Some(Self::Resumption(Channel::Control));
            }
            "data.resumption" => return Some(Self::Resumption(Channel::Data)),
            _ => {}
        }
        // A percentile may hold a point itself, so the phase ends at the first one that names one.
        let (phase, statistic) = match name.split_once('.') {
            Some((phase, statistic)) if Phase::from_name(phase).is_some() => {
                (Phase::from_name(phase)?, statistic)
            }
            _ => (Phase::Operation, name),
        };
        let statistic = match statistic {
            "min" => Statistic::Min,
            "mean" => Statistic::Mean,
            "max" => Statistic::Max,
            _ => {
                let percentile = number(statistic.strip_prefix('p')?)?;
                (0.0..=100.0).contains(&percentile).then_some(Statistic::Percentile(percentile))?
            }
        };
        Some(Self::Latency(phase, statistic))
    }

    /// The limit in the metric's base unit: ns, 1/s, a count, a share of 1.
    fn parse_limit(self, text: &str) -> Result<f64, &'static str> {
        match self {
            Self::Latency(..) => duration_ns(text).ok_or("a time with its unit, as 50ms"),
            Self::Rate => number(text.strip_suffix("/s").unwrap_or(text).trim_end())
                .ok_or("operations a second, as 1000/s"),
            Self::Errors | Self::Abandoned => number(text)
                .filter(|count| count.fract() == 0.0)
                .ok_or("a whole number, or a share as 1%"),
            Self::ErrorShare | Self::Resumption(_) => match text.strip_suffix('%') {
                Some(percent) => number(percent.trim_end()).map(|percent| percent / 100.0),
                None => number(text),
            }
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or("a share, as 1% or 0.01"),
        }
    }

    /// What `result` says, in the base unit; `None` when it was not measured.
    fn value(self, result: &RunResult) -> Option<f64> {
        let totals = &result.totals;
        match self {
            Self::Latency(phase, statistic) => {
                let summary = &result.phase(phase)?.corrected;
                Some(match statistic {
                    Statistic::Percentile(percentile) => {
                        summary.decode()?.percentile(percentile) as f64
                    }
                    Statistic::Min => summary.min_ns as f64,
                    Statistic::Mean => summary.mean_ns as f64,
                    Statistic::Max => summary.max_ns as f64,
                })
            }
            Self::Rate => Some(totals.operations_per_s),
            Self::Errors => Some(totals.errors as f64),
            Self::Abandoned => Some(totals.abandoned as f64),
            Self::ErrorShare => {
                (totals.operations + totals.errors > 0).then_some(totals.error_share)
            }
            Self::Resumption(channel) => {
                let counts = result.resumption_on(channel);
                (counts.handshakes > 0).then_some(counts.share)
            }
        }
    }

    fn format(self, value: f64) -> String {
        match self {
            Self::Latency(..) => format::duration_ns(value),
            Self::Rate => format!("{}/s", format::count(value)),
            Self::Errors | Self::Abandoned => format::count(value),
            Self::ErrorShare | Self::Resumption(_) => format::share(value),
        }
    }
}

impl Relation {
    /// Two-character signs first, so that `<=` is not read as `<` and a value beginning with `=`.
    const ALL: [(&'static str, Self); 6] = [
        ("<=", Self::LessOrEqual),
        (">=", Self::GreaterOrEqual),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        (">", Self::Greater),
        ("=", Self::Equal),
    ];

    fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(_, relation)| *relation == self).map_or("", |(sign, _)| *sign)
    }

    #[expect(clippy::float_cmp, reason = "counts and shares of counts are exact; `=` is literal")]
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::LessOrEqual => value <= limit,
            Self::Greater => value > limit,
            Self::GreaterOrEqual => value >= limit,
            Self::Equal => value == limit,
            Self::NotEqual => value != limit,
        }
    }
}

fn parse_condition(text: &str) -> Result<Condition, ObjectiveError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ObjectiveError::Empty);
    }
    let at =
        text.find(['<', '>', '=', '!']).ok_or_else(|| ObjectiveError::Relation(text.to_owned()))?;
    let (name, rest) = text.split_at(at);
    let (sign, relation) = Relation::ALL
        .into_iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .ok_or_else(|| ObjectiveError::Relation(text.to_owned()))?;
    let name = name.trim_end();
    let value = rest[sign.len()..].trim_start();
    let metric = Metric::parse(name).ok_or_else(|| ObjectiveError::Metric(name.to_owned()))?;
    let metric = match metric {
        Metric::Errors if value.ends_with('%') => Metric::ErrorShare,
        metric => metric,
    };
    let limit = metric.parse_limit(value).map_err(|wanted| ObjectiveError::Value {
        metric: name.to_owned(),
        value: value.to_owned(),
        wanted,
    })?;
    Ok(Condition { metric, relation, limit })
}

/// A non-negative decimal number: digits and at most one point, nothing else (no sign, no
/// exponent, no `inf`).
fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (plain && text.starts_with(|first: char| first.is_ascii_digit())).then_some(())?;
    text.parse().ok()
}

/// Exact, in the largest unit not above it.
fn duration_text(nanoseconds: f64) -> String {
    let (scale, unit) = [(1e9, "s"), (1e6, "ms"), (1e3, "us")]
        .into_iter()
        .find(|(scale, _)| nanoseconds >= *scale)
        .unwrap_or((1.0, "ns"));
    format!("{}{unit}", nanoseconds / scale)
}

fn duration_ns(text: &str) -> Option<f64> {
    let unit_at = text.find(|character: char| character.is_alphabetic())?;
    let (value, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ns" => 1.0,
        // U+00B5 micro sign and U+03BC Greek mu look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return None,
    };
    Some(number(value.trim_end())? * scale)
}

#[cfg(test)]
mod tests {
    use super::{Objective, ObjectiveError};

    #[track_caller]
    fn check_parse(text: &str, normalised: &str) {
        let objective: Objective = text.parse().unwrap();
        assert_eq!(objective.to_string(), normalised);
        assert_eq!(normalised.parse::<Objective>().unwrap(), objective, "and reads back the same");
    }

    #[test]
    fn conditions_are_read_as_written() {
        for (text, normalised) in [
            ("p99<50ms,errors=0", "p99<50ms,errors=0"),
            (" p99.9 <= 1.5 s , max<2s", "p99.9<=1.5s,max<2s"),
            ("tls_handshake.p99<20ms", "tls_handshake.p99<20ms"),
            ("login.p99.9>=200us", "login.p99.9>=200us"),
            ("operation.mean<5µs", "mean<5us"),
            ("min>9ns", "min>9ns"),
            ("rate>1000/s", "rate>1000/s"),
            ("rate>1000", "rate>1000/s"),
            ("error_share<1%", "error_share<1%"),
            ("error_share<0.25", "error_share<25%"),
            ("errors>50%", "error_share>50%"),
            ("resumption>=90%", "resumption>=90%"),
            ("control.resumption=100%", "resumption=100%"),
            ("data.resumption!=0", "data.resumption!=0%"),
            ("abandoned=0", "abandoned=0"),
        ] {
            check_parse(text, normalised);
        }
    }

    #[test]
    fn what_is_no_objective_is_refused_with_its_part() {
        type Check = fn(&ObjectiveError) -> bool;
        let empty: Check = |error| *error == ObjectiveError::Empty;
        let relation: Check = |error| matches!(error, ObjectiveError::Relation(_));
        let metric: Check = |error| matches!(error, ObjectiveError::Metric(_));
        let value: Check = |error| matches!(error, ObjectiveError::Value { .. });
        for (text, kind) in [
            ("", empty),
            ("p99<50ms,", empty),
            (",p99<50ms", empty),
            ("p99", relation),
            ("p99!50ms", relation),
            ("p101<1s", metric),
            ("p<1s", metric),
            ("pinf<1s", metric),
            ("p-1<1s", metric),
            ("speed>3", metric),
            ("nophase.p99<1s", metric),
            ("P99<1s", metric),
            ("<50ms", metric),
            ("p99<50", value),
            ("p99<50 parsecs", value),
            ("p99<-1ms", value),
            ("p99<1e3ms", value),
            ("p99==50ms", value),
            ("p99<infs", value),
            ("rate>1000/m", value),
            ("errors=0.5", value),
            ("errors<101%", value),
            ("abandoned<1%", value),
            ("error_share<2", value),
            ("resumption>101%", value),
        ] {
            let error = text.parse::<Objective>().unwrap_err();
            assert!(kind(&error), "{text}: {error:?}");
        }
    }
}
