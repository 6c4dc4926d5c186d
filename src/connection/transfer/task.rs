//! The life of a transfer: storage is opened, the 150 goes out, the data connection comes, octets
//! move, and the session learns how it ended.

use std::cell::Cell;
use std::rc::Rc;

use super::job::{TransferJob, TransferTask};
use super::path::{self, Circumstances, Content, TransferPath};
use super::report::{TransferReport, count, log, log_file, log_refusal, warn_of_truncation};
use super::timing::Timing;
use super::{audit, download, storage};
use crate::clock;
use crate::connection::data::connection::DataConnection;
use crate::connection::data::interrupts::Interrupts;
use crate::connection::data::kept::KeptConnection;
use crate::connection::data::open::{self, Origin, Refused};
use crate::protocol::file::FileError;
use crate::protocol::session::{Input, ProtectionLevel, TransferError};
use crate::runtime::{Flag, Mailbox, MailboxSender, mailbox, race};
use crate::sys::sendfile;
use crate::vfs::{ReadFile, StorePolicy, Transfer};

/// The session's handle of its transfer. Dropping it ends the transfer as ABOR does, and closes the
/// connection of a transfer that failed.
pub(crate) struct TransferHandle {
    abort: Flag,
    over: Flag,
    moved: Rc<Cell<u64>>,
    timing: Rc<Timing>,
    start: MailboxSender<Go>,
}

/// The 150 is out: the data connection may be opened.
struct Go {
    origin: Origin,
    level: ProtectionLevel,
}

impl TransferHandle {
    /// Opens storage and reports [`Input::TransferOpened`]. `moved` is counted up as octets move.
    pub(crate) fn start(job: TransferJob, moved: Rc<Cell<u64>>) -> Self {
        let (sender, receiver) = mailbox(1);
        let timing = Rc::new(Timing::new(job.context.latencies.clone(), &job.request));
        let (abort, over) = (Flag::new(), Flag::new());
        let handle = Self { abort, over, moved, timing: timing.clone(), start: sender };
        let interrupts = Interrupts {
            abort: handle.abort.clone(),
            cut: job.context.cut.clone(),
            stall: job.policy.stall_timeout,
        };
        let (moved, over) = ((handle.moved.clone(), timing), handle.over.clone());
        let tasks = job.context.tasks.clone();
        // Boxed where it is made: it is large, and each hand it passes through would copy it.
        tasks.spawn(Box::pin(run(job, receiver, interrupts, moved, over)));
        handle
    }

    pub(crate) fn run(&self, origin: Origin, level: ProtectionLevel) {
        // If the transfer has ended already, the mailbox has its result.
        let _ = self.start.send(Go { origin, level });
    }

    pub(crate) fn abort(&self) {
        self.abort.set();
    }

    /// When its parts began and ended.
    pub(crate) fn timing(&self) -> &Timing {
        &self.timing
    }

