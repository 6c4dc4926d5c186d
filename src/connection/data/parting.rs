//! The end of a data connection whose transfer has failed. Closing a socket with unread octets
//! resets the connection, and a client that is still sending takes the reset for the result: it
//! never reads the reply that says why. So the FIN goes out, the reply goes its own way, and what
//! the client still sends is dropped, within bounds.

use std::time::Duration;

use super::connection::{DataConnection, Protection};
use crate::clock;
use crate::limits::{REFUSED_UPLOAD_BYTES_MAX, REFUSED_UPLOAD_SPAN};
use crate::protocol::session::TransferError;
use crate::runtime::{Flag, give_way, race, timeout_at};
use crate::sys::socket::set_low_water;

/// How long and for how many octets a failed connection is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    span: Duration,
    bytes_max: u64,
}

/// For clients that read the control connection while they send.
const SHORT: Bounds = Bounds { span: Duration::from_secs(2), bytes_max: 256 * 1024 };

/// For an upload: many clients look for a reply only when they have sent everything.
const REFUSED_UPLOAD: Bounds =
    Bounds { span: REFUSED_UPLOAD_SPAN, bytes_max: REFUSED_UPLOAD_BYTES_MAX };

/// After so long a silence nothing more is expected.
const SILENCE: Duration = Duration::from_secs(2);

/// Octets dropped at once.
const SINK_BYTES: usize = 64 * 1024;

/// How to part from a client after `error`; `None` when it is gone, or the server goes.
fn bounds(error: &TransferError, upload: bool) -> Option<Bounds> {
    match error {
        TransferError::NotOpened
        | TransferError::ConnectionLost
        | TransferError::Truncated
        | TransferError::Stalled
        | TransferError::Draining => None,
        TransferError::Storage(_) | TransferError::NotResumed(_) if upload => Some(REFUSED_UPLOAD),
        TransferError::Storage(_)
        | TransferError::NotResumed(_)
        | TransferError::HandshakeFailed
        | TransferError::Protection
        | TransferError::Aborted => Some(SHORT),
    }
}

impl DataConnection {
    /// Closes the connection of a transfer that ended with `error`, after its reply: a session that
    /// begins another transfer, or ends, sets `over`, and has one such connection at most.
    pub(crate) async fn part(mut self, error: &TransferError, upload: bool, over: &Flag) {
        let Some(bounds) = bounds(error, upload) else { return };
        // The end of a download that failed must not look like a proper one.
        if upload && let Protection::Records(channel) = &mut self.protection {
            self.out.clear();
            if channel.seal_close_notify(&mut self.out).is_ok() {
                self.release_held();
                let _ = self.stream.try_write(&self.out);
            }
        }
        if self.stream.shutdown_write().is_err() {
            return;
        }
        // A fast upload's waits were for many octets at once.
        let _ = set_low_water(&self.stream, 1);
        let cut = self.interrupts.cut.clone();
        let given_up = async { race(over.wait(), cut.wait()).await };
        race(given_up, self.drop_octets(bounds)).await;
    }

    /// Until the client closes, falls silent, or has used up the bounds.
    async fn drop_octets(&self, bounds: Bounds) {
        let deadline = clock::now() + bounds.span;
        let mut sink = vec![0; SINK_BYTES];
        let mut seen = 0;
        while seen < bounds.bytes_max {
            let patience = deadline.min(clock::now() + SILENCE);
            match timeout_at(patience, self.stream.read(&mut sink)).await {
                Ok(Ok(count)) if count > 0 => seen += count as u64,
                Ok(Ok(_) | Err(_)) | Err(_) => return,
            }
            if clock::now() >= deadline {
                return;
            }
            give_way().await;
        }
    }
}
