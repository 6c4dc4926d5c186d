//! The only read of the clock.

use std::time::Instant;

/// Now, by the monotonic clock.
#[must_use]
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    Instant::now()
}
