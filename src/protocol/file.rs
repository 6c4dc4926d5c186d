//! What the session asks of storage, and what storage answers. Values only; `vfs` does the work.

use std::ops::Range;

use super::account::{Permissions, StoreRights};
use super::path::VirtualPath;

/// A moment in UTC as storage keeps it. Negative seconds are before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileTime {
    /// Seconds since the Unix epoch.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link: looked at itself, or its target is absent or outside the root.
    Link,
    /// A symbolic link, looked at itself, that leads to a regular file inside the root. Size, time
    /// and the right to write are the file's, as RETR, SIZE, MDTM and STOR have them.
    LinkToFile,
    /// Device, socket, FIFO: listed, never opened.
    Other,
}

/// Facts about one name (RFC 3659 §7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Octets; meaningful for [`FileKind::File`].
    pub size: u64,
    /// Last modification.
    pub modified: FileTime,
    /// Permission bits of the file itself, `0o7777`.
    pub mode: u32,
    /// Hard links, for the second column of LIST.
    pub links: u64,
    /// Filesystem (0 is that of the root) and inode: the `unique` fact, equal for all names of one
    /// file, the same after a restart, and nothing that tells which device it is. MLST and MLSD
    /// have it the same on all nodes of a cluster, too (see `vfs::filesystem_names`).
    pub unique: (u64, u64),
    /// Whether the server process itself may write here (for the `perm` fact).
    pub writable: bool,
    /// Whether the server process may go into this directory; false for anything else.
    pub searchable: bool,
}

impl Metadata {
    /// Whether it is on another file system than the root.
    #[must_use]
    pub const fn is_elsewhere(&self) -> bool {
        self.unique.0 != 0
    }
}

/// Facts about a name itself, a symbolic link not followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameFacts {
    /// Of the link itself when it is one.
    pub metadata: Metadata,
    /// What the symbolic link reads; empty when it is none.
    pub link: Vec<u8>,
    /// Digests of the whole file that were stored and still hold, if they were asked for.
    pub digests: Vec<NamedDigest>,
}

/// Digests for HASH and the X-hash commands (draft-bryan-ftpext-hash).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// CRC-32 (IEEE).
    Crc32,
    /// MD5.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256, the default.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// Every algorithm, in the order of the FEAT line, the default first.
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Sha512, Self::Sha1, Self::Md5, Self::Crc32];
}

/// A set of digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashAlgorithms(u8);

impl HashAlgorithms {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// Whether `algorithm` is one of them.
    #[must_use]
    pub const fn contains(self, algorithm: HashAlgorithm) -> bool {
        self.0 & (1 << algorithm as u8) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them, in the order of the FEAT line.
    pub fn iter(self) -> impl Iterator<Item = HashAlgorithm> {
        HashAlgorithm::ALL.into_iter().filter(move |&algorithm| self.contains(algorithm))
    }
}

impl FromIterator<HashAlgorithm> for HashAlgorithms {
    fn from_iter<T: IntoIterator<Item = HashAlgorithm>>(algorithms: T) -> Self {
        Self(algorithms.into_iter().fold(0, |bits, algorithm| bits | 1 << algorithm as u8))
    }
}

/// A digest and how it was made.
pub type NamedDigest = (HashAlgorithm, Vec<u8>);

/// One request; the session has at most one of them open. Symbolic links in directory parts are
/// followed inside the root; `Delete`, `Rename` and `RemoveDirectory` act on the last name itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileRequest {
    /// Facts of a name, last symbolic link followed when it stays inside the root.
    Metadata(VirtualPath),
    /// Facts of the name itself, its last symbolic link not followed, for MLST and RNFR.
    Facts {
        /// Which name.
        path: VirtualPath,
        /// Whether the digests that are known of the file are wanted.
        digests: bool,
    },
    /// Size of the file after conversion to TYPE A (RFC 3659 §4).
    AsciiSize(VirtualPath),
    /// MKD.
    MakeDirectory(VirtualPath),
    /// SITE MKDIR: with the directories above it that are missing. One that is there is no error.
    MakeDirectories(VirtualPath),
    /// RMD; the directory must be empty.
    RemoveDirectory(VirtualPath),
    /// DELE; not for directories.
    Delete(VirtualPath),
    /// RNTO; never replaces a directory.
    Rename {
        /// The name RNFR gave.
        from: VirtualPath,
        /// The new name.
        to: VirtualPath,
        /// Whether it may be taken from an existing file.
        replace: bool,
    },
    /// MFMT, MFF, SITE UTIME, SITE CHMOD; answered with the values now set.
    SetFacts {
        /// Which file.
        path: VirtualPath,
        /// New modification time.
        modified: Option<FileTime>,
        /// New permission bits; storage ignores set-user-id, and set-group-id of files.
        mode: Option<u32>,
    },
    /// HASH, XCRC, XMD5, XSHA…: digest of `[start, end)`; `end` `None` is the end of file.
    Hash {
        /// Which file.
        path: VirtualPath,
        /// Which digest.
        algorithm: HashAlgorithm,
        /// First octet.
        start: u64,
        /// One past the last octet.
        end: Option<u64>,
    },
    /// AVBL: octets a user may still store under this directory.
    Available(VirtualPath),
    /// STAT with a pathname: a listing small enough for the control connection.
    ControlListing(ListRequest),
}

