//! The candidates for one data connection: takes the connections that come to an announced port,
//! makes their TLS handshakes and does what `contest` decides. Without TLS candidates cannot be
//! told apart, and the first one is taken.
//!
//! Nearly always there is a single candidate. So the first handshake is made in this task, with
//! nothing else watched; tasks and timers are used only if it is slow or proves nothing.
//! Connections that come meanwhile wait in the backlog.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use super::contest::{CONNECTIONS_MAX, Candidate, Contest, Decision};
use super::gate::{Caller, Place};
use super::handshake::{DataHandshake, DataTls, Secured};
use super::proof::Verdict;
use crate::clock;
use crate::metrics::{Counters, Latencies, Phase};
use crate::protocol::session::TransferError;
use crate::runtime::{
    Flag, Mailbox, MailboxSender, Stream, Task, mailbox, race, sleep_until, spawn,
};

/// How long the first handshake runs with nothing else watched.
const UNWATCHED_MAX: Duration = Duration::from_millis(20);

/// An announced port.
pub(crate) struct AnnouncedPort {
    /// The session's place there.
    pub(crate) place: Rc<Place>,
    /// When it was announced.
    pub(crate) since: Instant,
    pub(crate) counters: Rc<Counters>,
    pub(crate) latencies: Rc<Latencies>,
}

/// The connection chosen for the transfer, or the last one that was refused.
pub(crate) struct Arrived {
    pub(crate) stream: Stream,
    /// There was no other candidate.
    pub(crate) alone: bool,
    /// Its TLS, if a handshake was wanted and is complete.
    pub(crate) secured: Option<Box<Secured>>,
    /// Why it was refused; `None` for the chosen one.
    pub(crate) refusal: Option<TransferError>,
}

/// What the transfer command passes to the task that guards the port. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Asked(Rc<Order>);

#[derive(Default)]
struct Order {
    came: Flag,
    private: Cell<bool>,
    deadline: Cell<Option<Instant>>,
}

impl Asked {
    /// The transfer command has come. `private` says whether the data connection uses TLS; it must
    /// have come by `deadline`.
    pub(crate) fn ask(&self, private: bool, deadline: Instant) {
        self.0.private.set(private);
        self.0.deadline.set(Some(deadline));
        self.0.came.set();
    }

    fn has_come(&self) -> bool {
        self.0.came.is_set()
    }

    fn wants_clear(&self) -> bool {
        self.has_come() && !self.0.private.get()
    }

    fn is_over(&self) -> bool {
        self.0.deadline.get().is_some_and(|deadline| deadline <= clock::now())
    }

    /// Returns at the deadline of the data connection.
    async fn over(&self) {
        self.0.came.wait().await;
        sleep_until(self.0.deadline.get().unwrap_or_else(clock::now)).await;
    }
}

/// Chooses the data connection, or gives the last candidate that was refused. The port and all
/// other candidates are closed.
///
/// # Errors
///
/// [`TransferError::NotOpened`]: no connection came in time. [`TransferError::ConnectionLost`]: a
/// handshake had begun when the transfer command asked for a clear connection.
pub(crate) async fn arrive(
    port: AnnouncedPort,
    tls: Option<DataTls>,
    asked: Asked,
) -> Result<Arrived, TransferError> {
    let mut alone = true;
    let caller = match port.place.waiting(&mut alone).await {
        Some(caller) => Some(caller),
        None => {
            let over = async {
                asked.over().await;
                None
            };
            race(async { Some(port.place.next(&mut alone).await) }, over).await
        }
    };
    let caller = caller.ok_or(TransferError::NotOpened)?;
    let waited = clock::now().saturating_duration_since(port.since);
    port.latencies.record(Phase::PassiveConnect, waited);
    let arrived = match tls {
        Some(tls) if !asked.wants_clear() => {
            Candidates::new(&port, tls, asked, alone).choose(caller).await
        }
        // It has begun a handshake.
        _ if caller.heard.is_some() => Err(TransferError::ConnectionLost),
        _ => Ok(Arrived { stream: caller.stream, alone, secured: None, refusal: None }),
    };
    port.place.leave(None);
    arrived
}

