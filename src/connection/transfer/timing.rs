//! When the parts of a transfer began and ended, for what they take.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::clock;
use crate::metrics::{Latencies, Phase};
use crate::protocol::file::TransferRequest;

/// Of one transfer.
pub(crate) struct Timing {
    latencies: Rc<Latencies>,
    phases: Phases,
    /// When the command came.
    began: Instant,
    /// When the data connection was there, its handshake included.
    opened: Cell<Option<Instant>>,
    first: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
}

/// How the parts are called.
struct Phases {
    first_byte: Phase,
    last_byte: Phase,
    completion: Phase,
    whole: Phase,
}

impl Timing {
    /// Of a transfer whose command came just now.
    pub(super) fn new(latencies: Rc<Latencies>, request: &TransferRequest) -> Self {
        let phases = match request {
            TransferRequest::Retrieve { .. } => Phases {
                first_byte: Phase::DownloadFirstByte,
                last_byte: Phase::DownloadLastByte,
                completion: Phase::DownloadCompletion,
                whole: Phase::Download,
            },
            TransferRequest::Store { .. } => Phases {
                first_byte: Phase::UploadFirstByte,
                last_byte: Phase::UploadLastByte,
                completion: Phase::UploadCompletion,
                whole: Phase::Upload,
            },
            TransferRequest::List(_) => Phases {
                first_byte: Phase::ListingFirstByte,
                last_byte: Phase::ListingLastByte,
                completion: Phase::ListingCompletion,
                whole: Phase::Listing,
            },
        };
        let [opened, first, last] = [const { Cell::new(None) }; 3];
        Self { latencies, phases, began: clock::now(), opened, first, last }
    }

    /// The data connection is there.
    pub(super) fn opened(&self) {
        note(&self.opened);
    }

    /// Octets have moved.
    pub(super) fn moved(&self) {
        note(&self.first);
    }

    /// All of them have.
    pub(super) fn moved_all(&self) {
        note(&self.last);
    }

    /// The transfer is answered by 226.
    pub(crate) fn completed(&self, now: Instant) {
        let (opened, first, last) = (self.opened.get(), self.first.get(), self.last.get());
        let Phases { first_byte, last_byte, completion, whole } = self.phases;
        for (phase, from, to) in [
            (first_byte, opened, first),
            (last_byte, first, last),
            (completion, last, Some(now)),
            (whole, Some(self.began), Some(now)),
        ] {
            // An empty file has no first octet.
            if let Some((from, to)) = from.zip(to) {
                self.latencies.record(phase, to.saturating_duration_since(from));
            }
        }
    }
}

/// The first time counts, and is the only one that costs a look at the clock.
fn note(time: &Cell<Option<Instant>>) {
    if time.get().is_none() {
        time.set(Some(clock::now()));
    }
}
