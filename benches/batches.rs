//! Two questions about record batches:
//!
//! 1. What does checking a produced batch cost beside its checksum alone, and from which size on does the checksum rule?
//!    (`validate` beside `crc`: the difference is what looking at each record costs)
//! 2. Which codec may a producer use before the broker, which has to decompress to check, becomes the narrow place?
//!    (`decompress`, per codec; `compress` is what recompression for `compression.type` would cost)

use bytes::BytesMut;
use corelane::record::{BatchBuilder, BatchOptions, Codec, ProduceRules, crc_ok, for_each_record, validate_produce};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::{Rng, SeedableRng, rngs::StdRng};

const SEED: u64 = 1;

/// Records of which about half of each is random.
fn batch(codec: Codec, records: usize, bytes: usize) -> BytesMut {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut builder = BatchBuilder::new(BatchOptions { codec, ..BatchOptions::default() });
    for _ in 0..records {
        let value: Vec<u8> =
            (0..bytes).map(|at| if at < bytes / 2 { random.random() } else { b'a' + (at % 16) as u8 }).collect();
        builder.append(1, None, Some(&value), &[]);
    }
    builder.build()
}

fn validation(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    let rules = ProduceRules::default();
    for (records, bytes) in [(1, 1 << 10), (64, 1 << 10), (1000, 1 << 10), (6000, 10), (600, 100)] {
        let batch = batch(Codec::None, records, bytes);
        group.throughput(Throughput::Bytes(batch.len() as u64));
        let size = format!("{records}x{bytes}");
        group.bench_function(BenchmarkId::new("crc", &size), |b| b.iter(|| crc_ok(&batch)));
        group.bench_function(BenchmarkId::new("validate", &size), |b| {
            b.iter(|| validate_produce(&batch, &rules).expect("it was built"));
        });
    }
    group.finish();
}

fn codecs(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    let (records, bytes) = (600, 100);
    group.throughput(Throughput::Bytes((records * bytes) as u64));
    for codec in Codec::ALL {
        group.bench_function(BenchmarkId::new("compress", codec.name()), |b| b.iter(|| batch(codec, records, bytes)));
        let batch = batch(codec, records, bytes);
        group.bench_function(BenchmarkId::new("decompress", codec.name()), |b| {
            b.iter(|| {
                let mut sum = 0;
                for_each_record(&batch, |record| {
                    sum += record.value.map_or(0, <[u8]>::len);
                    std::ops::ControlFlow::<()>::Continue(())
                })
                .expect("it was built");
                sum
            });
        });
    }
    group.finish();
}

criterion_group!(benches, validation, codecs);
criterion_main!(benches);
