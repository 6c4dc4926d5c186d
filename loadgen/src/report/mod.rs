//! A result as a person or another tool reads it: text, histogram log, page. Everything here is a
//! function of a [`RunResult`](crate::measure::RunResult) alone, so a stored result can be
//! reported again. The JSON form is the result's own (`RunResult::to_json`, `SCHEMA.md`).

pub mod format;
mod hdr_log;
mod heatmap;
mod html;
mod over_time;
pub(crate) mod page;
pub(crate) mod percentiles;
pub(crate) mod phase_bars;
pub(crate) mod plot;
mod rate_search;
pub(crate) mod scale;
pub mod table;
mod text;

pub use hdr_log::write_hdr_log;
pub(crate) use html::highest_latency;
pub use html::html;
pub(crate) use over_time::{Course, highest_of};
pub use text::summary;
