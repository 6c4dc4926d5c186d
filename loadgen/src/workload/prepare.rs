//! Before the run: the files that downloads fetch and listings show are made on the server itself,
//! through FTP, so that any server can be measured. After it: they are deleted.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Files, Kind, Workload, source_of};
use crate::{
    client::{
        Client, Endpoint, Failure, OperationRecord, Pace, Session, SharedRecorder, TicketStore,
    },
    engine::{self, race, sleep_until, timeout_at},
    measure::{Phase, Recorder, Window},
    plan::{Part, Plan},
};

/// Tickets kept for the transfers of the preparation.
const TICKETS: usize = 16;

/// A warm-up that nothing outlasts: what prepares a run is measured nowhere.
const FAR: Duration = Duration::from_secs(86_400);

/// How often Ctrl-C is polled.
const LOOK: Duration = Duration::from_millis(20);

/// How long the deletion of what was made may take once somebody has pressed Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes what `workload` needs on the server, for each user that clients log in as. Each part of a
/// run makes all of it, which changes nothing where another has already, and a directory as a sign
/// that it is there. When that fails, or when `interrupted` is set meanwhile, what was made is
/// deleted again, as far as the server lets it be.
///
/// # Errors
///
/// A sentence: what the server said, and whether files were left behind.
pub fn prepare(
    plan: &Plan,
    workload: &Workload,
    endpoint: &Endpoint,
    sources: &[std::net::IpAddr],
    interrupted: &Arc<AtomicBool>,
) -> Result<(), String> {
    let files = needed(workload);
    let directory = (workload.files.entries > 0).then(|| workload.files.directory());
    if files.is_empty() && directory.is_none() {
        return Ok(());
    }
    let users = endpoint.users.count().min(plan.clients());
    let (workload, endpoint, part) = (workload.clone(), endpoint.clone(), plan.part);
    let source = source_of(sources, 0);
    let interrupted = Arc::clone(interrupted);
    on_a_thread(move || async move {
        let client = client(endpoint, source);
        let made: Rc<RefCell<Vec<Made>>> = Rc::default();
        let making = async { Some(make(&client, part, users, &workload, &made).await) };
        let ended = race(making, async {
            told(&interrupted).await;
            None
        });
        let problem = match ended.await {
            Some(Ok(())) => return Ok(()),
            Some(Err(failure)) => failure.to_string(),
            None => "interrupted".to_owned(),
        };
        let made = made.take();
        if workload.files.keep || made.iter().all(Made::is_empty) {
            return Err(problem);
        }
        let deleting = delete(&client, part, &workload.files, made);
        match timeout_at(Instant::now() + PATIENCE, deleting).await {
            Some(Ok(())) => Err(problem),
            Some(Err(failure)) => Err(format!("{problem}; files were left behind: {failure}")),
            None => Err(format!("{problem}; files were left behind: no time")),
        }
    })
}

/// Deletes what [`prepare`] and the uploads of clients `uploaders` left; of several parts of a run
/// the last one deletes what all of them use. Without haste, unless `interrupted` is set.
///
/// # Errors
///
/// A sentence; the measurements are not touched by it.
pub fn clean_up(
    plan: &Plan,
    workload: &Workload,
    endpoint: &Endpoint,
    sources: &[std::net::IpAddr],
    uploaders: Vec<u64>,
    interrupted: &Arc<AtomicBool>,
) -> Result<(), String> {
    let files = &workload.files;
    let uploads = matches!(
        workload.kind,
        Kind::Upload(_) | Kind::SmallFiles { upload: true } | Kind::Mixed(_)
    );
    let (part, users) = (plan.part, endpoint.users.count());
    let mut made: Vec<Made> = (0..users.min(plan.clients())).map(Made::of).collect();
    for made in &mut made {
        made.names.extend(needed(workload).into_iter().map(|(name, _)| name));
        if files.entries > 0 {
            let directory = files.directory();
            made.names.extend((0..files.entries).map(|index| format!("{directory}/{index}")));
            made.directory = Some(directory);
        }
        made.is_signed = part != Part::WHOLE && !made.is_empty();
    }
    for number in uploaders.into_iter().filter(|_| uploads) {
        let user = usize::try_from(number % users).unwrap_or_default();
        if let Some(made) = made.get_mut(user) {
            made.own.push(files.upload_name(number));
        }
    }
    if files.keep || made.iter().all(Made::is_empty) {
        return Ok(());
    }
    let (endpoint, source) = (endpoint.clone(), source_of(sources, 0));
    let (interrupted, files) = (Arc::clone(interrupted), files.clone());
    on_a_thread(move || async move {
        let client = client(endpoint, source);
        let deleting = delete(&client, part, &files, made);
        let deleted = race(async { Some(deleting.await) }, async {
            told(&interrupted).await;
            sleep_until(Instant::now() + PATIENCE).await;
            None
        });
        match deleted.await {
            Some(result) => result.map_err(|failure| failure.to_string()),
            None => Err("interrupted".to_owned()),
        }
    })
}

/// What one user has on the server because of this run.
struct Made {
    user: u64,
    /// Files of this part alone.
    own: Vec<String>,
    /// Files that all parts of a run use, and the directory of some of them.
    names: Vec<String>,
    directory: Option<String>,
    /// Whether there is a sign of this part.
    is_signed: bool,
}