    pub(crate) fn moved(&self) -> u64 {
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
    job: TransferJob,
    mut start: Mailbox<Go>,
    interrupts: Interrupts,
    (moved, timing): (Rc<Cell<u64>>, Rc<Timing>),
    over: Flag,
) {
    let policy = &job.policy;
    let store = StorePolicy {
        failed_upload: policy.failed_upload,
        durability: policy.durability,
        hashes: policy.hash_uploads,
        leftovers: job.context.leftovers(policy),
        write_size: policy.write_size,
    };
    let stop = || interrupts.check().is_err();
    let opening = async { Some(storage::open(&job, store, stop).await) };
    let gone = async {
        over.wait().await;
        None
    };
    let given_up = async {
        interrupts.abort.wait().await;
        Some(Err(FileError::Aborted))
    };
    // Without a session the transfer ends here; what storage still opens is closed by its helper
    // thread.
    let Some(opened) = race(race(opening, gone), given_up).await else { return };
    let (transfer, name) = match opened {
        Ok((transfer, opened)) => {
            let name = opened.name.clone();
            let _ = job.mailbox.send(Input::TransferOpened(Ok(opened)));
            (transfer, name)
        }
        Err(error) => {
            log_refusal(&job, error);
            audit::transfer_refused(job.command, &job.request, error);
            let _ = job.mailbox.send(Input::TransferOpened(Err(error)));
            return;
        }
    };
    let aborted = async {
        interrupts.abort.wait().await;
        None
    };
    let Some(go) = race(async { start.recv().await }, aborted).await else {
        return never_begun(&job, transfer, name.as_deref()).await;
    };
    let started = clock::now();
    let mut report = TransferReport::default();
    let (result, connection) =
        transfer_octets(&job, (&moved, &timing), transfer, go, interrupts, &mut report).await;
    timing.moved_all();
    log(&job, started, moved.get(), &report, &result);
    log_file(&job, started, moved.get(), name.as_deref(), result.is_ok());
    tell_of_failure(&job, &result);
    count(&job, moved.get(), &report, &result);
    let _ = job.mailbox.send(Input::TransferFinished(result.clone()));
    let Some(connection) = connection else { return };
    let context = &job.context;
    let kept = KeptConnection::new(&context.kept, &context.gauges.data_connections_kept);
    let parting = async {
        match result {
            Ok(()) => connection.linger(&context.lingering, &kept).await,
            Err(error) => connection.part(&error, job.is_upload(), &over).await,
        }
    };
    race(kept.crowded_out(), parting).await;
}

/// ABOR came before the data connection.
async fn never_begun(job: &TransferJob, transfer: Transfer, name: Option<&[u8]>) {
    give_up(job, transfer).await;
    let result = Err(TransferError::Aborted);
    let now = clock::now();
    log(job, now, 0, &TransferReport::default(), &result);
    log_file(job, now, 0, name, false);
    let _ = job.mailbox.send(Input::TransferFinished(result));
}

/// What else the log has of some failures.
fn tell_of_failure(job: &TransferJob, result: &Result<(), TransferError>) {
    match result {
        Err(TransferError::Truncated) => warn_of_truncation(job),
        Err(TransferError::Storage(error)) => {
            audit::transfer_refused(job.command, &job.request, *error);
        }
        _ => {}
    }
}

/// How a transfer ended, and the connection that must still be closed.
type Ended = (Result<(), TransferError>, Option<DataConnection>);

async fn transfer_octets(
    job: &TransferJob,
    (moved, timing): (&Cell<u64>, &Timing),
    transfer: Transfer,
    go: Go,
    interrupts: Interrupts,
    report: &mut TransferReport,
) -> Ended {
    let _running = job.context.gauges.transfers.hold();
    let whole = download::is_one_write(job, &transfer);
    // On an upload tickets wait until all data is in, see [`DataConnection::hold_tickets`].
    let hold_tickets = whole || !matches!(transfer, Transfer::Read(_));
    let deadline = clock::now() + job.policy.data_timeout;
    let tls = (go.level == ProtectionLevel::Private).then_some(&job.tls);
    let latencies = &job.context.latencies;
    let (mut connection, facts) =
        match open::open(go.origin, tls, deadline, interrupts, hold_tickets, latencies).await {
            Ok(opened) => opened,
            Err(Refused { connection, error }) => {
                give_up(job, transfer).await;
                return (Err(error), connection);
            }
        };
    timing.opened();
    report.facts = facts;
    if !job.is_upload() {
        connection.sends();
    }
    let mut task = TransferTask { job, moved, timing, connection };
    let path = choose_path(&mut task, &transfer, whole);
    report.path = Some(path);
    let result = match transfer {
        Transfer::Read(file) if whole => task.send_in_one_write(file).await,
        Transfer::Read(file) => match path {
            TransferPath::SendFile | TransferPath::KernelTls => task.send_by_kernel(file).await,
            TransferPath::Records | TransferPath::Blocks | TransferPath::Text => {
                task.send_file(file, report).await
            }
        },
        Transfer::List(lister) => task.send_listing(lister).await,
        Transfer::Write(upload) => task.receive_file(upload, report).await,
    };
    report.sending = task.connection.sending();
    (result, Some(task.connection))
}

/// Nothing was moved.
async fn give_up(job: &TransferJob, transfer: Transfer) {
    match transfer {
        Transfer::Write(upload) => {
            let files = job.files.clone();
            let giving_up = async move { storage::abandon(&files, upload).await };
            storage::soon(&job.context, giving_up).await;
        }
        Transfer::Read(_) | Transfer::List(_) => job.files.dispose(transfer),
    }
}

/// Chooses the path of the octets, and hands the keys to the kernel where the path needs it.
fn choose_path(task: &mut TransferTask<'_>, transfer: &Transfer, whole: bool) -> TransferPath {
    let context = &task.job.context;
    let file = if let Transfer::Read(file) = transfer { Some(file) } else { None };
    let content = Content::of(&task.job.request, file.map_or(0, ReadFile::left));
    let kernel_tls = context.kernel_tls;
    let path = path::choose(&Circumstances {
        content,
        whole,
        protected: task.connection.is_protected(),
        kernel_tls,
        cipher: task.connection.kernel_cipher(),
        cache_tells: matches!(content, Content::File(_))
            && !whole
            && file.is_some_and(|file| {
                !file.is_direct()
                    && !file.is_remote()
                    && sendfile::is_cached(file, file.position(), 1).is_ok()
            }),
    });
    if path != TransferPath::KernelTls {
        return path;
    }
    let rekey = kernel_tls.is_some_and(|abilities| abilities.rekey);
    if let Err(error) = task.connection.hand_over(rekey) {
        // The session is unchanged: user space goes on sealing.
        tracing::debug!(%error, "the kernel refused a TLS session");
        context.counters.ktls_fallbacks.increment();
        return TransferPath::Records;
    }
    if file.is_some_and(ReadFile::is_immutable) {
        match task.connection.allow_zerocopy() {
            Ok(()) => context.counters.ktls_zerocopy.increment(),
            Err(error) => tracing::debug!(%error, "the kernel's TLS copies what it sends"),
        }
    }
    path
}
