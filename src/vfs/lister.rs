//! LIST, NLST and MLSD: a directory of any size as text, in bounded memory.

use std::ffi::CStr;
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
use crate::protocol::listing::{fact_line, long_line, name_line};

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
        // RFC 3659 §7.5.1.2 and §7.5.1.4: only with the type fact, and by the two names that
        // clients know to leave out: rclone takes any other for a directory inside.
        if let ListStyle::Facts(facts) = self.request.style
            && facts.kind
        {
            let path = &self.request.path;
            let own = self.root.metadata(path, Lookup::Blocking)?;
            self.fact_line(out, &own, Some("cdir"), facts, b".");
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

    fn line(&self, out: &mut Vec<u8>, file_type: FileType, terminated: &CStr) {
        let name = terminated.to_bytes();
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
        let Some(metadata) = self.metadata(file_type, terminated) else { return };
        match facts {
            Some(facts) => self.fact_line(out, &metadata, None, facts, name),
            None => long_line(out, &metadata, name, self.request.now),
        }
    }

    /// Facts of an entry, links inside the root followed; `None` when it vanished.
    fn metadata(&self, file_type: FileType, name: &CStr) -> Option<Metadata> {
        let identity = self.root.identity();
        match facts::stat_name(self.directory.as_ref()?, name) {
            Ok(stat) if facts::kind(&stat).is_none() => {
                let target = self.root.follow(&self.request.path, name.to_bytes());
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use super::*;
    use crate::vfs::testing::{Home, list_request, path, raw};

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
            assert!(lister.pending.octets.capacity() <= 2 * ENTRIES_BYTES);
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

    /// [MLSD-07]: a link inside the root has the facts of what it leads to.
    #[test]
    fn links_show_their_target_or_that_they_dangle() {
        let home = Home::new();
        fs::create_dir(home.on_disk("sub")).unwrap();
        home.put("f", b"12345");
        home.link("../f", "sub/inside");
        home.link("../../outside", "sub/outside");
        home.link("nowhere", "sub/dangling");
        fs::write(home.outside().join("outside"), "secret").unwrap();
        let style = ListStyle::Facts(FactSet { size: true, unique: true, ..FactSet::NONE });
        let text = lines(&home.list(&list_request(b"sub", style)).unwrap());
        let target = home.root.metadata(&path(b"f"), Lookup::Blocking).unwrap();
        let line = |name: &str| text.iter().find(|line| line.ends_with(name)).unwrap();
        assert!(line(" inside").contains("size=5;"), "{text:?}");
        assert!(!line(" outside").contains("size=6;"), "{text:?}");
        let (root, request) = (&home.root, list_request(b"sub", NAMES));
        let lister = Lister::open(root, &request, Lookup::Blocking).unwrap();
        let facts = |name: &CStr| lister.metadata(FileType::Symlink, name);
        assert_eq!(facts(c"inside"), Some(target));
        assert_eq!(facts(c"outside").unwrap().kind, FileKind::DanglingLink);
        assert_eq!(facts(c"dangling").unwrap().kind, FileKind::DanglingLink);
        assert_eq!(facts(c"vanished"), None);
    }

    #[test]
    fn names_are_octets() {
        let home = Home::new();
        for name in [&b"\xff\xfe"[..], b"a\nb", b" x "] {
            home.put(raw(name), b"");
        }
        let text = home.list(&list_request(b"/", NAMES)).unwrap();
        for line in [&b"\xff\xfe\r\n"[..], b" x \r\n"] {
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
