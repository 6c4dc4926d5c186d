//! What it costs to borrow a block for a turn of a transfer: from the pool's spares, with others
//! on loan, and past the end of the pool.

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use ringftpd::buffer::{Block, BlockPool};
use ringftpd::limits::{
    TRANSFER_BATCH_BYTES, TRANSFER_BATCH_SMALL_BYTES, TRANSFER_BLOCKS_PER_SHARD,
};

/// Name, blocks others have on loan, octets of the block that is lent then.
const CASES: [(&str, usize, usize); 3] = [
    ("spare", 0, TRANSFER_BATCH_BYTES),
    ("others_on_loan", 64, TRANSFER_BATCH_BYTES),
    ("exhausted", TRANSFER_BLOCKS_PER_SHARD, TRANSFER_BATCH_SMALL_BYTES),
];

fn leases(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("buffer_lease");
    for (name, on_loan, expected) in CASES {
        let pool = BlockPool::default();
        let lent: Vec<Block> = (0..on_loan).map(|_| pool.lease()).collect();
        assert_eq!(pool.lease().len(), expected, "{name}");
        support::report_work(name, &expected.to_be_bytes());
        group.bench_function(name, |bencher| bencher.iter(|| pool.lease()));
        assert_eq!(pool.lent(), on_loan, "{name}");
        drop(lent);
    }
    group.finish();
}

criterion_group!(benches, leases);
criterion_main!(benches);
