//! Whose password is checked next. Addresses take turns, and so do the names tried from one
//! address, so that a flood of wrong passwords from one address costs the others one turn.
//! Addresses that sent a wrong password lately (suspects) are served after all others, one check at
//! a time in all; a suspect with many failures pauses after each check. Sans-io: events and time
//! in, the next [`CheckId`] out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::auth::ClientNetwork;
use crate::limits::{FAILING_NETWORKS_MAX, LOGINS_WAITING_MAX, LOGINS_WAITING_PER_NETWORK_MAX};

/// One password check, from its arrival to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckId(u64);

/// Too many checks wait already: the client is told to come back (421).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// The checks of one shard. Each step takes logarithmic time, except for a check that leaves before
/// its turn: it is searched for among the addresses and among the checks of its name.
#[derive(Debug)]
pub(crate) struct Turns {
    running_max: usize,
    next: u64,
    waiting: BTreeMap<ClientNetwork, WaitingChecks>,
    /// The addresses of `waiting` in the order of their turns, except `suspects` and `paused`.
    /// Some may have become suspects since they were put here.
    turns: VecDeque<ClientNetwork>,
    /// The suspects of `waiting`, in the order of their turns.
    suspects: VecDeque<ClientNetwork>,
    /// Checks of other addresses that have begun since the last one of a suspect, while suspects
    /// waited.
    passed: u32,
    /// The suspects of `waiting` that pause, and when each pause ends.
    paused: BTreeSet<(Instant, ClientNetwork)>,
    /// The address and name of each waiting check.
    places: BTreeMap<CheckId, (ClientNetwork, Name)>,
    running: BTreeMap<CheckId, Running>,
    failing: Failures,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    network: ClientNetwork,
    suspect: bool,
}

/// Hash of a user name: names may be long, and many may wait. Names with equal hashes share one
/// turn.
type Name = u64;

/// The waiting checks of one address.
#[derive(Debug, Default)]
struct WaitingChecks {
    by_name: BTreeMap<Name, VecDeque<CheckId>>,
    turns: VecDeque<Name>,
    count: usize,
}

impl Turns {
    /// At most `running_max` checks at a time, at least 1.
    pub(crate) fn new(running_max: usize) -> Self {
        Self {
            running_max: running_max.max(1),
            next: 0,
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            suspects: VecDeque::new(),
            passed: 0,
            paused: BTreeSet::new(),
            places: BTreeMap::new(),
            running: BTreeMap::new(),
            failing: Failures::default(),
        }
    }

    /// A client of `network` sent a password for `name`; the check waits until [`Turns::poll`]
    /// returns it.
    /// [`Turns::leave`] or [`Turns::finished`] must follow.
    ///
    /// # Errors
    ///
    /// [`TooMany`] checks wait: of this address, or in all. In the latter case an address without a
    /// waiting check may still add one.
    pub(crate) fn arrive(
        &mut self,
        network: ClientNetwork,
        name: Name,
        now: Instant,
    ) -> Result<CheckId, TooMany> {
        let of_network = self.waiting.get(&network).map_or(0, |line| line.count);
        let full = self.places.len() >= LOGINS_WAITING_MAX && of_network > 0;
        if full || of_network >= LOGINS_WAITING_PER_NETWORK_MAX {
            return Err(TooMany);
        }
        let id = CheckId(self.next);
        self.next += 1;
        if of_network == 0 {
            self.queue(network, now);
        }
        self.waiting.entry(network).or_default().push(name, id);
        self.places.insert(id, (network, name));
        Ok(id)
    }

    /// A check stops waiting.
    pub(crate) fn leave(&mut self, id: CheckId) {
        let Some((network, name)) = self.places.remove(&id) else { return };
        let Some(line) = self.waiting.get_mut(&network) else { return };
        line.remove(name, id);
        if line.count == 0 {
            self.waiting.remove(&network);
            self.turns.retain(|turn| *turn != network);
            self.suspects.retain(|turn| *turn != network);
            self.paused.retain(|(_, paused)| *paused != network);
        }
    }

