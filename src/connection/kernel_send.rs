//! Downloads the kernel sends: sendfile(2) from the page cache to the data connection, in the clear
//! or through the kernel's TLS. What is not in the page cache is read by a helper thread and sent
//! from a block, so that no disk stops the shard.

use std::io;

use rustix::io::Errno;

use super::data::{DataConnection, failed};
use super::data_path::{Circumstances, Content, DataPath, choose};
use super::storage::{self, Held};
use super::transfer::Pump;
use crate::clock;
use crate::protocol::file::FileError;
use crate::protocol::session::TransferError;
use crate::runtime::{Stream, give_way, sleep_until};
use crate::sys::{ktls, sendfile};
use crate::tls::{Aead, KernelSender, Opened, SendKeys, TlsError};
use crate::vfs::ReadFile;

/// Octets of one sendfile(2): a turn of some 200 µs, and whole TLS records.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// System calls that one chunk may take, each of which may end a TLS record early.
const CALLS_PER_CHUNK_MAX: u64 = 1024;

/// The sending half of a data connection, once the kernel has its keys.
#[derive(Debug)]
pub(super) struct KernelTls {
    sender: KernelSender,
    /// Whether keys can be replaced.
    rekey: bool,
}

impl Pump<'_> {
    /// Decides which way the octets go, and hands the keys over where that is part of it. `file` is
    /// that of a download.
    pub(super) fn choose_path(&mut self, file: Option<&ReadFile>) -> DataPath {
        let context = &self.job.context;
        let parts = &context.parts;
        let connection = self.connection.as_mut();
        let channel = connection.as_ref().and_then(|connection| connection.channel.as_ref());
        let content = Content::of(&self.job.request, file.map_or(0, left));
        let circumstances = Circumstances {
            content,
            protected: channel.is_some(),
            kernel_tls: parts.kernel_tls,
            // Records that were sealed here must be on their way before the kernel goes on.
            cipher: channel
                .filter(|_| connection.as_ref().is_some_and(|connection| connection.out.is_empty()))
                .and_then(|channel| channel.send_keys())
                .map(|keys| cipher(keys.aead)),
            cache_tells: matches!(content, Content::File(_))
                && file.is_some_and(|file| {
                    !file.is_direct()
                        && !file.is_remote()
                        && sendfile::is_cached(file, file.position(), 1).is_ok()
                }),
        };
        let path = choose(&circumstances);
        if path != DataPath::KernelTls {
            return path;
        }
        let rekey = parts.kernel_tls.is_some_and(|abilities| abilities.rekey);
        match connection.map(|connection| connection.hand_over(rekey)) {
            Some(Ok(())) => {
                if file.is_some_and(ReadFile::is_immutable) {
                    self.allow_zerocopy();
                }
                path
            }
            refusal => {
                // The session is what it was: user space goes on sealing.
                let error = refusal.and_then(Result::err).map(|error| error.to_string());
                tracing::debug!(error, "the kernel refused a TLS session");
                context.counters.ktls_fallbacks.increment();
                DataPath::Records
            }
        }
    }

    /// Gives the kernel leave to send from the page cache itself. It need not take it.
    fn allow_zerocopy(&self) {
        let Some(connection) = &self.connection else { return };
        match ktls::allow_zerocopy(&connection.stream) {
            Ok(()) => self.job.context.counters.ktls_zerocopy.increment(),
            Err(error) => tracing::debug!(%error, "the kernel's TLS copies what it sends"),
        }
    }

    /// Sends the file to its end without a copy, where the page cache has it.
    pub(super) async fn send_by_kernel(&mut self, file: ReadFile) -> Result<(), TransferError> {
        let size = file.size();
        // To ask about each chunk is a twentieth of the work where pages are small, as in tmpfs.
        let in_memory = file.is_memory();
        let mut file = Held::new(file, &self.job.files);
        let mut block = None;
        // Set off by a filesystem that cannot do it; reading also finds out what an error is about.
        let mut direct = true;
        loop {
            if direct && left(&file) > 0 {
                let reading = &mut *file;
                let count = left(reading).min(CHUNK_BYTES);
                let cached = || sendfile::is_cached(&*reading, reading.position(), count);
                if in_memory || cached() == Ok(true) {
                    let connection =
                        self.connection.as_mut().ok_or(TransferError::ConnectionLost)?;
                    match connection.send_from(reading, count).await? {
                        Some(0) => {}
                        Some(sent) => {
                            reading.advance(sent);
                            self.moved.set(self.moved.get() + sent);
                            give_way().await;
                            continue;
                        }
                        None => direct = false,
                    }
                } else {
                    self.job.context.counters.sendfile_cold_reads.increment();
                }
            }
            let files = &self.job.files;
            let block = block.get_or_insert_with(|| self.job.context.blocks.lease());
            let count = storage::read(files, &mut file, block).await;
            let count = count.map_err(TransferError::Storage)?;
            if count == 0 {
                break;
            }
            self.send(&block.as_slice()[..count]).await?;
        }
        // A file that was cut meanwhile is not what SIZE had promised.
        if file.position() < size {
            return Err(TransferError::Storage(FileError::Shrunk));
        }
        self.end_sending().await
    }
}

