//! A home directory for tests.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Root, Transfer};
use crate::protocol::account::Permissions;
use crate::protocol::file::{ListRequest, ListStyle, TransferRequest};
use crate::protocol::path::VirtualPath;

/// A temporary directory; the root is its subdirectory `home`, so that there is an outside.
pub(super) struct Home {
    everything: tempfile::TempDir,
    pub(super) root: Arc<Root>,
}

pub(super) fn path(raw: &[u8]) -> VirtualPath {
    VirtualPath::root().resolve(raw).unwrap()
}

impl Home {
    pub(super) fn new() -> Self {
        let everything = tempfile::tempdir().unwrap();
        fs::create_dir(everything.path().join("home")).unwrap();
        let root = Arc::new(Root::open(&everything.path().join("home")).unwrap());
        Self { everything, root }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.everything.path().join("home")
    }

    pub(super) fn outside(&self) -> &Path {
        self.everything.path()
    }

    pub(super) fn on_disk(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory().join(name)
    }

    pub(super) fn put(&self, name: impl AsRef<Path>, octets: &[u8]) {
        fs::write(self.on_disk(name), octets).unwrap();
    }

    pub(super) fn append(&self, name: &str, octets: &[u8]) {
        let file = fs::OpenOptions::new().append(true).open(self.on_disk(name));
        file.unwrap().write_all(octets).unwrap();
    }

    pub(super) fn get(&self, name: impl AsRef<Path>) -> Option<Vec<u8>> {
        fs::read(self.on_disk(name)).ok()
    }

    /// Whoever follows a link notes the time in it until that is later than the link's own, which
    /// RESOLVE_CACHED does not wait for; so here it is later, by far more than a tick of the clock.
    pub(super) fn link(&self, target: impl AsRef<Path>, name: &str) {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
        let link = self.on_disk(name);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let made = fs::symlink_metadata(&link).unwrap();
        let later = Timespec { tv_sec: made.ctime() + 60, tv_nsec: 0 };
        let kept = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: later, last_modification: kept };
        utimensat(CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }

    pub(super) fn fifo(&self, name: &str) {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mkfifoat(rustix::fs::CWD, self.on_disk(name), mode).unwrap();
    }

    /// What the directory really holds, sorted, dotfiles included.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What NLST with dotfiles shows, sorted.
    pub(super) fn listed(&self) -> Vec<String> {
        let style = ListStyle::Names { prefix: Vec::new() };
        let text = self.list(&list_request(b"/", style)).unwrap();
        let mut names: Vec<String> =
            String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The whole text of a listing.
    pub(super) fn list(
        &self,
        request: &ListRequest,
    ) -> Result<Vec<u8>, crate::protocol::file::FileError> {
        let request = TransferRequest::List(request.clone());
        let Transfer::List(mut lister) =
            super::open(&self.root, &request, &super::StorePolicy::default())?.0
        else {
            panic!("not a listing");
        };
        let mut text = Vec::new();
        while lister.next(&mut text)? {}
        Ok(text)
    }
}

pub(super) fn list_request(name: &[u8], style: ListStyle) -> ListRequest {
    ListRequest {
        path: path(name),
        argument: name.to_vec(),
        style,
        hidden: true,
        recursive: false,
        permissions: Permissions::ALL,
        now: 1_700_000_000,
    }
}

/// A name that is not UTF-8.
pub(super) fn raw(name: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(name))
}

/// Tells a background thread to end, also when the test fails.
pub(super) struct SetOnDrop<'flag>(pub(super) &'flag std::sync::atomic::AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
