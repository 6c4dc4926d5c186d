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
    scratch: Vec<u8>,
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

    /// Lends page-aligned memory of [`TRANSFER_BATCH_BYTES`] for the length of a call: every
    /// transfer needs it, but not while it waits. Its contents are those of the call before.
    pub fn with_scratch<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        // Taken out, so that a call within a call has memory of its own.
        let mut bytes = std::mem::take(&mut self.inner.borrow_mut().scratch);
        if bytes.is_empty() {
            bytes = vec![0; TRANSFER_BATCH_BYTES + PAGE_BYTES];
        }
        let start = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        let result = work(&mut bytes[start..][..TRANSFER_BATCH_BYTES]);
        self.inner.borrow_mut().scratch = bytes;
        result
    }

    /// Whether there are spare blocks for reading ahead.
    #[must_use]
    pub fn is_ample(&self) -> bool {
        self.lent() < TRANSFER_BLOCKS_PER_SHARD / 2
    }

    /// Whether the next block is a large one.
    #[must_use]
    pub fn has_large(&self) -> bool {
        self.lent() < TRANSFER_BLOCKS_PER_SHARD
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

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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

/// Reads from the page cache to misaligned memory were measured to cost up to 1.5 times as much.
const PAGE_BYTES: usize = 4096;

/// Idle blocks kept: 8 MiB per shard, for four uploads that gather blocks for writes of 1 MiB, or
/// two for those of 2 MiB.
const SPARE_BLOCKS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_starts_at_a_page_and_is_kept() {
        let pool = BlockPool::default();
        let first = pool.with_scratch(|scratch| {
            scratch.fill(1);
            assert!(pool.with_scratch(|inner| inner.iter().all(|&octet| octet == 0)));
            scratch.as_ptr().addr()
        });
        pool.with_scratch(|scratch| {
            assert_eq!((scratch.as_ptr().addr(), scratch[0]), (first, 1));
            assert_eq!((scratch.len(), first % PAGE_BYTES), (TRANSFER_BATCH_BYTES, 0));
        });
    }

    #[test]
    fn lends_large_then_small_and_takes_back() {
        let pool = BlockPool::default();
        let mut lent: Vec<Block> = (0..TRANSFER_BLOCKS_PER_SHARD).map(|_| pool.lease()).collect();
        assert!(lent.iter().all(|block| block.len() == TRANSFER_BATCH_BYTES));
        assert!(!pool.has_large());
        assert_eq!(pool.lease().len(), TRANSFER_BATCH_SMALL_BYTES);
        let mut away = lent.pop().unwrap();
        let bytes = away.take();
        assert!(away.is_empty());
        drop(away);
        assert_eq!(bytes.len(), TRANSFER_BATCH_BYTES);
        assert!(!pool.is_ample() && pool.has_large());
        drop(lent);
        assert!(pool.is_ample());
        assert_eq!(pool.lent(), 0);
        assert_eq!(pool.lease().len(), TRANSFER_BATCH_BYTES);
    }
}
