//! The server-DTP (RFC 959 §2.2): one task a transfer, moving octets between storage and a data
//! connection. When it may start and what it is answered with are the session's business.

mod download;
pub(crate) mod job;
mod log_words;
mod path;
mod report;
pub(crate) mod storage;
pub(crate) mod task;
mod upload;
