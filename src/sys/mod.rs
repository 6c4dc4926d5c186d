//! The seam to the kernel and the only place of `unsafe`: what neither the standard library nor
//! `rustix` nor `socket2` offers safely. It knows nothing of FTP, of the executor or of a shard;
//! each refusal of the host is turned into a sentence with its likely cause and its remedy.

#![allow(unsafe_code, reason = "the one audited place; every block has its SAFETY line")]

#[cfg(feature = "glommio")]
mod adopt;
pub mod cpu;
pub mod file;
pub mod host;
pub mod ktls;
pub mod privileges;
pub mod process;
pub mod sendfile;
pub mod socket;
#[cfg(feature = "glommio")]
mod watched_fd;

#[cfg(feature = "glommio")]
pub use adopt::adopt;
#[cfg(feature = "glommio")]
pub use watched_fd::WatchedFd;
