//! The real binary from outside, where the protocol's rows end: starting and stopping, limits,
//! what a crash leaves behind, TLS session resumption, and clients that mean harm.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test; helpers are tests too")]

mod activation;
mod alerts;
mod amplifiers;
#[path = "../interop/content.rs"]
#[allow(dead_code, reason = "shared with the interoperability tests, each using its part")]
mod content;
mod contested_ports;
mod control;
mod data_paths;
mod downloads;
mod durability;
mod events;
mod fail2ban;
mod faulty;
mod filesystems;
mod first_week;
mod half_closed;
mod handshakes;
mod heard_downloads;
mod homes;
mod hostile;
mod hostile_data;
mod hung;
mod idle_sessions;
mod journal;
mod json;
mod kicks;
mod leftovers;
mod limits;
mod listings;
mod log_files;
mod logins;
mod metrics;
mod names;
mod nodes;
mod operators;
mod passive_addresses;
mod process;
mod prometheus;
mod proxied;
mod reasons;
mod reload;
mod resumption;
#[path = "../interop/run.rs"]
#[allow(dead_code, reason = "shared with the interoperability tests, each using its part")]
mod run;
mod seccomp;
mod service_manager;
mod settings;
mod shared_ports;
mod shutdown;
mod small_transfers;
mod startup;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod top;
mod upgrade;
mod uploads;
mod xferlog;
