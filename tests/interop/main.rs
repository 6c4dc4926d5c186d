//! Real clients against the real binary: curl, lftp, openssl, PHP, rclone, Python's ftplib and the
//! crate suppaftp. A client that is not installed fails its tests; `tests/run` installs them.
//!
//! Contents are compared by SHA-256 on both sides, never by what a client says about itself.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

#[path = "../support/haproxy.rs"]
mod balancer;
mod content;
mod curl;
mod ftplib;
mod haproxy;
mod lftp;
mod openssl;
mod php;
mod rclone;
mod run;
mod rust_suppaftp;
mod shared_ports;
mod site;
#[path = "../support/mod.rs"]
mod support;
