//! What is made of measurements: figures, reports, verdicts, the next step of a search. On
//! synthetic time, and without a socket.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod judge;
mod made_up;
mod page;
mod report;
mod search;
