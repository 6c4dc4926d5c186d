//! Buffers a shard owns. Nothing here is shared between shards.

mod budget;
mod inbuf;
mod pool;

pub use budget::{Budget, Share};
pub use inbuf::InBuf;
pub use pool::{Block, BlockPool};
