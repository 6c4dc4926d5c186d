//! The kernel's TLS for real: the server program and a rustls client under a kernel that has it.
//! Not among the tests that plain `cargo test` runs (`test = false`), because the kernel of a
//! developer's machine may lack it; `tests/ktls/run` starts them in a virtual machine, one at a
//! time, as root. `tests/run` calls it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

#[path = "../interop/content.rs"]
#[allow(dead_code, reason = "shared with the interoperability tests, each using its part")]
mod content;
mod endings;
mod fallback;
mod fixture;
mod goodbyes;
mod keys;
#[path = "../support/mod.rs"]
mod support;
mod transfers;
mod zerocopy;
