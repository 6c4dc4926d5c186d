//! Receiving an upload: records from the data connection, opened into blocks of the pool, and full
//! blocks handed to [`WriteBehind`] while the next one fills.
//!
//! Under TLS two blocks are in use: records arrive in one, and the plaintext of whole records is
//! packed into the other, so that storage gets long runs from aligned memory and only the cipher
//! and the kernel copy octets. In clear the kernel fills the second block directly.

use std::io;
use std::pin::pin;

use super::low_water::LowWater;
use super::turn::UploadTurn;
use super::write_behind::WriteBehind;
use crate::buffer::Block;
use crate::clock;
use crate::connection::context::Context;
use crate::connection::data::connection::{DataConnection, write};
use crate::connection::data::interrupts::Interrupts;
use crate::connection::transfer::job::{TransferJob, TransferTask};
use crate::connection::transfer::report::TransferReport;
use crate::connection::transfer::storage;
use crate::limits::{
    STORING_PATIENCE, TLS_RECORD_BYTES_MAX, UPLOAD_LOW_WATER_BYTES, UPLOAD_PATIENCE,
};
use crate::protocol::ascii::FromNetwork;
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::policy::FailedUpload;
use crate::protocol::session::TransferError;
use crate::runtime::{Stream, give_way, race, sleep_until, timeout_at};
use crate::sys::socket::set_low_water;
use crate::tls::{Channel, OpenedRecord};
use crate::vfs::Upload;

impl TransferTask<'_> {
    /// Receives the whole upload and publishes it; on an error it is abandoned as the policy says.
    pub(in super::super) async fn receive_file(
        &mut self,
        upload: Upload,
        report: &mut TransferReport,
    ) -> Result<(), TransferError> {
        let job = self.job;
        let Context { blocks, counters, .. } = &*job.context;
        let mut writer = WriteBehind::new(blocks, counters, &job.files, upload);
        let (received, rest) = self.receive_all(&mut writer).await;
        let mut rest = Some(rest);
        // A slow disk may take its time although the client has asked for the end meanwhile, one
        // that does not answer may not.
        let abort = self.connection.interrupts.abort.clone();
        let mut given_up = pin!(async move {
            abort.wait().await;
            sleep_until(clock::now() + STORING_PATIENCE).await;
        });
        let stored = match received {
            Ok(()) => {
                let storing = async {
                    if let Some(rest) = rest.take() {
                        rest.store(&mut writer).await?;
                    }
                    writer.finish().await.map_err(TransferError::Storage)
                };
                let given_up = async {
                    given_up.as_mut().await;
                    Err(TransferError::Aborted)
                };
                race(storing, given_up).await
            }
            Err(error) => Err(error),
        };
        report.storage = Some(writer.path());
        if let Err(error) = stored {
            give_up(job, writer, rest).await;
            return Err(error);
        }
        let upload = writer.into_upload().map_err(TransferError::Storage)?;
        // Answer the client's close_notify before the file is synced: clients wait for it.
        let _ = self.connection.end_sending().await;
        match storage::finish(&job.context, &job.files, upload, given_up).await {
            Ok(()) => Ok(()),
            Err(FileError::Aborted) => Err(TransferError::Aborted),
            Err(error) => Err(TransferError::Storage(error)),
        }
    }

    /// Receives everything, and says what storage has not got yet.
    async fn receive_all(&mut self, writer: &mut WriteBehind) -> (Result<(), TransferError>, Rest) {
        let Self { job, moved, timing, connection } = self;
        let context = &job.context;
        let ascii = matches!(job.request, TransferRequest::Store { ascii: true, .. });
        let mut conversion = ascii.then(Conversion::default);
        let interrupts = connection.interrupts.clone();
        connection.hold_tickets();
        let lent = LentBlock::lend(context, connection);
        let mut block = context.blocks.lease();
        let mut filled = 0;
        let mut intake = Intake {
            writer,
            lax: job.lax_upload_eof,
            turn: UploadTurn::new(&context.uploads),
            mark: LowWater::new(clock::now()),
        };
        let received = loop {
            if block.len() - filled < connection.room_min() {
                let full = std::mem::replace(&mut block, context.blocks.lease());
                let octets = std::mem::take(&mut filled);
                // A wait for storage must not keep other uploads from their turns.
                if intake.writer.is_full() {
                    intake.turn.pause();
                }
                let storing = store(intake.writer, full, octets, conversion.as_mut());
                if let Err(error) = interrupts.guard(storing).await {
                    break Err(error);
                }
            }
            let end = block.len() - usize::from(ascii);
            let room = &mut block.as_mut_slice()[filled..end];
            match connection.receive(room, &mut intake).await {
                Ok(Received::Octets(count)) => {
                    filled += count;
                    intake.turn.took(count);
                    if intake.mark.took(count, clock::now()) {
                        intake.raise(&connection.stream);
                        context.counters.uploads_waited_by_block.increment();
                    }
                    moved.set(moved.get() + count as u64);
                    timing.moved();
                }
                Ok(Received::End) => break Ok(()),
                Err(error) => break Err(error),
            }
            give_way().await;
        };
        timing.moved_all();
        // Storage may be waited for below; other uploads must not wait for that too.
        intake.turn.pause();
        lent.take_back(connection);
        (received, Rest { block, filled, conversion })
    }
}

