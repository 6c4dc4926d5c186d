//! What one entry of a directory costs as text: LIST, NLST and MLSD, without the system calls that
//! find it.

mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringftpd::protocol::account::Permissions;
use ringftpd::protocol::file::{FactSet, FileKind, FileTime, Metadata};
use ringftpd::protocol::listing;
use support::{Random, size};

/// 2027-01-15; half of the entries are older than the six months for which LIST shows the time.
const NOW_SECONDS: i64 = 1_800_000_000;
const YEAR_SECONDS: u64 = 365 * 24 * 60 * 60;

struct Entry {
    name: Vec<u8>,
    metadata: Metadata,
}

/// A formatter of one entry.
type Format = fn(&mut Vec<u8>, &Entry);

const FORMATS: [(&str, Format); 3] = [
    ("list", |out, entry| listing::long_line(out, &entry.metadata, &entry.name, b"", NOW_SECONDS)),
    ("nlst", |out, entry| listing::name_line(out, b"sub/", &entry.name)),
    ("mlsd", |out, entry| {
        let (facts, may) = (FactSet::DEFAULT, Permissions::READ_ONLY);
        listing::fact_line(out, &entry.metadata, None, b"", facts, may, &entry.name);
    }),
];

/// A directory of files, one in eight a directory, with names of 4 to 35 octets.
fn directory(entries: usize) -> Vec<Entry> {
    let mut random = Random::new();
    let mut entry = |index: usize| {
        let directory = random.below(8) == 0;
        let age = i64::try_from(random.below(YEAR_SECONDS)).unwrap_or(0);
        let letters = 4 + random.below(32);
        let name = (0..letters).map(|_| random.pick(b"abcdefghijklmnopqrstuvwxyz-_ 0123"));
        Entry {
            name: name.collect(),
            metadata: Metadata {
                kind: if directory { FileKind::Directory } else { FileKind::File },
                size: random.below(1 << 40),
                modified: FileTime { seconds: NOW_SECONDS - age, nanoseconds: 0 },
                mode: if directory { 0o755 } else { 0o644 },
                links: 1,
                unique: (0xfd01, index as u64),
                writable: false,
                searchable: directory,
            },
        }
    };
    (0..entries).map(&mut entry).collect()
}

fn listings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("listing_format");
    let entries = directory(size(100, 10_000));
    group.throughput(Throughput::Elements(entries.len() as u64));
    for (name, format) in FORMATS {
        let mut out = Vec::new();
        entries.iter().for_each(|entry| format(&mut out, entry));
        let lines = out.split(|octet| *octet == b'\n').count() - 1;
        assert_eq!(lines, entries.len(), "{name}");
        support::report_work(name, &out);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                black_box(&entries).iter().for_each(|entry| format(&mut out, entry));
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, listings);
criterion_main!(benches);
