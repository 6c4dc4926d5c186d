//! ringftpd.

pub mod limits;

pub mod clock;

pub mod protocol;

pub mod buffer;

pub mod vfs;
