//! `[[directories]]`: how the files below a directory are treated. What that means is `vfs`'s.

use std::path::{Path, PathBuf};

use super::accounts::check_directory;
use super::document::Section;
use super::value::{one_of, string};
use crate::protocol::policy::FileCache;

/// A directory with rules of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Exists.
    pub path: PathBuf,
    /// Whether files sent from there pass through the page cache.
    pub cache: FileCache,
}

/// Words of `cache`.
pub const FILE_CACHES: [(&str, FileCache); 2] =
    [("page", FileCache::Page), ("direct", FileCache::Direct)];

/// Reads `[[directories]]`; relative pathnames start at `base`.
pub(super) fn read_directories(root: &Section<'_, '_>, base: &Path) -> Vec<Directory> {
    let mut directories: Vec<Directory> = Vec::new();
    for section in root.tables("directories", "path") {
        let path = section.get("path", |value| {
            let path = base.join(string(value)?);
            check_directory(&path).map(|()| path)
        });
        let cache = section.get("cache", one_of(&FILE_CACHES));
        for key in ["path", "cache"] {
            if !section.has(key) {
                section.error(key, "is missing");
            }
        }
        if let (Some(path), Some(cache)) = (path, cache) {
            if directories.iter().any(|known| known.path == path) {
                section.error("path", format!("{} has its rule already", path.display()));
            }
            directories.push(Directory { path, cache });
        }
        section.finish();
    }
    directories
}
