//! Beginning operations: each client after its own last one (closed loop), by the clock (open
//! loop), or by the workload's own beat. One thread's part of a run.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Beat, Kind, Workload,
    perform::{Done, SimulatedClient},
    source_of,
};
use crate::{
    client::{
        Client, Endpoint, Failure, OperationRecord, ResumeMode, SharedRecorder, TicketStore,
        timeout_kind,
    },
    engine::{Flag, Notify, TaskGroup, race, sleep_until},
    measure::Phase,
    plan::{Load, Place, Plan, Schedule},
};

/// Pause of a client after a failure in closed loop: a server that refuses everything must not be
/// answered with a busy loop.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// How long operations may still take when the run is interrupted.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sessions of a preparation that are opened at the same time, a thread.
const PREPARED_AT_ONCE: u64 = 64;

/// Tickets kept for one client, and for all of a thread.
const CLIENT_TICKETS: usize = 8;
const THREAD_TICKETS: usize = 4096;

/// Tickets gathered before an open loop begins.
const PRIMED_TICKETS: u64 = 64;

/// One thread's part of a run.
pub(super) struct Driver {
    pub(super) plan: Plan,
    pub(super) workload: Workload,
    pub(super) recorder: SharedRecorder,
    endpoint: Rc<Endpoint>,
    sources: Vec<IpAddr>,
    place: Place,
    /// All clients of the thread share it where each connects again and again.
    shared_tickets: Arc<TicketStore>,
    parked: RefCell<VecDeque<SimulatedClient>>,
    freed: Notify,
    /// Clients made.
    made: Cell<u64>,
    /// Operations begun.
    begun: Cell<u64>,
    /// No operation begins any more.
    pub(super) stop: Flag,
    /// Operations under way end now.
    cut: Flag,
    /// Whether cut operations are the server's failures.
    blame: Cell<bool>,
    tasks: TaskGroup,
    /// Silent connections: they never send an octet.
    pub(super) silent: TaskGroup,
}

impl Driver {
    pub(super) fn new(
        plan: Plan,
        workload: Workload,
        endpoint: Endpoint,
        sources: Vec<IpAddr>,
        place: Place,
        recorder: SharedRecorder,
    ) -> Rc<Self> {
        Rc::new(Self {
            plan,
            workload,
            recorder,
            endpoint: Rc::new(endpoint),
            sources,
            place,
            shared_tickets: Arc::new(TicketStore::new(THREAD_TICKETS)),
            parked: RefCell::default(),
            freed: Notify::default(),
            made: Cell::new(0),
            begun: Cell::new(0),
            stop: Flag::default(),
            cut: Flag::default(),
            blame: Cell::new(true),
            tasks: TaskGroup::default(),
            silent: TaskGroup::default(),
        })
    }

    /// Makes the clients of a closed loop and logs them in where the workload keeps sessions;
    /// gathers tickets where handshakes are to resume.
    ///
    /// # Errors
    ///
    /// The first failure: a run that cannot begin is not worth measuring.
    pub(super) async fn prepare(self: &Rc<Self>) -> Result<(), Failure> {
        let clients = match self.plan.load {
            Load::Closed { clients, .. } => self.place.share(clients),
            Load::Open { connections, .. } => self.place.share(connections).min(PRIMED_TICKETS),
        };
        let resumes = self.endpoint.resume_control != ResumeMode::Never;
        if matches!(self.plan.load, Load::Closed { .. }) || resumes {
            for _ in 0..clients {
                let simulated = self.make_client();
                self.parked.borrow_mut().push_back(simulated);
            }
        }
        let keeps = self.workload.keeps_sessions();
        let primes = resumes && self.workload.connects();
        if !keeps && !primes {
            return Ok(());
        }
        let failed: Rc<RefCell<Option<Failure>>> = Rc::default();
        let left = Rc::new(Cell::new(self.parked.borrow().len()));
        let (group, over) = (TaskGroup::default(), Flag::default());
        for _ in 0..PREPARED_AT_ONCE {
            let (this, failed, left) = (Rc::clone(self), Rc::clone(&failed), Rc::clone(&left));
            let over = over.clone();
            group.spawn(async move {
                while left.get() > 0 && !over.is_set() && !this.stop.is_set() {
                    left.set(left.get() - 1);
                    let simulated = this.parked.borrow_mut().pop_front();
                    let Some(mut simulated) = simulated else { return };
                    let prepared = race(this.prepare_client(&mut simulated, keeps), async {
                        race(over.wait(), this.stop.wait()).await;
                        Ok(())
                    });
                    if let Err(failure) = prepared.await {
                        failed.borrow_mut().get_or_insert(failure);
                        over.set();
                    }
                    this.parked.borrow_mut().push_back(simulated);
                }
            });
        }
        group.idle().await;
        let failure = failed.borrow_mut().take();
        failure.map_or(Ok(()), Err)
    }

