//! Which upload of a shard goes ahead.
//!
//! The socket of a client that is as fast as the shard fills while others are served, by a MiB or
//! more. Were there one batch for each in turn, whatever is read would have left the CPU's caches
//! before: four uploads cost a quarter more (`benches/README.md`). So one goes on until its socket
//! is empty, or for its share of a round. Its batches stay as short: everything else of the shard
//! has its turn between them, short uploads included.

use crate::limits::{TRANSFER_BATCH_BYTES, UPLOAD_ROUND_BYTES, UPLOAD_TURN_BYTES_MAX};
use crate::runtime::{Line, Member};

/// One upload's part in this.
pub(crate) struct UploadTurn {
    member: Member,
    /// Octets it may still bring before others have their turn.
    left: usize,
}

impl UploadTurn {
    /// For an upload that begins; `line` is the shard's. Its first batch waits for nobody.
    pub(crate) fn new(line: &Line) -> Self {
        Self { member: line.member(), left: TRANSFER_BATCH_BYTES }
    }

    /// Whether it has to wait for its next turn.
    pub(crate) const fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Returns when this upload has its next turn. May be dropped at any time.
    pub(crate) async fn come(&mut self) {
        self.left = share(self.member.be_first().await);
    }

    /// Says that it brought `octets`.
    pub(crate) fn took(&mut self, octets: usize) {
        self.left = self.left.saturating_sub(octets);
        if self.left == 0 {
            self.member.step_out();
        }
    }

    /// Lets others go ahead before it waits for something else than its turn.
    pub(crate) fn pause(&mut self) {
        // What is left of the batch that waits for nobody stays.
        if self.member.step_out() {
            self.left = 0;
        }
    }
}

/// Octets of one turn while so many uploads want theirs.
fn share(uploads: usize) -> usize {
    (UPLOAD_ROUND_BYTES / uploads.max(1)).clamp(TRANSFER_BATCH_BYTES, UPLOAD_TURN_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    #[test]
    fn a_round_is_shared() {
        assert_eq!(share(1), UPLOAD_TURN_BYTES_MAX);
        assert_eq!(share(4), UPLOAD_TURN_BYTES_MAX);
        assert_eq!(share(64), UPLOAD_ROUND_BYTES / 64);
        assert_eq!(share(100_000), TRANSFER_BATCH_BYTES);
    }

    #[test]
    fn short_uploads_wait_for_nobody_and_long_ones_for_a_share() {
        on_shard(|| async {
            let line = Line::default();
            let [mut long, mut other, mut short] = [(); 3].map(|()| UploadTurn::new(&line));
            for turn in [&mut long, &mut other] {
                assert!(!turn.is_over());
                turn.took(TRANSFER_BATCH_BYTES);
                assert!(turn.is_over());
            }
            long.come().await;
            assert_eq!(poll_once(other.come()).await, None);
            short.took(TRANSFER_BATCH_BYTES - 1);
            short.pause();
            assert!(!short.is_over());
            // The share is used up: the other one goes ahead, and then this one again.
            long.took(UPLOAD_TURN_BYTES_MAX - 1);
            assert_eq!(poll_once(other.come()).await, None);
            assert!(!long.is_over());
            long.took(1);
            assert_eq!(poll_once(long.come()).await, None);
            other.come().await;
            // An empty socket: it stands behind the first again.
            other.pause();
            assert!(other.is_over());
            long.come().await;
            assert_eq!(poll_once(other.come()).await, None);
            drop(long);
            other.come().await;
        });
    }
}
