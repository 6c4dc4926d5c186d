//! HASH and the X-hash commands: a digest over a range, computed in bounded steps.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::read::ReadFile;
use super::root::{Lookup, Root};
use crate::limits::TRANSFER_BATCH_BYTES;
use crate::protocol::file::{FileError, FileReply, HashAlgorithm};
use crate::protocol::path::VirtualPath;

/// A digest under way. Dropping it between two steps cancels it, so that a huge file neither
/// outlives its session nor keeps a helper thread for minutes.
pub struct Hasher {
    file: ReadFile,
    state: State,
    start: u64,
    end: u64,
    buffer: Vec<u8>,
}

enum State {
    Crc32(crc32fast::Hasher),
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Opens `path` for a digest of `[start, end)`. `end` past the end of the file means the end
    /// of the file, and the reply says so.
    ///
    /// # Errors
    ///
    /// [`FileError::BeyondEnd`] when `start` lies past the end of the file or of the range;
    /// [`FileError::IsADirectory`] and the other refusals of opening a file.
    pub fn open(
        root: &Root,
        path: &VirtualPath,
        algorithm: HashAlgorithm,
        start: u64,
        end: Option<u64>,
    ) -> Result<Self, FileError> {
        let file = ReadFile::open(root, path, start, false, Lookup::Blocking)?;
        let end = end.unwrap_or(u64::MAX).min(file.size());
        if start > end {
            return Err(FileError::BeyondEnd);
        }
        let state = match algorithm {
            HashAlgorithm::Crc32 => State::Crc32(crc32fast::Hasher::new()),
            HashAlgorithm::Md5 => State::Md5(Md5::new()),
            HashAlgorithm::Sha1 => State::Sha1(Sha1::new()),
            HashAlgorithm::Sha256 => State::Sha256(Sha256::new()),
            HashAlgorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Ok(Self { file, state, start, end, buffer: vec![0; TRANSFER_BATCH_BYTES] })
    }

    /// Takes in up to [`TRANSFER_BATCH_BYTES`]; `Some` is the [`FileReply::Hash`] and the end.
    /// A file that shrinks meanwhile ends early, and the reply names the range really covered.
    ///
    /// # Errors
    ///
    /// What reading said.
    pub fn step(&mut self) -> Result<Option<FileReply>, FileError> {
        let left = self.end - self.file.position();
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
        let count = match wanted {
            0 => 0,
            wanted => self.file.read(&mut self.buffer[..wanted])?,
        };
        if count > 0 {
            self.state.update(&self.buffer[..count]);
            return Ok(None);
        }
        let end = self.file.position();
        Ok(Some(FileReply::Hash { digest: self.state.finish(), start: self.start, end }))
    }
}

impl State {
    fn update(&mut self, octets: &[u8]) {
        match self {
            Self::Crc32(state) => state.update(octets),
            Self::Md5(state) => state.update(octets),
            Self::Sha1(state) => state.update(octets),
            Self::Sha256(state) => state.update(octets),
            Self::Sha512(state) => state.update(octets),
        }
    }

    fn finish(&mut self) -> Vec<u8> {
        match self {
            Self::Crc32(state) => std::mem::take(state).finalize().to_be_bytes().to_vec(),
            Self::Md5(state) => state.finalize_reset().to_vec(),
            Self::Sha1(state) => state.finalize_reset().to_vec(),
            Self::Sha256(state) => state.finalize_reset().to_vec(),
            Self::Sha512(state) => state.finalize_reset().to_vec(),
        }
    }
}
