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
    spawn_shard("test", cpu, move || async move {
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

/// Runs the test named `test` again in a process of its own, where descriptors can be counted and
/// limits set without disturbing others. True in that process.
#[track_caller]
pub(crate) fn alone(test: &str) -> bool {
    const CHILD: &str = "RINGFTPD_TEST_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

/// Descriptors this process has open.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
