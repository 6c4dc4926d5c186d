//! Command lines out of the octets of the control connection: Telnet, CR and LF, length, queue.
//! Knows nothing of verbs (that is `command_table`) nor of TLS.
//!
//! The rules, all independent of how the octets were cut into segments [SYN-04 SYN-05]:
//! - Telnet (RFC 854) is decoded first. `IAC IAC` is one octet 0xFF of data [SYN-13]; options are
//!   refused (RFC 1123 §4.1.2.12) [SYN-11]; every other `IAC c` vanishes [SYN-12]. An urgent DM
//!   that came without its IAC is dropped where it cannot be data: before the first octet of a
//!   line, since no verb starts with 0xF2.
//! - Then CR: CR LF ends the line, CR NUL is a CR in the data (RFC 2640 §3.1) [SYN-16], a CR before
//!   anything else is data. A lone LF is data [SYN-03], and so is a NUL that follows no CR: the
//!   session refuses it, because cutting the name there would name another file [SYN-08 SYN-09].
//! - A line over [`COMMAND_LINE_BYTES_MAX`] becomes one [`Line::TooLong`] when its CR LF arrives;
//!   nothing of it is parsed [SYN-07a]. Decoding at most halves data, so this also bounds the data
//!   before decoding to twice as many octets; Telnet commands leave nothing and count nothing.
//! - A line without its CR LF is never handed out [SYN-20].

use std::collections::VecDeque;

use crate::limits::{COMMAND_LINE_BYTES_MAX, PIPELINE_BYTES_MAX};

/// What a queued line costs beside its octets, so that empty lines are not free.
const LINE_OVERHEAD_BYTES: usize = 32;

/// Option refusals sent per connection. An honest client negotiates a handful; a flood is swallowed
/// in silence after these [SYN-21].
const TELNET_ANSWERS_MAX: u8 = 32;

/// Octets of one subnegotiation that are swallowed while waiting for `IAC SE`. Since every option
/// is refused, none should come at all.
const SUBNEGOTIATION_BYTES_MAX: u16 = 512;

/// One command line without its CR LF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The decoded octets; empty for an empty line [SYN-06].
    Command(Vec<u8>),
    /// A line that was too long, or that a runaway Telnet subnegotiation made unreadable.
    TooLong,
}

/// Makes a bounded queue of lines from received octets.
///
/// Invariants: a queued line has at most [`COMMAND_LINE_BYTES_MAX`] octets; octets are consumed
/// only while the queue costs less than [`PIPELINE_BYTES_MAX`], so that it never holds more than
/// that plus one line. A line equal to the one before it is counted and costs nothing: keep-alives
/// behind a long transfer never fill the queue, and commands behind them are still seen.
#[derive(Debug)]
pub struct LineReader {
    queue: VecDeque<Queued>,
    /// Sum of [`cost`] over `queue`.
    queued: usize,
    /// Decoded octets of the line that has no end yet.
    partial: Vec<u8>,
    /// The line being read is lost; its octets are dropped up to CR LF.
    overflow: bool,
    /// The last data octet was a CR whose meaning depends on the next one.
    carriage_return: bool,
    telnet: Telnet,
    telnet_answers_left: u8,
}

/// Equal lines that follow each other.
#[derive(Debug)]
struct Queued {
    line: Line,
    /// How many there are beside the first.
    more: u32,
}

/// Where in a Telnet sequence the input stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telnet {
    Data,
    /// After IAC.
    Command,
    /// After IAC and WILL, WONT, DO or DONT; holds which.
    Option(u8),
    /// After IAC SB; holds how many octets ago.
    Subnegotiation(u16),
    /// The same, after an IAC.
    SubnegotiationCommand(u16),
}

// RFC 854, "TELNET COMMAND STRUCTURE".
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const DATA_MARK: u8 = 242;
const SE: u8 = 240;
/// EOF, SUSP and ABORT stand just below SE (RFC 1184 §2.5).
const LOWEST_COMMAND: u8 = 236;

