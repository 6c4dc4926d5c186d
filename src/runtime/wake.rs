//! Waking a task of a shard from any thread.

use std::io;

use super::executor;
#[cfg(test)]
use super::{simulated, socket_bell};

/// A bell and who rings it.
///
/// # Errors
///
/// No descriptors are left.
pub(super) fn bell() -> io::Result<(Ringer, Bell)> {
    #[cfg(test)]
    if simulated::current().is_some() {
        let (ringer, bell) = socket_bell::bell()?;
        return Ok((Ringer::Simulated(ringer), Bell::Simulated(bell)));
    }
    let (ringer, bell) = executor::bell()?;
    Ok((Ringer::Executor(ringer), Bell::Executor(bell)))
}

/// Rings it, from any thread.
#[derive(Clone)]
pub(super) enum Ringer {
    Executor(executor::Ringer),
    #[cfg(test)]
    Simulated(socket_bell::Ringer),
}

/// A bell before it is in its shard.
pub(super) enum Bell {
    Executor(executor::Bell),
    #[cfg(test)]
    Simulated(socket_bell::Bell<simulated::Watched>),
}

/// A bell in its shard.
pub(super) enum Listening {
    Executor(executor::Listening),
    #[cfg(test)]
    Simulated(socket_bell::Listening<simulated::Watched>),
}

impl Ringer {
    /// Ends a wait, or the next one. Never waits.
    pub(super) fn ring(&self) {
        match self {
            Self::Executor(ringer) => ringer.ring(),
            #[cfg(test)]
            Self::Simulated(ringer) => ringer.ring(),
        }
    }
}

impl Bell {
    /// Brings it into the shard that calls this.
    pub(super) fn listen(self) -> Listening {
        match self {
            Self::Executor(bell) => Listening::Executor(bell.listen()),
            #[cfg(test)]
            Self::Simulated(bell) => Listening::Simulated(bell.listen()),
        }
    }
}

impl Listening {
    /// Returns when it was rung since the last time. May be early, and dropped at any time.
    pub(super) async fn rung(&self) {
        match self {
            Self::Executor(bell) => bell.rung().await,
            #[cfg(test)]
            Self::Simulated(bell) => bell.rung().await,
        }
    }
}
