//! `ringload` as a program, against servers: scripted ones, ringftpd and other people's. One test
//! program for all of them, for most of these tests wait most of their time. Those about time and
//! rates, which a busy machine disturbs, are in `measurement.rs` and `command_line.rs`.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod interop;
mod parts;
mod peers;
#[allow(dead_code, reason = "shared with the server's tests, each using its part")]
#[path = "../../../tests/support/ports.rs"]
mod ports;
mod protocol;
mod reload;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