impl Default for LineReader {
    fn default() -> Self {
        Self::new()
    }
}

impl LineReader {
    /// At the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            queued: 0,
            partial: Vec::new(),
            overflow: false,
            carriage_return: false,
            telnet: Telnet::Data,
            telnet_answers_left: TELNET_ANSWERS_MAX,
        }
    }

    /// Gives back what memory an empty queue has.
    pub fn release_buffers(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// Takes octets as received and appends what Telnet wants answered to `telnet`, which must be
    /// sent between replies, not inside one.
    ///
    /// Returns how many octets were consumed: fewer than given when the queue is full. The rest is
    /// the caller's to keep and to push again after [`pop`](Self::pop).
    pub fn push(&mut self, bytes: &[u8], telnet: &mut Vec<u8>) -> usize {
        let mut consumed = 0;
        while consumed < bytes.len() && self.has_room() {
            let rest = &bytes[consumed..];
            let run = if self.telnet == Telnet::Data { plain_run(rest) } else { 0 };
            if run > 0 {
                self.data(&rest[..run]);
                consumed += run;
            } else {
                self.octet(rest[0], telnet);
                consumed += 1;
            }
        }
        consumed
    }

    /// The oldest line.
    pub fn pop(&mut self) -> Option<Line> {
        let oldest = self.queue.front_mut()?;
        if let Some(more) = oldest.more.checked_sub(1) {
            oldest.more = more;
            return Some(oldest.line.clone());
        }
        let oldest = self.queue.pop_front()?;
        self.queued -= cost(&oldest.line);
        Some(oldest.line)
    }

    /// The oldest line, left in place.
    #[must_use]
    pub fn front(&self) -> Option<&Line> {
        self.queue.front().map(|oldest| &oldest.line)
    }

    /// Whether any queued line satisfies `wanted`: an ABOR must act before it is the oldest
    /// [XFER-21].
    #[must_use]
    pub fn contains(&self, mut wanted: impl FnMut(&Line) -> bool) -> bool {
        self.queue.iter().any(|queued| wanted(&queued.line))
    }

    /// Whether no complete line is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether [`push`](Self::push) would consume anything: when not, the shell stops reading and
    /// TCP pushes back on the client [ABUSE-01].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.queued < PIPELINE_BYTES_MAX
    }

    /// Whether nothing at all is held back: no line, no part of one, no half-read CR or Telnet
    /// sequence. Anything else behind `AUTH` would cross from clear text into TLS
    /// [AUTH-13 AUTH-14 AUTH-15].
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.queue.is_empty()
            && self.partial.is_empty()
            && !self.overflow
            && !self.carriage_return
            && self.telnet == Telnet::Data
    }

    /// Forgets everything received, as REIN and AUTH need; [`is_clean`](Self::is_clean) holds
    /// afterwards. The Telnet answers already given still count, since the connection is the same.
    pub fn clear(&mut self) {
        *self = Self { telnet_answers_left: self.telnet_answers_left, ..Self::new() };
    }

    /// One octet that may be special, Telnet not yet decoded.
    fn octet(&mut self, octet: u8, answers: &mut Vec<u8>) {
        self.telnet = match (self.telnet, octet) {
            (Telnet::Data, IAC) => Telnet::Command,
            (Telnet::Data, _) => {
                self.data(&[octet]);
                Telnet::Data
            }
            (Telnet::Command, IAC) => {
                self.data(&[IAC]);
                Telnet::Data
            }
            (Telnet::Command, WILL | WONT | DO | DONT) => Telnet::Option(octet),
            (Telnet::Command, SB) => Telnet::Subnegotiation(0),
            // No Telnet command: a client, curl among them, that did not double 0xFF in a name.
            (Telnet::Command, 0..LOWEST_COMMAND) => {
                self.data(&[IAC]);
                self.telnet = Telnet::Data;
                return self.octet(octet, answers);
            }
            (Telnet::Command, _) => Telnet::Data,
            (Telnet::Option(command), option) => {
                self.refuse(command, option, answers);
                Telnet::Data
            }
            (Telnet::Subnegotiation(seen), _) => self.subnegotiation(seen, false, octet),
            (Telnet::SubnegotiationCommand(seen), _) => self.subnegotiation(seen, true, octet),
        };
    }

    /// One octet inside a subnegotiation, `seen` before it; `command` when an IAC was the last.
    fn subnegotiation(&mut self, seen: u16, command: bool, octet: u8) -> Telnet {
        if command && octet == SE {
            Telnet::Data
        } else if seen == SUBNEGOTIATION_BYTES_MAX {
            // It would swallow commands for ever. Data can no longer be told from Telnet, so
            // nothing is parsed up to the next CR LF.
            self.overrun();
            self.carriage_return = octet == b'\r';
            Telnet::Data
        } else if !command && octet == IAC {
            Telnet::SubnegotiationCommand(seen + 1)
        } else {
            Telnet::Subnegotiation(seen + 1)
        }
    }

    /// Refuses an option; refusals of the other side need no answer, and answering them could loop.
    fn refuse(&mut self, command: u8, option: u8, answers: &mut Vec<u8>) {
        let refusal = match command {
            WILL => DONT,
            DO => WONT,
            _ => return,
        };
        if self.telnet_answers_left > 0 {
            self.telnet_answers_left -= 1;
            answers.extend_from_slice(&[IAC, refusal, option]);
        }
    }

    /// Octets of data: a plain run, or one CR or LF, or one octet 0xFF that was doubled.
    fn data(&mut self, octets: &[u8]) {
        let mut octets = octets;
        if self.carriage_return {
            self.carriage_return = false;
            match octets.first() {
                Some(b'\n') => {
                    self.end_line();
                    octets = &octets[1..];
                }
                Some(0) => {
                    self.append(b"\r");
                    octets = &octets[1..];
                }
                _ => self.append(b"\r"),
            }
        }
        match octets {
            b"\r" => self.carriage_return = true,
            _ => self.append(octets),
        }
    }

    fn append(&mut self, octets: &[u8]) {
        let mut octets = octets;
        if self.partial.is_empty() && !self.overflow {
            let marks = octets.iter().take_while(|&&octet| octet == DATA_MARK).count();
            octets = &octets[marks..];
        }
        if self.overflow || self.partial.len() + octets.len() > COMMAND_LINE_BYTES_MAX {
            self.overrun();
        } else {
            self.partial.extend_from_slice(octets);
        }
    }

    fn overrun(&mut self) {
        self.overflow = true;
        self.partial = Vec::new();
    }

    fn end_line(&mut self) {
        let octets = std::mem::take(&mut self.partial);
        let line = if self.overflow { Line::TooLong } else { Line::Command(octets) };
        self.overflow = false;
        if let Some(last) = self.queue.back_mut()
            && last.line == line
            && let Some(more) = last.more.checked_add(1)
        {
            last.more = more;
            return;
        }
        self.queued += cost(&line);
        self.queue.push_back(Queued { line, more: 0 });
    }
}

