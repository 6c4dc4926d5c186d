//! What tests of the runtime share: a shard to run on, a deadline, and counting descriptors.

use std::{future::Future, time::Duration};

use super::{spawn_shard, timeout_at};
use crate::{clock, sys::cpu};

/// Runs `main` on a shard of its own; fails after ten seconds.
#[track_caller]
pub(crate) fn on_shard<F, T>(main: impl FnOnce() -> F + Send + 'static) -> T
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let cpu = cpu::available()[0];
    spawn_shard("test", cpu, 4, move || async move {
        let deadline = clock::now() + Duration::from_secs(10);
        timeout_at(deadline, main()).await.expect("the test did not end in time")
    })
    .unwrap()
    .join()
    .unwrap()
}

/// Whether `condition` becomes true within two seconds.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = clock::now() + Duration::from_secs(2);
    while !condition() {
        if clock::now() > deadline {
            return false;
        }
        pause(2).await;
    }
    true
}

/// Lets `milliseconds` pass on the shard.
pub(crate) async fn pause(milliseconds: u64) {
    super::sleep_until(clock::now() + Duration::from_millis(milliseconds)).await;
}
