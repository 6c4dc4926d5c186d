//! Pseudo-random input for unit tests: fixed seeds, so that every failure repeats.

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    /// `seed` must not be 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % bound
    }

    /// Up to `longest` octets; three of four come from `likely`, the rest from all 256.
    pub(crate) fn octets(&mut self, longest: usize, likely: &[u8]) -> Vec<u8> {
        (0..self.below(longest + 1))
            .map(|_| match self.below(4) {
                0 => u8::try_from(self.below(256)).unwrap(),
                _ => likely[self.below(likely.len())],
            })
            .collect()
    }
}
