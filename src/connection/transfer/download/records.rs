//! The sending side of the server-DTP: files as batches of records, one write each. While a batch
//! waits for the socket, the next is read and sealed. Listings go through [`TransferTask::send`]
//! instead.

use super::source::{Piece, Source};
use crate::buffer::{Block, BlockPool};
use crate::connection::data::connection::DataConnection;
use crate::connection::transfer::job::TransferTask;
use crate::connection::transfer::report::TransferReport;
use crate::connection::transfer::storage::OpenFile;
use crate::limits::{TLS_FRAGMENT_BYTES_MAX, TRANSFER_BATCH_SMALL_BYTES};
use crate::protocol::ascii::ToNetwork;
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::session::TransferError;
use crate::runtime::give_way;
use crate::vfs::ReadFile;

/// A batch: what one turn sends.
struct Batch {
    block: Block,
    /// Octets of `block` to send.
    length: usize,
    sent: usize,
    /// Octets of the file in it.
    content: usize,
}

impl Batch {
    fn sealed(&self) -> &[u8] {
        &self.block.as_slice()[..self.length]
    }
}

/// What can be assembled without waiting.
enum Assembled {
    Batch(Batch),
    End,
    NotYet,
}

impl TransferTask<'_> {
    /// Sends the file from its position to its end, and ends the data connection's sending side.
    pub(in super::super) async fn send_file(
        &mut self,
        file: ReadFile,
        report: &mut TransferReport,
    ) -> Result<(), TransferError> {
        let size = file.size();
        let mut source = Source::new(&self.job.context, OpenFile::new(file, &self.job.files));
        let sent = match self.job.request {
            TransferRequest::Retrieve { ascii: true, offset, .. } => {
                self.send_text(&mut source, offset).await
            }
            _ => self.send_image(&mut source).await,
        };
        report.reads = Some(source.reads());
        sent?;
        // A file that was truncated meanwhile is shorter than SIZE promised.
        if source.position() < size {
            return Err(TransferError::Storage(FileError::Shrunk));
        }
        drop(source);
        self.connection.end_sending().await
    }

    async fn send_image(&mut self, source: &mut Source) -> Result<(), TransferError> {
        let connection = &mut self.connection;
        let blocks = &self.job.context.blocks;
        connection.flush().await?;
        let mut next = None;
        loop {
            let mut batch = match next.take() {
                Some(batch) => batch,
                None => {
                    connection.hear()?;
                    match assemble(connection, source, blocks)? {
                        Assembled::Batch(batch) => batch,
                        Assembled::End => return Ok(()),
                        Assembled::NotYet => {
                            let waiting =
                                async { source.wait().await.map_err(TransferError::Storage) };
                            connection.guard(waiting).await?;
                            continue;
                        }
                    }
                }
            };
            while batch.sent < batch.length {
                let rest = &batch.block.as_slice()[batch.sent..batch.length];
                batch.sent += match connection.try_write(rest)? {
                    Some(count) => count,
                    None => {
                        if next.is_none() && blocks.is_ample() {
                            next = match assemble(connection, source, blocks)? {
                                Assembled::Batch(batch) => Some(batch),
                                Assembled::End | Assembled::NotYet => None,
                            };
                        }
                        let behind = next.as_ref().map_or(&[][..], Batch::sealed);
                        connection.write_some(rest, behind).await?
                    }
                };
            }
            self.moved.set(self.moved.get() + batch.content as u64);
            self.timing.moved();
            drop(batch);
            connection.check()?;
            // One batch a turn: tasks that became ready meanwhile go first.
            give_way().await;
        }
    }

    /// The restart marker of TYPE A counts octets as they are sent (RFC 3659 §5.1).
    async fn send_text(&mut self, source: &mut Source, offset: u64) -> Result<(), TransferError> {
        let mut converter = ToNetwork::starting_at(offset);
        let mut text = Vec::new();
        loop {
            text.clear();
            let position = source.position();
            let more = self.job.context.blocks.with_scratch(|scratch| {
                match source.next(scratch)? {
                    Piece::InRoom(count) => converter.convert(&scratch[..count], &mut text),
                    Piece::Ahead(octets) => converter.convert(octets, &mut text),
                    Piece::End => return Ok(false),
                    Piece::NotYet => {}
                }
                Ok(true)
            });
            if !more.map_err(TransferError::Storage)? {
                break;
            }
            if source.position() == position {
                let waiting = async { source.wait().await.map_err(TransferError::Storage) };
                self.connection.guard(waiting).await?;
            } else if text.is_empty() {
                // Octets before the marker are not sent, but cost as much work.
                self.connection.check()?;
                give_way().await;
            }
            self.send(&text).await?;
        }
        if converter.still_to_skip() > 0 {
            return Err(TransferError::Storage(FileError::BeyondEnd));
        }
        Ok(())
    }
}

/// The next batch as it goes on the wire. A block is leased only when there is something to put
/// into it.
fn assemble(
    connection: &mut DataConnection,
    source: &mut Source,
    blocks: &BlockPool,
) -> Result<Assembled, TransferError> {
    if connection.is_protected() {
        assemble_records(connection, source, blocks)
    } else {
        assemble_clear(source, blocks).map_err(TransferError::Storage)
    }
}

/// Reads into memory that is still in the CPU's cache, and seals from there into the block: no
/// further copy, and only the block is held while the client reads.
fn assemble_records(
    connection: &mut DataConnection,
    source: &mut Source,
    blocks: &BlockPool,
) -> Result<Assembled, TransferError> {
    blocks.with_scratch(|scratch| {
        let room = if blocks.has_large() { scratch.len() } else { TRANSFER_BATCH_SMALL_BYTES };
        let scratch = &mut scratch[..content_room(room)];
        let content = match source.next(scratch).map_err(TransferError::Storage)? {
            Piece::InRoom(count) => &scratch[..count],
            Piece::Ahead(octets) => octets,
            Piece::End => return Ok(Assembled::End),
            Piece::NotYet => return Ok(Assembled::NotYet),
        };
        let mut block = blocks.lease();
        let length = connection.seal_into(content, block.as_mut_slice())?;
        let content = content.len();
        Ok(Assembled::Batch(Batch { block, length, sent: 0, content }))
    })
}

fn assemble_clear(source: &mut Source, blocks: &BlockPool) -> Result<Assembled, FileError> {
    let mut block = blocks.lease();
    let length = match source.next(block.as_mut_slice())? {
        Piece::InRoom(count) => count,
        Piece::Ahead(octets) => {
            block.as_mut_slice()[..octets.len()].copy_from_slice(octets);
            octets.len()
        }
        Piece::End => return Ok(Assembled::End),
        Piece::NotYet => return Ok(Assembled::NotYet),
    };
    Ok(Assembled::Batch(Batch { block, length, sent: 0, content: length }))
}

/// Octets of the file whose records fit into a block of `room` octets: whole records only, one less
/// than would fit without headers and tags.
const fn content_room(room: usize) -> usize {
    (room / TLS_FRAGMENT_BYTES_MAX - 1) * TLS_FRAGMENT_BYTES_MAX
}
