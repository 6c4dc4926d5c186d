//! One executor pinned to one core, and everything it owns.

pub mod listener;
pub mod passive_ports;
