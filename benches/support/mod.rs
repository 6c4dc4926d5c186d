//! What the benches share: the server's allocator, the size of the input, a fixed seed, and a hash
//! of the work.

#![allow(dead_code, unreachable_pub, reason = "each bench is a program that uses its part")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]

pub mod bare_loop;
pub mod round_trips;
pub mod tls;

/// The server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `full` under `cargo bench`, `small` under `cargo test`, where a bench only shows that it works.
pub fn size(small: usize, full: usize) -> usize {
    if std::env::args().any(|argument| argument == "--bench") { full } else { small }
}

/// Prints a hash (FNV-1a) of what a bench has made. The same in every run: work that changes, or
/// that the compiler removes, does not go unseen.
#[expect(clippy::print_stdout, reason = "the hash is part of the bench's report")]
pub fn report_work(name: &str, octets: &[u8]) {
    let hash = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3)
    });
    println!("{name}: {} octets of work, hash {hash:016x}", octets.len());
}

/// Pseudo-random numbers (SplitMix64) from a fixed seed.
pub struct Random(u64);

impl Random {
    /// The same sequence every time.
    pub const fn new() -> Self {
        Self(0x5eed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these octets.
    pub fn pick(&mut self, octets: &[u8]) -> u8 {
        let index = self.below(octets.len() as u64);
        octets[usize::try_from(index).unwrap()]
    }

    /// This many octets.
    pub fn octets(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next().to_le_bytes()).flatten().take(count).collect()
    }
}
