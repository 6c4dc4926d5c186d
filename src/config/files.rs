//! What is looked at of the files and directories that a configuration names, before the start.

use std::fs::File;
use std::path::Path;

/// What to say about a file with secrets that is open to others than its owner and group.
pub(super) fn exposed(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    let path = path.display();
    (mode & 0o007 != 0)
        .then(|| format!("{path} holds secrets and is open to others; remedy: chmod 600 {path}"))
}

/// Opens a regular file for reading; says what failed.
pub(super) fn check_readable(path: &Path) -> Result<(), String> {
    let metadata = File::open(path)
        .and_then(|file| file.metadata())
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if metadata.is_file() { Ok(()) } else { Err(format!("{} is not a file", path.display())) }
}

/// Checks that `path` is a directory.
pub(super) fn check_directory(path: &Path) -> Result<(), String> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| format!("cannot use the directory {}: {error}", path.display()))?;
    if metadata.is_dir() { Ok(()) } else { Err(format!("{} is not a directory", path.display())) }
}
