//! How many octets one wait of an upload is for. Decides only; the caller sets the socket's option.
//!
//! A client that is fast, but slower than the shard, would wake the task for every segment or two,
//! and each wake-up costs as much as the data it brings. While [`UPLOAD_LOW_WATER_BYTES`] arrive
//! within [`UPLOAD_PATIENCE`], waits are for that many octets. A wait that times out takes what has
//! arrived, and later waits are for one octet again.

use std::time::Instant;

use crate::limits::{UPLOAD_LOW_WATER_BYTES, UPLOAD_PATIENCE};

/// The low-water mark of one upload.
pub(crate) struct LowWater {
    raised: bool,
    /// Since when `octets` arrived.
    since: Instant,
    octets: usize,
}

impl LowWater {
    /// For an upload that begins: waits are for one octet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { raised: false, since: now, octets: 0 }
    }

    /// Whether waits are for [`UPLOAD_LOW_WATER_BYTES`], and for no longer than
    /// [`UPLOAD_PATIENCE`].
    pub(crate) const fn is_raised(&self) -> bool {
        self.raised
    }

    /// `octets` arrived. True when the mark was raised by that.
    pub(crate) fn took(&mut self, octets: usize, now: Instant) -> bool {
        self.octets += octets;
        if self.raised || self.octets < UPLOAD_LOW_WATER_BYTES {
            return false;
        }
        self.raised = now - self.since <= UPLOAD_PATIENCE;
        self.begin(now);
        self.raised
    }

    /// The wait timed out, or the socket refused the mark: waits are for one octet again.
    pub(crate) fn lower(&mut self, now: Instant) {
        self.raised = false;
        self.begin(now);
    }

    const fn begin(&mut self, now: Instant) {
        self.since = now;
        self.octets = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::time::Duration;

    #[test]
    fn only_for_those_who_are_fast() {
        let start = clock::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut mark = LowWater::new(start);
        // What the beginning takes is forgotten with the first octets.
        assert!(!mark.took(UPLOAD_LOW_WATER_BYTES, at(100)));
        assert!(!mark.took(UPLOAD_LOW_WATER_BYTES - 1, at(101)));
        assert!(mark.took(1, at(102)) && mark.is_raised());
        assert!(!mark.took(UPLOAD_LOW_WATER_BYTES, at(103)) && mark.is_raised());
        mark.lower(at(200));
        assert!(!mark.is_raised());
        assert!(!mark.took(UPLOAD_LOW_WATER_BYTES, at(206)));
        assert!(mark.took(UPLOAD_LOW_WATER_BYTES, at(211)));
    }
}
