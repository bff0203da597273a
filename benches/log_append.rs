//! Four questions about the append path, asked of the real appender on the file system of the target directory:
//!
//! 1. What does a durable append cost when nothing else goes on, direct and buffered? (`lone`)
//! 2. How many bytes a second does one partition take when appends never wait for each other? (`stream`)
//! 3. From how many partitions on is one `syncfs` cheaper than an `fdatasync` each? (`flush`: the answer is the
//!    default of `LogShardOptions::fdatasync_files_max`)
//! 4. How much faster is a stream into segments whose files were used before? (`segments`: retention removes them all
//!    the time, and `log.recycle.segments.max` is its default or 0)

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use corelane::log::{AppendBatch, IoMode, LoadOptions, Log, LogConfig, LogShard, LogShardOptions, OffsetReached, load};
use corelane::record::{BatchBuilder, BatchOptions, stamp};
use corelane::runtime::{Runtime, RuntimeOptions};
use corelane::types::{KafkaUuid, LeaderEpoch, TopicPartition};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const MODES: [(&str, IoMode); 2] = [("direct", IoMode::Direct), ("buffered", IoMode::Buffered)];

fn open(root: &Path, partition: i32, shard: &Rc<LogShard>, config: LogConfig) -> Rc<Log> {
    let topic_partition = TopicPartition { topic: Arc::from("bench"), partition };
    let dir = root.join(topic_partition.to_string());
    let options = LoadOptions::of_new(dir, topic_partition, KafkaUuid([1; 16]), config, 0);
    Log::open(load(&options).expect("an empty log loads"), shard, LeaderEpoch(0))
}

/// A batch of one record of `bytes`.
fn template(bytes: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1, None, Some(&vec![0x5a; bytes]), &[]);
    builder.build()
}

fn append(log: &Rc<Log>, template: &BytesMut) -> OffsetReached {
    let base_offset = log.log_end_offset();
    let mut batch = template.clone();
    stamp(&mut batch, base_offset, LeaderEpoch(0));
    let bytes: Bytes = batch.freeze();
    let appended =
        AppendBatch { bytes, base_offset, last_offset: base_offset, leader_epoch: LeaderEpoch(0), max_timestamp: 1 };
    log.append(appended).expect("there is room");
    log.wait_flushed(base_offset.plus(1))
}

/// Runs `rounds` of `in_flight` appends, spread over the partitions, each awaited before the append that comes
/// `in_flight` later.
fn measure(io: IoMode, partitions: i32, batch: usize, in_flight: usize, fdatasync_max: usize, rounds: u64) -> Duration {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
    std::fs::create_dir_all(&root).expect("the target directory is writable");
    let root = tempfile::tempdir_in(root).expect("the target directory is writable");
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("io_uring is there");
    runtime.block_on(async {
        let shard = LogShard::new(LogShardOptions {
            io,
            tail_bytes_max: 16 << 20,
            fdatasync_files_max: fdatasync_max,
            ..LogShardOptions::default()
        });
        let logs: Vec<_> =
            (0..partitions).map(|partition| open(root.path(), partition, &shard, LogConfig::default())).collect();
        let template = template(batch);
        for log in &logs {
            append(log, &template).await.expect("the disk works");
        }
        let start = Instant::now();
        let mut waiting = std::collections::VecDeque::new();
        for round in 0..rounds {
            for log in &logs {
                waiting.push_back(append(log, &template));
            }
            while waiting.len() > in_flight.saturating_sub(logs.len()) || (round + 1 == rounds && !waiting.is_empty()) {
                waiting.pop_front().expect("not empty").await.expect("the disk works");
            }
        }
        start.elapsed()
    })
}

