//! One operation of each workload.

use super::{Action, Existing, Files, Kind, Scenario, Transfer, Workload, source_of};
use crate::{
    client::{Client, Failure, Listing, OperationRecord, Pace, Session},
    measure::{ErrorKind, Phase},
    verify::{Content, Expected, Random},
};

/// A simulated client: its number, addresses and tickets, and the session it keeps.
pub(super) struct SimulatedClient {
    /// Its number within the whole run.
    pub(super) number: u64,
    pub(super) identity: Client,
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
    /// Operation `number` of the run, by `client`. After a failure its session is of no more use.
    pub(super) async fn perform(
        &self,
        number: u64,
        client: &mut SimulatedClient,
        sources: &[std::net::IpAddr],
        record: &mut OperationRecord,
    ) -> Result<Done, Failure> {
        let roving = |client: &SimulatedClient| client.identity.at(source_of(sources, number));
        match &self.kind {
            Kind::Handshake => Ok(Done::Close(roving(client).open(record).await?)),
            Kind::Login { rein: false } => log_in(&roving(client), record).await,
            Kind::Login { rein: true } => {
                let session = client.session(record).await?;
                session.reinitialize(record).await?;
                session.log_in(record).await?;
                Ok(Done::Kept)
            }
            Kind::Idle { .. } => {
                let session = client.session(record).await?;
                record.skip();
                session.keep_alive().await?;
                record.phase(Phase::Completion);
                Ok(Done::Kept)
            }
            Kind::Download(pace) => {
                let file = match &self.files.existing {
                    Some(paths) => paths.choose(self.files.seed, number).clone(),
                    None => {
                        let random = Random::new(self.files.seed, number).next_u64();
                        self.files.made(random % self.files.count)
                    }
                };
                fetch(&file, *pace, None, client, record).await
            }
            Kind::Upload(pace) => self.store(number, number, *pace, None, client, record).await,
            Kind::SmallFiles { upload: false } => {
                let file = self.files.made(number % self.files.count);
                fetch(&file, Pace::Full, None, client, record).await
            }
            Kind::SmallFiles { upload: true } => {
                self.store(number, number, Pace::Full, None, client, record).await
            }
            Kind::List { listing, path, entries } => {
                list(*listing, path, *entries, client, record).await
            }
            Kind::Silent => {
                let mut session = roving(client).connect(record).await?;
                // The server ended the connection: the time until then is measured.
                let _ = session.stay_silent().await;
                Ok(Done::Kept)
            }
            Kind::ReconnectStorm { .. } => {
                if let Some(session) = client.session.take() {
                    session.reset();
                }
                client.session(record).await?;
                Ok(Done::Kept)
            }
            Kind::Mixed(scenario) => self.mixed(scenario, number, client, sources, record).await,
            Kind::Replay(replay) => {
                self.replay(replay.transfer(number), number, client, record).await
            }
        }
    }

    /// A transfer of a log. One that was not whole there is given up after as many octets.
    async fn replay(
        &self,
        transfer: &Transfer,
        number: u64,
        client: &mut SimulatedClient,
        record: &mut OperationRecord,
    ) -> Result<Done, Failure> {
        client.become_user(transfer.user).await;
        let Transfer { upload, path, octets, complete, .. } = transfer;
        record.of_kind(if *upload { Action::Upload } else { Action::Download }.name());
        let vanish = (!complete).then_some(*octets);
        if !upload {
            let file = Existing { path: path.clone(), expected: Expected::Anything };
            return fetch(&file, Pace::Full, vanish, client, record).await;
        }
        let size = octets + u64::from(!complete);
        let content = Content::new(self.files.seed, number, size);
        let session = client.session(record).await?;
        let whole = session.upload(path, content, Pace::Full, vanish, record).await?;
        Ok(client.ended(whole))
    }

    /// Operation `number` of a mix.
    async fn mixed(
        &self,
        scenario: &Scenario,
        number: u64,
        client: &mut SimulatedClient,
        sources: &[std::net::IpAddr],
        record: &mut OperationRecord,
    ) -> Result<Done, Failure> {
        let choice = scenario.choose(self.files.seed, number);
        let (index, vanish) = (choice.size_index as u64, choice.abandon_after);
        record.of_kind(choice.action.name());
        match choice.action {
            Action::Download => {
                fetch(&self.files.made(index), Pace::Full, vanish, client, record).await
            }
            Action::Upload => self.store(index, number, Pace::Full, vanish, client, record).await,
            Action::List => list(Listing::List, "", 0, client, record).await,
            Action::Login => log_in(&client.identity.at(source_of(sources, number)), record).await,
            Action::Noop => {
                client.session(record).await?.keep_alive().await?;
                record.phase(Phase::Completion);
                Ok(Done::Kept)
            }
        }
    }

    /// `sized` chooses the size, `number` the contents.
    async fn store(
        &self,
        sized: u64,
        number: u64,
        pace: Pace,
        abandon: Option<u64>,
        client: &mut SimulatedClient,
        record: &mut OperationRecord,
    ) -> Result<Done, Failure> {
        let Files { seed, .. } = self.files;
        let content = Content::new(seed, number, self.files.content(sized).size());
        let name = self.files.upload_name(client.number);
        let session = client.session(record).await?;
        let whole = session.upload(&name, content, pace, abandon, record).await?;
        Ok(client.ended(whole))
    }
}

impl Files {
    /// File `index` of those that the preparation makes.
    fn made(&self, index: u64) -> Existing {
        Existing { path: self.name(index), expected: self.expected(index) }
    }
}

impl SimulatedClient {
    /// From now on it is this user; a session of another one is closed.
    async fn become_user(&mut self, user: u64) {
        if self.identity.user() != user {
            if let Some(session) = self.session.take() {
                session.close().await;
            }
            self.identity = self.identity.clone().as_user(user);
        }
    }

    /// The session, opened if there is none.
    pub(super) async fn session(
        &mut self,
        record: &mut OperationRecord,
    ) -> Result<&mut Session, Failure> {
        let session = match self.session.take() {
            Some(session) => session,
            None => self.identity.log_in(record).await?,
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

async fn fetch(
    file: &Existing,
    pace: Pace,
    abandon: Option<u64>,
    client: &mut SimulatedClient,
    record: &mut OperationRecord,
) -> Result<Done, Failure> {
    let session = client.session(record).await?;
    let whole = session.download(&file.path, file.expected, pace, abandon, record).await?;
    Ok(client.ended(whole))
}

/// A session of its own, to the reply that logs in.
async fn log_in(client: &Client, record: &mut OperationRecord) -> Result<Done, Failure> {
    let mut session = client.open(record).await?;
    session.log_in(record).await?;
    Ok(Done::Quit(session))
}

async fn list(
    listing: Listing,
    path: &str,
    entries: u64,
    client: &mut SimulatedClient,
    record: &mut OperationRecord,
) -> Result<Done, Failure> {
    let lines = client.session(record).await?.list(listing, path, record).await?;
    if lines < entries {
        let detail = format!("{lines} lines instead of at least {entries}");
        return Err(Failure::new(Phase::LastByte, ErrorKind::VerificationMismatch, detail));
    }
    Ok(Done::Kept)
}
