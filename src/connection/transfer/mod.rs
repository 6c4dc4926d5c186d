//! The server-DTP (RFC 959 §2.2): one task per transfer, which moves octets between storage and a
//! data connection. When it may start and what the replies are is decided by the session.

pub(crate) mod audit;
mod download;
pub(crate) mod job;
mod log_words;
mod path;
mod report;
pub(crate) mod storage;
pub(crate) mod task;
mod timing;
mod upload;
