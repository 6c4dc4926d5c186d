//! HASH and the X-hash commands: a digest over a range, computed in bounded steps.

use std::os::fd::AsFd;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::read::{AlignedRoom, ReadFile};
use super::root::{Lookup, Root};
use super::{facts, kept_digests};
use crate::protocol::file::{FileError, FileReply, HashAlgorithm, HashAlgorithms, NamedDigest};
use crate::protocol::path::VirtualPath;

/// A digest under way. Dropping it between two steps cancels it, so that a huge file neither
/// outlives its session nor keeps a helper thread for minutes.
pub struct Hasher {
    file: ReadFile,
    state: State,
    start: u64,
    end: u64,
    /// Made when the first octet has to be read.
    room: Option<AlignedRoom>,
    /// The digest was kept with the file.
    known: Option<Vec<u8>>,
}

/// Digests of octets as they are written.
pub(super) struct Digesting(Vec<(HashAlgorithm, State)>);

enum State {
    Crc32(crc32fast::Hasher),
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// Opens `path` for a digest of `[start, end)`. `end` past the end of the file means the end
    /// of the file, and the reply says so. With `may_know` a digest of the whole file that was kept
    /// when it was uploaded, and still holds, is taken instead of reading it.
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
        may_know: bool,
    ) -> Result<Self, FileError> {
        let file = ReadFile::open(root, path, start, false, Lookup::Blocking)?;
        let end = end.unwrap_or(u64::MAX).min(file.size());
        if start > end {
            return Err(FileError::BeyondEnd);
        }
        let whole = start == 0 && end == file.size();
        let mut known = None;
        if may_know && whole {
            let kept = kept_digests::kept(file.as_fd(), &facts::stat_handle(&file, false)?);
            known = kept.into_iter().find_map(|(of, digest)| (of == algorithm).then_some(digest));
        }
        Ok(Self { file, state: State::new(algorithm), start, end, room: None, known })
    }

    /// Whether the digest was kept with the file, so that nothing has to be read.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Takes in what one read brings; `Some` is the [`FileReply::Hash`] and the end.
    /// A file that shrinks meanwhile ends early, and the reply names the range really covered.
    ///
    /// # Errors
    ///
    /// What reading said.
    pub fn step(&mut self) -> Result<Option<FileReply>, FileError> {
        if let Some(digest) = self.known.take() {
            return Ok(Some(FileReply::Hash { digest, start: self.start, end: self.end }));
        }
        let room = self.room.get_or_insert_with(AlignedRoom::new);
        let octets = self.file.read_before(self.end, room)?;
        if !octets.is_empty() {
            self.state.update(octets);
            return Ok(None);
        }
        let end = self.file.position();
        Ok(Some(FileReply::Hash { digest: self.state.finish(), start: self.start, end }))
    }
}

impl Digesting {
    pub(super) fn new(algorithms: HashAlgorithms) -> Self {
        Self(algorithms.iter().map(|algorithm| (algorithm, State::new(algorithm))).collect())
    }

    /// Whether no digest is made.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn update(&mut self, octets: &[u8]) {
        for (_, state) in &mut self.0 {
            state.update(octets);
        }
    }

    /// Returns the digests, and begins anew.
    pub(super) fn finish(&mut self) -> Vec<NamedDigest> {
        self.0.iter_mut().map(|(algorithm, state)| (*algorithm, state.finish())).collect()
    }
}

impl std::fmt::Debug for Digesting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(algorithm, _)| algorithm)).finish()
    }
}

