//! A home directory in memory and what commands make of it: the model's own opinion of files and
//! texts, with nothing of the server's.

use std::collections::BTreeMap;

/// Absolute pathnames and what is there; a directory has no octets.
pub(in super::super) type Tree = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// How the octets of an upload get to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum StoreMode {
    Replace,
    Append,
    At(usize),
}

/// The absolute form of a pathname that has neither `.` nor `..`.
pub(in super::super) fn resolve(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match name {
        [b'/', ..] => name.to_vec(),
        _ if directory == b"/" => [b"/", name].concat(),
        _ => [directory, b"/", name].concat(),
    }
}

fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|&octet| octet == b'/') {
        Some(0) | None => b"/",
        Some(end) => &path[..end],
    }
}

pub(in super::super) fn is_directory(tree: &Tree, path: &[u8]) -> bool {
    tree.get(path).is_some_and(Option::is_none)
}

/// The octets of a file; none of what is no file.
pub(in super::super) fn file<'tree>(tree: &'tree Tree, path: &[u8]) -> Option<&'tree Vec<u8>> {
    tree.get(path)?.as_ref()
}

/// Whether a file could get this name.
pub(in super::super) fn takes_file(tree: &Tree, path: &[u8]) -> bool {
    !is_directory(tree, path) && is_directory(tree, parent(path))
}

pub(in super::super) fn make_directory(tree: &mut Tree, path: &[u8]) -> bool {
    let good = !tree.contains_key(path) && is_directory(tree, parent(path));
    if good {
        tree.insert(path.to_vec(), None);
    }
    good
}

pub(in super::super) fn remove_directory(tree: &mut Tree, path: &[u8]) -> bool {
    let below = [path, b"/"].concat();
    let full = tree.keys().any(|name| name.starts_with(&below));
    let good = is_directory(tree, path) && !full;
    if good {
        tree.remove(path);
    }
    good
}

pub(in super::super) fn delete(tree: &mut Tree, path: &[u8]) -> bool {
    let good = file(tree, path).is_some();
    if good {
        tree.remove(path);
    }
    good
}

/// Directories take what is in them along, and neither replace anything nor are replaced.
pub(in super::super) fn rename(tree: &mut Tree, from: &[u8], to: &[u8]) -> bool {
    let below = [from, b"/"].concat();
    let taken = tree.contains_key(to);
    let directories = is_directory(tree, from) || is_directory(tree, to);
    let good = tree.contains_key(from)
        && is_directory(tree, parent(to))
        && !to.starts_with(&below)
        && !(taken && directories);
    if !good || from == to {
        return good;
    }
    let names: Vec<Vec<u8>> = tree.keys().cloned().collect();
    for name in names.iter().filter(|name| *name == from || name.starts_with(&below)) {
        if let Some(node) = tree.remove(name) {
            tree.insert([to, &name[from.len()..]].concat(), node);
        }
    }
    true
}

pub(in super::super) fn store(tree: &mut Tree, path: &[u8], mode: StoreMode, octets: &[u8]) {
    let old = file(tree, path).cloned().unwrap_or_default();
    let keep = match mode {
        StoreMode::Replace => 0,
        StoreMode::Append => old.len(),
        StoreMode::At(offset) => offset,
    };
    tree.insert(path.to_vec(), Some([&old[..keep], octets].concat()));
}

/// CRLF to LF; a lone CR and a lone LF stay (RFC 959 §3.1.1.1).
pub(in super::super) fn unix_lines(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (index, &octet) in text.iter().enumerate() {
        if octet != b'\r' || text.get(index + 1) != Some(&b'\n') {
            lines.push(octet);
        }
    }
    lines
}

/// LF to CRLF; what is a CRLF stays one.
pub(in super::super) fn network_lines(text: &[u8]) -> Vec<u8> {
    let mut lines = Vec::new();
    for &octet in text {
        if octet == b'\n' && lines.last() != Some(&b'\r') {
            lines.push(b'\r');
        }
        lines.push(octet);
    }
    lines
}

/// Entries of a directory as MLSD has them: name, and the size of a file (RFC 3659 §7.2). A control
/// character is shown as `?`.
pub(in super::super) fn entries(tree: &Tree, directory: &[u8]) -> BTreeMap<Vec<u8>, Option<usize>> {
    let inside = tree.iter().filter(|(path, _)| *path != b"/" && parent(path) == directory);
    let named = inside.map(|(path, node)| {
        let name = path.rsplit(|&octet| octet == b'/').next().unwrap_or_default();
        let name = name.iter().map(|&octet| if octet < b' ' { b'?' } else { octet }).collect();
        (name, node.as_ref().map(Vec::len))
    });
    named.collect()
}

/// What a listing says, but for the directory itself and the one above; none if it is no listing.
pub(in super::super) fn listed(text: &[u8]) -> Option<BTreeMap<Vec<u8>, Option<usize>>> {
    let mut entries = BTreeMap::new();
    let Some(text) = text.strip_suffix(b"\r\n") else {
        return text.is_empty().then_some(entries);
    };
    for line in text.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let space = line.iter().position(|&octet| octet == b' ')?;
        let facts = std::str::from_utf8(&line[..space]).ok()?.to_ascii_lowercase();
        let fact = |name: &str| facts.split(';').find_map(|fact| fact.strip_prefix(name));
        let size = match fact("type=")? {
            "file" => Some(fact("size=")?.parse().ok()?),
            "dir" => None,
            _ => continue,
        };
        entries.insert(line[space + 1..].to_vec(), size);
    }
    Some(entries)
}
