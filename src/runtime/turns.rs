//! Turns of tasks, first in, first out: the first has the turn until it ends it. Knows nothing of
//! their work.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::Flag;

/// A queue for turns within one shard. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub struct Turns(Rc<RefCell<VecDeque<Flag>>>);

/// A task that takes [`Turns`]; ends its turn when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    /// Set while it is the first.
    first: Flag,
    queued: bool,
}

impl Turns {
    /// For a task that has not asked for a turn yet.
    #[must_use]
    pub fn join(&self) -> Turn {
        Turn { turns: self.clone(), first: Flag::new(), queued: false }
    }
}

impl Turn {
    /// Asks for a turn, unless it has or waits for one, and returns when it has it: how many tasks
    /// have asked by then, itself included. When the future is dropped, its place in the queue is
    /// kept.
    pub async fn come(&mut self) -> usize {
        if !self.queued {
            self.queued = true;
            let mut turns = self.turns.0.borrow_mut();
            if turns.is_empty() {
                self.first.set();
            }
            turns.push_back(self.first.clone());
        }
        self.first.wait().await;
        self.turns.0.borrow().len()
    }

    /// Ends the turn, or the wait for it; false when there was neither. The next task has the turn.
    pub fn end(&mut self) -> bool {
        if !std::mem::take(&mut self.queued) {
            return false;
        }
        self.first.reset();
        let next = {
            let mut turns = self.turns.0.borrow_mut();
            turns.retain(|other| !other.is(&self.first));
            turns.front().cloned()
        };
        if let Some(next) = next {
            next.set();
        }
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    /// Three tasks: the first has the turn, two wait.
    async fn three() -> [Turn; 3] {
        let turns = Turns::default();
        let [mut a, mut b, mut c] = [(); 3].map(|()| turns.join());
        assert_eq!(a.come().await, 1);
        assert_eq!(poll_once(b.come()).await, None);
        assert_eq!(poll_once(c.come()).await, None);
        [a, b, c]
    }

    #[test]
    fn one_at_a_time_in_the_order_of_asking() {
        on_shard(|| async {
            let [mut a, mut b, mut c] = three().await;
            assert_eq!(a.come().await, 3);
            assert!(a.end());
            assert_eq!(poll_once(a.come()).await, None);
            assert_eq!(poll_once(c.come()).await, None);
            b.come().await;
            drop(b);
            c.come().await;
            assert!(c.end());
            assert_eq!(a.come().await, 1);
            assert!(a.end() && !a.end());
            assert!(a.turns.0.borrow().is_empty());
        });
    }

    #[test]
    fn a_dropped_waiter_holds_up_none() {
        on_shard(|| async {
            let [mut a, b, mut c] = three().await;
            drop(b);
            assert_eq!(poll_once(c.come()).await, None);
            // Woken, and dropped before it ran.
            let mut d = a.turns.join();
            assert_eq!(poll_once(d.come()).await, None);
            a.end();
            drop(c);
            d.come().await;
        });
    }
}
