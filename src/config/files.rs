//! The files that a configuration consists of, wherever their text comes from, and what is looked
//! at of the directories that it names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where the texts of files come from: somebody who may read them has handed them over, or else the
/// disk.
#[derive(Debug, Default)]
pub struct Files {
    given: BTreeMap<PathBuf, FileText>,
    /// What was read from the disk, if that is to be handed on.
    kept: Option<RefCell<BTreeMap<PathBuf, FileText>>>,
}

/// A file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FileText {
    /// What is in it.
    pub octets: Vec<u8>,
    /// Its permissions (`st_mode`).
    pub mode: u32,
}

/// Never what is in it: it may be a key.
impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileText").field("octets", &self.octets.len()).finish_non_exhaustive()
    }
}

/// Largest file that is read, octets.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Files {
    /// These, and the disk for all others.
    #[must_use]
    pub const fn given(given: BTreeMap<PathBuf, FileText>) -> Self {
        Self { given, kept: None }
    }

    /// The disk; what is read is kept for [`Files::into_kept`].
    #[must_use]
    pub fn keeping() -> Self {
        Self { given: BTreeMap::new(), kept: Some(RefCell::default()) }
    }

    /// What was read, of files that could be read.
    #[must_use]
    pub fn into_kept(self) -> BTreeMap<PathBuf, FileText> {
        self.kept.map(RefCell::into_inner).unwrap_or_default()
    }

    /// What is in the file at `path`, up to 16 MiB.
    ///
    /// # Errors
    ///
    /// Those of the disk; one that is larger is `FileTooLarge`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(given) = self.given.get(path) {
            return Ok(given.octets.clone());
        }
        let file = fs::File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut octets = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut octets)?;
        if u64::try_from(octets.len()).is_ok_and(|length| length > FILE_BYTES_MAX) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"));
        }
        if let Some(kept) = &self.kept {
            let text = FileText { octets: octets.clone(), mode };
            kept.borrow_mut().insert(path.to_owned(), text);
        }
        Ok(octets)
    }

    /// What to say about a file with secrets that is open to others than its owner and group.
    pub(super) fn exposed(&self, path: &Path) -> Option<String> {
        let on_disk = || Some(fs::metadata(path).ok()?.permissions().mode());
        let mode = self.given.get(path).map(|given| given.mode).or_else(on_disk)?;
        let path = path.display();
        (mode & 0o007 != 0).then(|| {
            format!("{path} holds secrets and is open to others; remedy: chmod 600 {path}")
        })
    }

    /// Opens a regular file for reading; says what failed.
    pub(super) fn check_readable(&self, path: &Path) -> Result<(), String> {
        if self.given.contains_key(path) {
            return Ok(());
        }
        let metadata = fs::File::open(path)
            .and_then(|file| file.metadata())
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if metadata.is_file() { Ok(()) } else { Err(format!("{} is not a file", path.display())) }
    }
}

/// Checks that `path` is a directory.
pub(super) fn check_directory(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path)
        .map_err(|error| format!("cannot use the directory {}: {error}", path.display()))?;
    if metadata.is_dir() { Ok(()) } else { Err(format!("{} is not a directory", path.display())) }
}
