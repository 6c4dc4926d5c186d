//! `ringload`: the client role of MS-FTPS as a load generator. It shares no code with the server,
//! so that a shared misreading of a standard cannot cancel out.
//!
//! Layers, each importing only those before it: `sys` · `measure`, `verify` · `engine` (the
//! executor) · `client` (protocol) · `workload` · `report` · the command line.

pub mod client;
pub mod compare;
pub mod engine;
pub mod measure;
pub mod report;
pub mod slo;
pub mod sys;
pub mod verify;
