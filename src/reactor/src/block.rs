//! Memory that is lent to the kernel: owned, page-aligned, and returned to where it came from.

use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::rc::Rc;

/// Memory for an operation, aligned to [`Block::ALIGNMENT`] at its beginning, as `O_DIRECT` asks.
///
/// An operation owns its block until its completion has come. Who gives the operation up does not
/// get the block back; it goes [home](Home) then, and not before the kernel is done with it.
// Behind a pointer: what an operation is, without a block, is what an idle connection costs.
pub struct Block(Box<Memory>);

struct Memory {
    octets: Vec<u8>,
    start: usize,
    len: usize,
    home: Option<Rc<dyn Home>>,
}

/// Where blocks come from, and go when they are dropped: by their owner, or by the ring at the end
/// of an operation that was given up.
pub trait Home {
    /// Takes back the memory that [`Block::of`] was given. It may be of use again at once.
    fn take_back(&self, memory: Vec<u8>);
}

impl Block {
    /// What the address of the first octet is a multiple of: a page, and as much as any logical
    /// block of a disk in use.
    pub const ALIGNMENT: usize = 4096;

    /// `len` octets, all zero.
    #[must_use]
    pub fn new(len: usize) -> Self {
        Self::aligned(vec![0; len + Self::ALIGNMENT - 1], len, None)
    }

    /// What is aligned of `memory`, which goes back to `home` at the end: at most
    /// [`Block::ALIGNMENT`] − 1 octets less.
    #[must_use]
    pub fn of(memory: Vec<u8>, home: Rc<dyn Home>) -> Self {
        Self::aligned(memory, usize::MAX, Some(home))
    }

    /// What of `part` is inside of the block.
    pub(crate) fn part(&mut self, part: &Range<usize>) -> &mut [u8] {
        let end = part.end.min(self.0.len);
        &mut self[part.start.min(end)..end]
    }

    /// `len` octets without alignment, for memory that the kernel writes a number to.
    pub(crate) fn small(len: usize) -> Self {
        Self(Box::new(Memory { octets: vec![0; len], start: 0, len, home: None }))
    }

    fn aligned(memory: Vec<u8>, len: usize, home: Option<Rc<dyn Home>>) -> Self {
        // The address of a vector's memory is that of the vector for its life, wherever it moves.
        let start = memory.as_ptr().align_offset(Self::ALIGNMENT).min(memory.len());
        let len = len.min(memory.len() - start);
        Self(Box::new(Memory { octets: memory, start, len, home }))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(home) = self.0.home.take() {
            home.take_back(std::mem::take(&mut self.0.octets));
        }
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.octets[self.0.start..][..self.0.len]
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        let Memory { octets, start, len, .. } = &mut *self.0;
        &mut octets[*start..][..*len]
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("len", &self.0.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[derive(Default)]
    struct Shelf(RefCell<Vec<Vec<u8>>>);

    impl Home for Shelf {
        fn take_back(&self, memory: Vec<u8>) {
            self.0.borrow_mut().push(memory);
        }
    }

    #[test]
    fn a_block_is_aligned_wherever_it_moves() {
        for len in [0, 1, 4096, 10_000] {
            let mut block = Block::new(len);
            assert_eq!((block.len(), block.iter().all(|octet| *octet == 0)), (len, true));
            let address = block.as_ptr().addr();
            assert_eq!(address % Block::ALIGNMENT, 0);
            block.fill(7);
            let moved = Box::new(block);
            assert_eq!(moved.as_ptr().addr(), address);
        }
    }

    #[test]
    fn a_block_goes_home_whole() {
        let shelf = Rc::new(Shelf::default());
        for memory in [vec![1; 3 * 4096], vec![1; 10], Vec::new()] {
            let len = memory.len();
            let block = Block::of(memory, shelf.clone());
            assert!(block.len() <= len && block.len() + Block::ALIGNMENT > len);
            drop(block);
            assert_eq!(shelf.0.borrow_mut().pop().unwrap().len(), len);
        }
    }
}
