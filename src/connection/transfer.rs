//! The server-DTP (RFC 959 §2.2): one task a transfer, moving octets between storage and a data
//! connection. When it may start and what it is answered with are the session's business.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::data::{self, DataConnection, Interrupts, Origin, Received};
use super::source::Reads;
use super::{Context, storage};
use crate::buffer::Block;
use crate::clock;
use crate::limits::TRANSFER_BATCH_SMALL_BYTES;
use crate::protocol::ascii::FromNetwork;
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::session::{Input, ProtectionLevel, TransferError};
use crate::runtime::{Flag, Mailbox, MailboxSender, mailbox, race, yield_if_needed};
use crate::tls::{ControlSession, HandshakeFacts, Purpose};
use crate::vfs::{Lister, Root, StorePolicy, Transfer, Upload};

/// What a transfer is told when it is started.
pub(super) struct Job {
    pub(super) context: Rc<Context>,
    pub(super) root: Arc<Root>,
    pub(super) request: TransferRequest,
    /// What a data connection resumes.
    pub(super) session: Arc<ControlSession>,
    pub(super) user: String,
    pub(super) peer: SocketAddr,
    /// Answers go here.
    pub(super) mailbox: MailboxSender<Input>,
}

/// The session's hold on its transfer. Dropping it ends the transfer as ABOR does.
pub(super) struct TransferHandle {
    abort: Flag,
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
    /// Downloads: how the octets came from storage.
    pub(super) reads: Option<Reads>,
}

impl TransferHandle {
    /// Opens storage and reports [`Input::TransferOpened`].
    pub(super) fn start(job: Job) -> Self {
        let (sender, receiver) = mailbox(1);
        let handle = Self { abort: Flag::new(), moved: Rc::new(Cell::new(0)), start: sender };
        let interrupts = Interrupts {
            abort: handle.abort.clone(),
            cut: job.context.cut.clone(),
            stall: job.context.policy().stall_timeout,
        };
        let moved = handle.moved.clone();
        let tasks = job.context.tasks.clone();
        tasks.spawn(run(job, receiver, interrupts, moved));
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
    }
}

async fn run(job: Job, mut start: Mailbox<Go>, interrupts: Interrupts, moved: Rc<Cell<u64>>) {
    let helpers = &job.context.parts.helpers;
    let policy = job.context.policy();
    let store = StorePolicy { failed_upload: policy.failed_upload, durability: policy.durability };
    let opened = storage::open(helpers, job.root.clone(), job.request.clone(), store).await;
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
        return storage::discard(helpers, transfer).await;
    };
    let started = clock::now();
    let mut report = Report::default();
    let mut pump = Pump { job: &job, moved: &moved, connection: None };
    let result = pump.transfer(transfer, go, interrupts, &mut report).await;
    let connection = pump.connection.take();
    log(&job, started, moved.get(), &report, &result);
    count(&job, moved.get(), &result);
    // A failed connection is closed before its reply; a good one has sent its FIN.
    let lingering = connection.filter(|_| result.is_ok());
    let _ = job.mailbox.send(Input::TransferFinished(result));
    if let Some(connection) = lingering {
        connection.linger().await;
    }
}

