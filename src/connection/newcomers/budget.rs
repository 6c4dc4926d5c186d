//! How many TLS handshakes of control connections one shard has in progress, which wait for one to
//! end, and which is evicted. Sans-io: events and time in, [`Decision`]s out; nothing here knows a
//! socket or a task.
//!
//! A handshake is evicted only after its client had time to send the next flight: first those
//! without a ClientHello, oldest first; then the longest unfinished.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// One handshake, from its arrival to its end. Later handshakes have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HandshakeId(u64);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// This handshake has waited and gets a permit now.
    Admit(HandshakeId),
    /// This handshake is evicted, unless octets from its client are ready to be read; call
    /// [`HandshakeBudget::heard`] or [`HandshakeBudget::leave`].
    Evict(HandshakeId),
}

/// The handshakes of one shard. All operations take logarithmic time.
#[derive(Debug)]
pub(crate) struct HandshakeBudget {
    max: usize,
    next: u64,
    /// Handshakes without a ClientHello, by when they were admitted.
    silent: BTreeMap<HandshakeId, Instant>,
    /// Handshakes past the ClientHello, by when it came or the last eviction was cancelled.
    heard: BTreeMap<HandshakeId, Instant>,
    /// `heard`, ordered by time; arrival order can differ.
    heard_since: BTreeSet<(Instant, HandshakeId)>,
    /// Evicted handshakes that have not ended yet.
    evicted: BTreeSet<HandshakeId>,
    waiting: BTreeSet<HandshakeId>,
}

impl HandshakeBudget {
    /// At most `max` handshakes in progress, at least 1.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            next: 0,
            silent: BTreeMap::new(),
            heard: BTreeMap::new(),
            heard_since: BTreeSet::new(),
            evicted: BTreeSet::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// From now on at most `max` in progress, at least 1. Those above it go on.
    pub(crate) fn set_max(&mut self, max: usize) {
        self.max = max.max(1);
    }

    /// A handshake wants to begin: true if it may at once, else it waits for [`Decision::Admit`].
    /// [`Self::leave`] must follow in either case.
    pub(crate) fn arrive(&mut self, now: Instant) -> (HandshakeId, bool) {
        let id = HandshakeId(self.next);
        self.next += 1;
        let admitted = self.waiting.is_empty() && self.in_progress() < self.max;
        if admitted {
            self.silent.insert(id, now);
        } else {
            self.waiting.insert(id);
        }
        (id, admitted)
    }

    /// The ClientHello has arrived.
    pub(crate) fn heard(&mut self, id: HandshakeId, now: Instant) {
        if self.silent.remove(&id).is_some() || self.evicted.remove(&id) {
            self.heard.insert(id, now);
            self.heard_since.insert((now, id));
        }
    }

    /// The handshake has ended, however it did, or stops waiting.
    pub(crate) fn leave(&mut self, id: HandshakeId) {
        let _ = self.remove(id) || self.evicted.remove(&id) || self.waiting.remove(&id);
    }

    /// Whether it was in progress and not told to go.
    fn remove(&mut self, id: HandshakeId) -> bool {
        let heard = self.heard.remove(&id);
        heard.is_some_and(|since| self.heard_since.remove(&(since, id)))
            || self.silent.remove(&id).is_some()
    }

    /// The next thing to do, to be asked until there is none, after each event and at
    /// [`Self::poll_timeout`].
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Decision> {
        let first = *self.waiting.first()?;
        if self.in_progress() < self.max {
            self.waiting.remove(&first);
            self.silent.insert(first, now);
            return Some(Decision::Admit(first));
        }
        // One goes for each that waits.
        if self.evicted.len() >= self.waiting.len() {
            return None;
        }
        let (since_silent, since_heard) = self.oldest();
        let victim = [(since_silent, SILENT_GRACE), (since_heard, HALF_DONE_GRACE)]
            .into_iter()
            .find_map(|(oldest, grace)| oldest.filter(|(_, since)| *since + grace <= now))?
            .0;
        self.remove(victim);
        self.evicted.insert(victim);
        Some(Decision::Evict(victim))
    }