/// Streams `rounds` batches into one partition that keeps four segments, after the first segments have been used again.
fn measure_segments(segment_bytes: u32, recycled_max: usize, batch: usize, rounds: u64) -> Duration {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
    std::fs::create_dir_all(&root).expect("the target directory is writable");
    let root = tempfile::tempdir_in(root).expect("the target directory is writable");
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("io_uring is there");
    runtime.block_on(async {
        let shard = LogShard::new(LogShardOptions {
            tail_bytes_max: 16 << 20,
            recycled_segments_max: recycled_max,
            ..LogShardOptions::default()
        });
        let config = LogConfig {
            segment_bytes,
            retention_bytes: 4 * i64::from(segment_bytes),
            file_delete_delay_ms: 0,
            ..LogConfig::default()
        };
        let log = open(root.path(), 0, &shard, config);
        let template = template(batch);
        let in_flight = (8 << 20) / batch;
        let mut waiting = std::collections::VecDeque::new();
        let mut start = Instant::now();
        let mut warm = None;
        for round in 0.. {
            waiting.push_back(append(&log, &template));
            if waiting.len() > in_flight {
                waiting.pop_front().expect("not empty").await.expect("the disk works");
            }
            if warm.is_none() && shard.stats().rolls >= 8 {
                warm = Some((round, shard.stats()));
                start = Instant::now();
            }
            if warm.is_some_and(|(from, _)| round - from >= rounds) {
                break;
            }
        }
        for reached in waiting {
            reached.await.expect("the disk works");
        }
        let took = start.elapsed();
        if let Some((_, before)) = warm
            && std::env::var_os("CORELANE_BENCH_VERBOSE").is_some()
        {
            let after = shard.stats();
            let rate = rounds as f64 * batch as f64 / took.as_secs_f64() / 1e6;
            let (rolls, recycled, spares) = (
                after.rolls - before.rolls,
                after.recycled_segments - before.recycled_segments,
                after.spares_used - before.spares_used,
            );
            eprintln!("{rate:.0} MB/s, {rolls} rolls, {spares} into files at hand, {recycled} of them used before");
        }
        log.close().await.expect("the disk works");
        took
    })
}

fn segments(c: &mut Criterion) {
    let mut group = c.benchmark_group("segments");
    for batch in [16 << 10, 256 << 10] {
        for (name, recycled_max) in [("recycled", 2), ("new", 0)] {
            group.throughput(Throughput::Bytes(batch as u64));
            group.bench_with_input(BenchmarkId::new(name, batch), &batch, |b, &batch| {
                b.iter_custom(|rounds| {
                    // At least two segments' worth.
                    let rounds_min = (2 * (128 << 20) / batch) as u64;
                    let took = measure_segments(128 << 20, recycled_max, batch, rounds.max(rounds_min));
                    took.mul_f64(rounds as f64 / rounds.max(rounds_min) as f64)
                });
            });
        }
    }
    group.finish();
}

fn lone(c: &mut Criterion) {
    let mut group = c.benchmark_group("lone");
    for (name, io) in MODES {
        group.bench_function(name, |b| b.iter_custom(|rounds| measure(io, 1, 1000, 1, 4, rounds)));
    }
    group.finish();
}

fn stream(c: &mut Criterion) {
    let mut group = c.benchmark_group("stream");
    for (name, io) in MODES {
        for batch in [16 << 10, 256 << 10] {
            group.throughput(Throughput::Bytes(batch as u64));
            group.bench_with_input(BenchmarkId::new(name, batch), &batch, |b, &batch| {
                b.iter_custom(|rounds| measure(io, 1, batch, (8 << 20) / batch, 4, rounds));
            });
        }
    }
    group.finish();
}

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("flush");
    for partitions in [2, 4, 8, 16, 64] {
        for (name, fdatasync_max) in [("fdatasync", usize::MAX), ("syncfs", 1)] {
            group.bench_with_input(BenchmarkId::new(name, partitions), &partitions, |b, &partitions| {
                b.iter_custom(|rounds| {
                    measure(IoMode::Direct, partitions, 1000, partitions as usize, fdatasync_max, rounds)
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    targets = lone, stream, flush, segments
}
criterion_main!(benches);
