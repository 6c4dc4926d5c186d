//! What TLS records cost once the handshake is over: sealing what is sent, opening what arrives,
//! by suite and by octets of plaintext at a time.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run is to fail")]

mod support;

use std::hint::black_box;
use std::io::Write as _;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringftpd::limits::{TLS_FRAGMENT_BYTES_MAX, TRANSFER_BATCH_BYTES};
use ringftpd::tls::{Channel, OpenedRecord, Purpose};
use support::Random;
use support::tls::{Connected, Ends, KINDS, Kind, sent};

/// A reply on the control connection, one record, one turn of a transfer.
const SIZES: [usize; 3] = [64, TLS_FRAGMENT_BYTES_MAX, TRANSFER_BATCH_BYTES];

/// Suite and size. A TLS 1.2 key is used up after 2^24 records, which 64 octets at a time would
/// reach before the measurement ends.
fn cases() -> impl Iterator<Item = (Kind, usize)> {
    KINDS
        .into_iter()
        .flat_map(|kind| SIZES.map(|size| (kind, size)))
        .filter(|(kind, size)| kind.name.starts_with("tls13") || *size >= TLS_FRAGMENT_BYTES_MAX)
}

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for (kind, size) in cases() {
        let Connected { mut channel, .. } = Ends::new(kind, false).connect(Purpose::Data);
        let plaintext = Random::new().octets(size);
        let mut wire = vec![0; channel.sealed_len_max(size)];
        let sealed = channel.seal_into(&plaintext, &mut wire).unwrap();
        assert!(sealed > size && !wire[..sealed].windows(16).any(|part| part == &plaintext[..16]));
        // Ciphertext differs in every run; its length does not.
        support::report_work(&format!("seal {}/{size}", kind.name), &sealed.to_be_bytes());
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{}/{size}", kind.name), |bencher| {
            bencher.iter(|| channel.seal_into(black_box(&plaintext), &mut wire).unwrap());
        });
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for (kind, size) in cases() {
        let Connected { mut channel, mut client, .. } =
            Ends::new(kind, false).connect(Purpose::Data);
        client.set_buffer_limit(None);
        let plaintext = Random::new().octets(size);
        let mut records = || {
            client.writer().write_all(&plaintext).unwrap();
            sent(&mut client)
        };
        let mut first = records();
        let mut opened = Vec::new();
        open_all(&mut channel, &mut first, |part| opened.extend_from_slice(part));
        assert!(opened == plaintext, "what was opened is not what was sent");
        support::report_work(&format!("open {}/{size}", kind.name), &opened);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{}/{size}", kind.name), |bencher| {
            bencher.iter_batched_ref(
                &mut records,
                |records| {
                    open_all(&mut channel, records, |part| {
                        black_box(part);
                    });
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// Opens whole records in place, and gives the plaintext of each to `take`.
fn open_all(channel: &mut Channel, records: &mut [u8], mut take: impl FnMut(&[u8])) {
    let mut out = Vec::new();
    let mut at = 0;
    while at < records.len() {
        match channel.open(&mut records[at..], &mut out).unwrap() {
            OpenedRecord::Data { consumed, plaintext } => {
                take(&records[at..][plaintext]);
                at += consumed;
            }
            other => panic!("{other:?}"),
        }
    }
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