    /// A check that [`Turns::poll`] returned has ended; `wrong` is its result.
    pub(crate) fn finished(&mut self, id: CheckId, wrong: bool, now: Instant) {
        let Some(Running { network, .. }) = self.running.remove(&id) else { return };
        if wrong {
            self.failing.note(network, now);
        }
        self.failing.pause(network, now);
    }

    /// The next check that may begin. Call until it gives none, after each event and at
    /// [`Turns::poll_timeout`].
    pub(crate) fn poll(&mut self, now: Instant) -> Option<CheckId> {
        if self.running.len() >= self.running_max {
            return None;
        }
        while let Some((due, network)) = self.paused.first().copied()
            && due <= now
        {
            self.paused.remove(&(due, network));
            self.suspects.push_back(network);
        }
        let (network, suspect) = self.next_network(now)?;
        let line = self.waiting.get_mut(&network)?;
        let id = line.pop()?;
        if line.count == 0 {
            self.waiting.remove(&network);
        } else {
            self.queue(network, now);
        }
        self.places.remove(&id);
        self.running.insert(id, Running { network, suspect });
        Some(id)
    }

    /// When the next pause ends, if only that delays a check.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.running.len() >= self.running_max {
            return None;
        }
        self.paused.first().map(|(due, _)| *due)
    }

    /// Whether a pause delays the next check of `network` at `now`.
    pub(crate) fn is_delayed(&self, network: ClientNetwork, now: Instant) -> bool {
        self.failing.not_before(network).is_some_and(|due| due > now)
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.places.len()
    }

    /// Puts an address at the end of the queue of suspects or of that of the others.
    fn queue(&mut self, network: ClientNetwork, now: Instant) {
        let failed = self.failing.any(network, now);
        let turns = if failed { &mut self.suspects } else { &mut self.turns };
        turns.push_back(network);
    }

    /// Takes the address whose turn it is, and whether it is a suspect. Suspects also get a turn
    /// among the others now and then: good clients may share an address with a bad one.
    fn next_network(&mut self, now: Instant) -> Option<(ClientNetwork, bool)> {
        let turn_of_suspect = self.passed >= SUSPECTS_PASSED_MAX;
        let mut next = if turn_of_suspect { self.next_suspect(now) } else { None };
        if next.is_none()
            && let Some(network) = self.next_unsuspected(now)
        {
            self.passed = if self.suspects.is_empty() { 0 } else { self.passed.saturating_add(1) };
            return Some((network, false));
        }
        next = next.or_else(|| self.next_suspect(now));
        self.passed = 0;
        Some((next?, true))
    }

    /// Takes the next address that is no suspect; moves suspects it meets to their own queue.
    fn next_unsuspected(&mut self, now: Instant) -> Option<ClientNetwork> {
        while let Some(network) = self.turns.pop_front() {
            if !self.failing.any(network, now) {
                return Some(network);
            }
            self.suspects.push_back(network);
        }
        None
    }

    /// Takes the next suspect, unless a suspect's check is running. Suspects that pause go to
    /// `paused`; those limited to one check at a time whose check is running keep their places (no
    /// more of them than may run).
    fn next_suspect(&mut self, now: Instant) -> Option<ClientNetwork> {
        if self.running.values().filter(|running| running.suspect).count() >= SUSPECTS_RUNNING_MAX {
            return None;
        }
        let mut passed_over = Vec::new();
        let mut next = None;
        while let Some(network) = self.suspects.pop_front() {
            if self.is_running(network) && self.failing.are_many(network, now) {
                passed_over.push(network);
            } else if let Some(due) = self.failing.not_before(network).filter(|due| *due > now) {
                self.paused.insert((due, network));
            } else {
                next = Some(network);
                break;
            }
        }
        for network in passed_over.into_iter().rev() {
            self.suspects.push_front(network);
        }
        next
    }

    fn is_running(&self, network: ClientNetwork) -> bool {
        self.running.values().any(|running| running.network == network)
    }
}

