//! Threads for blocking work of one shard. They are the server's own and not the executor's,
//! because a shard may have to end while one of them is held by a file system that does not answer:
//! no shard waits for a thread to end.

use std::{collections::BTreeMap, io, sync::mpsc, thread};

use super::remote::RemoteSender;
use crate::sys::cpu;

/// What a thread is given to do.
pub(super) type Work = Box<dyn FnOnce() + Send>;

/// Which threads of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Short file work.
    File,
    /// Long file work, which leaves the CPU to everything else.
    Long,
    /// Password hashes.
    Hash,
}

impl Kind {
    /// What the threads are called (`ps -L`).
    const fn name(self) -> &'static str {
        match self {
            Self::File => "files",
            Self::Long => "long files",
            Self::Hash => "hashes",
        }
    }
}

/// A thread has done its work: the threads it belongs to, and which of them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) kind: Kind,
    pub(super) thread: u32,
}

/// Threads of one kind, each with a channel of its own, so that none waits at a lock for work.
pub(super) struct Threads {
    kind: Kind,
    all: BTreeMap<u32, mpsc::Sender<Work>>,
    idle: Vec<u32>,
    next: u32,
    finished: RemoteSender<Finished>,
}

impl Threads {
    /// None yet.
    pub(super) const fn new(kind: Kind, finished: RemoteSender<Finished>) -> Self {
        Self { kind, all: BTreeMap::new(), idle: Vec::new(), next: 0, finished }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) const fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// Starts one more, which is idle then.
    ///
    /// # Errors
    ///
    /// Those of clone(2).
    pub(super) fn start(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if super::simulated::current().is_some() {
            // Nobody receives: the work is a task of the simulated shard.
            self.all.insert(self.next, mpsc::channel().0);
            self.idle.push(self.next);
            self.next += 1;
            return Ok(());
        }
        let (sender, work) = mpsc::channel::<Work>();
        let (kind, number, finished) = (self.kind, self.next, self.finished.clone());
        let run = move || {
            cpu::unpin_current_thread();
            if kind == Kind::Long {
                // Best effort: where it is refused, long work runs at normal priority.
                let _ = rustix::process::nice(LONG_NICENESS);
            }
            while let Ok(work) = work.recv() {
                work();
                // A shard that is gone has no use for it.
                let _ = finished.send(Finished { kind, thread: number });
            }
        };
        thread::Builder::new().name(kind.name().to_owned()).spawn(run)?;
        self.next = self.next.wrapping_add(1);
        self.all.insert(number, sender);
        self.idle.push(number);
        Ok(())
    }

    /// Gives `work` to an idle thread and says to which.
    pub(super) fn run(&mut self, work: Work) -> Option<u32> {
        let thread = self.idle.pop()?;
        #[cfg(test)]
        if let Some(simulation) = super::simulated::current() {
            let (kind, finished) = (self.kind, self.finished.clone());
            let done = crate::clock::now() + simulation.storage_time();
            super::spawn(async move {
                super::sleep_until(done).await;
                work();
                let _ = finished.send(Finished { kind, thread });
            })
            .detach();
            return Some(thread);
        }
        // Work does not panic (the pool catches it), so the thread is there.
        self.all.get(&thread)?.send(work).ok()?;
        Some(thread)
    }

    /// The thread is idle again.
    pub(super) fn finished(&mut self, thread: u32) {
        self.idle.push(thread);
    }

    /// Ends one that is idle.
    pub(super) fn end_idle(&mut self) {
        if let Some(thread) = self.idle.pop() {
            self.all.remove(&thread);
        }
    }
}

/// What long work adds to its niceness: a tenth of the CPU time that others get who want it.
const LONG_NICENESS: i32 = 10;
