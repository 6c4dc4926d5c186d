//! `ringload` as a program, against servers: scripted ones, ringftpd and other people's. One test
//! program for all of them, for most of these tests wait most of their time. Those about time and
//! rates, which a busy machine disturbs, are in `measurement.rs` and `command_line.rs`; those in
//! `interop.rs` keep a machine busy.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod parts;
mod peers;
mod protocol;
mod reload;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;
