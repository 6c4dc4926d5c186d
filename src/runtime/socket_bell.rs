//! A bell over a pair of sockets: what an executor that only waits for descriptors can have, and
//! what a simulated shard has.

use std::{future::poll_fn, io, os::unix::net::UnixStream, sync::Arc};

use rustix::net::{RecvFlags, SendFlags};

use super::Watched;

/// A bell and who rings it.
///
/// # Errors
///
/// Those of socketpair(2).
pub(super) fn bell() -> io::Result<(Ringer, Bell)> {
    let (heard, rung) = UnixStream::pair()?;
    Ok((Ringer(Arc::new(rung)), Bell(heard)))
}

/// Rings it, from any thread.
#[derive(Clone)]
pub(super) struct Ringer(Arc<UnixStream>);

/// A bell before it is in its shard.
pub(super) struct Bell(UnixStream);

/// A bell in its shard.
pub(super) struct Listening(Watched);

impl Ringer {
    /// Ends a wait, or the next one. Never waits.
    pub(super) fn ring(&self) {
        // A full socket means that the shard has been woken already, a closed one that it is gone.
        let _ = rustix::net::send(&self.0, b"!", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

impl Bell {
    /// Brings it into the shard that calls this.
    pub(super) fn listen(self) -> Listening {
        Listening(Watched::new(self.0.into()))
    }
}

impl Listening {
    /// Returns when it was rung. May be early.
    pub(super) async fn rung(&self) {
        // An error here would be one of the socket pair, which has none but its end of file.
        let _ = poll_fn(|cx| self.0.poll_read(cx, &mut [])).await;
        // Emptied before the caller looks what it is: who rings after that wakes the shard again.
        let _ = rustix::net::recv(&self.0, &mut [0_u8; 64], RecvFlags::DONTWAIT);
    }
}
