//! ringftpd.

pub mod limits;

pub mod clock;

pub mod protocol;

pub mod sys;

pub mod buffer;

pub mod runtime;

pub mod shard;