    /// Begins operations until the plan is fulfilled or stopped, and waits for those under way.
    /// `measured` is awaited at the end of the measured part, with the connections still open.
    pub(super) async fn run(self: &Rc<Self>, start: Instant, measured: impl Future<Output = ()>) {
        let end = start + self.plan.length();
        match (self.workload.beat(), &self.plan.load) {
            (Some(beat), _) => self.by_beat(beat, start, end),
            (None, Load::Closed { think, .. }) => self.closed(*think, start, end),
            (None, Load::Open { .. }) => self.open(start, end),
        }
        let fulfilled = race(
            async {
                self.tasks.idle().await;
                if self.plan.count.is_none() {
                    // Rates are by the time asked for, also when the last operation ended early.
                    race(sleep_until(end), self.stop.wait()).await;
                }
                true
            },
            async {
                race(sleep_until(end), self.stop.wait()).await;
                false
            },
        );
        if fulfilled.await {
            return measured.await;
        }
        self.stop.set();
        if self.workload.ends_with_the_run() {
            self.blame.set(false);
            measured.await;
            self.cut.set();
            return self.tasks.idle().await;
        }
        let patience = if self.blame.get() { self.plan.drain } else { FAREWELL };
        race(self.tasks.idle(), sleep_until(Instant::now() + patience)).await;
        self.cut.set();
        self.tasks.idle().await;
        measured.await;
    }

    /// Ends the run early: operations in flight get a moment, and those cut are not counted as
    /// failures.
    pub(super) fn interrupt(&self) {
        self.blame.set(false);
        self.stop.set();
    }

    /// Numbers of the clients made.
    pub(super) fn client_numbers(&self) -> Vec<u64> {
        (0..self.made.get()).map(|local| self.number(local)).collect()
    }

    /// Closes the sessions of clients that are not busy.
    pub(super) async fn close_sessions(&self) {
        loop {
            let simulated = self.parked.borrow_mut().pop_front();
            match simulated {
                None => return,
                Some(SimulatedClient { session: Some(session), .. }) => session.close().await,
                Some(_) => {}
            }
        }
    }

    /// Silent connections beside the workload.
    pub(super) fn hold_silent(self: &Rc<Self>, connections: u64) {
        for local in 0..self.place.share(connections) {
            let client = self.client(self.number(local));
            let this = Rc::clone(self);
            self.silent.spawn(async move {
                loop {
                    let mut record = OperationRecord::unrecorded(&this.recorder);
                    if let Ok(mut session) = client.connect(&mut record).await {
                        let _ = session.stay_silent().await;
                    }
                    // The server closed the connection, or accepts no more: try again after a
                    // pause.
                    sleep_until(Instant::now() + FAILURE_PAUSE).await;
                }
            });
        }
    }

    fn closed(self: &Rc<Self>, think: Duration, start: Instant, end: Instant) {
        // Taken at once: a task runs to its first wait when it is spawned, and may park its client.
        for mut simulated in self.parked.take() {
            let this = Rc::clone(self);
            self.tasks.spawn(async move {
                race(sleep_until(start), this.stop.wait()).await;
                while !this.stop.is_set() && Instant::now() < end {
                    let Some(number) = this.next_number() else { break };
                    let good = this
                        .operate(number, &mut simulated, OperationRecord::now(&this.recorder))
                        .await;
                    let pause = if good { think } else { think.max(FAILURE_PAUSE) };
                    if !pause.is_zero() {
                        race(sleep_until(Instant::now() + pause), this.stop.wait()).await;
                    }
                }
                this.park(simulated);
            });
        }
    }