pub(super) struct Pump<'a> {
    pub(super) job: &'a Job,
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
        let helpers = &self.job.context.parts.helpers;
        let connected = self.connect(&transfer, go, interrupts, report).await;
        match (transfer, connected) {
            (Transfer::Write(upload), Err(error)) => {
                storage::abandon(helpers, upload).await;
                Err(error)
            }
            (transfer, Err(error)) => {
                storage::discard(helpers, transfer).await;
                Err(error)
            }
            (Transfer::Read(file), Ok(())) => self.send_file(file, report).await,
            (Transfer::List(lister), Ok(())) => self.send_listing(lister).await,
            (Transfer::Write(upload), Ok(())) => self.receive_file(upload).await,
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
        let mut connection = data::open(go.origin, deadline, interrupts).await?;
        if go.level == ProtectionLevel::Private {
            let purpose = match transfer {
                Transfer::Write(_) => Purpose::DataUpload,
                Transfer::Read(_) | Transfer::List(_) => Purpose::DataDownload,
            };
            let context = &self.job.context;
            let protecting = connection.protect(context, purpose, &self.job.session, deadline);
            let facts = protecting.await.map_err(|error| match error {
                TransferError::Protection => TransferError::HandshakeFailed,
                error => error,
            })?;
            report.facts = Some(facts);
        }
        self.connection = Some(connection);
        Ok(())
    }

    async fn send_listing(&mut self, lister: Lister) -> Result<(), TransferError> {
        let mut lister = Some(lister);
        let mut text = Vec::new();
        loop {
            let helpers = &self.job.context.parts.helpers;
            let more = storage::list(helpers, &mut lister, &mut text).await;
            let more = more.map_err(TransferError::Storage)?;
            self.send(&text).await?;
            if !more {
                return self.end_sending().await;
            }
        }
    }

    pub(super) async fn send(&mut self, octets: &[u8]) -> Result<(), TransferError> {
        let connection = self.connection.as_mut().ok_or(TransferError::ConnectionLost)?;
        // Bounded pieces: other sessions of the shard get their turn in between.
        for piece in octets.chunks(crate::limits::TRANSFER_BATCH_BYTES) {
            connection.send(piece).await?;
            self.moved.set(self.moved.get() + piece.len() as u64);
            yield_if_needed().await;
        }
        Ok(())
    }

    pub(super) async fn end_sending(&mut self) -> Result<(), TransferError> {
        match &mut self.connection {
            Some(connection) => connection.end_sending().await,
            None => Err(TransferError::ConnectionLost),
        }
    }

    async fn receive_file(&mut self, upload: Upload) -> Result<(), TransferError> {
        let mut upload = Some(upload);
        let received = self.receive_all(&mut upload).await;
        let helpers = &self.job.context.parts.helpers;
        match (received, upload) {
            (Ok(()), Some(upload)) => {
                // Answer the client's close_notify before the file is synced: clients wait for it.
                if let Some(connection) = &mut self.connection {
                    let _ = connection.end_sending().await;
                }
                storage::finish(helpers, upload).await.map_err(TransferError::Storage)
            }
            (Ok(()), None) => Err(TransferError::Storage(FileError::Io(0))),
            (Err(error), upload) => {
                if let Some(upload) = upload {
                    storage::abandon(helpers, upload).await;
                }
                Err(error)
            }
        }
    }

    async fn receive_all(&mut self, upload: &mut Option<Upload>) -> Result<(), TransferError> {
        let ascii = matches!(self.job.request, TransferRequest::Store { ascii: true, .. });
        let mut converter = ascii.then(FromNetwork::new);
        let mut block = self.job.context.blocks.lease();
        let mut filled = 0;
        let received = loop {
            // Room for one more whole record at least, else the block goes to storage.
            if block.len() - filled < TRANSFER_BATCH_SMALL_BYTES && filled > 0 {
                self.store(upload, &mut block, &mut filled, converter.as_mut()).await?;
            }
            match self.receive(&mut block.as_mut_slice()[filled..]).await {
                Ok(0) => break Ok(()),
                Ok(count) => filled += count,
                Err(error) => break Err(error),
            }
            yield_if_needed().await;
        };
        // What came before a failure is stored, too: policy may keep it.
        self.store(upload, &mut block, &mut filled, converter.as_mut()).await?;
        if let Some(converter) = &mut converter {
            let mut rest = Vec::new();
            converter.finish(&mut rest);
            self.store_text(upload, &mut block, &rest).await?;
        }
        received
    }

    /// Octets received into `room`; 0 at the proper end.
    async fn receive(&mut self, room: &mut [u8]) -> Result<usize, TransferError> {
        let lax = self.job.context.policy().lax_upload_eof;
        let connection = self.connection.as_mut().ok_or(TransferError::ConnectionLost)?;
        let Received::Octets(count) = connection.receive(room, lax).await? else { return Ok(0) };
        self.moved.set(self.moved.get() + count as u64);
        Ok(count)
    }

    async fn store(
        &self,
        upload: &mut Option<Upload>,
        block: &mut Block,
        filled: &mut usize,
        converter: Option<&mut FromNetwork>,
    ) -> Result<(), TransferError> {
        let mut count = std::mem::take(filled);
        if let Some(converter) = converter {
            let mut text = Vec::with_capacity(count);
            converter.convert(&block.as_slice()[..count], &mut text);
            // A CR held back from the last block can make the text one octet longer than the
            // block it came from.
            if text.len() > block.len() {
                let (first, rest) = text.split_at(block.len());
                self.store_text(upload, block, first).await?;
                return self.store_text(upload, block, rest).await;
            }
            block.as_mut_slice()[..text.len()].copy_from_slice(&text);
            count = text.len();
        }
        let helpers = &self.job.context.parts.helpers;
        storage::write(helpers, upload, block, count).await.map_err(TransferError::Storage)
    }

    async fn store_text(
        &self,
        upload: &mut Option<Upload>,
        block: &mut Block,
        text: &[u8],
    ) -> Result<(), TransferError> {
        block.as_mut_slice()[..text.len()].copy_from_slice(text);
        let helpers = &self.job.context.parts.helpers;
        storage::write(helpers, upload, block, text.len()).await.map_err(TransferError::Storage)
    }
}

fn count(job: &Job, moved: u64, result: &Result<(), TransferError>) {
    let counters = &job.context.counters;
    let upload = matches!(job.request, TransferRequest::Store { .. });
    if upload { &counters.bytes_received } else { &counters.bytes_sent }.add(moved);
    match result {
        Ok(()) if upload => counters.uploads.increment(),
        Ok(()) => counters.downloads.increment(),
        Err(_) => counters.transfers_failed.increment(),
    }
}

fn log_refusal(job: &Job, error: FileError) {
    let (command, path) = describe(&job.request);
    tracing::info!(
        target: "ringftpd::transfer",
        user = job.user, peer = %job.peer.ip().to_canonical(), command, path,
        refused = ?error,
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
    let (command, path) = describe(&job.request);
    let milliseconds = (clock::now() - started).as_millis();
    let (tls, suite, resumption) = match &report.facts {
        Some(facts) => (facts.version, facts.cipher_suite.as_str(), facts.resumption.to_string()),
        None => ("none", "none", "none".to_owned()),
    };
    // Only what there was: a hot download says nothing of disks.
    let read = |way: fn(Reads) -> u64| report.reads.map(way).filter(|&octets| octets > 0);
    let end = match result {
        Ok(()) => "complete".to_owned(),
        Err(error) => format!("{error:?}"),
    };
    tracing::info!(
        target: "ringftpd::transfer",
        user = job.user, peer = %job.peer.ip().to_canonical(), command, path, bytes,
        milliseconds = u64::try_from(milliseconds).unwrap_or(u64::MAX),
        tls, suite, resumption,
        read_cached = read(|reads| reads.cached), read_cold = read(|reads| reads.cold),
        read_direct = read(|reads| reads.direct), end,
        "transfer ended"
    );
}

fn describe(request: &TransferRequest) -> (&'static str, String) {
    let (command, path) = match request {
        TransferRequest::Retrieve { path, .. } => ("retrieve", path),
        TransferRequest::Store { path, .. } => ("store", path),
        TransferRequest::List(request) => ("list", &request.path),
    };
    (command, path.as_bytes().escape_ascii().to_string())
}
