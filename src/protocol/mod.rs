//! The server-PI of RFC 959 §2.2, sans-io: std only, no async, no clock, no socket, no file.

pub mod account;
pub mod file;
pub mod path;
pub mod policy;
