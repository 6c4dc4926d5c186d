//! Deadlines. Times are given as instants, so that a deadline survives being waited for in parts.

use std::{future::Future, pin::pin, time::Instant};

/// Returns once `deadline` has passed.
pub async fn sleep_until(deadline: Instant) {
    #[cfg(test)]
    if let Some(simulation) = super::simulated::current() {
        return simulation.sleep_until(deadline).await;
    }
    super::executor::sleep_until(deadline).await;
}

/// Runs `future` until `deadline`. A result that is ready at the deadline wins.
///
/// # Errors
///
/// [`Elapsed`]; the future has then been dropped.
pub async fn timeout_at<T>(
    deadline: Instant,
    future: impl Future<Output = T>,
) -> Result<T, Elapsed> {
    // Pinned here: moved into the race, it would have room in each layer that it passes.
    let mut future = pin!(future);
    super::race(async { Ok(future.as_mut().await) }, async {
        sleep_until(deadline).await;
        Err(Elapsed)
    })
    .await
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time allowed for it has passed")]
pub struct Elapsed;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::runtime::testing::on_shard;
    use std::{future, time::Duration};

    #[test]
    fn deadlines() {
        on_shard(|| async {
            let start = clock::now();
            let late = start + Duration::from_millis(30);
            assert_eq!(timeout_at(late, future::pending::<()>()).await, Err(Elapsed));
            assert!(clock::now() >= late);
            assert_eq!(timeout_at(start, async { 7 }).await, Ok(7));
            assert_eq!(timeout_at(start, future::pending::<()>()).await, Err(Elapsed));
            sleep_until(start).await;
        });
    }
}
