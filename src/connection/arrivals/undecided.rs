//! Data connections of a shard of which it is not known yet for which session they are: how many
//! there may be, and what their clients say first.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::buffer::RecvBuffer;
use crate::clock;
use crate::limits::{UNDECIDED_BYTES_MAX, UNDECIDED_PER_SHARD_MAX};
use crate::runtime::{Flag, Stream, race, timeout_at};
use crate::tls::{Claim, Heard};

/// Octets read at once.
const READ_BYTES: usize = 4 * 1024;

/// Those of a shard. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Undecided(Rc<All>);

#[derive(Debug, Default)]
struct All {
    next: Cell<u64>,
    /// What ends each, the oldest first.
    by_age: RefCell<BTreeMap<u64, Flag>>,
}

/// A place among them.
#[derive(Debug)]
pub(super) struct Entry {
    undecided: Undecided,
    number: u64,
    crowded_out: Flag,
}

impl Undecided {
    /// Takes a place, from the oldest if there is none left.
    pub(super) fn enter(&self) -> Entry {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let crowded_out = Flag::new();
        let mut by_age = self.0.by_age.borrow_mut();
        by_age.insert(number, crowded_out.clone());
        let oldest = (by_age.len() > UNDECIDED_PER_SHARD_MAX).then(|| by_age.pop_first()).flatten();
        drop(by_age);
        if let Some((_, flag)) = oldest {
            flag.set();
        }
        Entry { undecided: self.clone(), number, crowded_out }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.by_age.borrow().len()
    }
}

impl Entry {
    /// Its number, greater than that of any before it.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Returns when another connection has taken the place.
    pub(super) async fn crowded_out(&self) {
        self.crowded_out.wait().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.undecided.0.by_age.borrow_mut().remove(&self.number);
    }
}

/// What became of a connection whose ClientHello was waited for.
pub(super) enum Said {
    /// It is whole: what came, and when that began.
    Hello(Claim, RecvBuffer, Instant),
    /// No ClientHello, or the end.
    Else,
    /// Nothing, or not all of it, in time.
    Silent,
    /// It had to make room.
    CrowdedOut,
}

/// Reads a ClientHello and answers nothing.
pub(super) async fn listen(stream: &Stream, entry: &Entry, patience: Duration) -> Said {
    let due = clock::now() + patience;
    let read = async { timeout_at(due, hear(stream)).await.unwrap_or(Said::Silent) };
    let crowded_out = async {
        entry.crowded_out().await;
        Said::CrowdedOut
    };
    race(crowded_out, read).await
}

async fn hear(stream: &Stream) -> Said {
    let (mut octets, mut began) = (RecvBuffer::new(), None);
    loop {
        let left = (UNDECIDED_BYTES_MAX - octets.len()).min(READ_BYTES);
        if left == 0 {
            return Said::Else;
        }
        match stream.read(&mut octets.spare(left)[..left]).await {
            Ok(count) if count > 0 => octets.commit(count),
            Ok(_) | Err(_) => return Said::Else,
        }
        let began = *began.get_or_insert_with(clock::now);
        match Claim::hear(octets.filled()) {
            Heard::Part => {}
            Heard::Hello(claim) => return Said::Hello(claim, octets, began),
            Heard::Else => return Said::Else,
        }
    }
}
