//! Blocks for bulk data, owned by one shard and reused, so that a transfer allocates nothing per
//! turn.

use std::cell::RefCell;
use std::rc::Rc;

use crate::limits::{TRANSFER_BATCH_BYTES, TRANSFER_BATCH_SMALL_BYTES, TRANSFER_BLOCKS_PER_SHARD};

/// The shard's large blocks. Cloning shares the pool within the shard.
#[derive(Clone, Debug, Default)]
pub struct BlockPool {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    free: Vec<Vec<u8>>,
    lent: usize,
}

/// A block on loan. Large while the pool has one; small when it is exhausted, so that a slow client
/// holding a block can slow others down but never stop them.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
    pool: Option<BlockPool>,
}

impl BlockPool {
    /// Lends a block; never fails.
    #[must_use]
    pub fn lease(&self) -> Block {
        let mut inner = self.inner.borrow_mut();
        if inner.lent >= TRANSFER_BLOCKS_PER_SHARD {
            return Block { bytes: vec![0; TRANSFER_BATCH_SMALL_BYTES], pool: None };
        }
        inner.lent += 1;
        let bytes = inner.free.pop().unwrap_or_else(|| vec![0; TRANSFER_BATCH_BYTES]);
        Block { bytes, pool: Some(self.clone()) }
    }

    /// Large blocks on loan.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.inner.borrow().lent
    }
}

impl Block {
    /// The whole block.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The whole block.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Octets it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds nothing, as while its octets are with a helper thread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the octets out for a helper thread; [`Block::restore`] brings them back. A block
    /// dropped in between gives its place in the pool back all the same.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Puts octets taken out back in.
    pub fn restore(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some(pool) = &self.pool else { return };
        let mut inner = pool.inner.borrow_mut();
        inner.lent -= 1;
        // Idle memory is given back: a few spare blocks serve the next transfers.
        if self.bytes.len() == TRANSFER_BATCH_BYTES && inner.free.len() < SPARE_BLOCKS_MAX {
            inner.free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Blocks kept while nobody needs them: 4 MiB per shard.
const SPARE_BLOCKS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_large_then_small_and_takes_back() {
        let pool = BlockPool::default();
        let mut lent: Vec<Block> = (0..TRANSFER_BLOCKS_PER_SHARD).map(|_| pool.lease()).collect();
        assert!(lent.iter().all(|block| block.len() == TRANSFER_BATCH_BYTES));
        assert_eq!(pool.lease().len(), TRANSFER_BATCH_SMALL_BYTES);
        let mut away = lent.pop().unwrap();
        let bytes = away.take();
        assert!(away.is_empty());
        drop(away);
        assert_eq!(bytes.len(), TRANSFER_BATCH_BYTES);
        drop(lent);
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.lease().len(), TRANSFER_BATCH_BYTES);
    }
}
