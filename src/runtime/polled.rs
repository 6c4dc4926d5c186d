//! A descriptor as the executor polls it.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll},
};

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;

#[cfg(test)]
use super::simulated::{self, Descriptor};
use crate::sys::adopt;

/// The executor's stream, which stands for any descriptor that can be polled.
pub(super) enum Polled {
    Executor(TcpStream),
    #[cfg(test)]
    Simulated(Descriptor),
}

impl From<OwnedFd> for Polled {
    fn from(fd: OwnedFd) -> Self {
        #[cfg(test)]
        if let Some(simulation) = simulated::current() {
            return Self::Simulated(Descriptor::new(fd, simulation));
        }
        Self::Executor(adopt(fd))
    }
}

impl AsyncRead for Polled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Executor(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(test)]
            Self::Simulated(descriptor) => descriptor.poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Polled {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Executor(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(test)]
            Self::Simulated(descriptor) => descriptor.poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
