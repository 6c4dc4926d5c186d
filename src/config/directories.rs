//! `[[directories]]`: how the files below a directory are treated. What that means is `vfs`'s.

use std::path::PathBuf;
use std::sync::Arc;

use super::document::Section;
use super::files::check_directory;
use super::key::{Change, Key, KeyTable, Row, key_table};
use super::value::{boolean, word};
use crate::protocol::policy::{FileCache, FileRule};

/// A directory with rules of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Exists.
    pub path: PathBuf,
    /// How files are sent from there.
    pub rule: FileRule,
}

/// The keys of `[[directories]]`.
pub(super) const DIRECTORIES: KeyTable = key_table! {
    /// One table a directory whose files are sent in a way of their own; what lies below it
    /// follows, unless it has a table itself, which then counts alone. By names: files that links
    /// lead to elsewhere do not follow.
    "[[directories]]";
    /// The directory.
    path: String, example "\"/srv/archive\"", since "0.1.0", change Reload;
    /// "page": through the kernel's page cache, as everywhere else. "direct": past it, straight
    /// from the disk (O_DIRECT), for downloads and for digests (HASH), so that a large tree that is
    /// read rarely does not push out what is read often.
    cache: FileCache, unset "\"page\"", example "\"direct\"", since "0.1.0", change Reload;
    /// true: nobody changes a file here while it is sent, and until the client has all of it; the
    /// server takes your word. With a network card that seals TLS records, the kernel's TLS
    /// (`tls.ktls`) then sends from the page cache without a last copy; without such a card nothing
    /// is gained. If a file is changed in place all the same, the client gets wrong octets, or ends
    /// the connection over a bad record. A file replaced by another of its name is none that
    /// changes: uploads do it so, but for those that append (APPE, REST). A name that a symbolic
    /// link is part of is not taken as immutable. Not with cache = "direct", whose files never go
    /// that way.
    immutable: bool, unset "false", example "false", since "0.1.0", change Reload;
};

/// How the files below each directory are treated, as homes take it.
#[must_use]
pub fn directory_rules(directories: &[Directory]) -> Arc<[(PathBuf, FileRule)]> {
    directories.iter().map(|directory| (directory.path.clone(), directory.rule)).collect()
}

/// Reads `[[directories]]`. `kernel_tls` is whether the kernel may seal anything at all.
pub(super) fn read_directories(root: &Section<'_, '_>, kernel_tls: bool) -> Vec<Directory> {
    let mut directories: Vec<Directory> = Vec::new();
    for section in root.tables("directories", "path") {
        let path = section.get("path", |value| {
            let path = section.path(value)?;
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
    section.set("cache", &mut rule.cache, word);
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
