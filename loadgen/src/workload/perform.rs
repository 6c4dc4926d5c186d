//! One operation of each workload.

use super::{Action, Files, Kind, Workload, source_of};
use crate::{
    client::{Client, Failure, Listing, Pace, Session, Trace},
    measure::{ErrorKind, Phase},
    verify::{Content, Random},
};

/// One client and its session.
pub(super) struct Slot {
    /// Its number within the whole run.
    pub(super) number: u64,
    pub(super) client: Client,
    pub(super) session: Option<Session>,
}

/// How an operation ended well.
pub(super) enum Done {
    /// Nothing more to do.
    Kept,
    /// The session is to be ended with QUIT, outside the measured time.
    Quit(Session),
    /// The connection is to be closed, outside the measured time.
    Close(Session),
    /// The workload gave it up.
    Abandoned,
}

impl Workload {
    /// Operation `number` of the run, by the client in `slot`. On failure the slot's session is of
    /// no more use.
    pub(super) async fn perform(
        &self,
        number: u64,
        slot: &mut Slot,
        sources: &[std::net::IpAddr],
        trace: &mut Trace,
    ) -> Result<Done, Failure> {
        let roving = |slot: &Slot| slot.client.at(source_of(sources, number));
        match &self.kind {
            Kind::Handshake => Ok(Done::Close(roving(slot).open(trace).await?)),
            Kind::Login { rein: false } => log_in(&roving(slot), trace).await,
            Kind::Login { rein: true } => {
                let session = slot.session(trace).await?;
                session.reinitialize(trace).await?;
                session.log_in(trace).await?;
                Ok(Done::Kept)
            }
            Kind::Idle { .. } => {
                let session = slot.session(trace).await?;
                trace.skip();
                session.keep_alive().await?;
                trace.phase(Phase::Completion);
                Ok(Done::Kept)
            }
            Kind::Download(pace) => {
                let index = Random::new(self.files.seed, number).next_u64() % self.files.count;
                self.fetch(index, *pace, None, slot, trace).await
            }
            Kind::Upload(pace) => self.store(number, number, *pace, None, slot, trace).await,
            Kind::SmallFiles { upload: false } => {
                self.fetch(number % self.files.count, Pace::Full, None, slot, trace).await
            }
            Kind::SmallFiles { upload: true } => {
                self.store(number, number, Pace::Full, None, slot, trace).await
            }
            Kind::List { listing, path, entries } => {
                list(*listing, path, *entries, slot, trace).await
            }
            Kind::Silent => {
                let mut session = roving(slot).connect(trace).await?;
                // The server ended the connection: the time until then is measured.
                let _ = session.stay_silent().await;
                Ok(Done::Kept)
            }
            Kind::ReconnectStorm { .. } => {
                if let Some(session) = slot.session.take() {
                    session.reset();
                }
                slot.session(trace).await?;
                Ok(Done::Kept)
            }
            Kind::Mixed(scenario) => {
                let choice = scenario.choose(self.files.seed, number);
                let (index, abandon) = (choice.size_index as u64, choice.abandon_after);
                match choice.action {
                    Action::Download => self.fetch(index, Pace::Full, abandon, slot, trace).await,
                    Action::Upload => {
                        self.store(index, number, Pace::Full, abandon, slot, trace).await
                    }
                    Action::List => list(Listing::List, "", 0, slot, trace).await,
                    Action::Login => log_in(&roving(slot), trace).await,
                    Action::Noop => {
                        slot.session(trace).await?.keep_alive().await?;
                        trace.phase(Phase::Completion);
                        Ok(Done::Kept)
                    }
                }
            }
        }
    }

    async fn fetch(
        &self,
        index: u64,
        pace: Pace,
        abandon: Option<u64>,
        slot: &mut Slot,
        trace: &mut Trace,
    ) -> Result<Done, Failure> {
        let (name, expected) = match &self.files.existing {
            Some((name, expected)) => (name.clone(), *expected),
            None => (self.files.name(index), self.files.expected(index)),
        };
        let session = slot.session(trace).await?;
        let whole = session.download(&name, expected, pace, abandon, trace).await?;
        Ok(slot.ended(whole))
    }

    /// `sized` chooses the size, `number` the contents.
    async fn store(
        &self,
        sized: u64,
        number: u64,
        pace: Pace,
        abandon: Option<u64>,
        slot: &mut Slot,
        trace: &mut Trace,
    ) -> Result<Done, Failure> {
        let Files { seed, .. } = self.files;
        let content = Content::new(seed, number, self.files.content(sized).size());
        let name = self.files.upload_name(slot.number);
        let session = slot.session(trace).await?;
        let whole = session.upload(&name, content, pace, abandon, trace).await?;
        Ok(slot.ended(whole))
    }
}

impl Slot {
    /// The session, opened if there is none.
    pub(super) async fn session(&mut self, trace: &mut Trace) -> Result<&mut Session, Failure> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.client.log_in(trace).await?,
        };
        Ok(self.session.insert(session))
    }

    /// After a transfer: a client that gave it up has vanished, control connection and all.
    fn ended(&mut self, whole: bool) -> Done {
        if whole {
            return Done::Kept;
        }
        if let Some(session) = self.session.take() {
            session.reset();
        }
        Done::Abandoned
    }
}

/// A session of its own, to the reply that logs in.
async fn log_in(client: &Client, trace: &mut Trace) -> Result<Done, Failure> {
    let mut session = client.open(trace).await?;
    session.log_in(trace).await?;
    Ok(Done::Quit(session))
}

async fn list(
    listing: Listing,
    path: &str,
    entries: u64,
    slot: &mut Slot,
    trace: &mut Trace,
) -> Result<Done, Failure> {
    let lines = slot.session(trace).await?.list(listing, path, trace).await?;
    if lines < entries {
        let detail = format!("{lines} lines instead of at least {entries}");
        return Err(Failure::new(Phase::LastByte, ErrorKind::VerificationMismatch, detail));
    }
    Ok(Done::Kept)
}