impl WaitingChecks {
    fn push(&mut self, name: Name, id: CheckId) {
        if !self.by_name.contains_key(&name) {
            self.turns.push_back(name);
        }
        self.by_name.entry(name).or_default().push_back(id);
        self.count += 1;
    }

    fn pop(&mut self) -> Option<CheckId> {
        let name = self.turns.pop_front()?;
        let of_name = self.by_name.get_mut(&name)?;
        let id = of_name.pop_front()?;
        self.count -= 1;
        if of_name.is_empty() {
            self.by_name.remove(&name);
        } else {
            self.turns.push_back(name);
        }
        Some(id)
    }

    fn remove(&mut self, name: Name, id: CheckId) {
        let Some(of_name) = self.by_name.get_mut(&name) else { return };
        let before = of_name.len();
        of_name.retain(|other| *other != id);
        self.count -= before - of_name.len();
        if of_name.is_empty() {
            self.by_name.remove(&name);
            self.turns.retain(|turn| *turn != name);
        }
    }
}

/// Recent wrong passwords, by address. Bounded: the address quiet for longest is forgotten first.
#[derive(Debug, Default)]
struct Failures {
    records: BTreeMap<ClientNetwork, Record>,
    by_last: BTreeSet<(Instant, ClientNetwork)>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    count: u32,
    last: Instant,
    not_before: Option<Instant>,
}

impl Record {
    fn count_at(&self, now: Instant) -> u32 {
        let forgotten = now.saturating_duration_since(self.last).as_secs() / FORGET_SECONDS;
        self.count.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}

impl Failures {
    fn note(&mut self, network: ClientNetwork, now: Instant) {
        let old = self.records.get(&network).copied();
        if let Some(old) = old {
            self.by_last.remove(&(old.last, network));
        } else if self.records.len() >= FAILING_NETWORKS_MAX
            && let Some((_, quiet)) = self.by_last.pop_first()
        {
            self.records.remove(&quiet);
        }
        let count = old.map_or(0, |old| old.count_at(now)).saturating_add(1).min(COUNT_MAX);
        self.records.insert(network, Record { count, last: now, not_before: None });
        self.by_last.insert((now, network));
    }

    fn pause(&mut self, network: ClientNetwork, now: Instant) {
        if let Some(record) = self.records.get_mut(&network) {
            record.not_before = pause_after(record.count_at(now)).map(|pause| now + pause);
        }
    }

    fn not_before(&self, network: ClientNetwork) -> Option<Instant> {
        self.records.get(&network)?.not_before
    }

    fn any(&self, network: ClientNetwork, now: Instant) -> bool {
        self.count(network, now) > 0
    }

    fn are_many(&self, network: ClientNetwork, now: Instant) -> bool {
        pause_after(self.count(network, now)).is_some()
    }

    fn count(&self, network: ClientNetwork, now: Instant) -> u32 {
        self.records.get(&network).map_or(0, |record| record.count_at(now))
    }
}

/// The pause before the next check of an address with this many recent failures.
fn pause_after(failures: u32) -> Option<Duration> {
    let doublings = failures.checked_sub(FREE + 1)?;
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    Some(PAUSE_MIN.saturating_mul(factor).min(PAUSE_MAX))
}

/// Checks of suspects at a time, of all together: a good log-in from elsewhere shares the CPU with
/// one of them at most.
const SUSPECTS_RUNNING_MAX: usize = 1;

/// Checks of others that go before one of a suspect; so suspects get at least a fifth of the turns.
const SUSPECTS_PASSED_MAX: u32 = 4;

/// Recent failures without a pause: people mistype, and several people share an address.
const FREE: u32 = 5;

/// The pause after the first failure beyond [`FREE`]; each further failure doubles it.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause: others at the same address still get one check in two seconds.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Seconds in which one failure is forgotten; all of them are after less than three minutes.
const FORGET_SECONDS: u64 = 10;

/// Failures counted at most; a few more than lead to [`PAUSE_MAX`].
const COUNT_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use Event::{Arrive, Leave, Right, Time, Wrong};

