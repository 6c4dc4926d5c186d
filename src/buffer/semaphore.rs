//! A counting semaphore of one shard, which never waits.

use std::cell::Cell;
use std::rc::Rc;

/// A number of permits. Clones share them.
#[derive(Clone, Debug)]
pub struct Semaphore(Rc<Cell<usize>>);

/// A permit of a [`Semaphore`]; given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Semaphore);

impl Semaphore {
    /// A semaphore with this many permits.
    #[must_use]
    pub fn new(permits: usize) -> Self {
        Self(Rc::new(Cell::new(permits)))
    }

    /// A permit; `None` when all are taken.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Permit> {
        self.0.set(self.0.get().checked_sub(1)?);
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let left = &self.0.0;
        left.set(left.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_bounded_and_come_back() {
        let semaphore = Semaphore::new(2);
        let (first, second) = (semaphore.try_acquire(), semaphore.try_acquire());
        assert!(first.is_some() && second.is_some() && semaphore.try_acquire().is_none());
        drop(first);
        let again = semaphore.try_acquire();
        assert!(again.is_some() && semaphore.try_acquire().is_none());
    }
}
