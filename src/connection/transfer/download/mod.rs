//! Ways to send: a small file in one write, a file by the kernel, records sealed here, listings.

mod kernel;
mod listing;
mod records;
mod single_write;
mod source;

pub(super) use single_write::is_one_write;
