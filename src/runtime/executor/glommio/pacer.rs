//! Turns for work that must not starve the rest of the shard: a bounded slice between two polls for
//! input, and a bounded share of the time when another queue is busy. Knows nothing of the work.
//!
//! The executor alone would run every task that is ready before it polls for input again, and a
//! flood of connections makes hundreds ready at once. Its own remedy, a preemption timer, must not
//! be that short: when it fires before the first task of a round, the executor goes to sleep with
//! tasks ready.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Queue, Task, end_turn, sleep_until};
use crate::clock;
use crate::runtime::{Flag, Notify, yield_now};

/// Slice length: work between two polls for input. A poll costs some microseconds.
const SLICE: Duration = Duration::from_micros(250);

/// Slice length while favoured tasks receive input, which would wait for the rest of a slice: one
/// expensive step, or a few cheap ones.
const SHORT_SLICE: Duration = Duration::from_micros(40);

/// How long slices stay short after a favoured task last received input.
const SHORT_AFTER_INPUT: Duration = Duration::from_millis(100);

/// As [`crate::runtime::Pacer`].
#[derive(Debug)]
pub(in crate::runtime) struct Pacer {
    inner: Rc<Inner>,
    _task: Task<()>,
}

#[derive(Debug)]
struct Inner {
    state: RefCell<State>,
    /// A turn was taken, or a task waits for one.
    work: Notify,
}

#[derive(Debug)]
struct State {
    /// When the first turn since the last poll began.
    since: Option<Instant>,
    waiting: VecDeque<Flag>,
    /// When a favoured task last received input.
    last_input: Option<Instant>,
    credit: Credit,
}

impl Pacer {
    /// For the tasks of `paced`, which give way to those of `favoured`: they get `percent` of the
    /// time of a shard that `favoured` would fill.
    pub(in crate::runtime) fn new(paced: Queue, favoured: Queue, percent: u8) -> Self {
        let credit = Credit::new(percent);
        let state = State { since: None, waiting: VecDeque::new(), last_input: None, credit };
        let inner = Rc::new(Inner { state: RefCell::new(state), work: Notify::new() });
        let task = paced.spawn(run(inner.clone(), paced, favoured));
        Self { inner, _task: task }
    }

    /// A favoured task received input: slices are short for a while, so that further input is found
    /// soon.
    pub(in crate::runtime) fn note_input(&self) {
        self.inner.state.borrow_mut().last_input = Some(clock::now());
    }

    /// Returns when the calling task may do one step of its work, in the order of the calls. May be
    /// dropped at any time.
    pub(in crate::runtime) async fn turn(&self) {
        let turn = {
            let mut state = self.inner.state.borrow_mut();
            let now = clock::now();
            let since = *state.since.get_or_insert(now);
            if state.waiting.is_empty() && now - since < state.slice(now) {
                None
            } else {
                let turn = Flag::new();
                state.waiting.push_back(turn.clone());
                Some(turn)
            }
        };
        self.inner.work.notify();
        if let Some(turn) = turn {
            turn.wait().await;
        }
    }
}

impl State {
    fn slice(&self, now: Instant) -> Duration {
        match self.last_input {
            Some(last_input) if now - last_input < SHORT_AFTER_INPUT => SHORT_SLICE,
            _ => SLICE,
        }
    }
}

async fn run(inner: Rc<Inner>, paced: Queue, favoured: Queue) {
    loop {
        inner.work.notified().await;
        loop {
            end_turn();
            // Not reached before the executor has polled for input.
            sleep_until(clock::now() + Duration::from_micros(1)).await;
            let (used, taken) = (favoured.take_runtime(), paced.take_runtime());
            let start = clock::now();
            let allowance = {
                let mut state = inner.state.borrow_mut();
                state.since = None;
                let slice = state.slice(start);
                state.credit.poll(used, taken, slice)
            };
            while clock::now() - start < allowance {
                let next = {
                    let mut state = inner.state.borrow_mut();
                    let next = state.waiting.pop_front();
                    if next.is_some() {
                        state.since = Some(start);
                    }
                    next
                };
                let Some(turn) = next else { break };
                turn.set();
                // The queue is first in, first out: the task runs before this one does again.
                yield_now().await;
            }
            if inner.state.borrow().waiting.is_empty() {
                break;
            }
        }
    }
}

/// The time that paced work may take. Pure.
#[derive(Debug)]
struct Credit {
    percent: u8,
    nanoseconds: i64,
}

impl Credit {
    fn new(percent: u8) -> Self {
        Self { percent: percent.clamp(1, 99), nanoseconds: 0 }
    }

    /// Time for paced work until the next poll, `slice` at most, after `favoured` and `paced` work
    /// since the last one. When there was hardly any favoured work, paced work need not give way.
    fn poll(&mut self, favoured: Duration, paced: Duration, slice: Duration) -> Duration {
        if favoured < QUIET {
            self.nanoseconds = 0;
            return slice;
        }
        let signed = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let percent = i64::from(self.percent);
        let earned = signed(favoured).saturating_mul(percent) / (100 - percent);
        let balance = self.nanoseconds.saturating_add(earned).saturating_sub(signed(paced));
        self.nanoseconds = balance.clamp(-signed(DEBT_MAX), signed(slice));
        Duration::from_nanos(u64::try_from(self.nanoseconds).unwrap_or(0))
    }
}

/// Less favoured work than this between two polls is a command or two, not a shard at its limit.
const QUIET: Duration = Duration::from_micros(50);

/// A step, such as an RSA signature, may overrun its slice; the overrun is charged to later slices,
/// up to this bound.
const DEBT_MAX: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls: microseconds of favoured and of paced work before each, and the microseconds allowed
    /// after it.
    #[track_caller]
    fn check(percent: u8, polls: &[(u64, u64, u64)]) {
        check_slices(percent, SLICE, polls);
    }

    #[track_caller]
    fn check_slices(percent: u8, slice: Duration, polls: &[(u64, u64, u64)]) {
        let mut credit = Credit::new(percent);
        for (number, (favoured, paced, expected)) in polls.iter().enumerate() {
            let [favoured, paced] = [favoured, paced].map(|span| Duration::from_micros(*span));
            let allowed = credit.poll(favoured, paced, slice);
            assert_eq!(allowed, Duration::from_micros(*expected), "poll {number}");
        }
    }

    #[test]
    fn alone_it_gets_slices() {
        check(10, &[(0, 0, 250), (0, 250, 250), (49, 300, 250), (0, 5000, 250)]);
    }

    #[test]
    fn beside_busy_sessions_it_gets_its_share() {
        check(10, &[(900, 0, 100), (900, 100, 100), (900, 300, 0), (900, 0, 0), (900, 0, 100)]);
        check(50, &[(100, 0, 100), (100, 100, 100), (100, 300, 0), (100, 0, 0), (100, 0, 100)]);
    }

    #[test]
    fn short_slices_are_the_most_there_is() {
        check_slices(10, SHORT_SLICE, &[(0, 0, 40), (9_000, 0, 40), (90, 40, 10), (0, 500, 40)]);
    }

    #[test]
    fn neither_credit_nor_debt_is_for_ever() {
        check(50, &[(10_000, 0, 250), (100, 90_000, 0), (2_100, 0, 100), (0, 0, 250)]);
    }

    #[test]
    fn a_quiet_spell_clears_the_books() {
        check(10, &[(900, 2_000, 0), (0, 0, 250), (90, 0, 10)]);
    }
}