impl State {
    fn new(algorithm: HashAlgorithm) -> Self {
        match algorithm {
            HashAlgorithm::Crc32 => Self::Crc32(crc32fast::Hasher::new()),
            HashAlgorithm::Md5 => Self::Md5(Md5::new()),
            HashAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            HashAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            HashAlgorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::TRANSFER_BATCH_BYTES;
    use crate::protocol::file::FileRequest;
    use crate::protocol::hexadecimal;
    use crate::vfs::perform;
    use crate::vfs::testing::{Home, path};

    fn hash(
        home: &Home,
        algorithm: HashAlgorithm,
        start: u64,
        end: Option<u64>,
    ) -> Result<(String, u64, u64), FileError> {
        let request = FileRequest::Hash { path: path(b"f"), algorithm, start, end };
        match perform(&home.root, &request)? {
            FileReply::Hash { digest, start, end } => Ok((hexadecimal::lower(&digest), start, end)),
            other => panic!("{other:?}"),
        }
    }

    /// [FILE-14], with the check values of the algorithms' own publications.
    #[test]
    fn known_digests() {
        let home = Home::new();
        home.put("f", b"--abc--");
        #[track_caller]
        fn check(home: &Home, algorithm: HashAlgorithm, expected: &str) {
            let (digest, ..) = hash(home, algorithm, 2, Some(5)).unwrap();
            assert_eq!(digest, expected);
        }
        check(&home, HashAlgorithm::Crc32, "352441c2");
        check(&home, HashAlgorithm::Md5, "900150983cd24fb0d6963f7d28e17f72");
        check(&home, HashAlgorithm::Sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        check(
            &home,
            HashAlgorithm::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        let (digest, ..) = hash(&home, HashAlgorithm::Sha512, 2, Some(5)).unwrap();
        assert!(digest.starts_with("ddaf35a193617abacc417349ae204131"));
        assert_eq!(digest.len(), 128);
    }

    #[test]
    fn ranges() {
        let home = Home::new();
        home.put("f", b"0123456789");
        let covered = |start, end| {
            hash(&home, HashAlgorithm::Sha256, start, end).map(|(_, start, end)| (start, end))
        };
        assert_eq!(covered(0, None), Ok((0, 10)));
        assert_eq!(covered(4, Some(7)), Ok((4, 7)));
        assert_eq!(covered(4, Some(u64::MAX)), Ok((4, 10)));
        assert_eq!(covered(10, None), Ok((10, 10)));
        assert_eq!(covered(11, None), Err(FileError::BeyondEnd));
        assert_eq!(covered(5, Some(4)), Err(FileError::BeyondEnd));
    }

    /// Start and size are no multiples of anything, and the first read of a buffer that is not
    /// aligned would fail.
    #[test]
    fn direct_files_are_read_past_the_page_cache() {
        use crate::protocol::policy::{FileCache, FileRule};
        let home = Home::new();
        let content = vec![7; 2 * TRANSFER_BATCH_BYTES + 1];
        home.put("f", &content);
        let directory = home.directory();
        let rule = FileRule { cache: FileCache::Direct, immutable: false };
        let root = Root::open(&directory).unwrap();
        let root = root.with_rules(&directory, &[(directory.clone(), rule)]);
        for start in [0, 5] {
            let algorithm = HashAlgorithm::Crc32;
            let mut hasher =
                Hasher::open(&root, &path(b"f"), algorithm, start, None, false).unwrap();
            if hasher.file.is_direct_refused() {
                return println!("skipped: no O_DIRECT in the directory for temporary files");
            }
            let answer = (0..9).find_map(|_| hasher.step().unwrap());
            let digest = crc32fast::hash(&content[usize::try_from(start).unwrap()..]);
            let (digest, end) = (digest.to_be_bytes().to_vec(), content.len() as u64);
            assert_eq!(answer, Some(FileReply::Hash { digest, start, end }));
            assert!(hasher.file.is_direct(), "it went back to the page cache");
        }
    }

    #[test]
    fn steps_are_bounded() {
        let home = Home::new();
        home.put("f", &vec![7; 2 * TRANSFER_BATCH_BYTES + 1]);
        let mut hasher =
            Hasher::open(&home.root, &path(b"f"), HashAlgorithm::Crc32, 0, None, false).unwrap();
        for _ in 0..3 {
            assert_eq!(hasher.step(), Ok(None));
        }
        let whole = crc32fast::hash(&vec![7; 2 * TRANSFER_BATCH_BYTES + 1]);
        let digest = whole.to_be_bytes().to_vec();
        let end = 2 * TRANSFER_BATCH_BYTES as u64 + 1;
        assert_eq!(hasher.step(), Ok(Some(FileReply::Hash { digest, start: 0, end })));
    }
}
