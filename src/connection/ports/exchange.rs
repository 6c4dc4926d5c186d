//! Passive ports move to the shard that needs them: one whose own are all taken asks the others,
//! one after the other, until one gives it some that are free. What moves is the right to a number:
//! the listener is always the receiver's own, so that a data connection reaches the shard of its
//! control connection, however the kernel spreads those. A port belongs to one shard, or to a
//! message on its way.
//!
//! Nobody waits for a shard that does not answer, and none gives away its last port, so that its
//! own sessions can always share that one; unless there are fewer ports than shards (`debts`).

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::debts::Payment;
use super::pool::PassivePorts;
use super::random_below;
use super::wants::MOVING_ADDRESSES_MAX;
use crate::clock;
use crate::runtime::remote::{RemoteInbox, RemoteReceiver, RemoteSender, channel};
use crate::runtime::{race, sleep_until, yield_if_needed};

/// So long a shard may take to answer before the next one is asked. What it gives later is taken
/// all the same.
const ANSWER_MAX: Duration = Duration::from_millis(20);

/// What shards tell one another about passive ports.
#[derive(Debug)]
enum Message {
    /// This shard needs more at this local address.
    Wanted { by: usize, at: IpAddr },
    /// The receiver's from now on; none, if this shard has none to spare.
    Given { by: usize, at: IpAddr, ports: Vec<u16> },
}

/// One shard's way to the others.
#[derive(Debug)]
pub struct Exchange {
    shard: usize,
    /// By number, the own one included.
    shards: Vec<RemoteSender<Message>>,
    inbox: RemoteInbox<Message>,
    /// There are fewer ports than shards.
    scarce: bool,
}

/// One for each of so many shards, which have so many ports together.
///
/// # Errors
///
/// No descriptors.
pub fn exchanges(shards: usize, ports: usize) -> io::Result<Vec<Exchange>> {
    let mut senders = Vec::new();
    let mut inboxes = Vec::new();
    for _ in 0..shards {
        let (sender, inbox) = channel()?;
        senders.push(sender);
        inboxes.push(inbox);
    }
    let each = inboxes.into_iter().enumerate();
    let exchange = |(shard, inbox)| {
        let scarce = ports < shards;
        Exchange { shard, shards: senders.clone(), inbox, scarce }
    };
    Ok(each.map(exchange).collect())
}

impl Exchange {
    /// Asks others for what the sessions of this shard want from here on, and gives others what it
    /// can spare, for as long as it is polled.
    pub(crate) fn run(self, ports: PassivePorts) -> impl Future<Output = ()> {
        // Not with the first poll: sessions that look before it would wait for each other only.
        ports.wants().hear();
        if self.scarce {
            ports.debts().begin_scarcity();
        }
        let Self { shard, shards, inbox, .. } = self;
        let rounds = Rounds::new(shard, shards.len());
        let mut trade = Trade { shard, shards, ports, rounds };
        async move {
            let mut inbox = inbox.open();
            // It has a sender itself, so its inbox does not end.
            while let Some(event) = trade.next(&mut inbox).await {
                let now = clock::now();
                let step = trade.take(event, now);
                trade.go_on(step, now);
                yield_if_needed().await;
            }
        }
    }
}

/// An exchange in use.
struct Trade {
    shard: usize,
    shards: Vec<RemoteSender<Message>>,
    ports: PassivePorts,
    rounds: Rounds,
}

impl Trade {
    async fn next(&self, inbox: &mut RemoteReceiver<Message>) -> Option<Event> {
        let told = async { inbox.recv().await.map(Event::Told) };
        let paid = async { Some(Event::Paid(self.ports.debts().next().await)) };
        let wanted = async { Some(Event::Wanted(self.ports.wants().next().await)) };
        let overdue = async {
            match self.rounds.due() {
                Some(due) => sleep_until(due).await,
                None => pending().await,
            }
            Some(Event::Overdue)
        };
        // What has not won has taken nothing.
        race(told, race(paid, race(wanted, overdue))).await
    }

