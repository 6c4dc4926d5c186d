//! `ringload`: the client role of MS-FTPS as a load generator. It shares no code with the server
//! but the executor under both, so that a shared misreading of a standard cannot cancel out.
//!
//! Layers, each importing only those before it: `sys`, `units`, `moment` · `measure`, `verify` ·
//! `plan` ·
//! `engine` (the executor) · `client` (protocol) · `workload` · `report`, `slo`, `compare`,
//! `merge`,
//! `progress` · `guard`, `run`, `check` · the command line (`args`, `cli`).

pub mod args;
pub mod check;
pub mod cli;
pub mod client;
pub mod compare;
pub mod engine;
pub mod guard;
pub mod measure;
pub mod merge;
pub mod moment;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod slo;
pub mod sys;
pub mod units;
pub mod verify;
pub mod workload;
