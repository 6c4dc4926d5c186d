//! Files of secrets that commands change while others may, too: editors take turns, and a file is
//! there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A file that nobody else changes meanwhile, if they all do it by this.
pub(super) struct PrivateFile {
    /// Behind a symbolic link, the file itself: it is replaced, not the link.
    pub(super) path: PathBuf,
    /// Locked, and not the file: each editor replaces that.
    directory: File,
}

impl PrivateFile {
    /// Waits for other editors. The file may not be there yet.
    ///
    /// # Errors
    ///
    /// Its directory cannot be opened or locked.
    pub(super) fn lock(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")))?;
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(Self { path, directory })
    }

    /// Puts `text` in place of the file at once. The new file is readable by its owner alone, and
    /// its owner is the old file's.
    ///
    /// # Errors
    ///
    /// What the system says; the old file is as it was.
    pub(super) fn replace(&self, text: &str) -> io::Result<()> {
        let path = &self.path;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
        name.push(".new");
        let temporary = path.with_file_name(name);
        // Left by an editor that was killed: the lock says that nobody else is writing it.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            if let Ok(old) = fs::metadata(path) {
                let new = file.metadata()?;
                if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                    fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
            }
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            self.directory.sync_all()
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }
}
