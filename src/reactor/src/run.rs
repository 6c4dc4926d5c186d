//! A task as the executor has it.

use crate::queues::Lane;

/// What the executor knows of a task.
pub(crate) trait Run {
    /// Polls the future; true when the task has ended.
    fn run(&self) -> bool;

    /// Drops the future, now or, when it is being polled, after that.
    fn end(&self);

    /// Its queue and group.
    fn lane(&self) -> Lane;

    /// From its next wait on.
    fn set_lane(&self, lane: Lane);
}
