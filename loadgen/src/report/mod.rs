//! A result as a person or another tool reads it: text, histogram log, page. Everything here is a
//! function of a [`RunResult`](crate::measure::RunResult) alone, so a stored result can be
//! reported again. The JSON form is the result's own (`RunResult::to_json`, `SCHEMA.md`).

pub mod format;
mod hdr_log;
mod html;
mod markup;
mod plot;
pub mod table;
mod text;

pub use hdr_log::write_hdr_log;
pub use html::html;
pub use text::summary;
