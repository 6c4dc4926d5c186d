//! What ends a run before its time: `--abort-on 'errors>50%'`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Metric, Objective};

/// A share of fewer operations says nothing, …
const OPERATIONS_MIN: u64 = 20;

/// … unless so much time has passed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Conditions on the failures so far; one that is true ends the run.
#[derive(Clone, Debug, PartialEq)]
pub struct AbortRule {
    text: String,
    objective: Objective,
}

impl AbortRule {
    /// Whether the run is to end, `elapsed` after its start.
    #[must_use]
    pub fn reached(&self, operations: u64, errors: u64, elapsed: Duration) -> bool {
        let all = operations + errors;
        let tells = all >= OPERATIONS_MIN || elapsed >= PATIENCE;
        self.objective.conditions.iter().any(|condition| match condition.metric {
            Metric::ErrorShare if all == 0 || !tells => false,
            Metric::ErrorShare => {
                condition.relation.holds(errors as f64 / all as f64, condition.limit)
            }
            _ => condition.relation.holds(errors as f64, condition.limit),
        })
    }
}

impl FromStr for AbortRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let objective: Objective = text.parse().map_err(|error| format!("{error}"))?;
        let other = objective
            .conditions
            .iter()
            .find(|condition| !matches!(condition.metric, Metric::Errors | Metric::ErrorShare));
        match other {
            Some(condition) => Err(format!(
                "`{condition}`: a run is aborted for its errors alone, as errors>50% or errors>100"
            )),
            None => Ok(Self { text: text.to_owned(), objective }),
        }
    }
}

impl fmt::Display for AbortRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::AbortRule;

    #[test]
    fn a_share_needs_some_operations_or_some_time() {
        let rule: AbortRule = "errors>50%,errors>100".parse().unwrap();
        let soon = Duration::from_millis(100);
        assert!(!rule.reached(0, 0, Duration::from_secs(9)));
        assert!(!rule.reached(0, 19, soon));
        assert!(rule.reached(0, 20, soon));
        assert!(rule.reached(0, 1, Duration::from_secs(1)));
        assert!(!rule.reached(10, 10, soon));
        assert!(rule.reached(1000, 101, soon), "a count needs neither");
    }

    #[test]
    fn other_metrics_are_refused() {
        for text in ["p99>1s", "rate<5", "errors>1,abandoned>1"] {
            assert!(text.parse::<AbortRule>().unwrap_err().contains("for its errors"), "{text}");
        }
        assert!("errors".parse::<AbortRule>().unwrap_err().contains("no relation"));
    }
}
