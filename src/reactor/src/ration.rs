//! The time that one queue may take beside another that is to be favoured. Pure.
//!
//! Shares alone do not do it: the tasks of a favoured queue wait for input between two steps, and
//! each time the other queue would have the thread to itself, for a step that may be much longer
//! than the wait.

use std::time::{Duration, Instant};

/// What a queue may take in a turn: `percent` of the time that it and the favoured queue take
/// together, or the whole turn where the favoured queue is quiet.
#[derive(Debug)]
pub(crate) struct Ration {
    /// The queue that is favoured.
    pub(crate) favoured: u32,
    percent: u8,
    /// What the favoured queue has taken since it was quiet.
    load: Duration,
    /// When it last had something to do.
    last: Option<Instant>,
    /// Nanoseconds earned and not taken, or, below zero, taken in advance.
    balance: i64,
    /// When the favoured queue counts as quiet if it has nothing to do until then; none while
    /// there is something to take.
    pub(crate) held_until: Option<Instant>,
}

impl Ration {
    /// `percent` is 1 to 99.
    pub(crate) fn new(favoured: u32, percent: u8) -> Self {
        let percent = percent.clamp(1, 99);
        let (load, last, balance, held_until) = (Duration::ZERO, None, 0, None);
        Self { favoured, percent, load, last, balance, held_until }
    }

    /// Whether the favoured queue has had nothing to do for `span` before this turn.
    pub(crate) fn rested(&self, now: Instant, span: Duration) -> bool {
        self.last.is_none_or(|last| now.saturating_duration_since(last) >= span)
    }

    /// The time for a turn of length `budget` that begins `now`, after one in which the favoured
    /// queue has taken `favoured` and the other one `taken`. `waiting`: the favoured queue has
    /// tasks that are ready.
    pub(crate) fn renew(
        &mut self,
        now: Instant,
        (favoured, waiting): (Duration, bool),
        taken: Duration,
        budget: Duration,
    ) -> Duration {
        self.load += favoured;
        if waiting || !favoured.is_zero() {
            self.last = Some(now);
        }
        let quiet_at = self.last.map_or(now, |last| last + PATIENCE);
        self.held_until = None;
        if !waiting && quiet_at <= now {
            self.load = Duration::ZERO;
        }
        if !waiting && self.load < LOAD {
            self.balance = 0;
            return budget;
        }
        let signed = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let percent = i64::from(self.percent);
        let earned = signed(favoured).saturating_mul(percent) / (100 - percent);
        let balance = self.balance.saturating_add(earned).saturating_sub(signed(taken));
        self.balance = balance.clamp(-signed(DEBT_MAX), signed(budget));
        let allowed = Duration::from_nanos(u64::try_from(self.balance).unwrap_or(0));
        self.held_until = allowed.is_zero().then_some(quiet_at);
        allowed
    }
}

/// Less time than this is a step or two, as a session that ends, and not a load.
const LOAD: Duration = Duration::from_micros(150);

/// How soon a task under load is ready again: the time of its client to take what was sent and say
/// what is next.
const PATIENCE: Duration = Duration::from_micros(50);

/// A step may be longer than what is left: the rest is taken from later turns, up to this bound.
const DEBT_MAX: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns without a gap between them: microseconds taken by the favoured queue and by the other
    /// one before each, and those allowed then, of 250 at most.
    #[track_caller]
    fn check(percent: u8, waiting: bool, turns: &[(u64, u64, u64)]) {
        let mut ration = Ration::new(0, percent);
        let mut now = crate::clock::now();
        for (number, turn) in turns.iter().enumerate() {
            let [favoured, taken, expected] = [turn.0, turn.1, turn.2].map(Duration::from_micros);
            now += favoured + taken;
            let budget = Duration::from_micros(250);
            let allowed = ration.renew(now, (favoured, waiting), taken, budget);
            assert_eq!(allowed, expected, "turn {number}");
            let held = ration.held_until.is_some();
            assert_eq!(held, expected.is_zero(), "turn {number}");
        }
    }

    #[test]
    fn beside_a_quiet_queue_it_is_the_whole_turn() {
        check(10, false, &[(0, 0, 250), (0, 250, 250), (149, 300, 250), (0, 5_000, 250)]);
        check(10, false, &[(70, 0, 250), (70, 0, 250), (0, 120, 250), (149, 120, 250)]);
    }

    #[test]
    fn beside_a_busy_queue_it_is_the_percentage() {
        let turns = [(900, 0, 100), (900, 100, 100), (900, 300, 0), (900, 0, 0), (900, 0, 100)];
        check(10, false, &turns);
        check(10, true, &turns);
        let turns = [(100, 0, 100), (100, 100, 100), (100, 300, 0), (100, 0, 0), (100, 0, 100)];
        check(50, true, &turns);
    }

    /// Turns may be short: what counts is whether more is waiting behind them.
    #[test]
    fn beside_a_busy_queue_with_short_turns_too() {
        let (first, paying) = ([(36, 0, 4), (36, 120, 0)], [(36, 0, 0); 27]);
        check(10, true, &[&first[..], &paying, &[(36, 0, 0), (36, 0, 4)]].concat());
    }

    #[test]
    fn neither_what_is_earned_nor_what_is_owed_is_without_bounds() {
        check(50, true, &[(10_000, 0, 250), (100, 90_000, 0), (2_100, 0, 100)]);
    }

    /// A favoured queue that works and waits: short waits are waited for, long ones are not.
    #[test]
    fn a_load_that_pauses_is_waited_for() {
        let mut ration = Ration::new(0, 10);
        let (start, budget) = (crate::clock::now(), Duration::from_micros(250));
        let at = |micros| start + Duration::from_micros(micros);
        let span = Duration::from_micros;
        assert_eq!(ration.renew(at(200), (span(180), false), span(200), budget), span(0));
        assert_eq!(ration.held_until, Some(at(250)));
        assert_eq!(ration.renew(at(220), (span(0), false), span(0), budget), span(0));
        assert_eq!(ration.held_until, Some(at(250)));
        assert_eq!(ration.renew(at(250), (span(0), false), span(0), budget), budget);
        assert_eq!(ration.held_until, None);
        // What was owed is forgotten with the load.
        assert_eq!(ration.renew(at(400), (span(180), false), span(0), budget), span(20));
    }
}
