//! Buffers a shard owns. Nothing here is shared between shards.

mod inbuf;

pub use inbuf::InBuf;
