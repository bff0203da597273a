//! Is a binary search over the whole active index cheap enough for each fetch that the tail in memory does not serve, or
//! does it need a cache of recent positions?

use corelane::log::OffsetIndex;
use corelane::types::Offset;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Kafka's `log.index.size.max.bytes`: the largest index there is by default.
const INDEX_BYTES_MAX: u32 = 10 << 20;

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("index lookup");
    for entries in [100_u32, 10_000, 1_000_000] {
        let mut index = OffsetIndex::new(Offset(0), INDEX_BYTES_MAX);
        for entry in 0..entries {
            index.append(Offset(i64::from(entry) * 7 + 6), entry * 1000);
        }
        let span = i64::from(entries) * 7;
        group.bench_function(BenchmarkId::new("tail", entries), |b| b.iter(|| index.lookup(Offset(span - 3))));
        let mut at = 0;
        group.bench_function(BenchmarkId::new("anywhere", entries), |b| {
            b.iter(|| {
                // A step that visits all places without a pattern that a cache could follow.
                at = (at + 2_654_435_761) % span;
                index.lookup(Offset(at))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
