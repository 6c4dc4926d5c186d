//! Contents made from a seed, and checks of what comes back, so that a fast wrong server loses.
//! Pure: octets in, a verdict out.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// A stream of pseudo-random numbers, SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): small, exact on
/// every machine, and good enough to choose work and to fill files; not for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// SplitMix64's increment: 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream for `seed` and `index`: streams of different indices are unrelated.
    #[must_use]
    pub const fn new(seed: u64, index: u64) -> Self {
        Self(mix(seed ^ mix(index.wrapping_mul(GOLDEN))))
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// The next number in 0 < x ≤ 1, with 53 random bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub fn next_unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Exponentially distributed with mean 1: the time between Poisson arrivals.
    pub fn next_exponential(&mut self) -> f64 {
        -self.next_unit().ln()
    }
}

/// The contents of one file: `size` octets that the seed and the index give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    key: u64,
    size: u64,
}

impl Content {
    /// The contents of file `index` of the runs with `seed`.
    #[must_use]
    pub const fn new(seed: u64, index: u64, size: u64) -> Self {
        Self { key: mix(seed ^ mix(index ^ GOLDEN)), size }
    }

    /// Octets in all.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Writes the octets from `offset` on into `buffer` and returns how many there were.
    pub fn fill(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = left.min(buffer.len());
        let (mut index, skip) = (offset / 8, (offset % 8) as usize);
        let head = if skip == 0 { 0 } else { (8 - skip).min(length) };
        let (head, body) = buffer[..length].split_at_mut(head);
        if !head.is_empty() {
            head.copy_from_slice(&self.word(index)[skip..skip + head.len()]);
            index += 1;
        }
        let (words, tail) = body.as_chunks_mut::<8>();
        for word in words {
            *word = self.word(index);
            index += 1;
        }
        tail.copy_from_slice(&self.word(index)[..tail.len()]);
        length
    }

    /// Whether `octets` are those from `offset` on. A download is compared at nearly the speed at
    /// which it comes, so this neither writes the octets down nor stops at the first difference.
    fn holds(&self, offset: u64, octets: &[u8]) -> bool {
        if offset.saturating_add(octets.len() as u64) > self.size {
            return false;
        }
        let (mut index, skip) = (offset / 8, (offset % 8) as usize);
        let head = if skip == 0 { 0 } else { (8 - skip).min(octets.len()) };
        let (head, body) = octets.split_at(head);
        let mut same = true;
        if !head.is_empty() {
            same = head == &self.word(index)[skip..skip + head.len()];
            index += 1;
        }
        let (words, tail) = body.as_chunks::<8>();
        let mut difference = 0;
        for word in words {
            difference |= u64::from_le_bytes(*word) ^ u64::from_le_bytes(self.word(index));
            index += 1;
        }
        same && difference == 0 && tail == &self.word(index)[..tail.len()]
    }

    /// No two words of a file are the same, and none can be told from its neighbours by eye; no
    /// more is asked of it, because a client makes or compares a GB of them a second.
    const fn word(&self, index: u64) -> [u8; 8] {
        let word = self.key.wrapping_add(index.wrapping_mul(GOLDEN));
        (word ^ (word >> 32)).to_le_bytes()
    }
}

/// What a download must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing is checked.
    Anything,
    /// This many octets, whose values are not checked: for pure speed.
    Length(u64),
    /// These contents.
    Content(Content),
    /// Octets with this SHA-256.
    Sha256([u8; 32]),
}

impl Expected {
    /// Octets in all, zero if that is not known.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self {
            Self::Anything | Self::Sha256(_) => 0,
            Self::Length(length) => *length,
            Self::Content(content) => content.size(),
        }
    }
}

/// Checks a download as it comes.
pub struct Check {
    expected: Expected,
    received: u64,
    /// Where the first difference is.
    difference: Option<u64>,
    hasher: Sha256,
}

impl Check {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(expected: Expected) -> Self {
        Self { expected, received: 0, difference: None, hasher: Sha256::new() }
    }

    /// Takes the next octets.
    pub fn take(&mut self, octets: &[u8]) {
        match self.expected {
            Expected::Anything | Expected::Length(_) => {}
            Expected::Sha256(_) => self.hasher.update(octets),
            Expected::Content(content) => self.compare(content, octets),
        }
        self.received += octets.len() as u64;
    }

    /// Octets taken.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Whether it is certain that the contents are wrong.
    #[must_use]
    pub const fn is_hopeless(&self) -> bool {
        match self.expected {
            Expected::Length(length) => self.received > length,
            _ => self.difference.is_some(),
        }
    }

    /// Whether only a limit tells where the octets must end.
    #[must_use]
    pub const fn is_open_ended(&self) -> bool {
        matches!(self.expected, Expected::Anything | Expected::Sha256(_))
    }

    /// The verdict.
    ///
    /// # Errors
    ///
    /// A sentence: what differs.
    pub fn finish(self) -> Result<(), String> {
        match self.expected {
            Expected::Anything => Ok(()),
            Expected::Length(length) if self.received == length => Ok(()),
            Expected::Length(length) if self.received > length => {
                Err(format!("more than {length} octets"))
            }
            Expected::Length(length) => {
                Err(format!("{} octets instead of {length}", self.received))
            }
            Expected::Content(content) => match self.difference {
                Some(at) => Err(format!("octet {at} differs")),
                None if self.received == content.size => Ok(()),
                None => Err(format!("{} octets instead of {}", self.received, content.size)),
            },
            Expected::Sha256(expected) => {
                let found: [u8; 32] = self.hasher.finalize().into();
                if found == expected {
                    return Ok(());
                }
                Err(format!("SHA-256 is {} instead of {}", hex(&found), hex(&expected)))
            }
        }
    }