    fn by_beat(self: &Rc<Self>, beat: Beat, start: Instant, end: Instant) {
        let Load::Closed { clients, .. } = self.plan.load else {
            unreachable!("the command line gives these workloads clients, no rate");
        };
        for mut simulated in self.parked.take() {
            let this = Rc::clone(self);
            let turn = if beat.in_turn {
                let part = u32::try_from(simulated.number).unwrap_or(u32::MAX);
                beat.every / u32::try_from(clients.max(1)).unwrap_or(u32::MAX) * part
            } else {
                Duration::ZERO
            };
            self.tasks.spawn(async move {
                let mut due = start + turn;
                while due < end {
                    race(sleep_until(due), this.interrupted()).await;
                    if this.is_interrupted() {
                        break;
                    }
                    let Some(number) = this.next_number() else { break };
                    // Operations due before the end are begun, however late.
                    if this.cut.is_set() {
                        this.never_began(due);
                    } else {
                        this.recorder.borrow_mut().lateness(due, Instant::now());
                        this.operate(
                            number,
                            &mut simulated,
                            OperationRecord::new(&this.recorder, due),
                        )
                        .await;
                    }
                    due += beat.every;
                }
                this.park(simulated);
            });
        }
    }

    fn open(self: &Rc<Self>, start: Instant, end: Instant) {
        let Load::Open { arrivals, profile, connections } = &self.plan.load else {
            return;
        };
        let most = self.place.share(*connections).max(1);
        let schedule = Schedule::new(profile.clone(), *arrivals, self.plan.seed, self.place);
        let this = Rc::clone(self);
        self.tasks.spawn(async move {
            // When the dispatcher was last held up because every connection was busy.
            let mut held_until = start;
            for (number, after) in schedule {
                let due = start + after;
                if due >= end || this.next_number().is_none() {
                    break;
                }
                race(sleep_until(due), this.interrupted()).await;
                if this.is_interrupted() {
                    break;
                }
                if due >= held_until {
                    this.recorder.borrow_mut().lateness(due, Instant::now());
                }
                match this.free_client(number, most).await {
                    Some((simulated, waited)) => {
                        this.dispatch(number, simulated, due);
                        if waited {
                            held_until = Instant::now();
                        }
                    }
                    // Cut: operations that were due and never began count as the server's failures.
                    None if this.blame.get() => this.never_began(due),
                    None => break,
                }
            }
        });
    }

    /// Whether Ctrl-C ends the dispatcher. The end of the run does not: operations due before it
    /// are begun.
    fn is_interrupted(&self) -> bool {
        !self.blame.get()
    }

    async fn interrupted(&self) {
        loop {
            self.stop.wait().await;
            if self.is_interrupted() || self.cut.is_set() {
                return;
            }
            self.cut.wait().await;
        }
    }

    fn dispatch(self: &Rc<Self>, number: u64, mut simulated: SimulatedClient, due: Instant) {
        let this = Rc::clone(self);
        self.tasks.spawn(async move {
            this.operate(number, &mut simulated, OperationRecord::new(&this.recorder, due)).await;
            this.park(simulated);
        });
    }

    /// A client for operation `number` that is not busy, and whether it had to be waited for.
    /// `None`: cut.
    async fn free_client(&self, number: u64, most: u64) -> Option<(SimulatedClient, bool)> {
        let mut waited = false;
        while !self.cut.is_set() {
            if let Some(simulated) = self.take_parked(number) {
                return Some((simulated, waited));
            }
            if self.made.get() < most {
                return Some((self.make_client(), waited));
            }
            // Of another user, whose session is given up.
            if let Some(simulated) = self.parked.borrow_mut().pop_front() {
                return Some((simulated, waited));
            }
            waited = true;
            race(self.freed.notified(), self.cut.wait()).await;
        }
        None
    }

