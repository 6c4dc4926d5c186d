//! What an upload's block costs from the records in memory to the file: opened in place and
//! gathered by one `pwritev`, or opened out of place, packed, and written by one `pwrite`. The
//! file is memory (`memfd`); receiving from the socket is the same for both and left out.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]

mod support;

use std::io::{IoSlice, Write as _};
use std::ops::Range;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringftpd::limits::{TLS_FRAGMENT_BYTES_MAX, TRANSFER_BATCH_BYTES};
use ringftpd::tls::{Channel, OpenedRecord, Purpose};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{pwrite, pwritev};
use support::Random;
use support::tls::{Connected, Ends, KINDS, sent};

/// Octets of a record's content: what most clients send, and what a client that fits them into
/// packets sends.
const RECORDS: [usize; 2] = [TLS_FRAGMENT_BYTES_MAX, 1_400];

/// Opens all records into a file whose first octets then are their content.
type Way = fn(&mut Channel, &mut [u8], &mut Work, &std::os::fd::OwnedFd) -> usize;

const WAYS: [(&str, Way); 2] = [("in_place_pwritev", in_place), ("out_of_place_pwrite", elsewhere)];

/// Memory that is kept from block to block.
struct Work {
    block: Vec<u8>,
    pieces: Vec<Range<usize>>,
    out: Vec<u8>,
}

fn receive(criterion: &mut Criterion) {
    let octets = support::size(2 * TLS_FRAGMENT_BYTES_MAX, TRANSFER_BATCH_BYTES - 16_384);
    let mut group = criterion.benchmark_group("receive_path");
    group.throughput(Throughput::Bytes(octets as u64));
    for kind in KINDS {
        for record in RECORDS {
            for (name, way) in WAYS {
                let Connected { mut channel, mut client, .. } =
                    Ends::new(kind, false).connect(Purpose::Data);
                client.set_buffer_limit(None);
                let plaintext = Random::new().octets(octets);
                let mut records = || {
                    let mut wire = Vec::new();
                    for piece in plaintext.chunks(record) {
                        client.writer().write_all(piece).unwrap();
                        wire.extend(sent(&mut client));
                    }
                    wire
                };
                let file = memfd_create("receive_path", MemfdFlags::CLOEXEC).unwrap();
                let mut work = Work {
                    block: vec![0; TRANSFER_BATCH_BYTES],
                    pieces: Vec::new(),
                    out: Vec::new(),
                };
                assert_eq!(way(&mut channel, &mut records(), &mut work, &file), octets);
                let mut written = vec![0; octets];
                rustix::io::pread(&file, &mut written[..], 0).unwrap();
                assert!(written == plaintext, "what was written is not what was sent");
                let name = format!("{}/{record}/{name}", kind.name);
                support::report_work(&name, &written);
                group.bench_function(name, |bencher| {
                    bencher.iter_batched_ref(
                        &mut records,
                        |records| way(&mut channel, records, &mut work, &file),
                        BatchSize::LargeInput,
                    );
                });
            }
        }
    }
    group.finish();
}

fn in_place(
    channel: &mut Channel,
    records: &mut [u8],
    work: &mut Work,
    file: &std::os::fd::OwnedFd,
) -> usize {
    work.pieces.clear();
    let mut at = 0;
    while at < records.len() {
        let OpenedRecord::Data { consumed, plaintext } =
            channel.open(&mut records[at..], &mut work.out).unwrap()
        else {
            panic!("not data")
        };
        work.pieces.push(at + plaintext.start..at + plaintext.end);
        at += consumed;
    }
    let slices: Vec<_> =
        work.pieces.iter().map(|piece| IoSlice::new(&records[piece.clone()])).collect();
    pwritev(file, &slices, 0).unwrap()
}

fn elsewhere(
    channel: &mut Channel,
    records: &mut [u8],
    work: &mut Work,
    file: &std::os::fd::OwnedFd,
) -> usize {
    let (mut at, mut filled) = (0, 0);
    while at < records.len() {
        let opened = channel.open_into(&records[at..], &mut work.block[filled..], &mut work.out);
        let OpenedRecord::Data { consumed, plaintext } = opened.unwrap() else {
            panic!("not data")
        };
        filled += plaintext.len();
        at += consumed;
    }
    pwrite(file, &work.block[..filled], 0).unwrap()
}

criterion_group!(benches, receive);
criterion_main!(benches);