/// How a candidate's handshake ended; without a `result` it was stopped.
struct Outcome {
    candidate: Candidate,
    stream: Stream,
    handshake: DataHandshake,
    result: Option<Result<(), TransferError>>,
}

/// What ends a wait.
enum Event {
    Came(Caller),
    Ended(Option<Box<Outcome>>),
    /// The transfer command came, or a deadline passed.
    Due,
}

struct Candidates<'a> {
    port: &'a AnnouncedPort,
    tls: DataTls,
    asked: Asked,
    contest: Contest,
    no_strangers: bool,
    /// Candidates in their handshake, the oldest first.
    tasks: Vec<(Candidate, Task<()>)>,
    sender: MailboxSender<Box<Outcome>>,
    outcomes: Mailbox<Box<Outcome>>,
    /// Stops the handshakes: each task gives its connection back as it is.
    stop: Flag,
    /// The candidate that has proved itself, or that waits without proof.
    settled: Option<(Stream, Box<Secured>)>,
    /// The last candidate that was refused.
    refused: Option<(Stream, Option<Box<Secured>>, TransferError)>,
}

impl<'a> Candidates<'a> {
    fn new(port: &'a AnnouncedPort, tls: DataTls, asked: Asked, no_strangers: bool) -> Self {
        let (sender, outcomes) = mailbox(CONNECTIONS_MAX as usize);
        let contest = Contest::new(tls.policy.data_proof_timeout);
        Self {
            port,
            tls,
            asked,
            contest,
            no_strangers,
            tasks: Vec::new(),
            sender,
            outcomes,
            stop: Flag::new(),
            settled: None,
            refused: None,
        }
    }

    async fn choose(mut self, first: Caller) -> Result<Arrived, TransferError> {
        self.shake_hands_unwatched(first).await;
        loop {
            if self.asked.wants_clear() {
                return self.in_clear().await;
            }
            if self.asked.is_over() {
                return self.give_up().await;
            }
            if self.asked.has_come() {
                self.contest.want(clock::now());
            }
            let due = match self.contest.decide(clock::now()) {
                Decision::Take(_) => {
                    // Connections in the backlog came in time to be compared.
                    if !self.contest.is_proven()
                        && let Some(caller) = self.port.place.waiting(&mut self.no_strangers).await
                    {
                        self.join(caller);
                        continue;
                    }
                    return self.take();
                }
                Decision::Refuse => return self.give_up().await,
                Decision::Wait(due) => due,
            };
            match self.event(due).await {
                Event::Came(caller) => self.join(caller),
                Event::Ended(Some(outcome)) => self.ended(*outcome),
                Event::Ended(None) | Event::Due => {}
            }
        }
    }

    /// Makes the first handshake, until it ends or [`UNWATCHED_MAX`] has passed.
    async fn shake_hands_unwatched(&mut self, Caller { stream, heard }: Caller) {
        let (candidate, _) = self.contest.join();
        let mut handshake = DataHandshake::after(&self.tls, heard);
        let late = async {
            sleep_until(clock::now() + UNWATCHED_MAX).await;
            None
        };
        let result = race(async { Some(handshake.run(&stream).await) }, late).await;
        if result.is_some() {
            self.ended(Outcome { candidate, stream, handshake, result });
        } else {
            self.go_on(candidate, stream, handshake);
        }
    }

    fn join(&mut self, Caller { stream, heard }: Caller) {
        let (candidate, evicted) = self.contest.join();
        self.tasks.retain(|(other, _)| Some(*other) != evicted);
        if !self.contest.is_open() {
            // Further connections are refused rather than left waiting.
            self.port.place.close();
        }
        let handshake = DataHandshake::after(&self.tls, heard);
        self.go_on(candidate, stream, handshake);
    }

    fn go_on(&mut self, candidate: Candidate, stream: Stream, mut handshake: DataHandshake) {
        let (sender, stop) = (self.sender.clone(), self.stop.clone());
        let task = spawn(async move {
            let stopped = async {
                stop.wait().await;
                None
            };
            let result = race(async { Some(handshake.run(&stream).await) }, stopped).await;
            // Fails only when the port is gone, and the connection goes with it.
            let _ = sender.send(Box::new(Outcome { candidate, stream, handshake, result }));
        });
        self.tasks.push((candidate, task));
    }