    fn take(&mut self, event: Event, now: Instant) -> Option<Step> {
        match event {
            Event::Told(message) => {
                self.ports.counters().port_messages.increment();
                self.hear(message, now)
            }
            Event::Wanted(at) => {
                // Without randomness the same one is asked first each time.
                let first = random_below(self.shards.len()).unwrap_or(0);
                Some(self.rounds.begin(at, first, now))
            }
            Event::Paid(Payment { to, at, port }) => {
                self.give(to, at, vec![port]);
                None
            }
            Event::Overdue => self.rounds.overdue(now),
        }
    }

    fn hear(&mut self, message: Message, now: Instant) -> Option<Step> {
        match message {
            Message::Wanted { by, at } => {
                let given = self.ports.give(at);
                if given.is_empty() {
                    self.ports.debts().owe(by, at);
                }
                self.give(by, at, given);
                None
            }
            Message::Given { by, at, ports } => {
                let step = self.rounds.answered(by, at, !ports.is_empty(), now);
                let back = self.ports.receive(at, ports);
                if !back.is_empty() {
                    self.give(by, at, back);
                }
                step
            }
        }
    }

    /// Who has ended needs none, and nobody else will: all end together.
    fn give(&self, to: usize, at: IpAddr, ports: Vec<u16>) {
        let _ = self.shards[to].send(Message::Given { by: self.shard, at, ports });
    }

    fn go_on(&mut self, mut step: Option<Step>, now: Instant) {
        while let Some(Step::Ask(asked, at)) = step {
            let sent = self.shards[asked].send(Message::Wanted { by: self.shard, at });
            step = sent.err().and_then(|_| self.rounds.answered(asked, at, false, now));
        }
        if let Some(Step::Over(at, given)) = step {
            self.ports.wants().over(at, given, now);
        }
    }
}

enum Event {
    Told(Message),
    Wanted(IpAddr),
    Paid(Payment),
    Overdue,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Ask this shard for ports at this address.
    Ask(usize, IpAddr),
    /// Ports have come there, or all were asked.
    Over(IpAddr, bool),
}

/// Whom a shard has asked for ports at each local address, and whom it has yet to ask.
#[derive(Debug)]
struct Rounds {
    shard: usize,
    /// How many questions each has not answered.
    unanswered: Vec<usize>,
    by_address: BTreeMap<IpAddr, Round>,
}

#[derive(Debug)]
struct Round {
    /// Who is asked.
    asked: usize,
    /// How many were, the shard itself included, beginning at some shard and going up.
    done: usize,
    first: usize,
    /// When the next one is asked.
    due: Instant,
}

impl Rounds {
    fn new(shard: usize, shards: usize) -> Self {
        Self { shard, unanswered: vec![0; shards], by_address: BTreeMap::new() }
    }

    fn begin(&mut self, at: IpAddr, first: usize, now: Instant) -> Step {
        let round = Round { asked: self.shard, done: 0, first, due: now };
        self.by_address.insert(at, round);
        self.next(at, now)
    }

    /// `by` has given ports at this address, or none.
    fn answered(&mut self, by: usize, at: IpAddr, given: bool, now: Instant) -> Option<Step> {
        self.unanswered[by] = self.unanswered[by].saturating_sub(1);
        let round = self.by_address.get(&at)?;
        if given {
            self.by_address.remove(&at);
            return Some(Step::Over(at, true));
        }
        // Others were asked when it did not answer in time.
        (round.asked == by).then(|| self.next(at, now))
    }

    /// When somebody has not answered in time.
    fn due(&self) -> Option<Instant> {
        self.by_address.values().map(|round| round.due).min()
    }

    fn overdue(&mut self, now: Instant) -> Option<Step> {
        let late = self.by_address.iter().find(|(_, round)| round.due <= now);
        let at = *late?.0;
        Some(self.next(at, now))
    }

