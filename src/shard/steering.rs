//! Which shard a new connection comes to, if the kernel's own choice is not wanted: as a function,
//! and as the program that makes the kernel compute the same.

use std::net::IpAddr;

use crate::sys::socket::Instruction;

/// The shard, of so many, that gets all connections of a client address.
#[must_use]
pub fn shard_of_source(address: IpAddr, shards: u32) -> u32 {
    let mixed = match address.to_canonical() {
        IpAddr::V4(address) => mix(0, address.to_bits()),
        IpAddr::V6(address) => address
            .octets()
            .chunks_exact(4)
            .fold(0, |hash, word| mix(hash, word.iter().fold(0, |n, o| n << 8 | u32::from(*o)))),
    };
    (mixed ^ (mixed >> FOLD)) % shards.max(1)
}

/// The shard for connections whose first packet was handled on `cpu`: the one that runs there, or
/// any if none does.
#[must_use]
pub fn shard_of_cpu(cpu: u32, cpus: &[u32]) -> u32 {
    let place = cpus.iter().position(|own| *own == cpu).and_then(|place| place.try_into().ok());
    place.unwrap_or_else(|| cpu % count(cpus))
}

/// [`shard_of_source`] for sockets of IPv4, or of IPv6 alone.
pub(super) fn source_program(ipv6: bool, shards: u32) -> Vec<Instruction> {
    // Where the source address is in the header: RFC 791 §3.1, RFC 8200 §3.
    let offsets: &[i32] = if ipv6 { &[8, 12, 16, 20] } else { &[12] };
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

/// [`shard_of_cpu`].
pub(super) fn cpu_program(cpus: &[u32]) -> Vec<Instruction> {
    let mut program = vec![Instruction::load_cpu()];
    for (shard, cpu) in (0..).zip(cpus) {
        program.extend([Instruction::skip_unless(*cpu), Instruction::finish_with(shard)]);
    }
    program.extend([Instruction::modulo(count(cpus)), Instruction::finish()]);
    program
}

fn count(cpus: &[u32]) -> u32 {
    u32::try_from(cpus.len()).unwrap_or(u32::MAX).max(1)
}

const fn mix(hash: u32, word: u32) -> u32 {
    (hash ^ word).wrapping_mul(FACTOR)
}

/// 2^32 divided by the golden ratio, odd: neighbouring addresses part (Knuth, volume 3, §6.4).
const FACTOR: u32 = 0x9E37_79B1;

/// The upper bits are the better mixed ones; the remainder would look at the lower.
const FOLD: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

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

    #[test]
    fn a_cpu_leads_to_its_own_shard_or_to_any() {
        for (cpu, cpus, expected) in
            [(3, &[2, 3][..], 1), (2, &[2, 3], 0), (5, &[2, 3], 1), (7, &[], 0), (9, &[9], 0)]
        {
            assert_eq!(shard_of_cpu(cpu, cpus), expected, "{cpu} of {cpus:?}");
        }
    }

    #[test]
    fn mapped_addresses_are_those_of_version_4() {
        let plain: IpAddr = "192.0.2.7".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(shard_of_source(plain, 61), shard_of_source(mapped, 61));
    }
}
