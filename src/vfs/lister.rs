//! LIST, NLST and MLSD: a directory of any size as text, in bounded memory.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, RawDir, readlinkat};
use rustix::io::Errno;

use super::facts;
use super::filesystem_names::{Location, name_filesystem};
use super::root::{Lookup, Root};
use super::temporary::is_temporary;
use crate::limits::{
    LISTING_BATCH_BYTES, LISTING_DIRECTORIES_BYTES_MAX, LISTING_NAMES_WORK_MAX,
    LISTING_SORT_BYTES_MAX,
};
use crate::protocol::file::{
    FactSet, FileError, FileKind, FileTime, ListRequest, ListStyle, Metadata,
};
use crate::protocol::listing::{fact_line, long_line, name_line};
use crate::protocol::path::VirtualPath;
use crate::protocol::pattern::{is_pattern, matches};

/// Octets one `getdents64` may fill: some hundred to a thousand entries.
const ENTRIES_BYTES: usize = 32 * 1024;

/// A listing under way. Memory: names of [`LISTING_SORT_BYTES_MAX`] and the entries of one
/// `getdents64`, however large the directory is; with LIST -R the directories not yet listed, too.
///
/// Every entry that exists from beginning to end is listed exactly once; one that vanishes
/// meanwhile is left out; the server's temporary names never appear. Entries are sorted by name
/// where their names fit into the memory, else in the directory's order. A symbolic link is shown
/// as itself and never followed, so that clients do not take its target for a part of the tree; but
/// size and time are those of the file, if it leads to one.
pub struct Lister {
    root: Arc<Root>,
    request: ListRequest,
    /// What entries must match (LIST, NLST); the last name of the operand.
    pattern: Option<Vec<u8>>,
    /// The directory that is being listed.
    path: VirtualPath,
    /// Goes before each name of NLST.
    prefix: Vec<u8>,
    /// `None` when the pathname is a file: one line, then the end.
    directory: Option<OwnedFd>,
    started: bool,
    /// Nothing of this directory was read yet.
    fresh: bool,
    exhausted: bool,
    entries: Vec<u8>,
    pending: Pending,
    /// LIST -R: directories to come, the next one last, each with its prefix.
    deeper: Vec<(VirtualPath, Vec<u8>)>,
    /// LIST -R: directories found in this one.
    found: Vec<(VirtualPath, Vec<u8>)>,
    /// Octets of both.
    held: usize,
    /// Of the directory of MLSD, once an entry is on another file system than the home.
    location: Option<Location>,
    /// Why facts of some entry, or the entries of a directory of LIST -R, could not be had.
    broken: Option<FileError>,
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
        let machine = matches!(request.style, ListStyle::Facts(_));
        let mut lister = Self {
            root: Arc::clone(root),
            request: request.clone(),
            pattern: None,
            path: request.path.clone(),
            prefix: match &request.style {
                ListStyle::Names { prefix } => prefix.clone(),
                ListStyle::Long | ListStyle::Facts(_) => Vec::new(),
            },
            directory: None,
            started: false,
            fresh: true,
            exhausted: false,
            entries: Vec::new(),
            pending: Pending::default(),
            deeper: Vec::new(),
            found: Vec::new(),
            held: 0,
            location: None,
            broken: None,
        };
        let stat = match root.locate(&request.path, lookup) {
            Ok((_, stat)) => stat,
            Err(FileError::NotFound) if !machine && lister.take_pattern() => {
                lister.directory = Some(lister.open_directory(lookup)?);
                return Ok(lister);
            }
            // A link that leads nowhere is an entry all the same.
            Err(refusal @ FileError::NotFound) if !machine => {
                let named = root.locate_name(&request.path, lookup);
                match named {
                    Ok((_, stat, _)) if facts::kind(&stat).is_none() => stat,
                    Err(FileError::Busy) => return Err(FileError::Busy),
                    _ => return Err(refusal),
                }
            }
            Err(refusal) => return Err(refusal),
        };
        match facts::kind(&stat) {
            Some(FileKind::Directory) => lister.directory = Some(lister.open_directory(lookup)?),
            _ if machine => return Err(FileError::NotADirectory),
            _ => {}
        }
        Ok(lister)
    }

    /// Makes the last name of the pathname a pattern, if it can be one. What comes before it is
    /// none, and `*/../*` is not `*`.
    fn take_pattern(&mut self) -> bool {
        let Some(name) = self.path.file_name().filter(|name| is_pattern(name)) else {
            return false;
        };
        let operand = &self.request.argument;
        let slash = operand.iter().rposition(|&octet| octet == b'/');
        let directory = slash.map_or(&b""[..], |slash| &operand[..=slash]);
        let goes_up = || directory.split(|&octet| octet == b'/').any(|name| name == b"..");
        if is_pattern(directory) && goes_up() {
            return false;
        }
        self.prefix = directory.to_vec();
        self.pattern = Some(name.to_vec());
        self.path = self.path.parent();
        true
    }

    fn open_directory(&self, lookup: Lookup) -> Result<OwnedFd, FileError> {
        self.root.open_path(&self.path, OFlags::RDONLY | OFlags::DIRECTORY, lookup)
    }

    /// Appends about [`LISTING_BATCH_BYTES`] of whole lines to `out`, waiting for the disk; less,
    /// or nothing, where many entries match no pattern. `false`: that was all.
    ///
    /// # Errors
    ///
    /// When the directory cannot be read further, at the end when storage could not tell of some
    /// entry, when nothing of the entries may be told but their names (r without x) and more is
    /// wanted, or when LIST -R finds more directories to come than
    /// [`LISTING_DIRECTORIES_BYTES_MAX`] allows. What was appended before stands.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<bool, FileError> {
        if !self.started {
            self.started = true;
            self.head(out)?;
        }
        let full = out.len().saturating_add(LISTING_BATCH_BYTES);
        let mut work = LISTING_NAMES_WORK_MAX;
        let mut pending = std::mem::take(&mut self.pending);
        while out.len() < full && work > 0 {
            match pending.take() {
                Some((file_type, name)) => {
                    let cost = name.count_bytes() * self.pattern.as_ref().map_or(1, Vec::len);
                    work = work.saturating_sub(cost.max(1));
                    self.line(out, file_type, name)?;
                }
                None if self.exhausted => {
                    if !self.descend(out) {
                        return self.broken.take().map_or(Ok(false), Err);
                    }
                }
                None => self.refill(&mut pending)?,
            }
        }
        self.pending = pending;
        Ok(true)
    }

    /// What precedes the entries: the line of a file, or the heading of MLSD or LIST -R.
    fn head(&mut self, out: &mut Vec<u8>) -> Result<(), FileError> {
        if self.directory.is_none() {
            self.exhausted = true;
            let name = &self.request.argument;
            match self.request.style {
                ListStyle::Names { .. } => name_line(out, b"", name),
                ListStyle::Long | ListStyle::Facts(_) => {
                    let (_, stat, link) =
                        self.root.locate_name(&self.request.path, Lookup::Blocking)?;
                    let metadata = self.root.metadata_of_name(&self.request.path, &stat);
                    long_line(out, &metadata, name, &link, self.request.now);
                }
            }
            return Ok(());
        }
        // RFC 3659 §7.5.1.2 and §7.5.1.4: only with the type fact, and by the two names that
        // clients know to leave out: rclone takes any other for a directory inside.
        if let ListStyle::Facts(facts) = self.request.style
            && facts.kind
        {
            let path = &self.request.path;
            let own = self.directory_facts(path)?;
            self.fact_line(out, &own, Some("cdir"), b"", facts, b".");
            if !path.is_root()
                && let Ok(parent) = self.directory_facts(&path.parent())
            {
                self.fact_line(out, &parent, Some("pdir"), b"", facts, b"..");
            }
        }
        if self.request.recursive && self.pattern.is_none() {
            let operand =
                self.request.argument.strip_suffix(b"/").unwrap_or(&self.request.argument);
            let start = if operand.is_empty() { b"." } else { operand };
            self.prefix_of_long(start.to_vec());
            self.heading(out, false);
        }
        Ok(())
    }

    fn directory_facts(&self, path: &VirtualPath) -> Result<Metadata, FileError> {
        let mut metadata = self.root.metadata(path, Lookup::Blocking)?;
        if metadata.is_elsewhere() {
            let (handle, stat) = self.root.locate(path, Lookup::Blocking)?;
            name_filesystem(&self.root, &handle, &stat, Lookup::Blocking, &mut metadata)?;
        }
        Ok(metadata)
    }

    /// In LIST -R the prefix is the name of the directory in its heading, with a slash behind.
    fn prefix_of_long(&mut self, start: Vec<u8>) {
        if matches!(self.request.style, ListStyle::Long) {
            self.prefix = [&start[..], b"/"].concat();
        }
    }

    /// `./sub:`, as `ls -R` has it; NLST has whole names instead.
    fn heading(&self, out: &mut Vec<u8>, blank: bool) {
        if matches!(self.request.style, ListStyle::Long) {
            if blank {
                out.extend_from_slice(b"\r\n");
            }
            let name = self.prefix.strip_suffix(b"/").unwrap_or(&self.prefix);
            name_line(out, name, b":");
        }
    }

    /// Goes on with the next directory of LIST -R. `false`: there is none.
    fn descend(&mut self, out: &mut Vec<u8>) -> bool {
        self.deeper.extend(self.found.drain(..).rev());
        let Some((path, prefix)) = self.deeper.pop() else { return false };
        self.held -= path.as_bytes().len() + prefix.len();
        (self.path, self.prefix) = (path, prefix);
        // One that has vanished, or may not be read, has a heading and no entries, as with ls.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = self.root.open_path(&self.path, flags, Lookup::Blocking);
        if let Err(error @ FileError::Io(_)) = &directory {
            self.broken.get_or_insert(*error);
        }
        (self.fresh, self.exhausted) = (true, directory.is_err());
        self.directory = directory.ok().or(self.directory.take());
        self.heading(out, true);
        true
    }

    /// Entries of one `getdents64`, or of all while they can be sorted.
    fn refill(&mut self, pending: &mut Pending) -> Result<(), FileError> {
        pending.clear();
        loop {
            self.read_entries(pending)?;
            if self.exhausted || !self.fresh || pending.octets.len() > LISTING_SORT_BYTES_MAX {
                break;
            }
        }
        if std::mem::take(&mut self.fresh) && self.exhausted {
            pending.sort();
        }
        Ok(())
    }

    /// One `getdents64`, taken over whole: the directory's position is then past all of it.
    fn read_entries(&mut self, pending: &mut Pending) -> Result<(), FileError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        self.entries.reserve_exact(ENTRIES_BYTES);
        let mut entries = RawDir::new(directory, self.entries.spare_capacity_mut());
        loop {
            match entries.next() {
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => pending.push(entry.file_type(), entry.file_name()),
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

    fn line(
        &mut self,
        out: &mut Vec<u8>,
        file_type: FileType,
        terminated: &CStr,
    ) -> Result<(), FileError> {
        let name = terminated.to_bytes();
        if !self.is_wanted(name) {
            return Ok(());
        }
        if matches!(self.request.style, ListStyle::Names { .. }) {
            name_line(out, &self.prefix, name);
            // Few filesystems do not tell the type with the name.
            let kind = match file_type {
                FileType::Unknown if self.request.recursive => {
                    self.metadata(file_type, terminated)?.map(|(metadata, _)| metadata.kind)
                }
                FileType::Directory => Some(FileKind::Directory),
                _ => None,
            };
            return self.note_directory(kind, name);
        }
        let Some((metadata, link)) = self.metadata(file_type, terminated)? else { return Ok(()) };
        match self.request.style {
            ListStyle::Facts(facts) => self.fact_line(out, &metadata, None, &link, facts, name),
            _ => long_line(out, &metadata, name, &link, self.request.now),
        }
        self.note_directory(Some(metadata.kind), name)
    }

    fn is_wanted(&self, name: &[u8]) -> bool {
        if is_temporary(name) {
            return false;
        }
        if let Some(pattern) = &self.pattern {
            return matches(pattern, name);
        }
        let shows_dotted = self.request.hidden || matches!(self.request.style, ListStyle::Facts(_));
        name.first() != Some(&b'.') || shows_dotted
    }

    /// Remembers a directory for LIST -R.
    fn note_directory(&mut self, kind: Option<FileKind>, name: &[u8]) -> Result<(), FileError> {
        if !self.request.recursive || self.pattern.is_some() || kind != Some(FileKind::Directory) {
            return Ok(());
        }
        // A pathname beyond the bound cannot be listed; its name was.
        let Ok(path) = self.path.resolve(name) else { return Ok(()) };
        let prefix = [&self.prefix[..], name, b"/"].concat();
        self.held += path.as_bytes().len() + prefix.len();
        if self.held > LISTING_DIRECTORIES_BYTES_MAX {
            return Err(FileError::Unsupported);
        }
        self.found.push((path, prefix));
        Ok(())
    }

    /// Facts of an entry, and what it reads if it is a symbolic link; `None` when it vanished.
    fn metadata(
        &mut self,
        file_type: FileType,
        name: &CStr,
    ) -> Result<Option<(Metadata, Vec<u8>)>, FileError> {
        let Some(directory) = &self.directory else { return Ok(None) };
        match facts::stat_name(directory, name) {
            Ok(stat) => {
                let mut metadata = self.root.credentials().metadata(&stat);
                if metadata.is_elsewhere() && matches!(self.request.style, ListStyle::Facts(_)) {
                    // MLSD lists one directory, so this is found out once.
                    self.location
                        .get_or_insert_with(|| Location::of(&self.root, directory))
                        .name_filesystem_of(name.to_bytes(), &stat, &mut metadata);
                }
                if metadata.kind != FileKind::Link {
                    return Ok(Some((metadata, Vec::new())));
                }
                let metadata = self.root.with_target(&self.path, name.to_bytes(), metadata);
                let link = readlinkat(directory, name, Vec::new()).map(CString::into_bytes);
                Ok(Some((metadata, link.unwrap_or_default())))
            }
            Err(Errno::NOENT) => Ok(None),
            // The directory may be read and not searched: sizes of 0 would be taken for the truth.
            Err(Errno::ACCESS) => Err(FileError::PermissionDenied),
            // A broken mount: the name is there, and all that is known is its type.
            Err(_) if file_type == FileType::Directory => {
                Ok(Some((unknown(file_type), Vec::new())))
            }
            // The others may be well. This one is left out, and the end is no success.
            Err(errno) => {
                self.broken.get_or_insert(errno.into());
                Ok(None)
            }
        }
    }

    fn fact_line(
        &self,
        out: &mut Vec<u8>,
        metadata: &Metadata,
        kind: Option<&str>,
        link: &[u8],
        facts: FactSet,
        name: &[u8],
    ) {
        fact_line(out, metadata, kind, link, facts, self.request.permissions, name);
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

    /// By name, which clients and people expect of a list.
    fn sort(&mut self) {
        let mut entries = Vec::new();
        let mut rest = &self.octets[..];
        while let Some((_, name)) = rest.split_first()
            && let Ok(name) = CStr::from_bytes_until_nul(name)
        {
            let (entry, tail) = rest.split_at(name.count_bytes() + 2);
            entries.push((0, entry));
            rest = tail;
        }
        // Names of one directory are alike at their beginning. Nearly all comparisons are settled
        // by eight octets behind what all have in common, as one number; no name contains NUL.
        let first = entries.first().map_or(&b""[..], |(_, entry)| &entry[1..]);
        let common = entries.iter().fold(first.len(), |common, (_, entry)| {
            let alike = first[..common].iter().zip(&entry[1..]).take_while(|(a, b)| a == b);
            alike.count()
        });
        for (key, entry) in &mut entries {
            let mut octets = [0; 8];
            octets.iter_mut().zip(&entry[1 + common..]).for_each(|(to, from)| *to = *from);
            *key = u64::from_be_bytes(octets);
        }
        entries.sort_unstable_by(|(key, entry), (other_key, other)| {
            key.cmp(other_key).then_with(|| entry[1..].cmp(&other[1..]))
        });
        let mut sorted = Vec::with_capacity(self.octets.len());
        for (_, entry) in entries {
            sorted.extend_from_slice(entry);
        }
        self.octets = sorted;
    }

    fn push(&mut self, file_type: FileType, name: &CStr) {
        self.octets.push(match file_type {
            FileType::Directory => b'd',
            FileType::RegularFile => b'f',
            FileType::Symlink => b'l',
            _ => b'o',
        });
        self.octets.extend_from_slice(name.to_bytes_with_nul());
    }

    fn take(&mut self) -> Option<(FileType, &CStr)> {
        let (&code, rest) = self.octets.get(self.next..)?.split_first()?;
        let name = CStr::from_bytes_until_nul(rest).ok()?;
        self.next += name.count_bytes() + 2;
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
        FileType::Symlink => FileKind::Link,
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
        searchable: false,
    }
}

#[cfg(test)]
mod tests;
