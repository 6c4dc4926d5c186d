//! What the test programs share: the running server, a client that can do everything wrong on
//! purpose, certificates and waiting with a deadline. Nothing here knows what a test asserts.
//!
//! A test program takes it with `#[path = "../support/mod.rs"] mod support;`.
#![allow(dead_code, reason = "every test program uses its own part of this module")]
#![allow(unused_imports, reason = "likewise")]
#![allow(unreachable_pub, reason = "a test program has no public interface")]
#![allow(clippy::print_stderr, reason = "a failed test shows what the server printed")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

pub mod certificates;
pub mod client;
pub mod forge;
pub mod ports;
pub mod program;
pub mod reply;
pub mod server;
pub mod tls;
pub mod wait;
pub mod wire;

pub use client::Client;
pub use reply::Reply;
pub use server::{Builder, Listener, Server};
pub use tls::Tls;
pub use wait::wait_until;
pub use wire::{End, Wire};
