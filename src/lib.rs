//! ringftpd.

pub mod limits;

pub mod clock;

pub mod protocol;

pub mod buffer;

pub mod auth;

pub mod config;

pub mod cli;