    /// When time alone makes a decision due; `None` while nobody waits.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.evicted.len() >= self.waiting.len() {
            return None;
        }
        let (silent, heard) = self.oldest();
        let silent = silent.map(|(_, since)| since + SILENT_GRACE);
        let heard = heard.map(|(_, since)| since + HALF_DONE_GRACE);
        silent.into_iter().chain(heard).min()
    }

    /// Who is the next to be admitted.
    pub(crate) fn next_waiting(&self) -> Option<HandshakeId> {
        self.waiting.first().copied()
    }

    /// Handshakes in progress.
    pub(crate) fn in_progress(&self) -> usize {
        self.silent.len() + self.heard.len() + self.evicted.len()
    }

    /// The oldest silent one, and the oldest that is half done, with their times.
    fn oldest(&self) -> (Option<Since>, Option<Since>) {
        let silent = self.silent.first_key_value().map(|(id, since)| (*id, *since));
        let heard = self.heard_since.first().map(|(since, id)| (*id, *since));
        (silent, heard)
    }
}

/// A handshake, and when it came to be as it is.
type Since = (HandshakeId, Instant);

/// A client sends its ClientHello as soon as it knows of the connection or of the 234: one round
/// trip, with room for a bad line. Only when others wait does anybody have to go that soon.
const SILENT_GRACE: Duration = Duration::from_millis(500);

