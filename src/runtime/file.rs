//! Reads of files that may have to wait for a disk, by io_uring. Knows neither what is in a file
//! nor how far ahead it pays to read.

#[cfg(test)]
use std::rc::Rc;
use std::{
    fmt,
    future::Future,
    io,
    ops::Deref,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
};

use super::executor;
#[cfg(test)]
use super::{Task, spawn};

/// An open file of a shard, read at positions.
pub struct FileReader(File);

enum File {
    Executor(executor::File),
    #[cfg(test)]
    Simulated(Rc<OwnedFd>, super::simulated::Simulation),
}

impl FileReader {
    /// Takes over `file`, a regular file open for reading, with or without `O_DIRECT`.
    ///
    /// # Panics
    ///
    /// Outside a shard.
    #[must_use]
    pub fn new(file: OwnedFd) -> Self {
        #[cfg(test)]
        if let Some(simulation) = super::simulated::current() {
            return Self(File::Simulated(Rc::new(file), simulation));
        }
        Self(File::Executor(executor::File::new(file)))
    }

    /// Starts to read up to `count` octets at `position`. Any number of reads may be in flight;
    /// each has a page-aligned buffer of its own, as `O_DIRECT` requires.
    pub fn start(&self, position: u64, count: usize) -> PendingRead {
        match &self.0 {
            File::Executor(file) => PendingRead(Reading::Executor(file.start(position, count))),
            #[cfg(test)]
            File::Simulated(file, simulation) => {
                let (file, simulation) = (file.clone(), simulation.clone());
                PendingRead(Reading::Simulated(spawn(async move {
                    let done = crate::clock::now() + simulation.storage_time();
                    simulation.sleep_until(done).await;
                    let mut octets = vec![0; count];
                    let read = rustix::io::pread(&*file, &mut octets, position)?;
                    octets.truncate(read);
                    Ok(Octets(Memory::Simulated(octets)))
                })))
            }
        }
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileReader").finish_non_exhaustive()
    }
}

/// A read in flight. Its output is what was read, short or empty at the end of the file, or the
/// error of read(2). Dropping it cancels the read; the kernel owns the memory until then.
#[derive(Debug)]
#[must_use = "dropping a read gives it up"]
pub struct PendingRead(Reading);

#[derive(Debug)]
enum Reading {
    Executor(executor::Read),
    #[cfg(test)]
    Simulated(Task<io::Result<Octets>>),
}

impl Future for PendingRead {
    type Output = io::Result<Octets>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Reading::Executor(read) => {
                Pin::new(read).poll(cx).map_ok(|octets| Octets(Memory::Executor(octets)))
            }
            #[cfg(test)]
            Reading::Simulated(task) => Pin::new(task).poll(cx),
        }
    }
}

/// What a read brought, in memory of the executor's.
pub struct Octets(Memory);

enum Memory {
    Executor(executor::Octets),
    #[cfg(test)]
    Simulated(Vec<u8>),
}

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Executor(octets) => octets,
            #[cfg(test)]
            Memory::Simulated(octets) => octets,
        }
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Octets").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::testing::{alone, eventually, on_shard, open_files};
    use std::io::Write;

    fn file(octets: &[u8]) -> OwnedFd {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(octets).unwrap();
        file.into()
    }

    #[test]
    fn many_reads_at_once_each_bring_their_own() {
        on_shard(|| async {
            let content: Vec<u8> = (0..300_000_u32).map(|n| (n / 251).to_le_bytes()[0]).collect();
            let reader = FileReader::new(file(&content));
            let reads: Vec<_> =
                (0..31).map(|n| (n * 10_000, reader.start(n as u64 * 10_000, 12_345))).collect();
            for (position, read) in reads {
                let end = (position + 12_345).min(content.len());
                assert_eq!(read.await.unwrap()[..], content[position..end], "{position}");
            }
        });
    }

    #[test]
    fn an_error_keeps_its_number() {
        on_shard(|| async {
            let directory = std::fs::File::open(".").unwrap();
            let error = FileReader::new(directory.into()).start(0, 10).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(21), "EISDIR");
        });
    }

    #[test]
    fn reads_given_up_leave_nothing_open() {
        if !alone("runtime::file::tests::reads_given_up_leave_nothing_open") {
            return;
        }
        on_shard(|| async {
            let before = open_files();
            for _ in 0..50 {
                let reader = FileReader::new(file(&[7; 100_000]));
                let reads: Vec<_> = (0..8).map(|n| reader.start(n * 10_000, 10_000)).collect();
                drop(reads);
                let read = reader.start(0, 1);
                drop(reader);
                assert_eq!(read.await.unwrap()[..], [7]);
            }
            assert!(eventually(|| open_files() <= before).await, "descriptors leaked");
        });
    }
}
