//! Which shard a new connection comes to, if the kernel's own choice is not wanted: the programs
//! that make the kernel choose otherwise.

use crate::sys::socket::Instruction;

/// All connections of a client address (of IPv6: of a /64, as the limits count them) come to one of
/// `shards` shards; for sockets of IPv4, or of IPv6 alone.
pub(super) fn source_program(ipv6: bool, shards: u32) -> Vec<Instruction> {
    // Where the source address is in the header: RFC 791 §3.1, RFC 8200 §3.
    let offsets: &[i32] = if ipv6 { &[8, 12] } else { &[12] };
    let mut program = Vec::new();
    for &offset in offsets {
        program.push(Instruction::load_network_header(offset));
        if offset != offsets[0] {
            program.push(Instruction::xor_index());
        }
        program.extend([Instruction::multiply(FACTOR), Instruction::copy_to_index()]);
    }
    program.extend([
        Instruction::shift_right(FOLD),
        Instruction::xor_index(),
        Instruction::modulo(shards.max(1)),
        Instruction::finish(),
    ]);
    program
}

/// A connection whose first packet was handled on one of `cpus` comes to the shard that runs there,
/// others to any. Shards beyond the number of `sockets` accept on those of others, in turn.
pub(super) fn cpu_program(cpus: &[u32], sockets: u32) -> Vec<Instruction> {
    let sockets = sockets.max(1);
    let mut program = vec![Instruction::load_cpu()];
    for (shard, cpu) in (0..).zip(cpus) {
        program.extend([Instruction::skip_unless(*cpu), Instruction::finish_with(shard % sockets)]);
    }
    program.extend([Instruction::modulo(sockets), Instruction::finish()]);
    program
}

/// A connection comes to any of the first `sockets` sockets, and to none behind them.
pub(super) fn first_program(sockets: u32) -> Vec<Instruction> {
    vec![Instruction::load_random(), Instruction::modulo(sockets.max(1)), Instruction::finish()]
}

/// 2^32 divided by the golden ratio, odd: neighbouring addresses part (Knuth, volume 3, §6.4).
const FACTOR: u32 = 0x9E37_79B1;

/// The upper bits are the better mixed ones; the remainder would look at the lower.
const FOLD: u32 = 16;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// What [`source_program`] has the kernel compute.
    pub(in crate::shard) fn shard_of_source(address: IpAddr, shards: u32) -> u32 {
        let mix = |hash: u32, word: u32| (hash ^ word).wrapping_mul(FACTOR);
        let mixed = match address {
            IpAddr::V4(address) => mix(0, address.to_bits()),
            IpAddr::V6(address) => address.octets()[..8].chunks_exact(4).fold(0, |hash, word| {
                mix(hash, word.iter().fold(0, |n, o| n << 8 | u32::from(*o)))
            }),
        };
        (mixed ^ (mixed >> FOLD)) % shards
    }

    #[test]
    fn addresses_are_spread_evenly() {
        for shards in [1, 2, 3, 7, 64] {
            let v4 = (0..6400_u32).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
            let v6 = (0..6400_u128)
                .map(|n| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 64 | 1)));
            for addresses in [v4.collect::<Vec<_>>(), v6.collect()] {
                let mut counts = vec![0; usize::try_from(shards).unwrap()];
                for address in addresses {
                    counts[usize::try_from(shard_of_source(address, shards)).unwrap()] += 1;
                }
                let (least, most) = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
                assert!(most <= 2 * least, "{shards} shards: {least} to {most}");
            }
        }
    }
}
