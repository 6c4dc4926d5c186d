//! Conversion between files, whose lines end with LF, and TYPE A on the wire, where they end with
//! CR LF (RFC 959 §3.1.1.1) [TYPE-05 TYPE-06].
//!
//! A line end of a file is LF or CR LF, and each becomes one CR LF: the lines of a file made under
//! DOS arrive as they are, not with a blank line behind each. A CR that no LF follows is data. So
//! the octets on the wire depend on the file alone, not on how it is cut into buffers, and SIZE
//! (RFC 3659 §4) and REST (§5.1) count the same stream [TYPE-08 TYPE-09]. What TYPE A stores has LF
//! line ends: such a file comes back as it was sent, one with CR LF only with TYPE I.

/// File to wire. Remembers how many converted octets a restart marker still skips.
#[derive(Debug, Default)]
pub struct ToNetwork {
    skip: u64,
    /// The last octet was a CR, and is already counted or appended.
    carriage_return: bool,
}

impl ToNetwork {
    /// From the beginning of a file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From a restart marker, which counts converted octets and may lie between CR and LF. The file
    /// is still to be fed from its beginning.
    #[must_use]
    pub fn starting_at(marker: u64) -> Self {
        Self { skip: marker, ..Self::default() }
    }

    /// Appends `input` converted, at most twice its length.
    pub fn convert(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let length = self.plain_len(input);
        if length <= self.skip {
            self.skip -= length;
            return self.remember(input);
        }
        let start = out.len();
        let mut after_cr = self.carriage_return;
        let mut rest = input;
        while let Some(at) = rest.iter().position(|&octet| octet == b'\n') {
            out.extend_from_slice(&rest[..at]);
            let ended = if at == 0 { after_cr } else { rest[at - 1] == b'\r' };
            out.extend_from_slice(if ended { b"\n" } else { b"\r\n" });
            after_cr = false;
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        if let Ok(skip) = usize::try_from(self.skip) {
            out.drain(start..start + skip);
        }
        self.skip = 0;
        self.remember(input);
    }

    /// How many octets [`convert`](Self::convert) would append, with the same effect on the marker.
    pub fn converted_len(&mut self, input: &[u8]) -> u64 {
        let length = self.plain_len(input);
        let dropped = length.min(self.skip);
        self.skip -= dropped;
        self.remember(input);
        length - dropped
    }

    /// Length of `input` converted, the marker left alone.
    fn plain_len(&self, input: &[u8]) -> u64 {
        let lines = input.iter().filter(|&&octet| octet == b'\n').count();
        let pairs = input.windows(2).filter(|pair| *pair == b"\r\n").count();
        let begun = self.carriage_return && input.first() == Some(&b'\n');
        (input.len() + lines - pairs - usize::from(begun)) as u64
    }

    fn remember(&mut self, input: &[u8]) {
        if let Some(&last) = input.last() {
            self.carriage_return = last == b'\r';
        }
    }

    /// Octets of the marker not reached yet; more than 0 at the end of the file means that the
    /// marker lies beyond it [XFER-10].
    #[must_use]
    pub fn still_to_skip(&self) -> u64 {
        self.skip
    }
}

/// Wire to file: CR LF becomes LF; a CR or LF alone stays.
#[derive(Debug, Default)]
pub struct FromNetwork {
    /// The last octet was a CR, not yet written.
    carriage_return: bool,
}

impl FromNetwork {
    /// At the beginning of an upload.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `input` converted, at most one octet more than it has.
    pub fn convert(&mut self, input: &[u8], out: &mut Vec<u8>) {
        if input.is_empty() {
            return;
        }
        if self.carriage_return && input[0] != b'\n' {
            out.push(b'\r');
        }
        self.carriage_return = false;
        let mut rest = input;
        while let Some(at) = rest.iter().position(|&octet| octet == b'\r') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            match rest.first() {
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
                None => self.carriage_return = true,
            }
        }
        out.extend_from_slice(rest);
    }

