//! What is seen of a path before anything is done there: which file system it is on decides which
//! thread may go there.

use rustix::fs::OFlags;

use super::facts;
use super::root::{Lookup, Root, require_file};
use crate::protocol::path::VirtualPath;

/// Directories above a name that are asked for its device: one more than are likely to be unknown.
const DEVICE_LOOKUPS_MAX: usize = 8;

/// What is known of a path without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The device (`st_dev`) that the path is on, or the nearest of the directories above it that
    /// is known.
    pub device: u64,
    /// Whether it leads to a regular file.
    pub is_file: bool,
}

impl Root {
    /// Where `path` leads, as far as that is known without waiting. Never waits.
    #[must_use]
    pub fn glance(&self, path: &VirtualPath) -> Glance {
        let mut above = path.clone();
        for looked in 0..DEVICE_LOOKUPS_MAX {
            let handle = self.resolve(above.relative(), OFlags::PATH, Lookup::Cached);
            if let Ok(stat) = handle.and_then(|handle| facts::stat_handle(&handle, true)) {
                let is_file = looked == 0 && require_file(&stat).is_ok();
                return Glance { device: facts::device(&stat), is_file };
            }
            if above.is_root() {
                break;
            }
            above = above.parent();
        }
        Glance { device: self.device(), is_file: false }
    }

    /// The device that [`Root::glance`] sees `path` on, and whether that file system is this host's
    /// own. Waits.
    #[must_use]
    pub fn look_at_device(&self, path: &VirtualPath) -> Option<(u64, bool)> {
        let mut path = path.clone();
        loop {
            if let Ok(handle) = self.resolve(path.relative(), OFlags::PATH, Lookup::Blocking) {
                let device = facts::device(&facts::stat_handle(&handle, true).ok()?);
                return Some((device, facts::is_on_local(&handle)));
            }
            if path.is_root() {
                return None;
            }
            path = path.parent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::file::TransferRequest;
    use crate::vfs::testing::{Home, path};
    use crate::vfs::{Transfer, try_open};

    /// What is no file is seen to be none, and is not opened as one when it has taken a file's
    /// place meanwhile.
    #[test]
    fn a_file_is_seen_and_what_takes_its_place_is_not_sent() {
        let home = Home::new();
        home.put("file", b"12");
        std::fs::create_dir(home.on_disk("directory")).unwrap();
        let fifo = home.on_disk("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        home.link("file", "link");
        let expected = [("file", true), ("link", true), ("directory", false), ("fifo", false)];
        for (name, expected) in expected.into_iter().chain([("missing", false), ("", false)]) {
            let path = path(name.as_bytes());
            let Glance { device, is_file } = home.root.glance(&path);
            assert_eq!((device, is_file), (home.root.device(), expected), "{name}");
            let request = TransferRequest::Retrieve { path, offset: 0, ascii: false };
            let sent = try_open(&home.root, &request, true);
            let opened = matches!(sent, Some(Ok((Transfer::Read(_), _))));
            assert_eq!(opened, expected, "{name}");
        }
    }
}
