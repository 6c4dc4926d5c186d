//! Buffers a shard owns. Nothing here is shared between shards.

mod inbuf;
mod pool;

pub use inbuf::InBuf;
pub use pool::{Block, BlockPool};
