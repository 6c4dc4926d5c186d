//! Buffers a shard owns. Nothing here is shared between shards.

mod pool;
mod recv_buffer;
mod semaphore;

pub use pool::{Block, BlockPool};
pub use recv_buffer::RecvBuffer;
pub use semaphore::{Permit, Semaphore};
