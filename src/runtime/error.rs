//! Why there is no shard, or no result of blocking work.

use std::any::Any;

use crate::sys::cpu;

/// Why a shard could not start.
#[derive(Debug, thiserror::Error)]
pub enum ShardStartError {
    /// The thread could not be pinned.
    #[error(transparent)]
    Cpu(#[from] cpu::CpuError),
    /// The executor could not be built: what was refused, the likely cause and the remedy.
    #[error("{0}")]
    Executor(String),
}

/// A shard ended by a panic; its sessions are gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shard died: {0}")]
pub struct ShardError(pub(super) String);

impl ShardError {
    pub(super) fn of_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self(format!("panicked: {}", text.as_deref().unwrap_or("no message")))
    }
}

/// Why blocking work has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// Too much waits already; the client is told to come back.
    #[error("too much work is waiting")]
    Overloaded,
    /// The closure panicked; the panic was printed by its thread.
    #[error("blocking work panicked")]
    Panicked,
}
