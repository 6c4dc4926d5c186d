//! The server's end of `control.socket`: the socket and what it answers, its clients as the server
//! meets them, and what goes on, in sessions and in figures.

mod client;
mod figures;
mod sessions;
mod socket;

pub(super) use client::refusal;
pub(super) use socket::{ControlSocket, Subject, default_path, files_of, problem_of};
