//! Receiving: octets from the data connection into blocks, and blocks into storage behind them.

mod low_water;
mod receive;
mod turn;
mod write_behind;
