//! The server-PI of RFC 959 §2.2, sans-io: std only, no async, no clock, no socket, no file.

pub mod account;
pub mod command_table;
pub mod file;
pub mod host_port;
pub mod line;
pub mod path;
pub mod policy;
pub mod reply;
#[cfg(test)]
mod test_random;
