//! `[[directories]]`: how the files below a directory are treated. What that means is `vfs`'s.

use std::path::{Path, PathBuf};

use super::accounts::check_directory;
use super::document::Section;
use super::value::{boolean, one_of, string};
use crate::protocol::policy::{FileCache, FileRule};

/// A directory with rules of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Exists.
    pub path: PathBuf,
    /// How files are sent from there.
    pub rule: FileRule,
}

/// Words of `cache`.
pub const FILE_CACHES: [(&str, FileCache); 2] =
    [("page", FileCache::Page), ("direct", FileCache::Direct)];

/// Reads `[[directories]]`; relative pathnames start at `base`. `kernel_tls` is whether the kernel
/// may seal anything at all.
pub(super) fn read_directories(
    root: &Section<'_, '_>,
    base: &Path,
    kernel_tls: bool,
) -> Vec<Directory> {
    let mut directories: Vec<Directory> = Vec::new();
    for section in root.tables("directories", "path") {
        let path = section.get("path", |value| {
            let path = base.join(string(value)?);
            check_directory(&path).map(|()| path)
        });
        let rule = read_rule(&section, kernel_tls);
        if !section.has("path") {
            section.error("path", "is missing");
        }
        if let Some(path) = path {
            if directories.iter().any(|known| known.path == path) {
                section.error("path", format!("{} has its rule already", path.display()));
            }
            directories.push(Directory { path, rule });
        }
        section.finish();
    }
    directories
}

fn read_rule(section: &Section<'_, '_>, kernel_tls: bool) -> FileRule {
    let mut rule = FileRule::default();
    section.set("cache", &mut rule.cache, one_of(&FILE_CACHES));
    section.set("immutable", &mut rule.immutable, boolean);
    if !section.has("cache") && !section.has("immutable") {
        section.error("cache", "is missing; give it, or immutable");
    }
    if rule.immutable && rule.cache == FileCache::Direct {
        section.error(
            "immutable",
            "has no effect with cache = \"direct\": the kernel's TLS sends from the page cache \
             only; leave one of the two out",
        );
    } else if rule.immutable && !kernel_tls {
        section.warn(
            "immutable",
            "has no effect without the kernel's TLS, which takes tls.ktls = \"auto\" and TLS 1.3",
        );
    }
    rule
}
