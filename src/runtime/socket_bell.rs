//! A bell over a pair of sockets: what an executor that only waits for descriptors can have, and
//! what a simulated shard has.

use std::{
    future::poll_fn,
    io,
    marker::PhantomData,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    task::{Context, Poll},
};

use rustix::net::{RecvFlags, SendFlags};

/// A socket as an executor waits for it.
pub(super) trait Watch: AsFd {
    /// Takes over `socket`.
    fn watch(socket: OwnedFd) -> Self;

    /// Ready when there is something to read, of which nothing is consumed. May be early.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// A bell and who rings it.
///
/// # Errors
///
/// Those of socketpair(2).
pub(super) fn bell<W>() -> io::Result<(Ringer, Bell<W>)> {
    let (heard, rung) = UnixStream::pair()?;
    Ok((Ringer(Arc::new(rung)), Bell(heard, PhantomData)))
}

/// Rings it, from any thread.
#[derive(Clone)]
pub(super) struct Ringer(Arc<UnixStream>);

/// A bell before it is in its shard.
pub(super) struct Bell<W>(UnixStream, PhantomData<fn() -> W>);

/// A bell in its shard.
pub(super) struct Listening<W>(W);

impl Ringer {
    /// Ends a wait, or the next one. Never waits.
    pub(super) fn ring(&self) {
        // A full socket means that the shard has been woken already, a closed one that it is gone.
        let _ = rustix::net::send(&self.0, b"!", SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

impl<W: Watch> Bell<W> {
    /// Brings it into the shard that calls this.
    pub(super) fn listen(self) -> Listening<W> {
        Listening(W::watch(self.0.into()))
    }
}

impl<W: Watch> Listening<W> {
    /// Returns when it was rung. May be early.
    pub(super) async fn rung(&self) {
        poll_fn(|cx| self.0.poll_readable(cx)).await;
        // Emptied before the caller looks what it is: who rings after that wakes the shard again.
        let _ = rustix::net::recv(&self.0, &mut [0_u8; 64], RecvFlags::DONTWAIT);
    }
}
