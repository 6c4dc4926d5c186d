//! Data connections that outlive their transfer, because the client may still have to read and is
//! to close first. Each costs a descriptor, so their number is bounded: beyond it, the connection
//! kept longest is closed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::limits::KEPT_CONNECTIONS_PER_SHARD_MAX;
use crate::metrics::{Gauge, Held};
use crate::runtime::Flag;

/// The kept connections of a shard, in the order they came.
#[derive(Default)]
pub(crate) struct Kept(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    crowded_out: BTreeMap<u64, Flag>,
}

/// A kept connection, until it is dropped.
pub(crate) struct KeptConnection {
    kept: Rc<RefCell<Inner>>,
    number: Cell<u64>,
    crowded_out: Flag,
    _counted: Held,
}

impl KeptConnection {
    /// Adds a connection to `kept`, counted by `gauge`.
    pub(crate) fn new(kept: &Kept, gauge: &Gauge) -> Self {
        let kept = kept.0.clone();
        let crowded_out = Flag::new();
        let number = Cell::new(kept.borrow_mut().add(&crowded_out));
        Self { kept, number, crowded_out, _counted: gauge.hold() }
    }

    /// Returns when this connection has to go for later ones.
    pub(crate) async fn crowded_out(&self) {
        self.crowded_out.wait().await;
    }

    /// Exempts this connection from eviction, while a permit bounds it instead.
    pub(crate) fn stay(&self) {
        self.kept.borrow_mut().crowded_out.remove(&self.number.get());
    }

    /// Ends the exemption of [`KeptConnection::stay`]; the connection counts as the newest.
    pub(crate) fn stay_no_longer(&self) {
        self.number.set(self.kept.borrow_mut().add(&self.crowded_out));
    }
}

impl Drop for KeptConnection {
    fn drop(&mut self) {
        self.stay();
    }
}

impl Inner {
    fn add(&mut self, crowded_out: &Flag) -> u64 {
        if self.crowded_out.len() >= KEPT_CONNECTIONS_PER_SHARD_MAX
            && let Some((_, oldest)) = self.crowded_out.pop_first()
        {
            oldest.set();
        }
        let number = self.next;
        self.next += 1;
        self.crowded_out.insert(number, crowded_out.clone());
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut kept = Inner::default();
        let flags: Vec<_> = (0..KEPT_CONNECTIONS_PER_SHARD_MAX).map(|_| Flag::new()).collect();
        for flag in &flags {
            kept.add(flag);
        }
        kept.crowded_out.remove(&0);
        let number = kept.add(&Flag::new());
        assert_eq!(number, KEPT_CONNECTIONS_PER_SHARD_MAX as u64);
        assert!(flags.iter().all(|flag| !flag.is_set()), "there was room");
        kept.add(&Flag::new());
        let gone: Vec<_> = flags.iter().map(Flag::is_set).collect();
        assert!(!gone[0] && gone[1] && !gone[2], "one that is bounded otherwise stays");
        assert_eq!(kept.crowded_out.len(), KEPT_CONNECTIONS_PER_SHARD_MAX);
    }
}
