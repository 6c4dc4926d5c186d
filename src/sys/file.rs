//! What files offer beyond reading and writing, where `rustix` lacks it.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, IntoRawFd},
};

/// Starts to write a range of a file to its disk and returns before that is done
/// (`sync_file_range(2)`); waits while the disk's queue is full. Promises nothing about the data:
/// that is what fdatasync(2) is for.
///
/// # Errors
///
/// Those of sync_file_range(2), such as `ENOSYS`; `EINVAL` also for a range beyond 2^63.
pub fn start_writeback(file: impl AsFd, offset: u64, octets: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let offset = libc::off64_t::try_from(offset).map_err(invalid)?;
    let octets = libc::off64_t::try_from(octets).map_err(invalid)?;
    let descriptor = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed for the call, and no memory of ours is involved.
    let result =
        unsafe { libc::sync_file_range(descriptor, offset, octets, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the file system tell of what it could not write so far, as it does when a file is closed
/// (close(2)): NFS and its like keep that back until then. Closes a descriptor of its own.
///
/// # Errors
///
/// Those of close(2) and fcntl(2).
pub fn tell_of_failed_writes(file: impl AsFd) -> rustix::io::Result<()> {
    let another = rustix::io::fcntl_dupfd_cloexec(file, 0)?;
    // SAFETY: nothing else has the descriptor, and it is used no more, whatever the result: Linux
    // gives it up in any case.
    let result = unsafe { libc::close(another.into_raw_fd()) };
    match io::Error::last_os_error().raw_os_error() {
        Some(errno) if result != 0 => Err(rustix::io::Errno::from_raw_os_error(errno)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_files() {
        let file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut &file, &[7; 100_000]).unwrap();
        start_writeback(&file, 0, 100_000).unwrap();
        start_writeback(&file, 50_000, 1 << 40).unwrap();
        let error = start_writeback(&file, u64::MAX, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let (reader, _writer) = io::pipe().unwrap();
        assert!(start_writeback(&reader, 0, 1).is_err(), "a pipe has no disk");
    }
}
