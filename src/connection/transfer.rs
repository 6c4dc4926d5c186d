//! The server-DTP (RFC 959 §2.2): one task a transfer, moving octets between storage and a data
//! connection. When it may start and what it is answered with are the session's business.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tracing::Level;

use super::data::{self, DataConnection, Interrupts, Origin};
use super::data_path::DataPath;
use super::kept::KeptConnection;
use super::shaking::DataTls;
use super::source::Reads;
use super::write_behind::WritePath;
use super::{Context, log_words, storage};
use crate::clock;
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::session::{Input, ProtectionLevel, TransferError};
use crate::runtime::{FileHelpers, Flag, Mailbox, MailboxSender, give_way, mailbox, race};
use crate::tls::HandshakeFacts;
use crate::vfs::{Root, StorePolicy, Transfer};

/// What a transfer is told when it is started.
pub(super) struct Job {
    pub(super) context: Rc<Context>,
    pub(super) root: Arc<Root>,
    /// The helper threads, for work of this user at what the request names.
    pub(super) files: FileHelpers,
    /// Whether what it names may be opened on this thread.
    pub(super) local: bool,
    pub(super) request: TransferRequest,
    /// What the handshake of its data connection is made with.
    pub(super) tls: DataTls,
    pub(super) user: String,
    pub(super) peer: SocketAddr,
    /// Whether a bare FIN is the end of an upload under TLS.
    pub(super) lax_upload_eof: bool,
    /// Answers go here.
    pub(super) mailbox: MailboxSender<Input>,
}

/// The session's hold on its transfer. Dropping it ends the transfer as ABOR does, and closes what
/// is left of one that failed.
pub(super) struct TransferHandle {
    abort: Flag,
    over: Flag,
    moved: Rc<Cell<u64>>,
    start: MailboxSender<Go>,
}

/// The 150 is out: move.
struct Go {
    origin: Origin,
    level: ProtectionLevel,
}

/// What the log says about a transfer beside its result.
#[derive(Default)]
pub(super) struct Report {
    facts: Option<HandshakeFacts>,
    path: Option<DataPath>,
    /// Downloads in user space: how the octets came from storage.
    pub(super) reads: Option<Reads>,
    /// Uploads: how the octets got to storage.
    pub(super) storage: Option<WritePath>,
}

impl TransferHandle {
    /// Opens storage and reports [`Input::TransferOpened`].
    pub(super) fn start(job: Job) -> Self {
        let (sender, receiver) = mailbox(1);
        let moved = Rc::new(Cell::new(0));
        let handle = Self { abort: Flag::new(), over: Flag::new(), moved, start: sender };
        let interrupts = Interrupts {
            abort: handle.abort.clone(),
            cut: job.context.cut.clone(),
            stall: job.context.policy().stall_timeout,
        };
        let (moved, over) = (handle.moved.clone(), handle.over.clone());
        let tasks = job.context.tasks.clone();
        tasks.spawn(run(job, receiver, interrupts, moved, over));
        handle
    }

    pub(super) fn run(&self, origin: Origin, level: ProtectionLevel) {
        // A transfer that is gone already has said so through the mailbox.
        let _ = self.start.send(Go { origin, level });
    }

    pub(super) fn abort(&self) {
        self.abort.set();
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.get()
    }
}

impl Drop for TransferHandle {
    fn drop(&mut self) {
        self.abort.set();
        self.over.set();
    }
}

