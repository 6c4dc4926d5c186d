//! How long a turn may run tasks before it looks for input.

use std::time::{Duration, Instant};

/// How long tasks run between two looks for input. A look costs nothing when nothing has come and
/// nothing is to be submitted, and a system call otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBudget {
    /// While no peer waits for an answer.
    pub quiet: Duration,
    /// While some do: the length of one expensive step, or a few cheap ones.
    pub busy: Duration,
    /// How long that is the case after [`crate::note_input`].
    pub busy_for: Duration,
}

impl TurnBudget {
    /// The budget of a turn that begins now.
    pub(crate) fn at(&self, now: Instant, last_input: Option<Instant>) -> Duration {
        let busy =
            last_input.is_some_and(|last| now.saturating_duration_since(last) < self.busy_for);
        if busy { self.busy } else { self.quiet }
    }
}

impl Default for TurnBudget {
    fn default() -> Self {
        let [quiet, busy] = [250, 40].map(Duration::from_micros);
        Self { quiet, busy, busy_for: Duration::from_millis(100) }
    }
}
