//! The seam to the kernel and the only place of `unsafe`: what neither the standard library nor
//! `rustix` nor `socket2` offers safely. It knows nothing of FTP, of the executor or of a shard;
//! each refusal of the host is turned into a sentence with its likely cause and its remedy.

#![allow(unsafe_code, reason = "the one audited place; every block has its SAFETY line")]

mod adopt;
pub mod cpu;
pub mod file;
pub mod host;
pub mod ktls;
pub mod privileges;
pub mod ring_check;
pub mod rings;
pub mod sendfile;
pub mod socket;
mod watched_fd;

pub use adopt::adopt;
pub use watched_fd::WatchedFd;