async fn run(
    job: Job,
    mut start: Mailbox<Go>,
    interrupts: Interrupts,
    moved: Rc<Cell<u64>>,
    over: Flag,
) {
    let files = &job.files;
    let policy = job.context.policy();
    let store = StorePolicy {
        failed_upload: policy.failed_upload,
        durability: policy.durability,
        hashes: policy.hash_uploads,
        leftover_age: policy.leftover_age,
    };
    let stop = || interrupts.check().is_err();
    let opening = async { Some(storage::open(&job, store, stop).await) };
    let gone = async {
        over.wait().await;
        None
    };
    // What a session that is gone has asked for is closed where it is opened.
    let Some(opened) = race(opening, gone).await else { return };
    let transfer = match opened {
        Ok((transfer, opened)) => {
            let _ = job.mailbox.send(Input::TransferOpened(Ok(opened)));
            transfer
        }
        Err(error) => {
            log_refusal(&job, error);
            let _ = job.mailbox.send(Input::TransferOpened(Err(error)));
            return;
        }
    };
    let aborted = async {
        interrupts.abort.wait().await;
        None
    };
    let Some(go) = race(async { start.recv().await }, aborted).await else {
        storage::discard(files, transfer).await;
        let _ = job.mailbox.send(Input::TransferFinished(Err(TransferError::Aborted)));
        return;
    };
    let started = clock::now();
    let mut report = Report::default();
    let mut pump = Pump { job: &job, moved: &moved, connection: None };
    let result = pump.transfer(transfer, go, interrupts, &mut report).await;
    let connection = pump.connection.take();
    log(&job, started, moved.get(), &report, &result);
    if matches!(result, Err(TransferError::Truncated)) {
        warn_of_truncation(&job);
    }
    count(&job, moved.get(), report.path, &result);
    let _ = job.mailbox.send(Input::TransferFinished(result.clone()));
    let Some(connection) = connection else { return };
    let kept = KeptConnection::new(&job.context);
    let parting = async {
        match result {
            Ok(()) => connection.linger(&job.context, &kept).await,
            Err(error) => connection.part(&error, is_upload(&job), &over).await,
        }
    };
    race(kept.crowded_out(), parting).await;
}

const fn is_upload(job: &Job) -> bool {
    matches!(job.request, TransferRequest::Store { .. })
}

/// One transfer at work.
pub(super) struct Pump<'a> {
    pub(super) job: &'a Job,
    /// Octets of the file or listing so far.
    pub(super) moved: &'a Cell<u64>,
    pub(super) connection: Option<DataConnection>,
}

impl Pump<'_> {
    async fn transfer(
        &mut self,
        transfer: Transfer,
        go: Go,
        interrupts: Interrupts,
        report: &mut Report,
    ) -> Result<(), TransferError> {
        let _running = self.job.context.gauges.transfers.hold();
        let files = &self.job.files;
        let whole = self.is_sent_whole(&transfer);
        let connected = self.connect(&transfer, go, interrupts, report).await;
        if connected.is_ok() {
            let file = if let Transfer::Read(file) = &transfer { Some(file) } else { None };
            report.path = Some(if whole { self.whole_path() } else { self.choose_path(file) });
        }
        match (transfer, connected) {
            (Transfer::Write(upload), Err(error)) => {
                storage::abandon(files, upload).await;
                Err(error)
            }
            (transfer, Err(error)) => {
                storage::discard(files, transfer).await;
                Err(error)
            }
            (Transfer::Read(file), Ok(())) if whole => self.send_whole(file).await,
            (Transfer::Read(file), Ok(())) => match report.path {
                Some(DataPath::SendFile | DataPath::KernelTls) => self.send_by_kernel(file).await,
                _ => self.send_file(file, report).await,
            },
            (Transfer::List(lister), Ok(())) => self.send_listing(lister).await,
            (Transfer::Write(upload), Ok(())) => self.receive_file(upload, report).await,
        }
    }

    async fn connect(
        &mut self,
        transfer: &Transfer,
        go: Go,
        interrupts: Interrupts,
        report: &mut Report,
    ) -> Result<(), TransferError> {
        let deadline = clock::now() + self.job.context.policy().data_timeout;
        let private = go.level == ProtectionLevel::Private;
        let tls = private.then_some(&self.job.tls);
        let mut connection = data::open(go.origin, tls, deadline, interrupts).await?;
        if let Some(tls) = tls {
            // On an upload they wait until everything is in, see `hold_tickets`.
            let hold = !matches!(transfer, Transfer::Read(_)) || self.is_sent_whole(transfer);
            match connection.protect(tls, deadline, hold).await {
                Ok(facts) => report.facts = Some(facts),
                Err(error) => {
                    self.connection = Some(connection);
                    return Err(error);
                }
            }
            if !matches!(transfer, Transfer::Write(_)) {
                connection.sends();
            }
        } else {
            connection.leave_clear();
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Sends octets of the transfer.
    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        let connection = self.connection.as_mut().ok_or(TransferError::ConnectionLost)?;
        // Bounded pieces: other sessions of the shard get their turn in between.
        for piece in octets.chunks(crate::limits::TRANSFER_BATCH_BYTES) {
            connection.send(piece).await?;
            self.moved.set(self.moved.get() + piece.len() as u64);
            // A client faster than storage never lets a write wait, where ABOR would be seen.
            connection.check()?;
            give_way().await;
        }
        Ok(())
    }

    /// close_notify when protected, then FIN.
    pub(super) async fn end_sending(&mut self) -> Result<(), TransferError> {
        match &mut self.connection {
            Some(connection) => connection.end_sending().await,
            None => Err(TransferError::ConnectionLost),
        }
    }
}

