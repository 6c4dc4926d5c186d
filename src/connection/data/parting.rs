//! The end of a data connection whose transfer failed. Closing a socket with unread octets resets
//! the connection; a client that is still sending takes the reset for the result and never reads
//! the reply that says why. So the FIN goes out, and what the client still sends is dropped, within
//! bounds, while the reply goes out on the control connection.

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

/// For uploads: many clients read the reply only after sending everything.
const REFUSED_UPLOAD: Bounds =
    Bounds { span: REFUSED_UPLOAD_SPAN, bytes_max: REFUSED_UPLOAD_BYTES_MAX };

/// A client silent for this long is taken to have finished.
const SILENCE: Duration = Duration::from_secs(2);

/// Octets dropped at once.
const SINK_BYTES: usize = 64 * 1024;

/// The bounds after `error`; `None` when the client is gone or the server shuts down.
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
    /// Closes the connection of a transfer that ended with `error`, leaving the client time to read
    /// the reply. A session has at most one such connection: it sets `over` when it begins another
    /// transfer, or ends.
    pub(crate) async fn part(mut self, error: &TransferError, upload: bool, over: &Flag) {
        let Some(bounds) = bounds(error, upload) else { return };
        // A failed download must not end like a complete one.
        if upload && let Protection::Records(channel) = &mut self.protection {
            self.out.clear();
            if channel.seal_close_notify(&mut self.out).is_ok() {
                self.release_held();
                let _ = self.stream.try_write(&self.out);
            }
        }
        if !self.stream.shutdown_write().unwrap_or(false) {
            return;
        }
        // The low-water mark of a fast upload would delay reads here.
        let _ = set_low_water(&self.stream, 1);
        let cut = self.interrupts.cut.clone();
        let given_up = async { race(over.wait(), cut.wait()).await };
        race(given_up, self.drop_octets(bounds)).await;
    }

    /// Drops octets until the client closes, is silent, or the bounds are used up.
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