    fn compare(&mut self, content: Content, octets: &[u8]) {
        let mut wanted = [0; 4096];
        let mut position = self.received;
        for chunk in octets.chunks(wanted.len()) {
            if self.difference.is_some() {
                return;
            }
            if !content.holds(position, chunk) {
                let known = content.fill(position, &mut wanted[..chunk.len()]);
                let same = chunk.iter().zip(&wanted[..known]).take_while(|(a, b)| a == b).count();
                self.difference = Some(position + same as u64);
            }
            position += chunk.len() as u64;
        }
    }
}

/// Reads 64 hexadecimal digits, with or without colons between the octets.
///
/// # Errors
///
/// A sentence.
pub fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let digits: String = text.chars().filter(|character| *character != ':').collect();
    let refuse = || format!("\"{text}\" is not a SHA-256: 64 hexadecimal digits");
    if digits.len() != 64 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return Err(refuse());
    }
    let mut digest = [0; 32];
    for (octet, index) in digest.iter_mut().zip((0..64).step_by(2)) {
        *octet = u8::from_str_radix(&digits[index..index + 2], 16).map_err(|_| refuse())?;
    }
    Ok(digest)
}

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// SHA-256 of a certificate (of its DER form) or of a text, hexadecimal.
#[must_use]
pub fn fingerprint(octets: &[u8]) -> String {
    hex(&Sha256::digest(octets))
}

/// Hexadecimal digits.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{Check, Content, Expected, Random, parse_sha256};

    fn whole(content: Content) -> Vec<u8> {
        let mut octets = vec![0; usize::try_from(content.size()).unwrap()];
        assert_eq!(content.fill(0, &mut octets), octets.len());
        octets
    }

    #[test]
    fn contents_are_the_same_however_they_are_cut() {
        let content = Content::new(1, 2, 1003);
        let octets = whole(content);
        for size in [1, 3, 8, 100] {
            let mut cut = Vec::new();
            let mut buffer = vec![0; size];
            loop {
                let count = content.fill(cut.len() as u64, &mut buffer);
                if count == 0 {
                    break;
                }
                cut.extend_from_slice(&buffer[..count]);
            }
            assert_eq!(cut, octets);
        }
        assert_ne!(octets, whole(Content::new(1, 3, 1003)));
        assert_ne!(octets, whole(Content::new(2, 2, 1003)));
        assert_eq!(content.fill(2000, &mut [0; 4]), 0);
    }

    #[test]
    fn a_check_finds_every_difference() {
        #[track_caller]
        fn check(expected: Expected, octets: &[u8], verdict: Result<(), &str>) {
            for size in [1, 7, 5000] {
                let mut check = Check::new(expected);
                octets.chunks(size).for_each(|chunk| check.take(chunk));
                assert_eq!(check.received(), octets.len() as u64);
                let differs = |text: &str| text.contains("differs") || text.contains("more");
                assert_eq!(check.is_hopeless(), verdict.is_err_and(differs));
                assert_eq!(check.finish(), verdict.map_err(str::to_owned));
            }
        }
        let content = Content::new(7, 0, 9000);
        let (good, expected) = (whole(content), Expected::Content(content));
        check(expected, &good, Ok(()));
        check(expected, &good[..8999], Err("8999 octets instead of 9000"));
        let mut long = good.clone();
        long.push(0);
        check(expected, &long, Err("octet 9000 differs"));
        let mut wrong = good;
        wrong[8123] ^= 1;
        wrong[8990] ^= 1;
        check(expected, &wrong, Err("octet 8123 differs"));
        check(Expected::Anything, &wrong, Ok(()));
        check(Expected::Length(9000), &wrong, Ok(()));
        check(Expected::Length(9000), &wrong[1..], Err("8999 octets instead of 9000"));
        check(Expected::Length(9000), &long, Err("more than 9000 octets"));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Expected::Sha256(parse_sha256(abc).unwrap());
        check(digest, b"abc", Ok(()));
        let mut other = Check::new(digest);
        other.take(b"abd");
        assert!(other.finish().unwrap_err().ends_with(abc));
    }

    #[test]
    fn digests() {
        assert!(parse_sha256(&"ab".repeat(32)).is_ok());
        assert!(parse_sha256(&["AB"; 32].join(":")).is_ok());
        assert!(parse_sha256(&"ab".repeat(31)).is_err());
        assert!(parse_sha256(&"xy".repeat(32)).is_err());
    }

    #[test]
    fn exponentials_have_the_mean_one_and_streams_differ() {
        let mut random = Random::new(42, 0);
        let count = 100_000;
        let mean = (0..count).map(|_| random.next_exponential()).sum::<f64>() / f64::from(count);
        assert!((0.98..1.02).contains(&mean), "{mean}");
        assert_ne!(Random::new(42, 0).next_u64(), Random::new(42, 1).next_u64());
    }
}