fn count(job: &Job, moved: u64, path: Option<DataPath>, result: &Result<(), TransferError>) {
    let counters = &job.context.counters;
    match path {
        Some(DataPath::SendFile) => counters.transfers_sendfile.increment(),
        Some(DataPath::KernelTls) => counters.transfers_ktls.increment(),
        Some(DataPath::Records) => counters.transfers_records.increment(),
        Some(DataPath::Blocks) => counters.transfers_blocks.increment(),
        Some(DataPath::Text) => counters.transfers_text.increment(),
        None => {}
    }
    let upload = is_upload(job);
    if upload { &counters.bytes_received } else { &counters.bytes_sent }.add(moved);
    match result {
        Ok(()) if upload => counters.uploads.increment(),
        Ok(()) => counters.downloads.increment(),
        Err(_) => counters.transfers_failed.increment(),
    }
}

/// Whether anybody wants the lines below; otherwise nothing is put into words for them.
fn is_logged() -> bool {
    tracing::enabled!(target: "ringftpd::transfer", Level::INFO)
}

/// Either the connection was cut, or this client ends all its uploads so.
fn warn_of_truncation(job: &Job) {
    let (_, path) = describe(&job.request);
    tracing::warn!(
        target: "ringftpd::transfer",
        user = job.user, peer = %job.peer.ip().to_canonical(), path,
        "upload ended by FIN without TLS close_notify and was refused, because a cut connection \
         looks the same; for a client that ends all its uploads so, lax_upload_eof = true in \
         [[users]], [anonymous] or [policy] accepts them, and cut ones too"
    );
}

fn log_refusal(job: &Job, error: FileError) {
    if !is_logged() {
        return;
    }
    let (command, path) = describe(&job.request);
    tracing::info!(
        target: "ringftpd::transfer",
        user = job.user, peer = %job.peer.ip().to_canonical(), command, path,
        refused = log_words::refusal(error), errno = log_words::errno(error),
        "transfer refused"
    );
}

fn log(
    job: &Job,
    started: Instant,
    bytes: u64,
    report: &Report,
    result: &Result<(), TransferError>,
) {
    if !is_logged() {
        return;
    }
    let (command, path) = describe(&job.request);
    let milliseconds = (clock::now() - started).as_millis();
    let (tls, suite, resumption) = match &report.facts {
        Some(facts) => (facts.version, facts.cipher_suite.as_str(), facts.resumption.to_string()),
        None => match result {
            Err(TransferError::NotResumed(reason)) => ("none", "none", reason.clone()),
            _ => ("none", "none", "none".to_owned()),
        },
    };
    let data_path = report.path.map_or("none", DataPath::name);
    // Only what there was: a hot download says nothing of disks.
    let read = |way: fn(Reads) -> u64| report.reads.map(way).filter(|&octets| octets > 0);
    let errno = match result {
        Err(TransferError::Storage(error)) => log_words::errno(*error),
        _ => None,
    };
    tracing::info!(
        target: "ringftpd::transfer",
        user = job.user, peer = %job.peer.ip().to_canonical(), command, path, bytes,
        milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX),
        tls, suite, resumption, data_path,
        read_cached = read(|reads| reads.cached), read_cold = read(|reads| reads.cold),
        read_direct = read(|reads| reads.direct), storage = report.storage.map(WritePath::name),
        end = log_words::end(result), errno,
        "transfer ended"
    );
}

fn describe(request: &TransferRequest) -> (&'static str, &[u8]) {
    let (command, path) = match request {
        TransferRequest::Retrieve { path, .. } => ("retrieve", path),
        TransferRequest::Store { path, .. } => ("store", path),
        TransferRequest::List(request) => ("list", &request.path),
    };
    (command, path.as_bytes())
}