impl DataConnection {
    /// Gives the session's sending half to the kernel. After an error nothing has changed for the
    /// client: a socket with the kernel's TLS but without keys is what it was.
    fn hand_over(&mut self, rekey: bool) -> io::Result<()> {
        let Some(channel) = self.channel.take() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let handed = match channel.send_keys() {
            Some(keys) => ktls::attach(&self.stream).and_then(|()| set_keys(&self.stream, &keys)),
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        match handed {
            Ok(()) => {
                let sender = KernelSender::new(*channel);
                self.kernel = Some(Box::new(KernelTls { sender, rekey }));
            }
            Err(_) => self.channel = Some(channel),
        }
        handed
    }

    /// Sends up to `count` octets of the file, at least one; waits for room. 0 is the end of the
    /// file, `None` a file that must be read instead.
    async fn send_from(
        &mut self,
        file: &ReadFile,
        count: u64,
    ) -> Result<Option<u64>, TransferError> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let deadline = clock::now() + self.interrupts.stall;
        let sent = loop {
            // Again after each wait: the client may have asked for new keys.
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
        if let (Some(kernel), Some(sent)) = (&mut self.kernel, sent) {
            kernel.sender.count(sent);
        }
        Ok(sent.map(|sent| sent as u64))
    }

    /// Under the kernel's TLS: deals with what the client has said, and sees to keys, before
    /// `octets` more are sent. Without it, nothing.
    pub(super) async fn before_data(&mut self, octets: usize) -> Result<(), TransferError> {
        if self.kernel.is_none() {
            return Ok(());
        }
        self.hear()?;
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let update = kernel.sender.owes_update();
        if !update && kernel.sender.has_room_for(octets, CALLS_PER_CHUNK_MAX) {
            return Ok(());
        }
        if !kernel.rekey {
            // Nothing may follow under the old keys (RFC 8446 §4.6.3, §5.5), and the kernel takes
            // no new ones: the client sees a stream without close_notify, and 426.
            tracing::debug!(update, "the kernel cannot change keys");
            return Err(TransferError::Protection);
        }
        let (kind, content) = KernelSender::key_update();
        self.send_record(kind, &content).await?;
        let Some(kernel) = &mut self.kernel else { return Ok(()) };
        let keys = kernel.sender.next_keys().map_err(|error| failed(&error))?;
        set_keys(&self.stream, &keys).map_err(|error| {
            tracing::debug!(%error, "the kernel refused new keys");
            TransferError::Protection
        })
    }

    /// The end of what the kernel seals: close_notify, and all of it in the socket's queue, where
    /// the FIN that follows cannot overtake it.
    pub(super) async fn end_kernel_tls(&mut self) -> Result<(), TransferError> {
        if self.kernel.as_ref().is_some_and(|kernel| kernel.rekey) {
            self.before_data(0).await?;
        } else {
            // A KeyUpdate that cannot be answered is due before data only, and none follows.
            self.hear()?;
        }
        let deadline = clock::now() + self.interrupts.stall;
        let mut pause = FLUSH_PAUSE_MIN;
        while !self.has_room_to_finish()? {
            self.room(deadline).await?;
            if self.has_room_to_finish()? {
                break;
            }
            // Writable, but not by enough: the kernel tells no more than that.
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
        if let Some(kernel) = &mut self.kernel {
            kernel.sender.count(content.len());
        }
        Ok(())
    }

    fn has_room_to_finish(&self) -> Result<bool, TransferError> {
        ktls::has_room_to_finish(&self.stream).map_err(|_| TransferError::ConnectionLost)
    }
}

impl KernelTls {
    /// Opens the record at the front of `records`. What is wrong with it is told to the client.
    pub(super) fn open(&mut self, records: &mut [u8], stream: &Stream) -> Result<Opened, TlsError> {
        let opened = self.sender.open(records);
        if let Err(error) = &opened
            && let Some((kind, content)) = KernelSender::fatal_alert(error)
        {
            // The session is lost, whether the client learns why or not.
            let _ = ktls::send_record(stream, kind, &content);
        }
        opened
    }

    /// Counts a send(2) of data.
    pub(super) const fn count(&mut self, octets: usize) {
        self.sender.count(octets);
    }
}

const FLUSH_PAUSE_MIN: std::time::Duration = std::time::Duration::from_millis(1);
const FLUSH_PAUSE_MAX: std::time::Duration = std::time::Duration::from_millis(50);

/// Octets between the position and the end the file had when it was opened.
const fn left(file: &ReadFile) -> u64 {
    file.size().saturating_sub(file.position())
}

const fn cipher(aead: Aead) -> ktls::Cipher {
    match aead {
        Aead::Aes128Gcm => ktls::Cipher::Aes128Gcm,
        Aead::Aes256Gcm => ktls::Cipher::Aes256Gcm,
        Aead::ChaCha20Poly1305 => ktls::Cipher::ChaCha20Poly1305,
    }
}

fn set_keys(stream: &Stream, keys: &SendKeys<'_>) -> io::Result<()> {
    let (cipher, key) = (cipher(keys.aead), keys.key);
    let keys = ktls::SendKeys { cipher, key, iv: keys.iv, sequence: keys.sequence };
    ktls::set_send_keys(stream, &keys)
}

/// Errors of sendfile(2) that the file cannot have caused.
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