    fn next(&mut self, at: IpAddr, now: Instant) -> Step {
        let shards = self.unanswered.len();
        if let Some(round) = self.by_address.get_mut(&at) {
            while round.done < shards {
                let asked = (round.first + round.done) % shards;
                round.done += 1;
                // One that hangs is not sent questions without end.
                if asked != self.shard && self.unanswered[asked] < MOVING_ADDRESSES_MAX {
                    self.unanswered[asked] += 1;
                    (round.asked, round.due) = (asked, now + ANSWER_MAX);
                    return Step::Ask(asked, at);
                }
            }
        }
        self.by_address.remove(&at);
        Step::Over(at, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::ports::pool::tests::{HERE, free_range};
    use crate::connection::ports::pool::{BoundPort, PassiveError};
    use crate::connection::ports::range::split;
    use crate::connection::ports::session::{Client, SessionPorts};
    use crate::runtime::spawn;
    use crate::runtime::testing::{eventually, on_shard, pause};
    use std::cell::Cell;
    use std::ops::RangeInclusive;
    use std::rc::Rc;

    const HERE_ALONE: IpAddr = HERE.ip();

    /// So many shards, which are tasks of one here, and each has its part of `range`.
    fn shards(count: usize, range: &RangeInclusive<u16>) -> Vec<PassivePorts> {
        let exchanges = exchanges(count, range.len()).unwrap().into_iter().enumerate();
        exchanges
            .map(|(index, exchange)| {
                let part = split(range.clone(), index, count);
                let ports = PassivePorts::new(Some(part), Rc::default(), Rc::default());
                spawn(exchange.run(ports.clone())).detach();
                ports
            })
            .collect()
    }

    fn client() -> Client {
        let (peer, patience) = (HERE_ALONE, Duration::from_secs(20));
        Client { peer, tickets: None, patience, proxies: None, elsewhere: false }
    }

    /// A port of one's own for one session more.
    async fn listens(ports: &PassivePorts, seconds: u64) -> Result<u16, PassiveError> {
        let session = SessionPorts::new(ports);
        let deadline = clock::now() + Duration::from_secs(seconds);
        let listener = match session.listen(HERE, client()) {
            Err(error) if error.may_pass() => {
                session.listen_until(HERE, client(), deadline).await?
            }
            result => result?,
        };
        let port = listener.advertised(None, None).port();
        std::mem::forget(listener);
        Ok(port)
    }

    /// All of one client's sessions are on one shard, as with `steering = "source"`: they have the
    /// ports of all shards but the last of each, one after the other and at once.
    #[test]
    fn a_shard_has_what_others_do_not_need() {
        on_shard(|| async {
            let range = free_range(11);
            let shards = shards(4, &range);
            let mut all = std::collections::BTreeSet::new();
            for _ in 0..4 {
                assert!(all.insert(listens(&shards[2], 5).await.unwrap()));
            }
            let at_once: Vec<_> = (0..4)
                .map(|_| {
                    let ports = shards[2].clone();
                    spawn(async move { listens(&ports, 5).await.unwrap() })
                })
                .collect();
            for listening in at_once {
                assert!(all.insert(listening.await));
            }
            assert!(all.iter().all(|port| range.contains(port)));
            let refused = listens(&shards[2], 0).await;
            assert!(matches!(refused, Err(PassiveError::Exhausted)), "{refused:?}");
            let sizes: Vec<_> =
                shards.iter().map(|ports| ports.size_at(HERE_ALONE).unwrap()).collect();
            assert_eq!(sizes, [1, 1, 8, 1]);
            let moved = shards[2].counters().passive_moved.get();
            assert!(moved >= 5, "{moved}");
            // The others have one each.
            for index in [0, 1, 3] {
                assert!(all.insert(listens(&shards[index], 5).await.unwrap()));
            }
            assert_eq!(all.len(), 11);
        });
    }

    /// What is given comes back when it is needed where it was, from a session that keeps it for
    /// its next transfer as well; and who waits for a port that another shard has is told in time.
    #[test]
    fn ports_come_back() {
        on_shard(|| async {
            let range = free_range(6);
            let shards = shards(2, &range);
            let open = |ports: &PassivePorts| ports.open(HERE);
            let hold = async |ports: &PassivePorts, count: usize| {
                let mut held: Vec<BoundPort> = Vec::new();
                while held.len() < count {
                    match open(ports) {
                        Ok(port) => held.push(port),
                        Err(_) => match ports.wants().ask(HERE_ALONE, clock::now()) {
                            Some(tried) => tried.wait().await,
                            None => pause(5).await,
                        },
                    }
                }
                held
            };
            for _ in 0..20 {
                let mut held = hold(&shards[0], 5).await;
                assert!(open(&shards[0]).is_err());
                // Kept for a session, and so to be had.
                let parked = held.pop().unwrap();
                shards[0].parked().borrow_mut().add(parked);
                let two = hold(&shards[1], 2).await;
                assert!(shards[0].parked().borrow().is_empty());
                drop(held);
                let three = hold(&shards[1], 3).await;
                drop((two, three));
            }
            let sizes = shards.iter().map(|ports| ports.size_at(HERE_ALONE).unwrap());
            assert_eq!(sizes.sum::<usize>(), 6);
        });
    }

    /// Two ports for five shards, and on each sessions of several addresses that wait at them one
    /// after the other until each shard has had its turns, so that no port would ever be free.
    #[test]
    fn shards_take_turns_where_ports_are_fewer() {
        on_shard(|| async {
            let range = free_range(2);
            let shards = shards(5, &range);
            let served: Rc<[Cell<u32>]> = (0..5).map(|_| Cell::default()).collect();
            let serve = |index: usize, last: u8| {
                let (ports, served) = (shards[index].clone(), served.clone());
                spawn(async move {
                    let peer = IpAddr::from([127, 0, 0, last]);
                    let deadline = clock::now() + Duration::from_secs(8);
                    while served.iter().any(|times| times.get() < 20) {
                        let session = SessionPorts::new(&ports);
                        let client = Client { peer, ..client() };
                        let listener = match session.listen(HERE, client.clone()) {
                            Err(error) if error.may_pass() => {
                                session.listen_until(HERE, client, deadline).await.unwrap()
                            }
                            result => result.unwrap(),
                        };
                        pause(3).await;
                        served[index].set(served[index].get() + 1);
                        drop(listener);
                    }
                })
            };
            let each = (0..5).flat_map(|index| (1..=6).map(move |last| (index, last)));
            let sessions: Vec<_> = each.map(|(index, last)| serve(index, last)).collect();
            for session in sessions {
                session.await;
            }
            let size = |ports: &PassivePorts| ports.size_at(HERE_ALONE).unwrap();
            // A port may be on its way.
            assert!(eventually(|| shards.iter().map(size).sum::<usize>() == 2).await);
            let moved: u64 = shards.iter().map(|ports| ports.counters().passive_moved.get()).sum();
            assert!(moved >= 5, "{moved}");
        });
    }

    #[test]
    fn who_is_asked() {
        let at = HERE_ALONE;
        let now = clock::now();
        let mut rounds = Rounds::new(1, 4);
        assert_eq!(rounds.begin(at, 3, now), Step::Ask(3, at));
        assert_eq!(rounds.due(), Some(now + ANSWER_MAX));
        assert_eq!(rounds.answered(3, at, false, now), Some(Step::Ask(0, at)));
        // One that does not answer is passed over, and its answer counts when it comes.
        let late = now + ANSWER_MAX;
        assert_eq!(rounds.overdue(now), None);
        assert_eq!(rounds.overdue(late), Some(Step::Ask(2, at)));
        assert_eq!(rounds.answered(0, at, false, late), None);
        assert_eq!(rounds.answered(2, at, true, late), Some(Step::Over(at, true)));
        assert_eq!((rounds.due(), rounds.answered(3, at, true, late)), (None, None));
        // All refuse.
        assert_eq!(rounds.begin(at, 1, late), Step::Ask(2, at));
        assert_eq!(rounds.answered(2, at, false, late), Some(Step::Ask(3, at)));
        assert_eq!(rounds.answered(3, at, false, late), Some(Step::Ask(0, at)));
        assert_eq!(rounds.answered(0, at, false, late), Some(Step::Over(at, false)));
        // Who never answers is asked so often, and no more.
        let asked = (0..2 * MOVING_ADDRESSES_MAX)
            .filter(|_| rounds.begin(at, 0, late) == Step::Ask(0, at))
            .count();
        assert_eq!(asked, MOVING_ADDRESSES_MAX);
    }
}
