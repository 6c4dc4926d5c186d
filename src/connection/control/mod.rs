//! The control connection: one task per session. Requests that may wait run as tasks of their own
//! and answer through the mailbox.

mod requests;
mod run;
mod state;
mod times;
mod waiting;
mod wire;

pub use run::serve;
pub use state::Accepted;
