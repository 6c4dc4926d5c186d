//! What it costs to receive into [`RecvBuffer`] and into [`bytes::BytesMut`], whose free memory
//! safe code can only read into after it was filled with zeros: a command, a record, and a record
//! that comes in two pieces.

mod support;

use bytes::{Buf, BytesMut};
use criterion::{Criterion, criterion_group, criterion_main};
use ringftpd::buffer::RecvBuffer;

/// Octets that are asked for at a time.
const ROOM: usize = 16 * 1024 + 512;

/// Name, and the pieces that one round receives before it uses them up.
const CASES: [(&str, &[usize]); 3] =
    [("command", &[30]), ("record", &[16 * 1024]), ("record_in_two", &[10_000, 6_384])];

fn receive(room: &mut [u8], count: usize) {
    // As much as a read would write.
    room[..count].fill(7);
}

fn buffers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive_buffer");
    for (name, pieces) in CASES {
        let whole: usize = pieces.iter().sum();
        support::report_work(name, &whole.to_be_bytes());
        let mut own = RecvBuffer::new();
        group.bench_function(format!("{name}/own"), |bencher| {
            bencher.iter(|| {
                for &piece in pieces {
                    receive(own.spare(ROOM), piece);
                    own.commit(piece);
                }
                assert_eq!(own.filled().len(), whole);
                own.consume(whole);
            });
        });
        let mut bytes = BytesMut::new();
        group.bench_function(format!("{name}/bytes"), |bencher| {
            bencher.iter(|| {
                for &piece in pieces {
                    let filled = bytes.len();
                    bytes.resize(filled + ROOM, 0);
                    receive(&mut bytes[filled..], piece);
                    bytes.truncate(filled + piece);
                }
                assert_eq!(bytes.len(), whole);
                bytes.advance(whole);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, buffers);
criterion_main!(benches);