impl FileRequest {
    /// The name it is about: the new one of a rename, whose directory is changed, too.
    #[must_use]
    pub const fn path(&self) -> &VirtualPath {
        match self {
            Self::Metadata(path)
            | Self::Facts { path, .. }
            | Self::AsciiSize(path)
            | Self::MakeDirectory(path)
            | Self::MakeDirectories(path)
            | Self::RemoveDirectory(path)
            | Self::Delete(path)
            | Self::Rename { to: path, .. }
            | Self::SetFacts { path, .. }
            | Self::Hash { path, .. }
            | Self::Available(path)
            | Self::ControlListing(ListRequest { path, .. }) => path,
        }
    }
}

/// Answer to a [`FileRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileReply {
    /// Done, nothing to say.
    Done,
    /// For `Metadata` and `SetFacts`.
    Metadata(Metadata),
    /// For `Facts`.
    Facts(NameFacts),
    /// For `AsciiSize` and `Available`.
    Octets(u64),
    /// For `Hash`: digest, and the range it covers, end exclusive.
    Hash {
        /// The digest octets.
        digest: Vec<u8>,
        /// First octet.
        start: u64,
        /// One past the last octet.
        end: u64,
    },
    /// For `ControlListing`: whole CRLF-ended lines.
    Listing(Vec<u8>),
}

/// The content, by the kind of answer; `None` for another kind.
impl FileReply {
    pub(super) fn done(self) -> Option<()> {
        matches!(self, Self::Done).then_some(())
    }

    pub(super) fn metadata(self) -> Option<Metadata> {
        if let Self::Metadata(metadata) = self { Some(metadata) } else { None }
    }

    pub(super) fn facts(self) -> Option<NameFacts> {
        if let Self::Facts(facts) = self { Some(facts) } else { None }
    }

    pub(super) fn octets(self) -> Option<u64> {
        if let Self::Octets(octets) = self { Some(octets) } else { None }
    }

    pub(super) fn hash(self) -> Option<(Vec<u8>, Range<u64>)> {
        if let Self::Hash { digest, start, end } = self { Some((digest, start..end)) } else { None }
    }

    pub(super) fn listing(self) -> Option<Vec<u8>> {
        if let Self::Listing(text) = self { Some(text) } else { None }
    }
}

/// Why storage refused or failed; the session maps it to the reply code each command allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileError {
    /// Nothing of that name.
    NotFound,
    /// The operating system said EACCES or EPERM.
    PermissionDenied,
    /// Leads out of the root, through `..`, an absolute or a magic link.
    OutsideRoot,
    /// A directory was needed.
    NotADirectory,
    /// RMD of a symbolic link.
    IsALink,
    /// A directory cannot be used so.
    IsADirectory,
    /// Neither file nor directory (device, socket, FIFO).
    NotAFile,
    /// The name is taken.
    AlreadyExists,
    /// RMD of a directory with entries.
    NotEmpty,
    /// ENAMETOOLONG.
    NameTooLong,
    /// Too many symbolic links.
    Loop,
    /// ENOSPC.
    NoSpace,
    /// EDQUOT.
    Quota,
    /// EFBIG.
    TooBig,
    /// EROFS.
    ReadOnly,
    /// In use: another append to the same file, ETXTBSY, EBUSY.
    Busy,
    /// The range or restart marker lies beyond the end.
    BeyondEnd,
    /// The file became shorter while it was read; what was sent is not all of it.
    Shrunk,
    /// Something is mounted over the name, which so can neither go nor be replaced.
    MountPoint,
    /// A rename to another filesystem.
    OtherFilesystem,
    /// Not offered for this file or by this filesystem (also: too big for ASCII SIZE).
    Unsupported,
    /// Descriptors or helper queue exhausted; try again later.
    Overloaded,
    /// Given up because the client asked for it (ABOR).
    Aborted,
    /// Anything else, with the `errno`.
    Io(i32),
}

