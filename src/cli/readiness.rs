//! Whether new sessions are welcome, for `/readyz`: a load balancer that asks takes the server out
//! of its rotation before it stops accepting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How far the server has come. It never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Not every shard serves yet.
    Starting,
    /// Every shard has begun to serve.
    Ready,
    /// The end has begun, whether or not connections are still accepted.
    Draining,
}

/// The stage, as all threads of the process know it; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Readiness(Arc<AtomicU8>);

impl Readiness {
    /// Every shard serves. Nothing, once the end has begun.
    pub(super) fn ready(&self) {
        self.0.fetch_max(Stage::Ready as u8, Ordering::AcqRel);
    }

    /// The end begins. Called before the shards are told, which stop accepting then.
    pub(super) fn draining(&self) {
        self.0.fetch_max(Stage::Draining as u8, Ordering::AcqRel);
    }

    pub(super) fn stage(&self) -> Stage {
        let stages = [Stage::Starting, Stage::Ready, Stage::Draining];
        stages[usize::from(self.0.load(Ordering::Acquire)).min(stages.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_comes_during_the_start_stays() {
        let (readiness, other) = (Readiness::default(), Readiness::default());
        let shared = readiness.clone();
        assert_eq!(readiness.stage(), Stage::Starting);
        shared.ready();
        assert_eq!(readiness.stage(), Stage::Ready);
        other.draining();
        other.ready();
        assert_eq!((readiness.stage(), other.stage()), (Stage::Ready, Stage::Draining));
    }
}
