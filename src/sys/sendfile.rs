//! Octets from the page cache to a socket without a copy through user space, and whether the page
//! cache has them. Knows nothing of who sends what to whom.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Sends at most `count` octets of `file` from `offset` to `socket`, which is in non-blocking mode;
/// gives how many. 0 is the end of the file. A part of the file that is not in the page cache is
/// waited for: ask [`is_cached`] first.
///
/// A peer that is gone raises SIGPIPE, which the standard library has set to be ignored.
///
/// # Errors
///
/// `EAGAIN` when nothing fits; else those of sendfile(2): of the file and of the socket alike.
pub fn sendfile(
    socket: impl AsFd,
    file: impl AsFd,
    offset: u64,
    count: usize,
) -> rustix::io::Result<usize> {
    let mut offset = offset;
    match rustix::fs::sendfile(socket, file, Some(&mut offset), count) {
        // Nothing was sent: the same as a full socket, whose wait ends at once.
        Err(Errno::INTR) => Err(Errno::AGAIN),
        other => other,
    }
}

/// Whether every page of `length` octets from `offset` is in the page cache now. It is no promise:
/// the next moment may need the memory.
///
/// # Errors
///
/// `ENOSYS` before Linux 6.5 or behind a filter of system calls, `EPERM` where the kernel tells
/// only the owner, `EOPNOTSUPP` for files that have no page cache (hugetlbfs).
pub fn is_cached(file: impl AsFd, offset: u64, length: u64) -> rustix::io::Result<bool> {
    if length == 0 {
        return Ok(true);
    }
    let range = [offset, length];
    let mut found = [0_u64; CACHESTAT_FIELDS];
    // SAFETY: the descriptor is borrowed for the call; the two arrays live through it and have the
    // layout of `struct cachestat_range` and `struct cachestat` (u64 each, linux/mman.h). A system
    // call that the kernel does not know fails with ENOSYS.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_fd().as_raw_fd(),
            range.as_ptr(),
            found.as_mut_ptr(),
            0,
        )
    };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(1);
    let first = offset / page;
    let last = (offset + length - 1) / page;
    Ok(found[0] > last - first)
}

/// The same number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted.
const CACHESTAT_FIELDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::pair;
    use std::io::{Read, Seek, Write};

    #[test]
    fn sends_from_the_offset_to_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let (server, mut client) = pair();
        assert_eq!(sendfile(&server, &file, 4, 3), Ok(3));
        assert_eq!(sendfile(&server, &file, 7, 100), Ok(3));
        assert_eq!(sendfile(&server, &file, 10, 100), Ok(0));
        assert_eq!(sendfile(&server, &file, 11, 100), Ok(0));
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"456789");
    }

    #[test]
    fn a_full_socket_and_a_closed_one() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        let (server, client) = pair();
        let mut sent = 0;
        let error = loop {
            match sendfile(&server, &file, sent, 1 << 20) {
                Ok(count) => sent += count as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Errno::AGAIN);
        drop(client);
        let error = loop {
            match sendfile(&server, &file, sent, 1 << 20) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Errno::PIPE | Errno::CONNRESET), "{error}");
    }

    /// Written pages are in the cache, a hole nobody has read is not.
    #[test]
    fn tells_what_is_cached() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        file.set_len(1 << 20).unwrap();
        let cached = |offset, length| match is_cached(&file, offset, length) {
            // This kernel does not say: then there is nothing to check.
            Err(Errno::NOSYS) => None,
            other => Some(other.unwrap()),
        };
        let Some(written) = cached(0, 10_000) else { return };
        assert!(written);
        assert_eq!(cached(4_095, 2), Some(true));
        assert_eq!(cached(9_999, 1), Some(true));
        assert_eq!(cached(512 << 10, 0), Some(true));
        assert_eq!(cached(512 << 10, 1), Some(false));
        assert_eq!(cached(0, 1 << 20), Some(false));
        file.rewind().unwrap();
    }
}
