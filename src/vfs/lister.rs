//! LIST, NLST and MLSD: a directory of any size as text, in bounded memory.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, RawDir};
use rustix::io::Errno;

use super::facts;
use super::root::{Lookup, Root};
use super::temporary::is_temporary;
use crate::limits::LISTING_BATCH_BYTES;
use crate::protocol::file::{
    FactSet, FileError, FileKind, FileTime, ListRequest, ListStyle, Metadata,
};

/// Octets one `getdents64` may fill: some hundred to a thousand entries.
const ENTRIES_BYTES: usize = 32 * 1024;

/// A listing under way. Memory: the entries of one `getdents64` and their copy, however large the
/// directory is.
///
/// Every entry that exists from beginning to end is listed exactly once, in the directory's order;
/// one that vanishes meanwhile is left out; the server's temporary names never appear.
pub struct Lister {
    root: Arc<Root>,
    request: ListRequest,
    /// `None` when the pathname is a file: one line, then the end.
    directory: Option<OwnedFd>,
    started: bool,
    exhausted: bool,
    entries: Vec<u8>,
    pending: Pending,
}

/// Entries read and not yet formatted: type octet, name, NUL, and so on.
#[derive(Default)]
struct Pending {
    octets: Vec<u8>,
    next: usize,
}

impl Lister {
    /// Opens what `request` names.
    pub(super) fn open(
        root: &Arc<Root>,
        request: &ListRequest,
        lookup: Lookup,
    ) -> Result<Self, FileError> {
        let (_, stat) = root.locate(&request.path, lookup)?;
        let directory = match facts::kind(&stat) {
            Some(FileKind::Directory) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                Some(root.open_path(&request.path, flags, lookup)?)
            }
            _ if matches!(request.style, ListStyle::Facts(_)) => {
                return Err(FileError::NotADirectory);
            }
            _ => None,
        };
        Ok(Self {
            root: Arc::clone(root),
            request: request.clone(),
            directory,
            started: false,
            exhausted: false,
            entries: Vec::new(),
            pending: Pending::default(),
        })
    }

    /// Appends about [`LISTING_BATCH_BYTES`] of whole lines to `out`, waiting for the disk.
    /// `false`: that was all.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read further. What was appended before stands.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, FileError> {
        if !self.started {
            self.started = true;
            self.head(out)?;
        }
        let full = out.len().saturating_add(LISTING_BATCH_BYTES);
        let mut pending = std::mem::take(&mut self.pending);
        while out.len() < full {
            match pending.take() {
                Some((file_type, name)) => self.line(out, file_type, name),
                None if self.exhausted => return Ok(false),
                None => self.refill(&mut pending)?,
            }
        }
        self.pending = pending;
        Ok(true)
    }

    /// What precedes the entries: the line of a file, or the heading of MLSD.
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), FileError> {
        if self.directory.is_none() {
            self.exhausted = true;
            let metadata = self.root.metadata(&self.request.path, Lookup::Blocking)?;
            let name = &self.request.argument;
            match self.request.style {
                ListStyle::Names { .. } => name_line(out, b"", name),
                ListStyle::Long | ListStyle::Facts(_) => {
                    long_line(out, &metadata, name, self.request.now);
                }
            }
            return Ok(());
        }
        // RFC 3659 §7.5.1.2 and §7.5.1.4: only with the type fact; the listed directory is named
        // as seen from the working directory, its parent as seen from the listed directory.
        if let ListStyle::Facts(facts) = self.request.style
            && facts.kind
        {
            let path = &self.request.path;
            let own = self.root.metadata(path, Lookup::Blocking)?;
            let argument = self.request.argument.as_slice();
            let name = if argument.is_empty() { b"." } else { argument };
            self.fact_line(out, &own, Some("cdir"), facts, name);
            if !path.is_root()
                && let Ok(parent) = self.root.metadata(&path.parent(), Lookup::Blocking)
            {
                self.fact_line(out, &parent, Some("pdir"), facts, b"..");
            }
        }
        Ok(())
    }

    /// One `getdents64`, taken over whole: the directory's position is then past all of it.
    fn refill(&mut self, pending: &mut Pending) -> Result<(), FileError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        pending.clear();
        self.entries.reserve_exact(ENTRIES_BYTES);
        let mut entries = RawDir::new(directory, self.entries.spare_capacity_mut());
        loop {
            match entries.next() {
                Some(Ok(entry)) => pending.push(entry.file_type(), entry.file_name().to_bytes()),
                Some(Err(Errno::INTR)) => {}
                // The directory itself was removed: nothing is left in it.
                Some(Err(Errno::NOENT)) | None => {
                    self.exhausted = true;
                    return Ok(());
                }
                Some(Err(errno)) => return Err(errno.into()),
            }
            if entries.is_buffer_empty() {
                return Ok(());
            }
        }
    }

    fn line(&self, out: &mut Vec<u8>, file_type: FileType, name: &[u8]) {
        let facts = match self.request.style {
            ListStyle::Facts(facts) => Some(facts),
            ListStyle::Long | ListStyle::Names { .. } => None,
        };
        let dotted = name.first() == Some(&b'.');
        let hidden = dotted && facts.is_none() && !self.request.hidden;
        if hidden || matches!(name, b"." | b"..") || is_temporary(name) {
            return;
        }
        if let ListStyle::Names { prefix } = &self.request.style {
            return name_line(out, prefix, name);
        }
        let Some(metadata) = self.metadata(file_type, name) else { return };
        match facts {
            Some(facts) => self.fact_line(out, &metadata, None, facts, name),
            None => long_line(out, &metadata, name, self.request.now),
        }
    }

    /// Facts of an entry, links inside the root followed; `None` when it vanished.
    fn metadata(&self, file_type: FileType, name: &[u8]) -> Option<Metadata> {
        let identity = self.root.identity();
        match facts::stat_name(self.directory.as_ref()?, name) {
            Ok(stat) if facts::kind(&stat).is_none() => {
                let target = self.root.follow(&self.request.path, name);
                Some(identity.metadata(&target.unwrap_or(stat)))
            }
            Ok(stat) => Some(identity.metadata(&stat)),
            Err(Errno::NOENT) => None,
            // A directory that may be read and not searched (r without x), a broken mount: the
            // name is there, and all that is known is its type.
            Err(_) => Some(unknown(file_type)),
        }
    }

    fn fact_line(
        &self,
        out: &mut Vec<u8>,
        metadata: &Metadata,
        kind: Option<&str>,
        facts: FactSet,
        name: &[u8],
    ) {
        fact_line(out, metadata, kind, facts, self.request.permissions, name);
    }
}

