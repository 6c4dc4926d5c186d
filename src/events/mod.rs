//! What happens, as the log tells it: one table has each event's name, level, fields, and the
//! closed list of words that a field may have. The code that writes an event is made of its row,
//! and so is `tuning/EVENTS.md`.
//!
//! A row is a struct whose fields are borrowed: `DirectoryMade { path }.log()`. Below the level
//! that is logged nothing is read, counted or written. Who the session is stands behind each line
//! by itself (`cli::log_line`).

mod counts;
mod field;
mod flood;
mod page;
mod reasons;
mod table;
mod words;
mod xferlog;

pub use self::field::{Field, Mode, Word, canonical};
pub use self::flood::{first_suppressed, set_rate};
pub use self::page::page;
pub use self::reasons::{Counts, counts};
pub use self::table::*;
pub use self::words::*;
pub use self::xferlog::{Transferred, set_transfer_log, steers};
