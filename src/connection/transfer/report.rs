//! What is logged and counted about a transfer.

use std::time::Instant;

use tracing::Level;

use super::job::TransferJob;
use super::log_words;
use super::path::TransferPath;
use crate::auth::ANONYMOUS_NAMES;
use crate::clock;
use crate::connection::data::connection::Sending;
use crate::events::{TransferEnded, TransferRefused, Transferred};
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::session::TransferError;
use crate::runtime::with_logged_of;
use crate::tls::HandshakeFacts;

/// What is logged about a transfer besides its result.
#[derive(Default)]
pub(super) struct TransferReport {
    pub(super) facts: Option<HandshakeFacts>,
    pub(super) path: Option<TransferPath>,
    /// How the socket took what was sent.
    pub(super) sending: Sending,
    /// Downloads in user space: how the octets were read from storage.
    pub(super) reads: Option<Reads>,
    /// Uploads: how the octets were written to storage.
    pub(super) storage: Option<WritePath>,
}

/// How the octets of an upload were written to storage, for the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WritePath {
    /// Nothing was written.
    #[default]
    Nothing,
    /// All on the shard's thread.
    Inline,
    /// Some or all by helper threads.
    Behind,
}

impl WritePath {
    /// The word of the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Inline => "inline",
            Self::Behind => "write-behind",
        }
    }
}

/// Downloads: octets by how they were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// From the page cache, on the shard's thread.
    pub(super) cached: u64,
    /// Through the page cache, waiting for the disk.
    pub(super) cold: u64,
    /// From the disk, without the page cache.
    pub(super) direct: u64,
}

/// Counts a transfer that has ended.
pub(super) fn count(
    job: &TransferJob,
    moved: u64,
    report: &TransferReport,
    result: &Result<(), TransferError>,
) {
    let counters = &job.context.counters;
    match report.path {
        Some(TransferPath::SendFile) => counters.transfers_sendfile.increment(),
        Some(TransferPath::KernelTls) => counters.transfers_ktls.increment(),
        Some(TransferPath::Records) => counters.transfers_records.increment(),
        Some(TransferPath::Blocks) => counters.transfers_blocks.increment(),
        Some(TransferPath::Text) => counters.transfers_text.increment(),
        None => {}
    }
    let upload = job.is_upload();
    if upload {
        counters.bytes_received.add(moved);
    } else {
        counters.bytes_sent.add(moved);
        counters.download_sends.add(report.sending.calls);
        counters.download_waits.add(report.sending.waits);
    }
    match result {
        Ok(()) if upload => counters.uploads.increment(),
        Ok(()) => counters.downloads.increment(),
        Err(_) => counters.transfers_failed.increment(),
    }
}

/// Whether transfer logging is on; formatting is skipped otherwise.
fn is_logged() -> bool {
    tracing::enabled!(target: "ringftpd::transfer", Level::INFO)
}

/// Either the connection was cut, or this client ends its uploads without close_notify: some do so
/// always, and curl does when its send buffer is full at that moment.
pub(super) fn warn_of_truncation(job: &TransferJob) {
    let (_, path) = describe(&job.request);
    tracing::warn!(
        target: "ringftpd::transfer",
        user = job.user, path,
        "upload ended by FIN without TLS close_notify and was refused, because a cut connection \
         looks the same; for clients that end uploads so (the README says which, and what helps \
         curl), lax_upload_eof = true in [[users]], [anonymous] or [policy] accepts them, and cut \
         ones too"
    );
}

pub(super) fn log_refusal(job: &TransferJob, error: FileError) {
    if !is_logged() {
        return;
    }
    let (command, path) = describe(&job.request);
    let (refused, errno) = (log_words::refusal(error), log_words::errno(error));
    TransferRefused { user: &job.user, command, path, refused, errno }.log();
}

/// A line of `log.xferlog`, if there is one: of files, and not of listings. `name` is what storage
/// chose for STOU.
pub(super) fn log_file(
    job: &TransferJob,
    started: Instant,
    bytes: u64,
    name: Option<&[u8]>,
    complete: bool,
) {
    let (path, ascii, upload) = match &job.request {
        TransferRequest::Retrieve { path, ascii, .. } => (path, *ascii, false),
        TransferRequest::Store { path, ascii, .. } => (path, *ascii, true),
        TransferRequest::List(_) => return,
    };
    if job.context.settings().log.xferlog.is_none() {
        return;
    }
    let mut path = path.as_bytes().to_vec();
    if let Some(name) = name {
        let directory = path.iter().rposition(|&octet| octet == b'/').map_or(0, |slash| slash + 1);
        path.truncate(directory);
        path.extend_from_slice(name);
    }
    let line = Transferred {
        ended: clock::unix_time(),
        took: clock::now().saturating_duration_since(started),
        peer: with_logged_of(|of| of.map(|of| of.peer)),
        bytes,
        path: &path,
        ascii,
        upload,
        anonymous: job.user == ANONYMOUS_NAMES[0],
        user: &job.user,
        complete,
    };
    line.log();
}

pub(super) fn log(
    job: &TransferJob,
    started: Instant,
    bytes: u64,
    report: &TransferReport,
    result: &Result<(), TransferError>,
) {
    if !is_logged() {
        return;
    }
    let (command, path) = describe(&job.request);
    let milliseconds = (clock::now() - started).as_millis();
    let (tls, suite, resumption) = match &report.facts {
        Some(facts) => {
            (facts.version.name(), facts.cipher_suite.as_str(), facts.resumption.to_string())
        }
        None => match result {
            Err(TransferError::NotResumed(reason)) => ("none", "none", reason.clone()),
            _ => ("none", "none", "none".to_owned()),
        },
    };
    let data_path = report.path.map_or("none", TransferPath::name);
    // Only ways that were used: a download from the page cache logs nothing about disks.
    let read = |way: fn(Reads) -> u64| report.reads.map(way).filter(|&octets| octets > 0);
    let errno = match result {
        Err(TransferError::Storage(error)) => log_words::errno(*error),
        _ => None,
    };
    let event = TransferEnded {
        user: &job.user,
        command,
        path,
        bytes,
        milliseconds: u64::try_from(milliseconds).unwrap_or(u64::MAX),
        tls,
        suite,
        resumption: &resumption,
        data_path,
        read_cached: read(|reads| reads.cached),
        read_cold: read(|reads| reads.cold),
        read_direct: read(|reads| reads.direct),
        storage: report.storage.map(WritePath::name),
        end: log_words::end(result),
        errno,
    };
    event.log();
}

fn describe(request: &TransferRequest) -> (&'static str, &[u8]) {
    let (command, path) = match request {
        TransferRequest::Retrieve { path, .. } => ("retrieve", path),
        TransferRequest::Store { path, .. } => ("store", path),
        TransferRequest::List(request) => ("list", &request.path),
    };
    (command, path.as_bytes())
}