impl fmt::Debug for Lister {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lister").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Pending {
    fn clear(&mut self) {
        self.octets.clear();
        self.next = 0;
    }

    fn push(&mut self, file_type: FileType, name: &[u8]) {
        self.octets.push(match file_type {
            FileType::Directory => b'd',
            FileType::RegularFile => b'f',
            FileType::Symlink => b'l',
            _ => b'o',
        });
        self.octets.extend_from_slice(name);
        self.octets.push(0);
    }

    fn take(&mut self) -> Option<(FileType, &[u8])> {
        let (&code, rest) = self.octets.get(self.next..)?.split_first()?;
        let name = rest.split(|&octet| octet == 0).next()?;
        self.next += name.len() + 2;
        let file_type = match code {
            b'd' => FileType::Directory,
            b'f' => FileType::RegularFile,
            b'l' => FileType::Symlink,
            _ => FileType::Unknown,
        };
        Some((file_type, name))
    }
}

fn unknown(file_type: FileType) -> Metadata {
    let kind = match file_type {
        FileType::Directory => FileKind::Directory,
        FileType::RegularFile => FileKind::File,
        FileType::Symlink => FileKind::DanglingLink,
        _ => FileKind::Other,
    };
    Metadata {
        kind,
        size: 0,
        modified: FileTime::default(),
        mode: 0,
        links: 1,
        unique: (0, 0),
        writable: false,
    }
}

use stand_in::{fact_line, long_line, name_line};

mod stand_in {
    use super::*;
    use crate::protocol::account::Permissions;
    pub(super) fn long_line(out: &mut Vec<u8>, m: &Metadata, name: &[u8], _now: i64) {
        out.extend_from_slice(format!("{:?} {} ", m.kind, m.size).as_bytes());
        name_line(out, b"", name);
    }
    pub(super) fn name_line(out: &mut Vec<u8>, prefix: &[u8], name: &[u8]) {
        out.extend_from_slice(prefix);
        out.extend_from_slice(name);
        out.extend_from_slice(b"\r\n");
    }
    pub(super) fn fact_line(
        out: &mut Vec<u8>,
        m: &Metadata,
        kind: Option<&str>,
        _facts: FactSet,
        _permissions: Permissions,
        name: &[u8],
    ) {
        let own = format!("{:?}", m.kind);
        out.extend_from_slice(format!("type={}; ", kind.unwrap_or(&own)).as_bytes());
        name_line(out, b"", name);
    }
}
