//! The fuzz targets of `tests/fuzz` on stable: the corpus, and mutations of it from a fixed seed,
//! within a bound on time. Not guided by coverage; `tests/fuzz/README.md` says how to do that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

#[expect(unreachable_pub, reason = "a crate of its own under cargo-fuzz")]
#[path = "fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ringftpd::clock;

/// Mutations of a target, unless time is over first.
const MUTATIONS: usize = 20_000;

/// Bound on the time of one target; a slow machine tries fewer mutations.
const TIME_MAX: Duration = Duration::from_secs(2);

/// What parsers trip over.
const TOKENS: [&[u8]; 16] = [
    b"\r\n",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xff\xff",
    b" ",
    b"/",
    b"..",
    b"\"",
    b";",
    b"|",
    b"65536",
    b"18446744073709551616",
    b"-1",
    b"AUTH TLS\r\n",
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/tests/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Xorshift; the seed is fixed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(input.len() + 1);
            let end = at + self.below(input.len() - at + 1);
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 => input.insert(at, u8::try_from(self.below(256)).unwrap()),
                2 => drop(input.drain(at..end)),
                3 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    input.splice(at..at, token.iter().copied());
                }
                4 => input.extend_from_within(at..end),
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let cut = self.below(other.len() + 1);
                    input.splice(at.., other[cut..].iter().copied());
                }
            }
            input.truncate(4_096);
        }
        input
    }
}

/// The first input at which `body` panics.
fn search(corpus: &[Vec<u8>], body: fn(&[u8])) -> Option<Vec<u8>> {
    let fails = |input: &Vec<u8>| catch_unwind(AssertUnwindSafe(|| body(input))).is_err();
    if let Some(input) = corpus.iter().find(|input| fails(input)) {
        return Some(input.clone());
    }
    let mut random = Random(0x0959_4217);
    let end = clock::now() + TIME_MAX;
    (0..MUTATIONS).take_while(|_| clock::now() < end).map(|_| random.mutate(corpus)).find(fails)
}

#[track_caller]
fn check(target: &str, body: fn(&[u8])) {
    if let Some(input) = search(&corpus(target), body) {
        panic!("{target} fails for b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn command_line() {
    check("command_line", targets::command_line);
}

#[test]
fn host_port() {
    check("host_port", targets::host_port);
}

#[test]
fn pathname() {
    check("pathname", targets::pathname);
}

#[test]
fn proxy_header() {
    check("proxy_header", targets::proxy_header);
}

#[test]
fn session() {
    check("session", targets::session);
}

#[test]
fn listing() {
    check("listing", targets::listing);
}

#[test]
fn tls_record() {
    check("tls_record", targets::tls_record);
}

/// The search itself works: it finds the fault that was put there for it.
#[test]
fn the_canary_is_found() {
    assert!(search(&corpus("command_line"), targets::canary).is_some());
    assert!(search(&corpus("host_port"), |_| {}).is_none());
}
