//! How long a turn may run tasks before it looks for input.

use std::time::{Duration, Instant};

/// How long tasks run between two looks for input. A look costs nothing when nothing has come and
/// nothing is to be submitted, and a system call otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    /// While the queues that others are [rationed](crate::Queue::ration) for rest, and have for
    /// `busy_for`: what the others do is cheaper in long runs of steps that are alike, and whom
    /// they answer sleeps less often in between.
    pub alone: Duration,
    /// While they work, but no peer of theirs waits for an answer; always, without rations.
    pub quiet: Duration,
    /// While some do: the length of one expensive step, or a few cheap ones.
    pub busy: Duration,
    /// How long that is the case after [`crate::note_input`].
    pub busy_for: Duration,
}

impl TurnBudget {
    /// The budget of a turn that begins now; `resting`: the favoured queues are.
    pub(crate) fn at(&self, now: Instant, last_input: Option<Instant>, resting: bool) -> Duration {
        let busy =
            last_input.is_some_and(|last| now.saturating_duration_since(last) < self.busy_for);
        match (busy, resting) {
            (true, _) => self.busy,
            (false, true) => self.alone,
            (false, false) => self.quiet,
        }
    }
}

impl Default for TurnBudget {
    fn default() -> Self {
        let [alone, quiet, busy] = [2_000, 250, 40].map(Duration::from_micros);
        Self { alone, quiet, busy, busy_for: Duration::from_millis(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_short_as_the_most_urgent_needs_them() {
        let budget = TurnBudget::default();
        let then = crate::clock::now();
        let at =
            |millis, resting| budget.at(then + Duration::from_millis(millis), Some(then), resting);
        assert_eq!([at(99, false), at(99, true)], [budget.busy; 2]);
        assert_eq!([at(100, false), at(100, true)], [budget.quiet, budget.alone]);
        assert_eq!(
            [false, true].map(|resting| budget.at(then, None, resting)),
            [budget.quiet, budget.alone]
        );
    }
}
