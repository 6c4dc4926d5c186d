//! A line of tasks, of which the first goes ahead until it steps out. Knows nothing of their work.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::Flag;

/// A line within one shard. Clones are the same line.
#[derive(Clone, Debug, Default)]
pub struct Line(Rc<RefCell<VecDeque<Flag>>>);

/// One who stands in a [`Line`] at times; steps out when dropped.
#[derive(Debug)]
pub struct Member {
    line: Line,
    /// Set while it is the first.
    first: Flag,
    inside: bool,
}

impl Line {
    /// Somebody who does not stand in line yet.
    #[must_use]
    pub fn member(&self) -> Member {
        Member { line: self.clone(), first: Flag::new(), inside: false }
    }
}

impl Member {
    /// Stands in line, behind the others unless it does so already, and returns when it is the
    /// first: how many stand there then, itself included. May be dropped at any time; the place is
    /// kept.
    pub async fn be_first(&mut self) -> usize {
        if !self.inside {
            self.inside = true;
            let mut line = self.line.0.borrow_mut();
            if line.is_empty() {
                self.first.set();
            }
            line.push_back(self.first.clone());
        }
        self.first.wait().await;
        self.line.0.borrow().len()
    }

    /// Leaves the line, and says whether it stood there; who is first then may go.
    pub fn step_out(&mut self) -> bool {
        if !std::mem::take(&mut self.inside) {
            return false;
        }
        self.first.reset();
        let next = {
            let mut line = self.line.0.borrow_mut();
            line.retain(|other| !other.is(&self.first));
            line.front().cloned()
        };
        if let Some(next) = next {
            next.set();
        }
        true
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.step_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{poll_once, testing::on_shard};

    /// Three members: the first of the line, and two who wait.
    async fn three() -> [Member; 3] {
        let line = Line::default();
        let [mut a, mut b, mut c] = [(); 3].map(|()| line.member());
        assert_eq!(a.be_first().await, 1);
        assert_eq!(poll_once(b.be_first()).await, None);
        assert_eq!(poll_once(c.be_first()).await, None);
        [a, b, c]
    }

    #[test]
    fn one_at_a_time_in_the_order_of_asking() {
        on_shard(|| async {
            let [mut a, mut b, mut c] = three().await;
            assert_eq!(a.be_first().await, 3);
            assert!(a.step_out());
            assert_eq!(poll_once(a.be_first()).await, None);
            assert_eq!(poll_once(c.be_first()).await, None);
            b.be_first().await;
            drop(b);
            c.be_first().await;
            assert!(c.step_out());
            assert_eq!(a.be_first().await, 1);
            assert!(a.step_out() && !a.step_out());
            assert!(a.line.0.borrow().is_empty());
        });
    }

    #[test]
    fn who_is_dropped_while_waiting_holds_up_nobody() {
        on_shard(|| async {
            let [mut a, b, mut c] = three().await;
            drop(b);
            assert_eq!(poll_once(c.be_first()).await, None);
            // Told to go, and dropped before it went.
            let mut d = a.line.member();
            assert_eq!(poll_once(d.be_first()).await, None);
            a.step_out();
            drop(c);
            d.be_first().await;
        });
    }
}