/// Which MLST facts are selected (OPTS MLST).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactSet {
    /// `type=`.
    pub kind: bool,
    /// `size=`.
    pub size: bool,
    /// `modify=`.
    pub modify: bool,
    /// `perm=`.
    pub perm: bool,
    /// `unique=`.
    pub unique: bool,
    /// `UNIX.mode=`.
    pub unix_mode: bool,
    /// `X.hash=`, of MLST alone: digests that are known without reading the file.
    pub hash: bool,
}

impl FactSet {
    /// The default selection: all but `UNIX.mode` and `X.hash`.
    pub const DEFAULT: Self = Self {
        kind: true,
        size: true,
        modify: true,
        perm: true,
        unique: true,
        unix_mode: false,
        hash: false,
    };
    /// No fact.
    pub const NONE: Self = Self {
        kind: false,
        size: false,
        modify: false,
        perm: false,
        unique: false,
        unix_mode: false,
        hash: false,
    };
}

/// The three forms a directory can be sent in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListStyle {
    /// LIST: like `ls -l`, TYPE A.
    Long,
    /// NLST: each line is `prefix` and the bare name, usable as an argument from the working
    /// directory (RFC 1123 §4.1.2.7).
    Names {
        /// `sub/` for `NLST sub`; empty for the working directory.
        prefix: Vec<u8>,
    },
    /// MLSD: facts, RFC 3659 §7.
    Facts(FactSet),
}

/// What to list and how. In LIST and NLST the last name may be a pattern of `*`, `?` and `[…]`
/// (RFC 1123 §4.1.2.7), unless something of that very name exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Directory, or for LIST and NLST also a file (one line).
    pub path: VirtualPath,
    /// The operand as the client gave it: printed when `path` is a file, and up to its last slash
    /// before the names that a pattern matches.
    pub argument: Vec<u8>,
    /// Form of the lines.
    pub style: ListStyle,
    /// LIST -a: names that start with a dot, too. MLSD always has them.
    pub hidden: bool,
    /// LIST -R: the directories below as well, symbolic links not followed.
    pub recursive: bool,
    /// For the `perm` fact.
    pub permissions: Permissions,
    /// Current time, for the two date forms of LIST; seconds since the epoch.
    pub now: i64,
}

/// How an upload relates to an existing file of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// STOR: takes the name when complete, as far as the rights go.
    Replace,
    /// REST n + STOR (or APPE): octets before `n` stay, the rest is replaced when complete.
    At(u64),
    /// APPE: after the last octet of the file that has the name when the upload ends; creates the
    /// file when absent.
    Append,
    /// STOU: a free name, made from the given one.
    Unique,
}

/// What the server-DTP opens before the preliminary reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferRequest {
    /// RETR.
    Retrieve {
        /// Which file.
        path: VirtualPath,
        /// Restart marker: octets to skip, counted in the representation that is sent.
        offset: u64,
        /// TYPE A: LF becomes CRLF.
        ascii: bool,
    },
    /// STOR, APPE, STOU.
    Store {
        /// Which file; for STOU the directory's wanted name.
        path: VirtualPath,
        /// How.
        mode: StoreMode,
        /// Which names it may take.
        rights: StoreRights,
        /// TYPE A: CRLF becomes LF.
        ascii: bool,
        /// Octets announced by ALLO; storage may reserve them.
        announced: Option<u64>,
    },
    /// LIST, NLST, MLSD.
    List(ListRequest),
}

impl TransferRequest {
    /// The name it is about.
    #[must_use]
    pub const fn path(&self) -> &VirtualPath {
        match self {
            Self::Retrieve { path, .. }
            | Self::Store { path, .. }
            | Self::List(ListRequest { path, .. }) => path,
        }
    }
}

/// What opening found out, for the text of the 150.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Octets that will be sent, when known (image RETR).
    pub size: Option<u64>,
    /// STOU: the name chosen.
    pub name: Option<Vec<u8>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_facts_are_the_five_of_rfc_3659() {
        let facts = FactSet::DEFAULT;
        assert!(facts.kind && facts.size && facts.modify && facts.perm && facts.unique);
        assert!(!facts.unix_mode && !facts.hash);
    }

    #[test]
    fn sets_of_digests() {
        let set: HashAlgorithms = [HashAlgorithm::Md5, HashAlgorithm::Sha256].into_iter().collect();
        assert!(set.iter().eq([HashAlgorithm::Sha256, HashAlgorithm::Md5]));
        assert!(set.contains(HashAlgorithm::Md5) && !set.contains(HashAlgorithm::Crc32));
        assert!(HashAlgorithms::default().is_empty() && !set.is_empty());
    }
}
