//! The I/O shells of one session: control connection, data connection, server-DTP. They move octets
//! and perform what the session asks; they decide nothing about the protocol.

mod candidates;
mod contest;
mod context;
mod control;
mod data;
mod data_path;
mod handshake_budget;
mod handshakes;
mod hearing;
mod homes;
mod kept;
mod kernel_send;
mod lingering;
mod log_words;
mod login_turns;
mod logins;
mod low_water;
mod parting;
mod passive_ports;
mod passive_shares;
mod proof;
mod receive;
mod send;
mod send_listing;
mod session_ports;
mod shaking;
mod source;
mod storage;
mod transfer;
mod upload_turn;
mod whole;
mod wire;
mod write_behind;

pub use context::{Context, ContextParts, Queues};
pub use control::{Accepted, serve};
pub use handshakes::Place;
pub use homes::OpenedHome;
pub use passive_ports::{RangeTooSmall, split};
