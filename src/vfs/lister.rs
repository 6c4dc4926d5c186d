//! LIST, NLST and MLSD: a directory of any size as text, in bounded memory.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, RawDir, readlinkat};
use rustix::io::Errno;

use super::facts;
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
            let own = self.root.metadata(path, Lookup::Blocking)?;
            self.fact_line(out, &own, Some("cdir"), b"", facts, b".");
            if !path.is_root()
                && let Ok(parent) = self.root.metadata(&path.parent(), Lookup::Blocking)
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
                let metadata = self.root.credentials().metadata(&stat);
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
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::vfs::testing::{Home, list_request, raw};

    /// Where the name begins in a line of LIST.
    const NAME_COLUMN: usize = 59;
    const NAMES: ListStyle = ListStyle::Names { prefix: Vec::new() };

    fn lines(text: &[u8]) -> Vec<String> {
        let text = std::str::from_utf8(text).unwrap();
        assert!(text.is_empty() || text.ends_with("\r\n"));
        let mut lines: Vec<String> = text.split_terminator("\r\n").map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// [LIST-30]: each entry once, none lost, in bounded batches, while others come and go.
    #[test]
    fn a_large_directory_is_listed_completely_in_batches() {
        const ENTRIES: usize = 20_000;
        let home = Home::new();
        for number in 0..ENTRIES {
            home.put(format!("stays-{number}"), b"");
        }
        for number in 0..100 {
            home.put(format!("goes-{number}"), b"");
        }
        for style in [NAMES, ListStyle::Long, ListStyle::Facts(FactSet::DEFAULT)] {
            let kind = std::mem::discriminant(&style);
            let request = list_request(b"/", style);
            let mut lister = Lister::open(&home.root, &request, Lookup::Blocking).unwrap();
            let (mut seen, mut batches) = (BTreeSet::new(), 0);
            loop {
                let mut batch = Vec::new();
                let more = lister.next(&mut batch).unwrap();
                assert!(batch.len() < LISTING_BATCH_BYTES + 512, "{}", batch.len());
                for line in lines(&batch) {
                    let name = line.rsplit(' ').next().unwrap();
                    if name.starts_with("stays-") {
                        assert!(seen.insert(name.to_owned()), "{name} twice");
                    }
                }
                if !more {
                    break;
                }
                home.put(format!("new-{batches}"), b"");
                let _ = fs::remove_file(home.on_disk(format!("goes-{batches}")));
                batches += 1;
            }
            assert_eq!(seen.len(), ENTRIES, "{kind:?}");
            assert!(batches > 2);
            assert!(lister.entries.capacity() <= 2 * ENTRIES_BYTES);
            assert!(
                lister.pending.octets.capacity() <= 2 * (LISTING_SORT_BYTES_MAX + ENTRIES_BYTES)
            );
        }
    }

    #[test]
    fn dotfiles_are_shown_on_request_and_always_by_mlsd() {
        let home = Home::new();
        home.put(".hidden", b"");
        home.put("shown", b"");
        let list = |style, hidden| {
            lines(&home.list(&ListRequest { hidden, ..list_request(b"/", style) }).unwrap())
        };
        assert_eq!(list(NAMES, false), ["shown"]);
        assert_eq!(list(NAMES, true), [".hidden", "shown"]);
        assert_eq!(list(ListStyle::Long, false).len(), 1);
        assert_eq!(list(ListStyle::Long, true).len(), 2);
        assert_eq!(list(ListStyle::Facts(FactSet::NONE), false), [" .hidden", " shown"]);
    }

    /// [NLST-01 NLST-02 LIST-02 MLSD-02]
    #[test]
    fn files_and_subdirectories() {
        let home = Home::new();
        fs::create_dir(home.on_disk("sub")).unwrap();
        let prefixed = || ListStyle::Names { prefix: b"sub/".to_vec() };
        assert_eq!(home.list(&list_request(b"sub", prefixed())).unwrap(), b"");
        home.put("sub/f", b"123");
        let list = |name: &[u8], style| home.list(&list_request(name, style));
        assert_eq!(list(b"sub", prefixed()).unwrap(), b"sub/f\r\n");
        assert_eq!(list(b"sub/f", NAMES).unwrap(), b"sub/f\r\n");
        let long = list(b"sub/f", ListStyle::Long).unwrap();
        assert!(long.starts_with(b"-") && long.ends_with(b" sub/f\r\n"), "{long:?}");
        assert_eq!(lines(&long).len(), 1);
        let facts = ListStyle::Facts(FactSet::DEFAULT);
        assert_eq!(list(b"sub/f", facts.clone()), Err(FileError::NotADirectory));
        assert_eq!(list(b"no", facts), Err(FileError::NotFound));
        assert_eq!(list(b"no", NAMES), Err(FileError::NotFound));
    }

    /// RFC 3659 §7.5.1: headings only with the type fact, and no parent of the root.
    #[test]
    fn mlsd_names_the_directory_itself() {
        let home = Home::new();
        fs::create_dir(home.on_disk("sub")).unwrap();
        let kind = FactSet { kind: true, ..FactSet::NONE };
        let list = |name: &[u8], argument: &[u8], facts| {
            let request = list_request(name, ListStyle::Facts(facts));
            lines(&home.list(&ListRequest { argument: argument.to_vec(), ..request }).unwrap())
        };
        assert_eq!(list(b"/", b"", kind), ["type=cdir; .", "type=dir; sub"]);
        assert_eq!(list(b"sub", b"sub", kind), ["type=cdir; .", "type=pdir; .."]);
        assert!(list(b"sub", b"sub", FactSet::NONE).is_empty());
    }

    /// [MLSD-07]: a link is a link, wherever it leads: a client that deletes or walks a tree by its
    /// listing must not follow it.
    #[test]
    fn links_are_shown_as_links() {
        let home = Home::new();
        fs::create_dir(home.on_disk("sub")).unwrap();
        home.put("f", b"12345");
        home.link("../f", "sub/file");
        home.link(".", "sub/loop");
        home.link("../../outside", "sub/outside");
        home.link("no where", "sub/dangling");
        fs::write(home.outside().join("outside"), "secret").unwrap();
        let kind = FactSet { kind: true, size: true, ..FactSet::NONE };
        let text = lines(&home.list(&list_request(b"sub", ListStyle::Facts(kind))).unwrap());
        let expected = [
            "type=OS.unix=slink:../../outside; outside",
            "type=OS.unix=slink:../f;size=5; file",
            "type=OS.unix=slink:.; loop",
            "type=OS.unix=symlink; dangling",
            "type=cdir; .",
            "type=pdir; ..",
        ];
        assert_eq!(text, expected);
        let text = home.list(&list_request(b"sub", ListStyle::Long)).unwrap();
        let text = String::from_utf8(text).unwrap();
        let shown: Vec<_> = text.lines().map(|line| (&line[..1], &line[NAME_COLUMN..])).collect();
        let expected =
            ["dangling -> no where", "file -> ../f", "loop -> .", "outside -> ../../outside"];
        assert_eq!(shown, expected.map(|name| ("l", name)));
        // One of them alone.
        for (name, line) in
            [(&b"sub/file"[..], " sub/file -> ../f\r\n"), (b"sub/dangling", "no where\r\n")]
        {
            let text = String::from_utf8(home.list(&list_request(name, ListStyle::Long)).unwrap());
            let text = text.unwrap();
            assert!(text.starts_with('l') && text.ends_with(line), "{text}");
        }
    }

    #[test]
    fn small_directories_are_sorted() {
        let home = Home::new();
        for name in ["b", "a", "c", "B", "a.b"] {
            home.put(name, b"");
        }
        assert_eq!(home.list(&list_request(b"/", NAMES)).unwrap(), b"B\r\na\r\na.b\r\nb\r\nc\r\n");
    }

    /// With much, little or nothing in common, and with more than eight octets behind that.
    #[test]
    fn names_that_are_alike_are_sorted() {
        let tails = ["", "1", "10", "2", "12345678", "123456789", "12345678a", "ü", "~", "A", "a"];
        for start in ["file-", "a", "12345678", "é"] {
            for more in [None, Some("other"), Some("file")] {
                let home = Home::new();
                let names = tails.iter().map(|tail| format!("{start}{tail}"));
                let mut names: Vec<String> = names.chain(more.map(str::to_owned)).collect();
                names.iter().for_each(|name| home.put(name, b""));
                names.sort();
                let listed = home.list(&list_request(b"/", NAMES)).unwrap();
                assert_eq!(lines(&listed), names, "{start} {more:?}");
            }
        }
    }

    /// RFC 1123 §4.1.2.7.
    #[test]
    fn patterns() {
        let home = Home::new();
        fs::create_dir(home.on_disk("sub")).unwrap();
        for name in ["a.csv", "b.csv", "c.dat", ".d.csv", "sub/e.csv", "sub/[x].csv", "sub/x.csv"] {
            home.put(name, b"");
        }
        let names = |operand: &[u8]| {
            let text = home.list(&list_request(operand, NAMES));
            text.map(|text| String::from_utf8(text).unwrap())
        };
        assert_eq!(names(b"*.csv").unwrap(), "a.csv\r\nb.csv\r\n");
        assert_eq!(names(b"/[!b]*").unwrap(), "/a.csv\r\n/c.dat\r\n/sub\r\n");
        assert_eq!(names(b"sub/?.csv").unwrap(), "sub/e.csv\r\nsub/x.csv\r\n");
        assert_eq!(names(b"sub/../*.dat").unwrap(), "sub/../c.dat\r\n");
        assert_eq!(names(b".*").unwrap(), ".d.csv\r\n");
        assert_eq!(names(b"*.none").unwrap(), "");
        // Something of that very name.
        assert_eq!(names(b"sub/[x].csv").unwrap(), "sub/[x].csv\r\n");
        // Only the last name is one; MLSD has none.
        assert_eq!(names(b"s*/e.csv"), Err(FileError::NotFound));
        assert_eq!(names(b"s*/../*"), Err(FileError::NotFound));
        assert_eq!(names(b"no/*"), Err(FileError::NotFound));
        let facts = list_request(b"*.csv", ListStyle::Facts(FactSet::NONE));
        assert_eq!(home.list(&facts), Err(FileError::NotFound));
        let long = home.list(&list_request(b"sub/e*", ListStyle::Long)).unwrap();
        assert!(long.ends_with(b" e.csv\r\n") && lines(&long).len() == 1, "{long:?}");
    }

    /// A pattern that nothing matches does not hold a thread for as long as the directory is.
    #[test]
    fn a_call_is_bounded_when_nothing_matches() {
        let home = Home::new();
        for number in 0..6_000 {
            home.put(format!("{number:0120}"), b"");
        }
        let request = list_request(b"*a*b*c", NAMES);
        let mut lister = Lister::open(&home.root, &request, Lookup::Blocking).unwrap();
        let (mut text, mut calls) = (Vec::new(), 1);
        while lister.next(&mut text).unwrap() {
            calls += 1;
        }
        assert!(text.is_empty() && calls > 3, "{calls}");
    }

    #[test]
    fn recursive_listings_follow_no_link() {
        let home = Home::new();
        fs::create_dir_all(home.on_disk("s1/s2")).unwrap();
        fs::create_dir(home.on_disk("empty")).unwrap();
        for name in ["top", "s1/mid", "s1/s2/deep"] {
            home.put(name, b"");
        }
        home.link(".", "s1/loop");
        let list = |operand: &[u8], style| {
            let request = ListRequest { recursive: true, ..list_request(operand, style) };
            String::from_utf8(home.list(&request).unwrap()).unwrap()
        };
        let long = list(b"", ListStyle::Long);
        let shown: Vec<_> =
            long.lines().map(|line| line.get(NAME_COLUMN..).unwrap_or(line)).collect();
        let expected = [
            ".:",
            "empty",
            "s1",
            "top",
            "",
            "./empty:",
            "",
            "./s1:",
            "loop -> .",
            "mid",
            "s2",
            "",
            "./s1/s2:",
            "deep",
        ];
        assert_eq!(shown, expected);
        let names = list(b"", NAMES);
        assert_eq!(names, "empty\r\ns1\r\ntop\r\ns1/loop\r\ns1/mid\r\ns1/s2\r\ns1/s2/deep\r\n");
        assert!(list(b"s1/", ListStyle::Long).starts_with("s1:\r\n"));
    }

    /// Directories to come are held in bounded memory: beyond it LIST -R and NLST -R fail, and what
    /// the client has got is no whole listing.
    #[test]
    fn recursive_listings_of_too_many_directories_are_refused() {
        let home = Home::new();
        let above = ["a", "b", "c"].map(|letter| letter.repeat(250)).join("/");
        fs::create_dir_all(home.on_disk(&above)).unwrap();
        let make = |numbers: std::ops::Range<usize>| {
            numbers.for_each(|number| {
                fs::create_dir(home.on_disk(&above).join(format!("{number:0245}"))).unwrap();
            });
        };
        let names = || ListStyle::Names { prefix: [above.as_bytes(), b"/"].concat() };
        let list = |style, recursive| {
            let request = ListRequest { recursive, ..list_request(above.as_bytes(), style) };
            home.list(&request).map(|text| lines(&text).len())
        };
        // Of each the pathname and the prefix, of 1,000 octets.
        let most = LISTING_DIRECTORIES_BYTES_MAX / 2_000;
        make(0..most - 10);
        assert_eq!(list(names(), true), Ok(most - 10));
        // With a heading for each and for all, and a blank line before each.
        assert_eq!(list(ListStyle::Long, true), Ok(3 * (most - 10) + 1));
        make(most - 10..most + 10);
        assert_eq!(list(names(), true), Err(FileError::Unsupported));
        assert_eq!(list(ListStyle::Long, true), Err(FileError::Unsupported));
        assert_eq!(list(ListStyle::Long, false), Ok(most + 10));
    }

    #[test]
    fn names_are_octets() {
        let home = Home::new();
        for name in [&b"\xff\xfe"[..], b"a\nb", b" x "] {
            home.put(raw(name), b"");
        }
        let text = home.list(&list_request(b"/", NAMES)).unwrap();
        for line in [&b"\xff\xfe\r\n"[..], b" x \r\n", b"a?b\r\n"] {
            assert!(text.windows(line.len()).any(|window| window == line), "{text:?}");
        }
    }

    #[test]
    fn a_directory_removed_meanwhile_ends_the_listing() {
        let home = Home::new();
        fs::create_dir(home.on_disk("sub")).unwrap();
        let request = list_request(b"sub", ListStyle::Long);
        let mut lister = Lister::open(&home.root, &request, Lookup::Blocking).unwrap();
        fs::remove_dir(home.on_disk("sub")).unwrap();
        let mut text = Vec::new();
        assert_eq!(lister.next(&mut text), Ok(false));
        assert!(text.is_empty());
    }
}
