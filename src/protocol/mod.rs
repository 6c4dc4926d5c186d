//! The server-PI of RFC 959 §2.2, sans-io: std only, no async, no clock, no socket, no file. An id
//! in brackets, such as `[PASV-02]`, names a requirement of `tests/conformance/requirements.toml`.

pub mod account;
pub mod ascii;
mod digits;
pub mod distinguished_name;
pub mod file;
pub mod hash_command;
pub mod hexadecimal;
pub mod host_name;
pub mod host_port;
pub mod language;
pub mod line;
pub mod listing;
pub mod mlst_options;
pub mod number;
pub mod path;
pub mod pattern;
pub mod policy;
pub mod proxy_header;
pub mod reply;
pub mod session;
pub mod shown;
#[cfg(test)]
mod test_random;
pub mod timestamp;
