//! Which upload of a shard has the turn.
//!
//! The socket of a client that is as fast as the shard fills, by a MiB or more, while other uploads
//! are served. With one batch per upload in turn, data would have left the CPU's caches before it
//! is read: four uploads cost a quarter more (`benches/README.md`). So an upload keeps its turn
//! until its socket is empty, or for its share of a round. Its batches stay as short: everything
//! else on the shard runs between them, short uploads included.

use crate::limits::{TRANSFER_BATCH_BYTES, UPLOAD_ROUND_BYTES, UPLOAD_TURN_BYTES_MAX};
use crate::runtime::{Turn, Turns};

/// The turns of one upload.
pub(crate) struct UploadTurn {
    turn: Turn,
    /// Octets it may still receive before other uploads have their turn.
    left: usize,
}

impl UploadTurn {
    /// For an upload that begins; `turns` are the shard's. Its first batch does not wait for a
    /// turn.
    pub(crate) fn new(turns: &Turns) -> Self {
        Self { turn: turns.join(), left: TRANSFER_BATCH_BYTES }
    }

    /// Whether it has to wait for its next turn.
    pub(crate) const fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Returns when this upload has its next turn. May be dropped at any time.
    pub(crate) async fn come(&mut self) {
        self.left = turn_bytes(self.turn.come().await);
    }

    /// Counts `octets` received.
    pub(crate) fn took(&mut self, octets: usize) {
        self.left = self.left.saturating_sub(octets);
        if self.left == 0 {
            self.turn.end();
        }
    }

    /// Ends the turn before a wait for something else.
    pub(crate) fn pause(&mut self) {
        // The first batch never waits for a turn, so its remainder is kept.
        if self.turn.end() {
            self.left = 0;
        }
    }
}

/// Octets of one turn while `uploads` want turns.
fn turn_bytes(uploads: usize) -> usize {
    (UPLOAD_ROUND_BYTES / uploads.max(1)).clamp(TRANSFER_BATCH_BYTES, UPLOAD_TURN_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    #[test]
    fn a_round_is_shared() {
        assert_eq!(turn_bytes(1), UPLOAD_TURN_BYTES_MAX);
        assert_eq!(turn_bytes(4), UPLOAD_TURN_BYTES_MAX);
        assert_eq!(turn_bytes(64), UPLOAD_ROUND_BYTES / 64);
        assert_eq!(turn_bytes(100_000), TRANSFER_BATCH_BYTES);
    }

    #[test]
    fn short_uploads_wait_for_nobody_and_long_ones_for_a_share() {
        on_shard(|| async {
            let turns = Turns::default();
            let [mut long, mut other, mut short] = [(); 3].map(|()| UploadTurn::new(&turns));
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
