//! `ringload`: the client role of MS-FTPS as a load generator. It shares no code with the server,
//! so that a shared misreading of a standard cannot cancel out.
//!
//! Layers, each importing only those before it: `sys` · `measure`, `verify` · `client` (protocol)
//! · `engine` (the executor) · `workload` · `report` · the command line.

pub mod measure;
pub mod sys;
