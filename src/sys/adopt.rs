//! Handing a descriptor over to a type of the executor's.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// Gives `fd` to a `W`, the executor's own type, which owns it from then on.
#[must_use]
pub fn adopt<W: FromRawFd>(fd: OwnedFd) -> W {
    // SAFETY: the descriptor is open and owned, and its ownership moves into `W`.
    unsafe { W::from_raw_fd(fd.into_raw_fd()) }
}
