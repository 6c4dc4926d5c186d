//! How much of an upload one wait is for. Decides; the socket is the caller's.
//!
//! A client that is fast, but not as fast as the shard, would wake the task for every segment or
//! two, and each wake-up costs as much as it brings. While it brings [`UPLOAD_LOW_WATER_BYTES`] in
//! less than [`UPLOAD_PATIENCE`], waits are for as many. The wait that did not get them in that
//! time is the last of these, and what is there is taken.

use std::time::Instant;

use crate::limits::{UPLOAD_LOW_WATER_BYTES, UPLOAD_PATIENCE};

/// One upload's mark.
pub(crate) struct LowWater {
    raised: bool,
    /// Since when so many octets came.
    since: Instant,
    octets: usize,
}

impl LowWater {
    /// For an upload that begins; waits are for one octet.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { raised: false, since: now, octets: 0 }
    }

    /// Whether waits are for [`UPLOAD_LOW_WATER_BYTES`], and for no longer than
    /// [`UPLOAD_PATIENCE`].
    pub(crate) const fn is_raised(&self) -> bool {
        self.raised
    }

    /// `octets` came. True when the mark is raised by that.
    pub(crate) fn took(&mut self, octets: usize, now: Instant) -> bool {
        self.octets += octets;
        if self.raised || self.octets < UPLOAD_LOW_WATER_BYTES {
            return false;
        }
        self.raised = now - self.since <= UPLOAD_PATIENCE;
        self.begin(now);
        self.raised
    }

    /// They did not come in time, or the socket refused: waits are for one octet again.
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