impl Made {
    const fn of(user: u64) -> Self {
        Self { user, own: Vec::new(), names: Vec::new(), directory: None, is_signed: false }
    }

    const fn is_empty(&self) -> bool {
        self.own.is_empty() && self.names.is_empty() && self.directory.is_none() && !self.is_signed
    }
}

async fn make(
    client: &Client,
    part: Part,
    users: u64,
    workload: &Workload,
    all: &RefCell<Vec<Made>>,
) -> Result<(), Failure> {
    for user in 0..users {
        all.borrow_mut().push(Made::of(user));
        make_for(&client.clone().as_user(user), part, workload, all).await?;
    }
    Ok(())
}

/// For the user of the last of `all`.
async fn make_for(
    client: &Client,
    part: Part,
    workload: &Workload,
    all: &RefCell<Vec<Made>>,
) -> Result<(), Failure> {
    let note = |change: &dyn Fn(&mut Made)| {
        if let Some(made) = all.borrow_mut().last_mut() {
            change(made);
        }
    };
    let mut record = unmeasured();
    let mut session = client.log_in(&mut record).await?;
    let files = &workload.files;
    if part != Part::WHOLE && !files.keep {
        // One left by a run before is as good.
        session.exchange(Phase::Operation, &format!("MKD {}", files.sign(part.number))).await?;
        note(&|made| made.is_signed = true);
    }
    for (name, content) in needed(workload) {
        make_file(&mut session, name, content, &note, &mut record).await?;
    }
    if files.entries > 0 {
        let directory = files.directory();
        // A directory left by a run before is as good; its files are replaced.
        session.exchange(Phase::Operation, &format!("MKD {directory}")).await?;
        note(&|made| made.directory = Some(directory.clone()));
        for index in 0..files.entries {
            let content = crate::verify::Content::new(0, index, 0);
            let name = format!("{directory}/{index}");
            make_file(&mut session, name, content, &note, &mut record).await?;
        }
    }
    session.quit().await
}

async fn make_file(
    session: &mut Session,
    name: String,
    content: crate::verify::Content,
    note: &impl Fn(&dyn Fn(&mut Made)),
    record: &mut OperationRecord,
) -> Result<(), Failure> {
    // Noted before the upload: servers may keep part of one that fails.
    note(&|made| made.names.push(name.clone()));
    session.upload(&name, content, Pace::Full, None, record).await.map(drop)
}

async fn delete(client: &Client, part: Part, files: &Files, all: Vec<Made>) -> Result<(), Failure> {
    for mut made in all.into_iter().filter(|made| !made.is_empty()) {
        let mut session = client.clone().as_user(made.user).log_in(&mut unmeasured()).await?;
        if made.is_signed {
            session.exchange(Phase::Operation, &format!("RMD {}", files.sign(part.number))).await?;
            if others_are_there(&mut session, part, files).await? {
                (made.names, made.directory) = (Vec::new(), None);
            }
        }
        for name in made.own.into_iter().chain(made.names) {
            // A file that was never made, or that the server does not let us delete, stays.
            session.exchange(Phase::Operation, &format!("DELE {name}")).await?;
        }
        if let Some(directory) = made.directory {
            session.exchange(Phase::Operation, &format!("RMD {directory}")).await?;
        }
        session.quit().await?;
    }
    Ok(())
}

/// Whether another part of the run has not ended: its directory is still there. The last two of
/// them may both see none, and then both delete.
async fn others_are_there(
    session: &mut Session,
    part: Part,
    files: &Files,
) -> Result<bool, Failure> {
    for number in (1..=part.of).filter(|number| *number != part.number) {
        let sign = files.sign(number);
        if session.exchange(Phase::Operation, &format!("CWD {sign}")).await?.is_completion() {
            // Names are of the directory above.
            session.exchange(Phase::Operation, "CDUP").await?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns once `interrupted` is set.
async fn told(interrupted: &AtomicBool) {
    while !interrupted.load(Ordering::Relaxed) {
        sleep_until(Instant::now() + LOOK).await;
    }
}

/// The files that downloads fetch.
fn needed(workload: &Workload) -> Vec<(String, crate::verify::Content)> {
    let files = &workload.files;
    if !workload.downloads() || files.existing.is_some() {
        return Vec::new();
    }
    (0..files.count).map(|index| (files.name(index), files.content(index))).collect()
}

fn client(mut endpoint: Endpoint, source: Option<std::net::IpAddr>) -> Client {
    // Where resumption is required, the first handshake would have no session to resume.
    endpoint.resume_control = crate::client::ResumeMode::Never;
    Client::new(Rc::new(endpoint), source, Arc::new(TicketStore::new(TICKETS)))
}

fn unmeasured() -> OperationRecord {
    let window = Window { start: Instant::now(), warmup: FAR, measured: None };
    let recorder: SharedRecorder = Rc::new(RefCell::new(Recorder::new(window)));
    OperationRecord::unrecorded(&recorder)
}

fn on_a_thread<F>(run: impl FnOnce() -> F + Send + 'static) -> Result<(), String>
where
    F: Future<Output = Result<(), String>> + 'static,
{
    let thread = engine::start("prepare", None, run).map_err(|error| error.to_string())?;
    thread.join().map_err(|error| error.to_string())?
}