    /// One operation, recorded. False when it failed or was cut.
    async fn operate(
        &self,
        number: u64,
        simulated: &mut SimulatedClient,
        mut record: OperationRecord,
    ) -> bool {
        simulated.identity.enter(Phase::Operation);
        if let Some(trace) = simulated.identity.trace() {
            trace.tell(format_args!("operation {number} of the run begins"));
        }
        let performed = race(
            async {
                Some(self.workload.perform(number, simulated, &self.sources, &mut record).await)
            },
            async {
                self.cut.wait().await;
                None
            },
        );
        match performed.await {
            Some(Ok(Done::Abandoned)) => {
                record.abandon();
                simulated.identity.tell("operation abandoned");
            }
            Some(Ok(Done::Kept)) => {
                record.succeed();
                simulated.identity.tell("operation succeeded");
            }
            Some(Ok(Done::Close(session))) => {
                record.succeed();
                simulated.identity.tell("operation succeeded");
                session.close().await;
            }
            Some(Ok(Done::Quit(session))) => {
                record.succeed();
                simulated.identity.tell("operation succeeded");
                // The operation is over; a missing 221 is not a failure of it.
                let _ = race(session.quit(), async {
                    self.cut.wait().await;
                    Ok(())
                })
                .await;
            }
            Some(Err(failure)) => {
                record.fail(&failure);
                if let Some(trace) = simulated.identity.trace() {
                    trace.tell(format_args!("operation failed: {failure}"));
                }
                simulated.session = None;
                return false;
            }
            None => {
                simulated.session = None;
                let phase = simulated.identity.step();
                simulated.identity.tell("operation cut by the end of the run");
                if self.blame.get() {
                    record.fail(&unfinished(phase));
                } else {
                    record.cut(phase);
                }
                return false;
            }
        }
        true
    }

    fn never_began(&self, due: Instant) {
        OperationRecord::waiting(&self.recorder, due).fail(&unfinished(Phase::Queued));
    }

    async fn prepare_client(
        &self,
        simulated: &mut SimulatedClient,
        keep: bool,
    ) -> Result<(), Failure> {
        if keep {
            simulated.session(&mut OperationRecord::preparation(&self.recorder)).await?;
        } else {
            let mut record = OperationRecord::unrecorded(&self.recorder);
            simulated.identity.open(&mut record).await?.close().await;
        }
        Ok(())
    }

    fn next_number(&self) -> Option<u64> {
        let begun = self.begun.get();
        if self.plan.count.is_some_and(|count| begun >= self.place.share(count)) {
            return None;
        }
        self.begun.set(begun + 1);
        Some(self.number(begun))
    }

    /// The number within the whole run of this thread's client or operation `local`.
    const fn number(&self, local: u64) -> u64 {
        self.place.number(local)
    }

    fn make_client(&self) -> SimulatedClient {
        let number = self.number(self.made.get());
        self.made.set(self.made.get() + 1);
        SimulatedClient { number, identity: self.client(number), session: None }
    }

    fn client(&self, number: u64) -> Client {
        let tickets = if self.workload.connects() {
            Arc::clone(&self.shared_tickets)
        } else {
            Arc::new(TicketStore::new(CLIENT_TICKETS))
        };
        Client::new(Rc::clone(&self.endpoint), source_of(&self.sources, number), tickets)
            .as_user(number)
            .numbered(number)
    }

    /// A client that is not busy; where operation `number` is a certain user's, one of that user.
    fn take_parked(&self, number: u64) -> Option<SimulatedClient> {
        let mut parked = self.parked.borrow_mut();
        let Kind::Replay(replay) = &self.workload.kind else { return parked.pop_front() };
        let user = replay.transfer(number).user;
        let index = parked.iter().position(|simulated| simulated.identity.user() == user)?;
        parked.remove(index)
    }

    fn park(&self, simulated: SimulatedClient) {
        self.parked.borrow_mut().push_back(simulated);
        self.freed.notify();
    }
}

/// Cut in `phase` by the end of the run.
fn unfinished(phase: Phase) -> Failure {
    Failure::new(phase, timeout_kind(phase), "unfinished when the run ended")
}
