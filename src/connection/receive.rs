//! Receiving an upload: octets out of the data connection, and into storage.

use super::data::{DataConnection, UPLOAD_READ_BYTES, failed, write};
use super::storage;
use super::transfer::Pump;
use crate::buffer::{Block, InBuf};
use crate::limits::{TLS_FRAGMENT_BYTES_MAX, TRANSFER_BATCH_SMALL_BYTES};
use crate::protocol::ascii::FromNetwork;
use crate::protocol::file::{FileError, TransferRequest};
use crate::protocol::session::TransferError;
use crate::runtime::yield_if_needed;
use crate::tls::{Channel, Opened};
use crate::vfs::Upload;

/// What [`DataConnection::receive`] brought.
enum Received {
    /// This many octets were put into the block.
    Octets(usize),
    /// The client ended the transfer properly.
    End,
}

impl Pump<'_> {
    pub(super) async fn receive_file(&mut self, upload: Upload) -> Result<(), TransferError> {
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

impl DataConnection {
    /// Receives at least one octet into `room`, or finds the end. Under TLS only close_notify is an
    /// end (RFC 8446 §6.1), unless `lax` accepts a bare FIN.
    async fn receive(&mut self, room: &mut [u8], lax: bool) -> Result<Received, TransferError> {
        let Some(channel) = &mut self.channel else {
            let count = self.interrupts.step(self.stream.read(room)).await?;
            return Ok(if count == 0 { Received::End } else { Received::Octets(count) });
        };
        loop {
            match open_records(channel, &mut self.raw, &mut self.out, room)? {
                Records::Octets(count) => return Ok(Received::Octets(count)),
                Records::End => return Ok(Received::End),
                Records::NeedBytes => {}
            }
            if !self.out.is_empty() {
                // The answer to a KeyUpdate.
                write(&self.stream, &self.interrupts, &self.out).await?;
                self.out.clear();
            }
            let spare = self.raw.spare(UPLOAD_READ_BYTES);
            let count = self.interrupts.step(self.stream.read(spare)).await?;
            match count {
                0 if lax && self.raw.is_empty() => return Ok(Received::End),
                0 => return Err(TransferError::Truncated),
                count => self.raw.commit(count),
            }
        }
    }
}

/// What [`open_records`] found.
enum Records {
    Octets(usize),
    End,
    NeedBytes,
}

/// Opens whole records as long as their plaintext fits into `room`.
fn open_records(
    channel: &mut Channel,
    raw: &mut InBuf,
    out: &mut Vec<u8>,
    room: &mut [u8],
) -> Result<Records, TransferError> {
    let mut filled = 0;
    // A record is opened only when its largest plaintext has room.
    while room.len() - filled >= TLS_FRAGMENT_BYTES_MAX {
        match channel.open(raw.filled_mut(), out).map_err(|error| failed(&error))? {
            Opened::Incomplete => break,
            Opened::Handled { consumed } => raw.consume(consumed),
            Opened::Data { consumed, plaintext } => {
                let octets = &raw.filled()[plaintext];
                room[filled..filled + octets.len()].copy_from_slice(octets);
                filled += octets.len();
                raw.consume(consumed);
            }
            Opened::CloseNotify { consumed } => {
                // Data before it is handed over first; the next call finds it again.
                if filled > 0 {
                    break;
                }
                raw.consume(consumed);
                return Ok(Records::End);
            }
        }
    }
    Ok(if filled > 0 { Records::Octets(filled) } else { Records::NeedBytes })
}
