//! The standards, requirement by requirement, against the real program.
//!
//! `requirements.toml` lists every requirement with the tests that meet it or the reason why not;
//! `coverage.rs` checks the list against the sources. Bracketed ids in doc comments are its keys.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../support/mod.rs"]
mod support;

mod fixture;

mod clients;
mod command_lines;
mod confinement;
mod coverage;
mod limits;
mod login;
mod ms_ftps;
mod rein;
mod rfc1123;
mod rfc2228_4217;
mod rfc2389;
mod rfc2428;
mod rfc2577;
mod rfc2640;
mod rfc3659;
mod rfc4217_data;
mod rfc4217_levels;
mod rfc7151;
mod rfc959_files;
mod rfc959_parameters;
mod rfc959_transfers;
mod state_table;
