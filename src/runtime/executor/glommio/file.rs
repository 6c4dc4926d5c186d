//! Reads of files through the executor's own buffers: it cannot read into ours.

use std::{
    io,
    ops::Deref,
    os::fd::OwnedFd,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use ::glommio::{
    GlommioError,
    io::{BufferedFile, ReadResult},
};

use super::Task;
use crate::sys::adopt;

/// An open file.
pub(crate) struct File(Rc<BufferedFile>);

impl File {
    /// Takes over `file`.
    pub(crate) fn new(file: OwnedFd) -> Self {
        Self(Rc::new(adopt(file)))
    }

    /// Starts to read up to `count` octets at `position`.
    pub(crate) fn start(&self, position: u64, count: usize) -> Read {
        let file = self.0.clone();
        Read(super::spawn(
            async move { file.read_at(position, count).await.map(Octets).map_err(plain) },
        ))
    }
}

/// A read under way.
#[derive(Debug)]
pub(crate) struct Read(Task<io::Result<Octets>>);

impl Future for Read {
    type Output = io::Result<Octets>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// What a read brought.
pub(crate) struct Octets(ReadResult);

impl Deref for Octets {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// The system's own error: the executor's conversion keeps only its kind.
fn plain(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(error) | GlommioError::EnhancedIoError { source: error, .. } => error,
        other => other.into(),
    }
}