/// What came last, and is not handed to storage yet.
struct Rest {
    block: Block,
    filled: usize,
    conversion: Option<Conversion>,
}

impl Rest {
    async fn store(self, writer: &mut WriteBehind) -> Result<(), TransferError> {
        let Self { block, filled, conversion } = self;
        match conversion {
            Some(conversion) => store_last(writer, block, filled, conversion).await,
            None => store(writer, block, filled, None).await,
        }
    }
}

/// Leaves of a failed upload what policy says. A helper thread may hold a block for as long as a
/// disk hangs; the upload goes when it comes back.
async fn give_up(job: &TransferJob, mut writer: WriteBehind, rest: Option<Rest>) {
    // What came before the failure is stored only where it may be kept.
    let kept = job.policy.failed_upload == FailedUpload::Keep;
    if !kept {
        writer.stop();
    }
    let rest = rest.filter(|_| kept);
    let files = job.files.clone();
    let giving_up = async move {
        if let Some(rest) = rest {
            let _ = rest.store(&mut writer).await;
        }
        let _ = writer.finish().await;
        if let Ok(upload) = writer.into_upload() {
            storage::abandon(&files, upload).await;
        }
    };
    storage::soon(&job.context, giving_up).await;
}

/// What decides how an upload's octets are taken.
struct Intake<'a> {
    writer: &'a mut WriteBehind,
    /// Whether a bare FIN is an end under TLS.
    lax: bool,
    turn: UploadTurn,
    mark: LowWater,
}

impl Intake<'_> {
    fn raise(&mut self, stream: &Stream) {
        // An optimisation that the kernel may refuse.
        if set_low_water(stream, UPLOAD_LOW_WATER_BYTES).is_err() {
            self.mark.lower(clock::now());
        }
    }

    fn lower(&mut self, stream: &Stream) -> Result<(), TransferError> {
        self.mark.lower(clock::now());
        set_low_water(stream, 1).map_err(|_| TransferError::ConnectionLost)
    }
}

/// The result of [`DataConnection::receive`].
enum Received {
    /// This many octets were put into the block.
    Octets(usize),
    /// The client ended the transfer properly.
    End,
}

impl DataConnection {
    /// Octets of room that [`DataConnection::receive`] needs; one of them stays free for the
    /// conversion of TYPE A.
    const fn room_min(&self) -> usize {
        if self.is_protected() { Channel::OPEN_ROOM_BYTES + 1 } else { 2 }
    }

    /// Receives at least one octet into `room`, or the end of the upload. Under TLS only
    /// close_notify is an end (RFC 8446 §6.1), unless `lax` accepts a bare FIN. The blocks already
    /// handed to the writer are stored meanwhile; a failure there ends the wait.
    async fn receive(
        &mut self,
        room: &mut [u8],
        intake: &mut Intake<'_>,
    ) -> Result<Received, TransferError> {
        if intake.turn.is_over() {
            let next = async {
                intake.turn.come().await;
                Ok(())
            };
            self.interrupts.guard(next).await?;
        }
        if !self.is_protected() {
            let count = read(&self.stream, &self.interrupts, room, intake).await?;
            return Ok(if count == 0 { Received::End } else { Received::Octets(count) });
        }
        loop {
            match self.open_records(room)? {
                Records::Octets(count) => return Ok(Received::Octets(count)),
                Records::End => return Ok(Received::End),
                Records::NeedBytes => {}
            }
            if !self.out.is_empty() {
                // The answer to a KeyUpdate, whose write may wait for the client: let other uploads
                // go first.
                intake.turn.pause();
                self.release_held();
                write(&self.stream, &self.interrupts, &self.out).await?;
                self.out.clear();
            }
            // All of the memory except the room that a record already begun may need.
            let spare = self.raw.spare(self.raw.memory() - TLS_RECORD_BYTES_MAX);
            match read(&self.stream, &self.interrupts, spare, intake).await? {
                0 if intake.lax && self.raw.is_empty() => return Ok(Received::End),
                // A FIN inside a record is never meant as the end of an upload.
                0 if !self.raw.is_empty() => return Err(TransferError::ConnectionLost),
                0 => return Err(TransferError::Truncated),
                count => self.raw.commit(count),
            }
        }
    }