    /// At the end of the upload: a CR that was its last octet is data.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.carriage_return) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    fn to_network(marker: u64, pieces: &[&[u8]]) -> Vec<u8> {
        let (mut out, mut length) = (Vec::new(), 0);
        let (mut convert, mut count) =
            (ToNetwork::starting_at(marker), ToNetwork::starting_at(marker));
        for piece in pieces {
            convert.convert(piece, &mut out);
            length += count.converted_len(piece);
        }
        assert_eq!(length, out.len() as u64);
        assert_eq!(convert.still_to_skip(), count.still_to_skip());
        out
    }

    fn from_network(pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut convert = FromNetwork::new();
        for piece in pieces {
            convert.convert(piece, &mut out);
        }
        convert.finish(&mut out);
        out
    }

    #[test]
    fn sends_cr_lf() {
        for (file, wire) in [
            (&b""[..], &b""[..]),
            (b"a", b"a"),
            (b"\n", b"\r\n"),
            (b"a\nb\n\n", b"a\r\nb\r\n\r\n"),
            (b"a\rb\r", b"a\rb\r"),
        ] {
            assert_eq!(to_network(0, &[file]), wire);
            assert_eq!(from_network(&[wire]), file);
        }
    }

    /// A line that ends in CR LF already has one end, wherever the buffers are cut.
    #[test]
    fn one_line_end_stays_one() {
        assert_eq!(to_network(0, &[b"a\r\nb\r\n"]), b"a\r\nb\r\n");
        assert_eq!(to_network(0, &[b"a\r", b"\nb"]), b"a\r\nb");
        assert_eq!(to_network(0, &[b"a\r", b"", b"\nb"]), b"a\r\nb");
        assert_eq!(to_network(0, &[b"a\r\r\n\n", b"\n"]), b"a\r\r\n\r\n\r\n");
        assert_eq!(to_network(2, &[b"a\r", b"\nb"]), b"\nb");
        assert_eq!(to_network(3, &[b"a\r", b"\nb\n"]), b"b\r\n");
    }

    #[test]
    fn stores_lf() {
        assert_eq!(from_network(&[b"a\nb\rc\r\0\r"]), b"a\nb\rc\r\0\r");
        assert_eq!(from_network(&[b"a\r", b"\nb"]), b"a\nb");
        assert_eq!(from_network(&[b"a\r", b"", b"\r", b"\n"]), b"a\r\n");
        assert_eq!(from_network(&[b"a\r", b"b"]), b"a\rb");
        assert_eq!(from_network(&[b"\r\r\r"]), b"\r\r\r");
    }

    #[test]
    fn skips_to_a_marker() {
        let file = b"ab\ncd\n";
        let wire = to_network(0, &[file]);
        for marker in 0..=wire.len() {
            assert_eq!(to_network(marker as u64, &[file]), wire[marker..]);
            assert_eq!(to_network(marker as u64, &[b"ab", b"\nc", b"d\n"]), wire[marker..]);
        }
        let mut beyond = ToNetwork::starting_at(u64::MAX);
        assert_eq!(beyond.converted_len(file), 0);
        assert_eq!(beyond.still_to_skip(), u64::MAX - 8);
    }

    #[test]
    fn is_the_same_whatever_the_buffers() {
        let mut random = Random::new(0xa5c11);
        for _ in 0..100_000 {
            let file = random.octets(24, b"\r\n\r\na");
            let (head, tail) = file.split_at(random.below(file.len() + 1));
            let wire = to_network(0, &[head, tail]);
            assert_eq!(wire, to_network(0, &[&file]));
            let (head, tail) = wire.split_at(random.below(wire.len() + 1));
            // What comes back has LF where there was CR LF, and is else as it was.
            let lines: Vec<&[u8]> = file.split(|&octet| octet == b'\n').collect();
            let (last, ended) = lines.split_last().unwrap();
            let ended = ended.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let unix: Vec<_> = ended.chain([*last]).collect();
            assert_eq!(from_network(&[head, tail]), unix.join(&b'\n'));
        }
    }
}
