//! What ends a wait on a data connection early: ABOR, shutdown, a stall.

use std::io;
use std::time::{Duration, Instant};

use crate::clock;
use crate::protocol::session::TransferError;
use crate::runtime::{Flag, race, timeout_at};

/// The events that end a wait on the data connection early.
#[derive(Clone)]
pub(crate) struct Interrupts {
    /// ABOR came, or the control connection is gone.
    pub(crate) abort: Flag,
    /// The shutdown deadline of the shard has passed.
    pub(crate) cut: Flag,
    /// Longest time without an octet moved.
    pub(crate) stall: Duration,
}

impl Interrupts {
    /// Runs `work`, unless ABOR or shutdown comes first.
    pub(crate) async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, TransferError>>,
    ) -> Result<T, TransferError> {
        let aborted = async {
            self.abort.wait().await;
            Err(TransferError::Aborted)
        };
        let cut = async {
            self.cut.wait().await;
            Err(TransferError::Draining)
        };
        race(race(aborted, cut), work).await
    }

    /// As `guard`, for work that does not wait.
    pub(crate) fn check(&self) -> Result<(), TransferError> {
        match (self.abort.is_set(), self.cut.is_set()) {
            (true, _) => Err(TransferError::Aborted),
            (false, true) => Err(TransferError::Draining),
            (false, false) => Ok(()),
        }
    }

    /// Runs one step of socket work, which must move something within the stall timeout.
    pub(crate) async fn step<T>(
        &self,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, TransferError> {
        self.step_until(clock::now() + self.stall, work).await
    }

    /// As `step`, with a deadline that was set before.
    pub(crate) async fn step_until<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, TransferError> {
        let timed = async {
            match timeout_at(deadline, work).await {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(_)) => Err(TransferError::ConnectionLost),
                Err(_) => Err(TransferError::Stalled),
            }
        };
        self.guard(timed).await
    }
}
