//! Log-ins: whose password is checked next, what is remembered of it, and the home it leads to.

pub(crate) mod checks;
pub(crate) mod homes;
mod turns;
