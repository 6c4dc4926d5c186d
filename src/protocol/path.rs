//! Pathnames: as sent by the client, and normalised.

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// An absolute, normalised pathname in the virtual filesystem (RFC 3659 §6, TVFS).
///
/// Holding one proves: it starts with `/`, has no empty, `.` or `..` component, no NUL octet, no
/// component over [`NAME_BYTES_MAX`] and is not longer than [`PATH_BYTES_MAX`]. It does not prove
/// that anything of that name exists, nor that symbolic links on the way stay inside the root:
/// that is the kernel's to check (`openat2`, `RESOLVE_BENEATH`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualPath(Vec<u8>);

/// Why a pathname was refused before anything was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A NUL octet: never truncate at it (RFC 2640 §3.1).
    Nul,
    /// A component or the whole is too long.
    TooLong,
}

impl VirtualPath {
    /// `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(vec![b'/'])
    }

    /// Resolves `raw`, as sent by a client, against `self` as the working directory. `..` at the
    /// root stays at the root.
    ///
    /// # Errors
    ///
    /// See [`PathError`].
    pub fn resolve(&self, raw: &[u8]) -> Result<Self, PathError> {
        if raw.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut path = if raw.first() == Some(&b'/') { Vec::new() } else { self.0.clone() };
        if path == b"/" {
            path.clear();
        }
        for component in raw.split(|&octet| octet == b'/') {
            match component {
                b"" | b"." => {}
                b".." => path.truncate(path.iter().rposition(|&o| o == b'/').unwrap_or(0)),
                name => {
                    if name.len() > NAME_BYTES_MAX {
                        return Err(PathError::TooLong);
                    }
                    path.push(b'/');
                    path.extend_from_slice(name);
                    // Bounds the work as well as the result: `a/../a/../…` never grows.
                    if path.len() > PATH_BYTES_MAX {
                        return Err(PathError::TooLong);
                    }
                }
            }
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(Self(path))
    }

    /// The fully qualified form, starting with `/`.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The form relative to a directory handle of the root: `a/b`, or `.` for the root itself.
    #[must_use]
    pub fn relative(&self) -> &[u8] {
        if self.is_root() { b"." } else { &self.0[1..] }
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn file_name(&self) -> Option<&[u8]> {
        if self.is_root() { None } else { self.0.rsplit(|&octet| octet == b'/').next() }
    }

    /// The directory that holds this name; the root's parent is the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        let end = self.0.iter().rposition(|&octet| octet == b'/').unwrap_or(0);
        if end == 0 { Self::root() } else { Self(self.0[..end].to_vec()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(cwd: &[u8], raw: &[u8], expected: &[u8]) {
        let cwd = VirtualPath::root().resolve(cwd).unwrap();
        assert_eq!(cwd.resolve(raw).unwrap().as_bytes(), expected);
    }

    #[test]
    fn resolves() {
        check(b"/", b"a", b"/a");
        check(b"/a", b"b/c", b"/a/b/c");
        check(b"/a", b"/b//c/", b"/b/c");
        check(b"/a", b"..", b"/");
        check(b"/a", b"../../../..", b"/");
        check(b"/a/b", b"./../c/.", b"/a/c");
        check(b"/", b"", b"/");
        check(b"/", b" x ", b"/ x ");
        check(b"/", b"\xff\xfe\n", b"/\xff\xfe\n");
        check(b"/", b"...", b"/...");
    }

    #[test]
    fn refuses() {
        let root = VirtualPath::root();
        assert_eq!(root.resolve(b"a\0b"), Err(PathError::Nul));
        assert_eq!(root.resolve(&[b'x'; 256]), Err(PathError::TooLong));
        assert_eq!(root.resolve(&b"abcdefg/".repeat(600)), Err(PathError::TooLong));
        assert!(root.resolve(&b"a/../".repeat(5000)).is_ok());
    }

    #[test]
    fn parts() {
        let path = VirtualPath::root().resolve(b"a/b").unwrap();
        assert_eq!(path.relative(), b"a/b");
        assert_eq!(path.file_name(), Some(&b"b"[..]));
        assert_eq!(path.parent().as_bytes(), b"/a");
        assert_eq!(path.parent().parent().as_bytes(), b"/");
        assert_eq!(VirtualPath::root().relative(), b".");
        assert_eq!(VirtualPath::root().file_name(), None);
    }
}
