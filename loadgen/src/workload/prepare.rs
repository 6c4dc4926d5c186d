//! Before the run: the files that downloads fetch and listings show are made on the server itself,
//! through FTP, so that any server can be measured. After it: they are deleted.

use std::{rc::Rc, sync::Arc};

use super::{Kind, Workload, source_of};
use crate::{
    client::{Client, Endpoint, Failure, Pace, SharedRecorder, TicketStore, Trace},
    engine,
    measure::{Phase, Recorder, Window},
};

/// Tickets kept for the transfers of the preparation.
const TICKETS: usize = 16;

/// A warm-up that nothing outlasts: what prepares a run is measured nowhere.
const FAR: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Makes what `workload` needs on the server.
///
/// # Errors
///
/// A sentence: what the server said.
pub fn prepare(
    workload: &Workload,
    endpoint: &Endpoint,
    sources: &[std::net::IpAddr],
) -> Result<(), String> {
    let files = needed(workload);
    let entries = entries(workload);
    if files.is_empty() && entries == 0 {
        return Ok(());
    }
    let (workload, endpoint) = (workload.clone(), endpoint.clone());
    let source = source_of(sources, 0);
    on_a_thread(move || async move {
        let client = client(endpoint, source);
        let mut trace = unmeasured();
        let mut session = client.log_in(&mut trace).await?;
        for (name, content) in files {
            session.upload(&name, content, Pace::Full, None, &mut trace).await?;
        }
        if entries > 0 {
            let directory = workload.files.directory();
            // A directory left by a run before is as good; its files are replaced.
            session.exchange(Phase::Operation, &format!("MKD {directory}")).await?;
            for index in 0..entries {
                let name = format!("{directory}/{index}");
                let content = crate::verify::Content::new(0, index, 0);
                session.upload(&name, content, Pace::Full, None, &mut trace).await?;
            }
        }
        session.quit().await
    })
}

/// Deletes what [`prepare`] and the uploads of clients `0..clients` left.
///
/// # Errors
///
/// A sentence; the measurements are not touched by it.
pub fn clean_up(
    workload: &Workload,
    endpoint: &Endpoint,
    sources: &[std::net::IpAddr],
    uploaders: Vec<u64>,
) -> Result<(), String> {
    let files = &workload.files;
    let uploads = matches!(
        workload.kind,
        Kind::Upload(_) | Kind::SmallFiles { upload: true } | Kind::Mixed(_)
    );
    let mut names: Vec<String> = needed(workload).into_iter().map(|(name, _)| name).collect();
    if uploads {
        names.extend(uploaders.into_iter().map(|number| files.upload_name(number)));
    }
    let directory = files.directory();
    let entries = entries(workload);
    names.extend((0..entries).map(|index| format!("{directory}/{index}")));
    if files.keep || names.is_empty() {
        return Ok(());
    }
    let (endpoint, source) = (endpoint.clone(), source_of(sources, 0));
    on_a_thread(move || async move {
        let mut session = client(endpoint, source).log_in(&mut unmeasured()).await?;
        for name in names {
            // A file that was never made, or that the server does not let us delete, stays.
            session.exchange(Phase::Operation, &format!("DELE {name}")).await?;
        }
        if entries > 0 {
            session.exchange(Phase::Operation, &format!("RMD {directory}")).await?;
        }
        session.quit().await
    })
}

/// The files that downloads fetch.
fn needed(workload: &Workload) -> Vec<(String, crate::verify::Content)> {
    let files = &workload.files;
    let downloads = match &workload.kind {
        Kind::Download(_) | Kind::SmallFiles { upload: false } => true,
        Kind::Mixed(scenario) => scenario.downloads(),
        _ => false,
    };
    if !downloads || files.existing.is_some() {
        return Vec::new();
    }
    (0..files.count).map(|index| (files.name(index), files.content(index))).collect()
}

fn entries(workload: &Workload) -> u64 {
    if matches!(workload.kind, Kind::List { .. }) { workload.files.entries } else { 0 }
}

fn client(mut endpoint: Endpoint, source: Option<std::net::IpAddr>) -> Client {
    // One that demands a resumed session may have none for its first handshake.
    endpoint.resume_control = crate::client::ResumeMode::Never;
    Client::new(Rc::new(endpoint), source, Arc::new(TicketStore::new(TICKETS)))
}

fn unmeasured() -> Trace {
    let window = Window { start: std::time::Instant::now(), warmup: FAR };
    let recorder: SharedRecorder = Rc::new(std::cell::RefCell::new(Recorder::new(window)));
    Trace::unrecorded(&recorder)
}

fn on_a_thread<F>(run: impl FnOnce() -> F + Send + 'static) -> Result<(), String>
where
    F: Future<Output = Result<(), Failure>> + 'static,
{
    let thread = engine::start("prepare", None, run).map_err(|error| error.to_string())?;
    let result = thread.join().map_err(|error| error.to_string())?;
    result.map_err(|failure| {
        format!("{}: {}: {}", failure.phase.title(), failure.kind.name(), failure.detail)
    })
}
