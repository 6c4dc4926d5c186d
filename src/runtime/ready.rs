//! Waiting for a descriptor that is not read from: a listening socket, an epoll instance.

use std::{future::poll_fn, os::fd::AsFd};

use super::Watched;

/// Returns when `descriptor` has something for its owner, or was shut down.
///
/// The wait is on a duplicate: the executor polls a descriptor for reading as soon as it adopts it,
/// and tries to read before it polls again. So each wait is the first, and may be dropped at any
/// time.
///
/// # Errors
///
/// Those of dup(2).
pub(super) async fn ready(descriptor: impl AsFd) -> rustix::io::Result<()> {
    let watched = Watched::new(rustix::io::fcntl_dupfd_cloexec(descriptor, 0)?);
    // It cannot be read, so this ends in an error when it is ready.
    let _ = poll_fn(|cx| watched.poll_readable(cx)).await;
    Ok(())
}
