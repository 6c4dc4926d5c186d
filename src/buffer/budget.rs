//! A number of things a shard may have at once, whoever has them.

use std::cell::Cell;
use std::rc::Rc;

/// So many shares and no more. Clones share them.
#[derive(Clone, Debug)]
pub struct Budget(Rc<Cell<usize>>);

/// One of a [`Budget`]'s shares; given back when it is dropped.
#[derive(Debug)]
pub struct Share(Budget);

impl Budget {
    /// A budget of `shares`.
    #[must_use]
    pub fn new(shares: usize) -> Self {
        Self(Rc::new(Cell::new(shares)))
    }

    /// A share; `None` when all are taken.
    #[must_use]
    pub fn take(&self) -> Option<Share> {
        self.0.set(self.0.get().checked_sub(1)?);
        Some(Share(self.clone()))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let left = &self.0.0;
        left.set(left.get() + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_so_many_and_takes_them_back() {
        let budget = Budget::new(2);
        let (first, second) = (budget.take(), budget.take());
        assert!(first.is_some() && second.is_some() && budget.take().is_none());
        drop(first);
        let again = budget.take();
        assert!(again.is_some() && budget.take().is_none());
    }
}
