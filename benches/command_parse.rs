//! What it costs to take the octets of the control connection apart: Telnet, lines, verb and
//! argument. Lines as clients send them, as nobody should, and pipelined.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringftpd::protocol::line::{Line, LineReader};
use ringftpd::protocol::session::command_table;

/// Octets from the client, how often, and how many of their lines are commands that we know.
struct Case {
    name: &'static str,
    octets: &'static [u8],
    repeated: usize,
    known: usize,
}

/// A log-in and a download, as FileZilla and lftp send it.
const REALISTIC: &[u8] = b"USER alice\r\nPASS correct horse battery staple\r\nSYST\r\nFEAT\r\n\
    OPTS UTF8 ON\r\nPBSZ 0\r\nPROT P\r\nPWD\r\nTYPE I\r\nCWD /pub/2026/reports\r\nEPSV\r\nMLSD\r\n\
    SIZE annual report.pdf\r\nMDTM annual report.pdf\r\nEPSV\r\nRETR annual report.pdf\r\nQUIT\r\n";

/// Verbs of nobody, spaces, lone CR, LF and NUL, Telnet commands between and inside the verbs.
const ODD: &[u8] = b"\xff\xf4\xff\xf2ABOR\r\nxyzzy  plugh \r\n\r\n   \r\nretr a\rb\nc\0d\r\0e\r\n\
    CW\xff\xf1D \xff\xff\xff\xff\r\nSITE  CHMOD  644   name \r\nGET / HTTP/1.1\r\n";

const CASES: [Case; 5] = [
    Case { name: "realistic", octets: REALISTIC, repeated: 1, known: 17 },
    Case { name: "odd", octets: ODD, repeated: 1, known: 4 },
    // The longest line that is taken is shorter; all of this is dropped.
    Case { name: "endless_line", octets: b"AAAAAAAAAAAAAAAA", repeated: 4096, known: 0 },
    Case {
        name: "telnet_flood",
        octets: b"\xff\xfd\x01\xff\xfa\x01x\xff\xf0",
        repeated: 1024,
        known: 0,
    },
    Case { name: "pipelined_noop", octets: b"NOOP\r\n", repeated: 1000, known: 1000 },
];

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command_parse");
    for case in CASES {
        let repeated = support::size(case.repeated.min(16), case.repeated);
        let octets = case.octets.repeat(repeated);
        let mut work = Vec::new();
        let known = parse(&octets, &mut work);
        assert_eq!(known, case.known / case.repeated * repeated, "{}", case.name);
        support::report_work(case.name, &work);
        group.throughput(Throughput::Bytes(octets.len() as u64));
        group.bench_function(case.name, |bencher| {
            bencher.iter(|| {
                work.clear();
                parse(black_box(&octets), &mut work)
            });
        });
    }
    group.finish();
}

/// Reads `octets` as one connection; what the session would see of them is appended to `work`.
/// Returns how many commands had a known verb.
fn parse(octets: &[u8], work: &mut Vec<u8>) -> usize {
    let mut reader = LineReader::new();
    let (mut rest, mut known) = (octets, 0);
    loop {
        let taken = reader.push(rest, work);
        rest = &rest[taken..];
        while let Some(line) = reader.pop() {
            let Line::Command(line) = line else {
                work.push(b'!');
                continue;
            };
            let Some((verb, argument)) = command_table::split(&line) else { continue };
            known += usize::from(verb.is_ok());
            work.extend_from_slice(verb.map_or_else(|name| name, |row| row.names[0].as_bytes()));
            work.extend_from_slice(argument.unwrap_or_default());
        }
        if taken == 0 || rest.is_empty() {
            return known;
        }
    }
}

criterion_group!(benches, commands);
criterion_main!(benches);
