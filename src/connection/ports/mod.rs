//! Passive ports: those of a shard, how they come from others, a user's share of them, those at
//! which several sessions wait, who waits for one, and the ones a session holds.

use std::io;

mod debts;
pub(crate) mod exchange;
pub(crate) mod pool;
mod queue;
pub(crate) mod range;
pub(crate) mod session;
mod shared;
mod shares;
mod wants;

/// A uniform number below `bound`, which is not zero, from the kernel's generator.
fn random_below(bound: usize) -> io::Result<usize> {
    let mut bytes = [0; 4];
    let filled = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    debug_assert_eq!(filled, bytes.len(), "small requests are never cut short");
    // Multiplying maps 2^32 values onto at most 2^16; no value is favoured by more than 2^-16.
    let scaled = (u64::from(u32::from_ne_bytes(bytes)) * bound as u64) >> 32;
    Ok(usize::try_from(scaled).unwrap_or(0))
}