/// The client's Finished takes another round trip and the client's own computing.
const HALF_DONE_GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Admit, Evict};
    use Event::{Arrive, Heard, Leave, Time};

    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// Admitted at once or not.
        Arrive(bool),
        Heard(u64),
        Leave(u64),
        Time,
    }

    const A: HandshakeId = HandshakeId(0);
    const B: HandshakeId = HandshakeId(1);
    const C: HandshakeId = HandshakeId(2);
    const D: HandshakeId = HandshakeId(3);

    /// One line of a story: milliseconds, event, and what is to be done after it. Connections are
    /// numbered in the order they arrive.
    #[track_caller]
    fn check(max: usize, story: &[(u64, Event, &[Decision])]) {
        let start = crate::clock::now();
        let mut budget = HandshakeBudget::new(max);
        for (line, (at, event, expected)) in story.iter().enumerate() {
            let now = start + Duration::from_millis(*at);
            match *event {
                Arrive(admitted) => assert_eq!(budget.arrive(now).1, admitted, "{line}"),
                Heard(id) => budget.heard(HandshakeId(id), now),
                Leave(id) => budget.leave(HandshakeId(id)),
                Time => {}
            }
            let decided: Vec<_> = std::iter::from_fn(|| budget.poll(now)).collect();
            assert_eq!(&decided, expected, "line {line} of the story: {event:?}");
            assert!(budget.in_progress() <= max, "line {line}: {} of {max}", budget.in_progress());
            if let Some(due) = budget.poll_timeout() {
                assert!(due > now, "line {line}: due in the past");
            }
        }
    }

    #[test]
    fn below_the_bound_nobody_waits_and_nobody_goes() {
        check(
            2,
            &[
                (0, Arrive(true), &[]),
                (0, Arrive(true), &[]),
                (90_000, Time, &[]),
                (0, Leave(0), &[]),
            ],
        );
    }

    #[test]
    fn who_waits_gets_in_when_somebody_ends_in_the_order_of_arrival() {
        check(
            1,
            &[
                (0, Arrive(true), &[]),
                (1, Heard(0), &[]),
                (2, Arrive(false), &[]),
                (3, Arrive(false), &[]),
                (4, Leave(0), &[Admit(B)]),
                // A free place does not go to a newcomer before one that waits.
                (5, Arrive(false), &[]),
                (6, Leave(1), &[Admit(C)]),
                (7, Leave(2), &[Admit(D)]),
            ],
        );
    }

    #[test]
    fn the_oldest_silent_one_goes_first_and_not_before_its_time() {
        check(
            2,
            &[
                (0, Arrive(true), &[]),
                (100, Arrive(true), &[]),
                (499, Arrive(false), &[]),
                (500, Time, &[Evict(A)]),
                // One goes for one that waits.
                (900, Time, &[]),
                (901, Arrive(false), &[Evict(B)]),
                (902, Leave(0), &[Admit(C)]),
                (903, Leave(1), &[Admit(D)]),
            ],
        );
    }

    #[test]
    fn silent_ones_go_before_older_ones_that_have_spoken() {
        check(
            2,
            &[
                (0, Arrive(true), &[]),
                (0, Heard(0), &[]),
                (3_000, Arrive(true), &[]),
                (3_600, Arrive(false), &[Evict(B)]),
                (3_601, Leave(1), &[Admit(C)]),
                (3_602, Arrive(false), &[Evict(A)]),
                (3_603, Leave(0), &[Admit(D)]),
            ],
        );
    }

    #[test]
    fn half_done_ones_have_two_seconds_from_their_hello() {
        check(
            1,
            &[
                (0, Arrive(true), &[]),
                (400, Heard(0), &[]),
                (600, Arrive(false), &[]),
                (2_399, Time, &[]),
                (2_400, Time, &[Evict(A)]),
                (2_401, Leave(0), &[Admit(B)]),
            ],
        );
    }

    /// One that came first and trickles does not shield those behind it.
    #[test]
    fn who_has_been_half_done_longest_goes_first_whoever_came_first() {
        check(
            2,
            &[
                (0, Arrive(true), &[]),
                (0, Arrive(true), &[]),
                (100, Heard(1), &[]),
                (450, Heard(0), &[]),
                (2_200, Arrive(false), &[Evict(B)]),
                (2_300, Arrive(false), &[]),
                (2_450, Time, &[Evict(A)]),
                // Its octets were there already.
                (2_460, Heard(0), &[]),
                (2_470, Leave(1), &[Admit(C)]),
                (2_480, Heard(2), &[]),
                (4_460, Time, &[Evict(A)]),
            ],
        );
    }

    /// Its octets were there already when it was told to go.
    #[test]
    fn one_that_speaks_after_all_is_spared_and_another_goes() {
        check(
            2,
            &[
                (0, Arrive(true), &[]),
                (0, Arrive(true), &[]),
                (600, Arrive(false), &[Evict(A)]),
                (601, Heard(0), &[Evict(B)]),
                (602, Leave(1), &[Admit(C)]),
                (603, Leave(0), &[]),
            ],
        );
    }

    #[test]
    fn one_that_stops_waiting_sends_nobody_away() {
        check(
            1,
            &[
                (0, Arrive(true), &[]),
                (100, Arrive(false), &[]),
                (200, Leave(1), &[]),
                (900, Time, &[]),
                (901, Leave(0), &[]),
                (902, Arrive(true), &[]),
            ],
        );
    }

    /// Whatever comes in whatever order: never more than the bound, and none forgotten.
    #[test]
    fn the_bound_holds_and_everybody_is_served() {
        let start = crate::clock::now();
        for seed in 1..200_u64 {
            let mut random = seed;
            let mut next = move |bound: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) % bound
            };
            let max = usize::try_from(1 + next(4)).unwrap();
            let mut budget = HandshakeBudget::new(max);
            let (mut inside, mut waiting) = (Vec::new(), Vec::new());
            for step in 0..300 {
                let now = start + Duration::from_millis(step * 100);
                match next(4) {
                    0 | 1 => {
                        let (id, admitted) = budget.arrive(now);
                        if admitted { &mut inside } else { &mut waiting }.push(id);
                    }
                    2 if !inside.is_empty() => {
                        let at = usize::try_from(next(inside.len() as u64)).unwrap();
                        budget.heard(inside[at], now);
                    }
                    3 if !inside.is_empty() => {
                        let at = usize::try_from(next(inside.len() as u64)).unwrap();
                        budget.leave(inside.remove(at));
                    }
                    _ => {}
                }
                while let Some(decision) = budget.poll(now) {
                    match decision {
                        Admit(id) => {
                            assert_eq!(waiting.remove(0), id, "seed {seed}");
                            inside.push(id);
                        }
                        Evict(id) => assert!(inside.contains(&id), "seed {seed}"),
                    }
                }
                assert_eq!(budget.in_progress(), inside.len(), "seed {seed}");
                assert!(inside.len() <= max, "seed {seed}");
                let idle = inside.len() < max && !waiting.is_empty();
                assert!(!idle, "seed {seed}: a place is free and somebody waits");
            }
        }
    }
}
