//! What differs when the kernel seals the records of a data connection: handing the keys over,
//! sendfile(2), key changes on the way, and the end.

use std::io;

use rustix::io::Errno;

use super::connection::{DataConnection, Protection, failed};
use super::kernel_tls::{KernelTlsSender, cipher_of, set_keys};
use crate::clock;
use crate::protocol::session::TransferError;
use crate::runtime::sleep_until;
use crate::sys::{ktls, sendfile};
use crate::tls::KernelSender;
use crate::vfs::ReadFile;

/// System calls that one chunk may take, each of which may end a TLS record early.
const CALLS_PER_CHUNK_MAX: u64 = 1024;

impl DataConnection {
    /// Gives the keys of the sending half to the kernel. An error changes nothing for the client: a
    /// socket with the kernel's TLS but without keys works as before.
    pub(crate) fn hand_over(&mut self, rekey: bool) -> io::Result<()> {
        let protection = std::mem::replace(&mut self.protection, Protection::Clear);
        let Protection::Records(channel) = protection else {
            self.protection = protection;
            return Err(io::ErrorKind::NotConnected.into());
        };
        let handed = KernelTlsSender::hand_over(*channel, &self.stream, rekey);
        let (protection, result) = match handed {
            Ok(kernel) => (Protection::Kernel(Box::new(kernel)), Ok(())),
            Err((channel, error)) => (Protection::Records(channel), Err(error)),
        };
        self.protection = protection;
        result
    }

    /// The AEAD of the session, if the kernel could seal its records from here on; the records
    /// sealed in user space must all have been sent.
    pub(crate) fn kernel_cipher(&self) -> Option<ktls::Cipher> {
        match &self.protection {
            Protection::Records(channel) if self.out.is_empty() => cipher_of(channel),
            Protection::Records(_) | Protection::Clear | Protection::Kernel(_) => None,
        }
    }

    const fn kernel(&mut self) -> Option<&mut KernelTlsSender> {
        match &mut self.protection {
            Protection::Kernel(kernel) => Some(kernel),
            Protection::Clear | Protection::Records(_) => None,
        }
    }

    /// Sends up to `count` octets of the file, at least one, waiting for room. 0 is the end of the
    /// file; `None`: sendfile(2) cannot send this file, read it instead.
    pub(crate) async fn send_from(
        &mut self,
        file: &ReadFile,
        count: u64,
    ) -> Result<Option<u64>, TransferError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let deadline = clock::now() + self.interrupts.stall;
        let sent = loop {
            // After each wait too: the client may have asked for new keys.
            self.before_data(count).await?;
            match sendfile::sendfile(&self.stream, file, file.position(), count) {
                Ok(sent) => break Some(sent),
                Err(Errno::AGAIN) => self.room(deadline).await?,
                Err(error) if is_of_the_connection(error) => {
                    return Err(TransferError::ConnectionLost);
                }
                Err(_) => break None,
            }
        };
        if let Some(sent) = sent {
            self.has_sent();
            if let Some(kernel) = self.kernel() {
                kernel.count(sent);
            }
        }
        Ok(sent.map(|sent| sent as u64))
    }

    /// Under the kernel's TLS: processes what the client has sent, and changes keys if due, before
    /// `octets` more are sent. Otherwise does nothing.
    pub(super) async fn before_data(&mut self, octets: usize) -> Result<(), TransferError> {
        if self.kernel().is_none() {
            return Ok(());
        }
        self.hear()?;
        let Some(kernel) = self.kernel() else { return Ok(()) };
        let update = kernel.sender.owes_update();
        if !update && kernel.sender.has_room_for(octets, CALLS_PER_CHUNK_MAX) {
            return Ok(());
        }
        if !kernel.rekey {
            // Nothing may follow under the old keys (RFC 8446 §4.6.3, §5.5), and this kernel takes
            // no new ones. So the client sees a stream without close_notify, and 426.
            tracing::debug!(update, "the kernel cannot change keys");
            return Err(TransferError::Protection);
        }
        let (kind, content) = KernelSender::key_update();
        self.send_record(kind, &content).await?;
        let Protection::Kernel(kernel) = &mut self.protection else { return Ok(()) };
        let keys = kernel.sender.next_keys().map_err(|error| failed(&error))?;
        set_keys(&self.stream, &keys).map_err(|error| {
            tracing::debug!(%error, "the kernel refused new keys");
            TransferError::Protection
        })
    }

    /// Ends what the kernel seals: close_notify, and then a wait until all of it is in the socket's
    /// queue, where the FIN that follows cannot overtake it.
    pub(super) async fn end_kernel_tls(&mut self) -> Result<(), TransferError> {
        if self.kernel().is_some_and(|kernel| kernel.rekey) {
            self.before_data(0).await?;
        } else {
            // A KeyUpdate is only owed before further data, and none follows.
            self.hear()?;
        }
        let deadline = clock::now() + self.interrupts.stall;
        let mut pause = FLUSH_PAUSE_MIN;
        while !self.has_room_to_finish()? {
            self.room(deadline).await?;
            if self.has_room_to_finish()? {
                break;
            }
            // Writable does not mean room enough, and the kernel gives no other event: check again
            // later.
            let soon = clock::now() + pause;
            let paused = async {
                sleep_until(soon).await;
                Ok(())
            };
            self.interrupts.step_until(deadline, paused).await?;
            pause = (pause * 2).min(FLUSH_PAUSE_MAX);
        }
        let (kind, content) = KernelSender::close_notify();
        self.send_record(kind, &content).await
    }

    async fn send_record(&mut self, kind: u8, content: &[u8]) -> Result<(), TransferError> {
        let stream = &self.stream;
        let sending = async {
            loop {
                match ktls::send_record(stream, kind, content) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        stream.writable().await?;
                    }
                    other => return other,
                }
            }
        };
        self.interrupts.step(sending).await?;
        if let Some(kernel) = self.kernel() {
            kernel.count(content.len());
        }
        Ok(())
    }

    /// Allows the kernel to send from the page cache without a copy. It may copy all the same.
    ///
    /// # Errors
    ///
    /// The kernel refused: it copies what it sends.
    pub(crate) fn allow_zerocopy(&self) -> io::Result<()> {
        ktls::allow_zerocopy(&self.stream)
    }

    fn has_room_to_finish(&self) -> Result<bool, TransferError> {
        ktls::has_room_to_finish(&self.stream).map_err(|_| TransferError::ConnectionLost)
    }
}

const FLUSH_PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(1);
const FLUSH_PAUSE_MAX: std::time::Duration = std::time::Duration::from_millis(50);

/// Errors of sendfile(2) that come from the connection, not from the file.
fn is_of_the_connection(error: Errno) -> bool {
    matches!(
        error,
        Errno::PIPE
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::NOTCONN
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::BADMSG
            | Errno::KEYEXPIRED
    )
}