/// How many octets at the start are data that neither end a line nor could: LF is taken alone so
/// that [`LineReader::push`] can stop right behind a line.
fn plain_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|&octet| matches!(octet, b'\r' | b'\n' | IAC)).unwrap_or(bytes.len())
}

/// Bytes a queued line counts for.
fn cost(line: &Line) -> usize {
    let octets = match line {
        Line::Command(octets) => octets.len(),
        Line::TooLong => 0,
    };
    octets + LINE_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::test_random::Random;

    /// Everything `input` decodes to, pushed whole and octet by octet, which must agree.
    #[track_caller]
    fn check(input: &[u8], lines: &[&[u8]], answers: &[u8]) {
        let expected: Vec<Line> = lines.iter().map(|line| Line::Command(line.to_vec())).collect();
        for step in [input.len().max(1), 1] {
            let mut reader = LineReader::new();
            let mut telnet = Vec::new();
            for piece in input.chunks(step) {
                assert_eq!(reader.push(piece, &mut telnet), piece.len());
            }
            assert_eq!(drain(&mut reader), expected, "in steps of {step}");
            assert_eq!(telnet, answers, "in steps of {step}");
        }
    }

    fn drain(reader: &mut LineReader) -> Vec<Line> {
        std::iter::from_fn(|| reader.pop()).collect()
    }

    fn push(reader: &mut LineReader, bytes: &[u8]) -> usize {
        reader.push(bytes, &mut Vec::new())
    }

    #[test]
    fn ends_lines_at_cr_lf_only() {
        check(b"NOOP\r\n", &[b"NOOP"], b"");
        check(b"NOOP\r\nQUIT\r\nhalf", &[b"NOOP", b"QUIT"], b"");
        check(b"\r\n\r\n", &[b"", b""], b"");
        check(b"NOOP\nQUIT\r\n", &[b"NOOP\nQUIT"], b"");
        check(b"NOOP\rQUIT\r\n", &[b"NOOP\rQUIT"], b"");
        check(b"NOOP\r\r\n", &[b"NOOP\r"], b"");
        check(b"NOOP\r", &[], b"");
        check(b"NOOP", &[], b"");
        check(b"\n\r\n", &[b"\n"], b"");
    }

    #[test]
    fn decodes_cr_nul_and_keeps_other_nuls() {
        check(b"RETR a\r\0b\r\n", &[b"RETR a\rb"], b"");
        check(b"RETR a\r\0\nb\r\n", &[b"RETR a\r\nb"], b"");
        check(b"RETR a\0b\r\n", &[b"RETR a\0b"], b"");
        check(b"RETR a\r\0\0\r\n", &[b"RETR a\r\0"], b"");
        check(b"\r\r\0\r\n", &[b"\r\r"], b"");
    }

    #[test]
    fn decodes_telnet() {
        check(b"RETR \xff\xff\xff\xffx\r\n", &[b"RETR \xff\xffx"], b"");
        check(b"\xff\xfb\x01NOOP\r\n", &[b"NOOP"], b"\xff\xfe\x01");
        check(b"\xff\xfd\x06NOOP\r\n", &[b"NOOP"], b"\xff\xfc\x06");
        check(b"NO\xff\xfc\x01\xff\xfe\x01OP\r\n", &[b"NOOP"], b"");
        check(b"NO\xff\xf1OP\r\n", &[b"NOOP"], b"");
        check(b"NOOP\r\xff\xf1\n", &[b"NOOP"], b"");
        check(b"\xff\xfa\x18\x00\r\nQUIT\xff\xffx\xff\xf0NOOP\r\n", &[b"NOOP"], b"");
        check(b"\xff\xfb\xffNOOP\r\n", &[b"NOOP"], b"\xff\xfe\xff");
    }

    #[test]
    fn finds_abor_behind_the_telnet_synch() {
        check(b"\xff\xf4\xff\xf2ABOR\r\n", &[b"ABOR"], b"");
        check(b"\xff\xec\xff\xeeNOOP\r\n", &[b"NOOP"], b"");
        // Not doubled, and yet a name.
        check(b"RETR x\xff\r\nRETR \xffy\r\n", &[b"RETR x\xff", b"RETR \xffy"], b"");
        check(b"\xff\xf4\xf2ABOR\r\n", &[b"ABOR"], b"");
        check(b"\xf2\xff\xf4\xff\xf2ABOR\r\n", &[b"ABOR"], b"");
        check(b"\xff\xf4\xff\xf2\xf2ABOR\r\n", &[b"ABOR"], b"");
        check(b"RETR \xf2\r\n", &[b"RETR \xf2"], b"");
    }

    #[test]
    fn refuses_long_lines_once_and_goes_on() {
        let fits = [vec![b'x'; COMMAND_LINE_BYTES_MAX], b"\r\n".to_vec()].concat();
        let mut reader = LineReader::new();
        assert_eq!(push(&mut reader, &fits), fits.len());
        assert_eq!(reader.pop(), Some(Line::Command(fits[..fits.len() - 2].to_vec())));

        for length in [COMMAND_LINE_BYTES_MAX + 1, 1_000_000] {
            let long = [vec![b'x'; length], b"\r\nNOOP\r\n".to_vec()].concat();
            for step in [1000, long.len()] {
                for piece in long.chunks(step) {
                    assert_eq!(push(&mut reader, piece), piece.len());
                }
                let noop = Line::Command(b"NOOP".to_vec());
                assert_eq!(drain(&mut reader), [Line::TooLong, noop]);
            }
        }
    }

    #[test]
    fn measures_length_after_decoding() {
        let doubled = [b"\xff\xff".repeat(COMMAND_LINE_BYTES_MAX), b"\r\n".to_vec()].concat();
        let mut reader = LineReader::new();
        push(&mut reader, &doubled);
        assert_eq!(reader.pop(), Some(Line::Command(vec![0xff; COMMAND_LINE_BYTES_MAX])));
        push(&mut reader, b"\r\0");
        push(&mut reader, &doubled);
        assert_eq!(reader.pop(), Some(Line::TooLong));
    }

    #[test]
    fn swallows_a_telnet_flood() {
        let mut reader = LineReader::new();
        let mut answers = Vec::new();
        let flood = b"\xff\xfb\x01\xff\xf1\xff\xfa\x01\xff\xf0\xf2".repeat(100_000);
        assert_eq!(reader.push(&flood, &mut answers), flood.len());
        assert_eq!(answers.len(), 3 * usize::from(TELNET_ANSWERS_MAX));
        assert_eq!(reader.partial.capacity(), 0);
        push(&mut reader, b"NOOP\r\n");
        assert_eq!(reader.pop(), Some(Line::Command(b"NOOP".to_vec())));
    }

    #[test]
    fn endless_subnegotiation_costs_one_line() {
        let mut reader = LineReader::new();
        push(&mut reader, b"NOOP\xff\xfa");
        push(&mut reader, &[b'x'; 10_000]);
        push(&mut reader, b"DELE x\r\nNOOP\r\n");
        assert_eq!(drain(&mut reader), [Line::TooLong, Line::Command(b"NOOP".to_vec())]);

        // The bound falls between the CR and the LF of a line.
        push(&mut reader, b"\xff\xfa");
        push(&mut reader, &[b'x'; SUBNEGOTIATION_BYTES_MAX as usize]);
        push(&mut reader, b"\r\nNOOP\r\n");
        assert_eq!(drain(&mut reader), [Line::TooLong, Line::Command(b"NOOP".to_vec())]);
    }

    #[test]
    fn stops_when_the_queue_is_full() {
        for (lines, least) in [(&b"\r\n.\r\n"[..], 490), (b"NOOP\r\nSYST\r\n", 400)] {
            let flood = lines.repeat(2500);
            let mut reader = LineReader::new();
            let mut rest = &flood[..];
            let mut lines = 0;
            while !rest.is_empty() {
                rest = &rest[push(&mut reader, rest)..];
                assert!(reader.queued <= PIPELINE_BYTES_MAX + COMMAND_LINE_BYTES_MAX);
                assert!(reader.queue.len() >= least || rest.is_empty());
                assert!(!reader.has_room() || rest.is_empty());
                lines += drain(&mut reader).len();
                assert_eq!(reader.queued, 0);
            }
            assert_eq!(lines, 5000);
        }
    }

    #[test]
    fn stops_at_the_same_octet_whatever_the_split() {
        let flood = b"NOOP\r\nSYST\r\n".repeat(2500);
        let mut whole = LineReader::new();
        let consumed = push(&mut whole, &flood);
        assert!(flood[..consumed].ends_with(b"\r\n"));
        let mut pieces = LineReader::new();
        assert_eq!(flood.chunks(1).map(|octet| push(&mut pieces, octet)).sum::<usize>(), consumed);
        assert_eq!(push(&mut pieces, b""), 0);
    }

    #[test]
    fn is_clean_only_when_nothing_is_held_back() {
        let held: [&[u8]; 8] = [
            b"NOOP\r\n",
            b"N",
            b"\r",
            b"\xff",
            b"\xff\xfb",
            b"\xff\xfa",
            b"\xff\xfax\xff",
            &[b'x'; COMMAND_LINE_BYTES_MAX + 1],
        ];
        for bytes in held {
            let mut reader = LineReader::new();
            assert!(reader.is_clean());
            push(&mut reader, bytes);
            assert!(!reader.is_clean(), "{bytes:?}");
            reader.clear();
            assert!(reader.is_clean() && reader.is_empty());
            push(&mut reader, b"NOOP\r\n");
            assert_eq!(drain(&mut reader), [Line::Command(b"NOOP".to_vec())]);
            assert!(reader.is_clean());
        }
    }

    #[test]
    fn a_line_is_seen_before_its_turn() {
        let mut reader = LineReader::new();
        push(&mut reader, b"NOOP\r\nABOR\r\nQUIT\r\n");
        let abort = |line: &Line| *line == Line::Command(b"ABOR".to_vec());
        assert_eq!(reader.front(), Some(&Line::Command(b"NOOP".to_vec())));
        assert!(reader.contains(abort));
        reader.pop();
        reader.pop();
        assert!(!reader.contains(abort));
        assert_eq!(drain(&mut reader).len(), 1);
        assert_eq!(reader.queued, 0);
    }

    /// A day of keep-alives leaves room for other commands, and none of them is lost.
    #[test]
    fn equal_lines_are_counted() {
        const TIMES: usize = 100_000;
        let mut reader = LineReader::new();
        let lines = [&b"NOOP\r\n".repeat(TIMES)[..], b"ABOR\r\nNOOP\r\nnoop\r\n"].concat();
        assert_eq!(push(&mut reader, &lines), lines.len());
        assert_eq!((reader.queue.len(), reader.queued), (4, 4 * (4 + LINE_OVERHEAD_BYTES)));
        assert!(reader.contains(|line| *line == Line::Command(b"ABOR".to_vec())));
        let command = |text: &[u8]| Line::Command(text.to_vec());
        let mut expected = vec![command(b"NOOP"); TIMES];
        expected.extend([command(b"ABOR"), command(b"NOOP"), command(b"noop")]);
        assert_eq!(drain(&mut reader), expected);
        assert_eq!(reader.queued, 0);
        // Lines that were too long, too.
        let long = [&b"x".repeat(COMMAND_LINE_BYTES_MAX + 1)[..], b"\r\n"].concat().repeat(3);
        assert_eq!(push(&mut reader, &long), long.len());
        assert_eq!(drain(&mut reader), vec![Line::TooLong; 3]);
    }

    #[test]
    fn any_split_gives_the_same() {
        let mut random = Random::new(0x5eed);
        for _ in 0..100_000 {
            let input = random.octets(48, b"\r\r\n\n\0\xff\xff\xfa\xfb\xfd\xf0\xf2aN ");
            let (mut whole, mut whole_answers) = (LineReader::new(), Vec::new());
            assert_eq!(whole.push(&input, &mut whole_answers), input.len());
            let (mut pieces, mut answers) = (LineReader::new(), Vec::new());
            let mut rest = &input[..];
            while !rest.is_empty() {
                let (piece, tail) = rest.split_at(1 + random.below(rest.len()));
                assert_eq!(pieces.push(piece, &mut answers), piece.len());
                rest = tail;
            }
            assert_eq!(answers, whole_answers, "{input:?}");
            assert_eq!(pieces.is_clean(), whole.is_clean(), "{input:?}");
            assert_eq!(drain(&mut pieces), drain(&mut whole), "{input:?}");
        }
    }
}