    /// Opens whole records while there is room for the next one, at most [`RECORDS_PER_TURN`].
    fn open_records(&mut self, room: &mut [u8]) -> Result<Records, TransferError> {
        let mut filled = 0;
        for _ in 0..RECORDS_PER_TURN {
            if room.len() - filled < Channel::OPEN_ROOM_BYTES {
                break;
            }
            match self.open_record(&mut room[filled..]) {
                Ok(OpenedRecord::Incomplete) => break,
                Ok(OpenedRecord::Handled { consumed }) => self.raw.consume(consumed),
                Ok(OpenedRecord::Data { consumed, plaintext }) => {
                    filled += plaintext.len();
                    self.raw.consume(consumed);
                }
                // Return the data before it first; the next call finds close_notify again.
                Ok(OpenedRecord::CloseNotify { .. }) if filled > 0 => break,
                Ok(OpenedRecord::CloseNotify { .. }) => return Ok(Records::End),
                Err(error) => {
                    // The alert that explains it, if it fits: the connection is closed next.
                    self.release_held();
                    let _ = self.stream.try_write(&self.out);
                    return Err(error);
                }
            }
        }
        Ok(if filled > 0 { Records::Octets(filled) } else { Records::NeedBytes })
    }
}

/// The result of [`DataConnection::open_records`].
enum Records {
    Octets(usize),
    End,
    NeedBytes,
}

/// The block that records arrive in, lent to a data connection as its receive buffer.
struct LentBlock(Option<Block>);

impl LentBlock {
    fn lend(context: &Context, connection: &mut DataConnection) -> Self {
        Self(connection.is_protected().then(|| {
            let mut block = context.blocks.lease();
            // Octets received behind the handshake are carried over.
            connection.raw.change_memory(block.take());
            block
        }))
    }

    fn take_back(self, connection: &mut DataConnection) {
        if let Some(mut block) = self.0 {
            connection.raw.clear();
            block.restore(connection.raw.change_memory(Vec::new()));
        }
    }
}

/// TYPE A on its way in: CR LF becomes LF.
#[derive(Default)]
struct Conversion {
    converter: FromNetwork,
    text: Vec<u8>,
}

/// Hands the first `count` octets of `block` to storage, converted in TYPE A.
async fn store(
    writer: &mut WriteBehind,
    mut block: Block,
    mut count: usize,
    conversion: Option<&mut Conversion>,
) -> Result<(), TransferError> {
    if let Some(Conversion { converter, text }) = conversion {
        text.clear();
        converter.convert(&block.as_slice()[..count], text);
        // A CR held back from the last block can make the text one octet longer than what came:
        // `room_min` left that octet free.
        count = text.len();
        block.as_mut_slice()[..count].copy_from_slice(text);
    }
    writer.write(block, count).await.map_err(TransferError::Storage)
}

/// Stores the end of a text, with a CR that was held back.
async fn store_last(
    writer: &mut WriteBehind,
    mut block: Block,
    count: usize,
    Conversion { mut converter, mut text }: Conversion,
) -> Result<(), TransferError> {
    text.clear();
    converter.convert(&block.as_slice()[..count], &mut text);
    converter.finish(&mut text);
    block.as_mut_slice()[..text.len()].copy_from_slice(&text);
    writer.write(block, text.len()).await.map_err(TransferError::Storage)
}

/// Reads from the socket. Octets already there cost neither a timer nor a wait.
async fn read(
    stream: &Stream,
    interrupts: &Interrupts,
    room: &mut [u8],
    intake: &mut Intake<'_>,
) -> Result<usize, TransferError> {
    interrupts.check()?;
    match stream.try_read(room) {
        Ok(count) => return Ok(count),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return Err(TransferError::ConnectionLost),
    }
    intake.turn.pause();
    // With the mark raised the socket wakes this task only for many octets, so the wait is short;
    // the plain wait below has the stall timeout instead.
    if intake.mark.is_raised() {
        let soon = timeout_at(clock::now() + UPLOAD_PATIENCE, stream.read(room));
        let reading = async {
            match soon.await {
                Ok(Ok(count)) => Ok(Some(count)),
                Ok(Err(_)) => Err(TransferError::ConnectionLost),
                Err(_) => Ok(None),
            }
        };
        let failing = async { Err(TransferError::Storage(intake.writer.failure().await)) };
        if let Some(count) = race(interrupts.guard(reading), failing).await? {
            return Ok(count);
        }
        intake.lower(stream)?;
    }
    // Nothing is kept for a longer write while the client takes its time.
    intake.writer.flush();
    // Small reads: the client may wait for the acknowledgement. Large ones, above, need none.
    stream.acknowledge();
    let failing = async { Err(TransferError::Storage(intake.writer.failure().await)) };
    race(interrupts.step(stream.read(room)), failing).await
}

/// Records opened before other tasks run: 256 full records (4 MiB) are never buffered at once, and
/// 256 records of one octet each take some ten microseconds.
const RECORDS_PER_TURN: usize = 256;
