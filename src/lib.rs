#![doc = include_str!("ARCHITECTURE.md")]

pub mod limits;

pub mod clock;

pub mod settings;

pub mod events;

pub mod protocol;

pub mod sys;

pub mod runtime;

pub mod buffer;

pub mod tls;

pub mod auth;

pub mod vfs;

pub mod metrics;

pub mod config;

pub mod connection;

pub mod shard;

pub mod cli;