    fn ended(&mut self, outcome: Outcome) {
        let Outcome { candidate, stream, handshake, result } = outcome;
        self.tasks.retain(|(other, _)| *other != candidate);
        let (now, claimed) = (clock::now(), handshake.is_claimed());
        let secured = match result.unwrap_or(Ok(())).and_then(|()| handshake.finish()) {
            Ok(secured) => Box::new(secured),
            Err(error) => {
                self.contest.lost(candidate, now);
                return self.refuse(stream, None, error);
            }
        };
        let resumed = secured.facts.resumption.is_this_session();
        let expected = match self.tls.judge(&secured.facts) {
            Verdict::Proven if resumed || !claimed => {
                if !self.asked.has_come() {
                    self.tls.proof.uses_ticket();
                }
                self.tls.proof.told(resumed);
                self.contest.proven(candidate);
                self.settled = Some((stream, secured));
                return;
            }
            Verdict::Unproven { expected } if !claimed => expected,
            // What was given to the session by its ticket has to resume it: nothing else counts.
            _ => {
                self.contest.lost(candidate, now);
                let reason = secured.facts.resumption.to_string();
                return self.refuse(stream, Some(secured), TransferError::NotResumed(reason));
            }
        };
        if self.contest.unproven(candidate, now, expected) {
            self.settled = Some((stream, secured));
        } else {
            self.settled = None;
            let reason = "of several that came, none did".to_owned();
            self.refuse(stream, Some(secured), TransferError::NotResumed(reason));
        }
    }

    fn refuse(&mut self, stream: Stream, secured: Option<Box<Secured>>, error: TransferError) {
        self.port.counters.passive_refused.increment();
        self.refused = Some((stream, secured, error));
    }

    async fn event(&mut self, due: Option<Instant>) -> Event {
        let Self { port, asked, contest, no_strangers, outcomes, .. } = self;
        let coming = async {
            if contest.is_open() {
                Event::Came(port.place.next(no_strangers).await)
            } else {
                std::future::pending().await
            }
        };
        let ended = async { Event::Ended(outcomes.recv().await) };
        let due = async {
            let over = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            if asked.has_come() {
                race(over, asked.over()).await;
            } else {
                asked.0.came.wait().await;
            }
            Event::Due
        };
        race(race(ended, coming), due).await
    }

    fn is_alone(&self) -> bool {
        self.no_strangers && self.contest.is_alone()
    }

    fn take(mut self) -> Result<Arrived, TransferError> {
        let alone = self.is_alone();
        let (stream, secured) = self.settled.take().ok_or(TransferError::NotOpened)?;
        if !self.contest.is_proven() {
            self.tls.proof.came_alone();
        }
        Ok(Arrived { stream, alone, secured: Some(secured), refusal: None })
    }

    /// Refuses all candidates. One connection stays open until the reply with the reason is out.
    async fn give_up(mut self) -> Result<Arrived, TransferError> {
        if self.refused.is_none()
            && let Some((stream, _)) = self.stopped().await
        {
            self.refused = Some((stream, None, TransferError::HandshakeFailed));
        }
        let (stream, secured, error) = self.refused.take().ok_or(TransferError::NotOpened)?;
        Ok(Arrived { stream, alone: false, secured, refusal: Some(error) })
    }

    /// The transfer command asks for a clear connection after all (PROT C behind PASV).
    async fn in_clear(mut self) -> Result<Arrived, TransferError> {
        let alone = self.is_alone();
        match self.stopped().await {
            Some((stream, true)) => Ok(Arrived { stream, alone, secured: None, refusal: None }),
            _ => Err(TransferError::ConnectionLost),
        }
    }

    /// The oldest candidate in its handshake, and whether nothing of that was read or sent.
    async fn stopped(&mut self) -> Option<(Stream, bool)> {
        let (oldest, _) = self.tasks.first()?;
        let oldest = *oldest;
        self.stop.set();
        while let Some(outcome) = self.outcomes.recv().await {
            if outcome.candidate == oldest {
                let untouched = outcome.result.is_none() && outcome.handshake.is_untouched();
                return Some((outcome.stream, untouched));
            }
        }
        None
    }
}