    const A: Name = 1;
    const B: Name = 2;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// Last octet of the address, and the name.
        Arrive(u8, Name),
        Leave(u64),
        Right(u64),
        Wrong(u64),
        Time,
    }

    fn network(last: u8) -> ClientNetwork {
        ClientNetwork::of([192, 0, 2, last].into())
    }

    /// One line of a story: milliseconds, event, and the checks that begin after it. They are
    /// numbered in the order they arrive.
    #[track_caller]
    fn check(running_max: usize, story: &[(u64, Event, &[u64])]) {
        let start = crate::clock::now();
        let mut turns = Turns::new(running_max);
        for (line, (at, event, expected)) in story.iter().enumerate() {
            let now = start + Duration::from_millis(*at);
            match *event {
                Arrive(last, name) => {
                    turns.arrive(network(last), name, now).unwrap();
                }
                Leave(id) => turns.leave(CheckId(id)),
                Right(id) => turns.finished(CheckId(id), false, now),
                Wrong(id) => turns.finished(CheckId(id), true, now),
                Time => {}
            }
            let begun: Vec<_> = std::iter::from_fn(|| turns.poll(now)).map(|id| id.0).collect();
            assert_eq!(&begun, expected, "line {line} of the story: {event:?}");
            assert!(turns.poll_timeout().is_none_or(|due| due > now), "line {line}: due before");
            let waiting: usize = turns.waiting.values().map(|line| line.count).sum();
            let networks = turns.turns.len() + turns.suspects.len() + turns.paused.len();
            assert_eq!((turns.waiting(), networks), (waiting, turns.waiting.len()));
        }
    }

    #[test]
    fn addresses_take_turns_and_so_do_names() {
        check(
            1,
            &[
                (0, Arrive(1, A), &[0]),
                (0, Arrive(1, A), &[]),
                (0, Arrive(1, A), &[]),
                (0, Arrive(1, B), &[]),
                (0, Arrive(2, A), &[]),
                (1, Right(0), &[1]),
                (2, Right(1), &[4]),
                (3, Right(4), &[3]),
                (4, Right(3), &[2]),
                (5, Right(2), &[]),
            ],
        );
    }

    #[test]
    fn who_goes_away_makes_room_for_the_next() {
        check(
            2,
            &[
                (0, Arrive(1, A), &[0]),
                (0, Arrive(1, A), &[1]),
                (0, Arrive(1, A), &[]),
                (0, Arrive(2, A), &[]),
                (1, Leave(2), &[]),
                (2, Right(1), &[3]),
                (2, Leave(99), &[]),
                (3, Right(0), &[]),
            ],
        );
    }

    #[test]
    fn many_failures_mean_one_check_at_a_time_and_a_growing_pause() {
        let mut story: Vec<(u64, Event, &[u64])> = vec![
            (0, Arrive(1, A), &[0]),
            (0, Wrong(0), &[]),
            (0, Arrive(1, A), &[1]),
            (0, Wrong(1), &[]),
            (0, Arrive(1, A), &[2]),
            (0, Wrong(2), &[]),
            (0, Arrive(1, A), &[3]),
            (0, Wrong(3), &[]),
            (0, Arrive(1, A), &[4]),
            (0, Wrong(4), &[]),
        ];
        story.extend_from_slice(&[
            (0, Arrive(1, A), &[5]),
            (0, Wrong(5), &[]),
            // The sixth costs 50 ms, to this address alone.
            (10, Arrive(1, A), &[]),
            (10, Arrive(1, B), &[]),
            (20, Arrive(2, A), &[8]),
            (49, Time, &[]),
            // One at a time, though three may run.
            (50, Time, &[6]),
            (60, Wrong(6), &[]),
            (159, Time, &[]),
            (160, Time, &[7]),
            // A right one does not end the pause, and is none itself.
            (170, Right(7), &[]),
            (180, Arrive(1, A), &[]),
            (269, Time, &[]),
            (270, Time, &[9]),
            (280, Right(9), &[]),
            // What is two failures is forgotten, so that there is no pause; and then all of them.
            (20_400, Arrive(1, A), &[10]),
            (20_400, Arrive(1, A), &[]),
            (20_410, Right(10), &[11]),
            (20_420, Right(11), &[]),
            (71_000, Arrive(1, A), &[12]),
            (71_000, Arrive(1, A), &[13]),
        ]);
        check(3, &story);
    }

    /// However many addresses guess, the first password from another is checked at once, and has
    /// one of their checks beside it.
    #[test]
    fn addresses_that_failed_are_behind_all_others() {
        let mut story: Vec<(u64, Event, &[u64])> = vec![
            (0, Arrive(1, A), &[0]),
            (0, Arrive(2, A), &[1]),
            (0, Arrive(3, A), &[2]),
            (0, Arrive(1, A), &[]),
            (0, Arrive(2, A), &[]),
            (0, Arrive(3, A), &[]),
            (1, Wrong(0), &[4]),
            (2, Wrong(1), &[5]),
            // Of those that failed one, though two more may run: 4 and 5 began before.
            (3, Wrong(2), &[3]),
        ];
        story.extend_from_slice(&[
            (4, Wrong(4), &[]),
            (5, Wrong(5), &[]),
            (6, Arrive(2, A), &[]),
            (6, Arrive(3, A), &[]),
            (7, Arrive(4, A), &[8]),
            (8, Arrive(5, A), &[9]),
            (9, Arrive(6, A), &[]),
            (10, Wrong(3), &[10]),
            (11, Right(8), &[6]),
            (12, Leave(7), &[]),
        ]);
        check(3, &story);
    }

    /// Good clients may share an address with one that fails: a fifth of the turns.
    #[test]
    fn addresses_that_failed_have_turns_too() {
        let mut story: Vec<(u64, Event, &[u64])> =
            vec![(0, Arrive(1, A), &[0]), (1, Wrong(0), &[]), (2, Arrive(9, A), &[1])];
        story.extend((10..16).map(|last| (3, Arrive(last, A), &[][..])));
        story.push((3, Arrive(1, A), &[]));
        story.extend_from_slice(&[
            (4, Right(1), &[2]),
            (4, Right(2), &[3]),
            (4, Right(3), &[4]),
            (4, Right(4), &[5]),
            (4, Right(5), &[8]),
            (4, Right(8), &[6]),
            (4, Right(6), &[7]),
        ]);
        check(1, &story);
    }

    #[test]
    fn pauses() {
        let pause = |failures| pause_after(failures).map(|pause| pause.as_millis());
        assert_eq!([0, 5].map(pause), [None, None]);
        assert_eq!([6, 7, 8].map(pause), [Some(50), Some(100), Some(200)]);
        assert_eq!([12, COUNT_MAX, u32::MAX].map(pause), [Some(2000); 3]);
    }

    #[test]
    fn queues_and_tables_are_bounded() {
        let now = crate::clock::now();
        let mut turns = Turns::new(1);
        for _ in 0..LOGINS_WAITING_PER_NETWORK_MAX {
            turns.arrive(network(1), A, now).unwrap();
        }
        assert_eq!(turns.arrive(network(1), B, now), Err(TooMany));
        turns.arrive(network(2), A, now).unwrap();
        for last in 3.. {
            if turns.waiting() >= LOGINS_WAITING_MAX {
                break;
            }
            while turns.waiting() < LOGINS_WAITING_MAX
                && turns.arrive(network(last), A, now).is_ok()
            {}
        }
        assert_eq!(turns.arrive(network(2), A, now), Err(TooMany));
        // One of an address of which none waits always may.
        turns.arrive(network(255), A, now).unwrap();

        let mut failures = Failures::default();
        for n in 0..u32::try_from(FAILING_NETWORKS_MAX).unwrap() + 10 {
            let address = std::net::Ipv4Addr::from_bits(n);
            failures.note(ClientNetwork::of(address.into()), now + Duration::from_millis(n.into()));
        }
        assert_eq!(failures.records.len(), FAILING_NETWORKS_MAX);
        assert_eq!(failures.by_last.len(), FAILING_NETWORKS_MAX);
        assert!(!failures.records.contains_key(&ClientNetwork::of([0, 0, 0, 9].into())));
    }
}
